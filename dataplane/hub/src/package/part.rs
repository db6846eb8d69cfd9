//! The open part of a track: frames gather here until it is long enough, or its segment ends. Before it: [`super::track`], which says where
//! frames go; after it: a fragment, and its length as playlists tell it.
use bytes::Bytes;
use millstream_proto::cmaf::fragment::{Sample, fragment};
use millstream_proto::limits::{HLS_PART_BYTES_MAX, HLS_PART_FRAMES_MAX};
use millstream_proto::time::Time;

use super::change::Part;

/// A frame that waits for its part.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) dts: u64,
    pub(crate) duration: u64,
    pub(crate) composition: i32,
    pub(crate) sync: bool,
    pub(crate) data: Bytes,
}

/// Frames of a part that is not whole yet. Times are in units of the track.
#[derive(Debug, Default)]
pub(crate) struct OpenPart {
    /// Where the part before it ended: a part lasts from there to its own end, also where its first frame comes later.
    start: u64,
    held: Vec<Held>,
    bytes: usize,
}

impl OpenPart {
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn frames(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn last(&self) -> Option<&Held> {
        self.held.last()
    }

    pub(crate) fn first(&self) -> Option<&Held> {
        self.held.first()
    }

    /// Whether this frame is within the limits.
    pub(crate) fn has_room(&self, data: &Bytes) -> bool {
        self.bytes + data.len() <= HLS_PART_BYTES_MAX && self.held.len() < HLS_PART_FRAMES_MAX
    }

    /// Takes a frame; the first one says where the part before it ended.
    pub(crate) fn push(&mut self, start: u64, held: Held) {
        if self.held.is_empty() {
            self.start = start.min(held.dts);
        }
        self.bytes += held.data.len();
        self.held.push(held);
    }

    /// The newest frame lasts until there.
    pub(crate) fn stretch(&mut self, until: u64) {
        if let Some(last) = self.held.last_mut() {
            last.duration = until.saturating_sub(last.dts);
        }
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> u64 {
        self.last().map_or(self.start, |last| last.dts + last.duration)
    }

    /// Makes the part with this number, of a track with so many units per second; what comes begins anew.
    pub(crate) fn close(&mut self, number: u64, timescale: u32, arrived: Time) -> Option<Part> {
        let first = self.held.first()?.dts;
        let samples: Vec<_> = self
            .held
            .iter()
            .map(|held| Sample {
                duration: u32::try_from(held.duration).unwrap_or(u32::MAX),
                composition: held.composition,
                sync: held.sync,
                data: &held.data,
            })
            .collect();
        // The sequence number has 32 bits, and only its order within a file counts.
        let written = fragment(number as u32 + 1, first, &samples);
        debug_assert!(written.is_ok(), "a part is bounded in frames and bytes");
        let end = self.end();
        let part = Part {
            number,
            duration: end - self.start,
            duration_us: 1_000 * (millis(end, timescale) - millis(self.start, timescale)),
            independent: self.held.iter().any(|held| held.sync),
            frames: samples.len() as u32,
            arrived,
            bytes: written.ok()?.into(),
        };
        self.held.clear();
        (self.start, self.bytes) = (end, 0);
        Some(part)
    }
}

/// A time of the track in whole milliseconds. Playlists tell dates to the millisecond; with lengths that are differences of these, a date and
/// a length add up to the next date exactly, and nothing adds up to a drift.
pub(crate) fn millis(units: u64, timescale: u32) -> u64 {
    let scale = u128::from(timescale.max(1));
    u64::try_from((u128::from(units) * 1_000 + scale / 2) / scale).unwrap_or(u64::MAX)
}
