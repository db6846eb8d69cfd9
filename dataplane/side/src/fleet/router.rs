//! The link over HTTP: `POST /link/v1/poll` and `POST /link/v1/report`, each with a bearer token. Control merges this into its own
//! routes; the bytes of a request are read only once its token is right.
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::post;
use millstream_link::{PROTOCOL, understands};
use millstream_proto::secret::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Fleet, LinkError};
use crate::limits::{POLL_BYTES_MAX, REPORT_BYTES_MAX};

/// Says whether a bearer token is a node's. To be compared in constant time.
pub type IsNode = Arc<dyn Fn(&Secret) -> bool + Send + Sync>;

#[derive(Clone)]
struct Link {
    fleet: Fleet,
    is_node: IsNode,
}

/// The link's routes.
pub fn router(fleet: Fleet, is_node: IsNode) -> Router {
    Router::new()
        .route("/link/v1/poll", post(poll))
        .route("/link/v1/report", post(report))
        .with_state(Link { fleet, is_node })
}

async fn poll(State(link): State<Link>, request: Request) -> Response {
    match link.read::<millstream_link::exchange::Poll>(request, POLL_BYTES_MAX).await {
        Ok(poll) => {
            greet(poll.protocol, &poll.node.name);
            answer(link.fleet.poll(&poll).await)
        }
        Err(refusal) => refusal,
    }
}

async fn report(State(link): State<Link>, request: Request) -> Response {
    match link.read(request, REPORT_BYTES_MAX).await {
        Ok(report) => answer(link.fleet.report(report).await),
        Err(refusal) => refusal,
    }
}

fn greet(protocol: u32, node: &str) {
    if !understands(protocol) {
        tracing::warn!(
            node,
            protocol,
            ours = PROTOCOL,
            "a node is more than one release apart: it is served as far as it is understood; upgrade the older of the two"
        );
    }
}

impl Link {
    async fn read<T: DeserializeOwned>(&self, request: Request, bytes_max: usize) -> Result<T, Response> {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.strip_prefix("Bearer ")).map(|token| Secret::new(token.trim()));
        if !token.is_some_and(|token| (self.is_node)(&token)) {
            let advice = "the link wants a node's token: give the node the content of control's node-token file";
            let mut refusal = text(StatusCode::UNAUTHORIZED, advice);
            refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Err(refusal);
        }
        let body = to_bytes(request.into_body(), bytes_max)
            .await
            .map_err(|_| text(StatusCode::PAYLOAD_TOO_LARGE, "the message is too long, or was cut off"))?;
        serde_json::from_slice(&body).map_err(|error| {
            // Of a message that a node wrote, place and kind of the error hold nothing secret.
            let said = format!("this is not a message of the link: {error}");
            text(StatusCode::BAD_REQUEST, &said)
        })
    }
}

fn answer<T: Serialize>(answer: Result<T, LinkError>) -> Response {
    match answer.map(|answer| serde_json::to_vec(&answer)) {
        Ok(Ok(json)) => respond(StatusCode::OK, "application/json", json.into()),
        Ok(Err(_)) => text(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written"),
        Err(error) => {
            let status = match error {
                LinkError::Name => StatusCode::BAD_REQUEST,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            text(status, &error.to_string())
        }
    }
}

fn text(status: StatusCode, words: &str) -> Response {
    respond(status, "text/plain; charset=utf-8", Body::from(format!("{words}\n")))
}

fn respond(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
