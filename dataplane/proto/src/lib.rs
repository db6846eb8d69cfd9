//! Protocols and formats, sans-IO: no sockets, clocks, threads or locks. Bytes and the time go in; bytes and events come out.
//!
//! Reading order: [`time`], [`limits`], [`media`] (what a stream is made of; [`codec`]
//! reads its configurations), [`rtmp`] (how it arrives and one way it leaves),
//! [`flv`] (the other way), [`cmaf`], [`hls`] and [`dash`] (as files and playlists), [`mp4`] (as one file that is kept),
//! [`recorded`] (where it is kept), [`http`] and [`http2`] (how viewers ask), [`sign`] (who may). [`output`] names what a stream is given out as.
//! [`proxy`] and [`network`] are for what stands in front of us,
//! [`openmetrics`] for who looks after us, [`cmcd`] what players say of how they play. [`watermark`] is what is drawn over pictures, [`marker`] what is told at
//! a moment of a stream.
//!
//! Invariants: no input panics, blocks, or makes anything grow past a maximum named in [`limits`]; nothing here reads a clock.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod amf0;
mod boxes;
pub mod cmaf;
pub mod cmcd;
pub mod codec;
pub mod cursor;
pub mod dash;
pub mod flv;
pub mod hex;
pub mod hls;
pub mod http;
pub mod http2;
pub mod id;
pub mod limits;
pub mod marker;
pub mod media;
pub mod mp4;
pub mod network;
pub mod openmetrics;
pub mod output;
pub mod paths;
pub mod proxy;
pub mod query;
pub mod recorded;
pub mod redact;
pub mod rtmp;
pub mod secret;
pub mod sign;
pub mod time;
pub mod watermark;
pub mod zones;

#[cfg(test)]
mod testkit;
