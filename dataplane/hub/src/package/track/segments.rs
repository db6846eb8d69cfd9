//! How one segment ends and the next one begins: with a part, with what was too little for one, or with a gap. Before it: [`crate::package::packager`], which says
//! when; after it: [`crate::package::change`]s.
use super::{LEAST_US, Lengths, Place, ROUNDED_US, SegmentPlan, TrackPacker};
use crate::package::change::{Change, Opened};

/// So much of the longest segment may be carried to the next one, however short parts were meant to be: its length divided by this.
const CARRY_SHARE: u64 = 5;

impl TrackPacker {
    /// The open segment ends, and the next one begins with the next frame, or with frames that are too few for a part of their own.
    pub(crate) fn go_on(&mut self, plan: SegmentPlan, out: &mut Vec<Change>) {
        if !plan.discontinuity && self.carries(plan.start_us) {
            out.push(Change::Closed(self.track));
            self.open(&plan, self.part.start(), out);
            return;
        }
        if !plan.discontinuity && !self.is_sound() && !self.part.is_empty() {
            // The next picture is here: the last one's length need not be guessed.
            self.part.stretch(self.units(plan.start_us).max(self.part.last().map_or(0, |last| last.dts + 1)));
        }
        self.end_segment(plan.start_us, out);
        self.place = Place::Planned(plan);
        if plan.discontinuity {
            (self.zero_unix_ms, self.lead) = (None, 0.0);
        }
    }

    /// Whether the open part would be a splinter with a next segment that begins at `next_us`. Players stumble over those: it is that segment's
    /// first part then. Where that would make the next segment too long, or the open one has nothing else, it is what it is.
    pub(crate) fn carries(&self, next_us: u64) -> bool {
        let Place::Open { start, .. } = self.place else { return false };
        let Some(end) = self.end.filter(|_| !self.part.is_empty() && self.part.start() > start) else { return false };
        let end = match self.part.last() {
            // It lasts as long as is known by now, not as was predicted.
            Some(newest) if !self.is_sound() => self.units(next_us).max(newest.dts + 1),
            _ => end,
        };
        let length_us = self.us(end.saturating_sub(self.part.start()));
        let splinter_us = self.part_us() / 2 + ROUNDED_US;
        // Where another encoder made parts longer than was foreseen, a little more is carried: the next segment has room for it, or ends sooner.
        let Lengths { carry_us, segment_most_us, .. } = self.lengths;
        length_us < splinter_us && length_us <= carry_us.max(splinter_us.min(segment_most_us / CARRY_SHARE))
    }

    /// Whether the last segment was closed and no frame of the next one has come.
    pub(crate) fn is_between_segments(&self) -> bool {
        matches!(self.place, Place::Between)
    }

    /// Closes the open segment behind its newest part: whatever comes goes to the next one, which is planned with the next frame.
    pub(crate) fn close_segment(&mut self, out: &mut Vec<Change>) {
        if self.is_open() && self.part.is_empty() {
            self.place = Place::Between;
            out.push(Change::Closed(self.track));
        }
    }

    /// Ends the open segment, whose successor begins at `until_us`. One that has no frame becomes a gap.
    pub(crate) fn end_segment(&mut self, until_us: u64, out: &mut Vec<Change>) {
        match std::mem::replace(&mut self.place, Place::Between) {
            Place::Between => {}
            Place::Open { .. } => {
                self.close_part(false, out);
                out.push(Change::Closed(self.track));
            }
            Place::Planned(plan) => {
                let planned = self.units(plan.start_us);
                let start = if self.zero_unix_ms.is_some() { self.end.unwrap_or(planned) } else { planned };
                self.open(&plan, start, out);
                // After a hole in all tracks, it stands for as much of that as a segment may.
                let (least, most) = (self.units(LEAST_US), self.units(self.lengths.segment_most_us));
                let end = self.units(until_us).clamp(start + least, start + most);
                self.end = Some(end);
                let gap_ms = self.millis(end) - self.millis(start);
                out.push(Change::Gap(self.track, gap_ms * 1_000));
                self.place = Place::Between;
            }
        }
    }

    /// Nothing more comes of the open segment, which lasts until `until_us` all the same: what it lacks is missing in it, and moves nothing.
    pub(crate) fn leave_rest(&mut self, until_us: u64, out: &mut Vec<Change>) {
        if !self.is_open() {
            return;
        }
        self.close_part(false, out);
        let (end, until) = (self.end.unwrap_or(0), self.units(until_us));
        let rest_ms = self.millis(until).saturating_sub(self.millis(end));
        if rest_ms > 0 {
            self.end = Some(until);
            out.push(Change::Gap(self.track, rest_ms * 1_000));
        } else {
            out.push(Change::Closed(self.track));
        }
        self.place = Place::Between;
    }

    pub(super) fn open(&mut self, plan: &SegmentPlan, start: u64, out: &mut Vec<Change>) {
        let SegmentPlan { msn, discontinuity, discontinuities, run_start_ms, .. } = *plan;
        let delay_ms = i64::from(self.delay) * 1_000 / i64::from(self.init.timescale.max(1));
        // The date of what is shown first; from there on dates go by the lengths of segments.
        let rises =
            self.newest.map_or(i64::MIN, |(_, date_unix_ms)| date_unix_ms as i64 + 1 - self.millis(start) as i64);
        let zero_unix_ms = *self.zero_unix_ms.get_or_insert((plan.zero_unix_ms + delay_ms).max(rises));
        let date_unix_ms = u64::try_from(zero_unix_ms + self.millis(start) as i64).unwrap_or(0);
        let opened = Opened {
            msn,
            discontinuity,
            discontinuities,
            run_start_ms,
            run_zero_unix_ms: plan.zero_unix_ms,
            header: self.header,
            start,
            start_us: self.us(start),
            date_unix_ms,
        };
        self.newest = Some((opened.start_us, date_unix_ms));
        out.push(Change::Opened(self.track, opened));
        self.place = Place::Open { start, until: plan.until_us.map(|us| self.units(us)) };
    }
}
