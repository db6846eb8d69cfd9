//! One track of a playlist: frames gather into a part, parts follow each other in a segment. Before it: [`super::packager`], which decides
//! where segments end; after it: [`super::change`]s for the windows.
//!
//! A part is finished with the arrival of its last frame, without waiting for the next one: how long that frame lasts is the codec's to say
//! (audio) or predicted (frames), and the decode time of the next absorbs the error. Presentation times stay exact.
//!
//! Where a keyframe is expected, parts of frames begin at a whole millisecond, as playlists tell it; elsewhere a tenth of one before it. Shaka
//! shifts a part by the difference of the playlist's time and the file's. It changes that shift where two parts differ by a millisecond, and counts one
//! too much to a negative shift; behind a change it shows nothing up to the next keyframe. So the difference has to be a little larger
//! behind a keyframe than at it.
//!
//! *Invariant:* within a run each part begins where the one before it ended, and so does each segment. What leaves a hole that no part
//! can cover ends the run ([`TrackPacker::leaves_hole`]).
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::cmaf::init::{FrameLength, Init};
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::change::{Change, Header, Opened, PartPromise};
use super::pace::{part_least_us, part_target_ms};
use super::part::{Held, OpenPart, millis};

/// Audio is set anew where its stamps are this far from where its frames end: less is rounding and jitter.
const ANCHOR_SLACK_MS: u64 = 40;
/// A picture lasts this long as long as nothing else is known.
const INTERVAL_US: u64 = 33_333;
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
/// A player that knows parts keeps this many of them from the end (RFC 8216bis 4.4.3.8: at least two, should be three).
const HOLD_BACK_PARTS: u64 = 3;
/// No part and no gap is shorter: lengths are told in milliseconds.
const LEAST_US: u64 = 2_000;
/// Where a part of frames begins, and how long a part is told to be, may be off by this.
const ROUNDED_US: u64 = 1_000;
/// A picture that was to be shown before its decode time lasts at least its usual length divided by this.
const LASTS_SHARE: u64 = 8;
/// So much of the longest segment may be carried to the next one, however short parts were meant to be: its length divided by this.
const CARRY_SHARE: u64 = 5;
/// What does not begin with a keyframe begins earlier than the playlist says, by a millisecond divided by this.
const EARLIER_SHARE: u64 = 10;

/// The place of a segment in the playlist, before its first frame has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentPlan {
    pub(crate) msn: u64,
    pub(crate) discontinuity: bool,
    pub(crate) discontinuities: u64,
    pub(crate) run_start_ms: u64,
    /// Where it begins on the stream's timeline, microseconds.
    pub(crate) start_us: u64,
    /// Where it will presumably end: frames are cut into parts that come out even.
    pub(crate) until_us: Option<u64>,
    /// Unix milliseconds of the timeline's 0.
    pub(crate) zero_unix_ms: i64,
}

/// A frame for a track.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) dts_ms: u64,
    pub(crate) cts_ms: i32,
    pub(crate) sync: bool,
    pub(crate) data: Bytes,
}

/// What a track's playlist is to keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lengths {
    /// How long parts are to be.
    pub(crate) part: Duration,
    /// No `PART-TARGET` is longer, milliseconds.
    pub(crate) part_most_ms: u32,
    /// `PART-HOLD-BACK` is at least this, milliseconds.
    pub(crate) hold_back_least_ms: u64,
    /// No segment is longer, microseconds.
    pub(crate) segment_most_us: u64,
    /// How much longer a segment may get by what the one before it left over, microseconds.
    pub(crate) carry_us: u64,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// No frame of it has come.
    Planned(SegmentPlan),
    /// It has begun, at this time of the track, and will presumably end at that one.
    Open { start: u64, until: Option<u64> },
    /// The last one was closed, and the next one is not planned yet.
    Between,
}

/// A track under way.
#[derive(Debug)]
pub(crate) struct TrackPacker {
    track: Track,
    init: Init,
    header: u32,
    lengths: Lengths,
    part_target_ms: Option<u32>,
    place: Place,
    part: OpenPart,
    /// Where the newest frame ends, units; `None` before the first.
    end: Option<u64>,
    /// Unix milliseconds of the track's time 0 in this run; `None` before its first segment.
    zero_unix_ms: Option<i64>,
    /// The newest segment: where it begins on the stream's timeline, microseconds, and its date, Unix milliseconds.
    newest: Option<(u64, u64)>,
    last_dts: Option<u64>,
    /// Stamp of the newest keyframe of frames, and how far it was from the one before it: 0 for unknown.
    key: Option<u64>,
    gop: u64,
    interval: f64,
    /// How far audio is ahead of its stamps, units, smoothed: its samples are counted, and the stamps are another clock's.
    lead: f64,
    realigned: u64,
    /// Composition offset of the newest picture that a decoder can start at, units.
    delay: i32,
    next_part: u64,
    /// When the newest frame arrived.
    arrived: Time,
}

impl TrackPacker {
    /// A track with this header.
    pub(crate) fn new(track: Track, lengths: Lengths, init: Init, number: u32, out: &mut Vec<Change>) -> Self {
        let interval = INTERVAL_US as f64 * f64::from(init.timescale) / 1e6;
        let mut packer = Self {
            track,
            init: init.clone(),
            header: 0,
            lengths,
            part_target_ms: None,
            place: Place::Between,
            part: OpenPart::default(),
            end: None,
            zero_unix_ms: None,
            newest: None,
            last_dts: None,
            key: None,
            gop: 0,
            interval,
            lead: 0.0,
            realigned: 0,
            delay: 0,
            next_part: 0,
            arrived: Time::ZERO,
        };
        packer.configure(init, number, out);
        packer
    }

    /// Another header, from the next frame on: no frame of the open segment may be there.
    pub(crate) fn configure(&mut self, init: Init, number: u32, out: &mut Vec<Change>) {
        debug_assert!(self.part.is_empty() && !self.is_open());
        // Both counts go on on the stream's timeline, whatever their units were.
        let scale =
            |units: u64| u128::from(units) * u128::from(init.timescale) / u128::from(self.init.timescale.max(1));
        self.end = self.end.map(|end| u64::try_from(scale(end)).unwrap_or(u64::MAX));
        (self.last_dts, self.key) = (None, None);
        self.header = number;
        let Init { bytes, timescale, summary, .. } = init.clone();
        out.push(Change::Header(self.track, Arc::new(Header { number, bytes, timescale, summary })));
        self.init = init;
    }

    /// Whether a frame of the open segment is there.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.place, Place::Open { .. })
    }

    /// Whether it has shown anything in this run.
    pub(crate) fn has_begun(&self) -> bool {
        self.zero_unix_ms.is_some()
    }

    /// Whether the open segment ends with a whole part so far.
    pub(crate) fn is_between_parts(&self) -> bool {
        self.part.is_empty()
    }

    /// How long the open segment would be if it ended at `us`, microseconds.
    pub(crate) fn length_us(&self, us: u64) -> u64 {
        let end_us = self.end.map_or(0, |end| self.us(end)).max(us);
        if let Place::Open { start, .. } = self.place { end_us.saturating_sub(self.us(start)) } else { 0 }
    }

    /// How long the next frame is expected to last, microseconds.
    pub(crate) fn frame_us(&self, data: &[u8]) -> u64 {
        self.us(self.length(data))
    }

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

    /// How long parts are at most, microseconds.
    pub(crate) fn part_us(&self) -> u64 {
        u64::from(self.target_ms()) * 1_000
    }

    /// How far frames are apart, as far as that is known, microseconds.
    pub(crate) fn interval_us(&self) -> u64 {
        self.us(self.interval.round().max(1.0) as u64)
    }

    /// How long the newest segment is where the run ends at `us`, microseconds: of one that has no frame yet, the gap that it becomes.
    pub(crate) fn newest_us(&self, us: u64) -> u64 {
        let end_us = self.end.map_or(us, |end| self.us(end));
        match (self.place, self.newest) {
            (Place::Planned(plan), _) => us.saturating_sub(end_us.max(plan.start_us)).max(LEAST_US),
            (_, Some((start_us, _))) => end_us.saturating_sub(start_us),
            (_, None) => u64::MAX,
        }
    }

    /// Whether the newest frame of the open segment ends nearer to that time than the next one would, microseconds.
    pub(crate) fn reaches(&self, us: u64) -> bool {
        let Some(end) = self.end.filter(|_| self.is_open()) else { return false };
        let newest = self.part.last().map_or(0, |newest| newest.duration);
        self.us(end + newest / 2) >= us
    }

    /// Whether between what has come and a frame at that time there is more than a part can cover.
    pub(crate) fn leaves_hole(&self, us: u64, frame_us: u64) -> bool {
        let (Some(end), Some(_)) = (self.end, self.zero_unix_ms) else { return false };
        let Lengths { part, part_most_ms, .. } = self.lengths;
        let part_ms = match self.part_target_ms {
            Some(ms) => ms,
            // Audio tells its target with its first frame, and parts keep it from then on.
            None if self.is_sound() => part_target_ms(part, frame_us, None, part_most_ms),
            None => part_most_ms,
        };
        let part_most = self.units(u64::from(part_ms) * 1_000);
        // A part that is open may be stretched to its full length, and the next one begins there.
        let reach = if self.part.is_empty() { end } else { end.max(self.part.start() + part_most) };
        // Where a part is one picture, that may be half a picture late: those behind it make up for it, bit by bit.
        let covered = part_most.max(self.units(frame_us.saturating_mul(3) / 2));
        self.units(us.saturating_add(frame_us)) > reach.saturating_add(covered)
    }

    fn us(&self, units: u64) -> u64 {
        u64::try_from(u128::from(units) * 1_000_000 / u128::from(self.init.timescale.max(1))).unwrap_or(u64::MAX)
    }

    fn units(&self, us: u64) -> u64 {
        u64::try_from(u128::from(us) * u128::from(self.init.timescale) / 1_000_000).unwrap_or(u64::MAX)
    }

    /// Frames last as long as their codec says, not until the next one.
    fn is_sound(&self) -> bool {
        self.init.frame != FrameLength::Stamped
    }

    /// How long this frame lasts, units.
    fn length(&self, data: &[u8]) -> u64 {
        match self.init.frame.of(data) {
            Some(units) => u64::from(units),
            None => self.interval.round().max(1.0) as u64,
        }
    }

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

    /// What comes next is not what the hint promised: the promised name is never used.
    pub(crate) fn skip_part(&mut self, out: &mut Vec<Change>) {
        self.next_part += 1;
        // The clock of what comes is another one's: it may begin anywhere after this.
        (self.last_dts, self.key) = (None, None);
        out.push(Change::Skipped(self.track, self.next_part));
    }

    fn millis(&self, units: u64) -> u64 {
        millis(units, self.init.timescale)
    }

    /// Where a part ends that would end at `end`: see this module's head. Not before `least`.
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

    fn open(&mut self, plan: &SegmentPlan, start: u64, out: &mut Vec<Change>) {
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

    /// Closes the open part where a frame at `dts` has no room in it.
    fn make_room(&mut self, dts: u64, length: u64, out: &mut Vec<Change>) {
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
    fn target_ms(&self) -> u32 {
        self.part_target_ms.unwrap_or_else(|| part_target_ms(self.lengths.part, 1, None, self.lengths.part_most_ms))
    }

    fn close_if_full(&mut self, length: u64, out: &mut Vec<Change>) {
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
    fn close_part(&mut self, more_comes: bool, out: &mut Vec<Change>) {
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

/// How long a picture lasts that is decoded at `dts` and stamped `real`: up to where the next one is expected. Counted from its stamp: what its
/// decode time is off by would add up from picture to picture where each is a part.
fn lasts(dts: u64, real: u64, length: u64) -> u64 {
    (real + length).saturating_sub(dts).max(length / LASTS_SHARE)
}
