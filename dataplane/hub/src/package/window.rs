//! A stream's playlists as one shard has them: a state that [`Change`]s build up, the same on every shard, and that answers requests.
//! Before it: [`super::packager`]; after it: the engine, which lets requests wait for what is not there yet.
mod beside;
mod held;
mod manifest;
mod markers;
mod offer;
mod shifted;
mod text;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::hls::request::{Directives, Until};
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use self::held::Held;
pub use self::text::frame_rate;
use super::change::{Change, Guide, Header, Opened, Part, Session};
use super::file_name::Name;
use crate::config::Rendition;
use crate::subscriber::ClosedSegment;

/// What a request gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer<T> {
    /// This, now.
    Ready(T),
    /// Nothing yet: look again after the next change.
    Wait,
    /// Nothing, now or later.
    Refused(Refusal),
}

impl<T> Answer<T> {
    /// With something else made of what is there.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::Ready(found) => Answer::Ready(make(found)),
            Self::Wait => Answer::Wait,
            Self::Refused(refusal) => Answer::Refused(refusal),
        }
    }
}

/// Why there is nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No such track, segment or part, or no longer.
    #[error("there is no such file, or no longer; reload the playlist")]
    NotFound,
    /// Further ahead than a player can know of.
    #[error(
        "the playlist is not that far: _HLS_msn may be at most two ahead of the last segment, and _HLS_part of the next parts"
    )]
    FarAhead,
}

/// A media playlist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Playlist {
    /// The text, or what of it stands before [`Self::past`].
    pub text: Bytes,
    /// It was asked for by number: the same URL will not be asked for again.
    pub by_number: bool,
    /// Of one that reaches back beyond the window: what follows.
    pub past: Option<Past>,
}

/// The rest of a playlist that reaches back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Past {
    /// Of this track.
    pub track: Track,
    /// These chunks of the track's archive come first.
    pub chunks: Range<usize>,
    /// And the window's own segments.
    pub tail: Bytes,
}

/// A segment, part or header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media {
    /// What it is of.
    pub track: Track,
    /// Its bytes, in order.
    pub pieces: Vec<Bytes>,
    /// Of a part: when its last frame arrived.
    pub arrived: Option<Time>,
}

/// The newest segment of a playlist, and the index of its last part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Media sequence number of the segment.
    pub msn: u64,
    /// The part's index in it.
    pub part: u64,
}

/// The playlists of another window that are in the same multivariant playlist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beside {
    /// Where they are, seen from the window's own: ends with a slash.
    pub path: String,
    /// They are those of the stream itself; players play its sound beside each rendition.
    pub is_source: bool,
    /// Where its picture is, if that is known here.
    pub video: Option<Position>,
    /// The same of its sound.
    pub audio: Option<Position>,
}

/// A track's playlist.
fn playlist_name(track: Track) -> &'static str {
    match track {
        Track::Video => "video.m3u8",
        Track::Audio => "audio.m3u8",
    }
}

/// A fresh playlist is shown when it has a whole segment, or open parts of this length: players that know no parts take one without a
/// segment for a broken one.
const FIRST_SHOWN_US: u64 = 3_000_000;

/// A playlist that segments leave lasts this many target durations (RFC 8216bis 6.2.2).
const LISTED_TARGETS: u64 = 3;

/// Segments behind the newest one that a player may ask for (RFC 8216bis 6.2.5.2).
const AHEAD_MAX: u64 = 2;
/// The same of a rendition, which may be as far behind its source as segments of that are known to it: its source's playlists say where it will be.
const GUIDED_AHEAD_MAX: u64 = super::plans::PLANS_MAX as u64;

/// A second part is waited for at most so long, percent of the longest part.
const PAIR_WAIT_PERCENT: u64 = 150;

/// A segment as a window has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentView<'a> {
    pub(crate) opened: &'a Opened,
    pub(crate) parts: &'a [Part],
    pub(crate) closed: bool,
    /// There is nothing in it, or nothing more behind its parts; that stands for so long, microseconds.
    pub(crate) gap_us: Option<u64>,
}

/// The window on one stream.
#[derive(Debug, Default)]
pub struct Window {
    session: Option<Arc<Session>>,
    video: Held,
    audio: Held,
    ended: bool,
    /// The DASH manifest of the stream alone, and the one with renditions, made when they are first asked for after a change of them.
    manifests: [Option<(Box<[Rendition]>, Bytes)>; 2],
}

impl Window {
    /// One that nothing is known of yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next change.
    pub fn apply(&mut self, change: Change) {
        // The manifest lists whole segments only.
        if !matches!(change, Change::Opened(..) | Change::Part(..) | Change::Skipped(..)) {
            self.manifests = [None, None];
        }
        match change {
            Change::Began(session) => *self = Self { session: Some(session), ..Self::default() },
            Change::Header(track, header) => self.held_mut(track).header(header),
            Change::Parts(track, parts) => self.held_mut(track).parts = Some(parts),
            Change::Opened(track, opened) => self.held_mut(track).open(opened),
            Change::Part(track, part) => self.held_mut(track).part(part),
            Change::Closed(track) => self.close(track, None),
            Change::Gap(track, us) => self.close(track, Some(us)),
            Change::Skipped(track, number) => self.held_mut(track).next_part = number,
            Change::Marked(track, marker) => self.held_mut(track).mark(marker),
            Change::Ended => self.ended = true,
        }
        self.video.forget_texts();
        self.audio.forget_texts();
    }

    /// Changes that make a new window the same as this one.
    pub fn snapshot(&self) -> Vec<Change> {
        let Some(session) = &self.session else { return Vec::new() };
        let mut changes = vec![Change::Began(Arc::clone(session))];
        for track in [Track::Video, Track::Audio] {
            self.held(track).snapshot(track, &mut changes);
        }
        if self.ended {
            changes.push(Change::Ended);
        }
        changes
    }

    fn close(&mut self, track: Track, gap_us: Option<u64>) {
        let Some(session) = &self.session else { return };
        let (window, bytes_max) = (session.window, session.bytes_max);
        let least_us = u64::from(session.target_duration_s) * 1_000_000 * LISTED_TARGETS;
        self.held_mut(track).close(gap_us, window, least_us);
        // Each track may take what the other leaves.
        while self.video.bytes() + self.audio.bytes() > bytes_max {
            let larger = if self.video.bytes() >= self.audio.bytes() { &mut self.video } else { &mut self.audio };
            if !larger.drop_oldest() {
                break;
            }
        }
    }

    fn held(&self, track: Track) -> &Held {
        match track {
            Track::Video => &self.video,
            Track::Audio => &self.audio,
        }
    }

    fn held_mut(&mut self, track: Track) -> &mut Held {
        match track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        }
    }

    /// The name of its session, once it has one.
    pub fn session(&self) -> Option<&str> {
        self.session.as_ref().map(|session| session.name.as_str())
    }

    /// Of a rendition: its source.
    pub fn guide(&self) -> Option<&Guide> {
        self.session.as_ref()?.guide.as_ref()
    }

    /// Whether it is a rendition's, and its source's session has this name.
    pub fn is_guided_by(&self, session: &str) -> bool {
        self.guide().is_some_and(|guide| guide.session == session)
    }

    /// What renditions of this stream are cut by, once it has a session.
    pub fn as_guide(&self) -> Option<Guide> {
        let session = self.session.as_ref()?.name.clone();
        Some(Guide { session, picture: self.picture() })
    }

    /// `EXT-X-TARGETDURATION`, seconds, once it is known.
    pub fn target_duration_s(&self) -> Option<u32> {
        self.session.as_ref().map(|session| session.target_duration_s)
    }

    /// Its session, once it has one.
    pub(crate) fn current_session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }

    /// The oldest segment of a track that can be fetched.
    pub(crate) fn oldest_msn(&self, track: Track) -> Option<u64> {
        self.held(track).oldest_msn()
    }

    /// A segment, whole or not.
    pub(crate) fn segment(&self, track: Track, msn: u64) -> Option<SegmentView<'_>> {
        let held::Segment { opened, parts, closed, gap_us, .. } = self.held(track).segment(msn)?;
        Some(SegmentView { opened, parts, closed: *closed, gap_us: *gap_us })
    }

    /// A header that segments held need.
    pub(crate) fn header(&self, track: Track, number: u32) -> Option<&Arc<Header>> {
        self.held(track).header_of(number)
    }

    /// A segment that is whole, or a gap.
    pub(crate) fn closed(&self, track: Track, msn: u64) -> Option<ClosedSegment> {
        let held = self.held(track);
        let segment = held.segment(msn).filter(|segment| segment.closed)?;
        Some(ClosedSegment {
            track,
            opened: segment.opened,
            header: held.header_of(segment.opened.header).cloned(),
            duration_us: segment.duration_us(),
            parts: segment.parts.iter().map(|part| part.bytes.clone()).collect(),
        })
    }

    /// The media sequence number behind all of its segments; 0 where there is none.
    pub fn next_msn(&self) -> u64 {
        let last = [&self.video, &self.audio].into_iter().filter_map(Held::last);
        last.map(|segment| segment.opened.msn + 1).max().unwrap_or(0)
    }

    /// Whether nothing more comes.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.video.bytes() + self.audio.bytes()
    }

    /// How long something stays fetchable that was in a playlist, seconds (RFC 8216bis 6.2.2).
    pub fn linger_s(&self) -> u64 {
        let listed = |session: &Session| (session.window as u64).max(LISTED_TARGETS + 1);
        self.session.as_ref().map_or(0, |session| u64::from(session.target_duration_s) * (listed(session) + 1))
    }

    /// Whether a playlist of that track can be shown to somebody who asks for none in particular.
    fn is_shown(&self, track: Track) -> bool {
        let held = self.held(track);
        held.segments().any(|segment| segment.closed) && held.has_media()
            || held.open_us() >= FIRST_SHOWN_US
            || self.ended && held.has_media()
    }

    /// The playlist of a track, as the directives want it.
    pub fn playlist(&mut self, track: Track, directives: &Directives) -> Answer<Playlist> {
        self.playlist_beside(track, directives, |_| Vec::new())
    }

    fn playlist_beside(
        &mut self,
        track: Track,
        directives: &Directives,
        beside: impl FnOnce(&Self) -> Vec<Beside>,
    ) -> Answer<Playlist> {
        let by_number = match self.is_due(track, directives) {
            Answer::Ready(by_number) => by_number,
            Answer::Wait => return Answer::Wait,
            Answer::Refused(refusal) => return Answer::Refused(refusal),
        };
        let Some(session) = self.session.clone() else { return Answer::Wait };
        let skip = directives.skip && !self.ended;
        let beside = beside(self);
        Answer::Ready(Playlist { text: self.text(&session, track, skip, beside), by_number, past: None })
    }

    /// Whether the playlist of a track has what the directives want; and whether they want it by number.
    fn is_due(&self, track: Track, directives: &Directives) -> Answer<bool> {
        if self.session.is_none() {
            return Answer::Wait;
        }
        if self.held(track).parts.is_none() {
            // It may come yet, unless the other track has shown for a while that it does not.
            let other = if track == Track::Video { Track::Audio } else { Track::Video };
            let alone = self.held(track).is_unknown() && self.is_shown(other);
            return if alone || self.ended { Answer::Refused(Refusal::NotFound) } else { Answer::Wait };
        }
        let Some(until) = directives.until.filter(|_| !self.ended) else {
            return if self.is_shown(track) { Answer::Ready(false) } else { Answer::Wait };
        };
        // What begins some seconds behind its source comes up to it.
        let ahead_max = if self.guide().is_some() { GUIDED_AHEAD_MAX } else { AHEAD_MAX };
        match self.held(track).reached(until, ahead_max) {
            Reached::Yes => Answer::Ready(true),
            Reached::NotYet => Answer::Wait,
            Reached::FarAhead => Answer::Refused(Refusal::FarAhead),
        }
    }

    /// The same for a request that came at `asked_at` and is looked at `now`: who asks late for the last but one part of the video's open segment
    /// gets it with the last one. The playlists of `beside`, which is asked once this one is there, are reported in it.
    pub fn playlist_at(
        &mut self,
        track: Track,
        directives: &Directives,
        beside: impl FnOnce(&Self) -> Vec<Beside>,
        (asked_at, now): (Time, Time),
    ) -> Answer<Playlist> {
        if self.waits_for_pair(track, directives, asked_at, now) {
            return Answer::Wait;
        }
        self.playlist_beside(track, directives, beside)
    }

    fn waits_for_pair(&self, track: Track, directives: &Directives, asked_at: Time, now: Time) -> bool {
        let in_pairs = track == Track::Video && !self.ended && now < asked_at + self.pair_wait();
        let waits = |until| in_pairs && self.video.lacks_second_of_pair(until, asked_at);
        directives.until.is_some_and(waits)
    }

    /// So long after it came, a request no longer waits for a second part.
    pub fn pair_wait(&self) -> Duration {
        let part_ms = self.video.parts.map_or(0, |parts| parts.target_ms);
        Duration::from_millis(u64::from(part_ms) * PAIR_WAIT_PERCENT / 100)
    }

    /// The number of the part that the playlists announce, if that is the file of this name.
    pub fn awaited(&self, session: &str, track: Track, name: &str) -> Option<u64> {
        let Some(Name::Part(number)) = Name::parse(name) else { return None };
        (self.session() == Some(session) && number == self.held(track).next_part && !self.ended).then_some(number)
    }

    /// A part by its number, and when its last frame arrived.
    pub fn part(&self, track: Track, number: u64) -> Option<(Bytes, Time)> {
        self.held(track).numbered_part(number).map(|part| (part.bytes.clone(), part.arrived))
    }

    /// A file of that session by its path below the stream's URL.
    pub fn media(&self, session: &str, track: Track, name: &str) -> Answer<Media> {
        match self.session() {
            // What there is has yet to be told to this shard.
            None => return Answer::Wait,
            Some(own) if own != session && self.is_guided_by(session) => return self.aligned(track, name),
            Some(own) if own != session => return Answer::Refused(Refusal::NotFound),
            Some(_) => {}
        }
        let held = self.held(track);
        let found = match Name::parse(name) {
            Some(Name::Header(number)) => held.header_bytes(number).map(|bytes| (vec![bytes], None)),
            Some(Name::Segment(msn)) if !self.ended && held.is_coming(msn) => return Answer::Wait,
            Some(Name::Segment(msn)) => held.segment_pieces(msn).map(|pieces| (pieces, None)),
            Some(Name::Part(number)) if number == held.next_part && !self.ended && !held.is_unknown() => {
                return Answer::Wait;
            }
            Some(Name::Part(number)) => {
                held.numbered_part(number).map(|part| (vec![part.bytes.clone()], Some(part.arrived)))
            }
            None => None,
        };
        found.map_or(Answer::Refused(Refusal::NotFound), |(pieces, arrived)| {
            Answer::Ready(Media { track, pieces, arrived })
        })
    }
}

/// Whether a playlist has what a request waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reached {
    Yes,
    NotYet,
    FarAhead,
}

impl Held {
    /// RFC 8216bis 6.2.5.2.
    fn reached(&self, until: Until, ahead_max: u64) -> Reached {
        let Until { mut msn, mut part } = until;
        let Some(last) = self.last() else { return Reached::NotYet };
        // The last segment of the playlist: an open one counts once it has a part.
        let newest =
            if last.parts.is_empty() && !last.closed { last.opened.msn.saturating_sub(1) } else { last.opened.msn };
        if msn > newest.saturating_add(ahead_max) {
            return Reached::FarAhead;
        }
        if let (Some(index), Some(segment)) = (part, self.segment(msn))
            && segment.closed
            && index >= segment.parts.len() as u64
        {
            (msn, part) = (msn + 1, Some(0));
        }
        let have = self.segment(msn).map_or(0, |segment| segment.parts.len() as u64);
        if ahead_max == AHEAD_MAX && part.is_some_and(|index| index > have + self.advance_parts_max()) {
            return Reached::FarAhead;
        }
        let reached = match (self.segment(msn), part) {
            (Some(segment), None) => segment.closed,
            (Some(segment), Some(index)) => index < have || segment.closed,
            // One that is no longer there was.
            (None, _) => msn <= newest,
        };
        if reached { Reached::Yes } else { Reached::NotYet }
    }

    /// How many parts ahead a player may ask for: three seconds' (RFC 8216bis 6.2.5.2, Advance Part Limit).
    fn advance_parts_max(&self) -> u64 {
        match self.parts.map(|parts| parts.target_ms) {
            Some(ms @ 1..1_000) => u64::from(3_000_u32.div_ceil(ms)),
            _ => 3,
        }
    }
}
