//! Streams as encoders make them and players do not take them.
use bytes::Bytes;

use super::*;
use crate::codec::avc::AvcConfig;
use crate::codec::hevc::HevcConfig;
use crate::limits::RTMP_MESSAGE_BYTES_MAX;
use crate::testkit::{AVCC, HVCC, OPUS_HEAD, survives_damage};

use TagKind::{Audio, Video};

const AVC: &[u8] = b"\x17\0\0\0\0";
const KEY: &[u8] = b"\x17\x01\0\0\0";
const INTER: &[u8] = b"\x27\x01\0\0\0";
const IDR: &[u8] = b"\x65slice";
const SLICE: &[u8] = b"\x41slice";
const START: &[u8] = b"\0\0\0\x01";

/// Units with four bytes of length.
fn lengths(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&(unit.len() as u32).to_be_bytes(), *unit].concat()).collect()
}

fn body(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

/// What a message makes, a word each.
fn push(intake: &mut Intake, kind: TagKind, timestamp: u32, parts: &[&[u8]]) -> Vec<String> {
    let first = intake.push(kind, timestamp, body(parts));
    let rest: Vec<_> = std::iter::from_fn(|| intake.poll()).map(Ok).collect();
    [first].into_iter().chain(rest).map(|result| word(&result)).collect()
}

fn word(result: &Result<MediaEvent, Skipped>) -> String {
    match result {
        Ok(MediaEvent::Config(config)) => {
            format!("config {:?} {}", config.codec, config.summary().map_or_else(String::new, |summary| summary.codec))
        }
        Ok(MediaEvent::Frame(frame)) => {
            let key = if frame.keyframe { "key" } else { "frame" };
            format!("{key} {} {}", frame.dts_ms, frame.data().escape_ascii())
        }
        Ok(MediaEvent::Metadata(_)) => "metadata".into(),
        Ok(MediaEvent::Repaired(_, repair)) => repair.label().into(),
        Ok(MediaEvent::LeftOut(left_out)) => format!("left out: {}", left_out.codec()),
        Ok(MediaEvent::Unconfigured(track, codec)) => format!("unconfigured {track:?} {codec:?}"),
        Err(skipped) => format!("skipped {}", skipped.label()),
    }
}

#[track_caller]
fn check(intake: &mut Intake, kind: TagKind, timestamp: u32, parts: &[&[u8]], expected: &[&str]) {
    assert_eq!(push(intake, kind, timestamp, parts), expected, "{:02x?}", parts.concat());
}

fn shown(data: &[u8]) -> String {
    data.escape_ascii().to_string()
}

/// The record in force after a message.
fn record_of(intake: &mut Intake, parts: &[&[u8]]) -> Vec<u8> {
    let first = intake.push(Video, 0, body(parts)).ok();
    let events = first.into_iter().chain(std::iter::from_fn(|| intake.poll()));
    let config = events.filter_map(|event| if let MediaEvent::Config(config) = event { Some(config) } else { None });
    config.last().expect("a configuration").record().to_vec()
}

fn avc_sets() -> (Vec<u8>, Vec<u8>) {
    let config = AvcConfig::parse(AVCC).unwrap();
    (config.sps[0].to_vec(), config.pps[0].to_vec())
}

/// The same PPS and an SPS with another level, which is another SPS of the same number.
fn other_sps() -> Vec<u8> {
    let (mut sps, _) = avc_sets();
    sps[3] = 40;
    sps
}

#[test]
fn case_48_parameter_sets_from_the_key_frames() {
    let (sps, pps) = avc_sets();
    let data = lengths(&[b"\x09\xf0", &sps, &pps, IDR]);
    let useless = [&b""[..], b"\x01\x64\0\x09\xff\xe0\0", &[&AVCC[..5], b"\xe0\0"].concat(), &AVCC[..20], START];
    for record in useless {
        let u = &mut Intake::new();
        check(u, Video, 0, &[AVC, record], &["skipped bad_config"]);
        check(u, Video, 0, &[INTER, &lengths(&[SLICE])], &["skipped no_config", "unconfigured Video Avc"]);
        check(u, Video, 40, &[INTER, &lengths(&[SLICE])], &["skipped no_config"]);
        let key = format!("key 80 {}", shown(&data));
        check(u, Video, 80, &[KEY, &data], &["in_band_parameter_sets", "config Avc avc1.64000c", &key]);
        check(u, Video, 120, &[KEY, &data], &[&format!("key 120 {}", shown(&data))]);
        // It comes again with each key frame, as useless as before.
        check(u, Video, 120, &[AVC, record], &["skipped repeated_config"]);
    }
    // None at all.
    let u = &mut Intake::new();
    assert_eq!(record_of(u, &[KEY, &data]), AVCC, "the same as the encoder's own");
    // In the FourCC form, a message of their own, and one kind after the other.
    let u = &mut Intake::new();
    check(u, Video, 0, &[b"\x91avc1\0\0\0", &lengths(&[&sps])], &["skipped parameter_sets"]);
    let (key, repaired) = ([b"\x91avc1\0\0\0", &lengths(&[&pps])[..]], "in_band_parameter_sets");
    check(u, Video, 0, &key, &["skipped parameter_sets", repaired, "config Avc avc1.64000c"]);
    check(u, Video, 0, &[b"\x91avc1\0\0\0", &lengths(&[IDR])], &[&format!("key 0 {}", shown(&lengths(&[IDR])))]);
}

#[test]
fn case_48_parameter_sets_that_change_in_mid_stream() {
    let (sps, pps) = avc_sets();
    let u = &mut Intake::new();
    check(u, Video, 0, &[AVC, AVCC], &["config Avc avc1.64000c"]);
    let same = lengths(&[&[&sps[..], b"\0"].concat(), &pps, IDR]);
    check(u, Video, 0, &[KEY, &same], &[&format!("key 0 {}", shown(&same))]);
    let other = lengths(&[&other_sps(), &pps, IDR]);
    let key = format!("key 40 {}", shown(&other));
    check(u, Video, 40, &[KEY, &other], &["in_band_parameter_sets", "config Avc avc1.640028", &key]);
    // The encoder says its old header with each key frame: that is not a change.
    check(u, Video, 80, &[AVC, AVCC], &["skipped repeated_config"]);
    check(u, Video, 80, &[KEY, &other], &[&format!("key 80 {}", shown(&other))]);
    let alone = lengths(&[IDR]);
    check(u, Video, 120, &[KEY, &alone], &[&format!("key 120 {}", shown(&alone))]);
    // A PPS of another number comes on top.
    let second = [b"\x68\x60".as_slice(), b"\xe1"].concat();
    let record = record_of(u, &[KEY, &lengths(&[&second, IDR])]);
    let config = AvcConfig::parse(&record).unwrap();
    assert_eq!((config.sps, config.pps), (vec![&other_sps()[..]], vec![&second[..], &pps]));
    // A header of its own is in force at once.
    check(u, Video, 160, &[AVC, AVCC, b"\0"], &["config Avc avc1.64000c"]);
}

#[test]
fn case_48_annex_b_in_record_and_samples() {
    let (sps, pps) = avc_sets();
    let u = &mut Intake::new();
    let record = [START, &sps, b"\0", &START[1..], &pps].concat();
    assert_eq!(record_of(u, &[AVC, &record]), AVCC);
    for (data, expected) in [
        (
            [START, b"\x09\xf0", START, &sps, START, &pps, &START[1..], IDR].concat(),
            &[b"\x09\xf0", &sps[..], &pps, IDR][..],
        ),
        ([&START[1..], IDR, b"\0\0", START, b"\x65more", b"\0\0\0"].concat(), &[IDR, b"\x65more"]),
        ([START, START, IDR].concat(), &[IDR]),
    ] {
        let frame = format!("key 0 {}", shown(&lengths(expected)));
        check(u, Video, 0, &[KEY, &data], &["annex_b", &frame]);
    }
    check(u, Video, 0, &[KEY, START, b"\0\0\0"], &["skipped annex_b"]);
    check(u, Video, 40, &[INTER, START, SLICE], &["annex_b", &format!("frame 40 {}", shown(&lengths(&[SLICE])))]);
    // Nothing but start codes, no header.
    let u = &mut Intake::new();
    let data = [START, &sps, START, &pps, START, IDR].concat();
    let words = push(u, Video, 0, &[KEY, &data]);
    assert_eq!(words[..3], ["annex_b", "in_band_parameter_sets", "config Avc avc1.64000c"]);
    // Start codes before the sets of a record that is right otherwise.
    let mut inside = AVCC[..6].to_vec();
    for (n, set) in [&sps, &pps].into_iter().enumerate() {
        inside.extend_from_slice(if n == 0 { b"" } else { b"\x01" });
        inside.extend_from_slice(&(set.len() as u16 + 4).to_be_bytes());
        inside.extend_from_slice(&[START, set].concat());
    }
    assert_eq!(record_of(&mut Intake::new(), &[AVC, &inside]), AVCC);
}

#[test]
fn case_48_lengths_that_look_like_start_codes_stay() {
    let u = &mut Intake::new();
    check(u, Video, 0, &[AVC, AVCC], &["config Avc avc1.64000c"]);
    for size in [256, 300, 511] {
        let slice = [SLICE, &vec![0xAA; size - SLICE.len()]].concat();
        let data = lengths(&[&slice, SLICE]);
        assert_eq!(data[..3], [0, 0, 1]);
        check(u, Video, 0, &[INTER, &data], &[&format!("frame 0 {}", shown(&data))]);
    }
    // Once the first frame has told, a broken one is the decoder's to judge.
    let broken = [b"\0\0\x01\x2c", SLICE].concat();
    check(u, Video, 0, &[INTER, &broken], &[&format!("frame 0 {}", shown(&broken))]);
    // A record of short lengths: such frames begin otherwise.
    let u = &mut Intake::new();
    let mut short = AVCC.to_vec();
    short[4] = 0xFD;
    check(u, Video, 0, &[AVC, &short], &["config Avc avc1.64000c"]);
    let data = [b"\0\x06", SLICE].concat();
    check(u, Video, 0, &[INTER, &data], &[&format!("frame 0 {}", shown(&data))]);
    // The same record, and frames with start codes: its lengths become long.
    let u = &mut Intake::new();
    check(u, Video, 0, &[AVC, &short], &["config Avc avc1.64000c"]);
    let frame = format!("key 0 {}", shown(&lengths(&[IDR])));
    check(u, Video, 0, &[KEY, START, IDR], &["annex_b", "config Avc avc1.64000c", &frame]);
}

#[test]
fn case_48_hevc() {
    let config = HevcConfig::parse(HVCC).unwrap();
    let sets: Vec<_> = config.parameter_sets.iter().map(|(_, set)| *set).filter(|set| set[0] >> 1 < 39).collect();
    let idr = b"\x26\x01slice";
    let units = [&sets[..], &[&idr[..]]].concat();
    for (head, config_head) in [(&b"\x1c\x01\0\0\0"[..], &b"\x1c\0\0\0\0"[..]), (b"\x91hvc1\0\0\0", b"\x90hvc1")] {
        let u = &mut Intake::new();
        check(u, Video, 0, &[config_head], &["skipped bad_config"]);
        let made = record_of(u, &[head, &lengths(&units)]);
        let made = HevcConfig::parse(&made).unwrap();
        assert_eq!((made.codec_string(), made.picture()), (config.codec_string(), config.picture()));
        assert_eq!(made.parameter_sets.iter().map(|(_, set)| *set).collect::<Vec<_>>(), sets);
        let data: Vec<u8> = units.iter().flat_map(|unit| [START, unit].concat()).collect();
        let frame = format!("key 0 {}", shown(&lengths(&units)));
        let u = &mut Intake::new();
        let words = push(u, Video, 0, &[head, &data]);
        assert_eq!(words[..2], ["annex_b", "in_band_parameter_sets"]);
        assert_eq!(words[3], frame);
        assert_eq!(push(u, Video, 0, &[config_head, HVCC]).len(), 1);
    }
    // Version, lengths, and what the encoder says of chroma and depth.
    let made = crate::codec::hevc::record(&sets[..1], &sets[1..2], &sets[2..3]).unwrap();
    assert_eq!((made[16], made[17], made[18], made[21] & 0x3F), (HVCC[16], HVCC[17], HVCC[18], HVCC[21] & 0x3F));
}

#[test]
fn start_codes_make_no_more_than_a_message() {
    let u = &mut Intake::new();
    check(u, Video, 0, &[AVC, AVCC], &["config Avc avc1.64000c"]);
    let tiny = b"\0\0\x01\x65".repeat(RTMP_MESSAGE_BYTES_MAX / 4 - 8);
    check(u, Video, 0, &[KEY, &tiny], &["skipped annex_b"]);
}

/// An ADTS header of AAC-LC, and the frame.
fn adts(rate_index: u8, channels: u8, checksum: bool, raw: &[u8]) -> Vec<u8> {
    let size = 7 + if checksum { 2 } else { 0 } + raw.len();
    let mut out = vec![
        0xFF,
        0xF0 | u8::from(!checksum),
        1 << 6 | rate_index << 2 | channels >> 2,
        channels << 6 | (size >> 11) as u8,
        (size >> 3) as u8,
        (size << 5) as u8 | 0x1F,
        0xFC,
    ];
    out.extend_from_slice(if checksum { b"cc" } else { b"" });
    out.extend_from_slice(raw);
    out
}

#[test]
fn case_49_adts_with_and_without_a_header() {
    let u = &mut Intake::new();
    let [one, two] = [&b"!one"[..], b"!two"].map(|raw| adts(4, 2, false, raw));
    check(u, Audio, 0, &[b"\xaf\x01", &one], &["config Aac mp4a.40.2", "adts", "key 0 !one"]);
    check(u, Audio, 23, &[b"\xaf\x01", &two], &["adts", "key 23 !two"]);
    // The encoder's own says the same, in other words.
    check(u, Audio, 23, &[b"\xaf\0\x12\x10\x56\xe5\0"], &["config Aac mp4a.40.2"]);
    check(u, Audio, 46, &[b"\xaf\x01", &two], &["adts", "key 46 !two"]);
    // Raw frames pass as they are.
    check(u, Audio, 69, &[b"\xaf\x01!raw"], &["key 69 !raw"]);
    // A header in the place of a configuration, and one with a checksum.
    let u = &mut Intake::new();
    check(u, Audio, 0, &[b"\xaf\0", &one], &["adts", "config Aac mp4a.40.2"]);
    check(u, Audio, 0, &[b"\xaf\x01", &adts(4, 2, true, b"!sum")], &["adts", "key 0 !sum"]);
    // A configuration that says another rate than the frames: theirs is right.
    let u = &mut Intake::new();
    check(u, Audio, 0, &[b"\xaf\0\x11\x90"], &["config Aac mp4a.40.2"]);
    check(u, Audio, 0, &[b"\xaf\x01", &one], &["config Aac mp4a.40.2", "adts", "key 0 !one"]);
    check(u, Audio, 0, &[b"\xaf\0\x11\x90"], &["skipped repeated_config"]);
    // In the FourCC form.
    let u = &mut Intake::new();
    check(u, Audio, 0, &[b"\x91mp4a", &one], &["config Aac mp4a.40.2", "adts", "key 0 !one"]);
}

#[test]
fn case_49_several_frames_in_one_message() {
    let u = &mut Intake::new();
    let message = [&b"!one"[..], b"!two", b"!three"].map(|raw| adts(4, 2, false, raw)).concat();
    let expected = ["config Aac mp4a.40.2", "adts", "key 1000 !one", "key 1023 !two", "key 1046 !three"];
    check(u, Audio, 1000, &[b"\xaf\x01", &message], &expected);
    // Cut short: the whole ones.
    check(u, Audio, 2000, &[b"\xaf\x01", &message[..message.len() - 1]], &["adts", "key 2000 !one", "key 2023 !two"]);
    // HE-AAC says half its rate, and its frames last twice as long.
    let u = &mut Intake::new();
    let message = [&b"!one"[..], b"!two"].map(|raw| adts(6, 1, false, raw)).concat();
    check(u, Audio, 0, &[b"\xaf\x01", &message], &["config Aac mp4a.40.2", "adts", "key 0 !one", "key 43 !two"]);
}

#[test]
fn adts_that_says_too_little() {
    let u = &mut Intake::new();
    check(u, Audio, 0, &[b"\xaf\x01", &adts(4, 0, false, b"!pce")], &["skipped no_config", "unconfigured Audio Aac"]);
    check(u, Audio, 0, &[b"\xaf\x01", &adts(15, 2, false, b"!rate")], &["skipped no_config"]);
    check(u, Audio, 0, &[b"\xaf\0\x12\x10"], &["config Aac mp4a.40.2"]);
    check(u, Audio, 0, &[b"\xaf\x01", &adts(4, 0, false, b"!pce")], &["adts", "key 0 !pce"]);
    let mut blocks = adts(4, 2, false, b"!blocks");
    blocks[6] |= 1;
    for _ in 1..50 {
        check(u, Audio, 0, &[b"\xaf\x01", &blocks], &["skipped adts"]);
    }
    // Not one that is cut short, but all of them: it is told of once.
    check(u, Audio, 0, &[b"\xaf\x01", &blocks], &["skipped adts", "left out: AAC in ADTS"]);
    check(u, Audio, 0, &[b"\xaf\x01", &blocks], &["skipped adts"]);
    check(u, Audio, 0, &[b"\xaf\x01!raw"], &["key 0 !raw"]);
    for _ in 1..50 {
        check(u, Audio, 0, &[b"\xaf\x01", &blocks], &["skipped adts"]);
    }
    check(u, Audio, 0, &[b"\xaf\x01", &blocks], &["skipped adts", "left out: AAC in ADTS"]);
}

#[test]
fn case_45_a_track_that_is_left_out_is_said_once() {
    let u = &mut Intake::new();
    check(u, Audio, 0, &[b"\x7fa"], &["skipped unsupported_audio", "left out: G.711 A-law"]);
    check(u, Audio, 20, &[b"\x7fa"], &["skipped unsupported_audio"]);
    check(u, Audio, 40, &[b"\x8fa"], &["skipped unsupported_audio", "left out: G.711 mu-law"]);
    for (first, name) in [(0x3F, "PCM"), (0x1F, "ADPCM"), (0xBF, "Speex")] {
        check(u, Audio, 40, &[&[first, 0]], &["skipped unsupported_audio", &format!("left out: {name}")]);
    }
    check(u, Video, 0, &[b"\x22a"], &["skipped unsupported_video", "left out: Sorenson H.263"]);
    check(u, Video, 0, &[b"\x90vvc1a"], &["skipped unsupported_video", "left out: vvc1"]);
    check(u, Audio, 0, &[b"\x95\x00Opus\x02", OPUS_HEAD], &["skipped extra_track", "left out: track 2"]);
    // There is an end to it.
    let told: usize = (0..=255_u8).map(|id| push(u, Video, 0, &[b"\x96\x00avc1", &[id.max(1)], b"a"]).len() - 1).sum();
    assert_eq!(told, crate::limits::LEFT_OUT_MAX - 8);
}

#[test]
fn damage_is_survived() {
    let (sps, pps) = avc_sets();
    let hevc = HevcConfig::parse(HVCC).unwrap();
    let hevc: Vec<u8> = hevc.parameter_sets.iter().flat_map(|(_, set)| [START, set].concat()).collect();
    let samples = [
        [AVC, AVCC].concat(),
        [AVC, START, &sps, START, &pps].concat(),
        [KEY, &lengths(&[&sps, &pps, IDR])].concat(),
        [KEY, START, &sps, &START[1..], &pps, START, IDR].concat(),
        [b"\x1c\x01\0\0\0", &hevc[..], b"\0\0\x01\x26\x01slice"].concat(),
        [b"\x90hvc1", HVCC].concat(),
        [b"\xaf\x01", &adts(4, 2, false, b"!one")[..], &adts(4, 2, true, b"!two")].concat(),
        [b"\xaf\0", &adts(4, 2, false, b"!one")[..]].concat(),
    ];
    let samples: Vec<_> = samples.iter().map(Vec::as_slice).collect();
    let mut u = Intake::new();
    survives_damage(&samples, |body| {
        for kind in [Audio, Video] {
            let first = u.push(kind, 0, Bytes::copy_from_slice(body)).ok();
            for event in first.into_iter().chain(std::iter::from_fn(|| u.poll())) {
                match event {
                    MediaEvent::Frame(frame) => assert!(frame.data_at < frame.body.len()),
                    MediaEvent::Config(config) => assert!(config.summary().is_some()),
                    _ => {}
                }
            }
        }
    });
}
