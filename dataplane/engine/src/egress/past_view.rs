//! What of a stream is recorded, as one shard has it for playlists that reach back: chunks of text that were formatted and compressed once for the process.
//! Before it: whoever records ([`crate::recorded::RecordedFiles::archive`]); after it: [`super::dvr`], which answers.
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_hub::package::archive::{Archive, Chunk};
use millstream_hub::package::window::{Past, Window};
use millstream_proto::http::conditional::Tag;
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use crate::recorded::Archived;
use crate::shard::context::ShardContext;

/// A newer archive is asked for so often while the window leaves the one that is here behind.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// And so often while it does not: whoever makes it is to know that it is wanted.
const KEEP_EVERY: Duration = Duration::from_secs(15);
/// What nobody has asked for in this time is let go.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);

/// What is recorded of a stream, as this shard has it.
#[derive(Default)]
pub(crate) struct PastView {
    here: RefCell<Option<Rc<Here>>>,
    asked_at: Cell<Option<Time>>,
}

/// An archive, with references of this shard's own to its chunks.
pub(crate) struct Here {
    archive: Arc<Archive>,
    tracks: [Vec<OwnChunk>; 2],
}

/// A chunk whose count of references no other core touches.
#[derive(Clone)]
pub(super) struct OwnChunk {
    pub(super) chunk: Arc<Chunk>,
    pub(super) plain: Bytes,
    pub(super) packed: Bytes,
    pub(super) hash: u64,
}

/// What there is to look at.
pub(crate) enum Look {
    NotRecorded,
    /// Not yet, or not as far as the window: look again soon.
    Soon,
    Here(Rc<Here>),
}

impl Here {
    pub(super) fn archive(&self) -> &Archive {
        &self.archive
    }

    /// An archive that takes the place of another one, of which it may have most chunks.
    fn new(archive: Arc<Archive>, before: Option<&Self>) -> Self {
        let tracks = [0, 1].map(|at| {
            let known = before.and_then(|before| before.tracks.get(at)).map_or(&[][..], Vec::as_slice);
            let chunks = archive.tracks.get(at).and_then(Option::as_ref).map_or(&[][..], |track| &track.chunks);
            chunks.iter().map(|chunk| OwnChunk::of(chunk, known)).collect()
        });
        Self { archive, tracks }
    }

    pub(super) fn chunks(&self, past: &Past) -> &[OwnChunk] {
        let at = usize::from(past.track != Track::Video);
        self.tracks.get(at).and_then(|chunks| chunks.get(past.chunks.clone())).unwrap_or_default()
    }
}

impl OwnChunk {
    fn of(chunk: &Arc<Chunk>, known: &[Self]) -> Self {
        let at = known.partition_point(|known| known.chunk.first_msn < chunk.first_msn);
        if let Some(known) = known.get(at).filter(|known| Arc::ptr_eq(&known.chunk, chunk)) {
            return known.clone();
        }
        let plain = Bytes::from_owner(chunk.text.clone());
        let hash = Tag::hash(&plain);
        let packed = Bytes::from_owner(chunk.packed.blocks.clone());
        Self { chunk: Arc::clone(chunk), plain, packed, hash }
    }
}

impl PastView {
    /// Lets go of what nobody has asked for in a while: the text of hours is large.
    pub(crate) fn sweep(&self, now: Time) {
        if self.asked_at.get().is_some_and(|at| now.since(at) > FORGOTTEN_AFTER) {
            self.asked_at.set(None);
            *self.here.borrow_mut() = None;
        }
    }

    /// What it looked at last.
    pub(super) fn here(&self) -> Option<Rc<Here>> {
        self.here.borrow().clone()
    }

    /// What is recorded of the stream. Whoever records it is asked now and then, and answers at once.
    pub(super) fn look(&self, shard: &ShardContext, id: &Id, window: &Window) -> Look {
        let here = self.here.borrow().clone();
        let fits = here.filter(|here| window.follows(&here.archive));
        let since = self.asked_at.get().map(|at| shard.now().since(at));
        let due = match &fits {
            None => true,
            Some(here) if window.outruns(&here.archive) => since.is_none_or(|since| since >= RENEW_EVERY),
            Some(_) => since.is_none_or(|since| since >= KEEP_EVERY),
        };
        if !due {
            return fits.map_or(Look::Soon, Look::Here);
        }
        let Some(files) = &shard.config.recorded.files else { return Look::NotRecorded };
        self.asked_at.set(Some(shard.now()));
        let over = window.session().filter(|_| window.is_ended());
        match files.archive(id, over) {
            // It was looked at before, and whoever had it has let it go.
            Archived::NotRecorded if window.is_ended() && fits.is_some() => {}
            Archived::NotRecorded => {
                *self.here.borrow_mut() = None;
                return Look::NotRecorded;
            }
            Archived::Soon => {}
            Archived::Ready(archive) => {
                let next = match self.here.borrow_mut().take() {
                    Some(before) if before.archive.version >= archive.version => before,
                    before => Rc::new(Here::new(archive, before.as_deref())),
                };
                *self.here.borrow_mut() = Some(Rc::clone(&next));
                return if window.follows(&next.archive) { Look::Here(next) } else { Look::Soon };
            }
        }
        fits.map_or(Look::Soon, Look::Here)
    }
}
