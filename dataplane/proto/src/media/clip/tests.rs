//! Clips: what is played, what is refused and why, and that no file panics.
use bytes::BytesMut;

use super::*;
use crate::flv::{file_header, write_tag};
use crate::media::TagKind;

const BUILT_IN: &[u8] = include_bytes!("../../../../hub/slate/slate.flv");
const DEMO: &[u8] = include_bytes!("../../../../millstream/clip/demo.flv");

/// The tags of a file, each changed or left out.
fn edited(file: &[u8], mut edit: impl FnMut(usize, TagKind, u32, &[u8]) -> Option<(u32, Vec<u8>)>) -> Vec<u8> {
    let mut out = BytesMut::from(&file_header(true, true)[..]);
    let mut reader = Reader::new();
    reader.push(file).unwrap();
    let mut n = 0;
    while let Some(item) = reader.poll().unwrap() {
        let Item::Tag { kind, timestamp_ms, body } = item else { continue };
        if let Some((timestamp_ms, body)) = edit(n, kind, timestamp_ms, &body) {
            write_tag(&mut out, kind, timestamp_ms, &body).unwrap();
        }
        n += 1;
    }
    out.to_vec()
}

#[test]
fn clips_with_and_without_sound_are_taken_apart() {
    let silent = Clip::read(BUILT_IN).unwrap();
    assert_eq!((silent.frames.len(), silent.round_ms, silent.audio.is_some()), (30, 2_000, false));
    let demo = Clip::read(DEMO).unwrap();
    assert!(demo.audio.is_some() && (17_050..17_080).contains(&demo.round_ms), "{}", demo.round_ms);
    assert!(demo.frames.windows(2).all(|pair| pair[0].dts_ms <= pair[1].dts_ms));
    assert!(demo.frames.first().is_some_and(|first| first.keyframe && first.dts_ms == 0));
    assert!(demo.frames.iter().all(|frame| frame.dts_ms < demo.round_ms));
    // Stamps that do not begin at 0 say the same, and one picture is a still.
    let later = edited(BUILT_IN, |_, _, ms, body| Some((ms + 7_777, body.to_vec())));
    assert_eq!(Clip::read(&later).unwrap().frames[0].dts_ms, 0);
    let still = edited(BUILT_IN, |n, _, ms, body| (n < 3).then(|| (ms, body.to_vec())));
    let still = Clip::read(&still).unwrap();
    assert_eq!((still.frames.len(), still.round_ms), (3, STILL_MS));
}

#[test]
fn a_clip_is_the_same_out_of_mp4_and_flv() {
    let mp4 = include_bytes!("../../../tests/data/clip.mp4");
    let (mp4, flv) = (Clip::read(mp4).unwrap(), Clip::read(include_bytes!("../../../tests/data/clip.flv")).unwrap());
    assert_eq!((mp4.video.record(), mp4.round_ms), (flv.video.record(), flv.round_ms));
    let audio = |clip: &Clip| clip.audio.as_ref().map(|config| config.record().to_vec());
    assert_eq!(audio(&mp4), audio(&flv));
    for track in [Track::Video, Track::Audio] {
        let of =
            |clip: &Clip| -> Vec<Frame> { clip.frames.iter().filter(|frame| frame.track == track).cloned().collect() };
        let (mp4, flv) = (of(&mp4), of(&flv));
        assert!(mp4.len() >= 25 && mp4.len().abs_diff(flv.len()) <= 1, "{} {}", mp4.len(), flv.len());
        assert!(track == Track::Audio || mp4.iter().any(|frame| frame.cts_ms > 40), "B-frames");
        for (a, b) in mp4.iter().zip(&flv) {
            assert_eq!((a.keyframe, a.cts_ms, &a.body), (b.keyframe, b.cts_ms, &b.body));
            assert!(a.dts_ms.abs_diff(b.dts_ms) <= 1, "{} {}", a.dts_ms, b.dts_ms);
        }
    }
}

#[test]
fn what_cannot_be_played_is_refused_with_a_reason() {
    let check = |file: &[u8], says: &str| {
        let error = Clip::read(file).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    check(b"\0\0\0\x20ftypisom\0\0\0\0", "MP4 file cannot be read: it is cut short");
    check(b"\x1A\x45\xDF\xA3\x9F\x42\x86\x81\x01", "neither an MP4 file nor an FLV file");
    check(b"", "whole file");
    check(&BUILT_IN[..BUILT_IN.len() / 2], "whole file");
    check(&vec![0; CLIP_BYTES_MAX + 1], "at most 8388608");
    check(&file_header(true, true), "no picture");
    let video_only = |change: &dyn Fn(&mut Vec<u8>), says: &str| {
        check(
            &edited(BUILT_IN, |_, kind, ms, body| {
                let mut body = body.to_vec();
                if kind == TagKind::Video {
                    change(&mut body);
                }
                Some((ms, body))
            }),
            says,
        );
    };
    video_only(&|body| body[0] = body[0] & 0xF0 | 2, "-c:v libx264");
    video_only(&|body| body[0] = body[0] & 0x0F | 0x20, "not a keyframe");
    video_only(&|body| body.truncate(7), "cannot be used");
    let mp3 = edited(DEMO, |_, kind, ms, body| {
        let mut body = body.to_vec();
        if kind == TagKind::Audio {
            body[0] = 0x2F;
        }
        Some((ms, body))
    });
    check(&mp3, "-c:a aac");
    check(&edited(BUILT_IN, |_, _, ms, body| Some((ms * 40, body.to_vec()))), "at most 60000 ms");
    check(&edited(BUILT_IN, |n, _, ms, body| Some((if n == 9 { 0 } else { ms }, body.to_vec()))), "backwards");
    let heavy = edited(BUILT_IN, |_, _, ms, body| {
        let coded = body.len() > 1 && body[1] == 1;
        Some((ms, if coded { [body, &vec![0; 200_000]].concat() } else { body.to_vec() }))
    });
    check(&heavy, "bits a second");
    let mut overlapping = include_bytes!("../../../tests/data/clip.mp4").to_vec();
    // All samples of the picture are said to have as many bytes as nearly the whole file.
    let stsz = overlapping.windows(4).position(|name| name == b"stsz").unwrap();
    overlapping[stsz + 8..stsz + 12].copy_from_slice(&6_000_u32.to_be_bytes());
    check(&overlapping, "more bytes than the file");
    check(&edited(BUILT_IN, |_, _, ms, body| Some((ms / 40, body.to_vec()))), "frames a second");
}

/// Of each track: how many frames, where the first and the last are, and how far two are apart at most, milliseconds.
fn paces(clip: &Clip) -> [(usize, i64, i64, i64); 2] {
    [Track::Video, Track::Audio].map(|track| {
        let at: Vec<i64> = clip.frames.iter().filter(|frame| frame.track == track).map(|frame| frame.dts_ms).collect();
        let apart = at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
        (at.len(), at.first().copied().unwrap_or(-1), at.last().copied().unwrap_or(-1), apart)
    })
}

/// The demo with a keyframe every so many milliseconds and no other picture; audio stays.
fn slides(every_ms: u32) -> Vec<u8> {
    let mut pictures = 0;
    edited(DEMO, |_, kind, ms, body| match kind {
        TagKind::Video if body.first().is_some_and(|first| first >> 4 != 1) => None,
        TagKind::Video if body.get(1) == Some(&1) => {
            pictures += 1;
            Some(((pictures - 1) * every_ms, body.to_vec()))
        }
        _ => Some((ms, body.to_vec())),
    })
}

#[test]
fn case_37_keyframes_are_shown_again_rather_than_for_long() {
    for every_ms in [300_i64, 500, 1_000, 2_000, 3_000] {
        let clip = Clip::read(&slides(every_ms as u32)).unwrap();
        let [(pictures, first, last, apart), _] = paces(&clip);
        assert!(first == 0 && apart <= PICTURE_MS_MAX && clip.round_ms - last <= PICTURE_MS_MAX, "{every_ms}");
        assert_eq!(pictures as i64, clip.round_ms / every_ms * ((every_ms + 199) / 200));
    }
    let slow = edited(BUILT_IN, |_, _, ms, body| Some((ms * 4, body.to_vec())));
    let error = Clip::read(&slow).unwrap_err();
    assert!(matches!(error, ClipError::Slow { at_ms: 264..=272, ms: 260..=272 }), "{error:?}");
    assert!(error.to_string().contains("-r 10"), "{error}");
}

#[test]
fn case_37_a_track_that_stands_at_one_time_is_refused() {
    let standing = |stands: TagKind, file: &[u8]| {
        let at = edited(file, |_, kind, ms, body| Some((if kind == stands { 40 } else { ms }, body.to_vec())));
        Clip::read(&at).unwrap_err()
    };
    assert_eq!(standing(TagKind::Video, BUILT_IN), ClipError::Stands(30));
    assert!(matches!(standing(TagKind::Video, DEMO), ClipError::Stands(400..)));
    let sound = standing(TagKind::Audio, DEMO);
    assert!(
        matches!(sound, ClipError::DenseSound { counted_ms: 16_000..18_000, stamped_ms: 20..25 }),
        "its sound lasts 17 s: {sound:?}"
    );
    // At the first half of its time, or all of it in half the time.
    let half = |at: &dyn Fn(u32) -> u32| {
        edited(DEMO, |_, kind, ms, body| Some((if kind == TagKind::Audio { at(ms) } else { ms }, body.to_vec())))
    };
    for file in [half(&|ms| ms.max(9_000)), half(&|ms| ms / 2)] {
        assert!(matches!(Clip::read(&file), Err(ClipError::DenseSound { .. })));
    }
}

/// A round lasts as long as the frames: what is missing of the audio is silent, what is more is left out.
#[test]
fn case_37_sound_is_as_long_as_the_pictures() {
    let whole = Clip::read(DEMO).unwrap();
    let [_, (sounds, ..)] = paces(&whole);
    let without = |left_out: std::ops::Range<u32>| {
        edited(DEMO, |_, kind, ms, body| {
            let heard = kind != TagKind::Audio || body.get(1) != Some(&1) || !left_out.contains(&ms);
            heard.then(|| (ms, body.to_vec()))
        })
    };
    for left_out in [0..9_000, 3_000..3_030, 5_000..5_500, 4_000..20_000, 0..0] {
        let clip = Clip::read(&without(left_out.clone())).unwrap();
        let [_, (filled, first, last, apart)] = paces(&clip);
        assert!(filled.abs_diff(sounds) <= 2, "{left_out:?}: {filled} of {sounds}");
        assert!((0..24).contains(&first) && apart <= 36 && clip.round_ms - last <= 36, "{left_out:?}");
    }
    let short = Clip::read(&edited(DEMO, |_, kind, ms, body| {
        (kind != TagKind::Video || ms < 5_000).then(|| (ms, body.to_vec()))
    }));
    let short = short.unwrap();
    let [_, (_, _, last, _)] = paces(&short);
    assert!((4_990..5_050).contains(&short.round_ms) && (short.round_ms - 36..short.round_ms).contains(&last));
    // Six channels: no silence is known.
    let six = |file: &[u8]| {
        edited(file, |_, kind, ms, body| {
            let mut body = body.to_vec();
            if kind == TagKind::Audio && body[1] == 0 {
                body[3] = body[3] & 0x87 | 6 << 3;
            }
            Some((ms, body))
        })
    };
    assert!(Clip::read(&six(DEMO)).is_ok());
    let error = Clip::read(&six(&without(4_000..20_000))).unwrap_err();
    assert!(matches!(error, ClipError::SoundMissing { at_ms: 3_990..4_040, ms: 13_000..13_100 }), "{error:?}");
    assert!(error.to_string().contains("apad"), "{error}");
}

#[test]
fn no_file_panics() {
    let mp4 = include_bytes!("../../../tests/data/clip.mp4");
    for (whole, at) in [BUILT_IN, mp4].into_iter().flat_map(|file| (0..file.len()).step_by(3).map(move |at| (file, at)))
    {
        let mut file = whole.to_vec();
        for value in [0, 0x5A, 0xFF] {
            file[at] = value;
            drop(Clip::read(&file));
        }
    }
}
