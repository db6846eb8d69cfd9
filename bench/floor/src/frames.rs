//! The stream that every contender is fed: 2.5 Mbit/s, 30 frames and 43 sounds a second, a keyframe every 2 s. Each body ends with
//! a marker that says which frame it is and when it was sent, so that a viewer can tell its delay without parsing anything.
use std::time::Duration;

use millstream_proto::media::TagKind;

const VIDEO_PER_S: u64 = 30;
const AUDIO_PER_S: u64 = 43;
const GOP_FRAMES: u64 = 60;
const KEYFRAME_BYTES: usize = 60 << 10;
/// With the others, 2.5 Mbit/s.
const PICTURE_BYTES: usize = 9_009;
const AUDIO_BYTES: usize = 372;
/// Sounds do not coincide with frames.
const AUDIO_OFFSET_US: u64 = 11_000;

const MAGIC: [u8; 8] = [0xF3, 0x4D, 0x69, 0x6C, 0x6C, 0xA7, 0xD1, 0x9E];
/// Magic, number, time.
pub(crate) const MARKER_BYTES: usize = MAGIC.len() + 4 + 8;
const FILLER: u8 = 0x55;

/// Configurations that come before the first frame.
pub(crate) const HEADERS: [(TagKind, &[u8]); 2] = [
    (TagKind::Video, &[0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1F, 0xFF, 0xE1, 0, 4, 0x67, 0x64, 0, 0x1F, 1, 0, 2, 0x68, 0xEE]),
    (TagKind::Audio, &[0xAF, 0, 0x12, 0x10]),
];

/// One frame, before it has bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: TagKind,
    /// When it is due, from the start of the stream.
    pub(crate) at: Duration,
    number: u32,
    keyframe: bool,
}

impl Frame {
    /// Its tag body.
    pub(crate) fn body(&self, sent_us: u64) -> Vec<u8> {
        let (head, bytes): (&[u8], _) = match (self.kind, self.keyframe) {
            (TagKind::Video, true) => (&[0x17, 1, 0, 0, 0], KEYFRAME_BYTES),
            (TagKind::Video, false) => (&[0x27, 1, 0, 0, 0], PICTURE_BYTES),
            _ => (&[0xAF, 1], AUDIO_BYTES),
        };
        let mut body = Vec::with_capacity(bytes);
        body.extend_from_slice(head);
        body.resize(bytes - MARKER_BYTES, FILLER);
        body.extend_from_slice(&MAGIC);
        body.extend_from_slice(&self.number.to_be_bytes());
        body.extend_from_slice(&sent_us.to_be_bytes());
        body
    }
}

/// All frames, in the order in which they are due.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    video: u64,
    audio: u64,
}

impl Iterator for Frames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let number = u32::try_from(self.video + self.audio).ok()?;
        let video_at = Duration::from_micros(self.video * 1_000_000 / VIDEO_PER_S);
        let audio_at = Duration::from_micros(AUDIO_OFFSET_US + self.audio * 1_000_000 / AUDIO_PER_S);
        Some(if video_at <= audio_at {
            let keyframe = self.video.is_multiple_of(GOP_FRAMES);
            self.video += 1;
            Frame { kind: TagKind::Video, at: video_at, number, keyframe }
        } else {
            self.audio += 1;
            Frame { kind: TagKind::Audio, at: audio_at, number, keyframe: false }
        })
    }
}

/// Finds markers in a stream of bytes that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Markers {
    held: Vec<u8>,
}

impl Markers {
    /// Calls `found` with number and time of each marker that is now complete.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(u32, u64)) {
        self.held.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(start) = self.held[done..].iter().position(|&byte| byte == MAGIC[0]) {
            done += start;
            let Some(marker) = self.held.get(done..done + MARKER_BYTES) else { break };
            let Some((number, time)) = marker.strip_prefix(&MAGIC).and_then(<[u8]>::split_first_chunk) else {
                done += 1;
                continue;
            };
            let time: [u8; 8] = std::array::from_fn(|i| time[i]);
            found(u32::from_be_bytes(*number), u64::from_be_bytes(time));
            done += MARKER_BYTES;
        }
        let incomplete = self.held[done..].iter().position(|&byte| byte == MAGIC[0]);
        self.held.drain(..incomplete.map_or(self.held.len(), |at| done + at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_has_its_rate() {
        let bytes: usize =
            Frames::default().take_while(|f| f.at < Duration::from_secs(20)).map(|f| f.body(0).len()).sum();
        assert!((2_490_000..2_510_000).contains(&(bytes * 8 / 20)), "{}", bytes * 8 / 20);
    }

    #[test]
    fn markers_are_found_in_pieces_of_any_size() {
        let bytes: Vec<u8> = Frames::default().take(20).flat_map(|f| f.body(u64::from(f.number) + 7)).collect();
        for size in [1, 2, 7, 19, 20, 21, 4096, bytes.len()] {
            let (mut markers, mut seen) = (Markers::default(), Vec::new());
            for piece in bytes.chunks(size) {
                markers.feed(piece, |number, time| seen.push((number, time)));
            }
            assert_eq!(seen, (0..20).map(|n| (n, u64::from(n) + 7)).collect::<Vec<_>>());
        }
    }
}
