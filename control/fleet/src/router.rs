//! The link over HTTP: `POST /link/v1/poll` and `POST /link/v1/report`, `GET /link/v1/hooks/{sha256}` for the modules of hooks, and
//! `GET /link/v1/certificates/{sha256}`, which is answered where nobody can read it ([`Encrypted`]); each with a bearer token. `POST /link/v1/work` is the workers', with another token. Control merges this into its own routes; the bytes of a request are read only once its token is right.
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use millstream_control_protocol::work::WorkPoll;
use millstream_control_protocol::{PROTOCOL, understands};
use millstream_proto::secret::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::certificates::Encrypted;
use super::error::LinkError;
use super::fleet::Fleet;
use super::work::Tickets;
use crate::limits::{POLL_BYTES_MAX, REPORT_BYTES_MAX};

/// Says whether a bearer token is a node's. To be compared in constant time.
pub type IsNode = Arc<dyn Fn(&Secret) -> bool + Send + Sync>;

/// Told when a node has shown its token: whoever serves connections may keep this one apart from strangers'. It goes with each request as an
/// extension.
#[derive(Clone)]
pub struct OnNode(Arc<dyn Fn() + Send + Sync>);

impl OnNode {
    /// Tells by this.
    pub fn new(tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

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
        .route("/link/v1/hooks/{sha256}", get(module))
        .route("/link/v1/certificates/{sha256}", get(certificate))
        .with_state(Link { fleet, is_node })
}

/// The route of workers of other machines: `POST /link/v1/work`, with a token of their own, which admits to nothing else.
pub fn work_router(fleet: Fleet, is_worker: IsNode, tickets: Tickets) -> Router {
    Router::new().route("/link/v1/work", post(work)).with_state(WorkLink { fleet, is_worker, tickets })
}

#[derive(Clone)]
struct WorkLink {
    fleet: Fleet,
    is_worker: IsNode,
    tickets: Tickets,
}

async fn work(State(link): State<WorkLink>, request: Request) -> Response {
    let advice = "a worker's token is wanted: give the worker the content of control's worker-token file";
    if let Some(refusal) = refusal_of(&link.is_worker, &request, advice) {
        return refusal;
    }
    match read_message::<WorkPoll>(request, POLL_BYTES_MAX).await {
        Ok(poll) => answer(link.fleet.work(poll, &link.tickets).await),
        Err(refusal) => refusal,
    }
}

async fn poll(State(link): State<Link>, request: Request) -> Response {
    match link.read::<millstream_control_protocol::exchange::Poll>(request, POLL_BYTES_MAX).await {
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

async fn module(State(link): State<Link>, Path(sha256): Path<String>, request: Request) -> Response {
    if let Some(refusal) = link.refusal(&request) {
        return refusal;
    }
    match link.fleet.module(&sha256, 0).await {
        Ok(first) => {
            let pieces = Pieces { fleet: link.fleet, sha256, at: 0, first: Some(first) };
            respond(
                StatusCode::OK,
                "application/wasm",
                Body::from_stream(futures_util::stream::unfold(pieces, Pieces::next)),
            )
        }
        Err(error) => refuse(&error),
    }
}

async fn certificate(State(link): State<Link>, Path(sha256): Path<String>, request: Request) -> Response {
    if let Some(refusal) = link.refusal(&request) {
        return refusal;
    }
    if request.extensions().get::<Encrypted>().is_none() {
        tracing::error!("a node asks for the certificate with its key: {}", LinkError::Plain);
        return refuse(&LinkError::Plain);
    }
    match link.fleet.certificate(&sha256) {
        Some(file) => respond(StatusCode::OK, "application/x-pem-file", Body::from(file.expose().to_owned())),
        None => refuse(&LinkError::NoCertificate),
    }
}

/// A module that is being sent: a piece is read when the one before has gone out, so that whoever reads slowly costs one piece.
struct Pieces {
    fleet: Fleet,
    sha256: String,
    at: u64,
    first: Option<Bytes>,
}

impl Pieces {
    async fn next(mut self) -> Option<(Result<Bytes, LinkError>, Self)> {
        let piece = match self.first.take() {
            Some(first) => Ok(first),
            None => self.fleet.module(&self.sha256, self.at).await,
        };
        match piece {
            Ok(piece) if piece.is_empty() => None,
            Ok(piece) => {
                self.at += piece.len() as u64;
                Some((Ok(piece), self))
            }
            // The connection breaks: so the node knows that this was not all.
            Err(error) => {
                tracing::warn!(%error, sha256 = self.sha256, "a hook's module could not be sent to its end");
                Some((Err(error), self))
            }
        }
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

/// The answer to whoever has not the token that is wanted; `None`: it is there.
fn refusal_of(is_it: &IsNode, request: &Request, advice: &str) -> Option<Response> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).map(|token| Secret::new(token.trim()));
    if !token.is_some_and(|token| is_it(&token)) {
        let mut refusal = text(StatusCode::UNAUTHORIZED, advice);
        refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return Some(refusal);
    }
    None
}

async fn read_message<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<T, Response> {
    let body = to_bytes(request.into_body(), bytes_max)
        .await
        .map_err(|_| text(StatusCode::PAYLOAD_TOO_LARGE, "the message is too long, or was cut off"))?;
    serde_json::from_slice(&body).map_err(|error| {
        // Of a message that a node wrote, place and kind of the error hold nothing secret.
        let said = format!("this is not a message of the link: {error}");
        text(StatusCode::BAD_REQUEST, &said)
    })
}

impl Link {
    /// The answer to whoever has no node's token.
    fn refusal(&self, request: &Request) -> Option<Response> {
        let advice = "the link wants a node's token: give the node the content of control's node-token file";
        let refusal = refusal_of(&self.is_node, request, advice);
        // A worker's token is no node's: its connection stays among those of strangers.
        if let (None, Some(OnNode(tell))) = (&refusal, request.extensions().get()) {
            tell();
        }
        refusal
    }

    async fn read<T: DeserializeOwned>(&self, request: Request, bytes_max: usize) -> Result<T, Response> {
        match self.refusal(&request) {
            Some(refusal) => Err(refusal),
            None => read_message(request, bytes_max).await,
        }
    }
}

fn answer<T: Serialize>(answer: Result<T, LinkError>) -> Response {
    match answer.map(|answer| serde_json::to_vec(&answer)) {
        Ok(Ok(json)) => respond(StatusCode::OK, "application/json", json.into()),
        Ok(Err(_)) => text(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written"),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &LinkError) -> Response {
    let status = match error {
        LinkError::Name | LinkError::WorkerName | LinkError::Sha256 => StatusCode::BAD_REQUEST,
        LinkError::Plain => StatusCode::FORBIDDEN,
        LinkError::NoModule | LinkError::NoCertificate => StatusCode::NOT_FOUND,
        LinkError::SameName | LinkError::SameWorkerName => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, &error.to_string())
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::DropEvents;

    #[tokio::test]
    async fn the_token_of_workers_gives_a_connection_no_place_of_a_node() {
        let fleet = Fleet::new([], String::new(), DropEvents);
        let of = |token: &'static str| -> IsNode { Arc::new(move |shown: &Secret| shown.matches(token)) };
        let places = Arc::new(AtomicUsize::new(0));
        let request = |token: &str| {
            let mut request = Request::new(Body::from("{\"worker\":{\"name\":\"gpu\",\"run\":1}}"));
            let bearer = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
            request.headers_mut().insert(AUTHORIZATION, bearer);
            let told = Arc::clone(&places);
            request.extensions_mut().insert(OnNode::new(move || {
                told.fetch_add(1, Ordering::Relaxed);
            }));
            request
        };
        let link = Link { fleet: fleet.clone(), is_node: of("of nodes") };
        let tickets = Tickets::new(&Secret::new("of nodes"));
        let work_link = WorkLink { fleet, is_worker: of("of workers"), tickets };
        assert_eq!(work(State(work_link), request("of workers")).await.status(), StatusCode::OK);
        assert!(link.refusal(&request("of workers")).is_some());
        assert_eq!(places.load(Ordering::Relaxed), 0);
        assert!(link.refusal(&request("of nodes")).is_none());
        assert_eq!(places.load(Ordering::Relaxed), 1);
    }
}
