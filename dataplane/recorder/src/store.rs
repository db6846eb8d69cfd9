//! What a store of objects is to the recorder: put, and look at what is there. An adapter over the store that the server is set up with implements
//! it. Before it: [`crate::uploader`]; after it: a directory, or S3.
use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::movie::spooled::Spooled;

/// A call that is answered later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why a store did not do it. The message has been redacted by who made it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It may do it later: all of these are tried again for ever.
    #[error("{0}")]
    Failed(String),
    /// What was to be stored cannot be read from the spool.
    #[error("the spool's copy cannot be read: {0}")]
    Source(String),
}

/// What is put.
#[derive(Clone, Debug)]
pub enum Body {
    /// So many bytes from the beginning of a file of the spool.
    File(Arc<File>, u64),
    /// These bytes.
    Bytes(Bytes),
    /// An MP4 file, of files of the spool.
    Movie(Arc<Spooled>),
}

/// Length and checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sums {
    /// Bytes.
    pub bytes: u64,
    /// CRC-32.
    pub crc32: u32,
}

impl Sums {
    /// Those of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, crc32: crc32fast::hash(bytes) }
    }
}

/// Objects by key.
pub trait Store: Send + Sync + 'static {
    /// Writes an object, or replaces it: there as a whole, or as it was before.
    fn put<'a>(&'a self, key: &'a str, body: Body, kind: Kind) -> Answer<'a, ()>;

    /// Length and checksum of what is stored under this key, as the store has it.
    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Sums>>;
}

/// Objects that can be read, by key.
pub trait ReadStore: Send + Sync {
    /// The bytes of an object from that one on: so many, or as many as there are. `None`: there is no such object.
    fn read<'a>(&'a self, key: &'a str, at: u64, bytes: usize) -> Answer<'a, Option<Bytes>>;
}

/// What an object is told as to those who get it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Cache-Control`.
    pub cache_control: &'static str,
}
