//! Heads as players, browsers and CDNs send them, and as attackers do.
use super::request::{HttpError, Method, Parsed, Request, TargetError, Version, parse};
use super::response::{Body, Cache, Head, error, imf_fixdate, not_allowed};
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};
use crate::query::QueryError;
use crate::testkit::survives_damage;

const BROWSER: &str = "GET /cam1/live.flv?sign=hush&start=next HTTP/1.1\r\nHost: media.example:8080\r\nConnection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11) Chrome/130\r\nAccept: */*\r\nOrigin: https://example.com\r\n\
    Referer: https://example.com/watch?token=hush\r\nRange: bytes=0-\r\nIf-None-Match: \"a\"\r\n\
    Accept-Encoding: gzip, deflate\r\n\r\n";

fn complete(head: &str) -> Request {
    match parse(head.as_bytes()) {
        Ok(Parsed::Complete { request, head_bytes }) => {
            assert_eq!(head_bytes, head.len(), "{head:?}");
            request
        }
        other => panic!("{head:?}: {other:?}"),
    }
}

#[test]
fn what_a_browser_sends() {
    let request = complete(BROWSER);
    assert_eq!(request.method, Method::Get);
    assert_eq!(request.path, ["cam1", "live.flv"]);
    assert_eq!((request.query.get("sign"), request.query.get("start")), (Some("hush"), Some("next")));
    assert_eq!((request.version, request.keep_alive, request.content_length), (Version::Http11, true, 0));
    assert_eq!(request.host.as_deref(), Some("media.example:8080"));
    assert_eq!(request.user_agent.as_deref(), Some("Mozilla/5.0 (X11) Chrome/130"));
    assert_eq!(request.origin.as_deref(), Some("https://example.com"));
    assert_eq!(
        request.referer.as_ref().map(crate::secret::Secret::expose),
        Some("https://example.com/watch?token=hush")
    );
    assert_eq!((request.range.as_deref(), request.if_none_match.as_deref()), (Some("bytes=0-"), Some("\"a\"")));
    let printed = format!("{request:?}");
    assert!(!printed.contains("hush") && !printed.contains("cam1"), "{printed}");
}

#[test]
fn a_head_in_pieces_is_partial_until_its_last_byte() {
    for cut in 0..BROWSER.len() {
        assert_eq!(parse(&BROWSER.as_bytes()[..cut]), Ok(Parsed::Partial), "{cut}");
    }
    let pipelined = format!("{BROWSER}GET / HTTP/1.1\r\n");
    assert!(
        matches!(parse(pipelined.as_bytes()), Ok(Parsed::Complete { head_bytes, .. }) if head_bytes == BROWSER.len())
    );
}

#[test]
fn keep_alive_by_version_and_header() {
    let check = |head: &str, expected: bool| assert_eq!(complete(head).keep_alive, expected, "{head:?}");
    check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
    check("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", false);
    check("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, close\r\n\r\n", false);
    check("GET / HTTP/1.0\r\n\r\n", false);
    check("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true);
    check("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false);
}

#[test]
fn methods_bodies_and_forms() {
    let check = |head: &str, method: Method, content_length: u64| {
        let request = complete(head);
        assert_eq!((request.method, request.content_length), (method, content_length), "{head:?}");
    };
    check("HEAD / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Method::Head, 0);
    check("OPTIONS / HTTP/1.1\r\nHost:\r\n\r\n", Method::Options, 0);
    check(
        "POST /a/grant HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\nExpect: 100-continue\r\n\r\n",
        Method::Post,
        65_536,
    );
    check("DELETE http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Method::Other("DELETE".into()), 0);
    check("get / HTTP/1.1\r\nHost: a\r\n\r\n", Method::Other("get".into()), 0);
    check("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Method::Get, 0);
}

#[test]
fn refused_with_a_status() {
    let check = |head: &str, status: u16, expected: Option<HttpError>| {
        let refused = parse(head.as_bytes()).expect_err(head);
        assert_eq!(refused.status(), status, "{head:?}: {refused}");
        if let Some(expected) = expected {
            assert_eq!(refused, expected, "{head:?}");
        }
        assert!(!refused.to_string().contains("hush"));
    };
    let with = |lines: &str| format!("GET /hush HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    // Two readers could see two requests.
    check(&with("Content-Length: 4\r\nContent-Length: 5\r\n"), 400, Some(HttpError::Twice("Content-Length")));
    check(&with("Content-Length: 4\r\nContent-Length: 4\r\n"), 400, Some(HttpError::Twice("Content-Length")));
    check(&with("Content-Length: 4, 4\r\n"), 400, Some(HttpError::ContentLength));
    for length in ["+4", "-4", "0x4", "", "4 4", "18446744073709551620"] {
        check(&with(&format!("Content-Length: {length}\r\n")), 400, Some(HttpError::ContentLength));
    }
    check(&with("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"), 400, Some(HttpError::Smuggling));
    check(&with("Transfer-Encoding: chunked\r\n"), 501, Some(HttpError::TransferEncoding));
    check(&with("transfer-encoding: identity\r\n"), 501, Some(HttpError::TransferEncoding));
    check(&with("Host: b\r\n"), 400, Some(HttpError::Twice("Host")));
    check(&with("Range: bytes=0-\r\nRange: bytes=1-\r\n"), 400, Some(HttpError::Twice("Range")));
    check(&with("X : y\r\n"), 400, None);
    check(&with(" X: y\r\n"), 400, None);
    check(&with("X: y\r\n z\r\n"), 400, None);
    check(&with("X: y\rz\r\n"), 400, None);
    check(&with("X: y\0z\r\n"), 400, None);
    check(&with("X\r\n"), 400, None);
    check(&with(": y\r\n"), 400, None);
    check(&with("X: y\nContent-Length: 4\r\n"), 400, None);
    check("GET / HTTP/1.1\nHost: a\n\n", 400, None);
    check("GET / HTTP/1.1\nHost: a", 400, None);
    // Not this protocol, not this version, not this form.
    check("\x16\x03\x01\x02\0\x01", 400, None);
    check("GET /\r\n\r\n", 400, None);
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/1.", "HTTP/x"] {
        check(&format!("\r\nGET / {version}\r\n\r\n"), 505, Some(HttpError::Version));
    }
    for line in ["GET /a b HTTP/1.1", "GET /a b", "GET  / HTTP/1.1", "GET / http/1.1", "GET / RTSP/1.0", "GET / "] {
        check(&format!("{line}\r\nHost: a\r\n\r\n"), 400, None);
    }
    check("GET / HTTP/1.1\r\n\r\n", 400, Some(HttpError::NoHost));
    check("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, Some(HttpError::Host));
    check("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400, Some(HttpError::Host));
    check("GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400, Some(TargetError::Segment.into()));
    // Too much.
    check(&with("Content-Length: 65537\r\n"), 413, Some(HttpError::BodyLong(65_537)));
    check(&format!("GET /?{} HTTP/1.1\r\n\r\n", "a".repeat(3000)), 400, Some(HttpError::NoHost));
    check(&format!("GET /?{} HTTP/1.0\r\n\r\n", "a".repeat(3000)), 414, Some(QueryError::Long(3000).into()));
    check(&format!("GET /{}", "a".repeat(HTTP_HEAD_BYTES_MAX)), 414, Some(HttpError::TargetLong));
    check(&with(&format!("X: {}\r\n", "y".repeat(HTTP_HEAD_BYTES_MAX))), 431, Some(HttpError::HeadLong));
    check(&with(&"X: y\r\n".repeat(HTTP_HEADERS_MAX)), 431, Some(HttpError::Headers));
}

#[test]
fn damage_is_survived_and_no_path_goes_up() {
    let samples = [
        BROWSER.as_bytes(),
        b"GET /a/%2e%2e/..%2f/b?x=%41 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
        b"GET http://a/./.../%252e HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    survives_damage(&samples, |head| match parse(head) {
        Ok(Parsed::Complete { request, head_bytes }) => {
            assert!(head_bytes <= head.len());
            for segment in &request.path {
                assert!(
                    !matches!(segment.as_str(), "" | "." | "..") && !segment.contains(['/', '\\', '\0', '\r', '\n'])
                );
            }
        }
        Ok(Parsed::Partial) => {}
        Err(refused) => assert!((400..600).contains(&refused.status())),
    });
}

#[test]
fn heads() {
    let head =
        Head::new(200, Body::Chunked, Cache::NoStore, true).content_type("video/x-flv").date(784_111_777).finish();
    let expected = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\n\
        Access-Control-Expose-Headers: Age, Date\r\nConnection: keep-alive\r\nContent-Type: video/x-flv\r\n\
        Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    assert_eq!(head, expected);
    let line = |head: Head, line: &str| {
        let head = String::from_utf8(head.finish().to_vec()).unwrap();
        assert!(head.lines().any(|other| other == line), "{line} in {head}");
    };
    line(Head::new(200, Body::Length(5), Cache::MaxAge(600), true), "Content-Length: 5");
    line(Head::new(200, Body::Length(5), Cache::MaxAge(600), true), "Cache-Control: public, max-age=600");
    line(Head::new(200, Body::Length(5), Cache::Shared(12), true), "Cache-Control: public, max-age=0, s-maxage=12");
    line(Head::new(200, Body::Length(5), Cache::Immutable, true), "Cache-Control: public, max-age=31536000, immutable");
    line(Head::new(200, Body::UntilClose, Cache::NoStore, true), "Connection: close");
    line(Head::new(299, Body::None, Cache::NoStore, false), "HTTP/1.1 299 ");
}

#[test]
fn no_value_splits_a_head() {
    let head =
        Head::new(302, Body::Length(0), Cache::NoStore, true).header("Location", "/a\r\nSet-Cookie: b\0\n\nü").finish();
    let text = std::str::from_utf8(&head).unwrap();
    assert!(text.contains("\r\nLocation: /a??Set-Cookie: b????\r\n"), "{text}");
    assert_eq!(text.matches("\r\n\r\n").count(), 1);
}

#[test]
fn an_error_says_what_and_is_never_kept() {
    let answer = error(404, "no stream of that name is on air", true, false, Some(0));
    let text = std::str::from_utf8(&answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "404 Not Found: no stream of that name is on air\n");
    for line in [
        "Cache-Control: no-store",
        "Content-Length: 48",
        "Connection: keep-alive",
        "Date: Thu, 01 Jan 1970 00:00:00 GMT",
    ] {
        assert!(head.lines().any(|other| other == line), "{line} in {head}");
    }
    let head_only = error(404, "no stream of that name is on air", true, true, Some(0));
    assert_eq!(head_only, format!("{head}\r\n\r\n"));
    let answer = not_allowed("GET, HEAD", false, false, None);
    let text = std::str::from_utf8(&answer).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && text.contains("\r\nAllow: GET, HEAD\r\n"),
        "{text}"
    );
    assert!(text.ends_with("405 Method Not Allowed: only GET, HEAD are answered here\n"), "{text}");
}

#[test]
fn dates() {
    let check = |unix_s: u64, expected: &str| assert_eq!(imf_fixdate(unix_s), expected);
    check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
    check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
    check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT");
    check(951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT");
    check(1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT");
    check(4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT");
    check(u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
}

#[test]
fn other_protocols_are_known_by_their_first_byte() {
    assert_eq!(parse(&[3]), Err(HttpError::Rtmp));
    assert_eq!(parse(&[&[3][..], &[0; 1536]].concat()), Err(HttpError::Rtmp));
    assert_eq!(parse(&[0x16, 3, 1, 0, 5, 1]), Err(HttpError::Tls));
    assert_eq!(parse(b""), Ok(Parsed::Partial));
}
