//! Time shift: which segments of a session of the packager are recorded, under the numbers that live playlists give them, and where. Before it:
//! [`crate::recorder`], which tells it each change as it writes it; after it: [`shelf`], which makes text of it while somebody watches, and who gives
//! out a segment that has left the window.
//!
//! A segment keeps the name that it had in the live playlist: of what a playlist listed nothing may change (RFC 8216bis 6.2.1; Safari reports "Media
//! Entry URL not match previous playlist"). So it is found by its number here, and not by a byte range in its name.
pub mod shelf;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use millstream_hub::package::archive::{ArchivedSegment, CHUNK_SEGMENTS};
use millstream_hub::package::change::{Header, Opened, Part, Session};
use millstream_hub::package::file_name::Name;
use millstream_proto::media::Track;

use crate::limits::{SHIFT_HEADERS_MAX, SHIFT_MARKS_MAX, SHIFT_OBJECTS_MAX, SHIFT_SEGMENTS_MAX};
use crate::name::{RecordingName, place};

/// What has left the playlists can be fetched for so long, milliseconds: who has an older playlist reads it anew within that.
const LINGER_MS: u64 = 60_000;

/// Where the bytes of a part are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// In this recording.
    pub recording: RecordingName,
    /// In this object of its track.
    pub object: u32,
    /// From here on.
    pub offset: u64,
}

/// Where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Located {
    /// Here.
    Header(Bytes),
    /// So many bytes from there.
    Segment(Place, u64),
}

/// Eight bytes a segment.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// And two flags.
    bytes: u32,
    duration_ms: u32,
}

const INDEPENDENT: u32 = 1 << 31;
const GAP: u32 = 1 << 30;
const BYTES: u32 = GAP - 1;

impl Row {
    fn bytes(self) -> u64 {
        u64::from(self.bytes & BYTES)
    }
}

/// What changes seldom, with the first segment that it is for.
#[derive(Clone, Debug)]
struct Mark {
    msn: u64,
    date_unix_ms: u64,
    header: u32,
    discontinuity: bool,
    discontinuities: u64,
}

/// Segments from here on are in this object, one after the other.
#[derive(Clone, Debug)]
struct Run {
    msn: u64,
    place: Place,
}

/// The segment that is being written.
#[derive(Clone, Debug)]
struct Open {
    opened: Opened,
    bytes: u64,
    duration_us: u64,
    independent: bool,
    place: Option<Place>,
    is_whole: bool,
}

#[derive(Debug, Default)]
struct ShiftTrack {
    first_msn: Option<u64>,
    rows: VecDeque<Row>,
    marks: VecDeque<Mark>,
    runs: VecDeque<Run>,
    headers: VecDeque<Arc<Header>>,
    open: Option<Open>,
    /// Where the next segment would begin, in the newest run's object, and when.
    next_offset: u64,
    next_unix_ms: u64,
    total_ms: u64,
}

/// A stream's time shift.
#[derive(Debug)]
pub struct Shift {
    session: String,
    target_duration_s: u32,
    reach_ms: u64,
    tracks: [ShiftTrack; 2],
    /// Rises when it begins anew.
    generation: u64,
}

impl Shift {
    /// One with nothing in it, that is to reach back so far.
    pub fn new(session: &Session, reach_ms: u64) -> Self {
        let (session, target_duration_s) = (session.name.clone(), session.target_duration_s);
        Self { session, target_duration_s, reach_ms, tracks: Default::default(), generation: 0 }
    }

    /// The packager's session.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// How far it is to reach back, milliseconds.
    pub fn reach_ms(&self) -> u64 {
        self.reach_ms
    }

    /// Rises when it begins anew: what was told before no longer counts.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Number of a track's first segment, once it has begun.
    pub fn first_msn(&self, track: Track) -> Option<u64> {
        self.tracks[place(track)].first_msn
    }

    /// A segment begins.
    pub fn opened(&mut self, track: Track, opened: &Opened, header: Option<&Arc<Header>>) {
        let target_ms = u64::from(self.target_duration_s) * 1_000;
        let of = &mut self.tracks[place(track)];
        if let Some(next) = of.next_msn() {
            if opened.msn < next {
                // It is told again, to who follows the stream anew.
                of.open = None;
                return;
            }
            if opened.msn > next && !of.fill(next, opened, target_ms) {
                self.forget();
            }
        }
        let of = &mut self.tracks[place(track)];
        of.first_msn.get_or_insert(opened.msn);
        if let Some(header) = header
            && of.headers.back().is_none_or(|last| last.number != header.number)
        {
            of.headers.push_back(Arc::clone(header));
        }
        let (opened, independent) = (*opened, false);
        of.open = Some(Open { opened, bytes: 0, duration_us: 0, independent, place: None, is_whole: true });
    }

    /// It has one more part, which was written there; `None`: it was not.
    pub fn part(&mut self, track: Track, part: &Part, at: Option<&Place>) {
        let Some(open) = &mut self.tracks[place(track)].open else { return };
        if open.duration_us == 0 {
            open.independent = part.independent;
            open.place = at.cloned();
        }
        open.is_whole &= at.is_some();
        open.bytes += part.bytes.len() as u64;
        open.duration_us += part.duration_us;
    }

    /// It is whole, or stands for so long with nothing in it, microseconds.
    pub fn closed(&mut self, track: Track, gap_us: Option<u64>) {
        let (reach_ms, target_ms) = (self.reach_ms, u64::from(self.target_duration_s) * 1_000);
        let of = &mut self.tracks[place(track)];
        let Some(open) = of.open.take() else { return };
        of.push(open, gap_us);
        of.trim(reach_ms + CHUNK_SEGMENTS * target_ms + LINGER_MS);
    }

    /// Segments of a track are lost, and so is what there is of the one that is open.
    pub fn lost(&mut self, track: Track) {
        self.tracks[place(track)].open = None;
    }

    /// What comes is not what comes next.
    fn forget(&mut self) {
        self.tracks = Default::default();
        self.generation += 1;
    }

    /// At most so many segments from a number on, in order.
    pub fn segments(&self, track: Track, from_msn: u64, count: usize) -> Vec<ArchivedSegment> {
        let of = &self.tracks[place(track)];
        let Some(first) = of.first_msn else { return Vec::new() };
        let from = from_msn.max(first);
        let mut at = of.marks.partition_point(|mark| mark.msn <= from);
        let Some(mut mark) = at.checked_sub(1).and_then(|at| of.marks.get(at)) else { return Vec::new() };
        let row = |msn: u64| of.rows.get(usize::try_from(msn - first).unwrap_or(usize::MAX));
        let lengths = (mark.msn..from).filter_map(row).map(|row| u64::from(row.duration_ms));
        let mut date_unix_ms = mark.date_unix_ms + lengths.sum::<u64>();
        let mut found = Vec::with_capacity(count.min(of.rows.len()));
        for msn in (from..).take(count) {
            let Some(row) = row(msn) else { break };
            if let Some(next) = of.marks.get(at).filter(|next| next.msn == msn) {
                (mark, date_unix_ms) = (next, next.date_unix_ms);
                at += 1;
            }
            found.push(ArchivedSegment {
                msn,
                date_unix_ms,
                duration_ms: row.duration_ms,
                header: mark.header,
                discontinuity: mark.discontinuity && mark.msn == msn,
                discontinuities: mark.discontinuities,
                independent: row.bytes & INDEPENDENT != 0,
                gap: row.bytes & GAP != 0,
            });
            date_unix_ms += u64::from(row.duration_ms);
        }
        found
    }

    /// Where a file is.
    pub fn locate(&self, track: Track, name: Name) -> Option<Located> {
        let of = &self.tracks[place(track)];
        let msn = match name {
            Name::Header(number) => {
                let header = of.headers.iter().find(|header| u64::from(header.number) == number)?;
                return Some(Located::Header(header.bytes.clone()));
            }
            Name::Segment(msn) => msn,
            Name::Part(_) => return None,
        };
        let index = |msn: u64| usize::try_from(msn.checked_sub(of.first_msn?)?).ok();
        let row = of.rows.get(index(msn)?).filter(|row| row.bytes & GAP == 0)?;
        let run = of.runs.get(of.runs.partition_point(|run| run.msn <= msn).checked_sub(1)?)?;
        let before: u64 = of.rows.range(index(run.msn)?..index(msn)?).map(|row| row.bytes()).sum();
        let place = Place { offset: run.place.offset + before, ..run.place.clone() };
        Some(Located::Segment(place, row.bytes()))
    }
}

impl ShiftTrack {
    fn next_msn(&self) -> Option<u64> {
        Some(self.first_msn? + self.rows.len() as u64)
    }

    /// Segments that were not told of, from `next` to this one, are gaps. False: they are too many, or one of them was a discontinuity, so that the
    /// playlist begins anew.
    fn fill(&mut self, next: u64, opened: &Opened, target_ms: u64) -> bool {
        let Some(mark) = self.marks.back() else { return false };
        let (count, header, discontinuities) = (opened.msn - next, mark.header, mark.discontinuities);
        if count > SHIFT_SEGMENTS_MAX as u64
            || opened.discontinuities != discontinuities + u64::from(opened.discontinuity)
        {
            return false;
        }
        let lost_ms = opened.date_unix_ms.saturating_sub(self.next_unix_ms);
        let each_ms = (lost_ms / count).clamp(1, target_ms.max(1));
        for msn in next..opened.msn {
            let date_unix_ms = self.next_unix_ms;
            let opened = Opened { msn, date_unix_ms, header, discontinuity: false, discontinuities, ..*opened };
            let (duration_us, independent, is_whole) = (0, false, false);
            self.push(
                Open { opened, bytes: 0, duration_us, independent, place: None, is_whole },
                Some(each_ms * 1_000),
            );
        }
        true
    }

    fn push(&mut self, open: Open, gap_us: Option<u64>) {
        let Open { opened, bytes, duration_us, independent, place, is_whole } = open;
        let duration_ms = u32::try_from(gap_us.unwrap_or(duration_us) / 1_000).unwrap_or(u32::MAX);
        let place = place.filter(|_| is_whole && gap_us.is_none() && bytes <= u64::from(BYTES));
        let differs = |mark: &Mark| mark.header != opened.header || mark.discontinuities != opened.discontinuities;
        if opened.discontinuity || self.next_unix_ms != opened.date_unix_ms || self.marks.back().is_none_or(differs) {
            self.marks.push_back(Mark {
                msn: opened.msn,
                date_unix_ms: opened.date_unix_ms,
                header: opened.header,
                discontinuity: opened.discontinuity,
                discontinuities: opened.discontinuities,
            });
        }
        let kept = place.as_ref().map_or(GAP, |_| bytes as u32);
        if let Some(place) = place {
            let offset = place.offset;
            let follows = |run: &Run| run.place.recording == place.recording && run.place.object == place.object;
            if !self.runs.back().is_some_and(|run| follows(run) && self.next_offset == offset) {
                self.runs.push_back(Run { msn: opened.msn, place });
            }
            self.next_offset = offset + bytes;
        }
        let flag = if independent { INDEPENDENT } else { 0 };
        self.rows.push_back(Row { bytes: kept | flag, duration_ms });
        self.next_unix_ms = opened.date_unix_ms + u64::from(duration_ms);
        self.total_ms += u64::from(duration_ms);
    }

    /// Lets go of what is older than that, or is more than is kept.
    fn trim(&mut self, kept_ms: u64) {
        while let Some(oldest) = self.rows.front().copied() {
            let is_old = self.total_ms - u64::from(oldest.duration_ms) >= kept_ms;
            let is_over = self.rows.len() > SHIFT_SEGMENTS_MAX
                || self.marks.len() > SHIFT_MARKS_MAX
                || self.runs.len() > SHIFT_OBJECTS_MAX
                || self.headers.len() > SHIFT_HEADERS_MAX;
            let Some(first) = self.first_msn.filter(|_| is_old || is_over && self.rows.len() > 1) else { return };
            self.rows.pop_front();
            self.total_ms -= u64::from(oldest.duration_ms);
            self.first_msn = Some(first + 1);
            self.begin_at(first + 1, oldest);
        }
    }

    /// The marks in force at what is now the first segment are its own.
    fn begin_at(&mut self, first: u64, gone: Row) {
        if self.marks.get(1).is_some_and(|next| next.msn <= first) {
            self.marks.pop_front();
        } else if let Some(mark) = self.marks.front_mut().filter(|mark| mark.msn < first) {
            mark.msn = first;
            mark.date_unix_ms += u64::from(gone.duration_ms);
            mark.discontinuity = false;
        }
        if self.runs.get(1).is_some_and(|next| next.msn <= first) {
            self.runs.pop_front();
        } else if let Some(run) = self.runs.front_mut().filter(|run| run.msn < first) {
            run.msn = first;
            run.place.offset += gone.bytes();
        }
        let needed = self.marks.front().map_or(0, |mark| mark.header);
        while self.headers.len() > 1 && self.headers.front().is_some_and(|header| header.number < needed) {
            self.headers.pop_front();
        }
    }
}
