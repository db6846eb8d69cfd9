//! Control, as a node reaches it: in the same process, or over HTTP with a token.
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use bytes::BytesMut;
use millstream_control_protocol::exchange::{Poll, Push, Receipt, Report};
use millstream_fleet::http::client::{AskError, Connection};
use millstream_fleet::http::guard::Guard;
use millstream_fleet::http::kept::{KeptConnection, bearer};
use millstream_fleet::http::url::Url;
use millstream_fleet::limits::{CERTIFICATE_BYTES_MAX, MODULE_BYTES_MAX, RECEIPT_BYTES_MAX, STATE_BYTES_MAX};
use millstream_fleet::{Fleet, LinkError};
use millstream_proto::secret::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

/// Beyond the time that a poll wants to be kept waiting, its answer has this long.
const ANSWER_WAIT: Duration = Duration::from_secs(15);
/// Time for a hook's module, the largest of which needs some 1.5 Mbit/s for it.
const MODULE_WAIT: Duration = Duration::from_mins(2);

/// Why control did not take what a node said.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It is not reached.
    #[error(transparent)]
    Away(#[from] AskError),
    /// The token is wrong.
    #[error("{0} refuses this node's token; give it the content of control's node-token file (--control-token-file)")]
    Token(String),
    /// It answers something else.
    #[error("{0} answers with status {1}; is it a millstream control of this release or the one beside it?")]
    Status(String, u16),
    /// It answers in another language.
    #[error("{0} answers what is no message of the link: {1}")]
    Language(String, String),
    /// A module of a hook that is larger than any may be.
    #[error("control sends more than the {MODULE_BYTES_MAX} bytes that a hook's module may have")]
    Large,
    /// A key is asked for where it can be read on the way.
    #[error("{0} is not TLS: a key would be read on the way; give the node an https:// URL of control")]
    Plain(String),
    /// What it sends is no certificate.
    #[error(
        "control sends more than the {CERTIFICATE_BYTES_MAX} bytes that a file with a certificate may have, or no text"
    )]
    NoCertificate,
    /// In this process.
    #[error(transparent)]
    Here(#[from] LinkError),
}

/// Where control is.
#[derive(Clone, Debug)]
pub enum Control {
    /// In this process.
    Here(Fleet),
    /// Over HTTP.
    There(Arc<There>),
}

/// Control over HTTP. Polls and reports have a connection each, kept as long as it lasts.
#[derive(Debug)]
pub struct There {
    url: Url,
    token: Secret,
    polling: Mutex<KeptConnection>,
    reporting: Mutex<KeptConnection>,
}

impl Control {
    /// Control at this URL; below its path are the link's. The URL is the operator's own, so it may be any address.
    pub fn over_http(url: Url, token: Secret) -> Self {
        Self::There(Arc::new(There { url, token, polling: Mutex::default(), reporting: Mutex::default() }))
    }

    pub(super) async fn poll(&self, poll: &Poll) -> Result<Push, ControlError> {
        match self {
            Self::Here(fleet) => Ok(fleet.poll(poll).await?),
            Self::There(there) => {
                let wait = Duration::from_millis(u64::from(poll.wait_ms)) + ANSWER_WAIT;
                there.tell(&there.polling, "/link/v1/poll", poll, wait, STATE_BYTES_MAX).await
            }
        }
    }

    /// A hook's module. Whether it is the one that was asked for is the caller's to check.
    pub(super) async fn module(&self, sha256: &str) -> Result<Bytes, ControlError> {
        match self {
            Self::Here(fleet) => {
                let mut module = BytesMut::new();
                loop {
                    let piece = fleet.module(sha256, module.len() as u64).await?;
                    if piece.is_empty() {
                        return Ok(module.freeze());
                    }
                    if module.len() + piece.len() > MODULE_BYTES_MAX {
                        return Err(ControlError::Large);
                    }
                    module.extend_from_slice(&piece);
                }
            }
            Self::There(there) => there.module(sha256).await,
        }
    }

    /// The file with certificate, chain and key that has this SHA-256, which the caller checks.
    pub(super) async fn certificate(&self, sha256: &str) -> Result<Secret, ControlError> {
        match self {
            Self::Here(fleet) => Ok(fleet.certificate(sha256).ok_or(LinkError::NoCertificate)?),
            Self::There(there) => there.certificate(sha256).await,
        }
    }

    pub(super) async fn report(&self, report: Report) -> Result<Receipt, ControlError> {
        match self {
            Self::Here(fleet) => Ok(fleet.report(report).await?),
            Self::There(there) => {
                there.tell(&there.reporting, "/link/v1/report", &report, ANSWER_WAIT, RECEIPT_BYTES_MAX).await
            }
        }
    }
}

impl There {
    fn headers(&self) -> Result<HeaderMap, ControlError> {
        bearer(&self.token).ok_or_else(|| ControlError::Token(self.url.to_string()))
    }

    async fn module(&self, sha256: &str) -> Result<Bytes, ControlError> {
        let url = self.url.below(&format!("/link/v1/hooks/{sha256}"));
        // Seldom, and long: on a connection of its own.
        let mut connection = Connection::open(&url, &Guard::Open).await?;
        let reply = connection.get(&url, self.headers()?, MODULE_WAIT, MODULE_BYTES_MAX).await?;
        match reply.status {
            StatusCode::OK => reply.body.ok_or(ControlError::Large),
            StatusCode::NOT_FOUND => Err(LinkError::NoModule.into()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ControlError::Token(self.url.to_string())),
            other => Err(ControlError::Status(self.url.to_string(), other.as_u16())),
        }
    }

    async fn certificate(&self, sha256: &str) -> Result<Secret, ControlError> {
        if !self.url.secure {
            return Err(ControlError::Plain(self.url.to_string()));
        }
        let url = self.url.below(&format!("/link/v1/certificates/{sha256}"));
        let mut connection = Connection::open(&url, &Guard::Open).await?;
        let reply = connection.get(&url, self.headers()?, ANSWER_WAIT, CERTIFICATE_BYTES_MAX).await?;
        match reply.status {
            StatusCode::OK => {
                let file = reply.body.as_deref().and_then(|body| std::str::from_utf8(body).ok());
                file.map(Secret::new).ok_or(ControlError::NoCertificate)
            }
            StatusCode::NOT_FOUND => Err(LinkError::NoCertificate.into()),
            StatusCode::FORBIDDEN => Err(LinkError::Plain.into()),
            StatusCode::UNAUTHORIZED => Err(ControlError::Token(self.url.to_string())),
            other => Err(ControlError::Status(self.url.to_string(), other.as_u16())),
        }
    }

    async fn tell<T: DeserializeOwned>(
        &self,
        kept: &Mutex<KeptConnection>,
        path: &str,
        message: &impl Serialize,
        wait: Duration,
        reply_bytes_max: usize,
    ) -> Result<T, ControlError> {
        let to = self.url.to_string();
        let language = |error: serde_json::Error| ControlError::Language(to.clone(), error.to_string());
        let body: Bytes = serde_json::to_vec(message).map_err(language)?.into();
        let url = self.url.below(path);
        let headers = self.headers()?;
        let reply = kept.lock().await.post(&url, &headers, &body, wait, reply_bytes_max).await?;
        match reply.status {
            StatusCode::OK => match reply.body {
                Some(body) => serde_json::from_slice(&body).map_err(language),
                None => Err(ControlError::Language(to.clone(), "it is longer than any may be".to_owned())),
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(ControlError::Token(to)),
            StatusCode::CONFLICT => Err(LinkError::SameName.into()),
            other => Err(ControlError::Status(to, other.as_u16())),
        }
    }
}
