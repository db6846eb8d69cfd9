//! A track's header, read for what an MP4 file takes over from it. Before it: `ftyp` and `moov` of a CMAF track, ours or another packager's;
//! after it: [`super::fragment`], which needs its defaults, and the file's `moov`.
//!
//! The sample entry is not understood, only copied: every codec that has one can be in a file.
use bytes::Bytes;
use mp4_atom::{Atom, Elst, FixedPoint, Hdlr, Matrix, Mdhd, Tkhd, Trex};

use crate::boxes::{find, find_in, next_box};
use crate::cursor::{Cursor, Truncated};
use crate::limits::MP4_HEADER_BYTES_MAX;
use crate::media::Track;

/// What the fragments of a track need, and what is taken over into the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackHeader {
    track: Track,
    timescale: u32,
    pub(super) language: String,
    pub(super) width: FixedPoint<u16>,
    pub(super) height: FixedPoint<u16>,
    pub(super) matrix: Matrix,
    /// The content of `stsd`: one sample entry.
    pub(super) descriptions: Bytes,
    /// Composition time that is presented at the track's zero.
    pub(super) shift: i64,
    pub(super) defaults: Defaults,
}

/// What samples are where a fragment does not say it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Defaults {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// A header that no file can be made of.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// A box ends behind the header's end.
    #[error("the track's header is cut short: {0}")]
    Truncated(#[from] Truncated),
    /// Longer than [`MP4_HEADER_BYTES_MAX`].
    #[error("the track's header has {0} bytes; at most {MP4_HEADER_BYTES_MAX} are read")]
    Long(usize),
    /// A box that each track has is not there, or cannot be read.
    #[error("the track's header has no {0} that can be read")]
    Box(&'static str),
    /// Not one track with one sample entry, as CMAF has it.
    #[error("the header has {0}; a CMAF track has one")]
    Several(&'static str),
    /// Neither video nor audio.
    #[error("a track of kind {0:?} is not written into MP4 files; video and audio are")]
    Kind(String),
    /// A sample entry of encrypted samples: what is beside them would be lost.
    #[error("the track is encrypted; an MP4 file is made of clear tracks only")]
    Encrypted,
    /// An edit list of more than a shift.
    #[error("the track's header has an edit list of several edits, or one that skips nothing")]
    Edits,
}

/// The version and flags of a box, and the number of entries behind them.
const ENTRIES_AT: usize = 8;
/// A sample entry of video before the boxes within it, its own header included (ISO/IEC 14496-12, 12.1.3).
const VIDEO_ENTRY_BYTES: usize = 86;

impl TrackHeader {
    /// Reads `ftyp` and `moov`.
    pub fn read(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.len() > MP4_HEADER_BYTES_MAX {
            return Err(HeaderError::Long(bytes.len()));
        }
        let moov = find(bytes, *b"moov")?.ok_or(HeaderError::Box("moov"))?;
        let inside = find(moov, *b"trak")?.ok_or(HeaderError::Box("trak"))?;
        if count(moov, *b"trak")? > 1 {
            return Err(HeaderError::Several("several tracks"));
        }
        let tkhd: Tkhd = read(inside, &[*b"tkhd"], "tkhd")?;
        let mdhd: Mdhd = read(inside, &[*b"mdia", *b"mdhd"], "mdhd")?;
        let hdlr: Hdlr = read(inside, &[*b"mdia", *b"hdlr"], "hdlr")?;
        let handler: [u8; 4] = hdlr.handler.into();
        let track = match &handler {
            b"vide" => Track::Video,
            b"soun" => Track::Audio,
            other => return Err(HeaderError::Kind(other.escape_ascii().to_string())),
        };
        if mdhd.timescale == 0 {
            return Err(HeaderError::Box("mdhd"));
        }
        let descriptions =
            find_in(inside, &[*b"mdia", *b"minf", *b"stbl", *b"stsd"])?.ok_or(HeaderError::Box("stsd"))?;
        check(descriptions)?;
        let defaults = match find_in(moov, &[*b"mvex", *b"trex"])? {
            None => Defaults::default(),
            Some(mut trex) => {
                let trex = Trex::decode_body(&mut trex).map_err(|_| HeaderError::Box("trex"))?;
                Defaults {
                    duration: trex.default_sample_duration,
                    size: trex.default_sample_size,
                    flags: trex.default_sample_flags,
                }
            }
        };
        Ok(Self {
            track,
            timescale: mdhd.timescale,
            language: mdhd.language,
            width: tkhd.width,
            height: tkhd.height,
            matrix: tkhd.matrix,
            descriptions: Bytes::copy_from_slice(descriptions),
            shift: shift(inside)?,
            defaults,
        })
    }

    /// Whether it is video or audio.
    pub const fn track(&self) -> Track {
        self.track
    }

    /// Units per second of its times.
    pub const fn timescale(&self) -> u32 {
        self.timescale
    }

    /// The record of a track of H.264 (`avcC`), where it is one.
    pub fn avc_record(&self) -> Option<&[u8]> {
        let entry = self.descriptions.get(ENTRIES_AT..)?;
        let kind = entry.get(4..8)?;
        let within = entry.get(VIDEO_ENTRY_BYTES..).filter(|_| kind == b"avc1" || kind == b"avc3")?;
        find(within, *b"avcC").ok().flatten()
    }

    /// When a composition time of the track is presented, microseconds since the tracks' zero, rounded up.
    pub fn presented_us(&self, composition_time: i64) -> i64 {
        let (units, scale) = (i128::from(composition_time) - i128::from(self.shift), i128::from(self.timescale));
        let us = (units * 1_000_000 + scale - 1).div_euclid(scale);
        i64::try_from(us).unwrap_or(if us < 0 { i64::MIN } else { i64::MAX })
    }
}

fn read<T: Atom>(bytes: &[u8], path: &[[u8; 4]], name: &'static str) -> Result<T, HeaderError> {
    let mut inner = find_in(bytes, path)?.ok_or(HeaderError::Box(name))?;
    T::decode_body(&mut inner).map_err(|_| HeaderError::Box(name))
}

fn count(bytes: &[u8], wanted: [u8; 4]) -> Result<usize, Truncated> {
    let (mut at, mut count) = (Cursor::new(bytes), 0);
    while let Some((name, _)) = next_box(&mut at)? {
        count += usize::from(name == wanted);
    }
    Ok(count)
}

/// One sample entry, in the clear.
fn check(descriptions: &[u8]) -> Result<(), HeaderError> {
    let mut at = Cursor::new(descriptions);
    at.skip(ENTRIES_AT - 4)?;
    if at.u32()? != 1 {
        return Err(HeaderError::Several("no sample entry, or several"));
    }
    match next_box(&mut at)? {
        Some((name, _)) if matches!(&name, b"encv" | b"enca") => Err(HeaderError::Encrypted),
        Some(_) if at.is_empty() => Ok(()),
        _ => Err(HeaderError::Box("sample entry")),
    }
}

/// The first presented composition time: packagers that keep composition offsets positive say it in an edit list.
fn shift(trak: &[u8]) -> Result<i64, HeaderError> {
    let Some(mut elst) = find_in(trak, &[*b"edts", *b"elst"])? else { return Ok(0) };
    let elst = Elst::decode_body(&mut elst).map_err(|_| HeaderError::Edits)?;
    match elst.entries.as_slice() {
        [] => Ok(0),
        [edit] => edit.media_time.and_then(|time| u32::try_from(time).ok()).map(i64::from).ok_or(HeaderError::Edits),
        _ => Err(HeaderError::Edits),
    }
}
