//! One recording as a state machine, sans-IO: changes of the packager go in, writes come out. A write that has been made is told by
//! [`Recording::written`]; one that failed is not, and nothing has changed.
//!
//! Reading order: [`record`] (what is appended to the index), [`mend`] (a record with a changed bit), [`ledger`] (what the records say), [`rows`] (segments
//! in eight bytes each), this file (which records a change makes), [`movies`] (which MP4 files there are to be), [`playlist`],
//! [`manifest`] and [`summary`] (what is told of it).
pub mod ledger;
mod manifest;
mod mend;
pub mod movies;
pub mod playlist;
pub mod record;
pub mod rows;
pub mod summary;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use millstream_hub::package::change::{Header, Opened, Part};
use millstream_proto::media::Track;

use self::ledger::Ledger;
use self::record::{Init, PartSums, Reason, Record, SegmentStart};
use crate::name::{TRACKS, place};

/// Runs that a track may still open a segment of while the other one is ahead.
const RUNS_KEPT: usize = 4;

/// What is to be appended, in this order: the media to its object, then the record to the index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Bytes of a part, for that object.
    pub media: Option<(Track, u32, Bytes)>,
    /// What is told of it.
    pub record: Record,
}

impl From<Record> for Write {
    fn from(record: Record) -> Self {
        Self { media: None, record }
    }
}

/// A run, as the packager's numbers lead to it.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Breaks of the recording so far, and discontinuities of the session.
    key: (u64, u64),
    number: u32,
    /// What its dates are moved by, so that they rise where the clock was set back, milliseconds.
    shift_ms: u64,
}

/// A recording that may grow.
#[derive(Clone, Debug)]
pub struct Recording {
    ledger: Ledger,
    /// Breaks so far.
    breaks: u64,
    runs: VecDeque<Run>,
    /// Numbers of the header in force: the session's and the recording's.
    headers: [Option<(u32, u32)>; 2],
    /// A track's next segment is taken from this media sequence number on.
    from_msn: u64,
    /// The highest one that was begun.
    last_msn: u64,
    /// The track's open segment is one that is recorded.
    taking: [bool; 2],
}

impl Recording {
    /// One that has that in it and goes on with what comes.
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            breaks: 0,
            runs: VecDeque::new(),
            headers: [None; 2],
            from_msn: 0,
            last_msn: 0,
            taking: [false; 2],
        }
    }

    /// What is in it.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// This record is in the index.
    pub fn written(&mut self, record: &Record) {
        self.ledger.apply(record);
    }

    /// A segment begins, with that header.
    pub fn opened(&mut self, track: Track, opened: &Opened, header: Option<&Header>) -> Vec<Write> {
        let at = place(track);
        self.last_msn = self.last_msn.max(opened.msn);
        self.taking[at] = false;
        let (Some(header), true) = (header, opened.msn >= self.from_msn) else { return Vec::new() };
        let Some(run) = self.run(opened) else { return Vec::new() };
        self.taking[at] = true;
        let of = self.ledger.track(track);
        let mut writes = Vec::new();
        if of.open.is_some() {
            writes.push(Record::Closed(track).into());
        }
        let init = match self.headers[at] {
            // One whose record could not be written is not there.
            Some((known, init)) if known == header.number && of.init(init).is_some() => init,
            _ => {
                let mut init = Init {
                    number: of.inits.last().map_or(1, |last| last.number),
                    timescale: header.timescale,
                    codec: header.summary.codec.clone(),
                    shape: header.summary.shape,
                    bytes: header.bytes.clone(),
                };
                // An encoder that comes back has the same one.
                if of.inits.last() != Some(&init) {
                    init.number = of.inits.last().map_or(1, |last| last.number + 1);
                    writes.push(Record::Init(track, init.clone()).into());
                }
                self.headers[at] = Some((header.number, init.number));
                init.number
            }
        };
        // One that is whole is no longer there; one with another header is whole with this.
        let object = of.object.filter(|object| object.init == init);
        let (object, offset) = object.map_or((of.last_object + 1, 0), |object| (object.number, object.bytes));
        let start = SegmentStart {
            object,
            offset,
            init,
            run: run.number,
            date_unix_ms: opened.date_unix_ms.saturating_add(run.shift_ms),
            decode_time: Some(opened.start),
        };
        writes.push(Record::Opened(track, start).into());
        writes
    }

    /// The run of a segment, a new one where it is the first of it.
    fn run(&mut self, opened: &Opened) -> Option<Run> {
        let key = (self.breaks, opened.discontinuities);
        if let Some(known) = self.runs.iter().find(|run| run.key == key) {
            return Some(*known);
        }
        if self.runs.back().is_some_and(|newest| newest.key > key) {
            // Of a run that is long over: it has no place.
            return None;
        }
        // Dates rise at a discontinuity, in both tracks.
        let newest = self.ledger.tracks.iter().filter_map(|of| of.newest_unix_ms).max();
        let shift_ms = newest.map_or(0, |newest| (newest + 1).saturating_sub(opened.date_unix_ms));
        let run = Run { key, number: self.ledger.runs(), shift_ms };
        self.runs.push_back(run);
        if self.runs.len() > RUNS_KEPT {
            self.runs.pop_front();
        }
        Some(run)
    }

    /// Whether the track is in the middle of a segment that is recorded.
    pub fn is_taking(&self, track: Track) -> bool {
        self.taking[place(track)] && self.ledger.track(track).open.is_some()
    }

    /// The open segment has one more part.
    pub fn part(&mut self, track: Track, part: &Part) -> Vec<Write> {
        let Some(open) = self.ledger.track(track).open.filter(|_| self.taking[place(track)]) else { return Vec::new() };
        let sums = PartSums {
            bytes: u32::try_from(part.bytes.len()).unwrap_or(u32::MAX),
            crc32: crc32fast::hash(&part.bytes),
            duration_ms: u32::try_from(part.duration_us / 1_000).unwrap_or(u32::MAX),
            frames: u16::try_from(part.frames).unwrap_or(u16::MAX),
            independent: part.independent,
        };
        vec![Write { media: Some((track, open.start.object, part.bytes.clone())), record: Record::Part(track, sums) }]
    }

    /// The open segment is whole.
    pub fn closed(&mut self, track: Track) -> Vec<Write> {
        self.finish_segment(track, Record::Closed(track))
    }

    /// The open segment has nothing in it, and stands for so long.
    pub fn gap(&mut self, track: Track, us: u64) -> Vec<Write> {
        self.finish_segment(track, Record::Gap(track, u32::try_from(us / 1_000).unwrap_or(u32::MAX)))
    }

    fn finish_segment(&mut self, track: Track, record: Record) -> Vec<Write> {
        let taken = std::mem::take(&mut self.taking[place(track)]);
        if taken && self.ledger.track(track).open.is_some() { vec![record.into()] } else { Vec::new() }
    }

    /// Something is missing from here on; what comes is taken from a segment that neither track has begun.
    pub fn break_off(&mut self, reason: Reason) -> Vec<Write> {
        self.from_msn = self.last_msn + 1;
        self.breaks += 1;
        self.taking = [false; 2];
        let mut writes = self.close_all();
        writes.push(Record::Break(reason).into());
        writes
    }

    /// Segments before this one are lost.
    pub fn lost(&mut self, next_msn: u64) -> Vec<Write> {
        let again = self.from_msn > self.last_msn && self.taking == [false; 2] && self.breaks > 0;
        // Of the second track the same is told.
        let writes = if again { Vec::new() } else { self.break_off(Reason::QueueFull) };
        self.from_msn = self.from_msn.max(next_msn);
        writes
    }

    /// Another session of the packager: its numbers begin anew.
    pub fn new_session(&mut self) -> Vec<Write> {
        // Nothing has come since it broke off, or since it was found.
        let is_broken_off = self.runs.back().is_none_or(|newest| newest.key.0 < self.breaks);
        let writes = if is_broken_off { Vec::new() } else { self.break_off(Reason::NewSession) };
        (self.headers, self.last_msn, self.from_msn) = ([None; 2], 0, 0);
        writes
    }

    /// A segment was begun while nothing is taken.
    pub fn pass_over(&mut self, msn: u64) {
        self.last_msn = self.last_msn.max(msn);
        self.from_msn = self.last_msn + 1;
    }

    /// Nothing more comes.
    pub fn end(&mut self, reason: Reason) -> Vec<Write> {
        self.taking = [false; 2];
        let mut writes = self.close_all();
        writes.push(Record::Ended(reason).into());
        writes
    }

    fn close_all(&self) -> Vec<Write> {
        let open = TRACKS.into_iter().filter(|track| self.ledger.track(*track).open.is_some());
        open.map(|track| Record::Closed(track).into()).collect()
    }
}
