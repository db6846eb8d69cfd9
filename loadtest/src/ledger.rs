//! Which frame is this, and when was it planned? The publisher enters each frame that it sends; a sampled viewer finds each frame that it
//! gets, by time stamp and content, whatever the server made of the time stamps.
//!
//! Before it: [`crate::media`] and the publishers; after it: [`crate::tally`] counts delays, gaps and damage. A stream that somebody else
//! publishes has a ledger that its viewers write: then they are compared with each other, and the delay is told by the frames' stamps.
use std::collections::{HashMap, VecDeque};

use millstream_proto::media::Track;
use millstream_proto::time::Time;

use crate::limits::LEDGER_FRAMES_MAX;

/// Servers round time stamps, and keep them from running backwards: this far from the expected one is the same, milliseconds.
const TOLERANCE_MS: i64 = 5;

/// What tells frames apart: length and checksum of the body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Sum {
    bytes: u32,
    crc: u32,
}

impl Sum {
    pub(crate) fn of(body: &[u8]) -> Self {
        Self::of_parts(&[body])
    }

    /// Of a body that is in pieces.
    pub(crate) fn of_parts(parts: &[&[u8]]) -> Self {
        let mut crc = crc32fast::Hasher::new();
        for part in parts {
            crc.update(part);
        }
        Self { bytes: parts.iter().map(|part| part.len()).sum::<usize>() as u32, crc: crc.finalize() }
    }
}

/// One frame that was sent.
#[derive(Clone, Copy, Debug)]
struct Entry {
    ts_ms: i64,
    sum: Sum,
    planned: Option<Time>,
}

#[derive(Debug, Default)]
struct Frames {
    entries: VecDeque<Entry>,
    /// Number of the first entry.
    first: u64,
    /// Number of the newest entry of each content, and how many entries have it.
    by_sum: HashMap<Sum, (u64, u32)>,
}

impl Frames {
    fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn enter(&mut self, entry: Entry) {
        if self.entries.len() == LEDGER_FRAMES_MAX
            && let Some(old) = self.entries.pop_front()
        {
            self.first += 1;
            if let Some((_, count)) = self.by_sum.get_mut(&old.sum) {
                *count -= 1;
                if *count == 0 {
                    self.by_sum.remove(&old.sum);
                }
            }
        }
        let number = self.first + self.entries.len() as u64;
        let (newest, count) = self.by_sum.entry(entry.sum).or_default();
        (*newest, *count) = (number, *count + 1);
        self.entries.push_back(entry);
    }

    /// Numbers of the entries near a time stamp.
    fn near(&self, ts_ms: i64) -> impl Iterator<Item = u64> {
        let from = self.entries.partition_point(|entry| entry.ts_ms < ts_ms - TOLERANCE_MS);
        let near = self.entries.iter().skip(from).take_while(move |entry| entry.ts_ms <= ts_ms + TOLERANCE_MS);
        let first = self.first + from as u64;
        near.enumerate().map(move |(n, _)| first + n as u64)
    }
}

/// The frames of one stream.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tracks: [Frames; 2],
    /// Its viewers write it.
    learns: bool,
}

/// What a frame turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// A frame that was sent.
    Frame {
        /// When it was planned, if that is known.
        planned: Option<Time>,
        /// Frames of its track between the viewer's last one and this that did not come.
        missing: u64,
        /// The time stamps are not what they were in relation to the publisher's.
        shifted: bool,
    },
    /// A frame that came before, or one from before the last.
    Backwards,
    /// The time stamp is that of a frame that was sent, the content is not.
    Damaged,
    /// No such frame was sent.
    Unknown,
    /// Nothing to go by: audio before the first picture, or a time of which no viewer has told where the viewers write the ledger.
    TooEarly,
}

impl Ledger {
    /// One that a publisher of ours writes.
    pub(crate) fn written() -> Self {
        Self::default()
    }

    /// One that the viewers write.
    pub(crate) fn learned() -> Self {
        Self { learns: true, ..Self::default() }
    }

    /// Enters the next frame that is sent.
    pub(crate) fn enter(&mut self, track: Track, ts_ms: i64, sum: Sum, planned: Option<Time>) {
        self.tracks[track as usize].enter(Entry { ts_ms, sum, planned });
    }

    /// When the frames were planned that this viewer has not got yet.
    pub(crate) fn outstanding(&self, place: &Place) -> impl Iterator<Item = Time> {
        self.tracks.iter().zip(place.next).filter_map(|(frames, next)| Some((frames, next?))).flat_map(
            |(frames, next)| {
                let skip = usize::try_from(next.saturating_sub(frames.first)).unwrap_or(usize::MAX);
                frames.entries.iter().skip(skip).filter_map(|entry| entry.planned)
            },
        )
    }
}

/// A viewer's place in a ledger.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// The viewer's time stamps minus the publisher's.
    offset_ms: Option<i64>,
    /// Number of the next frame per track.
    next: [Option<u64>; 2],
}

impl Place {
    /// Finds a frame, and moves behind it. `planned`: what the frame itself says, for ledgers that learn.
    pub(crate) fn find(
        &mut self,
        ledger: &mut Ledger,
        track: Track,
        ts_ms: i64,
        sum: Sum,
        planned: Option<Time>,
    ) -> Found {
        if ledger.learns {
            let frames = &mut ledger.tracks[track as usize];
            if frames.entries.back().is_none_or(|newest| newest.ts_ms < ts_ms) {
                frames.enter(Entry { ts_ms, sum, planned });
            }
            self.offset_ms = Some(0);
        }
        let has_video = !ledger.tracks[Track::Video as usize].entries.is_empty();
        let frames = &ledger.tracks[track as usize];
        let next = &mut self.next[track as usize];
        let (number, shifted) = match self.offset_ms {
            Some(offset) => {
                let expected = ts_ms - offset;
                let same = |number: &u64| frames.get(*number).is_some_and(|entry| entry.sum == sum);
                let in_turn = next.filter(|number| {
                    same(number)
                        && frames.get(*number).is_some_and(|entry| (entry.ts_ms - expected).abs() <= TOLERANCE_MS)
                });
                match in_turn.or_else(|| frames.near(expected).find(same)) {
                    Some(number) => (number, false),
                    None => match frames.by_sum.get(&sum) {
                        // Silence repeats itself; only what there is once can tell that time was shifted.
                        Some((number, 1)) => (*number, true),
                        _ if frames.near(expected).next().is_some() => return Found::Damaged,
                        // One viewer was ahead of the others when it began: what is between them nobody has told.
                        _ if ledger.learns => return Found::TooEarly,
                        _ => return Found::Unknown,
                    },
                }
            }
            None if track == Track::Audio && has_video => return Found::TooEarly,
            None => match frames.by_sum.get(&sum) {
                Some((number, _)) => (*number, false),
                None => return Found::Unknown,
            },
        };
        let Some(entry) = frames.get(number) else { return Found::Unknown };
        let missing = match *next {
            Some(next) if number < next => return Found::Backwards,
            Some(next) => number - next,
            None => 0,
        };
        *next = Some(number + 1);
        if shifted || self.offset_ms.is_none() {
            self.offset_ms = Some(ts_ms - entry.ts_ms);
        }
        Found::Frame { planned: entry.planned, missing, shifted }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
