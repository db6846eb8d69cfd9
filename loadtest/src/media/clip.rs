//! An FLV file as an endless sequence of frames: when it ends, it begins again, and time goes on.
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::flv::{Item, ReadError, Reader};
use millstream_proto::limits::FLV_UNREAD_BYTES_MAX;
use millstream_proto::media::{MediaEvent, TagKind, Track, Unpacker};

use crate::limits::CLIP_BYTES_MAX;

/// The product's own test clip; see `dataplane/millstream/clip/make.sh`.
const DEMO: &[u8] = include_bytes!("../../../dataplane/millstream/clip/demo.flv");
/// What a publisher puts before a file's `onMetaData`: an AMF0 string.
const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

/// Why a clip cannot be published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClipError {
    /// The file cannot be read.
    #[error("cannot read the clip {path}: {why}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The file is too long.
    #[error("the clip has more than {CLIP_BYTES_MAX} bytes")]
    Long,
    /// The file is not FLV.
    #[error("the clip is not FLV that can be published: {0}; make one with: ffmpeg -i FILE -c copy -f flv clip.flv")]
    Flv(#[from] ReadError),
    /// No frames, or all at one time.
    #[error("the clip has no frames that can be played")]
    Empty,
}

/// A clip, taken apart.
#[derive(Debug)]
pub(crate) struct Clip {
    pub(super) head: Vec<(TagKind, Bytes)>,
    /// Kind, milliseconds since the first, body.
    frames: Vec<(TagKind, u64, Bytes)>,
    round: Duration,
}

impl Clip {
    pub(super) fn demo() -> Result<Self, ClipError> {
        Self::parse(DEMO)
    }

    pub(super) fn read(path: &Path) -> Result<Self, ClipError> {
        let mut bytes = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(CLIP_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|why| ClipError::Read { path: path.to_owned(), why })?;
        if bytes.len() as u64 > CLIP_BYTES_MAX { Err(ClipError::Long) } else { Self::parse(&bytes) }
    }

    /// Takes a file apart. The last configuration of each track is the one that is sent: clips with several are rare, and a decoder
    /// survives neither choice.
    fn parse(flv: &[u8]) -> Result<Self, ClipError> {
        let (mut reader, mut unpacker) = (Reader::new(), Unpacker::new());
        let mut script = None;
        let (mut video, mut audio) = (None, None);
        let mut frames: Vec<(TagKind, i64, Bytes)> = Vec::new();
        for piece in flv.chunks(FLV_UNREAD_BYTES_MAX / 4) {
            reader.push(piece)?;
            while let Some(item) = reader.poll()? {
                let Item::Tag { kind, timestamp_ms, body } = item else { continue };
                match unpacker.push(kind, timestamp_ms, body) {
                    Ok(MediaEvent::Metadata(body)) => script = Some([SET_DATA_FRAME, &body].concat().into()),
                    Ok(MediaEvent::Config(config)) if config.track == Track::Video => video = Some(config.body),
                    Ok(MediaEvent::Config(config)) => audio = Some(config.body),
                    Ok(MediaEvent::Frame(frame)) => frames.push((kind, frame.dts_ms, frame.body)),
                    Ok(_) | Err(_) => {}
                }
            }
        }
        frames.sort_by_key(|(_, dts_ms, _)| *dts_ms);
        // A live stream begins with a keyframe.
        let start = frames.iter().position(|(kind, _, body)| {
            *kind == TagKind::Video && body.first_chunk().is_some_and(|head| super::is_keyframe(*head))
        });
        frames.drain(..start.unwrap_or(0));
        let (first, last) = match (frames.first(), frames.last()) {
            (Some(first), Some(last)) if last.1 > first.1 => (first.1, last.1),
            _ => return Err(ClipError::Empty),
        };
        // The last frame lasts as long as its kind does on average.
        let kind = frames.last().map_or(TagKind::Video, |frame| frame.0);
        let count = frames.iter().filter(|frame| frame.0 == kind).count() as u64;
        let length_ms = (last - first) as u64;
        let round = Duration::from_millis(length_ms + (length_ms / count.max(2).saturating_sub(1)).max(1));
        let frames = frames.into_iter().map(|(kind, dts_ms, body)| (kind, (dts_ms - first) as u64, body)).collect();
        let head = [(TagKind::Script, script), (TagKind::Video, video), (TagKind::Audio, audio)];
        let head = head.into_iter().filter_map(|(kind, body)| Some((kind, body?))).collect();
        Ok(Self { head, frames, round })
    }

    /// Frame number `n` of the endless sequence.
    pub(super) fn frame(&self, n: u64) -> (Duration, TagKind, &[u8]) {
        let count = self.frames.len() as u64;
        let (kind, at_ms, body) = &self.frames[(n % count) as usize];
        let rounds = u32::try_from(n / count).unwrap_or(u32::MAX);
        (self.round * rounds + Duration::from_millis(*at_ms), *kind, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_clip_goes_round_without_a_seam() {
        let clip = Clip::demo().unwrap();
        assert_eq!(
            clip.head.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
            [TagKind::Script, TagKind::Video, TagKind::Audio]
        );
        let pictures = (0..clip.frames.len() as u64 * 3).map(|n| clip.frame(n)).filter(|f| f.1 == TagKind::Video);
        let times: Vec<_> = pictures.map(|frame| frame.0).collect();
        let steps = times.windows(2).map(|pair| pair[1].as_millis() - pair[0].as_millis());
        assert!(steps.into_iter().all(|step| (20..=46).contains(&step)));
    }

    #[test]
    fn what_is_no_clip_is_refused() {
        assert!(matches!(Clip::parse(b"RIFF1234AVI "), Err(ClipError::Flv(_))));
        assert!(matches!(Clip::parse(&DEMO[..13]), Err(ClipError::Empty)));
        assert!(matches!(Clip::read(Path::new("/nonexistent.flv")), Err(ClipError::Read { .. })));
    }
}
