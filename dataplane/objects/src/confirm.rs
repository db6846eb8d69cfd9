//! Whether a store really has what was put, before the last other copy is removed. Before it: a put that succeeded; after it: the spool,
//! which removes its copy.
use futures_util::TryStreamExt as _;

use crate::body::{Summing, Sums};
use crate::error::{ErrorKind, ObjectError};
use crate::key::Key;
use crate::store::{ObjectStore, Span};

/// Asks the store what it has under the key: length and checksum must be these. A store that keeps no checksum is read. The error is
/// [`ErrorKind::Damaged`] where there is something else or nothing: put it again.
pub async fn confirm(store: &dyn ObjectStore, key: &Key, sums: Sums) -> Result<(), ObjectError> {
    let damaged = |what: String| {
        ObjectError::new(
            ErrorKind::Damaged,
            format!("{} said that it has {key}, and {what}; it is put there again", store.place()),
        )
    };
    let Some(stored) = store.head(key).await? else { return Err(damaged("does not have it".to_owned())) };
    if stored.bytes != sums.bytes {
        return Err(damaged(format!("has {} bytes of {}", stored.bytes, sums.bytes)));
    }
    let crc32 = match stored.crc32 {
        Some(crc32) => crc32,
        None => read_sums(store, key).await?.crc32,
    };
    if crc32 != sums.crc32 {
        return Err(damaged(format!("has other bytes (CRC-32 {crc32}, put were {})", sums.crc32)));
    }
    Ok(())
}

/// Length and checksum of an object, by reading it.
pub(crate) async fn read_sums(store: &dyn ObjectStore, key: &Key) -> Result<Sums, ObjectError> {
    let mut reading = store.get(key, Span::All).await?;
    let mut summing = Summing::default();
    while let Some(chunk) = reading.chunks.try_next().await? {
        summing.update(&chunk);
    }
    Ok(summing.sums())
}
