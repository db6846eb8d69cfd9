//! Owns sockets, shards and time: the shell around `proto` and `hub`.
//!
//! Reading order, which is the pipeline of a frame: [`io`] hands bytes from a publisher's socket to [`ingest`], which feeds the RTMP
//! session and pushes its frames to a [`shard::channel`]; `hub` makes blocks of them; [`egress`] sends those to viewers. Beside
//! the pipeline: [`admission`] (asked before publish and play), [`directory`] (which streams there are), [`output`] (what they are given out as), [`slates`] (what they show
//! while their publisher is away), [`recorded`] (what is kept of them), [`metrics`], [`clock`], [`admin`]
//! (start, stop; what is asked and done from outside).
//!
//! Invariants: a shard shares nothing with another but mailboxes; no lock is taken per frame; a panic ends one session.
#![deny(unsafe_code)]

pub mod admin;
mod admission;
mod clock;
mod close;
pub mod config;
pub mod directory;
mod egress;
mod ingest;
mod io;
mod metrics;
pub mod nodes;
pub mod output;
mod paths;
pub mod recorded;
pub mod renditions;
mod shard;
pub mod slates;
pub mod subscribers;

pub use admin::remote::Remote;
pub use admin::{
    Addresses, Engine, EngineError, HTTPS_KEY, RTMPS_KEY, StartError, control_connections, listen_advice, start,
    try_address,
};
pub use shard::said::Said;
