//! Which `ffmpeg` a worker may use, and what it can: looked at once, when the node starts. Before it: the operator's settings; after it: [`super::workers`], which
//! tells it to workers, and to whoever asks what can be decoded here.
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use millstream_hub::decodable::Beside;
use millstream_hub::encodable::{Encodable, PictureCodec};
use millstream_worker::protocol::EncoderName;

use super::program::Program;

/// What it says of itself comes within this time.
const WAIT: Duration = Duration::from_secs(10);
/// And is no longer, bytes.
const SAID_MAX: u64 = 1 << 20;
/// The flag that has a worker's program become an `ffmpeg`, within its limits.
const AS_CHILD: &str = "--ffmpeg-child";
const LINE_CHARS_MAX: usize = 300;
/// The first release with all options that are used.
const RELEASE_LEAST: (u32, u32) = (5, 1);

/// What an operator wants of `ffmpeg`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FfmpegChoice {
    /// The one that is found in `PATH`, if there is one.
    #[default]
    Auto,
    /// None.
    Off,
    /// That one.
    At(PathBuf),
}

/// An `ffmpeg` and what it can.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Installed {
    /// Its path.
    pub program: PathBuf,
    /// It decodes H.264.
    pub h264: bool,
    /// It decodes HEVC.
    pub hevc: bool,
    /// It decodes AV1, without a graphics card.
    pub av1: bool,
    /// It encodes H.265 by x265.
    pub x265: bool,
}

impl Installed {
    /// What a worker with it decodes.
    pub(crate) fn beside(&self) -> Beside {
        Beside { h264: self.h264, hevc: self.hevc, av1: self.av1 }
    }
}

/// Codecs in the API's words.
pub(crate) fn decodes(beside: Beside) -> Vec<String> {
    let all = [("h264", true), ("h264_any", beside.h264), ("hevc", beside.hevc), ("av1", beside.av1)];
    all.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect()
}

/// What renditions are encoded as, in the API's words.
pub(crate) fn encodes(encodable: Encodable) -> Vec<String> {
    let all = [PictureCodec::H264, PictureCodec::Av1, PictureCodec::Hevc].into_iter();
    let is_encoded = |codec: &PictureCodec| match codec {
        PictureCodec::H264 => true,
        PictureCodec::Av1 => encodable.av1,
        PictureCodec::Hevc => encodable.hevc,
    };
    all.filter(is_encoded).map(|codec| codec.word().to_owned()).collect()
}

/// Why none is used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoFfmpeg {
    /// It was not wanted.
    #[error("transcode.ffmpeg is \"off\"")]
    Off,
    /// There is none.
    #[error("no ffmpeg is found in PATH; install the package ffmpeg, or set transcode.ffmpeg to its path")]
    NotFound,
    /// It cannot be run.
    #[error("{} cannot be run: {why}", program.display())]
    Run {
        /// Which.
        program: PathBuf,
        /// Why.
        why: String,
    },
    /// It lacks options that are used.
    #[error("{} is ffmpeg {}.{}, and {}.{} or newer is needed", program.display(), release.0, release.1, RELEASE_LEAST.0, RELEASE_LEAST.1)]
    Old {
        /// Which.
        program: PathBuf,
        /// Major and minor number.
        release: (u32, u32),
    },
    /// It has not the encoder that is wanted.
    #[error("{} has no encoder {encoder}", program.display())]
    Encoder {
        /// Which.
        program: PathBuf,
        /// The encoder.
        encoder: EncoderName,
    },
}

/// Looks at an `ffmpeg`: has a worker's program run it twice, kept in as those that decode are, and waits for it.
///
/// # Errors
/// See [`NoFfmpeg`].
pub fn look(worker: &Program, choice: &FfmpegChoice, encoder: Option<EncoderName>) -> Result<Installed, NoFfmpeg> {
    let program = match choice {
        FfmpegChoice::Off => return Err(NoFfmpeg::Off),
        FfmpegChoice::At(path) => path.clone(),
        FfmpegChoice::Auto => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let all = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("ffmpeg"));
            all.into_iter().find(|path| path.is_file()).ok_or(NoFfmpeg::NotFound)?
        }
    };
    let (decoders, banner) = said(worker, &program, "-decoders")?;
    if let Some(release) = release(&banner).filter(|release| *release < RELEASE_LEAST) {
        return Err(NoFfmpeg::Old { program, release });
    }
    let (encoders, _) = said(worker, &program, "-encoders")?;
    if let Some(encoder) = encoder.filter(|encoder| !lists(&encoders, encoder.as_str())) {
        return Err(NoFfmpeg::Encoder { program, encoder });
    }
    // FFmpeg's own decoder of AV1 needs a graphics card.
    let av1 = ["libdav1d", "libaom-av1"].iter().any(|name| lists(&decoders, name));
    let x265 = lists(&encoders, EncoderName::Libx265.as_str());
    Ok(Installed { h264: lists(&decoders, "h264"), hevc: lists(&decoders, "hevc"), av1, x265, program })
}

/// What it writes to its output, and beside that.
fn said(worker: &Program, program: &Path, what: &str) -> Result<(String, String), NoFfmpeg> {
    let failed = |why: String| NoFfmpeg::Run { program: program.to_owned(), why };
    let mut child = Command::new(&worker.path)
        .args(&worker.arguments)
        .arg(AS_CHILD)
        .arg(program)
        .args(["--", "-nostdin", what])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = |from: Option<Box<dyn std::io::Read + Send>>| {
        let (give, text) = channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.map(|from| from.take(SAID_MAX).read_to_end(&mut bytes));
            let _ = give.send(String::from_utf8_lossy(&bytes).into_owned());
        });
        text
    };
    let texts = [read(stdout.map(|from| Box::new(from) as _)), read(stderr.map(|from| Box::new(from) as _))];
    let until = Instant::now() + WAIT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
            other => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(other.map_or_else(|error| error.to_string(), |_| "it does not end".to_owned())));
            }
        }
    };
    // Who it started itself may hold its pipes: that is not waited for any longer.
    let [stdout, stderr] = texts.map(|text| text.recv_timeout(until.saturating_duration_since(Instant::now())));
    let (Ok(stdout), Ok(stderr)) = (stdout, stderr) else {
        return Err(failed("what it writes does not end".to_owned()));
    };
    if status.success() {
        return Ok((stdout, stderr));
    }
    let last: String = stderr.lines().last().unwrap_or_default().chars().take(LINE_CHARS_MAX).collect();
    Err(failed(if last.is_empty() { status.to_string() } else { format!("{status}: {last}") }))
}

/// Whether a list of coders has one: ` V....D hevc   words`.
fn lists(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.split_whitespace().nth(1) == Some(name))
}

/// The release in `ffmpeg version 5.1.9-0+deb12u1 ...`; `None` where it is a build between two.
fn release(banner: &str) -> Option<(u32, u32)> {
    let text = banner.split_once("ffmpeg version ")?.1;
    let mut numbers = text.trim_start_matches('n').split(|char: char| !char.is_ascii_digit());
    let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?);
    Some((major, minor.parse().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_and_lists_are_read() {
        assert_eq!(release("ffmpeg version 5.1.9-0+deb12u1 Copyright (c)"), Some((5, 1)));
        assert_eq!(release("ffmpeg version n7.0 Copyright"), Some((7, 0)));
        assert_eq!(release("ffmpeg version 8 Copyright"), Some((8, 0)));
        assert_eq!(release("ffmpeg version N-112-gabc Copyright"), None);
        let list = " V..... = Video\n VFS..D hevc                 HEVC\n V..... hevc_qsv             HEVC (Intel)\n";
        assert!(lists(list, "hevc") && lists(list, "hevc_qsv") && !lists(list, "h264") && !lists(list, "HEVC"));
    }

    #[test]
    fn what_is_not_there_or_no_ffmpeg_is_said() {
        // In place of a worker's program, a shell that becomes what it is told.
        let arguments = ["-c", "program=$2; shift 3; exec \"$program\" \"$@\"", "sh"].map(Into::into).into();
        let worker = Program { path: "/bin/sh".into(), arguments };
        let why = |choice| look(&worker, &choice, None).unwrap_err().to_string();
        assert!(why(FfmpegChoice::Off).contains("off"));
        assert!(why(FfmpegChoice::At("/nonexistent/ffmpeg".into())).contains("/nonexistent/ffmpeg cannot be run"));
        assert!(why(FfmpegChoice::At("/bin/false".into())).contains("exit status: 1"));
        // It says nothing, and so decodes nothing.
        let silent = look(&worker, &FfmpegChoice::At("/bin/true".into()), None).unwrap();
        assert!(!silent.h264 && !silent.hevc && !silent.av1 && !silent.x265);
        let no_encoder = look(&worker, &FfmpegChoice::At("/bin/true".into()), Some(EncoderName::Libx264)).unwrap_err();
        assert!(no_encoder.to_string().ends_with("has no encoder libx264"));
    }
}
