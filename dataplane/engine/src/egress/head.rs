//! Heads of answers with a whole file. Kept for a second: crowds ask for the same few files.
use std::cell::RefCell;

use bytes::Bytes;
use millstream_proto::http::conditional::Tag;
use millstream_proto::http::response::{Body, Cache, Head};
use millstream_proto::media::Track;

use crate::clock::unix_s;

/// What the head of an answer with a whole file says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHead {
    pub(crate) content_type: &'static str,
    pub(crate) cache: Cache,
    pub(crate) bytes: u64,
    pub(crate) keep_alive: bool,
    /// Of what has two forms: its tag, and whether this is the compressed one.
    pub(crate) form: Option<(Tag, bool)>,
}

impl FileHead {
    /// For this status and so many bytes of the file; more may be added.
    pub(super) fn begin(self, status: u16, sent: u64, unix_s: u64) -> Head {
        let head = Head::new(status, Body::Length(sent), self.cache, self.keep_alive)
            .content_type(self.content_type)
            .header("X-Content-Type-Options", "nosniff")
            .date(unix_s);
        let head = match self.form {
            None => head,
            Some((tag, gzip)) => {
                let head = head.header("ETag", &tag.to_string()).header("Vary", "Accept-Encoding");
                if gzip { head.header("Content-Encoding", "gzip") } else { head }
            }
        };
        if self.has_ranges() { head.header("Accept-Ranges", "bytes") } else { head }
    }

    /// Runs of bytes are given of what never changes.
    pub(super) fn has_ranges(self) -> bool {
        matches!(self.cache, Cache::Immutable | Cache::PrivateImmutable)
    }
}

/// Heads that are kept.
const HEADS_MAX: usize = 16;

/// Heads of the answers of this second: crowds ask for the same few files.
#[derive(Default)]
pub(crate) struct Heads(RefCell<Vec<KeptHead>>);

struct KeptHead {
    file: FileHead,
    made_s: u64,
    head: Bytes,
}

impl Heads {
    /// The head of an answer with the whole file.
    pub(crate) fn of(&self, wanted: FileHead) -> Bytes {
        let now_s = unix_s();
        let mut heads = self.0.borrow_mut();
        if let Some(kept) = heads.iter().find(|kept| kept.file == wanted && kept.made_s == now_s) {
            return kept.head.clone();
        }
        let head = wanted.begin(200, wanted.bytes, now_s).finish();
        heads.truncate(HEADS_MAX - 1);
        heads.insert(0, KeptHead { file: wanted, made_s: now_s, head: head.clone() });
        head
    }
}

/// The media type of a track's files.
pub(super) fn media_type(track: Track) -> &'static str {
    if track == Track::Video { "video/mp4" } else { "audio/mp4" }
}

/// The head of an answer with a whole part.
pub(crate) fn part_head(heads: &Heads, track: Track, bytes: usize, (keep_alive, cache): (bool, Cache)) -> Bytes {
    let content_type = media_type(track);
    heads.of(FileHead { content_type, cache, bytes: bytes as u64, keep_alive, form: None })
}
