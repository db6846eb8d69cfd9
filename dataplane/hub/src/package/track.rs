//! One track of a playlist: frames gather into a part, parts follow each other in a segment. Before it: [`super::packager`], which decides
//! where segments end; after it: [`super::change`]s for the windows.
//!
//! A part is finished with the arrival of its last frame, without waiting for the next one: how long that frame lasts is the codec's to say
//! (sound) or predicted (pictures), and the decode time of the next absorbs the error. Presentation times stay exact.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::cmaf::fragment::{Sample, fragment};
use millstream_proto::cmaf::init::{FrameLength, Init};
use millstream_proto::limits::{HLS_PART_BYTES_MAX, HLS_PART_FRAMES_MAX};
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::change::{Change, Header, Opened, Part};
use super::pace::{part_least_us, part_target_ms};

/// Sound is set anew where its stamps are this far from where its frames end: less is rounding and jitter.
const ANCHOR_SLACK_MS: u64 = 40;
/// A picture lasts this long as long as nothing else is known.
const INTERVAL_US: u64 = 33_333;
/// Decode times further apart than this say nothing of the frame rate.
const INTERVAL_US_MAX: u64 = 2_000_000;
/// A gap stands for this long at least: a segment has a length.
const GAP_US_MIN: u64 = 1_000;
/// How fast the predicted interval follows the measured ones.
const INTERVAL_WEIGHT: f64 = 1.0 / 8.0;

/// The place of a segment in the playlist, before its first frame has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) msn: u64,
    pub(crate) discontinuity: bool,
    pub(crate) discontinuities: u64,
    pub(crate) run_start_ms: u64,
    /// Where it begins on the stream's timeline, microseconds.
    pub(crate) start_us: u64,
    /// Unix milliseconds of the timeline's 0.
    pub(crate) zero_unix_ms: i64,
}

/// A frame for a track.
#[derive(Clone, Debug)]
pub(crate) struct Picked {
    pub(crate) dts_ms: u64,
    pub(crate) cts_ms: i32,
    pub(crate) sync: bool,
    pub(crate) data: Bytes,
}

#[derive(Debug)]
struct Held {
    dts: u64,
    duration: u64,
    composition: i32,
    sync: bool,
    data: Bytes,
}

#[derive(Debug)]
enum Place {
    /// No frame of it has come.
    Planned(Plan),
    /// It has begun, at this time on the stream's timeline, microseconds.
    Open(u64),
    /// The last one was closed, and the next one is not planned yet.
    Between,
}

/// A track under way.
#[derive(Debug)]
pub(crate) struct TrackPacker {
    track: Track,
    init: Init,
    header: u32,
    part_asked: Duration,
    part_most_ms: u32,
    segment_most_us: u64,
    part_target_ms: Option<u32>,
    place: Place,
    /// The open part.
    samples: Vec<Held>,
    bytes: usize,
    /// Where the newest frame ends, units; `None` before the first of a run.
    end: Option<u64>,
    last_dts: Option<u64>,
    interval: f64,
    /// Composition offset of the newest picture that a decoder can start at, units.
    delay: i32,
    next_part: u64,
    /// When the newest frame arrived.
    arrived: Time,
}

impl TrackPacker {
    /// A track with this header; its parts are to be `part_asked` long and never longer than `part_most_ms`, its segments never longer than
    /// `segment_most_us`.
    pub(crate) fn new(
        track: Track,
        (part_asked, part_most_ms, segment_most_us): (Duration, u32, u64),
        init: Init,
        number: u32,
        out: &mut Vec<Change>,
    ) -> Self {
        let interval = INTERVAL_US as f64 * f64::from(init.timescale) / 1e6;
        let mut packer = Self {
            track,
            init: init.clone(),
            header: 0,
            part_asked,
            part_most_ms,
            segment_most_us,
            part_target_ms: None,
            place: Place::Between,
            samples: Vec::new(),
            bytes: 0,
            end: None,
            last_dts: None,
            interval,
            delay: 0,
            next_part: 0,
            arrived: Time::ZERO,
        };
        packer.configure(init, number, out);
        packer
    }

    /// Another header, from the next frame on: no frame of the open segment may be there.
    pub(crate) fn configure(&mut self, init: Init, number: u32, out: &mut Vec<Change>) {
        debug_assert!(self.samples.is_empty() && !matches!(self.place, Place::Open(_)));
        // Both counts go on on the stream's timeline, whatever their units were.
        let scale =
            |units: u64| u128::from(units) * u128::from(init.timescale) / u128::from(self.init.timescale.max(1));
        self.end = self.end.map(|end| u64::try_from(scale(end)).unwrap_or(u64::MAX));
        self.last_dts = None;
        self.header = number;
        let Init { bytes, timescale, summary, .. } = init.clone();
        out.push(Change::Header(self.track, Arc::new(Header { number, bytes, timescale, summary })));
        self.init = init;
    }

    /// Whether a frame of the open segment is there.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.place, Place::Open(_))
    }

    /// How long the open segment would be if it ended at `us`, microseconds.
    pub(crate) fn length_us(&self, us: u64) -> u64 {
        let end_us = self.end.map_or(0, |end| self.us(end)).max(us);
        if let Place::Open(start_us) = self.place { end_us.saturating_sub(start_us) } else { 0 }
    }

    /// How long the next frame is expected to last, microseconds.
    pub(crate) fn frame_us(&self, data: &[u8]) -> u64 {
        self.us(self.length(data))
    }

    /// How far pictures are apart, as far as that is known, microseconds.
    pub(crate) fn interval_us(&self) -> u64 {
        self.us(self.interval.round().max(1.0) as u64)
    }

    /// Whether the newest frame of the open segment ends nearer to that time than the next one would, microseconds.
    pub(crate) fn reaches(&self, us: u64) -> bool {
        let Some(end) = self.end.filter(|_| self.is_open()) else { return false };
        let newest = self.samples.last().map_or(0, |newest| newest.duration);
        self.us(end + newest / 2) >= us
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

    /// How long a frame lasts, units.
    fn length(&self, data: &[u8]) -> u64 {
        match self.init.frame.of(data) {
            Some(units) => u64::from(units),
            None => self.interval.round().max(1.0) as u64,
        }
    }

    /// The next segment begins with the next frame.
    pub(crate) fn plan(&mut self, plan: Plan) {
        debug_assert!(matches!(self.place, Place::Between) && self.samples.is_empty());
        self.place = Place::Planned(plan);
    }

    /// Ends the open segment, whose successor begins at `until_us`. One that has no frame becomes a gap.
    pub(crate) fn close_segment(&mut self, until_us: u64, out: &mut Vec<Change>) {
        match std::mem::replace(&mut self.place, Place::Between) {
            Place::Between => {}
            Place::Open(_) => {
                self.close_part(false, out);
                out.push(Change::Closed(self.track));
            }
            Place::Planned(plan) => {
                let start = self.units(plan.start_us).max(self.end.unwrap_or(0));
                out.push(Change::Opened(self.track, self.opened(&plan, start)));
                // After a hole in all tracks, it stands for as much of that as a segment may.
                let longest_us = u64::from(self.part_most_ms) * 1_000;
                let gap_us = until_us.saturating_sub(plan.start_us).clamp(GAP_US_MIN, longest_us);
                out.push(Change::Gap(self.track, gap_us));
            }
        }
    }

    /// What comes next is not what the hint promised: the promised name is never used.
    pub(crate) fn skip_part(&mut self, out: &mut Vec<Change>) {
        self.next_part += 1;
        // The clock of what comes is another one's: it may begin anywhere after this.
        self.last_dts = None;
        out.push(Change::Skipped(self.track, self.next_part));
    }

    fn opened(&self, plan: &Plan, start: u64) -> Opened {
        let Plan { msn, discontinuity, discontinuities, run_start_ms, zero_unix_ms, .. } = *plan;
        let start_us = self.us(start);
        let shown_ms =
            (start_us / 1_000) as i64 + i64::from(self.delay) * 1_000 / i64::from(self.init.timescale.max(1));
        let date_unix_ms = u64::try_from(zero_unix_ms + shown_ms).unwrap_or(0);
        Opened { msn, discontinuity, discontinuities, run_start_ms, header: self.header, start, start_us, date_unix_ms }
    }

    /// Takes a frame. False: it has no place, since the clock stands still or runs backwards.
    pub(crate) fn frame(&mut self, frame: Picked, arrived: Time, out: &mut Vec<Change>) -> bool {
        let real = self.units(frame.dts_ms.saturating_mul(1_000));
        let length = self.length(&frame.data);
        let Some(mut dts) = self.decode_time(real, length) else { return false };
        if self.bytes + frame.data.len() > HLS_PART_BYTES_MAX || self.samples.len() == HLS_PART_FRAMES_MAX {
            return false;
        }
        if let Some(last) = self.samples.last_mut() {
            last.duration = dts - last.dts;
            self.make_room(dts, length, out);
            if self.samples.is_empty() {
                // The part that was just closed may have been stretched.
                dts = dts.max(self.end.unwrap_or(0));
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
        }
        if let Place::Planned(plan) = &self.place {
            let opened = self.opened(plan, dts);
            out.push(Change::Opened(self.track, opened));
            self.place = Place::Open(opened.start_us);
        }
        self.arrived = arrived;
        self.bytes += frame.data.len();
        self.samples.push(Held { dts, duration: length, composition, sync: frame.sync, data: frame.data });
        self.end = Some(dts + length);
        self.close_if_full(length, out);
        true
    }

    /// Where a frame with this stamp goes.
    fn decode_time(&mut self, real: u64, length: u64) -> Option<u64> {
        let slack = self.units(ANCHOR_SLACK_MS * 1_000);
        let end = self.end;
        if self.is_sound() {
            return match end {
                Some(end) if real > end + slack => Some(real),
                Some(end) if end > real + slack => None,
                Some(end) => Some(end),
                None => Some(real),
            };
        }
        if let Some(last) = self.last_dts.replace(real) {
            let step = real.saturating_sub(last);
            if (1..=self.units(INTERVAL_US_MAX)).contains(&step) {
                let first = self.samples.len() == 1 && self.part_target_ms.is_none();
                let weight = if first { 1.0 } else { INTERVAL_WEIGHT };
                self.interval += (step as f64 - self.interval) * weight;
            }
        }
        Some(match (self.samples.last(), end) {
            (Some(last), _) => real.max(last.dts + 1),
            // Absorbs what was predicted wrongly; a hole that is longer stays one.
            (None, Some(end)) if real <= end + length => end,
            _ => real,
        })
    }

    /// Closes the open part where a frame at `dts` has no room in it.
    fn make_room(&mut self, dts: u64, length: u64, out: &mut Vec<Change>) {
        let Some(start) = self.samples.first().map(|first| first.dts) else { return };
        let asked = self.units(u64::from(self.target_ms()) * 1_000);
        if dts + length <= start + asked {
            return;
        }
        if self.part_target_ms.is_none() {
            let frame = if self.is_sound() { length } else { (dts - start) / self.samples.len() as u64 };
            self.decide_part_target(frame, out);
            return self.make_room(dts, length, out);
        }
        if let Some(last) = self.samples.last_mut() {
            // A stall, or a hole: the part keeps its promise, and what comes begins where it is stamped.
            last.duration = last.duration.min((start + asked).saturating_sub(last.dts));
        }
        self.close_part(true, out);
    }

    /// The target of parts, milliseconds: as long as it is not decided, the one that was asked for.
    fn target_ms(&self) -> u32 {
        self.part_target_ms.unwrap_or_else(|| part_target_ms(self.part_asked, 1, self.part_most_ms))
    }

    fn close_if_full(&mut self, length: u64, out: &mut Vec<Change>) {
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else { return };
        let (start, last_dts, count) = (first.dts, last.dts, self.samples.len() as u64);
        let target_ms = self.target_ms();
        if last_dts + 2 * length <= start + self.units(u64::from(target_ms) * 1_000) {
            return;
        }
        if self.part_target_ms.is_none() {
            let sound = self.is_sound();
            if count == 1 && !sound {
                // One picture tells no rate.
                return;
            }
            let frame = if sound { length } else { (last_dts - start) / (count - 1) };
            self.decide_part_target(frame, out);
            return self.close_if_full(length, out);
        }
        self.close_part(true, out);
    }

    fn decide_part_target(&mut self, frame: u64, out: &mut Vec<Change>) {
        let target_ms = part_target_ms(self.part_asked, self.us(frame), self.part_most_ms);
        self.part_target_ms = Some(target_ms);
        out.push(Change::PartTarget(self.track, target_ms));
    }

    /// Ends the open part; where more of its segment comes, not below the least length.
    fn close_part(&mut self, more_comes: bool, out: &mut Vec<Change>) {
        if self.part_target_ms.is_none()
            && let Some(length) = self.samples.first().map(|first| self.length(&first.data))
        {
            self.decide_part_target(length, out);
        }
        let target_ms = self.part_target_ms.unwrap_or_default();
        let (longest, shortest) = (self.units(u64::from(target_ms) * 1_000), self.units(part_least_us(target_ms)));
        let Some(start) = self.samples.first().map(|first| first.dts) else { return };
        let Some(last) = self.samples.last_mut() else { return };
        let before = last.dts - start;
        if more_comes {
            last.duration = last.duration.max(shortest.saturating_sub(before));
        }
        if let Place::Open(start_us) = self.place {
            let segment_end =
                (u128::from(start_us + self.segment_most_us) * u128::from(self.init.timescale) / 1_000_000) as u64;
            last.duration = last.duration.min(segment_end.saturating_sub(last.dts));
        }
        last.duration = last.duration.min(longest.saturating_sub(before)).max(1);
        let duration = before + last.duration;
        self.end = Some(start + duration);
        let samples: Vec<_> = self
            .samples
            .iter()
            .map(|held| Sample {
                duration: u32::try_from(held.duration).unwrap_or(u32::MAX),
                composition: held.composition,
                sync: held.sync,
                data: &held.data,
            })
            .collect();
        let number = self.next_part;
        self.next_part += 1;
        // The sequence number has 32 bits, and only its order within a file counts.
        let written = fragment(number as u32 + 1, start, &samples);
        debug_assert!(written.is_ok(), "a part is bounded in frames and bytes");
        if let Ok(bytes) = written {
            out.push(Change::Part(
                self.track,
                Part {
                    number,
                    duration_us: self.us(duration),
                    independent: self.samples.iter().any(|held| held.sync),
                    frames: samples.len() as u32,
                    arrived: self.arrived,
                    bytes: bytes.into(),
                },
            ));
        }
        self.samples.clear();
        self.bytes = 0;
    }
}
