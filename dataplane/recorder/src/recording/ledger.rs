//! What the records of an index say, and nothing else: a recording that runs and one that was found after a crash are the same by construction.
//! Before it: [`super::record`]; after it: playlists, `recording.json`, and what is uploaded.
use std::collections::BTreeSet;

use millstream_proto::media::Track;
use serde::Serialize;

use super::movies::{MoviePart, Movies};
use super::record::{Head, Init, PartSums, Reason, Record, SegmentStart};
use super::rows::{Rows, Segment, Taken};
use crate::limits::{GAPS_MAX, OBJECT_BYTES_MAX};
use crate::name::{TRACKS, place};
use crate::store::Sums;

/// A media object, whole or not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Object {
    /// Its number in its track, from 1.
    pub number: u32,
    /// The newest header that it needs.
    pub init: u32,
    /// Its length, bytes.
    pub bytes: u64,
    /// CRC-32 of its bytes.
    pub crc32: u32,
    /// Its length, milliseconds.
    pub duration_ms: u64,
}

/// A segment that is not whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Open {
    pub(crate) start: SegmentStart,
    pub(crate) bytes: u32,
    pub(crate) duration_ms: u32,
    /// Of its first part; `None` before that.
    pub(crate) independent: Option<bool>,
}

/// Something that is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct NamedGap {
    /// Where what is there ends, Unix milliseconds.
    pub from_unix_ms: u64,
    /// Where it goes on; `None` while it does not.
    pub to_unix_ms: Option<u64>,
    /// Why.
    pub reason: Reason,
}

/// One track.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrackLedger {
    pub(crate) rows: Rows,
    pub(crate) inits: Vec<Init>,
    pub(crate) open: Option<Open>,
    /// The object that the next part may go to.
    pub(crate) object: Option<Object>,
    /// Whole, and not known to be on the disk.
    pub(crate) full: Vec<Object>,
    /// Whole and on the disk.
    pub(crate) sealed: Vec<Object>,
    pub(crate) damaged: BTreeSet<u32>,
    /// Segments, by object and offset, that are not what was written.
    pub(crate) spoilt: BTreeSet<(u32, u64)>,
    /// Numbers up to here were used.
    pub(crate) last_object: u32,
    pub(crate) bytes: u64,
    /// Date of the newest segment that has anything, or is a gap.
    pub(crate) newest_unix_ms: Option<u64>,
    frames: u64,
    media_ms: u64,
}

/// A recording as its index has it.
#[derive(Clone, Debug)]
pub struct Ledger {
    head: Head,
    pub(crate) tracks: [TrackLedger; 2],
    gaps: Vec<NamedGap>,
    gaps_left_out: u64,
    /// Runs so far.
    runs: u32,
    /// Damaged places of the index so far: each is one more discontinuity.
    breaches: u32,
    ended: Option<Reason>,
    pub(super) movies: Movies,
}

impl TrackLedger {
    fn finish_object(&mut self) {
        self.full.extend(self.object.take());
    }

    fn close(&mut self) {
        let Some(Open { start, bytes, duration_ms, independent }) = self.open.take() else { return };
        let Some(independent) = independent else { return };
        self.rows.push(Taken {
            object: Some(start.object),
            offset: start.offset,
            init: start.init,
            run: start.run,
            date_unix_ms: start.date_unix_ms,
            decode_time: start.decode_time,
            bytes,
            duration_ms,
            independent,
        });
    }

    fn part(&mut self, part: &PartSums) {
        let Some(open) = &mut self.open else { return };
        open.bytes = open.bytes.saturating_add(part.bytes);
        open.duration_ms = open.duration_ms.saturating_add(part.duration_ms);
        open.independent.get_or_insert(part.independent);
        let SegmentStart { object: number, init, date_unix_ms, offset, .. } = open.start;
        let end = offset.saturating_add(u64::from(open.bytes));
        if self.object.is_some_and(|object| object.number != number) {
            self.finish_object();
        }
        // One that is whole goes on where records between are damaged.
        let whole = self.full.iter().position(|full| full.number == number).map(|at| self.full.remove(at));
        let empty = Object { number, init, bytes: 0, crc32: 0, duration_ms: 0 };
        let object = self.object.get_or_insert_with(|| whole.unwrap_or(empty));
        object.init = init;
        // And then it has another sum, which its seal says.
        object.crc32 = combined((object.crc32, object.bytes), (part.crc32, u64::from(part.bytes)));
        object.bytes = end;
        object.duration_ms += u64::from(part.duration_ms);
        self.last_object = self.last_object.max(number);
        self.newest_unix_ms = Some(date_unix_ms);
        self.bytes += u64::from(part.bytes);
        self.frames += u64::from(part.frames);
        self.media_ms += u64::from(part.duration_ms);
    }

    fn seal(&mut self, number: u32, Sums { bytes, crc32 }: Sums) {
        if self.object.is_some_and(|object| object.number == number) {
            self.finish_object();
        }
        if let Some(at) = self.full.iter().position(|full| full.number == number) {
            let object = self.full.remove(at);
            self.sealed.push(object);
        } else if self.sealed.iter().all(|sealed| sealed.number != number) {
            // The records of its parts are damaged: what is in it is kept.
            self.sealed.push(Object { number, init: 0, bytes, crc32, duration_ms: 0 });
            self.last_object = self.last_object.max(number);
        }
        if let Some(sealed) = self.sealed.iter_mut().find(|sealed| sealed.number == number) {
            (sealed.bytes, sealed.crc32) = (bytes, crc32);
        }
    }

    /// An object that is not sealed is found to be this.
    pub(crate) fn found(&mut self, number: u32, Sums { bytes, crc32 }: Sums) {
        if let Some(object) = self.full.iter_mut().chain(&mut self.object).find(|object| object.number == number) {
            (object.bytes, object.crc32) = (bytes, crc32);
        }
    }

    /// Where what is there ends, Unix milliseconds; 0 where nothing is.
    pub(crate) fn end_unix_ms(&self) -> u64 {
        let open = self.open.filter(|open| open.independent.is_some());
        open.map_or(self.rows.end_unix_ms(), |open| open.start.date_unix_ms.saturating_add(u64::from(open.duration_ms)))
    }

    /// A segment cannot be had.
    pub(crate) fn is_lost(&self, object: u32, offset: u64) -> bool {
        self.damaged.contains(&object) || self.spoilt.contains(&(object, offset))
    }

    pub(crate) fn init(&self, number: u32) -> Option<&Init> {
        self.inits.iter().find(|init| init.number == number)
    }

    /// Frames per second so far.
    pub(crate) fn frame_rate(&self) -> Option<f64> {
        millstream_hub::package::window::frame_rate(self.frames, self.media_ms.saturating_mul(1_000))
    }
}

/// The sum of a run of bytes and one behind it.
fn combined((first, first_bytes): (u32, u64), (second, second_bytes): (u32, u64)) -> u32 {
    let mut sum = crc32fast::Hasher::new_with_initial_len(first, first_bytes);
    sum.combine(&crc32fast::Hasher::new_with_initial_len(second, second_bytes));
    sum.finalize()
}

impl Ledger {
    /// One with nothing in it.
    pub fn new(head: Head) -> Self {
        Self {
            head,
            tracks: Default::default(),
            gaps: Vec::new(),
            gaps_left_out: 0,
            runs: 0,
            breaches: 0,
            ended: None,
            movies: Movies::default(),
        }
    }

    pub(crate) fn track(&self, track: Track) -> &TrackLedger {
        &self.tracks[place(track)]
    }

    fn track_mut(&mut self, track: Track) -> &mut TrackLedger {
        &mut self.tracks[place(track)]
    }

    /// Takes the next record.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Head(_) => {}
            Record::Init(track, init) => self.track_mut(*track).inits.push(init.clone()),
            Record::Opened(track, start) => self.open(*track, *start),
            Record::Part(track, part) => self.part(*track, part),
            Record::Closed(track) => {
                let object_ms = u64::from(self.head.object_ms);
                let of = self.track_mut(*track);
                of.close();
                let is_full = |object: Object| object.duration_ms >= object_ms || object.bytes >= OBJECT_BYTES_MAX;
                if of.object.is_some_and(is_full) {
                    of.finish_object();
                }
                self.settle_movies();
            }
            Record::Gap(track, ms) => {
                let of = self.track_mut(*track);
                if let Some(Open { start, .. }) = of.open.take() {
                    let SegmentStart { init, run, date_unix_ms, decode_time, .. } = start;
                    let independent = false;
                    let taken = Taken {
                        object: None,
                        offset: 0,
                        init,
                        run,
                        date_unix_ms,
                        decode_time,
                        bytes: 0,
                        duration_ms: *ms,
                        independent,
                    };
                    of.newest_unix_ms = of.newest_unix_ms.max(Some(date_unix_ms));
                    of.rows.push(taken);
                }
                self.settle_movies();
            }
            Record::Break(reason) => {
                self.finish();
                self.name_gap(*reason);
                self.movies.broke_off(
                    self.runs.saturating_add(self.breaches),
                    matches!(reason, Reason::SpoolFull | Reason::DiskFull),
                );
            }
            Record::Sealed(track, object, sums) => self.track_mut(*track).seal(*object, *sums),
            Record::Damaged(track, object) => {
                self.track_mut(*track).damaged.insert(*object);
            }
            Record::Spoilt(track, object, offset) => {
                self.track_mut(*track).spoilt.insert((*object, *offset));
            }
            Record::Trimmed(track, object, _) => {
                let of = self.track_mut(*track);
                of.last_object = of.last_object.max(*object);
            }
            Record::Ended(reason) => {
                self.finish();
                // What does not go on has an end, and no gap behind it.
                self.gaps.retain(|gap| gap.to_unix_ms.is_some());
                self.ended = Some(*reason);
                self.movies.ended();
            }
            Record::Movie(made) => self.movies.made(*made),
        }
    }

    /// Records are missing here: what comes is taken from the next segments on.
    pub(crate) fn breach(&mut self) {
        self.breaches += 1;
        self.finish();
        self.name_gap(Reason::Damaged);
        self.movies.broke_off(self.runs, false);
    }

    fn name_gap(&mut self, reason: Reason) {
        let gap = NamedGap { from_unix_ms: self.end_unix_ms(), to_unix_ms: None, reason };
        if self.gaps.last().is_some_and(|last| last.to_unix_ms.is_none()) {
            // One reason after another, with nothing in between.
        } else if self.gaps.len() < GAPS_MAX {
            self.gaps.push(gap);
        } else {
            self.gaps_left_out += 1;
        }
    }

    fn part(&mut self, track: Track, part: &PartSums) {
        let first = self.movie_part(track, part);
        self.track_mut(track).part(part);
        let Some(wanted) = self.head.movies else { return };
        if let Some(first) = first {
            let of = &self.tracks[place(track)];
            let same = |one, other| of.init(one).map(|init| &init.bytes) == of.init(other).map(|init| &init.bytes);
            self.movies.part_of(wanted, &first, same);
        }
        let end_unix_ms = self.track(track).end_unix_ms();
        self.movies.part(track, part.bytes, part.frames, end_unix_ms);
        self.settle_movies();
    }

    /// What a part is, where it is the first of its segment, or has a keyframe.
    fn movie_part(&self, track: Track, part: &PartSums) -> Option<MoviePart> {
        let of = self.track(track);
        let open = of.open.filter(|open| open.independent.is_none() || part.independent)?;
        let (start, date_unix_ms) = (open.start, open.start.date_unix_ms + u64::from(open.duration_ms));
        let at = start.offset + u64::from(open.bytes);
        let objects = self.tracks.each_ref().map(|of| of.open.map_or(of.last_object, |open| open.start.object));
        let PartSums { bytes, independent, .. } = *part;
        Some(MoviePart { track, start, date_unix_ms, at, bytes, independent, objects })
    }

    fn finish(&mut self) {
        for of in &mut self.tracks {
            of.close();
            of.finish_object();
        }
    }

    fn open(&mut self, track: Track, start: SegmentStart) {
        if let Some(gap) = self.gaps.last_mut() {
            gap.to_unix_ms.get_or_insert(start.date_unix_ms);
        }
        self.runs = self.runs.max(start.run.saturating_add(1));
        let start = SegmentStart { run: start.run.saturating_add(self.breaches), ..start };
        let of = self.track_mut(track);
        of.close();
        if of.init(start.init).is_none() {
            // Its header's record is damaged: it cannot be played.
            of.spoilt.insert((start.object, start.offset));
        }
        of.open = Some(Open { start, bytes: 0, duration_ms: 0, independent: None });
    }

    /// What stays the same.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// How many runs there were: the number of the next one.
    pub(crate) fn runs(&self) -> u32 {
        self.runs
    }

    /// What is missing and why, as far as it is kept.
    pub fn gaps(&self) -> &[NamedGap] {
        &self.gaps
    }

    /// Gaps beyond those.
    pub fn gaps_left_out(&self) -> u64 {
        self.gaps_left_out
    }

    /// Why nothing more comes; `None` while it may.
    pub fn ended(&self) -> Option<Reason> {
        self.ended
    }

    /// Where what is there ends, Unix milliseconds.
    pub fn end_unix_ms(&self) -> u64 {
        let ends = self.tracks.iter().map(TrackLedger::end_unix_ms);
        ends.max().unwrap_or_default().max(self.head.name.start_unix_ms())
    }

    /// Length of the longest track without what is missing between runs, milliseconds.
    pub fn duration_ms(&self) -> u64 {
        let open = |of: &TrackLedger| of.open.map_or(0, |open| u64::from(open.duration_ms));
        self.tracks.iter().map(|of| of.rows.total_ms() + open(of)).max().unwrap_or_default()
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        let of = |of: &TrackLedger| {
            of.rows.memory_bytes()
                + of.inits.capacity() * size_of::<Init>()
                + of.inits.iter().map(|init| init.bytes.len() + init.codec.capacity()).sum::<usize>()
                + (of.full.capacity() + of.sealed.capacity()) * size_of::<Object>()
                + (of.damaged.len() + of.spoilt.len()) * 2 * size_of::<(u32, u64)>()
        };
        let tracks = self.tracks.iter().map(of).sum::<usize>();
        self.gaps.capacity() * size_of::<NamedGap>() + tracks + self.movies_memory_bytes()
    }

    /// Bytes of media.
    pub fn bytes(&self) -> u64 {
        self.tracks.iter().map(|of| of.bytes).sum()
    }

    /// Whether there is any media.
    pub fn has_media(&self) -> bool {
        self.tracks.iter().any(|of| of.bytes > 0)
    }

    /// Tracks with a segment.
    pub(crate) fn listed(&self) -> impl Iterator<Item = Track> {
        TRACKS.into_iter().filter(|track| self.track(*track).rows.len() > 0)
    }

    /// The whole segments of a track; those that cannot be had are gaps.
    pub fn segments(&self, track: Track) -> impl Iterator<Item = Segment> {
        let of = self.track(track);
        of.rows.iter(|object, offset| !of.is_lost(object, offset))
    }
}
