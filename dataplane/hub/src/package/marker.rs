//! Markers of a stream: names and values that an operator's code put at a moment of it. Before it: [`super::window`], which knows where on a playlist's
//! clock that moment is; after it: playlists and manifests, by the windows of all shards.
use std::sync::Arc;

use millstream_proto::dash::mpd::Event;
use millstream_proto::hls::media::DateRange;
use millstream_proto::marker::{attributes, json};

/// What date ranges of markers are called.
const CLASS: &str = "millstream.marker";

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

    /// Bytes that it takes of a playlist, about.
    pub(super) fn bytes(&self) -> usize {
        self.pairs().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>() + 128
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
