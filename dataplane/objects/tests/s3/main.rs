//! The S3 store against a real server, behind a proxy that breaks what it can: each fault is overcome by trying again, or has its name.
#![cfg(feature = "s3")]
mod credentials;
mod parts;
mod probe;
mod puts;
mod reads;
mod support;
