//! Two shards: publishers and viewers land anywhere, and nobody can tell.
use millstream_engine::config::IoChoice;

use crate::harness::{Answer, BOTH, Flv, Server, assert_same, config, eventually, frame, head};

/// Opens viewers until both shards have some; with 40, one in 2^39 runs fails for no reason.
fn viewers_on_both(server: &Server, stream: &str) -> Vec<Flv> {
    let mut viewers = Vec::new();
    for _ in 0..40 {
        viewers.push(server.flv(stream));
        let on = |shard| {
            let labels = format!("shard=\"{shard}\",protocol=\"http-flv\"");
            server.metric("millstream_viewers", &labels) > 0
        };
        if viewers.len() >= 4 && on(0) && on(1) {
            return viewers;
        }
    }
    panic!("all viewers are on one shard");
}

#[test]
fn viewers_on_both_shards_get_the_same() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let mut publisher = server.encoder("live");
        publisher.send((0..30).map(frame));
        let mut viewers = viewers_on_both(&server, "live");
        let mut players: Vec<_> = (0..4).map(|_| server.play("live")).collect();
        publisher.send_live(30..100);
        for flv in &mut viewers {
            flv.until_frame(99);
        }
        for rtmp in &mut players {
            rtmp.until_frame(99);
        }
        let all: Vec<&[_]> =
            viewers.iter().map(|flv| &flv.tags[..]).chain(players.iter().map(|rtmp| &rtmp.tags[..])).collect();
        assert_same(&all, 99);
        eventually("a mirror", || server.metric("millstream_mirrors", "") == 1);
        // Each shard tells its own, some times a second.
        eventually("a stream", || server.metric("millstream_streams", "") == 1);
    }
}

/// A publisher comes back until one connection has landed on the other shard; then it comes back on the right one again.
#[test]
fn a_return_on_another_shard_is_handed_to_the_owner() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let mut publisher = server.encoder("wanderer");
        publisher.send((0..20).map(frame));
        let mut viewers = viewers_on_both(&server, "wanderer");
        let (mut round, mut right_after_wrong) = (0, false);
        while !right_after_wrong {
            round += 1;
            assert!(round < 60, "every return landed on the same shard");
            publisher.finish();
            let before = server.metric("millstream_handovers_total", "");
            publisher = server.publish("wanderer");
            let after = server.metric("millstream_handovers_total", "");
            publisher.send(head());
            publisher.send((round * 20..round * 20 + 20).map(frame));
            for flv in &mut viewers {
                flv.until_frame(round * 20 + 19);
            }
            right_after_wrong = before > 0 && before == after;
        }
        let all: Vec<&[_]> = viewers.iter().map(|flv| &flv.tags[..]).collect();
        assert_same(&all, round * 20 + 19);
        assert_eq!(server.metric("millstream_closed_total", "handover_failed"), 0);
        assert_eq!(server.metric("millstream_session_panics_total", ""), 0);
    }
}

#[test]
fn many_streams_at_once() {
    let server = Server::start(config(IoChoice::Auto, 2));
    let mut streams: Vec<_> = (0..16)
        .map(|n| {
            let stream = format!("many-{n}");
            let mut publisher = server.encoder(&stream);
            publisher.send((0..20).map(frame));
            (publisher, server.flv(&stream), server.play(&stream))
        })
        .collect();
    for (publisher, ..) in &mut streams {
        publisher.send((20..60).map(frame));
    }
    for (_, flv, rtmp) in &mut streams {
        flv.until_frame(59);
        rtmp.until_frame(59);
        assert_same(&[&flv.tags, &rtmp.tags], 59);
    }
}

/// Asks connection by connection until both shards have answered; gives what each said last.
fn told_by_both(server: &Server, path: &str) -> Vec<String> {
    let mut told = [String::new(), String::new()];
    for _ in 0..40 {
        let before = accepted_by_the_second(server);
        let answer = Answer::get(server.at.http, path);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(answer.text().contains("Cache-Control: public, max-age=1\r\n"), "{}", answer.text());
        let shard = usize::from(accepted_by_the_second(server) > before);
        answer.text().split("\r\n\r\n").nth(1).unwrap_or_default().clone_into(&mut told[shard]);
        if told.iter().all(|text| !text.is_empty()) {
            return told.into();
        }
    }
    panic!("all connections are on one shard");
}

/// The control port, which is asked for this, is the first shard's.
fn accepted_by_the_second(server: &Server) -> u64 {
    server.metric("millstream_accepted_connections_total", "shard=\"1\"")
}

#[test]
fn every_shard_says_the_same_of_a_streams_state() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let all_say = |what: &str, parts: &[&str]| {
            eventually(what, || {
                let told = told_by_both(&server, "/live/live.json");
                told.iter().all(|text| parts.iter().all(|part| text.contains(part)))
            });
        };
        all_say("off", &["\"state\":\"off\"", "\"tracks\":[]"]);
        let mut publisher = server.publish("live");
        all_say("starting", &["\"state\":\"starting\"", "\"publication\":"]);
        publisher.send(head());
        publisher.send((0..30).map(frame));
        let (video, audio) = ("{\"kind\":\"video\",\"codec\":\"", "{\"kind\":\"audio\",\"codec\":\"");
        all_say("live", &["\"state\":\"live\"", video, audio, "\"outputs\":{\"flv\":true"]);
        // It is connected, and sends nothing more.
        all_say("silent", &["\"state\":\"silent\"", video, audio]);
        publisher.finish();
        all_say("waiting", &["\"state\":\"waiting\"", "\"since_unix_ms\":"]);
    }
}
