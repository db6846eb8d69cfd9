//! Nothing is answered before admission has spoken, whatever it takes, and nobody else waits for it.
use std::io::Write;
use std::time::{Duration, Instant};

use millstream_policy::{Denial, Grant, Step, Why};
use millstream_proto::rtmp::ClientRole;

use crate::harness::{
    BOTH, Flv, Rtmp, SOON, Server, config, connect, contains, eventually, frame, head, number, publish_in_one_write,
    read_for, read_until,
};

const A_WHILE: Duration = Duration::from_millis(300);

fn denied() -> Step {
    Denial::step(Why::Forbidden, "not today")
}

#[test]
fn a_publisher_waits_and_loses_nothing() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        for n in 0..4 {
            let stream = format!("wait-{n}");
            let tags: Vec<_> = head().into_iter().chain((0..10).map(frame)).collect();
            let mut publisher = connect(server.at.rtmp);
            publisher.write_all(&publish_in_one_write(&stream, &tags)).unwrap();
            let ticket = server.ticket();
            let (before, ended) = read_for(&mut publisher, A_WHILE);
            assert!(!ended && contains(&before, "_result"), "commands before it are answered");
            assert!(!contains(&before, "NetStream"), "nothing of the publish is");
            assert_eq!(server.metric("millstream_streams", ""), n);
            server.answer(ticket, Step::Allow(Grant::default()));
            let (after, _) = read_until(&mut publisher, SOON, |said| contains(said, "NetStream.Publish.Start"));
            assert!(contains(&after, "NetStream.Publish.Start"));
            let mut viewer = Flv::ask(server.at.http, &stream, 1);
            server.answer(server.ticket(), Step::Abstain);
            viewer.until_frame(9);
            assert_eq!(viewer.tags.iter().find_map(number), Some(0), "media sent ahead is there from its first frame");
            std::mem::forget(publisher);
            eventually("counted", || server.metric("millstream_streams", "") == n + 1);
        }
        // A second answer to the same ticket, or one to a ticket that never was, comes to nothing.
        server.answer(1, Step::Allow(Grant::default()));
        server.answer(u64::MAX, denied());
    }
}

#[test]
fn a_denied_publisher_is_told_and_closed() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let tags: Vec<_> = head().into_iter().chain((0..100).map(frame)).collect();
        let mut publisher = connect(server.at.rtmp);
        publisher.write_all(&publish_in_one_write("wait", &tags)).unwrap();
        let ticket = server.ticket();
        let (before, _) = read_for(&mut publisher, A_WHILE);
        assert!(!contains(&before, "NetStream"));
        server.answer(ticket, denied());
        let (after, ended) = read_for(&mut publisher, SOON);
        assert!(ended && contains(&after, "NetStream.Publish.Denied") && contains(&after, "not today"));
        assert!(!contains(&after, "Publish.Start"));
        assert_eq!(server.metric("millstream_refused_total", "forbidden"), 1);
        assert_eq!(server.metric("millstream_streams", ""), 0);
    }
}

#[test]
fn viewers_wait_too() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let mut publisher = Rtmp::connect(server.at.rtmp, "wait", ClientRole::Publish);
        let until = Instant::now() + SOON;
        let ticket = loop {
            assert!(Instant::now() < until);
            publisher.turn();
            if let Ok(ticket) = server.tickets.try_recv() {
                break ticket;
            }
        };
        server.answer(ticket, Step::Allow(Grant::default()));
        publisher.ready();
        publisher.send(head());
        publisher.send((0..20).map(frame));
        for step in [Step::Allow(Grant::default()), denied()] {
            let mut flv = Flv::ask(server.at.http, "wait", 1);
            let ticket = server.ticket();
            let until = Instant::now() + A_WHILE;
            while Instant::now() < until {
                flv.turn();
                assert!(flv.head().is_empty() && !flv.closed);
            }
            server.answer(ticket, step.clone());
            flv.until("an answer", |flv| !flv.head().is_empty());

            let mut rtmp = Rtmp::connect(server.at.rtmp, "wait", ClientRole::Play);
            let until = Instant::now() + SOON;
            let ticket = loop {
                assert!(Instant::now() < until);
                rtmp.turn();
                if let Ok(ticket) = server.tickets.try_recv() {
                    break ticket;
                }
            };
            let until = Instant::now() + A_WHILE;
            while Instant::now() < until {
                rtmp.turn();
                assert!(rtmp.events.is_empty() && rtmp.tags.is_empty() && !rtmp.closed);
            }
            let allowed = step != denied();
            server.answer(ticket, step);
            if allowed {
                assert!(flv.head().starts_with("HTTP/1.1 200 "));
                flv.until_frame(19);
                rtmp.ready();
                rtmp.until_frame(19);
            } else {
                assert!(flv.head().starts_with("HTTP/1.1 403 "));
                assert_eq!(rtmp.refused(), ("NetStream.Play.Failed".to_owned(), "not today".to_owned()));
            }
        }
    }
}

#[test]
fn case_16_an_answer_that_never_comes_ends_in_busy_and_stops_nobody() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let mut other = server.encoder("other");
        other.send([frame(0)]);
        let mut viewer = server.flv("other");
        let mut stuck = Rtmp::connect(server.at.rtmp, "wait", ClientRole::Publish);
        let mut stuck_viewer = Flv::ask(server.at.http, "wait", 1);
        let (began, mut n) = (Instant::now(), 1);
        while stuck.events.is_empty() || stuck_viewer.head().is_empty() {
            assert!(began.elapsed() < SOON);
            other.send([frame(n)]);
            viewer.until_frame(n);
            n += 1;
            stuck.turn();
            stuck_viewer.turn();
        }
        let waited = began.elapsed();
        assert!(waited > Duration::from_millis(4_900) && waited < Duration::from_secs(10), "{waited:?}");
        let (code, description) = stuck.refused();
        assert_eq!(code, "NetStream.Publish.Failed");
        assert!(description.contains("took too long"), "{description}");
        assert!(stuck_viewer.head().starts_with("HTTP/1.1 503 "));
        // The answers come after all.
        while let Ok(ticket) = server.tickets.try_recv() {
            server.answer(ticket, Step::Allow(Grant::default()));
        }
        assert_eq!(server.metric("millstream_parked_sessions", ""), 0);
        assert_eq!(server.metric("millstream_refused_total", "busy"), 2);
        assert_eq!(server.metric("millstream_publishes_total", ""), 1);
    }
}

#[test]
fn a_step_that_panics_ends_one_session() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let mut other = server.encoder("other");
        other.send((0..20).map(frame));
        let mut viewer = server.flv("other");
        let mut publisher = Rtmp::connect(server.at.rtmp, "boom", ClientRole::Publish);
        publisher.until("closed", |publisher| publisher.closed);
        let mut flv = Flv::ask(server.at.http, "boom", 1);
        flv.until("closed", |flv| flv.closed);
        // The step after a pending one runs when the answer comes, and is one session's matter too.
        let mut later = Flv::ask(server.at.http, "wait-boom", 1);
        server.answer(server.ticket(), Step::Abstain);
        later.until("closed", |flv| flv.closed);
        assert_eq!(server.metric("millstream_session_panics_total", ""), 3);
        other.send((20..40).map(frame));
        viewer.until_frame(39);
        server.flv("other").until_frame(39);
        drop(server.publish("another"));
        eventually("no session is left behind", || server.metric("millstream_connections", "") == 2);
    }
}
