//! A window's playlists as text: rendered when first asked for after a change, and shared by all who asked.
use std::borrow::Cow;

use bytes::Bytes;
use millstream_proto::codec::Shape;
use millstream_proto::hls::media::{MediaPlaylist, Part, Report, Segment};
use millstream_proto::hls::multivariant::{Audio, Multivariant, Variant};
use millstream_proto::media::Track;

use super::held::{self, Held};
use super::{Answer, Beside, Position, Refusal, Window, playlist_name};
use crate::config::Rendition;
use crate::package::change::Session;
use crate::package::file_name::folder;

/// Parts older than this many target durations are not listed (RFC 8216bis 4.4.4.9: they should not be).
const PARTS_TARGETS: u64 = 3;
/// Delta updates reach back this many target durations (RFC 8216bis 4.4.3.8: at least six).
const SKIP_TARGETS: u64 = 6;
/// What is said of the rate of a stream that has no segment yet, bits per second.
const BANDWIDTH_UNKNOWN: u64 = 1_000_000;
/// Frame rates that encoders are set to; measured ones are some thousandths off.
const FRAME_RATES: [f64; 12] =
    [10.0, 12.5, 15.0, 20.0, 24_000.0 / 1_001.0, 24.0, 25.0, 30_000.0 / 1_001.0, 30.0, 50.0, 60_000.0 / 1_001.0, 60.0];

impl Window {
    /// The playlist of a track; `skip` leaves out what a player that knows an older one has.
    pub(super) fn text(&mut self, session: &Session, track: Track, skip: bool, beside: Vec<Beside>) -> Bytes {
        let skips = skip && can_skip(session);
        // A rendition's own sound is in its own multivariant playlist alone.
        let is_alone = track == Track::Audio && self.guide().is_some();
        let beside = if is_alone { Vec::new() } else { beside };
        if let Some((of, text)) = self.held(track).texts.get(usize::from(skips)).and_then(Option::as_ref)
            && *of == beside
        {
            return text.clone();
        }
        let mut playlist = self.render(session, track, skips);
        self.report_beside(&beside, &mut playlist.reports);
        let text = Bytes::from(playlist.to_text());
        if let Some(place) = self.held_mut(track).texts.get_mut(usize::from(skips)) {
            *place = Some((beside, text.clone()));
        }
        text
    }

    fn render(&self, session: &Session, track: Track, skips: bool) -> MediaPlaylist<'static> {
        let held = self.held(track);
        let (segments, skipped) = lines(session, track, held.segments(), None, skips);
        let first = held.segments().next().map(|segment| segment.opened);
        MediaPlaylist {
            independent_segments: held.segments().all(held::Segment::is_independent),
            can_skip_until_ms: can_skip(session).then_some(skip_us(session) / 1_000),
            media_sequence: first.map_or(0, |first| first.msn),
            // Those before the first segment: its own stands in the playlist.
            discontinuity_sequence: first.map_or(0, |first| first.discontinuities - u64::from(first.discontinuity)),
            skipped,
            segments,
            reports: self.report(track.other(), playlist_name(track.other())).into_iter().collect(),
            ..self.frame(session, track)
        }
    }

    /// A playlist without segments, with what stands around them.
    pub(super) fn frame(&self, session: &Session, track: Track) -> MediaPlaylist<'static> {
        let held = self.held(track);
        let hint = || format!("{}/p{}.m4s", folder(&session.name, track), held.next_part);
        MediaPlaylist {
            target_duration_s: session.target_duration_s,
            part_target_ms: held.parts.map_or(0, |parts| parts.target_ms),
            part_hold_back_ms: held.parts.map_or(0, |parts| parts.hold_back_ms),
            independent_segments: false,
            can_skip_until_ms: None,
            media_sequence: 0,
            discontinuity_sequence: 0,
            skipped: 0,
            segments: Vec::new(),
            preload_hint: (!self.ended).then(hint),
            reports: Vec::new(),
            ended: self.ended,
        }
    }

    pub(super) fn report(&self, track: Track, uri: &'static str) -> Option<Report<'static>> {
        let Position { msn, part } = self.position(track)?;
        Some(Report { uri: uri.into(), last_msn: msn, last_part: part })
    }

    /// The playlist over those of the tracks. `settled`: no more tracks are waited for.
    pub fn multivariant(&self, settled: bool) -> Answer<Bytes> {
        self.multivariant_over(playlist_name, &[], settled)
    }

    /// The same with renditions, whose playlists are below this one's path: also those that nobody has asked for yet.
    pub fn multivariant_with(&self, renditions: &[Rendition], settled: bool) -> Answer<Bytes> {
        self.multivariant_over(playlist_name, renditions, settled)
    }

    /// The same over playlists of these names.
    pub(super) fn multivariant_over(
        &self,
        name: fn(Track) -> &'static str,
        renditions: &[Rendition],
        settled: bool,
    ) -> Answer<Bytes> {
        let shown = self.is_shown(Track::Video) || self.is_shown(Track::Audio);
        // Players read this once: a track that has begun is in it, also where its first segment is not whole yet.
        let begun = |track| self.held(track).has_media();
        let known = |track| !self.held(track).is_unknown();
        let (video, audio) = (begun(Track::Video), begun(Track::Audio));
        let missing = known(Track::Video) && !video || known(Track::Audio) && !audio;
        if !shown || missing && !settled {
            return if self.ended { Answer::Refused(Refusal::NotFound) } else { Answer::Wait };
        }
        let header = |track| self.held(track).newest_header().filter(|_| begun(track));
        let codecs =
            [Track::Video, Track::Audio].into_iter().filter_map(header).map(|header| header.summary.codec.as_str());
        let rates = [&self.video, &self.audio].map(Held::rates);
        let resolution = self.picture().filter(|_| video);
        let channels = header(Track::Audio).and_then(|header| match header.summary.shape {
            Some(Shape::Audio { channels, .. }) => Some(channels),
            _ => None,
        });
        let main = Variant {
            uri: name(if video { Track::Video } else { Track::Audio }),
            bandwidth: rates.iter().map(|rates| rates.0).sum::<u64>().max(1),
            average_bandwidth: rates.iter().map(|rates| rates.1).sum::<u64>().max(1),
            codecs: codecs.collect(),
            resolution,
            frame_rate: self.video.frame_rate().filter(|_| video),
        };
        let sound = header(Track::Audio).map(|header| header.summary.codec.as_str());
        let offers = if video { self.offers(renditions, name) } else { Vec::new() };
        let mut also: Vec<_> = offers.iter().map(|offer| offer.variant(sound, rates[1], main.frame_rate)).collect();
        // With a watermark the source's picture, which has none, is not offered beside those that have it.
        let is_marked = renditions.iter().any(|rendition| rendition.marked) && !also.is_empty();
        let main = if is_marked { also.remove(0) } else { main };
        let audio = (video && audio).then_some(Audio { uri: name(Track::Audio), channels });
        Answer::Ready(Multivariant { main, also, audio }.to_text().into())
    }
}

/// Segments as playlists have them, behind one with that header, and how many of them a delta update leaves out.
pub(super) fn lines<'a>(
    session: &Session,
    track: Track,
    segments: impl Iterator<Item = &'a held::Segment> + Clone,
    mut header: Option<u32>,
    skips: bool,
) -> (Vec<Segment<'static>>, usize) {
    let (target_us, skip_us) = (u64::from(session.target_duration_s) * 1_000_000, skip_us(session));
    let base = folder(&session.name, track);
    let total_us: u64 = segments.clone().map(held::Segment::duration_us).sum();
    let (mut lines, mut skipped, mut passed_us) = (Vec::new(), 0, 0);
    for segment in segments {
        let opened = &segment.opened;
        let first_part_us = segment.parts.first().map_or(0, |part| part.duration_us);
        // Parts of a segment are all listed or none is: players count them from its beginning.
        let listed = !segment.closed
            || segment.gap_us.is_none() && total_us - passed_us - first_part_us <= target_us * PARTS_TARGETS;
        passed_us += segment.duration_us();
        if segment.parts.is_empty() && !segment.closed {
            continue;
        }
        if skips && total_us - passed_us >= skip_us {
            skipped += 1;
        }
        let map = (!segment.is_gap() && header != Some(opened.header)).then(|| {
            header = Some(opened.header);
            format!("{base}/init-{}.mp4", opened.header)
        });
        let parts = segment.parts.iter().filter(|_| listed).map(|part| Part {
            duration_us: part.duration_us,
            uri: format!("{base}/p{}.m4s", part.number),
            independent: part.independent,
        });
        let whole = segment.closed.then(|| (segment.duration_us(), Cow::Owned(format!("{base}/{}.m4s", opened.msn))));
        lines.push(Segment {
            discontinuity: opened.discontinuity,
            map,
            date_unix_ms: opened.date_unix_ms,
            gap: segment.is_gap(),
            parts: parts.collect(),
            whole,
            date_ranges: segment.markers.iter().map(|(before, marker)| (*before, marker.date_range())).collect(),
        });
    }
    (lines, skipped)
}

/// How far from the end delta updates leave nothing out, microseconds.
pub(super) fn skip_us(session: &Session) -> u64 {
    u64::from(session.target_duration_s) * 1_000_000 * SKIP_TARGETS
}

/// Delta updates are worth their text only for long playlists.
fn can_skip(session: &Session) -> bool {
    session.window as u64 > SKIP_TARGETS
}

impl Held {
    /// Highest and mean rate of the playlist's segments, bits per second.
    pub(super) fn rates(&self) -> (u64, u64) {
        let rate = |bytes: usize, us: u64| (bytes as u64).saturating_mul(8_000_000).checked_div(us).unwrap_or(0);
        let whole: Vec<_> = self.segments().filter(|segment| segment.closed && segment.gap_us.is_none()).collect();
        let (bytes, us) = whole.iter().fold((0, 0), |(bytes, us), s| (bytes + s.bytes(), us + s.duration_us()));
        let open = self.last().filter(|_| whole.is_empty()).map(|segment| rate(segment.bytes(), segment.duration_us()));
        let mean = open.unwrap_or_else(|| rate(bytes, us));
        let highest = whole.iter().map(|segment| rate(segment.bytes(), segment.duration_us())).max().unwrap_or(mean);
        match (highest, mean) {
            (0, _) if !self.is_unknown() => (BANDWIDTH_UNKNOWN, BANDWIDTH_UNKNOWN),
            rates => rates,
        }
    }

    /// Frames per second of the playlist's parts.
    pub(super) fn frame_rate(&self) -> Option<f64> {
        let parts = self.segments().flat_map(|segment| &segment.parts);
        let (frames, us) =
            parts.fold((0, 0), |(frames, us), part| (frames + u64::from(part.frames), us + part.duration_us));
        frame_rate(frames, us)
    }
}

/// Frames per second of so many frames in so many microseconds: the rate that an encoder was presumably set to, or what was measured.
pub fn frame_rate(frames: u64, us: u64) -> Option<f64> {
    let measured = (us > 0).then(|| frames as f64 * 1e6 / us as f64)?;
    let off = |rate: &f64| (rate - measured).abs();
    let nearest = FRAME_RATES.into_iter().min_by(|a, b| off(a).total_cmp(&off(b)))?;
    Some(if off(&nearest) < nearest * 0.005 { nearest } else { measured })
}
