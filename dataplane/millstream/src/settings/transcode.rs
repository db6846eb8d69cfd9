//! The `[transcode]` table of the configuration file. Read by [`super`]; after it: [`crate::transcoding`].
use std::path::PathBuf;

use millstream_proto::network::Network;
use millstream_transcoder::{EncoderName, FfmpegChoice};

/// The `[transcode]` table.
#[derive(Clone, Debug, Default)]
pub(crate) struct TranscodeSettings {
    /// The font of text over pictures; `None`: the built-in one.
    pub(crate) font: Option<PathBuf>,
    /// Networks that images of watermarks may be fetched from although they are not public.
    pub(crate) allow: Vec<Network>,
    /// Which `ffmpeg` decodes what OpenH264 does not.
    pub(crate) ffmpeg: FfmpegChoice,
    /// What of it encodes renditions; `None`: OpenH264 does.
    pub(crate) encoder: Option<EncoderName>,
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

/// `openh264`, or `ffmpeg:` and the name of an encoder.
pub(crate) fn encoder(text: &str) -> Result<Option<EncoderName>, String> {
    if text == "openh264" {
        return Ok(None);
    }
    let known = EncoderName::ALL.map(|name| format!(", ffmpeg:{name}")).concat();
    let name = text.strip_prefix("ffmpeg:").and_then(|name| name.parse().ok());
    name.map(Some).ok_or_else(|| format!("{text:?} is no encoder of renditions; give one of openh264{known}"))
}
