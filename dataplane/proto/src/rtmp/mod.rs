//! RTMP, sans-IO: how streams arrive, and one of the ways in which they leave.
//!
//! Reading order, which is the way of a byte from a publisher: [`handshake`], [`chunk`] (bytes become messages), [`message`],
//! [`command`], [`server`] (messages become events; `request` is what a client asks for, `enhanced` what it says it can do). [`chunk_write`] is the way out,
//! for the hub's shared media messages and, through `outbox`, for what sessions say. [`client`] is the other end: relays,
//! workers, the load test and our own tests; [`address`] says where a stream is pushed on to, [`relay_path`] where it came through.
//!
//! Invariants: nothing a peer sends panics, or makes a session hold more than `limits` says; a session never waits and never
//! reads a clock; csids 4 and 5 carry media only, so that a shared media message fits between any two of a session's own.
mod ack;
pub mod address;
pub mod chunk;
pub mod chunk_write;
pub mod client;
pub mod command;
mod enhanced;
mod error;
pub mod handshake;
pub mod message;
mod outbox;
pub mod relay_path;
mod request;
pub mod server;
mod stats;

#[cfg(test)]
mod tests;

pub use client::{ClientConfig, ClientEvent, ClientRole, ClientSession};
pub use error::SessionError;
pub use request::Request;
pub use server::{Event, Refusal, Role, ServerConfig, ServerSession};
pub use stats::SessionStats;
