//! A recording's playlists: media playlists over byte ranges of objects, and the multivariant one. Before it: [`super::ledger`]; after it:
//! `proto::hls`, which writes them, then the store and players.
use millstream_proto::codec::Shape;
use millstream_proto::hls::multivariant::{Audio, Multivariant, Variant};
use millstream_proto::hls::vod::{VodHead, VodPlaylist, VodSegment};
use millstream_proto::media::Track;

use super::ledger::Ledger;
use super::rows::Segment;
use crate::name::{TRACKS, init_path, object_path, place, playlist_path};

/// How far a playlist reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Up to the end of these objects of video and audio: those in the store.
    Objects([u32; 2]),
    /// All whole segments: those in the spool as well.
    All,
}

impl Reach {
    fn has(self, track: Track, segment: &Segment) -> bool {
        match self {
            Self::Objects(up_to) => segment.object.is_none_or(|object| object <= up_to[place(track)]),
            Self::All => true,
        }
    }
}

impl Ledger {
    /// The segments of a track's playlist.
    fn reached(&self, track: Track, reach: Reach) -> impl Iterator<Item = Segment> {
        self.segments(track).take_while(move |segment| reach.has(track, segment))
    }

    /// Whether there is something to play in it.
    pub fn plays(&self, track: Track, reach: Reach) -> bool {
        self.reached(track, reach).any(|segment| segment.object.is_some())
    }

    /// A track's playlist: one that grows, or the final one where the recording has ended and all of it is reached.
    pub fn media_playlist(&self, track: Track, reach: Reach, is_final: bool) -> String {
        let reached = || self.reached(track, reach);
        // A track that begins late counts as the other one does.
        let mut run = reached().next().map_or(0, |first| first.run);
        let head = VodHead {
            target_duration_s: self.head().target_duration_s,
            is_final,
            independent_segments: is_final && reached().all(|segment| segment.independent || segment.object.is_none()),
            discontinuity_sequence: run,
        };
        let mut playlist = VodPlaylist::new(head, self.track(track).rows.len());
        let mut map_of = None;
        for (at, segment) in reached().enumerate() {
            // It may have had nothing in a run between.
            let discontinuities = segment.run.saturating_sub(run);
            run = segment.run;
            let map = segment.object.map(|_| (segment.run, segment.init)).filter(|of| map_of != Some(*of));
            map_of = map.or(map_of);
            let map = map.map(|(_, init)| init_path(track, init));
            // There is nothing to fetch under the name of a gap.
            let uri = match segment.object {
                Some(object) => object_path(track, object),
                None => format!("{}/gap-{at}.mp4", track.name()),
            };
            playlist.push(VodSegment {
                discontinuities,
                map: map.as_deref(),
                date_unix_ms: segment.date_unix_ms,
                duration_ms: segment.duration_ms,
                range: segment.object.map(|_| (u64::from(segment.bytes), segment.offset)),
                uri: &uri,
            });
        }
        playlist.finish()
    }

    /// The playlist over those of the tracks; `None` where nothing plays. `folder` is put before their names.
    pub fn multivariant(&self, reach: Reach, folder: &str) -> Option<String> {
        let there: Vec<Track> = TRACKS.into_iter().filter(|track| self.plays(*track, reach)).collect();
        let main = *there.first()?;
        let uri = format!("{folder}{}", playlist_path(main));
        let audio_uri = format!("{folder}{}", playlist_path(Track::Audio));
        let mut codecs: Vec<&str> = Vec::new();
        for init in there.iter().flat_map(|track| &self.track(*track).inits) {
            if !codecs.contains(&init.codec.as_str()) {
                codecs.push(&init.codec);
            }
        }
        let rates = there.iter().map(|track| self.rates(*track, reach));
        let (bandwidth, average_bandwidth) = rates.fold((0, 0), |sum, rate| (sum.0 + rate.0, sum.1 + rate.1));
        let shapes = |track| self.track(track).inits.iter().filter_map(|init| init.shape);
        let pictures = shapes(Track::Video).filter_map(Shape::picture);
        let channels = shapes(Track::Audio).filter_map(|shape| match shape {
            Shape::Audio { channels, .. } => Some(channels),
            Shape::Video { .. } => None,
        });
        let has_video = main == Track::Video;
        let variant = Variant {
            uri: &uri,
            bandwidth: bandwidth.max(1),
            average_bandwidth: average_bandwidth.max(1),
            codecs,
            resolution: pictures
                .max_by_key(|(width, height)| u64::from(*width) * u64::from(*height))
                .filter(|_| has_video),
            frame_rate: self.track(Track::Video).frame_rate().filter(|_| has_video),
        };
        let audio =
            (has_video && there.contains(&Track::Audio)).then(|| Audio { uri: &audio_uri, channels: channels.max() });
        Some(Multivariant { main: variant, also: Vec::new(), audio }.to_text())
    }

    /// Highest and mean rate of a track's segments, bits per second.
    fn rates(&self, track: Track, reach: Reach) -> (u64, u64) {
        let rate = |bytes: u64, ms: u64| bytes.saturating_mul(8_000).checked_div(ms).unwrap_or_default();
        let (mut highest, mut bytes, mut ms) = (0, 0, 0);
        for segment in self.reached(track, reach).filter(|segment| segment.object.is_some()) {
            highest = highest.max(rate(u64::from(segment.bytes), u64::from(segment.duration_ms)));
            bytes += u64::from(segment.bytes);
            ms += u64::from(segment.duration_ms);
        }
        (highest, rate(bytes, ms))
    }
}
