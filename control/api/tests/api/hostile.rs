//! What a stranger, or a mistaken friend, may send.
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use millstream_api::http::serve::Limits;
use serde_json::json;

use crate::harness::{ADMIN, Options, Response, Server, exchange};

#[test]
fn bodies_that_are_no_json_or_too_long() {
    let server = Server::start();
    let post = |kind: &str, body: &[u8]| {
        server.request("POST", "/api/v1/streams").header("Content-Type", kind).body(body).send()
    };
    post("application/json", b"{").refused(400, "line 1 column 1");
    post("application/json", b"").refused(400, "there is none; send JSON");
    post("application/json", b"\xff\xfe").refused(400, "");
    post("application/json", b"null").refused(400, "");
    post("application/json", b"[1]").refused(400, "");
    post("application/json", br#"{"id": 1}"#).refused(400, "give text");
    post("application/json", br#"{"settings": "x"}"#).refused(400, "");
    post("text/plain", b"{}").refused(415, "application/json");
    post("application/x-www-form-urlencoded", b"{}").refused(415, "application/json");
    post("application/json; charset=utf-8", b"{}").is(201);
    post("application/json", &vec![b' '; 65 << 10]).refused(413, "at most 65536");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    post("application/json", format!("{{\"settings\": {deep}}}").as_bytes()).refused(400, "");
    // A length that is only said is refused as well, without waiting for the bytes.
    let head = format!(
        "POST /api/v1/streams HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n\
         Content-Length: 10000000000\r\nConnection: close\r\n\r\n"
    );
    Response::parse(&exchange(server.address, head.as_bytes())).refused(413, "too long");
}

#[test]
fn names_of_sql_and_html_are_text() {
    let server = Server::start();
    let nasty = "'; DROP TABLE item; -- <script>alert(1)</script> \u{202e}\u{0} %00 ../../etc/passwd";
    let made =
        server.post("/api/v1/streams", &json!({ "settings": { "videoname": nasty, "labels": { nasty: nasty } } }));
    made.is(400);
    for field in ["videoname", "labels"] {
        let value = if field == "labels" { json!({ "a": nasty }) } else { json!(nasty) };
        server.post("/api/v1/streams", &json!({ "settings": { field: value } })).refused(400, "control character");
    }
    let nasty = nasty.replace('\0', "");
    let made = server.post("/api/v1/streams", &json!({ "settings": { "videoname": nasty, "labels": { "a": nasty } } }));
    let read = server.get(&format!("/api/v1/streams/{}", made.is(201).text("id")));
    assert_eq!(read.is(200).json()["settings"]["videoname"], nasty);
    assert_eq!(read.header("content-type"), Some("application/json"));
    assert_eq!(read.header("x-content-type-options"), Some("nosniff"));
    for id in ["%27%3B%20DROP%20TABLE", "..%2f..", "%3Cscript%3E", "a%00b", "%ff%fe"] {
        for path in
            [format!("/api/v1/streams/{id}"), format!("/videostream/{id}"), format!("/api/v1/streams/{id}/session")]
        {
            let refused = server.get(&path);
            assert!(matches!(refused.status, 400 | 404), "{path}: {refused:?}");
            assert!(!refused.body().contains("<script>"), "{path}");
        }
    }
}

/// What a name or a value says is repeated as far as somebody reads it.
#[test]
fn no_answer_repeats_long_names_or_the_words_of_libraries() {
    let server = Server::start();
    let long = "k".repeat(60_000);
    let bodies = [
        format!("{{\"{long}\": 1}}"),
        format!("{{\"settings\": {{\"{long}\": 1}}}}"),
        format!("{{\"id\": \"{long}\"}}"),
        format!("{{\"settings\": {{\"push_paths\": [\"{long}\"]}}}}"),
        "[]".to_owned(),
        "{\"id\": 1}".to_owned(),
        "{".to_owned(),
        String::new(),
    ];
    let json = |method: &str, path: &str, body: &str| {
        let request = server.request(method, path).header("Content-Type", "application/json").header("If-Match", "*");
        request.body(body.as_bytes()).send()
    };
    let routes = ["streams", "tokens", "webhooks", "hook-bindings", "login", "streams/cam/key"]
        .map(|path| format!("/api/v1/{path}"));
    let mut answers: Vec<Response> = Vec::new();
    for path in &routes {
        answers.extend(bodies.iter().map(|body| json("POST", path, body)));
    }
    for path in [
        format!("/api/v1/streams?limit={}", "9".repeat(1_000)),
        "/api/v1/streams?limit=x".to_owned(),
        "/api/v1/streams?limit=1&limit=2".to_owned(),
        "/api/v1/hooks/h/versions/4294967296".to_owned(),
        "/api/v1/streams/%ff".to_owned(),
        "/api/v1/nodes/n/sessions/x".to_owned(),
    ] {
        answers.push(server.get(&path));
    }
    for answer in answers.iter().filter(|answer| answer.status >= 400) {
        let text = answer.body();
        assert!(text.len() < 4_096, "{} bytes: {}", text.len(), &text[..200]);
        for word in ["deserialize", "u64", "u32", "struct ", "EOF", "invalid type", "Cannot parse", "`"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }
}

/// 500 streams with all labels that they may have: half a gigabyte for whoever asks 60 times and does not read.
#[test]
fn a_page_has_a_mebibyte_at_most_and_its_next_goes_on() {
    let server = Server::start();
    let labels: serde_json::Map<String, serde_json::Value> =
        (0..32).map(|n| (format!("{n:064}"), json!("\u{fe}".repeat(128)))).collect();
    let made: Vec<String> = (0..200).map(|n| format!("cam-{n:03}")).collect();
    for id in &made {
        server.post("/api/v1/streams", &json!({ "id": id, "settings": { "labels": labels } })).is(201);
    }
    let viewer = server.token("viewer");
    let mut path = "/api/v1/streams?limit=500".to_owned();
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = server.plain("GET", &path).header("Authorization", &format!("Bearer {viewer}")).send();
        assert!(page.is(200).body().len() <= (1 << 20) + 1_024, "{} bytes", page.body().len());
        let items = page.json()["items"].as_array().unwrap();
        found.extend(items.iter().map(|stream| stream["id"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = page.json()["next"].as_str() else { break };
        path = format!("/api/v1/streams?limit=500&cursor={next}");
    }
    assert!(found == made && pages > 1, "{pages} pages of {} streams", found.len());
    let list = server.get("/videostream");
    assert!(list.is(200).body().len() <= (1 << 20) + 1_024, "{} bytes", list.body().len());
    assert!(list.header("link").is_some_and(|link| link.contains("/videostream?cursor=")));
}

#[test]
fn answers_that_nobody_reads_are_bounded_and_others_are_answered() {
    let limits = Limits { write_timeout: Duration::from_secs(5), ..Limits::default() };
    let long = axum::Router::new().route("/long", axum::routing::get(|| async { "x".repeat(15 << 20) }));
    let server = Server::with(Options { limits, more: long, ..Options::default() });
    let ask = || {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    };
    // One, and what the system takes of some, is as much as one address may leave unread; the others are told so.
    let unread: Vec<TcpStream> = (0..10).map(|_| ask()).collect();
    let mut first = [0_u8; 12];
    let statuses: Vec<String> = unread
        .into_iter()
        .map(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            stream.read_exact(&mut first).unwrap();
            String::from_utf8_lossy(&first[9..]).into_owned()
        })
        .collect();
    let given = statuses.iter().filter(|status| *status == "200").count();
    assert!((1..=4).contains(&given), "{statuses:?}");
    assert!(statuses.iter().all(|status| status == "200" || status == "503"), "{statuses:?}");
    server.get("/api/v1/streams").is(200);
}

#[test]
fn paths_and_methods_that_do_not_exist() {
    let server = Server::start();
    // Whoever opens the port in a browser looks for a page.
    assert!(server.get("/").is(200).header("content-type").unwrap().starts_with("text/html"));
    server.get("/api/v2/streams").refused(404, "openapi.json");
    let refused = server.request("PUT", "/api/v1/streams").send();
    refused.refused(405, "method");
    let allow = refused.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    server.request("TRACE", "/api/v1/streams").send().refused(405, "");
    server.request("BREW", "/api/v1/streams").send().refused(405, "");
}

#[test]
fn headers_that_make_no_sense() {
    let server = Server::start();
    let with = |name: &str, value: &str| server.plain("GET", "/api/v1/streams").header(name, value).send();
    with("Authorization", "Basic YWRtaW46YWRtaW4=").refused(401, "Bearer");
    with("Authorization", "Bearer").refused(401, "Bearer");
    with("Authorization", &format!("Bearer {}", "x".repeat(1_000))).refused(401, "Bearer");
    with("Authorization", "Bearer \u{e9}").refused(400, "ASCII");
    with("Cookie", "millstream_login=x").refused(401, "log in again");
    with("Cookie", &"x".repeat(1_000)).refused(401, "");
    let twice = server.request("GET", "/api/v1/streams").header("Authorization", "Bearer x").send();
    twice.refused(400, "once");
    // Heads have a size, too.
    assert_eq!(with("X-Long", &"x".repeat(20 << 10)).status, 431);
    let many: String = (0..100).fold(String::new(), |lines, n| format!("{lines}X-{n}: y\r\n"));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    assert_eq!(Response::parse(&exchange(server.address, many.as_bytes())).status, 431);
    assert_eq!(Response::parse(&exchange(server.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")).status, 400);
}

#[test]
fn a_head_that_trickles_in_is_given_up_and_so_is_a_body() {
    let limits = Limits {
        head_timeout: Duration::from_millis(300),
        request_timeout: Duration::from_millis(600),
        ..Limits::default()
    };
    let server = Server::with(Options { limits, ..Options::default() });
    let begun = Instant::now();
    exchange(server.address, b"GET /api/v1/str");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let head = format!(
        "POST /api/v1/streams HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: application/json\r\n\
         Content-Length: 10\r\nConnection: close\r\n\r\n{{"
    );
    Response::parse(&exchange(server.address, head.as_bytes())).refused(408, "too long");
}

#[test]
fn connections_are_bounded_and_come_free_again() {
    let limits = Limits { connections: 4, head_timeout: Duration::from_millis(500), ..Limits::default() };
    let server = Server::with(Options { limits, ..Options::default() });
    let idle: Vec<_> = (0..4).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    // The oldest gives way to the fifth.
    server.get("/api/v1/streams").is(200);
    assert!(server.numbers.text().contains("millstream_control_refused_total{reason=\"gave_way\"} 1"));
    for mut stream in idle {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("closed by the server");
    }
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let limits = Limits { write_timeout: Duration::from_millis(300), ..Limits::default() };
    let long = axum::Router::new().route("/long", axum::routing::get(|| async { "x".repeat(32 << 20) }));
    let server = Server::with(Options { limits, more: long, ..Options::default() });
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"GET /long HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let mut rest = Vec::new();
    // Reset or closed: what is left of it never comes.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 32 << 20, "{} bytes came", rest.len());
}

#[test]
fn who_a_trusted_proxy_names_is_counted_and_nobody_else_may_name_one() {
    let told = || {
        let handler = |axum::extract::ConnectInfo(peer): axum::extract::ConnectInfo<std::net::SocketAddr>| async move {
            peer.ip().to_string()
        };
        axum::Router::new().route("/who", axum::routing::get(handler))
    };
    let who = |limits: Limits| {
        let server = Server::with(Options { limits, more: told(), ..Options::default() });
        let answer = server.plain("GET", "/who").header("X-Forwarded-For", "192.0.2.1, 203.0.113.9").send();
        answer.is(200).body().clone()
    };
    assert_eq!(who(Limits::default()), "127.0.0.1");
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    assert_eq!(who(Limits { trusted_proxies, ..Limits::default() }), "203.0.113.9");
}

#[test]
fn case_55_a_line_that_is_no_text_hides_nothing_that_trusted_proxies_appended() {
    let handler = |axum::extract::ConnectInfo(peer): axum::extract::ConnectInfo<std::net::SocketAddr>| async move {
        peer.ip().to_string()
    };
    let limits = Limits { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Limits::default() };
    let more = axum::Router::new().route("/who", axum::routing::get(handler));
    let server = Server::with(Options { limits, more, ..Options::default() });
    let who = |lines: &[&[u8]]| {
        let head = b"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".as_slice();
        let request = [head, &lines.concat(), b"\r\n"].concat();
        Response::parse(&exchange(server.address, &request)).is(200).body().clone()
    };
    let (forged, garbage) = (b"X-Forwarded-For: 6.6.6.6\r\n".as_slice(), b"X-Forwarded-For: \xff\r\n".as_slice());
    let real = b"X-Forwarded-For: 203.0.113.9\r\n".as_slice();
    assert_eq!(who(&[forged, garbage, real]), "203.0.113.9");
    assert_eq!(who(&[b"X-Forwarded-For: 6.6.6.6, \xff, 203.0.113.9\r\n"]), "203.0.113.9");
    // All that is known is the proxy that said so.
    assert_eq!(who(&[forged, garbage]), "127.0.0.1");
    assert_eq!(
        who(&[b"Forwarded: for=6.6.6.6\r\n", b"Forwarded: \xff\r\n", b"Forwarded: for=203.0.113.9\r\n"]),
        "203.0.113.9"
    );
}

#[test]
fn connections_whose_bodies_do_not_come_give_way_and_finished_requests_do_not() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let server = Server::with(Options { limits, ..Options::default() });
    let head = |bytes: usize| {
        format!(
            "POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n{{"
        )
    };
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.write_all(head(300).as_bytes()).unwrap();
            stream
        })
        .collect();
    // Their heads have been read.
    std::thread::sleep(Duration::from_millis(300));
    server.get("/api/v1/streams").is(200);
    server.request("POST", "/api/v1/streams").header("Content-Type", "application/json").body(b"{}").send().is(201);
    drop(slow);
    // The login takes little, and soon.
    Response::parse(&exchange(server.address, head(60_000).as_bytes())).refused(413, "at most 4096");
    let begun = Instant::now();
    Response::parse(&exchange(server.address, head(300).as_bytes())).refused(408, "too long");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_handler_that_panics_is_answered_and_counted_and_the_server_goes_on() {
    let panics = axum::Router::new().route("/panics", axum::routing::get(|| async { panic!("a defect") as String }));
    let server = Server::with(Options { more: panics, ..Options::default() });
    server.plain("GET", "/panics").send().refused(500, "the server failed");
    server.plain("GET", "/panics").send().refused(500, "the server failed");
    server.get("/api/v1/streams").is(200);
    assert!(server.numbers.text().contains("millstream_api_panics_total 2"), "{}", server.numbers.text());
}

#[test]
fn a_connection_takes_many_requests() {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.address).unwrap();
    for _ in 0..20 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = [0_u8; 1_024];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}
