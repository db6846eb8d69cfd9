//! Control's end of the link: the state that all nodes are to have, what they tell, and orders to them. Before it: control's API,
//! which changes streams and asks; after it: nodes that poll, over HTTP ([`router`]) or within the process.
//!
//! A change is in force as soon as the nodes' polls have brought it to their shards, a few milliseconds; [`Fleet::in_force`] waits for
//! that. What nodes are asked they answer within [`crate::limits::ORDER_WAIT_MAX`], or the question fails.
//!
//! Reading order: [`fleet`] (what is known of nodes), [`desired_state`] and [`node_registry`] (its two halves), [`polled`] (what they ask and tell), [`asked`] (what they are asked), [`event_sink`] (who keeps what they tell).
//!
//! [`work`] has workers of other machines; [`certificates`] are those that control has for all nodes; [`webhook`] sends events to operators' servers; [`http`] is the client that it and the nodes' agents use; [`numbers`] is what is counted; [`ticks`] are timers that go off together.
//!
//! Invariants: every queue, map, body and wait has a maximum, in [`limits`]; a secret never reaches a log; what control has
//! acknowledged as kept is kept.
#![forbid(unsafe_code)]

mod asked;
pub mod backoff;
pub mod certificates;
mod certified;
mod desired_state;
mod error;
mod event_sink;
mod fleet;
mod hooks;
pub mod http;
pub mod limits;
mod node_registry;
pub mod numbers;
mod polled;
mod quality;
mod replays;
mod router;
mod runs;
mod shares;
mod tasks;
#[cfg(test)]
mod tests;
pub mod ticks;
mod time_series;
mod trust;
pub mod webhook;
mod work;

pub use self::asked::{Kicked, ViewerCursor, ViewersOnNodes};
pub use self::error::LinkError;
pub use self::event_sink::{DropEvents, EventSink, NodeEvent, Promise};
pub use self::fleet::Fleet;
pub use self::hooks::{HookLogs, LogCursor, LogPlace, LogQuery};
pub use self::node_registry::NodeView;
pub use self::replays::{Offered, Told};
pub use self::router::{IsNode, OnNode, router, work_router};
pub use self::time_series::{Point, SERIES_EVERY};
pub use self::work::{Tickets, WorkerView};
