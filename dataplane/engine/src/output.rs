//! What streams are given out as: one row per form of it, with all that the router, the metrics, the API and the pages have to know of it.
//! The rows that are built in stand in [`crate::egress`], each in the file that serves it; [`crate::config::Config::formats`] has them, and
//! whoever starts the engine may add others.
use bytes::Bytes;
use millstream_control_protocol::state::Outputs;
use millstream_hub::config::Rendition;
use millstream_hub::package::archive::Archive;
use millstream_hub::package::block::Format;
use millstream_hub::package::file_name::track_of;
use millstream_hub::package::window::{Answer, Beside, Playlist, Window};
use millstream_proto::hls::request::Directives;
use millstream_proto::media::Track;
use millstream_proto::output::Output;
use millstream_proto::time::Time;

/// A form in which streams are given out.
#[derive(Debug)]
pub struct OutputFormat {
    /// What its viewers come over, in metrics, events and the API.
    pub protocol: &'static str,
    /// The role of its viewers in `millstream_sessions`; `None`: they have no session, and are counted by what they ask for.
    pub role: Option<&'static str>,
    /// The output that it is a form of; `None`: no record speaks of it.
    pub output: Option<&'static Output>,
    /// Whether a stream whose record has these outputs on has it.
    pub is_on: fn(Outputs) -> bool,
    /// How it is served.
    pub serve: Serve,
}

/// How an output format is served.
#[derive(Debug)]
pub enum Serve {
    /// Over RTMP.
    Rtmp,
    /// In messages, to who asks for a [`Serve::Stream`] with an upgrade.
    WebSocket(Format),
    /// Over HTTP, as the stream goes on.
    Stream(Stream),
    /// Over HTTP, as documents that name parts and segments.
    Documents(&'static [Document]),
}

/// A file that goes on as long as the stream does.
#[derive(Debug)]
pub struct Stream {
    /// Its name below the path of the stream.
    pub file: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes for HTTP/1.1; those of [`Format::FlvChunked`] are in chunks, all others end with the connection.
    pub format: Format,
    /// Its bytes for HTTP/1.0.
    pub plain: Format,
    /// What it is for who asks for an upgrade.
    pub websocket: Option<&'static OutputFormat>,
}

/// A file that is made anew with each change of the window.
#[derive(Debug)]
pub struct Document {
    /// Its name below the path of the stream.
    pub file: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Viewers begin with it: there is none for new viewers once the server drains or has no more room.
    pub begins: bool,
    /// It reaches back into what is recorded of the stream: there is none of a stream that is not recorded.
    pub reaches_back: bool,
    /// Makes it.
    pub render: fn(&mut Window, &Asked<'_>) -> Answer<Playlist>,
    /// How long caches may keep it, seconds, where a target duration has so many; not where it was asked for by number.
    pub max_age_s: fn(u32) -> u32,
    /// Makes what it names relative to another path.
    pub rebase: fn(&str, &str) -> String,
}

/// What a document is asked for with.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The delivery directives of HLS.
    pub directives: &'a Directives,
    /// When the request came.
    pub asked_at: Time,
    /// The time.
    pub now: Time,
    /// The wall clock, Unix milliseconds.
    pub unix_ms: u64,
    /// Tracks that have not come yet are no longer waited for.
    pub settled: bool,
    /// Renditions that may be asked for.
    pub renditions: &'a [Rendition],
    /// Other playlists that players switch to from this window's.
    pub beside: &'a dyn Fn(&Window) -> Vec<Beside>,
    /// What is recorded of it, for a document that reaches back.
    pub archive: Option<&'a Archive>,
}

/// What of a stream is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    Stream(&'static OutputFormat, &'static Stream),
    Document(&'static OutputFormat, &'static Document),
    /// A header, segment or part, for all packaged formats.
    File(File<'a>),
}

/// A file that documents name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct File<'a> {
    /// Of the playlists that name it.
    pub(crate) session: &'a str,
    pub(crate) track: Track,
    pub(crate) name: &'a str,
}

/// The table of output formats.
#[derive(Clone, Debug)]
pub struct Formats(Vec<&'static OutputFormat>);

impl Formats {
    /// These.
    pub fn new(formats: impl IntoIterator<Item = &'static OutputFormat>) -> Self {
        Self(formats.into_iter().collect())
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, format: &'static OutputFormat) -> Self {
        self.0.push(format);
        self
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static OutputFormat> {
        self.0.iter().copied()
    }

    /// Those whose viewers have no session.
    pub(crate) fn packaged(&self) -> impl Iterator<Item = &'static OutputFormat> {
        self.iter().filter(|format| matches!(format.serve, Serve::Documents(_)))
    }

    /// The outputs that records speak of, each with one of its forms.
    pub(crate) fn outputs(&self) -> impl Iterator<Item = (&'static Output, &'static OutputFormat)> {
        let mut seen = Vec::new();
        self.iter().filter_map(move |format| {
            let output = format.output.filter(|output| !seen.contains(output))?;
            seen.push(output);
            Some((output, format))
        })
    }

    /// What a path below that of the stream stands for.
    pub(crate) fn find<'a>(&self, below: &[&'a str]) -> Option<Wanted<'a>> {
        match *below {
            [name] => self.iter().find_map(|format| match &format.serve {
                Serve::Stream(stream) => (stream.file == name).then_some(Wanted::Stream(format, stream)),
                Serve::Documents(documents) => {
                    let document = documents.iter().find(|document| document.file == name)?;
                    Some(Wanted::Document(format, document))
                }
                Serve::Rtmp | Serve::WebSocket(_) => None,
            }),
            ["s", session, directory, name] => Some(Wanted::File(File { session, track: track_of(directory)?, name })),
            _ => None,
        }
    }

    /// What players of an output begin with.
    pub(crate) fn first_of(&self, output: &Output) -> Option<Wanted<'static>> {
        self.find(&[*output.files.first()?])
    }

    /// Whether a stream whose record has these outputs on has it.
    pub(crate) fn has(&self, wanted: &Wanted<'_>, outputs: Outputs) -> bool {
        match wanted {
            Wanted::Stream(format, _) | Wanted::Document(format, _) => (format.is_on)(outputs),
            Wanted::File(_) => self.packaged().any(|format| (format.is_on)(outputs)),
        }
    }
}

/// A document that nobody asks for by number.
pub fn unnumbered(text: Bytes) -> Playlist {
    Playlist { text, by_number: false, past: None }
}
