//! MP4 files that are made of fragmented ones, as ffmpeg reads both: every time, size, flag and byte is held against the source.
mod fixture;

use std::fs;

use fixture::{Packet, Scratch, cmaf, decodes, gather, packets, shown, write};
use millstream_proto::mp4::build::{Cut, Settings};

const PICTURE: &str = "testsrc2=s=160x90:r=30:d=6";
const TONE: &str = "sine=f=440:r=48000:d=6";
const H264: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-bf",
    "2",
    "-g",
    "30",
    "-pix_fmt",
    "yuv420p",
    "-video_track_timescale",
    "90000",
];
const AAC: &[&str] = &["-c:a", "aac", "-b:a", "64k"];

/// The packets of a source and of the file made of it: the same but for a step of all times; gives that step.
fn step(source: &[Packet], made: &[Packet]) -> i64 {
    assert_eq!(source.len(), made.len());
    let step = source[0].pts - made[0].pts;
    for (index, (from, to)) in source.iter().zip(made).enumerate() {
        assert_eq!((from.pts, from.size, &from.hash), (to.pts + step, to.size, &to.hash), "packet {index}");
        assert_eq!(from.dts - source[0].dts, to.dts - made[0].dts, "packet {index}");
        assert_eq!(from.flags.starts_with('K'), to.flags.starts_with('K'), "packet {index}");
    }
    step
}

#[test]
fn every_codec_plays_as_it_did_in_fragments() {
    let scratch = Scratch::new("codecs");
    let video: &[(&str, &[&str])] = &[
        ("h264", H264),
        (
            "hevc",
            &[
                "-c:v",
                "libx265",
                "-preset",
                "ultrafast",
                "-x265-params",
                "log-level=none",
                "-tag:v",
                "hvc1",
                "-g",
                "30",
                "-video_track_timescale",
                "90000",
            ],
        ),
        ("av1", &["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-g", "30", "-b:v", "100k", "-t", "2"]),
        (
            "vp9",
            &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "30", "-b:v", "100k", "-t", "2"],
        ),
    ];
    let audio: &[(&str, &[&str])] = &[
        ("aac", AAC),
        ("opus", &["-c:a", "libopus", "-b:a", "48k"]),
        ("flac", &["-c:a", "flac", "-strict", "-2"]),
        ("ac3", &["-c:a", "ac3", "-b:a", "96k"]),
    ];
    for ((picture, picture_args), (sound, sound_args)) in video.iter().zip(audio) {
        let (of_picture, of_sound) = (scratch.path(picture), scratch.path(sound));
        cmaf(&of_picture, PICTURE, picture_args);
        cmaf(&of_sound, TONE, sound_args);
        let objects = vec![fs::read(&of_picture).unwrap(), fs::read(&of_sound).unwrap()];
        let path = scratch.path(&format!("{picture}-{sound}.mp4"));
        write(&path, &gather(Settings::default(), &objects), &objects);
        decodes(&path);
        assert_eq!(shown(&path, "stream=codec_name", "v"), *picture);
        assert_eq!(shown(&path, "stream=codec_name", "a"), *sound);
        assert_eq!(shown(&path, "format=start_time", ""), "0.000000", "{picture} {sound}");
        assert_eq!(shown(&path, "stream=start_time", "v"), "0.000000", "{picture} {sound}");
        step(&packets(&of_picture, "v"), &packets(&path, "v"));
        step(&packets(&of_sound, "a"), &packets(&path, "a"));
        // Alone as well.
        for (object, track, kind) in [(&objects[0], &of_picture, "v"), (&objects[1], &of_sound, "a")] {
            let alone = [object.clone()];
            let path = scratch.path("alone.mp4");
            write(&path, &gather(Settings::default(), &alone), &alone);
            decodes(&path);
            step(&packets(track, kind), &packets(&path, kind));
            assert_eq!(shown(&path, "format=start_time", ""), "0.000000");
        }
    }
}

#[test]
fn durations_are_exact() {
    let scratch = Scratch::new("durations");
    let (picture, sound) = (scratch.path("v"), scratch.path("a"));
    cmaf(&picture, PICTURE, H264);
    cmaf(&sound, TONE, AAC);
    let objects = vec![fs::read(&picture).unwrap(), fs::read(&sound).unwrap()];
    let path = scratch.path("both.mp4");
    let settings = Settings { zero_unix_ms: Some(1_795_531_265_250), ..Settings::default() };
    write(&path, &gather(settings, &objects), &objects);
    assert_eq!(shown(&path, "stream=duration_ts", "v"), "540000");
    assert_eq!(shown(&path, "stream=duration", "v"), "6.000000");
    assert_eq!(shown(&path, "format=start_time", ""), "0.000000");
    assert_eq!(shown(&path, "format_tags=creation_time", ""), "2026-11-24T14:41:05.000000Z");
    let frames = fixture::run(
        "ffprobe",
        &[
            "-v",
            "warning",
            "-count_frames",
            "-select_streams",
            "v",
            "-show_entries",
            "stream=nb_read_frames",
            "-of",
            "csv=p=0",
            &path,
        ],
    );
    assert_eq!(frames.trim().trim_end_matches(','), "180");
}

#[test]
fn a_clip_begins_and_ends_at_the_frame() {
    let scratch = Scratch::new("clip");
    let (picture, sound) = (scratch.path("v"), scratch.path("a"));
    cmaf(&picture, PICTURE, H264);
    cmaf(&sound, TONE, AAC);
    let objects = vec![fs::read(&picture).unwrap(), fs::read(&sound).unwrap()];
    let path = scratch.path("clip.mp4");
    let cut = Cut { from_us: Some(1_500_000), to_us: Some(4_200_000) };
    let file = gather(Settings { cut, ..Settings::default() }, &objects);
    assert_eq!(file.length_us(), 2_700_000);
    write(&path, &file, &objects);
    decodes(&path);
    assert_eq!(shown(&path, "format=start_time", ""), "0.000000");
    assert_eq!(shown(&path, "format=duration", ""), "2.700000");
    // What is decoded is what is decoded of the source between those two times.
    let frames = |path: &str, kind: &str, filter: &str| {
        let map = format!("0:{}", &kind[..1]);
        let args = [
            "-v",
            "warning",
            "-copyts",
            "-i",
            path,
            "-map",
            &map,
            if kind == "v" { "-vf" } else { "-af" },
            filter,
            "-f",
            "framemd5",
            "-",
        ];
        let text = fixture::run("ffmpeg", &args);
        let frames = text.lines().filter(|line| !line.starts_with('#'));
        frames.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect::<Vec<_>>()
    };
    let expected = frames(&picture, "v", "trim=start=1.5:end=4.2,setpts=PTS-STARTPTS");
    assert_eq!(expected.len(), 81);
    assert_eq!(frames(&path, "v", "null"), expected);
    assert!(packets(&path, "v").len() < 81 + 30 + 3, "no more than from the keyframe on");
}
