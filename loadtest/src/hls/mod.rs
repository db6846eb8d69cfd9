//! HLS viewers: what a player asks for, one request after another, and what came of it. All of it sans-IO but [`viewer`], which owns the
//! connections.
//!
//! Reading order: [`playlist`] (as much of one as a player needs), [`edge`] (what the viewers of a rendition know together, so that of
//! a thousand only the first reads a playlist), [`lane`] (one connection: requests and answers in turn), [`fragment`] (frames out of a
//! part, for those who compare), [`player`] (when each frame would have been on a screen), [`viewer`].
mod edge;
mod fragment;
mod lane;
mod player;
mod playlist;
mod viewer;

pub(crate) use edge::Edges;
pub(crate) use viewer::{HlsHall, HlsViewer, Wake};
