//! A short clip as a file: what an operator gives to be played in a loop while a publisher is away. Before it: a file or an upload; after
//! it: the hub plays its frames, control asks only whether it can be played.
use bytes::Bytes;

use super::clip_mp4::{self, Mp4Error};
use super::event::{CodecConfig, Frame, MediaEvent};
use super::kinds::{Codec, Track};
use super::unpack::{Skipped, Unpacker};
use crate::codec::aac::AacConfig;
use crate::codec::error::RecordError;
use crate::flv::{Item, ReadError, Reader};
use crate::limits::{CLIP_BITS_PER_SECOND_MAX, CLIP_BYTES_MAX, CLIP_FRAMES_PER_SECOND_MAX, CLIP_MS_MAX};

/// How long a clip of a single picture lasts, milliseconds.
const STILL_MS: i64 = 500;
/// A keyframe that lasts longer than this, milliseconds, is shown several times: the stream's playlists have promised how long their parts are at
/// most, and a picture cannot be cut.
const PICTURE_MS_MAX: i64 = 200;
/// Stamps of audio may be denser than its packets are long by this, milliseconds, and by this share, percent.
const DENSER_MS: i64 = 100;
const DENSER_PERCENT: i64 = 5;
/// Audio that cannot be filled up may be missing for so long, milliseconds: nobody hears it.
const MISSING_MS: i64 = 100;
/// FLV's head of a packet of AAC.
const AAC_HEAD: [u8; 2] = [0xAF, 1];

/// Why a file cannot be played as a clip.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// Longer than [`CLIP_BYTES_MAX`].
    #[error("the file has {0} bytes; give one of at most {CLIP_BYTES_MAX}")]
    Large(usize),
    /// Neither FLV nor MP4.
    #[error(
        "this is neither an MP4 file nor an FLV file ({0}); make one with ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p -c:a aac OUTPUT.mp4"
    )]
    NotFlv(#[from] ReadError),
    /// MP4 that cannot be read.
    #[error("this MP4 file cannot be read: {0}; write it anew with ffmpeg -i INPUT -c copy OUTPUT.mp4")]
    Mp4(#[source] Mp4Error),
    /// Ends in the middle of a tag, or of its header.
    #[error("the file ends in the middle of a tag; give the whole file")]
    Cut,
    /// Other than H.264.
    #[error("its picture is not H.264; encode it with -c:v libx264")]
    NotAvc,
    /// Other than AAC.
    #[error("its sound is not AAC; encode it with -c:a aac, or leave it out with -an")]
    NotAac,
    /// A configuration that no decoder can be given.
    #[error("its {0:?} configuration cannot be used: {1}")]
    BadConfig(Track, RecordError),
    /// Two configurations of one track.
    #[error("its {0:?} coding changes in the middle; encode it in one piece")]
    Recoded(Track),
    /// No picture at all.
    #[error("there is no picture in it; give a clip with H.264 video")]
    NoPicture,
    /// It begins with a picture that needs others before it.
    #[error("its first picture is not a keyframe; cut it at a keyframe, or encode it anew")]
    NoKeyframe,
    /// Decode times that run backwards.
    #[error("its time stamps run backwards at {0} ms; mux it anew")]
    Backwards(i64),
    /// Longer than [`CLIP_MS_MAX`].
    #[error("it lasts {0} ms; give a clip of at most {CLIP_MS_MAX} ms")]
    Long(i64),
    /// Above [`CLIP_BITS_PER_SECOND_MAX`].
    #[error("it has {0} bits a second; encode it with at most {CLIP_BITS_PER_SECOND_MAX}")]
    Fast(u64),
    /// Several frames, all at one time.
    #[error("its {0} pictures all have the same time stamp; encode it anew with -r 25")]
    Stands(usize),
    /// Frames that are further apart than [`PICTURE_MS_MAX`], of which only keyframes could be shown again.
    #[error(
        "{ms} ms pass behind its picture at {at_ms} ms; no picture but a keyframe may last longer than {PICTURE_MS_MAX} ms: encode it with -r 10 or more"
    )]
    Slow {
        /// Where, milliseconds.
        at_ms: i64,
        /// How long, milliseconds.
        ms: i64,
    },
    /// More audio than there is time for it.
    #[error("its sound lasts {counted_ms} ms, but is stamped as if it took {stamped_ms} ms; encode it anew")]
    DenseSound {
        /// How long its packets last, milliseconds.
        counted_ms: i64,
        /// From the first stamp to the end of the last packet, milliseconds.
        stamped_ms: i64,
    },
    /// Audio that is missing for a while, in a coding in which silence cannot be put there.
    #[error(
        "it has no sound for {ms} ms from {at_ms} ms on, and none can be added to this coding; encode it with -af aresample=async=1,apad -shortest, or leave its sound out with -an"
    )]
    SoundMissing {
        /// Where, milliseconds.
        at_ms: i64,
        /// How long, milliseconds.
        ms: i64,
    },
    /// Above [`CLIP_FRAMES_PER_SECOND_MAX`].
    #[error("it has {0} frames a second, picture and sound; encode it with at most {CLIP_FRAMES_PER_SECOND_MAX}")]
    Dense(u64),
}

/// A clip that can be played in a loop.
#[derive(Clone, Debug)]
pub struct Clip {
    /// The configuration of its picture, H.264.
    pub video: CodecConfig,
    /// The configuration of its audio, AAC; `None` where it has none.
    pub audio: Option<CodecConfig>,
    /// Its frames in the order of their decode times, the first of which is 0.
    pub frames: Vec<Frame>,
    /// How long one round lasts, milliseconds: more than any decode time.
    pub round_ms: i64,
}

impl Clip {
    /// Whether a file says that it is MP4: else it is to be FLV.
    pub fn is_mp4(file: &[u8]) -> bool {
        clip_mp4::is_mp4(file)
    }

    /// Reads and checks a file.
    pub fn read(file: &[u8]) -> Result<Self, ClipError> {
        if file.len() > CLIP_BYTES_MAX {
            return Err(ClipError::Large(file.len()));
        }
        let mut found = Found::default();
        if clip_mp4::is_mp4(file) {
            for (kind, timestamp_ms, body) in clip_mp4::tags(file)? {
                found.take(kind, timestamp_ms, body)?;
            }
            return found.finish();
        }
        let mut reader = Reader::new();
        let mut items = 0;
        reader.push(file)?;
        while let Some(item) = reader.poll()? {
            items += 1;
            if let Item::Tag { kind, timestamp_ms, body } = item {
                found.take(kind, timestamp_ms, body)?;
            }
        }
        if items == 0 || !reader.is_empty() {
            return Err(ClipError::Cut);
        }
        found.finish()
    }
}

/// What has been read of a file.
#[derive(Debug, Default)]
struct Found {
    unpacker: Unpacker,
    video: Option<CodecConfig>,
    audio: Option<CodecConfig>,
    pictures: Vec<Frame>,
    sounds: Vec<Frame>,
}

impl Found {
    fn take(&mut self, kind: super::TagKind, timestamp_ms: u32, body: Bytes) -> Result<(), ClipError> {
        match self.unpacker.push(kind, timestamp_ms, body) {
            Ok(MediaEvent::Config(config)) => {
                let place = match (config.track, config.codec) {
                    (Track::Video, Codec::Avc) => &mut self.video,
                    (Track::Video, _) => return Err(ClipError::NotAvc),
                    (Track::Audio, Codec::Aac) => &mut self.audio,
                    (Track::Audio, _) => return Err(ClipError::NotAac),
                };
                if place.is_some() {
                    return Err(ClipError::Recoded(config.track));
                }
                *place = Some(config);
            }
            Ok(MediaEvent::Frame(frame)) => {
                let frames = match (frame.track, frame.codec) {
                    (Track::Video, Codec::Avc) => &mut self.pictures,
                    (Track::Video, _) => return Err(ClipError::NotAvc),
                    (Track::Audio, Codec::Aac) => &mut self.sounds,
                    (Track::Audio, _) => return Err(ClipError::NotAac),
                };
                if frames.last().is_some_and(|last| last.dts_ms > frame.dts_ms) {
                    return Err(ClipError::Backwards(frame.dts_ms));
                }
                frames.push(frame);
            }
            Err(Skipped::UnsupportedVideo(_) | Skipped::UnsupportedFourCc(Track::Video, _)) => {
                return Err(ClipError::NotAvc);
            }
            Err(Skipped::UnsupportedAudio(_) | Skipped::UnsupportedFourCc(Track::Audio, _)) => {
                return Err(ClipError::NotAac);
            }
            Err(Skipped::BadConfig(track, error)) => return Err(ClipError::BadConfig(track, error)),
            // Ends of sequences, data that is no metadata: nothing that a loop plays.
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Clip, ClipError> {
        let Self { video, audio, mut pictures, mut sounds, .. } = self;
        let (Some(video), Some(first)) = (video, pictures.first()) else { return Err(ClipError::NoPicture) };
        if !first.keyframe {
            return Err(ClipError::NoKeyframe);
        }
        let zero_ms = first.dts_ms;
        let last_ms = pictures.last().map_or(zero_ms, |last| last.dts_ms);
        let length_ms = last_ms - zero_ms;
        if pictures.len() > 1 && length_ms == 0 {
            return Err(ClipError::Stands(pictures.len()));
        }
        // The last picture lasts as long as the others did.
        let steps = i64::try_from(pictures.len()).unwrap_or(i64::MAX) - 1;
        let round_ms =
            length_ms + if steps > 0 && length_ms > 0 { ((length_ms + steps / 2) / steps).max(1) } else { STILL_MS };
        if round_ms > CLIP_MS_MAX {
            return Err(ClipError::Long(round_ms));
        }
        for frame in pictures.iter_mut().chain(&mut sounds) {
            frame.dts_ms -= zero_ms;
        }
        let mut pictures = repeated(pictures, round_ms)?;
        if let Some(config) = &audio {
            let aac = AacConfig::parse(config.record()).map_err(|error| ClipError::BadConfig(Track::Audio, error))?;
            check_density(&aac, &sounds)?;
            // The picture decides how long a round is: what sounds before it or after it is left out.
            sounds.retain(|sound| (0..round_ms).contains(&sound.dts_ms));
            sounds = filled(&aac, sounds, round_ms)?;
        }
        let bits = pictures.iter().chain(&sounds).map(|frame| frame.body.len() as u64 * 8).sum::<u64>();
        let per_second = bits.saturating_mul(1_000) / round_ms.unsigned_abs().max(1);
        if per_second > CLIP_BITS_PER_SECOND_MAX {
            return Err(ClipError::Fast(per_second));
        }
        let frames_per_second = (pictures.len() + sounds.len()) as u64 * 1_000 / round_ms.unsigned_abs().max(1);
        if frames_per_second > CLIP_FRAMES_PER_SECOND_MAX {
            return Err(ClipError::Dense(frames_per_second));
        }
        let audio = audio.filter(|_| !sounds.is_empty());
        let mut frames = Vec::with_capacity(pictures.len() + sounds.len());
        frames.append(&mut pictures);
        if audio.is_some() {
            frames.append(&mut sounds);
        }
        // Stable: of frames at the same time, the picture comes first.
        frames.sort_by_key(|frame| frame.dts_ms);
        Ok(Clip { video, audio, frames, round_ms })
    }
}

/// Frames of which none lasts longer than [`PICTURE_MS_MAX`].
fn repeated(pictures: Vec<Frame>, round_ms: i64) -> Result<Vec<Frame>, ClipError> {
    let mut out = Vec::with_capacity(pictures.len());
    let mut pictures = pictures.into_iter().peekable();
    while let Some(picture) = pictures.next() {
        let at_ms = picture.dts_ms;
        let ms = pictures.peek().map_or(round_ms, |next| next.dts_ms) - at_ms;
        let times = (ms + PICTURE_MS_MAX - 1) / PICTURE_MS_MAX;
        if times > 1 && !picture.keyframe {
            return Err(ClipError::Slow { at_ms, ms });
        }
        out.extend((1..times).map(|n| Frame { dts_ms: at_ms + n * ms / times, ..picture.clone() }));
        out.push(picture);
    }
    // Stable: no two frames change places.
    out.sort_by_key(|picture| picture.dts_ms);
    Ok(out)
}

/// Whether stamps leave audio the time that it takes. Gaps in it are another matter.
fn check_density(config: &AacConfig, sounds: &[Frame]) -> Result<(), ClipError> {
    let (Some(first), Some(last)) = (sounds.first(), sounds.last()) else { return Ok(()) };
    let ms = |packets: usize| i64::try_from(packets as u64 * config.packet_us() / 1_000).unwrap_or(i64::MAX);
    let (counted_ms, stamped_ms) = (ms(sounds.len()), last.dts_ms - first.dts_ms + ms(1));
    let per_second = 1_000_000 / config.packet_us().max(1);
    if per_second > CLIP_FRAMES_PER_SECOND_MAX {
        return Err(ClipError::Dense(per_second));
    }
    let enough_ms = stamped_ms + DENSER_MS + stamped_ms * DENSER_PERCENT / 100;
    if counted_ms > enough_ms { Err(ClipError::DenseSound { counted_ms, stamped_ms }) } else { Ok(()) }
}

/// Audio with silence wherever some is missing in the round: players stop at a hole.
fn filled(config: &AacConfig, sounds: Vec<Frame>, round_ms: i64) -> Result<Vec<Frame>, ClipError> {
    let Some(last) = sounds.last().cloned() else { return Ok(sounds) };
    let silent = config.silent_packet().map(|packet| Bytes::from([&AAC_HEAD, packet].concat()));
    let packet_us = i64::try_from(config.packet_us()).unwrap_or(i64::MAX).max(1_000);
    let mut out = Vec::with_capacity(sounds.len());
    let mut end_us = 0;
    let fill = |end_us: i64, until_us: i64, out: &mut Vec<Frame>| {
        let packets = (until_us - end_us + packet_us / 2) / packet_us;
        let (at_ms, ms) = (end_us / 1_000, (until_us - end_us) / 1_000);
        match &silent {
            _ if packets < 1 => {}
            Some(body) => out.extend((0..packets).map(|n| Frame {
                dts_ms: (end_us + n * packet_us) / 1_000,
                body: body.clone(),
                data_at: AAC_HEAD.len(),
                ..last.clone()
            })),
            None if ms <= MISSING_MS => {}
            None => return Err(ClipError::SoundMissing { at_ms, ms }),
        }
        Ok(())
    };
    for sound in sounds {
        let from_us = sound.dts_ms.saturating_mul(1_000);
        fill(end_us, from_us, &mut out)?;
        end_us = end_us.max(from_us) + packet_us;
        out.push(sound);
    }
    fill(end_us, round_ms * 1_000, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
