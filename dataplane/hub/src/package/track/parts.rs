//! Where parts end: at their target, even up to the next keyframe, and what the playlist promises of them. Before it: [`super::frames`]; after it:
//! [`crate::package::part`], which makes their bytes.
use super::{LEAST_US, Lengths, Place, ROUNDED_US, TrackPacker};
use crate::package::change::{Change, PartPromise};
use crate::package::pace::{part_least_us, part_target_ms};

/// A player that knows parts keeps this many of them from the end (RFC 8216bis 4.4.3.8: at least two, should be three).
const HOLD_BACK_PARTS: u64 = 3;
/// What does not begin with a keyframe begins earlier than the playlist says, by a millisecond divided by this.
const EARLIER_SHARE: u64 = 10;

impl TrackPacker {
    /// What comes next is not what the hint promised: the promised name is never used.
    pub(crate) fn skip_part(&mut self, out: &mut Vec<Change>) {
        self.next_part += 1;
        // The clock of what comes is another one's: it may begin anywhere after this.
        (self.last_dts, self.key) = (None, None);
        out.push(Change::Skipped(self.track, self.next_part));
    }

    /// Where a part ends that would end at `end`: see the head of [`super`]. Not before `least`.
    fn settled(&self, end: u64, least: u64) -> u64 {
        let ms = u64::from(self.init.timescale) / 1_000;
        if self.is_sound() || ms < EARLIER_SHARE {
            return end;
        }
        let until = if let Place::Open { until, .. } = self.place { until } else { None };
        let key = self.key.filter(|_| self.gop > 0).map(|key| key + self.gop);
        let at_keyframe = [until, key].into_iter().flatten().any(|at| end.abs_diff(at) < self.interval as u64 / 2);
        let early = if at_keyframe { 0 } else { ms / EARLIER_SHARE };
        let near = ((end + ms / 2) / ms * ms).saturating_sub(early);
        if near < least { near + ms } else { near }
    }

    /// Closes the open part where a frame at `dts` has no room in it.
    pub(super) fn make_room(&mut self, dts: u64, length: u64, out: &mut Vec<Change>) {
        let Some(first) = self.part.first().map(|first| first.dts) else { return };
        let full = self.part.start() + self.units(self.part_us());
        if dts + length <= full {
            return;
        }
        if self.part_target_ms.is_none() {
            let frame = if self.is_sound() { length } else { (dts - first) / self.part.frames() as u64 };
            self.decide_part_target(frame, out);
            return self.make_room(dts, length, out);
        }
        // After a stall, or before a hole, the part keeps its promise.
        self.part.stretch(self.part.end().min(full));
        self.close_part(true, out);
    }

    /// The target of parts, milliseconds: as long as it is not decided, the one that was asked for.
    pub(super) fn target_ms(&self) -> u32 {
        self.part_target_ms.unwrap_or_else(|| part_target_ms(self.lengths.part, 1, None, self.lengths.part_most_ms))
    }

    pub(super) fn close_if_full(&mut self, length: u64, out: &mut Vec<Change>) {
        let (Some(first), Some(last)) = (self.part.first(), self.part.last()) else { return };
        let (first_dts, last_dts, count) = (first.dts, last.dts, self.part.frames() as u64);
        let target = self.units(self.part_us());
        // Where parts begin is rounded, and what has no room after all closes the part when it comes.
        let rounded = if self.is_sound() { 0 } else { self.units(ROUNDED_US) };
        let full = self.part.end() + length > self.part.start() + target + rounded;
        if self.part_target_ms.is_none() {
            if !full || count == 1 && !self.is_sound() {
                // One picture tells no rate.
                return;
            }
            let frame = if self.is_sound() { length } else { (last_dts - first_dts) / (count - 1) };
            self.decide_part_target(frame, out);
            return self.close_if_full(length, out);
        }
        if full || last_dts + length + length / 2 >= self.even_end(target) {
            self.close_part(true, out);
        }
    }

    /// Where the open part ends if what is left of its segment comes out even; where that is not known, as far as it can.
    fn even_end(&self, target: u64) -> u64 {
        let (start, least) = (self.part.start(), self.units(part_least_us(self.target_ms())));
        let Place::Open { until: Some(until), .. } = self.place else { return u64::MAX };
        let left = until.saturating_sub(start);
        if left < self.interval as u64 / 2 {
            // The keyframe that was expected here has not come.
            return u64::MAX;
        }
        let parts = left.div_ceil(target.max(1));
        match left.checked_div(parts) {
            Some(even) if even >= least || parts == 1 => start + even,
            _ => u64::MAX,
        }
    }

    fn decide_part_target(&mut self, frame: u64, out: &mut Vec<Change>) {
        let segment_us = match self.place {
            Place::Open { start, until: Some(until) } if !self.is_sound() => Some(self.us(until.saturating_sub(start))),
            _ => None,
        };
        let Lengths { part, part_most_ms, .. } = self.lengths;
        let target_ms = part_target_ms(part, self.us(frame), segment_us, part_most_ms);
        // What has gathered meanwhile is within the part that was asked for, and is within the target, too.
        let held = self.part.last().map_or(0, |last| last.dts - self.part.start());
        let held_ms = u32::try_from(self.millis(held) + 2).unwrap_or(u32::MAX).min(part_most_ms);
        let target_ms = target_ms.max(held_ms);
        self.part_target_ms = Some(target_ms);
        let hold_back_ms = (u64::from(target_ms) * HOLD_BACK_PARTS).max(self.lengths.hold_back_least_ms);
        out.push(Change::Parts(self.track, PartPromise { target_ms, hold_back_ms }));
    }

    /// Ends the open part; where more of its segment comes, not below the least length.
    pub(super) fn close_part(&mut self, more_comes: bool, out: &mut Vec<Change>) {
        if self.part_target_ms.is_none()
            && let (Some(first), Some(last)) = (self.part.first(), self.part.last())
        {
            // Where there are two frames, they say how far they are apart: how long the last one lasts is a guess.
            let mean = match self.part.frames() as u64 {
                0 | 1 => self.part.end() - first.dts,
                frames => (last.dts - first.dts) / (frames - 1),
            };
            let frame = if self.is_sound() { self.length(&first.data) } else { mean };
            self.decide_part_target(frame, out);
        }
        let Some(last_dts) = self.part.last().map(|last| last.dts) else { return };
        let target_ms = self.part_target_ms.unwrap_or_default();
        let start = self.part.start();
        let mut end = self.part.end().max(start + self.units(LEAST_US));
        if more_comes {
            end = end.max(start + self.units(part_least_us(target_ms)));
        }
        end = self.settled(end, end.min((last_dts + 1).max(start + self.units(LEAST_US))));
        if let Place::Open { start: segment, .. } = self.place {
            end = end.min(segment + self.units(self.lengths.segment_most_us));
        }
        end = end.min(start + self.units(u64::from(target_ms) * 1_000)).max(last_dts + 1);
        self.part.stretch(end);
        self.end = Some(end);
        let number = self.next_part;
        self.next_part += 1;
        if let Some(part) = self.part.close(number, self.init.timescale, self.arrived) {
            out.push(Change::Part(self.track, part));
        }
    }
}
