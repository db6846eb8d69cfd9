//! A decoder that is a child: frames in, and a little later their pictures out, in the order of showing. Before it: frames as the stream has them; after
//! it: [`crate::transcode`], which gives each picture its place.
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::child::{Output, Running};
use super::error::FfmpegError;
use super::matroska::{Head, before_frame};
use crate::h264::params::Kind;
use crate::picture::Picture;

/// Ticks of a second in what it reads.
const TICKS: u32 = 1_000;
/// Stamps begin here, milliseconds: what is shown before the first keyframe has one, too.
const BEGINS_MS: i64 = 60_000;
/// The stamp of a picture is said before the picture is written.
const STAMP_WAIT: Duration = Duration::from_secs(2);
/// How long the rest is waited for.
const REST_WAIT: Duration = Duration::from_millis(700);

/// A decoder of one sequence of pictures.
pub(crate) struct LateDecoder {
    child: Running,
    output: Output<(i64, Picture)>,
    first_ms: Option<i64>,
    /// Frames that were given and whose pictures have not come.
    under_way: usize,
    pictures: VecDeque<(i64, Picture)>,
}

impl LateDecoder {
    pub(super) fn start(mut child: Running, kind: Kind, size: (u32, u32), record: &[u8]) -> Result<Self, FfmpegError> {
        let failed = |error: std::io::Error| FfmpegError::Start(error.to_string());
        let (stdout, stamps) = (child.output().map_err(failed)?, child.stamps().map_err(failed)?);
        let output = Output::start(move |give| read(stdout, &stamps, size, give))?;
        let codec = match kind {
            Kind::H264 => "V_MPEG4/ISO/AVC",
            Kind::Hevc => "V_MPEGH/ISO/HEVC",
            Kind::Av1 => "V_AV1",
        };
        child.write(&Head { codec, record, size, ticks: TICKS, fps: None }.bytes())?;
        Ok(Self { child, output, first_ms: None, under_way: 0, pictures: VecDeque::new() })
    }

    /// Gives it a frame; the first one is a keyframe.
    pub(crate) fn push(&mut self, frame: &[u8], pts_ms: i64, keyframe: bool) -> Result<(), FfmpegError> {
        let first_ms = *self.first_ms.get_or_insert(pts_ms);
        let stamp = pts_ms.saturating_sub(first_ms).saturating_add(BEGINS_MS);
        let Ok(stamp) = u64::try_from(stamp) else {
            return Err(FfmpegError::Garbage("a frame long before the first one"));
        };
        self.child.write(&before_frame(stamp, keyframe, frame.len()))?;
        self.child.write(frame)?;
        self.under_way += 1;
        let came = self.output.take(&self.child, self.under_way)?;
        self.under_way -= came.len();
        self.pictures.extend(came);
        Ok(())
    }

    /// The next picture, and when it is shown, milliseconds on the timeline of the frames.
    pub(crate) fn poll(&mut self) -> Option<(i64, Picture)> {
        let (stamp, picture) = self.pictures.pop_front()?;
        Some((stamp - BEGINS_MS + self.first_ms?, picture))
    }

    /// Nothing more comes: the rest can be polled.
    pub(crate) fn finish(&mut self) {
        self.child.close();
        self.pictures.extend(self.output.rest(REST_WAIT));
    }
}

/// Reads pictures, and the stamp of each.
fn read(
    mut stdout: File,
    stamps: &Receiver<i64>,
    (width, height): (u32, u32),
    give: &SyncSender<Result<(i64, Picture), FfmpegError>>,
) {
    let bytes = width as usize * height as usize * 3 / 2;
    loop {
        let mut samples = vec![0; bytes];
        if stdout.read_exact(&mut samples).is_err() {
            return;
        }
        let read = match stamps.recv_timeout(STAMP_WAIT) {
            Ok(stamp) => Picture::from_samples(width, height, samples)
                .map(|picture| (stamp, picture))
                .ok_or(FfmpegError::Garbage("a picture of another size")),
            Err(RecvTimeoutError::Timeout) => Err(FfmpegError::Garbage("a picture without a time")),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if give.send(read).is_err() {
            return;
        }
    }
}
