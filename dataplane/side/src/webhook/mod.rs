//! Webhooks: events that go to operators' own servers, signed, in order per stream, and again until they were taken.
//!
//! Reading order: [`outbox`] (what waits), then how one goes out.
pub mod outbox;
