//! A recording's playlists as text: media playlists over byte ranges of objects, and the multivariant one. Before it: [`super::ledger`]; after it:
//! the store, and players.
use std::fmt::Write as _;

use millstream_proto::codec::Shape;
use millstream_proto::hls::multivariant::{Audio, Multivariant, Variant};
use millstream_proto::media::Track;
use millstream_proto::time::rfc3339;

use super::ledger::Ledger;
use super::rows::Segment;
use crate::name::{TRACKS, init_path, object_path, place, playlist_path, track_name};

/// Bytes of a segment's lines, about.
const SEGMENT_BYTES: usize = 72;

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
        let of = self.track(track);
        let mut out = String::with_capacity(256 + of.rows.len() * SEGMENT_BYTES);
        // Writing to a string cannot fail.
        let _ = self.write_media(&mut out, track, reach, is_final);
        out
    }

    fn write_media(&self, out: &mut String, track: Track, reach: Reach, is_final: bool) -> std::fmt::Result {
        // EXT-X-MAP needs 6.
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:6")?;
        // A promise that a list which grows could not take back.
        if is_final && self.reached(track, reach).all(|segment| segment.independent || segment.object.is_none()) {
            writeln!(out, "#EXT-X-INDEPENDENT-SEGMENTS")?;
        }
        writeln!(out, "#EXT-X-TARGETDURATION:{}", self.head().target_duration_s)?;
        writeln!(out, "#EXT-X-PLAYLIST-TYPE:{}", if is_final { "VOD" } else { "EVENT" })?;
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:0")?;
        let (mut run, mut init) = (None, 0);
        for (at, segment) in self.reached(track, reach).enumerate() {
            match run {
                // A track that begins late counts as the other one does.
                None if segment.run > 0 => writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", segment.run)?,
                None => {}
                // It may have had nothing in a run between.
                Some(before) => (before..segment.run).try_for_each(|_| writeln!(out, "#EXT-X-DISCONTINUITY"))?,
            }
            let new_run = run.replace(segment.run) != Some(segment.run);
            if segment.object.is_some() && (init != segment.init || new_run) {
                init = segment.init;
                writeln!(out, "#EXT-X-MAP:URI=\"{}\"", init_path(track, init))?;
            }
            if let Some(date) = segment.date_unix_ms {
                writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", rfc3339(date))?;
            }
            let (s, ms) = (segment.duration_ms / 1_000, segment.duration_ms % 1_000);
            match segment.object {
                Some(object) => {
                    writeln!(out, "#EXTINF:{s}.{ms:03},\n#EXT-X-BYTERANGE:{}@{}", segment.bytes, segment.offset)?;
                    writeln!(out, "{}", object_path(track, object))?;
                }
                // There is nothing to fetch under that name.
                None => writeln!(out, "#EXT-X-GAP\n#EXTINF:{s}.{ms:03},\n{}/gap-{at}.mp4", track_name(track))?,
            }
        }
        if is_final {
            writeln!(out, "#EXT-X-ENDLIST")?;
        }
        Ok(())
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
        let pictures = shapes(Track::Video).filter_map(|shape| match shape {
            Shape::Video { width, height } => Some((width, height)),
            Shape::Audio { .. } => None,
        });
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
        Some(Multivariant { main: variant, audio }.to_text())
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
