//! Made-up tracks as a store has them, and what `mp4-atom` finds in a file that was made of them.
use mp4_atom::{Any, DecodeMaybe as _, Moov, StszSamples, Trak};

use super::super::build::{BuildError, FileBuilder, Settings};
use super::super::file::File;
use super::super::fragment::{Read, read};
use super::super::header::TrackHeader;
use crate::cmaf::{fragment, init};
use crate::media::{Codec, CodecConfig, Track};
use crate::testkit::{AV1C, AVCC, HVCC, OPUS_HEAD, Random};

/// The header of a track, as our packager makes it.
pub(super) fn header(codec: Codec) -> Vec<u8> {
    let (track, record) = match codec {
        Codec::Avc => (Track::Video, AVCC),
        Codec::Hevc => (Track::Video, HVCC),
        Codec::Av1 => (Track::Video, AV1C),
        Codec::Opus => (Track::Audio, OPUS_HEAD),
        // 48 kHz, stereo.
        Codec::Aac => (Track::Audio, &b"\x11\x90"[..]),
        other => panic!("{other:?}"),
    };
    init::init(&CodecConfig { track, codec, body: record.to_vec().into(), record_at: 0 }).unwrap().bytes.to_vec()
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) dts: i64,
    pub(super) duration: u32,
    pub(super) composition: i32,
    pub(super) sync: bool,
    pub(super) data: Vec<u8>,
}

impl Sample {
    pub(super) fn pts(&self) -> i64 {
        self.dts + i64::from(self.composition)
    }
}

/// A track as it is in a store: fragments of samples.
pub(super) struct Stored {
    pub(super) header: Vec<u8>,
    pub(super) fragments: Vec<Vec<Sample>>,
}

/// Objects of a store, by number.
#[derive(Default)]
pub(super) struct Store(pub(super) Vec<Vec<u8>>);

impl Store {
    /// Puts the fragments into objects of some of them each, and pushes them.
    pub(super) fn push(
        &mut self,
        builder: &mut FileBuilder,
        stored: &Stored,
        per_object: usize,
    ) -> Result<(), BuildError> {
        let header = TrackHeader::read(&stored.header).unwrap();
        let track = builder.add_track(&header)?;
        for fragments in stored.fragments.chunks(per_object) {
            let mut object = vec![];
            let number = self.0.len() as u32;
            for samples in fragments {
                let list: Vec<_> = samples
                    .iter()
                    .map(|sample| fragment::Sample {
                        duration: sample.duration,
                        composition: sample.composition,
                        sync: sample.sync,
                        data: &sample.data,
                    })
                    .collect();
                let bytes = fragment::fragment(1, samples[0].dts as u64, &list).unwrap();
                let at = object.len() as u64;
                object.extend_from_slice(&bytes);
                let Read::Fragment { fragment, bytes: whole } = read(&bytes, &header).unwrap() else { panic!("whole") };
                assert_eq!(whole, bytes.len() as u64);
                builder.push(track, &fragment, number, at)?;
            }
            self.0.push(object);
        }
        Ok(())
    }

    /// The file as bytes.
    pub(super) fn copy(&self, file: &File) -> Vec<u8> {
        let mut bytes = file.head().to_vec();
        for copy in file.copies() {
            bytes.extend_from_slice(&self.0[copy.object as usize][copy.at as usize..][..copy.bytes as usize]);
        }
        assert_eq!(bytes.len() as u64, file.file_bytes());
        bytes
    }
}

/// A track as a player finds it.
pub(super) struct Found {
    pub(super) timescale: u32,
    pub(super) samples: Vec<Sample>,
    pub(super) offsets: Vec<u64>,
    /// How much later than the file it begins, and how long it lasts, in units of the file.
    pub(super) delay: u64,
    pub(super) length: u64,
    /// Composition time that is presented first.
    pub(super) media_time: i64,
}

pub(super) fn found(file: &[u8]) -> (Moov, Vec<Found>) {
    let mut rest = file;
    let mut moov = None;
    let mut names = vec![];
    while let Some(atom) = Any::decode_maybe(&mut rest).unwrap() {
        match atom {
            Any::Ftyp(_) => names.push("ftyp"),
            Any::Moov(found) => {
                names.push("moov");
                moov = Some(found);
            }
            Any::Mdat(_) => names.push("mdat"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((names.as_slice(), rest.len()), (&["ftyp", "moov", "mdat"][..], 0));
    let moov = moov.unwrap();
    let tracks: Vec<_> = moov.trak.iter().map(|trak| of_track(file, trak)).collect();
    // Every byte of mdat is of one sample, and of one only.
    let mut places: Vec<_> = tracks
        .iter()
        .flat_map(|track| track.offsets.iter().zip(track.samples.iter().map(|sample| sample.data.len())))
        .collect();
    places.retain(|(_, bytes)| *bytes > 0);
    places.sort();
    let mut at = file.len() as u64 - places.iter().map(|(_, bytes)| *bytes as u64).sum::<u64>();
    for (offset, bytes) in places {
        assert_eq!(*offset, at);
        at += bytes as u64;
    }
    assert_eq!(moov.mvhd.duration, moov.trak.iter().map(|trak| trak.tkhd.duration).max().unwrap());
    (moov, tracks)
}

pub(super) fn of_track(file: &[u8], trak: &Trak) -> Found {
    let stbl = &trak.mdia.minf.stbl;
    let sizes = match &stbl.stsz.samples {
        StszSamples::Identical { count, size } => vec![*size; *count as usize],
        StszSamples::Different { sizes } => sizes.clone(),
    };
    let durations: Vec<u32> =
        stbl.stts.entries.iter().flat_map(|run| vec![run.sample_delta; run.sample_count as usize]).collect();
    let compositions: Vec<i64> = match &stbl.ctts {
        Some(ctts) => ctts.entries.iter().flat_map(|run| vec![run.sample_offset; run.sample_count as usize]).collect(),
        None => vec![0; sizes.len()],
    };
    assert_eq!((durations.len(), compositions.len()), (sizes.len(), sizes.len()));
    let chunks: Vec<u64> = match (&stbl.stco, &stbl.co64) {
        (Some(stco), None) => stco.entries.iter().map(|at| u64::from(*at)).collect(),
        (None, Some(co64)) => co64.entries.clone(),
        other => panic!("{other:?}"),
    };
    let mut offsets = vec![];
    for (index, at) in chunks.iter().enumerate() {
        let run = stbl.stsc.entries.iter().rfind(|run| run.first_chunk as usize <= index + 1).unwrap();
        assert_eq!(run.sample_description_index, 1);
        let mut at = *at;
        for _ in 0..run.samples_per_chunk {
            let size = sizes[offsets.len()];
            offsets.push(at);
            at += u64::from(size);
        }
    }
    assert_eq!(offsets.len(), sizes.len());
    let mut dts = 0;
    let samples = (0..sizes.len()).map(|index| {
        let sample = Sample {
            dts,
            duration: durations[index],
            composition: compositions[index] as i32,
            sync: stbl.stss.as_ref().is_none_or(|stss| stss.entries.contains(&(index as u32 + 1))),
            data: file.get(offsets[index] as usize..).map_or(vec![], |at| at[..sizes[index] as usize].to_vec()),
        };
        dts += i64::from(durations[index]);
        sample
    });
    let samples = samples.collect();
    assert_eq!(trak.mdia.mdhd.duration, dts as u64);
    let edits = &trak.edts.as_ref().unwrap().elst.as_ref().unwrap().entries;
    let (delay, shown) = match edits.as_slice() {
        [shown] => (0, shown),
        [delay, shown] if delay.media_time.is_none() => (delay.segment_duration, shown),
        other => panic!("{other:?}"),
    };
    assert_eq!(trak.tkhd.duration, delay + shown.segment_duration);
    Found {
        timescale: trak.mdia.mdhd.timescale,
        samples,
        offsets,
        delay,
        length: shown.segment_duration,
        media_time: shown.media_time.unwrap() as i64,
    }
}

/// Holds a track against what went in; gives the time of the source that is the file's zero, in units of the file.
pub(super) fn same(source: &[Sample], found: &Found, movie_timescale: u32) -> i64 {
    assert_eq!(source.len(), found.samples.len());
    let (first, first_found) = (&source[0], &found.samples[0]);
    for (index, (sample, read)) in source.iter().zip(&found.samples).enumerate() {
        assert_eq!(read.dts, sample.dts - first.dts, "decode time of sample {index}");
        assert_eq!(read.pts() - first_found.pts(), sample.pts() - first.pts(), "presentation time of sample {index}");
        assert_eq!((read.sync, &read.data), (sample.sync, &sample.data), "sample {index}");
        let until = source.get(index + 1).map_or(sample.dts + i64::from(sample.duration), |next| next.dts);
        assert_eq!(i64::from(read.duration), until - sample.dts, "it lasts until the next one begins");
    }
    let scale = i64::from(movie_timescale / found.timescale);
    assert_eq!(movie_timescale % found.timescale, 0);
    let shown_first = first.pts() + found.media_time - first_found.pts();
    shown_first * scale - found.delay as i64
}

pub(super) fn video_sample(dts: i64, duration: u32, composition: i32, sync: bool, random: &mut Random) -> Sample {
    let data = (0..=random.below(60)).map(|_| random.next() as u8).collect();
    Sample { dts, duration, composition, sync, data }
}

/// Frames in groups, of which some are shown in another order than they are decoded in; with holes. It begins with a keyframe.
pub(super) fn random_video(random: &mut Random, start: i64) -> Stored {
    let (mut fragments, mut dts) = (vec![], start);
    let lowest = if random.below(2) == 0 { 0 } else { -6000 };
    for _ in 0..=random.below(6) {
        let key_pts = dts + 6000 + i64::from(lowest);
        for part in 0..=random.below(4) {
            let mut samples = vec![];
            for frame in 0..=random.below(12) {
                let sync = part == 0 && frame == 0;
                let duration = [3000, 3000, 2970, 3060, 1][random.below(5)];
                // Nothing is shown before its keyframe here.
                let composition = if sync { 6000 + lowest } else { lowest + random.below(5) as i32 * 3000 };
                let composition = composition.max((key_pts - dts) as i32 + i32::from(!sync));
                samples.push(video_sample(dts, duration, composition, sync, random));
                dts += i64::from(duration);
            }
            fragments.push(samples);
            // The packager foresees how long the last frame lasts; the next one tells.
            if random.below(3) == 0 {
                dts += random.below(200_000) as i64;
            }
        }
    }
    Stored { header: header(Codec::Avc), fragments }
}

pub(super) fn random_audio(random: &mut Random, start: i64) -> Stored {
    let (mut fragments, mut dts) = (vec![], start);
    for _ in 0..=random.below(10) {
        let samples: Vec<_> = (0..=random.below(20))
            .map(|index| video_sample(dts + index as i64 * 1024, 1024, 0, true, random))
            .collect();
        dts += samples.len() as i64 * 1024;
        fragments.push(samples);
        if random.below(4) == 0 {
            dts += random.below(100_000) as i64;
        }
    }
    Stored { header: header(Codec::Aac), fragments }
}

pub(super) fn made(settings: Settings, tracks: &[&Stored], per_object: usize) -> (File, Vec<u8>) {
    let (mut store, mut builder) = (Store::default(), FileBuilder::new(settings));
    for stored in tracks {
        store.push(&mut builder, stored, per_object).unwrap();
    }
    let payload_bytes = builder.payload_bytes();
    let length_us = builder.length_us();
    let file = builder.finish().unwrap();
    assert_eq!((file.payload_bytes(), file.length_us()), (payload_bytes, length_us));
    let bytes = store.copy(&file);
    (file, bytes)
}
