//! Who follows a stream beside its viewers: a cursor over the log, or over closed segments, that gets all in order and is told what it
//! missed. The packager and the mirrors of other shards read by [`BlockCursor`]; recorders (by [`ChangeCursor`], which gives parts as they come),
//! relays and workers implement [`Subscriber`].
mod changes;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use millstream_proto::media::Track;

pub use self::changes::{ChangeCursor, NextChange};
use crate::log::{EndReason, Log};
use crate::package::block::EntryRef;
use crate::package::change::{Header, Opened, Session};
use crate::package::window::Window;

/// What a subscriber follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follows {
    /// The blocks of the log.
    Blocks,
    /// Closed segments: the stream is packaged as soon as its tracks are known, whether or not anybody watches.
    Segments,
}

/// The stream at one moment, as its owner's shard has it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Its log.
    pub log: &'a Log,
    /// Its segments; nothing is known of them before it is packaged.
    pub window: &'a Window,
    /// What its publisher, or the last one, calls itself; `None` before the first one.
    pub encoder: Option<&'a str>,
}

/// How far a subscriber has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It has all there is.
    CaughtUp,
    /// It had no room for all: it is called again soon.
    Behind,
    /// It wants nothing more.
    Done,
}

/// Somebody who follows a stream. Nobody waits for it: what it does not take in time is lost to it, and its cursor says so.
pub trait Subscriber {
    /// What it follows.
    fn follows(&self) -> Follows;
    /// Takes what is new, as far as it has room. Called after each change; short, for the stream goes on behind it.
    fn advance(&mut self, stream: View<'_>) -> Progress;
}

/// What a cursor over the log finds.
#[derive(Debug)]
pub enum NextBlock<'a> {
    /// The next block.
    Block(&'a EntryRef),
    /// These blocks are gone; what follows begins at a keyframe where the log has one.
    Lost(Range<u64>),
    /// Nothing until the log changes.
    Wait,
    /// Nothing more comes.
    Ended(EndReason),
}

/// A place in a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockCursor {
    next: u64,
}

impl BlockCursor {
    /// Before that block.
    pub const fn at(next: u64) -> Self {
        Self { next }
    }

    /// At the newest keyframe.
    pub fn newest(log: &Log) -> Self {
        Self::at(log.newest_start().unwrap_or(log.head()))
    }

    /// At the oldest keyframe that is held.
    pub fn oldest(log: &Log) -> Self {
        Self::at(log.starts().next().unwrap_or(log.head()))
    }

    /// Number of the block that it is before.
    pub const fn position(self) -> u64 {
        self.next
    }

    /// Where it has fallen off the log: goes on at the newest start, and says what is lost.
    pub fn catch_up(&mut self, log: &Log) -> Option<Range<u64>> {
        (self.next < log.first()).then(|| {
            let from = std::mem::replace(&mut self.next, Self::newest(log).next);
            from..self.next
        })
    }

    /// The next block, or why there is none.
    pub fn next<'a>(&mut self, log: &'a Log) -> NextBlock<'a> {
        if let Some(lost) = self.catch_up(log) {
            return NextBlock::Lost(lost);
        }
        match (log.get(self.next), log.ended()) {
            (Some(entry), _) => {
                self.next += 1;
                NextBlock::Block(entry)
            }
            (None, Some(reason)) => NextBlock::Ended(reason),
            (None, None) => NextBlock::Wait,
        }
    }
}

/// A segment that is whole.
#[derive(Clone, Debug)]
pub struct ClosedSegment {
    /// Of this track.
    pub track: Track,
    /// Its number, times and date.
    pub opened: Opened,
    /// The file header that it needs.
    pub header: Option<Arc<Header>>,
    /// Microseconds, as the playlists say.
    pub duration_us: u64,
    /// Its bytes, in order; none in a gap.
    pub parts: Vec<Bytes>,
}

/// What a cursor over segments finds.
#[derive(Clone, Debug)]
pub enum NextSegment {
    /// A session of playlists begins: what was not taken of one before it is lost.
    Began(Arc<Session>),
    /// The next segment of its track.
    Segment(ClosedSegment),
    /// Segments of these media sequence numbers are gone.
    Lost(Track, Range<u64>),
    /// Nothing until the window changes.
    Wait,
    /// Nothing more comes.
    Ended,
}

/// A place in the segments of a stream, of both tracks.
#[derive(Clone, Debug, Default)]
pub struct SegmentCursor {
    session: Option<Arc<Session>>,
    next: [Option<u64>; 2],
}

impl SegmentCursor {
    /// At the oldest segment that can be fetched.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next segment, or why there is none. Of the tracks, the one that is behind comes first.
    pub fn next(&mut self, window: &Window) -> NextSegment {
        let Some(session) = window.current_session() else { return NextSegment::Wait };
        if self.session.as_ref().is_none_or(|own| own.name != session.name) {
            self.next = [None; 2];
            self.session = Some(Arc::clone(session));
            return NextSegment::Began(Arc::clone(session));
        }
        let mut tracks = [(Track::Video, 0), (Track::Audio, 1)];
        tracks.sort_by_key(|(_, at)| self.next[*at]);
        for (track, at) in tracks {
            let Some(oldest) = window.oldest_msn(track) else { continue };
            let next = *self.next[at].get_or_insert(oldest);
            if next < oldest {
                self.next[at] = Some(oldest);
                return NextSegment::Lost(track, next..oldest);
            }
            if let Some(segment) = window.closed(track, next) {
                self.next[at] = Some(next + 1);
                return NextSegment::Segment(segment);
            }
        }
        if window.is_ended() { NextSegment::Ended } else { NextSegment::Wait }
    }
}
