//! A short clip as a file: what an operator gives to be played in a loop while a publisher is away. Before it: a file or an upload; after
//! it: the hub plays its frames, control asks only whether it can be played.
use bytes::Bytes;

use super::clip_mp4::{self, Mp4Error};
use super::{Codec, CodecConfig, Frame, MediaEvent, Skipped, Track, Unpacker};
use crate::codec::RecordError;
use crate::flv::{Item, ReadError, Reader};
use crate::limits::{CLIP_BITS_PER_SECOND_MAX, CLIP_BYTES_MAX, CLIP_FRAMES_PER_SECOND_MAX, CLIP_MS_MAX};

/// How long a clip of a single picture lasts, milliseconds.
const STILL_MS: i64 = 500;

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
    /// Above [`CLIP_FRAMES_PER_SECOND_MAX`].
    #[error("it has {0} frames a second, picture and sound; encode it with at most {CLIP_FRAMES_PER_SECOND_MAX}")]
    Dense(u64),
}

/// A clip that can be played in a loop.
#[derive(Clone, Debug)]
pub struct Clip {
    /// The configuration of its picture, H.264.
    pub video: CodecConfig,
    /// The configuration of its sound, AAC; `None` where it has none.
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
        // The last picture lasts as long as the others did.
        let steps = i64::try_from(pictures.len()).unwrap_or(i64::MAX) - 1;
        let round_ms =
            length_ms + if steps > 0 && length_ms > 0 { ((length_ms + steps / 2) / steps).max(1) } else { STILL_MS };
        if round_ms > CLIP_MS_MAX {
            return Err(ClipError::Long(round_ms));
        }
        // The picture decides how long a round is: what sounds before it or after it is left out.
        sounds.retain(|sound| (zero_ms..zero_ms + round_ms).contains(&sound.dts_ms));
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
        for frame in &mut frames {
            frame.dts_ms -= zero_ms;
        }
        // Stable: of frames at the same time, the picture comes first.
        frames.sort_by_key(|frame| frame.dts_ms);
        Ok(Clip { video, audio, frames, round_ms })
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::flv::{file_header, write_tag};
    use crate::media::TagKind;

    const BUILT_IN: &[u8] = include_bytes!("../../../hub/slate/slate.flv");
    const DEMO: &[u8] = include_bytes!("../../../millstream/clip/demo.flv");

    /// The tags of a file, each changed or left out.
    fn edited(file: &[u8], mut edit: impl FnMut(usize, TagKind, u32, &[u8]) -> Option<(u32, Vec<u8>)>) -> Vec<u8> {
        let mut out = BytesMut::from(&file_header(true, true)[..]);
        let mut reader = Reader::new();
        reader.push(file).unwrap();
        let mut n = 0;
        while let Some(item) = reader.poll().unwrap() {
            let Item::Tag { kind, timestamp_ms, body } = item else { continue };
            if let Some((timestamp_ms, body)) = edit(n, kind, timestamp_ms, &body) {
                write_tag(&mut out, kind, timestamp_ms, &body).unwrap();
            }
            n += 1;
        }
        out.to_vec()
    }

    #[test]
    fn clips_with_and_without_sound_are_taken_apart() {
        let silent = Clip::read(BUILT_IN).unwrap();
        assert_eq!((silent.frames.len(), silent.round_ms, silent.audio.is_some()), (30, 2_000, false));
        let demo = Clip::read(DEMO).unwrap();
        assert!(demo.audio.is_some() && (17_050..17_080).contains(&demo.round_ms), "{}", demo.round_ms);
        assert!(demo.frames.windows(2).all(|pair| pair[0].dts_ms <= pair[1].dts_ms));
        assert!(demo.frames.first().is_some_and(|first| first.keyframe && first.dts_ms == 0));
        assert!(demo.frames.iter().all(|frame| frame.dts_ms < demo.round_ms));
        // Stamps that do not begin at 0 say the same, and one picture is a still.
        let later = edited(BUILT_IN, |_, _, ms, body| Some((ms + 7_777, body.to_vec())));
        assert_eq!(Clip::read(&later).unwrap().frames[0].dts_ms, 0);
        let still = edited(BUILT_IN, |n, _, ms, body| (n < 3).then(|| (ms, body.to_vec())));
        let still = Clip::read(&still).unwrap();
        assert_eq!((still.frames.len(), still.round_ms), (1, STILL_MS));
    }

    #[test]
    fn a_clip_is_the_same_out_of_mp4_and_flv() {
        let mp4 = include_bytes!("../../tests/data/clip.mp4");
        let (mp4, flv) = (Clip::read(mp4).unwrap(), Clip::read(include_bytes!("../../tests/data/clip.flv")).unwrap());
        assert_eq!((mp4.video.record(), mp4.round_ms), (flv.video.record(), flv.round_ms));
        let audio = |clip: &Clip| clip.audio.as_ref().map(|config| config.record().to_vec());
        assert_eq!(audio(&mp4), audio(&flv));
        for track in [Track::Video, Track::Audio] {
            let of = |clip: &Clip| -> Vec<Frame> {
                clip.frames.iter().filter(|frame| frame.track == track).cloned().collect()
            };
            let (mp4, flv) = (of(&mp4), of(&flv));
            assert!(mp4.len() >= 25 && mp4.len().abs_diff(flv.len()) <= 1, "{} {}", mp4.len(), flv.len());
            assert!(track == Track::Audio || mp4.iter().any(|frame| frame.cts_ms > 40), "B-frames");
            for (a, b) in mp4.iter().zip(&flv) {
                assert_eq!((a.keyframe, a.cts_ms, &a.body), (b.keyframe, b.cts_ms, &b.body));
                assert!(a.dts_ms.abs_diff(b.dts_ms) <= 1, "{} {}", a.dts_ms, b.dts_ms);
            }
        }
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_a_reason() {
        let check = |file: &[u8], says: &str| {
            let error = Clip::read(file).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        check(b"\0\0\0\x20ftypisom\0\0\0\0", "MP4 file cannot be read: it is cut short");
        check(b"\x1A\x45\xDF\xA3\x9F\x42\x86\x81\x01", "neither an MP4 file nor an FLV file");
        check(b"", "whole file");
        check(&BUILT_IN[..BUILT_IN.len() / 2], "whole file");
        check(&vec![0; CLIP_BYTES_MAX + 1], "at most 8388608");
        check(&file_header(true, true), "no picture");
        let video_only = |change: &dyn Fn(&mut Vec<u8>), says: &str| {
            check(
                &edited(BUILT_IN, |_, kind, ms, body| {
                    let mut body = body.to_vec();
                    if kind == TagKind::Video {
                        change(&mut body);
                    }
                    Some((ms, body))
                }),
                says,
            );
        };
        video_only(&|body| body[0] = body[0] & 0xF0 | 2, "-c:v libx264");
        video_only(&|body| body[0] = body[0] & 0x0F | 0x20, "not a keyframe");
        video_only(&|body| body.truncate(7), "cannot be used");
        let mp3 = edited(DEMO, |_, kind, ms, body| {
            let mut body = body.to_vec();
            if kind == TagKind::Audio {
                body[0] = 0x2F;
            }
            Some((ms, body))
        });
        check(&mp3, "-c:a aac");
        check(&edited(BUILT_IN, |_, _, ms, body| Some((ms * 40, body.to_vec()))), "at most 60000 ms");
        check(&edited(BUILT_IN, |n, _, ms, body| Some((if n == 9 { 0 } else { ms }, body.to_vec()))), "backwards");
        let heavy = edited(BUILT_IN, |_, _, ms, body| {
            let coded = body.len() > 1 && body[1] == 1;
            Some((ms, if coded { [body, &vec![0; 200_000]].concat() } else { body.to_vec() }))
        });
        check(&heavy, "bits a second");
        let mut overlapping = include_bytes!("../../tests/data/clip.mp4").to_vec();
        // All samples of the picture are said to have as many bytes as nearly the whole file.
        let stsz = overlapping.windows(4).position(|name| name == b"stsz").unwrap();
        overlapping[stsz + 8..stsz + 12].copy_from_slice(&6_000_u32.to_be_bytes());
        check(&overlapping, "more bytes than the file");
        check(&edited(BUILT_IN, |_, _, ms, body| Some((ms / 40, body.to_vec()))), "frames a second");
    }

    #[test]
    fn no_file_panics() {
        let mp4 = include_bytes!("../../tests/data/clip.mp4");
        for (whole, at) in
            [BUILT_IN, mp4].into_iter().flat_map(|file| (0..file.len()).step_by(3).map(move |at| (file, at)))
        {
            let mut file = whole.to_vec();
            for value in [0, 0x5A, 0xFF] {
                file[at] = value;
                drop(Clip::read(&file));
            }
        }
    }
}
