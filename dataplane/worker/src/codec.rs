//! What is taken of OpenH264, of rav1e and of the crates that scale and compress pictures; nothing else here knows them. Before it:
//! [`crate::transcode`]; after it: C++ and assembly, which is why this is a process of its own.
//!
//! OpenH264 is built from source with the crate. Where its build finds `nasm` it is about twice as fast; without it the build says nothing, so
//! the worker's measured capacity ([`crate::protocol::Capacity`]) is what tells.
#[cfg_attr(not(feature = "av1"), path = "codec/no_av1.rs")]
pub(crate) mod av1;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod jpeg;
pub(crate) mod scale;
