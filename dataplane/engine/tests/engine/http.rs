//! HTTP itself: pipelines, bodies, HEAD, what is refused.
use std::io::Write;

use crate::harness::{Answer, BOTH, SOON, Server, config, connect, contains, frame, read_for, read_until};

fn talk(server: &Server, said: &[u8]) -> String {
    let mut socket = connect(server.at.http);
    socket.write_all(said).unwrap();
    let (answer, ended) = read_for(&mut socket, SOON);
    assert!(ended);
    String::from_utf8(answer).unwrap()
}

#[test]
fn pipelines_bodies_and_heads() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let ok = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
        let last = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        // More than is held at once: the rest waits in the socket.
        let answers = talk(&server, [&ok.repeat(5_000), last].concat().as_bytes());
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 5_001);
        let body =
            format!("POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n{}{last}", "x".repeat(60_000));
        let answers = talk(&server, body.as_bytes());
        assert!(answers.starts_with("HTTP/1.1 405 ") && answers.ends_with("ok\n"), "{answers}");
        assert!(answers.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"), "{answers}");
        let headed = talk(&server, ["HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n", last].concat().as_bytes());
        assert_eq!(headed.matches("Content-Length: 3").count(), 2);
        assert_eq!(headed.matches("ok\n").count(), 1, "{headed}");
        let old = talk(&server, b"GET /healthz HTTP/1.0\r\n\r\n");
        assert!(old.ends_with("ok\n"));
    }
}

#[test]
fn what_is_refused_is_told_and_closed() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100_000));
        let body = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n{}", "x".repeat(200_000));
        for (said, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
            (&long, 414),
            (&body, 413),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        ] {
            let answer = talk(&server, said.as_bytes());
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
        }
        for (path, status) in [("/none/live.flv", 404), ("/x/live.flv?start=soon", 400), ("/a%2fb/live.flv", 404)] {
            let answer = Answer::get(server.at.http, path);
            assert!(matches!(answer.status(), s if s == status || s == 400), "{path}: {}", answer.text());
            assert!(answer.text().contains("no-store"));
        }
        assert_eq!(Answer::get(server.control(), "/x/live.flv").status(), 404);
        // Where what is looked for is to be found.
        for (path, part) in [
            ("/metrics", "on the control port"),
            ("/live/cam.flv", "http.play_paths"),
            ("/live/cam/playlist.m3u8", "http.play_paths"),
        ] {
            let answer = Answer::get(server.at.http, path);
            assert!(answer.status() == 404 && answer.text().contains(part), "{path}: {}", answer.text());
        }
    }
}

#[test]
fn the_head_of_a_stream_leaves_the_connection() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let mut publisher = server.encoder("live");
        publisher.send((0..20).map(frame));
        let mut socket = connect(server.at.http);
        socket.write_all(b"HEAD /live/live.flv HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let (answer, _) = read_until(&mut socket, SOON, |said| contains(said, "\r\n\r\n"));
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"\r\n\r\n"));
        assert!(contains(&answer, "video/x-flv") && contains(&answer, "Connection: keep-alive"));
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        assert!(read_for(&mut socket, SOON).0.ends_with(b"ok\n"));
    }
}
