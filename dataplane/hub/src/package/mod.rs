//! Frames become bytes here, once per stream: [`block`] is what the log holds. Before it: [`crate::stream`]; after it:
//! [`crate::log`] and the viewers' cursors.
//!
//! HLS and DASH begin behind the log: [`packager`] is one more cursor over the owner's log. It reads frames out of blocks ([`demux`]), cuts
//! them into parts and segments ([`track`], by the lengths of [`pace`]) and says what it did as [`change`]s; each shard's [`window`]
//! applies those and answers requests. What is told at a moment of a stream ([`marker`]) is in them, too. What a recording has of older segments ([`archive`]) stands before them in playlists that reach back.
pub mod archive;
pub mod block;
pub mod change;
mod demux;
mod drift;
pub mod file_name;
mod frame_index;
pub mod marker;
pub(crate) mod open_gop;
mod pace;
pub mod packager;
mod part;
pub mod plans;
mod steps;
pub mod stream_headers;
#[cfg(test)]
mod tests;
mod track;
pub mod window;
