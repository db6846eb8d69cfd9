//! Which requests are looked at: only those whose `Host` is a name of this server (a page whose name was rebound to this address has
//! another one), with CORS for bearer tokens and for nothing else.
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use crate::Api;
use crate::auth::caller;

/// Where a connection came to, in the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Local {
    /// The address.
    pub address: SocketAddr,
    /// It has TLS, of this server's own.
    pub tls: bool,
}

/// Headers that pages of other origins may send.
const ALLOWED_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, if-match, if-none-match, idempotency-key, last-event-id");
/// Methods that pages of other origins may use.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Headers of responses that pages of other origins may read.
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("etag, location, retry-after, idempotency-replayed");
/// Seconds that a browser may remember a preflight's answer.
const PREFLIGHT_S: HeaderValue = HeaderValue::from_static("600");

/// The host of a `Host` header or an origin, without its port.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((six, _)) => six,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// The name that a request asks for.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    host.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str))
}

/// Whether a request asks for a loopback name or address.
pub(crate) fn is_for_loopback(headers: &HeaderMap, uri: &Uri) -> bool {
    host(headers, uri).is_some_and(|host| is_own(host, &[], None))
}

/// Whether a name is one of this server's: configured, a loopback name, or the address that the connection came to.
pub(crate) fn is_own(authority: &str, names: &[String], local: Option<SocketAddr>) -> bool {
    let host = host_of(authority);
    if let Ok(address) = host.parse::<IpAddr>() {
        let address = address.to_canonical();
        let reached = local.is_some_and(|local| local.ip().to_canonical() == address);
        return address.is_loopback() || reached || names.iter().any(|name| name.eq_ignore_ascii_case(host));
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost") || names.iter().any(|name| name.eq_ignore_ascii_case(&host))
}

/// Whether a request was made by a page of this very origin, or by no page at all.
pub(crate) fn same_origin(headers: &HeaderMap, public_url: Option<&str>) -> bool {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    match (headers.contains_key(header::ORIGIN), text(&header::ORIGIN), text(&header::HOST)) {
        (false, _, _) => true,
        // A proxy in front may say another host than browsers do.
        (true, Some(origin), _) if public_url.is_some_and(|url| url.eq_ignore_ascii_case(origin)) => true,
        (true, Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
        }
        _ => false,
    }
}

/// Every request goes through here.
pub(crate) async fn gate(State(api): State<Api>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let local = request.extensions().get::<Local>().map(|local| local.address);
    let host = host(headers, request.uri());
    // A load balancer's look has the host that its maker chose, and learns nothing.
    let health = request.uri().path() == "/healthz";
    if !health && !host.is_some_and(|host| is_own(host, api.names(), local)) {
        let detail =
            "this server does not go by the name in the Host header; use its address, or add the name to control.names";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail).into_response();
    }
    if request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        let allowed = [
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
            (header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_S),
        ];
        return (StatusCode::NO_CONTENT, allowed).into_response();
    }
    // With a cookie and no token, another origin's page shall not read the answer, whatever it is.
    let open = headers.contains_key(header::AUTHORIZATION) || caller::cookie(headers).is_none();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    if response.status().is_server_error() {
        let status = response.status().as_u16();
        if let Some(count) = api.said().failed(status).again() {
            tracing::warn!(%method, path, ?peer, status, count, "requests were answered with errors of ours; this was the last one");
        } else {
            tracing::debug!(%method, path, ?peer, status, "a request was answered with an error of ours");
        }
    }
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if open {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_server() {
        let names = ["stream.example.org".to_owned(), "198.51.100.7".to_owned()];
        let check = |host: &str, expected: bool| {
            let local = Some("192.0.2.1:8081".parse().unwrap());
            assert_eq!(is_own(host, &names, local), expected, "{host}");
        };
        check("localhost:8081", true);
        check("LOCALHOST", true);
        check("console.localhost:8081", true);
        check("127.0.0.1:8081", true);
        check("127.8.9.1", true);
        check("[::1]:8081", true);
        check("192.0.2.1:8081", true);
        check("[::ffff:192.0.2.1]:8081", true);
        check("198.51.100.7:80", true);
        check("stream.example.org", true);
        check("Stream.Example.org.:443", true);
        check("192.0.2.2:8081", false);
        check("evil.example.org", false);
        check("127.0.0.1.evil.example", false);
        check("localhost.evil.example", false);
        check("", false);
        check("[::1", false);
    }

    #[test]
    fn origins() {
        let check = |headers: &[(&'static str, &'static str)], expected: bool| {
            let map =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            assert_eq!(same_origin(&map.collect(), Some("https://public")), expected, "{headers:?}");
        };
        check(&[("host", "a:1")], true);
        check(&[("host", "a:1"), ("origin", "http://a:1")], true);
        check(&[("host", "a:1"), ("origin", "http://b:1")], false);
        check(&[("host", "a:1"), ("origin", "http://a:2")], false);
        check(&[("host", "a:1"), ("origin", "null")], false);
        check(&[("host", "a:1"), ("origin", "https://public")], true);
        check(&[("host", "a:1"), ("origin", "http://public")], false);
        check(&[("host", "a:1"), ("origin", "https://public"), ("sec-fetch-site", "cross-site")], false);
        check(&[("host", "a:1"), ("sec-fetch-site", "same-origin")], true);
        check(&[("host", "a:1"), ("sec-fetch-site", "same-site")], false);
        check(&[("host", "a:1"), ("sec-fetch-site", "cross-site")], false);
    }
}
