//! Who keeps the events of nodes, and has the modules of hooks. Before it: [`crate::fleet`], which asks it before a node is thanked; after it: control's store.
use std::future::Future;
use std::pin::Pin;

use axum::body::Bytes;
use millstream_control_protocol::event::Event;
use millstream_control_protocol::exchange::NodeId;

/// A future that can be handed around.
pub type Promise<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Keeps events for good: session history, webhooks' outbox. A node forgets an event only after this has said so; one that could not
/// be kept comes again, and may come twice all the same: its node, run and number tell.
pub trait EventSink: Send + Sync + 'static {
    /// Keeps them, all or none, in this order; the error is for the log.
    fn keep(&self, node: NodeId, events: Vec<Event>) -> Promise<Result<(), String>>;

    /// A piece of a hook's module, from its byte `at` on: as much as is kept together, nothing at its end; `None`: there is no such
    /// module. The error is for the log.
    fn module(&self, sha256: String, at: u64) -> Promise<Result<Option<Bytes>, String>>;
}

/// Keeps nothing and has no hooks: for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropEvents;

impl EventSink for DropEvents {
    fn keep(&self, _node: NodeId, _events: Vec<Event>) -> Promise<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn module(&self, _sha256: String, _at: u64) -> Promise<Result<Option<Bytes>, String>> {
        Box::pin(async { Ok(None) })
    }
}

/// An event and where it happened.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeEvent {
    /// The node.
    pub node: NodeId,
    /// The event.
    pub event: Event,
}
