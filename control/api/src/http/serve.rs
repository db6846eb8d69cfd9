//! Connections: a listener that nobody can exhaust. Before it: a bound socket; after it: the router, which knows who calls
//! ([`ConnectInfo`]) and which address they came to ([`Local`]).
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::gate::Local;
use super::problem::Problem;

/// Maxima of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Open connections; who comes when there are as many waits in the kernel's queue.
    pub connections: usize,
    /// Time for a request's head, idle time between requests included.
    pub head_timeout: Duration,
    /// Time for a request as a whole up to its answer's first byte, which covers a body that trickles in.
    pub request_timeout: Duration,
    /// How long running requests may take once the server ends.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// How long accepting pauses when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `end` comes, then lets running requests end.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, end: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let (ending, ended) = watch::channel(false);
    tokio::pin!(end);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = &mut end => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, ended) = (router.clone(), ended.clone());
                tokio::spawn(async move {
                    connection(stream, peer, router, limits, ended).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the control port cannot be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Idle connections end at this; the others when their request has.
    ending.send_replace(true);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    if timeout(limits.drain, places.acquire_many(all)).await.is_err() {
        tracing::info!("requests to the control port that are still running are cut off");
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    mut ended: watch::Receiver<bool>,
) {
    // Answers are short, and complete when they are written.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Local(local));
        let answer = hyper::service::Service::call(&inner, request);
        async move { Ok::<_, Infallible>(within(limits.request_timeout, answer).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => Some(done),
        () = async { drop(ended.wait_for(|ended| *ended).await) } => None,
    };
    let done = if let Some(done) = done {
        done
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = done {
        tracing::debug!(%peer, %error, "a connection to the control port ended early");
    }
}

async fn within<F>(most: Duration, answer: F) -> axum::response::Response
where
    F: Future<Output = Result<axum::response::Response, Infallible>>,
{
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    match timeout(most, answer).await {
        Ok(Ok(response)) => response,
        Err(_) => {
            let detail = "the request took too long; send it at once, and try again in a moment";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail).into_response()
        }
    }
}
