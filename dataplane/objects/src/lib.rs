//! Where recordings are kept: objects under keys, in a directory or at S3.
//!
//! Reading order: [`Key`] (what an object is called), [`Body`] (what is put), [`ObjectStore`] (the one trait, in [`store`]), [`file`]
//! (the embedded default), [`s3`], [`memory`] (for tests, with faults), [`Location`] (how operators name them); [`confirm`] asks a store
//! whether it really has what was put.
//!
//! Invariants: nobody reads a torn object; what was put and answered is durable; memory per call is a few chunks; no call is tried again
//! within, so that the caller's loop is the only one; messages hold no secret. `tests/contract.rs` is the suite that every store passes.
#![forbid(unsafe_code)]

mod body;
mod confirm;
mod error;
pub mod file;
mod key;
pub mod limits;
mod location;
pub mod memory;
#[cfg(feature = "s3")]
pub mod s3;
pub mod store;

pub use body::{Body, Crc32, Summing, Sums};
pub use confirm::confirm;
pub use error::{ErrorKind, ObjectError, Retry};
pub use file::FileStore;
pub use key::Key;
pub use location::{Location, S3Location};
#[cfg(feature = "s3")]
pub use s3::{S3Options, S3Store, StaticCredentials, Timeouts};
pub use store::{Answer, Chunks, Listed, Meta, ObjectStore, Page, PresignedUrl, Probe, Reading, Span, Stored};
