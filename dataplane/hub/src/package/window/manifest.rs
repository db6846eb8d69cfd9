//! A window's DASH manifest: the same segments, as a `SegmentTimeline`, with a period for each run without discontinuity.
use bytes::Bytes;
use millstream_proto::codec::Shape;
use millstream_proto::dash::mpd::{self, Mpd, Period};
use millstream_proto::media::Track;

use super::held::{Held, Segment};
use super::{Answer, Refusal, Window};
use crate::package::change::Session;
use crate::package::file_name::{directory, folder};

/// Players stay this many target durations behind the newest segment: one for the segment that is being made, one for the way.
const DELAY_TARGETS: u64 = 2;
/// Where the server's time is, seen from the manifest.
const TIME_URL: &str = "../time";

impl Window {
    /// The manifest; where it has to be made, as of that moment in Unix milliseconds. `settled`: no more tracks are waited for.
    pub fn manifest(&mut self, unix_ms: u64, settled: bool) -> Answer<Bytes> {
        let Some(session) = self.session.clone() else { return Answer::Wait };
        let known = |track| !self.held(track).is_unknown();
        let whole = |track| self.held(track).segments().any(|segment| segment.closed);
        // Players do not notice a track that is added later: one that has begun is waited for to its first whole segment.
        let awaited = |track| if settled { self.held(track).has_media() } else { known(track) };
        let missing = [Track::Video, Track::Audio].into_iter().any(|track| awaited(track) && !whole(track));
        if !(whole(Track::Video) || whole(Track::Audio)) || missing && !self.ended {
            return if self.ended { Answer::Refused(Refusal::NotFound) } else { Answer::Wait };
        }
        if let Some(text) = &self.manifest {
            return Answer::Ready(text.clone());
        }
        let text = Bytes::from(self.render_manifest(&session, unix_ms).to_text());
        self.manifest = Some(text.clone());
        Answer::Ready(text)
    }

    fn render_manifest(&self, session: &Session, unix_ms: u64) -> Mpd<'_> {
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
            periods: self.periods(session),
            ended_after_ms: self.ended.then(|| end_us.unwrap_or(0) / 1_000),
        }
    }

    fn periods(&self, session: &Session) -> Vec<Period> {
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
            let tracks: Vec<_> = tracks.collect();
            if !tracks.is_empty() {
                periods.push(Period { id: run, start_ms, tracks });
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
            id: directory(track),
            video: track == Track::Video,
            codecs: header.summary.codec.clone(),
            bandwidth: held.rates().0.max(1),
            resolution,
            rate_hz,
            timescale: header.timescale,
            offset: first.run_start_ms * timescale / 1_000,
            initialization: format!("{base}/init-{}.mp4", first.header),
            media: format!("{base}/$Number$.m4s"),
            first_number: first.msn,
            segments: timeline.collect(),
        })
    }
}
