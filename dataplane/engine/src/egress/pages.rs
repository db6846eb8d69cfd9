//! Player pages and what they load, built in: no request leaves for another host. See `pages/vendor/VENDOR.md`.

/// A stream's page of that name.
pub(super) fn page(name: &str) -> Option<&'static [u8]> {
    Some(match name {
        "flv.html" => include_bytes!("../../pages/flv.html"),
        "hls.html" => include_bytes!("../../pages/hls.html"),
        "dash.html" => include_bytes!("../../pages/dash.html"),
        "index.html" => include_bytes!("../../pages/index.html"),
        _ => return None,
    })
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
