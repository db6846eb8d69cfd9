//! A motion hook in place of the built-in detector, of one stream: when its instance is made, what its answers mean as an event, and when it is tried again after
//! it failed. Sans-IO: the hook is behind [`crate::eyes`]. Before it: `watch`, which has frames made small; after it: the node, which tells the event.
//!
//! Invariants: frames are skipped while there is no instance; an event that has begun ends, also where the hook fails or never says so.
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::event::Event;
use super::luma::{HEIGHT, Luma, WIDTH};
use crate::eyes::{Blind, Call, Eye, Seen, Sight};
use crate::protocol::{Change, HookTally, HookUse, MotionSettings};

/// After a failure there is another instance after this time, doubled with each further one, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));
/// A hook that has looked at so many frames since it was made was all right.
const LASTED_FRAMES: u64 = 50;
/// One that does not want the stream is asked again after this time: the stream may be another one then.
const UNWILLING_FOR: Duration = Duration::from_mins(1);
/// Regions of an event that are told, and characters of its label.
const REGIONS_MAX: usize = 16;
const LABEL_CHARS_MAX: usize = 64;

/// A hook that looks at one stream.
pub(crate) struct Hooked {
    sight: Arc<dyn Sight>,
    of: HookUse,
    settings: MotionSettings,
    eye: Option<Box<dyn Eye>>,
    size: (u32, u32),
    every_ms: u32,
    frames: u64,
    failures: u32,
    not_before: Option<Instant>,
    event: Event,
    /// What moves, as the hook said last, and since when, milliseconds of the stream.
    moving: Option<(i64, Seen)>,
    tally: HookTally,
}

impl Hooked {
    pub(crate) fn new(sight: Arc<dyn Sight>, of: HookUse, settings: MotionSettings) -> Self {
        Self {
            sight,
            of,
            settings,
            eye: None,
            size: (0, 0),
            every_ms: settings.every_ms,
            frames: 0,
            failures: 0,
            not_before: None,
            event: Event::new(settings.duration_ms, settings.timeout_ms),
            moving: None,
            tally: HookTally::default(),
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.event.is_active()
    }

    /// Between two pictures that it wants to see, milliseconds.
    pub(crate) const fn every_ms(&self) -> u32 {
        self.every_ms
    }

    /// It looks beside another one, which has taken the same picture: whether both see the same is counted. While it has no instance it sees nothing.
    pub(crate) fn compare(&mut self, other_is_active: bool) {
        if self.eye.is_some() {
            let same = self.is_active() == other_is_active;
            *(if same { &mut self.tally.agreed } else { &mut self.tally.disagreed }) += 1;
        }
    }

    /// What there is to tell of its calls.
    pub(crate) fn take_tally(&mut self) -> HookTally {
        std::mem::take(&mut self.tally)
    }

    /// Takes the next frame, of a picture of this size.
    pub(crate) fn push(&mut self, luma: &Luma, pts_ms: i64, size: (u32, u32), now: Instant) -> Option<Change> {
        if self.size != size {
            // The picture has another shape: what the instance has seen is of another one.
            self.size = size;
            if let Some(over) = self.interrupt() {
                return Some(over);
            }
        }
        if self.eye.is_none() && !self.open(now) {
            return self.interrupt();
        }
        let tally = &mut self.tally;
        let at = u64::try_from(pts_ms).unwrap_or(0);
        let eye = self.eye.as_mut()?;
        match eye.look(luma.pixels(), (WIDTH as u32, HEIGHT as u32), at, &mut |call| note(tally, call)) {
            Ok(seen) => {
                self.frames += 1;
                if self.frames == LASTED_FRAMES {
                    self.failures = 0;
                }
                self.take(seen, pts_ms)
            }
            Err(blind) => {
                self.fails(blind, now);
                self.interrupt()
            }
        }
    }

    /// Makes an instance, where it is time.
    fn open(&mut self, now: Instant) -> bool {
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return false;
        }
        let tally = &mut self.tally;
        match self.sight.open(&self.of, self.size, &mut |call| note(tally, call)) {
            Ok((eye, every_ms)) => {
                self.tally.restarts += u64::from(self.failures > 0);
                (self.eye, self.frames) = (Some(eye), 0);
                self.every_ms = every_ms.max(self.settings.every_ms);
                true
            }
            Err(blind) => {
                self.fails(blind, now);
                false
            }
        }
    }

    fn fails(&mut self, blind: Blind, now: Instant) {
        self.eye = None;
        let wait = match blind {
            Blind::Failed(cause, error) => {
                *self.tally.failures.entry(cause.to_owned()).or_default() += 1;
                self.tally.error = error;
                let (least, most) = RETRY;
                let wait = least.saturating_mul(1 << self.failures.min(16)).min(most);
                self.failures = self.failures.saturating_add(1);
                wait
            }
            Blind::Unwilling(why) => {
                note(&mut self.tally, Call::Wrote("info", &format!("it does not want this stream: {why}")));
                UNWILLING_FOR
            }
        };
        self.not_before = Some(now + wait);
    }

    fn take(&mut self, seen: Option<Seen>, pts_ms: i64) -> Option<Change> {
        // A hook tells changes: what it said last goes on.
        match seen {
            Some(seen) if seen.active => {
                let since_ms = self.moving.as_ref().map_or(pts_ms, |(since_ms, _)| *since_ms);
                self.moving = Some((since_ms, seen));
            }
            Some(_) => self.moving = None,
            None => {}
        }
        let Some((since_ms, seen)) = &mut self.moving else { return self.event.still(pts_ms) };
        let mut regions = seen.regions.clone();
        regions.truncate(REGIONS_MAX);
        let mut change = self.event.moves(pts_ms, *since_ms, seen.score.clamp(0.0, 1.0), regions, true);
        if let Some(Change::Started { label, .. }) = &mut change {
            *label = seen.label.chars().take(LABEL_CHARS_MAX).collect();
        }
        // What goes on beyond the longest event is another one.
        *since_ms = pts_ms;
        change
    }

    /// The stream's pictures do not go on: what goes on is over. An instance tells changes, so that the next pictures are another one's.
    pub(crate) fn interrupt(&mut self) -> Option<Change> {
        (self.eye, self.moving) = (None, None);
        self.event.interrupted()
    }
}

fn note(tally: &mut HookTally, call: Call<'_>) {
    match call {
        Call::Took(cpu_us) => tally.took(cpu_us),
        Call::Wrote(level, text) if tally.lines.len() < HookTally::LINES_MAX => {
            tally.lines.push((level.to_owned(), text.to_owned()));
        }
        Call::Wrote(..) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use millstream_proto::zones::Zones;

    use super::*;
    use crate::motion::PIXELS;
    use crate::protocol::{Region, WhyEnded};

    /// What each look is to come to, in turn; instances that were opened are counted.
    type Script = Arc<Mutex<(Vec<Result<Option<Seen>, Blind>>, Vec<(u32, u32)>)>>;

    struct Plays(Script);

    impl Sight for Plays {
        fn open(
            &self,
            of: &HookUse,
            size: (u32, u32),
            calls: &mut dyn FnMut(Call<'_>),
        ) -> Result<(Box<dyn Eye>, u32), Blind> {
            assert_eq!(of.stream, "cam");
            self.0.lock().unwrap().1.push(size);
            calls(Call::Took(40));
            if size.0 == 13 {
                return Err(Blind::Unwilling("13 is no width".to_owned()));
            }
            Ok((Box::new(Plays(Arc::clone(&self.0))), 100))
        }
    }

    impl Eye for Plays {
        fn look(
            &mut self,
            luma: &[u8],
            size: (u32, u32),
            _: u64,
            calls: &mut dyn FnMut(Call<'_>),
        ) -> Result<Option<Seen>, Blind> {
            assert_eq!((luma.len(), size), (PIXELS, (160, 90)));
            calls(Call::Took(10_000));
            calls(Call::Wrote("info", "looked"));
            self.0.lock().unwrap().0.pop().unwrap_or(Ok(None))
        }
    }

    fn settings() -> MotionSettings {
        MotionSettings {
            percent: 30,
            diff: 10,
            duration_ms: 400,
            timeout_ms: 2_000,
            every_ms: MotionSettings::EVERY_MS,
            keyframes_only: false,
            zones: Zones::WHOLE,
        }
    }

    fn hooked(script: Vec<Result<Option<Seen>, Blind>>) -> (Hooked, Script) {
        let script: Script = Arc::new(Mutex::new((script.into_iter().rev().collect(), Vec::new())));
        let of = HookUse { stream: "cam".to_owned(), ..HookUse::default() };
        (Hooked::new(Arc::new(Plays(Arc::clone(&script))), of, settings()), script)
    }

    fn moves(active: bool) -> Seen {
        let regions = vec![Region::default(); 40];
        Seen { active, score: 7.0, regions, label: "x".repeat(100) }
    }

    fn luma() -> Luma {
        Luma::new(vec![16; PIXELS]).unwrap()
    }

    #[test]
    fn changes_that_a_hook_tells_become_an_event_that_ends_once() {
        let script = vec![Ok(None), Ok(Some(moves(true))), Ok(None), Ok(None), Ok(Some(moves(false)))];
        let (mut hooked, script) = hooked(script);
        let now = Instant::now();
        assert_eq!(hooked.every_ms(), 200);
        let mut told = Vec::new();
        for frame in 0..12_i64 {
            let change = hooked.push(&luma(), frame * 200, (640, 360), now);
            told.extend(change.map(|change| (frame, change)));
        }
        let [(1, Change::Started { pts_ms: 200, score, regions, label, .. }), (ended, Change::Ended { why, .. })] =
            &told[..]
        else {
            panic!("{told:?}")
        };
        assert_eq!((*score, regions.len(), label.len()), (1.0, REGIONS_MAX, LABEL_CHARS_MAX));
        assert!((5..=6).contains(ended) && *why == WhyEnded::Still, "{told:?}");
        assert!(!hooked.is_active() && script.lock().unwrap().1 == [(640, 360)], "one instance");
        let tally = hooked.take_tally();
        // The instance's making is a call, too.
        assert_eq!((tally.calls, tally.lines.len(), tally.cpu[9], tally.cpu[2]), (13, 12, 12, 1));
        assert_eq!(tally.spent_us, 120_040);
        assert!(hooked.take_tally().is_empty());
    }

    #[test]
    fn a_shadow_is_compared_picture_by_picture_while_it_sees() {
        let trap = || Err(Blind::Failed("trap", "unreachable".to_owned()));
        let (mut shadow, _) = hooked(vec![Ok(None), Ok(Some(moves(true))), Ok(None), trap()]);
        for (frame, other_is_active) in [(0, false), (1, true), (2, false), (3, true), (4, true)] {
            shadow.push(&luma(), frame * 200, (640, 360), Instant::now());
            shadow.compare(other_is_active);
        }
        let tally = shadow.take_tally();
        assert_eq!((tally.agreed, tally.disagreed, tally.failures["trap"]), (2, 1, 1), "it is blind after that");
    }

    #[test]
    fn what_goes_on_is_cut_and_another_event() {
        let (mut hooked, _) = hooked(vec![Ok(Some(moves(true)))]);
        let mut told = Vec::new();
        for frame in 0..30_i64 {
            told.extend(hooked.push(&luma(), frame * 200, (640, 360), Instant::now()));
        }
        let of = |wanted: fn(&Change) -> bool| told.iter().filter(|change| wanted(change)).count();
        assert!(of(|change| matches!(change, Change::Started { .. })) >= 2, "{told:?}");
        assert!(of(|change| matches!(change, Change::Ended { why: WhyEnded::Timeout, .. })) >= 1, "{told:?}");
        assert!(of(|change| matches!(change, Change::Extended { .. })) >= 1, "{told:?}");
    }

    #[test]
    fn what_goes_on_is_over_with_its_instance_and_is_seen_anew_by_the_next() {
        let script = vec![Ok(Some(moves(true))), Ok(None), Ok(Some(moves(true))), Ok(None)];
        let (mut hooked, script) = hooked(script);
        let look = |hooked: &mut Hooked, frame: i64, size| hooked.push(&luma(), frame * 200, size, Instant::now());
        assert!(matches!(look(&mut hooked, 1, (640, 360)), Some(Change::Started { .. })));
        let ended = look(&mut hooked, 2, (360, 640));
        assert!(matches!(ended, Some(Change::Ended { why: WhyEnded::Interrupted, .. })), "{ended:?}");
        // The new instance sees nothing that moves, and nothing goes on.
        assert_eq!(look(&mut hooked, 3, (360, 640)), None);
        assert!(!hooked.is_active());
        // After a pause of the stream, too, another one looks: it says of what still moves that it does.
        assert!(matches!(look(&mut hooked, 20, (360, 640)), Some(Change::Started { .. })));
        hooked.interrupt();
        look(&mut hooked, 100, (360, 640));
        assert_eq!(script.lock().unwrap().1, [(640, 360), (360, 640), (360, 640)]);
    }

    #[test]
    fn a_hook_that_fails_is_tried_again_later_and_later_and_what_was_under_way_is_over() {
        let trap = || Err(Blind::Failed("trap", "unreachable".to_owned()));
        let (mut hooked, script) = hooked(vec![Ok(Some(moves(true))), trap(), trap(), trap(), Ok(None)]);
        let start = Instant::now();
        let opened = |script: &Script| script.lock().unwrap().1.len();
        let mut pts_ms = 0;
        let mut look = |hooked: &mut Hooked, after: Duration| {
            pts_ms += 100;
            hooked.push(&luma(), pts_ms, (640, 360), start + after)
        };
        assert!(matches!(look(&mut hooked, Duration::ZERO), Some(Change::Started { .. })));
        let ended = look(&mut hooked, Duration::ZERO);
        assert!(matches!(ended, Some(Change::Ended { why: WhyEnded::Interrupted, .. })), "{ended:?}");
        // Frames are skipped meanwhile.
        assert_eq!((look(&mut hooked, Duration::from_millis(499)), opened(&script)), (None, 1));
        assert_eq!((look(&mut hooked, Duration::from_millis(500)), opened(&script)), (None, 2));
        assert_eq!((look(&mut hooked, Duration::from_millis(1_400)), opened(&script)), (None, 2));
        assert_eq!((look(&mut hooked, Duration::from_millis(1_500)), opened(&script)), (None, 3));
        look(&mut hooked, Duration::from_millis(3_400));
        assert_eq!(opened(&script), 3, "two seconds");
        look(&mut hooked, Duration::from_millis(3_500));
        let tally = hooked.take_tally();
        assert_eq!((opened(&script), tally.failures["trap"], tally.restarts), (4, 3, 3));
        assert_eq!(tally.error, "unreachable");
        // It never waits longer than a minute, and after a while of right frames as little as at first.
        for _ in 0..LASTED_FRAMES {
            look(&mut hooked, Duration::from_secs(10));
        }
        assert_eq!((hooked.failures, opened(&script)), (0, 4));
    }

    #[test]
    fn another_shape_of_the_picture_has_an_instance_of_its_own_and_who_does_not_want_it_is_left_alone() {
        let (mut hooked, script) = hooked(Vec::new());
        let start = Instant::now();
        hooked.push(&luma(), 100, (640, 360), start);
        hooked.push(&luma(), 200, (360, 640), start);
        for after_s in [0, 30, 59, 61] {
            hooked.push(&luma(), 300 + after_s as i64, (13, 640), start + Duration::from_secs(after_s));
        }
        assert_eq!(script.lock().unwrap().1, [(640, 360), (360, 640), (13, 640), (13, 640)]);
        let tally = hooked.take_tally();
        assert!(tally.failures.is_empty() && tally.lines.iter().any(|(_, text)| text.contains("13 is no width")));
    }
}
