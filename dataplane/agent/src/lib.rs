//! A node's end of the link: asks control for news and brings them into force, does what it is ordered, tells what happens. Before
//! it: control, over HTTP ([`control`]) or in the same process; after it: `engine::admin`.
//!
//! [`following`] says which of control's states is taken. When control is away the node goes on with what it has, which [`kept`] (the state) [`modules`] (hooks) and
//! [`slates`] hold on disk, and asks
//! again until control is back; events wait meanwhile, up to a limit.
//!
//! [`diagnosis`] judges the node's streams once a second; [`reporter`] tells control what it found. [`players`] adds up what
//! players say.
//!
//! [`certificates`] is control's certificate for all its nodes, where the node takes it.
//!
//! [`callback`] is a step of the policy chain that asks an HTTP back end.
#![forbid(unsafe_code)]

mod agent;
pub mod beside;
pub mod callback;
pub mod certificates;
pub mod control;
pub mod diagnosis;
pub mod following;
pub mod kept;
mod modules;
mod orders;
mod players;
pub mod recordings;
mod reporter;
pub mod runner;
mod slates;
#[cfg(test)]
mod tests;
pub mod worker;

pub use self::agent::{Agent, FixedStreams, Identity};
pub use self::control::Control;
pub use self::following::update_of;
