//! The engine's part, played as a state machine: the same calls of `hub` and `proto` in the same order, with tasks that are polled by
//! events. Each function names the one of the engine that it stands for. Reading order: [`shard`], [`conn`], [`ingest`], [`door`],
//! [`channel`], [`egress`].
pub(crate) mod channel;
pub(crate) mod conn;
pub(crate) mod door;
pub(crate) mod egress;
pub(crate) mod ingest;
pub(crate) mod packaging;
pub(crate) mod requests;
pub(crate) mod shard;
