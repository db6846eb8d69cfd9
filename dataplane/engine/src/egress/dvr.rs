//! Playlists that reach back into a recording, as one shard sends them: what of the stream is recorded ([`crate::recorded::RecordedFiles::archive`]), and
//! whole playlists, put together of chunks that were formatted and compressed once for the process. Beside [`super::hls`], which answers.
use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_hub::package::archive::{Archive, Chunk, gzip_around, pack};
use millstream_hub::package::window::{Past, Window};
use millstream_proto::http::conditional::Tag;
use millstream_proto::http::request::Method;
use millstream_proto::http::response::{Body, Cache, Head};
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::head::FileHead;
use super::reply::{Answer, Reply};
use crate::clock::unix_s;
use crate::recorded::Archived;
use crate::shard::context::ShardContext;

/// A newer archive is asked for so often while the window leaves the one that is here behind.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// And so often while it does not: whoever makes it is to know that it is wanted.
const KEEP_EVERY: Duration = Duration::from_secs(15);

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
struct OwnChunk {
    chunk: Arc<Chunk>,
    plain: Bytes,
    packed: Bytes,
    hash: u64,
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

    fn chunks(&self, past: &Past) -> &[OwnChunk] {
        let at = if past.track == Track::Video { 0 } else { 1 };
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

    /// A whole playlist, whose chunks stand between two texts.
    pub(super) fn answer(
        &self,
        reply: &Reply<'_>,
        content_type: &'static str,
        cache: Cache,
        head: &Bytes,
        past: &Past,
    ) -> Answer {
        let here = self.here.borrow().clone();
        let chunks = here.as_ref().map_or(&[][..], |here| here.chunks(past));
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(Tag::hash(head));
        chunks.iter().for_each(|chunk| hasher.write_u64(chunk.hash));
        hasher.write_u64(Tag::hash(&past.tail));
        let (gzip, hash) = (reply.request.accepts_gzip, hasher.finish());
        let tag = Tag::new(hash, gzip);
        if let Some(known) = reply.request.if_none_match.as_deref().and_then(|asked| tag.known_by(asked)) {
            let head = Head::new(304, Body::None, cache, reply.keep_alive)
                .header("ETag", &known.to_string())
                .header("Vary", "Accept-Encoding")
                .date(unix_s());
            return Answer::Whole(head.finish());
        }
        let mut pieces = Vec::with_capacity(chunks.len() + 4);
        // The place of the head.
        pieces.push(Bytes::new());
        if gzip {
            let first = pack(head);
            let sums = chunks.iter().map(|own| (own.chunk.packed.crc32, own.plain.len() as u64));
            let [begin, end] = gzip_around(std::iter::once((first.crc32, head.len() as u64)).chain(sums), &past.tail);
            pieces.extend([begin, first.blocks]);
            pieces.extend(chunks.iter().map(|own| own.packed.clone()));
            pieces.push(end);
        } else {
            pieces.push(head.clone());
            pieces.extend(chunks.iter().map(|own| own.plain.clone()));
            pieces.push(past.tail.clone());
        }
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let keep_alive = reply.keep_alive;
        let file = FileHead { content_type, cache, bytes, keep_alive, form: Some((tag, gzip)) };
        let head = reply.shard.heads.of(file);
        if reply.request.method == Method::Head {
            return Answer::Whole(head);
        }
        if let Some(place) = pieces.first_mut() {
            *place = head;
        }
        Answer::File { pieces, waited_since: None }
    }
}
