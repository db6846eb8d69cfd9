//! Recorded files, which whoever starts the engine has: where they are, on a disk or in a store, is not the engine's business, and no shard ever
//! waits for a disk. Before it: [`crate::egress`], which asks for a file when a request for one was admitted; after it: an
//! implementation of [`RecordedFiles`] with threads or a runtime of its own, which answers through a [`FileAnswer`] from any of them.
//!
//! An implementation looks the file up, says what it found ([`FileAnswer::found`]), and is told which bytes of it are wanted: preconditions,
//! ranges and `HEAD` are the engine's. It then reads and sends those, no faster than the viewer takes them, and stops where
//! [`FileBody::send`] fails.
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
pub use millstream_hub::package::archive::Archived;
pub use millstream_hub::package::file_name::Name;
pub use millstream_proto::http::file::EntityTag;
use millstream_proto::http::file::{FileQuery, Selected, Validators};
pub use millstream_proto::http::range::Asked;
use millstream_proto::id::Id;
use millstream_proto::media::Track;
pub use millstream_proto::recorded::{
    DatedKind, Day, MediaName, RecordedFile, RecordedPath, RecordingFile, RecordingName,
};
use millstream_proto::secret::Secret;

pub(crate) use self::channel::{Incoming, Link, Shared, Signals, Taken, Verdict, link};

mod channel;

/// Whoever has recorded files.
pub trait RecordedFiles: Send + Sync {
    /// Has somebody look for a file. Called on a shard's thread, for every viewer of it: it must return at once, and leave all that waits to other
    /// threads. An answer that is dropped unanswered is answered with 503.
    fn get(&self, request: FileRequest, answer: FileAnswer);

    /// The same for a file of a live stream's playlists that is no longer, or perhaps never was, in its window.
    fn get_past(&self, request: PastRequest, answer: FileAnswer) {
        let _ = request;
        answer.not_found();
    }

    /// What is recorded of a stream that is on air, for playlists that reach back; of one that is over, what was of that session. Called on a shard's
    /// thread, seldom more than once a second: it must return at once. That somebody asks has a newer one made.
    fn archive(&self, stream: &Id, over: Option<&str>) -> Archived {
        let _ = (stream, over);
        Archived::NotRecorded
    }

    /// Whether viewers can go back in a stream that is on air. Called on a shard's thread: it must return at once.
    fn has_archive(&self, stream: &Id) -> bool {
        let _ = stream;
        false
    }
}

/// A file that playlists of a live stream named, below its path `s/<session>/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PastRequest {
    /// Of which stream.
    pub stream: Id,
    /// The packager's session.
    pub session: String,
    /// Of which track.
    pub track: Track,
    /// Which file; there are no parts of the past.
    pub file: Name,
    /// See [`FileRequest::head_only`].
    pub head_only: bool,
}

/// What a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileRequest {
    /// Which file.
    pub path: RecordedPath,
    /// The run of bytes that it asks for, so that a store can be asked for those at once. What is to be sent [`FileBody::range`] says:
    /// it may be another one, or all.
    pub range: Option<Asked>,
    /// Only what [`FileAnswer::found`] says is wanted, and no bytes.
    pub head_only: bool,
}

/// A file that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundFile {
    /// Its length, at this moment.
    pub bytes: u64,
    /// Its tag. It must change with its bytes: also that of a file that grows.
    pub tag: EntityTag,
    /// When it was changed last, Unix seconds.
    pub modified_unix_s: Option<u64>,
    /// Whether it will change.
    pub growth: Growth,
}

/// Whether a file changes any more: how long caches may keep it follows from that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Growth {
    /// It stays as it is: a day.
    Closed,
    /// It belongs to a recording that runs: half a target duration.
    Growing,
    /// Its name is never used for anything else: for ever.
    Immutable,
}

/// Recorded files, as the engine is configured with them.
#[derive(Clone)]
pub struct RecordedConfig {
    /// Who has them; `None`: nobody, and requests for them are answered with 404.
    pub files: Option<Arc<dyn RecordedFiles>>,
    /// Answers of the whole process that may be under way. Each holds 512 KiB at most, and all of them 256 MiB and a piece each. One is
    /// under way until both its viewer and its [`FileAnswer`] or [`FileBody`] have gone.
    pub answers: usize,
    /// How long whoever has the files may take to answer, and between two pieces.
    pub wait: Duration,
}

impl Default for RecordedConfig {
    fn default() -> Self {
        Self { files: None, answers: 1_024, wait: Duration::from_secs(10) }
    }
}

impl fmt::Debug for RecordedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedConfig")
            .field("files", &self.files.is_some())
            .field("answers", &self.answers)
            .field("wait", &self.wait)
            .finish()
    }
}

/// Where the answer to one request goes.
#[derive(Debug)]
pub struct FileAnswer {
    link: Link,
    query: FileQuery,
    head_only: bool,
}

impl FileAnswer {
    pub(crate) fn new(link: Link, query: FileQuery, head_only: bool) -> Self {
        Self { link, query, head_only }
    }

    /// Whether the viewer still waits for it.
    pub fn is_wanted(&self) -> bool {
        self.link.is_wanted()
    }

    /// The file is there. `None`: no bytes are wanted of it, because the viewer has it already, asked for bytes that it has not, or asked for its
    /// head alone.
    pub fn found(mut self, file: FoundFile) -> Option<FileBody> {
        let validators = Validators {
            tag: &file.tag,
            modified_unix_s: file.modified_unix_s,
            changes: file.growth == Growth::Growing,
        };
        let selected = self.query.select(file.bytes, validators);
        let range = match selected {
            Selected::Whole => 0..file.bytes,
            Selected::Part(from, to) => from..to,
            Selected::NotModified | Selected::Failed | Selected::Nothing => 0..0,
        };
        let found = Verdict::Found(file, selected);
        if self.head_only || range.is_empty() {
            self.link.end_with(found);
            return None;
        }
        self.link.begin_with(found);
        Some(FileBody { left: range.end - range.start, range, link: self.link })
    }

    /// It is to be had at this absolute address, which may hold a signature. Not for playlists: what they name is relative to where they are.
    pub fn redirect(self, to: Secret) {
        self.link.end_with(Verdict::Redirect(to));
    }

    /// There is no such file.
    pub fn not_found(self) {
        self.link.end_with(Verdict::NotFound);
    }

    /// It cannot be had now, but perhaps after this time.
    pub fn unavailable(self, retry_after: Duration) {
        self.link.end_with(Verdict::Unavailable(retry_after));
    }

    /// Nobody may have it.
    pub fn denied(self) {
        self.link.end_with(Verdict::Denied);
    }
}

/// Where the bytes of a file go. Dropped before all that are wanted were sent, it ends the viewer's connection: that is how the viewer knows.
#[derive(Debug)]
pub struct FileBody {
    link: Link,
    range: Range<u64>,
    left: u64,
}

/// Bytes that are not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The viewer has gone, or is being ended: nothing more is wanted.
    #[error("the viewer has gone")]
    Gone,
    /// More than were asked for; none of these are sent.
    #[error("there are more bytes than were asked for")]
    Beyond,
}

impl FileBody {
    /// The bytes of the file that are wanted, in order; never empty.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// How many of them have yet to be sent.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether the viewer still waits for them.
    pub fn is_wanted(&self) -> bool {
        self.link.is_wanted()
    }

    /// Sends the next bytes; waits, on whatever runtime, while as many wait for the viewer as may: 512 KiB. Best in pieces of 16 to 128 KiB, which
    /// are passed on without a copy; what is longer is sent in several, and each counts as 4 KiB at least.
    pub async fn send(&mut self, mut bytes: Bytes) -> Result<(), SendError> {
        if bytes.len() as u64 > self.left {
            return Err(SendError::Beyond);
        }
        while !bytes.is_empty() {
            let piece = self.link.piece(&mut bytes).await?;
            self.left -= piece as u64;
        }
        Ok(())
    }
}
