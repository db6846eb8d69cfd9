//! Player pages and what they load, built in: no request leaves for another host. See `pages/vendor/VENDOR.md`.

/// A stream's page of that name.
pub(super) fn page(name: &str) -> Option<&'static [u8]> {
    match name {
        "flv.html" => Some(include_bytes!("../../pages/flv.html")),
        _ => None,
    }
}

/// What pages load, by a name that changes with its content: content type and bytes.
pub(super) fn asset(name: &str) -> Option<(&'static str, &'static [u8])> {
    const JS: &str = "text/javascript; charset=utf-8";
    const CSS: &str = "text/css; charset=utf-8";
    Some(match name {
        "mpegts-1.8.2.js" => (JS, include_bytes!("../../pages/vendor/mpegts-1.8.2.js")),
        "flv-page-b4a06b1b.js" => (JS, include_bytes!("../../pages/flv-page-b4a06b1b.js")),
        "page-7b7463e2.css" => (CSS, include_bytes!("../../pages/page-7b7463e2.css")),
        _ => return None,
    })
}
