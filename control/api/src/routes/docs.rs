//! `/api/v1/docs`: a page for people that shows the document and tries its operations. It is all there is: nothing is loaded from elsewhere,
//! and its policy lets nothing else run. It holds no secret; what it is given as a token stays in it.
use axum::extract::Path;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::http::problem::Problem;

const PAGE: &str = include_str!("../../pages/docs.html");
const SCRIPT: &str = include_str!("../../pages/docs.js");
const STYLE: &str = include_str!("../../pages/docs.css");

/// Only files of this server run or are asked, and no page shows this one in a frame, where clicks could be stolen.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        // A newer server has newer ones at the same paths.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}

/// The page.
pub(crate) async fn page() -> Response {
    file("text/html; charset=utf-8", PAGE)
}

/// What it is made of.
pub(crate) async fn part(Path(name): Path<String>) -> Response {
    match name.as_str() {
        "docs.js" => file("text/javascript; charset=utf-8", SCRIPT),
        "docs.css" => file("text/css; charset=utf-8", STYLE),
        _ => Problem::not_found("there is nothing at this path; the page is /api/v1/docs").into_response(),
    }
}
