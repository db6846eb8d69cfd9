//! Recordings: what the packager cut, kept. Parts are appended to a spool as they come, objects that are whole go to a store, and playlists name only
//! what is there.
//!
//! Reading order, which is the way of a part: [`recording`] (which records and bytes a change makes), [`spool`] (files, and what a crash left of
//! them), [`recorder`] (all recordings, room, sync), [`movie`] (MP4 files), [`uploader`] (what is to be stored, and what is missing since when), [`run`]
//! (threads, queues and a store: the only files with a clock). Beside it: [`shift`] (what of a live stream is recorded, for who goes back), [`name`],
//! [`settings`], [`limits`], [`store`] (what a store is to this crate).
//!
//! Invariants: what is in the spool's directory is the state; nothing leaves the spool before the store has shown its length and checksum; a
//! playlist in the store names only what is there, and never less than before; no name is used twice; no shard waits.
#![forbid(unsafe_code)]

pub mod limits;
pub mod movie;
pub mod name;
pub mod recorder;
pub mod recording;
pub mod run;
pub mod settings;
pub mod shift;
pub mod spool;
pub mod store;
pub mod uploader;
