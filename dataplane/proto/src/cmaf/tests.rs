//! Headers and fragments, read back by `mp4-atom`'s own reader.
use mp4_atom::{Codec as Entry, Decode, Ftyp, Mdat, Moof, Moov};

use super::fragment::{FragmentError, Sample, fragment};
use super::init::{FrameLength, InitError, init};
use crate::codec::Shape;
use crate::media::{Codec, CodecConfig, Track};
use crate::testkit::{AV1C, AVCC, HVCC, OPUS_HEAD, survives_damage};

fn config(track: Track, codec: Codec, record: &[u8]) -> CodecConfig {
    CodecConfig { track, codec, body: record.to_vec().into(), record_at: 0 }
}

fn header(track: Track, codec: Codec, record: &[u8]) -> (Moov, super::init::Init) {
    let made = init(&config(track, codec, record)).unwrap();
    let mut bytes = &made.bytes[..];
    Ftyp::decode(&mut bytes).unwrap();
    let moov = Moov::decode(&mut bytes).unwrap();
    assert!(bytes.is_empty());
    (moov, made)
}

#[test]
fn headers_of_each_codec() {
    for (codec, record, name) in
        [(Codec::Avc, AVCC, "avc1.64000c"), (Codec::Hevc, HVCC, "hvc1.1.6.L60.90"), (Codec::Av1, AV1C, "av01.0.00M.08")]
    {
        let (moov, made) = header(Track::Video, codec, record);
        assert_eq!((made.summary.codec.as_str(), made.timescale, made.frame), (name, 90_000, FrameLength::Stamped));
        assert_eq!(made.summary.shape, Some(Shape::Video { width: 322, height: 182 }));
        let trak = &moov.trak[0];
        assert_eq!(
            (trak.mdia.mdhd.timescale, trak.tkhd.width.integer(), trak.tkhd.height.integer()),
            (90_000, 322, 182)
        );
        assert!(trak.mdia.minf.vmhd.is_some() && trak.mdia.minf.smhd.is_none());
        let visual = match &trak.mdia.minf.stbl.stsd.codecs[0] {
            Entry::Avc1(entry) => &entry.visual,
            Entry::Hvc1(entry) => &entry.visual,
            Entry::Av01(entry) => &entry.visual,
            other => panic!("{other:?}"),
        };
        assert_eq!((visual.width, visual.height), (322, 182));
        // The record stands in the file as the encoder sent it.
        assert!(made.bytes.windows(record.len()).any(|window| window == record), "{codec:?}");
    }
    let (moov, made) = header(Track::Audio, Codec::Aac, &[0x12, 0x10, 0x56, 0xE5, 0]);
    assert_eq!((made.timescale, made.frame), (44_100, FrameLength::Fixed(1024)));
    let Entry::Mp4a(entry) = &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] else { panic!("AAC") };
    assert_eq!((entry.audio.channel_count, entry.audio.sample_rate.integer()), (2, 44_100));
    let decoder = &entry.esds.es_desc.dec_config;
    assert_eq!(decoder.object_type_indication, 0x40);
    assert_eq!(decoder.dec_specific.as_ref().unwrap().raw, [0x12, 0x10, 0x56, 0xE5, 0]);
    let (moov, made) = header(Track::Audio, Codec::Opus, OPUS_HEAD);
    assert_eq!((made.timescale, made.frame), (48_000, FrameLength::OpusPacket));
    let Entry::Opus(entry) = &moov.trak[0].mdia.minf.stbl.stsd.codecs[0] else { panic!("Opus") };
    assert_eq!((entry.dops.output_channel_count, entry.dops.pre_skip, entry.dops.input_sample_rate), (2, 312, 48_000));
    let (moov, _) = header(Track::Audio, Codec::Aac, &[0b0010_1011, 0b0001_0001, 0b1000_1000]);
    assert_eq!(moov.trak[0].mdia.mdhd.timescale, 24_000, "HE-AAC counts in what is coded");
}

#[test]
fn what_players_would_not_take_is_refused() {
    for codec in [Codec::Mp3, Codec::Flac, Codec::Ac3] {
        let refused = init(&config(Track::Audio, codec, &[0; 64])).unwrap_err();
        assert_eq!(refused, InitError::Codec(codec));
    }
    // AAC-ELD, 44.1 kHz, mono: frames of 512.
    let refused = init(&config(Track::Audio, Codec::Aac, &[0xF8, 0xE8, 0x20, 0]));
    assert!(matches!(refused, Err(InitError::Record(Codec::Aac, _))), "{refused:?}");
    let refused = init(&config(Track::Video, Codec::Avc, &AVCC[..20]));
    assert!(matches!(refused, Err(InitError::Record(Codec::Avc, _))), "{refused:?}");
}

fn sample(duration: u32, composition: i32, sync: bool, data: &[u8]) -> Sample<'_> {
    Sample { duration, composition, sync, data }
}

/// A sample as a player finds it: duration, composition, flags, data.
type Read = (u32, i64, u32, Vec<u8>);

/// Number, decode time and samples of a fragment.
fn read(bytes: &[u8]) -> (u32, u64, Vec<Read>) {
    let mut rest = bytes;
    let moof = Moof::decode(&mut rest).unwrap();
    let mdat_at = bytes.len() - rest.len();
    Mdat::decode(&mut rest).unwrap();
    assert!(rest.is_empty());
    let traf = &moof.traf[0];
    let (tfhd, trun) = (&traf.tfhd, &traf.trun[0]);
    assert!(tfhd.default_base_is_moof);
    let mut at = usize::try_from(trun.data_offset.unwrap()).unwrap();
    assert_eq!(at, mdat_at + 8, "the data begins behind the header of its box");
    let samples = trun.samples.iter().map(|entry| {
        let size = entry.size.or(tfhd.default_sample_size).unwrap() as usize;
        let data = bytes[at..at + size].to_vec();
        at += size;
        let flags = entry.flags.or(tfhd.default_sample_flags).unwrap();
        (entry.duration.or(tfhd.default_sample_duration).unwrap(), entry.cts.unwrap_or(0), flags, data)
    });
    let samples = samples.collect();
    assert_eq!(at, bytes.len());
    (moof.mfhd.sequence_number, traf.tfdt.as_ref().unwrap().base_media_decode_time, samples)
}

#[test]
fn fragments_read_back() {
    const SYNC: u32 = 0x0200_0000;
    const NOT: u32 = 0x0101_0000;
    let check = |samples: &[Sample<'_>], flags: &[u32]| {
        let bytes = fragment(7, 1 << 33, samples).unwrap();
        let expected = samples
            .iter()
            .zip(flags)
            .map(|(sample, flags)| (sample.duration, i64::from(sample.composition), *flags, sample.data.to_vec()));
        assert_eq!(read(&bytes), (7, 1 << 33, expected.collect()));
    };
    check(&[sample(3000, 0, true, b"key")], &[SYNC]);
    check(&[sample(1024, 0, true, b"a"), sample(1024, 0, true, b"bb"), sample(1024, 0, true, b"")], &[SYNC; 3]);
    check(
        &[sample(3000, 0, true, b"key"), sample(3000, 0, false, b"p"), sample(3000, 0, false, b"q")],
        &[SYNC, NOT, NOT],
    );
    check(&[sample(3000, 0, false, b"p"), sample(3030, 0, true, b"key")], &[NOT, SYNC]);
    check(&[sample(1, 0, false, b"p"), sample(2, 0, true, b"k"), sample(3, 0, false, b"q")], &[NOT, SYNC, NOT]);
}

#[test]
fn case_03_negative_composition_offsets_stay_negative() {
    let samples = [sample(3000, -34 * 90, true, b"key"), sample(3000, 6000, false, b"p")];
    let (_, _, read) = read(&fragment(1, 0, &samples).unwrap());
    assert_eq!(read.iter().map(|sample| sample.1).collect::<Vec<_>>(), [-3060, 6000]);
}

#[test]
fn a_fragment_without_samples_is_refused() {
    assert_eq!(fragment(1, 0, &[]), Err(FragmentError::Size { samples: 0, bytes: 0 }));
}

#[test]
fn damaged_records_do_not_panic() {
    let records = [
        (Codec::Avc, AVCC),
        (Codec::Hevc, HVCC),
        (Codec::Av1, AV1C),
        (Codec::Opus, OPUS_HEAD),
        (Codec::Aac, &[0x12, 0x10]),
    ];
    for (codec, record) in records {
        let track = if matches!(codec, Codec::Aac | Codec::Opus) { Track::Audio } else { Track::Video };
        survives_damage(&[record], |record| drop(init(&config(track, codec, record))));
    }
}
