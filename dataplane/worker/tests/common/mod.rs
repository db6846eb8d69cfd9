//! What the tests of the worker share: clips that ffmpeg makes, tags of FLV files, and files of a rendition's tags.
#![allow(dead_code)]
pub(crate) mod node;
pub(crate) mod worker;

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::{Bytes, BytesMut};
use millstream_proto::flv::{Item, Reader, file_header, write_tag};
use millstream_proto::media::TagKind;
use millstream_worker::protocol::PictureCodec;
use millstream_worker::transcode::{Tag, Target, Transcoder};

/// A tag of a source.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) kind: TagKind,
    pub(crate) timestamp_ms: u32,
    pub(crate) body: Bytes,
}

impl Sent {
    /// A frame of H.264, not its configuration.
    pub(crate) fn is_video(&self) -> bool {
        self.kind == TagKind::Video && self.body.get(1) == Some(&1)
    }

    pub(crate) fn is_keyframe(&self) -> bool {
        self.is_video() && self.body[0] >> 4 == 1
    }

    pub(crate) fn is_audio(&self) -> bool {
        self.kind == TagKind::Audio && self.body.get(1) == Some(&1)
    }

    pub(crate) fn stamps(&self) -> (i64, i64) {
        stamps(self.timestamp_ms, &self.body)
    }
}

/// Decode and presentation time of an H.264 tag.
pub(crate) fn stamps(timestamp_ms: u32, body: &[u8]) -> (i64, i64) {
    let cts = i32::from_be_bytes([body[2], body[3], body[4], 0]) >> 8;
    (timestamp_ms.into(), i64::from(timestamp_ms) + i64::from(cts))
}

pub(crate) fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Runs ffmpeg; it must succeed.
pub(crate) fn ffmpeg(arguments: &[&str]) -> String {
    tool("ffmpeg", &[&["-hide_banner", "-nostdin", "-loglevel", "error", "-y"], arguments].concat())
}

/// Runs a program; it must succeed and complain of nothing.
pub(crate) fn tool(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("{program} is needed ({error}): tests/run installs it"));
    let complaint = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && complaint.trim().is_empty(), "{program} {arguments:?}: {complaint}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A clip that ffmpeg makes once; `arguments` go before the file's name.
pub(crate) fn clip(name: &str, arguments: &[&str]) -> Vec<Sent> {
    let file = scratch(&format!("{name}.flv"));
    if !file.exists() {
        // Each thread of each test process makes its own, and one of them wins.
        let part = scratch(&format!("{name}.{}.{:?}.part", std::process::id(), std::thread::current().id()));
        let path = part.to_str().expect("ASCII");
        ffmpeg(&[arguments, &["-f", "flv", "-flvflags", "no_duration_filesize", path]].concat());
        std::fs::rename(&part, &file).expect("the clip");
    }
    tags(&std::fs::read(&file).expect("the clip"))
}

/// 6 s of 720p30 with B-frames, a keyframe each 2 s, and AAC.
pub(crate) fn usual() -> Vec<Sent> {
    clip("usual", &usual_arguments("1280x720", "30", "6"))
}

pub(crate) fn usual_arguments<'a>(size: &'a str, rate: &'a str, seconds: &'a str) -> Vec<&'a str> {
    let video: &'static str = format!("testsrc2=s={size}:r={rate}:d={seconds}").leak();
    let audio: &'static str = format!("sine=d={seconds}").leak();
    let gop = match rate {
        "30000/1001" | "30" => "60",
        "60" => "120",
        "20" => "40",
        other => panic!("{other}"),
    };
    let mut arguments = vec!["-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio, "-c:v", "libx264"];
    arguments.extend(["-preset", "veryfast", "-bf", "3", "-g", gop, "-sc_threshold", "0", "-pix_fmt", "yuv420p"]);
    arguments.extend(["-c:a", "aac", "-b:a", "96k"]);
    arguments
}

/// The tags of an FLV file.
pub(crate) fn tags(file: &[u8]) -> Vec<Sent> {
    let mut reader = Reader::new();
    let mut tags = Vec::new();
    for piece in file.chunks(1 << 20) {
        reader.push(piece).expect("room");
        while let Some(item) = reader.poll().expect("FLV") {
            if let Item::Tag { kind, timestamp_ms, body } = item {
                tags.push(Sent { kind, timestamp_ms, body });
            }
        }
    }
    tags
}

/// The file of a rendition's tags.
pub(crate) fn file(tags: &[Tag]) -> Vec<u8> {
    let mut out = BytesMut::from(&file_header(true, true)[..]);
    for tag in tags {
        write_tag(&mut out, tag.kind, tag.timestamp_ms, &tag.body).expect("a tag");
    }
    out.to_vec()
}

pub(crate) const fn target(width: u32, height: u32, kbit_s: u32) -> Target {
    Target { within: (width, height), kbit_s, codec: PictureCodec::H264 }
}

/// All tags of one rendition of a source.
pub(crate) fn transcode(source: &[Sent], target: Target) -> Vec<Tag> {
    let mut transcoder = Transcoder::new(&[target]);
    let mut out = vec![Vec::new()];
    for tag in source {
        transcoder.push(tag.kind, tag.timestamp_ms, tag.body.clone(), &mut out).expect("a source that can be decoded");
    }
    transcoder.finish(&mut out).expect("the end");
    assert_eq!(transcoder.source_stats().lost, 0);
    out.remove(0)
}

/// Video frames of a rendition: keyframe, decode time, presentation time.
pub(crate) fn frames(tags: &[Tag]) -> Vec<(bool, i64, i64)> {
    let video = tags.iter().filter(|tag| tag.kind == TagKind::Video && tag.body[1] == 1);
    video
        .map(|tag| {
            let (dts, pts) = stamps(tag.timestamp_ms, &tag.body);
            (tag.body[0] >> 4 == 1, dts, pts)
        })
        .collect()
}

/// Writes a file and gives its path.
pub(crate) fn write(name: &str, bytes: &[u8]) -> String {
    let path = scratch(name);
    std::fs::write(&path, bytes).expect("a file");
    path.to_str().expect("ASCII").to_owned()
}

/// Nothing is missing, nothing is twice, and keyframes are each two seconds.
#[track_caller]
pub(crate) fn is_whole(published: &node::Published) {
    let video = published.video();
    assert!(video[0].0);
    for pair in video.windows(2) {
        let (step, shown) = (pair[1].1 - pair[0].1, pair[1].2 - pair[0].2);
        assert!((33..=34).contains(&step) && (33..=34).contains(&shown), "{pair:?} of {video:?}");
    }
    let keyframes: Vec<i64> = video.iter().filter(|frame| frame.0).map(|frame| frame.1).collect();
    assert!(
        keyframes.iter().all(|ms| ms % 2_000 == 0) && keyframes.windows(2).all(|w| w[1] - w[0] == 2_000),
        "{keyframes:?}"
    );
}
