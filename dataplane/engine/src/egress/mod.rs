//! From the log to viewers. [`http`] reads requests and routes them, [`http2`] those of connections with HTTP/2, [`reply`] is what answers are made of; [`stream`], [`websocket`] and
//! [`rtmp`] begin a play over their protocol, [`pump`] and [`fan_out`] send for all of them; [`hls`] answers with playlists, manifests and
//! their files, [`dvr`] with playlists that reach back, from what [`past_view`] has; [`recorded`] with files that somebody else has; [`listen`] takes what players say of themselves; [`grant`] makes what lets viewers play by a path of their own, [`pass`] takes it out of paths; [`pages`] are the players, [`status`] tells them whether a stream is on air. What of all this is an output format stands
//! in the table below.
mod dash;
mod dvr;
mod edges;
pub(crate) mod fan_out;
mod grant;
pub(crate) mod head;
pub(crate) mod hls;
pub(crate) mod http;
mod http2;
mod listen;
mod pages;
mod pass;
pub(crate) mod past_view;
mod pump;
mod recorded;
mod refusal;
mod reply;
pub(crate) mod rtmp;
mod snapshot;
mod status;
mod stream;
pub(crate) mod texts;
pub(crate) mod websocket;

use crate::output::Formats;

impl Default for Formats {
    /// Those that are built in.
    fn default() -> Self {
        Self::new([&stream::FLV, &websocket::FLV, &rtmp::RTMP, &hls::HLS, &dash::DASH])
    }
}
