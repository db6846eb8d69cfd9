//! The slate: a clip that plays in a loop while a stream has no publisher, made to fit the tracks that the stream has had. Before it:
//! [`Clip`], shared by all streams; after it: [`crate::stream`], which takes its frames as those of one more publisher.
//!
//! A track that the stream has not had is left out, and audio that the clip has not is made of silent packets: players cannot add or lose
//! a track while they play.
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::codec::aac::AacConfig;
use millstream_proto::media::{Clip, Codec, CodecConfig, Frame, Track};
use millstream_proto::time::Time;

use crate::package::stream_headers::StreamHeaders;

/// A slate that is later than this, because the thread was busy, goes on from where it is and does not catch up.
const LATE_MAX: Duration = Duration::from_millis(2_500);
/// A slate fills what was missed before it began, as far as this: players stop at a hole.
pub(crate) const FILL_MAX: Duration = Duration::from_secs(2);
/// From the last frame before it to its first.
const STEP: Duration = Duration::from_millis(40);
const _: () = assert!(FILL_MAX.as_millis() < LATE_MAX.as_millis());
/// A packet of Opus that says nothing for 20 ms, whatever the channels (RFC 6716, 3.1: CELT, fullband, one frame).
const OPUS_SILENT: &[u8] = b"\x91Opus\xF8\xFF\xFE";
/// Of [`OPUS_SILENT`].
const OPUS_DATA_AT: usize = 5;
/// FLV's head of a packet of AAC.
const AAC_HEAD: [u8; 2] = [0xAF, 1];
/// FLV's sequence header of AAC-LC, 44.1 kHz, stereo: for streams whose own audio cannot be imitated.
const AAC_PLAIN: &[u8] = &[0xAF, 0, 0x12, 0x10];

/// The clip that is played where the operator has given none.
pub fn built_in() -> Arc<Clip> {
    static CLIP: LazyLock<Option<Arc<Clip>>> =
        LazyLock::new(|| Clip::read(include_bytes!("../slate/slate.flv")).ok().map(Arc::new));
    CLIP.clone().expect("the built-in slate can be played: a test says so")
}

/// A clip that is being played.
#[derive(Debug)]
pub(crate) struct Slate {
    clip: Arc<Clip>,
    picture: bool,
    sound: Sound,
    began: Time,
    /// How much later than at first its frames are due, milliseconds.
    late_ms: i64,
    /// The next frame of the clip: index and round.
    next: (usize, i64),
    /// Silent packets so far.
    silent: u64,
    /// Which tracks its frames are of, and what they are coded with.
    configs: Vec<CodecConfig>,
}

#[derive(Debug)]
enum Sound {
    None,
    OfClip,
    Silent { codec: Codec, body: Bytes, data_at: usize, samples: u64, rate_hz: u64 },
}

impl Slate {
    /// Begins to play behind a frame that arrived at `last`, in a stream that has had these tracks.
    pub(crate) fn new(clip: Arc<Clip>, had: &StreamHeaders, last: Time) -> Self {
        let picture = had.has(Track::Video);
        let mut configs: Vec<CodecConfig> = picture.then(|| clip.video.clone()).into_iter().collect();
        let sound = if had.has(Track::Audio) { heard(&clip, had.audio.as_ref(), &mut configs) } else { Sound::None };
        Self { clip, picture, sound, began: last + STEP, late_ms: 0, next: (0, 0), silent: 0, configs }
    }

    /// Configurations to be in force before its first frame.
    pub(crate) fn take_configs(&mut self) -> Vec<CodecConfig> {
        std::mem::take(&mut self.configs)
    }

    /// When its next frame is due.
    pub(crate) fn due(&self) -> Option<Time> {
        let ms = self.late_ms
            + match (self.of_clip(), self.silence_ms()) {
                (Some((ms, ..)), Some(silent)) => ms.min(silent),
                (Some((ms, ..)), None) => ms,
                (None, silent) => silent?,
            };
        Some(self.began + Duration::from_millis(ms.max(0).unsigned_abs()))
    }

    /// Its next frame, if that is due, and when it was. Stamps are milliseconds since it began.
    pub(crate) fn poll(&mut self, now: Time) -> Option<(Frame, Time)> {
        let due = self.due().filter(|due| *due <= now)?;
        let late = now.since(due);
        let at = if late > LATE_MAX {
            self.late_ms += i64::try_from(late.as_millis()).unwrap_or(0);
            now
        } else {
            due
        };
        let late_ms = self.late_ms;
        let silent = self.silence_ms();
        let frame = match self.of_clip() {
            Some((dts_ms, index, round)) if silent.is_none_or(|silent| dts_ms <= silent) => {
                self.next = (index + 1, round);
                let dts_ms = dts_ms + late_ms;
                self.clip.frames.get(index).map(|frame| Frame { dts_ms, ..frame.clone() })
            }
            _ => {
                let Sound::Silent { codec, body, data_at, .. } = &self.sound else { return None };
                self.silent += 1;
                let (codec, body, data_at) = (*codec, body.clone(), *data_at);
                let (track, dts_ms) = (Track::Audio, silent? + late_ms);
                Some(Frame { track, codec, dts_ms, cts_ms: 0, keyframe: true, body, data_at })
            }
        };
        frame.map(|frame| (frame, at))
    }

    /// The next frame of the clip that is played: its time, and where it is.
    fn of_clip(&self) -> Option<(i64, usize, i64)> {
        let plays = |frame: &Frame| match frame.track {
            Track::Video => self.picture,
            Track::Audio => matches!(self.sound, Sound::OfClip),
        };
        let (from, round) = self.next;
        let find = |from: usize| (from..self.clip.frames.len()).find(|&n| self.clip.frames.get(n).is_some_and(plays));
        let (index, round) = match find(from) {
            Some(index) => (index, round),
            None => (find(0)?, round + 1),
        };
        let frame = self.clip.frames.get(index)?;
        Some((frame.dts_ms + round * self.clip.round_ms, index, round))
    }

    fn silence_ms(&self) -> Option<i64> {
        match self.sound {
            Sound::Silent { samples, rate_hz, .. } => i64::try_from(self.silent * samples * 1_000 / rate_hz).ok(),
            _ => None,
        }
    }
}

/// What is heard in a stream whose audio was of this configuration: of the clip where both are AAC, else silence, in the stream's own coding
/// as far as that is known, so that players need not change theirs.
fn heard(clip: &Clip, had: Option<&CodecConfig>, configs: &mut Vec<CodecConfig>) -> Sound {
    let codec = had.map(|config| config.codec);
    if codec == Some(Codec::Opus) {
        let body = Bytes::from_static(OPUS_SILENT);
        return Sound::Silent { codec: Codec::Opus, body, data_at: OPUS_DATA_AT, samples: 960, rate_hz: 48_000 };
    }
    if let Some(config) = &clip.audio {
        configs.push(config.clone());
        return Sound::OfClip;
    }
    let own = had.filter(|_| codec == Some(Codec::Aac)).and_then(|config| AacConfig::parse(config.record()).ok());
    if let Some(sound) = own.as_ref().and_then(silent_aac) {
        return sound;
    }
    let (track, codec, body) = (Track::Audio, Codec::Aac, Bytes::from_static(AAC_PLAIN));
    let plain = CodecConfig { track, codec, body, record_at: AAC_HEAD.len() };
    let silent = AacConfig::parse(plain.record()).ok().as_ref().and_then(silent_aac);
    configs.push(plain);
    silent.unwrap_or(Sound::None)
}

fn silent_aac(config: &AacConfig) -> Option<Sound> {
    let body = [&AAC_HEAD, config.silent_packet()?].concat().into();
    let (samples, rate_hz) = (u64::from(config.frame_samples), u64::from(config.core_rate_hz.max(1)));
    Some(Sound::Silent { codec: Codec::Aac, body, data_at: AAC_HEAD.len(), samples, rate_hz })
}

#[cfg(test)]
mod tests;
