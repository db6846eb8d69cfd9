//! What monitors ask: `/healthz` and `/metrics`.
use axum::extract::{FromRequestParts, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use axum::response::{IntoResponse, Response};

use millstream_proto::openmetrics::Format;

use crate::Api;
use crate::auth::{Viewer, caller};
use crate::http::gate;
use crate::http::problem::{Answer, Problem};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Say whether this process takes requests
#[utoipa::path(get, path = "/healthz", tag = "monitoring", security(()), responses(
    (status = 200, description = "`ok`", body = String, content_type = "text/plain"),
    (status = 503, description = "`draining`: it is about to end"),
))]
pub async fn healthz(State(api): State<Api>) -> Response {
    let (status, word) =
        if api.draining() { (StatusCode::SERVICE_UNAVAILABLE, "draining\n") } else { (StatusCode::OK, "ok\n") };
    (status, [(header::CACHE_CONTROL, NO_STORE)], word).into_response()
}

/// Who may read the metrics: anyone of this machine on a loopback port who asks for it by a loopback name, else who may look.
#[derive(Clone, Copy, Debug)]
pub struct Monitor;

impl FromRequestParts<Api> for Monitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Answer<Self> {
        // A port with TLS may be for others: there, as elsewhere off loopback, it takes a token.
        let is_plain = !parts.extensions.get::<gate::Local>().is_some_and(|local| local.tls);
        if !(api.metrics_open() && is_plain && is_of_this_machine(parts)) {
            Viewer::from_request_parts(parts, api).await?;
        }
        Ok(Self)
    }
}

/// Headers of requests that a proxy passes on.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Whether a request was made here. What a proxy on this machine passes on comes from here as well; most say so, or keep the name that the
/// client asked for. One that does neither cannot be told apart. Where the proxy is trusted, the address is of whom it is for.
fn is_of_this_machine(parts: &Parts) -> bool {
    let is_here = caller::address(parts).is_some_and(|address| address.ip().to_canonical().is_loopback());
    is_here
        && gate::is_for_loopback(&parts.headers, &parts.uri)
        && !FORWARDED.iter().any(|name| parts.headers.contains_key(*name))
}

/// Show the numbers
///
/// Of this process: its engine, where it has one, and its ends of the link and of webhooks.
/// OpenMetrics where `Accept` asks for it, else the Prometheus text format 0.0.4.
/// Without a token on a loopback port, from this machine and by a loopback name or address in `Host`; with one elsewhere, and where a header
/// says that a proxy passes the request on.
#[utoipa::path(get, path = "/metrics", tag = "monitoring", responses(
    (status = 200, description = "Metrics", content(
        (String = "application/openmetrics-text"),
        (String = "text/plain"),
    )),
    (status = 404, description = "This process has no engine", body = Problem),
))]
pub async fn metrics(State(api): State<Api>, _: Monitor, headers: HeaderMap) -> Answer<Response> {
    let text = api.metrics().ok_or_else(|| Problem::not_found("this process carries no streams; ask its nodes"))?;
    let accept =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    let format = Format::of_accept(Some(&accept));
    let kind = HeaderValue::from_static(format.content_type());
    let text = format.render(&text).into_owned();
    let head = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, NO_STORE),
        (header::VARY, HeaderValue::from_static("Accept")),
    ];
    Ok((head, text).into_response())
}
