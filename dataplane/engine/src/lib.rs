//! Owns sockets, shards and time.
#![deny(unsafe_code)]

pub mod config;
