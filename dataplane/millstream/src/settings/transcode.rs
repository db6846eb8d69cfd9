//! The `[transcode]` table of the configuration file. Read by [`super`]; after it: [`crate::transcoding`].
use std::net::SocketAddr;
use std::path::PathBuf;

use millstream_proto::network::Network;
use millstream_transcoder::{EncoderChoice, FfmpegChoice, NoEncoder, Where};

/// Where workers of other machines come to.
pub(crate) const WORKER_PORT: u16 = 8082;

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
    /// Where workers are.
    pub(crate) worker: Where,
    /// Where those of other machines come to; `None`: to [`WORKER_PORT`], by any interface.
    pub(crate) worker_listen: Option<SocketAddr>,
    /// Where they are told that this is; `None`: the address of the interface that leads out.
    pub(crate) worker_url: Option<String>,
}

impl TranscodeSettings {
    /// Where workers of other machines come to.
    pub(crate) fn workers_come_to(&self) -> SocketAddr {
        self.worker_listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], WORKER_PORT)))
    }

    /// What is set and has no effect where workers are.
    pub(crate) fn idle(&self) -> Vec<(&'static str, &'static str)> {
        let of_remote = "it is of workers of other machines: set transcode.worker to \"remote\" or \"any\"";
        let of_local = "no worker is started on this machine: give it to `millstream worker` there";
        let is_local = self.worker == Where::Local;
        let is_remote = self.worker == Where::Remote;
        let all = [
            (is_local && self.worker_listen.is_some(), "worker_listen", of_remote),
            (is_local && self.worker_url.is_some(), "worker_url", of_remote),
            (is_remote && self.font.is_some(), "font", of_local),
            (is_remote && self.ffmpeg != FfmpegChoice::Auto, "ffmpeg", of_local),
            (is_remote && self.encoder.of_ffmpeg().is_some(), "encoder", of_local),
        ];
        all.into_iter().filter(|(is, ..)| *is).map(|(_, key, why)| (key, why)).collect()
    }
}

/// The words of [`place`].
const PLACES: [(&str, Where); 3] = [("local", Where::Local), ("remote", Where::Remote), ("any", Where::Any)];

/// `local`, `remote` or `any`.
pub(crate) fn place(text: &str) -> Result<Where, String> {
    super::values::choice(text, &PLACES)
}

/// What [`place`] reads.
pub(crate) fn place_text(place: Where) -> &'static str {
    PLACES.iter().find(|(_, known)| *known == place).map_or("local", |(text, _)| text)
}

/// `tcp://HOST:PORT` or `tls://HOST:PORT`.
pub(crate) fn worker_url(text: &str) -> Result<String, String> {
    if millstream_transcoder::is_worker_url(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no address for workers; give tcp://HOST:PORT, or tls://HOST:PORT with the name of a certificate of [tls]"
    ))
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

/// The name of an encoder of H.264: whether it is to be AV1 is the node's to say.
#[cfg(feature = "transcode")]
pub(crate) fn h264_encoder(text: &str) -> Result<EncoderChoice, String> {
    match encoder(text)? {
        EncoderChoice::Rav1e => Err(
            "renditions in AV1 are asked for by the node (encoder under [transcode]); give what encodes those in H.264"
                .to_owned(),
        ),
        encoder => Ok(encoder),
    }
}

/// The name of an encoder.
pub(crate) fn encoder(text: &str) -> Result<EncoderChoice, String> {
    text.parse().map_err(|error: NoEncoder| error.to_string())
}
