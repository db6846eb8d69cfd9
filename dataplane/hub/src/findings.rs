//! What is wrong with what a publisher sends, as its operator should know it: what was repaired, and which tracks are left out of which
//! outputs. Kept by [`crate::stream`], one per publisher; the engine logs each finding once and shows all of them to who asks.
use std::time::Duration;

use millstream_proto::cmaf::init::{InitError, init, is_offered};
use millstream_proto::limits::LEFT_OUT_MAX;
use millstream_proto::media::{Codec, CodecConfig, LeftOut, Repair, Track, Unwanted};
use millstream_proto::output::{DASH, HLS};
use millstream_proto::time::Time;

/// Frames without a configuration are told of after this long: by then a key frame has brought one, if it has any.
const UNCONFIGURED_AFTER: Duration = Duration::from_secs(2);
/// Tracks that are told of: those that the intake tells of, and those that only some outputs have.
const DROPPED_MAX: usize = LEFT_OUT_MAX + 16;

/// The outputs that leave a track out which no output has.
const ALL: &[&str] = &["all"];
/// Those of a track that plays over HTTP-FLV and RTMP.
const CMAF: &[&str] = &[HLS.name, DASH.name];

/// Something that was repaired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repaired {
    /// What.
    pub repair: Repair,
    /// In which track.
    pub track: Track,
    /// How many frames and configurations.
    pub count: u64,
    /// Since when.
    pub since: Time,
}

/// A track that is not in every output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// Picture or audio.
    pub track: Track,
    /// What it is coded with, as people call it.
    pub codec: String,
    /// Which outputs leave it out: `hls`, `dash`, or `all`.
    pub outputs: &'static [&'static str],
    /// Why, and what to do.
    pub reason: String,
    /// It has been replaced by one that plays.
    over: bool,
}

impl Dropped {
    /// One that is left out of these outputs.
    pub fn new(track: Track, codec: &str, outputs: &'static [&'static str], reason: &str) -> Self {
        Self { track, codec: codec.to_owned(), outputs, reason: reason.to_owned(), over: false }
    }
}

/// A finding that is new.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// See [`Repaired`].
    Repaired(Repaired),
    /// See [`Dropped`].
    Dropped(Dropped),
}

/// What was found of one publisher.
#[derive(Debug, Default)]
pub struct Findings {
    repaired: Vec<Repaired>,
    dropped: Vec<Dropped>,
    /// The codecs of video and audio.
    codecs: [Option<Codec>; 2],
    /// Codec and first moment of frames that had no configuration, of video and audio.
    unconfigured: [Option<(Codec, Time)>; 2],
    news: Vec<News>,
}

impl Findings {
    /// What was repaired, in the order in which it was first.
    pub fn repaired(&self) -> &[Repaired] {
        &self.repaired
    }

    /// Which tracks are left out now.
    pub fn dropped(&self) -> impl Iterator<Item = &Dropped> {
        self.dropped.iter().filter(|dropped| !dropped.over)
    }

    /// What is to be logged: each finding once.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    pub(crate) fn repair(&mut self, track: Track, repair: Repair, now: Time) {
        let known = self.repaired.iter_mut().find(|known| (known.track, known.repair) == (track, repair));
        if let Some(known) = known {
            known.count += 1;
            return;
        }
        let first = Repaired { repair, track, count: 1, since: now };
        self.repaired.push(first);
        self.news.push(News::Repaired(first));
    }

    pub(crate) fn left_out(&mut self, found: LeftOut) {
        if found.what == Unwanted::Framing {
            // The next frame that can be used tells that it is over.
            self.codecs[found.track.index()] = None;
        }
        self.drop_track(Dropped::new(found.track, &found.codec(), ALL, found.reason()));
    }

    /// Frames of the track come, and nothing to decode them with.
    pub(crate) fn unconfigured(&mut self, track: Track, codec: Codec, now: Time) {
        if let Some(place) = self.unconfigured.get_mut(track.index()) {
            place.get_or_insert((codec, now));
        }
    }

    /// A configuration is in force.
    pub(crate) fn configured(&mut self, config: &CodecConfig) {
        self.plays(config.track);
        self.codecs[config.track.index()] = Some(config.codec);
        if let Err(error) = init(config) {
            let reason = match error {
                InitError::Record(_, why) => {
                    format!(
                        "its configuration cannot be written into an MP4 file: {why}. It plays over HTTP-FLV and RTMP"
                    )
                }
                _ => flv_only(config.track).to_owned(),
            };
            self.drop_track(Dropped::new(config.track, config.codec.name(), CMAF, &reason));
        }
    }

    /// A frame came. One of another codec than before, which no configuration came for, is of a codec that has none.
    #[inline]
    pub(crate) fn frame(&mut self, track: Track, codec: Codec) {
        let place = &mut self.codecs[track.index()];
        if *place != Some(codec) {
            *place = Some(codec);
            self.bare(track, codec);
        }
    }

    fn bare(&mut self, track: Track, codec: Codec) {
        self.plays(track);
        if !is_offered(codec) {
            self.drop_track(Dropped::new(track, codec.name(), CMAF, flv_only(track)));
        }
    }

    fn plays(&mut self, track: Track) {
        if let Some(place) = self.unconfigured.get_mut(track.index()) {
            *place = None;
        }
        for dropped in self.dropped.iter_mut().filter(|dropped| dropped.track == track) {
            // One beside the first of its kind is still left out.
            let is_of_packets = dropped.reason == LeftOut { track, what: Unwanted::Framing }.reason();
            dropped.over |= dropped.outputs == CMAF || dropped.reason == NO_CONFIGURATION || is_of_packets;
        }
    }

    /// When [`Findings::look`] has something to find.
    pub(crate) fn due(&self) -> Option<Time> {
        self.unconfigured.iter().flatten().map(|(_, since)| *since + UNCONFIGURED_AFTER).min()
    }

    /// Tells of what has waited for long enough.
    pub(crate) fn look(&mut self, now: Time) {
        for track in [Track::Video, Track::Audio] {
            let Some(place) = self.unconfigured.get_mut(track.index()) else { continue };
            if let Some((codec, _)) = place.take_if(|(_, since)| *since + UNCONFIGURED_AFTER <= now) {
                self.drop_track(Dropped::new(track, codec.name(), ALL, NO_CONFIGURATION));
            }
        }
    }

    fn drop_track(&mut self, dropped: Dropped) {
        if let Some(known) =
            self.dropped.iter_mut().find(|known| Dropped { over: false, ..(**known).clone() } == dropped)
        {
            known.over = false;
        } else if self.dropped.len() < DROPPED_MAX {
            self.news.push(News::Dropped(dropped.clone()));
            self.dropped.push(dropped);
        }
    }
}

const NO_CONFIGURATION: &str = "frames come without a usable sequence header, and no parameter sets come with the key frames: no player can \
     decode them. Restart the encoder, or have it write a sequence header (ffmpeg: -flags +global_header)";

const fn flv_only(track: Track) -> &'static str {
    match track {
        Track::Video => {
            "this codec plays over HTTP-FLV and RTMP only, where the player knows it; have the encoder send H.264, H.265 or AV1"
        }
        Track::Audio => {
            "this codec plays over HTTP-FLV and RTMP only, where the player knows it; have the encoder send AAC or Opus"
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn aac() -> CodecConfig {
        let body = Bytes::from_static(b"\xaf\0\x12\x10");
        CodecConfig { track: Track::Audio, codec: Codec::Aac, body, record_at: 2 }
    }

    fn dropped(findings: &Findings) -> Vec<(&str, &'static [&'static str])> {
        findings.dropped().map(|dropped| (dropped.codec.as_str(), dropped.outputs)).collect()
    }

    #[test]
    fn case_45_each_finding_is_news_once() {
        let mut findings = Findings::default();
        for ms in 0..100 {
            findings.left_out(LeftOut { track: Track::Audio, what: Unwanted::Number(7) });
            findings.frame(Track::Audio, Codec::Mp3);
            findings.repair(Track::Video, Repair::AnnexB, Time::from_millis(ms));
        }
        assert_eq!(findings.take_news().len(), 3);
        assert_eq!(findings.take_news(), []);
        assert_eq!(dropped(&findings), [("G.711 A-law", ALL), ("MP3", CMAF)]);
        let repaired = Repaired { repair: Repair::AnnexB, track: Track::Video, count: 100, since: Time::ZERO };
        assert_eq!(findings.repaired(), [repaired]);
        // The encoder changes to a codec that plays, and back.
        findings.configured(&aac());
        assert_eq!(dropped(&findings), [("G.711 A-law", ALL)]);
        findings.frame(Track::Audio, Codec::Aac);
        assert_eq!(dropped(&findings), [("G.711 A-law", ALL)]);
        findings.frame(Track::Audio, Codec::Mp3);
        assert_eq!((dropped(&findings).len(), findings.take_news()), (2, Vec::new()));
    }

    #[test]
    fn case_45_there_is_an_end_to_what_is_told() {
        let mut findings = Findings::default();
        for number in 0..=255 {
            findings.left_out(LeftOut { track: Track::Video, what: Unwanted::Extra(number) });
        }
        assert_eq!((findings.take_news().len(), findings.dropped().count()), (DROPPED_MAX, DROPPED_MAX));
    }

    #[test]
    fn case_48_what_cannot_be_decoded_is_told_within_three_seconds() {
        let mut findings = Findings::default();
        assert_eq!(findings.due(), None);
        findings.unconfigured(Track::Audio, Codec::Aac, Time::from_millis(500));
        findings.unconfigured(Track::Video, Codec::Avc, Time::from_millis(1_000));
        assert_eq!(findings.due(), Some(Time::from_millis(2_500)));
        findings.configured(&aac());
        findings.look(Time::from_millis(2_999));
        assert_eq!((findings.due(), findings.dropped().count()), (Some(Time::from_millis(3_000)), 0));
        findings.look(Time::from_millis(3_000));
        assert_eq!((findings.due(), dropped(&findings)), (None, vec![("H.264", ALL)]));
        assert!(matches!(&findings.take_news()[..], [News::Dropped(dropped)] if dropped.track == Track::Video));
    }

    #[test]
    fn case_49_packets_that_nothing_can_be_made_of_are_told_of_until_one_plays() {
        let mut findings = Findings::default();
        let useless = LeftOut { track: Track::Audio, what: Unwanted::Framing };
        findings.configured(&aac());
        findings.frame(Track::Audio, Codec::Aac);
        findings.left_out(useless);
        assert_eq!(dropped(&findings), [("AAC in ADTS", ALL)]);
        findings.frame(Track::Audio, Codec::Aac);
        assert_eq!(dropped(&findings), []);
        findings.left_out(useless);
        assert_eq!(dropped(&findings).len(), 1, "again");
    }

    #[test]
    fn a_record_that_mp4_does_not_take() {
        let mut findings = Findings::default();
        let body = Bytes::from_static(b"\xaf\0\xb9\x90\0");
        findings.configured(&CodecConfig { body, ..aac() });
        assert_eq!(dropped(&findings), [("AAC", CMAF)]);
    }
}
