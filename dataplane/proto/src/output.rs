//! The outputs of a stream as everybody names them: settings, paths, documents, findings. How each is served is the engine's to know.

/// A form in which a stream is given out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Output {
    /// Its name in `live.json` and in findings.
    pub name: &'static str,
    /// Its files below the path of the stream.
    pub files: &'static [&'static str],
    /// The ending that says of a path of another server that it gives this.
    pub extension: &'static str,
    /// It is made of parts and segments, as the packager cuts them.
    pub packaged: bool,
}

/// FLV over HTTP, and over WebSocket at the same address.
pub static FLV: Output = Output { name: "flv", files: &["live.flv"], extension: "flv", packaged: false };

/// HLS. The first file is where players begin.
pub static HLS: Output = Output {
    name: "hls",
    files: &["live.m3u8", "index.m3u8", "video.m3u8", "audio.m3u8"],
    extension: "m3u8",
    packaged: true,
};

/// DASH.
pub static DASH: Output = Output { name: "dash", files: &["manifest.mpd"], extension: "mpd", packaged: true };

/// All of them.
pub static ALL: [&Output; 3] = [&FLV, &HLS, &DASH];
