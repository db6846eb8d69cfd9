//! Where frames go on a track's own clock: their decode times, lengths and offsets, and how audio is held to its stamps. Before it: [`crate::package::packager`],
//! which has found their segment; after it: [`super::parts`].
use millstream_proto::time::Time;

use super::{Place, Sample, TrackPacker};
use crate::package::change::Change;
use crate::package::part::Held;

/// Audio is set anew where its stamps are this far from where its frames end: less is rounding and jitter.
const ANCHOR_SLACK_MS: u64 = 40;
/// Decode times further apart than this, or than so many frames, say nothing of the frame rate.
const INTERVAL_US_MAX: u64 = 12_000_000;
const INTERVALS_MAX: f64 = 20.0;
/// How fast the predicted interval follows the measured ones.
const INTERVAL_WEIGHT: f64 = 1.0 / 8.0;
/// How fast the distance between audio and its stamps follows the measured one: stamps jitter.
const LEAD_WEIGHT: f64 = 1.0 / 16.0;
/// Audio that is this many frames late or early is set right.
const STRETCH_FRAMES: f64 = 0.5;
const DROP_FRAMES: f64 = 0.6;
/// A picture that was to be shown before its decode time lasts at least its usual length divided by this.
const LASTS_SHARE: u64 = 8;

impl TrackPacker {
    /// The next frame has this stamp: says how far frames are apart, before it is known in which segment it is.
    pub(crate) fn foresee(&mut self, dts_ms: u64) {
        if self.is_sound() {
            return;
        }
        let real = self.units(dts_ms.saturating_mul(1_000));
        let Some(last) = self.last_dts.replace(real) else { return };
        let step = real.saturating_sub(last);
        let first = self.part.frames() == 1 && self.part_target_ms.is_none();
        let usual = first || (step as f64) < self.interval * INTERVALS_MAX;
        if usual && (1..=self.units(INTERVAL_US_MAX)).contains(&step) {
            let weight = if first { 1.0 } else { INTERVAL_WEIGHT };
            self.interval += (step as f64 - self.interval) * weight;
        }
    }

    /// Takes a frame. False: it has no place, since the clock stands still or runs backwards.
    pub(crate) fn frame(&mut self, frame: Sample, arrived: Time, out: &mut Vec<Change>) -> bool {
        let real = self.units(frame.dts_ms.saturating_mul(1_000));
        let length = self.length(&frame.data);
        let Some(mut dts) = self.decode_time(real, length) else { return false };
        if !self.part.has_room(&frame.data) {
            return false;
        }
        if !self.part.is_empty() {
            self.part.stretch(dts);
            self.make_room(dts, length, out);
            if self.part.is_empty() {
                // The part that was just closed may have been stretched; where it could not be stretched so far, frames begin at its end.
                let end = self.end.unwrap_or(0);
                dts = if self.is_sound() { dts.max(end) } else { end };
            }
        }
        let composition = if self.is_sound() {
            // Stamps are whole milliseconds, frames are not: an offset after the stamp would leave gaps and overlaps between them.
            0
        } else {
            let shown = real as i64 + i64::from(frame.cts_ms) * i64::from(self.init.timescale) / 1_000;
            (shown - dts as i64).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
        };
        if frame.sync {
            self.delay = composition;
            self.gop = self.key.replace(real).map_or(0, |before| real.saturating_sub(before));
        }
        let start = self.end.filter(|_| self.zero_unix_ms.is_some()).unwrap_or(dts);
        // A part keeps its promise whatever is before it.
        let start = start.max((dts + length).saturating_sub(self.units(self.part_us()))).min(dts);
        if let Place::Planned(plan) = self.place {
            self.open(&plan, start, out);
        }
        self.arrived = arrived;
        let duration = if self.is_sound() { length } else { lasts(dts, real, length) };
        self.part.push(start, Held { dts, duration, composition, sync: frame.sync, data: frame.data });
        self.end = Some(dts + duration);
        self.close_if_full(length, out);
        true
    }

    /// Where a frame with this stamp goes.
    fn decode_time(&mut self, real: u64, length: u64) -> Option<u64> {
        let slack = self.units(ANCHOR_SLACK_MS * 1_000);
        let begun = self.zero_unix_ms.is_some();
        if self.is_sound() {
            return match self.end {
                Some(end) if real > end + slack => self.realign(Some(real)),
                Some(end) if end > real + slack => self.realign(None),
                Some(end) if begun => self.sound_time(real, end, length),
                end => Some(real.max(end.unwrap_or(0))),
            };
        }
        Some(match (self.part.last(), self.end) {
            (Some(last), _) => real.max(last.dts + 1),
            // Absorbs what was predicted wrongly, and what was missing in between.
            (None, Some(end)) if begun => end,
            (None, end) => real.max(end.unwrap_or(0)),
        })
    }

    /// Where audio with this stamp goes, that would begin at `end`: where it is half a frame late, the frame before it is stretched; where it is
    /// somewhat more than half a frame early, so that it is not late then, it is dropped.
    fn sound_time(&mut self, real: u64, end: u64, length: u64) -> Option<u64> {
        self.lead += (end as f64 - real as f64 - self.lead) * LEAD_WEIGHT;
        let frames = self.lead / length.max(1) as f64;
        if frames > DROP_FRAMES {
            self.lead -= length as f64;
            self.realigned += 1;
            return None;
        }
        if frames < -STRETCH_FRAMES && !self.part.is_empty() {
            let dts = end + (-self.lead).round() as u64;
            return self.realign(Some(dts));
        }
        Some(end)
    }

    fn realign(&mut self, dts: Option<u64>) -> Option<u64> {
        self.lead = 0.0;
        self.realigned += 1;
        dts
    }

    /// Frames of audio that were stretched or dropped since the last call.
    pub(crate) fn take_realigned(&mut self) -> u64 {
        std::mem::take(&mut self.realigned)
    }
}

/// How long a picture lasts that is decoded at `dts` and stamped `real`: up to where the next one is expected. Counted from its stamp: what its
/// decode time is off by would add up from picture to picture where each is a part.
fn lasts(dts: u64, real: u64, length: u64) -> u64 {
    (real + length).saturating_sub(dts).max(length / LASTS_SHARE)
}
