//! Relays: streams are pushed on to other RTMP servers, `isRelay` and `relayURL` of a record. Before it: the log of a stream, which its owner's
//! shard offers; after it: the network.
//!
//! A target has two ends. On the stream's shard a [`follower::Follower`] reads the log and hands over blocks as they are, counted references
//! through a queue with few places; what the target does not take in time is skipped up to a keyframe, and no memory grows. On the tokio side a task
//! ([`push`]) has the connection: it connects, publishes, waits and tries again until the stream is over.
//!
//! Reading order: [`relays`] (the table of all targets), [`link`] (what the two ends of a target share), [`follower`], [`push`], [`tags`] (what of a
//! block is sent, and with which stamps).
//!
//! Invariants: a relay never slows its stream; a stream key is in no log line, metric or answer; addresses that are not public are connected to
//! only where the operator allows their network.
#![forbid(unsafe_code)]

#[cfg(test)]
mod fixture;
mod follower;
mod link;
mod push;
mod relays;
mod tags;

pub use relays::Relays;
