//! Messages as real encoders send them, and as none should.
use bytes::Bytes;

use super::*;
use crate::codec::Summary;
use crate::flv::{Item, Reader};
use crate::limits::METADATA_BYTES_MAX;
use crate::testkit::{AV_FLV, AV1C, AVCC, HVCC, OPUS_HEAD, survives_damage};

fn bytes(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

/// One line per message: short enough to compare, long enough to see what matters.
fn describe(result: &Result<MediaEvent, Skipped>) -> String {
    match result {
        Ok(MediaEvent::Config(c)) => format!("config {:?} at {}", c.codec, c.record_at),
        Ok(MediaEvent::Frame(f)) => {
            let key = if f.keyframe { " key" } else { "" };
            format!(
                "{:?} dts {} cts {}{key} data {:?}",
                f.codec,
                f.dts_ms,
                f.cts_ms,
                f.data().escape_ascii().to_string()
            )
        }
        Ok(MediaEvent::Metadata(values)) => format!("metadata of {}", values.len()),
        Ok(other) => format!("{other:?}"),
        Err(skipped) => format!("skipped {}", skipped.label()),
    }
}

#[track_caller]
fn check(unpacker: &mut Unpacker, kind: TagKind, timestamp: u32, body: &[&[u8]], expected: &str) {
    assert_eq!(describe(&unpacker.push(kind, timestamp, bytes(body))), expected, "{:02x?}", body.concat());
}

use TagKind::{Audio, Script, Video};

#[test]
fn what_ffmpeg_sends() {
    let mut reader = Reader::new();
    reader.push(AV_FLV).unwrap();
    let (mut unpacker, mut events) = (Unpacker::new(), Vec::new());
    while let Some(item) = reader.poll().unwrap() {
        if let Item::Tag { kind, timestamp_ms, body } = item {
            events.push(unpacker.push(kind, timestamp_ms, body));
        }
    }
    let lines: Vec<_> = events.iter().map(describe).collect();
    assert!(lines[0].starts_with("metadata of "), "{}", lines[0]);
    assert_eq!(lines[1..3], ["config Avc at 5", "config Aac at 2"]);
    let count = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!((count("Avc dts"), count("Aac dts"), count("Avc") - count("Avc dts")), (30, 88, 1));
    assert_eq!(lines.iter().filter(|line| line.starts_with("Avc") && line.contains(" key ")).count(), 2);
    // The end-of-sequence tag that ffmpeg writes, and nothing else, is skipped.
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("skipped")).collect::<Vec<_>>(),
        ["skipped end_of_sequence"]
    );
    let mut last_ms = i64::MIN;
    for event in &events {
        if let Ok(MediaEvent::Frame(frame)) = event
            && frame.track == Track::Video
        {
            assert!(frame.dts_ms > last_ms && (0..=400).contains(&frame.cts_ms), "{frame:?}");
            last_ms = frame.dts_ms;
        }
    }
    let Ok(MediaEvent::Config(config)) = &events[1] else { panic!("{:?}", events[1]) };
    let shape = Some(crate::codec::Shape::Video { width: 160, height: 90 });
    assert_eq!(config.summary(), Some(Summary { codec: "avc1.640009".into(), shape }));
}

#[test]
fn case_02_both_tracks_unroll_on_one_timeline() {
    let u = &mut Unpacker::new();
    check(u, Audio, 0, &[b"\xaf\0\x12\x10"], "config Aac at 2");
    check(u, Video, 0, &[b"\x17\0\0\0\0", AVCC], "config Avc at 5");
    check(u, Video, 0xFFFF_F000, &[b"\x17\x01\0\0\0k"], "Avc dts 4294963200 cts 0 key data \"k\"");
    check(u, Audio, 0xFFFF_FFFF, &[b"\xaf\x01a"], "Aac dts 4294967295 cts 0 key data \"a\"");
    check(u, Audio, 0x15, &[b"\xaf\x01b"], "Aac dts 4294967317 cts 0 key data \"b\"");
    // The picture that is decoded before the wrap arrives after the audio that is behind it.
    check(u, Video, 0xFFFF_FFF5, &[b"\x27\x01\0\0\0p"], "Avc dts 4294967285 cts 0 data \"p\"");
    // A configuration that is stamped 0 does not move the clock.
    check(u, Audio, 0, &[b"\xaf\0\x11\x90"], "config Aac at 2");
    check(u, Video, 0x20, &[b"\x27\x01\0\0\0p"], "Avc dts 4294967328 cts 0 data \"p\"");
}

#[test]
fn case_03_composition_time_is_signed() {
    let u = &mut Unpacker::new();
    check(u, Video, 0, &[b"\x17\0\0\0\0", AVCC], "config Avc at 5");
    check(u, Video, 40, &[b"\x27\x01\xff\xff\xdep"], "Avc dts 40 cts -34 data \"p\"");
    check(u, Video, 80, &[b"\x27\x01\x80\0\0p"], "Avc dts 80 cts -8388608 data \"p\"");
    check(u, Video, 0, &[b"\x90hvc1", HVCC], "config Hevc at 5");
    check(u, Video, 120, &[b"\xa1hvc1\xff\xff\xdep"], "Hevc dts 120 cts -34 data \"p\"");
}

#[test]
fn case_06_a_track_that_is_not_supported_leaves_the_other_alone() {
    let u = &mut Unpacker::new();
    check(u, Video, 0, &[b"\x17\0\0\0\0", AVCC], "config Avc at 5");
    check(u, Audio, 0, &[b"\xf0device"], "skipped unsupported_audio");
    check(u, Video, 0, &[b"\x17\x01\0\0\0k"], "Avc dts 0 cts 0 key data \"k\"");
    check(u, Video, 20, &[b"\x22sorenson"], "skipped unsupported_video");
    check(u, Audio, 20, &[b"\x90xyz1"], "skipped unsupported_audio");
    check(u, Video, 20, &[b"\x90vvc1"], "skipped unsupported_video");
    check(u, Video, 40, &[b"\x27\x01\0\0\0p"], "Avc dts 40 cts 0 data \"p\"");
}

#[test]
fn case_11_codecs_by_four_cc_and_legacy_hevc() {
    let u = &mut Unpacker::new();
    check(u, Video, 0, &[b"\x1c\0\0\0\0", HVCC], "config Hevc at 5");
    check(u, Video, 0, &[b"\x1c\x01\0\0\x05k"], "Hevc dts 0 cts 5 key data \"k\"");
    check(u, Video, 0, &[b"\x90hvc1", HVCC], "config Hevc at 5");
    check(u, Video, 0, &[b"\x93hvc1k"], "Hevc dts 0 cts 0 key data \"k\"");
    check(u, Video, 0, &[b"\x90av01", AV1C], "config Av1 at 5");
    check(u, Video, 33, &[b"\xa1av01obu"], "Av1 dts 33 cts 0 data \"obu\"");
    check(u, Video, 0, &[b"\x90avc1", AVCC], "config Avc at 5");
    check(u, Video, 66, &[b"\x91avc1\0\0\x42k"], "Avc dts 66 cts 66 key data \"k\"");
    check(u, Video, 0, &[b"\x90vp09", b"\x01\0\0\0\0\x15\x82\x02\x02\x02\0\0"], "config Vp9 at 5");
    check(u, Video, 99, &[b"\x91vp09v"], "Vp9 dts 99 cts 0 key data \"v\"");
    check(u, Audio, 0, &[b"\x90Opus", OPUS_HEAD], "config Opus at 5");
    check(u, Audio, 100, &[b"\x91Opuso"], "Opus dts 100 cts 0 key data \"o\"");
    check(u, Audio, 0, &[b"\x90mp4a\x12\x10"], "config Aac at 5");
    check(u, Audio, 120, &[b"\x91mp4aa"], "Aac dts 120 cts 0 key data \"a\"");
    check(u, Audio, 140, &[b"\x91ac-3a"], "Ac3 dts 140 cts 0 key data \"a\"");
    check(u, Audio, 140, &[b"\x91ec-3a"], "Eac3 dts 140 cts 0 key data \"a\"");
    check(u, Audio, 140, &[b"\x91.mp3a"], "Mp3 dts 140 cts 0 key data \"a\"");
    check(u, Audio, 160, &[b"\x2fa"], "Mp3 dts 160 cts 0 key data \"a\"");
}

#[test]
fn case_12_of_several_tracks_the_first_is_taken() {
    let u = &mut Unpacker::new();
    check(u, Video, 0, &[b"\x90avc1", AVCC], "config Avc at 5");
    check(u, Video, 0, &[b"\x96\x00avc1\x01", AVCC], "skipped extra_track");
    check(u, Video, 0, &[b"\x91avc1\0\0\0a"], "Avc dts 0 cts 0 key data \"a\"");
    check(u, Video, 0, &[b"\x96\x01avc1\x01\0\0\0b"], "skipped extra_track");
    // One packet with two tracks: the first alone, framed so that any player reads it.
    check(u, Video, 33, &[b"\xa6\x11avc1\x01\0\0\x04\0\0\0b\0\0\0\x04\0\0\x07a"], "Avc dts 33 cts 7 data \"a\"");
    check(u, Video, 66, &[b"\xa6\x21hvc1\x01\0\0\x04\0\0\0bavc1\0\0\0\x04\0\0\0a"], "Avc dts 66 cts 0 data \"a\"");
    let event = u.push(Video, 99, bytes(&[b"\xa6\x03avc1\0a"])).unwrap();
    let MediaEvent::Frame(frame) = event else { panic!("{event:?}") };
    assert_eq!(frame.body[..], *b"\xa3avc1a");
    check(u, Video, 99, &[b"\x96\x31avc1\0a"], "skipped multitrack_layout");
    check(u, Audio, 0, &[b"\x95\x00Opus\x02", OPUS_HEAD], "skipped extra_track");
    check(u, Audio, 0, &[b"\x95\x00Opus\x00", OPUS_HEAD], "config Opus at 5");
    check(u, Audio, 0, &[b"\x95\x51Opus"], "skipped extra_track");
    check(u, Video, 0, &[b"\x96\x11avc1\0\xff\xff\xffa"], "skipped truncated");
}

#[test]
fn packets_that_are_no_frames() {
    let u = &mut Unpacker::new();
    check(u, Video, 0, &[b"\x17\0\0\0\0", AVCC], "config Avc at 5");
    check(u, Video, 0, &[b"\x57\x01"], "skipped command_frame");
    check(u, Video, 0, &[b"\xd1avc1\0"], "skipped command_frame");
    check(u, Video, 0, &[b"\x17\x02\0\0\0"], "skipped end_of_sequence");
    check(u, Video, 0, &[b"\x92avc1"], "skipped end_of_sequence");
    check(u, Audio, 0, &[b"\x92Opus"], "skipped end_of_sequence");
    check(u, Video, 0, &[b"\x94avc1\x02\0\x09colorInfo"], "skipped video_metadata");
    check(u, Video, 0, &[b"\xd4avc1\x02"], "skipped video_metadata");
    check(u, Video, 0, &[b"\x95av01ts"], "skipped mpeg2ts_config");
    // What ffmpeg 8.1 sends with ordinary AAC.
    check(u, Audio, 0, &[b"\x94mp4a\x01\x02\0\0\0\x03"], "skipped multichannel_config");
    check(u, Video, 0, &[b"\x98avc1"], "skipped packet_type");
    check(u, Audio, 0, &[b"\xaf\x09"], "skipped packet_type");
    check(u, Video, 0, &[b"\x17\x01\0\0\0"], "skipped empty");
    check(u, Audio, 0, &[b"\x2f"], "skipped empty");
    for body in
        [&b""[..], b"\x17", b"\x17\x01\0\0", b"\x90", b"\x91avc", b"\x91avc1\0", b"\x97", b"\x97\xff\0", b"\x96"]
    {
        check(u, Video, 0, &[body], "skipped truncated");
    }
    for body in [&b""[..], b"\xaf", b"\x90", b"\x91Opu", b"\x97\x05\0"] {
        check(u, Audio, 0, &[body], "skipped truncated");
    }
}

#[test]
fn mod_ex_records_are_passed_over() {
    let u = &mut Unpacker::new();
    check(u, Audio, 0, &[b"\x90Opus", OPUS_HEAD], "config Opus at 5");
    check(u, Audio, 0, &[b"\x97\x02\0\0\x09\x01Opuso"], "Opus dts 0 cts 0 key data \"o\"");
    check(u, Audio, 0, &[b"\x97\x00\x01\x07\x00\x01\x01Opuso"], "Opus dts 0 cts 0 key data \"o\"");
    check(u, Audio, 0, &[b"\x97\xff\x01\x00", &[0; 257], b"\x01Opuso"], "Opus dts 0 cts 0 key data \"o\"");
    check(u, Audio, 0, &[b"\x97\x02\0\0\x09\x05\x01Opus\0o"], "Opus dts 0 cts 0 key data \"o\"");
    check(u, Audio, 0, &[b"\x97", &b"\x00\x01\x07".repeat(9), b"Opuso"], "skipped modex");
}

#[test]
fn a_configuration_is_an_event_when_it_changes() {
    let u = &mut Unpacker::new();
    check(u, Audio, 0, &[b"\xaf\x01a"], "skipped no_config");
    check(u, Audio, 0, &[b"\xaf\0\x12\x10"], "config Aac at 2");
    check(u, Audio, 0, &[b"\xaf\0\x12\x10"], "skipped repeated_config");
    check(u, Audio, 0, &[b"\xaf\0\x11\x90"], "config Aac at 2");
    check(u, Audio, 0, &[b"\xaf\0\x12\x10"], "config Aac at 2");
    check(u, Video, 0, &[b"\x27\x01\0\0\0p"], "skipped no_config");
    check(u, Video, 0, &[b"\x90av01", AV1C], "config Av1 at 5");
    check(u, Video, 0, &[b"\x27\x01\0\0\0p"], "skipped no_config");
    // MP3 needs no configuration, and makes the one of AAC void.
    check(u, Audio, 0, &[b"\x2fa"], "Mp3 dts 0 cts 0 key data \"a\"");
    check(u, Audio, 0, &[b"\xaf\x01a"], "skipped no_config");
    check(u, Audio, 0, &[b"\xaf\0\x12\x10"], "config Aac at 2");
}

#[test]
fn case_10_a_malformed_configuration_leaves_the_one_in_force() {
    let u = &mut Unpacker::new();
    check(u, Video, 0, &[b"\x17\0\0\0\0"], "skipped bad_config");
    check(u, Video, 0, &[b"\x17\0\0\0\0", &AVCC[..20]], "skipped bad_config");
    check(u, Video, 0, &[b"\x17\x01\0\0\0k"], "skipped no_config");
    check(u, Video, 0, &[b"\x17\0\0\0\0", AVCC], "config Avc at 5");
    check(u, Video, 0, &[b"\x17\0\0\0\0"], "skipped bad_config");
    check(u, Video, 0, &[b"\x17\0\0\0\0", &vec![1; 70_000]], "skipped bad_config");
    check(u, Video, 0, &[b"\x17\x01\0\0\0k"], "Avc dts 0 cts 0 key data \"k\"");
    // A NAL unit that says it is longer than the frame is the decoder's to judge: it passes as it is.
    check(
        u,
        Video,
        40,
        &[b"\x27\x01\0\0\0\xff\xff\xff\xffp"],
        "Avc dts 40 cts 0 data \"\\\\xff\\\\xff\\\\xff\\\\xffp\"",
    );
}

#[test]
fn data_messages() {
    let u = &mut Unpacker::new();
    let one = b"\x03\0\x01a\x05\0\0\x09";
    check(u, Script, 0, &[b"\x02\0\x0aonMetaData", one], "metadata of 21");
    check(u, Script, 0, &[b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData", one], "metadata of 21");
    for nothing in [&b""[..], b"\x05", b"\x03\0\0\x09", b"\x01\x01"] {
        check(u, Script, 0, &[b"\x02\0\x0aonMetaData", nothing], "skipped metadata_empty");
    }
    check(u, Script, 0, &[b"\x02\0\x0d@setDataFrame\x02\0\x0aonTextData\x05"], "skipped data_message");
    check(u, Script, 0, &[b"\x02\0\x0aonCuePoint\x05"], "skipped data_message");
    check(u, Script, 0, &[b"\x02\0\x0a"], "skipped data_message");
    check(u, Script, 0, &[b""], "skipped data_message");
    check(u, Script, 0, &[b"\x02\0\x0aonMetaData", &vec![5; METADATA_BYTES_MAX]], "skipped metadata_long");
    let event = u.push(Script, 0, bytes(&[b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData", one])).unwrap();
    let MediaEvent::Metadata(values) = event else { panic!("{event:?}") };
    assert_eq!(values[..], *b"\x02\0\x0aonMetaData\x03\0\x01a\x05\0\0\x09");
}

#[test]
fn damage_is_survived() {
    let samples = [
        [b"\x17\0\0\0\0", AVCC].concat(),
        [b"\x90hvc1", &HVCC[..120]].concat(),
        [b"\x90av01", AV1C].concat(),
        [b"\x90Opus", OPUS_HEAD].concat(),
        b"\xa6\x21hvc1\x01\0\0\x04\0\0\0bavc1\0\0\0\x04\0\0\0a".to_vec(),
        b"\x97\x02\0\0\x09\x05\x01Opus\0o".to_vec(),
        b"\xaf\0\x12\x10".to_vec(),
        b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x05".to_vec(),
    ];
    let samples: Vec<_> = samples.iter().map(Vec::as_slice).collect();
    let mut u = Unpacker::new();
    survives_damage(&samples, |body| {
        for kind in [Audio, Video, Script] {
            match u.push(kind, 0, Bytes::copy_from_slice(body)) {
                Ok(MediaEvent::Frame(frame)) => assert!(frame.data_at < frame.body.len()),
                Ok(MediaEvent::Config(config)) => drop(config.summary()),
                _ => {}
            }
        }
    });
}
