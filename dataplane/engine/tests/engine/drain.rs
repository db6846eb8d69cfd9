//! The end: nothing new is taken, everybody is told, and it takes as long as was configured and not longer.
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use millstream_engine::config::IoChoice;
use millstream_proto::rtmp::ClientEvent;

use crate::harness::{Answer, BOTH, SOON, Server, config, connect, eventually, frame, read_for};

const DRAIN: Duration = Duration::from_millis(1_500);

#[test]
fn everybody_is_told() {
    for io in BOTH {
        let mut config = config(io, 2);
        config.drain = DRAIN;
        let server = Server::start(config);
        let mut publisher = server.encoder("live");
        publisher.send((0..20).map(frame));
        let mut viewers: Vec<_> = (0..4).map(|_| server.flv("live")).collect();
        let mut players: Vec<_> = (0..4).map(|_| server.play("live")).collect();
        let mut idle_http = connect(server.at.http);
        idle_http.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut idle_rtmp = connect(server.at.rtmp);
        for flv in &mut viewers {
            flv.until_frame(19);
        }

        let began = Instant::now();
        server.engine().shutdown();
        // Impatient operators say it twice.
        server.engine().shutdown();
        eventually("no new RTMP connection", || TcpStream::connect(server.at.rtmp).is_err());
        assert!(began.elapsed() < DRAIN, "{:?}", began.elapsed());
        for _ in 0..8 {
            let health = Answer::get(server.at.http, "/healthz");
            assert!(health.status() == 503 && health.text().ends_with("draining\n"), "{}", health.text());
            assert_eq!(Answer::get(server.at.http, "/live/live.flv").status(), 503);
        }
        // Who is there goes on meanwhile.
        publisher.send((20..40).map(frame));
        for flv in &mut viewers {
            flv.until_frame(39);
        }

        let waiting = std::thread::spawn(move || server.wait());
        for flv in &mut viewers {
            flv.until("the end", |flv| flv.closed);
            assert!(flv.ended, "the last chunk came");
        }
        for rtmp in &mut players {
            rtmp.until("the end", |rtmp| rtmp.closed);
            assert!(matches!(rtmp.events[..], [ClientEvent::Ready, ClientEvent::Ended { .. }]), "{:?}", rtmp.events);
        }
        publisher.until("the end", |publisher| publisher.closed);
        let [ClientEvent::Ready, ClientEvent::Ended { description, .. }] = &publisher.events[..] else {
            panic!("{:?}", publisher.events);
        };
        assert!(description.contains("going down"), "{description}");
        assert!(read_for(&mut idle_http, SOON).1 && read_for(&mut idle_rtmp, SOON).1);
        waiting.join().unwrap();
        let took = began.elapsed();
        assert!(took > DRAIN.mul_f32(0.9) && took < DRAIN + Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn with_nobody_there_it_is_quick() {
    for io in BOTH {
        let mut config = config(io, 2);
        config.drain = Duration::from_mins(1);
        let server = Server::start(config);
        drop(server.publish("gone"));
        eventually("gone", || server.metric("millstream_sessions", "publisher") == 0);
        let began = Instant::now();
        server.engine().shutdown();
        server.wait();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}

/// A viewer that does not read, and a publisher that sends without a pause, delay nothing.
#[test]
fn who_does_not_listen_is_left_behind() {
    for io in BOTH {
        let mut config = config(io, 1);
        config.drain = Duration::from_millis(300);
        let server = Server::start(config);
        let mut publisher = server.encoder("live");
        publisher.send((0..20).map(frame));
        let stalled = (server.flv("live"), server.play("live"));
        let sending = std::thread::spawn(move || {
            let mut n = 20;
            while !publisher.closed {
                publisher.send((n..n + 40).map(frame));
                n += 40;
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        let began = Instant::now();
        server.engine().shutdown();
        server.wait();
        assert!(began.elapsed() < Duration::from_millis(300 + 2_000), "{:?}", began.elapsed());
        drop(stalled);
        sending.join().unwrap();
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let server = Server::start(config(IoChoice::Auto, 1));
    let mut second = config(IoChoice::Auto, 1);
    second.rtmp = server.at.rtmp;
    let error = millstream_engine::start(second, millstream_policy::Chain::default()).unwrap_err().to_string();
    assert!(error.contains(&server.at.rtmp.to_string()) && error.contains("--rtmp"), "{error}");
}
