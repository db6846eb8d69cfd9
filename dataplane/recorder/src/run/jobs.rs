//! What is asked of the store, as tasks of a tokio runtime. Before it: [`super::thread`], which begins and cancels them; after it: the store.
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::movie::copy::{Built, build};
use crate::movie::make::{MakeError, Movie};
use crate::movie::source::at_once;
use crate::movie::spooled::{SpoolFiles, Spooled};
use crate::recorder::MovieJob;
use crate::store::{Body, Store, StoreError, Sums};
use crate::uploader::{Content, Job, Outcome};

/// Bytes of a file that are read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Makes an MP4 file's index and sums of what is in the spool, on a thread that may wait for the disk.
pub(super) async fn make(spool: PathBuf, job: MovieJob) -> (MovieJob, Result<Built, MakeError>) {
    let kept = job.clone();
    let made = tokio::task::spawn_blocking(move || {
        let files = SpoolFiles::new(spool.join(job.recording.as_str()));
        let never = || Err(MakeError::Unreadable("the spool was waited for".to_owned()));
        at_once(build(&job.due.recipe, &files)).unwrap_or_else(never)
    });
    let made = made.await.unwrap_or_else(|error| Err(MakeError::Unreadable(error.to_string())));
    (kept, made)
}

/// Does a job; gives what came of it.
pub(super) async fn perform(
    store: Arc<dyn Store>,
    spool: &Path,
    job: Job,
    file: Option<Arc<File>>,
    movie: Option<Arc<Movie>>,
) -> Outcome {
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
        (Some(Content::Movie(_)), _) => match spooled(spool, job.recording.as_str(), movie, job.sums).await {
            Ok(body) => body,
            Err(outcome) => return outcome,
        },
        (Some(Content::Object(..)), None) => return Outcome::Source("its file is gone".to_owned()),
    };
    match store.put(&job.key, body, job.kind).await {
        Ok(()) => Outcome::Put,
        Err(error) => outcome(error),
    }
}

/// The body of an MP4 file, once all of it has been read as it was when it was made.
async fn spooled(spool: &Path, recording: &str, movie: Option<Arc<Movie>>, sums: Sums) -> Result<Body, Outcome> {
    let Some(movie) = movie else { return Err(Outcome::Source("it is being made anew".to_owned())) };
    let spooled = Arc::new(Spooled::new(&spool.join(recording), movie));
    let copy = Arc::clone(&spooled);
    match tokio::task::spawn_blocking(move || copy.sums()).await {
        Ok(Ok(found)) if found == sums => Ok(Body::Movie(spooled)),
        Ok(Ok(_)) => Err(Outcome::Source("its objects are no longer what they were".to_owned())),
        Ok(Err(error)) => Err(Outcome::Source(error.to_string())),
        Err(error) => Err(Outcome::Failed(error.to_string())),
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
