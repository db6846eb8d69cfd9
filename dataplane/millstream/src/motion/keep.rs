//! Pictures and films of motion in the store that recordings are in. Before it: [`super::stream`]; after it: the store, from which nodes serve them.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_objects::{Body, Key, Meta};
use millstream_proto::id::Id;
use millstream_proto::recorded::{DatedKind, Day, RecordedFile, RecordedPath};
use tokio::time::timeout;

use super::Shared;

/// Caches may keep it so long: it never changes.
const CACHE_CONTROL: &str = "public, max-age=86400";
/// What could not be stored is tried so often.
const TRIES: u32 = 5;
/// And after this long at first.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// A try that takes longer has failed.
const TRY_MOST: Duration = Duration::from_mins(1);

/// The file of a stream that begins then, or was taken then: its path below the stream's, and all of it.
pub(super) fn path(stream: &Id, kind: DatedKind, at_ms: u64) -> (String, String) {
    let file = RecordedFile::Dated { kind, day: Day::of_unix_ms(at_ms), at_ms };
    (file.to_string(), RecordedPath { stream: stream.clone(), file }.to_string())
}

/// Puts it there. `false`: it is lost, which the log says.
pub(super) async fn keep(shared: &Arc<Shared>, stream: &Id, whole_path: &str, pieces: &[Bytes]) -> bool {
    let Ok(key) = Key::parse(whole_path) else { return false };
    for tries in 1..=TRIES {
        let mut body = Body::default();
        for piece in pieces {
            body.push(piece.clone());
        }
        let put = timeout(TRY_MOST, shared.store.put(&key, body, Meta::of(&key, CACHE_CONTROL))).await;
        let error = match put {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the store did not take it within {} s", TRY_MOST.as_secs()),
        };
        if tries == TRIES {
            tracing::error!(%stream, path = whole_path, error, "a file of motion could not be stored, and is lost");
        } else {
            tokio::time::sleep(TRY_AGAIN * tries).await;
        }
    }
    false
}
