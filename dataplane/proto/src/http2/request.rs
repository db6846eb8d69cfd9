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
mod tests {
    use super::super::hpack::{Decoder, encode_field};
    use super::*;
    use crate::http::request::Method;

    const GET: [(&str, &str); 4] = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "media.example:8443"),
        (":path", "/cam/live.flv?a=b"),
    ];

    fn head(fields: &[(&str, &str)]) -> Result<RequestHead, Malformed> {
        RequestHead::new(list(fields))
    }

    fn list(fields: &[(&str, &str)]) -> Fields {
        let mut block = Vec::new();
        for (name, value) in fields {
            encode_field(&mut block, name.as_bytes(), value.as_bytes());
        }
        Decoder::default().decode(&block, usize::MAX).unwrap()
    }

    fn with(more: &[(&str, &str)]) -> Vec<(String, String)> {
        GET.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn check_with(more: &[(&str, &str)], expected: Malformed) {
        let all = with(more);
        let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(head(&all), Err(expected), "{more:?}");
    }

    #[test]
    fn a_request_is_what_it_is_in_http_1() {
        let all = with(&[
            ("user-agent", "curl/8"),
            ("cookie", "a=b"),
            ("range", "bytes=0-9"),
            ("accept-encoding", "gzip, br"),
            ("cookie", "c=d"),
            ("x-forwarded-for", "192.0.2.1"),
            ("cookie", "e=f"),
            ("authorization", "Bearer abc"),
            ("te", "trailers"),
            ("x-empty", ""),
        ]);
        let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let head = head(&all).unwrap();
        assert_eq!(head.cookie().as_deref(), Some(&b"a=b; c=d; e=f"[..]));
        let request = head.to_request().unwrap();
        let http_1 = b"GET /cam/live.flv?a=b HTTP/1.1\r\nHost: media.example:8443\r\nCookie: a=b; c=d; e=f\r\n\
            User-Agent: curl/8\r\nRange: bytes=0-9\r\nAccept-Encoding: gzip, br\r\nX-Forwarded-For: 192.0.2.1\r\n\
            Authorization: Bearer abc\r\nTE: trailers\r\nX-Empty:\r\n\r\n";
        let crate::http::request::Parsed::Complete { request: same, .. } = crate::http::request::parse(http_1).unwrap()
        else {
            panic!("a whole head");
        };
        assert_eq!(request, Request { version: Version::Http2, ..same });
        assert_eq!(request.host.as_deref(), Some("media.example:8443"));
        assert!(request.accepts_gzip && request.keep_alive && request.bearer.is_some());
        assert!(!format!("{head:?}").contains("abc"));
    }

    #[test]
    fn one_cookie_is_not_copied() {
        let head = head(&[&GET[..], &[("cookie", "a=b")]].concat()).unwrap();
        assert!(matches!(head.cookie(), Some(Cow::Borrowed(b"a=b"))));
        assert_eq!(super::tests::head(&GET).unwrap().cookie(), None);
    }

    #[test]
    fn host_stands_in_for_the_authority() {
        let bare = [GET[0], GET[1], GET[3], ("host", "a")];
        assert_eq!(head(&bare).unwrap().to_request().unwrap().host.as_deref(), Some("a"));
        assert_eq!(head(&bare[..3]).unwrap().to_request(), Err(HttpError::NoHost));
        let both = [&GET[..], &[("host", "Media.Example:8443")]].concat();
        assert_eq!(head(&both).unwrap().to_request().unwrap().host.as_deref(), Some("media.example:8443"));
        check_with(&[("host", "other.example")], Malformed::Host);
        check_with(&[("host", "media.example:8443"), ("host", "media.example:8443")], Malformed::Host);
    }

    #[test]
    fn methods_and_bodies() {
        let head_of = |method: &'static str, path: &'static str, length: &'static str| {
            head(&[
                (":method", method),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", path),
                ("content-length", length),
            ])
        };
        let request = head_of("POST", "/cam/grant", "2").unwrap();
        assert_eq!(request.content_length(), Some(2));
        assert_eq!(request.to_request().unwrap().method, Method::Post);
        assert_eq!(head_of("POST", "/a", "65537").unwrap().to_request(), Err(HttpError::BodyLong(65_537)));
        assert_eq!(head_of("OPTIONS", "*", "0").unwrap().to_request(), Err(TargetError::Form.into()));
        assert_eq!(head_of("GET", "/../a", "0").unwrap().to_request(), Err(TargetError::Segment.into()));
        for length in ["-1", "+1", "1,1", "x", "", "18446744073709551616"] {
            assert_eq!(head_of("GET", "/", length), Err(Malformed::ContentLength), "{length:?}");
        }
        check_with(&[("content-length", "1"), ("content-length", "1")], Malformed::ContentLength);
        let connect = [(":method", "CONNECT"), (":authority", "a:1")];
        assert!(head(&connect).unwrap().is_connect());
        assert_eq!(head(&connect[..1]), Err(Malformed::Connect));
        assert_eq!(head(&[connect[0], connect[1], GET[1]]), Err(Malformed::Connect));
        assert_eq!(head(&[connect[0], connect[1], GET[3]]), Err(Malformed::Connect));
        let many = [&GET[..], &[("a", "b"); 64]].concat();
        assert_eq!(head(&many).unwrap().to_request(), Err(HttpError::Headers));
    }

    #[test]
    fn malformed_pseudo_headers() {
        check_with(&[("a", "b"), (":path", "/")], Malformed::PseudoLate);
        check_with(&[(":path", "/")], Malformed::PseudoTwice(PATH));
        check_with(&[(":method", "GET")], Malformed::PseudoTwice(METHOD));
        check_with(&[(":status", "200")], Malformed::PseudoUnknown);
        check_with(&[(":protocol", "websocket")], Malformed::PseudoUnknown);
        check_with(&[(":", "")], Malformed::PseudoUnknown);
        for (left_out, expected) in [(0, METHOD), (1, SCHEME), (3, PATH)] {
            let mut fields = GET.to_vec();
            fields.remove(left_out);
            assert_eq!(head(&fields), Err(Malformed::PseudoMissing(expected)));
        }
        assert_eq!(head(&[]), Err(Malformed::PseudoMissing(METHOD)));
        for (place, values) in [
            (0, &["", "GE T", "GET\u{e4}"][..]),
            (1, &["", "1http", "http:"]),
            (2, &["", "user@host"]),
            (3, &["", "cam", "*", "http://a/"]),
        ] {
            for value in values {
                let mut fields = GET;
                fields[place].1 = value;
                assert_eq!(head(&fields), Err(Malformed::PseudoValue(fields[place].0)), "{value:?}");
            }
        }
        let mut fields = GET;
        fields[3].1 = "/a\0";
        assert_eq!(head(&fields), Err(Malformed::Value));
    }

    #[test]
    fn malformed_fields() {
        for name in ["", "X-Upper", "a b", "a:", "a\0", "\u{e4}"] {
            check_with(&[(name, "x")], Malformed::Name);
        }
        for value in [" a", "a ", "\ta", "a\r\nb: c", "a\n", "a\0b", "\x7f", "\x01"] {
            check_with(&[("x", value)], Malformed::Value);
        }
        for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
            check_with(&[(name, "x")], Malformed::ConnectionSpecific);
        }
        check_with(&[("te", "trailers, deflate")], Malformed::ConnectionSpecific);
        check_with(&[("te", "")], Malformed::ConnectionSpecific);
    }

    #[test]
    fn trailers() {
        assert_eq!(check_trailers(&list(&[("x-sum", "1"), ("te", "trailers")])), Ok(()));
        assert_eq!(check_trailers(&list(&[(":path", "/")])), Err(Malformed::PseudoInTrailers));
        assert_eq!(check_trailers(&list(&[("Upper", "1")])), Err(Malformed::Name));
        assert_eq!(check_trailers(&list(&[("connection", "x")])), Err(Malformed::ConnectionSpecific));
    }
}
