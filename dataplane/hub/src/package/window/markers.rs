//! Markers in a window: where a new one is, and which ones a track holds. Each is held with the segment that grew when it came, so that playlists grow at
//! their end, and goes with it. Beside [`super::held`].
use std::sync::Arc;

use millstream_proto::dash::mpd::Event;
use millstream_proto::media::Track;

use super::Window;
use super::held::{Held, Segment};
use crate::package::change::Change;
use crate::package::marker::{Marker, Said};

impl Window {
    /// What puts a marker at this moment of the stream's timeline, milliseconds: into every track that there is. Nothing, where nobody has asked for
    /// playlists, or they are over.
    pub fn mark(&self, said: &Said, timeline_ms: i64) -> Vec<Change> {
        let Some(session) = self.session.as_ref().filter(|_| !self.ended) else { return Vec::new() };
        let tracks = [Track::Video, Track::Audio].into_iter().filter(|track| !self.held(*track).is_unknown());
        let newest = tracks.clone().find_map(|track| self.held(track).last()).map(|segment| segment.opened);
        let at_ms = u64::try_from(timeline_ms).unwrap_or(0);
        // From the date of the newest segment: that is what players reckon by.
        let dated = newest.map_or((session.zero_unix_ms, 0), |opened| (opened.date_unix_ms, opened.start_us / 1_000));
        let date_unix_ms = (dated.0 + at_ms).saturating_sub(dated.1);
        let (run, began_ms) = newest.map_or((0, 0), |opened| (opened.discontinuities, opened.run_start_ms));
        let marker = Arc::new(Marker { said: said.clone(), date_unix_ms, run, at_ms: at_ms.saturating_sub(began_ms) });
        tracks.map(|track| Change::Marked(track, Arc::clone(&marker))).collect()
    }

    /// Events of a manifest's period.
    pub(super) fn events(&self, run: u64) -> Vec<Event> {
        let held = if self.video.is_unknown() { &self.audio } else { &self.video };
        held.listed_markers().filter(|marker| marker.run == run).map(|marker| marker.event()).collect()
    }
}

impl Held {
    /// One more.
    pub(super) fn mark(&mut self, marker: Arc<Marker>) {
        self.markers.came(&marker);
        match self.open_segment() {
            Some(segment) => segment.markers.push((segment.parts.len(), marker)),
            None => self.markers.early.push(marker),
        }
        while self.markers.is_full() {
            let Some(oldest) = self.take_oldest_marker() else { break };
            self.markers.gone(std::iter::once(&oldest));
        }
    }

    fn take_oldest_marker(&mut self) -> Option<Arc<Marker>> {
        let of_segment = self.all_segments_mut().find(|segment| !segment.markers.is_empty());
        if let Some(segment) = of_segment {
            return Some(segment.markers.remove(0).1);
        }
        (!self.markers.early.is_empty()).then(|| self.markers.early.remove(0))
    }

    fn listed_markers(&self) -> impl Iterator<Item = &Arc<Marker>> {
        let of_segments = self.segments().flat_map(Segment::all_markers);
        of_segments.chain(&self.markers.early)
    }
}

impl Segment {
    /// What was told while it grew.
    pub(super) fn all_markers(&self) -> impl Iterator<Item = &Arc<Marker>> {
        self.markers.iter().map(|(_, marker)| marker)
    }
}
