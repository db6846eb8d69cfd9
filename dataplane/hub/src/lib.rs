//! Streams, their logs and their viewers, sans-IO: time is an argument, bytes go in and come out.
#![forbid(unsafe_code)]

pub mod config;
