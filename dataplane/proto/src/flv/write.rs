//! Writes FLV. Before it: tag bodies as they came from the publisher; after it: the hub's log, from where viewers take the bytes.
use bytes::{BufMut, Bytes, BytesMut};

use super::tag::{TAG_HEADER_BYTES, tag_bytes};
use crate::amf0::{self, Value};
use crate::media::kinds::TagKind;

/// The longest body that a tag's 24-bit length can say, bytes.
const BODY_BYTES_MAX: usize = 0xFF_FFFF;
const _: () = assert!(crate::limits::RTMP_MESSAGE_BYTES_MAX <= BODY_BYTES_MAX, "what RTMP brings must fit into a tag");

/// The time stamp that a keep-alive tag carries, milliseconds: see [`keepalive_body`].
pub const KEEPALIVE_TIMESTAMP_MS: u32 = 0;

/// A body that no FLV tag can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a tag body of {0} bytes; at most {BODY_BYTES_MAX} fit")]
pub struct TagTooLong(pub usize);

/// The file header (§ E.2) and the size of the tag "before" the first. The flags say which tracks there are: mpegts.js waits for a
/// track that is announced and never comes (field case 19).
pub const fn file_header(audio: bool, video: bool) -> [u8; 13] {
    let flags = (audio as u8) << 2 | video as u8;
    [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]
}

/// Appends one tag: 11 bytes of header, the body, 4 bytes of size. Writes nothing where the body is too long.
pub fn write_tag(out: &mut BytesMut, kind: TagKind, timestamp_ms: u32, body: &[u8]) -> Result<(), TagTooLong> {
    if body.len() > BODY_BYTES_MAX {
        return Err(TagTooLong(body.len()));
    }
    out.reserve(tag_bytes(body.len()));
    let [_, l0, l1, l2] = (body.len() as u32).to_be_bytes();
    let [t_high, t0, t1, t2] = timestamp_ms.to_be_bytes();
    out.put_slice(&[kind as u8, l0, l1, l2, t0, t1, t2, t_high, 0, 0, 0]);
    out.put_slice(body);
    out.put_u32((TAG_HEADER_BYTES + body.len()) as u32);
    Ok(())
}

/// The body of a script tag that players ignore, for a viewer that must get a byte while the publisher is away.
///
/// It is `|RtmpSampleAccess` with two `false`: Adobe's, nginx-rtmp's and SRS's servers have always sent it, so players know it. An
/// invented name is worse: for a script tag whose name it does not know, or one of up to 18 bytes, ffmpeg (and VLC, which uses
/// it) adds a third stream. ffmpeg passes over this one only when its time stamp is 0 ([`KEEPALIVE_TIMESTAMP_MS`]); mpegts.js, flv.js
/// and GStreamer look at the name and not at the stamp.
pub const fn keepalive_body() -> &'static [u8] {
    b"\x02\x00\x11|RtmpSampleAccess\x01\x00\x01\x00"
}

/// What a stream tells its viewers beside the media, in a script tag: see [`news_body`].
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum News {
    /// What is presented at `pts_ms` of the stream's timeline arrived at the server at `unix_ms`.
    Clock {
        /// Presentation time, milliseconds.
        pts_ms: i64,
        /// The server's wall clock, Unix milliseconds.
        unix_ms: u64,
    },
    /// The publisher left at `unix_ms`, and is waited for.
    Waiting {
        /// The server's wall clock, Unix milliseconds.
        unix_ms: u64,
    },
}

/// The body of a script tag with news, for the time stamp [`KEEPALIVE_TIMESTAMP_MS`]: `onCuePoint` with an array, `["clock", pts_ms, unix_ms]`
/// or `["waiting", unix_ms]`.
///
/// The name is one of the three for which ffmpeg (and VLC) adds no third stream. The value is an array, because ffmpeg takes the
/// properties of an object there for the stream's metadata. mpegts.js and flv.js hand any script tag to the page that uses them.
pub fn news_body(news: News) -> Bytes {
    let (kind, numbers) = match news {
        News::Clock { pts_ms, unix_ms } => ("clock", [Some(pts_ms as f64), Some(unix_ms as f64)]),
        News::Waiting { unix_ms } => ("waiting", [Some(unix_ms as f64), None]),
    };
    let numbers = numbers.into_iter().flatten();
    let mut out = BytesMut::with_capacity(64);
    out.put_slice(b"\x02\x00\x0aonCuePoint\x0a");
    out.put_u32(1 + numbers.clone().count() as u32);
    out.put_u8(2);
    out.put_u16(kind.len() as u16);
    out.put_slice(kind.as_bytes());
    for number in numbers {
        out.put_u8(0);
        out.put_f64(number);
    }
    out.freeze()
}

/// The body of a script tag with a marker, for the time stamp [`KEEPALIVE_TIMESTAMP_MS`]: `onCuePoint` with an array, as that of [`news_body`]:
/// `["marker", unix_ms, name, value, name, value, ...]`. Text beyond 65,535 bytes is left out with its pair.
pub fn marker_body<'a>(unix_ms: u64, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Bytes {
    let is_short = |text: &str| u16::try_from(text.len()).is_ok();
    let pairs = pairs.filter(|(name, value)| is_short(name) && is_short(value));
    let pairs = pairs.flat_map(|(name, value)| [Value::string(name), Value::string(value)]);
    let marker = [Value::string("marker"), Value::Number(unix_ms as f64)].into_iter().chain(pairs).collect();
    amf0::encode(&[Value::string("onCuePoint"), Value::StrictArray(marker)]).into()
}
