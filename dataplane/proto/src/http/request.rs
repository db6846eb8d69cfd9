//! Reads request heads (RFC 9112), strictly: what two readers could understand in two ways is refused, since a CDN stands before us.
//! Before it: the first bytes on a viewer's connection; after it: the engine's router.
use std::fmt;

use super::file::Conditions;
use super::forwarded::Forwarded;
use super::target;
use super::websocket::Offer;
use crate::limits::{HTTP_BODY_BYTES_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};
use crate::openmetrics::Format;
use crate::query::{Params, QueryError};
use crate::secret::Secret;

pub use super::target::TargetError;

/// What a request wants to do.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Method {
    /// Read.
    Get,
    /// Read the head only.
    Head,
    /// Ask what is allowed (CORS preflight).
    Options,
    /// Make a grant.
    Post,
    /// Another one: the router answers 405.
    Other(String),
}

/// What a request came over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// HTTP/1.0: an answer of unknown length ends with its connection.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2, which has frames of its own for bodies, and no upgrades.
    Http2,
}

/// One request.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// The path's segments, percent-decoded once and safe: none but the last is empty, none is `.` or `..`, none holds `/`, `\` or control characters. Empty
    /// for `/`.
    pub path: Vec<String>,
    /// The query's parameters.
    pub query: Params,
    /// Which HTTP it came over.
    pub version: Version,
    /// Whether the connection may go on after the answer.
    pub keep_alive: bool,
    /// Bytes of body that follow the head; at most [`HTTP_BODY_BYTES_MAX`].
    pub content_length: u64,
    /// `Host`: always there in HTTP/1.1.
    pub host: Option<String>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `Referer`: a secret, since the URL of a page may hold a token.
    pub referer: Option<Secret>,
    /// What `Authorization: Bearer` gives.
    pub bearer: Option<Secret>,
    /// What a CDN's edge proves itself with: `X-Millstream-Edge`.
    pub edge: Option<Secret>,
    /// What a proxy says of whom it is for; anybody can say it.
    pub forwarded: Forwarded,
    /// `Origin`.
    pub origin: Option<String>,
    /// `If-None-Match`, as it stands.
    pub if_none_match: Option<String>,
    /// The other preconditions, as they stand. Boxed: few have one.
    pub conditions: Option<Box<Conditions>>,
    /// What the player says of itself in `CMCD-Object`, `CMCD-Request`, `CMCD-Session` and `CMCD-Status`, as one list. Boxed: few say it.
    pub cmcd: Option<Box<str>>,
    /// `Accept-Encoding` takes gzip.
    pub accepts_gzip: bool,
    /// The format that `Accept` asks for; looked at for `/metrics` only.
    pub metrics: Option<Format>,
    /// `Range`, as it stands.
    pub range: Option<String>,
    /// It wants to become a WebSocket. Boxed: few do.
    pub websocket: Option<Box<Offer>>,
}

/// Leaves out what may be secret (the path may hold a grant) or long.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("version", &self.version)
            .field("segments", &self.path.len())
            .finish_non_exhaustive()
    }
}

/// Outcome of [`parse`].
#[expect(clippy::large_enum_variant, reason = "taken apart as soon as it is made")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// The head is not complete yet, and nothing is wrong so far.
    Partial,
    /// A whole head.
    Complete {
        /// The request.
        request: Request,
        /// Bytes that the head took.
        head_bytes: usize,
    },
}

/// A request that is refused. The connection cannot go on after it: where the next request starts is not known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The connection begins with an RTMP handshake.
    #[error("this is an RTMP connection, and the port speaks HTTP")]
    Rtmp,
    /// The connection begins with a TLS hello.
    #[error("this is a TLS connection, and the port speaks HTTP without TLS")]
    Tls,
    /// The request line or a header line is not HTTP.
    #[error("the request is not valid HTTP/1: {0}")]
    Syntax(&'static str),
    /// The head passes [`HTTP_HEAD_BYTES_MAX`], in its first line.
    #[error("the request line is longer than {HTTP_HEAD_BYTES_MAX} bytes")]
    TargetLong,
    /// The head passes [`HTTP_HEAD_BYTES_MAX`].
    #[error("the request's headers are longer than {HTTP_HEAD_BYTES_MAX} bytes")]
    HeadLong,
    /// More than [`HTTP_HEADERS_MAX`] header lines.
    #[error("the request has more than {HTTP_HEADERS_MAX} header lines")]
    Headers,
    /// A path that is not safe.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A query that is refused.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A header that may stand only once stands twice.
    #[error("the request has the header {0} more than once")]
    Twice(&'static str),
    /// HTTP/1.1 without `Host`.
    #[error("the request has no Host header, which HTTP/1.1 requires")]
    NoHost,
    /// A `Host` that no authority can be.
    #[error("the Host header is not a host name with an optional port")]
    Host,
    /// A `Content-Length` that is not one decimal number.
    #[error("the Content-Length header is not a number")]
    ContentLength,
    /// `Content-Length` and `Transfer-Encoding` in one request.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    Smuggling,
    /// A body longer than [`HTTP_BODY_BYTES_MAX`].
    #[error("the request's body has {0} bytes; at most {HTTP_BODY_BYTES_MAX} are allowed")]
    BodyLong(u64),
    /// A body with a transfer encoding.
    #[error("a request body with Transfer-Encoding is not supported; send Content-Length instead")]
    TransferEncoding,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are supported")]
    Version,
}

impl HttpError {
    /// The status code to answer with.
    pub const fn status(&self) -> u16 {
        match self {
            Self::BodyLong(_) => 413,
            Self::TargetLong | Self::Query(QueryError::Long(_)) => 414,
            Self::HeadLong | Self::Headers => 431,
            Self::TransferEncoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}

/// The first byte of an RTMP connection, C0. No method begins with it.
const RTMP_VERSION: u8 = 3;
/// The first byte of a TLS connection: a record with a handshake message.
const TLS_HANDSHAKE: u8 = 0x16;

/// Reads the head at the start of `head`, which may hold more than it. Cheap enough to be called again with each read.
pub fn parse(head: &[u8]) -> Result<Parsed, HttpError> {
    match head.first() {
        Some(&RTMP_VERSION) => return Err(HttpError::Rtmp),
        Some(&TLS_HANDSHAKE) => return Err(HttpError::Tls),
        _ => {}
    }
    let window = head.get(..HTTP_HEAD_BYTES_MAX).unwrap_or(head);
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let head_bytes = match parsed.parse(window) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if head.len() < HTTP_HEAD_BYTES_MAX => {
            check_line_ends(window)?;
            return Ok(Parsed::Partial);
        }
        Ok(httparse::Status::Partial) if window.contains(&b'\n') => return Err(HttpError::HeadLong),
        Ok(httparse::Status::Partial) => return Err(HttpError::TargetLong),
        Err(httparse::Error::Version) if !has_version(window) => {
            return Err(HttpError::Syntax("the request line is not a method, a target without spaces and a version"));
        }
        Err(error) => return Err(error.into()),
    };
    check_line_ends(window.get(..head_bytes).unwrap_or_default())?;
    let (Some(method), Some(target), Some(minor_version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(HttpError::Syntax("the request line is incomplete"));
    };
    let version = if minor_version == 0 { Version::Http10 } else { Version::Http11 };
    let request = assemble(method, target, version, parsed.headers)?;
    Ok(Parsed::Complete { request, head_bytes })
}

/// Makes a request of a head that was taken apart; the rules for targets and headers are the same in every version of HTTP.
pub(crate) fn assemble(
    method: &str,
    target: &str,
    version: Version,
    headers: &[httparse::Header<'_>],
) -> Result<Request, HttpError> {
    let (path, query) = target::split(target)?;
    let headers = Headers(headers);
    let host = headers.one("Host")?;
    check_host(host, version)?;
    let metrics = (path.len() == 1 && path.first().is_some_and(|name| name == "metrics"))
        .then(|| Format::of_accept(headers.joined("Accept").as_deref()));
    Ok(Request {
        method: match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "OPTIONS" => Method::Options,
            "POST" => Method::Post,
            other => Method::Other(other.to_owned()),
        },
        path,
        query: Params::parse(query)?,
        version,
        keep_alive: headers.keep_alive(version),
        content_length: headers.content_length()?,
        host: host.map(text),
        user_agent: headers.first("User-Agent").map(text),
        referer: headers.first("Referer").map(|value| Secret::new(text(value))),
        bearer: headers.one("Authorization")?.and_then(bearer),
        edge: headers.one("X-Millstream-Edge")?.map(|value| Secret::new(text(value))),
        forwarded: Forwarded {
            standard: headers.joined("Forwarded"),
            x_forwarded_for: headers.joined("X-Forwarded-For"),
            x_forwarded_proto: headers.joined("X-Forwarded-Proto"),
        },
        origin: headers.first("Origin").map(text),
        if_none_match: headers.joined("If-None-Match"),
        conditions: headers.conditions(),
        cmcd: headers.cmcd(),
        accepts_gzip: accepts_gzip(headers.all("Accept-Encoding")),
        metrics,
        range: headers.one("Range")?.map(text),
        websocket: headers.websocket()?,
    })
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, 2.1); `None` for other schemes, and for what no token is written with.
fn bearer(value: &[u8]) -> Option<Secret> {
    let (scheme, token) = value.split_at_checked(6)?;
    let token = token.strip_prefix(b" ")?.trim_ascii();
    let is_token = !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
    (scheme.eq_ignore_ascii_case(b"Bearer") && is_token).then(|| Secret::new(text(token)))
}

impl From<httparse::Error> for HttpError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::HeaderName => Self::Syntax("a header name has a character that is not allowed"),
            httparse::Error::HeaderValue => Self::Syntax("a header value has a character that is not allowed"),
            httparse::Error::NewLine => Self::Syntax("a line does not end with CR LF"),
            httparse::Error::Token => Self::Syntax("the request line has a character that is not allowed"),
            httparse::Error::TooManyHeaders => Self::Headers,
            httparse::Error::Version => Self::Version,
            httparse::Error::Status => Self::Syntax("this is an answer, not a request"),
        }
    }
}

/// Whether a version, of whatever number, stands behind the second space. `httparse` calls all else there a wrong version, too: the rest
/// of a target with a space in it, above all.
fn has_version(head: &[u8]) -> bool {
    head.splitn(3, |byte| *byte == b' ').nth(2).is_some_and(|rest| rest.starts_with(b"HTTP/"))
}

/// `httparse` takes a bare LF for a line's end; a proxy before us may not, and see other headers than we do.
fn check_line_ends(head: &[u8]) -> Result<(), HttpError> {
    let bare =
        head.iter().zip(std::iter::once(&0).chain(head)).any(|(byte, before)| *byte == b'\n' && *before != b'\r');
    if bare { Err(HttpError::Syntax("a line does not end with CR LF")) } else { Ok(()) }
}

fn check_host(host: Option<&[u8]>, version: Version) -> Result<(), HttpError> {
    match host {
        None if version != Version::Http10 => Err(HttpError::NoHost),
        // What a name, an IPv4 or bracketed IPv6 address and a port are written with. It may be empty (RFC 9110, 7.2).
        Some(host) if !host.iter().all(|b| b.is_ascii_alphanumeric() || b".-_:[]%~".contains(b)) => {
            Err(HttpError::Host)
        }
        _ => Ok(()),
    }
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// All lines of a name as one list (RFC 9110, section 5.3).
    fn joined(&self, name: &str) -> Option<String> {
        let mut lines = self.all(name);
        let mut list = text(lines.next()?);
        for line in lines {
            list.push(',');
            list.push_str(&text(line));
        }
        Some(list)
    }

    /// All that begin with `CMCD-`, as one list: which key stands in which of them is of no use to us.
    fn cmcd(&self) -> Option<Box<str>> {
        const PREFIX: &[u8] = b"CMCD-";
        let of_players = |header: &&httparse::Header<'_>| {
            header.name.as_bytes().get(..PREFIX.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(PREFIX))
        };
        let mut lines = self.0.iter().filter(of_players).map(|header| text(header.value));
        let mut list = lines.next()?;
        for line in lines {
            list.push(',');
            list.push_str(&line);
        }
        Some(list.into())
    }

    fn one(&self, name: &'static str) -> Result<Option<&'a [u8]>, HttpError> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(HttpError::Twice(name)) } else { Ok(first) }
    }

    /// RFC 9112, 9.3.
    fn keep_alive(&self, version: Version) -> bool {
        !self.lists("Connection", "close") && (version != Version::Http10 || self.lists("Connection", "keep-alive"))
    }

    /// Whether a header that is a list has this among its values.
    fn lists(&self, name: &str, option: &str) -> bool {
        let mut options = self.all(name).flat_map(|value| value.split(|b| *b == b','));
        options.any(|value| value.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    }

    fn conditions(&self) -> Option<Box<Conditions>> {
        let conditions = Conditions {
            if_match: self.joined("If-Match"),
            if_modified_since: self.first("If-Modified-Since").map(text),
            if_unmodified_since: self.first("If-Unmodified-Since").map(text),
            if_range: self.first("If-Range").map(text),
        };
        (conditions != Conditions::default()).then(|| Box::new(conditions))
    }

    /// What asks for a WebSocket (RFC 6455, 4.2.1). A key alone, too: a proxy may have dropped the rest, and the client is to be told.
    fn websocket(&self) -> Result<Option<Box<Offer>>, HttpError> {
        let names_it = self.lists("Upgrade", "websocket");
        let key = self.one("Sec-WebSocket-Key")?;
        if !names_it && key.is_none() {
            return Ok(None);
        }
        let said = |value: Option<&[u8]>| text(value.unwrap_or_default().trim_ascii());
        let first = self.first("Sec-WebSocket-Protocol").and_then(|list| list.split(|b| *b == b',').next());
        Ok(Some(Box::new(Offer {
            upgrades: names_it && self.lists("Connection", "Upgrade"),
            key: said(key),
            version: said(self.one("Sec-WebSocket-Version")?),
            protocol: said(first),
        })))
    }

    /// RFC 9112, 6.3, without its leniencies: a number that is said twice is refused even where both are the same.
    fn content_length(&self) -> Result<u64, HttpError> {
        let length = self.one("Content-Length")?;
        if self.first("Transfer-Encoding").is_some() {
            return Err(if length.is_some() { HttpError::Smuggling } else { HttpError::TransferEncoding });
        }
        let Some(digits) = length else {
            return Ok(0);
        };
        // `parse` alone would take a sign.
        let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        match digits.filter(|digits| !digits.is_empty() && digits.len() <= 19).map(str::parse) {
            Some(Ok(bytes)) if bytes <= HTTP_BODY_BYTES_MAX => Ok(bytes),
            Some(Ok(bytes)) => Err(HttpError::BodyLong(bytes)),
            _ => Err(HttpError::ContentLength),
        }
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// Whether these values of `Accept-Encoding` take gzip (RFC 9110, 12.5.3): it is named, or all that is not named is taken; a weight of 0 is a no.
pub fn accepts_gzip<'a>(values: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut any = false;
    for coding in values.flat_map(|value| value.split(|b| *b == b',')) {
        let mut parts = coding.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let refused = parts.any(|weight| {
            let digits = weight.strip_prefix(b"q=").or_else(|| weight.strip_prefix(b"Q="));
            digits.is_some_and(|digits| digits.iter().all(|b| matches!(b, b'0' | b'.')))
        });
        if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") {
            return !refused;
        }
        any |= name == b"*" && !refused;
    }
    any
}
