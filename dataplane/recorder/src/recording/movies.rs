//! Which MP4 files a recording has: where one ends and the next one begins, decided record by record, so that a recording which is found after a crash has
//! the very same ones. Before it: [`super::ledger`]; after it: [`crate::movie`], which makes them, and a record that says that one is in the store.
//!
//! A file ends at the first part with a keyframe once it is as long as it is to be; where a run begins with another coding; where the
//! spool has no room, so that what is held for it can go; and with the recording. Its segments are those of whole runs and, in its first and last
//! run, those between two keyframes of the track that leads: the picture, or sound where there is no picture.
use std::collections::VecDeque;

use bytes::Bytes;
use millstream_proto::limits::MP4_SAMPLES_MAX;
use millstream_proto::media::Track;
use serde::Serialize;

use super::ledger::Ledger;
use super::record::{MadeMovie, Movies as Wanted, SegmentStart};
use crate::limits::{MOVIES_LISTED_MAX, OBJECTS_APART_MAX};
use crate::movie::{Kept, MARGIN_MS, Mark, Place, Recipe};
use crate::name::{TRACKS, movie_path, place};

/// A part of sound, or one of pictures with a keyframe, ends a file where it begins this much before the file's time is over: stamps are rounded, and the keyframe may be the
/// part's last frame. At most a tenth of that time.
const EARLY_SOUND_MS: u64 = 100;
const EARLY_PICTURE_MS: u64 = 400;
/// Where the picture is silent for this long, sound leads.
const SILENT_MS: u64 = 5_000;
/// A track that is further behind than this is not waited for.
const LAG_MS: u64 = 10_000;
/// Frames of a track after which a file ends at the next keyframe.
const FRAMES_MAX: u64 = MP4_SAMPLES_MAX as u64 / 2;

/// Where a file ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Before the keyframe in this part of that track.
    Segment(Track, Kept),
    /// Before this run, which begins then.
    Run(u32, u64),
    /// With the recording.
    Recording,
}

/// Where a file begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Begin {
    run: u32,
    unix_ms: u64,
    /// With the keyframe in this part of that track; `None`: with the run.
    segment: Option<(Track, Kept)>,
    /// Objects before these are not needed for it or any later one.
    objects_from: [u32; 2],
}

/// A file that is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cut {
    number: u32,
    begin: Begin,
    end: End,
    /// Nothing of it can come any more.
    is_whole: bool,
}

/// The file that what comes is in.
#[derive(Clone, Copy, Debug)]
struct Current {
    begin: Begin,
    /// Headers of its tracks.
    inits: [Option<u32>; 2],
    /// The newest run, and the date of its first segment.
    run: u32,
    run_unix_ms: u64,
    /// Objects that were there when it began.
    run_objects_from: [u32; 2],
    frames: [u64; 2],
    bytes: u64,
}

/// A file that is in the store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListedMovie {
    /// Where it is, below the stream's path.
    pub path: String,
    /// When it begins, Unix milliseconds.
    pub from_unix_ms: u64,
    /// How long it plays.
    pub duration_ms: u64,
    /// Its length.
    pub bytes: u64,
}

/// A file that is to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DueMovie {
    /// Its number in the recording, from 1.
    pub number: u32,
    /// When it begins, Unix milliseconds: its name.
    pub from_unix_ms: u64,
    /// What it is made of.
    pub recipe: Recipe,
}

/// The files of a recording.
#[derive(Clone, Debug, Default)]
pub(crate) struct Movies {
    current: Option<Current>,
    cut: VecDeque<Cut>,
    last: u32,
    made: Vec<(u64, MadeMovie)>,
    made_left_out: u64,
    /// Where the newest picture ends.
    pictures_end_unix_ms: u64,
    is_ended: bool,
}

/// A part that a file may begin with: a segment's first, or one with a keyframe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MoviePart {
    pub(crate) track: Track,
    pub(crate) start: SegmentStart,
    /// Its date, Unix milliseconds.
    pub(crate) date_unix_ms: u64,
    /// Where it is in its object.
    pub(crate) at: u64,
    pub(crate) bytes: u32,
    pub(crate) independent: bool,
    /// Objects that both tracks are at.
    pub(crate) objects: [u32; 2],
}

impl Movies {
    /// Such a part comes; `same` says whether two headers of the track are the same.
    pub(crate) fn part_of(&mut self, wanted: Wanted, first: &MoviePart, same: impl Fn(u32, u32) -> bool) {
        let MoviePart { track, start, date_unix_ms, at, bytes, independent, .. } = *first;
        let SegmentStart { object, init, run, .. } = start;
        let begin = Begin { run, unix_ms: date_unix_ms, segment: None, objects_from: first.objects_from() };
        let leads = track == Track::Video || self.pictures_end_unix_ms.saturating_add(SILENT_MS) <= date_unix_ms;
        let Some(current) = &mut self.current else {
            self.begin(begin, first);
            return;
        };
        let changed = current.inits[place(track)].is_some_and(|known| !same(known, init));
        let length_ms = u64::from(wanted.length_ms);
        let early_ms = if track == Track::Video { EARLY_PICTURE_MS } else { EARLY_SOUND_MS };
        let early_ms = early_ms.min(length_ms / 10);
        let is_long = date_unix_ms.saturating_sub(current.begin.unix_ms) + early_ms >= length_ms
            || current.bytes >= wanted.bytes_max
            || current.frames.iter().any(|frames| *frames >= FRAMES_MAX);
        if run > current.run {
            if changed || is_long {
                self.cut(End::Run(run, date_unix_ms));
                self.begin(begin, first);
                return;
            }
            (current.run, current.run_unix_ms, current.run_objects_from) = (run, date_unix_ms, begin.objects_from);
        } else if run == current.run {
            if changed && current.begin.run < run {
                // The other track was the first in this run: all of it is the next file's.
                let (unix_ms, objects_from) = (current.run_unix_ms, current.run_objects_from);
                self.cut(End::Run(run, unix_ms));
                self.begin(Begin { unix_ms, objects_from, ..begin }, first);
                return;
            }
            if independent && leads && is_long {
                let kept = Kept {
                    run,
                    date_unix_ms,
                    duration_ms: 0,
                    place: Some(Place { init, object, at, bytes: u64::from(bytes) }),
                };
                self.cut(End::Segment(track, kept));
                self.begin(Begin { segment: Some((track, kept)), ..begin }, first);
                return;
            }
        }
        // The end of a run that is the file before it says nothing of this one.
        if let Some(current) = self.current.as_mut().filter(|current| run >= current.begin.run) {
            current.inits[place(track)].get_or_insert(init);
        }
    }

    fn begin(&mut self, begin: Begin, first: &MoviePart) {
        let mut inits = [None; 2];
        inits[place(first.track)] = Some(first.start.init);
        let Begin { run, unix_ms, objects_from, .. } = begin;
        self.current = Some(Current {
            begin,
            inits,
            run,
            run_unix_ms: if begin.segment.is_some() { unix_ms } else { first.date_unix_ms.min(unix_ms) },
            run_objects_from: objects_from,
            frames: [0; 2],
            bytes: 0,
        });
    }

    fn cut(&mut self, end: End) {
        if let Some(Current { begin, .. }) = self.current.take() {
            self.last += 1;
            self.cut.push_back(Cut { number: self.last, begin, end, is_whole: end == End::Recording });
        }
    }

    /// A part came, of a segment that is now so long.
    pub(crate) fn part(&mut self, track: Track, bytes: u32, frames: u16, end_unix_ms: u64) {
        if track == Track::Video {
            self.pictures_end_unix_ms = self.pictures_end_unix_ms.max(end_unix_ms);
        }
        if let Some(current) = &mut self.current {
            current.bytes += u64::from(bytes);
            current.frames[place(track)] += u64::from(frames);
        }
    }

    /// Something is missing from here on, and what comes is of that run.
    pub(crate) fn broke_off(&mut self, next_run: u32, frees_room: bool) {
        if frees_room {
            self.cut(End::Run(next_run, 0));
        }
        for cut in &mut self.cut {
            cut.is_whole = true;
        }
    }

    /// Nothing more comes.
    pub(crate) fn ended(&mut self) {
        self.is_ended = true;
        self.cut(End::Recording);
        for cut in &mut self.cut {
            cut.is_whole = true;
        }
    }

    /// A file is in the store, or cannot be made.
    pub(crate) fn made(&mut self, made: MadeMovie) {
        // One after another: of those before it the records are lost, and the files are in the store.
        while self.cut.pop_front_if(|cut| cut.number < made.number).is_some() {
            self.made_left_out += 1;
        }
        let Some(cut) = self.cut.pop_front_if(|cut| cut.number == made.number) else { return };
        if made.bytes == 0 {
            return;
        }
        if self.made.len() < MOVIES_LISTED_MAX {
            self.made.push((cut.begin.unix_ms, made));
        } else {
            self.made_left_out += 1;
        }
    }
}

impl MoviePart {
    /// Objects that a file may need that begins here: of the other track it may be some ahead.
    fn objects_from(&self) -> [u32; 2] {
        let mut from = self.objects.map(|object| object.saturating_sub(OBJECTS_APART_MAX));
        from[place(self.track)] = self.start.object.saturating_sub(1);
        from
    }
}

impl Ledger {
    /// Looks which files that are cut are whole: both tracks are behind their ends.
    pub(crate) fn settle_movies(&mut self) {
        if self.movies.cut.back().is_none_or(|cut| cut.is_whole) {
            return;
        }
        let newest_run = TRACKS.map(|track| {
            let of = self.track(track);
            of.open.map(|open| open.start.run).or(of.rows.run()).unwrap_or_default()
        });
        let closed_unix_ms = TRACKS.map(|track| self.track(track).rows.end_unix_ms());
        let any = TRACKS.map(|track| self.track(track).bytes > 0);
        let newest_unix_ms = self.tracks.iter().filter_map(|of| of.newest_unix_ms).max().unwrap_or_default();
        for cut in self.movies.cut.iter_mut().filter(|cut| !cut.is_whole) {
            let (end_run, end_unix_ms) = match cut.end {
                End::Segment(_, kept) => (kept.run, kept.date_unix_ms),
                End::Run(run, unix_ms) => (run, unix_ms),
                End::Recording => continue,
            };
            let is_behind = |track: Track| {
                let at = place(track);
                let run = newest_run[at];
                !any[at]
                    || match cut.end {
                        End::Segment(leading, kept) if leading == track => {
                            run > end_run || closed_unix_ms[at] > kept.date_unix_ms
                        }
                        End::Run(..) => run >= end_run,
                        _ => run > end_run || closed_unix_ms[at] >= end_unix_ms + MARGIN_MS,
                    }
            };
            let is_late = newest_unix_ms > end_unix_ms + LAG_MS;
            cut.is_whole = is_late || TRACKS.into_iter().all(is_behind);
        }
    }

    /// Files that are cut and whole, and not in the store: the numbers from here to there. In order: behind one that is not whole there is none.
    pub(crate) fn whole_movies(&self) -> Option<(u32, u32)> {
        let first = self.movies.cut.front().filter(|cut| cut.is_whole)?.number;
        let whole = self.movies.cut.iter().take_while(|cut| cut.is_whole).count() as u32;
        Some((first, first + whole - 1))
    }

    /// Whether a file is still to be made, or may begin.
    pub(crate) fn has_movies_to_make(&self) -> bool {
        self.head().movies.is_some() && (!self.movies.cut.is_empty() || self.movies.current.is_some())
    }

    /// Objects before these are not needed for any file that is to be made.
    pub(crate) fn objects_needed_from(&self) -> [u32; 2] {
        if self.head().movies.is_none() {
            return [u32::MAX; 2];
        }
        let current = self.movies.current.as_ref().map(|current| current.begin);
        match self.movies.cut.front().map(|cut| cut.begin).or(current) {
            Some(begin) => begin.objects_from,
            None if self.movies.is_ended => [u32::MAX; 2],
            None => [0; 2],
        }
    }

    /// The next file to be made.
    pub(crate) fn due_movie(&self) -> Option<DueMovie> {
        let cut = self.movies.cut.front().filter(|cut| cut.is_whole)?;
        let Cut { begin, end, .. } = *cut;
        let mark = |(track, segment): (Track, Kept)| Mark { track, segment, after_us: 0, at_keyframe: true };
        let (from, to) = (
            begin.segment.map(mark),
            match end {
                End::Segment(track, kept) => Some(mark((track, kept))),
                _ => None,
            },
        );
        let mut recipe = Recipe { from, to, ..Recipe::default() };
        for track in TRACKS {
            let is_in = |kept: &Kept| {
                let is_early = match begin.segment {
                    _ if kept.run != begin.run => kept.run < begin.run,
                    Some((leading, first)) if leading == track => kept.end_unix_ms() <= first.date_unix_ms,
                    Some((_, first)) => kept.end_unix_ms() + MARGIN_MS <= first.date_unix_ms,
                    None => false,
                };
                let is_late = match end {
                    End::Segment(_, next) if kept.run != next.run => kept.run > next.run,
                    // What is before the keyframe in its part is of this file.
                    End::Segment(leading, next) if leading == track => kept.date_unix_ms > next.date_unix_ms,
                    End::Segment(_, next) => kept.date_unix_ms >= next.date_unix_ms + MARGIN_MS,
                    End::Run(run, _) => kept.run >= run,
                    End::Recording => false,
                };
                !is_early && !is_late
            };
            let kept: Vec<Kept> = self.kept(track).filter(is_in).collect();
            recipe.inits[place(track)] = self.inits_of(track, &kept);
            recipe.segments[place(track)] = kept;
        }
        Some(DueMovie { number: cut.number, from_unix_ms: begin.unix_ms, recipe })
    }

    fn inits_of(&self, track: Track, kept: &[Kept]) -> std::collections::BTreeMap<u32, Bytes> {
        let numbers = kept.iter().filter_map(|kept| Some(kept.place?.init));
        numbers.filter_map(|number| Some((number, self.track(track).init(number)?.bytes.clone()))).collect()
    }

    /// The whole segments of a track, with dates.
    pub(crate) fn kept(&self, track: Track) -> impl Iterator<Item = Kept> {
        let mut next_unix_ms = 0;
        self.segments(track).map(move |segment| {
            let date_unix_ms = segment.date_unix_ms.unwrap_or(next_unix_ms);
            next_unix_ms = date_unix_ms + u64::from(segment.duration_ms);
            let found = segment.object.map(|object| Place {
                init: segment.init,
                object,
                at: segment.offset,
                bytes: u64::from(segment.bytes),
            });
            Kept { run: segment.run, date_unix_ms, duration_ms: segment.duration_ms, place: found }
        })
    }

    /// Files that are in the store.
    pub fn movies(&self) -> Vec<ListedMovie> {
        let listed = |(from_unix_ms, made): &(u64, MadeMovie)| ListedMovie {
            path: movie_path(*from_unix_ms),
            from_unix_ms: *from_unix_ms,
            duration_ms: made.duration_ms,
            bytes: made.bytes,
        };
        self.movies.made.iter().map(listed).collect()
    }

    /// When files begin, Unix milliseconds: those that are in the store, except what is left out of the list, and those that are to come.
    pub(crate) fn movie_begins(&self) -> impl Iterator<Item = u64> {
        let Movies { made, cut, current, .. } = &self.movies;
        let to_come = cut.iter().map(|cut| &cut.begin).chain(current.as_ref().map(|current| &current.begin));
        made.iter().map(|(from_unix_ms, _)| *from_unix_ms).chain(to_come.map(|begin| begin.unix_ms))
    }

    /// Memory that they take, bytes.
    pub(crate) fn movies_memory_bytes(&self) -> usize {
        self.movies.cut.capacity() * size_of::<Cut>() + self.movies.made.capacity() * size_of::<(u64, MadeMovie)>()
    }

    /// Files beyond those.
    pub fn movies_left_out(&self) -> u64 {
        self.movies.made_left_out
    }
}
