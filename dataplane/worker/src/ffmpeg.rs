//! Decoding and encoding by an `ffmpeg` that is installed: HEVC, AV1 and kinds of H.264 that OpenH264 does not decode, and other encoders than that.
//! Before it: [`crate::transcode`]; after it: a process of `ffmpeg`, which reads and writes pipes and nothing else.
//!
//! Reading order: [`spec`] (what is asked for, and the arguments that it makes), [`starter`] (a process beside the worker that starts children, since the
//! worker's own sandbox lets it start nothing), [`confine`] (a child before it becomes `ffmpeg`), [`matroska`] (what a child reads), [`child`] (its pipes, and
//! the watch over it), [`encode`] (with [`hevc`]) and [`decode`].
//!
//! Invariants: arguments are made of numbers and of words of this crate, and the program is the operator's; a child that is silent, or says what it should
//! not, is killed and costs its rendition or its decoder; no child outlives its worker.
mod child;
mod confine;
pub(crate) mod decode;
pub(crate) mod encode;
mod error;
mod hevc;
mod lag;
mod matroska;
mod spec;
mod starter;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::encode::Settings;
use crate::h264::params::{Kind, Params};
use crate::protocol::EncoderName;
pub use confine::become_ffmpeg;
use decode::LateDecoder;
use encode::LateEncoder;
pub use error::FfmpegError;
use spec::{Decode, Encode, What};
use starter::Starter;
pub use starter::serve as serve_starter;

/// How a worker comes to children of `ffmpeg`.
#[derive(Clone, Debug)]
pub struct FfmpegSettings {
    /// The program: an absolute path.
    pub program: PathBuf,
    /// What encodes renditions in place of OpenH264.
    pub encoder: Option<EncoderName>,
    /// The arguments that make this program call [`serve_starter`]; [`STARTER`] and the program's path follow.
    pub own_arguments: Vec<OsString>,
}

/// The flag before the path of the program that a starter starts.
pub const STARTER: &str = "--ffmpeg-starter";
/// The flag before the path of the program that a child becomes; its arguments follow behind `--`.
pub const CHILD: &str = "--ffmpeg-child";

/// An `ffmpeg` that can be started. Cheap to clone.
#[derive(Clone)]
pub struct Ffmpeg(Arc<Inner>);

struct Inner {
    starter: Starter,
    encoder: Option<EncoderName>,
}

impl fmt::Debug for Ffmpeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ffmpeg").field(&self.0.encoder).finish()
    }
}

impl Ffmpeg {
    /// Starts the process that starts children: before the worker limits itself.
    pub(crate) fn start(settings: &FfmpegSettings) -> io::Result<Self> {
        let starter = Starter::start(settings)?;
        Ok(Self(Arc::new(Inner { starter, encoder: settings.encoder })))
    }

    /// Whether [`Self::encoder`] has one.
    pub(crate) fn encodes_avc(&self) -> bool {
        self.0.encoder.is_some()
    }

    /// Encodes pictures to H.264; `None`: renditions are encoded by OpenH264.
    pub(crate) fn encoder(&self, settings: Settings) -> Option<Result<LateEncoder, FfmpegError>> {
        self.0.encoder.map(|encoder| self.encodes(encoder, settings))
    }

    /// Encodes pictures to H.265.
    pub(crate) fn hevc_encoder(&self, settings: Settings) -> Result<LateEncoder, FfmpegError> {
        self.encodes(EncoderName::Libx265, settings)
    }

    fn encodes(&self, encoder: EncoderName, settings: Settings) -> Result<LateEncoder, FfmpegError> {
        let Settings { width, height, kbit_s, fps, colour } = settings;
        let encode = Encode { encoder, width, height, kbit_s, colour: colour.into() };
        let child = self.0.starter.child(What::Encode(encode))?;
        LateEncoder::start(child, encoder, (width, height), fps)
    }

    /// Decodes pictures of these parameters.
    pub(crate) fn decoder(&self, params: &Params, kind: Kind) -> Result<LateDecoder, FfmpegError> {
        let Params { width, height, interlaced, .. } = *params;
        let child = self.0.starter.child(What::Decode(Decode { width, height, interlaced }))?;
        LateDecoder::start(child, kind, (width, height), &params.record)
    }
}
