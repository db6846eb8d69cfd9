//! MP4 files of recordings: index first, video and audio interleaved, the coded bytes as they were recorded. Before it: the segments of a recording, in
//! the spool or in a store; after it: an object in the store ([`crate::recorder`]), or a file on this machine ([`export`]).
//!
//! Reading order: this file (what a file is made of), [`source`] (bytes of objects, read ahead), [`make`] (the first pass over them: the index),
//! [`copy`] (the second: the bytes), [`spooled`] (a file that is uploaded from the spool), [`playlist`] and [`export`] (a recording that is in a store), [`reel`] (a stream's
//! last seconds, in memory), [`stills`] (keyframes of a stored recording, for its storyboard).
//!
//! **Times.** A run follows the one before it at once, with both tracks moved by the same time: as HLS players play a discontinuity. So a file has no hole
//! where the recording has one, stays in sync, and does not care whose clock ran before and after. A hole in one track alone stays one.
//!
//! **Memory.** What is held is the index (about 20 bytes a frame twice, for a moment), and a read of each track ahead: no coded byte is kept, but by a reel.
pub mod copy;

pub mod export;
pub mod make;
pub mod playlist;
pub mod reel;
pub mod source;
pub mod spooled;
pub mod stills;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_proto::media::Track;

use crate::name::{TRACKS, place};

/// Around what is in a file, segments of the other track are looked at this much further, milliseconds: the tracks' segments do not begin together.
pub(crate) const MARGIN_MS: u64 = 1_000;

/// Where a segment's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Number of its header.
    pub init: u32,
    /// Number of its object.
    pub object: u32,
    /// Its first byte there.
    pub at: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// A segment as a recording has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// Number of its run.
    pub run: u32,
    /// The date of its first frame, Unix milliseconds.
    pub date_unix_ms: u64,
    /// How long it is.
    pub duration_ms: u32,
    /// `None`: it is a gap.
    pub place: Option<Place>,
}

impl Kept {
    /// The date of its end.
    pub fn end_unix_ms(&self) -> u64 {
        self.date_unix_ms.saturating_add(u64::from(self.duration_ms))
    }
}

/// A moment: so long after the first frame of a segment is shown, or its first keyframe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Of this track.
    pub track: Track,
    /// The segment, which is not a gap.
    pub segment: Kept,
    /// How long after, microseconds.
    pub after_us: u64,
    /// After the first keyframe.
    pub at_keyframe: bool,
}

/// What a file is made of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recipe {
    /// The segments of each track in order, gaps included; more than is shown does no harm.
    pub segments: [Vec<Kept>; 2],
    /// Headers by number.
    pub inits: [BTreeMap<u32, Bytes>; 2],
    /// The first moment that is shown; `None`: the first there is.
    pub from: Option<Mark>,
    /// The first moment that is not shown; `None`: all there is.
    pub to: Option<Mark>,
}

impl Recipe {
    /// Numbers of the objects that are read for it.
    pub fn objects(&self) -> Vec<(Track, u32)> {
        let kept =
            |(at, track): (usize, Track)| self.segments.get(at).into_iter().flatten().map(move |kept| (track, *kept));
        let marks = self.from.iter().chain(&self.to).map(|mark| (mark.track, mark.segment));
        let all = TRACKS.into_iter().enumerate().flat_map(kept).chain(marks);
        let mut objects: Vec<_> =
            all.filter_map(|(track, kept)| Some((place(track), track, kept.place?.object))).collect();
        objects.sort_unstable_by_key(|(at, _, object)| (*at, *object));
        objects.dedup();
        objects.into_iter().map(|(_, track, object)| (track, object)).collect()
    }
}
