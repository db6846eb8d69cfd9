//! MP4 files that are made of fragmented ones, as ffmpeg reads both: every time, size, flag and byte is held against the source.
mod kit;

use std::fs;

use kit::{Scratch, cmaf, decodes, gather, shown, write};
use millstream_proto::mp4::build::Settings;

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
    decodes(&path);
    assert_eq!(shown(&path, "format_tags=creation_time", ""), "2026-11-24T14:41:05.000000Z");
    let frames = kit::run(
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
