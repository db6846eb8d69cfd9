//! Control that is killed, again and again and for a minute: what it acknowledged is there, and who streams does not notice.
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millstream_test_support::random::Random;
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::flv::{Tag, VIDEO};
use millstream_tests::http::Viewer;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, millis, seconds};
use serde_json::json;
use tempfile::TempDir;

use super::fleet::{directory, free_address, knows, node, node_directory};

const WRITERS: usize = 4;

fn control(at: SocketAddr, dir: TempDir) -> Server {
    Options::signed().role("control").arg("--control", &at.to_string()).start_in(dir)
}

/// Moments that differ from run to run; the seed is printed, so that what a failure was like can be seen.
struct Moments(Random);

impl Moments {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64);
        println!("moments of seed {seed}");
        Self(Random::new(seed))
    }

    fn between(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(self.0.within(least_ms, most_ms))
    }
}

/// What was acknowledged of one stream.
#[derive(Debug)]
struct Made {
    id: String,
    /// The name that it was last given by an answered change.
    named: Option<String>,
    /// The name that was sent and not answered, if any: it may be there or not.
    tried: Option<String>,
    /// It was answered that it is removed.
    removed: bool,
}

/// Makes streams until control is gone: of each third the name is changed, and of each seventh it is removed.
fn write(at: SocketAddr, token: &str, numbers: &AtomicU64) -> Vec<Made> {
    let mut client = Client::with(at, token);
    let mut made = Vec::new();
    loop {
        let n = numbers.fetch_add(1, Ordering::Relaxed);
        let id = format!("s-{n}");
        let path = format!("/api/v1/streams/{id}");
        match client.try_request("POST", "/api/v1/streams", "", Some(&json!({ "id": id }))) {
            Ok(answer) => drop(answer.is(201)),
            Err(_) => return made,
        }
        let mut stream = Made { id, named: None, tried: None, removed: false };
        let mut gone = false;
        if n.is_multiple_of(3) {
            let name = format!("name {n}");
            let change = json!({ "settings": { "videoname": name } });
            if let Ok(answer) = client.try_request("PATCH", &path, "If-Match: *\r\n", Some(&change)) {
                answer.is(200);
                stream.named = Some(name);
            } else {
                (stream.tried, gone) = (Some(name), true);
            }
        } else if n.is_multiple_of(7) {
            match client.try_request("DELETE", &path, "If-Match: *\r\n", None) {
                Ok(answer) => drop((answer.is(204), stream.removed = true)),
                // It may have been removed or not: nothing was said of it.
                Err(_) => return made,
            }
        }
        made.push(stream);
        if gone {
            return made;
        }
    }
}

/// Everything that was answered is there.
fn check(client: &mut Client, made: &[Made]) {
    for stream in made {
        let found = client.get(&format!("/api/v1/streams/{}", stream.id));
        if stream.removed {
            assert_eq!(found.status, 404, "{stream:?} is back");
            continue;
        }
        assert_eq!(found.status, 200, "{stream:?} is lost");
        let name = found.json["settings"]["videoname"].as_str().unwrap_or_default().to_owned();
        let expected = [stream.named.clone().unwrap_or_default(), stream.tried.clone().unwrap_or_default()];
        assert!(expected.contains(&name), "{stream:?} is called {name:?}");
    }
}

/// Writes from several clients until the server is killed at that moment; gives its directory and what was acknowledged.
fn killed_while_writing(server: Server, after: Duration, numbers: &AtomicU64) -> (TempDir, Vec<Made>) {
    let (at, token) = (server.control, Client::admin(&server).token().to_owned());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(|| write(at, &token, numbers))).collect();
        std::thread::sleep(after);
        let dir = server.kill();
        let made = writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
        (dir, made)
    })
}

/// Every write that was answered before a kill is there after it, and keys and tokens are good.
#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    let token = client.post("/api/v1/tokens", &json!({ "name": "ci", "role": "operator" })).is(201);
    let writing = std::thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for n in 0.. {
            let id = format!("cam-{n}");
            match client.try_request("POST", "/api/v1/streams", "", Some(&json!({ "id": id }))) {
                Ok(answer) => acknowledged.push(answer.is(201)),
                Err(_) => break,
            }
        }
        acknowledged
    });
    std::thread::sleep(millis(700));
    let dir = server.kill();
    let acknowledged = writing.join().expect("a writer");
    println!("{} streams were acknowledged before the kill", acknowledged.len());
    assert!(acknowledged.len() > 3, "the test made too few to tell");
    let server = Options::signed().start_in(dir);
    let mut client = Client::admin(&server);
    for made in &acknowledged {
        let kept = client.get(&format!("/api/v1/streams/{}", made.text("id"))).is(200);
        assert_eq!((&kept.json, &kept.etag), (&made.json, &made.etag));
    }
    let mut theirs = Client::with(server.control, token.text("token"));
    theirs.get("/api/v1/streams/cam-0/key").is(200);
    let audit = client.get("/api/v1/audit?limit=500").is(200).json;
    let logged = audit["items"].as_array().expect("a list").iter().filter(|e| e["action"] == "stream.create").count();
    assert!(logged >= acknowledged.len().min(499), "{logged} of {} are in the audit log", acknowledged.len());
}

#[test]
fn kill_after_kill_under_load_nothing_that_was_acknowledged_is_lost() {
    let (at, mut moments, numbers) = (free_address(), Moments::new(), AtomicU64::new(0));
    let (mut dir, mut made) = (directory(), Vec::new());
    for round in 0..6 {
        let server = control(at, dir);
        check(&mut Client::admin(&server), &made);
        let (left, more) = killed_while_writing(server, moments.between(20, 500), &numbers);
        println!("round {round}: {} streams were acknowledged", more.len());
        dir = left;
        made.extend(more);
    }
    assert!(made.len() > 20, "only {} writes in all: the test tells nothing", made.len());
    let server = control(at, dir);
    let mut client = Client::admin(&server);
    check(&mut client, &made);
    // The log has an entry of each that is there, because an answer is not given before.
    let (mut logged, mut cursor) = (std::collections::BTreeSet::new(), String::new());
    loop {
        let page = client.get(&format!("/api/v1/audit?limit=500{cursor}")).is(200).json;
        for entry in page["items"].as_array().expect("a list") {
            logged.insert((entry["action"].to_string(), entry["target"].to_string()));
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let missing: Vec<_> =
        made.iter().filter(|s| !logged.contains(&("\"stream.create\"".into(), format!("\"{}\"", s.id)))).collect();
    assert!(missing.is_empty(), "not in the audit log: {missing:?}");
}

/// Frames of a viewer are those that were sent, each of them, in order.
fn every_picture(received: &[Tag], sent: &[(Tag, Instant)]) {
    let pictures = |tag: &&Tag| tag.kind == VIDEO && tag.is_frame();
    let received: Vec<_> = received.iter().filter(pictures).map(|tag| &tag.data).collect();
    let sent: Vec<_> = sent.iter().map(|(tag, _)| tag).filter(pictures).map(|tag| &tag.data).collect();
    assert!(received.len() > 100, "only {} pictures", received.len());
    let begins = (0..sent.len()).filter(|at| sent[*at] == received[0]);
    let longest = begins.map(|at| sent[at..].iter().zip(&received).take_while(|(sent, got)| sent == got).count()).max();
    assert_eq!(longest, Some(received.len()), "a picture is missing or another one");
}

#[test]
#[ignore = "a minute and a half: tests/run --long"]
fn a_minute_without_control() {
    let (at, mut moments, numbers) = (free_address(), Moments::new(), AtomicU64::new(0));
    let first = control(at, directory());
    let mut client = Client::admin(&first);
    let ids: Vec<String> = (0..8).map(|n| format!("cam-{n}")).collect();
    for id in &ids {
        client.post("/api/v1/streams", &json!({ "id": id })).is(201);
    }
    let node = node(at, node_directory(&first));
    knows(&node, "cam-7");
    let push = |id: &str| {
        let sign = node.sign(id, &["--expires", "2035-01-01"]);
        Publisher::start(node.rtmp, "stream", &format!("{id}?sign={sign}")).expect("newly signed").repeat(Clip::small())
    };
    let pushing = push(&ids[0]);
    let mut viewer = Viewer::watch(node.http, &ids[0]);
    viewer.find("keyframe", seconds(10), Tag::is_keyframe);

    let over = AtomicBool::new(false);
    let (dir, made, received) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut received = Vec::new();
            while !over.load(Ordering::Relaxed) {
                received.extend(viewer.tags_for(millis(500)));
            }
            received
        });
        // The kill falls at whatever moment of the writing.
        let (dir, made) = killed_while_writing(first, moments.between(500, 3_000), &numbers);
        let away = Instant::now();
        let mut others = Vec::new();
        for id in ids.iter().skip(1) {
            // Every eight seconds somebody joins, and a stream that was not on air begins.
            Viewer::watch(node.http, &ids[0]).find("keyframe", seconds(10), Tag::is_keyframe);
            others.push(push(id));
            Viewer::watch(node.http, id).find("keyframe", seconds(10), Tag::is_keyframe);
            assert!(Publisher::start(node.rtmp, "stream", &format!("{id}?sign=rubbish")).is_err());
            std::thread::sleep(seconds(8));
        }
        std::thread::sleep(seconds(60).saturating_sub(away.elapsed()));
        assert!(away.elapsed() >= seconds(60) && others.iter().all(millstream_tests::rtmp::Pushing::alive));
        over.store(true, Ordering::Relaxed);
        (dir, made, watching.join().expect("a viewer"))
    });
    println!("{} streams were acknowledged before the kill; the viewer has {} tags", made.len(), received.len());
    assert!(made.len() > 20 && pushing.alive());
    every_picture(&received, &pushing.sent());

    let back = control(at, dir);
    check(&mut Client::admin(&back), &made);
    eventually("the node says so", seconds(20), || node.log.has("control is back").then_some(()));
    let last = made.iter().rev().find(|stream| !stream.removed).expect("a stream");
    knows(&node, &last.id);
    // What happened meanwhile is told: the streams that began are in the history.
    let mut client = Client::admin(&back);
    eventually("the history has them", seconds(20), || {
        let history = client.get(&format!("/api/v1/streams/{}/history", ids[7])).is(200).json;
        history["items"].as_array().is_some_and(|items| !items.is_empty()).then_some(())
    });
}
