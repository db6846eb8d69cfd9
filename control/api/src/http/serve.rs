//! Connections: a listener that nobody can exhaust. Before it: a bound socket; after it: the router, which knows who calls
//! ([`ConnectInfo`]) and which address they came to ([`Local`]). Connections have [`super::places`]; a handler that panics is counted, and
//! answered with 500.
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use millstream_fleet::OnNode;
use millstream_fleet::certificates::Encrypted;
use millstream_fleet::numbers::Numbers;
use millstream_proto::http::forwarded::Forwarded;
use millstream_proto::network::Network;
use millstream_store::repeated::Repeated;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::gate::Local;
use super::places::{Full, Places};
use super::problem::Problem;
use super::wire::{Answering, UnderWay, Wire};

/// Maxima of connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections, those of nodes apart. When there are as many, one that waits for a request, or for the rest of one, gives way.
    pub connections: usize,
    /// Of those, of one address; and requests at the same time that a trusted proxy passes on for one.
    pub per_address: usize,
    /// Proxies whose `Forwarded` and `X-Forwarded-For` are believed.
    pub trusted_proxies: Vec<Network>,
    /// Time for a request's head, idle time between requests included.
    pub head_timeout: Duration,
    /// Time for a request as a whole up to its answer's first byte, which covers a body that trickles in.
    pub request_timeout: Duration,
    /// Time in which a client that is sent something has to read some of it.
    pub write_timeout: Duration,
    /// How long running requests may take once the server ends.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            per_address: 128,
            trusted_proxies: Vec::new(),
            head_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
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
/// What connections share.
struct Shared {
    router: Router,
    limits: Limits,
    places: Arc<Places>,
    numbers: Arc<Numbers>,
    /// Connections that do not speak what the port does.
    garbled: Repeated,
    ended: watch::Receiver<bool>,
}

/// A port with TLS: certificates and all that belongs to them may change.
#[derive(Debug)]
pub struct TlsPort {
    /// Where it listens.
    pub listener: TcpListener,
    /// What it shows to who connects next.
    pub config: watch::Receiver<Arc<ServerConfig>>,
}

/// The next connection to a port with TLS; never where there is none.
async fn accept_tls(port: Option<&TlsPort>) -> io::Result<(TcpStream, SocketAddr)> {
    match port {
        Some(port) => port.listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Serves until `end` comes, then lets running requests end.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsPort>,
    router: Router,
    limits: Limits,
    numbers: Arc<Numbers>,
    end: impl Future<Output = ()>,
) {
    let (ending, ended) = watch::channel(false);
    let drain = limits.drain;
    let places = Places::new(limits.connections, limits.per_address);
    let shared = Arc::new(Shared { router, limits, places, numbers, garbled: Repeated::new(), ended });
    let mut connections = JoinSet::new();
    let (failing, full) = (Repeated::new(), Repeated::new());
    tokio::pin!(end);
    loop {
        let (accepted, secure) = tokio::select! {
            accepted = listener.accept() => (accepted, None),
            accepted = accept_tls(tls.as_ref()) => {
                (accepted, tls.as_ref().map(|port| TlsAcceptor::from(Arc::clone(&port.config.borrow()))))
            }
            // A defect in it has been printed.
            Some(_) = connections.join_next() => continue,
            () = &mut end => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Err(why) = admit(&shared, &mut connections, stream, (peer, secure))
                    && let Some(count) = full.again()
                {
                    tracing::warn!(%peer, why, count, "connections to the control port were refused");
                }
            }
            // It was gone before it was taken.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {
            }
            Err(error) => {
                shared.numbers.control_refused("accept");
                if let Some(count) = failing.again() {
                    tracing::warn!(%error, count, "connections to the control port cannot be accepted; trying again");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop((listener, tls));
    // Idle connections end at this; the others when their request has.
    ending.send_replace(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(drain, all).await.is_err() {
        tracing::info!("requests to the control port that are still running are cut off");
    }
}

/// Gives a connection its place and its task; an error is the limit that it would pass.
fn admit(
    shared: &Arc<Shared>,
    connections: &mut JoinSet<()>,
    stream: TcpStream,
    (peer, secure): (SocketAddr, Option<TlsAcceptor>),
) -> Result<(), &'static str> {
    let is_proxy = shared.trusts(peer);
    let (place, gave_way) = shared.places.take((!is_proxy).then(|| peer.ip())).map_err(|full| {
        let why = match full {
            Full::All => "connections",
            Full::Address => "per_address",
        };
        shared.numbers.control_refused(why);
        why
    })?;
    if gave_way {
        shared.numbers.control_refused("gave_way");
    }
    let (shared, place) = (Arc::clone(shared), Arc::new(place));
    connections.spawn(async move {
        tokio::select! {
            () = open(&shared, stream, (peer, is_proxy), secure, &place) => {}
            () = place.gives_way() => tracing::debug!(%peer, "an idle connection to the control port gave way"),
        }
    });
    Ok(())
}

impl Shared {
    fn trusts(&self, peer: SocketAddr) -> bool {
        self.limits.trusted_proxies.iter().any(|network| network.contains(peer.ip()))
    }

    /// Whom a request is for that a trusted proxy has passed on.
    fn client(&self, headers: &HeaderMap, proxy: SocketAddr) -> SocketAddr {
        forwarded(headers).client(proxy, |address| self.trusts(SocketAddr::new(address, 0)))
    }
}

/// What proxies say of a request.
fn forwarded(headers: &HeaderMap) -> Forwarded {
    let list = |name: &str| {
        // A line that is no text stays a hop, one that cannot be read: nothing to its left is believed.
        let lines: Vec<_> = headers
            .get_all(HeaderName::from_bytes(name.as_bytes()).ok()?)
            .iter()
            .map(|line| String::from_utf8_lossy(line.as_bytes()))
            .collect();
        (!lines.is_empty()).then(|| lines.join(","))
    };
    Forwarded {
        standard: list("forwarded"),
        x_forwarded_for: list("x-forwarded-for"),
        x_forwarded_proto: list("x-forwarded-proto"),
    }
}

/// Bytes of a request without TLS that are read before it is answered: most have less.
const REQUEST_BYTES: usize = 4 << 10;
/// The first byte of a TLS connection: RFC 8446, 5.1.
const HANDSHAKE: u8 = 22;
/// What a client gets that sends HTTP to the port with TLS.
const USE_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 32\r\n\
    Connection: close\r\n\r\nthis port has TLS: use https://\n";

/// Shakes hands where the port has TLS, and serves the connection.
async fn open(
    shared: &Arc<Shared>,
    stream: TcpStream,
    client: (SocketAddr, bool),
    secure: Option<TlsAcceptor>,
    place: &Arc<super::places::Place>,
) {
    // Answers are short, and complete when they are written.
    let _ = stream.set_nodelay(true);
    let Ok(address) = stream.local_addr() else { return };
    let local = Local { address, tls: secure.is_some() };
    let peer = client.0;
    let Some(acceptor) = secure else {
        let mut first = [0];
        let mut ended = shared.ended.clone();
        let peeked = tokio::select! {
            peeked = timeout(shared.limits.head_timeout, stream.peek(&mut first)) => peeked,
            // It has asked for nothing yet.
            () = async { drop(ended.wait_for(|ended| *ended).await) } => return,
        };
        let Ok(peeked) = peeked else { return };
        if peeked.is_ok() && first[0] == HANDSHAKE {
            shared.numbers.control_refused("tls");
            if let Some(count) = shared.garbled.again() {
                tracing::warn!(%peer, count, "a TLS connection on the control port, which has none: use http://, or control.tls_listen");
            }
        }
        return connection(shared, stream, local, client, place).await;
    };
    let shaken = timeout(shared.limits.head_timeout, async {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            // Closed over unread bytes, it would be reset, and the answer may be lost.
            let _ = stream.try_read(&mut [0; REQUEST_BYTES]);
            stream.writable().await?;
            // A socket that is fresh has room for it.
            let _ = stream.try_write(USE_HTTPS);
            return Err(io::Error::other("HTTP without TLS on the control port, which has TLS: use https://"));
        }
        acceptor.accept(stream).await
    });
    match shaken.await {
        Ok(Ok(stream)) => connection(shared, stream, local, client, place).await,
        Ok(Err(error)) => {
            shared.numbers.control_refused("tls");
            if let Some(count) = shared.garbled.again() {
                tracing::warn!(%peer, %error, count, "a TLS handshake on the control port failed");
            }
        }
        Err(_) => {
            shared.numbers.control_refused("tls");
            if let Some(count) = shared.garbled.again() {
                tracing::warn!(%peer, count, "a TLS handshake on the control port took too long");
            }
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    shared: &Arc<Shared>,
    stream: S,
    local: Local,
    (peer, is_proxy): (SocketAddr, bool),
    place: &Arc<super::places::Place>,
) {
    let limits = &shared.limits;
    let inner = TowerToHyperService::new(shared.router.clone());
    let (of, slot) = (Arc::clone(shared), Arc::clone(place));
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let client = if is_proxy { of.client(request.headers(), peer) } else { peer };
        let served = is_proxy.then(|| of.places.serve(client.ip()));
        request.extensions_mut().insert(ConnectInfo(client));
        request.extensions_mut().insert(local);
        if local.tls || (is_proxy && forwarded(request.headers()).is_secure()) {
            request.extensions_mut().insert(Encrypted);
        }
        let node = Arc::clone(&slot);
        request.extensions_mut().insert(OnNode::new(move || node.is_nodes()));
        // Polled by its task only: the handler begins there.
        let (of, slot, inner) = (Arc::clone(&of), Arc::clone(&slot), inner.clone());
        async move {
            let Ok(under_way) = served.map_or(Ok(None), |served| served.map(Some).ok_or(())) else {
                of.numbers.control_refused("per_address");
                let detail = "this address has as many requests under way as it may have; try again in a moment";
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", detail);
                return Ok::<_, Infallible>(problem.into_response());
            };
            let (head, body) = request.into_parts();
            let (under_way, body) = UnderWay::new(&slot, under_way, body);
            let request = hyper::Request::from_parts(head, body);
            let response = of.answer(hyper::service::Service::call(&inner, request)).await;
            let (head, body) = response.into_parts();
            if let Some(body) = Answering::new(body, Arc::clone(&under_way)) {
                return Ok(Response::from_parts(head, Body::new(body)));
            }
            of.numbers.control_refused("unread");
            let detail =
                "too many answers wait to be read by others, or by others of this address; try again in a moment";
            let (head, body) = Problem::unavailable("busy", detail, 1).into_response().into_parts();
            // It is short, so it has room.
            let body = Answering::new(body, under_way).map(Body::new).unwrap_or_default();
            Ok(Response::from_parts(head, body))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let wire = Wire::new(stream, Arc::clone(place), limits.write_timeout);
    let connection = http.serve_connection(TokioIo::new(wire), service);
    tokio::pin!(connection);
    let mut ended = shared.ended.clone();
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

/// Marks an answer that was made because a handler panicked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panicked;

/// The answer where a handler panicked.
pub(crate) fn panicked() -> Response {
    let detail = "the server failed while it carried out the request; read what is there before you repeat it";
    let mut response = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response();
    response.extensions_mut().insert(Panicked);
    response
}

impl Shared {
    /// A handler's answer, in time; also where it panics, which is counted.
    async fn answer<F>(&self, answer: F) -> Response
    where
        F: Future<Output = Result<Response, Infallible>>,
    {
        // What a panic left half-done belonged to the request; what is shared is behind locks that stand it.
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let response = match timeout(self.limits.request_timeout, answer).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Err(_)) => {
                tracing::error!("a defect ended a request to the API; please report the message above");
                panicked()
            }
            Err(_) => Problem::timeout().into_response(),
        };
        if response.extensions().get::<Panicked>().is_some() {
            self.numbers.api_panicked();
        }
        response
    }
}
