//! The source of a stream: FLV tags in, pictures and what passes through out, for all renditions of the stream. Before it: the stream as its
//! node sends it; after it: a [`super::Rendition`] for each.
//!
//! There is one decode, however many renditions there are. A frame that cannot be decoded takes everything up to the next keyframe with it, and
//! the decoder: what it holds can no longer be trusted.
use std::sync::Arc;

use bytes::Bytes;
use millstream_proto::media::{Codec, CodecConfig, Frame, MediaEvent, Skipped, TagKind, Track, Unpacker};

use super::Piece;
use super::choice::{Choice, Wish};
use super::late::Late;
use super::reorder::{Ordered, Reorder, Shown};
use crate::codec::decode::Decoder;
use crate::ffmpeg::decode::LateDecoder;
use crate::ffmpeg::{Ffmpeg, FfmpegError};
use crate::h264::entry::Entry;
use crate::h264::nal;
use crate::h264::params::{Kind, Params, Unfit};
use crate::picture::Picture;

/// A keyframe that is so far behind what has gone out begins a new timeline; one that is less far behind is sent again, by a new connection.
const NEW_TIMELINE_MS: i64 = 30_000;

/// Decoders of `ffmpeg` that fail one behind the other, without a picture between them.
const FAILURES_MAX: u32 = 3;

/// What was counted of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SourceStats {
    /// Pictures decoded.
    pub decoded: u64,
    /// Frames that could not be decoded, and those behind them up to a keyframe.
    pub lost: u64,
}

/// One source. Sans-IO: tags go in, pieces come out.
#[derive(Default)]
pub struct Source {
    unpacker: Unpacker,
    reorder: Reorder<Piece>,
    /// In force.
    params: Option<Arc<Params>>,
    /// In force from the next keyframe on.
    params_next: Option<Arc<Params>>,
    decoder: Option<Decoder>,
    /// How the decoder was entered, while no IDR picture has come.
    entry: Option<Entry>,
    /// The keyframe that the decoder was entered with.
    entered_ms: Option<i64>,
    access_unit: Vec<u8>,
    choice: Choice,
    newest_ms: i64,
    stats: SourceStats,
    /// What decodes what is not decoded here.
    ffmpeg: Option<Ffmpeg>,
    late_decoder: Option<LateDecoder>,
    /// In place of `reorder`, while that decodes.
    late: Late<Piece>,
    failures: u32,
}

impl Source {
    /// A source of which nothing has come.
    pub fn new() -> Self {
        Self::default()
    }

    /// A source of which only some pictures are wanted. They come out as soon as they are decoded.
    pub fn choosing(choice: Choice) -> Self {
        Self { choice, ..Self::default() }
    }

    /// The same, with an `ffmpeg` for what is not decoded here.
    pub(crate) fn with_ffmpeg(self, ffmpeg: Option<Ffmpeg>) -> Self {
        Self { ffmpeg, ..self }
    }

    /// Takes the next tag. An error says that this stream is not decoded here, whatever else comes.
    pub fn push(&mut self, kind: TagKind, timestamp_ms: u32, body: Bytes) -> Result<(), Unfit> {
        match self.unpacker.push(kind, timestamp_ms, body) {
            Ok(MediaEvent::Config(config)) => self.config(config),
            Ok(MediaEvent::Frame(frame)) => {
                self.newest_ms = frame.dts_ms;
                match frame.track {
                    Track::Video => self.video(&frame),
                    Track::Audio => {
                        self.pass(Piece::Audio { timestamp_ms: frame.dts_ms as u32, header: false, body: frame.body });
                        Ok(())
                    }
                }
            }
            Ok(MediaEvent::Metadata(values)) => {
                self.pass(Piece::Metadata(values));
                Ok(())
            }
            Err(Skipped::UnsupportedFourCc(Track::Video, _) | Skipped::UnsupportedVideo(_)) => {
                Err(Unfit::Unsupported("this video codec".to_owned()))
            }
            Err(Skipped::NoConfig(Track::Video, codec)) if codec != Codec::Avc => {
                Err(Unfit::Unsupported(name(codec).to_owned()))
            }
            // Whatever else cannot be used costs no more than itself.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The next piece, in the order in which it goes out.
    pub fn poll(&mut self) -> Option<Piece> {
        // What is left of the decoder before goes first.
        let ordered = if self.is_late() {
            self.reorder.poll().or_else(|| self.late.poll())
        } else {
            self.late.poll().or_else(|| self.reorder.poll())
        };
        Some(match ordered? {
            Ordered::Picture(shown) => Piece::Picture(shown),
            Ordered::Passed(piece) => piece,
        })
    }

    /// The connection is a new one: it begins with a keyframe, which may have come before.
    pub fn reconnected(&mut self) {
        self.decoder = None;
        self.reorder.drop_waiting();
        self.late_decoder = None;
        self.late.lose();
    }

    /// Nothing more comes: what waits goes out.
    pub fn finish(&mut self) {
        self.reorder.release_all();
        self.finish_late();
    }

    /// Decode time of the newest frame, milliseconds on the source's timeline.
    pub fn newest_ms(&self) -> i64 {
        self.newest_ms
    }

    /// What was counted so far.
    pub fn stats(&self) -> SourceStats {
        self.stats
    }

    fn pass(&mut self, piece: Piece) {
        if self.is_late() {
            self.late.pass(piece);
        } else {
            self.reorder.pass(self.newest_ms, piece);
        }
    }

    /// Whether `ffmpeg` decodes what comes.
    pub(crate) fn is_late(&self) -> bool {
        self.params.as_ref().is_some_and(|params| params.late.is_some())
    }

    fn config(&mut self, config: CodecConfig) -> Result<(), Unfit> {
        match (config.track, config.codec) {
            (Track::Audio, _) => {
                self.pass(Piece::Audio { timestamp_ms: self.newest_ms as u32, header: true, body: config.body });
                Ok(())
            }
            (Track::Video, Codec::Avc) => {
                let params = match Params::read(config.record()) {
                    Err(Unfit::Unsupported(_)) if self.ffmpeg.is_some() => {
                        Params::late(Kind::H264, Codec::Avc, config.record())
                    }
                    read => read,
                };
                self.params_next = Some(Arc::new(params?));
                Ok(())
            }
            (Track::Video, codec) => match Kind::of(codec).filter(|_| self.ffmpeg.is_some()) {
                Some(kind) => {
                    self.params_next = Some(Arc::new(Params::late(kind, codec, config.record())?));
                    Ok(())
                }
                None => Err(Unfit::Unsupported(name(codec).to_owned())),
            },
        }
    }

    fn video(&mut self, frame: &Frame) -> Result<(), Unfit> {
        if frame.codec != Codec::Avc && self.ffmpeg.is_none() {
            return Err(Unfit::Unsupported(name(frame.codec).to_owned()));
        }
        let pts_ms = frame.dts_ms.saturating_add(frame.cts_ms.into());
        if frame.keyframe {
            self.keyframe(pts_ms);
        }
        let Some(params) = self.params.clone() else { return Ok(()) };
        if let Some(kind) = params.late {
            return self.late_video(&params, kind, frame, pts_ms);
        }
        if self.entry.is_some() && !frame.keyframe && self.entered_ms.is_some_and(|entered_ms| pts_ms < entered_ms) {
            // A leading picture of the GOP that was entered: what it refers to was never here.
            return Ok(());
        }
        let wish = self.choice.of(frame.keyframe, pts_ms, || refers(&params, frame));
        if wish == Wish::Leave {
            return Ok(());
        }
        let decoded = self.decode(&params, frame, wish != Wish::Pass);
        if frame.keyframe && matches!(decoded, Decoded::Picture(_) | Decoded::Passed) {
            self.entered_ms.get_or_insert(pts_ms);
        }
        match decoded {
            Decoded::Picture(picture) => {
                self.stats.decoded += 1;
                let (dts_ms, keyframe) = (frame.dts_ms, frame.keyframe);
                if wish == Wish::Sample {
                    self.pass(Piece::Picture(Shown { dts_ms, pts_ms, keyframe, aspect: None, picture }));
                } else {
                    self.reorder.push(dts_ms, pts_ms, keyframe, picture);
                }
            }
            Decoded::Passed => self.stats.decoded += 1,
            Decoded::Lost => {
                self.stats.lost += 1;
                self.decoder = None;
            }
            Decoded::NoPicture => {}
        }
        Ok(())
    }

    /// Has `ffmpeg` decode a frame. What comes of it, or of those before it, is taken at once.
    fn late_video(&mut self, params: &Params, kind: Kind, frame: &Frame, pts_ms: i64) -> Result<(), Unfit> {
        let wish = self.choice.of(frame.keyframe, pts_ms, || true);
        if wish == Wish::Leave {
            return Ok(());
        }
        if self.late_decoder.is_none() {
            let Some(ffmpeg) = self.ffmpeg.as_ref().filter(|_| frame.keyframe) else {
                self.stats.lost += 1;
                return Ok(());
            };
            match ffmpeg.decoder(params, kind) {
                Ok(decoder) => self.late_decoder = Some(decoder),
                Err(error) => return self.late_failed(&error),
            }
        }
        self.late.push(frame.dts_ms, pts_ms, frame.keyframe, wish != Wish::Pass);
        let Some(decoder) = self.late_decoder.as_mut() else { return Ok(()) };
        if let Err(error) = decoder.push(frame.data(), pts_ms, frame.keyframe) {
            return self.late_failed(&error);
        }
        self.take_late();
        Ok(())
    }

    fn take_late(&mut self) {
        while let Some(decoded) = self.late_decoder.as_mut().and_then(LateDecoder::poll) {
            self.stats.decoded += 1;
            self.failures = 0;
            self.late.show(decoded);
        }
    }

    fn finish_late(&mut self) {
        if let Some(decoder) = &mut self.late_decoder {
            decoder.finish();
            self.take_late();
            self.late_decoder = None;
        }
        self.late.lose();
    }

    /// A decoder is lost with what it holds; the next keyframe gets another one, unless that is of no use.
    fn late_failed(&mut self, error: &FfmpegError) -> Result<(), Unfit> {
        tracing::warn!(%error, "a decoder is lost");
        self.stats.lost += 1;
        self.late_decoder = None;
        self.late.lose();
        self.failures += 1;
        // One that hangs has cost seconds.
        if self.failures >= FAILURES_MAX || matches!(error, FfmpegError::Hangs(_)) {
            Err(Unfit::Failed(error.to_string()))
        } else {
            Ok(())
        }
    }

    /// What changes where a decoder can start.
    fn keyframe(&mut self, pts_ms: i64) {
        if self.reorder.shown_ms().max(self.late.shown_ms()).is_some_and(|shown_ms| pts_ms < shown_ms - NEW_TIMELINE_MS)
        {
            self.reorder.restart();
            self.late_decoder = None;
            self.late.restart();
        }
        if let Some(params) = self.params_next.take() {
            self.reorder.release_all();
            self.decoder = None;
            self.finish_late();
            self.params = Some(Arc::clone(&params));
            self.pass(Piece::Params(params));
        }
    }

    /// Decodes a frame; its picture is copied where it is to be kept.
    fn decode(&mut self, params: &Params, frame: &Frame, keep: bool) -> Decoded {
        let idr = nal::units(frame.data(), params.nal_length_bytes).any(|unit| nal::kind(unit) == nal::SLICE_IDR);
        if self.choice.leaves_out_references() && !idr {
            // What stands before it was not decoded: it is entered anew.
            self.decoder = None;
        }
        if self.decoder.is_none() && !frame.keyframe {
            return Decoded::Lost;
        }
        let first = self.decoder.is_none();
        self.access_unit.clear();
        if first || idr && self.entry.is_some() {
            // A parameter set is given once: with a new decoder, and again behind those that were changed for entering.
            self.entry = if idr { None } else { Entry::new(&params.sets) };
            let sets = self.entry.as_ref().map_or(&params.decoder_sets, Entry::sets);
            for set in sets {
                nal::put_annex_b(&mut self.access_unit, set);
            }
        }
        let mut slices = 0;
        for unit in nal::units(frame.data(), params.nal_length_bytes) {
            // Parameter sets are those of the record: a frame cannot make the picture larger than was checked.
            if !matches!(nal::kind(unit), nal::SLICE | nal::SLICE_IDR) {
                continue;
            }
            slices += 1;
            match self.entry.as_mut().map(|entry| entry.rewrite(unit, first)) {
                None => nal::put_annex_b(&mut self.access_unit, unit),
                Some(Some(rewritten)) => nal::put_annex_b(&mut self.access_unit, &rewritten),
                Some(None) => return Decoded::Lost,
            }
        }
        if slices == 0 {
            return Decoded::NoPicture;
        }
        if first {
            self.decoder = Decoder::new().ok();
            self.entered_ms = None;
        }
        let Some(decoder) = self.decoder.as_mut() else { return Decoded::Lost };
        if !keep {
            return decoder.pass(&self.access_unit).map_or(Decoded::Lost, |()| Decoded::Passed);
        }
        match decoder.decode(&self.access_unit) {
            Ok(picture) if (picture.width(), picture.height()) == (params.width, params.height) => {
                Decoded::Picture(Arc::new(picture))
            }
            _ => Decoded::Lost,
        }
    }
}

/// Whether other frames may refer to it.
fn refers(params: &Params, frame: &Frame) -> bool {
    let slices = nal::units(frame.data(), params.nal_length_bytes)
        .filter(|unit| matches!(nal::kind(unit), nal::SLICE | nal::SLICE_IDR));
    slices.into_iter().any(nal::refers)
}

enum Decoded {
    Picture(Arc<Picture>),
    /// It is decoded, and not copied.
    Passed,
    /// It cannot be decoded.
    Lost,
    /// There is nothing to decode in it.
    NoPicture,
}

fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::Hevc => "HEVC",
        Codec::Av1 => "AV1",
        Codec::Vp9 => "VP9",
        _ => "this video codec",
    }
}
