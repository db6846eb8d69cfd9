//! A film of the last seconds of a stream, whether or not it is recorded: its newest segments are held in memory, and those between two moments become
//! an MP4 file. Before it: segments as the packager has closed them; after it: the bytes of a file, which are copies of theirs where a segment has several parts.
//!
//! Segments are whole: a film begins with the segment that its first moment is in, and ends with that of its last. What is held is bounded for one stream
//! and for all, but that each reel has a small share of its own; where that is not enough the film ends early.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use millstream_hub::package::change::Header;
use millstream_hub::subscriber::ClosedSegment;
use millstream_proto::media::Track;

use super::make::{MakeError, make};
use super::source::Source;
use super::{Kept, Mark, Place, Recipe};
use crate::name::{TRACKS, place};
use crate::store::{Answer, StoreError};

/// Headers of a session that are told apart from those of the next one.
const HEADERS_OF_SESSION: u32 = 1 << 16;

/// The room of all is divided among so many at least: a reel that holds less than its share is not cut for what others hold.
const REELS_AT_LEAST: usize = 128;

/// How much may be held.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Of the time before the newest segment's end when nothing is filmed, milliseconds.
    pub back_ms: u64,
    /// Bytes of one stream.
    pub bytes_max: usize,
    /// Bytes of all streams that count in the same number.
    pub all_bytes_max: usize,
}

/// The newest segments of a stream.
#[derive(Debug)]
pub struct Reel {
    bounds: Bounds,
    segments: VecDeque<Held>,
    bytes: usize,
    /// Of all reels.
    all_bytes: Arc<AtomicUsize>,
    session: u32,
    /// Nothing that ends behind this goes for its age.
    filmed_from_ms: Option<u64>,
}

#[derive(Debug)]
struct Held {
    track: Track,
    run: u32,
    init: u32,
    header: Arc<Header>,
    /// On the stream's timeline.
    start_ms: u64,
    end_ms: u64,
    date_unix_ms: u64,
    parts: Vec<Bytes>,
    bytes: usize,
}

/// A file.
#[derive(Debug)]
pub struct Film {
    /// When it begins, Unix milliseconds.
    pub from_unix_ms: u64,
    /// How long it plays.
    pub duration_ms: u64,
    /// Its bytes, one piece behind the other.
    pub pieces: Vec<Bytes>,
}

impl Film {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }
}

impl Reel {
    /// An empty one; what it holds is counted in `all_bytes` as well.
    pub fn new(bounds: Bounds, all_bytes: Arc<AtomicUsize>) -> Self {
        Self { bounds, segments: VecDeque::new(), bytes: 0, all_bytes, session: 0, filmed_from_ms: None }
    }

    /// Another session of playlists begins.
    pub fn began(&mut self) {
        self.session = self.session.wrapping_add(1);
    }

    /// Takes the next segment of its track; gaps are left out. `false`: there is no room for what is filmed, and the film ends here.
    pub fn push(&mut self, segment: ClosedSegment) -> bool {
        let ClosedSegment { track, opened, header, duration_us, parts } = segment;
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        let Some(header) = header.filter(|_| bytes > 0) else { return true };
        let start_ms = opened.start_us / 1_000;
        self.segments.push_back(Held {
            track,
            // Both tracks have the same discontinuities, and a session has fewer than this.
            run: self.session.wrapping_mul(HEADERS_OF_SESSION).wrapping_add(opened.discontinuities as u32),
            init: self.session.wrapping_mul(HEADERS_OF_SESSION).wrapping_add(header.number),
            header,
            start_ms,
            end_ms: start_ms + duration_us / 1_000,
            date_unix_ms: opened.date_unix_ms,
            parts,
            bytes,
        });
        self.bytes += bytes;
        self.all_bytes.fetch_add(bytes, Ordering::Relaxed);
        let oldest_ms = self.newest_end_ms().saturating_sub(self.bounds.back_ms);
        let oldest_ms = self.filmed_from_ms.map_or(oldest_ms, |from_ms| oldest_ms.min(from_ms));
        while self.segments.front().is_some_and(|held| held.end_ms <= oldest_ms) {
            self.drop_oldest();
        }
        let is_full = |reel: &Self| {
            let is_large = reel.bytes > reel.bounds.all_bytes_max / REELS_AT_LEAST;
            reel.bytes > reel.bounds.bytes_max
                || is_large && reel.all_bytes.load(Ordering::Relaxed) > reel.bounds.all_bytes_max
        };
        if self.filmed_from_ms.is_some() {
            return !is_full(self);
        }
        while is_full(self) && !self.segments.is_empty() {
            self.drop_oldest();
        }
        true
    }

    /// From which moment of the stream's timeline on segments are kept for a film; `None`: nothing is filmed.
    pub fn film_from(&mut self, from_ms: Option<u64>) {
        self.filmed_from_ms = from_ms;
    }

    /// Up to which moment of the stream's timeline there are pictures; where it has none, sound.
    pub fn reaches_ms(&self) -> Option<u64> {
        let of = |track: Track| self.segments.iter().rev().find(|held| held.track == track);
        TRACKS.into_iter().find_map(of).map(|held| held.end_ms)
    }

    /// Up to which moment there is all: pictures and sound, where it has both. Video of a moment is closed before its audio.
    pub fn covers_ms(&self) -> Option<u64> {
        let of = |track: Track| self.segments.iter().rev().find(|held| held.track == track).map(|held| held.end_ms);
        TRACKS.into_iter().filter_map(of).min()
    }

    /// The date of a moment of the stream's timeline, Unix milliseconds: as playlists say it, if there is a segment to say it by.
    pub fn date_unix_ms(&self, at_ms: u64) -> Option<u64> {
        let newest = self.segments.iter().rev().find(|held| held.start_ms <= at_ms).or(self.segments.front())?;
        Some((newest.date_unix_ms + at_ms).saturating_sub(newest.start_ms))
    }

    /// A film from one moment of the stream's timeline to another, of what of that is held. A file has one header: what was before `about_ms` with another one
    /// is left out.
    pub async fn film(&self, from_ms: u64, to_ms: u64, about_ms: u64) -> Result<Film, MakeError> {
        let overlaps = |held: &&Held, from_ms, to_ms| held.end_ms > from_ms && held.start_ms < to_ms;
        let all = self.segments.iter();
        let leading = all.clone().filter(|held| overlaps(held, from_ms, to_ms));
        let video: Vec<&Held> = leading.clone().filter(|held| held.track == Track::Video).collect();
        let mut leading: Vec<&Held> = if video.is_empty() { leading.collect() } else { video };
        let about = leading.iter().position(|held| held.end_ms > about_ms).unwrap_or(leading.len().saturating_sub(1));
        let is_other = |held: &&Held| leading.get(about).is_some_and(|at| at.header.bytes != held.header.bytes);
        let others_before = leading.iter().take(about).rposition(is_other).map_or(0, |at| at + 1);
        leading.drain(..others_before);
        let (Some(first), Some(last)) = (leading.first(), leading.last()) else { return Err(MakeError::Empty) };
        let track = first.track;
        let others = all.filter(|held| held.track != track && overlaps(held, first.start_ms, last.end_ms));
        let (mut recipe, mut memory) = (Recipe::default(), Memory::default());
        let (mut first_kept, mut last_kept) = (None, None);
        for held in leading.iter().copied().chain(others) {
            let kept = memory.add(held);
            recipe.inits[place(held.track)].insert(held.init, held.header.bytes.clone());
            recipe.segments[place(held.track)].push(kept);
            if held.track == track {
                first_kept.get_or_insert(kept);
                last_kept = Some(kept);
            }
        }
        let mark = |segment, after_us, at_keyframe| Mark { track, segment, after_us, at_keyframe };
        recipe.from = first_kept.map(|kept| mark(kept, 0, true));
        recipe.to = last_kept.map(|kept| mark(kept, u64::from(kept.duration_ms) * 1_000, false));
        let movie = make(&recipe, &memory).await?;
        let mut pieces = vec![Bytes::copy_from_slice(movie.head())];
        for (object, at, bytes) in movie.copies() {
            let number = movie.objects().get(object).map(|object| object.number).ok_or(MakeError::Empty)?;
            pieces.push(memory.get(number, at, bytes).ok_or(MakeError::Empty)?);
        }
        Ok(Film { from_unix_ms: first.date_unix_ms, duration_ms: movie.duration_ms(), pieces })
    }

    fn newest_end_ms(&self) -> u64 {
        self.segments.iter().map(|held| held.end_ms).max().unwrap_or_default()
    }

    fn drop_oldest(&mut self) {
        if let Some(held) = self.segments.pop_front() {
            self.bytes -= held.bytes;
            self.all_bytes.fetch_sub(held.bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Reel {
    fn drop(&mut self) {
        self.all_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Segments as objects of a recording, by number.
#[derive(Debug, Default)]
struct Memory(BTreeMap<u32, Bytes>);

impl Memory {
    fn add(&mut self, held: &Held) -> Kept {
        let number = self.0.len() as u32;
        let bytes = match &held.parts[..] {
            [one] => one.clone(),
            parts => {
                let mut all = BytesMut::with_capacity(held.bytes);
                for part in parts {
                    all.extend_from_slice(part);
                }
                all.freeze()
            }
        };
        self.0.insert(number, bytes);
        Kept {
            run: held.run,
            date_unix_ms: held.date_unix_ms,
            duration_ms: u32::try_from(held.end_ms - held.start_ms).unwrap_or(u32::MAX),
            place: Some(Place { init: held.init, object: number, at: 0, bytes: held.bytes as u64 }),
        }
    }

    fn get(&self, number: u32, at: u64, bytes: u64) -> Option<Bytes> {
        let (at, bytes) = (usize::try_from(at).ok()?, usize::try_from(bytes).ok()?);
        let object = self.0.get(&number)?;
        let end = at.checked_add(bytes).filter(|end| *end <= object.len())?;
        Some(object.slice(at..end))
    }
}

impl Source for Memory {
    fn read(&self, track: Track, object: u32, at: u64, bytes: usize) -> Answer<'_, Bytes> {
        let read = self.get(object, at, bytes as u64);
        let read = read.ok_or_else(|| StoreError::Source(format!("{} {object} ends before that", track.name())));
        Box::pin(std::future::ready(read))
    }
}
