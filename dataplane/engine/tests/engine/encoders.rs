//! What encoders of all kinds do, and what must come of it.
use std::io::Write as _;
use std::time::{Duration, Instant};

use millstream_control_protocol::state::Stream;
use millstream_engine::config::IoChoice;
use millstream_engine::directory::Directory;
use millstream_proto::paths::Pattern;
use millstream_proto::rtmp::ClientRole;

use crate::harness::{
    Answer, BOTH, Rtmp, SOON, Server, config, connect, contains, eventually, frame, head, read_until,
};

/// A shared screen that does not change: 17 s without a frame. One encoder answers pings, another one does not.
#[test]
fn case_52_who_answers_pings_stays_on_air_and_who_does_not_is_gone_after_15_s() {
    let of = |io: IoChoice| {
        let server = Server::start(config(io, 2));
        let mut awake = server.publish("awake");
        let mut gone = server.publish("gone");
        for publisher in [&mut awake, &mut gone] {
            publisher.send(head());
            publisher.send((0..20).map(frame));
        }
        let silent = Instant::now();
        let mut contended = false;
        while silent.elapsed() < Duration::from_secs(18) {
            awake.turn();
            assert!(!awake.closed, "{io:?}: closed after {:?}", silent.elapsed());
            let closed = server.metric("millstream_closed_total", "\"timeout\"");
            assert!(closed == 0 || silent.elapsed() > Duration::from_secs(14), "{io:?}: after {:?}", silent.elapsed());
            // A second encoder does not take the place of one that is there, though it sends nothing.
            if !contended && silent.elapsed() > Duration::from_secs(4) {
                contended = true;
                let mut second = Rtmp::connect(server.at.rtmp, "awake", ClientRole::Publish);
                let until = Instant::now() + Duration::from_secs(5);
                while !second.closed && Instant::now() < until {
                    second.turn();
                    awake.turn();
                }
                assert_eq!(second.refused().0, "NetStream.Publish.BadName");
            }
        }
        eventually("the one that is not there is closed", || {
            server.metric("millstream_closed_total", "\"timeout\"") == 1
        });
        gone.until("closed", |gone| gone.closed);
        let mut flv = server.flv("awake");
        awake.send((900..960).map(frame));
        flv.until_frame(959);
    };
    std::thread::scope(|threads| {
        for io in BOTH {
            threads.spawn(move || of(io));
        }
    });
}

/// Encoders and players of another server, through paths that records and the configuration map.
#[test]
fn case_56_paths_of_other_servers_lead_to_their_stream() {
    let stream = Stream {
        id: "cam".to_owned(),
        push_paths: vec!["stream/my cam.1".to_owned(), "stream/straße".to_owned(), "stream/other".to_owned()],
        play_paths: vec!["/app/my cam.flv".to_owned(), "/app/cam/index.m3u8".to_owned(), "/app/cam.mpd".to_owned()],
        ..Stream::default()
    };
    let mut config = config(IoChoice::Auto, 2);
    let other = Stream { id: "other".to_owned(), ..Stream::default() };
    config.directory = Directory::new([&stream, &other]);
    config.play_paths = vec![Pattern::new("/live/{id}.flv").unwrap()];
    let server = Server::start(config);
    for name in ["my cam.1", "my%20cam.1?pass=100%", "straße"] {
        let mut publisher = server.encoder(name);
        publisher.send((0..210).map(frame));
        let mut own = server.flv("cam");
        own.until_frame(209);
        let mut player = server.play(name);
        player.until_frame(209);
        for path in ["/app/my%20cam.flv", "/live/cam.flv"] {
            let mut viewer = connect(server.at.http);
            write!(viewer, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            let (said, _) = read_until(&mut viewer, SOON, |said| said.len() > 20_000);
            assert!(said.starts_with(b"HTTP/1.1 200") && contains(&said, "FLV"), "{path}");
        }
        let playlist = Answer::get(server.at.http, "/app/cam/index.m3u8").text();
        assert!(playlist.contains("\n../../cam/video.m3u8"), "{playlist}");
        assert!(playlist.contains("URI=\"../../cam/audio.m3u8\""), "{playlist}");
        let manifest = Answer::get(server.at.http, "/app/cam.mpd").text();
        assert!(manifest.contains("><BaseURL>../cam/</BaseURL>"), "{manifest}");
        assert_eq!(Answer::get(server.at.http, "/app/other.flv").status(), 404);
        publisher.finish();
    }
    // A stream's own address is its own, whatever another one's paths say.
    let mut publisher = server.encoder("other");
    publisher.send((0..210).map(frame));
    server.flv("other").until_frame(209);
    publisher.finish();
    let (code, _) = Rtmp::connect(server.at.rtmp, "my cam.2", ClientRole::Publish).refused();
    assert_eq!(code, "NetStream.Publish.BadName");
}
