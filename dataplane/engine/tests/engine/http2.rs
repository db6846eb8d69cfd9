//! HTTP/2 on the HTTPS port: viewers that share a connection, answers of all kinds, flow control, limits, and what hostile clients do.
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use millstream_engine::config::Config;
use millstream_proto::rtmp::ClientRole;

use crate::harness::{Answer, BOTH, Flv, Rtmp, assert_same, connect, eventually, frame, head};
use crate::http2_harness::{Client, gateway};
use crate::tls::{Secure, TlsStream, open};

/// What clients begin with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Settings as they are.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A request on that stream.
fn get(stream: u8, path: &str) -> Vec<u8> {
    // :method GET, :scheme https, :path, :authority a.
    let head = [&[0x82, 0x87, 4, path.len() as u8][..], path.as_bytes(), &[1, 1, b'a']].concat();
    [&[0, 0, head.len() as u8, 1, 5, 0, 0, 0, stream][..], &head].concat()
}

/// Adds what is there to `got`; true: that was the end.
fn read_some(tls: &mut TlsStream, got: &mut Vec<u8>) -> bool {
    let mut buf = [0; 1_000];
    match tls.read(&mut buf) {
        Ok(0) => return true,
        Ok(count) => got.extend_from_slice(&buf[..count]),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
    }
    false
}

/// A connection that has agreed on HTTP/2 and said nothing.
fn open_http2(secure: &Secure) -> TlsStream {
    let mut config = (*secure.client).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    open(&Arc::new(config), connect(secure.https()))
}

/// A publisher of a stream, with a first GOP.
fn on_air(secure: &Secure, stream: &str) -> Rtmp {
    let mut publisher = secure.server.encoder(stream);
    publisher.send_live(0..25);
    publisher
}

#[test]
fn case_35_many_streams_share_a_connection_and_are_the_same_as_without() {
    const STREAMS: usize = 25;
    for io in BOTH {
        let secure = Secure::start(io, 2, |_| {});
        let server = &secure.server;
        let names: Vec<String> = (0..STREAMS).map(|n| format!("cam-{n}")).collect();
        let mut publishers: Vec<_> = names.iter().map(|name| on_air(&secure, name)).collect();
        let client = Arc::new(Client::connect(&secure));
        let at = gateway(&client);
        // The first one twice: of two sends to one socket the second may not overtake the first.
        let of_viewers: Vec<&String> = names.iter().chain([&names[0]]).collect();
        let mut viewers: Vec<_> = of_viewers.iter().map(|name| Flv::open(at, name, 1)).collect();
        let mut without = server.flv(&names[0]);
        assert_eq!(server.metric("millstream_viewers", "http-flv"), STREAMS as u64 + 2);
        for n in 25..200 {
            for publisher in &mut publishers {
                publisher.send([frame(n)]);
            }
        }
        for viewer in &mut viewers {
            viewer.until_frame(199);
        }
        without.until_frame(199);
        let (first, last) = (&viewers[0].tags[..], &viewers[STREAMS].tags[..]);
        assert_same(&[first, last, &without.tags], 199);
        for viewer in &viewers {
            assert_same(&[&viewer.tags], 199);
        }
        assert_eq!(server.metric("millstream_http2_connections_total", ""), 1);
        // One leaves, and a stream ends: the others go on.
        drop(viewers.pop());
        publishers.remove(0).finish();
        viewers[0].until("the end", |viewer| viewer.ended);
        for n in 200..260 {
            for publisher in &mut publishers {
                publisher.send([frame(n)]);
            }
        }
        for viewer in &mut viewers[1..] {
            viewer.until_frame(259);
            assert!(!viewer.closed);
        }
        eventually("they have left", || server.metric("millstream_viewers", "http-flv") == STREAMS as u64 - 1);
        assert_eq!(server.metric("millstream_panics_total", ""), 0);
    }
}

#[test]
fn answers_are_those_of_http_1() {
    for io in BOTH {
        let secure = Secure::start(io, 1, |_| {});
        let _publisher = on_air(&secure, "cam").go_on(25);
        let client = Client::connect(&secure);
        let page = client.get("/cam/index.html");
        assert_eq!((page.status, page.headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
        let plain = Answer::get(secure.server.at.http, "/cam/index.html").text();
        assert!(plain.ends_with(&page.text()) && !page.body.is_empty());
        assert!(!page.headers.contains_key("connection") && !page.headers.contains_key("transfer-encoding"));
        let none = client.get("/none/live.flv");
        assert_eq!(
            (none.status, none.headers["content-length"].to_str().unwrap()),
            (404, &*none.body.len().to_string())
        );
        let moved = client.get("/cam");
        assert_eq!((moved.status, moved.headers["location"].to_str().unwrap()), (302, "cam/index.html"));
        let head = client.whole(client.ask("HEAD", "/cam/live.flv", &[]).unwrap()).unwrap();
        assert_eq!(
            (head.status, head.body.len(), &head.headers["content-type"]),
            (200, 0, &"video/x-flv".parse().unwrap())
        );
        let head = client.whole(client.ask("HEAD", "/cam/index.html", &[]).unwrap()).unwrap();
        assert_eq!((head.body.len(), &head.headers["content-length"]), (0, &page.headers["content-length"]));
        assert_eq!(client.whole(client.ask("DELETE", "/cam/live.flv", &[]).unwrap()).unwrap().status, 405);
        assert_eq!(client.whole(client.ask("OPTIONS", "/cam/live.flv", &[]).unwrap()).unwrap().status, 204);
        assert_eq!(client.get("/%zz/live.flv").status, 400);
        let head = client.whole(client.ask("HEAD", "/%zz/live.flv", &[]).unwrap()).unwrap();
        assert_eq!((head.status, head.body.len()), (400, 0));
        assert_eq!(client.get_with("/cam/live.flv", &[("range", "bytes=0-"), ("range", "bytes=1-")]).status, 400);
        // A request for a WebSocket is one of HTTP/1.1; what asks for it here is a plain request.
        let offer = [("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
        let mut flv = client.ask("GET", "/cam/live.flv", &offer).unwrap();
        assert_eq!(flv.status(), 200);
        assert!(client.piece(flv.body_mut()).unwrap().unwrap().starts_with(b"FLV\x01"));
        // Who offers no HTTP/2 gets none.
        let without = Answer::get(secure.through(secure.https()), "/cam/index.html");
        assert!(without.text().ends_with(&page.text()));
        assert_eq!(secure.server.metric("millstream_http2_requests_total", ""), 11);
    }
}

#[test]
fn playlists_that_wait_and_their_parts_share_a_connection_with_a_stream() {
    for io in BOTH {
        let secure = Secure::start(io, 2, |_| {});
        let _publisher = on_air(&secure, "cam").go_on(25);
        let client = Arc::new(Client::connect(&secure));
        let mut viewer = Flv::open(gateway(&client), "cam", 1);
        let first = client.get("/cam/live.m3u8");
        assert_eq!(first.status, 200, "{}", first.text());
        let playlist = client.get("/cam/video.m3u8").text();
        let number = |name: &str| -> u64 {
            let line = playlist.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(':').next().unwrap().parse().unwrap()
        };
        let next = number("#EXT-X-MEDIA-SEQUENCE") + playlist.matches("#EXTINF").count() as u64;
        let parts = playlist.rsplit("#EXTINF").next().unwrap().matches("#EXT-X-PART:").count();
        // These wait, at the same time, and answers without waiting pass them.
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let (client, path) =
                    (Arc::clone(&client), format!("/cam/video.m3u8?_HLS_msn={next}&_HLS_part={parts}"));
                std::thread::spawn(move || client.get(&path))
            })
            .collect();
        assert_eq!(client.get("/healthz").text(), "ok\n");
        let texts: Vec<_> = waiting.into_iter().map(|one| one.join().unwrap()).collect();
        for text in &texts {
            assert_eq!((text.status, text.text()), (200, texts[0].text()));
        }
        let map = texts[0].text().split("#EXT-X-MAP:URI=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let part = texts[0]
            .text()
            .rsplit("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"")
            .next()
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        let map = client.get(&format!("/cam/{map}"));
        assert!(map.status == 200 && map.body[4..8] == *b"ftyp");
        // The part that is being made: it is sent by the part sender.
        let part = client.get(&format!("/cam/{part}"));
        let length = part.headers["content-length"].to_str().unwrap().to_owned();
        assert_eq!((part.status, length), (200, part.body.len().to_string()));
        assert!(part.body.windows(4).any(|window| window == b"moof"));
        viewer.until_frame(100);
    }
}

#[test]
fn a_stream_that_is_not_taken_is_a_slow_viewer_and_holds_up_no_other() {
    let change = |config: &mut Config| config.stream.stall_close = Duration::from_secs(2);
    for io in BOTH {
        let secure = Secure::start(io, 1, change);
        let server = &secure.server;
        let mut publisher = on_air(&secure, "cam");
        let client = Arc::new(Client::with_windows(&secure, 20_000, 16 << 20));
        let mut stalled = client.ask("GET", "/cam/live.flv", &[]).unwrap();
        let mut viewer = Flv::open(gateway(&client), "cam", 1);
        let mut n = 25;
        eventually("the stalled one is given up", || {
            publisher.send((n..n + 20).map(frame));
            n += 20;
            viewer.until_frame(n - 1);
            server.metric("millstream_closed_total", "stalled") == 1
        });
        // What the window allowed comes, and then the stream's end; the connection goes on.
        let mut count = 0;
        let error = loop {
            match client.piece(stalled.body_mut()) {
                Ok(piece) => count += piece.expect("no clean end").len(),
                Err(error) => break error,
            }
        };
        assert_eq!((count, error.reason()), (20_000, Some(h2::Reason::CANCEL)));
        publisher.send((n..n + 20).map(frame));
        viewer.until_frame(n + 19);
        assert_eq!(server.metric("millstream_viewers", "http-flv"), 1);
        // A file that is longer than the window comes whole.
        let script = client
            .get("/cam/flv.html")
            .text()
            .split("src=\"")
            .filter(|rest| rest.contains("mpegts"))
            .last()
            .map(str::to_owned);
        let script = client.get(script.unwrap().split('"').next().unwrap());
        assert!(script.status == 200 && script.body.len() > 100_000, "{} {}", script.status, script.body.len());
    }
}

#[test]
fn requests_count_as_connections_of_their_address() {
    let change = |config: &mut Config| config.limits.per_address = 5;
    for io in BOTH {
        let secure = Secure::start(io, 1, change);
        let mut publisher = on_air(&secure, "cam");
        let client = Client::connect(&secure);
        // The publisher, and four that play; the connection itself is one of these.
        let mut held: Vec<_> = (0..4).map(|_| client.ask("GET", "/cam/live.flv", &[]).unwrap()).collect();
        let over = client.get("/healthz");
        assert_eq!((over.status, secure.server.metric("millstream_refused_total", "per_address")), (429, 1));
        held.pop();
        eventually("a place is free", || client.get("/healthz").status == 200);
        assert_eq!(secure.server.metric("millstream_connections", ""), 4);
        publisher.send_live(25..60);
        for answer in &mut held {
            assert!(client.piece(answer.body_mut()).unwrap().is_some());
        }
        // It counts when nothing is asked, too, and once.
        drop(held);
        eventually("it is idle", || secure.server.metric("millstream_viewers", "http-flv") == 0);
        assert_eq!(secure.server.metric("millstream_connections", ""), 2);
    }
}

#[test]
fn large_answers_share_a_window_that_is_small() {
    for io in BOTH {
        let secure = Secure::start(io, 1, |_| {});
        let mut publisher = on_air(&secure, "cam");
        // What clients of the h2 crate, nghttp2 and others have, where they are not told otherwise.
        let client = Arc::new(Client::with_windows(&secure, 65_535, 65_535));
        let mut viewer = Flv::open(gateway(&client), "cam", 1);
        let page = client.get("/cam/flv.html").text();
        let script = page.split('"').find(|word| word.starts_with("/.assets/mpegts")).unwrap().to_owned();
        let whole = client.get(&script).body;
        let all: Vec<_> = (0..8)
            .map(|_| {
                let (client, script) = (Arc::clone(&client), script.clone());
                std::thread::spawn(move || (0..5).map(|_| client.get(&script).body).collect::<Vec<_>>())
            })
            .collect();
        for n in 25..120 {
            publisher.send([frame(n)]);
            viewer.until_frame(n);
        }
        for bodies in all {
            assert!(bodies.join().unwrap().iter().all(|body| *body == whole) && whole.len() > 65_535);
        }
    }
}

#[test]
fn a_request_that_is_taken_back_is_over_at_once() {
    for io in BOTH {
        let secure = Secure::start(io, 1, |_| {});
        let server = &secure.server;
        let publisher = on_air(&secure, "cam").go_on(25);
        let client = Client::connect(&secure);
        assert_eq!(client.get("/cam/live.m3u8").status, 200);
        let playlist = client.get("/cam/video.m3u8").text();
        let msn =
            playlist.split("#EXT-X-MEDIA-SEQUENCE:").nth(1).unwrap().lines().next().unwrap().parse::<u64>().unwrap();
        let count = playlist.matches("#EXTINF").count() as u64;
        // Nothing more comes: it would wait for seconds.
        drop(publisher);
        let waiting = client.begin(&format!("/cam/video.m3u8?_HLS_msn={}", msn + count));
        eventually("it waits", || server.metric("millstream_blocked_requests", "") == 1);
        drop(waiting);
        eventually("nobody waits", || server.metric("millstream_blocked_requests", "") == 0);
        assert_eq!(server.metric("millstream_connections", ""), 1);
        assert_eq!(client.get("/healthz").status, 200);
    }
}

#[test]
fn who_says_nothing_or_half_of_something_is_not_waited_for() {
    let change = |config: &mut Config| config.header_timeout = Duration::from_millis(500);
    for io in BOTH {
        let secure = Secure::start(io, 1, change);
        let server = &secure.server;
        // Of a request's head 100 bytes are announced, and none comes.
        let half: &[u8] = &[0, 0, 100, 1, 5, 0, 0, 0, 1];
        let begins = [
            b"".to_vec(),
            b"PRI * HTTP/2.0".to_vec(),
            [PREFACE, SETTINGS].concat(),
            [PREFACE, SETTINGS, half].concat(),
        ];
        let held: Vec<_> = begins
            .iter()
            .map(|said| {
                let mut tls = open_http2(&secure);
                tls.write_all(said).unwrap();
                tls.flush().unwrap();
                tls
            })
            .collect();
        eventually("they are ended", || server.metric("millstream_closed_total", "timeout") == held.len() as u64);
        assert_eq!(server.metric("millstream_connections", ""), 0);
    }
}

#[test]
fn who_asks_for_much_and_takes_nothing_is_let_go_of() {
    let change = |config: &mut Config| config.stream.stall_close = Duration::from_secs(2);
    for io in BOTH {
        let secure = Secure::start(io, 1, change);
        let server = &secure.server;
        let page = Answer::get(server.at.http, "/cam/flv.html").text();
        let script = page.split('"').find(|word| word.starts_with("/.assets/mpegts")).unwrap().to_owned();
        // Windows of 2^31-1 bytes.
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7F, 0xFF, 0xFF, 0xFF];
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7F, 0xFE, 0, 0];
        let mut said = [PREFACE, &settings[..], &window[..]].concat();
        for n in 0..90_u8 {
            said.extend(get(2 * n + 1, &script));
        }
        for is_half_closed in [false, true] {
            let mut tls = open_http2(&secure);
            tls.write_all(&said).unwrap();
            tls.flush().unwrap();
            eventually("it is answered", || server.metric("millstream_connections", "") > 10);
            if is_half_closed {
                tls.sock.shutdown(std::net::Shutdown::Write).unwrap();
            }
            eventually("it is gone", || server.metric("millstream_connections", "") == 0);
        }
        assert_eq!(server.metric("millstream_panics_total", ""), 0);
    }
}

#[test]
fn who_breaks_the_rules_is_told_and_harms_nobody() {
    for io in BOTH {
        let secure = Secure::start(io, 1, |_| {});
        let server = &secure.server;
        let mut publisher = on_air(&secure, "cam");
        let good = Arc::new(Client::connect(&secure));
        let mut viewer = Flv::open(gateway(&good), "cam", 1);
        // Streams that are asked for and taken back, as fast as they can be (CVE-2023-44487).
        let client = Client::connect(&secure);
        let mut count = 0;
        while !client.is_over() && count < 5_000 {
            count += 1;
            let Ok(answer) = client.ask("GET", "/cam/live.flv", &[]) else { break };
            drop(answer);
        }
        let error = client.until_ended().unwrap_err();
        assert!(count < 1_000 && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM), "{count} {error}");
        eventually("told", || server.metric("millstream_closed_total", "http2_resets") == 1);
        // Bytes that are no frames.
        let mut tls = open_http2(&secure);
        tls.write_all(b"GET /cam/live.flv HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut got = Vec::new();
        eventually("goodbye", || read_some(&mut tls, &mut got));
        // SETTINGS, and GOAWAY with PROTOCOL_ERROR, the last stream being none.
        assert!(
            got[3] == 4 && got.windows(17).any(|frame| frame[3..] == [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            "{got:?}"
        );
        drop(tls);
        eventually("told", || server.metric("millstream_closed_total", "http2_preface") == 1);
        publisher.send_live(25..80);
        viewer.until_frame(79);
        eventually("nobody is left", || server.metric("millstream_viewers", "http-flv") == 1);
        assert_eq!(server.metric("millstream_panics_total", ""), 0);
    }
}

#[test]
fn a_drain_lets_streams_end_and_says_goodbye() {
    for io in BOTH {
        let secure = Secure::start(io, 2, |config| config.drain = Duration::from_secs(2));
        let mut publisher = on_air(&secure, "cam");
        let client = Arc::new(Client::connect(&secure));
        let mut viewer = Flv::open(gateway(&client), "cam", 1);
        let mut idle = open_http2(&secure);
        idle.write_all(&[PREFACE, SETTINGS, &get(1, "/healthz")].concat()).unwrap();
        let mut got = Vec::new();
        eventually("it is answered", || {
            read_some(&mut idle, &mut got);
            got.ends_with(b"ok\n")
        });
        secure.server.engine().shutdown();
        eventually("it is ended", || read_some(&mut idle, &mut got));
        // GOAWAY: its one request was answered, and nothing is wrong.
        assert!(got.windows(17).any(|frame| frame == [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]), "{got:?}");
        // Who comes now is answered, and asked for no more.
        let late = Client::connect(&secure);
        assert_eq!(late.get("/healthz").text(), "draining\n");
        assert!(late.until_ended().err().is_none_or(|error| error.is_io()));
        eventually("it refuses who comes", || client.get("/cam/index.html").status == 503);
        publisher.send_live(25..60);
        viewer.until_frame(59);
        viewer.until("the end", |viewer| viewer.ended);
        eventually("goodbye", || client.is_over());
    }
}

#[test]
fn a_proxy_names_the_client_of_each_request() {
    let change = |config: &mut Config| {
        config.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.limits.per_address = 2;
    };
    for io in BOTH {
        let secure = Secure::start(io, 1, change);
        let mut publisher = Rtmp::connect(secure.server.at.rtmp, "cam", ClientRole::Publish);
        publisher.ready();
        publisher.send(head());
        publisher.send_live(0..25);
        let client = Client::connect(&secure);
        let of = |address: &'static str| [("x-forwarded-for", address)];
        let held: Vec<_> = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
            .into_iter()
            .map(|address| client.ask("GET", "/cam/live.flv", &of(address)).unwrap())
            .collect();
        assert!(held.iter().all(|answer| answer.status() == 200));
        assert_eq!(client.get_with("/healthz", &of("192.0.2.1")).status, 429);
        assert_eq!(client.get_with("/healthz", &of("192.0.2.2")).status, 200);
    }
}
