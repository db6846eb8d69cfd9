//! Records that encoders made (ffmpeg 5.1, 322x182 pixels, cut out of MP4 files: see `tests/data/README.md`), and records that nobody
//! should make.
use super::*;
use crate::cursor::Truncated;
use crate::limits::PARAMETER_SET_PARSED_BYTES_MAX;
use crate::testkit::{AV1C, AVCC, HVCC, OPUS_HEAD, Random, survives_damage};

const VPCC: &[u8] = include_bytes!("../../tests/data/vpcc.bin");
const DOPS: &[u8] = include_bytes!("../../tests/data/dops.bin");
/// With the version and flags of its box in front.
const DFLA: &[u8] = include_bytes!("../../tests/data/dfla.bin");
const EVERY_CODEC: [Codec; 10] = [
    Codec::Avc,
    Codec::Hevc,
    Codec::Av1,
    Codec::Vp9,
    Codec::Aac,
    Codec::Opus,
    Codec::Mp3,
    Codec::Ac3,
    Codec::Eac3,
    Codec::Flac,
];

#[track_caller]
fn check(codec: Codec, record: &[u8], name: &str, shape: impl Into<Option<Shape>>) {
    assert_eq!(
        summary(codec, record),
        Some(Summary { codec: name.into(), shape: shape.into(), unusual: None }),
        "{record:02x?}"
    );
}

#[track_caller]
fn refused(codec: Codec, record: &[u8], expected: RecordError) {
    assert_eq!(super::check(codec, record), Err(expected), "{record:02x?}");
    assert_eq!(summary(codec, record), None);
}

const PICTURE: Option<Shape> = Some(Shape::Video { width: 322, height: 182 });

const fn sound(rate_hz: u32, channels: u8) -> Shape {
    Shape::Audio { rate_hz, channels }
}

#[test]
fn records_of_real_encoders() {
    check(Codec::Avc, AVCC, "avc1.64000c", PICTURE);
    check(Codec::Hevc, HVCC, "hvc1.1.6.L60.90", PICTURE);
    check(Codec::Av1, AV1C, "av01.0.00M.08", PICTURE);
    check(Codec::Vp9, VPCC, "vp09.00.11.08", None);
    check(Codec::Opus, DOPS, "opus", sound(48_000, 2));
    check(Codec::Opus, OPUS_HEAD, "opus", sound(48_000, 2));
    check(Codec::Flac, &DFLA[4..], "flac", sound(48_000, 2));
    check(Codec::Flac, &DFLA[8..42], "flac", sound(48_000, 2));
    check(Codec::Flac, &[b"fLaC", &DFLA[4..]].concat(), "flac", sound(48_000, 2));
    let opus = opus::OpusConfig { channels: 2, pre_skip: 312, input_rate_hz: 48_000 };
    assert_eq!(opus::OpusConfig::parse(DOPS), Ok(opus));
    assert_eq!(opus::OpusConfig::parse(OPUS_HEAD), Ok(opus));
}

#[test]
fn parameter_sets_of_real_encoders() {
    let avc = avc::AvcConfig::parse(AVCC).unwrap();
    assert_eq!((avc.nal_length_bytes, avc.sps.len(), avc.pps.len()), (4, 1, 1));
    assert_eq!((avc.sps[0].len(), avc.pps[0]), (26, &[0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0][..]));
    let hevc = hevc::HevcConfig::parse(HVCC).unwrap();
    let kinds: Vec<_> = hevc.parameter_sets.iter().map(|(kind, _)| *kind).collect();
    assert_eq!((hevc.nal_length_bytes, kinds), (4, vec![32, 33, 34, 39]));
}

/// `mp4-atom` reads the same boxes; it is the second opinion.
#[test]
fn mp4_atom_reads_the_same() {
    use mp4_atom::{Atom, Av1c, Avcc, Hvcc};
    let ours = avc::AvcConfig::parse(AVCC).unwrap();
    let theirs = Avcc::decode_body(&mut &*AVCC).unwrap();
    assert_eq!((ours.profile, ours.compatibility, ours.level), {
        (theirs.avc_profile_indication, theirs.profile_compatibility, theirs.avc_level_indication)
    });
    assert_eq!(ours.sps, theirs.sequence_parameter_sets);
    assert_eq!(ours.pps, theirs.picture_parameter_sets);
    let ours = hevc::HevcConfig::parse(HVCC).unwrap();
    let theirs = Hvcc::decode_body(&mut &*HVCC).unwrap();
    assert_eq!((ours.profile, ours.high_tier, ours.level), {
        (theirs.general_profile_idc, theirs.general_tier_flag, theirs.general_level_idc)
    });
    let sets =
        theirs.arrays.iter().flat_map(|array| array.nalus.iter().map(|nal| (array.nal_unit_type, nal.as_slice())));
    assert_eq!(ours.parameter_sets, sets.collect::<Vec<_>>());
    let ours = av1::Av1Config::parse(AV1C).unwrap();
    let theirs = Av1c::decode_body(&mut &*AV1C).unwrap();
    assert_eq!((ours.profile, ours.level, ours.obus), {
        (theirs.seq_profile, theirs.seq_level_idx_0, theirs.config_obus.as_slice())
    });
}

#[test]
fn audio_specific_configs() {
    check(Codec::Aac, &[0x12, 0x10], "mp4a.40.2", sound(44_100, 2));
    check(Codec::Aac, &[0x11, 0x90, 0x56, 0xE5, 0], "mp4a.40.2", sound(48_000, 2));
    // HE-AAC: 24 kHz, and 48 kHz with SBR. HE-AAC v2: one channel that becomes two.
    check(Codec::Aac, &[0b0010_1011, 0b0001_0001, 0b1000_1000], "mp4a.40.5", sound(48_000, 2));
    check(Codec::Aac, &[0b1110_1011, 0b0000_1001, 0b1000_1000], "mp4a.40.29", sound(48_000, 2));
    // Escapes: a rate of 24 bits (44,056 Hz), an object type of 6 more bits (32 + 10 = 42, xHE-AAC).
    check(
        Codec::Aac,
        &[0b0001_0111, 0b1000_0000, 0b0101_0110, 0b0000_1100, 0b0001_0000],
        "mp4a.40.2",
        sound(44_056, 2),
    );
    check(Codec::Aac, &[0b1111_1001, 0b0100_0110, 0b0100_0000], "mp4a.40.42", sound(48_000, 2));
    check(Codec::Aac, &[0x12, 0x38], "mp4a.40.2", sound(44_100, 8));
    check(Codec::Aac, &[0x12, 0x00], "mp4a.40.2", None);
    for record in [&[][..], &[0x12], &[0x16, 0x90], &[0x02, 0x10], &[0x12, 0x78], &[0x17, 0x80, 0, 0, 0x10]] {
        assert!(super::check(Codec::Aac, record).is_err(), "{record:02x?}");
    }
}

#[test]
fn lengths_of_audio_frames() {
    let aac = |record: &[u8]| aac::AacConfig::parse(record).map(|aac| (aac.core_rate_hz, aac.frame_samples)).unwrap();
    assert_eq!(aac(&[0x12, 0x10]), (44_100, 1024));
    assert_eq!(aac(&[0x12, 0x14]), (44_100, 960));
    assert_eq!(aac(&[0b0010_1011, 0b0001_0001, 0b1000_1000, 0]), (24_000, 1024));
    assert_eq!(opus::packet_samples(&[0xFC, 1]), Some(960));
    assert_eq!(opus::packet_samples(&[0x08, 1]), Some(960));
    assert_eq!(opus::packet_samples(&[0x1B, 2]), Some(5_760));
    assert_eq!(opus::packet_samples(&[0x1B, 3]), None);
    assert_eq!(opus::packet_samples(&[0x80]), Some(120));
    assert_eq!(opus::packet_samples(&[0xFB, 0]), None);
    assert_eq!(opus::packet_samples(&[0xFB]), None);
    assert_eq!(opus::packet_samples(&[]), None);
}

#[test]
fn refused_records() {
    refused(Codec::Avc, &[0, 100, 0, 12, 0xFF, 0xE0, 0], RecordError::Version(0));
    refused(Codec::Avc, &[1, 100, 0, 12, 0xFE, 0xE0, 0], RecordError::Field("lengthSizeMinusOne"));
    refused(Codec::Avc, &[1, 100, 0, 12, 0xFF, 0xE0, 65], RecordError::ParameterSets);
    refused(Codec::Avc, &AVCC[..30], Truncated { at: 8, needed: 26, left: 22 }.into());
    refused(Codec::Hevc, &[2, 1], RecordError::Version(2));
    let many = [&HVCC[..22], &[1, 33, 0xFF, 0xFF], &[0; 400]].concat();
    refused(Codec::Hevc, &many, RecordError::ParameterSets);
    refused(Codec::Av1, &[0x82, 0, 0, 0], RecordError::Version(0x82));
    refused(Codec::Vp9, &[0; 12], RecordError::Version(0));
    refused(Codec::Opus, &[1; 11], RecordError::Version(1));
    refused(Codec::Opus, b"OpusHead\x10\x02\x38\x01\x80\xbb\0\0\0\0\0", RecordError::Version(16));
    refused(Codec::Opus, &[0; 11], RecordError::Field("the channel count"));
    refused(Codec::Flac, &[1; 40], RecordError::Field("the first metadata block's type"));
    refused(Codec::Mp3, &[0; 40], RecordError::None);
    refused(Codec::Avc, &vec![1; CODEC_CONFIG_BYTES_MAX + 1], RecordError::Long(CODEC_CONFIG_BYTES_MAX + 1));
}

/// Writes what [`bits::Bits`] reads.
#[derive(Default)]
struct BitWriter {
    bits: Vec<bool>,
}

impl BitWriter {
    fn number(&mut self, count: u32, value: u32) -> &mut Self {
        self.bits.extend((0..count).rev().map(|at| value >> at & 1 == 1));
        self
    }

    fn golomb(&mut self, value: u32) -> &mut Self {
        let plus_one = u64::from(value) + 1;
        let zeros = plus_one.ilog2();
        self.bits.extend((0..zeros).map(|_| false));
        self.bits.extend((0..=zeros).rev().map(|at| plus_one >> at & 1 == 1));
        self
    }

    /// The RBSP's end, and emulation prevention.
    fn nal(&self, header: &[u8]) -> Vec<u8> {
        let mut bits = self.bits.clone();
        bits.push(true);
        let mut nal = header.to_vec();
        for byte in bits.chunks(8) {
            let byte = byte.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at));
            if nal.ends_with(&[0, 0]) && byte <= 3 {
                nal.push(3);
            }
            nal.push(byte);
        }
        nal
    }
}

fn avcc(sps: &[u8]) -> Vec<u8> {
    [&[1, 100, 0, 31, 0xFF, 0xE1][..], &(sps.len() as u16).to_be_bytes(), sps, &[0]].concat()
}

/// An SPS of High profile up to where the case differs; `level` decides how large the picture may be.
fn high(tail: impl Fn(&mut BitWriter)) -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.number(8, 100).number(8, 0).number(8, 31).golomb(0).golomb(1).golomb(0).golomb(0).number(1, 0);
    tail(&mut bits);
    avcc(&bits.nal(&[0x67]))
}

fn size_and_no_vui(bits: &mut BitWriter) {
    bits.golomb(1).number(1, 0).golomb(39).golomb(22).number(1, 1).number(1, 1);
}

#[test]
fn case_10_malformed_sps_gives_no_picture_and_no_panic() {
    let check = |what: &str, record: &[u8], expected: Option<(u32, u32)>| {
        let config = avc::AvcConfig::parse(record).unwrap();
        assert_eq!(config.picture(), expected, "{what}");
    };
    let record = high(|bits| {
        bits.number(1, 0).golomb(0).golomb(2);
        size_and_no_vui(bits);
        bits.number(1, 0).number(1, 0);
    });
    check("well-formed", &record, Some((640, 368)));
    let record = high(|bits| {
        bits.number(1, 1);
        for _ in 0..8 {
            bits.number(1, 1).golomb(u32::MAX - 1);
        }
    });
    check("scaling lists with huge steps", &record, None);
    let record = high(|bits| {
        bits.number(1, 1).number(8, 0xFF);
        for _ in 0..2_000 {
            bits.golomb(1);
        }
    });
    check("scaling lists that never end", &record, None);
    let record = high(|bits| {
        bits.number(1, 0).golomb(0).golomb(1).number(1, 0).golomb(0).golomb(0).golomb(u32::MAX - 1);
    });
    check("4 billion reference frames", &record, None);
    for (width, height) in [(u32::MAX - 1, 0), (0, u32::MAX - 1), (u32::MAX - 1, u32::MAX - 1), (1 << 28, 1 << 3)] {
        let record = high(|bits| {
            bits.number(1, 0).golomb(0).golomb(2).golomb(1).number(1, 0).golomb(width).golomb(height);
            bits.number(1, 1).number(1, 1).number(1, 0).number(1, 0);
        });
        check("a picture of billions of pixels", &record, None);
    }
    let record = high(|bits| {
        bits.number(1, 0).golomb(0).golomb(2);
        size_and_no_vui(bits);
        bits.number(1, 1).golomb(u32::MAX - 1).golomb(u32::MAX - 1).golomb(0).golomb(0).number(1, 0);
    });
    check("cropping of more than there is", &record, None);
    let record = high(|bits| {
        bits.number(1, 0).golomb(0).golomb(2);
        size_and_no_vui(bits);
        // VUI: nothing but NAL HRD parameters with a huge cpb_cnt_minus1.
        bits.number(1, 0).number(1, 1).number(5, 0).number(1, 1).golomb(u32::MAX - 1);
    });
    check("4 billion buffers (cpb_cnt)", &record, None);
    check("an empty SPS", &avcc(&[]), None);
    check("only a header", &avcc(&[0x67]), None);
    check("not an SPS", &avcc(&[0x68, 100, 0, 31]), None);
    check("a very long SPS", &avcc(&vec![0x67; PARAMETER_SET_PARSED_BYTES_MAX + 1]), None);
}

#[test]
fn hevc_sps_with_sub_layers_and_cropping() {
    let hvcc = |bits: &BitWriter| {
        let sps = bits.nal(&[0x42, 0x01]);
        [&HVCC[..22], &[1, 33, 0, 1], &(sps.len() as u16).to_be_bytes(), &sps].concat()
    };
    let mut bits = BitWriter::default();
    // Three sub-layers: one with a level, one with both, and the padding of the other six.
    bits.number(4, 0).number(3, 2).number(1, 1).number(32, 0).number(32, 0).number(32, 0);
    bits.number(2, 0b01).number(2, 0b11).number(12, 0);
    bits.number(8, 93).number(32, 0).number(32, 0).number(32, 0);
    bits.golomb(0).golomb(1).golomb(1920).golomb(1088).number(1, 1).golomb(0).golomb(0).golomb(0).golomb(4);
    let picture = |record: &[u8]| hevc::HevcConfig::parse(record).unwrap().picture();
    assert_eq!(picture(&hvcc(&bits)), Some((1920, 1080)));
    let mut bits = BitWriter::default();
    bits.number(8, 0).number(32, 0).number(32, 0).number(32, 0).golomb(0).golomb(1).golomb(64).golomb(64);
    bits.number(1, 1).golomb(u32::MAX - 1).golomb(u32::MAX - 1).golomb(0).golomb(0);
    assert_eq!(picture(&hvcc(&bits)), None);
}

#[test]
fn hevc_names() {
    let with = |at: usize, byte: u8| {
        let mut record = HVCC.to_vec();
        record[at] = byte;
        hevc::HevcConfig::parse(&record).unwrap().codec_string()
    };
    assert_eq!(with(1, 0b0110_0010), "hvc1.A2.6.H60.90");
    assert_eq!(with(11, 0x0A), "hvc1.1.6.L60.90.0.0.0.0.a");
    assert_eq!(with(6, 0), "hvc1.1.6.L60");
}

#[test]
fn av1_sequence_headers() {
    // Timing, a decoder model and an initial delay stand before the size.
    let mut bits = BitWriter::default();
    bits.number(3, 0).number(1, 0).number(1, 0); // profile, still, reduced
    bits.number(1, 1).number(32, 1).number(32, 30).number(1, 1).golomb(0); // timing
    bits.number(1, 1).number(5, 9).number(32, 1).number(5, 0).number(5, 0); // decoder model
    bits.number(1, 1).number(5, 1); // initial delay, two operating points
    bits.number(12, 0).number(5, 8).number(1, 0).number(1, 1).number(21, 0).number(1, 1).number(4, 0);
    bits.number(12, 0).number(5, 4).number(1, 0).number(1, 0);
    bits.number(4, 10).number(4, 10).number(11, 1919).number(11, 1079).number(8, 0);
    // `nal` also writes emulation prevention, which OBUs do not have: no byte of this one calls for it behind two zeros.
    let plain = bits::unescape(&bits.nal(&[]));
    let record = [&[0x81, 0x08, 0x0C, 0, 0x0A, plain.len() as u8][..], &plain].concat();
    assert_eq!(av1::Av1Config::parse(&record).unwrap().picture(), Some((1920, 1080)));
    check(Codec::Av1, &[0x81, 0x4D, 0x60, 0], "av01.2.13M.12", None);
    check(Codec::Av1, &[0x81, 0x08, 0xC0, 0, 0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 1], "av01.0.08H.10", None);
}

#[test]
fn a_record_of_av1_is_made_of_its_sequence_header() {
    // A temporal unit: a delimiter, the sequence header, and something else.
    let known = av1::Av1Config::parse(AV1C).unwrap();
    let unit = [&[0x12, 0][..], known.obus, &[0x32, 2, 9, 9]].concat();
    let kinds: Vec<u8> = av1::obus(&unit).map(|obu| obu.kind).collect();
    assert_eq!(kinds, [av1::OBU_TEMPORAL_DELIMITER, av1::OBU_SEQUENCE_HEADER, 6]);
    let header = av1::obus(&unit).find(|obu| obu.kind == av1::OBU_SEQUENCE_HEADER).unwrap();
    let record = av1::record(&header).unwrap();
    let made = av1::Av1Config::parse(&record).unwrap();
    assert_eq!((made.codec_string(), made.picture(), made.obus), (known.codec_string(), known.picture(), header.whole));
    // What is cut short ends it.
    assert_eq!(av1::obus(&unit[..unit.len() - 1]).count(), 2);
    assert_eq!(av1::record(&av1::Obu { data: &[], ..header }), None);
    // Of another profile.
    assert_eq!(av1::record(&av1::Obu { data: &[0x20 | header.data[0], 0, 0, 0, 0, 0, 0, 0], ..header }), None);

    let level = |width, height| av1::main_codec_string(av1::level(width, height));
    assert_eq!([level(320, 180), level(640, 360)], ["av01.0.00M.08", "av01.0.01M.08"]);
    assert_eq!([level(854, 480), level(1_280, 720)], ["av01.0.04M.08", "av01.0.05M.08"]);
    assert_eq!([level(1_920, 1_080), level(16, 1_200)], ["av01.0.08M.08", "av01.0.01M.08"]);
    assert_eq!(level(9_000, 9_000), "av01.0.31M.08");
}

#[test]
fn damage_is_survived() {
    let samples = [AVCC, &HVCC[..120], AV1C, VPCC, DOPS, OPUS_HEAD, &DFLA[4..], &[0x2B, 0x11, 0x88]];
    survives_damage(&samples, |record| {
        for codec in EVERY_CODEC {
            let _ = summary(codec, record);
        }
    });
}

#[test]
fn case_10_random_sps_is_survived() {
    let mut random = Random::new(10);
    for _ in 0..100_000 {
        let length = random.below(120);
        let mut sps = vec![0x67, [66, 77, 100, 244][random.below(4)], 0, [10, 31, 62, 255][random.below(4)]];
        // Bytes with many bits set make small numbers, so that parsing gets far.
        sps.extend((0..length).map(|_| (random.next() | random.next()) as u8));
        let _ = summary(Codec::Avc, &avcc(&sps));
        let hevc = [&HVCC[..22], &[1, 33, 0, 1], &(sps.len() as u16).to_be_bytes(), &sps].concat();
        let _ = summary(Codec::Hevc, &hevc);
        let _ = summary(Codec::Av1, &[&[0x81, 0, 0, 0, 0x0A, sps.len() as u8][..], &sps].concat());
    }
}
