//! A stream from its publisher to viewers of both protocols, on both kernel interfaces; returns and takeovers.
use std::io::Write;
use std::time::{Duration, Instant};

use millstream_engine::config::IoChoice;
use millstream_hub::config::Takeover;
use millstream_proto::rtmp::ClientRole;

use crate::harness::{
    Answer, BOTH, Flv, Rtmp, Server, assert_same, config, connect, eventually, frame, head, number,
    publish_in_one_write,
};

#[test]
fn viewers_of_both_protocols_get_the_same() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let mut publisher = server.encoder("live");
        publisher.send((0..30).map(frame));
        let mut flv = server.flv("live");
        let mut flv_plain = Flv::open(server.at.http, "live", 0);
        let mut rtmp = server.play("live");
        publisher.send_live(30..100);
        flv.until_frame(99);
        flv_plain.until_frame(99);
        rtmp.until_frame(99);
        assert_same(&[&flv.tags, &flv_plain.tags, &rtmp.tags], 99);
        assert!(flv.head().contains("Transfer-Encoding: chunked") && !flv_plain.head().contains("chunked"));
        assert!(server.metric("millstream_received_bytes_total", "") > 60_000);
        assert!(server.metric("millstream_sent_bytes_total", "") > 180_000);
        assert_eq!(server.metric("millstream_plays_total", ""), 3);
        drop((flv, flv_plain, rtmp));
        eventually("viewers are gone", || server.metric("millstream_viewers", "") == 0);
        eventually("only the publisher is connected", || server.metric("millstream_connections", "") == 1);
    }
}

#[test]
fn everything_in_one_write() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let tags: Vec<_> = head().into_iter().chain((0..10).map(frame)).collect();
        let mut publishers = Vec::new();
        for n in 0..6 {
            let stream = format!("one-{n}");
            let mut publisher = connect(server.at.rtmp);
            publisher.write_all(&publish_in_one_write(&stream, &tags)).unwrap();
            publishers.push(publisher);
            eventually("on air", || Answer::get(server.at.http, &format!("/{stream}/nothing")).status() == 404);
            let mut flv = loop {
                let mut flv = Flv::ask(server.at.http, &stream, 1);
                flv.until("an answer", |flv| !flv.head().is_empty());
                if flv.head().starts_with("HTTP/1.1 200") {
                    break flv;
                }
            };
            flv.until_frame(9);
            assert_eq!(flv.tags.iter().find_map(number), Some(0));
        }
    }
}

#[test]
fn a_second_publisher_is_refused_and_told_why() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let mut publisher = server.encoder("mine");
        publisher.send((0..10).map(frame));
        let _on_air = publisher.go_on(10);
        for _ in 0..4 {
            let (code, description) = Rtmp::connect(server.at.rtmp, "mine", ClientRole::Publish).refused();
            assert_eq!(code, "NetStream.Publish.BadName");
            assert!(description.contains("another publisher is on air"), "{description}");
        }
        assert_eq!(server.metric("millstream_refused_total", "reason=\"taken\""), 4);
        assert_eq!(server.metric("millstream_publishes_total", ""), 1);
    }
}

/// OBS has a field for the server and one for the key, and people put the whole address into the first one.
#[test]
fn what_is_in_the_wrong_field_of_an_encoder_is_said() {
    let server = Server::start(config(BOTH[0], 1));
    let refused = |app: &str, stream: &str| {
        let (code, description) = Rtmp::connect_as(server.at.rtmp, app, stream, ClientRole::Publish).refused();
        assert_eq!(code, "NetStream.Publish.BadName");
        assert!(!description.contains("hush"), "{description}");
        description
    };
    let whole = refused("stream/cam?sign=hush", "cam?sign=hush");
    assert!(
        whole.contains("holds more than rtmp://HOST/stream: put STREAM?sign=... into the stream key only"),
        "{whole}"
    );
    let none = refused("cam?sign=hush", "");
    assert!(none.contains("the URL is rtmp://HOST/stream/STREAM"), "{none}");
}

#[test]
fn a_refusal_arrives_though_media_was_sent_ahead() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let _on_air = server.publish("mine").go_on(0);
        let tags: Vec<_> = head().into_iter().chain((0..400).map(frame)).collect();
        let mut second = connect(server.at.rtmp);
        // The server stops reading at the refusal: some of this is never read.
        let _ = second.write_all(&publish_in_one_write("mine", &tags));
        let (answer, ended) = crate::harness::read_for(&mut second, crate::harness::SOON);
        assert!(ended && crate::harness::contains(&answer, "NetStream.Publish.BadName"));
    }
}

/// The dead network is a connection that stays open and says nothing.
#[test]
fn case_13_a_silent_publisher_gives_way_within_a_second() {
    let server = Server::start(config(IoChoice::Auto, 2));
    let mut dead = server.encoder("mine");
    dead.send((0..20).map(frame));
    let mut flv = server.flv("mine");
    flv.until_frame(19);
    // It is back before the silence tells: the answer waits for that, and no longer.
    let came_back = Instant::now();
    let mut publisher = server.encoder("mine");
    publisher.send((40..80).map(frame));
    flv.until_frame(79);
    assert!(came_back.elapsed() < Duration::from_secs(3), "{:?}", came_back.elapsed());
    dead.until("the old session is ended", |dead| dead.closed);
    publisher.send((80..90).map(frame));
    flv.until_frame(89);
    eventually("one publisher", || server.metric("millstream_sessions", "role=\"publisher\"") == 1);
    assert_eq!(server.metric("millstream_closed_total", "reason=\"replaced\""), 1);
}

/// Two encoders with one key, and an operator who wants the newer one.
#[test]
fn where_so_configured_the_newer_publisher_replaces_the_one_on_air() {
    let mut config = config(IoChoice::Auto, 2);
    config.stream.takeover = Takeover::Replace;
    let server = Server::start(config);
    let mut first = server.encoder("mine");
    first.send((0..20).map(frame));
    let mut flv = server.flv("mine");
    flv.until_frame(19);
    let first = first.go_on(20);
    let mut second = server.encoder("mine");
    second.send((40..80).map(frame));
    flv.until_frame(79);
    eventually("the first one is sent away", || first.is_over());
    eventually("one publisher", || server.metric("millstream_sessions", "role=\"publisher\"") == 1);
    assert_eq!(server.metric("millstream_closed_total", "reason=\"replaced\""), 1);
}

#[test]
fn case_14_stop_and_start_within_100_ms() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let mut publisher = server.encoder("mine");
        publisher.send((0..20).map(frame));
        let mut flv = server.flv("mine");
        for round in 1..8 {
            publisher.finish();
            publisher = server.publish("mine");
            publisher.send(head());
            publisher.send((round * 20..round * 20 + 20).map(frame));
            flv.until_frame(round * 20 + 19);
        }
        assert_same(&[&flv.tags], 159);
        assert!(!flv.closed);
    }
}

#[test]
fn viewers_end_when_the_publisher_does_not_return() {
    for io in BOTH {
        let mut config = config(io, 2);
        config.stream.publisher_wait = Duration::from_millis(500);
        let server = Server::start(config);
        let mut publisher = server.encoder("short");
        publisher.send((0..20).map(frame));
        let mut viewers: Vec<_> = (0..6).map(|_| server.flv("short")).collect();
        let mut rtmp = server.play("short");
        for flv in &mut viewers {
            flv.until_frame(19);
        }
        publisher.finish();
        for flv in &mut viewers {
            flv.until("the end", |flv| flv.closed);
            assert!(flv.ended, "the last chunk came");
        }
        rtmp.until("the end", |rtmp| rtmp.closed);
        assert_eq!(rtmp.events.len(), 2, "{:?}", rtmp.events);
        eventually("the stream is forgotten", || server.metric("millstream_streams", "") == 0);
        eventually("and its mirrors", || server.metric("millstream_mirrors", "") == 0);
        assert_eq!(Answer::get(server.at.http, "/short/live.flv").status(), 404);
    }
}
