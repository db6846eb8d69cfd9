//! Streams, their logs and their viewers, sans-IO: time is an argument, events go in and bytes come out.
//!
//! Reading order, which is the pipeline of a frame: [`stream`] (who publishes; frames become tags on one [`timeline`]), [`flush`]
//! (when they go out), [`package`] (tags become a block, once), [`log`] (blocks wait), [`viewer`] (a cursor sends them). Beside
//! it: [`registry`] (which shard owns a stream), [`address`], [`stream_message`] and [`wire`] (what shards tell each other, also from node to
//! node), [`subscriber`] (who follows a stream beside its viewers), [`mirror`] (blocks for viewers on other shards), [`pending`] (sessions whose
//! verdict is pending), [`publisher_stats`] (how a publisher is doing), [`findings`] (what is wrong with what it sends), [`slate`] (what is
//! played while there is none), `news` (the wall clock for viewers of FLV).
//!
//! Invariants: nothing is kept per viewer but its cursor and the one send under way; cursors only move forward; every viewer gets
//! configuration, then a keyframe, then whole tags in order; nothing is lost but by the lag rule, which counts it.
#![forbid(unsafe_code)]

pub mod address;
pub mod config;
pub mod decodable;
pub mod encodable;
pub mod findings;
#[cfg(test)]
mod fixture;
pub mod flush;
pub mod log;
pub mod mirror;
mod news;
pub mod package;
pub mod pending;
pub mod publisher_stats;
#[cfg(test)]
mod random_walk;
pub mod reach;
pub mod registry;
pub mod slate;
pub mod stream;
pub mod stream_message;
pub mod subscriber;
pub mod timeline;
pub mod viewer;
pub mod wire;
