//! Player pages and what they load, built in: no request leaves for another host. See `pages/vendor/VENDOR.md`.
use std::sync::LazyLock;

/// A page: its name, how it plays, what it loads for that.
type Way = (&'static str, &'static str, &'static [&'static str]);

const WAYS: [Way; 4] = [
    ("flv.html", "flv", &["/.assets/mpegts-1.8.2.js", "/.assets/way-flv-4d04f537.js"]),
    ("hls.html", "hls", &["/.assets/hls-1.7.4.js", "/.assets/way-hls-97e5998c.js"]),
    ("dash.html", "dash", &["/.assets/dash-5.2.1.js", "/.assets/way-dash-85515396.js"]),
    // The ways load their libraries when they are taken.
    (
        "index.html",
        CHOOSES,
        &["/.assets/way-flv-4d04f537.js", "/.assets/way-hls-97e5998c.js", "/.assets/way-dash-85515396.js"],
    ),
];
/// The way of the page on which there is a choice.
const CHOOSES: &str = "auto";
const TEMPLATE: &str = include_str!("../../pages/page.html");
const CHOICE: &str = include_str!("../../pages/choice.html");
const PLAYED: &str = "<div><dt>Played as</dt><dd id=\"way\">–</dd></div>\n";

static PAGES: LazyLock<[(&str, String); 4]> = LazyLock::new(|| WAYS.map(|way| (way.0, fill(way))));

fn fill((_, way, scripts): Way) -> String {
    let load = |script: &&str| format!("<script defer src=\"{script}\"></script>\n");
    let (choice, played) = if way == CHOOSES { (CHOICE, PLAYED) } else { ("", "") };
    TEMPLATE
        .replace("{scripts}", &scripts.iter().map(load).collect::<String>())
        .replace("{way}", way)
        .replace("{choice}", choice)
        .replace("{played}", played)
}

/// A stream's page of that name.
pub(super) fn page(name: &str) -> Option<&'static [u8]> {
    PAGES.iter().find(|(known, _)| *known == name).map(|(_, page)| page.as_bytes())
}

/// What pages load, by a name that changes with its content: content type and bytes.
pub(super) fn asset(name: &str) -> Option<(&'static str, &'static [u8])> {
    const JS: &str = "text/javascript; charset=utf-8";
    const CSS: &str = "text/css; charset=utf-8";
    Some(match name {
        "mpegts-1.8.2.js" => (JS, include_bytes!("../../pages/vendor/mpegts-1.8.2.js")),
        "hls-1.7.4.js" => (JS, include_bytes!("../../pages/vendor/hls-1.7.4.js")),
        "dash-5.2.1.js" => (JS, include_bytes!("../../pages/vendor/dash-5.2.1.js")),
        "page-c42461a7.js" => (JS, include_bytes!("../../pages/page-c42461a7.js")),
        "way-flv-4d04f537.js" => (JS, include_bytes!("../../pages/way-flv-4d04f537.js")),
        "way-hls-97e5998c.js" => (JS, include_bytes!("../../pages/way-hls-97e5998c.js")),
        "way-dash-85515396.js" => (JS, include_bytes!("../../pages/way-dash-85515396.js")),
        "page-0a436cca.css" => (CSS, include_bytes!("../../pages/page-0a436cca.css")),
        _ => return None,
    })
}
