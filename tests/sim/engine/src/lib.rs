//! The product's engine over a made-up system: the sources of `dataplane/engine` as they are, with another `io`. The build script puts both
//! together, so that the product has no line for this, and plants the defects that tests switch on (`plants.rs`).
#![allow(
    clippy::pedantic,
    clippy::default_constructed_unit_structs,
    reason = "the product's signatures, where less would do here"
)]
// The lines below are for `rustfmt`, which finds files by them.
include!(concat!(env!("OUT_DIR"), "/src/lib.rs"));

#[cfg(any())]
#[path = "../io/net.rs"]
mod net;
#[cfg(any())]
#[path = "../plants.rs"]
mod plants;
#[cfg(any())]
#[path = "../io/runtime.rs"]
mod runtime;
#[cfg(any())]
#[path = "../io/socket.rs"]
mod socket;
#[cfg(any())]
#[path = "../io/sys.rs"]
mod sys;
#[cfg(any())]
#[path = "../io/wake.rs"]
mod wake;
#[cfg(any())]
#[path = "../io/world.rs"]
mod world;
