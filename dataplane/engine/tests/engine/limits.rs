//! What peers may take: connections, handshakes, time.
use std::io::Write;
use std::time::{Duration, Instant};

use millstream_engine::config::{Config, IoChoice};
use millstream_proto::rtmp::ClientRole;

use crate::harness::{
    Answer, BOTH, Rtmp, SOON, Server, config, connect, contains, eventually, frame, head, publish_in_one_write,
    read_for, read_until,
};

fn limited(io: IoChoice, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = config(io, 1);
    change(&mut config);
    Server::start(config)
}

#[test]
fn connections_of_an_address() {
    for io in BOTH {
        let server = limited(io, |config| config.limits.per_address = 3);
        let mut kept: Vec<_> = (0..3).map(|_| connect(server.at.http)).collect();
        eventually("one too many is told", || Answer::get(server.at.http, "/healthz").status() == 503);
        let mut rtmp = connect(server.at.rtmp);
        let (said, ended) = read_for(&mut rtmp, SOON);
        assert!(ended && said.is_empty(), "an RTMP peer can only be closed on");
        kept.pop();
        eventually("room again", || Answer::get(server.at.http, "/healthz").status() == 200);
        eventually("counted", || server.metric("millstream_refused_total", "per_address") >= 2);
    }
}

#[test]
fn handshakes_of_the_process() {
    for io in BOTH {
        let server = limited(io, |config| {
            config.limits.handshakes = 2;
            config.handshake_timeout = Duration::from_secs(1);
        });
        let mut idle: Vec<_> = (0..2).map(|_| connect(server.at.rtmp)).collect();
        let mut third = connect(server.at.rtmp);
        assert!(read_for(&mut third, SOON).1);
        for socket in &mut idle {
            assert!(read_for(socket, SOON).1, "silent peers are closed in time");
        }
        // Sessions that wait for admission have asked: they hold nobody up.
        let mut pending = Vec::new();
        for n in 0..4 {
            let mut rtmp = Rtmp::connect(server.at.rtmp, &format!("wait-{n}"), ClientRole::Publish);
            rtmp.until("asked", |rtmp| server.tickets.try_recv().is_ok() || rtmp.closed);
            assert!(!rtmp.closed);
            pending.push(rtmp);
        }
        let mut publisher = server.encoder("live");
        publisher.send((0..20).map(frame));
        server.flv("live").until_frame(19);
    }
}

#[test]
fn connections_of_the_process() {
    let server = limited(IoChoice::Auto, |config| config.limits.connections = 4);
    let kept: Vec<_> = (0..4).map(|_| connect(server.at.http)).collect();
    eventually("one too many is told", || Answer::get(server.at.http, "/healthz").status() == 503);
    drop(kept);
    eventually("room again", || Answer::get(server.at.http, "/healthz").status() == 200);
}

/// New publishers are refused first, then new viewers, then connections; who is on air goes on, and comes back.
#[test]
fn places_run_out_for_publishers_first() {
    for io in BOTH {
        for shards in [1, 2] {
            let mut config = config(io, shards);
            config.limits.connections = 40;
            let server = Server::start(config);
            let open = || server.metric("millstream_connections", "");
            let refused = |reason: &str| server.metric("millstream_refused_total", &format!("\"{reason}\""));
            let mut publisher = server.encoder("live");
            publisher.send((0..20).map(frame));
            let mut viewer = server.flv("live");
            viewer.until_frame(19);
            // Those that have asked for nothing hold places as well.
            let mut crowd: Vec<_> = (0..34).map(|_| connect(server.at.http)).collect();
            eventually("all are there", || open() == 36);

            let (_, reason) = Rtmp::connect(server.at.rtmp, "new", ClientRole::Publish).refused();
            assert!(reason.contains("no room for new streams"), "{reason}");
            eventually("it has gone", || open() == 36);
            let mut late = server.flv("live");
            late.until_frame(19);
            let mut player = server.play("live");
            player.until_frame(19);
            assert_eq!(open(), 38);
            assert_eq!((refused("overload_publish"), refused("overload_play")), (1, 0));

            let answer = Answer::get(server.at.http, "/live/live.flv");
            assert!(answer.status() == 503 && answer.text().contains("no room for new viewers"), "{}", answer.text());
            let (_, reason) = Rtmp::connect(server.at.rtmp, "live", ClientRole::Play).refused();
            assert!(reason.contains("no room for new viewers"), "{reason}");
            eventually("they have gone", || open() == 38);
            assert_eq!(refused("overload_play"), 2);

            // An encoder that comes back to its stream is not new.
            drop(publisher);
            eventually("it has gone", || open() == 37);
            crowd.push(connect(server.at.http));
            eventually("it is there", || open() == 38);
            let mut publisher = server.encoder("live");
            publisher.send((20..40).map(frame));
            late.until_frame(39);
            crowd.push(connect(server.at.http));
            eventually("every place is taken", || open() == 40);
            eventually("one too many is told", || Answer::get(server.at.http, "/healthz").status() == 503);
            publisher.send((40..60).map(frame));
            viewer.until_frame(59);
            player.until_frame(59);
            drop(crowd);
            eventually("room again", || open() < 10);
            server.publish("new").finish();
        }
    }
}

/// Connections that wait for their next request hold nobody up.
#[test]
fn idle_connections_give_way() {
    let server = limited(IoChoice::Auto, |config| config.limits.connections = 20);
    let ask = || {
        let mut socket = connect(server.at.http);
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let (answer, _) = read_until(&mut socket, SOON, |said| contains(said, "ok\n"));
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        socket
    };
    let mut idle: Vec<_> = (0..60).map(|_| ask()).collect();
    let mut publisher = server.encoder("live");
    publisher.send((0..20).map(frame));
    server.flv("live").until_frame(19);
    assert!(read_for(&mut idle[0], SOON).1, "the oldest has gone");
    assert!(!read_for(&mut idle[59], Duration::from_millis(100)).1, "the newest has not");
    assert!(server.metric("millstream_closed_total", "gave_way") >= 40);
    assert!(server.metric("millstream_connections", "") <= 20);
}

/// Sends one byte every 150 ms until the server closes; says how long that took.
fn drip(to: std::net::SocketAddr, at_once: &[u8], slowly: &[u8]) -> Duration {
    let mut socket = connect(to);
    socket.write_all(at_once).unwrap();
    let began = Instant::now();
    for byte in slowly.iter().cycle() {
        assert!(began.elapsed() < SOON, "never closed");
        if socket.write_all(&[*byte]).is_err() || read_for(&mut socket, Duration::from_millis(150)).1 {
            break;
        }
    }
    began.elapsed()
}

#[test]
fn one_byte_at_a_time_extends_nothing() {
    for io in BOTH {
        let server = limited(io, |config| {
            config.handshake_timeout = Duration::from_secs(1);
            config.header_timeout = Duration::from_secs(1);
        });
        let in_time = |what: &str, took: Duration| {
            assert!(took > Duration::from_millis(800) && took < Duration::from_secs(4), "{what}: {took:?}");
        };
        let publish = publish_in_one_write("live", &[]);
        in_time(
            "HTTP head",
            drip(server.at.http, b"", b"GET /x/live.flv HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyy"),
        );
        in_time("HTTP body", drip(server.at.http, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n", b"x"));
        let again = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nG";
        in_time(
            "the second HTTP head",
            drip(server.at.http, again, b"ET / HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyyyy"),
        );
        in_time("RTMP handshake", drip(server.at.rtmp, &publish[..10], &publish[10..1000]));
        in_time("RTMP commands", drip(server.at.rtmp, &publish[..3100], &publish[3100..]));
        eventually("counted", || server.metric("millstream_closed_total", "timeout") >= 5);
        eventually("nobody is left", || server.metric("millstream_connections", "") == 0);
    }
}

/// Memory that the process holds, bytes.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn when_memory_runs_out_new_streams_are_refused_first_and_then_new_viewers() {
    const MOST: usize = 512 << 20;
    let server = limited(IoChoice::Auto, |config| config.limits.memory = Some(MOST as u64));
    let mut publisher = server.encoder("live");
    publisher.send((0..20).map(frame));
    let mut viewer = server.flv("live");
    viewer.until_frame(19);
    let mut ballast = Vec::new();
    let mut hold = |percent: usize| {
        ballast.push(vec![1_u8; (MOST / 100 * percent).checked_sub(resident_bytes()).expect("room for ballast")]);
        eventually("the server has seen it", || {
            server.metric("millstream_resident_bytes", "") as usize > MOST / 100 * (percent - 1)
        });
    };

    hold(93);
    let (_, reason) = Rtmp::connect(server.at.rtmp, "new", ClientRole::Publish).refused();
    assert!(reason.contains("no room for new streams"), "{reason}");
    server.flv("live").until_frame(19);

    hold(98);
    let answer = Answer::get(server.at.http, "/live/live.flv");
    assert!(answer.status() == 503 && answer.text().contains("no room for new viewers"), "{}", answer.text());
    publisher.send((20..40).map(frame));
    viewer.until_frame(39);

    drop(ballast);
    eventually("it is seen that there is room again", || {
        (server.metric("millstream_resident_bytes", "") as usize) < MOST / 2
    });
    server.flv("live").until_frame(39);
}

#[test]
fn a_silent_http_connection_is_closed_and_an_idle_one_is_kept() {
    let server = limited(IoChoice::Auto, |config| config.header_timeout = Duration::from_millis(500));
    assert!(read_for(&mut connect(server.at.http), SOON).1);
    let mut kept = connect(server.at.http);
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(
        !read_for(&mut kept, Duration::from_secs(3)).1,
        "the deadline of the first request is not that of the next"
    );
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let (answer, ended) = read_for(&mut kept, SOON);
    assert!(ended && answer.ends_with(b"ok\n"));
}

/// One publisher sends as fast as it is read; another, on the same shard, is served all the same, and so are clocks.
#[test]
fn a_flood_starves_nobody() {
    for io in BOTH {
        let server = limited(io, |config| config.header_timeout = Duration::from_secs(1));
        let mut other = server.encoder("other");
        let mut viewer = server.flv("other");
        let mut flood = server.publish("flood");
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let flooding = std::thread::spawn(move || {
            flood.send(head());
            let mut n = 0;
            while !flood.closed && stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                flood.send((n..n + 200).map(frame));
                n += 200;
            }
        });
        for n in 0..20 {
            other.send([frame(n)]);
            viewer.until_frame(n);
        }
        let silent = Instant::now();
        assert!(read_for(&mut connect(server.at.http), SOON).1);
        assert!(silent.elapsed() < Duration::from_secs(4), "{:?}", silent.elapsed());
        drop(stop);
        flooding.join().unwrap();
        assert!(server.metric("millstream_received_bytes_total", "") > 1_000_000);
    }
}
