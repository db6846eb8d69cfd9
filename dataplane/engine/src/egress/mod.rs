//! From the log to viewers. [`http`] reads requests and routes them, [`flv`], [`websocket`] and [`rtmp`] begin a play over their protocol,
//! [`pump`] and [`crowd`] send for all of them; [`hls`] answers with playlists and their files; [`pages`] are the players, [`status`]
//! tells them whether a stream is on air.
pub(crate) mod crowd;
pub(crate) mod flv;
pub(crate) mod hls;
pub(crate) mod http;
mod pages;
mod pump;
pub(crate) mod rtmp;
mod status;
pub(crate) mod texts;
pub(crate) mod websocket;

/// What a viewer is told whose stream nobody publishes.
const NOT_ON_AIR: &str = "nobody publishes this stream now; try again when it is on air";
/// What a viewer is told when the shards have too much to say to each other.
const BUSY: &str = "the server is busy; try again in a moment";
/// What is counted where a new viewer is refused so that those on air go on.
const OVERLOAD: &str = "overload_play";
/// What such a viewer is told.
const NO_ROOM: &str = "the server has no room for new viewers now; try again in a moment";
