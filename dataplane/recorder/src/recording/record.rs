//! The records of a recording's index: what is appended beside the media, each with a checksum of its own. Before them: [`super::Recording`],
//! which makes them of changes; after them: [`super::ledger`], which is nothing but what they say, live and after a crash.
//!
//! Why an index beside the media, and not boxes within it: objects are the bytes of the live segments and nothing else, and are uploaded, cut and played
//! as the file that they are. A part's record is written after the part and has its checksum. So of a kill at any byte of either file remains the
//! longest run of records whose media is there: a torn record is none, a part without a record is cut off, and a record whose part is not whole on
//! the disk ends the run. Each is at most what came since the last sync. Where the disk changed what was synced, [`super::mend`] puts one bit right,
//! and what is worse is a gap: the records say enough (where a segment begins in its object, what an object is) to go on behind it.
use bytes::{BufMut as _, Bytes, BytesMut};
use millstream_proto::codec::Shape;
use millstream_proto::cursor::{Cursor, Truncated};
use millstream_proto::id::Id;
use millstream_proto::media::Track;
use serde::Serialize;

use crate::limits::RECORD_BYTES_MAX;
use crate::name::RecordingName;
use crate::store::Sums;

/// The format of the index.
const VERSION: u8 = 3;
/// The oldest one that is read: it does not say when segments are decoded.
const OLDEST: u8 = 2;
/// Bytes of a record besides its content: its length before it, its checksum behind it.
pub(crate) const FRAME_BYTES: usize = 8;

/// Why something is missing in a recording, or why it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The spool holds as much as it may.
    SpoolFull,
    /// The disk has no room.
    DiskFull,
    /// The disk failed.
    DiskError,
    /// The recorder's queue was full for longer than the window reaches back.
    QueueFull,
    /// The server was stopped or killed.
    ServerStopped,
    /// The packager began anew.
    NewSession,
    /// The stream is over.
    StreamEnded,
    /// Somebody ended it by hand, or the stream is no longer to be recorded.
    Stopped,
    /// It was as long as a recording may be, or goes on with longer segments than it promised.
    Split,
    /// What is on the disk is not what was written.
    Damaged,
}

const REASONS: [Reason; 10] = [
    Reason::SpoolFull,
    Reason::DiskFull,
    Reason::DiskError,
    Reason::QueueFull,
    Reason::ServerStopped,
    Reason::NewSession,
    Reason::StreamEnded,
    Reason::Stopped,
    Reason::Split,
    Reason::Damaged,
];

/// What stays the same for the life of a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its name.
    pub name: RecordingName,
    /// Its stream.
    pub stream: Id,
    /// `EXT-X-TARGETDURATION`, seconds.
    pub target_duration_s: u32,
    /// Milliseconds that an object holds.
    pub object_ms: u32,
    /// See [`crate::settings::StreamSettings::retention_days`].
    pub retention_days: u32,
    /// Its objects and playlists go to the store.
    pub keeps_hls: bool,
    /// MP4 files are made of it.
    pub movies: Option<Movies>,
}

/// How long MP4 files of a recording are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Movies {
    /// Milliseconds.
    pub length_ms: u32,
    /// Bytes of media after which one ends before its time.
    pub bytes_max: u64,
}

/// An MP4 file that is in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MadeMovie {
    /// Its number in the recording, from 1.
    pub number: u32,
    /// Its length; 0: nothing of it could be played, and there is no file.
    pub bytes: u64,
    /// How long it plays.
    pub duration_ms: u64,
}

/// A track's file header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Init {
    /// Its number in the recording and track, from 1.
    pub number: u32,
    /// Units per second of the track's times.
    pub timescale: u32,
    /// The codec as RFC 6381 writes it.
    pub codec: String,
    /// Size or rate.
    pub shape: Option<Shape>,
    /// The bytes.
    pub bytes: Bytes,
}

/// The beginning of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentStart {
    /// The object that it is in.
    pub object: u32,
    /// Where it begins in that: known without the records before it.
    pub offset: u64,
    /// Number of its file header.
    pub init: u32,
    /// Number of its run, from 0: what comes before a run is a discontinuity.
    pub run: u32,
    /// The date of its first frame, Unix milliseconds.
    pub date_unix_ms: u64,
    /// Decode time of its first frame, in units of its header; `None` where a release wrote the record that did not keep it.
    pub decode_time: Option<u64>,
}

/// A part, whose bytes are the next ones of its object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartSums {
    /// Its length, bytes.
    pub bytes: u32,
    /// CRC-32 of its bytes.
    pub crc32: u32,
    /// Its length, milliseconds.
    pub duration_ms: u32,
    /// Frames in it.
    pub frames: u16,
    /// A player can start in it.
    pub independent: bool,
}

/// One step of a recording's life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// The first.
    Head(Head),
    /// A track has this header from its next segment on.
    Init(Track, Init),
    /// A segment begins.
    Opened(Track, SegmentStart),
    /// It has one more part.
    Part(Track, PartSums),
    /// It is whole.
    Closed(Track),
    /// There is nothing in it: it stands for so many milliseconds.
    Gap(Track, u32),
    /// What comes is a run of its own, and something is missing before it. Open objects are whole.
    Break(Reason),
    /// An object is whole and on the disk, and is this.
    Sealed(Track, u32, Sums),
    /// An object cannot be had: its segments are gaps.
    Damaged(Track, u32),
    /// The segment of an object that begins there is not what was written: it is a gap.
    Spoilt(Track, u32, u64),
    /// Parts of an object from there on never got to the disk, while records behind theirs did.
    Trimmed(Track, u32, u64),
    /// Nothing more comes. Open objects are whole.
    Ended(Reason),
    /// An MP4 file is in the store.
    Movie(MadeMovie),
}

/// Why there is no record at a place of an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes end before it does.
    #[error("the record is cut off")]
    Torn,
    /// Its checksum, or a field, is wrong.
    #[error("the record is damaged")]
    Damaged,
    /// Another release wrote it.
    #[error("the index has format {0}; this release reads {OLDEST} to {VERSION}")]
    Version(u8),
}

impl From<Truncated> for RecordError {
    fn from(_: Truncated) -> Self {
        Self::Damaged
    }
}

impl Record {
    /// The record as it is appended.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        out.put_u32(0);
        self.write(&mut out);
        let content = out.len() - 4;
        if let Some(length) = out.first_chunk_mut() {
            *length = (content as u32).to_be_bytes();
        }
        let sum = crc32fast::hash(out.get(4..).unwrap_or_default());
        out.put_u32(sum);
        out.freeze()
    }

    fn write(&self, out: &mut BytesMut) {
        match self {
            Self::Head(head) => {
                let Head { name, stream, target_duration_s, object_ms, retention_days, keeps_hls, movies } = head;
                out.put_slice(&[0, VERSION]);
                put_text(out, name.as_str());
                put_text(out, stream.as_str());
                for number in [*target_duration_s, *object_ms, *retention_days] {
                    out.put_u32(number);
                }
                out.put_u8(u8::from(*keeps_hls));
                out.put_u32(movies.map_or(0, |movies| movies.length_ms));
                out.put_u64(movies.map_or(0, |movies| movies.bytes_max));
            }
            Self::Init(track, Init { number, timescale, codec, shape, bytes }) => {
                out.put_slice(&[1, track_code(*track)]);
                out.put_u32(*number);
                out.put_u32(*timescale);
                put_text(out, codec);
                let (kind, a, b) = match shape {
                    None => (0, 0, 0),
                    Some(Shape::Video { width, height }) => (1, *width, *height),
                    Some(Shape::Audio { rate_hz, channels }) => (2, *rate_hz, u32::from(*channels)),
                };
                out.put_u8(kind);
                out.put_u32(a);
                out.put_u32(b);
                out.put_slice(bytes);
            }
            Self::Opened(track, SegmentStart { object, offset, init, run, date_unix_ms, decode_time }) => {
                out.put_slice(&[2, track_code(*track)]);
                for number in [*object, *init, *run] {
                    out.put_u32(number);
                }
                out.put_u64(*date_unix_ms);
                out.put_u64(*offset);
                if let Some(decode_time) = decode_time {
                    out.put_u64(*decode_time);
                }
            }
            Self::Part(track, PartSums { bytes, crc32, duration_ms, frames, independent }) => {
                out.put_slice(&[3, track_code(*track)]);
                for number in [*bytes, *crc32, *duration_ms] {
                    out.put_u32(number);
                }
                out.put_u16(*frames);
                out.put_u8(u8::from(*independent));
            }
            Self::Closed(track) => out.put_slice(&[4, track_code(*track)]),
            Self::Gap(track, ms) => {
                out.put_slice(&[5, track_code(*track)]);
                out.put_u32(*ms);
            }
            Self::Break(reason) => out.put_slice(&[6, reason_code(*reason)]),
            Self::Sealed(track, object, Sums { bytes, crc32 }) => {
                out.put_slice(&[7, track_code(*track)]);
                out.put_u32(*object);
                out.put_u64(*bytes);
                out.put_u32(*crc32);
            }
            Self::Damaged(track, object) => {
                out.put_slice(&[8, track_code(*track)]);
                out.put_u32(*object);
            }
            Self::Spoilt(track, object, offset) | Self::Trimmed(track, object, offset) => {
                out.put_slice(&[if matches!(self, Self::Spoilt(..)) { 10 } else { 11 }, track_code(*track)]);
                out.put_u32(*object);
                out.put_u64(*offset);
            }
            Self::Ended(reason) => out.put_slice(&[9, reason_code(*reason)]),
            Self::Movie(MadeMovie { number, bytes, duration_ms }) => {
                out.put_slice(&[12, 0]);
                out.put_u32(*number);
                out.put_u64(*bytes);
                out.put_u64(*duration_ms);
            }
        }
    }

    /// Reads the record at the beginning of these bytes, and how many it takes.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), RecordError> {
        let length = Cursor::new(bytes).u32().map_err(|_| RecordError::Torn)?;
        let (content, sum) = framed(bytes, length)?;
        if sum != crc32fast::hash(content) {
            return Err(RecordError::Damaged);
        }
        Ok((Self::read(content)?, content.len() + FRAME_BYTES))
    }

    pub(super) fn read(content: &[u8]) -> Result<Self, RecordError> {
        let mut cursor = Cursor::new(content);
        let (kind, code) = (cursor.u8()?, cursor.u8()?);
        if kind == 0 {
            if !(OLDEST..=VERSION).contains(&code) {
                return Err(RecordError::Version(code));
            }
            let name = RecordingName::parse(text(&mut cursor)?).ok_or(RecordError::Damaged)?;
            let stream = Id::new(text(&mut cursor)?).map_err(|_| RecordError::Damaged)?;
            let (target_duration_s, object_ms, retention_days) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
            let (keeps_hls, length_ms) = (cursor.u8()? != 0, cursor.u32()?);
            let bytes_max = u64::from_be_bytes(cursor.array()?);
            let movies = (length_ms > 0).then_some(Movies { length_ms, bytes_max });
            let head = Head { name, stream, target_duration_s, object_ms, retention_days, keeps_hls, movies };
            return Ok(Self::Head(head));
        }
        let reason = || REASONS.get(usize::from(code)).copied().ok_or(RecordError::Damaged);
        match kind {
            6 => return reason().map(Self::Break),
            9 => return reason().map(Self::Ended),
            12 => {
                let number = cursor.u32()?;
                let (bytes, duration_ms) = (u64::from_be_bytes(cursor.array()?), u64::from_be_bytes(cursor.array()?));
                return Ok(Self::Movie(MadeMovie { number, bytes, duration_ms }));
            }
            _ => {}
        }
        let track = match code {
            0 => Track::Video,
            1 => Track::Audio,
            _ => return Err(RecordError::Damaged),
        };
        let record = match kind {
            1 => {
                let (number, timescale) = (cursor.u32()?, cursor.u32()?);
                let codec = text(&mut cursor)?.to_owned();
                let shape = match (cursor.u8()?, cursor.u32()?, cursor.u32()?) {
                    (1, width, height) => Some(Shape::Video { width, height }),
                    (2, rate_hz, channels) => Some(Shape::Audio { rate_hz, channels: channels as u8 }),
                    _ => None,
                };
                let bytes = Bytes::copy_from_slice(cursor.take(cursor.remaining())?);
                Self::Init(track, Init { number, timescale, codec, shape, bytes })
            }
            2 => {
                let (object, init, run) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
                let (date_unix_ms, offset) = (long(&mut cursor)?, long(&mut cursor)?);
                let decode_time = if cursor.is_empty() { None } else { Some(long(&mut cursor)?) };
                Self::Opened(track, SegmentStart { object, offset, init, run, date_unix_ms, decode_time })
            }
            3 => {
                let (bytes, crc32, duration_ms) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
                let (frames, independent) = (cursor.u16()?, cursor.u8()? != 0);
                Self::Part(track, PartSums { bytes, crc32, duration_ms, frames, independent })
            }
            4 => Self::Closed(track),
            5 => Self::Gap(track, cursor.u32()?),
            7 => {
                let (object, bytes, crc32) = (cursor.u32()?, long(&mut cursor)?, cursor.u32()?);
                Self::Sealed(track, object, Sums { bytes, crc32 })
            }
            8 => Self::Damaged(track, cursor.u32()?),
            10 => Self::Spoilt(track, cursor.u32()?, long(&mut cursor)?),
            11 => Self::Trimmed(track, cursor.u32()?, long(&mut cursor)?),
            _ => return Err(RecordError::Damaged),
        };
        if cursor.is_empty() { Ok(record) } else { Err(RecordError::Damaged) }
    }
}

/// The content of a record of that length, and the checksum behind it.
pub(super) fn framed(bytes: &[u8], length: u32) -> Result<(&[u8], u32), RecordError> {
    if length == 0 || length as usize > RECORD_BYTES_MAX {
        return Err(RecordError::Damaged);
    }
    let mut cursor = Cursor::new(bytes);
    let mut read = || {
        cursor.u32()?;
        Ok((cursor.take(length as usize)?, cursor.u32()?))
    };
    read().map_err(|_: Truncated| RecordError::Torn)
}

fn track_code(track: Track) -> u8 {
    crate::name::place(track) as u8
}

fn reason_code(reason: Reason) -> u8 {
    REASONS.iter().position(|known| *known == reason).unwrap_or_default() as u8
}

/// Names and codecs are short: a length of 16 bits before them.
fn put_text(out: &mut BytesMut, text: &str) {
    let bytes = text.as_bytes();
    let bytes = bytes.get(..bytes.len().min(usize::from(u16::MAX))).unwrap_or_default();
    out.put_u16(bytes.len() as u16);
    out.put_slice(bytes);
}

fn long(cursor: &mut Cursor<'_>) -> Result<u64, Truncated> {
    cursor.array().map(u64::from_be_bytes)
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, RecordError> {
    let length = usize::from(cursor.u16()?);
    std::str::from_utf8(cursor.take(length)?).map_err(|_| RecordError::Damaged)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::recording) fn all() -> Vec<Record> {
        let name = RecordingName::new(1_795_531_265_000, "s1").expect("a name");
        let stream = Id::new("cam").expect("an id");
        let init = |shape| Init {
            number: 3,
            timescale: 90_000,
            codec: "avc1.64001f".to_owned(),
            shape,
            bytes: Bytes::from_static(b"moov"),
        };
        vec![
            Record::Head(Head {
                name,
                stream,
                target_duration_s: 2,
                object_ms: 60_000,
                retention_days: 7,
                keeps_hls: false,
                movies: Some(Movies { length_ms: 60_000, bytes_max: 1 << 40 }),
            }),
            Record::Movie(MadeMovie { number: 7, bytes: 1 << 33, duration_ms: 60_040 }),
            Record::Init(Track::Video, init(Some(Shape::Video { width: 1_280, height: 720 }))),
            Record::Init(Track::Audio, init(Some(Shape::Audio { rate_hz: 44_100, channels: 2 }))),
            Record::Init(Track::Audio, init(None)),
            Record::Opened(
                Track::Audio,
                SegmentStart { object: 1, offset: 8, init: 2, run: 3, date_unix_ms: u64::MAX, decode_time: Some(9) },
            ),
            Record::Opened(
                Track::Video,
                SegmentStart { object: 1, offset: 8, init: 2, run: 3, date_unix_ms: 4, decode_time: None },
            ),
            Record::Part(
                Track::Video,
                PartSums { bytes: 5, crc32: 6, duration_ms: 333, frames: 10, independent: true },
            ),
            Record::Closed(Track::Video),
            Record::Gap(Track::Audio, 2_000),
            Record::Break(Reason::DiskFull),
            Record::Sealed(Track::Video, 9, Sums { bytes: 10, crc32: 11 }),
            Record::Damaged(Track::Audio, 9),
            Record::Spoilt(Track::Video, 9, 12),
            Record::Trimmed(Track::Video, 9, 12),
            Record::Ended(Reason::Damaged),
        ]
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let whole: Vec<u8> = all().iter().flat_map(|record| record.encode().to_vec()).collect();
        let (mut at, mut read) = (0, Vec::new());
        while let Ok((record, bytes)) = Record::decode(&whole[at..]) {
            read.push(record);
            at += bytes;
        }
        assert_eq!((read, at), (all(), whole.len()));
    }

    #[test]
    fn what_is_cut_or_changed_at_any_byte_is_no_record() {
        for record in all() {
            let whole = record.encode();
            for end in 0..whole.len() {
                assert_eq!(Record::decode(&whole[..end]), Err(RecordError::Torn));
                let mut changed = whole.to_vec();
                changed[end] ^= 0x10;
                assert!(Record::decode(&changed).is_err(), "{record:?}, byte {end}");
            }
        }
        assert_eq!(Record::decode(&[0; 64]), Err(RecordError::Damaged), "zeros that a file system leaves are none");
    }

    #[test]
    fn another_format_is_named() {
        let mut content = all()[0].encode().to_vec();
        content[5] = 1;
        let end = content.len() - 4;
        let sum = crc32fast::hash(&content[4..end]).to_be_bytes();
        content[end..].copy_from_slice(&sum);
        assert_eq!(Record::decode(&content), Err(RecordError::Version(1)));
    }
}
