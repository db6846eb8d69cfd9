//! What these tests share: running ffmpeg and ffprobe, tracks as a store holds them, and files made of them.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use millstream_proto::mp4::build::{FileBuilder, Settings};
use millstream_proto::mp4::file::File;
use millstream_proto::mp4::fragment::{Read, read};
use millstream_proto::mp4::header::TrackHeader;

/// A directory of the test's own, gone with it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("mp4-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs a program that has to succeed without a word of complaint.
pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let done = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start ({error}); tests/run installs it"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.trim().is_empty(), "{program} {args:?}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

/// Makes a file with ffmpeg.
pub(crate) fn ffmpeg(args: &[&str]) {
    let all = [&["-hide_banner", "-nostdin", "-y", "-loglevel", "fatal"], args].concat();
    run("ffmpeg", &all);
}

/// Decodes all of it, which must leave nothing to say.
pub(crate) fn decodes(path: &str) {
    run("ffmpeg", &["-hide_banner", "-nostdin", "-loglevel", "warning", "-xerror", "-i", path, "-f", "null", "-"]);
}

/// Test picture and tone, each as a fragmented file of its own, as CMAF wants it. `first` is where the picture begins.
pub(crate) fn cmaf(path: &str, input: &str, codec: &[&str]) {
    let source = ["-f", "lavfi", "-i", input];
    let form = [
        "-movflags",
        "cmaf+frag_keyframe+delay_moov",
        "-frag_duration",
        "300000",
        "-use_editlist",
        "1",
        "-f",
        "mp4",
        path,
    ];
    ffmpeg(&[&source[..], codec, &form].concat());
}

/// The header of a fragmented file, and where its fragments begin.
pub(crate) fn header(bytes: &[u8]) -> (TrackHeader, usize) {
    let mut at = 0;
    loop {
        let size = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let name = &bytes[at + 4..at + 8];
        at += size;
        if name == b"moov" {
            return (TrackHeader::read(&bytes[..at]).unwrap(), at);
        }
    }
}

/// Makes a file of fragmented files, each an object, reading no more of a fragment than is asked for.
pub(crate) fn gather(settings: Settings, objects: &[Vec<u8>]) -> File {
    let mut builder = FileBuilder::new(settings);
    for (number, object) in objects.iter().enumerate() {
        let (header, mut at) = header(object);
        let track = builder.add_track(&header).unwrap();
        // An index that ffmpeg writes behind the last fragment is none.
        while object.len() - at > 8 && object[at + 4..at + 8] != *b"mfra" {
            let mut have = 0;
            loop {
                match read(&object[at..at + have], &header).unwrap() {
                    Read::More(more) => have = more,
                    Read::Fragment { fragment, bytes } => {
                        builder.push(track, &fragment, number as u32, at as u64).unwrap();
                        at += usize::try_from(bytes).unwrap();
                        break;
                    }
                }
            }
        }
    }
    builder.finish().unwrap()
}

/// Writes the file.
pub(crate) fn write(path: &str, file: &File, objects: &[Vec<u8>]) {
    let mut bytes = file.head().to_vec();
    for copy in file.copies() {
        let at = usize::try_from(copy.at).unwrap();
        bytes.extend_from_slice(&objects[copy.object as usize][at..at + usize::try_from(copy.bytes).unwrap()]);
    }
    assert_eq!(bytes.len() as u64, file.file_bytes());
    fs::write(Path::new(path), bytes).unwrap();
}

/// One value that ffprobe shows of the file or of a track.
pub(crate) fn shown(path: &str, section: &str, track: &str) -> String {
    let mut args = vec!["-v", "warning", "-show_entries", section, "-of", "csv=p=0"];
    if !track.is_empty() {
        args.extend(["-select_streams", track]);
    }
    args.push(path);
    run("ffprobe", &args).trim().trim_end_matches(',').to_owned()
}

/// A sample as ffprobe finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) size: u64,
    pub(crate) flags: String,
    pub(crate) hash: String,
}

/// The samples of one track (`v` or `a`).
pub(crate) fn packets(path: &str, track: &str) -> Vec<Packet> {
    let entries = "packet=pts,dts,size,flags,data_hash";
    let hash = ["-v", "warning", "-select_streams", track, "-show_data_hash", "SHA256"];
    let text = run("ffprobe", &[&hash[..], &["-show_entries", entries, "-of", "default=nw=0", path]].concat());
    let mut found = vec![];
    for packet in text.split("[PACKET]").skip(1) {
        let value = |name: &str| {
            let line = packet.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("no {name} in {packet}")).to_owned()
        };
        found.push(Packet {
            pts: value("pts").parse().unwrap(),
            dts: value("dts").parse().unwrap(),
            size: value("size").parse().unwrap(),
            flags: value("flags"),
            hash: value("data_hash"),
        });
    }
    found
}
