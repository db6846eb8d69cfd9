//! What control and nodes say to each other, as types and nothing else: no I/O, no clock, no rules.
//!
//! Reading order: [`state`] (which streams and bindings of hooks there are: control to nodes), [`task`] (what they are to do about recordings), [`tls`] (the certificate that control has for them), [`live`]
//! (what is on air: nodes to control), [`diagnosis`] (what is wrong with it), [`quality`] (how it plays), [`hook_numbers`] (what hooks do; both by [`spread`]), [`event`] (what has just happened), [`exchange`] (the messages that carry these), [`watermark`] (of a stream's record), [`work`] (workers of other machines and control). Before it: `control`, which keeps the
//! records; after it: `engine::admin`, which brings a state into force, and `fleet`, which carries the messages, within the process or
//! over HTTP.
//!
//! Invariants, held by `tests/compatibility.rs`: what this version writes is read by the next one and the one before. So fields are only
//! added, each with a default; fields that are not known are ignored; a word or a command that is not known becomes `Unknown` and
//! costs no more than itself. [`PROTOCOL`] is raised when that is not enough.
#![forbid(unsafe_code)]

pub mod diagnosis;
pub mod event;
pub mod exchange;
pub mod hook_numbers;
pub mod live;
pub mod quality;
pub mod replay;
pub mod spread;
pub mod state;
pub mod task;
pub mod tls;
pub mod watermark;
pub mod work;

/// The version of these shapes. A peer may be one off; further apart, both sides say so and go on as they are.
pub const PROTOCOL: u32 = 1;

/// Whether a peer that speaks this version is understood.
pub const fn understands(protocol: u32) -> bool {
    protocol.abs_diff(PROTOCOL) <= 1
}
