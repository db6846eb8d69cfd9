//! The `[transcode]` table of the configuration file. Read by [`super`]; after it: [`crate::transcoding`].
use std::path::PathBuf;

use millstream_proto::network::Network;
use millstream_transcoder::{EncoderChoice, FfmpegChoice, NoEncoder};

/// The `[transcode]` table.
#[derive(Clone, Debug, Default)]
pub(crate) struct TranscodeSettings {
    /// The font of text over pictures; `None`: the built-in one.
    pub(crate) font: Option<PathBuf>,
    /// Networks that images of watermarks may be fetched from although they are not public.
    pub(crate) allow: Vec<Network>,
    /// Which `ffmpeg` decodes what OpenH264 does not.
    pub(crate) ffmpeg: FfmpegChoice,
    /// What encodes renditions.
    pub(crate) encoder: EncoderChoice,
}

/// `auto`, `off` or a path.
pub(crate) fn ffmpeg(text: &str) -> Result<FfmpegChoice, String> {
    match text {
        "auto" => Ok(FfmpegChoice::Auto),
        "off" => Ok(FfmpegChoice::Off),
        text if text.starts_with('/') => Ok(FfmpegChoice::At(text.into())),
        text => Err(format!("{text:?} is neither \"auto\", nor \"off\", nor a path that begins with a slash")),
    }
}

/// What [`ffmpeg`] reads.
pub(crate) fn ffmpeg_text(choice: &FfmpegChoice) -> String {
    match choice {
        FfmpegChoice::Auto => "auto".to_owned(),
        FfmpegChoice::Off => "off".to_owned(),
        FfmpegChoice::At(path) => path.display().to_string(),
    }
}

/// The name of an encoder.
pub(crate) fn encoder(text: &str) -> Result<EncoderChoice, String> {
    text.parse().map_err(|error: NoEncoder| error.to_string())
}
