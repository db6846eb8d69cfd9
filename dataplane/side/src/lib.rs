//! The side of the engine that is not per-frame, on tokio: what control and nodes say to each other, and webhooks.
//!
//! Reading order: [`fleet`] (control's end of the link: the state that nodes are to have, and what they tell), [`node`] (a node's end),
//! [`webhook`] (events to operators' servers), [`http`] (the client that both use), [`numbers`] (what is counted). It meets the shards
//! only through `engine::admin`'s mailboxes, and nothing here is ever waited for by a shard.
//!
//! Invariants: every queue, map, body and wait has a maximum, in [`limits`]; a secret never reaches a log; what control has
//! acknowledged as kept is kept.
#![forbid(unsafe_code)]

pub mod fleet;
pub mod http;
pub mod limits;
pub mod node;
pub mod numbers;
pub mod webhook;
