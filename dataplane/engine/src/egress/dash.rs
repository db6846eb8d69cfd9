//! DASH: its manifest as a document. Its segments are those of [`super::hls`].
use millstream_hub::package::window::{Answer, Playlist, Window};
use millstream_proto::output;

use crate::output::{Asked, Document, OutputFormat, Serve, unnumbered};

/// DASH.
pub(super) static DASH: OutputFormat = OutputFormat {
    protocol: "dash",
    role: None,
    output: Some(&output::DASH),
    is_on: |outputs| outputs.cmaf,
    serve: Serve::Documents(&[
        manifest("manifest.mpd", |window, asked| window.manifest(asked.unix_ms, asked.settled).map(unnumbered)),
        manifest("index.mpd", |window, asked| {
            window.manifest_with(asked.renditions, asked.unix_ms, asked.settled).map(unnumbered)
        }),
    ]),
};

const fn manifest(file: &'static str, render: fn(&mut Window, &Asked<'_>) -> Answer<Playlist>) -> Document {
    Document {
        file,
        content_type: "application/dash+xml",
        // It is all that there is: players ask for it again and again.
        begins: false,
        reaches_back: false,
        render,
        max_age_s: |_| 1,
        rebase,
    }
}

/// BaseURL comes first within MPD, and its paths are relative to it (ISO/IEC 23009-1, 5.3.1.2 and 5.6).
fn rebase(text: &str, base: &str) -> String {
    let inner = text.find("<MPD").and_then(|at| Some(at + text.get(at..)?.find('>')? + 1)).unwrap_or(0);
    let (head, rest) = text.split_at_checked(inner).unwrap_or(("", text));
    [head, "<BaseURL>", base, "</BaseURL>", rest].concat()
}
