//! One MP4 file of a recording that is in a store: for clips, and to take a recording away. Before it: a store that can be read; after it: a file on this
//! machine.
//!
//! ```no_run
//! # use millstream_recorder::{movie::export::{Span, export}, name::RecordingName, store::ReadStore};
//! # async fn example(store: &dyn ReadStore) -> Result<(), Box<dyn std::error::Error>> {
//! let stream = millstream_proto::id::Id::new("lobby")?;
//! let recording = RecordingName::parse("1795531265250-19ab3cd4e5f1").ok_or("no name")?;
//! // The minute from 00:10:00 on, as a player of the recording shows it.
//! let span = Span { from_ms: 600_000, to_ms: Some(660_000), is_growing: false };
//! let made = export(store, &stream, &recording, span, "clip.mp4".as_ref(), &|_| Ok(())).await?;
//! println!("{} ms, {} bytes", made.duration_ms, made.bytes);
//! # Ok(())
//! # }
//! ```
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use millstream_proto::id::Id;
use millstream_proto::limits::MP4_HEADER_BYTES_MAX;
use millstream_proto::media::Track;

use super::make::{MakeError, Movie, begins_with_keyframe, make};
use super::playlist::{PlaylistError, read};
use super::source::Source;
use super::{Kept, MARGIN_MS, Mark, Recipe};
use crate::limits::{MOVIE_READ_BYTES, STORED_PLAYLIST_BYTES_MAX};

use crate::name::{RecordingName, TRACKS, init_path, object_path, place, playlist_path};
use crate::store::{Answer, ReadStore, StoreError};

/// From when to when, milliseconds from the recording's beginning as its players count them: what is missing between runs has no length. A file begins and
/// ends at the very moment; what a decoder needs before it, from the last keyframe on, is in the file and not shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// The first moment.
    pub from_ms: u64,
    /// The first moment that is not in it; `None`, or one behind the end: up to the end of what is stored.
    pub to_ms: Option<u64>,
    /// More is to come: nothing is made of less than the span.
    pub is_growing: bool,
}

/// What of a span may be missing at its end without more being waited for, milliseconds: the last part of a segment is not stored alone.
const SHORT_MS: u64 = 1_000;

/// A file that was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    /// When its first moment was, Unix milliseconds.
    pub from_unix_ms: u64,
    /// How long it plays.
    pub duration_ms: u64,
    /// Its length.
    pub bytes: u64,
    /// Segments within it that the store no longer has, or that are damaged.
    pub left_out: u32,
    /// It ends before the span does: there the codec or the resolution changes, which one file cannot hold.
    pub ends_early: bool,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store has no playlist of it.
    #[error("the store has no recording {0}, or nothing of it yet")]
    NoRecording(RecordingName),
    /// The span is empty, or behind what is stored.
    #[error("the recording has {length_ms} ms that are stored, and the span has none of them")]
    Outside {
        /// How long it is so far.
        length_ms: u64,
    },
    /// The end of the span is not stored yet.
    #[error("not all of that span is stored yet: {length_ms} ms are")]
    NotYet {
        /// How long it is so far.
        length_ms: u64,
    },
    /// It cannot be kept here.
    #[error("{0}")]
    NoRoom(String),
    /// A playlist is not one of ours.
    #[error("{key}: {error}")]
    Playlist {
        /// Which.
        key: String,
        /// What is wrong.
        error: PlaylistError,
    },
    /// The store does not give what it has.
    #[error("the store cannot be read: {0}")]
    Store(#[from] StoreError),
    /// Nothing can be made of what it has.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The file cannot be written.
    #[error("cannot write {path}: {error}")]
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Makes an MP4 file of a part of a stored recording, index first, and syncs it. A file of that name is replaced; after an error there is none. `room` is
/// asked whether there is room for so many bytes. Memory: the index, the playlists, and some megabytes. On a tokio runtime, for the disk is waited for
/// beside it.
pub async fn export(
    store: &dyn ReadStore,
    stream: &Id,
    recording: &RecordingName,
    span: Span,
    path: &Path,
    room: &(dyn Fn(u64) -> Result<(), String> + Sync),
) -> Result<Exported, ExportError> {
    let stored = Stored { store, stream, recording };
    let (recipe, from_unix_ms) = stored.recipe(span).await?;
    let movie = make(&recipe, &stored).await?;
    room(movie.bytes()).map_err(ExportError::NoRoom)?;
    let written = write(&movie, &stored, path).await;
    if written.is_err() {
        // A part of it is worth nothing.
        let _ = std::fs::remove_file(path);
    }
    written?;
    let (left_out, ends_early) = (movie.left_out, movie.ends_early);
    Ok(Exported { from_unix_ms, duration_ms: movie.duration_ms(), bytes: movie.bytes(), left_out, ends_early })
}

/// A recording in a store.
pub(super) struct Stored<'a> {
    pub(super) store: &'a dyn ReadStore,
    pub(super) stream: &'a Id,
    pub(super) recording: &'a RecordingName,
}

impl Source for Stored<'_> {
    fn read(&self, track: Track, object: u32, at: u64, bytes: usize) -> Answer<'_, Bytes> {
        let key = self.recording.key(self.stream, &object_path(track, object));
        Box::pin(async move {
            let read = self.store.read(&key, at, bytes).await?;
            read.ok_or_else(|| StoreError::Source(format!("the store has no {key}")))
        })
    }
}

impl Stored<'_> {
    /// All of an object that is not longer than that.
    pub(super) async fn whole(&self, name: &str, bytes_max: usize) -> Result<Option<(String, BytesMut)>, ExportError> {
        let key = self.recording.key(self.stream, name);
        let mut all = BytesMut::new();
        loop {
            let wanted = MOVIE_READ_BYTES.min(bytes_max + 1 - all.len().min(bytes_max));
            let Some(more) = self.store.read(&key, all.len() as u64, wanted).await? else { return Ok(None) };
            all.extend_from_slice(&more);
            if all.len() > bytes_max {
                let why = format!("{key} has more than {bytes_max} bytes");
                return Err(StoreError::Source(why).into());
            }
            if more.len() < wanted {
                return Ok(Some((key, all)));
            }
        }
    }

    pub(super) async fn segments(&self, track: Track) -> Result<Vec<Kept>, ExportError> {
        let Some((key, text)) = self.whole(playlist_path(track), STORED_PLAYLIST_BYTES_MAX).await? else {
            return Ok(Vec::new());
        };
        read(track, &String::from_utf8_lossy(&text)).map_err(|error| ExportError::Playlist { key, error })
    }

    /// What a file of the span is made of, and the date of its first moment.
    async fn recipe(&self, span: Span) -> Result<(Recipe, u64), ExportError> {
        let mut segments = [self.segments(Track::Video).await?, self.segments(Track::Audio).await?];
        let plays = |track: Track| segments[place(track)].iter().any(|kept| kept.place.is_some());
        let Some(leading) = TRACKS.into_iter().find(|track| plays(*track)) else {
            return Err(ExportError::NoRecording(self.recording.clone()));
        };
        let all = &segments[place(leading)];
        let length_ms: u64 = all.iter().map(|kept| u64::from(kept.duration_ms)).sum();
        let to_ms = span.to_ms.filter(|to| *to < length_ms);
        if span.is_growing && span.to_ms.is_some_and(|to| to > length_ms + SHORT_MS) {
            return Err(ExportError::NotYet { length_ms });
        }
        let outside = ExportError::Outside { length_ms };
        if to_ms.is_some_and(|to| to <= span.from_ms) {
            return Err(outside);
        }
        let Some((first, after_ms)) = found(all, span.from_ms) else { return Err(outside) };
        let Some(from) = mark(leading, all, first, after_ms) else { return Err(outside) };
        let last = match to_ms.map(|to| found(all, to - 1)) {
            Some(Some((at, _))) => at,
            _ => all.len() - 1,
        };
        // Of a gap that it ends in, nothing is shown.
        let to = to_ms.and_then(|to| {
            let begins = all.iter().take(last).map(|kept| u64::from(kept.duration_ms)).sum::<u64>();
            let segment = all.get(last).filter(|kept| kept.place.is_some())?;
            Some(Mark { track: leading, segment: *segment, after_us: (to - begins) * 1_000, at_keyframe: false })
        });
        let mut recipe = Recipe { from: Some(from), to, ..Recipe::default() };
        for track in TRACKS {
            let numbers: BTreeSet<u32> =
                segments[place(track)].iter().filter_map(|kept| Some(kept.place?.init)).collect();
            for number in numbers {
                if let Some((_, init)) = self.whole(&init_path(track, number), MP4_HEADER_BYTES_MAX).await? {
                    recipe.inits[place(track)].insert(number, init.freeze());
                }
            }
        }
        // From the keyframe at or before it on.
        let mut begin = all.iter().position(|kept| *kept == from.segment).unwrap_or(first);
        while begin > 0
            && all[begin - 1].run == from.segment.run
            && !begins_with_keyframe(&recipe, leading, &all[begin], self).await?
        {
            begin -= 1;
        }
        let (begin_at, last_at) = (all[begin], all[last]);
        for track in TRACKS {
            let of = &mut segments[place(track)];
            if track == leading {
                of.truncate(last + 1);
                of.drain(..begin);
            } else {
                of.retain(|kept| {
                    let is_early = kept.run < begin_at.run
                        || kept.run == begin_at.run && kept.end_unix_ms() + MARGIN_MS <= begin_at.date_unix_ms;
                    let is_late = kept.run > last_at.run
                        || kept.run == last_at.run && kept.date_unix_ms >= last_at.end_unix_ms() + MARGIN_MS;
                    !is_early && !is_late
                });
            }
        }
        recipe.segments = segments;
        let from_unix_ms = from.segment.date_unix_ms + from.after_us / 1_000;
        Ok((recipe, from_unix_ms))
    }
}

/// The segment at that place of a playlist, and how far within it that is.
fn found(all: &[Kept], at_ms: u64) -> Option<(usize, u64)> {
    let mut begins = 0;
    for (index, kept) in all.iter().enumerate() {
        let ends = begins + u64::from(kept.duration_ms);
        if at_ms < ends {
            return Some((index, at_ms - begins));
        }
        begins = ends;
    }
    None
}

/// The moment so far within a segment; where that is a gap, the beginning of what follows.
fn mark(track: Track, all: &[Kept], index: usize, after_ms: u64) -> Option<Mark> {
    let rest = all.get(index..)?;
    let skipped = rest.iter().position(|kept| kept.place.is_some())?;
    let within_us = if skipped == 0 { after_ms * 1_000 } else { 0 };
    rest.get(skipped).map(|segment| Mark { track, segment: *segment, after_us: within_us, at_keyframe: false })
}

/// Writes all of it, beside the runtime.
async fn write(movie: &Movie, source: &dyn Source, path: &Path) -> Result<(), ExportError> {
    let failed = |error| ExportError::File { path: path.to_owned(), error };
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path).map_err(failed)?;
    let (file, mut chunks, mut waiting) = (Arc::new(file), movie.chunks(), BytesMut::new());
    loop {
        let chunk = chunks.next(source).await?;
        waiting.extend_from_slice(chunk.as_deref().unwrap_or_default());
        let is_last = chunk.is_none();
        if is_last || waiting.len() >= MOVIE_READ_BYTES {
            beside(&file, waiting.split().freeze(), is_last).await.map_err(failed)?;
        }
        if is_last {
            return Ok(());
        }
    }
}

async fn beside(file: &Arc<File>, bytes: Bytes, is_last: bool) -> std::io::Result<()> {
    let file = Arc::clone(file);
    let written = tokio::task::spawn_blocking(move || {
        (&*file).write_all(&bytes)?;
        if is_last { file.sync_all() } else { Ok(()) }
    });
    written.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
