//! Motion in a picture, sans-IO: frames of brightness in, changes out. Before it: `watch`, which has frames decoded and made small; after it: the
//! node, which tells the event and keeps its picture.
//!
//! Reading order, which is the way of a frame: [`luma`] (a picture made small), [`compare`] (what of it differs from the frame before and from the
//! [`background`]), [`regions`] (what of that belongs together, and whether it moves or only the light on it does), [`event`] (from when to when).
//!
//! **What is motion.** A pixel has changed when it differs from the background by [`MotionSettings::diff`] and by four times the noise of the picture. Changed
//! pixels count where they lie three side by side, so that rain, snow and noise do not. A group of them moves when its texture is another one than
//! that of the background, and not only its brightness or contrast, and when some of it has changed since the frame before. So a shadow with soft
//! edges, a lamp and the evening are no motion, and what has stopped is none either: it becomes background.
//!
//! **Where.** In the cells of the stream's zones ([`MotionSettings::zones`]), of which so many percent have to move; a cut is one of the whole picture.
//!
//! **What is not looked at.** A picture of which more than half changes from one frame to the next is a cut, a light that is switched, or a camera
//! that turns: it is the new background at once, and nothing begins for [`SETTLE_MS`].
//!
//! Invariants: memory is constant (100 KiB a stream); stamps that jump or run backwards end the event and begin with a new background; an event is
//! told once when it begins and once when it ends.
mod background;
mod compare;
mod event;
pub(crate) mod hooked;
mod luma;
mod regions;
#[cfg(test)]
mod scenes;
#[cfg(test)]
mod tests;

pub use luma::{HEIGHT, Luma, PIXELS, Shrinker, WIDTH};

use crate::protocol::{Change, MotionSettings};
use background::Background;
use compare::{CELLS, Compared};
use event::Event;

/// Nothing begins so long after a cut, milliseconds.
pub const SETTLE_MS: i64 = 600;
/// Frames that are further apart than this do not belong together, milliseconds.
const GAP_MS: i64 = 10_000;
/// The same where only keyframes are looked at, of which some cameras send few.
const KEYFRAMES_GAP_MS: i64 = 60_000;
/// The part of cells that changes from one frame to the next in a cut.
const CUT_CELLS: usize = CELLS / 2;
/// Frames in a row with motion that begin an event, where they come more often than each [`SPARSE_MS`]; one does where they come more seldom.
const START_FRAMES: u32 = 2;
const SPARSE_MS: i64 = 900;

/// Looks for motion in one stream.
#[derive(Debug)]
pub struct Detector {
    settings: MotionSettings,
    background: Option<Background>,
    event: Event,
    /// Cells in which motion counts, and how many pixels they have.
    watched: [bool; CELLS],
    watched_pixels: u32,
    last_ms: Option<i64>,
    /// Nothing begins before then.
    settles_ms: i64,
    /// Frames in a row with enough motion, and when the first of them was.
    in_a_row: u32,
    moves_since_ms: i64,
}

impl Detector {
    /// A detector that has seen nothing.
    pub fn new(settings: MotionSettings) -> Self {
        let event = Event::new(settings.duration_ms, settings.timeout_ms);
        let watched = compare::watched(settings.zones);
        let watched_pixels = watched.iter().filter(|is| **is).count() * PIXELS / CELLS;
        Self {
            settings,
            background: None,
            event,
            watched,
            watched_pixels: watched_pixels.max(1) as u32,
            last_ms: None,
            settles_ms: 0,
            in_a_row: 0,
            moves_since_ms: 0,
        }
    }

    /// Whether an event goes on.
    pub fn is_active(&self) -> bool {
        self.event.is_active()
    }

    /// Takes the next frame, which is shown at `pts_ms`. One that is not later than the one before costs the memory of what was before.
    pub fn push(&mut self, luma: &Luma, pts_ms: i64) -> Option<Change> {
        let step_ms = self.last_ms.map(|last_ms| pts_ms.saturating_sub(last_ms));
        self.last_ms = Some(pts_ms);
        let gap_ms = if self.settings.keyframes_only { KEYFRAMES_GAP_MS } else { GAP_MS };
        let Some(step_ms) = step_ms.filter(|step_ms| (1..=gap_ms).contains(step_ms)) else {
            self.background = None;
            self.background(luma, pts_ms);
            return self.event.interrupted();
        };
        let Some(background) = &mut self.background else {
            self.background(luma, pts_ms);
            return None;
        };
        let mut compared = Compared::of(luma, background, self.settings.diff);
        if compared.cells_of_frame_before() > CUT_CELLS {
            background.renew(luma);
            self.settles_ms = pts_ms + SETTLE_MS;
            self.in_a_row = 0;
            return self.event.still(pts_ms);
        }
        compared.keep(&self.watched);
        let found = regions::find(&compared);
        background.follow(luma, &found, step_ms);
        let pixels = f64::from(found.moving_pixels) / f64::from(self.watched_pixels);
        let (begins, goes_on) = (f64::from(self.settings.percent) / 100.0, f64::from(self.settings.percent) / 200.0);
        let is_enough = pixels >= if self.in_a_row > 0 || self.event.is_active() { goes_on } else { begins };
        if !is_enough || pts_ms < self.settles_ms {
            self.in_a_row = 0;
            return self.event.still(pts_ms);
        }
        if self.in_a_row == 0 {
            self.moves_since_ms = pts_ms;
        }
        self.in_a_row += 1;
        let may_begin = self.in_a_row >= START_FRAMES || step_ms >= SPARSE_MS;
        let score = (pixels * 1_000.0).round() / 1_000.0;
        let change = self.event.moves(pts_ms, self.moves_since_ms, score, found.moving, may_begin);
        if matches!(change, Some(Change::Ended { .. })) {
            // It was cut: what still moves begins another event, and not one that began with this one.
            self.in_a_row = 0;
        }
        change
    }

    /// No more frames come, or none for a while: ends the event.
    pub fn interrupt(&mut self) -> Option<Change> {
        self.background = None;
        self.last_ms = None;
        self.event.interrupted()
    }

    fn background(&mut self, luma: &Luma, pts_ms: i64) {
        self.background = Some(Background::new(luma));
        self.settles_ms = pts_ms + SETTLE_MS;
        self.in_a_row = 0;
    }
}
