//! Player pages and what they load, built in: no request leaves for another host. See `pages/vendor/VENDOR.md`.
use std::sync::LazyLock;

/// The media type of pages.
pub(super) const HTML: &str = "text/html; charset=utf-8";
/// A page may be kept this long, seconds.
pub(super) const MAX_AGE_S: u32 = 600;

/// A page: its name, how it plays, what it loads for that.
type Way = (&'static str, &'static str, &'static [&'static str]);

const WAYS: [Way; 4] = [
    ("flv.html", "flv", &["/.assets/mpegts-1.8.2.js", "/.assets/flv-8f51204e.js", "/.assets/way-flv-af14595c.js"]),
    ("hls.html", "hls", &["/.assets/hls-1.7.4.js", "/.assets/way-hls-4744b8e5.js"]),
    ("dash.html", "dash", &["/.assets/dash-5.2.1.js", "/.assets/way-dash-c0a5c032.js"]),
    // The ways load their libraries when they are taken. All of them are known on the pages of one, which do not load them.
    (
        "index.html",
        CHOOSES,
        &[
            "/.assets/flv-8f51204e.js",
            "/.assets/way-flv-af14595c.js",
            "/.assets/way-hls-4744b8e5.js",
            "/.assets/way-dash-c0a5c032.js",
        ],
    ),
];
/// The way of the page on which there is a choice.
const CHOOSES: &str = "auto";
const TEMPLATE: &str = include_str!("../../pages/page.html");
const CHOICE: &str = include_str!("../../pages/choice.html");
const HOME: &str = include_str!("../../pages/home.html");
const ICON: &[u8] = include_bytes!("../../pages/favicon.ico");
/// The page of a recording.
const RECORDING: &str = include_str!("../../pages/recording.html");
/// The page that shows many streams.
const WALL: &str = include_str!("../../pages/wall.html");
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

/// The page of the server itself. It names no streams: who knows a stream's id may watch it.
pub(super) fn home() -> &'static [u8] {
    HOME.as_bytes()
}

/// `/favicon.ico`.
pub(super) fn icon() -> &'static [u8] {
    ICON
}

/// The page of a recording, which plays what is beside it.
pub(super) fn recording() -> &'static [u8] {
    RECORDING.as_bytes()
}

/// The page that shows many streams, which belongs to none of them.
pub(super) fn wall() -> &'static [u8] {
    WALL.as_bytes()
}

/// What pages load, by a name that changes with its content: content type and bytes.
pub(super) fn asset(name: &str) -> Option<(&'static str, &'static [u8])> {
    const JS: &str = "text/javascript; charset=utf-8";
    const CSS: &str = "text/css; charset=utf-8";
    const SVG: &str = "image/svg+xml";
    Some(match name {
        "mpegts-1.8.2.js" => (JS, include_bytes!("../../pages/vendor/mpegts-1.8.2.js")),
        "hls-1.7.4.js" => (JS, include_bytes!("../../pages/vendor/hls-1.7.4.js")),
        "dash-5.2.1.js" => (JS, include_bytes!("../../pages/vendor/dash-5.2.1.js")),
        "page-d1ec1dc5.js" => (JS, include_bytes!("../../pages/page-d1ec1dc5.js")),
        "live-6d1a649c.js" => (JS, include_bytes!("../../pages/live-6d1a649c.js")),
        "report-714f5331.js" => (JS, include_bytes!("../../pages/report-714f5331.js")),
        "grant-97803737.js" => (JS, include_bytes!("../../pages/grant-97803737.js")),
        "recording-0bb027d4.js" => (JS, include_bytes!("../../pages/recording-0bb027d4.js")),
        "home-2690c4eb.js" => (JS, include_bytes!("../../pages/home-2690c4eb.js")),
        "flv-8f51204e.js" => (JS, include_bytes!("../../pages/flv-8f51204e.js")),
        "way-flv-af14595c.js" => (JS, include_bytes!("../../pages/way-flv-af14595c.js")),
        "way-hls-4744b8e5.js" => (JS, include_bytes!("../../pages/way-hls-4744b8e5.js")),
        "way-dash-c0a5c032.js" => (JS, include_bytes!("../../pages/way-dash-c0a5c032.js")),
        "page-cb02b195.css" => (CSS, include_bytes!("../../pages/page-cb02b195.css")),
        "icon-a05e4932.svg" => (SVG, include_bytes!("../../pages/icon-a05e4932.svg")),
        "wall-b6cfc4a4.js" => (JS, include_bytes!("../../pages/wall-b6cfc4a4.js")),
        "wall-0b920afa.css" => (CSS, include_bytes!("../../pages/wall-0b920afa.css")),
        _ => return None,
    })
}
