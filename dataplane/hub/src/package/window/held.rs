//! One track of a window: its segments, those in the playlist and those that have left it and can still be fetched, the open one last.
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::hls::request::Until;
use millstream_proto::limits::HLS_SEGMENTS_BEYOND_WINDOW_MAX;
use millstream_proto::media::Track;
use millstream_proto::time::Time;

use crate::package::change::{Change, Header, Opened, Part, PartPromise};
use crate::package::marker::{Marker, Markers};
use crate::package::window::{Beside, Playlist};

/// Segments that stay fetchable, at least, beyond a playlist's length after they have left it (RFC 8216bis 6.2.2: as long as the longest playlist
/// that they were in, and their own length).
const RETAINED_BEYOND: usize = 1;
/// A request for a part counts as late that comes after it or this little before.
const LATE_FROM: Duration = Duration::from_millis(30);

/// A segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) opened: Opened,
    pub(super) parts: Vec<Part>,
    pub(super) closed: bool,
    /// There is nothing in it, or nothing more behind its parts; that stands for so long, microseconds.
    pub(super) gap_us: Option<u64>,
    /// What was told while it grew, and how many parts it had before.
    pub(super) markers: Vec<(usize, Arc<Marker>)>,
}

impl Segment {
    pub(super) fn duration_us(&self) -> u64 {
        self.gap_us.unwrap_or(0) + self.parts.iter().map(|part| part.duration_us).sum::<u64>()
    }

    /// There is nothing in it.
    pub(super) fn is_gap(&self) -> bool {
        self.gap_us.is_some() && self.parts.is_empty()
    }

    /// The same in units of the track; `None` where something is missing.
    pub(super) fn units(&self) -> Option<u64> {
        self.gap_us.is_none().then(|| self.parts.iter().map(|part| part.duration).sum())
    }

    /// Begins with a frame that can be decoded by itself, or has none.
    pub(super) fn is_independent(&self) -> bool {
        self.parts.first().is_none_or(|part| part.independent)
    }

    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }
}

/// A track.
#[derive(Debug, Default)]
pub(super) struct Held {
    headers: VecDeque<Arc<Header>>,
    segments: VecDeque<Segment>,
    /// How many of `segments` have left the playlist.
    retained: usize,
    bytes: usize,
    /// The longest list so far, microseconds.
    longest_us: u64,
    pub(super) parts: Option<PartPromise>,
    /// Number that the next part will have.
    pub(super) next_part: u64,
    /// The playlist, and the one that leaves out what is old, until the next change; each with those of other windows that it reports on.
    pub(super) texts: [Option<(Vec<Beside>, Bytes)>; 2],
    /// What is told in it.
    pub(super) markers: Markers,
    /// The same as `texts` of those that reach back, each with the version of the archive that it is for.
    pub(super) shifted: [Option<(u64, Playlist)>; 2],
}

impl Held {
    pub(super) fn header(&mut self, header: Arc<Header>) {
        self.headers.push_back(header);
    }

    pub(super) fn open(&mut self, opened: Opened) {
        let markers = std::mem::take(&mut self.markers.early).into_iter().map(|marker| (0, marker)).collect();
        self.segments.push_back(Segment { opened, parts: Vec::new(), closed: false, gap_us: None, markers });
    }

    pub(super) fn part(&mut self, mut part: Part) {
        // A count of this shard's own: what its requests touch is not shared with other cores.
        part.bytes = Bytes::from_owner(part.bytes);
        self.next_part = part.number + 1;
        self.bytes += part.bytes.len();
        if let Some(segment) = self.segments.back_mut() {
            segment.parts.push(part);
        }
    }

    /// Ends the open segment. The list keeps `window` segments, and as many more as it takes to last `least_us`.
    pub(super) fn close(&mut self, gap_us: Option<u64>, window: usize, least_us: u64) {
        if let Some(segment) = self.segments.back_mut() {
            (segment.closed, segment.gap_us) = (true, gap_us);
        }
        let mut listed_us: u64 = self.segments().map(Segment::duration_us).sum();
        while let Some(oldest) = self.segments.get(self.retained) {
            let (listed, left_us) = (self.segments.len() - self.retained, listed_us - oldest.duration_us());
            if listed <= window || left_us < least_us && listed <= window + HLS_SEGMENTS_BEYOND_WINDOW_MAX {
                break;
            }
            self.retained += 1;
            listed_us = left_us;
        }
        self.longest_us = self.longest_us.max(listed_us);
        while self.retained > window + RETAINED_BEYOND && self.is_oldest_outdated(window) {
            self.drop_oldest();
        }
    }

    /// Whether the oldest segment left the list longer ago than it must stay fetchable: the list has been replaced since, and as much again
    /// has come.
    fn is_oldest_outdated(&self, window: usize) -> bool {
        let mut lengths = self.segments.iter().map(Segment::duration_us);
        let oldest_us = lengths.next().unwrap_or(0);
        // Half of its own length is for segments that are not equally long to the millisecond.
        lengths.sum::<u64>() >= self.longest_us * 2 + oldest_us / 2
            || self.retained > 2 * (window + HLS_SEGMENTS_BEYOND_WINDOW_MAX)
    }

    /// Lets the oldest segment go. False where it is the newest as well.
    pub(super) fn drop_oldest(&mut self) -> bool {
        if self.segments.len() < 2 {
            return false;
        }
        if let Some(segment) = self.segments.pop_front() {
            self.bytes -= segment.bytes();
            self.markers.gone(segment.all_markers());
            self.retained = self.retained.saturating_sub(1);
        }
        let needed = self.segments.front().map_or(0, |segment| segment.opened.header);
        while self.headers.len() > 1 && self.headers.front().is_some_and(|header| header.number < needed) {
            self.headers.pop_front();
        }
        true
    }

    pub(super) fn forget_texts(&mut self) {
        (self.texts, self.shifted) = ([None, None], [None, None]);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the stream has shown no sign of this track.
    pub(super) fn is_unknown(&self) -> bool {
        self.headers.is_empty()
    }

    /// The segments of the playlist, the open one last.
    pub(super) fn segments(&self) -> impl DoubleEndedIterator<Item = &Segment> + Clone {
        self.segments.range(self.retained.min(self.segments.len())..)
    }

    pub(super) fn open_segment(&mut self) -> Option<&mut Segment> {
        self.segments.back_mut().filter(|segment| !segment.closed)
    }

    /// All that are held, also those that have left the playlist.
    pub(super) fn all_segments_mut(&mut self) -> impl Iterator<Item = &mut Segment> {
        self.segments.iter_mut()
    }

    /// Those held from a number on, also where they have left the playlist; the open one last.
    pub(super) fn segments_from(&self, msn: u64) -> impl DoubleEndedIterator<Item = &Segment> + Clone {
        let from = self.segments.partition_point(|segment| segment.opened.msn < msn);
        self.segments.range(from..)
    }

    pub(super) fn last(&self) -> Option<&Segment> {
        self.segments.back()
    }

    pub(super) fn segment(&self, msn: u64) -> Option<&Segment> {
        let first = self.segments.front()?.opened.msn;
        self.segments.get(usize::try_from(msn.checked_sub(first)?).ok()?)
    }

    /// Number of the oldest segment held.
    pub(super) fn oldest_msn(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.opened.msn)
    }

    /// Length of the open segment so far.
    pub(super) fn open_us(&self) -> u64 {
        self.segments.back().filter(|segment| !segment.closed).map_or(0, Segment::duration_us)
    }

    /// Whether a request is late for the last but one part of the open segment, and the last one has not come. How many parts the segment will have
    /// is taken from the one before it.
    ///
    /// Video.js 8 puts the header before each part until one playlist brings it two, and browsers drop what follows a header up to the next
    /// keyframe. It asks for a part when it is there, so that it got each by itself for many seconds. With a pair in each segment it is past
    /// that at the next keyframe. Players that ask ahead, as the protocol means it, get each part at once.
    pub(super) fn lacks_second_of_pair(&self, until: Until, asked_at: Time) -> bool {
        let mut newest_first = self.segments().rev();
        let (Some(open), Some(before)) = (newest_first.next(), newest_first.next()) else { return false };
        let Some(newest) = open.parts.last().filter(|_| !open.closed) else { return false };
        let is_newest = until == Until { msn: open.opened.msn, part: Some(open.parts.len() as u64 - 1) };
        is_newest && open.parts.len() + 1 == before.parts.len() && asked_at + LATE_FROM >= newest.arrived
    }

    /// Whether the playlist has anything but gaps.
    pub(super) fn has_media(&self) -> bool {
        self.segments().any(|segment| !segment.parts.is_empty())
    }

    pub(super) fn newest_header(&self) -> Option<&Arc<Header>> {
        self.headers.back()
    }

    pub(super) fn header_of(&self, number: u32) -> Option<&Arc<Header>> {
        self.headers.iter().find(|header| header.number == number)
    }

    pub(super) fn header_bytes(&self, number: u64) -> Option<Bytes> {
        self.header_of(u32::try_from(number).ok()?).map(|header| header.bytes.clone())
    }

    /// Whether a segment is the one that is being made, or the next one where none is: on another shard it may be listed already.
    pub(super) fn is_coming(&self, msn: u64) -> bool {
        self.last().is_some_and(|last| msn == last.opened.msn + u64::from(last.closed))
    }

    pub(super) fn segment_pieces(&self, msn: u64) -> Option<Vec<Bytes>> {
        let segment = self.segment(msn).filter(|segment| segment.closed && !segment.is_gap())?;
        Some(segment.parts.iter().map(|part| part.bytes.clone()).collect())
    }

    pub(super) fn numbered_part(&self, number: u64) -> Option<&Part> {
        // The newest is asked for most.
        self.segments.iter().rev().flat_map(|segment| &segment.parts).find(|part| part.number == number)
    }

    pub(super) fn snapshot(&self, track: Track, changes: &mut Vec<Change>) {
        changes.extend(self.headers.iter().map(|header| Change::Header(track, Arc::clone(header))));
        changes.extend(self.parts.map(|parts| Change::Parts(track, parts)));
        for segment in &self.segments {
            changes.push(Change::Opened(track, segment.opened));
            let mut markers = segment.markers.iter().peekable();
            for (n, part) in segment.parts.iter().enumerate() {
                while let Some((_, marker)) = markers.next_if(|(before, _)| *before <= n) {
                    changes.push(Change::Marked(track, Arc::clone(marker)));
                }
                changes.push(Change::Part(track, part.clone()));
            }
            changes.extend(markers.map(|(_, marker)| Change::Marked(track, Arc::clone(marker))));
            match segment.gap_us {
                Some(us) => changes.push(Change::Gap(track, us)),
                None if segment.closed => changes.push(Change::Closed(track)),
                None => {}
            }
        }
        changes.extend(self.markers.early.iter().map(|marker| Change::Marked(track, Arc::clone(marker))));
        changes.push(Change::Skipped(track, self.next_part));
    }
}
