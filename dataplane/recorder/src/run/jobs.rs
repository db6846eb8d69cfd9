//! What is asked of the store, as tasks of a tokio runtime. Before it: [`super::thread`], which begins and cancels them; after it: the store.
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::store::{Body, Store, StoreError, Sums};
use crate::uploader::{Content, Job, Outcome};

/// Bytes of a file that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Does a job; gives what came of it.
pub(super) async fn perform(store: Arc<dyn Store>, job: Job, file: Option<Arc<File>>) -> Outcome {
    let body = match (job.put, file) {
        (None, _) => {
            return match store.head(&job.key).await {
                Ok(found) => Outcome::Found(found),
                Err(error) => outcome(error),
            };
        }
        (Some(Content::Bytes(bytes)), _) => Body::Bytes(bytes),
        (Some(Content::Object(..)), Some(file)) => {
            // The spool's copy may be damaged: the store is not given what it could never show the checksum of.
            let (copy, sums) = (Arc::clone(&file), job.sums);
            match tokio::task::spawn_blocking(move || check(&copy, sums)).await {
                Ok(None) => Body::File(file, job.sums.bytes),
                Ok(Some(outcome)) => return outcome,
                Err(error) => return Outcome::Failed(format!("the spool's copy could not be read: {error}")),
            }
        }
        (Some(Content::Object(..)), None) => return Outcome::Source("its file is gone".to_owned()),
    };
    match store.put(&job.key, body, job.kind).await {
        Ok(()) => Outcome::Put,
        Err(error) => outcome(error),
    }
}

fn outcome(error: StoreError) -> Outcome {
    match error {
        StoreError::Source(why) => Outcome::Source(why),
        StoreError::Failed(why) => Outcome::Failed(why),
    }
}

/// `None`: the file has these sums.
fn check(file: &File, sums: Sums) -> Option<Outcome> {
    let mut found = crc32fast::Hasher::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < sums.bytes {
        let wanted = (sums.bytes - at).min(CHUNK_BYTES as u64) as usize;
        let Some(chunk) = buffer.get_mut(..wanted) else { break };
        match file.read_exact_at(chunk, at) {
            Ok(()) => found.update(chunk),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Some(Outcome::Source("its file is shorter than it was".to_owned()));
            }
            Err(error) => return Some(Outcome::Failed(format!("its file cannot be read: {error}"))),
        }
        at += wanted as u64;
    }
    let why = "its file has another checksum than what was written";
    (found.finalize() != sums.crc32).then(|| Outcome::Source(why.to_owned()))
}
