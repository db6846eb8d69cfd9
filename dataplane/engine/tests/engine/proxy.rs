//! Proxies in front of the ports: whom a connection is for, and connections that are for nobody.
use std::io::Write as _;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use millstream_engine::config::{Config, IoChoice};
use millstream_proto::rtmp::{ClientEvent, ClientRole};

use crate::harness::{BOTH, Flv, Rtmp, SOON, Server, config, connect, eventually, frame, head, read_for, read_until};

fn start(io: IoChoice, shards: usize, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = config(io, shards);
    config.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    change(&mut config);
    Server::start(config)
}

/// A header of version 2 for a client of this address.
fn header(client: &str) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    match client.parse().unwrap() {
        SocketAddr::V4(v4) => {
            bytes.extend([0x11, 0, 12]);
            bytes.extend(v4.ip().octets());
            bytes.extend([127, 0, 0, 1]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend([0x21, 0, 36]);
            bytes.extend(v6.ip().octets());
            bytes.extend([0; 16]);
        }
    }
    let port = client.parse::<SocketAddr>().unwrap().port();
    [&bytes[..], &port.to_be_bytes(), &[7, 0x8F]].concat()
}

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn through(server: &Server, client: &str, stream: &str, role: ClientRole) -> Rtmp {
    let mut socket = connect(server.at.rtmp);
    socket.write_all(&header(client)).unwrap();
    Rtmp::over(socket, stream, role)
}

/// As the RTMP port sees a load balancer that looks whether it is there.
fn look(server: &Server, said: &[u8], reset: bool) {
    let mut socket = TcpStream::connect(server.at.rtmp).unwrap();
    socket.write_all(said).unwrap();
    if reset {
        socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
    } else {
        socket.shutdown(Shutdown::Write).unwrap();
        read_for(&mut socket, SOON);
    }
}

#[test]
fn the_door_is_told_who_is_behind_the_proxy() {
    for io in BOTH {
        // With two shards, some publishers are handed over.
        let server = start(io, 2, |_| {});
        let mut publishers = Vec::new();
        for (n, client) in ["192.0.2.1:1000", "192.0.2.1:1001", "[2001:db8::7]:5", "198.51.100.2:9"].iter().enumerate()
        {
            let mut publisher = through(&server, client, &format!("live-{n}"), ClientRole::Publish);
            publisher.ready();
            assert_eq!(server.asked_by.recv_timeout(SOON).unwrap(), client.parse().unwrap());
            publisher.send(head());
            publisher.send((0..20).map(frame));
            publishers.push(publisher);
        }
        let mut viewer = through(&server, "203.0.113.1:80", "live-2", ClientRole::Play);
        viewer.until_frame(19);
        assert_eq!(server.asked_by.recv_timeout(SOON).unwrap(), "203.0.113.1:80".parse().unwrap());

        // One byte at a time, and the proxy's own connections.
        let mut slow = connect(server.at.rtmp);
        for byte in header("192.0.2.3:3") {
            slow.write_all(&[byte]).unwrap();
        }
        Rtmp::over(slow, "live-0", ClientRole::Play).until_frame(19);
        assert_eq!(server.asked_by.recv_timeout(SOON).unwrap(), "192.0.2.3:3".parse().unwrap());
        let mut line = connect(server.at.rtmp);
        line.write_all(b"PROXY TCP4 192.0.2.4 127.0.0.1 4 1935\r\n").unwrap();
        Rtmp::over(line, "live-0", ClientRole::Play).until_frame(19);
        assert_eq!(server.asked_by.recv_timeout(SOON).unwrap(), "192.0.2.4:4".parse().unwrap());
        let mut own = connect(server.at.rtmp);
        own.write_all(LOCAL).unwrap();
        let from = own.local_addr().unwrap();
        Rtmp::over(own, "live-0", ClientRole::Play).until_frame(19);
        assert_eq!(server.asked_by.recv_timeout(SOON).unwrap(), from);
    }
}

#[test]
fn limits_are_those_of_the_address_behind() {
    let server = start(IoChoice::Auto, 1, |config| config.limits.per_address = 2);
    let waiting = |client: &str, n: u32| {
        let mut rtmp =
            through(&server, client, &format!("wait-{client}-{n}").replace(['.', ':'], "_"), ClientRole::Publish);
        rtmp.until("an answer", |rtmp| server.tickets.try_recv().is_ok() || rtmp.closed);
        rtmp
    };
    let kept: Vec<_> = (0..2).flat_map(|n| [waiting("192.0.2.1:1", n), waiting("192.0.2.2:1", n)]).collect();
    assert!(kept.iter().all(|rtmp| !rtmp.closed));
    assert!(waiting("192.0.2.1:2", 3).closed, "a third one of that address");
    assert!(!waiting("192.0.2.3:1", 1).closed);
    eventually("counted", || server.metric("millstream_refused_total", "per_address") == 1);
    drop(kept);
    eventually("room again", || !waiting("192.0.2.1:3", 4).closed);
}

#[test]
fn only_headers_and_only_from_proxies() {
    for io in BOTH {
        let server = start(io, 1, |config| config.handshake_timeout = Duration::from_secs(1));
        let closed = |reason: &str| server.metric("millstream_closed_total", &format!("\"{reason}\""));
        let refused = |said: &[u8]| {
            let mut socket = connect(server.at.rtmp);
            socket.write_all(said).unwrap();
            let (answer, ended) = read_for(&mut socket, SOON);
            assert!(ended && answer.is_empty());
        };
        refused(b"\x03rtmp at once");
        refused(b"PROXX TCP4 192.0.2.1 127.0.0.1 1 1935\r\n");
        // A header that does not end is given up.
        refused(&header("192.0.2.1:1")[..20]);
        refused(&[&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 2_000]].concat());
        eventually("counted", || closed("proxy_signature") == 2 && closed("proxy_header_bytes_max") == 1);
        eventually("counted", || closed("timeout") == 1);

        let other = start(io, 1, |config| config.proxy_protocol_from = vec!["192.0.2.0/24".parse().unwrap()]);
        let mut socket = connect(other.at.rtmp);
        socket.write_all(&header("192.0.2.1:1")).unwrap();
        assert!(read_for(&mut socket, SOON).1, "from elsewhere, a header is no RTMP");
        let mut direct = Rtmp::connect(other.at.rtmp, "live", ClientRole::Publish);
        direct.ready();
        assert_eq!(direct.events, [ClientEvent::Ready]);
        assert_eq!(other.asked_by.recv_timeout(SOON).unwrap().ip().to_string(), "127.0.0.1");
    }
}

#[test]
fn who_only_looks_is_counted_apart() {
    for io in BOTH {
        for proxied in [true, false] {
            let server = start(io, 1, |config| {
                if !proxied {
                    config.proxy_protocol_from.clear();
                }
            });
            let said: &[u8] = if proxied { LOCAL } else { b"" };
            for reset in [true, false] {
                look(&server, b"", reset);
                look(&server, said, reset);
            }
            drop(TcpStream::connect(server.at.http).unwrap());
            eventually("counted", || server.metric("millstream_closed_total", "health_check") == 5);
            assert_eq!(server.metric("millstream_closed_total", ""), 5, "and as nothing else");
            // Who says half a header, or half a handshake, does not only look.
            look(&server, if proxied { &LOCAL[..5] } else { b"\x03" }, false);
            eventually("counted", || server.metric("millstream_closed_total", "") == 6);
            assert_eq!(server.metric("millstream_closed_total", "health_check"), 5);
        }
    }
}

/// A server whose HTTP port believes proxies in these networks, with a stream on air.
fn behind(networks: &[&str], change: impl FnOnce(&mut Config)) -> (Server, Rtmp) {
    let mut config = config(IoChoice::Auto, 1);
    config.trusted_proxies = networks.iter().map(|network| network.parse().unwrap()).collect();
    change(&mut config);
    let server = Server::start(config);
    let mut publisher = server.encoder("live");
    publisher.send((0..20).map(frame));
    server.asked_by.recv_timeout(SOON).unwrap();
    (server, publisher)
}

fn watch(server: &Server, forwarded: &str) -> Flv {
    let mut flv = Flv::over(connect(server.at.http), "live", 1, forwarded);
    flv.until("an answer", |flv| !flv.head().is_empty());
    flv
}

#[test]
fn case_55_limits_count_the_viewer_that_a_trusted_proxy_names() {
    let (server, _publisher) = behind(&["127.0.0.0/8", "10.0.0.0/8"], |config| config.limits.per_address = 2);
    let of = |address: &str| watch(&server, &format!("X-Forwarded-For: 6.6.6.6, {address}, 10.1.2.3\r\n"));
    let asked = |address: &str| assert_eq!(server.asked_by.recv_timeout(SOON).unwrap(), address.parse().unwrap());
    let status = |flv: &Flv| flv.head().split(' ').nth(1).unwrap_or_default().to_owned();
    let first: Vec<Flv> = (0..2).map(|_| of("192.0.2.1")).collect();
    asked("192.0.2.1:0");
    asked("192.0.2.1:0");
    let others: Vec<Flv> = ["192.0.2.2", "[2001:db8::1]:7", "2001:db8:1::1"].into_iter().map(of).collect();
    for address in ["192.0.2.2:0", "[2001:db8::1]:7", "[2001:db8:1::1]:0"] {
        asked(address);
    }
    assert!(first.iter().chain(&others).all(|flv| status(flv) == "200"));
    assert_eq!(status(&of("192.0.2.1")), "429", "a third one of that address");
    let standard = watch(&server, "Forwarded: for=6.6.6.6, for=\"192.0.2.3:4711\";proto=https\r\n");
    asked("192.0.2.3:4711");
    assert_eq!(server.metric("millstream_refused_total", "per_address"), 1);
    drop(first);
    eventually("room again", || status(&of("192.0.2.1")) == "200");
    drop(standard);
}

#[test]
fn case_55_a_kept_connection_is_of_whoever_each_request_is_for() {
    // The publisher is one of the proxy's own address.
    let (server, _publisher) = behind(&["127.0.0.0/8"], |config| config.limits.per_address = 2);
    let asked = |address: &str| assert_eq!(server.asked_by.recv_timeout(SOON).unwrap(), address.parse().unwrap());
    // Ten connections of the proxy that wait for requests count for nobody.
    let mut kept: Vec<TcpStream> = (0..10).map(|_| connect(server.at.http)).collect();
    let request = |socket: &mut TcpStream, address: &str| {
        write!(socket, "GET /nobody/live.flv HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n\r\n").unwrap();
        let (answer, ended) = read_until(socket, SOON, |said| said.windows(4).any(|end| end == b"\r\n\r\n"));
        assert!(!ended && answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
        asked(&format!("{address}:0"));
        // Its body.
        read_for(socket, Duration::from_millis(50));
    };
    for socket in &mut kept {
        request(socket, "192.0.2.1");
        request(socket, "192.0.2.2");
    }
    // Nonsense, and headers that contradict each other, leave the proxy itself.
    let from = kept[0].local_addr().unwrap();
    for lines in ["X-Forwarded-For: <script>\r\n", "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=6.6.6.6\r\n", ""] {
        write!(kept[0], "GET /nobody/live.flv HTTP/1.1\r\nHost: a\r\n{lines}\r\n").unwrap();
        assert_eq!(server.asked_by.recv_timeout(SOON).unwrap(), from, "{lines}");
        read_for(&mut kept[0], Duration::from_millis(50));
    }
}

#[test]
fn case_55_from_elsewhere_such_headers_are_ignored() {
    let (server, _publisher) = behind(&["192.0.2.0/24"], |_| {});
    let _viewer = watch(&server, "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n");
    assert_eq!(server.asked_by.recv_timeout(SOON).unwrap().ip().to_string(), "127.0.0.1");
}

#[test]
fn case_55_a_proxy_protocol_header_on_the_http_port() {
    let (server, _publisher) = behind(&["10.0.0.0/8"], |config| {
        config.http_proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
        config.limits.per_address = 1;
    });
    let through = |said: &[u8], more: &str| {
        let mut socket = connect(server.at.http);
        socket.write_all(said).unwrap();
        let mut flv = Flv::over(socket, "live", 1, more);
        flv.until("an answer", |flv| !flv.head().is_empty() || flv.closed);
        flv
    };
    let asked = |address: &str| assert_eq!(server.asked_by.recv_timeout(SOON).unwrap(), address.parse().unwrap());
    let kept = through(b"PROXY TCP4 192.0.2.1 127.0.0.1 1000 8080\r\n", "X-Forwarded-For: 6.6.6.6\r\n");
    asked("192.0.2.1:1000");
    assert!(through(&header("192.0.2.1:1001"), "").closed, "a second one of that address");
    let other = through(&header("[2001:db8::7]:5"), "");
    asked("[2001:db8::7]:5");
    // Behind the header there may be another proxy, which names its clients itself.
    let inner = through(&header("10.0.0.9:5"), "X-Forwarded-For: 192.0.2.7\r\n");
    asked("192.0.2.7:0");
    assert!([&kept, &other, &inner].iter().all(|flv| flv.head().starts_with("HTTP/1.1 200")));
    assert!(through(b"", "").closed, "a request without a header");
}

#[test]
fn case_55_who_comes_through_a_proxy_that_is_trusted_for_both_is_believed_nothing() {
    let (server, _publisher) = behind(&["127.0.0.0/8"], |config| {
        config.http_proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let mut socket = connect(server.at.http);
    socket.write_all(&header("192.0.2.1:1000")).unwrap();
    let mut flv = Flv::over(socket, "live", 1, "X-Forwarded-For: 6.6.6.6\r\n");
    flv.until("an answer", |flv| !flv.head().is_empty() || flv.closed);
    assert_eq!(server.asked_by.recv_timeout(SOON).unwrap(), "192.0.2.1:1000".parse().unwrap());
}
