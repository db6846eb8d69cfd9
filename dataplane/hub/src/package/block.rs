//! A block: the tags of one flush as one run of bytes, framed once as an HTTP chunk. [`crate::stream`] seals blocks,
//! [`crate::log`] keeps them, [`crate::viewer`] sends them; they cross to other shards as they are.
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use millstream_proto::flv::{self, TagRef};
use millstream_proto::http::websocket;
use millstream_proto::media::TagKind;
use millstream_proto::rtmp;
use millstream_proto::time::Time;

use super::frame_index::FrameIndex;
use super::stream_headers::StreamHeaders;

/// How a viewer takes its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// FLV until the connection ends (HTTP/1.0).
    FlvPlain,
    /// FLV inside WebSocket messages: a block is a binary message.
    FlvWebSocket,
    /// RTMP messages on message stream 1, already chunked.
    Rtmp,
    /// FLV inside HTTP chunks (HTTP/1.1): the block as it is.
    FlvChunked,
    /// Written by this framing.
    Framed(&'static Framing),
}

/// A format that is not built into [`Format`]: how a stream is written in it. Its bytes are made once per block and shard, like all others.
#[derive(Debug)]
pub struct Framing {
    /// Its name: no two have the same.
    pub name: &'static str,
    /// The bytes before the first block of a viewer and behind each change of the stream headers; may be none.
    pub head: fn(&StreamHeaders) -> Bytes,
    /// The bytes of a block's frames ([`Block::frames`]); may be none.
    pub block: fn(&Block) -> Bytes,
}

impl PartialEq for Framing {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Framing {}

impl std::hash::Hash for Framing {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// A built-in [`Format`], as what is looked at for each viewer and flush has it: small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// [`Format::FlvPlain`].
    FlvPlain,
    /// [`Format::FlvWebSocket`].
    FlvWebSocket,
    /// [`Format::Rtmp`].
    Rtmp,
    /// [`Format::FlvChunked`].
    FlvChunked,
}

impl Format {
    /// Its form, where it is built in, else what writes it.
    pub(crate) const fn form(self) -> Result<Form, &'static Framing> {
        match self {
            Self::FlvPlain => Ok(Form::FlvPlain),
            Self::FlvWebSocket => Ok(Form::FlvWebSocket),
            Self::Rtmp => Ok(Form::Rtmp),
            Self::FlvChunked => Ok(Form::FlvChunked),
            Self::Framed(framing) => Err(framing),
        }
    }
}

/// How many forms there are whose bytes are made of a block.
const FORMS: usize = Form::FlvChunked as usize;

/// Bytes in a format that has no place of its own, and those of the next such format.
#[derive(Debug)]
struct FramedForm {
    framing: &'static Framing,
    entry: EntryRef,
    next: OnceCell<Box<Self>>,
}

/// One tag that waits to be sealed into a block.
#[derive(Clone, Debug)]
pub(crate) struct Tag {
    pub(crate) kind: TagKind,
    pub(crate) timestamp_ms: u32,
    pub(crate) body: Bytes,
    /// Shown before the keyframe that precedes it: who starts at that cannot decode it.
    pub(crate) leading: bool,
}

/// The tags that wait for the next flush: those of the next block, as far as they have come.
#[derive(Clone, Copy, Debug)]
pub struct PendingTags<'a> {
    pub(crate) stream_headers: &'a StreamHeaders,
    /// Output timeline of the first, milliseconds.
    pub(crate) first_ms: i64,
    /// When the first arrived.
    pub(crate) arrived: Time,
    pub(crate) publisher: u32,
    /// How far the publisher's frames are apart as a rule, milliseconds; `None` before the second one.
    pub(crate) picture_ms: Option<u32>,
    pub(crate) tags: &'a [Tag],
}

/// The sealed tags of one flush. Immutable, and shared between shards by one count per shard.
#[derive(Debug)]
pub struct Block {
    /// Its number in the stream, without gaps.
    pub seq: u64,
    /// A decoder can start with its first tag, given `stream_headers`.
    pub start: bool,
    /// A decoder can, but a viewer does not: its rendition begins behind its source and has not caught up. Not told to other nodes, nor of another
    /// form of the block.
    pub catching_up: bool,
    /// Headers and configurations in force at its first tag.
    pub stream_headers: Arc<StreamHeaders>,
    /// Output timeline of its first tag, milliseconds.
    pub first_ms: i64,
    /// Output timeline of its last tag, milliseconds.
    pub last_ms: i64,
    /// When the last byte of its first frame arrived: of all in it, that one waited longest.
    pub arrived: Time,
    /// Which run of stamps it is of, from 1: each publisher begins one, and so does a jump of stamps that leaves a hole.
    pub publisher: u32,
    /// Size line, tags, CRLF.
    chunk: Bytes,
    /// Length of the size line.
    tags_at: usize,
    index: FrameIndex,
    /// Number of the block with the keyframe of the leading frames that are in it. Few streams have any.
    leading_of: Option<u64>,
}

impl Block {
    /// `start_seq`: number of the newest block that a decoder can start at, which may be this one.
    pub(crate) fn seal(
        (seq, start_seq): (u64, u64),
        start: bool,
        stream_headers: Arc<StreamHeaders>,
        span_ms: (i64, i64),
        (publisher, arrived): (u32, Time),
        tags: &[Tag],
    ) -> Self {
        let (chunk, tags_at) = http_chunk(tags.iter().map(|tag| (tag.kind, tag.timestamp_ms, tag.body.as_ref())), &[]);
        Self {
            seq,
            start,
            catching_up: false,
            stream_headers,
            first_ms: span_ms.0,
            last_ms: span_ms.1,
            arrived,
            publisher,
            chunk,
            tags_at,
            index: FrameIndex::of(tags),
            leading_of: tags.iter().any(|tag| tag.leading).then_some(start_seq),
        }
    }

    /// The same without the leading frames, for who started at their keyframe; `None` where nothing is left.
    fn without_leading(&self) -> Option<Self> {
        let kept = self.index.without_leading(self.tags()).map(|TagRef { kind, timestamp_ms, body }| Tag {
            kind,
            timestamp_ms,
            body: self.chunk.slice_ref(body),
            leading: false,
        });
        let kept: Vec<Tag> = kept.collect();
        let Self { seq, start, first_ms, last_ms, arrived, publisher, .. } = *self;
        (!kept.is_empty()).then(|| {
            let stream_headers = Arc::clone(&self.stream_headers);
            Self::seal((seq, seq), start, stream_headers, (first_ms, last_ms), (publisher, arrived), &kept)
        })
    }

    /// The same as these bytes, which are no FLV: for viewers of [`Form::FlvChunked`], who get them as they are.
    fn written(&self, bytes: Bytes) -> Self {
        let (stream_headers, index) = (Arc::clone(&self.stream_headers), FrameIndex::default());
        Self { chunk: bytes, tags_at: 0, index, leading_of: None, catching_up: false, stream_headers, ..*self }
    }

    /// What [`Self::from_parts`] makes it of again, beside its public fields.
    pub(crate) fn parts(&self) -> BlockParts<'_> {
        let leading = self.leading_of.map(|start| (start, self.index.leading().collect()));
        BlockParts { chunk: &self.chunk, leading }
    }

    /// A block that was sealed at another node; `None` where its chunk is none, or is not of whole tags.
    pub(crate) fn from_parts(
        (seq, start): (u64, bool),
        stream_headers: Arc<StreamHeaders>,
        (first_ms, last_ms): (i64, i64),
        (publisher, arrived): (u32, Time),
        chunk: Bytes,
        leading: Option<(u64, Vec<usize>)>,
    ) -> Option<Self> {
        let tags_at = chunk.iter().take(SIZE_LINE_BYTES_MAX).position(|byte| *byte == b'\n')? + 1;
        let data = chunk.len().checked_sub(tags_at + CRLF.len())?;
        if !chunk.ends_with(CRLF) || chunk.get(..tags_at)? != size_line(data).as_bytes() {
            return None;
        }
        let tags = chunk.get(tags_at..tags_at + data)?;
        let (leading_of, leading) = leading.map_or((None, Vec::new()), |(start, places)| (Some(start), places));
        let index = FrameIndex::read(tags, &leading)?;
        Some(Self {
            seq,
            start,
            catching_up: false,
            stream_headers,
            first_ms,
            last_ms,
            arrived,
            publisher,
            chunk,
            tags_at,
            index,
            leading_of,
        })
    }

    /// Its FLV tags, without the HTTP framing.
    pub fn tags(&self) -> &[u8] {
        &self.chunk[self.tags_at..self.chunk.len() - CRLF.len()]
    }

    /// Its frames, and what else has tags, in their order.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = TagRef<'_>> + Clone {
        self.index.frames(self.tags())
    }

    /// The body of one of [`Self::frames`], as a reference to it.
    pub(crate) fn body(&self, frame: TagRef<'_>) -> Bytes {
        self.chunk.slice_ref(frame.body)
    }

    /// Its FLV tags, as a reference to them.
    fn tags_bytes(&self) -> Bytes {
        self.chunk.slice(self.tags_at..self.chunk.len() - CRLF.len())
    }

    /// Bytes of its tags, with their HTTP framing.
    pub fn bytes(&self) -> usize {
        self.chunk.len()
    }

    /// Bytes that it occupies in a log, but for those of its own shape.
    pub(crate) fn held_bytes(&self) -> usize {
        self.chunk.len() + self.index.bytes()
    }
}

/// What a block has beside its public fields.
pub(crate) struct BlockParts<'a> {
    /// Size line, tags, CRLF.
    pub(crate) chunk: &'a [u8],
    /// The number of the block with their keyframe, and which tags are leading frames of it.
    pub(crate) leading: Option<(u64, Vec<usize>)>,
}

const CRLF: &[u8] = b"\r\n";
/// A length of 64 bits, and its CRLF.
const SIZE_LINE_BYTES_MAX: usize = 18;

fn size_line(data: usize) -> String {
    format!("{data:x}\r\n")
}

/// Writes `head` and tags as one HTTP chunk (RFC 9112, 7.1) in one exact allocation; the second value is where its data starts.
pub(crate) fn http_chunk<'a>(
    tags: impl Iterator<Item = (TagKind, u32, &'a [u8])> + Clone,
    head: &[u8],
) -> (Bytes, usize) {
    let data = head.len() + tags.clone().map(|(_, _, body)| flv::tag_bytes(body.len())).sum::<usize>();
    let size_line = size_line(data);
    let mut out = BytesMut::with_capacity(size_line.len() + data + CRLF.len());
    out.extend_from_slice(size_line.as_bytes());
    out.extend_from_slice(head);
    for (kind, timestamp_ms, body) in tags {
        // What arrives fits into a tag: asserted where `write_tag` is.
        let written = flv::write_tag(&mut out, kind, timestamp_ms, body);
        debug_assert!(written.is_ok());
    }
    out.extend_from_slice(CRLF);
    (out.freeze(), size_line.len())
}

/// FLV as one binary WebSocket message (RFC 6455, 5.2), in one exact allocation. The server does not mask, so that it is the same for all.
pub(crate) fn websocket_message(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(websocket::binary_head_bytes(data.len()) + data.len());
    websocket::binary_head(&mut out, data.len());
    out.extend_from_slice(data);
    out
}

/// Writes FLV tags as RTMP messages, each with a full header: the same bytes whatever was sent before them.
pub(crate) fn rtmp_messages<'a>(
    tags: impl Iterator<Item = (TagKind, u32, &'a [u8])>,
    bytes_hint: usize,
    chunk_size: usize,
) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes_hint);
    for (kind, timestamp_ms, body) in tags {
        rtmp::chunk_write::write_media(&mut out, kind, timestamp_ms, body, chunk_size);
    }
    out.freeze()
}

/// A block as one shard holds it: its viewers count references here, without touching what other shards touch, and the forms that
/// only some viewers want are made here when the first one asks.
#[derive(Debug)]
pub struct Entry {
    /// The block itself.
    pub block: Arc<Block>,
    /// Its bytes by form, but for [`Form::FlvChunked`], whose bytes are the block's: looked up for each viewer without a branch per format.
    forms: [OnceCell<Bytes>; FORMS],
    /// Its bytes by framing.
    framed: OnceCell<Box<FramedForm>>,
    /// Without leading frames; `None` inside where nothing is left.
    joiner: OnceCell<Option<EntryRef>>,
}

/// How a shard holds an entry.
pub type EntryRef = Rc<Entry>;

impl Entry {
    /// Wraps a block for this shard.
    pub fn new(block: Arc<Block>) -> EntryRef {
        let framed = OnceCell::new();
        Rc::new(Self { block, forms: [const { OnceCell::new() }; FORMS], framed, joiner: OnceCell::new() })
    }

    /// Whether some viewers get only a part of it: see [`Entry::for_viewer_from`].
    pub(crate) fn has_leading(&self) -> bool {
        self.block.leading_of.is_some()
    }

    /// What of it is for a viewer that started at the block `start`: all of it, but for frames that it cannot decode. `None` where nothing is
    /// left. Made when the first one asks. Out of the way of the usual block, which has no such frames.
    #[cold]
    pub(crate) fn for_viewer_from(self: &Rc<Self>, start: u64) -> Option<&EntryRef> {
        match self.block.leading_of {
            Some(keyframe) if keyframe == start => {
                let make = || self.block.without_leading().map(|block| Self::new(Arc::new(block)));
                self.joiner.get_or_init(make).as_ref()
            }
            _ => Some(self),
        }
    }

    /// Makes the bytes for viewers of that form, if nobody asked for them before; `rtmp_chunk_bytes` must be the same on every call.
    pub fn make(&self, form: Form, rtmp_chunk_bytes: usize) {
        if form != Form::FlvChunked && self.form(form).get().is_none() {
            self.make_first(form, rtmp_chunk_bytes);
        }
    }

    #[cold]
    fn make_first(&self, form: Form, rtmp_chunk_bytes: usize) {
        self.form(form).get_or_init(|| match form {
            Form::FlvChunked => self.block.chunk.clone(),
            Form::FlvPlain => self.block.tags_bytes(),
            Form::FlvWebSocket => websocket_message(self.block.tags()).into(),
            Form::Rtmp => {
                let tags = self.block.frames().map(|tag| (tag.kind, tag.timestamp_ms, tag.body));
                rtmp_messages(tags, self.block.bytes() + 64, rtmp_chunk_bytes)
            }
        });
    }

    /// Of any form but [`Form::FlvChunked`].
    fn form(&self, form: Form) -> &OnceCell<Bytes> {
        &self.forms[form as usize]
    }

    /// The bytes for viewers of that form; none before [`Entry::make`].
    pub fn made(&self, form: Form) -> &[u8] {
        if form == Form::FlvChunked { &self.block.chunk } else { self.form(form).get().map_or(&[], |bytes| bytes) }
    }

    /// What viewers get that this framing writes for, as a block of those bytes; made when the first one asks. There may be none in it.
    #[cold]
    pub(crate) fn framed(&self, framing: &'static Framing) -> &EntryRef {
        let mut place = &self.framed;
        loop {
            let form = place.get_or_init(|| {
                let block = self.block.written((framing.block)(&self.block));
                Box::new(FramedForm { framing, entry: Self::new(Arc::new(block)), next: OnceCell::new() })
            });
            if form.framing == framing {
                return &form.entry;
            }
            place = &form.next;
        }
    }
}
