//! The bytes of `ftyp` and `moov`, in one pass over the tables. Before it: the tables of each track and its edit; after it: the beginning of the file.
//! "§" means a section of ISO/IEC 14496-12:2022.
//!
//! The small boxes are written by `mp4-atom`; the long tables are written from their compact form, for which it would want a larger one.
use mp4_atom::{
    Dinf, Dref, DrefEntry, Edts, Elst, ElstEntry, Encode, FixedPoint, FourCC, Ftyp, Hdlr, Mdhd, Mvhd, Smhd, Tkhd, Url,
    Vmhd,
};

use super::build::Packed;
use super::file::Order;
use super::table::{Run, Table};
use super::timeline::{Edit, Timeline};
use crate::media::Track;

/// Seconds from the format's epoch, the beginning of 1904, to that of Unix.
const EPOCH_S: i64 = 2_082_844_800;
/// Bytes of a track's boxes besides its tables and sample entry, and of the file's, at most.
const BOXES_BYTES_MAX: usize = 1024;
/// Bytes of a box's size and name, and of those of a box longer than 32 bits can say.
const BOX_HEADER_BYTES: u64 = 8;
const WIDE_BOX_HEADER_BYTES: u64 = 16;

/// The file's beginning up to its coded bytes, and how many of those follow.
pub(super) fn head(tracks: &[(Packed, Edit)], line: &Timeline, zero_unix_ms: Option<i64>) -> (Vec<u8>, u64) {
    let payload_bytes: u64 = tracks.iter().map(|(track, _)| track.table.payload_bytes).sum();
    let most = bytes_most(tracks);
    let wide = payload_bytes + most as u64 > u64::from(u32::MAX);
    let mut out = Vec::with_capacity(most);
    put(&mut out, &file_type());
    let creation_time = zero_unix_ms.map_or(0, |zero_ms| {
        let ms = i128::from(zero_ms) + i128::from(line.start) * 1_000 / i128::from(line.timescale);
        u64::try_from(ms.div_euclid(1_000) + i128::from(EPOCH_S)).unwrap_or(0)
    });
    // Where each track's table of chunks begins in `out`: offsets count from the file's beginning, and are known when all of this is written.
    let mut offsets_at = Vec::with_capacity(tracks.len());
    boxed(&mut out, *b"moov", |out| {
        put(out, &movie_header(line, creation_time, tracks.len()));
        for (index, (track, edit)) in tracks.iter().enumerate() {
            boxed(out, *b"trak", |out| {
                offsets_at.push(write_track(out, track, edit, index as u32 + 1, creation_time, wide));
            });
        }
    });
    if payload_bytes + BOX_HEADER_BYTES > u64::from(u32::MAX) {
        out.extend_from_slice(&1_u32.to_be_bytes());
        out.extend_from_slice(b"mdat");
        out.extend_from_slice(&(payload_bytes + WIDE_BOX_HEADER_BYTES).to_be_bytes());
    } else {
        out.extend_from_slice(&((payload_bytes + BOX_HEADER_BYTES) as u32).to_be_bytes());
        out.extend_from_slice(b"mdat");
    }
    debug_assert!(out.len() <= most, "the room for the index was reckoned too small");
    place_chunks(&mut out, tracks, offsets_at, wide);
    (out, payload_bytes)
}

/// Writes where each chunk begins into the tables made for that.
fn place_chunks(out: &mut [u8], tracks: &[(Packed, Edit)], mut offsets_at: Vec<usize>, wide: bool) {
    let mut at = out.len() as u64;
    let mut sizes: Vec<_> = tracks.iter().map(|(track, _)| track.table.sizes.iter()).collect();
    for (track, chunk) in Order::new(tracks.iter().map(|(track, _)| track.table.chunks.as_slice()).collect()) {
        let (Some(entry), Some(sizes)) = (offsets_at.get_mut(track), sizes.get_mut(track)) else { return };
        let bytes = if wide { &at.to_be_bytes()[..] } else { &(at as u32).to_be_bytes()[..] };
        if let Some(place) = out.get_mut(*entry..*entry + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        *entry += bytes.len();
        at += sizes.by_ref().take(chunk.samples as usize).map(|size| u64::from(*size)).sum::<u64>();
    }
}

/// At least as many bytes as the file's beginning has.
fn bytes_most(tracks: &[(Packed, Edit)]) -> usize {
    let of_track = |track: &Packed| {
        let Table { compositions, sizes, syncs, chunks, .. } = &track.table;
        let runs = 8 * (track.table.durations_len() + compositions.0.len());
        runs + 4 * (sizes.len() + syncs.len())
            + (12 + 8) * chunks.len()
            + track.header.descriptions.len()
            + BOXES_BYTES_MAX
    };
    BOXES_BYTES_MAX + tracks.iter().map(|(track, _)| of_track(track)).sum::<usize>()
}

fn file_type() -> Ftyp {
    let brands: [&[u8; 4]; 4] = [b"isom", b"iso2", b"mp41", b"mp42"];
    Ftyp { major_brand: FourCC::new(b"isom"), minor_version: 512, compatible_brands: brands.map(Into::into).to_vec() }
}

fn movie_header(line: &Timeline, creation_time: u64, tracks: usize) -> Mvhd {
    Mvhd {
        creation_time,
        modification_time: creation_time,
        timescale: line.timescale,
        duration: line.length,
        rate: FixedPoint::from(1_u16),
        volume: FixedPoint::from(1_u8),
        next_track_id: tracks as u32 + 1,
        ..Mvhd::default()
    }
}

/// The content of `trak`. Says where its chunk offsets are to be written.
fn write_track(out: &mut Vec<u8>, track: &Packed, edit: &Edit, id: u32, creation_time: u64, wide: bool) -> usize {
    let Packed { header, table, .. } = track;
    let video = header.track() == Track::Video;
    put(
        out,
        &Tkhd {
            creation_time,
            modification_time: creation_time,
            track_id: id,
            duration: edit.delay + edit.length,
            enabled: true,
            in_movie: true,
            volume: FixedPoint::from(u8::from(!video)),
            matrix: header.matrix.clone(),
            width: header.width,
            height: header.height,
            ..Tkhd::default()
        },
    );
    // Composition offsets are written without signs, which players of old read rightly; the edit takes the difference back.
    let raised = i64::from(table.composition_min.min(0)).abs();
    put(out, &edit_list(edit, edit.from + header.shift - table.first_dts + raised));
    let mut offsets_at = 0;
    boxed(out, *b"mdia", |out| {
        put(
            out,
            &Mdhd {
                creation_time,
                modification_time: creation_time,
                timescale: header.timescale(),
                duration: table.media_units(),
                language: header.language.clone(),
            },
        );
        let (handler, name) = if video { (b"vide", "VideoHandler") } else { (b"soun", "SoundHandler") };
        put(out, &Hdlr { handler: FourCC::new(handler), name: name.into() });
        boxed(out, *b"minf", |out| {
            if video {
                put(out, &Vmhd::default());
            } else {
                put(out, &Smhd::default());
            }
            put(out, &Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } });
            boxed(out, *b"stbl", |out| offsets_at = write_tables(out, track, raised as u32, wide));
        });
    });
    offsets_at
}

/// § 8.6.6: where the track begins later than the file an empty edit, and then all of it that is presented.
fn edit_list(edit: &Edit, media_time: i64) -> Edts {
    let media_rate = FixedPoint::from(1_i16);
    let delay = ElstEntry { segment_duration: edit.delay, media_time: None, media_rate };
    let shown = ElstEntry { segment_duration: edit.length, media_time: Some(media_time.max(0) as u64), media_rate };
    let entries = if edit.delay > 0 { vec![delay, shown] } else { vec![shown] };
    Edts { elst: Some(Elst { entries }) }
}

/// The content of `stbl`. Says where the chunk offsets are to be written.
fn write_tables(out: &mut Vec<u8>, track: &Packed, raised: u32, wide: bool) -> usize {
    let table = &track.table;
    boxed(out, *b"stsd", |out| out.extend_from_slice(&track.header.descriptions));
    let durations = table.durations();
    full_box(out, *b"stts", durations.len(), |out| write_runs(out, &durations, 0));
    // All alike and none: what a track without the box has.
    if !matches!(table.compositions.0.as_slice(), [run] if run.value.wrapping_add(raised) == 0) {
        full_box(out, *b"ctts", table.compositions.0.len(), |out| write_runs(out, &table.compositions.0, raised));
    }
    if table.syncs.len() < table.sizes.len() {
        full_box(out, *b"stss", table.syncs.len(), |out| write_numbers(out, &table.syncs));
    }
    boxed(out, *b"stsc", |out| {
        out.extend_from_slice(&[0; 8]);
        let count_at = out.len() - 4;
        let (mut runs, mut newest) = (0_u32, 0);
        for (index, chunk) in table.chunks.iter().enumerate() {
            if index == 0 || chunk.samples != newest {
                (runs, newest) = (runs + 1, chunk.samples);
                write_numbers(out, &[index as u32 + 1, chunk.samples, 1]);
            }
        }
        set_u32(out, count_at, runs);
    });
    boxed(out, *b"stsz", |out| {
        let first = table.sizes.first().copied().unwrap_or(0);
        let alike = first > 0 && table.sizes.iter().all(|size| *size == first);
        write_numbers(out, &[0, if alike { first } else { 0 }, table.sizes.len() as u32]);
        if !alike {
            write_numbers(out, &table.sizes);
        }
    });
    let mut offsets_at = 0;
    full_box(out, if wide { *b"co64" } else { *b"stco" }, table.chunks.len(), |out| {
        offsets_at = out.len();
        out.resize(out.len() + table.chunks.len() * if wide { 8 } else { 4 }, 0);
    });
    offsets_at
}

/// Values are raised by that much: signed numbers become such without a sign.
fn write_runs(out: &mut Vec<u8>, runs: &[Run], raised: u32) {
    for Run { samples, value } in runs {
        write_numbers(out, &[*samples, value.wrapping_add(raised)]);
    }
}

fn write_numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// A box that this file's tables are in: version 0, no flags, a count, and so many entries.
fn full_box(out: &mut Vec<u8>, name: [u8; 4], entries: usize, content: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, name, |out| {
        write_numbers(out, &[0, entries as u32]);
        content(out);
    });
}

fn boxed(out: &mut Vec<u8>, name: [u8; 4], content: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&name);
    content(out);
    // The number of samples of a file is bounded so that its index has some hundred megabytes at most.
    let bytes = (out.len() - at) as u32;
    set_u32(out, at, bytes);
}

fn set_u32(out: &mut [u8], at: usize, value: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

fn put(out: &mut Vec<u8>, atom: &impl Encode) {
    let written = atom.encode(out);
    debug_assert!(written.is_ok(), "a box of fixed size can always be written");
}
