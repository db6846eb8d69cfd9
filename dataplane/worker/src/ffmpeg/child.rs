//! A child's pipes, and the watch over it: what is written waits for room and not for ever, what it says beside is logged a little at a time. Before it:
//! [`super::starter`]; after it: [`super::encode`] and [`super::decode`].
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::error::FfmpegError;
use super::lag::{HANGS, Lag, Silence, UNDER_WAY_MAX};
use super::starter::Killer;
use crate::picture::is_aspect;
use crate::queue::lock;

/// Lines that are logged of one child in [`LINES_EVERY`].
const LINES_MAX: u32 = 5;
const LINES_EVERY: Duration = Duration::from_secs(10);
const LINE_CHARS_MAX: usize = 300;
/// A line of a child: what is longer is no line.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// Stamps that wait for their pictures.
const STAMPS_MAX: usize = 2 * UNDER_WAY_MAX;
/// What [`super::spec`] asks for to be told of each picture.
const SHOWINFO: &str = "showinfo";

/// What a child says of a picture that it gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ShownAs {
    /// When it is shown, ticks of what the child reads.
    pub(super) stamp: i64,
    /// Width of a sample by its height; `None`: not known.
    pub(super) aspect: Option<(u32, u32)>,
}

/// A child at work. Dropped, it ends.
pub(super) struct Running {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    /// The newest complaint.
    complaint: Arc<Mutex<String>>,
    shown: Option<Receiver<ShownAs>>,
    _killer: Killer,
}

impl Running {
    pub(super) fn new([stdin, stdout, stderr]: [OwnedFd; 3], killer: Killer) -> Self {
        // This end is the worker's alone.
        if let Err(error) = rustix::io::ioctl_fionbio(&stdin, true) {
            tracing::warn!(%error, "a pipe to ffmpeg cannot be written to without waiting");
        }
        let complaint: Arc<Mutex<String>> = Arc::default();
        let (said, shown) = sync_channel(STAMPS_MAX);
        let kept = Arc::clone(&complaint);
        let listens = move || listen(File::from(stderr), &said, &kept);
        if let Err(error) = thread::Builder::new().name("ffmpeg says".to_owned()).spawn(listens) {
            tracing::warn!(%error, "no thread for what ffmpeg says");
        }
        Self { stdin: Some(stdin), stdout: Some(stdout), complaint, shown: Some(shown), _killer: killer }
    }

    /// What it gives: once.
    pub(super) fn output(&mut self) -> io::Result<File> {
        self.stdout.take().map(File::from).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What it says of the pictures that it gives: once.
    pub(super) fn shown(&mut self) -> io::Result<Receiver<ShownAs>> {
        self.shown.take().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Writes all of it, and waits for room as long as a child may be silent.
    pub(super) fn write(&self, mut bytes: &[u8]) -> Result<(), FfmpegError> {
        let Some(stdin) = &self.stdin else { return Err(self.ended()) };
        let until = Instant::now() + HANGS;
        while !bytes.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let wait = Timespec::try_from(left).unwrap_or_default();
            let mut polled = [PollFd::new(stdin, PollFlags::OUT)];
            match poll(&mut polled, Some(&wait)) {
                Ok(0) => return Err(FfmpegError::Hangs(HANGS.as_secs())),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Err(self.ended()),
            }
            match rustix::io::write(stdin, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => return Err(self.ended()),
            }
        }
        Ok(())
    }

    /// Nothing more comes for it.
    pub(super) fn close(&mut self) {
        self.stdin = None;
    }

    /// Why it has ended.
    pub(super) fn ended(&self) -> FfmpegError {
        // What it says last comes by another pipe.
        thread::sleep(Duration::from_millis(20));
        let complaint = lock(&self.complaint).clone();
        FfmpegError::Ended(if complaint.is_empty() { "it did not say why".to_owned() } else { complaint })
    }
}

/// What a child gives, taken by a thread.
pub(super) struct Output<T> {
    came: Receiver<Result<T, FfmpegError>>,
    lag: Lag,
    silence: Silence,
}

impl<T: Send + 'static> Output<T> {
    /// Starts the thread: `read` gives what it reads, until it fails or nobody takes it.
    pub(super) fn start(
        read: impl FnOnce(&SyncSender<Result<T, FfmpegError>>) + Send + 'static,
    ) -> Result<Self, FfmpegError> {
        // As many as are ever under way, and one that is too many.
        let (give, came) = sync_channel(UNDER_WAY_MAX + 1);
        let thread = thread::Builder::new().name("ffmpeg gives".to_owned()).spawn(move || read(&give));
        thread.map_err(|error| FfmpegError::Start(error.to_string()))?;
        Ok(Self { came, lag: Lag::default(), silence: Silence::new(Instant::now()) })
    }

    /// To be called before a frame is written, with as many as are under way before it.
    pub(super) fn gets(&mut self, under_way: usize) {
        self.silence.gets(under_way, Instant::now());
    }

    /// Takes what has come, with so many under way, and waits for more where that makes sense. `left` says how many are under way behind one that has
    /// come, and `None` where there cannot be one.
    pub(super) fn take(
        &mut self,
        child: &Running,
        mut under_way: usize,
        mut left: impl FnMut(&T) -> Option<usize>,
    ) -> Result<VecDeque<T>, FfmpegError> {
        let mut taken = VecDeque::new();
        loop {
            let wait = self.lag.wait(under_way).unwrap_or_default();
            match self.came.recv_timeout(wait) {
                Ok(Ok(came)) => {
                    under_way = left(&came).ok_or(FfmpegError::Garbage("more than it was given"))?;
                    self.lag.came();
                    self.silence.heard(Instant::now());
                    taken.push_back(came);
                }
                Ok(Err(FfmpegError::Ended(_))) | Err(RecvTimeoutError::Disconnected) => return Err(child.ended()),
                Ok(Err(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {
                    if under_way > 0 && self.silence.is_hanging(Instant::now()) {
                        return Err(FfmpegError::Hangs(HANGS.as_secs()));
                    }
                    if !wait.is_zero() {
                        self.lag.waited(under_way);
                    }
                    break;
                }
            }
        }
        self.lag.settled(under_way);
        self.silence.served(Instant::now());
        Ok(taken)
    }

    /// Takes the rest of what a child gives that was told that nothing more comes, within this time.
    pub(super) fn rest(&mut self, within: Duration) -> VecDeque<T> {
        let until = Instant::now() + within;
        let mut taken = VecDeque::new();
        while let Ok(Ok(came)) = self.came.recv_timeout(until.saturating_duration_since(Instant::now())) {
            taken.push_back(came);
        }
        taken
    }
}

/// Takes what a child says beside: stamps of pictures, and complaints.
fn listen(stderr: File, shown: &SyncSender<ShownAs>, complaint: &Mutex<String>) {
    let mut reader = BufReader::new(stderr);
    let (mut line, mut since, mut lines) = (Vec::new(), Instant::now(), 0);
    loop {
        line.clear();
        match io::Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(1..) => {}
            _ => return,
        }
        let text = String::from_utf8_lossy(&line);
        if text.contains(SHOWINFO) {
            // Who decodes takes them; who does not has gone.
            if let Some(stamp) = stamp(&text) {
                let _ = shown.send(ShownAs { stamp, aspect: aspect(&text) });
            }
            continue;
        }
        let is_complaint = ["[error]", "[fatal]", "[panic]"].iter().any(|level| text.contains(level));
        if !is_complaint {
            continue;
        }
        let text: String = text.chars().filter(|char| !char.is_control()).take(LINE_CHARS_MAX).collect();
        if since.elapsed() >= LINES_EVERY {
            (since, lines) = (Instant::now(), 0);
        }
        lines += 1;
        match lines {
            ..=LINES_MAX => tracing::warn!(line = text, "ffmpeg"),
            _ if lines == LINES_MAX + 1 => tracing::warn!("ffmpeg says more, which is left out for a while"),
            _ => {}
        }
        *lock(complaint) = text;
    }
}

/// The stamp of a picture in a line of `showinfo`.
fn stamp(line: &str) -> Option<i64> {
    let (_, rest) = line.split_once(" pts:")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The shape of its samples in such a line; 0 is "not known". What makes no sense is taken as none.
fn aspect(line: &str) -> Option<(u32, u32)> {
    let (_, rest) = line.split_once(" sar:")?;
    let (across, down) = rest.split_whitespace().next()?.split_once('/')?;
    let aspect = (across.parse().ok()?, down.parse().ok()?);
    is_aspect(aspect).then_some(aspect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_and_shapes_of_pictures_are_read() {
        let line = "[Parsed_showinfo_2 @ 0x55d7c6] [info] n:   3 pts:  10133 pts_time:10.133  pos:     1204 fmt:yuv420p sar:64/45 s:720x576 i:P";
        assert_eq!((stamp(line), aspect(line)), (Some(10_133), Some((64, 45))));
        for nonsense in ["0/1", "1/0", "9/1", "1/9", "-1/1", "1", ""] {
            assert_eq!(aspect(&line.replace("64/45", nonsense)), None, "{nonsense}");
        }
        assert_eq!(stamp("[Parsed_showinfo_2 @ 0x1] [info] n:0 pts:-40 pts_time:-0.04"), Some(-40));
        assert_eq!(stamp("[Parsed_showinfo_2 @ 0x1] [info] config in time_base: 1/1000, frame_rate: 25/1"), None);
        assert_eq!(stamp("n:1 pts:NOPTS pts_time:NOPTS"), None);
    }
}
