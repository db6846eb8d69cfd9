//! What the outside asks of the running engine and does to it: streams that come, change and go; live state; sessions that are ended;
//! what happened.
use std::future::Future;
use std::time::{Duration, Instant};

use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{Update, Whom};
use millstream_control_protocol::live::{Live, ViewerCount};
use millstream_control_protocol::state::{Flush, Outputs, Previous, Stream, Version};
use millstream_engine::admin::feed::Events;
use millstream_engine::directory::Directory;
use millstream_hub::config::FlushPolicy;
use millstream_policy::preset::{Preset, preset};
use millstream_policy::signed::Apps;
use millstream_proto::id::Id;
use millstream_proto::rtmp::ClientRole;
use millstream_proto::sign::{Action, Claim, MasterKey, v2};

use crate::harness::{Answer, BOTH, Flv, Rtmp, SOON, Server, config, eventually, frame};

fn id(name: &str) -> Id {
    Id::new(name).unwrap()
}

fn master() -> MasterKey {
    MasterKey::new([3; 32])
}

/// A server that knows no stream yet.
fn signed(io: millstream_engine::config::IoChoice, shards: usize) -> Server {
    Server::start_with(
        config(io, shards),
        preset(Preset::Signed { master: master(), legacy: Vec::new(), apps: Apps::default() }),
    )
}

/// The stream key that admits a publisher for the next hours.
fn key(name: &str, generation: u64) -> String {
    let (app, id) = (id("stream"), id(name));
    let expiry = now_s() + 7200;
    let claim = Claim { action: Action::Publish, app: &app, id: &id };
    format!("{name}?sign={}", v2::sign(claim, expiry, &master().stream_secret(&id, generation)).expose())
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn stream(name: &str) -> Stream {
    Stream { id: name.to_owned(), ..Stream::default() }
}

/// Waits for an answer of the engine, and not for ever.
pub(crate) fn ask<T>(question: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(SOON, question).await.expect("no answer") })
}

/// Control's side: what a server was told, so that it can be told of a change.
pub(crate) struct Told(Directory);

impl Told {
    pub(crate) fn nothing() -> Self {
        Self(Directory::default())
    }

    pub(crate) fn tell(&mut self, server: &Server, streams: &[Stream], removed: &[&str]) {
        let removed = removed.iter().map(|&id| id.to_owned()).collect();
        let from = Some(Version::default());
        let updated = self.0.updated(&Update { from, streams: streams.to_vec(), removed, ..Update::default() });
        assert_eq!(updated.warnings, Vec::<String>::new());
        ask(server.engine().remote().apply(&updated.directory, &updated.changed)).unwrap();
        self.0 = updated.directory;
    }
}

fn refused(server: &Server, key: &str) -> String {
    Rtmp::connect(server.at.rtmp, key, ClientRole::Publish).refused().1
}

fn look(server: &Server, name: &str) -> Option<Live> {
    ask(server.engine().remote().look(&id(name))).unwrap()
}

#[test]
fn a_stream_that_was_just_made_is_admitted_and_one_that_is_gone_is_not() {
    for io in BOTH {
        let server = signed(io, 2);
        let mut told = Told::nothing();
        for n in 0..8 {
            let name = format!("cam-{n}");
            assert!(refused(&server, &key(&name, 1)).contains("there is no stream"), "nobody has made it");
            told.tell(&server, &[stream(&name)], &[]);
            // At once, whichever shard the connection comes to.
            let mut publisher = server.encoder(&key(&name, 1));
            publisher.send((0..20).map(frame));
            let mut viewer = server.flv(&name);
            told.tell(&server, &[], &[&name]);
            assert!(refused(&server, &key(&name, 1)).contains("there is no stream"));
            assert_eq!(Answer::get(server.at.http, &format!("/{name}/live.flv")).status(), 404);
            // Who was on air is, and who watched does.
            publisher.send_live(20..60);
            viewer.until_frame(59);
        }
    }
}

#[test]
fn a_rotated_key_admits_until_its_grace_is_over() {
    let server = signed(BOTH[0], 2);
    let mut told = Told::nothing();
    told.tell(&server, &[stream("cam")], &[]);
    server.publish(&key("cam", 1)).finish();
    let rotated = |until_unix_s| Stream {
        generation: 2,
        previous: vec![Previous { generation: 1, until_unix_s }],
        ..stream("cam")
    };
    told.tell(&server, &[rotated(now_s() + 3600)], &[]);
    server.publish(&key("cam", 1)).finish();
    server.publish(&key("cam", 2)).finish();
    told.tell(&server, &[rotated(now_s())], &[]);
    let why = refused(&server, &key("cam", 1));
    assert!(why.contains("the signature is wrong"), "{why}");
    server.publish(&key("cam", 2)).finish();
}

#[test]
fn an_output_that_is_off_is_not_found() {
    for io in BOTH {
        let server = signed(io, 2);
        let mut told = Told::nothing();
        let with = |flv, hls, cmaf| Stream { outputs: Outputs { flv, hls, cmaf }, ..stream("cam") };
        let all = [
            ("flv", ["live.flv"].as_slice()),
            ("hls", &["live.m3u8", "index.m3u8", "video.m3u8"]),
            ("cmaf", &["manifest.mpd"]),
        ];
        let hidden = |hidden: &[&str]| {
            for (output, names) in all.iter().filter(|(output, _)| hidden.contains(output)) {
                for name in *names {
                    let answer = Answer::get(server.at.http, &format!("/cam/{name}"));
                    assert_eq!(answer.status(), 404, "{name} of {output}: {}", answer.text());
                    assert!(answer.text().contains("no-store"));
                }
            }
            // Pages ask this, and say which outputs are off.
            let told = Answer::get(server.at.http, "/cam/live.json").text();
            for output in ["flv", "hls", "dash"] {
                let off = hidden.contains(&if output == "dash" { "cmaf" } else { output });
                assert!(told.contains(&format!("\"{output}\":{}", !off)), "{output}: {told}");
            }
            assert_eq!(Answer::get(server.at.http, "/cam/flv.html").status(), 200);
        };
        told.tell(&server, &[with(true, true, true)], &[]);
        let mut publisher = server.encoder(&key("cam", 1));
        publisher.send((0..20).map(frame));
        let mut viewer = server.flv("cam");
        told.tell(&server, &[with(false, false, false)], &[]);
        hidden(&["flv", "hls", "cmaf"]);
        server.play("cam").until_frame(19);
        publisher.send_live(20..40);
        viewer.until_frame(39);
        told.tell(&server, &[with(true, false, false)], &[]);
        server.flv("cam").until_frame(39);
        hidden(&["hls", "cmaf"]);
        told.tell(&server, &[with(false, true, false)], &[]);
        hidden(&["flv", "cmaf"]);
    }
}

/// Sends frames one by one, each taken in before the next; gives the number of flushes and the time that it took.
fn flushes(server: &Server, publisher: &mut Rtmp, frames: std::ops::Range<u32>) -> (u64, Duration) {
    let taken =
        || server.metric("millstream_video_frames_total", "") + server.metric("millstream_audio_frames_total", "");
    let (before, began) = (server.metric("millstream_flush_bytes_count", ""), Instant::now());
    for n in frames {
        publisher.send([frame(n)]);
        eventually("taken", || taken() == u64::from(n) + 1);
    }
    let lasted = began.elapsed();
    (server.metric("millstream_flush_bytes_count", "") - before, lasted)
}

#[test]
fn a_flush_policy_changes_while_the_stream_runs() {
    let server = signed(BOTH[0], 1);
    let mut told = Told::nothing();
    let with = |flush| Stream { flush, ..stream("cam") };
    told.tell(&server, &[with(Some(Flush::Low))], &[]);
    let mut publisher = server.encoder(&key("cam", 1));
    let (low, _) = flushes(&server, &mut publisher, 0..40);
    assert!(low >= 40, "each frame at once: {low}");
    told.tell(&server, &[with(Some(Flush::Dense))], &[]);
    let (dense, lasted) = flushes(&server, &mut publisher, 40..80);
    // Keyframes begin a block of their own; one flush may have been under way.
    let most = lasted.as_millis() as u64 / 100 + 5;
    assert!(dense <= most, "every 100 ms: {dense} in {lasted:?}");
    told.tell(&server, &[with(Some(Flush::Low))], &[]);
    let (low, _) = flushes(&server, &mut publisher, 80..120);
    assert!(low >= 40, "{low}");
    // Without a policy of its own it has the configuration's.
    assert_eq!(config(BOTH[0], 1).stream.flush, FlushPolicy::Balanced);
    told.tell(&server, &[with(None)], &[]);
    let (balanced, lasted) = flushes(&server, &mut publisher, 120..160);
    assert!(balanced <= lasted.as_millis() as u64 / 25 + 6, "{balanced} in {lasted:?}");
}

#[test]
fn live_state_of_a_stream_wherever_its_viewers_are() {
    for io in BOTH {
        // What is left of a stream is held this long for its publisher to come back.
        let mut config = config(io, 2);
        config.stream.publisher_wait = std::time::Duration::from_hours(1);
        let server = Server::start(config);
        // Having asked in vain is not being on air.
        for _ in 0..8 {
            Answer::get(server.at.http, "/cam/live.flv");
            assert_eq!(look(&server, "cam"), None);
        }
        assert_eq!(ask(server.engine().remote().on_air()).unwrap(), []);
        let mut publisher = server.encoder("cam");
        publisher.send_live(0..100);
        let mut viewers: Vec<Flv> = (0..6).map(|_| server.flv("cam")).collect();
        let mut player = server.play("cam");
        for viewer in &mut viewers {
            viewer.until_frame(99);
        }
        player.until_frame(99);
        let live = look(&server, "cam").unwrap();
        let count = |protocol: &str, count| ViewerCount { protocol: protocol.to_owned(), count, estimated: false };
        assert_eq!(live.viewers, [count("http-flv", 6), count("rtmp", 1)]);
        let on_air = live.publisher.unwrap();
        let (video, audio) = (on_air.video.unwrap(), on_air.audio.unwrap());
        assert_eq!(
            (on_air.protocol.as_str(), on_air.peer),
            ("rtmp", publisher.socket.local_addr().unwrap().to_string())
        );
        assert_eq!((video.codec.as_str(), video.frames, audio.frames), ("avc1.64001f", 50, 50));
        assert_eq!((audio.codec.as_str(), audio.rate_hz, audio.channels), ("mp4a.40.2", Some(44_100), Some(2)));
        assert_eq!(video.keyframe_interval_ms, Some(400));
        assert!(on_air.bitrate_bps > 0 && video.fps > 0.0 && on_air.received_bytes > 100_000, "{video:?}");
        assert!(on_air.since_unix_ms.abs_diff(now_s() * 1000) < 60_000);

        // Pages of viewers, of both shards, in the order of their numbers.
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = ask(server.engine().remote().viewers(&id("cam"), after, 3)).unwrap();
            assert!(page.viewers.len() <= 3);
            all.extend(page.viewers);
            match page.next_after {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(all.len(), 7);
        assert!(all.is_sorted_by(|a, b| a.session < b.session));
        assert!(all.iter().all(|viewer| viewer.sent_bytes > 20_000 && viewer.skips == 0), "{all:?}");
        drop((viewers, player));
        eventually("viewers are gone", || look(&server, "cam").is_some_and(|live| live.viewers.is_empty()));
        publisher.finish();
        eventually("it is off air", || look(&server, "cam").is_none());
    }
}

#[test]
fn all_streams_of_all_shards_are_told_in_turns() {
    let mut config = config(BOTH[0], 2);
    config.limits.connections = 2000;
    let server = Server::start(config);
    let publishers: Vec<Rtmp> = (0..300).map(|n| server.publish(&format!("cam-{n}"))).collect();
    let all = ask(server.engine().remote().on_air()).unwrap();
    let mut expected: Vec<_> = (0..300).map(|n| format!("cam-{n}")).collect();
    expected.sort();
    assert_eq!(all.iter().map(|live| live.id.clone()).collect::<Vec<_>>(), expected);
    assert!(all.iter().all(|live| live.publisher.is_some()));
    assert_eq!(server.engine().remote().counts().publishers, 300);
    drop(publishers);
}

#[test]
fn a_publisher_that_is_kicked_is_told_and_its_viewers_wait() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let remote = server.engine().remote();
        let mut publisher = server.encoder("cam");
        publisher.send_live(0..40);
        let mut viewer = server.flv("cam");
        viewer.until_frame(39);
        assert_eq!(ask(remote.kick_stream(&id("none"), Whom::All)), Ok(0));
        assert_eq!(ask(remote.kick_stream(&id("cam"), Whom::Publisher)), Ok(1));
        publisher.until("the end", |rtmp| rtmp.closed);
        let told = format!("{:?}", publisher.events);
        assert!(told.contains("the operator has ended this session"), "{told}");
        let mut next = server.encoder("cam");
        next.send_live(40..60);
        viewer.until_frame(59);
        let session = look(&server, "cam").unwrap().publisher.unwrap().session;
        assert_eq!(ask(remote.kick_session(session)), Ok(true));
        next.until("the end", |rtmp| rtmp.closed);
        eventually("the number is nobody's any more", || ask(remote.kick_session(session)) == Ok(false));
        eventually("counted", || server.metric("millstream_closed_total", "reason=\"kicked\"") == 2);
    }
}

#[test]
fn viewers_that_are_kicked_are_gone_and_the_publisher_stays() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let remote = server.engine().remote();
        let mut publisher = server.encoder("cam");
        publisher.send_live(0..40);
        let mut viewers: Vec<Flv> = (0..4).map(|_| server.flv("cam")).collect();
        let mut player = server.play("cam");
        for viewer in &mut viewers {
            viewer.until_frame(39);
        }
        player.until_frame(39);
        let first = ask(remote.viewers(&id("cam"), 0, 1)).unwrap().viewers[0].session;
        assert_eq!(ask(remote.kick_session(first)), Ok(true));
        eventually("one less", || look(&server, "cam").unwrap().viewers.iter().map(|v| v.count).sum::<u64>() == 4);
        assert_eq!(ask(remote.kick_stream(&id("cam"), Whom::Viewers)), Ok(4));
        for viewer in &mut viewers {
            viewer.until("the end", |viewer| viewer.closed);
        }
        player.until("the end", |player| player.closed);
        publisher.send_live(40..60);
        assert!(!publisher.closed);
        server.flv("cam").until_frame(59);
    }
}

/// The next event, without what differs from run to run.
fn next(events: &mut Events) -> (String, What) {
    let Event { stream, what, .. } = ask(events.next()).unwrap();
    let what = match what {
        What::Unpublish { why, received_bytes, .. } => {
            What::Unpublish { why, lasted_ms: 0, received_bytes: received_bytes.min(1), viewers: Vec::new() }
        }
        What::Publish { encoder, .. } => {
            What::Publish { encoder: encoder.chars().take(4).collect(), replaced_heard_ago_ms: None }
        }
        other => other,
    };
    (stream, what)
}

#[test]
fn what_happens_is_told_in_order() {
    for io in BOTH {
        let server = signed(io, 2);
        let mut told = Told::nothing();
        told.tell(&server, &[stream("cam")], &[]);
        let mut events = server.engine().remote().events().unwrap();
        assert!(server.engine().remote().events().is_none(), "there is one listener");
        let publisher = server.publish(&key("cam", 1));
        let peer = publisher.socket.local_addr().unwrap().to_string();
        let event = ask(events.next()).unwrap();
        assert_eq!((event.seq, event.stream.as_str(), event.protocol.as_str(), &event.peer), (1, "cam", "rtmp", &peer));
        assert!(matches!(event.what, What::Publish { .. }) && event.at_unix_ms.abs_diff(now_s() * 1000) < 60_000);
        let session = look(&server, "cam").unwrap().publisher.unwrap().session;
        assert_eq!(event.session, session);
        publisher.finish();
        let event = ask(events.next()).unwrap();
        assert!(matches!(event.what, What::Unpublish { received_bytes: 1.., .. }), "{event:?}");
        assert_eq!((event.seq, event.session), (2, session));
        refused(&server, &key("cam", 9));
        let (on, what) = next(&mut events);
        let What::Refused { action, why, reason, count: 1 } = what else { panic!("{what:?}") };
        assert_eq!((on.as_str(), action.as_str(), why.as_str()), ("cam", "publish", "unauthenticated"));
        assert!(reason.contains("the signature is wrong") && !reason.contains("v2-"), "{reason}");
        Answer::get(server.at.http, "/other/live.flv");
        let (on, what) = next(&mut events);
        assert!(matches!(what, What::Refused { action, why, .. } if action == "play" && why == "not_found"));
        assert_eq!(on, "other");
        assert_eq!(events.try_next(), None);
    }
}

/// How many refusals an event stands for.
fn count(what: &What) -> u64 {
    if let What::Refused { count, .. } = what { *count } else { 0 }
}

/// Every way of not being let in is told with its reason, also where admission had nothing against it.
#[test]
fn refusals_behind_the_door_are_told_too() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let mut events = server.engine().remote().events().unwrap();
        let mut told = |action: &str, why: &str, stream: &str, protocol: &str| {
            let event = ask(events.next()).unwrap();
            let What::Refused { action: found, why: reason, count: 1, .. } = &event.what else { panic!("{event:?}") };
            let found = (found.as_str(), reason.as_str(), event.stream.as_str(), event.protocol.as_str());
            assert_eq!(found, (action, why, stream, protocol));
            assert!(event.session > 0 && event.peer.starts_with("127.0.0.1:"), "{event:?}");
        };
        Answer::get(server.at.http, "/cam/live.flv");
        told("play", "not_on_air", "cam", "http-flv");
        Answer::get(server.at.http, "/a%20b/live.flv");
        told("play", "bad_name", "", "http");
        Rtmp::connect(server.at.rtmp, "a b", ClientRole::Publish).refused();
        // The same address and reason within a second, and so told with the next look of the shard.
        let event = ask(events.next()).unwrap();
        assert!(matches!(&event.what, What::Refused { why, .. } if why == "bad_name"), "{event:?}");
    }
}

/// A flood of refusals is a line a second, and none of them is forgotten.
#[test]
fn a_flood_of_refusals_is_told_in_few_events() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let mut events = server.engine().remote().events().unwrap();
        let begun = std::time::Instant::now();
        for _ in 0..500 {
            Answer::get(server.at.http, "/cam/live.flv");
        }
        let (mut refusals, mut told) = (0, 0);
        while refusals < 500 {
            refusals += count(&next(&mut events).1);
            told += 1;
        }
        let most = begun.elapsed().as_secs() + 2;
        assert!(refusals == 500 && told <= most, "{refusals} in {told} events, and not {most} at most");
    }
}

/// What is held back for a second is told when the engine ends sooner.
#[test]
fn refusals_that_wait_to_be_told_are_told_at_the_end() {
    for io in BOTH {
        let server = Server::start(config(io, 1));
        let mut events = server.engine().remote().events().unwrap();
        let begun = std::time::Instant::now();
        for _ in 0..3 {
            Answer::get(server.at.http, "/cam/live.flv");
        }
        server.engine().remote().shutdown();
        server.wait();
        let told: Vec<u64> = std::iter::from_fn(|| events.try_next()).map(|event| count(&event.what)).collect();
        // A machine that took a second over this has told of the two by itself.
        assert!(told == [1, 2] || begun.elapsed() > std::time::Duration::from_secs(1), "{told:?}");
        assert_eq!(told.iter().sum::<u64>(), 3);
    }
}

/// Whoever acts on publish events (webhooks, relays, recorders) hears of publishers that have the stream's place, and of no others.
#[test]
fn case_15_a_duplicate_publish_that_is_refused_fires_no_publish_event() {
    for io in BOTH {
        let server = Server::start(config(io, 2));
        let mut events = server.engine().remote().events().unwrap();
        let publisher = server.encoder("cam");
        let on_air = publisher.go_on(0);
        for _ in 0..5 {
            let (code, _) = Rtmp::connect(server.at.rtmp, "cam", ClientRole::Publish).refused();
            assert_eq!(code, "NetStream.Publish.BadName");
        }
        drop(on_air);
        let mut heard = Vec::new();
        let refusals = |heard: &[(String, What)]| heard.iter().map(|(_, what)| count(what)).sum::<u64>();
        while refusals(&heard) < 5 || !heard.iter().any(|(_, what)| matches!(what, What::Unpublish { .. })) {
            heard.push(next(&mut events));
        }
        let of = |kind: &str| heard.iter().filter(|(_, what)| what.kind() == kind).count();
        assert_eq!((of("publish"), refusals(&heard), of("unpublish")), (1, 5, 1), "{heard:?}");
        assert!(heard.iter().all(|(_, what)| !matches!(what, What::Refused { why, .. } if why != "taken")));
    }
}

#[test]
fn an_engine_that_has_ended_leaves_questions_unanswered_at_once() {
    let server = Server::start(config(BOTH[0], 2));
    let remote = server.engine().remote();
    remote.shutdown();
    assert!(remote.is_draining());
    server.wait();
    let unanswered = ask(remote.look(&id("cam"))).unwrap_err();
    assert_eq!(unanswered.to_string(), "2 of 2 shards did not answer: they are busy or have ended");
}
