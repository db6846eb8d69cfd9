//! The document that a browser gets at `/`, and what its policy lets it do.
use std::fmt::Write as _;
use std::sync::{LazyLock, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::files::{FILES, HASH, compress};

const TEMPLATE: &str = include_str!("../web/index.html");

/// Bare names that modules import by, and the files behind them.
const IMPORTS: [(&str, &str); 3] = [
    ("preact", "vendor/preact-11.2.0.js"),
    ("preact/hooks", "vendor/preact-hooks-11.2.0.js"),
    ("htm", "vendor/htm-3.1.1.js"),
];
/// Modules that are loaded when they are needed; all others the page asks for at once, so that it does not learn of them one after another.
const LATER: [&str; 4] = ["vendor/mpegts-", "vendor/qrcode-", "vendor/uplot-", "text/zh"];

/// The document.
#[derive(Debug)]
pub struct Page {
    /// Its bytes.
    pub plain: String,
    import_map_hash: String,
    gzip: OnceLock<Vec<u8>>,
}

impl Page {
    /// Its bytes compressed with gzip.
    pub fn gzip(&self) -> &[u8] {
        self.gzip.get_or_init(|| compress(self.plain.as_bytes()))
    }
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let base = format!("/console/{}", *HASH);
    let imports: Vec<String> = IMPORTS.iter().map(|(name, path)| format!("\"{name}\":\"{base}/{path}\"")).collect();
    let import_map = format!("{{\"imports\":{{{}}}}}", imports.join(","));
    let mut preload = String::new();
    for file in FILES.iter().filter(|file| file.content_type.starts_with("text/javascript")) {
        if !LATER.iter().any(|later| file.path.starts_with(later)) {
            // A string takes all that is written to it.
            let _ = writeln!(preload, "<link rel=\"modulepreload\" href=\"{base}/{}\">", file.path);
        }
    }
    let plain = TEMPLATE.replace("{base}", &base).replace("{importmap}", &import_map).replace("{preload}\n", &preload);
    Page { plain, import_map_hash: STANDARD.encode(Sha256::digest(&import_map)), gzip: OnceLock::new() }
});

/// The document. It holds no secret and nothing of who asks.
pub fn page() -> &'static Page {
    &PAGE
}

/// What the document may do: run its own files and the import map, and play from these origins. Of others it may load nothing, no page shows
/// it in a frame, and no text can become a script.
pub fn policy(play: &[String]) -> String {
    let sockets: Vec<String> = play.iter().map(|origin| origin.replacen("http", "ws", 1)).collect();
    let (play, sockets) = (play.join(" "), sockets.join(" "));
    format!(
        "default-src 'none'; script-src 'self' 'sha256-{}'; style-src 'self'; img-src 'self' {play}; connect-src 'self' {play} {sockets}; \
         media-src blob: {play}; frame-src 'self' {play}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types millstream",
        PAGE.import_map_hash
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_import_map_and_the_origins() {
        let policy = policy(&["https://play.example.org".to_owned()]);
        assert!(policy.contains("connect-src 'self' https://play.example.org wss://play.example.org;"), "{policy}");
        let map = page().plain.split("type=\"importmap\">").nth(1).and_then(|rest| rest.split("</script>").next());
        let hash = STANDARD.encode(Sha256::digest(map.expect("an import map")));
        assert!(policy.contains(&hash) && !policy.contains("unsafe"), "{policy}");
        assert!(
            !page().plain.contains('{')
                || map.is_some_and(|map| page().plain.matches('{').count() == map.matches('{').count())
        );
    }
}
