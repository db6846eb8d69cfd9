//! Media to push: encoded once by ffmpeg, kept beside the build, read as FLV tags.
use std::path::{Path, PathBuf};

use crate::flv::{self, Tag};
use crate::seconds;
use crate::tools::Tool;

/// Tags of a file that starts with a keyframe and can be repeated.
#[derive(Debug, Clone)]
pub struct Clip {
    /// Codec configurations.
    pub configuration: Vec<Tag>,
    /// Frames in order of sending.
    pub frames: Vec<Tag>,
    /// How far apart two repetitions start, milliseconds.
    pub period: u32,
}

impl Clip {
    /// 640x360 at 30 per second with noise: 2.5 Mbit/s, a keyframe every second, AAC; 10 s.
    pub fn busy() -> Self {
        Self::encode("busy", "testsrc2=size=640x360:rate=30,noise=alls=20:allf=t", "2400k", 30, 10)
    }

    /// 320x180 at 30 per second, about 300 kbit/s, a keyframe every second, AAC; 10 s.
    pub fn small() -> Self {
        Self::encode("small", "testsrc2=size=320x180:rate=30", "250k", 30, 10)
    }

    /// Like [`Clip::small`] with one keyframe in its 10 s.
    pub fn long_gop() -> Self {
        Self::encode("long-gop", "testsrc2=size=320x180:rate=30", "250k", 300, 10)
    }

    /// 320x180 at 30 per second, a keyframe every two seconds as encoders are told to, AAC; 10 s. The top of each picture holds its number
    /// from 0 to 299: ten squares of 32 pixels, the first of them the lowest bit, white for 1.
    pub fn numbered() -> Self {
        let number = "geq=lum='if(lt(Y,32),if(mod(floor(N/pow(2,floor(X/32))),2),235,16),lum(X,Y))':cb='if(lt(Y,16),128,cb(X,Y))':cr='if(lt(Y,16),128,cr(X,Y))'";
        Self::encode("numbered-grey", &format!("testsrc2=size=320x180:rate=30,format=yuv420p,{number}"), "400k", 60, 10)
    }

    fn encode(name: &str, picture: &str, bits: &str, gop: u32, length: u32) -> Self {
        let test = std::env::current_exe().expect("a test knows its own path");
        let dir = test.ancestors().nth(2).map_or_else(std::env::temp_dir, Path::to_path_buf).join("millstream-clips");
        // The name holds what the content depends on.
        let file = dir.join(format!("{name}-{bits}-{gop}-{length}-1.flv"));
        if !file.exists() {
            std::fs::create_dir_all(&dir).expect("the directory of clips");
            let part: PathBuf = dir.join(format!("{name}-{}.part", std::process::id()));
            let (gop, length) = (gop.to_string(), length.to_string());
            #[rustfmt::skip]
            let tool = Tool::start("ffmpeg", &[
                "-hide_banner", "-nostdin", "-loglevel", "error", "-y", "-f", "lavfi", "-i", picture,
                "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100", "-t", &length,
                "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p",
                "-b:v", bits, "-maxrate", bits, "-bufsize", bits, "-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0",
                "-c:a", "aac", "-b:a", "96k", "-f", "flv", part.to_str().expect("a path of ASCII"),
            ]);
            let done = tool.wait(seconds(60));
            assert!(done.status.success(), "ffmpeg makes no clip: {}", done.stderr);
            std::fs::rename(&part, &file).expect("the clip is kept");
        }
        let tags = flv::parse(&std::fs::read(&file).expect("the clip")).expect("ffmpeg writes FLV");
        Self::from_tags(tags)
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
        // The next repetition begins where the next picture would be; sound that reaches beyond it is cut.
        let last = frames.iter().rev().find(|t| t.kind == flv::VIDEO).expect("pictures").timestamp;
        let period = last + 33;
        frames.retain(|tag| tag.timestamp < period);
        Self { configuration, frames, period }
    }
}
