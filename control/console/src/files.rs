//! What the page loads: every file of `web/`, and the player that the nodes' pages use too.
use std::io::Write as _;
use std::sync::{LazyLock, OnceLock};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

const JS: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file as browsers get it.
#[derive(Debug)]
pub struct File {
    /// Its path below the hash.
    pub path: &'static str,
    /// What `Content-Type` says.
    pub content_type: &'static str,
    /// Its bytes.
    pub plain: &'static [u8],
    gzip: OnceLock<Vec<u8>>,
}

impl File {
    const fn new(path: &'static str, content_type: &'static str, plain: &'static [u8]) -> Self {
        Self { path, content_type, plain, gzip: OnceLock::new() }
    }

    /// Its bytes compressed with gzip: once, when somebody asks for the first time.
    pub fn gzip(&self) -> &[u8] {
        self.gzip.get_or_init(|| compress(self.plain))
    }
}

pub(crate) fn compress(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // A vector takes all that is written to it.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}

macro_rules! files {
    ($($kind:ident $path:literal,)*) => {
        [
            $(File::new($path, $kind, include_bytes!(concat!("../web/", $path))),)*
            // One copy in the repository: the nodes' pages play FLV with it, too.
            File::new(MPEGTS, JS, include_bytes!("../../../dataplane/engine/pages/vendor/mpegts-1.8.2.js")),
        ]
    };
}

/// Plays HTTP-FLV.
const MPEGTS: &str = "vendor/mpegts-1.8.2.js";

pub(crate) static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    Vec::from(files! [
        JS "app.js",
        CSS "console.css",
        SVG "icon.svg",
        JS "lib/api.js",
        JS "lib/chart.js",
        JS "lib/events.js",
        JS "lib/format.js",
        JS "lib/html.js",
        JS "lib/live.js",
        JS "lib/places.js",
        JS "lib/preview.js",
        JS "lib/qr.js",
        JS "lib/samples.js",
        JS "lib/script.js",
        JS "lib/text.js",
        JS "lib/ui.js",
        JS "lib/use.js",
        JS "lib/value.js",
        JS "text/en.js",
        JS "text/en_diagnosis.js",
        JS "text/en_ends.js",
        JS "text/en_pictures.js",
        JS "text/en_webhooks.js",
        JS "text/zh.js",
        JS "text/zh_diagnosis.js",
        JS "text/zh_ends.js",
        JS "text/zh_pictures.js",
        JS "text/zh_sentences.js",
        JS "text/zh_webhooks.js",
        JS "vendor/htm-3.1.1.js",
        JS "vendor/preact-11.2.0.js",
        JS "vendor/preact-hooks-11.2.0.js",
        JS "vendor/qrcode-generator-2.0.4.js",
        CSS "vendor/uplot-1.6.32.css",
        JS "vendor/uplot-1.6.32.js",
        JS "views/access.js",
        JS "views/bindings.js",
        JS "views/diagnosis.js",
        JS "views/events.js",
        JS "views/health.js",
        JS "views/hook.js",
        JS "views/hooks.js",
        JS "views/live.js",
        JS "views/motion.js",
        JS "views/play.js",
        JS "views/push.js",
        JS "views/quality.js",
        JS "views/recordings.js",
        JS "views/renditions.js",
        JS "views/server.js",
        JS "views/settings.js",
        JS "views/stream.js",
        JS "views/streams.js",
        JS "views/timeline.js",
        JS "views/trial.js",
        JS "views/upload.js",
        JS "views/webhooks.js",
    ])
});

/// The name of the path that all files are below.
pub(crate) static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut all = Sha256::new();
    for file in FILES.iter() {
        all.update(file.path.as_bytes());
        all.update((file.plain.len() as u64).to_be_bytes());
        all.update(file.plain);
    }
    all.finalize().iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
});

/// The file at `<hash>/<path>`; `None` where there is none, or where the hash is another release's.
pub fn file(path: &str) -> Option<&'static File> {
    let (hash, path) = path.split_once('/')?;
    if hash != *HASH {
        return None;
    }
    FILES.iter().find(|file| file.path == path)
}
