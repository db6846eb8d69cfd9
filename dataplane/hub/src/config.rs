//! How streams behave: the `[stream_defaults]` table of the configuration, already checked and in units.
use std::time::Duration;

use millstream_proto::id::RenditionName;
use millstream_proto::limits::HLS_WINDOW_BYTES_MAX;

use crate::encodable::{Encodable, PictureCodec, Unencodable};

/// When frames that have arrived go out to viewers: the delay against the cost of a send.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum FlushPolicy {
    /// At once, after the socket read they came with.
    Low,
    /// With a video frame, no sooner than 25 ms after the last flush; audio waits at most 60 ms.
    #[default]
    Balanced,
    /// Every 100 ms.
    Dense,
}

/// What a second publisher of a stream gets while the first is heard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Takeover {
    /// It waits for the end or the silence of the first, and is refused when neither comes.
    #[default]
    Refuse,
    /// It waits as long, and then replaces the first.
    Replace,
}

/// What becomes of a stream when its publisher has gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum OnUnpublish {
    /// Viewers wait for its return.
    #[default]
    Wait,
    /// The stream ends.
    End,
    /// Viewers get a clip until it is back.
    Slate,
}

/// Settings of one stream; defaults are those of the configuration file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamConfig {
    /// When frames go out.
    pub flush: FlushPolicy,
    /// Most bytes that the log of a stream holds.
    pub log_bytes_max: usize,
    /// Longest time that the log of a stream reaches back, if it holds more than its newest GOP.
    pub log_time_max: Duration,
    /// How long viewers stay when the publisher has gone.
    pub publisher_wait: Duration,
    /// What becomes of the stream when its publisher has gone.
    pub on_unpublish: OnUnpublish,
    /// How long a stream whose publisher has gone is kept with its slate.
    pub slate_max: Duration,
    /// What a second publisher gets.
    pub takeover: Takeover,
    /// How long a viewer waits for a keyframe to start at.
    pub joiner_wait: Duration,
    /// A viewer that jumps this often within `lag_window` is closed.
    pub lag_skips: u32,
    /// See `lag_skips`.
    pub lag_window: Duration,
    /// A viewer that takes no byte for this long, with bytes to take, is closed.
    pub stall_close: Duration,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            flush: FlushPolicy::Balanced,
            log_bytes_max: 16 << 20,
            log_time_max: Duration::from_secs(12),
            publisher_wait: Duration::from_secs(10),
            on_unpublish: OnUnpublish::Wait,
            slate_max: Duration::from_hours(1),
            takeover: Takeover::Refuse,
            joiner_wait: Duration::from_secs(10),
            lag_skips: 3,
            lag_window: Duration::from_secs(30),
            stall_close: Duration::from_secs(10),
        }
    }
}

/// A picture that is a little smaller than a rendition's box is of the size that was meant.
const BLOWN_UP_MOST: f64 = 1.02;

/// A smaller form of a stream's picture, which is made when somebody asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rendition {
    /// Its name.
    pub name: RenditionName,
    /// The picture is no wider than this, pixels.
    pub width_max: u32,
    /// And no higher.
    pub height_max: u32,
    /// Bits per second of the picture, thousands.
    pub video_kbit_s: u32,
    /// What its picture is encoded as; `None`: what this machine usually does.
    pub codec: Option<PictureCodec>,
    /// Something is drawn over its picture, and who may choose is not offered a picture without.
    pub marked: bool,
    /// It is made as long as its stream is on air, and not only while somebody asks for it.
    pub always: bool,
}

impl Rendition {
    /// What its picture is encoded as.
    pub fn codec(&self) -> PictureCodec {
        self.codec.unwrap_or_else(|| Encodable::get().usual)
    }

    /// Why it is not encoded at the moment.
    pub fn unencodable(&self) -> Option<Unencodable> {
        Encodable::get().refusal(self.codec())
    }

    /// The size that it has of a picture of this size, pixels; `None`: the picture is smaller than it would be, and is not blown up. The box is
    /// turned for pictures that are higher than wide. A worker, which knows the shape of the picture's samples as well, decides in the same way.
    pub fn size_of(&self, (width, height): (u32, u32)) -> Option<(u32, u32)> {
        let (wide, high) = (f64::from(width), f64::from(height));
        let within = (self.width_max, self.height_max);
        let (across, down) = if (high > wide) == (within.1 > within.0) { within } else { (within.1, within.0) };
        let factor = (f64::from(across) / wide).min(f64::from(down) / high);
        if !(factor > 0.0 && factor <= BLOWN_UP_MOST) {
            return None;
        }
        let even = |length: f64| (length * factor.min(1.0) / 2.0).round() as u32 * 2;
        Some((even(wide).max(2), even(high).max(2)))
    }
}

/// How a stream is cut for HLS and DASH: the `[hls]` table of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HlsConfig {
    /// A segment ends at the first keyframe at or after this.
    pub segment: Duration,
    /// Length of a low-latency part.
    pub part: Duration,
    /// Segments in a playlist.
    pub window: usize,
    /// Most bytes of segments that are held of a stream, the open one not counted: a stream with more has a shorter window.
    pub bytes_max: usize,
}

impl Default for HlsConfig {
    fn default() -> Self {
        Self {
            segment: Duration::from_secs(2),
            part: Duration::from_millis(333),
            window: 6,
            bytes_max: HLS_WINDOW_BYTES_MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendition_fits_its_box_and_is_never_blown_up() {
        let check = |height, source, expected| {
            let name = RenditionName::new(&format!("{height}p")).unwrap();
            let width_max = if height == 480 { 854 } else { height * 16 / 9 };
            let rendition = Rendition {
                name,
                width_max,
                height_max: height,
                video_kbit_s: 1,
                codec: None,
                marked: false,
                always: false,
            };
            assert_eq!(rendition.size_of(source), expected, "{source:?} in {height}");
        };
        check(360, (1280, 720), Some((640, 360)));
        check(480, (1920, 1080), Some((854, 480)));
        check(720, (1280, 720), Some((1280, 720)));
        check(1080, (1280, 720), None);
        check(360, (720, 1280), Some((360, 640)));
        check(360, (640, 272), Some((640, 272)));
        check(360, (320, 180), None);
        check(360, (0, 0), None);
        check(360, (1080, 1080), Some((360, 360)));
    }
}
