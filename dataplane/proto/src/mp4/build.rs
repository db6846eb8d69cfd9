//! Gathers the fragments of a file's tracks. Before it: [`super::header`] and [`super::fragment`], with where each fragment is kept; after it:
//! a [`File`].
use std::collections::VecDeque;

use super::file::File;
use super::fragment::Fragment;
use super::header::TrackHeader;
use super::table::{Entry, Table};
use super::timeline::{HIDDEN_LEAD_MS_MAX, Span, Timeline, timeline, units_of_us};
use crate::limits::{MP4_FRAGMENT_SAMPLES_MAX, MP4_SAMPLES_MAX, MP4_TRACKS_MAX};
use crate::media::Track;

/// Spans of the interleaving a second: a player that reads from the beginning holds half a second of each track.
const SLOTS_PER_S: u64 = 2;
/// The largest time of a track, units: what the format's signed 64 bits hold with room for every sum.
const TIME_MAX: u64 = 1 << 60;

/// What a file is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// Unix milliseconds that the tracks' zero stands for: makes the file's creation time. Without it the file has none.
    pub zero_unix_ms: Option<i64>,
    /// Only a part of what is pushed.
    pub cut: Cut,
}

/// From when to when, microseconds since the tracks' zero; no end where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cut {
    /// The first moment that is presented. Fragments from the keyframe at or before it have to be pushed.
    pub from_us: Option<i64>,
    /// The first moment that is not.
    pub to_us: Option<i64>,
}

/// The number of a track in its builder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrackNumber(usize);

/// What cannot be in this file. The builder is as it was before: what it has can be finished, and another file begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// More tracks than [`MP4_TRACKS_MAX`].
    #[error("a file has at most {MP4_TRACKS_MAX} tracks")]
    Tracks,
    /// A number that another builder gave.
    #[error("the file has no track of that number")]
    NoTrack,
    /// The fragment begins before, or with, the newest sample.
    #[error(
        "the fragment begins at {begins}, and the newest sample of its track at {newest}: time ran backwards; finish this file and begin another"
    )]
    Backwards {
        /// Decode time of the fragment, units of the track.
        begins: u64,
        /// Decode time of the newest sample, units of the track.
        newest: i64,
    },
    /// A hole, or a time, that the format's numbers cannot say.
    #[error(
        "the fragment begins at {0}, which is too far from the samples before it; finish this file and begin another"
    )]
    Far(u64),
    /// More than [`MP4_SAMPLES_MAX`].
    #[error("a track of a file has at most {MP4_SAMPLES_MAX} samples; finish this file and begin another")]
    Full,
    /// Nothing that can be played: no sample, or none where a decoder can start, or none within the cut.
    #[error("there is nothing to play between the beginning and the end of the file")]
    Empty,
}

/// One track under way.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) header: TrackHeader,
    pub(super) table: Table,
    /// The newest sample, in the file or not.
    newest_dts: Option<i64>,
    /// A sample that begins no later than this is where the track may begin anew, units; samples before it are forgotten.
    restart_until: Option<i64>,
    /// Samples from this time on are not presented, units.
    until: Option<i64>,
    /// Samples behind the end: they are in the file only if one follows that is presented (frames are not in the order of their display).
    behind: VecDeque<Entry>,
    /// Nothing that comes is presented.
    done: bool,
}

/// A file under way: tables in memory, no bytes.
#[derive(Debug)]
pub struct FileBuilder {
    settings: Settings,
    tracks: Vec<Packed>,
}

impl FileBuilder {
    /// A file with no track yet.
    pub const fn new(settings: Settings) -> Self {
        Self { settings, tracks: Vec::new() }
    }

    /// Adds a track. A track whose header changes needs another file.
    pub fn add_track(&mut self, header: &TrackHeader) -> Result<TrackNumber, BuildError> {
        if self.tracks.len() >= MP4_TRACKS_MAX {
            return Err(BuildError::Tracks);
        }
        let timescale = header.timescale();
        let units = |us: i64| units_of_us(us, timescale).saturating_add(header.shift);
        let Cut { from_us, to_us } = self.settings.cut;
        // A decoder of audio is fed a little before what is heard.
        let lead_us = if header.track() == Track::Video { 0 } else { i64::from(HIDDEN_LEAD_MS_MAX) * 1_000 };
        self.tracks.push(Packed {
            header: header.clone(),
            table: Table::default(),
            newest_dts: None,
            restart_until: from_us.map(|us| units(us.saturating_sub(lead_us))),
            // Rounded up: a sample that begins within the last microsecond is presented.
            until: to_us.map(|us| units(us.saturating_sub(1)).saturating_add(1)),
            behind: VecDeque::new(),
            done: false,
        });
        Ok(TrackNumber(self.tracks.len() - 1))
    }

    /// Takes the next fragment of a track, whose first byte (of those that were read) is at byte `at` of that object. Tracks may be pushed in any order.
    pub fn push(&mut self, track: TrackNumber, fragment: &Fragment, object: u32, at: u64) -> Result<(), BuildError> {
        let packed = self.tracks.get_mut(track.0).ok_or(BuildError::NoTrack)?;
        packed.check(fragment, at)?;
        let mut dts = fragment.decode_time as i64;
        let mut samples = fragment.samples.iter();
        for run in &fragment.runs {
            let mut from = at + run.at;
            for sample in samples.by_ref().take(run.samples) {
                packed.take(&Entry {
                    dts,
                    duration: sample.duration,
                    composition: sample.composition,
                    size: sample.size,
                    sync: sample.sync,
                    object,
                    at: from,
                    slot: packed.slot(dts),
                });
                from += u64::from(sample.size);
                dts += i64::from(sample.duration);
            }
        }
        Ok(())
    }

    /// How long the file would be if it ended now, microseconds.
    pub fn length_us(&self) -> u64 {
        self.timeline().map_or(0, |(_, line)| line.length_us())
    }

    /// Coded bytes that it would have.
    pub fn payload_bytes(&self) -> u64 {
        let Some((tracks, line)) = self.timeline() else { return 0 };
        let shown = tracks.iter().zip(&line.edits).filter(|(_, edit)| edit.is_some());
        shown.map(|(track, _)| track.table.payload_bytes).sum()
    }

    /// The tracks that have samples, and their times.
    fn timeline(&self) -> Option<(Vec<&Packed>, Timeline)> {
        let (tracks, spans): (Vec<_>, Vec<_>) =
            self.tracks.iter().filter_map(|track| Some((track, track.span()?))).unzip();
        let Cut { from_us, to_us } = self.settings.cut;
        Some((tracks, timeline(&spans, from_us, to_us)?))
    }

    /// Memory that it takes, bytes: bounded by [`MP4_SAMPLES_MAX`] for each track.
    pub fn memory_bytes(&self) -> usize {
        let behind = |track: &Packed| track.behind.capacity() * std::mem::size_of::<Entry>();
        self.tracks.iter().map(|track| track.table.memory_bytes() + behind(track)).sum()
    }

    /// Ends the file.
    pub fn finish(self) -> Result<File, BuildError> {
        let (_, line) = self.timeline().ok_or(BuildError::Empty)?;
        let tracks = self.tracks.into_iter().filter(|track| !track.table.is_empty());
        Ok(File::new(tracks, &line, self.settings.zero_unix_ms))
    }
}

impl Packed {
    /// Whether all of the fragment can be taken.
    fn check(&self, fragment: &Fragment, at: u64) -> Result<(), BuildError> {
        let begins = fragment.decode_time;
        if begins > TIME_MAX || at > TIME_MAX {
            return Err(BuildError::Far(begins));
        }
        if let Some(newest) = self.newest_dts.filter(|newest| begins as i64 <= *newest) {
            return Err(BuildError::Backwards { begins, newest });
        }
        // Any of its samples may be the next one in the table: steps there have 32 bits.
        let durations: u64 = fragment.samples.iter().map(|sample| u64::from(sample.duration)).sum();
        let step = self.table.newest_dts().map_or(0, |newest| (begins as i64 - newest) as u64);
        if !self.done && step + durations > u64::from(u32::MAX) {
            return Err(BuildError::Far(begins));
        }
        if self.table.sizes.len() + self.behind.len() + fragment.samples.len() > MP4_SAMPLES_MAX {
            return Err(BuildError::Full);
        }
        Ok(())
    }

    fn slot(&self, dts: i64) -> u64 {
        // Decode times begin at 0 and end far below what would overflow here.
        dts as u64 * SLOTS_PER_S / u64::from(self.header.timescale())
    }

    /// Takes a sample, or leaves it out.
    fn take(&mut self, entry: &Entry) {
        self.newest_dts = Some(entry.dts);
        if self.done {
            return;
        }
        let pts = entry.pts();
        if entry.sync && self.restart_until.is_some_and(|until| pts <= until) {
            self.table.clear();
        }
        if self.table.is_empty() {
            if !entry.sync {
                return;
            }
        } else if self.table.syncs.len() == 1 && !entry.sync && pts < self.table.first_pts {
            // A leading picture of the first keyframe: what it refers to is not in the file.
            return;
        }
        let Some(until) = self.until else { return self.table.push(entry) };
        if pts < until {
            for behind in self.behind.drain(..) {
                self.table.push(&behind);
            }
            self.table.push(entry);
            return;
        }
        // Behind a keyframe, and what is shown before it, everything is shown later.
        let after_key = self.behind.iter().rfind(|behind| behind.sync).is_some_and(|key| key.pts() < pts);
        if after_key || self.header.track() == Track::Audio || self.behind.len() >= MP4_FRAGMENT_SAMPLES_MAX {
            self.behind = VecDeque::new();
            self.done = true;
        } else {
            self.behind.push_back(*entry);
        }
    }

    fn span(&self) -> Option<Span> {
        let Self { header, table, .. } = self;
        if table.is_empty() {
            return None;
        }
        let first = table.first_pts - header.shift;
        Some(Span {
            timescale: header.timescale(),
            is_video: header.track() == Track::Video,
            // A header that skips something means what is before the track's zero.
            first: if header.shift > 0 { first.max(0) } else { first },
            end: table.end_pts - header.shift,
        })
    }
}
