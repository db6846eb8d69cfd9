//! What the camera usually sees. Before it: frames; after it: [`super::compare`] looks at what differs from it.
//!
//! It follows quickly where nothing has changed, and where the light alone has; slowly where something moves, and quickly again once that has stopped.
use super::compare::{ACROSS, CELL, CELLS};
use super::luma::{Luma, PIXELS, WIDTH};
use super::regions::{Found, Is};

/// Parts of a grey level that a pixel of the background has.
pub(super) const PARTS: i32 = 128;
/// How long it takes to follow by two thirds, milliseconds: where nothing has changed, where the light has, and where something has stopped.
const FOLLOWS_MS: f64 = 3_000.0;
const FOLLOWS_LIGHT_MS: f64 = 700.0;
const FOLLOWS_STOPPED_MS: f64 = 1_000.0;
/// What has not moved for so long has stopped, milliseconds.
const STOPPED_MS: i64 = 3_000;
/// The most that it follows in one step, where frames come seldom.
const STEP_MOST: f64 = 0.5;
/// Where something moves it goes on by one such part each step.
const CREEPS: i32 = PARTS / 32;

#[derive(Debug)]
pub(super) struct Background {
    /// In parts of a grey level.
    pixels: Box<[i16]>,
    /// The frame before.
    before: Box<[u8]>,
    /// How long each cell has differed from the background without moving, milliseconds.
    still_ms: [i64; CELLS],
    /// Grey levels: rises at once, and falls slowly.
    noise: f32,
}

impl Background {
    pub(super) fn new(luma: &Luma) -> Self {
        let mut background =
            Self { pixels: vec![0; PIXELS].into(), before: vec![0; PIXELS].into(), still_ms: [0; CELLS], noise: 0.0 };
        background.renew(luma);
        background
    }

    /// This is the background from now on.
    pub(super) fn renew(&mut self, luma: &Luma) {
        for (background, now) in self.pixels.iter_mut().zip(luma.pixels()) {
            *background = i16::from(*now) * PARTS as i16;
        }
        self.before.copy_from_slice(luma.pixels());
        self.still_ms = [0; CELLS];
    }

    /// The background, in [`PARTS`] of a grey level.
    pub(super) fn pixels(&self) -> &[i16] {
        &self.pixels
    }

    /// The frame before.
    pub(super) fn before(&self) -> &[u8] {
        &self.before
    }

    /// The noise of the picture, grey levels, when this frame has so much.
    pub(super) fn noise(&mut self, of_frame: f32) -> f32 {
        self.noise = of_frame.max(self.noise * 0.95);
        self.noise
    }

    /// Goes on by a frame that came so long after the one before.
    pub(super) fn follow(&mut self, luma: &Luma, found: &Found, step_ms: i64) {
        let part = |ms: f64| (((1.0 - (-(step_ms as f64) / ms).exp()).min(STEP_MOST)) * 256.0) as i32;
        let (usual, light, stopped) = (part(FOLLOWS_MS), part(FOLLOWS_LIGHT_MS), part(FOLLOWS_STOPPED_MS));
        // By how many 256ths each cell follows; `None`: it creeps.
        let mut by = [None; CELLS];
        for ((by, is), still_ms) in by.iter_mut().zip(&found.cells).zip(&mut self.still_ms) {
            *still_ms = if *is == Is::Stopped { *still_ms + step_ms } else { 0 };
            *by = match is {
                Is::Same => Some(usual),
                Is::Light => Some(light),
                Is::Stopped if *still_ms >= STOPPED_MS => Some(stopped),
                Is::Stopped | Is::Moving => None,
            };
        }
        let rows = self.pixels.chunks_exact_mut(WIDTH).zip(luma.pixels().chunks_exact(WIDTH));
        for (row, (background, now)) in rows.enumerate() {
            let cells = by.iter().skip(row / CELL * ACROSS);
            for ((background, now), by) in background.chunks_exact_mut(CELL).zip(now.chunks_exact(CELL)).zip(cells) {
                for (background, now) in background.iter_mut().zip(now) {
                    let differs = i32::from(*now) * PARTS - i32::from(*background);
                    let step = match by {
                        // Rounded away from zero: it arrives.
                        Some(by) => (differs * by + differs.signum() * 255) / 256,
                        None => differs.clamp(-CREEPS, CREEPS),
                    };
                    *background = (i32::from(*background) + step) as i16;
                }
            }
        }
        self.before.copy_from_slice(luma.pixels());
    }
}
