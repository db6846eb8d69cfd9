//! Workers: a process of its own that decodes, scales, encodes, takes pictures and looks for motion, so that a hostile bitstream costs a worker and never the node.
//!
//! Reading order: [`protocol`] (what node and worker say to each other; the only part without the feature `codecs`), [`transcode`] (tags of a
//! stream become tags of its renditions, sans-IO) with `h264`, `codec` and [`ffmpeg`] below it, `job` (the same by threads, from socket to socket), `room` (how much AV1 there is room for),
//! [`mark`] (what is drawn over renditions), `snapshot`, `sprite` (small pictures of a recording), [`motion`] (what moves in a picture, sans-IO) and `watch` (the same of a stream), [`eyes`] (motion hooks), [`run`] (the process), `sandbox` (what keeps it in),
//! `crash` (what it says as it dies).
//!
//! Invariants: what a stream sends never panics, and makes nothing grow past a maximum; an address, which holds a token, is never printed; a
//! frame that cannot be decoded costs its GOP, a rendition that cannot be made costs itself, and neither costs another.
#![deny(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod protocol;

#[cfg(feature = "codecs")]
mod capacity;
#[cfg(feature = "codecs")]
mod codec;
#[cfg(feature = "codecs")]
mod crash;
#[cfg(feature = "codecs")]
pub mod eyes;
#[cfg(feature = "codecs")]
pub mod ffmpeg;
#[cfg(feature = "codecs")]
mod h264;
#[cfg(feature = "codecs")]
mod job;
#[cfg(feature = "codecs")]
pub mod mark;
#[cfg(feature = "codecs")]
pub mod motion;
#[cfg(feature = "codecs")]
mod net;
#[cfg(feature = "codecs")]
mod picture;
#[cfg(feature = "codecs")]
mod queue;
#[cfg(feature = "codecs")]
mod reporter;
#[cfg(feature = "codecs")]
mod room;
#[cfg(feature = "codecs")]
mod run;
#[cfg(feature = "codecs")]
mod sandbox;
#[cfg(feature = "codecs")]
mod snapshot;
#[cfg(feature = "codecs")]
mod sprite;
#[cfg(feature = "codecs")]
pub mod transcode;
#[cfg(feature = "codecs")]
mod watch;

#[cfg(feature = "codecs")]
pub use picture::{Colour, Picture};
#[cfg(feature = "codecs")]
pub use run::{RunError, run, run_with_hooks, serve};
