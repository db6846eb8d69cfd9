//! End to end: the real server, the clients that users have, and what users would say of it. One binary, so that it links once.
//!
//! Modules: [`play`] (push and watch), [`clients`] (other people's programs), [`http`] (the HTTP surface), [`auth`] (who may push),
//! [`enhanced`] (FourCC codecs, several tracks, odd encoders), [`lifecycle`] (publishers come and go), [`shards`], [`load`] (a thousand
//! viewers, stalled viewers), [`loadtest`] (the harness against the server), [`hostile`] (bad input), [`floods`] (too much input),
//! [`control`] (the API), [`operate`] (start, stop, metrics, demo), [`browser`].
#![forbid(unsafe_code)]

mod auth;
mod browser;
mod clients;
mod control;
mod enhanced;
mod floods;
mod hostile;
mod http;
mod lifecycle;
mod load;
mod loadtest;
mod operate;
mod play;
mod shards;
