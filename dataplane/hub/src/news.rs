//! What viewers of FLV and RTMP are told beside the media, in script tags: which moment of the stream arrived when by the server's wall
//! clock, so that a player can say how far behind it is; and that the publisher has left. Made once per stream, by [`crate::stream`].
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::flv;
use millstream_proto::media::{Frame, Track};
use millstream_proto::time::Time;

use crate::package::packager::Wall;

/// Each track that viewers can start at tells the clock this often at most.
const CLOCK_EVERY: Duration = Duration::from_millis(900);

/// The wall clock as it was last told, and when viewers were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Newsroom {
    /// Unix milliseconds at the epoch of the process's clock; `None`: nobody has said, and nothing is told.
    epoch_unix_ms: Option<i64>,
    video: Option<Time>,
    audio: Option<Time>,
}

impl Newsroom {
    pub(crate) fn set_wall(&mut self, wall: Wall) {
        let unix_ms = i64::try_from(wall.unix_ms).unwrap_or(i64::MAX);
        self.epoch_unix_ms = Some(unix_ms.saturating_sub(millis(wall.now)));
    }

    /// Another publisher: viewers are told with its first frame.
    pub(crate) fn restart(&mut self) {
        (self.video, self.audio) = (None, None);
    }

    /// What goes out behind a frame that viewers can start at, presented at `pts_ms` of the stream's timeline.
    pub(crate) fn clock(&mut self, frame: &Frame, pts_ms: i64, now: Time) -> Option<Bytes> {
        let unix_ms = self.unix_ms(now)?;
        let told = match frame.track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        };
        if told.is_some_and(|at| now.since(at) < CLOCK_EVERY) {
            return None;
        }
        *told = Some(now);
        Some(flv::news_body(flv::News::Clock { pts_ms, unix_ms }))
    }

    /// What goes out when the publisher has left.
    pub(crate) fn waiting(&self, now: Time) -> Option<Bytes> {
        self.unix_ms(now).map(|unix_ms| flv::news_body(flv::News::Waiting { unix_ms }))
    }

    fn unix_ms(&self, now: Time) -> Option<u64> {
        u64::try_from(self.epoch_unix_ms?.saturating_add(millis(now))).ok()
    }
}

fn millis(time: Time) -> i64 {
    i64::try_from(time.as_micros() / 1_000).unwrap_or(i64::MAX)
}
