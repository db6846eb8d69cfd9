//! The store of objects as the recorder sees it: put, look at what is there, and read it for clips. Before it: the recorder's uploads; after it: the store.
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use millstream_objects::{Body as ObjectBody, ErrorKind, Key, Meta, ObjectError, ObjectStore, Span, Summing};
use millstream_recorder::store::{Answer, Body, Kind, ReadStore, Store, StoreError, Sums};

/// A store of objects that takes recordings.
pub(crate) struct Storing(pub(crate) Arc<dyn ObjectStore>);

impl Store for Storing {
    fn put<'a>(&'a self, key: &'a str, body: Body, kind: Kind) -> Answer<'a, ()> {
        Box::pin(async move {
            let key = Key::parse(key).map_err(failed)?;
            let meta = Meta { content_type: kind.content_type.into(), cache_control: kind.cache_control.into() };
            let body = match body {
                Body::File(file, bytes) => ObjectBody::file(file, 0..bytes),
                Body::Bytes(bytes) => {
                    let mut body = ObjectBody::default();
                    body.push(bytes);
                    body
                }
                Body::Movie(movie) => {
                    let (mut body, paths) = (ObjectBody::default(), movie.paths());
                    body.push(Bytes::copy_from_slice(movie.head()));
                    for (file, range) in movie.pieces() {
                        if let Some(path) = paths.get(file) {
                            body.push_path(Arc::clone(path), range);
                        }
                    }
                    body
                }
            };
            self.0.put(&key, body, meta).await.map(drop).map_err(failed)
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Sums>> {
        Box::pin(async move {
            let key = Key::parse(key).map_err(failed)?;
            let Some(stored) = self.0.head(&key).await.map_err(failed)? else { return Ok(None) };
            if let Some(crc32) = stored.crc32 {
                return Ok(Some(Sums { bytes: stored.bytes, crc32: crc32.0 }));
            }
            // A store that keeps no checksum is read.
            let mut reading = self.0.get(&key, Span::All).await.map_err(failed)?;
            let mut summing = Summing::default();
            while let Some(chunk) = reading.chunks.try_next().await.map_err(failed)? {
                summing.update(&chunk);
            }
            let sums = summing.sums();
            Ok(Some(Sums { bytes: sums.bytes, crc32: sums.crc32.0 }))
        })
    }
}

impl ReadStore for Storing {
    fn read<'a>(&'a self, key: &'a str, at: u64, bytes: usize) -> Answer<'a, Option<Bytes>> {
        Box::pin(async move {
            let key = Key::parse(key).map_err(failed)?;
            let last = at.saturating_add(bytes.saturating_sub(1) as u64);
            let mut reading = match self.0.get(&key, Span::Within(at, last)).await {
                Ok(reading) => reading,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                // There is nothing behind the end.
                Err(error) if error.kind() == ErrorKind::Range => return Ok(Some(Bytes::new())),
                Err(error) => return Err(failed(error)),
            };
            let mut read = BytesMut::with_capacity(bytes.min(usize::try_from(reading.stored.bytes).unwrap_or(bytes)));
            while let Some(chunk) = reading.chunks.try_next().await.map_err(failed)? {
                read.extend_from_slice(&chunk);
            }
            Ok(Some(read.freeze()))
        })
    }
}

// For `map_err`, which gives the error away.
#[allow(clippy::needless_pass_by_value)]
pub(super) fn failed(error: ObjectError) -> StoreError {
    StoreError::Failed(error.to_string())
}
