//! Recorded files for viewers: the engine asks, and a store of objects has them. Before it: `engine::recorded`, on a shard's thread; after it:
//! the store's calls on the tokio runtime, as many at once as the engine admits.
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use millstream_engine::recorded::{
    Archived, EntityTag, FileAnswer, FileRequest, FoundFile, Growth, PastRequest, RecordedFile, RecordedFiles,
    RecordedPath, RecordingFile,
};
use millstream_objects::{ErrorKind, Key, ObjectError, ObjectStore, Span};
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_recorder::run::Handle as Recorder;
use tokio::runtime::Handle;

use super::past;

/// An address at the store's own server is good for so long: a player that pauses asks the node again.
const PRESIGNED_FOR: Duration = Duration::from_hours(1);
/// A store that does not answer is asked again after this.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Files of recordings out of a store.
pub(crate) struct Playback {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) runtime: Handle,
    pub(crate) recorder: Recorder,
    /// Where the store has a server of its own, viewers are sent there for media.
    pub(crate) redirects: bool,
}

impl RecordedFiles for Playback {
    fn get(&self, request: FileRequest, answer: FileAnswer) {
        let (store, redirects) = (Arc::clone(&self.store), self.redirects);
        self.runtime.spawn(async move {
            if let Err(error) = give(store.as_ref(), redirects, &request, answer).await {
                tracing::warn!(file = %request.path, %error, "a recorded file cannot be read");
            }
        });
    }

    fn get_past(&self, request: PastRequest, answer: FileAnswer) {
        let (store, recorder) = (Arc::clone(&self.store), self.recorder.clone());
        self.runtime.spawn(async move {
            if let Err(error) = past::give(store.as_ref(), &recorder, &request, answer).await {
                tracing::warn!(stream = %request.stream, file = %request.file, %error, "a segment of the past cannot be read");
            }
        });
    }

    fn archive(&self, stream: &Id, over: Option<&str>) -> Archived {
        self.recorder.archive(stream, over)
    }

    fn has_archive(&self, stream: &Id) -> bool {
        self.recorder.has_archive(stream)
    }
}

/// Answers; an error is one that an operator is to know.
async fn give(
    store: &dyn ObjectStore,
    redirects: bool,
    request: &FileRequest,
    answer: FileAnswer,
) -> Result<(), ObjectError> {
    let key = Key::parse(&request.path.to_string())?;
    let is_text = is_text(&request.path);
    // Media comes from the store's own server, where it has one: that says itself what it does not have. What a playlist names is relative to where
    // that is, and a signature is for GET alone.
    if redirects
        && !is_text
        && !is_sprite(&request.path)
        && !request.head_only
        && let Some(url) = store.presign(&key, PRESIGNED_FOR).await?
    {
        answer.redirect(Secret::new(url.expose()));
        return Ok(());
    }
    let stored = match store.head(&key).await {
        Ok(Some(stored)) => stored,
        Ok(None) => {
            answer.not_found();
            return Ok(());
        }
        Err(error) => {
            answer.unavailable(RETRY_AFTER);
            return Err(error);
        }
    };
    let Some(tag) = EntityTag::new(&stored.etag) else {
        answer.unavailable(RETRY_AFTER);
        return Err(ObjectError::new(ErrorKind::Unavailable, format!("the store gave {key} no usable ETag")));
    };
    let found = FoundFile {
        bytes: stored.bytes,
        tag,
        modified_unix_s: Some(stored.modified_ms / 1_000),
        // Playlists are written again while their recording runs, and once more at its end.
        growth: if is_text { Growth::Growing } else { Growth::Closed },
    };
    let Some(mut body) = answer.found(found) else { return Ok(()) };
    let range = body.range();
    let reading = store.get(&key, Span::Within(range.start, range.end - 1)).await?;
    // A playlist may have been replaced since: its length would be another one.
    if reading.stored.etag != stored.etag {
        return Ok(());
    }
    let mut chunks = reading.chunks;
    while let Some(chunk) = chunks.next().await {
        if body.send(chunk?).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Small, and shown by a page that takes pictures of its own server alone.
fn is_sprite(path: &RecordedPath) -> bool {
    matches!(path.file, RecordedFile::Recording(_, RecordingFile::Sprite(_)))
}

/// Whether it is a playlist, or what else is replaced as a whole while its recording grows.
fn is_text(path: &RecordedPath) -> bool {
    match &path.file {
        RecordedFile::Recording(_, RecordingFile::Media(..) | RecordingFile::Clip(_) | RecordingFile::Sprite(_))
        | RecordedFile::Dated { .. } => false,
        RecordedFile::Recording(..) | RecordedFile::Vod { .. } => true,
    }
}
