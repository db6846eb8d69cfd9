//! The HTTP surface as scripts, proxies and attackers see it.
use millstream_tests::clip::Clip;
use millstream_tests::flv::Tag;
use millstream_tests::http::{self, Connection, Viewer};
use millstream_tests::rtmp::Publisher;
use millstream_tests::seconds;
use millstream_tests::server::Options;

#[test]
fn what_is_not_there_is_404_and_never_cached() {
    let server = Options::open().start();
    for path in ["/nobody/live.flv", "/no.body", "/nobody/live.m3u8.bak", "/a/b/c/d", "/a/b/", "/.assets/none.js"] {
        let response = http::get(server.http, path);
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.header("cache-control"), "no-store", "{path}");
    }
}

#[test]
fn odd_names_are_refused_and_lead_nowhere() {
    let server = Options::open().start();
    let long = format!("/{}/live.flv", "a".repeat(300));
    let endless = format!("/{}/live.flv", "a".repeat(20_000));
    let paths = [
        "/../live.flv",
        "/../../etc/passwd",
        "/%2e%2e/live.flv",
        "/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/a%00b/live.flv",
        "/%00/live.flv",
        "/a b/live.flv",
        "/cam/../cam/live.flv",
        "/.assets/../live.flv",
        "/.assets/%2e%2e/secret",
        "/cam\\..\\x/live.flv",
        "/%zz/live.flv",
        "/%ff%fe/live.flv",
        "//live.flv",
        "live.flv",
        "*",
        &long,
        &endless,
    ];
    for path in paths {
        let response =
            http::raw(server.http, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes());
        let shown: String = path.chars().take(60).collect();
        let response = response.unwrap_or_else(|e| panic!("{shown}: {e:#}"));
        assert!(matches!(response.status, 400 | 404 | 414 | 431 | 505), "{shown} gave {}", response.status);
        assert!(!String::from_utf8_lossy(&response.body).contains("root:"), "{shown}");
    }
    assert!(server.healthy());
}

#[test]
fn requests_that_are_not_http_get_400_or_a_close() {
    let server = Options::open().start();
    let requests: [&[u8]; 7] = [
        b"\r\n\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /cam/live.flv HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /cam/live.flv HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ];
    for request in requests {
        if let Ok(response) = http::raw(server.http, request) {
            let shown = String::from_utf8_lossy(request);
            assert!((400..=505).contains(&response.status), "{shown:?} gave {}", response.status);
        }
    }
    assert!(server.healthy());
}

#[test]
fn head_says_what_get_would() {
    let server = Options::open().start();
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    let head = http::request(server.http, "HEAD", "/cam/live.flv").expect("an answer");
    assert_eq!((head.status, head.header("content-type")), (200, "video/x-flv"));
    assert_eq!(head.header("cache-control"), "no-store");
    let page = http::get(server.http, "/cam/flv.html");
    let head = http::request(server.http, "HEAD", "/cam/flv.html").expect("an answer");
    assert_eq!((page.status, head.status), (200, 200));
    assert_eq!(head.header("content-length"), page.body.len().to_string());
    assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.head);
    assert_eq!(http::request(server.http, "HEAD", "/nobody/live.flv").expect("an answer").status, 404);
}

#[test]
fn pages_of_other_origins_may_play() {
    let server = Options::open().start();
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    let viewer = Viewer::watch(server.http, "cam");
    assert_eq!(viewer.head.header("access-control-allow-origin"), "*");
    let exposed = viewer.head.header("access-control-expose-headers").to_ascii_lowercase();
    assert!(exposed.contains("age") && exposed.contains("date"), "exposed: {exposed:?}");
    let request = b"OPTIONS /cam/live.flv HTTP/1.1\r\nHost: x\r\nOrigin: http://elsewhere\r\n\
        Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: range\r\nConnection: close\r\n\r\n";
    let response = http::raw(server.http, request).expect("an answer");
    assert!(matches!(response.status, 200 | 204), "OPTIONS gave {}", response.status);
    assert_eq!(response.header("access-control-allow-origin"), "*");
    assert!(response.header("access-control-allow-methods").contains("GET"), "{:?}", response.head);
    let missing = http::get(server.http, "/nobody/live.flv");
    assert_eq!(missing.header("access-control-allow-origin"), "*", "a player must see a 404 as a 404");
}

#[test]
fn connections_are_kept_and_pipelines_answered_in_order() {
    let server = Options::open().start();
    let mut connection = Connection::open(server.http).expect("connected");
    for _ in 0..3 {
        connection.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        assert_eq!(connection.response(false).expect("an answer").status, 200);
        connection.send(b"GET /nobody/live.flv HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        assert_eq!(connection.response(false).expect("an answer").status, 404);
    }
    connection
        .send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nobody/live.flv HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("sent");
    assert_eq!(connection.response(false).expect("the first").status, 200);
    assert_eq!(connection.response(false).expect("the second").status, 404);
    // A request in pieces of one byte is a request.
    for byte in b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" {
        connection.send(&[*byte]).expect("sent");
    }
    let last = connection.response(false).expect("an answer");
    assert_eq!((last.status, last.header("connection").to_ascii_lowercase().as_str()), (200, "close"));
}

#[test]
fn a_body_over_http_1_0_has_no_chunk_framing() {
    let server = Options::open().start();
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    let mut viewer = Viewer::open(server.http, "/cam/live.flv", "HTTP/1.0").expect("an answer").expect("200");
    assert!(!viewer.head.chunked(), "{:?}", viewer.head);
    let tags = viewer.tags_for(seconds(3));
    assert!(tags.iter().filter(|t| t.is_frame()).count() > 100, "{} tags", tags.len());
    Viewer::assert_monotonic(&tags);
}

#[test]
fn a_slow_request_head_is_given_up() {
    let server = Options::open().config("[http]\nheader_timeout = \"1s\"\n").start();
    let mut connection = Connection::open(server.http).expect("connected");
    connection.send(b"GET /healthz HTT").expect("sent");
    // Closed with or without a 408, but closed.
    let answer = connection.response(false);
    assert!(answer.as_ref().map_or(true, |r| r.status == 408), "{answer:?}");
}

#[test]
fn a_streams_address_leads_to_its_page_with_the_query() {
    let server = Options::open().start();
    for (path, to) in [
        ("/cam", "cam/index.html"),
        ("/cam/", "index.html"),
        ("/cam?token=a%2Bb&x", "cam/index.html?token=a%2Bb&x="),
        ("/cam/?embed=1", "index.html?embed=1"),
    ] {
        let answer = http::get(server.http, path);
        assert_eq!((answer.status, answer.header("location")), (302, to), "{path}");
        // A cache that leaves the query out of its key would hand one visitor's token to the others.
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let home = http::get(server.http, "/");
    assert_eq!((home.status, home.header("content-type")), (200, "text/html; charset=utf-8"));
    let icon = http::get(server.http, "/favicon.ico");
    assert_eq!((icon.status, &icon.body[..4]), (200, &[0, 0, 1, 0][..]));
    // Pages may be in frames of other sites.
    for path in ["/", "/cam/index.html"] {
        let page = http::get(server.http, path);
        assert_eq!(page.header("x-frame-options"), "", "{path}");
        assert!(!page.header("content-security-policy").contains("frame-ancestors"), "{path}");
    }
}
