//! What is run as a worker, and what it is told of an `ffmpeg`. Before it: the node's settings and [`super::ffmpeg`]; after it: [`super::process`].
use std::ffi::OsString;
use std::path::PathBuf;

use millstream_worker::protocol::EncoderName;

use super::ffmpeg::Installed;

/// Flags of a worker: the path of an `ffmpeg`, and the encoder of it that is used.
const WITH_FFMPEG: &str = "--with-ffmpeg";
const WITH_ENCODER: &str = "--with-encoder";

/// What is run as a worker.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// What it is started with.
    pub arguments: Vec<OsString>,
}

/// What a worker with an `ffmpeg` is started with.
pub(crate) fn arguments_of(ffmpeg: Option<&Installed>, encoder: Option<EncoderName>) -> Vec<OsString> {
    let Some(found) = ffmpeg else { return Vec::new() };
    let mut all = vec![OsString::from(WITH_FFMPEG), found.program.clone().into_os_string()];
    if let Some(encoder) = encoder {
        all.extend([OsString::from(WITH_ENCODER), OsString::from(encoder.as_str())]);
    }
    all
}
