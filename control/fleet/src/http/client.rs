//! One connection, and requests on it. Before it: a node's agent and [`crate::webhook`]; after it: the network.
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::dial::{Authorities, dial, resolve};
use super::guard::Guard;
use super::head::{Headed, Meter};
use super::url::Url;
use crate::limits::ANSWER_HEAD_BYTES_MAX;

/// Time for the name, the connection and TLS.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// What we call ourselves.
const AGENT: &str = concat!("millstream/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer. Holds nothing that the peer said.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The name has no address.
    #[error("the name {0} cannot be resolved")]
    Name(String),
    /// All of its addresses are ones that may not be connected to.
    #[error("{0} is a private address; an operator can allow its network")]
    Private(String),
    /// Nobody listens, or not in time.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, String),
    /// TLS is asked for, and not there or refused.
    #[error("cannot speak to {0}: {1}")]
    Tls(String, String),
    /// The connection broke.
    #[error("the connection to {0} broke: {1}")]
    Broken(String, String),
    /// It sent and sent, and no head of a final answer was in it.
    #[error(
        "{0} sent more than {max} KiB without the head of an answer (1xx answers count); its answer must begin with a final status",
        max = ANSWER_HEAD_BYTES_MAX >> 10
    )]
    Headless(String),
    /// No whole answer in time.
    #[error("{0} did not answer in time")]
    Late(String),
}

/// Time for a name, where nothing is to be connected to yet.
const NAME_WAIT: Duration = Duration::from_secs(2);

/// An answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; `None` where it is longer than was to be read.
    pub body: Option<Bytes>,
}

/// A connection to one server.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    meter: Meter,
    to: String,
}

/// Whether a URL leads where it may, as far as that can be said now: a name that is not found may be found later.
pub async fn may_go(url: &Url, guard: &Guard) -> Result<(), AskError> {
    match timeout(NAME_WAIT, resolve((&url.host, url.port), guard)).await {
        Ok(Err(error @ AskError::Private(_))) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Connection {
    /// Connects to a URL's host.
    pub async fn open(url: &Url, guard: &Guard) -> Result<Self, AskError> {
        Self::connect(url, guard, None).await
    }

    /// The same, where these are trusted rather than the machine's alone.
    #[cfg(feature = "tls")]
    pub async fn open_trusting(url: &Url, guard: &Guard, trusted: &Authorities) -> Result<Self, AskError> {
        Self::connect(url, guard, Some(trusted)).await
    }

    async fn connect(url: &Url, guard: &Guard, trusted: Option<&Authorities>) -> Result<Self, AskError> {
        let to = url.to_string();
        let connecting =
            async { speak(&to, dial((&url.host, url.port), url.secure, &to, (guard, trusted)).await?).await };
        let late = || AskError::Connect(to.clone(), format!("no connection within {} s", CONNECT_WAIT.as_secs()));
        let (sender, meter) = timeout(CONNECT_WAIT, connecting).await.map_err(|_| late())??;
        Ok(Self { sender, meter, to })
    }

    /// Posts JSON and reads the answer, both within `wait`, the answer's body up to `reply_bytes_max`.
    pub async fn post(
        &mut self,
        url: &Url,
        mut headers: HeaderMap,
        body: Bytes,
        wait: Duration,
        reply_bytes_max: usize,
    ) -> Result<Reply, AskError> {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.ask(Method::POST, url, headers, body, wait, reply_bytes_max).await
    }

    /// Gets what is there, within `wait`, up to `reply_bytes_max`.
    pub async fn get(
        &mut self,
        url: &Url,
        headers: HeaderMap,
        wait: Duration,
        reply_bytes_max: usize,
    ) -> Result<Reply, AskError> {
        self.ask(Method::GET, url, headers, Bytes::new(), wait, reply_bytes_max).await
    }

    /// Asks by any method and reads the answer, within `wait`, up to `reply_bytes_max`.
    pub async fn ask(
        &mut self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        body: Bytes,
        wait: Duration,
        reply_bytes_max: usize,
    ) -> Result<Reply, AskError> {
        let broken = |error: String| AskError::Broken(self.to.clone(), error);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() =
            url.path.parse().map_err(|_| broken("the path of the URL cannot be asked for".to_owned()))?;
        *request.headers_mut() = headers;
        let host = HeaderValue::from_str(&url.authority()).map_err(|_| AskError::Name(url.host.clone()))?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let to = self.to.clone();
        let asking = async {
            self.sender.ready().await.map_err(|error| AskError::Broken(to.clone(), error.to_string()))?;
            self.meter.begin();
            let answer = self.sender.send_request(request).await;
            self.meter.headed();
            let answer = answer.map_err(|error| {
                let over = self.meter.is_over();
                if over { AskError::Headless(to.clone()) } else { AskError::Broken(to.clone(), error.to_string()) }
            })?;
            let (head, body) = answer.into_parts();
            let (status, headers) = (head.status, head.headers);
            let body = Limited::new(body, reply_bytes_max).collect().await;
            match body {
                Ok(body) => Ok(Reply { status, headers, body: Some(body.to_bytes()) }),
                Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                    Ok(Reply { status, headers, body: None })
                }
                Err(error) => Err(AskError::Broken(to.clone(), error.to_string())),
            }
        };
        timeout(wait, asking).await.unwrap_or_else(|_| Err(AskError::Late(to.clone())))
    }

    /// Whether it can be asked again.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

async fn speak<S>(to: &str, socket: S) -> Result<(SendRequest<Full<Bytes>>, Meter), AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| AskError::Broken(to.to_owned(), error.to_string());
    let (socket, meter) = Headed::around(socket);
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
    // It ends with the connection; what went wrong with it is told to whoever waits for an answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok((sender, meter))
}
