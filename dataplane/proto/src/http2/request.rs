//! Request heads and trailers (RFC 9113, 8.1 to 8.3): checked as they come, and made into what an HTTP/1 request is made into.
//!
//! Strict for the reason that [`crate::http::request`] is: what passes here could be written as HTTP/1.1 and would mean the same.
use std::borrow::Cow;

use super::hpack::Fields;
use crate::http::request::{HttpError, Request, TargetError, Version, assemble};
use crate::limits::HTTP_HEADERS_MAX;

/// A request or trailers that break HTTP: the stream ends with PROTOCOL_ERROR (RFC 9113, 8.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A name that is empty, has upper case letters, or characters that no name has.
    #[error("a field name is empty, or has a character that is not allowed")]
    Name,
    /// A value with control characters, or with white space around it.
    #[error("a field value has a control character, or white space around it")]
    Value,
    /// A pseudo-header field behind others.
    #[error("a pseudo-header field stands behind other fields")]
    PseudoLate,
    /// A pseudo-header field that requests do not have, such as `:protocol`, which is not offered.
    #[error("a pseudo-header field that requests do not have")]
    PseudoUnknown,
    /// A pseudo-header field that stands twice.
    #[error("the pseudo-header field {0} stands twice")]
    PseudoTwice(&'static str),
    /// A pseudo-header field that is missing.
    #[error("the pseudo-header field {0} is missing")]
    PseudoMissing(&'static str),
    /// CONNECT with a scheme or a path, or without an authority.
    #[error("CONNECT has an authority, and neither a scheme nor a path")]
    Connect,
    /// A method, a scheme, an authority or a path that is none.
    #[error("the value of {0} is not one")]
    PseudoValue(&'static str),
    /// A pseudo-header field in trailers.
    #[error("trailers have a pseudo-header field")]
    PseudoInTrailers,
    /// A header of one connection.
    #[error("a header of one connection: Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding, Upgrade, or TE")]
    ConnectionSpecific,
    /// `Host` names another than `:authority`, or stands twice.
    #[error("Host stands twice, or names another than :authority")]
    Host,
    /// `Content-Length` is no number, or stands twice.
    #[error("Content-Length is not one number")]
    ContentLength,
    /// The body has another length than `Content-Length` says.
    #[error("the body does not have the length that Content-Length says")]
    BodyLength,
    /// A second head that does not end the request.
    #[error("a second head does not end the request")]
    TrailersWithoutEnd,
}

/// The names of pseudo-header fields in requests.
const METHOD: &str = ":method";
const SCHEME: &str = ":scheme";
const AUTHORITY: &str = ":authority";
const PATH: &str = ":path";

/// A request's head that was checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestHead {
    fields: Fields,
    content_length: Option<u64>,
}

impl RequestHead {
    /// Checks the fields of a first header block.
    pub fn new(fields: Fields) -> Result<Self, Malformed> {
        let (mut method, mut scheme, mut authority, mut path) = (None, None, None, None);
        let (mut host, mut content_length) = (None, None);
        let mut regular = false;
        for (name, value) in fields.iter() {
            if let Some(pseudo) = name.strip_prefix(b":") {
                if regular {
                    return Err(Malformed::PseudoLate);
                }
                let (place, name) = match pseudo {
                    b"method" => (&mut method, METHOD),
                    b"scheme" => (&mut scheme, SCHEME),
                    b"authority" => (&mut authority, AUTHORITY),
                    b"path" => (&mut path, PATH),
                    _ => return Err(Malformed::PseudoUnknown),
                };
                check_value(value)?;
                once(place, value, Malformed::PseudoTwice(name))?;
                continue;
            }
            regular = true;
            check_field(name, value)?;
            match name {
                b"host" => once(&mut host, value, Malformed::Host)?,
                b"content-length" => once(&mut content_length, number(value)?, Malformed::ContentLength)?,
                _ => {}
            }
        }
        let method = method.ok_or(Malformed::PseudoMissing(METHOD))?;
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
            return Err(Malformed::PseudoValue(METHOD));
        }
        if method == b"CONNECT" {
            if authority.is_none() || scheme.is_some() || path.is_some() {
                return Err(Malformed::Connect);
            }
        } else {
            check_scheme(scheme.ok_or(Malformed::PseudoMissing(SCHEME))?)?;
            check_path(path.ok_or(Malformed::PseudoMissing(PATH))?, method)?;
        }
        if let Some(authority) = authority {
            // User names are not allowed in it (RFC 9113, 8.3.1).
            if authority.is_empty() || authority.contains(&b'@') {
                return Err(Malformed::PseudoValue(AUTHORITY));
            }
            if host.is_some_and(|host| !host.eq_ignore_ascii_case(authority)) {
                return Err(Malformed::Host);
            }
        }
        Ok(Self { fields, content_length })
    }

    /// All fields in the order in which they came, pseudo-header fields first.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter()
    }

    /// The first value of a name, in lower case.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(known, _)| *known == name.as_bytes()).map(|(_, value)| value)
    }

    /// What `Content-Length` says.
    pub const fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether this is CONNECT, which has no path.
    pub fn is_connect(&self) -> bool {
        self.first(METHOD) == Some(b"CONNECT")
    }

    /// Cookies, which may come in a field each (RFC 9113, 8.2.3), as the one header that they are in HTTP/1.
    pub fn cookie(&self) -> Option<Cow<'_, [u8]>> {
        let mut cookies = self.fields().filter(|(name, _)| *name == b"cookie").map(|(_, value)| value);
        let first = cookies.next()?;
        let Some(second) = cookies.next() else { return Some(Cow::Borrowed(first)) };
        let mut joined = [first, second].join(&b"; "[..]);
        for cookie in cookies {
            joined.extend_from_slice(b"; ");
            joined.extend_from_slice(cookie);
        }
        Some(Cow::Owned(joined))
    }

    /// The request as HTTP/1.1 has it, under the same rules; an error has the status to answer with. Its body may have no `Content-Length`:
    /// the stream says where it ends.
    pub fn to_request(&self) -> Result<Request, HttpError> {
        let text =
            |value: Option<&'_ [u8]>| std::str::from_utf8(value.unwrap_or_default()).unwrap_or_default().to_owned();
        let (method, path) = (text(self.first(METHOD)), self.first(PATH).unwrap_or_default());
        let path = std::str::from_utf8(path).map_err(|_| TargetError::Character)?;
        let (authority, cookie) = (self.first(AUTHORITY), self.cookie());
        let made = [("host", authority), ("cookie", cookie.as_deref())];
        let made = made.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let came = self.fields().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)));
        let came = came.filter(|(name, _)| {
            !name.starts_with(':') && *name != "cookie" && !(*name == "host" && authority.is_some())
        });
        let headers: Vec<_> = made.chain(came).map(|(name, value)| httparse::Header { name, value }).collect();
        if headers.len() > HTTP_HEADERS_MAX {
            return Err(HttpError::Headers);
        }
        assemble(&method, path, Version::Http2, &headers)
    }

    /// Bytes of memory that this holds.
    pub fn held_bytes(&self) -> usize {
        self.fields.held_bytes()
    }
}

/// Checks the fields of a second header block. Nobody needs them.
pub fn check_trailers(fields: &Fields) -> Result<(), Malformed> {
    for (name, value) in fields.iter() {
        if name.starts_with(b":") {
            return Err(Malformed::PseudoInTrailers);
        }
        check_field(name, value)?;
    }
    Ok(())
}

/// Sets what may be set once.
fn once<T>(place: &mut Option<T>, value: T, twice: Malformed) -> Result<(), Malformed> {
    if place.replace(value).is_some() { Err(twice) } else { Ok(()) }
}

fn check_field(name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte) && !byte.is_ascii_uppercase()) {
        return Err(Malformed::Name);
    }
    check_value(value)?;
    match name {
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            Err(Malformed::ConnectionSpecific)
        }
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Err(Malformed::ConnectionSpecific),
        _ => Ok(()),
    }
}

/// RFC 9113, 8.2.1, and the control characters that RFC 9110, 5.5 does not allow either.
fn check_value(value: &[u8]) -> Result<(), Malformed> {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if is_space(value.first()) || is_space(value.last()) || value.iter().any(is_control) {
        return Err(Malformed::Value);
    }
    Ok(())
}

/// RFC 3986, 3.1.
fn check_scheme(scheme: &[u8]) -> Result<(), Malformed> {
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
    if is_scheme { Ok(()) } else { Err(Malformed::PseudoValue(SCHEME)) }
}

/// A path, or `*` where OPTIONS is for the whole server. What else stands in it is for `to_request` to refuse, with a status.
fn check_path(path: &[u8], method: &[u8]) -> Result<(), Malformed> {
    if path.starts_with(b"/") || path == b"*" && method == b"OPTIONS" {
        return Ok(());
    }
    Err(Malformed::PseudoValue(PATH))
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Digits alone: `parse` would take a sign.
fn number(value: &[u8]) -> Result<u64, Malformed> {
    let digits = std::str::from_utf8(value).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(Malformed::ContentLength)
}

#[cfg(test)]
mod tests;
