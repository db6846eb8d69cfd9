//! A short clip in an MP4 file, as tags of FLV: what editors and phones write. Before it: the bytes of a file; after it: [`super::clip`], which
//! reads both forms in the same way. (ISO/IEC 14496-12 for the boxes, 14496-14 and 14496-15 for what is in them.)
//!
//! Only whole files whose tables are in one `moov`: every table is held against the file before anything is made of it.
use bytes::Bytes;

use super::clip::ClipError;
use super::kinds::{TagKind, Track};
use crate::boxes::{find, find_in, next_box};
use crate::cursor::{Cursor, Truncated};
use crate::limits::{CLIP_FRAMES_PER_SECOND_MAX, CLIP_MS_MAX};

/// Samples of one track: more than any clip may have.
const SAMPLES_MAX: usize = CLIP_FRAMES_PER_SECOND_MAX as usize * CLIP_MS_MAX as usize / 1_000;
/// Bytes of a picture's sample entry before its boxes (`VisualSampleEntry`).
const PICTURE_ENTRY_BYTES: usize = 78;
/// Bytes of a audio's (`AudioSampleEntry`), and what QuickTime's version 1 of it has more.
const SOUND_ENTRY_BYTES: usize = 28;
const SOUND_ENTRY_V1_BYTES: usize = 16;
/// Kinds of AAC in an elementary stream descriptor: MPEG-4's, and MPEG-2's three.
const AAC_TYPES: [u8; 4] = [0x40, 0x66, 0x67, 0x68];

/// Why an MP4 file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mp4Error {
    /// A box, a table or a sample ends behind the file's end.
    #[error("it is cut short: {0}")]
    Truncated(#[from] Truncated),
    /// No `moov`.
    #[error("it has no index")]
    NoIndex,
    /// The samples are listed beside them.
    #[error("it is fragmented")]
    Fragmented,
    /// A track lacks this table, or the table does not fit the others.
    #[error("its table {0} is missing, or does not fit the others")]
    Table(&'static str),
    /// More than [`SAMPLES_MAX`] in a track.
    #[error("a track of it has {0} samples; {SAMPLES_MAX} may be")]
    Many(usize),
    /// Samples that overlap.
    #[error("its samples have more bytes than the file")]
    Overlapping,
}

impl From<Truncated> for ClipError {
    fn from(error: Truncated) -> Self {
        Self::Mp4(error.into())
    }
}

/// Whether a file says that it is of this kind.
pub(super) fn is_mp4(file: &[u8]) -> bool {
    file.get(4..8) == Some(b"ftyp")
}

/// A tag of FLV: kind, milliseconds, body.
pub(super) type Tag = (TagKind, u32, Bytes);

/// The file's first picture track and its first audio track as tags, each track's configuration first.
pub(super) fn tags(file: &[u8]) -> Result<Vec<Tag>, ClipError> {
    let moov = find(file, *b"moov")?.ok_or(ClipError::Mp4(Mp4Error::NoIndex))?;
    if find(moov, *b"mvex")?.is_some() {
        return Err(ClipError::Mp4(Mp4Error::Fragmented));
    }
    let movie_timescale = timescale(find(moov, *b"mvhd")?.unwrap_or_default()).unwrap_or(1_000);
    let (mut video, mut audio) = (None, None);
    let mut boxes = Cursor::new(moov);
    while let Some((name, trak)) = next_box(&mut boxes)? {
        if name != *b"trak" {
            continue;
        }
        let handler = find_in(trak, &[*b"mdia", *b"hdlr"])?.and_then(|hdlr| hdlr.get(8..12));
        match handler {
            Some(b"vide") if video.is_none() => video = Some(read_track(file, trak, Track::Video, movie_timescale)?),
            Some(b"soun") if audio.is_none() => audio = Some(read_track(file, trak, Track::Audio, movie_timescale)?),
            _ => {}
        }
    }
    let mut samples = Vec::new();
    let mut tags = Vec::new();
    for (kind, track) in [(TagKind::Video, video), (TagKind::Audio, audio)] {
        let Some((config, of_track)) = track else { continue };
        let head: &[u8] = if kind == TagKind::Video { &[0x17, 0, 0, 0, 0] } else { &[0xAF, 0] };
        tags.push((kind, 0, [head, config].concat().into()));
        samples.extend(of_track.into_iter().map(|sample| (kind, sample)));
    }
    // An edit may lead to before the movie's beginning.
    let first_ms = samples.iter().map(|(_, sample)| sample.dts_ms).min().unwrap_or(0);
    samples.sort_by_key(|(_, sample)| sample.dts_ms);
    for (kind, Sample { dts_ms, cts_ms, keyframe, data }) in samples {
        let [_, a, b, c] = cts_ms.to_be_bytes();
        let head: &[u8] =
            if kind == TagKind::Video { &[if keyframe { 0x17 } else { 0x27 }, 1, a, b, c] } else { &[0xAF, 1] };
        tags.push((kind, u32::try_from(dts_ms - first_ms).unwrap_or(u32::MAX), [head, data].concat().into()));
    }
    Ok(tags)
}

/// One access unit.
struct Sample<'a> {
    dts_ms: i64,
    cts_ms: i32,
    keyframe: bool,
    data: &'a [u8],
}

/// A track's configuration and its samples.
type Read<'a> = (&'a [u8], Vec<Sample<'a>>);

fn read_track<'a>(file: &'a [u8], inside: &'a [u8], track: Track, movie_timescale: u32) -> Result<Read<'a>, ClipError> {
    let table = |name: &'static str| move || ClipError::Mp4(Mp4Error::Table(name));
    let mdhd = find_in(inside, &[*b"mdia", *b"mdhd"])?.unwrap_or_default();
    let timescale = i64::from(timescale(mdhd).ok_or_else(table("mdhd"))?);
    let stbl = find_in(inside, &[*b"mdia", *b"minf", *b"stbl"])?.ok_or_else(table("stbl"))?;
    let config = configuration(find(stbl, *b"stsd")?.ok_or_else(table("stsd"))?, track)?;
    let sizes = sizes(find(stbl, *b"stsz")?.ok_or_else(table("stsz"))?)?;
    // Tables that name the same bytes again and again would make gigabytes of a small file.
    if sizes.iter().fold(0, |sum: usize, size| sum.saturating_add(*size)) > file.len() {
        return Err(ClipError::Mp4(Mp4Error::Overlapping));
    }
    let offsets = offsets(stbl, &sizes)?;
    let mut steps = Runs::new(find(stbl, *b"stts")?.ok_or_else(table("stts"))?)?;
    let mut shifts = find(stbl, *b"ctts")?.map(Runs::new).transpose()?;
    let keyframes = find(stbl, *b"stss")?.map(keyframes).transpose()?;
    let (skipped, delay_ms) = edit(inside, movie_timescale)?;
    let mut samples = Vec::with_capacity(sizes.len());
    let mut dts = 0_i64;
    for (index, (size, offset)) in sizes.iter().zip(offsets).enumerate() {
        let mut at = Cursor::new(file);
        at.skip(offset)?;
        let shift = match &mut shifts {
            // Signed in version 1; writers of version 0 that need it write it so too.
            Some(shifts) => i64::from(shifts.next()?.ok_or_else(table("ctts"))?.cast_signed()),
            None => 0,
        };
        samples.push(Sample {
            dts_ms: (dts - skipped) * 1_000 / timescale + delay_ms,
            cts_ms: i32::try_from(shift * 1_000 / timescale).unwrap_or(0),
            keyframe: keyframes.as_ref().is_none_or(|known| known.binary_search(&(index as u32 + 1)).is_ok()),
            data: at.take(*size)?,
        });
        dts += i64::from(steps.next()?.ok_or_else(table("stts"))?);
    }
    Ok((config, samples))
}

/// Units a second of a header box, `mvhd` or `mdhd`; `None`: it has none.
fn timescale(header: &[u8]) -> Option<u32> {
    let mut at = Cursor::new(header);
    let version = at.u8().ok()?;
    // Flags, and two times.
    at.skip(3 + if version == 1 { 16 } else { 8 }).ok()?;
    at.u32().ok().filter(|timescale| *timescale > 0)
}

/// What the first edit skips at the track's beginning, in its units, and how much later than the movie it begins, milliseconds.
fn edit(trak: &[u8], movie_timescale: u32) -> Result<(i64, i64), Truncated> {
    let Some(elst) = find_in(trak, &[*b"edts", *b"elst"])? else { return Ok((0, 0)) };
    let mut at = Cursor::new(elst);
    let version = at.u8()?;
    at.skip(3)?;
    let mut delay_ms = 0;
    for _ in 0..at.u32()? {
        let (length, media_time) = if version == 1 {
            (u64::from_be_bytes(at.array()?), i64::from_be_bytes(at.array()?))
        } else {
            (u64::from(at.u32()?), i64::from(at.u32()?.cast_signed()))
        };
        at.skip(4)?;
        if media_time >= 0 {
            // A clip that begins later than this in its track is none.
            return Ok((media_time.min(i64::from(u32::MAX)), delay_ms));
        }
        delay_ms += i64::try_from(length.min(u64::from(u32::MAX)) * 1_000 / u64::from(movie_timescale)).unwrap_or(0);
    }
    Ok((0, delay_ms))
}

/// The decoder's configuration, out of the first sample entry.
fn configuration(stsd: &[u8], track: Track) -> Result<&[u8], ClipError> {
    let mut at = Cursor::new(stsd);
    at.skip(8)?;
    let (name, entry) = next_box(&mut at)?.ok_or(ClipError::Mp4(Mp4Error::Table("stsd")))?;
    let mut at = Cursor::new(entry);
    match (track, &name) {
        (Track::Video, b"avc1" | b"avc3") => {
            at.skip(PICTURE_ENTRY_BYTES)?;
            find(at.rest(), *b"avcC")?.ok_or(ClipError::Mp4(Mp4Error::Table("avcC")))
        }
        (Track::Video, _) => Err(ClipError::NotAvc),
        (Track::Audio, b"mp4a") => {
            at.skip(8)?;
            let version = at.u16()?;
            at.skip(SOUND_ENTRY_BYTES - 10 + if version == 1 { SOUND_ENTRY_V1_BYTES } else { 0 })?;
            // QuickTime wraps it.
            let inner = find(at.rest(), *b"wave")?.unwrap_or(at.rest());
            let esds = find(inner, *b"esds")?.ok_or(ClipError::Mp4(Mp4Error::Table("esds")))?;
            audio_config(esds)
        }
        (Track::Audio, _) => Err(ClipError::NotAac),
    }
}

/// The AudioSpecificConfig of an elementary stream descriptor (ISO/IEC 14496-1, 7.2.6).
fn audio_config(esds: &[u8]) -> Result<&[u8], ClipError> {
    let mut at = Cursor::new(esds);
    at.skip(4)?;
    let mut at = Cursor::new(descriptor(&mut at, 3)?);
    at.skip(2)?;
    let flags = at.u8()?;
    if flags & 0x80 != 0 {
        at.skip(2)?;
    }
    if flags & 0x40 != 0 {
        let length = at.u8()?;
        at.skip(usize::from(length))?;
    }
    if flags & 0x20 != 0 {
        at.skip(2)?;
    }
    let mut at = Cursor::new(descriptor(&mut at, 4)?);
    if !AAC_TYPES.contains(&at.u8()?) {
        return Err(ClipError::NotAac);
    }
    at.skip(12)?;
    descriptor(&mut at, 5)
}

/// The next descriptor, which has to be of this tag.
fn descriptor<'a>(at: &mut Cursor<'a>, tag: u8) -> Result<&'a [u8], ClipError> {
    if at.u8()? != tag {
        return Err(ClipError::Mp4(Mp4Error::Table("esds")));
    }
    let mut length = 0;
    for _ in 0..4 {
        let byte = at.u8()?;
        length = length << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(at.take(length)?)
}

/// The size of each sample.
fn sizes(stsz: &[u8]) -> Result<Vec<usize>, ClipError> {
    let mut at = Cursor::new(stsz);
    at.skip(4)?;
    let (same, count) = (at.u32()? as usize, at.u32()? as usize);
    if count > SAMPLES_MAX {
        return Err(ClipError::Mp4(Mp4Error::Many(count)));
    }
    if same > 0 {
        return Ok(vec![same; count]);
    }
    Ok((0..count).map(|_| at.u32().map(|size| size as usize)).collect::<Result<_, _>>()?)
}

/// Where each sample is in the file.
fn offsets(stbl: &[u8], sizes: &[usize]) -> Result<Vec<usize>, ClipError> {
    let misfit = || ClipError::Mp4(Mp4Error::Table("stsc"));
    let (chunks, wide) = match (find(stbl, *b"stco")?, find(stbl, *b"co64")?) {
        (Some(stco), _) => (stco, false),
        (None, Some(co64)) => (co64, true),
        (None, None) => return Err(ClipError::Mp4(Mp4Error::Table("stco"))),
    };
    let mut chunks = Cursor::new(chunks);
    chunks.skip(4)?;
    let mut runs = Cursor::new(find(stbl, *b"stsc")?.ok_or_else(misfit)?);
    runs.skip(4)?;
    let mut pending = runs.u32()?;
    let (mut per_chunk, mut next_run) = (0, None);
    let mut offsets = Vec::with_capacity(sizes.len());
    for chunk in 1..=chunks.u32()? {
        let mut offset = if wide {
            usize::try_from(u64::from_be_bytes(chunks.array()?)).unwrap_or(usize::MAX)
        } else {
            chunks.u32()? as usize
        };
        loop {
            if next_run.is_none() && pending > 0 {
                pending -= 1;
                let (first_chunk, samples) = (runs.u32()?, runs.u32()?);
                runs.skip(4)?;
                next_run = Some((first_chunk, samples));
            }
            match next_run {
                Some((first_chunk, samples)) if first_chunk <= chunk => (per_chunk, next_run) = (samples, None),
                _ => break,
            }
        }
        for size in sizes.iter().skip(offsets.len()).take(per_chunk as usize) {
            offsets.push(offset);
            offset = offset.saturating_add(*size);
        }
    }
    if offsets.len() == sizes.len() { Ok(offsets) } else { Err(misfit()) }
}

/// Numbers of the samples that stand alone, from 1 on.
fn keyframes(stss: &[u8]) -> Result<Vec<u32>, ClipError> {
    let mut at = Cursor::new(stss);
    at.skip(4)?;
    let count = at.u32()? as usize;
    if count > SAMPLES_MAX {
        return Err(ClipError::Mp4(Mp4Error::Many(count)));
    }
    Ok((0..count).map(|_| at.u32()).collect::<Result<_, _>>()?)
}

/// A table of runs: how many samples, and the number that each of them has.
struct Runs<'a> {
    at: Cursor<'a>,
    pending: u32,
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    fn new(table: &'a [u8]) -> Result<Self, Truncated> {
        let mut at = Cursor::new(table);
        at.skip(4)?;
        let pending = at.u32()?;
        Ok(Self { at, pending, left: 0, value: 0 })
    }

    fn next(&mut self) -> Result<Option<u32>, Truncated> {
        while self.left == 0 {
            if self.pending == 0 {
                return Ok(None);
            }
            self.pending -= 1;
            (self.left, self.value) = (self.at.u32()?, self.at.u32()?);
        }
        self.left -= 1;
        Ok(Some(self.value))
    }
}
