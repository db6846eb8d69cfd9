//! A stream with a packager and a window, driven by frames with their stamps; every playlist that could be asked for is checked.
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::hls::request::Directives;
use millstream_proto::media::{Codec, CodecConfig, Frame, MediaEvent, Track};
use millstream_proto::time::Time;
use mp4_atom::{Decode as _, Moof};

use super::rules::{Parsed, Rules};
use crate::config::{HlsConfig, StreamConfig};
use crate::fixture::StreamFixture;
use crate::package::change::{Change, Guide, Part};
use crate::package::packager::{Packager, Wall};
use crate::package::plans::SegmentPlans;
use crate::package::window::{Answer, Media, Window};

/// Unix milliseconds of the tests' clock's 0.
pub(super) const UNIX_MS: u64 = 1_795_531_265_000;
pub(super) const FIRST_MSN: u64 = 1_795_531_265;
pub(super) const AVCC: &[u8] = include_bytes!("../../../../proto/tests/data/avcc.bin");
const AV1C: &[u8] = include_bytes!("../../../../proto/tests/data/av1c.bin");

/// A configuration of H.264 or AAC; `number` makes it another one.
pub(super) fn config(track: Track, number: u8) -> MediaEvent {
    let (codec, head, mut record): (_, &[u8], _) = match track {
        Track::Video => (Codec::Avc, &[0x17, 0, 0, 0, 0], AVCC.to_vec()),
        Track::Audio => (Codec::Aac, &[0xAF, 0], vec![0x12, 0x10]),
    };
    match track {
        // The level, which nothing here looks at.
        Track::Video => record[3] = number,
        // An extension that says nothing.
        Track::Audio => record.extend([0x56, 0xE5, number]),
    }
    MediaEvent::Config(CodecConfig { track, codec, body: [head, &record].concat().into(), record_at: head.len() })
}

/// A configuration of AV1.
pub(super) fn av1_config() -> MediaEvent {
    let head = b"\x90av01";
    let body = [head, AV1C].concat().into();
    MediaEvent::Config(CodecConfig { track: Track::Video, codec: Codec::Av1, body, record_at: head.len() })
}

pub(super) fn frame(track: Track, keyframe: bool, dts_ms: i64, cts_ms: i32, data: &[u8]) -> MediaEvent {
    let (codec, head) = match track {
        Track::Video => {
            let [_, a, b, c] = cts_ms.to_be_bytes();
            (Codec::Avc, vec![if keyframe { 0x17 } else { 0x27 }, 1, a, b, c])
        }
        Track::Audio => (Codec::Aac, vec![0xAF, 1]),
    };
    let body = [&head, data].concat().into();
    MediaEvent::Frame(Frame { track, codec, dts_ms, cts_ms, keyframe, body, data_at: head.len() })
}

/// A plan of frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recording {
    pub(super) from_ms: i64,
    pub(super) for_ms: i64,
    /// Frames per second; 0 for none.
    pub(super) fps: f64,
    /// Frames from keyframe to keyframe.
    pub(super) gop: i64,
    /// Samples per second of AAC; 0 for none.
    pub(super) rate_hz: f64,
    pub(super) picture_bytes: usize,
}

impl Default for Recording {
    fn default() -> Self {
        Self { from_ms: 0, for_ms: 20_000, fps: 30.0, gop: 60, rate_hz: 44_100.0, picture_bytes: 300 }
    }
}

impl Recording {
    /// The frames, in the order of their stamps.
    pub(super) fn frames(self) -> Vec<MediaEvent> {
        let mut frames = Vec::new();
        let until = |period_ms: f64| {
            (0_i64..).map(move |n| (n, (n as f64 * period_ms) as i64)).take_while(move |(_, ms)| *ms < self.for_ms)
        };
        if self.fps > 0.0 {
            for (n, ms) in until(1_000.0 / self.fps) {
                let mut data = vec![n as u8; self.picture_bytes];
                data[..8].copy_from_slice(&(n as u64).to_be_bytes());
                frames.push(frame(Track::Video, n % self.gop == 0, self.from_ms + ms, 0, &data));
            }
        }
        if self.rate_hz > 0.0 {
            for (n, ms) in until(1_024_000.0 / self.rate_hz) {
                frames.push(frame(
                    Track::Audio,
                    true,
                    self.from_ms + ms,
                    0,
                    &[&(n as u64).to_be_bytes()[..], &[7; 40]].concat(),
                ));
            }
        }
        frames.sort_by_key(stamp);
        frames
    }
}

pub(super) fn stamp(event: &MediaEvent) -> i64 {
    if let MediaEvent::Frame(frame) = event { frame.dts_ms } else { 0 }
}

/// When a frame of a recording that begins with the stream arrives.
pub(super) fn at(event: &MediaEvent) -> Time {
    Time::from_millis(1_000 + stamp(event).unsigned_abs())
}

/// A sample that a player found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shown {
    pub(super) dts: u64,
    pub(super) pts: i64,
    pub(super) duration: u64,
    pub(super) data: Bytes,
}

/// All of it.
pub(super) struct PackagerFixture {
    pub(super) source: StreamFixture,
    hls: HlsConfig,
    pub(super) packager: Option<Packager>,
    /// Of a rendition: where its source is cut.
    pub(super) guide: Option<SegmentPlans>,
    pub(super) window: Window,
    /// A second one, which joins by snapshot with each new segment.
    rules: BTreeMap<bool, Rules>,
    pub(super) session: u64,
    sessions: u32,
    pub(super) checked: u64,
    /// The first parts, and when they were there.
    pub(super) parts: Vec<(Track, Part, Time)>,
    /// When it was asked for last.
    pub(super) began: Time,
    /// All changes, where a test wants them.
    pub(super) told: Option<Vec<Change>>,
}

/// Parts that are remembered.
const PARTS_MAX: usize = 1_000;

impl PackagerFixture {
    pub(super) fn new(hls: HlsConfig) -> Self {
        let source = StreamFixture::new(StreamConfig::default());
        let (window, rules) = (Window::new(), BTreeMap::new());
        let (parts, began) = (Vec::new(), source.now);
        Self {
            source,
            hls,
            packager: None,
            guide: None,
            window,
            rules,
            session: 1,
            sessions: 0,
            checked: 0,
            parts,
            began,
            told: None,
        }
    }

    /// Published with both configurations, and asked for HLS.
    pub(super) fn av() -> Self {
        let mut fixture = Self::new(HlsConfig::default());
        fixture.source.read(&[config(Track::Video, 1), config(Track::Audio, 1)]);
        fixture.ask();
        fixture
    }

    fn wall(&self) -> Wall {
        Wall { now: self.source.now, unix_ms: UNIX_MS + self.source.now.as_micros() / 1_000 }
    }

    /// The first request for HLS.
    pub(super) fn ask(&mut self) {
        self.sessions += 1;
        let first_msn = FIRST_MSN + self.source.now.as_micros() / 1_000_000;
        let (name, log, wall) = (
            format!("{}{}", if self.guide.is_some() { "r" } else { "n" }, self.sessions),
            &self.source.log,
            self.wall(),
        );
        self.packager = match &self.guide {
            Some(plans) => {
                let guide = Guide { session: "n1".to_owned(), picture: Some((322, 182)) };
                Packager::guided(self.hls, name, (guide, plans), log, wall)
            }
            None => Some(Packager::new(self.hls, name, first_msn, log, wall)),
        };
        self.began = self.source.now;
        self.advance();
    }

    /// What has come goes to the window. True: that changed something.
    fn take(&mut self) -> bool {
        let wall = self.wall();
        let Some(packager) = &mut self.packager else { return false };
        if let Some(guide) = &self.guide {
            packager.follow(guide);
        }
        let changes = packager.advance(&self.source.log, self.source.stream.pending_tags(), wall);
        let any = !changes.is_empty();
        for change in changes {
            if let Change::Part(track, part) = &change
                && self.parts.len() < PARTS_MAX
            {
                self.parts.push((*track, part.clone(), self.source.now));
            }
            if let Some(told) = &mut self.told {
                told.push(change.clone());
            }
            self.window.apply(change);
        }
        any
    }

    /// What has come goes to the window, and the playlists are checked.
    pub(super) fn advance(&mut self) {
        if self.take() {
            self.check();
        }
    }

    /// Holds the playlists of the moment against the rules, by themselves: those before them were not looked at.
    pub(super) fn check_anew(&mut self) {
        self.rules.clear();
        self.check();
    }

    /// Holds the playlists of the moment against the rules.
    pub(super) fn check(&mut self) {
        let mut joined = Window::new();
        self.window.snapshot().into_iter().for_each(|change| joined.apply(change));
        for track in [Track::Video, Track::Audio] {
            if let Some(text) = self.text(track) {
                self.rules.entry(track == Track::Video).or_default().check(&text);
                self.checked += 1;
                let Answer::Ready(there) = joined.playlist(track, &Directives::default()) else {
                    panic!("a mirror knows")
                };
                assert_eq!(there.text, text, "a shard that joined later says the same");
            }
        }
    }

    pub(super) fn text(&mut self, track: Track) -> Option<String> {
        match self.window.playlist(track, &Directives::default()) {
            Answer::Ready(playlist) => Some(String::from_utf8(playlist.text.to_vec()).unwrap()),
            _ => None,
        }
    }

    pub(super) fn parsed(&mut self, track: Track) -> Parsed {
        Parsed::read(&self.text(track).expect("a playlist"))
    }

    /// Frames arrive when their stamps say, counted from now on.
    pub(super) fn play(&mut self, frames: &[MediaEvent]) {
        let (start, first) = (self.source.now, frames.first().map(stamp).unwrap_or_default());
        for event in frames {
            let after = u64::try_from(stamp(event) - first).unwrap_or_default();
            self.arrive(start + Duration::from_millis(after), event);
        }
    }

    /// The same where there are too many to look at the playlists after each.
    pub(super) fn play_unchecked(&mut self, frames: &[MediaEvent]) {
        let (start, first) = (self.source.now, frames.first().map(stamp).unwrap_or_default());
        for event in frames {
            let after = u64::try_from(stamp(event) - first).unwrap_or_default();
            self.arrive_unchecked(start + Duration::from_millis(after), event);
        }
    }

    pub(super) fn arrive_unchecked(&mut self, at: Time, event: &MediaEvent) {
        self.source.wait_until(at);
        self.source.stream.heard(self.session, self.source.now);
        self.source.read(std::slice::from_ref(event));
        self.take();
    }

    pub(super) fn arrive(&mut self, at: Time, event: &MediaEvent) {
        self.pass(at);
        self.source.stream.heard(self.session, self.source.now);
        self.source.read(std::slice::from_ref(event));
        self.advance();
    }

    /// Time passes.
    pub(super) fn pass(&mut self, until: Time) {
        self.source.wait_until(until);
        self.advance();
    }

    pub(super) fn pass_ms(&mut self, ms: u64) {
        self.pass(self.source.now + Duration::from_millis(ms));
    }

    /// The publisher leaves, and another one takes its place.
    pub(super) fn leave(&mut self) {
        self.source.stream.leave(self.session, false, self.source.now, &mut self.source.log);
        self.advance();
    }

    pub(super) fn publish(&mut self) {
        self.session += 1;
        self.source.stream.publish(self.session, false, self.source.now).unwrap();
    }

    pub(super) fn file(&self, uri: &str) -> Answer<Media> {
        let mut path = uri.split('/');
        assert_eq!(path.next(), Some("s"));
        let (session, directory, name) = (path.next().unwrap(), path.next().unwrap(), path.next().unwrap());
        self.window.media(session, super::super::file_name::track_of(directory).unwrap(), name)
    }

    pub(super) fn bytes(&self, uri: &str) -> Option<Vec<u8>> {
        match self.file(uri) {
            Answer::Ready(media) => Some(media.pieces.concat()),
            _ => None,
        }
    }

    /// The samples of everything that is still listed as a whole segment, with each segment held against its parts.
    pub(super) fn shown(&mut self, track: Track) -> Vec<Shown> {
        let parsed = self.parsed(track);
        let mut shown = Vec::new();
        for segment in parsed.whole().filter(|segment| !segment.gap) {
            let bytes = self.bytes(&segment.uri).expect("listed segments can be fetched");
            if !segment.parts.is_empty() {
                let parts: Vec<u8> =
                    segment.parts.iter().flat_map(|part| self.bytes(&part.uri).expect("listed parts")).collect();
                assert_eq!(parts, bytes, "a segment is its parts");
            }
            shown.extend(samples(&bytes));
        }
        shown
    }
}

/// The samples of fragments.
pub(super) fn samples(bytes: &[u8]) -> Vec<Shown> {
    let (mut rest, mut shown) = (bytes, Vec::new());
    while !rest.is_empty() {
        let fragment = rest;
        let moof = Moof::decode(&mut rest).unwrap();
        let size = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        assert_eq!(&rest[4..8], b"mdat");
        rest = &rest[size..];
        let traf = &moof.traf[0];
        let mut dts = traf.tfdt.as_ref().unwrap().base_media_decode_time;
        let mut at = usize::try_from(traf.trun[0].data_offset.unwrap()).unwrap();
        for entry in &traf.trun[0].samples {
            let size = entry.size.unwrap() as usize;
            let duration = u64::from(entry.duration.or(traf.tfhd.default_sample_duration).unwrap());
            let data = Bytes::copy_from_slice(&fragment[at..at + size]);
            shown.push(Shown { dts, pts: dts as i64 + entry.cts.unwrap_or(0), duration, data });
            at += size;
            dts += duration;
        }
    }
    shown
}
