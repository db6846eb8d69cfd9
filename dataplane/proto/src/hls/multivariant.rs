//! The multivariant playlist (§ 4.4.6): which tracks there are, and what it takes to play them. Before it: the hub's window; after it:
//! players, which choose and then reload only the media playlists.
use std::fmt::Write as _;

/// A stream's renditions: one picture, one audio, or both.
#[derive(Clone, PartialEq, Debug)]
pub struct Multivariant<'a> {
    /// The picture, or the audio of a stream without a picture.
    pub main: Variant<'a>,
    /// Other pictures beside the same audio, the best first.
    pub also: Vec<Variant<'a>>,
    /// The audio beside a picture.
    pub audio: Option<Audio<'a>>,
}

/// What `EXT-X-STREAM-INF` says.
#[derive(Clone, PartialEq, Debug)]
pub struct Variant<'a> {
    /// URI of the media playlist.
    pub uri: &'a str,
    /// Highest and mean rate of all tracks together, bits per second.
    pub bandwidth: u64,
    /// See `bandwidth`.
    pub average_bandwidth: u64,
    /// Coding of all tracks, as RFC 6381 names it.
    pub codecs: Vec<&'a str>,
    /// Width and height, pixels.
    pub resolution: Option<(u32, u32)>,
    /// Frames per second.
    pub frame_rate: Option<f64>,
}

/// What `EXT-X-MEDIA` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audio<'a> {
    /// URI of the media playlist.
    pub uri: &'a str,
    /// Channels, where known.
    pub channels: Option<u8>,
}

/// The group that the audio is in.
const GROUP: &str = "audio";

impl Multivariant<'_> {
    /// The playlist as text.
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(512);
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        // Not EXT-X-INDEPENDENT-SEGMENTS: an encoder with rare keyframes does not keep that promise. Media playlists make it while it is kept.
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:6")?;
        if let Some(Audio { uri, channels }) = &self.audio {
            write!(out, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{GROUP}\",NAME=\"main\",DEFAULT=YES,AUTOSELECT=YES")?;
            if let Some(channels) = channels {
                write!(out, ",CHANNELS=\"{channels}\"")?;
            }
            writeln!(out, ",URI=\"{uri}\"")?;
        }
        [&self.main].into_iter().chain(&self.also).try_for_each(|variant| self.write_variant(variant, out))
    }

    fn write_variant(&self, variant: &Variant<'_>, out: &mut String) -> std::fmt::Result {
        let Variant { uri, bandwidth, average_bandwidth, codecs, resolution, frame_rate } = variant;
        write!(out, "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},AVERAGE-BANDWIDTH={average_bandwidth}")?;
        write!(out, ",CODECS=\"{}\"", codecs.join(","))?;
        if let Some((width, height)) = resolution {
            write!(out, ",RESOLUTION={width}x{height}")?;
        }
        if let Some(frame_rate) = frame_rate {
            write!(out, ",FRAME-RATE={frame_rate:.3}")?;
        }
        if self.audio.is_some() {
            write!(out, ",AUDIO=\"{GROUP}\"")?;
        }
        writeln!(out, "\n{uri}")
    }
}
