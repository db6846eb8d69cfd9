//! `/` and `/console/...`: the web console's files, which `millstream_console` has. They hold no secret and nothing of who asks; what they show,
//! they ask the API for, as everybody does.
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use millstream_console::{file, page, policy};
use millstream_proto::http::request::accepts_gzip;

use crate::Api;
use crate::http::problem::Problem;

/// Origins that the policy names: of more nodes than these none is previewed, so that the header stays short.
const ORIGINS_MAX: usize = 64;

/// `scheme://authority` of an address at which players ask; `None` where it is none that a policy can name.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let authority = rest.split('/').next().unwrap_or_default();
    // What nodes say of themselves must add nothing else to the policy.
    let plain = authority.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    (plain && !authority.is_empty()).then(|| format!("{scheme}://{authority}"))
}

/// Where streams are played, each origin once.
fn play_origins(api: &Api) -> Vec<String> {
    let mut origins: Vec<String> = Vec::new();
    for place in api.places() {
        if let Some(origin) = origin(&place.http_url)
            && !origins.contains(&origin)
            && origins.len() < ORIGINS_MAX
        {
            origins.push(origin);
        }
    }
    origins
}

fn answer(
    headers: &HeaderMap,
    kind: &'static str,
    keep: &'static str,
    plain: &'static [u8],
    gzip: &'static [u8],
) -> Response {
    let common: [(HeaderName, HeaderValue); 4] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(keep)),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    if accepts_gzip(headers.get_all(header::ACCEPT_ENCODING).iter().map(HeaderValue::as_bytes)) {
        let coding = [(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
        return (common, coding, gzip).into_response();
    }
    (common, plain).into_response()
}

/// The page.
pub(crate) async fn document(State(api): State<Api>, headers: HeaderMap) -> Response {
    let page = page();
    // A newer server has another one, and a node that has joined since is in its policy.
    let mut response = answer(&headers, "text/html; charset=utf-8", "no-cache", page.plain.as_bytes(), page.gzip());
    if let Ok(policy) = HeaderValue::try_from(policy(&play_origins(&api))) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// What it is made of.
pub(crate) async fn part(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = file(&path) else {
        return Problem::not_found("the console of this release has no such file; load / anew").into_response();
    };
    answer(&headers, file.content_type, "public, max-age=31536000, immutable", file.plain, file.gzip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_add_nothing_to_the_policy() {
        let check = |url: &str, expected: Option<&str>| assert_eq!(origin(url).as_deref(), expected, "{url}");
        check("http://play.example.org:8080", Some("http://play.example.org:8080"));
        check("https://play.example.org/live/", Some("https://play.example.org"));
        check("http://[2001:db8::1]:8080", Some("http://[2001:db8::1]:8080"));
        check("", None);
        check("http://", None);
        check("rtmp://play.example.org", None);
        check("http://a; script-src *", None);
        check("http://a,b", None);
    }
}
