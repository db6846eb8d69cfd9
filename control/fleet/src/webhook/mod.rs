//! Webhooks: events that go to operators' own servers, signed, in order per stream, and again until they were taken.
//!
//! Reading order: [`body`] (what is sent), [`outbox`] (what waits), [`health`] (whose receiver is away), [`deliver`] (how it goes out). The signature is `proto::sign::webhook`'s.
pub mod deliver;
mod health;
pub mod outbox;
#[cfg(test)]
mod tests;

use millstream_control_protocol::event::Event;
use millstream_control_protocol::exchange::NodeId;
use serde::Serialize;

/// The body of a delivery: the event as the API shows it, with where it happened and what tells it from every other.
#[derive(Serialize)]
struct Body<'a> {
    /// The same when it is told again.
    id: String,
    node: &'a str,
    #[serde(flatten)]
    event: &'a Event,
}

/// What tells an event from every other of the fleet.
pub fn event_id(node: &NodeId, event: &Event) -> String {
    format!("{}-{}-{}", node.name, node.run, event.seq)
}

/// The JSON that a hook gets for an event.
pub fn body(node: &NodeId, event: &Event) -> Vec<u8> {
    let body = Body { id: event_id(node, event), node: &node.name, event };
    // Strings and numbers, which JSON has.
    serde_json::to_vec(&body).unwrap_or_default()
}
