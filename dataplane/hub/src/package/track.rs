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
//!
//! Its parts: [`frames`] (where they go on the track's clock), [`parts`] and [`segments`] (where those end).
mod frames;
mod parts;
mod segments;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::cmaf::init::{FrameLength, Init};
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::change::{Change, Header};
use super::pace::part_target_ms;
use super::part::{OpenPart, millis};

/// A picture lasts this long as long as nothing else is known.
const INTERVAL_US: u64 = 33_333;
/// No part and no gap is shorter: lengths are told in milliseconds.
const LEAST_US: u64 = 2_000;
/// Where a part of frames begins, and how long a part is told to be, may be off by this.
const ROUNDED_US: u64 = 1_000;

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

    fn millis(&self, units: u64) -> u64 {
        millis(units, self.init.timescale)
    }
}
