//! How streams were on air within the last hour, for charts: figures of each, every ten seconds. Before it: what nodes tell; after it:
//! [`crate::Fleet::time_series`]. In memory alone: a restart of control begins anew.
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use millstream_control_protocol::live::Live;

use crate::limits::{SERIES_POINTS_MAX, SERIES_STREAMS_MAX};

/// Time from one point to the next.
pub const SERIES_EVERY: Duration = Duration::from_secs(10);
/// Points that are older go, milliseconds.
const KEPT_MS: u64 = SERIES_EVERY.as_millis() as u64 * SERIES_POINTS_MAX as u64;

/// A stream's figures at one moment, of all nodes.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Point {
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Media received per second, bits; 0 while nobody publishes.
    pub bitrate_bps: u64,
    /// Viewers of all protocols.
    pub viewers: u64,
    /// Frames per second that are received.
    pub fps: f32,
    /// How much the arrival of frames strays from their timestamps, milliseconds.
    pub jitter_ms: f32,
}

impl Point {
    /// Adds what one node tells: a publisher is on one of them, viewers are on all.
    pub(super) fn add(&mut self, live: &Live) {
        let viewers = live.viewers.iter().fold(0_u64, |sum, one| sum.saturating_add(one.count));
        self.viewers = self.viewers.saturating_add(viewers);
        if let Some(publisher) = &live.publisher {
            self.bitrate_bps = publisher.bitrate_bps;
            self.fps = publisher.video.as_ref().map_or(0.0, |video| video.fps as f32);
            self.jitter_ms = publisher.jitter_ms as f32;
        }
    }
}

/// The points of all streams.
#[derive(Debug, Default)]
pub(super) struct TimeSeries {
    streams: BTreeMap<String, VecDeque<Point>>,
}

impl TimeSeries {
    /// Takes in how all streams are now. A stream that is not among them has no point, and is forgotten after an hour.
    pub(super) fn take(&mut self, now_unix_ms: u64, points: BTreeMap<String, Point>) {
        for (stream, point) in points {
            let is_known = self.streams.contains_key(&stream);
            if !is_known && self.streams.len() >= SERIES_STREAMS_MAX {
                continue;
            }
            let series = self.streams.entry(stream).or_default();
            // The clock was set back: what is drawn goes on in order.
            while series.back().is_some_and(|last| last.at_unix_ms >= now_unix_ms) {
                series.pop_back();
            }
            series.push_back(Point { at_unix_ms: now_unix_ms, ..point });
        }
        self.streams.retain(|_, series| {
            // Of a stream that is off air, too: it would stay until the clock is there again.
            while series.back().is_some_and(|last| last.at_unix_ms > now_unix_ms) {
                series.pop_back();
            }
            while series.front().is_some_and(|first| first.at_unix_ms.saturating_add(KEPT_MS) <= now_unix_ms) {
                series.pop_front();
            }
            !series.is_empty()
        });
    }

    /// A stream's points, the oldest first.
    pub(super) fn of(&self, stream: &str) -> Vec<Point> {
        self.streams.get(stream).map(|series| series.iter().copied().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use millstream_control_protocol::live::{Publisher, Video, ViewerCount};

    use super::*;

    const EVERY_MS: u64 = SERIES_EVERY.as_millis() as u64;

    fn one(stream: &str, viewers: u64) -> BTreeMap<String, Point> {
        BTreeMap::from([(stream.to_owned(), Point { viewers, ..Point::default() })])
    }

    #[test]
    fn an_hour_is_kept() {
        let mut series = TimeSeries::default();
        for n in 1..=400 {
            series.take(n * EVERY_MS, one("cam", n));
        }
        let kept = series.of("cam");
        assert_eq!((kept.len(), kept[0].viewers, kept[359].viewers), (360, 41, 400));
        // Nobody is there for an hour.
        series.take(759 * EVERY_MS, BTreeMap::new());
        assert_eq!(series.of("cam").len(), 1);
        series.take(760 * EVERY_MS, BTreeMap::new());
        assert!(series.of("cam").is_empty() && series.streams.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_back_leaves_points_in_order() {
        let mut series = TimeSeries::default();
        for at in [10_000, 20_000, 30_000, 15_000, 25_000] {
            series.take(at, one("cam", 1));
        }
        let times: Vec<u64> = series.of("cam").iter().map(|point| point.at_unix_ms).collect();
        assert_eq!(times, [10_000, 15_000, 25_000]);
        // By years: what is ahead goes, and nothing stays for ever.
        series.take(30_000, one("gone", 1));
        series.take(1, one("cam", 1));
        assert_eq!((series.of("cam").len(), series.streams.len()), (1, 1));
    }

    #[test]
    fn there_are_so_many_streams_and_those_that_are_known_go_on() {
        let mut series = TimeSeries::default();
        let all = (0..SERIES_STREAMS_MAX + 5).map(|n| (format!("s{n:06}"), Point::default())).collect();
        series.take(1, all);
        assert_eq!(series.streams.len(), SERIES_STREAMS_MAX);
        let all = (0..SERIES_STREAMS_MAX + 5).map(|n| (format!("s{n:06}"), Point::default())).collect();
        series.take(2, all);
        assert_eq!((series.streams.len(), series.of("s000000").len()), (SERIES_STREAMS_MAX, 2));
    }

    #[test]
    fn viewers_of_all_nodes_are_added_to_the_publisher_of_one() {
        let viewers = |count| vec![ViewerCount { count, ..ViewerCount::default() }];
        let publisher = Publisher {
            bitrate_bps: 5,
            jitter_ms: 1.5,
            video: Some(Video { fps: 25.0, ..Video::default() }),
            ..Publisher::default()
        };
        let mut point = Point::default();
        point.add(&Live { publisher: Some(publisher), viewers: viewers(2), ..Live::default() });
        point.add(&Live { viewers: viewers(u64::MAX), ..Live::default() });
        let expected = Point { bitrate_bps: 5, viewers: u64::MAX, fps: 25.0, jitter_ms: 1.5, ..Point::default() };
        assert_eq!(point, expected);
    }
}
