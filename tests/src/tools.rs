//! Programs that users run against the server, as children with their output kept: ffmpeg and ffprobe here, others by [`Tool::start`].
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::eventually;
use crate::server::Log;

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Tool {
    name: String,
    child: Child,
    /// What it wrote to stderr.
    pub stderr: Log,
    /// What it wrote to stdout.
    pub stdout: Log,
}

/// What a program left.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Tool {
    /// Starts a program; no shell is in between.
    pub fn start(program: &str, args: &[&str]) -> Self {
        Self::spawn(Command::new(program).args(args))
    }

    /// Starts a prepared command.
    pub fn spawn(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({error}); tests/run installs it"));
        let (stderr, stdout) = (Log::default(), Log::default());
        stderr.follow(child.stderr.take().expect("piped"));
        stdout.follow(child.stdout.take().expect("piped"));
        Self { name, child, stderr, stdout }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// Ends it at once, without a goodbye to its peers beyond what the kernel says.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    pub fn wait(mut self, within: Duration) -> Finished {
        let deadline = std::time::Instant::now() + within;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                break status;
            }
            let late = std::time::Instant::now() > deadline;
            assert!(!late, "{} runs longer than {within:?}; it said:\n{}", self.name, self.stderr.text());
            std::thread::sleep(Duration::from_millis(20));
        };
        // The threads that read its pipes need a moment more.
        std::thread::sleep(Duration::from_millis(100));
        Finished { status, stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Waits until it has written `text` to stderr.
    pub fn says(&self, text: &str, within: Duration) {
        eventually(&format!("{} says {text:?}", self.name), within, || self.stderr.has(text).then_some(()));
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{} had written:\n{}", self.name, self.stderr.text());
        }
    }
}

/// Pushes 640x360 frames at 30 per second and a tone, in real time, for at most `seconds`.
pub fn ffmpeg_push(url: &str, seconds: u32) -> Tool {
    ffmpeg_push_at(url, seconds, "640x360", 30)
}

/// Runs ffmpeg to its end.
pub fn ffmpeg(args: &[&str]) -> Finished {
    let args = [&["-hide_banner", "-nostdin", "-y", "-loglevel", "error"], args].concat();
    Tool::start("ffmpeg", &args).wait(Duration::from_mins(1))
}

/// Pushes frames of a given size and rate.
pub fn ffmpeg_push_at(url: &str, seconds: u32, size: &str, rate: u32) -> Tool {
    let picture = format!("testsrc2=size={size}:rate={rate}");
    let (seconds, gop) = (seconds.to_string(), (rate * 2).to_string());
    #[rustfmt::skip]
    let tool = Tool::start("ffmpeg", &[
        "-hide_banner", "-nostdin", "-loglevel", "info", "-nostats",
        "-re", "-f", "lavfi", "-i", &picture,
        "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100",
        "-t", &seconds,
        "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-b:v", "1000k", "-g", &gop,
        "-c:a", "aac", "-b:a", "64k", "-flvflags", "no_duration_filesize", "-f", "flv", url,
    ]);
    tool
}

/// Like [`ffmpeg_push`] with one track only: `-an` or `-vn`.
pub fn ffmpeg_push_without(track: &str, url: &str, seconds: u32) -> Tool {
    let seconds = seconds.to_string();
    #[rustfmt::skip]
    let tool = Tool::start("ffmpeg", &[
        "-hide_banner", "-nostdin", "-loglevel", "info", "-nostats",
        "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30",
        "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100",
        "-t", &seconds, track,
        "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "60",
        "-c:a", "aac", "-b:a", "64k", "-flvflags", "no_duration_filesize", "-f", "flv", url,
    ]);
    tool
}

/// A program of ffmpeg 8.1, which speaks Enhanced RTMP; Debian's does not.
pub fn newer(program: &str) -> String {
    let path = format!("{}/.cache/ffmpeg-8.1/{program}", env!("CARGO_MANIFEST_DIR"));
    assert!(std::path::Path::new(&path).exists(), "{path} is missing; tests/run installs it");
    path
}

/// Pushes 320x180 frames at 15 per second and a tone in real time with [`newer`] ffmpeg; `options` say how they are coded, and what else
/// is mapped where there are more inputs than one of each kind.
pub fn newer_push(url: &str, options: &str) -> Tool {
    let program = newer("ffmpeg");
    #[rustfmt::skip]
    let mut args = vec![
        "-hide_banner", "-nostdin", "-loglevel", "info", "-nostats",
        "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=15",
        "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
        "-t", "60", "-pix_fmt", "yuv420p", "-g", "15", "-threads", "1",
    ];
    // Each word is an argument of its own, as a shell would split it; nothing here comes from outside.
    args.extend(options.split_whitespace());
    args.extend(["-flvflags", "no_duration_filesize", "-f", "flv", url]);
    Tool::start(&program, &args)
}

/// What ffprobe sees of a stream or file: one line per track, `codec_name,width,height` for video and `codec_name` for audio, sorted.
pub fn ffprobe(url: &str) -> Vec<String> {
    ffprobe_by("ffprobe", url)
}

/// Like [`ffprobe`], with a program of another name.
pub fn ffprobe_by(program: &str, url: &str) -> Vec<String> {
    let mut args =
        vec!["-v", "error", "-analyzeduration", "3000000", "-show_entries", "stream=codec_name,width,height"];
    args.extend(["-of", "csv=p=0", url]);
    let done = Tool::start(program, &args).wait(Duration::from_secs(20));
    assert!(done.status.success(), "ffprobe {url}: {}", done.stderr);
    let mut tracks: Vec<String> = done.stdout.lines().map(|l| l.trim_end_matches(',').to_owned()).collect();
    tracks.retain(|line| !line.is_empty());
    tracks.sort();
    tracks
}

/// Decodes that many frames with ffmpeg, which must find nothing to complain of.
pub fn ffmpeg_decodes(url: &str, frames: u32) {
    ffmpeg_decodes_by("ffmpeg", url, frames);
}

/// Like [`ffmpeg_decodes`], with a program of another name.
pub fn ffmpeg_decodes_by(program: &str, url: &str, frames: u32) {
    ffmpeg_decodes_but(program, url, frames, &[]);
}

/// Like [`ffmpeg_decodes_by`], where lines with these words are no warning about the stream.
pub fn ffmpeg_decodes_but(program: &str, url: &str, frames: u32, harmless: &[&str]) {
    let frames = frames.to_string();
    #[rustfmt::skip]
    let tool = Tool::start(program, &[
        "-hide_banner", "-nostdin", "-loglevel", "warning", "-xerror", "-i", url,
        "-frames:v", &frames, "-map", "0:v", "-map", "0:a?", "-f", "null", "-",
    ]);
    let done = tool.wait(Duration::from_secs(40));
    assert!(done.status.success(), "ffmpeg {url}: {}", done.stderr);
    // What the null muxer says of the players' own clock is not about the stream.
    let warning = |line: &&str| !line.trim().is_empty() && !harmless.iter().any(|words| line.contains(words));
    let warnings: Vec<&str> = done.stderr.lines().filter(warning).collect();
    assert!(warnings.is_empty(), "ffmpeg complains about {url}: {warnings:#?}");
}

/// VLC writes five seconds of it, or all of it, into a file of that directory, which it may write into. It refuses to run as root, so it runs as
/// nobody where the tests are root.
pub fn vlc_command(dir: &Path, url: &str, file: &str) -> Command {
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let mut command = if root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "cvlc"]);
        command
    } else {
        Command::new("cvlc")
    };
    let sout = format!("--sout=#std{{access=file,mux=ts,dst={}}}", dir.join(file).display());
    command.env("HOME", dir).args(["--no-color", "-I", "dummy", "--run-time", "5", "--play-and-exit", &sout, url]);
    command
}

/// VLC plays it for five seconds, or to its end, and has these tracks of it, as [`ffprobe`] names them.
pub fn vlc_plays(url: &str, tracks: &[&str]) {
    let dir = tempfile::tempdir().expect("a directory");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).expect("nobody may write here");
    let file = dir.path().join("played.ts");
    let done = Tool::spawn(&mut vlc_command(dir.path(), url, "played.ts")).wait(Duration::from_secs(40));
    assert!(file.exists(), "VLC wrote nothing for {url}: {}", done.stderr);
    let found = ffprobe(file.to_str().expect("ASCII"));
    assert!(
        tracks.iter().all(|track| found.iter().any(|f| f == track)),
        "VLC got {found:?} from {url}: {}",
        done.stderr
    );
}

/// Has `promtool check metrics` look at a text in the Prometheus format: it finds nothing.
#[track_caller]
pub fn promtool_check(text: &str) {
    let cached = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/promtool/promtool");
    let program = if cached.exists() { cached } else { "promtool".into() };
    let mut child = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool does not start ({error}); tests/run installs it"));
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let done = child.wait_with_output().expect("promtool ends");
    assert!(done.status.success() && done.stdout.is_empty() && done.stderr.is_empty(), "{done:?}");
}
