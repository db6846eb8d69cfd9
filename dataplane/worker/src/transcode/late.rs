//! Pictures of a decoder that gives them late, in the order of showing: each gets the decode time of a frame of the source, and what came between them keeps
//! its place. Before it: [`super::source`] has given a frame to the decoder; after it: [`super::Piece`]s for all renditions.
//!
//! The same as [`super::reorder`] does of a decoder that gives each picture at once: a slot for each frame with its decode time, the i-th shown picture in the
//! i-th of them, and a keyframe in its own. A frame whose picture does not come takes its slot with it.
use std::collections::VecDeque;
use std::sync::Arc;

use super::reorder::{Ordered, Shown};
use crate::ffmpeg::decode::Decoded;

/// Frames whose pictures have not come; and what waits behind them.
const FRAMES_MAX: usize = 64;
const PASSED_MAX: usize = 512;

#[derive(Debug)]
enum Entry<T> {
    Slot { dts_ms: i64, filled: Option<Shown> },
    Passed(T),
}

/// A frame whose picture has not come.
#[derive(Clone, Copy, Debug)]
struct Frame {
    dts_ms: i64,
    pts_ms: i64,
    keyframe: bool,
    /// Its picture is wanted.
    wanted: bool,
}

/// One timeline; `T` is what passes through.
#[derive(Debug)]
pub(super) struct Late<T> {
    entries: VecDeque<Entry<T>>,
    frames: Vec<Frame>,
    gop_ms: Option<i64>,
    shown_ms: Option<i64>,
    passed: usize,
}

impl<T> Default for Late<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), frames: Vec::new(), gop_ms: None, shown_ms: None, passed: 0 }
    }
}

impl<T> Late<T> {
    /// A frame goes to the decoder; `wanted`: its picture is.
    pub(super) fn push(&mut self, dts_ms: i64, pts_ms: i64, keyframe: bool, wanted: bool) {
        if keyframe {
            self.gop_ms = Some(pts_ms);
        } else if self.gop_ms.is_none_or(|gop_ms| pts_ms < gop_ms) {
            // A leading picture of an open GOP: players that begin here do not have it.
            return;
        }
        if self.frames.len() >= FRAMES_MAX {
            self.frames.remove(0);
            self.take_slot();
        }
        self.frames.push(Frame { dts_ms, pts_ms, keyframe, wanted });
        self.entries.push_back(Entry::Slot { dts_ms, filled: None });
    }

    /// Something passes through, behind the frames that came before it.
    pub(super) fn pass(&mut self, passed: T) {
        self.entries.push_back(Entry::Passed(passed));
        self.passed += 1;
        if self.passed > PASSED_MAX {
            self.lose();
        }
    }

    /// A picture has come. What is not known, or was shown before, is left out.
    pub(super) fn show(&mut self, decoded: Decoded) {
        let Decoded { shown_ms: pts_ms, aspect, picture } = decoded;
        let Some(at) = self.frames.iter().position(|frame| frame.pts_ms == pts_ms) else { return };
        let frame = self.frames.remove(at);
        // Those that were to be shown before it do not come any more, and neither do those decoded before a keyframe.
        let is_lost = |other: &Frame| other.pts_ms < pts_ms || frame.keyframe && other.dts_ms < frame.dts_ms;
        let before = self.frames.len();
        self.frames.retain(|other| !is_lost(other));
        (self.frames.len()..before).for_each(|_| self.take_slot());
        if !frame.wanted || self.shown_ms.is_some_and(|shown_ms| pts_ms <= shown_ms) {
            return self.take_slot();
        }
        self.shown_ms = Some(pts_ms);
        let free = self.entries.iter_mut().find_map(|entry| match entry {
            Entry::Slot { dts_ms, filled } if filled.is_none() && (!frame.keyframe || *dts_ms == frame.dts_ms) => {
                Some((*dts_ms, filled))
            }
            _ => None,
        });
        if let Some((dts_ms, filled)) = free {
            *filled = Some(Shown { dts_ms, pts_ms, keyframe: frame.keyframe, aspect, picture: Arc::new(picture) });
        }
    }

    /// What is with the decoder does not come: it is another one from here on.
    pub(super) fn lose(&mut self) {
        self.frames.clear();
        self.entries.retain(|entry| !matches!(entry, Entry::Slot { filled: None, .. }));
    }

    /// Forgets what has gone out: the source's timeline begins anew.
    pub(super) fn restart(&mut self) {
        self.lose();
        (self.gop_ms, self.shown_ms) = (None, None);
    }

    /// When the last picture that has come is shown.
    pub(super) fn shown_ms(&self) -> Option<i64> {
        self.shown_ms
    }

    /// What goes out next.
    pub(super) fn poll(&mut self) -> Option<Ordered<T>> {
        if let Some(Entry::Slot { filled: None, .. }) = self.entries.front() {
            return None;
        }
        match self.entries.pop_front()? {
            Entry::Slot { filled, .. } => filled.map(Ordered::Picture),
            Entry::Passed(passed) => {
                self.passed -= 1;
                Some(Ordered::Passed(passed))
            }
        }
    }

    /// A frame that is lost takes a slot with it: the first one that is free, so that those behind keep theirs.
    fn take_slot(&mut self) {
        if let Some(at) = self.entries.iter().position(|entry| matches!(entry, Entry::Slot { filled: None, .. })) {
            let _ = self.entries.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Picture;

    struct Bench {
        late: Late<&'static str>,
        out: Vec<String>,
    }

    impl Bench {
        fn new() -> Self {
            Self { late: Late::default(), out: Vec::new() }
        }

        fn frames(&mut self, frames: &[(i64, i64)]) -> &mut Self {
            // The keyframes of these are at 67 and 234.
            for (dts, pts) in frames {
                self.late.push(*dts, *pts, matches!(pts, 67 | 234), true);
            }
            self
        }

        fn show(&mut self, pts: &[i64]) -> &mut Self {
            for pts in pts {
                self.late.show(Decoded { shown_ms: *pts, aspect: None, picture: Picture::grey(2, 2).unwrap() });
            }
            while let Some(ordered) = self.late.poll() {
                self.out.push(ordered.told());
            }
            self
        }

        #[track_caller]
        fn check(&mut self, expected: &str) -> &mut Self {
            assert_eq!(std::mem::take(&mut self.out).join(" "), expected);
            self
        }
    }

    /// As x265 makes it: two frames of delay.
    const GOP: [(i64, i64); 5] = [(0, 67), (34, 200), (67, 134), (100, 100), (134, 167)];

    #[test]
    fn shown_pictures_get_the_decode_times_in_order() {
        let mut bench = Bench::new();
        bench.frames(&GOP[..3]).late.pass("a");
        bench.frames(&GOP[3..]).show(&[]).check("");
        bench.show(&[67]).check("K0/67").show(&[100, 134]).check("34/100 67/134 a");
        bench.frames(&[(167, 234)]).show(&[167, 200]).check("100/167 134/200").show(&[234]).check("K167/234");
    }

    #[test]
    fn a_picture_that_does_not_come_takes_its_time_with_it() {
        let mut bench = Bench::new();
        bench.frames(&GOP).show(&[67, 134]).check("K0/67 67/134");
        bench.show(&[167, 200]).check("100/167 134/200");
        // And a keyframe has its own, whatever was lost before it.
        let mut bench = Bench::new();
        bench.frames(&GOP).frames(&[(167, 234)]).show(&[67, 100, 234]).check("K0/67 34/100 K167/234");
        bench.show(&[134]).check("");
    }

    #[test]
    fn leading_pictures_and_what_nobody_wants_are_left_out() {
        let mut bench = Bench::new();
        bench.frames(&[(0, 67), (34, 50), (67, 100)]).show(&[50, 67, 100]).check("K0/67 67/100");
        bench.late.push(100, 134, false, false);
        bench.frames(&[(134, 167)]).show(&[134, 167]).check("134/167");
    }

    #[test]
    fn another_decoder_goes_on_with_the_next_keyframe() {
        let mut bench = Bench::new();
        bench.frames(&GOP).late.pass("a");
        bench.show(&[67]).late.lose();
        bench.show(&[100]).check("K0/67 a");
        bench.frames(&[(167, 234)]).show(&[234]).check("K167/234");
        // And nothing is shown twice by one that begins before.
        bench.frames(&[(167, 234)]).show(&[234]).check("");
        for _ in 0..=PASSED_MAX {
            bench.frames(&[(200, 267)]).late.pass("b");
        }
        bench.show(&[]);
        assert_eq!(bench.out.len(), PASSED_MAX + 1);
    }
}
