//! Writes response heads, and whole answers to requests that fail. Before it: the engine's router; after it: the viewer's socket.
//!
//! A head cannot be split: names and most values are the program's own, and a value from elsewhere is cleaned first.
use std::fmt::Write as _;

use bytes::Bytes;

use crate::time::{UNIX_S_MAX, civil};

/// How the receiver finds the end of the body (RFC 9112, 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// That many bytes.
    Length(u64),
    /// Chunks: HTTP/1.1 only.
    Chunked,
    /// The connection closes behind it: HTTP/1.0.
    UntilClose,
    /// The status has none: 204 and 304.
    None,
}

/// What caches may do with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cache {
    /// Keep nothing.
    NoStore,
    /// Keep it this many seconds.
    MaxAge(u32),
    /// Caches that many share keep it this many seconds; a viewer's own asks again each time.
    Shared(u32),
    /// Keep it a year, and never ask again: the name is never used twice.
    Immutable,
    /// A viewer's own keeps it this many seconds; caches that many share keep nothing.
    Private(u32),
    /// The same, a year.
    PrivateImmutable,
}

impl Cache {
    /// What a viewer's own cache may do with it, where not everybody may have it.
    #[must_use]
    pub const fn private(self) -> Self {
        match self {
            Self::NoStore => Self::NoStore,
            Self::MaxAge(seconds) | Self::Private(seconds) => Self::Private(seconds),
            Self::Shared(_) => Self::Private(0),
            Self::Immutable | Self::PrivateImmutable => Self::PrivateImmutable,
        }
    }
}

/// A head in the making.
#[derive(Clone, Debug)]
pub struct Head {
    lines: String,
}

impl Head {
    /// Starts a head with what every answer has: status, length, cache rule and CORS. `keep_alive` is ignored where the body ends with
    /// the connection.
    pub fn new(status: u16, body: Body, cache: Cache, keep_alive: bool) -> Self {
        let mut lines = format!("HTTP/1.1 {status:03} {}\r\n", reason(status));
        let keep_alive = keep_alive && body != Body::UntilClose;
        // Writing to a string cannot fail.
        let _ = match body {
            Body::Length(bytes) => write!(lines, "Content-Length: {bytes}\r\n"),
            Body::Chunked => write!(lines, "Transfer-Encoding: chunked\r\n"),
            Body::UntilClose | Body::None => Ok(()),
        };
        let _ = match cache {
            Cache::NoStore => write!(lines, "Cache-Control: no-store\r\n"),
            Cache::MaxAge(seconds) => write!(lines, "Cache-Control: public, max-age={seconds}\r\n"),
            Cache::Shared(seconds) => write!(lines, "Cache-Control: public, max-age=0, s-maxage={seconds}\r\n"),
            Cache::Immutable => write!(lines, "Cache-Control: public, max-age=31536000, immutable\r\n"),
            Cache::Private(seconds) => write!(lines, "Cache-Control: private, max-age={seconds}\r\n"),
            Cache::PrivateImmutable => write!(lines, "Cache-Control: private, max-age=31536000, immutable\r\n"),
        };
        lines.push_str("Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: Age, Date\r\n");
        lines.push_str(if keep_alive { "Connection: keep-alive\r\n" } else { "Connection: close\r\n" });
        Self { lines }
    }

    /// `Content-Type`.
    pub fn content_type(self, value: &'static str) -> Self {
        self.header("Content-Type", value)
    }

    /// `Date`, from Unix time in seconds.
    pub fn date(self, unix_s: u64) -> Self {
        self.header("Date", &imf_fixdate(unix_s))
    }

    /// Any other header. Characters of the value other than visible ASCII, space and tab become `?`, so that it stays one value.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.lines.push_str(name);
        self.lines.push_str(": ");
        self.lines.extend(value.chars().map(|c| if matches!(c, ' '..='~' | '\t') { c } else { '?' }));
        self.lines.push_str("\r\n");
        self
    }

    /// The head's bytes, with the empty line.
    pub fn finish(mut self) -> Bytes {
        self.lines.push_str("\r\n");
        self.lines.into()
    }
}

/// A whole answer to a request that fails: text that says what was wrong and what to do, never kept by caches. `detail` is for
/// people; it must not repeat what the request said. `head_only` answers `HEAD`; `unix_s` is the `Date`.
pub fn error(status: u16, detail: &str, keep_alive: bool, head_only: bool, unix_s: Option<u64>) -> Bytes {
    failure(status, detail, keep_alive, head_only, unix_s, &[])
}

/// [`error`] where it makes sense to try again after so many seconds.
pub fn error_until(
    status: u16,
    detail: &str,
    keep_alive: bool,
    head_only: bool,
    unix_s: Option<u64>,
    retry_after_s: u64,
) -> Bytes {
    failure(status, detail, keep_alive, head_only, unix_s, &[("Retry-After", &retry_after_s.to_string())])
}

/// A whole answer to a request that cannot become a WebSocket as it is: says what would.
pub fn upgrade_refused(status: u16, detail: &str, keep_alive: bool, unix_s: Option<u64>) -> Bytes {
    let wanted = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", super::websocket::VERSION)];
    failure(status, detail, keep_alive, false, unix_s, if status == 426 { &wanted } else { &[] })
}

/// The answer to a method that the target does not know; `allow` lists those that it does.
pub fn not_allowed(allow: &str, keep_alive: bool, head_only: bool, unix_s: Option<u64>) -> Bytes {
    failure(405, &format!("only {allow} are answered here"), keep_alive, head_only, unix_s, &[("Allow", allow)])
}

fn failure(
    status: u16,
    detail: &str,
    keep_alive: bool,
    head_only: bool,
    unix_s: Option<u64>,
    more: &[(&'static str, &str)],
) -> Bytes {
    let body = format!("{status} {}: {detail}\n", reason(status));
    let mut head = Head::new(status, Body::Length(body.len() as u64), Cache::NoStore, keep_alive)
        .content_type("text/plain; charset=utf-8")
        .header("X-Content-Type-Options", "nosniff");
    if let Some(unix_s) = unix_s {
        head = head.date(unix_s);
    }
    for (name, value) in more {
        head = head.header(name, value);
    }
    let head = head.finish();
    if head_only { head } else { [&head[..], body.as_bytes()].concat().into() }
}

/// The reason phrase of the statuses that are used.
const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        // A phrase may be empty, the space before it not (RFC 9112, 4).
        _ => "",
    }
}

/// A time as HTTP writes it (RFC 9110, 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`. Stops at the end of the year 9999.
pub fn imf_fixdate(unix_s: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let unix_s = unix_s.min(UNIX_S_MAX);
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil(days);
    let weekday = DAYS.get((days % 7) as usize).copied().unwrap_or_default();
    let month = MONTHS.get((month - 1) as usize).copied().unwrap_or_default();
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}
