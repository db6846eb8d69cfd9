//! Media to push: encoded once by ffmpeg, kept beside the build, read as FLV tags.
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::flv::{self, Tag};
use crate::seconds;
use crate::tools::Tool;

/// Tags of a file that starts with a keyframe and can be repeated.
#[derive(Debug, Clone)]
pub struct Clip {
    pub configuration: Vec<Tag>,
    /// Frames in order of sending.
    pub frames: Vec<Tag>,
    /// How far apart two repetitions start, milliseconds.
    pub period: u32,
    /// The FLV file that they are of.
    pub file: Option<PathBuf>,
}

/// How a clip is encoded.
struct Coding<'a> {
    name: &'a str,
    /// Bits per second of the picture.
    bits: &'a str,
    /// Frames from one keyframe to the next.
    gop: u32,
    /// Seconds.
    length: u32,
    sample_rate: u32,
    /// Frames of which others are predicted from both sides.
    b_frames: u32,
    /// Frames before a keyframe may be predicted from it, and no keyframe but the first ends all prediction (no IDR).
    open_gop: bool,
}

impl Clip {
    /// 640x360 at 30 per second with noise: 2.5 Mbit/s, a keyframe every second, AAC; 10 s.
    pub fn busy() -> Self {
        Self::encode(&Coding::usual("busy", "2400k", 30, 10), "testsrc2=size=640x360:rate=30,noise=alls=20:allf=t")
    }

    /// 320x180 at 30 per second, about 300 kbit/s, a keyframe every second, AAC; 10 s.
    pub fn small() -> Self {
        Self::encode(&Coding::usual("small", "250k", 30, 10), "testsrc2=size=320x180:rate=30")
    }

    /// 640x360 at 30 per second, a keyframe every second, AAC; 16 s. A wall with the noise of a camera: from 8 s to 11 s something dark goes from left
    /// to right in the middle.
    pub fn passing() -> Self {
        let wall = "color=c=0x909090:s=640x360:r=30,noise=alls=6:allf=t:all_seed=1[wall]";
        let thing = "color=c=0x303030:s=110x120:r=30[thing]";
        let way = "[wall][thing]overlay=x='-w+(W+2*w)*(t-8)/3':y=120:enable='between(t,8,11)'";
        Self::encode(&Coding::usual("passing", "600k", 30, 16), &format!("{wall};{thing};{way}"))
    }

    /// The same wall, and nothing else; 10 s.
    pub fn wall() -> Self {
        let wall = "color=c=0x909090:s=640x360:r=30,noise=alls=6:allf=t:all_seed=1";
        Self::encode(&Coding::usual("wall", "600k", 30, 10), wall)
    }

    /// Like [`Clip::small`] with one keyframe in its 10 s.
    pub fn long_gop() -> Self {
        Self::encode(&Coding::usual("long-gop", "250k", 300, 10), "testsrc2=size=320x180:rate=30")
    }

    /// 640x360 at 30 per second with one keyframe in its 10 s, AAC.
    pub fn long_gop_360p() -> Self {
        Self::encode(&Coding::usual("long-gop-360p", "600k", 300, 10), "testsrc2=size=640x360:rate=30")
    }

    /// 1920x1080 at 20 per second, a keyframe every second, AAC; 4 s.
    pub fn full_hd() -> Self {
        Self::encode(&Coding::usual("full-hd", "2500k", 20, 4), "testsrc2=size=1920x1080:rate=20")
    }

    /// 1280x720 at 10 per second with ten bits a sample, a keyframe every second, AAC; 4 s.
    pub fn ten_bits() -> Self {
        let picture = "testsrc2=size=1280x720:rate=10";
        Self::encode_as(&Coding::usual("ten-bits", "1000k", 10, 4), picture, "yuv420p10le")
    }

    /// 320x180 at 30 per second, a keyframe every two seconds as encoders are told to, AAC; 10 s. The top of each picture holds its number
    /// from 0 to 299: ten squares of 32 pixels, the first of them the lowest bit, white for 1.
    pub fn numbered() -> Self {
        Self::encode_numbered(&Coding::usual("numbered-grey", "400k", 60, 10))
    }

    /// Like [`Clip::numbered`], of 854x480: numbers are in a share of the picture's top that is the same.
    pub fn numbered_480p() -> Self {
        let picture = format!("{},scale=854:480:flags=neighbor", Self::numbers());
        Self::encode(&Coding::usual("numbered-480p", "1200k", 60, 10), &picture)
    }

    /// 1280x192 at 30 per second, a keyframe every two seconds, AAC; 10 s: what is made of it in 640x360 has few pixels.
    pub fn strip() -> Self {
        Self::encode(&Coding::usual("strip", "1000k", 60, 10), "testsrc2=size=1280x192:rate=30")
    }

    /// Like [`Clip::numbered`] with audio at 48 kHz and 960 frames: after 32 s frames and frames of audio end together, so that its
    /// repetitions follow each other as if it were one.
    pub fn numbered_48k() -> Self {
        Self::encode_numbered(&Coding { sample_rate: 48_000, ..Coding::usual("numbered-48k", "400k", 60, 32) })
    }

    /// Like [`Clip::numbered`] with audio at 44.1 kHz, B-frames and 900 frames: after 30 s frames and frames of audio end together.
    pub fn numbered_b_frames() -> Self {
        Self::encode_numbered(&Coding { b_frames: 2, ..Coding::usual("numbered-b", "400k", 60, 30) })
    }

    /// Like [`Clip::numbered_48k`] with a keyframe every eight seconds, as encoders have it that are told nothing.
    pub fn numbered_long_gop() -> Self {
        Self::encode_numbered(&Coding { sample_rate: 48_000, ..Coding::usual("numbered-long", "400k", 240, 32) })
    }

    /// Like [`Clip::numbered_b_frames`] with open GOPs: a decoder that starts later starts at a recovery point.
    pub fn numbered_open_gop() -> Self {
        Self::encode_numbered(&Coding { b_frames: 2, open_gop: true, ..Coding::usual("numbered-open", "400k", 60, 60) })
    }

    /// Like [`Clip::numbered`] in 11 s: where it begins again, a keyframe comes after one second, not two.
    pub fn numbered_with_seam() -> Self {
        Self::encode_numbered(&Coding::usual("numbered-seam", "400k", 60, 11))
    }

    fn encode_numbered(coding: &Coding<'_>) -> Self {
        Self::encode(coding, &Self::numbers())
    }

    fn numbers() -> String {
        let number = "geq=lum='if(lt(Y,32),if(mod(floor(N/pow(2,floor(X/32))),2),235,16),lum(X,Y))':cb='if(lt(Y,16),128,cb(X,Y))':cr='if(lt(Y,16),128,cr(X,Y))'";
        format!("testsrc2=size=320x180:rate=30,format=yuv420p,{number}")
    }

    fn encode(coding: &Coding<'_>, picture: &str) -> Self {
        Self::encode_as(coding, picture, "yuv420p")
    }

    fn encode_as(coding: &Coding<'_>, picture: &str, format: &str) -> Self {
        let &Coding { name, bits, gop, length, sample_rate, b_frames, open_gop } = coding;
        // The name holds what the content depends on.
        let file = directory().join(format!("{name}-{bits}-{gop}-{length}-1.flv"));
        let (gop, length, b_frames) = (gop.to_string(), length.to_string(), b_frames.to_string());
        let sound = format!("sine=frequency=440:sample_rate={sample_rate}");
        // The tune for no delay has no B-frames.
        let tune: &[&str] =
            if b_frames == "0" { &["-tune", "zerolatency"] } else { &["-bf", &b_frames, "-b_strategy", "0"] };
        let open: &[&str] = if open_gop { &["-flags", "-cgop", "-x264-params", "open-gop=1"] } else { &[] };
        #[rustfmt::skip]
        let before = [
            "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", &sound, "-t", &length,
            "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", format,
            "-b:v", bits, "-maxrate", bits, "-bufsize", bits, "-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0",
        ];
        ffmpeg_makes(&file, &[&before, tune, open, &["-c:a", "aac", "-b:a", "96k", "-f", "flv"]].concat());
        let tags = flv::parse(&std::fs::read(&file).expect("the clip")).expect("ffmpeg writes FLV");
        Self { file: Some(file), ..Self::from_tags(tags) }
    }

    /// The same video and audio as an MP4 file, whose index is at its start.
    pub fn mp4(&self) -> PathBuf {
        let flv = self.file.as_deref().expect("a clip that was encoded");
        let file = flv.with_extension("mp4");
        let from = flv.to_str().expect("a path of ASCII");
        ffmpeg_makes(&file, &["-i", from, "-c", "copy", "-movflags", "+faststart", "-f", "mp4"]);
        file
    }

    /// Tags of a file or a viewer: configurations, and the frames from the first keyframe on.
    pub fn from_tags(tags: Vec<Tag>) -> Self {
        let (configuration, rest): (Vec<_>, Vec<_>) = tags.into_iter().partition(Tag::is_configuration);
        let mut frames: Vec<Tag> = rest.into_iter().filter(Tag::is_frame).collect();
        // Encoder delay makes the first audio frames of a file come before its first picture; a stream starts at a picture.
        let start = frames.iter().position(Tag::is_keyframe).expect("a keyframe");
        frames.drain(..start);
        let first = frames[0].timestamp;
        for tag in &mut frames {
            tag.timestamp = tag.timestamp.saturating_sub(first);
        }
        // The next repetition begins where the next picture would be; audio that reaches beyond it is cut.
        let last = frames.iter().rev().find(|t| t.kind == flv::VIDEO).expect("pictures").timestamp;
        let period = last + 33;
        frames.retain(|tag| tag.timestamp < period);
        Self { configuration, frames, period, file: None }
    }
}

impl<'a> Coding<'a> {
    /// Audio at 44.1 kHz, no B-frames.
    fn usual(name: &'a str, bits: &'a str, gop: u32, length: u32) -> Self {
        Self { name, bits, gop, length, sample_rate: 44_100, b_frames: 0, open_gop: false }
    }
}

/// Where clips are kept: beside the build.
fn directory() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    test.ancestors().nth(2).map_or_else(std::env::temp_dir, Path::to_path_buf).join("millstream-clips")
}

/// Lets ffmpeg make a file, if it is not there yet. Threads of a process come one by one, and processes have files of their own until one is whole.
fn ffmpeg_makes(file: &Path, arguments: &[&str]) {
    static MAKING: Mutex<()> = Mutex::new(());
    let _made_by_one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if file.exists() {
        return;
    }
    std::fs::create_dir_all(directory()).expect("the directory of clips");
    let name = file.file_stem().and_then(|name| name.to_str()).expect("ASCII");
    let part = directory().join(format!("{name}-{}.part", std::process::id()));
    let usual = ["-hide_banner", "-nostdin", "-loglevel", "error", "-y"];
    let done = Tool::start("ffmpeg", &[&usual, arguments, &[part.to_str().expect("ASCII")]].concat()).wait(seconds(60));
    assert!(done.status.success(), "ffmpeg makes no clip: {}", done.stderr);
    std::fs::rename(&part, file).expect("the clip is kept");
}
