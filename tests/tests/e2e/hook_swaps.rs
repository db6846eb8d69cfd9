//! A hook that is replaced again and again while viewers ask: each of them gets the answer of one version, before or after, and none gets lost; memory does not
//! grow with the number of versions.
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use millstream_tests::control::Client;
use millstream_tests::proc::rss;
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, seconds};
use serde_json::json;

use super::hooks::{built, status, upload};

/// Asks `gated` for what it says at place 0, no, and at place 1, yes.
const ASKS: &str = "/nobody/live.flv?door=da&later=0&from=0";
/// Viewers who ask, one request after the other.
const VIEWERS: usize = 3;

/// A viewer's answers, until it is told to stop.
fn asks(http: SocketAddr, stop: &AtomicBool, refused: &AtomicU64, let_in: &AtomicU64) {
    let mut socket = TcpStream::connect(http).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    let request = format!("GET {ASKS} HTTP/1.1\r\nHost: {http}\r\n\r\n");
    let mut got = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        socket.write_all(request.as_bytes()).expect("it reads");
        got.clear();
        let mut buf = [0; 4096];
        let head = loop {
            let count = socket.read(&mut buf).expect("an answer");
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&got));
            got.extend_from_slice(&buf[..count]);
            let text = String::from_utf8_lossy(&got);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
            if body.len() >= length.parse().expect("a number") {
                break head.to_owned();
            }
        };
        // Who is let in is told that nobody publishes.
        match head.get(9..12) {
            Some("403") => refused.fetch_add(1, Ordering::Relaxed),
            Some("404") => let_in.fetch_add(1, Ordering::Relaxed),
            _ => panic!("an answer of neither version: {head}"),
        };
    }
}

fn replaced(times: u32) {
    // What is recorded of decisions takes memory up to a limit of its own.
    let server: Server = Options::open().config("[hooks]\nrecord = \"0\"\n").start();
    let mut client = Client::admin(&server);
    client.request("PUT", "/api/v1/hooks/gated", "", Some(&json!({ "kind": "auth" }))).is(201);
    let (made, version) = upload(&server, &client, "gated", &built("gated"));
    assert_eq!(made, 201, "{version}");
    let binding = json!({ "hook": "gated", "point": "play", "mode": "live", "config": { "place": "0" } });
    let id = client.post("/api/v1/hook-bindings", &binding).is(201).text("id").to_owned();
    eventually("the hook decides", seconds(15), || (status(&server, ASKS) == 403).then_some(()));

    let (stop, refused, let_in) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    let (mut early, mut late) = (0, 0);
    thread::scope(|scope| {
        for _ in 0..VIEWERS {
            scope.spawn(|| asks(server.http, &stop, &refused, &let_in));
        }
        for number in 1..=times {
            let change = json!({ "config": { "place": (number % 2).to_string() } });
            client.request("PATCH", &format!("/api/v1/hook-bindings/{id}"), "If-Match: *\r\n", Some(&change)).is(200);
            if number == times / 10 {
                early = rss(server.pid());
            }
        }
        late = rss(server.pid());
        stop.store(true, Ordering::Relaxed);
    });
    let (refused, let_in) = (refused.into_inner(), let_in.into_inner());
    let per_second = (refused + let_in) as f64 / began.elapsed().as_secs_f64();
    println!("{times} versions, {refused} refused, {let_in} let in, {per_second:.0} a second; {early} -> {late} bytes");
    assert!(refused > 0 && let_in > 0, "both versions decide: {refused} and {let_in}");
    // The last one is in force.
    let last = if times.is_multiple_of(2) { 403 } else { 404 };
    eventually("the last version decides", seconds(10), || (status(&server, ASKS) == last).then_some(()));
    let grown = late.saturating_sub(early);
    assert!(grown < 16 << 20, "{times} versions take {grown} bytes more");
}

#[test]
fn who_asks_while_a_hook_is_replaced_gets_the_answer_of_one_version() {
    replaced(40);
}

#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn thousands_of_replacements_lose_no_answer_and_no_memory() {
    replaced(4_000);
}
