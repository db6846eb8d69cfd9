//! `millstream-loadtest`: publishers and viewers at a planned rate against a server, and a report of what came back when.
//!
//! Reading order: [`plan`] (what a run does), [`schedule`] (when), [`target`] (to whom), [`media`] (what publishers send), [`publisher`],
//! [`secure`], [`wire`] and [`viewer`] (what comes back), [`hls`] (the same for HLS viewers), [`ledger`] (which frame is this, and when was it planned), [`tally`] (what is counted),
//! [`run()`] (the event loop: one thread, edge-triggered epoll), [`server`] and [`probe`] (was it the server, the harness or the machine),
//! [`report`]. Beside a run: [`handshakes`].
//!
//! Invariants: times are planned before the run, and delays count from the plan, so a slow server does not get an easier test; a viewer
//! that is not in the sample is never parsed after its first keyframe (the kernel discards its bytes: `MSG_TRUNC`); all counts and times are
//! bounded ([`limits`]); whatever goes wrong, what was measured is reported.
#![forbid(unsafe_code)]

mod clock;
pub mod handshakes;
mod hls;
mod ledger;
pub mod limits;
mod media;
mod net;
pub mod plan;
mod probe;
mod publisher;
pub mod report;
pub mod run;
mod schedule;
mod secure;
mod server;
mod tally;
pub mod target;
mod viewer;
mod wire;

pub use media::ClipError;
pub use run::{Options, RunError, run};
