//! DASH: its manifest as a document. Its segments are those of [`super::hls`].
use millstream_proto::output;

use crate::output::{Document, OutputFormat, Serve, unnumbered};

/// DASH.
pub(super) static DASH: OutputFormat = OutputFormat {
    protocol: "dash",
    role: None,
    output: Some(&output::DASH),
    is_on: |outputs| outputs.cmaf,
    serve: Serve::Documents(&[Document {
        file: "manifest.mpd",
        content_type: "application/dash+xml",
        // It is all that there is: players ask for it again and again.
        begins: false,
        reaches_back: false,
        render: |window, asked| window.manifest(asked.unix_ms, asked.settled).map(unnumbered),
        max_age_s: |_| 1,
        rebase,
    }]),
};

/// BaseURL comes first within MPD, and its paths are relative to it (ISO/IEC 23009-1, 5.3.1.2 and 5.6).
fn rebase(text: &str, base: &str) -> String {
    let inner = text.find("<MPD").and_then(|at| Some(at + text.get(at..)?.find('>')? + 1)).unwrap_or(0);
    let (head, rest) = text.split_at_checked(inner).unwrap_or(("", text));
    [head, "<BaseURL>", base, "</BaseURL>", rest].concat()
}
