//! A decoder that is a child: frames in, and a little later their pictures out, in the order of showing. Before it: frames as the stream has them; after
//! it: [`crate::transcode`], which gives each picture its place.
use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::child::{Output, Running, ShownAs};
use super::error::FfmpegError;
use super::lag::UNDER_WAY_MAX;
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

/// A picture of a decoder.
pub(crate) struct Decoded {
    /// When it is shown, milliseconds on the timeline of the frames.
    pub(crate) shown_ms: i64,
    /// Width of a sample by its height; `None`: not known.
    pub(crate) aspect: Option<(u32, u32)>,
    pub(crate) picture: Picture,
}

/// The same as a child gives it.
struct Came {
    shown: ShownAs,
    picture: Picture,
}

impl Came {
    /// Where the first frame was shown at that time; `None`: a child may say any stamp.
    fn decoded(self, first_ms: i64) -> Option<Decoded> {
        let ShownAs { stamp, aspect } = self.shown;
        Some(Decoded { shown_ms: shown_ms(stamp, first_ms)?, aspect, picture: self.picture })
    }
}

/// A decoder of one sequence of pictures.
pub(crate) struct LateDecoder {
    child: Running,
    output: Output<Came>,
    first_ms: Option<i64>,
    under_way: UnderWay,
    pictures: VecDeque<Decoded>,
}

impl LateDecoder {
    pub(super) fn start(mut child: Running, kind: Kind, size: (u32, u32), record: &[u8]) -> Result<Self, FfmpegError> {
        let failed = |error: std::io::Error| FfmpegError::Start(error.to_string());
        let (stdout, shown) = (child.output().map_err(failed)?, child.shown().map_err(failed)?);
        let output = Output::start(move |give| read(stdout, &shown, size, give))?;
        let codec = match kind {
            Kind::H264 => "V_MPEG4/ISO/AVC",
            Kind::Hevc => "V_MPEGH/ISO/HEVC",
            Kind::Av1 => "V_AV1",
        };
        child.write(&Head { codec, record, size, ticks: TICKS, fps: None }.bytes())?;
        Ok(Self { child, output, first_ms: None, under_way: UnderWay::default(), pictures: VecDeque::new() })
    }

    /// Gives it a frame; the first one is a keyframe.
    pub(crate) fn push(&mut self, frame: &[u8], pts_ms: i64, keyframe: bool) -> Result<(), FfmpegError> {
        let first_ms = *self.first_ms.get_or_insert(pts_ms);
        let stamp = pts_ms.saturating_sub(first_ms).saturating_add(BEGINS_MS);
        let Ok(written) = u64::try_from(stamp) else {
            return Err(FfmpegError::Garbage("a frame long before the first one"));
        };
        self.output.gets(self.under_way.count());
        self.child.write(&before_frame(written, keyframe, frame.len()))?;
        self.child.write(frame)?;
        self.under_way.give(stamp, keyframe);
        let under_way = &mut self.under_way;
        let count = under_way.count();
        for came in self.output.take(&self.child, count, |came| under_way.came(came.shown.stamp))? {
            self.pictures.push_back(came.decoded(first_ms).ok_or(FfmpegError::Garbage("a picture at no time"))?);
        }
        Ok(())
    }

    /// The next picture.
    pub(crate) fn poll(&mut self) -> Option<Decoded> {
        self.pictures.pop_front()
    }

    /// Nothing more comes: the rest can be polled.
    pub(crate) fn finish(&mut self) {
        self.child.close();
        let Some(first_ms) = self.first_ms else { return };
        let rest = self.output.rest(REST_WAIT).into_iter();
        self.pictures.extend(rest.filter_map(|came| came.decoded(first_ms)));
    }
}

/// When a picture is shown, milliseconds on the timeline of the frames: `None` where that is no time. A child may say any stamp.
fn shown_ms(stamp: i64, first_ms: i64) -> Option<i64> {
    stamp.checked_sub(BEGINS_MS)?.checked_add(first_ms)
}

/// Frames that were given and whose pictures have not come. Some never give one: a leading picture of a GOP that was entered, or one that is broken. They
/// are forgotten with the next one that is shown behind them.
#[derive(Default, Debug)]
struct UnderWay {
    frames: VecDeque<Given>,
    /// Grows with each keyframe that is shown before the frames given before it: the timeline went back.
    run: u64,
    /// The last stamp of the run.
    newest: i64,
    /// Frames that were given, less the pictures that have come.
    owed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Given {
    run: u64,
    stamp: i64,
}

impl UnderWay {
    fn count(&self) -> usize {
        self.frames.len()
    }

    fn give(&mut self, stamp: i64, keyframe: bool) {
        if keyframe && stamp < self.newest {
            (self.run, self.newest) = (self.run + 1, stamp);
        }
        self.newest = self.newest.max(stamp);
        if self.frames.len() >= UNDER_WAY_MAX {
            self.frames.pop_front();
        }
        self.frames.push_back(Given { run: self.run, stamp });
        self.owed += 1;
    }

    /// A picture has come: how many frames are under way behind it. `None`: there are more pictures than frames.
    fn came(&mut self, stamp: i64) -> Option<usize> {
        self.owed = self.owed.checked_sub(1)?;
        match self.frames.iter().find(|frame| frame.stamp == stamp).copied() {
            // Pictures come in the order of showing.
            Some(shown) => self.frames.retain(|frame| *frame > shown),
            None => drop(self.frames.pop_front()),
        }
        Some(self.frames.len())
    }
}

/// Reads pictures, and what is said of each.
fn read(
    mut stdout: File,
    shown: &Receiver<ShownAs>,
    (width, height): (u32, u32),
    give: &SyncSender<Result<Came, FfmpegError>>,
) {
    let bytes = width as usize * height as usize * 3 / 2;
    loop {
        let mut samples = vec![0; bytes];
        if stdout.read_exact(&mut samples).is_err() {
            return;
        }
        let read = match shown.recv_timeout(STAMP_WAIT) {
            Ok(shown) => Picture::from_samples(width, height, samples)
                .map(|picture| Came { shown, picture })
                .ok_or(FfmpegError::Garbage("a picture of another size")),
            Err(RecvTimeoutError::Timeout) => Err(FfmpegError::Garbage("a picture without a time")),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if give.send(read).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_give_no_picture_are_forgotten() {
        let mut under_way = UnderWay::default();
        // Two are held back, and one in ten gives no picture.
        for frame in 0..500 {
            under_way.give(frame * 40, frame % 50 == 0);
            let shown = frame - 2;
            if shown >= 0 && shown % 10 != 3 {
                assert_eq!(under_way.came(shown * 40), Some(2), "{frame}");
            }
            assert!(under_way.count() <= 4, "{frame}: {under_way:?}");
        }
    }

    #[test]
    fn a_timeline_that_goes_back_takes_nothing_with_it() {
        let mut under_way = UnderWay::default();
        // In the order of decoding, with a B-frame.
        for (stamp, keyframe) in [(900, true), (980, false), (940, false), (500, true), (540, false)] {
            under_way.give(stamp, keyframe);
        }
        let left = [900, 940, 980, 500, 540].map(|stamp| under_way.came(stamp));
        assert_eq!(left, [4, 3, 2, 1, 0].map(Some));
        assert_eq!(under_way.came(580), None);
    }

    #[test]
    fn frames_under_way_are_bounded_and_no_stamp_is_too_much() {
        let mut under_way = UnderWay::default();
        (0..1_000).for_each(|stamp| under_way.give(stamp, false));
        assert_eq!(under_way.count(), UNDER_WAY_MAX);
        assert_eq!(under_way.came(i64::MIN), Some(UNDER_WAY_MAX - 1));
        assert_eq!(shown_ms(BEGINS_MS + 40, 1_000), Some(1_040));
        assert_eq!([shown_ms(i64::MIN, 0), shown_ms(i64::MAX, i64::MAX)], [None; 2]);
    }
}
