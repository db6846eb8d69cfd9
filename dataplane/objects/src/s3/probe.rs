//! Tries all that recording and playing ask of a bucket. Before it: a start; after it: a message, or warnings.
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::failure::Doing;
use super::sending::Progress;
use super::{Inner, S3Store, upload};
use crate::body::{Body, Crc32, Sums};
use crate::confirm::confirm;
use crate::error::{ErrorKind, ObjectError};
use crate::key::Key;
use crate::store::{Meta, Probe, Span};

const CONTENT: &[u8] = b"Millstream puts and removes this object to see whether it can.\n";

pub(super) async fn probe(store: &S3Store) -> Result<Probe, ObjectError> {
    let inner = &store.inner;
    let mut warnings = Vec::new();
    let number = getrandom::u64().map_err(|error| ObjectError::new(ErrorKind::Unavailable, error.to_string()))?;
    let key = Key::parse(&format!("millstream-probe-{number:016x}.txt"))?;
    // First, for it tells the most of a bucket that is missing or elsewhere.
    match inner.list(None, None, 1).await {
        Err(error) if error.kind() == ErrorKind::Denied => {
            warnings.push(format!("{error}; without it recordings cannot be listed, and old ones not be found"));
        }
        listed => drop(listed?),
    }
    let meta = Meta::of(&key, "no-store");
    let sums = Sums { bytes: CONTENT.len() as u64, crc32: Crc32(crc32fast::hash(CONTENT)) };
    upload::put(store, &key, Body::from(Bytes::from_static(CONTENT)), meta).await?;
    let read = async {
        confirm(store, &key, sums).await?;
        let reading = inner.get(&key, Span::Within(1, 4)).await?;
        reading.chunks.try_fold(Vec::new(), |all: Vec<u8>, chunk| async move { Ok([&all, &*chunk].concat()) }).await
    };
    let read = read.await;
    if let Some(warning) = parts(inner, &key).await {
        warnings.push(format!("{warning}; without it objects above 16 MiB that were given up keep costing"));
    }
    if let Err(error) = inner.delete(&key).await {
        warnings.push(format!("{error}; without it old recordings stay, and {key} does"));
    }
    if read? != CONTENT[1..=4] {
        let message = format!("{}: {key} was read back otherwise than it was put", inner.place());
        return Err(ObjectError::new(ErrorKind::Damaged, message));
    }
    Ok(Probe { warnings })
}

/// Begins an upload in parts and aborts it; gives what is wrong.
async fn parts(inner: &Inner, key: &Key) -> Option<ObjectError> {
    let full = inner.full(key);
    let call = inner.client.create_multipart_upload().bucket(&inner.location.bucket).key(&full).send();
    match inner.call(Doing::PUT, key.as_str(), &Progress::default(), call).await {
        Ok(created) => upload::abort(inner, &full, created.upload_id().unwrap_or_default()).await.err(),
        Err(error) => Some(error),
    }
}
