//! Puts pictures into the order of showing, gives each the decode time of a frame of the source, and keeps what came between them in its place.
//! Before it: [`super::source`] has decoded a frame; after it: [`super::Piece`]s for all renditions.
//!
//! Each decoded frame opens a **slot** with its decode time. Pictures fill the slots in the order of showing, so the i-th shown picture has the
//! i-th decode time, and no picture is shown before it is decoded. A keyframe goes first in its slot: what was decoded before it is shown before
//! it, and what is decoded after it and shown before it (a leading picture of an open GOP) is left out.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::picture::Picture;

/// Pictures that wait to be shown: H.264 allows 16 (A.3.1).
const PICTURES_MAX: usize = 16;
/// Audio and metadata that wait behind a picture: some seconds of it.
const PASSED_MAX: usize = 512;
/// How far audio may run ahead of the frames that pictures wait for, milliseconds: longer than any encoder reorders.
const AHEAD_MS: i64 = 1_000;

/// A picture with its place on the source's timeline.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Decode time, milliseconds on the source's timeline.
    pub dts_ms: i64,
    /// When it is shown.
    pub pts_ms: i64,
    /// The source has a keyframe here.
    pub keyframe: bool,
    /// Width of a sample by its height, where the decoder says it with each picture.
    pub aspect: Option<(u32, u32)>,
    /// The picture.
    pub picture: Arc<Picture>,
}

/// What stands in the order in which it goes out.
#[derive(Debug)]
pub(super) enum Entry<T> {
    Slot { dts_ms: i64, filled: Option<Shown> },
    Passed(T),
}

#[derive(Debug)]
struct Waiting {
    pts_ms: i64,
    keyframe: bool,
    picture: Arc<Picture>,
}

/// What comes out.
#[derive(Debug)]
pub(super) enum Ordered<T> {
    Picture(Shown),
    Passed(T),
}

/// One timeline; `T` is what passes through.
#[derive(Debug)]
pub(super) struct Reorder<T> {
    entries: VecDeque<Entry<T>>,
    /// By presentation time.
    waiting: Vec<Waiting>,
    passed: usize,
    /// Of the last picture that was given a slot.
    shown_ms: Option<i64>,
    /// Of the keyframe that this GOP began with.
    gop_ms: Option<i64>,
    /// Decode time of the last slot that was filled.
    used_ms: Option<i64>,
}

impl<T> Default for Reorder<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), waiting: Vec::new(), passed: 0, shown_ms: None, gop_ms: None, used_ms: None }
    }
}

impl<T> Reorder<T> {
    /// Takes a decoded frame. What has been shown already, and comes again by a new connection, is left out, and so are leading pictures.
    pub(super) fn push(&mut self, dts_ms: i64, pts_ms: i64, keyframe: bool, picture: Arc<Picture>) {
        let after = |before: Option<i64>, ms: i64| before.is_none_or(|before| ms > before);
        let new = after(self.shown_ms, pts_ms);
        if !keyframe && !after(self.gop_ms, pts_ms) {
            return;
        }
        if keyframe && new {
            self.release_until(pts_ms.saturating_sub(1));
            // Shown after a keyframe that was decoded after them: no encoder does that.
            self.drop_waiting();
            self.gop_ms = Some(pts_ms);
        }
        // Of a GOP that comes again, as many decode times are left as pictures.
        if after(self.used_ms, dts_ms) {
            self.entries.push_back(Entry::Slot { dts_ms, filled: None });
        }
        if !new {
            return;
        }
        let at = self.waiting.partition_point(|waiting| waiting.pts_ms <= pts_ms);
        self.waiting.insert(at, Waiting { pts_ms, keyframe, picture });
        if keyframe {
            self.release_all();
            return;
        }
        // No later frame is shown before it is decoded, and all of them are decoded after this one.
        self.release_until(dts_ms);
        while self.waiting.len() > PICTURES_MAX {
            self.release();
        }
    }

    /// Takes something of this time that goes out behind the frames that came before it.
    pub(super) fn pass(&mut self, dts_ms: i64, passed: T) {
        self.entries.push_back(Entry::Passed(passed));
        self.passed += 1;
        self.release_until(dts_ms.saturating_sub(AHEAD_MS));
        if self.passed > PASSED_MAX {
            self.release_all();
        }
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

    /// Gives slots to all pictures that wait: nothing before them comes any more.
    pub(super) fn release_all(&mut self) {
        while !self.waiting.is_empty() {
            self.release();
        }
    }

    /// Leaves out what waits: it comes again, or never.
    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.entries.retain(|entry| !matches!(entry, Entry::Slot { filled: None, .. }));
    }

    /// Forgets what has gone out: the source's timeline begins anew.
    pub(super) fn restart(&mut self) {
        self.release_all();
        (self.shown_ms, self.gop_ms, self.used_ms) = (None, None, None);
    }

    /// When the last picture that has gone out is shown.
    pub(super) fn shown_ms(&self) -> Option<i64> {
        self.shown_ms
    }

    fn release_until(&mut self, pts_ms: i64) {
        while self.waiting.first().is_some_and(|waiting| waiting.pts_ms <= pts_ms) {
            self.release();
        }
    }

    fn release(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let Waiting { pts_ms, keyframe, picture } = self.waiting.remove(0);
        let slot = self.entries.iter_mut().find_map(|entry| match entry {
            Entry::Slot { dts_ms, filled } if filled.is_none() => Some((*dts_ms, filled)),
            _ => None,
        });
        // There are as many slots as pictures, or more.
        let Some((dts_ms, filled)) = slot else { return };
        self.used_ms = Some(dts_ms);
        *filled = Some(Shown { dts_ms, pts_ms, keyframe, aspect: None, picture });
        self.shown_ms = Some(pts_ms);
    }
}

#[cfg(test)]
impl Ordered<&'static str> {
    /// For tests: times of decoding and of showing, and what passes.
    pub(super) fn told(self) -> String {
        match self {
            Self::Picture(Shown { dts_ms, pts_ms, keyframe, .. }) => {
                format!("{}{dts_ms}/{pts_ms}", if keyframe { "K" } else { "" })
            }
            Self::Passed(what) => what.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        reorder: Reorder<&'static str>,
        out: Vec<String>,
    }

    impl Bench {
        fn new() -> Self {
            Self { reorder: Reorder::default(), out: Vec::new() }
        }

        fn frame(&mut self, dts: i64, pts: i64, keyframe: bool) -> &mut Self {
            self.reorder.push(dts, pts, keyframe, Arc::new(Picture::grey(2, 2).unwrap()));
            self.drain()
        }

        fn pass(&mut self, dts: i64, what: &'static str) -> &mut Self {
            self.reorder.pass(dts, what);
            self.drain()
        }

        fn drain(&mut self) -> &mut Self {
            while let Some(ordered) = self.reorder.poll() {
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

    /// As x264 makes it: two frames of delay.
    #[test]
    fn shown_pictures_get_the_decode_times_in_order() {
        let mut bench = Bench::new();
        bench.frame(0, 67, true).check("K0/67");
        bench.frame(34, 200, false).pass(40, "a").check("");
        bench.frame(67, 134, false).frame(100, 100, false).check("34/100 a");
        bench.frame(134, 167, false).check("67/134");
        // The next GOP: all before it goes out, and it goes out at once.
        bench.pass(170, "b").frame(167, 234, true).check("100/167 134/200 b K167/234");
        // What would be shown after a keyframe that was decoded later is no picture of any order.
        bench.frame(200, 400, false).frame(234, 300, true).frame(267, 334, false).frame(334, 367, false);
        bench.check("K234/300 267/334");
    }

    #[test]
    fn leading_pictures_are_left_out() {
        let mut bench = Bench::new();
        bench.frame(0, 67, true).frame(34, 100, false).check("K0/67");
        bench.frame(67, 200, true).check("34/100 K67/200");
        bench.frame(100, 133, false).frame(133, 167, false).check("");
        bench.frame(167, 300, false).frame(200, 233, false).frame(233, 267, false).frame(267, 400, false);
        bench.check("167/233 200/267");
    }

    #[test]
    fn without_reordering_nothing_waits() {
        let mut bench = Bench::new();
        bench.frame(5, 5, true).pass(6, "a").frame(38, 38, false).pass(40, "b").check("K5/5 a 38/38 b");
        // Delivered again after a new connection.
        bench.frame(5, 5, true).frame(38, 38, false).check("");
        bench.frame(71, 71, false).check("71/71");
    }

    #[test]
    fn what_comes_again_goes_on_where_it_was() {
        let frames =
            [(0, 67), (34, 200), (67, 134), (100, 100), (134, 167), (167, 334), (200, 267), (234, 234), (267, 300)];
        for cut in 1..=frames.len() {
            let mut bench = Bench::new();
            let sent = |bench: &mut Bench, frames: &[(i64, i64)]| {
                for (dts, pts) in frames {
                    bench.frame(*dts, *pts, *dts == 0);
                }
            };
            sent(&mut bench, &frames[..cut]);
            bench.reorder.drop_waiting();
            sent(&mut bench, &frames);
            bench.frame(300, 367, true);
            bench.check("K0/67 34/100 67/134 100/167 134/200 167/234 200/267 234/300 267/334 K300/367");
        }
    }

    #[test]
    fn audio_goes_on_where_video_stands_still() {
        let mut bench = Bench::new();
        bench.frame(0, 67, true).frame(34, 200, false).pass(300, "a").pass(1_150, "b").check("K0/67");
        bench.pass(1_200, "c").check("34/200 a b c");
        for n in 0..PASSED_MAX as i64 {
            bench.pass(1_200 + n / 100, "d");
        }
        bench.out.clear();
        bench.frame(1_300, 1_400, false).check("");
        for _ in 0..=PASSED_MAX {
            bench.pass(1_300, "e");
        }
        assert_eq!(bench.out.len(), PASSED_MAX + 2);
    }

    #[test]
    fn a_timeline_that_begins_anew() {
        let mut bench = Bench::new();
        bench.frame(90_000, 90_067, true).frame(90_033, 90_100, false);
        bench.reorder.restart();
        bench.drain().check("K90000/90067 90033/90100");
        bench.frame(0, 67, true).check("K0/67");
    }
}
