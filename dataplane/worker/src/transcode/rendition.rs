//! One rendition of a stream: the source's pieces in, FLV tags out. Before it: [`super::Source`], shared by all renditions; after it: the push
//! to the node.
//!
//! Every picture has the stamps that the source gave it, and a keyframe is where the source has one; so the segments of all renditions begin
//! and end at the same times.
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use millstream_proto::codec::avc;
use millstream_proto::media::TagKind;

use super::metadata::{self, Own};
use super::{Piece, Shown};
use crate::codec::av1::Av1Encoder;
use crate::codec::encode::{EncodeError, Encoded, Encoder, Settings};
use crate::codec::scale::Scaler;
use crate::ffmpeg::encode::LateEncoder;
use crate::ffmpeg::{Ffmpeg, FfmpegError};
use crate::h264::params::Params;
use crate::mark::{MarkSet, Overlay};
use crate::picture::{Picture, fit};
use crate::protocol::PictureCodec;
use crate::room::{NoRoom, Pace, Room, Share};

/// Where nothing says a frame rate.
const FPS_ASSUMED: f64 = 30.0;
/// A measured rate that is off by so much makes a new encoder.
const FPS_OFF: f64 = 0.1;
/// Frames over which a rate is measured.
const FPS_FRAMES_MIN: u32 = 8;
/// Encoders of `ffmpeg` that fail one behind the other, without a picture between them.
const FAILURES_MAX: u32 = 3;
/// Composition times that fit into a tag.
const CTS_MS: std::ops::RangeInclusive<i64> = -(1 << 23)..=(1 << 23) - 1;

/// What is before the record of H.264 in a tag, and before records and frames of AV1 and H.265 (Enhanced RTMP: `SequenceStart` and `CodedFrames`).
const AVC_HEADER: &[u8] = &[0x17, 0, 0, 0, 0];
const AV1_HEADER: &[u8] = b"\x90av01";
const AV1_KEYFRAME: &[u8] = b"\x91av01";
const AV1_FRAME: &[u8] = b"\xa1av01";
const HEVC_HEADER: &[u8] = b"\x90hvc1";
const HEVC_KEYFRAME: &[u8] = b"\x91hvc1";
const HEVC_FRAME: &[u8] = b"\xa1hvc1";

/// The box, the rate and the coding of a rendition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The box that the picture is fitted into.
    pub within: (u32, u32),
    /// Bit rate of the video.
    pub kbit_s: u32,
    /// What it is encoded as.
    pub codec: PictureCodec,
}

/// What a tag is to who sends it on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagRole {
    /// `onMetaData`.
    Metadata,
    /// A codec configuration.
    VideoHeader,
    /// A codec configuration.
    AudioHeader,
    /// Where a decoder can start.
    Keyframe,
    /// Any other frame.
    Frame,
}

/// A tag of a rendition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// Audio, video or script.
    pub kind: TagKind,
    /// Milliseconds modulo 2^32, as the source has it.
    pub timestamp_ms: u32,
    /// The body.
    pub body: Bytes,
    /// What it is.
    pub role: TagRole,
}

/// Why there is no rendition.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenditionError {
    /// The source is smaller than the rendition would be.
    #[error("the source has {0}x{1}: the rendition would be larger, and nothing is blown up")]
    NotSmaller(u32, u32),
    /// This machine cannot make it in time, and why.
    #[error("{0}")]
    TooSlow(String),
    /// Nothing here encodes what it is to be, and why.
    #[error("{0}")]
    NoEncoder(&'static str),
    /// See [`EncodeError`].
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// An encoder at work, and what it was made for.
struct Running {
    coder: Coder,
    scaler: Scaler,
    settings: Settings,
    /// Frames of a second that the source has.
    source_fps: f64,
    /// One of so many pictures is encoded, from each keyframe on.
    every: u32,
    /// Pictures since the last one that was.
    passed: u32,
    /// Pictures that the encoder has.
    under_way: VecDeque<Stamps>,
    _share: Option<Share>,
}

/// Who encodes.
enum Coder {
    /// Each picture comes back at once.
    Own(Box<Encoder>),
    /// It may come later.
    Late(Box<LateEncoder>),
    /// It comes some pictures later.
    Av1(Box<Av1Encoder>),
}

/// A picture's place on the source's timeline.
#[derive(Clone, Copy, Debug)]
struct Stamps {
    dts_ms: i64,
    pts_ms: i64,
    keyframe: bool,
}

impl Coder {
    fn new(settings: Settings, codec: PictureCodec, ffmpeg: Option<&Ffmpeg>) -> Result<Self, Failed> {
        if codec == PictureCodec::Av1 {
            return Ok(Self::Av1(Box::new(Av1Encoder::new(settings).map_err(Failed::Own)?)));
        }
        if codec == PictureCodec::Hevc {
            let ffmpeg = ffmpeg.ok_or(Failed::None("it is to be H.265, and no ffmpeg is used here"))?;
            return Ok(Self::Late(Box::new(ffmpeg.hevc_encoder(settings).map_err(Failed::Late)?)));
        }
        Ok(match ffmpeg.and_then(|ffmpeg| ffmpeg.encoder(settings)) {
            Some(encoder) => Self::Late(Box::new(encoder.map_err(Failed::Late)?)),
            None => Self::Own(Box::new(Encoder::new(settings).map_err(Failed::Own)?)),
        })
    }

    fn encode(&mut self, picture: &Picture, pts_ms: i64, idr: bool) -> Result<Vec<Encoded>, Failed> {
        Ok(match self {
            Self::Own(encoder) => vec![encoder.encode(picture, pts_ms, idr).map_err(Failed::Own)?],
            Self::Late(encoder) => encoder.encode(picture, pts_ms, idr).map_err(Failed::Late)?,
            Self::Av1(encoder) => encoder.encode(picture, idr).map_err(Failed::Own)?,
        })
    }

    /// Nothing more comes: the rest.
    fn finish(self) -> Vec<Encoded> {
        match self {
            Self::Own(_) => Vec::new(),
            Self::Late(encoder) => encoder.finish(),
            Self::Av1(encoder) => encoder.finish(),
        }
    }
}

/// Whose fault it is.
enum Failed {
    Own(EncodeError),
    Late(FfmpegError),
    /// There is nobody.
    None(&'static str),
}

/// One rendition. Sans-IO: pieces go in, tags come out.
pub struct Rendition {
    target: Target,
    params: Option<Arc<Params>>,
    size: (u32, u32),
    metadata: Option<Bytes>,
    audio: Option<Bytes>,
    running: Option<Running>,
    /// What the newest configuration says.
    record: Vec<u8>,
    ffmpeg: Option<Ffmpeg>,
    room: Room,
    failures: u32,
    /// The source has other parameter sets since the encoder was made.
    renew: bool,
    /// Tags go out.
    begun: bool,
    fps: Fps,
    marks: Option<Arc<MarkSet>>,
    /// Those over pictures of the encoder's settings; made with the first of them.
    overlay: Option<Overlay>,
}

impl Rendition {
    /// A rendition that waits for its first keyframe.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            params: None,
            size: (0, 0),
            metadata: None,
            audio: None,
            running: None,
            record: Vec::new(),
            ffmpeg: None,
            room: Room::default(),
            failures: 0,
            renew: false,
            begun: false,
            fps: Fps::default(),
            marks: None,
            overlay: None,
        }
    }

    /// The same, with an `ffmpeg` that may encode.
    pub(crate) fn with_ffmpeg(self, ffmpeg: Option<Ffmpeg>) -> Self {
        Self { ffmpeg, ..self }
    }

    /// The same, with what there is room for.
    pub(crate) fn with_room(self, room: Room) -> Self {
        Self { room, ..self }
    }

    /// What is drawn over pictures from the next one on.
    pub fn set_marks(&mut self, marks: Option<&Arc<MarkSet>>) {
        let is_same = match (&self.marks, marks) {
            (Some(before), Some(marks)) => Arc::ptr_eq(before, marks),
            (None, None) => true,
            _ => false,
        };
        if !is_same {
            (self.marks, self.overlay) = (marks.cloned(), None);
        }
    }

    /// Pixels across and down; 0 while the source's size is not known.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Takes the next piece and appends the tags that it makes. After an error the rendition is of no use.
    pub fn push(&mut self, piece: &Piece, tags: &mut Vec<Tag>) -> Result<(), RenditionError> {
        match piece {
            Piece::Params(params) => self.source_is(params)?,
            // Said again by another pipeline of the same source.
            Piece::Metadata(values) if self.metadata.as_ref() == Some(values) => {}
            Piece::Audio { header: true, body, .. } if self.audio.as_ref() == Some(body) => {}
            Piece::Metadata(values) => {
                self.metadata = Some(values.clone());
                if self.begun {
                    tags.push(self.metadata_tag());
                }
            }
            Piece::Audio { timestamp_ms, header, body } => {
                if *header {
                    self.audio = Some(body.clone());
                }
                if self.begun {
                    let role = if *header { TagRole::AudioHeader } else { TagRole::Frame };
                    let (timestamp_ms, body) = (*timestamp_ms, body.clone());
                    tags.push(Tag { kind: TagKind::Audio, timestamp_ms, body, role });
                }
            }
            Piece::Picture(shown) => self.picture(shown, tags)?,
        }
        Ok(())
    }

    /// Nothing more comes: what the encoder holds.
    pub fn finish(&mut self, tags: &mut Vec<Tag>) {
        if let Some(Running { coder, mut under_way, .. }) = self.running.take() {
            for encoded in coder.finish() {
                self.give(under_way.pop_front(), &encoded, tags);
            }
        }
    }

    fn source_is(&mut self, params: &Arc<Params>) -> Result<(), RenditionError> {
        if self.params.as_ref() == Some(params) {
            return Ok(());
        }
        self.params = Some(Arc::clone(params));
        self.renew = true;
        // What ffmpeg decodes has a shape that its first picture says.
        if params.late.is_none() { self.shaped(params.aspect) } else { Ok(()) }
    }

    /// Samples of the source have this shape, width by height: those of a rendition are square.
    fn shaped(&mut self, aspect: (u32, u32)) -> Result<(), RenditionError> {
        let Some(params) = &self.params else { return Ok(()) };
        let (width, height) = (params.width, params.height);
        let size = fit((width, height), aspect, self.target.within);
        self.size = size.ok_or(RenditionError::NotSmaller(width, height))?;
        Ok(())
    }

    fn picture(&mut self, shown: &Shown, tags: &mut Vec<Tag>) -> Result<(), RenditionError> {
        let Some(params) = self.params.clone() else { return Ok(()) };
        let measured = self.fps.push(shown);
        if shown.keyframe {
            self.shaped(shown.aspect.unwrap_or(params.aspect))?;
            let said = params.fps.or_else(|| self.metadata.as_ref().and_then(metadata::fps));
            let before = self.running.as_ref().map(|running| running.source_fps);
            let fps = measured.or(before).or(said).unwrap_or(FPS_ASSUMED);
            let near = |before: f64| (fps / before - 1.0).abs() <= FPS_OFF;
            let fps = before.filter(|before| near(*before)).unwrap_or(fps);
            let Pace { every, cores } = self.pace(fps)?;
            let settings = Settings {
                width: self.size.0,
                height: self.size.1,
                kbit_s: self.target.kbit_s,
                fps: fps as f32 / every as f32,
                colour: params.colour,
            };
            if self.renew || self.running.as_ref().is_none_or(|running| running.settings != settings) {
                self.finish(tags);
                // What is merely said may be the rate of fields, or anything.
                let believed = measured.or(before).unwrap_or(fps.min(FPS_ASSUMED));
                let share = self.share(believed as f32, cores)?;
                let coder = match Coder::new(settings, self.target.codec, self.ffmpeg.as_ref()) {
                    Ok(coder) => coder,
                    Err(Failed::Late(error)) => return self.failed(&error),
                    Err(Failed::Own(error)) => return Err(error.into()),
                    Err(Failed::None(why)) => return Err(RenditionError::NoEncoder(why)),
                };
                let scaler = Scaler::new(settings.width, settings.height);
                let (source_fps, under_way) = (fps, VecDeque::new());
                self.running =
                    Some(Running { coder, scaler, settings, source_fps, every, passed: 0, under_way, _share: share });
                self.renew = false;
                self.overlay = None;
            }
        }
        // Nothing goes before a keyframe; the first one may still be with an encoder that gives it later.
        let is_let_in = |running: &&mut Running| self.begun || shown.keyframe || !running.under_way.is_empty();
        let Some(running) = self.running.as_mut().filter(is_let_in) else { return Ok(()) };
        running.passed = if shown.keyframe { 0 } else { running.passed + 1 };
        if !running.passed.is_multiple_of(running.every) {
            return Ok(());
        }
        let failed = || EncodeError("the picture cannot be scaled".to_owned());
        let same = (shown.picture.width(), shown.picture.height()) == (running.settings.width, running.settings.height);
        let scaled = if same { None } else { Some(running.scaler.scale(&shown.picture).ok_or_else(failed)?) };
        let drawn_over = match &self.marks {
            Some(marks) => {
                let Settings { width, height, colour, .. } = running.settings;
                let source = (shown.picture.width(), shown.picture.height());
                let overlay = self.overlay.get_or_insert_with(|| marks.over((width, height), source, colour));
                (!overlay.is_empty()).then_some(overlay)
            }
            None => None,
        };
        let own = match drawn_over {
            Some(overlay) => {
                // Renditions of the source's size share its picture with others.
                let mut own = scaled.unwrap_or_else(|| shown.picture.as_ref().clone());
                overlay.draw(&mut own);
                Some(own)
            }
            None => scaled,
        };
        let picture = own.as_ref().unwrap_or(&shown.picture);
        let Shown { dts_ms, pts_ms, keyframe, .. } = *shown;
        running.under_way.push_back(Stamps { dts_ms, pts_ms, keyframe });
        let made = match running.coder.encode(picture, pts_ms, keyframe) {
            Ok(made) => made,
            Err(Failed::Late(error)) => return self.failed(&error),
            Err(Failed::Own(error)) => return Err(error.into()),
            Err(Failed::None(why)) => return Err(RenditionError::NoEncoder(why)),
        };
        for encoded in made {
            let stamps = self.running.as_mut().and_then(|running| running.under_way.pop_front());
            self.give(stamps, &encoded, tags);
        }
        Ok(())
    }

    /// How it is made of a source with so many frames a second.
    fn pace(&self, source_fps: f64) -> Result<Pace, RenditionError> {
        match self.target.codec {
            PictureCodec::Av1 => self.room.av1_pace(self.size, source_fps as f32).map_err(too_slow),
            _ => Ok(Pace { every: 1, cores: 0.0 }),
        }
    }

    /// Its share of what there is; nothing is known of encoders of `ffmpeg`, some of which work elsewhere.
    fn share(&self, fps: f32, av1_cores: f32) -> Result<Option<Share>, RenditionError> {
        match self.target.codec {
            PictureCodec::Av1 => self.room.take_av1(self.size, av1_cores).map(Some).map_err(too_slow),
            PictureCodec::H264 if self.ffmpeg.as_ref().is_none_or(|ffmpeg| !ffmpeg.encodes_avc()) => {
                self.room.take_avc(self.size, fps).map(Some).map_err(too_slow)
            }
            _ => Ok(None),
        }
    }

    /// An encoder is lost with what it holds; the next keyframe gets another one, unless that is of no use.
    fn failed(&mut self, error: &FfmpegError) -> Result<(), RenditionError> {
        tracing::warn!(%error, "an encoder is lost");
        self.running = None;
        self.failures += 1;
        // One that hangs has cost seconds.
        if self.failures < FAILURES_MAX && !matches!(error, FfmpegError::Hangs(_)) {
            return Ok(());
        }
        Err(EncodeError(error.to_string()).into())
    }

    /// Gives out a picture that is encoded.
    fn give(&mut self, stamps: Option<Stamps>, encoded: &Encoded, tags: &mut Vec<Tag>) {
        let Some(stamps) = stamps else { return };
        if encoded.frame.is_empty() {
            // Without its keyframe nothing of a GOP can be decoded.
            self.begun &= !stamps.keyframe;
            return;
        }
        self.failures = 0;
        if encoded.idr {
            self.headers(stamps, encoded, tags);
        }
        tags.push(frame_tag(self.target.codec, stamps, encoded));
    }

    /// What goes before a keyframe: everything before the first one, and later a changed configuration alone.
    fn headers(&mut self, stamps: Stamps, encoded: &Encoded, tags: &mut Vec<Tag>) {
        let (timestamp_ms, codec) = (stamped_ms(self.target.codec, stamps) as u32, self.target.codec);
        let begins = !std::mem::replace(&mut self.begun, true);
        let own = (!encoded.record.is_empty()).then(|| encoded.record.clone());
        let Some(record) = own.or_else(|| avc::record(&[&encoded.sps], &[&encoded.pps])) else { return };
        let changed = self.record != record;
        self.record = record;
        let before: &[u8] = match codec {
            PictureCodec::Av1 => AV1_HEADER,
            PictureCodec::Hevc => HEVC_HEADER,
            _ => AVC_HEADER,
        };
        let header = [before, &self.record].concat();
        if begins || changed {
            tags.push(self.metadata_tag());
            tags.push(Tag { kind: TagKind::Video, timestamp_ms, body: header.into(), role: TagRole::VideoHeader });
        }
        if begins && let Some(body) = self.audio.clone() {
            tags.push(Tag { kind: TagKind::Audio, timestamp_ms, body, role: TagRole::AudioHeader });
        }
    }

    fn metadata_tag(&self) -> Tag {
        let Target { kbit_s, codec, .. } = self.target;
        let every = self.running.as_ref().map_or(1, |running| running.every);
        let body = metadata::corrected(self.metadata.as_ref(), Own { size: self.size, kbit_s, codec, every });
        Tag { kind: TagKind::Script, timestamp_ms: 0, body, role: TagRole::Metadata }
    }
}

fn too_slow(why: NoRoom) -> RenditionError {
    RenditionError::TooSlow(why.to_string())
}

/// The time that its tag has. AV1 has no composition times over RTMP: there a picture has the time at which it is shown.
fn stamped_ms(codec: PictureCodec, stamps: Stamps) -> i64 {
    if codec == PictureCodec::Av1 { stamps.pts_ms } else { stamps.dts_ms }
}

fn frame_tag(codec: PictureCodec, stamps: Stamps, encoded: &Encoded) -> Tag {
    let role = if encoded.idr { TagRole::Keyframe } else { TagRole::Frame };
    let timestamp_ms = stamped_ms(codec, stamps) as u32;
    if codec == PictureCodec::Av1 {
        let before = if encoded.idr { AV1_KEYFRAME } else { AV1_FRAME };
        let body = [before, &encoded.frame].concat().into();
        return Tag { kind: TagKind::Video, timestamp_ms, body, role };
    }
    let cts_ms = (stamps.pts_ms - stamps.dts_ms).clamp(*CTS_MS.start(), *CTS_MS.end());
    let [_, high, middle, low] = (cts_ms as i32).to_be_bytes();
    let before: &[u8] = match (codec, encoded.idr) {
        (PictureCodec::Hevc, true) => HEVC_KEYFRAME,
        (PictureCodec::Hevc, false) => HEVC_FRAME,
        (_, true) => &[0x17, 1],
        (_, false) => &[0x27, 1],
    };
    let body = [before, &[high, middle, low], &encoded.frame].concat().into();
    Tag { kind: TagKind::Video, timestamp_ms, body, role }
}

/// Measures the frame rate from keyframe to keyframe.
#[derive(Debug, Default)]
struct Fps {
    since_ms: Option<i64>,
    frames: u32,
}

impl Fps {
    /// The rate of the GOP that this picture ends, if it does.
    fn push(&mut self, shown: &Shown) -> Option<f64> {
        if !shown.keyframe {
            self.frames += 1;
            return None;
        }
        let frames = std::mem::replace(&mut self.frames, 1);
        let since_ms = self.since_ms.replace(shown.dts_ms)?;
        let passed_ms = shown.dts_ms - since_ms;
        (frames >= FPS_FRAMES_MIN && passed_ms > 0)
            .then(|| (f64::from(frames) * 1000.0 / passed_ms as f64).clamp(1.0, 240.0))
    }
}
