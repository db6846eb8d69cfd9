//! Frames out of an initialisation and its fragments (ISO/IEC 14496-12), as the FLV tags that they were published as, so that the ledger
//! knows them again. Before it: the body of an answer; after it: [`super::viewer`] looks each frame up.
use mp4_atom::{Atom as _, Decode as _, DecodeMaybe as _, FourCC, Header, Moof, Moov};

use super::lane::Unreadable;
use crate::limits::FRAGMENT_SAMPLES_MAX;

/// What an initialisation says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Track {
    /// Units per second.
    pub(crate) timescale: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sample<'a> {
    /// Decode time, microseconds.
    pub(crate) dts_us: i64,
    /// Presentation minus decode time, microseconds.
    pub(crate) cts_us: i64,
    /// Microseconds.
    pub(crate) duration_us: i64,
    /// Needs no other.
    pub(crate) sync: bool,
    pub(crate) data: &'a [u8],
}

/// Bit of a sample's flags: it is no sync sample (ISO/IEC 14496-12, 8.8.3.1).
const NON_SYNC: u32 = 0x1_0000;

/// Reads an initialisation of one track.
pub(crate) fn init(mut bytes: &[u8]) -> Result<Track, Unreadable> {
    while let Some(header) = Header::decode_maybe(&mut bytes).map_err(bad)? {
        let size = header.size.filter(|size| *size <= bytes.len()).ok_or(Unreadable::Mp4("an atom is cut off"))?;
        let (mut content, rest) = bytes.split_at(size);
        bytes = rest;
        if header.kind == Moov::KIND {
            let moov = Moov::decode_body(&mut content).map_err(bad)?;
            let track = moov.trak.first().ok_or(Unreadable::Mp4("no track"))?;
            let timescale = track.mdia.mdhd.timescale;
            return if timescale > 0 { Ok(Track { timescale }) } else { Err(Unreadable::Mp4("a timescale of 0")) };
        }
    }
    Err(Unreadable::Mp4("no moov"))
}

fn bad(_: mp4_atom::Error) -> Unreadable {
    Unreadable::Mp4("an atom cannot be read")
}

/// Reads the samples of a part or segment.
pub(crate) fn samples(track: Track, mut bytes: &[u8]) -> Result<Vec<Sample<'_>>, Unreadable> {
    let mut all = Vec::new();
    let mut open: Option<Moof> = None;
    while !bytes.is_empty() {
        let header = Header::decode(&mut bytes).map_err(bad)?;
        let size = header.size.filter(|size| *size <= bytes.len()).ok_or(Unreadable::Mp4("an atom is cut off"))?;
        let (mut content, rest) = bytes.split_at(size);
        bytes = rest;
        if header.kind == Moof::KIND {
            open = Some(Moof::decode_body(&mut content).map_err(bad)?);
        } else if header.kind == FourCC::new(b"mdat")
            && let Some(moof) = open.take()
        {
            of_fragment(track, &moof, content, &mut all)?;
        }
    }
    if all.is_empty() { Err(Unreadable::Mp4("no samples")) } else { Ok(all) }
}

fn of_fragment<'a>(track: Track, moof: &Moof, mut data: &'a [u8], all: &mut Vec<Sample<'a>>) -> Result<(), Unreadable> {
    let micros = |units: i64| (i128::from(units) * 1_000_000 / i128::from(track.timescale)) as i64;
    let traf = moof.traf.first().ok_or(Unreadable::Mp4("no traf"))?;
    let mut dts = traf.tfdt.as_ref().ok_or(Unreadable::Mp4("no tfdt"))?.base_media_decode_time as i64;
    for entry in traf.trun.iter().flat_map(|run| run.samples.iter()) {
        let size = entry.size.or(traf.tfhd.default_sample_size).unwrap_or(0) as usize;
        let duration = i64::from(entry.duration.or(traf.tfhd.default_sample_duration).unwrap_or(0));
        let flags = entry.flags.or(traf.tfhd.default_sample_flags).unwrap_or(0);
        let (own, rest) = data.split_at_checked(size).ok_or(Unreadable::Mp4("samples are longer than the data"))?;
        data = rest;
        if all.len() == FRAGMENT_SAMPLES_MAX {
            return Err(Unreadable::Mp4("too many samples"));
        }
        all.push(Sample {
            dts_us: micros(dts),
            cts_us: micros(entry.cts.unwrap_or(0)),
            duration_us: micros(duration),
            sync: flags & NON_SYNC == 0,
            data: own,
        });
        dts = dts.saturating_add(duration);
    }
    if data.is_empty() { Ok(()) } else { Err(Unreadable::Mp4("the data is longer than its samples")) }
}

impl Sample<'_> {
    /// What may have stood before the data in the tag of an H.264 picture, the likeliest first: decode times that were moved by less than a
    /// millisecond, so that they follow one another evenly, leave it open by one where that was rounded.
    pub(crate) fn video_heads(&self) -> [[u8; 5]; 3] {
        let cts_ms = (self.cts_us + if self.cts_us < 0 { -500 } else { 500 }) / 1_000;
        [0, -1, 1].map(|off| {
            let [_, a, b, c] = ((cts_ms + off) as i32).to_be_bytes();
            [if self.sync { 0x17 } else { 0x27 }, 1, a, b, c]
        })
    }

    /// What stood before the data in the tag of an AAC frame.
    pub(crate) const AUDIO_HEAD: [u8; 2] = [0xAF, 1];
}

#[cfg(test)]
pub(crate) mod tests {
    use mp4_atom::{Encode as _, Mdat, Mfhd, Tfdt, Tfhd, Traf, Trun, TrunEntry};

    use super::*;

    /// A fragment with samples of 100 units each, the first of which is a keyframe.
    pub(crate) fn fragment(decode_time: u64, samples: &[&[u8]]) -> Vec<u8> {
        let entry = |(n, data): (usize, &&[u8])| TrunEntry {
            duration: Some(100),
            size: Some(data.len() as u32),
            flags: Some(if n == 0 { 0x200_0000 } else { 0x101_0000 }),
            cts: Some(if n == 0 { 40 } else { -34 }),
        };
        let entries: Vec<TrunEntry> = samples.iter().enumerate().map(entry).collect();
        let traf = Traf {
            tfhd: Tfhd { track_id: 1, default_base_is_moof: true, ..Tfhd::default() },
            tfdt: Some(Tfdt { base_media_decode_time: decode_time }),
            trun: vec![Trun { data_offset: Some(0), samples: entries.into() }],
            ..Traf::default()
        };
        let mut out = Vec::new();
        Moof { mfhd: Mfhd { sequence_number: 1 }, traf: vec![traf] }.encode(&mut out).unwrap();
        Mdat { data: samples.concat() }.encode(&mut out).unwrap();
        out
    }

    #[test]
    fn samples_are_found_again_as_the_tags_that_they_were() {
        let track = Track { timescale: 1_000 };
        let bytes = [fragment(5_000, &[b"key", b"p"]), fragment(5_200, &[b"more"])].concat();
        let found = samples(track, &bytes).unwrap();
        assert_eq!(
            found.iter().map(|s| (s.dts_us, s.data)).collect::<Vec<_>>(),
            [(5_000_000, &b"key"[..]), (5_100_000, b"p"), (5_200_000, b"more")]
        );
        assert_eq!(found[0].video_heads()[0], [0x17, 1, 0, 0, 40]);
        assert_eq!(found[1].video_heads()[0], [0x27, 1, 0xFF, 0xFF, 0xDE], "34 ms before its decode time");
        assert_eq!(found[0].video_heads()[1..], [[0x17, 1, 0, 0, 39], [0x17, 1, 0, 0, 41]]);
    }

    #[test]
    fn what_is_no_fragment_is_said() {
        let track = Track { timescale: 1_000 };
        let good = fragment(0, &[b"key", b"p"]);
        for cut in [0, 4, 20, good.len() - 1] {
            assert!(samples(track, &good[..cut]).is_err(), "{cut} bytes");
        }
        assert!(samples(track, b"<html>sorry</html>").is_err());
        assert!(init(&good).is_err() && init(b"").is_err());
    }
}
