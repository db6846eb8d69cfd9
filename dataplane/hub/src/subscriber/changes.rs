//! A cursor that gives a subscriber parts as they come, for who cannot wait until a segment is whole: a recorder may lose a second at most. Before
//! it: the [`Window`] of the owner's shard; after it: whoever applies the same changes as a window does, and hears what it missed.
use std::ops::Range;
use std::sync::Arc;

use millstream_proto::media::Track;

use crate::package::change::{Change, Session};
use crate::package::window::{SegmentView, Window};

/// What a cursor over changes finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NextChange {
    /// The next change: a session or a segment begins, a header, a part, a segment is whole or a gap, or nothing more comes. In each track's order;
    /// promises and skipped numbers, which only playlists need, are left out.
    Change(Change),
    /// Segments of these media sequence numbers are gone. Of the first one parts may have been given; no more come, and it is not closed.
    Lost(Track, Range<u64>),
    /// Nothing until the window changes.
    Wait,
}

/// How far a track has been given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Before this segment.
    Before(u64),
    /// In this one, with so many of its parts given.
    In(u64, usize),
}

impl Place {
    const fn msn(self) -> u64 {
        match self {
            Self::Before(msn) | Self::In(msn, _) => msn,
        }
    }
}

/// A place in the changes of a stream, of both tracks. The window is the buffer: who takes nothing for a while loses nothing that is still there.
#[derive(Clone, Debug, Default)]
pub struct ChangeCursor {
    session: Option<Arc<Session>>,
    places: [Option<Place>; 2],
    /// The newest header given.
    headers: [Option<u32>; 2],
    ended: bool,
}

impl ChangeCursor {
    /// At the oldest segment that can be fetched.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next change, or why there is none. Of the tracks, the one whose next change is about the earlier media comes first.
    pub fn next(&mut self, window: &Window) -> NextChange {
        let Some(session) = window.current_session() else { return NextChange::Wait };
        if self.session.as_ref().is_none_or(|own| own.name != session.name) {
            *self = Self { session: Some(Arc::clone(session)), ..Self::default() };
            return NextChange::Change(Change::Began(Arc::clone(session)));
        }
        let mut tracks = [(Track::Video, 0), (Track::Audio, 1)];
        tracks.sort_by_key(|(track, at)| self.reached_us(window, *track, *at));
        let found = tracks.into_iter().find_map(|(track, at)| self.step(window, track, at));
        found.unwrap_or_else(|| {
            if window.is_ended() && !std::mem::replace(&mut self.ended, true) {
                return NextChange::Change(Change::Ended);
            }
            NextChange::Wait
        })
    }

    /// Up to where a track has been given, microseconds on the stream's timeline.
    fn reached_us(&self, window: &Window, track: Track, at: usize) -> u64 {
        let Some(place) = self.places.get(at).copied().flatten() else { return 0 };
        let Some(segment) = window.segment(track, place.msn()) else { return 0 };
        let given = if let Place::In(_, given) = place { given } else { 0 };
        segment.opened.start_us + segment.parts.iter().take(given).map(|part| part.duration_us).sum::<u64>()
    }

    fn step(&mut self, window: &Window, track: Track, at: usize) -> Option<NextChange> {
        let oldest = window.oldest_msn(track)?;
        let place = self.places.get_mut(at)?;
        let now = *place.get_or_insert(Place::Before(oldest));
        if now.msn() < oldest {
            *place = Some(Place::Before(oldest));
            return Some(NextChange::Lost(track, now.msn()..oldest));
        }
        let SegmentView { opened, parts, closed, gap_us } = window.segment(track, now.msn())?;
        let change = match now {
            Place::Before(msn) => {
                let header = self.headers.get_mut(at)?;
                if header.replace(opened.header) != Some(opened.header)
                    && let Some(bytes) = window.header(track, opened.header)
                {
                    Change::Header(track, Arc::clone(bytes))
                } else {
                    *place = Some(Place::In(msn, 0));
                    Change::Opened(track, *opened)
                }
            }
            Place::In(msn, given) => match (parts.get(given), gap_us) {
                (Some(part), _) => {
                    *place = Some(Place::In(msn, given + 1));
                    Change::Part(track, part.clone())
                }
                (None, _) if !closed => return None,
                (None, gap_us) => {
                    *place = Some(Place::Before(msn + 1));
                    gap_us.map_or(Change::Closed(track), |us| Change::Gap(track, us))
                }
            },
        };
        Some(NextChange::Change(change))
    }
}
