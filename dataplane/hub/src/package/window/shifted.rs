//! A window's playlists that reach back into a recording (time shift): the live ones, with the archive's chunks before their segments. Before it: the
//! window, and what the recorder says it has ([`Archive`]); after it: the engine, which puts the chunks between the two texts.
//!
//! Numbers, names, parts and hints are those of the live playlist. It slides, so it has no `EXT-X-PLAYLIST-TYPE`: of an `EVENT` nothing may go.
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use millstream_proto::hls::media::MediaPlaylist;
use millstream_proto::hls::request::Directives;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use super::held::{self, Held};
use super::text::{lines, skip_us};
use super::{Answer, Past, Playlist, Window};
use crate::package::archive::{Archive, ArchivedTrack, Chunk};
use crate::package::change::Session;
use crate::package::file_name::folder;

/// A track's playlist that reaches back.
const fn shifted_name(track: Track) -> &'static str {
    match track {
        Track::Video => "dvr-video.m3u8",
        Track::Audio => "dvr-audio.m3u8",
    }
}

/// What of a track a playlist lists.
struct Listed<'a> {
    chunks: &'a [Arc<Chunk>],
    /// Place of the first of them in the archive.
    first: usize,
    /// Of a chunk that is not whole, what the window no longer has.
    partial: Option<(&'a Chunk, u64)>,
    /// The window's own segments begin here.
    join: u64,
}

impl Window {
    /// The playlist over those of the tracks that reach back.
    pub fn shifted_multivariant(&self, settled: bool) -> Answer<Bytes> {
        self.multivariant_over(shifted_name, &[], settled)
    }

    /// Whether the archive reaches as far as this window, in every track that both have.
    pub fn follows(&self, archive: &Archive) -> bool {
        self.session() == Some(&archive.session)
            && [Track::Video, Track::Audio].into_iter().all(|track| match archive.track(track) {
                Some(of) => self.held(track).follows(of),
                None => true,
            })
    }

    /// Whether more than half of what the window has is newer than the archive: it is time for a newer one.
    pub fn outruns(&self, archive: &Archive) -> bool {
        let listed = |track| self.held(track).segments().next().map(|segment| segment.opened.msn);
        [Track::Video, Track::Audio].into_iter().any(|track| match archive.track(track) {
            Some(of) => listed(track).is_some_and(|first| of.end_msn() < first),
            None => self.held(track).has_media(),
        })
    }

    /// The playlist of a track that reaches back, for a request that came at `asked_at` and is looked at `now`.
    pub fn shifted(
        &mut self,
        track: Track,
        archive: &Archive,
        directives: &Directives,
        asked_at: Time,
        now: Time,
    ) -> Answer<Playlist> {
        if self.waits_for_pair(track, directives, asked_at, now) {
            return Answer::Wait;
        }
        let by_number = match self.is_due(track, directives) {
            Answer::Ready(by_number) => by_number,
            Answer::Wait => return Answer::Wait,
            Answer::Refused(refusal) => return Answer::Refused(refusal),
        };
        let Some(session) = self.session.clone() else { return Answer::Wait };
        let Some(of) = archive.track(track).filter(|_| session.name == archive.session) else { return Answer::Wait };
        let skips = directives.skip && !self.ended;
        let known = self.held(track).shifted.get(usize::from(skips)).and_then(Option::as_ref);
        if let Some((_, playlist)) = known.filter(|(version, _)| *version == archive.version) {
            return Answer::Ready(Playlist { by_number, ..playlist.clone() });
        }
        let Some(playlist) = self.render_shifted(&session, track, of, archive.reach_ms, skips) else {
            return Answer::Wait;
        };
        if let Some(place) = self.held_mut(track).shifted.get_mut(usize::from(skips)) {
            *place = Some((archive.version, playlist.clone()));
        }
        Answer::Ready(Playlist { by_number, ..playlist })
    }

    /// `None`: there is nothing to list yet, or the archive does not reach this far.
    fn render_shifted(
        &self,
        session: &Session,
        track: Track,
        of: &ArchivedTrack,
        reach_ms: u64,
        skips: bool,
    ) -> Option<Playlist> {
        let held = self.held(track);
        let Listed { chunks, first, partial, join } = held.listed(of, reach_ms)?;
        let own = held.segments_from(join);
        let header = partial.map(|(chunk, _)| chunk).or(chunks.last().map(|chunk| &**chunk)).map(|chunk| chunk.header);
        let (mut segments, own_skipped) = lines(session, track, own.clone(), header, skips);
        // The archive has no markers: what is listed is not to change when a segment goes there.
        for segment in &mut segments {
            segment.date_ranges.clear();
        }
        if chunks.is_empty() && partial.is_none() && !own.clone().any(|segment| segment.closed) {
            return None;
        }
        // A delta update leaves out what is old enough: whole chunks, and the window's own segments one by one.
        let own_us: u64 = own.clone().map(held::Segment::duration_us).sum();
        let mut left_us = skip_us(session).saturating_sub(own_us);
        let mut from = if skips { chunks.len() } else { 0 };
        let shows_partial = !skips || left_us > 0;
        while left_us > 0 && from > 0 {
            from -= 1;
            left_us = left_us.saturating_sub(chunks.get(from).map_or(0, |chunk| chunk.duration_us));
        }
        let shown = from..chunks.len();
        let before: u64 = chunks.iter().take(from).map(|chunk| chunk.segments).sum();
        let partial_skipped = partial.filter(|_| !shows_partial).map_or(0, |(_, count)| count);
        let skipped = before + partial_skipped + own_skipped as u64;
        let partial_lines = partial.filter(|_| shows_partial).map_or("", |(chunk, count)| chunk.prefix(count));
        let of_own = own.clone().next().map(|segment| segment.opened);
        let oldest = chunks.first().map(|chunk| &**chunk).or(partial.map(|(chunk, _)| chunk));
        let independent = chunks.iter().all(|chunk| chunk.independent)
            && partial.is_none_or(|(chunk, _)| chunk.independent)
            && own.clone().all(held::Segment::is_independent);
        let playlist = MediaPlaylist {
            independent_segments: independent,
            can_skip_until_ms: Some(skip_us(session) / 1_000),
            media_sequence: oldest.map_or(join, |chunk| chunk.first_msn),
            discontinuity_sequence: oldest
                .map(|chunk| chunk.discontinuities)
                .or(of_own.map(|first| first.discontinuities - u64::from(first.discontinuity)))
                .unwrap_or_default(),
            skipped: 0,
            segments: segments.into_iter().skip(own_skipped).collect(),
            reports: self.report(track.other(), shifted_name(track.other())).into_iter().collect(),
            ..self.frame(session, track)
        };
        let (mut begin, mut tail) = playlist.to_head_and_rest();
        if skipped > 0 {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(begin, "#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}");
        } else if let Some(chunk) = oldest.filter(|chunk| !chunk.begins_with_map) {
            let base = folder(&session.name, track);
            let _ = writeln!(begin, "#EXT-X-MAP:URI=\"{base}/init-{}.mp4\"", chunk.header);
        }
        tail.insert_str(0, partial_lines);
        let past = if shown.is_empty() {
            begin.push_str(&tail);
            None
        } else {
            Some(Past { track, chunks: first + shown.start..first + shown.end, tail: tail.into() })
        };
        Some(Playlist { text: begin.into(), by_number: false, past })
    }
}

impl Held {
    fn follows(&self, of: &ArchivedTrack) -> bool {
        self.oldest_msn().is_none_or(|oldest| oldest <= of.end_msn())
    }

    /// `None`: segments are missing between the archive and the window.
    fn listed<'a>(&self, of: &'a ArchivedTrack, reach_ms: u64) -> Option<Listed<'a>> {
        let (oldest, newest) = (self.oldest_msn()?, self.last()?);
        let edge_unix_ms = newest.opened.date_unix_ms + newest.duration_us() / 1_000;
        // What the live playlist lists has parts, which the archive has not.
        let listed = self.segments().next().map_or(oldest, |segment| segment.opened.msn);
        let whole = of.whole();
        let whole = whole.get(..whole.partition_point(|chunk| chunk.end_msn() <= listed)).unwrap_or_default();
        let border = whole.last().map_or(of.first_msn, |last| last.end_msn());
        let partial = of.chunks.get(whole.len()).filter(|_| oldest > border);
        if oldest > of.end_msn() {
            return None;
        }
        // Where time is the limit, the same on every shard, however old its archive is.
        let first = whole.partition_point(|chunk| chunk.end_unix_ms + reach_ms <= edge_unix_ms);
        Some(Listed {
            chunks: whole.get(first..).unwrap_or_default(),
            first,
            partial: partial.map(|chunk| (&**chunk, oldest - border)),
            // Of a recording that has just begun there is less than what the live playlist lists.
            join: border.max(oldest).min(listed),
        })
    }
}
