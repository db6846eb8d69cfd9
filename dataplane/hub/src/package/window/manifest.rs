//! A window's DASH manifest: the same segments, as a `SegmentTimeline`, with a period for each run without discontinuity.
use bytes::Bytes;
use millstream_proto::codec::Shape;
use millstream_proto::dash::mpd::{self, Mpd, Period, Representation, SwitchingSet};
use millstream_proto::media::Track;

use super::beside::is_decodable;
use super::held::{Held, Segment};
use super::offer::Offer;
use super::{Answer, GUIDED_AHEAD_MAX, Media, Refusal, Window, playlist_name};
use crate::config::Rendition;
use crate::package::change::Session;
use crate::package::file_name::{Name, directory, folder};

/// Players stay this many target durations behind the newest segment: one for the segment that is being made, one for the way.
const DELAY_TARGETS: u64 = 2;
/// A manifest takes so long to be read and acted on.
const ACTED_ON_MS: u64 = 1_000;
/// Where the server's time is, seen from the manifest.
const TIME_URL: &str = "../time";

impl Window {
    /// The longest time behind the newest frame that the first segment begins that a player of a new manifest asks for, milliseconds. `None` before there
    /// can be one.
    pub fn asked_for_behind_ms(&self) -> Option<u64> {
        let target_ms = u64::from(self.target_duration_s()?) * 1_000;
        // The place where it begins to play may be at the end of its segment.
        Some(target_ms * (DELAY_TARGETS + 1) + ACTED_ON_MS)
    }

    /// The manifest; where it has to be made, as of that moment in Unix milliseconds. `settled`: no more tracks are waited for.
    pub fn manifest(&mut self, unix_ms: u64, settled: bool) -> Answer<Bytes> {
        self.manifest_with(&[], unix_ms, settled)
    }

    /// The same with renditions, whose segments are below this one's path: also those that nobody has asked for yet.
    pub fn manifest_with(&mut self, renditions: &[Rendition], unix_ms: u64, settled: bool) -> Answer<Bytes> {
        let Some(session) = self.session.clone() else { return Answer::Wait };
        let known = |track| !self.held(track).is_unknown();
        let whole = |track| self.held(track).segments().any(|segment| segment.closed);
        // Players do not notice a track that is added later: one that has begun is waited for to its first whole segment.
        let awaited = |track| if settled { self.held(track).has_media() } else { known(track) };
        let missing = [Track::Video, Track::Audio].into_iter().any(|track| awaited(track) && !whole(track));
        if !(whole(Track::Video) || whole(Track::Audio)) || missing && !self.ended {
            return if self.ended { Answer::Refused(Refusal::NotFound) } else { Answer::Wait };
        }
        let own = usize::from(!renditions.is_empty());
        if let Some((of, text)) = self.manifests.get(own).and_then(Option::as_ref)
            && **of == *renditions
        {
            return Answer::Ready(text.clone());
        }
        let text = Bytes::from(self.render_manifest(&session, renditions, unix_ms).to_text());
        if let Some(place) = self.manifests.get_mut(own) {
            *place = Some((renditions.into(), text.clone()));
        }
        Answer::Ready(text)
    }

    fn render_manifest(&self, session: &Session, renditions: &[Rendition], unix_ms: u64) -> Mpd<'_> {
        let target_ms = u64::from(session.target_duration_s) * 1_000;
        let whole = [&self.video, &self.audio].into_iter().flat_map(Held::segments).filter(|segment| segment.closed);
        let longest_us = whole.map(Segment::duration_us);
        let end_us = [&self.video, &self.audio]
            .into_iter()
            .filter_map(|held| held.segments().rfind(|segment| segment.closed))
            .map(|segment| segment.opened.start_us + segment.duration_us())
            .max();
        Mpd {
            availability_start_unix_ms: session.zero_unix_ms,
            publish_unix_ms: unix_ms,
            time_shift_ms: target_ms * session.window as u64,
            segment_max_ms: longest_us.max().unwrap_or(0).div_ceil(1_000),
            update_ms: target_ms / 2,
            delay_ms: target_ms * DELAY_TARGETS,
            time_url: TIME_URL,
            periods: self.periods(session, renditions),
            ended_after_ms: self.ended.then(|| end_us.unwrap_or(0) / 1_000),
        }
    }

    fn periods(&self, session: &Session, renditions: &[Rendition]) -> Vec<Period> {
        let mut periods: Vec<Period> = Vec::new();
        let closed = |track| self.held(track).segments().filter(|segment| segment.closed);
        // A run is where its dates say: an encoder's clock is not the server's, and each run is set right anew.
        let zero_unix_ms = i64::try_from(session.zero_unix_ms).unwrap_or(i64::MAX);
        let mut runs: Vec<(u64, u64)> = [Track::Video, Track::Audio]
            .into_iter()
            .flat_map(closed)
            .map(|segment| {
                let start_ms = segment.opened.run_start_ms as i64 + segment.opened.run_zero_unix_ms - zero_unix_ms;
                (segment.opened.discontinuities, u64::try_from(start_ms).unwrap_or(0))
            })
            .collect();
        runs.sort_unstable();
        runs.dedup_by_key(|run| run.0);
        for (run, start_ms) in runs {
            let tracks = [Track::Video, Track::Audio].into_iter().filter_map(|track| self.track(session, track, run));
            let mut tracks: Vec<_> = tracks.collect();
            let video = tracks.iter().position(|track| track.video);
            if let Some(at) = video {
                self.add_renditions(session, renditions, run, (&mut tracks, at));
            }
            if !tracks.is_empty() {
                periods.push(Period { id: run, start_ms, tracks, events: self.events(run) });
            }
        }
        periods
    }

    /// A track in one run.
    fn track(&self, session: &Session, track: Track, run: u64) -> Option<mpd::Track> {
        let held = self.held(track);
        let segments: Vec<&Segment> =
            held.segments().filter(|segment| segment.closed && segment.opened.discontinuities == run).collect();
        let first = segments.first()?.opened;
        let header = held.header_of(first.header)?;
        let timescale = u64::from(header.timescale);
        let (resolution, rate_hz) = match header.summary.shape {
            Some(Shape::Video { width, height }) => (Some((width, height)), None),
            Some(Shape::Audio { rate_hz, .. }) => (None, Some(rate_hz)),
            None => (None, None),
        };
        let starts = segments.iter().skip(1).map(|segment| Some(segment.opened.start)).chain([None]);
        let timeline = segments.iter().zip(starts).map(|(segment, next)| {
            let own = segment.units().unwrap_or_else(|| segment.duration_us() * timescale / 1_000_000);
            // Up to where the next one begins, unless there is a hole between them.
            let length = next
                .map(|next| next.saturating_sub(segment.opened.start))
                .filter(|length| length.abs_diff(own) < timescale / 10);
            (segment.opened.start, length.unwrap_or(own))
        });
        let base = folder(&session.name, track);
        Some(mpd::Track {
            video: track == Track::Video,
            of: None,
            representations: vec![Representation {
                id: directory(track).to_owned(),
                codecs: header.summary.codec.clone(),
                bandwidth: held.rates().0.max(1),
                resolution,
                rate_hz,
                initialization: format!("{base}/{}", Name::Header(first.header.into())),
                media: format!("{base}/$Number$.m4s"),
            }],
            timescale: header.timescale,
            offset: first.run_start_ms * timescale / 1_000,
            first_number: first.msn,
            segments: timeline.collect(),
        })
    }

    /// A file of a rendition by its source's session, as [`Self::add_renditions`] names it. What the rendition has yet to come to is waited for.
    pub(super) fn aligned(&self, track: Track, name: &str) -> Answer<Media> {
        let held = self.held(track);
        let newest = held.last().map(|segment| segment.opened);
        let (found, is_ahead) = match Name::parse(name) {
            Some(Name::Segment(msn)) => {
                let ahead = newest.map_or(1, |newest| msn.saturating_sub(newest.msn));
                let is_open = held.segment(msn).is_some_and(|segment| !segment.closed);
                (held.segment_pieces(msn), is_open || (1..=GUIDED_AHEAD_MAX).contains(&ahead))
            }
            Some(Name::Header(run)) => {
                let of_run = held.segments_from(0).rfind(|segment| segment.opened.discontinuities == run);
                let header = of_run.and_then(|segment| held.header_bytes(segment.opened.header.into()));
                (header.map(|bytes| vec![bytes]), newest.is_none_or(|newest| run > newest.discontinuities))
            }
            Some(Name::Part(_)) | None => (None, false),
        };
        match found {
            Some(pieces) => Answer::Ready(Media { track, pieces, arrived: None }),
            None if is_ahead && !self.ended => Answer::Wait,
            None => Answer::Refused(Refusal::NotFound),
        }
    }

    /// Renditions of a run's picture. Their files are named by the source's session, and their headers by the run: nobody may have asked for them, so
    /// that they have no session of their own yet. See [`Self::aligned`]. Those in another coding than the source's are a set of their own: players
    /// switch within one, and not all of them to another coding.
    fn add_renditions(
        &self,
        session: &Session,
        renditions: &[Rendition],
        run: u64,
        (tracks, video): (&mut Vec<mpd::Track>, usize),
    ) {
        let header = self.held(Track::Video).segments().rfind(|segment| segment.opened.discontinuities == run);
        let header = header.and_then(|segment| self.header(Track::Video, segment.opened.header));
        let Some(summary) = header.map(|header| &header.summary).filter(|summary| is_decodable(summary)) else {
            return;
        };
        let Some(size) = summary.shape.and_then(Shape::picture) else { return };
        let offers = renditions.iter().rev().filter_map(|of| Offer::of(of, size, playlist_name));
        let base = folder(&session.name, Track::Video);
        let offered: Vec<_> = offers.map(|offer| offer.representation(&base, run)).collect();
        let Some(track) = tracks.get_mut(video) else { return };
        // As in the multivariant playlist: the source's picture has no watermark.
        if renditions.iter().any(|rendition| rendition.marked) && !offered.is_empty() {
            track.representations.clear();
        }
        let mut sets: Vec<mpd::Track> = Vec::new();
        for representation in std::mem::take(&mut track.representations).into_iter().chain(offered) {
            let own = family(&representation.codecs).to_owned();
            match sets.iter_mut().find(|set| set.representations.first().is_some_and(|of| family(&of.codecs) == own)) {
                Some(set) => set.representations.push(representation),
                None => sets.push(mpd::Track { representations: vec![representation], ..track.clone() }),
            }
        }
        let count = sets.len();
        if count > 1 {
            for (number, set) in sets.iter_mut().enumerate() {
                set.of = Some(SwitchingSet { number, count });
            }
        }
        tracks.splice(video..=video, sets);
    }
}

/// The coding that RFC 6381's name of it begins with.
fn family(codecs: &str) -> &str {
    codecs.split('.').next().unwrap_or_default()
}
