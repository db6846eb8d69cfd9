//! Markers of a stream: names and values that an operator's code put at a moment of it. Before it: [`super::window`], which knows where on a playlist's
//! clock that moment is; after it: playlists and manifests, by the windows of all shards.
use std::sync::Arc;

use millstream_proto::dash::mpd::Event;
use millstream_proto::hls::media::DateRange;
use millstream_proto::marker::{attributes, json};

/// What date ranges of markers are called.
const CLASS: &str = "millstream.marker";
/// Markers that a track holds: the oldest give way.
const MARKERS_MAX: usize = 64;
/// And their bytes: each player gets all of them with each playlist.
const MARKERS_BYTES_MAX: usize = 32 << 10;

/// A marker as it was put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// No other marker of the process has it; only its last 32 bits are used.
    pub number: u64,
    /// When, Unix milliseconds.
    pub unix_ms: u64,
    /// Names and values.
    pub pairs: Arc<[(String, String)]>,
}

/// A marker at its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marker {
    /// What it says.
    pub said: Said,
    /// The same moment as segments are dated, Unix milliseconds.
    pub date_unix_ms: u64,
    /// The run without discontinuity that it is in, as in [`super::change::Opened::discontinuities`].
    pub run: u64,
    /// And where in it, milliseconds.
    pub at_ms: u64,
}

impl Marker {
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.said.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Bytes that it takes of a playlist or a manifest, whichever is more, about.
    fn bytes(&self) -> usize {
        let of_list: usize = attributes(self.pairs()).iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        of_list.max(json(self.said.unix_ms, self.pairs()).len()) + 128
    }

    pub(super) fn date_range(&self) -> DateRange {
        let Said { number, unix_ms, .. } = self.said;
        DateRange {
            // Numbers begin anew with the process.
            id: format!("m{unix_ms}-{}", number as u32),
            class: CLASS,
            start_unix_ms: self.date_unix_ms,
            attributes: attributes(self.pairs()),
        }
    }

    pub(super) fn event(&self) -> Event {
        Event { id: self.said.number as u32, at_ms: self.at_ms, data: json(self.said.unix_ms, self.pairs()) }
    }
}

/// The markers of a track that are in no segment, and the sums of all.
#[derive(Debug, Default)]
pub(super) struct Markers {
    /// They came while no segment was open.
    pub(super) early: Vec<Arc<Marker>>,
    count: usize,
    bytes: usize,
}

impl Markers {
    /// Whether there are more than may be.
    pub(super) fn is_full(&self) -> bool {
        self.count > MARKERS_MAX || self.bytes > MARKERS_BYTES_MAX
    }

    /// One more is held.
    pub(super) fn came(&mut self, marker: &Marker) {
        self.count += 1;
        self.bytes += marker.bytes();
    }

    /// These are held no longer.
    pub(super) fn gone<'a>(&mut self, all: impl Iterator<Item = &'a Arc<Marker>>) {
        for marker in all {
            self.count = self.count.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(marker.bytes());
        }
    }
}
