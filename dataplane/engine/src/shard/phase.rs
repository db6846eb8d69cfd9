//! Whether a stream is on air, and how it is called by people and players: what its owner's shard says of it. Before it: the hub's readings;
//! after it: [`super::status`], which asks for it, and [`super::view`].
use std::time::Duration;

use millstream_hub::decodable::Undecodable;
use millstream_hub::findings::{Dropped, Findings};
use millstream_hub::publisher_stats::{Coding, Reading};
use millstream_proto::codec::Shape;
use millstream_proto::media::{Codec, Track, four_ccs};
use millstream_proto::time::Time;

use crate::clock::unix_ms;

/// A publisher that has sent no frame for this long, and for [`SILENT_FRAMES`] times what it takes to send one, is silent.
const SILENT_AFTER: Duration = Duration::from_millis(1_500);
const SILENT_FRAMES: u32 = 4;

/// What a stream is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Nobody publishes it, and nobody is waited for.
    Off,
    /// Somebody has begun to publish, and has sent no frame yet.
    Starting,
    /// Frames come.
    Live,
    /// Its publisher is connected, and has stopped sending.
    Silent,
    /// Its publisher has gone, and is waited for.
    Waiting,
    /// The same, and viewers get its slate.
    Slate,
}

/// A track as people and players name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TrackStatus {
    pub(crate) track: Track,
    /// RFC 6381's name, or a FourCC.
    pub(crate) codec: String,
    pub(crate) shape: Option<Shape>,
    /// See [`millstream_proto::codec::Summary::unusual`].
    pub(crate) unusual: Option<&'static str>,
}

/// The status of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Status {
    pub(crate) phase: Phase,
    /// Since when, Unix milliseconds; 0 where it is off.
    pub(crate) since_unix_ms: u64,
    /// Which publisher, of this run of the server; 0 without one.
    pub(crate) publication: u64,
    pub(crate) tracks: Vec<TrackStatus>,
    /// Tracks that some outputs do not carry, or none.
    pub(crate) left_out: Vec<Dropped>,
}

impl Status {
    /// Of a stream that nobody publishes.
    pub(super) fn off() -> Self {
        Self { phase: Phase::Off, since_unix_ms: 0, publication: 0, tracks: Vec::new(), left_out: Vec::new() }
    }
}

/// What a publisher's session number, readings and findings say of its stream.
pub(super) fn of_publisher(publication: u64, reading: &Reading, findings: &Findings, now: Time) -> Status {
    let frames = reading.video_frames + reading.audio_frames;
    let sent_for = now.since(reading.since).saturating_sub(reading.heard_ago);
    let per_frame = sent_for.checked_div(u32::try_from(frames).unwrap_or(u32::MAX)).unwrap_or_default();
    let silent = reading.heard_ago > SILENT_AFTER.max(per_frame * SILENT_FRAMES);
    let (phase, ago) = match frames {
        0 => (Phase::Starting, now.since(reading.since)),
        _ if silent => (Phase::Silent, reading.heard_ago),
        _ => (Phase::Live, now.since(reading.since)),
    };
    let left_out = findings.dropped().cloned().collect();
    Status { phase, since_unix_ms: before(ago), publication, tracks: tracks(reading), left_out }
}

/// What is said while a publisher is waited for that left so long ago.
pub(super) fn of_absence(ago: Duration, publication: u64, last: &Reading, findings: &Findings) -> Status {
    let left_out = findings.dropped().cloned().collect();
    Status { phase: Phase::Waiting, since_unix_ms: before(ago), publication, tracks: tracks(last), left_out }
}

/// What is said while viewers get the slate, since so long ago.
pub(super) fn of_slate(ago: Duration, publication: u64, last: &Reading, findings: &Findings) -> Status {
    Status { phase: Phase::Slate, ..of_absence(ago, publication, last, findings) }
}

fn before(ago: Duration) -> u64 {
    unix_ms().saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))
}

fn tracks(reading: &Reading) -> Vec<TrackStatus> {
    let both = [(Track::Video, &reading.video), (Track::Audio, &reading.audio)];
    let status = |(track, coding): (Track, &Option<millstream_hub::publisher_stats::Coding>)| {
        let coding = coding.clone()?;
        let shape = coding.summary.as_ref().and_then(|summary| summary.shape);
        let unusual = coding.summary.as_ref().and_then(|summary| summary.unusual);
        Some(TrackStatus { track, codec: name(track, coding), shape, unusual })
    };
    both.into_iter().filter_map(status).collect()
}

/// Why no renditions can be made of a picture that is coded so.
pub(super) fn undecodable(coding: &Coding) -> Option<Undecodable> {
    let (shape, unusual) = coding.summary.as_ref().map(|summary| (summary.shape, summary.unusual)).unwrap_or_default();
    Undecodable::of(&name(Track::Video, coding.clone()), shape, unusual)
}

/// RFC 6381's name of a coding; its FourCC where it has not said more.
pub(super) fn name(track: Track, coding: Coding) -> String {
    let four_cc = |codec: Codec| four_ccs(track).iter().find(|(_, known)| *known == codec).map(|(name, _)| *name);
    match coding.summary {
        Some(summary) => summary.codec,
        None => four_cc(coding.codec).unwrap_or_default().to_owned(),
    }
}
