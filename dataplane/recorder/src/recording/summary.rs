//! `recording.json`: what a recording is, for programs and people that have no playlist parser. Before it: [`super::ledger`].
use millstream_proto::codec::Shape;
use millstream_proto::media::Track;
use serde::Serialize;

use super::ledger::{Ledger, NamedGap};
use super::movies::ListedMovie;
use super::record::Reason;
use crate::limits::GAPS_MAX;
use crate::name::TRACKS;

/// Where a recording is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// It grows.
    Recording,
    /// It would grow if there were room.
    Paused,
    /// It was cut off, and goes on if its publisher comes back in time.
    Waiting,
    /// Nothing more comes, and not all of it is in the store.
    Storing,
    /// All of it is in the store.
    Stored,
}

/// What a track is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TrackSummary {
    /// `video` or `audio`.
    pub kind: &'static str,
    /// Its codecs, as RFC 6381 writes them, in order.
    pub codecs: Vec<String>,
    /// Largest width, pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Largest height, pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Samples per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_hz: Option<u32>,
    /// Channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// Media objects.
    pub objects: u32,
    /// Segments, gaps included.
    pub segments: usize,
    /// Bytes of media.
    pub bytes: u64,
    /// Objects that could not be had from the disk: their segments are gaps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged_objects: Vec<u32>,
}

/// The whole of `recording.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Summary {
    /// Its format.
    pub version: u32,
    /// The recording's name.
    pub recording: String,
    /// Its stream.
    pub stream: String,
    /// Where it is in its life.
    pub state: State,
    /// When it began, Unix milliseconds.
    pub start_unix_ms: u64,
    /// Where what is there ends, Unix milliseconds.
    pub end_unix_ms: u64,
    /// Length without what is missing between runs, milliseconds.
    pub duration_ms: u64,
    /// Bytes of media.
    pub bytes: u64,
    /// Why it ended.
    pub ended: Option<Reason>,
    /// Days that it is to be kept; 0 for ever.
    pub retention_days: u32,
    /// What there is.
    pub tracks: Vec<TrackSummary>,
    /// What is missing, and why.
    pub gaps: Vec<NamedGap>,
    /// Gaps beyond those.
    pub gaps_left_out: u64,
    /// Its MP4 files that are in the store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ListedMovie>,
    /// Files beyond those.
    #[serde(skip_serializing_if = "is_none")]
    pub files_left_out: u64,
}

// serde's shape.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_none(number: &u64) -> bool {
    *number == 0
}

impl Summary {
    /// As text.
    pub fn to_json(&self) -> String {
        // Nothing in it can fail to be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl Ledger {
    /// What it is, in that state, with its MP4 files: as it is stored.
    pub fn description(&self, state: State) -> Summary {
        Summary { files: self.movies(), files_left_out: self.movies_left_out(), ..self.summary(state) }
    }

    /// What it is, in that state; without its MP4 files, of which there may be thousands.
    pub fn summary(&self, state: State) -> Summary {
        let head = self.head();
        let (gaps, gaps_left_out) = self.every_gap();
        Summary {
            version: 1,
            recording: head.name.to_string(),
            stream: head.stream.to_string(),
            state,
            start_unix_ms: head.name.start_unix_ms(),
            end_unix_ms: self.end_unix_ms(),
            duration_ms: self.duration_ms(),
            bytes: self.bytes(),
            ended: self.ended(),
            retention_days: head.retention_days,
            tracks: TRACKS
                .into_iter()
                .filter(|track| self.track(*track).bytes > 0)
                .map(|t| self.track_summary(t))
                .collect(),
            gaps,
            gaps_left_out,
            files: Vec::new(),
            files_left_out: 0,
        }
    }

    /// What is missing and why, with the segments that are not what was written; and how many gaps are left out.
    fn every_gap(&self) -> (Vec<NamedGap>, u64) {
        let mut gaps = self.gaps().to_vec();
        for of in &self.tracks {
            if of.damaged.is_empty() && of.spoilt.is_empty() {
                continue;
            }
            let (mut next_unix_ms, mut within): (u64, Option<NamedGap>) = (0, None);
            for segment in of.rows.iter(|_, _| true) {
                let from_unix_ms = segment.date_unix_ms.unwrap_or(next_unix_ms);
                next_unix_ms = from_unix_ms.saturating_add(u64::from(segment.duration_ms));
                let is_lost = segment.object.is_some_and(|object| of.is_lost(object, segment.offset));
                if let Some(gap) = within.as_mut().filter(|gap| is_lost && gap.to_unix_ms == Some(from_unix_ms)) {
                    gap.to_unix_ms = Some(next_unix_ms);
                    continue;
                }
                gaps.extend(within.take());
                let gap = NamedGap { from_unix_ms, to_unix_ms: Some(next_unix_ms), reason: Reason::Damaged };
                within = is_lost.then_some(gap);
            }
            gaps.extend(within);
        }
        gaps.sort_by_key(|gap| gap.from_unix_ms);
        let left_out = gaps.len().saturating_sub(GAPS_MAX) as u64;
        gaps.truncate(GAPS_MAX);
        (gaps, self.gaps_left_out() + left_out)
    }

    fn track_summary(&self, track: Track) -> TrackSummary {
        let of = self.track(track);
        let mut codecs: Vec<String> = Vec::new();
        let (mut width, mut height, mut rate_hz, mut channels) = (None, None, None, None);
        for init in &of.inits {
            if !codecs.contains(&init.codec) {
                codecs.push(init.codec.clone());
            }
            match init.shape {
                Some(Shape::Video { width: w, height: h }) => {
                    (width, height) = (width.max(Some(w)), height.max(Some(h)));
                }
                Some(Shape::Audio { rate_hz: r, channels: c }) => {
                    (rate_hz, channels) = (rate_hz.max(Some(r)), channels.max(Some(c)));
                }
                None => {}
            }
        }
        TrackSummary {
            kind: track.name(),
            codecs,
            width,
            height,
            rate_hz,
            channels,
            objects: of.last_object,
            segments: of.rows.len(),
            bytes: of.bytes,
            damaged_objects: of.damaged.iter().copied().collect(),
        }
    }
}
