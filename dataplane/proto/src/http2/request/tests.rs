//! Heads and trailers: what a request is made into, and what is malformed.
use super::super::hpack::{Decoder, encode_field};
use super::*;
use crate::http::request::Method;

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "media.example:8443"), (":path", "/cam/live.flv?a=b")];

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
