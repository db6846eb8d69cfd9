//! Renditions have the timeline of their source: keyframes at the same times, every stamp one of the source's, audio untouched and in its
//! place; and ffmpeg decodes what comes out without a word.
#![cfg(feature = "codecs")]
mod common;

use std::collections::BTreeSet;

use common::{Sent, clip, file, frames, stamps, target, tool, transcode, usual, usual_arguments, write};
use millstream_proto::amf0::{self, Value};
use millstream_proto::codec::avc::AvcConfig;
use millstream_proto::media::TagKind;
use millstream_worker::transcode::{Tag, TagRole, TranscodeError, Transcoder, Unfit};

/// A configuration of HEVC as Enhanced RTMP has it.
const HEVC_HEADER: &[u8] = b"\x90hvc1\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x5d\xf0\0\xfc\xfd\xf8\xf8\0\0\x0f\0";

/// Keyframes of the source, and those of the rendition.
#[track_caller]
fn aligned(source: &[Sent], tags: &[Tag]) {
    let keyframes: Vec<_> = source.iter().filter(|tag| tag.is_keyframe()).map(Sent::stamps).collect();
    let made: Vec<_> =
        frames(tags).into_iter().filter(|(keyframe, ..)| *keyframe).map(|(_, dts, pts)| (dts, pts)).collect();
    assert_eq!(made, keyframes);
    let dts: BTreeSet<i64> = source.iter().filter(|tag| tag.is_video()).map(|tag| tag.stamps().0).collect();
    let pts: BTreeSet<i64> = source.iter().filter(|tag| tag.is_video()).map(|tag| tag.stamps().1).collect();
    let frames = frames(tags);
    for pair in frames.windows(2) {
        assert!(pair[0].1 < pair[1].1 && pair[0].2 < pair[1].2, "{pair:?}");
    }
    for (_, frame_dts, frame_pts) in &frames {
        assert!(
            dts.contains(frame_dts) && pts.contains(frame_pts) && frame_pts >= frame_dts,
            "{frame_dts} {frame_pts}"
        );
    }
    // Each NAL unit stands behind a length of four bytes, and none is a parameter set.
    for tag in tags.iter().filter(|tag| tag.kind == TagKind::Video && tag.body[1] == 1) {
        let (mut data, mut kinds) = (&tag.body[5..], Vec::new());
        while !data.is_empty() {
            let length = u32::from_be_bytes(data[..4].try_into().unwrap()) as usize;
            kinds.push(data[4] & 31);
            data = &data[4 + length..];
        }
        let expected = if tag.body[0] >> 4 == 1 { 5 } else { 1 };
        assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == expected), "{kinds:?}");
    }
}

/// What ffprobe counts when it decodes all of it: frames, size.
fn decoded(name: &str, tags: &[Tag]) -> (usize, String) {
    let path = write(name, &file(tags));
    let shown = ["-select_streams", "v", "-show_entries", "frame=width,height", "-of", "csv=p=0"];
    let lines = tool("ffprobe", &[&["-v", "error"], &shown[..], &[&path]].concat());
    let mut sizes: Vec<&str> = lines.lines().filter(|line| !line.is_empty()).collect();
    let count = sizes.len();
    sizes.dedup();
    (count, sizes.join(" "))
}

#[test]
fn a_usual_stream() {
    let source = usual();
    let tags = transcode(&source, target(640, 360, 800));
    aligned(&source, &tags);
    assert_eq!(frames(&tags).len(), 180);
    assert_eq!(decoded("usual-360p.flv", &tags), (180, "640,360".to_owned()));
    // Presentation times are all there, and a frame is shown as long after it is decoded as in the source.
    let all: BTreeSet<i64> = source.iter().filter(|tag| tag.is_video()).map(|tag| tag.stamps().1).collect();
    assert!(frames(&tags).iter().map(|frame| frame.2).eq(all));

    let audio: Vec<_> =
        source.iter().filter(|tag| tag.kind == TagKind::Audio).map(|tag| (tag.timestamp_ms, &tag.body)).collect();
    let passed: Vec<_> =
        tags.iter().filter(|tag| tag.kind == TagKind::Audio).map(|tag| (tag.timestamp_ms, &tag.body)).collect();
    assert!(passed.len() >= audio.len() - 2 && audio.ends_with(&passed[1..]), "{} of {}", passed.len(), audio.len());
    assert_eq!(passed[0].1, audio[0].1);
    let mut video_ms = 0;
    let until = tags.len() - 8;
    for tag in &tags[3..until] {
        match tag.kind {
            TagKind::Video => video_ms = tag.timestamp_ms,
            _ => assert!(
                tag.timestamp_ms.abs_diff(video_ms) < 90,
                "audio of {} behind video of {video_ms}",
                tag.timestamp_ms
            ),
        }
    }

    let roles: Vec<TagRole> = tags.iter().take(4).map(|tag| tag.role).collect();
    assert_eq!(roles, [TagRole::Metadata, TagRole::VideoHeader, TagRole::AudioHeader, TagRole::Keyframe]);
    assert_eq!(tags.iter().filter(|tag| tag.role == TagRole::VideoHeader).count(), 1);
    let metadata = amf0::decode(&tags[0].body).unwrap();
    let number = |name: &str| metadata[1].get(name).and_then(Value::as_number).unwrap();
    assert_eq!(["width", "height", "videodatarate", "framerate"].map(|name| number(name) as u32), [640, 360, 800, 30]);
    let config = AvcConfig::parse(&tags[1].body[5..]).unwrap();
    assert_eq!(
        (config.nal_length_bytes, config.picture(), config.sps.len(), config.pps.len()),
        (4, Some((640, 360)), 1, 1)
    );
    // Constrained Baseline, and a level that has room for it.
    assert_eq!((config.profile, config.compatibility & 0xC0), (66, 0xC0));
    assert!((30..=31).contains(&config.level), "level {}", config.level);
}

#[test]
fn a_minute_of_ntsc_stamps() {
    let source = clip("ntsc", &usual_arguments("160x90", "30000/1001", "60"));
    let tags = transcode(&source, target(80, 46, 60));
    aligned(&source, &tags);
    assert_eq!(frames(&tags).len(), 1799);
}

#[test]
fn stamps_near_the_end_of_32_bits() {
    let shift = u32::MAX - 3_000;
    let mut source = usual();
    for tag in source.iter_mut().filter(|tag| tag.is_video() || tag.is_audio()) {
        tag.timestamp_ms = tag.timestamp_ms.wrapping_add(shift);
    }
    let tags = transcode(&source, target(320, 180, 300));
    let keyframes: Vec<u32> =
        tags.iter().filter(|tag| tag.role == TagRole::Keyframe).map(|tag| tag.timestamp_ms).collect();
    assert_eq!(keyframes, [0, 2_000, 4_000].map(|ms| shift.wrapping_add(ms)));
    assert_eq!(frames(&tags).len(), 180);
}

#[test]
fn open_gops_lose_their_leading_pictures_only() {
    let mut arguments = usual_arguments("320x180", "30", "6");
    arguments.extend(["-x264-params", "open-gop=1:bframes=3:b-adapt=0"]);
    let source = clip("open", &arguments);
    let keyframes: Vec<usize> = (0..source.len()).filter(|at| source[*at].is_keyframe()).collect();
    let leading: Vec<i64> = keyframes
        .iter()
        .flat_map(|at| {
            let (_, shown) = source[*at].stamps();
            source[*at..].iter().filter(|tag| tag.is_video()).map(|tag| tag.stamps().1).filter(move |pts| *pts < shown)
        })
        .collect();
    assert!(leading.len() >= 4, "{leading:?}");
    let tags = transcode(&source, target(160, 90, 150));
    aligned(&source, &tags);
    let shown: BTreeSet<i64> = frames(&tags).iter().map(|frame| frame.2).collect();
    let expected: BTreeSet<i64> = source
        .iter()
        .filter(|tag| tag.is_video())
        .map(|tag| tag.stamps().1)
        .filter(|pts| !leading.contains(pts))
        .collect();
    assert_eq!(shown, expected);
    decoded("open-90p.flv", &tags);

    // Entered at a keyframe that is no IDR picture, as a node sends a stream to who joins: without the leading pictures.
    let headers = source.iter().filter(|tag| !tag.is_video() && !tag.is_audio());
    let rest = source[keyframes[1]..].iter().filter(|tag| !tag.is_video() || !leading.contains(&tag.stamps().1));
    let joined: Vec<Sent> = headers.chain(rest).cloned().collect();
    let late = transcode(&joined, target(160, 90, 150));
    aligned(&joined, &late);
    let expected = frames(&tags).into_iter().skip_while(|frame| frame.1 < source[keyframes[1]].stamps().0);
    assert!(frames(&late).into_iter().map(|frame| frame.2).eq(expected.map(|frame| frame.2)));
}

#[test]
fn the_size_changes_in_mid_stream() {
    let first = clip("small", &usual_arguments("640x360", "30", "4"));
    let mut source = usual();
    let offset = 6_000;
    source.extend(first.into_iter().map(|mut tag| {
        if tag.is_video() || tag.is_audio() {
            tag.timestamp_ms += offset;
        }
        tag
    }));
    let tags = transcode(&source, target(426, 240, 400));
    aligned(&source, &tags);
    // Both sources are 16:9, so the rendition's size stays; a portrait one makes another header.
    assert_eq!(decoded("change-240p.flv", &tags), (300, "426,240".to_owned()));
    let portrait = clip("portrait", &usual_arguments("360x640", "30", "4"));
    let mut source = usual();
    source.extend(portrait.into_iter().map(|mut tag| {
        tag.timestamp_ms += if tag.is_video() || tag.is_audio() { offset } else { 0 };
        tag
    }));
    let tags = transcode(&source, target(426, 240, 400));
    aligned(&source, &tags);
    let headers: Vec<usize> = (0..tags.len()).filter(|at| tags[*at].role == TagRole::VideoHeader).collect();
    assert_eq!(headers.len(), 2);
    let next = tags[headers[1]..].iter().find(|tag| tag.kind == TagKind::Video && tag.body[1] == 1).unwrap();
    assert_eq!((next.role, next.timestamp_ms), (TagRole::Keyframe, 6_000));
    let sizes: Vec<_> =
        headers.iter().map(|at| AvcConfig::parse(&tags[*at].body[5..]).unwrap().picture().unwrap()).collect();
    assert_eq!(sizes, [(426, 240), (240, 426)]);
}

#[test]
fn odd_sizes_and_cropping() {
    for (size, within, expected) in
        [("854x478", (640, 360), "640,358"), ("642x362", (426, 240), "426,240"), ("322x242", (160, 120), "160,120")]
    {
        let source = clip(&format!("odd-{size}"), &usual_arguments(size, "30", "2"));
        let tags = transcode(&source, target(within.0, within.1, 300));
        aligned(&source, &tags);
        assert_eq!(decoded(&format!("odd-{size}-out.flv"), &tags), (60, expected.to_owned()));
    }
}

#[test]
fn what_is_not_decoded_here_is_said_before_anything_is() {
    let why = |source: &[Sent]| {
        let mut transcoder = Transcoder::new(&[target(64, 36, 50)]);
        let mut out = vec![Vec::new()];
        let errors =
            source.iter().find_map(|tag| transcoder.push(tag.kind, tag.timestamp_ms, tag.body.clone(), &mut out).err());
        assert!(out[0].is_empty() && transcoder.source_stats().decoded == 0);
        errors.unwrap_or_else(|| panic!("no error for {:?}", source.first()))
    };
    let of = |name: &str, size: &str, extra: &[&str]| {
        let input: &'static str = format!("testsrc2=s={size}:r=5:d=1").leak();
        let before = ["-f", "lavfi", "-i", input, "-c:v", "libx264", "-preset", "ultrafast"];
        clip(name, &[&before[..], extra].concat())
    };
    let unsupported = |text: &str| TranscodeError::Source(Unfit::Unsupported(text.to_owned()));
    assert_eq!(why(&of("wide", "4352x2448", &[])), TranscodeError::Source(Unfit::TooLarge(4352, 2448)));
    assert_eq!(why(&of("deep", "320x180", &["-pix_fmt", "yuv420p10le"])), unsupported("H.264 of 10 bits"));
    assert_eq!(why(&of("422", "320x180", &["-pix_fmt", "yuv422p"])), unsupported("H.264 4:2:2"));
    assert_eq!(why(&of("fields", "320x180", &["-x264-params", "interlaced=1"])), unsupported("H.264 interlaced"));
    let hevc = Sent { kind: TagKind::Video, timestamp_ms: 0, body: HEVC_HEADER.into() };
    assert_eq!(why(&[hevc]), unsupported("HEVC"));
    let av1 = Sent { kind: TagKind::Video, timestamp_ms: 0, body: (&b"\x90av01\x81\x04\x0c\x00"[..]).into() };
    assert_eq!(why(&[av1]), unsupported("AV1"));

    // What is larger than the source is refused; the largest that is taken is decoded.
    let mut transcoder = Transcoder::new(&[target(1920, 1080, 50)]);
    let source = usual();
    let refused = source
        .iter()
        .find_map(|tag| transcoder.push(tag.kind, tag.timestamp_ms, tag.body.clone(), &mut [Vec::new()]).err());
    assert!(matches!(refused, Some(TranscodeError::Rendition(_))), "{refused:?}");
    let largest = of("4k", "4096x2304", &["-pix_fmt", "yuv420p"]);
    assert_eq!(frames(&transcode(&largest, target(640, 360, 300))).len(), 5);
    // Of the same size it has another rate.
    let tags = transcode(&clip("same", &usual_arguments("320x180", "30", "2")), target(320, 180, 200));
    assert_eq!(decoded("same-180p.flv", &tags), (60, "320,180".to_owned()));
}

#[test]
fn a_rendition_begins_with_a_keyframe() {
    let source = usual();
    let second = source.iter().position(|tag| tag.is_video() && !tag.is_keyframe()).unwrap();
    let headers = source.iter().filter(|tag| !tag.is_video() && !tag.is_audio());
    let joined: Vec<Sent> = headers.chain(&source[second..]).cloned().collect();
    let mut transcoder = Transcoder::new(&[target(320, 180, 300)]);
    let mut out = vec![Vec::new()];
    for tag in &joined {
        transcoder.push(tag.kind, tag.timestamp_ms, tag.body.clone(), &mut out).unwrap();
    }
    let first = out[0].iter().find(|tag| tag.kind == TagKind::Video && tag.body[1] == 1).unwrap();
    assert_eq!((first.role, stamps(first.timestamp_ms, &first.body).0), (TagRole::Keyframe, 2_000));
    assert!(out[0].iter().filter(|tag| tag.role == TagRole::Frame).all(|tag| tag.timestamp_ms >= 1_900));
}
