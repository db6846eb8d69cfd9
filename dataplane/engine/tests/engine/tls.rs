//! Ports with TLS: the same sessions as without, by a client of rustls; what comes without TLS, other certificates while it runs, floods of half
//! handshakes, viewers that stop reading.
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_control_protocol::state::Stream;
use millstream_engine::config::{Config, IoChoice, TlsConfig};
use millstream_engine::directory::Directory;
use millstream_proto::proxy;
use millstream_proto::rtmp::ClientRole;
use millstream_tls::{Certificates, PemFile, ServerTls, Tickets};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::{
    Answer, BOTH, Flv, Rtmp, SOON, Server, assert_same, config, connect, contains, eventually, frame, head, number,
    read_for,
};

pub(crate) const NAME: &str = "live.example.org";

/// A certificate of its own, which clients trust.
struct Certified {
    server: ServerTls,
    root: CertificateDer<'static>,
}

fn certified(tickets: &Tickets) -> Certified {
    let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let (chain, key) = (cert.pem(), signing_key.serialize_pem());
    let file = |text| PemFile { name: "test.pem", bytes: text };
    let certificates = Certificates::from_pem(&[file(chain.as_bytes())], &[file(key.as_bytes())]).unwrap();
    Certified { server: ServerTls::new(certificates, tickets, true).unwrap(), root: cert.der().clone() }
}

fn client_of(root: &CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Arc::new(builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth())
}

/// A server with TLS ports, and the clients for it.
pub(crate) struct Secure {
    pub(crate) server: Server,
    pub(crate) client: Arc<ClientConfig>,
    tickets: Tickets,
}

impl Secure {
    pub(crate) fn start(io: IoChoice, shards: usize, change: impl FnOnce(&mut Config)) -> Self {
        let tickets = Tickets::new().unwrap();
        let certified = certified(&tickets);
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut config = config(io, shards);
        config.tls = Some(TlsConfig { server: certified.server, rtmp: any, http: any });
        change(&mut config);
        Self { server: Server::start(config), client: client_of(&certified.root), tickets }
    }

    fn rtmps(&self) -> SocketAddr {
        self.server.at.rtmps.unwrap()
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.server.at.https.unwrap()
    }

    /// An address without TLS that leads to one with it.
    pub(crate) fn through(&self, to: SocketAddr) -> SocketAddr {
        self.tunnel(to, b"")
    }

    /// The same, with something said before the handshake.
    fn tunnel(&self, to: SocketAddr, before: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (at, client) = (listener.local_addr().unwrap(), Arc::clone(&self.client));
        std::thread::spawn(move || {
            for plain in listener.incoming().flatten() {
                let client = Arc::clone(&client);
                std::thread::spawn(move || {
                    let mut socket = connect(to);
                    socket.write_all(before).unwrap();
                    carry(plain, open(&client, socket));
                });
            }
        });
        at
    }
}

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;

pub(crate) fn open(client: &Arc<ClientConfig>, mut socket: TcpStream) -> TlsStream {
    let mut tls = ClientConnection::new(Arc::clone(client), ServerName::try_from(NAME).unwrap()).unwrap();
    let until = Instant::now() + SOON;
    while tls.is_handshaking() && Instant::now() < until {
        match tls.complete_io(&mut socket) {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            _ => {}
        }
    }
    StreamOwned::new(tls, socket)
}

/// What is there; `None` at the end.
fn some(from: &mut impl std::io::Read, buf: &mut [u8]) -> Option<usize> {
    match from.read(buf) {
        Ok(0) => None,
        Ok(count) => Some(count),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Some(0),
        Err(_) => None,
    }
}

fn carry(mut plain: TcpStream, mut tls: TlsStream) {
    for socket in [&plain, &tls.sock] {
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    }
    let mut buf = vec![0; 64 << 10];
    loop {
        let Some(said) = some(&mut plain, &mut buf) else { break tls.conn.send_close_notify() };
        if tls.write_all(&buf[..said]).is_err() {
            break;
        }
        let Some(heard) = some(&mut tls, &mut buf) else { break };
        if plain.write_all(&buf[..heard]).is_err() {
            break;
        }
    }
    let _ = tls.flush();
}

#[test]
fn publishers_and_viewers_are_the_same_with_tls_and_on_any_shard() {
    for io in BOTH {
        // Some streams belong to another shard than the one that accepted their publisher: the session goes over with its keys.
        let secure = Secure::start(io, 2, |_| {});
        let server = &secure.server;
        let (rtmps, https) = (secure.through(secure.rtmps()), secure.through(secure.https()));
        let mut count = 0;
        while count < 3 || server.metric("millstream_handovers_total", "") == 0 {
            count += 1;
            assert!(count < 40, "no publisher is accepted by another shard");
            let name = &format!("cam-{count}");
            let mut publisher = Rtmp::connect(rtmps, name, ClientRole::Publish);
            publisher.ready();
            publisher.send(head());
            publisher.send_live(0..5);
            let mut viewers = [Flv::open(https, name, 1), Flv::open(https, name, 0), server.flv(name)];
            let mut player = Rtmp::connect(rtmps, name, ClientRole::Play);
            player.ready();
            publisher.send_live(5..100);
            for viewer in &mut viewers {
                viewer.until_frame(99);
            }
            player.until_frame(99);
            let tags = [&viewers[0].tags[..], &viewers[1].tags, &viewers[2].tags, &player.tags];
            assert_same(&tags, 99);
            publisher.finish();
        }
        assert_eq!(server.metric("millstream_tls_handshakes_total", ""), 4 * count);
        let answer = Answer::get(https, "/none/live.flv");
        assert_eq!(answer.status(), 404);
        assert!(Answer::get(https, "/wall.html").text().ends_with("</html>\n"));
    }
}

#[test]
fn what_comes_without_tls_is_told_so_and_counted() {
    for io in BOTH {
        let secure = Secure::start(io, 1, |_| {});
        let server = &secure.server;
        let said = |to, bytes: &[u8]| {
            let mut socket = connect(to);
            socket.write_all(bytes).unwrap();
            let (answer, ended) = read_for(&mut socket, SOON);
            assert!(ended);
            answer
        };
        let request = b"GET /cam/live.flv HTTP/1.1\r\nHost: test\r\n\r\n";
        let answer = said(secure.https(), request);
        assert!(answer.starts_with(b"HTTP/1.1 400 ") && contains(&answer, "use https://"), "{answer:?}");
        let answer = said(secure.rtmps(), request);
        assert!(answer.starts_with(b"HTTP/1.1 400 "));
        assert!(said(secure.rtmps(), &[3; 1537]).is_empty());
        assert!(said(secure.https(), &[3; 1537]).is_empty());
        assert_eq!(server.metric("millstream_closed_total", "tls_missing"), 4);
        // A hello that is none is answered with an alert, and so is one of the past.
        let garbage = [&[22, 3, 1, 0, 200, 1, 0, 0, 196][..], &[7; 196]].concat();
        assert_eq!(said(secure.rtmps(), &garbage)[0], 21);
        assert_eq!(server.metric("millstream_closed_total", "tls_failed"), 1);
        // A look, and half a hello.
        drop(connect(secure.rtmps()));
        eventually("a look", || server.metric("millstream_closed_total", "health_check") == 1);
        let mut socket = connect(secure.https());
        socket.write_all(&[22, 3, 1]).unwrap();
        drop(socket);
        eventually("half a hello", || server.metric("millstream_closed_total", "tls_unfinished") == 1);
        // And the reverse.
        let mut tls = open(&secure.client, connect(server.at.http));
        assert!(tls.write_all(request).is_err() || tls.flush().is_err());
        eventually("TLS on HTTP", || server.metric("millstream_closed_total", "tls_hello") == 1);
    }
}

#[test]
fn another_certificate_is_for_who_comes_from_now_on() {
    for io in BOTH {
        let secure = Secure::start(io, 2, |_| {});
        let server = &secure.server;
        let before = secure.through(secure.https());
        let mut publisher = server.encoder("cam");
        publisher.send_live(0..5);
        let mut viewer = Flv::open(before, "cam", 1);
        let other = certified(&secure.tickets);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(server.engine().remote().set_tls(&other.server)).unwrap();
        // Without a ticket of before.
        let fresh = client_of(&other.root);
        let mut tls = open(&fresh, connect(secure.https()));
        tls.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        eventually("an answer", || {
            let mut buf = [0; 1_000];
            let count = some(&mut tls, &mut buf).unwrap_or(0);
            answer.extend_from_slice(&buf[..count]);
            answer.ends_with(b"ok\n")
        });
        publisher.send_live(5..60);
        viewer.until_frame(59);
    }
}

#[test]
fn a_proxy_says_who_it_is_for_before_the_handshake() {
    let change = |config: &mut Config| {
        let local = vec!["127.0.0.0/8".parse().unwrap()];
        (config.proxy_protocol_from, config.http_proxy_protocol_from) = (local.clone(), local);
    };
    for io in BOTH {
        let secure = Secure::start(io, 1, change);
        let rtmps = secure.tunnel(secure.rtmps(), b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 1938\r\n");
        let mut publisher = Rtmp::connect(rtmps, "cam", ClientRole::Publish);
        publisher.ready();
        assert_eq!(secure.server.asked_by.recv_timeout(SOON).unwrap().to_string(), "192.0.2.7:50000");
    }
}

#[test]
fn a_stream_that_is_pushed_over_tls_is_refused_without_and_a_proxy_may_have_it() {
    let change = |config: &mut Config| {
        let safe = Stream { id: "safe".to_owned(), rtmps: true, ..Stream::default() };
        config.directory = Directory::new([&safe]);
        config.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    };
    // A header of version 2, from 192.0.2.7:50000, with what it says of TLS.
    let header = |tls: &[u8]| {
        let body = [&[192, 0, 2, 7, 192, 0, 2, 1, 0xC3, 0x50, 0x07, 0x8F][..], tls].concat();
        [&proxy::SIGNATURE[..], &[0x21, 0x11, 0, body.len() as u8][..], &body[..]].concat()
    };
    let push = |to: SocketAddr, header: &[u8]| {
        let mut socket = connect(to);
        socket.write_all(header).unwrap();
        Rtmp::over(socket, "safe", ClientRole::Publish)
    };
    for io in BOTH {
        let secure = Secure::start(io, 2, change);
        let server = &secure.server;
        let (_, why) = push(server.at.rtmp, &header(&[])).refused();
        let port = format!("rtmps:// on port {}", secure.rtmps().port());
        assert!(why.contains("isRtmps") && why.contains(&port), "{why}");
        eventually("counted", || server.metric("millstream_refused_total", "needs_tls") == 1);
        let mut of_proxy = push(server.at.rtmp, &header(&[0x20, 0, 5, 1, 0, 0, 0, 0]));
        of_proxy.ready();
        of_proxy.finish();
        let own = secure.tunnel(secure.rtmps(), b"PROXY TCP4 192.0.2.7 192.0.2.1 50000 1938\r\n");
        Rtmp::connect(own, "safe", ClientRole::Publish).ready();
        assert_eq!(server.metric("millstream_refused_total", "needs_tls"), 1);
    }
}

#[test]
fn half_handshakes_are_limited_as_other_connections_are_and_harm_nobody() {
    for io in BOTH {
        let secure = Secure::start(io, 1, |config| config.limits.handshakes = 16);
        let server = &secure.server;
        let mut publisher = server.encoder("cam");
        publisher.send_live(0..5);
        let mut viewer = Flv::open(secure.through(secure.https()), "cam", 1);
        // Each says hello, which costs the server a signature, and never finishes.
        let mut crowd = Vec::new();
        for n in 0..200 {
            let mut client =
                ClientConnection::new(Arc::clone(&secure.client), ServerName::try_from(NAME).unwrap()).unwrap();
            let mut socket = connect(secure.https());
            client.write_tls(&mut socket).unwrap();
            crowd.push(socket);
            publisher.send([frame(5 + n)]);
        }
        viewer.until_frame(204);
        assert!(
            server.metric("millstream_refused_total", "handshakes")
                + server.metric("millstream_closed_total", "handshakes")
                > 100
        );
        assert_eq!(Answer::get(secure.through(secure.https()), "/healthz").status(), 200);
    }
}

#[test]
fn a_viewer_that_stops_reading_goes_on_with_whole_records() {
    for io in BOTH {
        let secure = Secure::start(io, 1, |_| {});
        let server = &secure.server;
        let mut publisher = server.encoder("cam");
        publisher.send_live(0..5);
        let mut tls = open(&secure.client, connect(secure.https()));
        tls.write_all(b"GET /cam/live.flv HTTP/1.0\r\n\r\n").unwrap();
        let mut got = Vec::new();
        let mut buf = vec![0; 64 << 10];
        eventually("media", || {
            let count = some(&mut tls, &mut buf).unwrap();
            got.extend_from_slice(&buf[..count]);
            got.len() > 20_000
        });
        // More than the sockets take, while it reads nothing: the server has to send what is left in part.
        let filler = vec![9; 200_000];
        let stamp = |n: u32| (frame(20).0, n * 20, [&frame(20).2[..9], &filler].concat());
        for n in 5..60 {
            publisher.send([stamp(n)]);
            std::thread::sleep(Duration::from_millis(5));
        }
        publisher.send_live(60..200);
        let mut reader = millstream_proto::flv::Reader::new();
        let body = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        reader.push(&got[body..]).unwrap();
        let (mut last, until) = (None, Instant::now() + SOON);
        while last != Some(199) {
            assert!(Instant::now() < until, "{last:?}");
            let count = some(&mut tls, &mut buf).expect("goes on");
            // An error here would be a record that is not whole.
            reader.push(&buf[..count]).unwrap();
            while let Some(item) = reader.poll().unwrap() {
                if let millstream_proto::flv::Item::Tag { kind, timestamp_ms, body } = item {
                    last = number(&(kind, timestamp_ms, body.to_vec())).or(last);
                }
            }
        }
    }
}

/// Opens so many connections, each of which says this and waits; in which order the server ends some of them, when there are more than `most`.
fn fates(at: SocketAddr, said: &[u8], most: usize) -> Vec<usize> {
    let (mut sockets, mut ended) = (Vec::new(), Vec::new());
    let mut buf = [0; 4 << 10];
    for n in 0..3 * most {
        let mut socket = connect(at);
        // It may be refused before that.
        let _ = socket.write_all(said);
        socket.set_nonblocking(true).unwrap();
        sockets.push(Some(socket));
        eventually("one too many is ended", || {
            for (place, slot) in sockets.iter_mut().enumerate() {
                let is_over = |socket: &mut TcpStream| loop {
                    match std::io::Read::read(socket, &mut buf) {
                        Ok(0) => return true,
                        Ok(_) => {}
                        Err(error) => return error.kind() != ErrorKind::WouldBlock,
                    }
                };
                if slot.as_mut().is_some_and(is_over) {
                    *slot = None;
                    ended.push(place);
                }
            }
            ended.len() >= (n + 1).saturating_sub(most)
        });
    }
    ended
}

#[test]
fn half_handshakes_are_ended_by_the_limits_of_plain_ports_in_their_order() {
    const MOST: usize = 6;
    type Change = fn(&mut Config);
    let limits: [(&str, Change); 3] = [
        ("handshakes", |config| config.limits.handshakes = MOST),
        ("per_address", |config| config.limits.per_address = MOST),
        ("connections", |config| config.limits.connections = MOST),
    ];
    for io in BOTH {
        for (name, limit) in limits {
            let secure = Secure::start(io, 1, |config| {
                limit(config);
                // So that nobody is ended for being slow.
                (config.handshake_timeout, config.header_timeout) = (3 * SOON, 3 * SOON);
            });
            let server = &secure.server;
            let mut client =
                ClientConnection::new(Arc::clone(&secure.client), ServerName::try_from(NAME).unwrap()).unwrap();
            let mut hello = Vec::new();
            client.write_tls(&mut hello).unwrap();
            let half = &hello[..hello.len() / 2];
            let refusals =
                || server.metric("millstream_refused_total", name) + server.metric("millstream_closed_total", name);
            let plain = [(server.at.http, &b"GET /healthz HT"[..]), (server.at.rtmp, &[3; 700])];
            let with_tls =
                [(secure.https(), half), (secure.https(), &hello), (secure.rtmps(), half), (secure.rtmps(), &hello)];
            let mut expected = None;
            for (at, said) in plain.into_iter().chain(with_tls) {
                let before = refusals();
                let fates = fates(at, said, MOST);
                assert_eq!(fates.len(), 2 * MOST, "{name}");
                assert_eq!(refusals() - before, 2 * MOST as u64, "{name}: each is counted");
                let expected = expected.get_or_insert_with(|| fates.clone());
                assert_eq!(fates, *expected, "{name}: the same go, in the same order");
                eventually("they are gone", || server.metric("millstream_connections", "") == 0);
            }
        }
    }
}

#[test]
fn hostile_and_cut_records_end_their_connection_alone_and_a_half_close_gets_its_answer() {
    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for io in BOTH {
        let secure = Secure::start(io, 1, |_| {});
        let server = &secure.server;
        let mut publisher = server.encoder("cam");
        publisher.send_live(0..5);
        let mut viewer = Flv::open(secure.through(secure.https()), "cam", 1);
        // As one of the session, or, where it came with the end of the handshake, of that.
        let broken = || server.metric("millstream_closed_total", "");
        // Records that nobody encrypted, of each type; one that is longer than any; one whose length is nothing; and what is no record.
        let hostile: [&[u8]; 7] = [
            &[
                23, 3, 3, 0, 32, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
                7, 7, 7,
            ],
            &[22, 3, 3, 0, 4, 0, 0, 0, 0],
            &[21, 3, 3, 0, 2, 2, 40],
            &[23, 3, 3, 0x48, 1],
            &[23, 3, 3, 0, 0],
            &[99, 3, 3, 0, 1, 0],
            b"GET / HTTP/1.1\r\n\r\n",
        ];
        let mut next = 5;
        for (n, bytes) in hostile.into_iter().enumerate() {
            for to in [secure.https(), secure.rtmps()] {
                publisher.send_live(next..next + 5);
                next += 5;
                let before = broken();
                let mut tls = open(&secure.client, connect(to));
                tls.sock.write_all(bytes).unwrap();
                let (_, ended) = read_for(&mut tls.sock, SOON);
                assert!(ended, "{n}");
                eventually("it is counted", || broken() == before + 1);
            }
        }
        // A record that is cut off, by an end and by silence.
        let mut cut = open(&secure.client, connect(secure.https()));
        cut.conn.writer().write_all(REQUEST).unwrap();
        let mut record = Vec::new();
        cut.conn.write_tls(&mut record).unwrap();
        cut.sock.write_all(&record[..record.len() / 2]).unwrap();
        let mut silent = open(&secure.client, connect(secure.https()));
        silent.sock.write_all(&record[..3]).unwrap();
        cut.sock.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(read_for(&mut cut.sock, SOON).1);
        // Who says that it says no more, of TLS or of TCP, is answered all the same.
        for politely in [true, false] {
            let mut tls = open(&secure.client, connect(secure.https()));
            tls.write_all(REQUEST).unwrap();
            if politely {
                tls.conn.send_close_notify();
            }
            tls.flush().unwrap();
            tls.sock.shutdown(std::net::Shutdown::Write).unwrap();
            let (mut got, mut buf, until) = (Vec::new(), [0; 1_000], Instant::now() + SOON);
            while let Some(count) = some(&mut tls, &mut buf) {
                assert!(Instant::now() < until);
                got.extend_from_slice(&buf[..count]);
            }
            assert!(got.starts_with(b"HTTP/1.1 200 ") && got.ends_with(b"ok\n"), "{politely} {got:?}");
        }
        publisher.send_live(next..next + 60);
        viewer.until_frame(next + 59);
        assert_eq!(server.metric("millstream_panics_total", ""), 0);
    }
}
