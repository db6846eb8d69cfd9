//! FLV over WebSocket, said and read byte by byte: the upgrade, messages, pings, goodbyes, and what is refused.
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use millstream_proto::flv;

use crate::harness::{
    BOTH, Flv, SOON, Server, Tag, assert_same, config, connect, contains, eventually, frame, number, read_for,
    read_until,
};

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n";
const V13: &str = "Sec-WebSocket-Version: 13\r\n";

/// A frame from a client, masked.
fn said(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let masked = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [&[first, 0x80 | u8::try_from(payload.len()).unwrap()], &mask[..]].concat().into_iter().chain(masked).collect()
}

struct Viewer {
    socket: TcpStream,
    unread: Vec<u8>,
    reader: flv::Reader,
    tags: Vec<Tag>,
    pongs: Vec<Vec<u8>>,
    goodbye: Option<(Option<u16>, String)>,
    closed: bool,
}

impl Viewer {
    fn open(server: &Server, path: &str) -> Self {
        Self::open_with(server, path, &[])
    }

    /// Says `early` in the same write as the request.
    fn open_with(server: &Server, path: &str, early: &[u8]) -> Self {
        let mut socket = connect(server.at.http);
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: test\r\nOrigin: https://other.example\r\n{UPGRADE}{KEY}{V13}\r\n");
        socket.write_all(&[request.as_bytes(), early].concat()).unwrap();
        let (mut answer, _) = read_until(&mut socket, SOON, |said| contains(said, "\r\n\r\n"));
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let unread = answer.split_off(end);
        let head = String::from_utf8(answer).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        let (reader, tags, pongs) = (flv::Reader::new(), Vec::new(), Vec::new());
        let mut viewer = Self { socket, unread, reader, tags, pongs, goodbye: None, closed: false };
        viewer.frames();
        viewer
    }

    fn say(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    fn turn(&mut self) {
        let before = Instant::now();
        let (bytes, ended) =
            read_until(&mut self.socket, SOON, |said| !said.is_empty() || before.elapsed().as_millis() > 20);
        self.unread.extend(bytes);
        self.closed |= ended;
        self.frames();
    }

    fn frames(&mut self) {
        while let [first, second, ..] = self.unread[..] {
            let (length, head) = match second {
                126 if self.unread.len() >= 4 => (usize::from(self.unread[2]) << 8 | usize::from(self.unread[3]), 4),
                127 if self.unread.len() >= 10 => {
                    (u64::from_be_bytes(self.unread[2..10].try_into().unwrap()) as usize, 10)
                }
                126 | 127 => return,
                short => (usize::from(short), 2),
            };
            if self.unread.len() < head + length {
                return;
            }
            let payload: Vec<u8> = self.unread.drain(..head + length).skip(head).collect();
            assert!(self.goodbye.is_none(), "nothing follows the goodbye");
            match first {
                0x82 => {
                    self.reader.push(&payload).unwrap();
                    while let Some(item) = self.reader.poll().unwrap() {
                        if let flv::Item::Tag { kind, timestamp_ms, body } = item {
                            self.tags.push((kind, timestamp_ms, body.to_vec()));
                        }
                    }
                }
                0x8A => self.pongs.push(payload),
                0x88 => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    let text = String::from_utf8(payload.get(2..).unwrap_or_default().to_vec()).unwrap();
                    self.goodbye = Some((code, text));
                }
                other => panic!("a frame {other:x} from the server"),
            }
        }
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + SOON;
        while !is_so(self) {
            assert!(
                Instant::now() < until,
                "{what}: {} tags, {:?}, closed: {}",
                self.tags.len(),
                self.goodbye,
                self.closed
            );
            self.turn();
        }
    }

    fn until_frame(&mut self, n: u32) {
        self.until("frame", |viewer| viewer.tags.iter().any(|tag| number(tag) == Some(n)));
    }

    fn goodbye(&mut self) -> (Option<u16>, String) {
        self.until("the end", |viewer| viewer.closed);
        self.goodbye.clone().expect("a goodbye")
    }
}

#[test]
fn case_35_flv_over_websocket_is_what_http_flv_viewers_get() {
    for io in BOTH {
        for shards in [1, 2] {
            let server = Server::start(config(io, shards));
            let mut publisher = server.encoder("live");
            publisher.send((0..30).map(frame));
            let mut viewers: Vec<_> = (0..8).map(|_| Viewer::open(&server, "/live/live.flv")).collect();
            let mut other = Flv::open(server.at.http, "live", 1);
            for viewer in &mut viewers {
                viewer.until_frame(24);
            }
            let mut later = Viewer::open(&server, "/live/live.flv?start=next");
            publisher.send_live(30..70);
            other.until_frame(64);
            for viewer in &mut viewers {
                viewer.until_frame(64);
                assert_same(&[&other.tags, &viewer.tags], 64);
            }
            later.until_frame(64);
            let first = later.tags.iter().find_map(number);
            assert!(matches!(first, Some(40 | 60)), "the next keyframe, not the newest: {first:?}");
            eventually("nine viewers", || server.metric("millstream_viewers", "ws-flv") == 9);
            assert_eq!(server.metric("millstream_viewers", "http-flv"), 1);
            drop(viewers);
            eventually("they have gone", || server.metric("millstream_viewers", "ws-flv") == 1);
            // What the encoder ends, each viewer is told of.
            publisher.finish();
            server.engine().shutdown();
            let (code, text) = later.goodbye();
            assert!(matches!(code, Some(1000 | 1001)), "{code:?} {text}");
        }
    }
}

#[test]
fn case_35_pings_are_answered_and_goodbyes_returned() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let mut publisher = server.encoder("live");
        publisher.send((0..30).map(frame));
        // A viewer that says something with its request, and data that is thrown away.
        let mut viewer = Viewer::open_with(&server, "/live/live.flv", &said(0x89, b"early"));
        viewer.say(&[said(0x81, b"hello"), said(0x02, &[7; 100]), said(0x80, &[7; 100]), said(0x8A, b"")].concat());
        viewer.say(&said(0x89, b"again"));
        viewer.until("pongs", |viewer| viewer.pongs.len() == 2);
        assert_eq!(viewer.pongs, [b"early", b"again"]);
        publisher.send_live(30..50);
        viewer.until_frame(44);
        let mut bytewise = Viewer::open(&server, "/live/live.flv");
        for byte in said(0x88, &4000_u16.to_be_bytes()) {
            bytewise.say(&[byte]);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert_eq!(bytewise.goodbye(), (Some(4000), String::new()));
        viewer.say(&said(0x88, b""));
        assert_eq!(viewer.goodbye(), (None, String::new()));
        eventually("they are gone", || server.metric("millstream_viewers", "ws-flv") == 0);
        assert_eq!(server.metric("millstream_closed_total", "peer_closed"), 2);
    }
}

#[test]
fn case_35_what_breaks_the_rules_of_websocket_is_closed_with_a_code() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let mut publisher = server.encoder("live");
        publisher.send((0..30).map(frame));
        let too_big = [&[0x82, 0xFF][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
        for (bytes, code, words) in [
            (b"\x81\x02hi".to_vec(), 1002, "masked"),
            (said(0xC1, b"x"), 1002, "reserved"),
            (said(0x80, b"x"), 1002, "out of order"),
            (too_big, 1009, "bytes"),
            (said(0x88, b"\x03"), 1002, "close frame"),
        ] {
            let mut viewer = Viewer::open(&server, "/live/live.flv");
            viewer.until("a picture", |viewer| viewer.tags.len() > 3);
            // More behind it than fits into one read must not keep the goodbye from the client.
            viewer.say(&[bytes, vec![0x55; 200_000]].concat());
            let (got, text) = viewer.goodbye();
            assert!(got == Some(code) && text.contains(words), "{got:?} {text}");
        }
        eventually("they are counted", || server.metric("millstream_closed_total", "protocol_error") == 5);
        // A client that pings and does not read is closed; the others stay.
        let mut flood = Viewer::open(&server, "/live/live.flv");
        let pings = said(0x89, &[0; 125]).repeat(1_000);
        let until = Instant::now() + SOON;
        while flood.socket.write_all(&pings).is_ok() {
            assert!(Instant::now() < until, "it is never closed");
        }
        eventually("it is closed", || server.metric("millstream_closed_total", "control_flood") == 1);
    }
}

#[test]
fn case_35_an_upgrade_is_refused_before_it_with_an_ordinary_status() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let mut publisher = server.encoder("live");
        publisher.send((0..30).map(frame));
        let ask = |path: &str, more: &str, enough: &str| {
            let mut socket = connect(server.at.http);
            write!(socket, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{more}\r\n").unwrap();
            let (answer, _) = read_until(&mut socket, SOON, |said| contains(said, enough));
            String::from_utf8_lossy(&answer).into_owned()
        };
        let wants = |version: &str| format!("{UPGRADE}{KEY}{version}");
        let old = ask("/live/live.flv", &wants("Sec-WebSocket-Version: 8\r\n"), "(Sec-WebSocket-Version)");
        assert!(old.starts_with("HTTP/1.1 426 "), "{old}");
        assert!(
            old.contains("\r\nSec-WebSocket-Version: 13\r\n") && old.contains("\r\nUpgrade: websocket\r\n"),
            "{old}"
        );
        let stripped = ask("/live/live.flv", &[KEY, V13].concat(), "proxy");
        assert!(stripped.starts_with("HTTP/1.1 426 "), "{stripped}");
        let key = ask("/live/live.flv", &[UPGRADE, V13, "Sec-WebSocket-Key: x\r\n"].concat(), "base64");
        assert!(key.starts_with("HTTP/1.1 400 "), "{key}");
        let gone = ask("/none/live.flv", &wants(V13), "on air");
        assert!(gone.starts_with("HTTP/1.1 404 "), "{gone}");
        let start = ask("/live/live.flv?start=soon", &wants(V13), "start");
        assert!(start.starts_with("HTTP/1.1 400 "), "{start}");
        let chosen =
            ask("/live/live.flv", &[&wants(V13), "Sec-WebSocket-Protocol: flv, other\r\n"].concat(), "\r\n\r\n");
        assert!(
            chosen.starts_with("HTTP/1.1 101 ") && chosen.contains("\r\nSec-WebSocket-Protocol: flv\r\n"),
            "{chosen}"
        );
        // Elsewhere, and where it is only a head, an upgrade is not heeded.
        let health = ask("/healthz", &wants(V13), "ok\n");
        assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
        let mut socket = connect(server.at.http);
        write!(
            socket,
            "HEAD /live/live.flv HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        .unwrap();
        let (head, ended) = read_for(&mut socket, SOON);
        assert!(ended && head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    }
}
