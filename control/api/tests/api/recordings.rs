//! Recordings that are begun and ended by hand, and removed: by a caller, and because they are old. Nodes are played here.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{Answer, NodeId, Order, Outcome, Poll, Report, Status};
use millstream_control_protocol::live::{Live, Publisher};
use millstream_control_protocol::task::{Held, Progress, Task, TaskNews, Work};
use millstream_store::Store;
use millstream_store::memory::MemoryStore;
use serde_json::{Value, json};

use crate::harness::{NOW_MS, Options, Server};

/// What a played node does, and what it was told.
#[derive(Default)]
struct Played {
    tasks: BTreeMap<String, Task>,
    /// How far it is with them.
    news: BTreeMap<String, TaskNews>,
    store: String,
    /// Where it is reached.
    http_url: String,
    on_air: Vec<String>,
    held: Held,
    is_gone: bool,
    events: Vec<Event>,
}

impl Played {
    fn status(&self) -> Status {
        let (record_store, http_url) = (self.store.clone(), self.http_url.clone());
        Status { release: "1".into(), record_store, http_url, ..Status::default() }
    }
}

#[derive(Clone)]
struct Node {
    name: String,
    played: Arc<Mutex<Played>>,
}

const STORE: &str = "s3://recordings/live";

impl Node {
    /// A node that keeps recordings there, and has these streams on air.
    fn join(server: &Server, name: &str, store: &str, streams: &[&str]) -> Self {
        let streams = streams.iter().map(|&id| id.to_owned()).collect();
        let (store, http_url) = (store.to_owned(), format!("http://{name}:8080"));
        let played = Played { store, http_url, on_air: streams, held: Held::Nothing, ..Played::default() };
        let node = Self { name: name.to_owned(), played: Arc::new(Mutex::new(played)) };
        let (fleet, id, played) =
            (server.fleet.clone(), NodeId { name: name.to_owned(), run: 5 }, Arc::clone(&node.played));
        server.spawn(async move {
            let mut have = None;
            loop {
                if played.lock().unwrap().is_gone {
                    return;
                }
                let poll = Poll { node: id.clone(), have, wait_ms: 20, ..Poll::default() };
                let push = fleet.poll(&poll).await.unwrap();
                let report = {
                    let mut played = played.lock().unwrap();
                    if let Some(update) = push.update {
                        have = Some(update.version);
                        if update.from.is_none() {
                            played.tasks.clear();
                        }
                        update.settled.iter().for_each(|id| drop(played.tasks.remove(id)));
                        played.tasks.extend(update.tasks.into_iter().map(|task| (task.id.clone(), task)));
                    }
                    let answer = |what: &Order| match what {
                        Order::Look { stream } if played.on_air.contains(stream) => {
                            Answer::Live { live: Some(Box::new(on_air(stream))) }
                        }
                        Order::Look { .. } => Answer::Live { live: None },
                        Order::LookAtRecording { .. } => Answer::Recording { held: played.held },
                        _ => Answer::NotUnderstood,
                    };
                    let outcomes = push
                        .commands
                        .iter()
                        .map(|command| Outcome { number: command.number, answer: answer(&command.what) });
                    let outcomes = outcomes.collect();
                    let tasks = played.tasks.keys().filter_map(|id| played.news.get(id).cloned()).collect();
                    Report {
                        node: id.clone(),
                        status: played.status(),
                        live: Some(played.on_air.iter().map(|id| on_air(id)).collect()),
                        events: std::mem::take(&mut played.events),
                        outcomes,
                        tasks,
                        ..Report::default()
                    }
                };
                fleet.report(report).await.unwrap();
            }
        });
        node.eventually("it is known", |_| {
            server.fleet.nodes().iter().any(|view| view.id.name == name && !view.status.release.is_empty())
        });
        node
    }

    #[track_caller]
    fn eventually(&self, what: &str, holds: impl Fn(&Played) -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !holds(&self.played.lock().unwrap()) {
            assert!(Instant::now() < until, "never: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn with(&self, change: impl FnOnce(&mut Played)) {
        change(&mut self.played.lock().unwrap());
    }

    fn tell(&self, server: &Server, seq: u64, what: What) {
        self.tell_at(server, seq, NOW_MS + seq, what);
    }

    fn tell_at(&self, server: &Server, seq: u64, at_unix_ms: u64, what: What) {
        let event = Event { seq, at_unix_ms, stream: "cam".into(), what, ..Event::default() };
        let node = NodeId { name: self.name.clone(), run: 5 };
        let status = self.played.lock().unwrap().status();
        let report = Report { node, status, events: vec![event], ..Report::default() };
        server.run(server.fleet.report(report)).unwrap();
    }

    /// It says so of the task with this id.
    fn says(&self, id: &str, progress: Progress, why: &str) {
        let news = TaskNews { id: id.to_owned(), progress, why: why.to_owned(), ..TaskNews::default() };
        self.with(|played| drop(played.news.insert(id.to_owned(), news)));
    }

    fn works_on(&self, id: &str) -> bool {
        let played = self.played.lock().unwrap();
        played.tasks.get(id).is_some_and(|task| task.node == self.name)
    }
}

fn on_air(id: &str) -> Live {
    Live { id: id.to_owned(), publisher: Some(Publisher { session: 42, ..Publisher::default() }), ..Live::default() }
}

fn by_hand(node: &Node, stream: &str) -> Option<(bool, u64)> {
    let played = node.played.lock().unwrap();
    match played.tasks.get(&Task::by_hand_id(stream))?.what {
        Work::ByHand { wanted, number } => Some((wanted, number)),
        _ => None,
    }
}

fn name(n: u64) -> String {
    format!("{}-a1b2", NOW_MS + n)
}

/// Looks after recordings until it holds.
#[track_caller]
fn looked(server: &Server, what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        server.look_after_recordings();
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn delete(server: &Server, path: &str) -> crate::harness::Response {
    server.request("DELETE", path).send()
}

fn items(server: &Server) -> Vec<Value> {
    server.get("/api/v1/recordings").is(200).json()["items"].as_array().unwrap().clone()
}

fn recorded(server: &Server, node: &Node, n: u64) {
    let store = node.played.lock().unwrap().store.clone();
    node.tell(server, n * 2 - 1, What::RecordingStarted { recording: name(n), store });
    node.tell(server, n * 2, What::RecordingStored { recording: name(n), duration_ms: 1_000, bytes: 9 });
}

#[test]
fn a_stream_on_air_is_recorded_by_hand_and_no_longer_and_only_while_it_is_on_air() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let with = || Options { store: Arc::clone(&store), ..Options::default() };
    let server = Server::with(with());
    server.post("/api/v1/streams/cam/recording", &json!({})).refused(404, "no stream cam");
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    server.post("/api/v1/streams/cam/recording", &json!({})).refused(409, "not on air");
    delete(&server, "/api/v1/streams/cam/recording").refused(409, "not on air");
    server.post("/api/v1/streams/a%20b/recording", &json!({})).is(400);
    let node = Node::join(&server, "one", "", &["cam", "open"]);
    server
        .post("/api/v1/streams/cam/recording", &json!({}))
        .refused(409, "node one, which stream cam is on, has no recorder");
    node.with(|played| played.store = STORE.to_owned());
    node.eventually("it has one", |_| server.fleet.nodes().iter().any(|view| view.status.record_store == STORE));

    let begun = server.post("/api/v1/streams/cam/recording", &json!({}));
    assert_eq!((begun.is(200).json()["recorded"].clone(), begun.text("node")), (json!(true), "one"));
    let (_, first) = by_hand(&node, "cam").expect("the node had it when the caller had the answer");
    // Asking again changes nothing; a stream without a record is one that is on air all the same.
    server.post("/api/v1/streams/cam/recording", &json!({})).is(200);
    assert_eq!(by_hand(&node, "cam"), Some((true, first)));
    server.post("/api/v1/streams/open/recording", &json!({})).is(200);
    let ended = delete(&server, "/api/v1/streams/cam/recording");
    assert_eq!(ended.is(200).json()["recorded"], json!(false));
    let (wanted, second) = by_hand(&node, "cam").expect("told");
    assert!(!wanted && second > first);
    let viewer = server.token("viewer");
    let refused =
        server.plain("POST", "/api/v1/streams/cam/recording").header("Authorization", &format!("Bearer {viewer}"));
    refused.json(&json!({})).send().refused(403, "");
    let actions: Vec<String> = server.audit().into_iter().map(|(_, action, _)| action).collect();
    assert!(
        actions.contains(&"recording.start".to_owned()) && actions.contains(&"recording.stop".to_owned()),
        "{actions:?}"
    );

    // Control starts anew: the wish is there, and goes with the session.
    node.with(|played| played.is_gone = true);
    server.end();
    let server = Server::with(with());
    let node = Node::join(&server, "one", STORE, &["cam"]);
    node.eventually("it is told again", |played| played.tasks.contains_key(&Task::by_hand_id("cam")));
    assert_eq!(by_hand(&node, "cam"), Some((false, second)));
    node.with(|played| played.on_air.clear());
    looked(&server, "the session is over, and the wish with it", || by_hand(&node, "cam").is_none());
}

#[test]
fn a_recording_is_removed_by_its_node_and_then_forgotten_whatever_restarts() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let with = || Options { store: Arc::clone(&store), ..Options::default() };
    let server = Server::with(with());
    let node = Node::join(&server, "one", "file:/var/rec", &[]);
    node.tell(&server, 1, What::RecordingStarted { recording: name(1), store: "file:/var/rec".into() });
    let path = format!("/api/v1/recordings/{}", name(1));
    assert_eq!(server.get(&path).is(200).text("store"), "file:/var/rec");
    node.with(|played| played.held = Held::Running);
    delete(&server, &path).refused(409, "/api/v1/streams/cam/recording");
    // What lacks something may go on all the same.
    node.tell(&server, 2, What::RecordingFailed { recording: name(1), why: "a segment is lost".into() });
    assert_eq!(server.get(&path).is(200).text("state"), "failed");
    delete(&server, &path).refused(409, "/api/v1/streams/cam/recording");
    let viewer = server.token("viewer");
    server.plain("DELETE", &path).header("Authorization", &format!("Bearer {viewer}")).send().refused(403, "");
    delete(&server, "/api/v1/recordings/1-never").refused(404, "no recording");
    // It has ended, and not all of it is stored.
    node.with(|played| played.held = Held::Storing);
    assert_eq!(delete(&server, &path).is(202).text("state"), "deleting");
    assert_eq!(delete(&server, &path).is(202).text("state"), "deleting", "asking again changes nothing");
    assert_eq!(items(&server)[0]["state"], "deleting");
    assert_eq!(server.audit().iter().filter(|(_, action, _)| action == "recording.delete").count(), 1);
    let id = format!("delete/{}", name(1));
    looked(&server, "the node is told", || node.works_on(&id));
    node.says(&id, Progress::Waits, "the disk fails");
    looked(&server, "why it is still there is shown", || items(&server)[0]["why"] == "the disk fails");
    // It was recorded to its end meanwhile, which changes nothing.
    node.tell(&server, 3, What::RecordingStored { recording: name(1), duration_ms: 1, bytes: 1 });
    assert_eq!(items(&server)[0]["state"], "deleting");

    // Control starts anew in between.
    node.with(|played| played.is_gone = true);
    server.end();
    let server = Server::with(with());
    let node = Node::join(&server, "one", "file:/var/rec", &[]);
    looked(&server, "the node is told again", || node.works_on(&id));
    // Another node's word does not count.
    let other = Node::join(&server, "two", "file:/var/rec", &[]);
    other.says(&id, Progress::Done, "");
    other.with(|played| drop(played.tasks.insert(id.clone(), Task { id: id.clone(), ..Task::default() })));
    std::thread::sleep(Duration::from_millis(100));
    server.look_after_recordings();
    assert_eq!(items(&server).len(), 1, "a node that was not asked cannot say that it is done");
    let mut heard = server.fleet.events();
    node.says(&id, Progress::Done, "");
    looked(&server, "it is forgotten", || items(&server).is_empty());
    let told = std::iter::from_fn(|| heard.try_recv().ok())
        .filter(|told| told.event.what == What::RecordingDeleted { recording: name(1) });
    assert_eq!(told.count(), 1);
    server.get(&path).refused(404, "no recording");
    delete(&server, &path).refused(404, "no recording");
    node.eventually("it has nothing more to do", |played| played.tasks.is_empty());
    // Events of it that come late are of nothing.
    node.tell(&server, 9, What::RecordingStored { recording: name(1), duration_ms: 1, bytes: 1 });
    assert!(items(&server).is_empty());
}

#[test]
fn where_a_node_has_gone_another_one_with_the_same_bucket_removes_what_it_stored() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let with = || Options { store: Arc::clone(&store), ..Options::default() };
    let server = Server::with(with());
    let one = Node::join(&server, "one", STORE, &[]);
    recorded(&server, &one, 1);
    one.with(|played| played.store = "file:/x".to_owned());
    one.eventually("it has another store", |_| {
        server.fleet.nodes().iter().any(|view| view.status.record_store == "file:/x")
    });
    delete(&server, &format!("/api/v1/recordings/{}", name(1))).is(202);
    looked(&server, "it is said why it is still there", || {
        items(&server)[0]["why"].as_str().unwrap().contains("node one keeps recordings at file:/x now")
    });
    let other = Node::join(&server, "other", "s3://another", &[]);
    let two = Node::join(&server, "two", STORE, &[]);
    let id = format!("delete/{}", name(1));
    looked(&server, "who has the bucket is told", || two.works_on(&id));
    assert!(!one.works_on(&id) && !other.works_on(&id));
    two.says(&id, Progress::Done, "");
    looked(&server, "it is forgotten", || items(&server).is_empty());
}

#[test]
fn recordings_go_so_many_days_after_their_end_also_those_of_a_stream_that_was_removed() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let server = Server::start();
    let node = Node::join(&server, "one", STORE, &[]);
    server.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "retention_days": 2 } })).is(201);
    let stream = server.get("/api/v1/streams/cam");
    assert_eq!(stream.is(200).json()["not_in_force"], json!([]));
    recorded(&server, &node, 1);
    // One that runs is never old.
    node.tell(&server, 3, What::RecordingStarted { recording: name(2), store: STORE.into() });
    server.purge();
    let states =
        || -> Vec<String> { items(&server).iter().map(|item| item["state"].as_str().unwrap().to_owned()).collect() };
    assert_eq!(states(), ["recording", "stored"]);
    server.pass(DAY_MS);
    server.purge();
    assert_eq!(states(), ["recording", "stored"]);
    node.tell_at(
        &server,
        5,
        NOW_MS + DAY_MS,
        What::RecordingStored { recording: name(2), duration_ms: DAY_MS, bytes: 1 },
    );
    server.pass(DAY_MS + 2_000);
    server.purge();
    assert_eq!(states(), ["stored", "deleting"], "the older one is two days past its end");
    // For ever, from here on.
    let kept = json!({ "settings": { "retention_days": 0 } });
    server.request("PATCH", "/api/v1/streams/cam").header("If-Match", "*").json(&kept).send().is(200);
    server.pass(2 * DAY_MS);
    server.purge();
    assert_eq!(states(), ["stored", "deleting"]);
    let again = json!({ "settings": { "retention_days": 3 } });
    server.request("PATCH", "/api/v1/streams/cam").header("If-Match", "*").json(&again).send().is(200);
    server.request("DELETE", "/api/v1/streams/cam").header("If-Match", "*").send().is(204);
    server.pass(DAY_MS);
    server.purge();
    assert_eq!(states(), ["deleting", "deleting"], "as the stream said last");
}

#[test]
fn a_clip_is_made_by_a_node_told_and_removed_with_its_recording() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let with = || Options { store: Arc::clone(&store), ..Options::default() };
    let server = Server::with(with());
    let node = Node::join(&server, "one", STORE, &[]);
    recorded(&server, &node, 1);
    let path = format!("/api/v1/recordings/{}/clips", name(1));
    server.post(&path, &json!({ "from": 500, "to": 500 })).refused(400, "to");
    server.post(&path, &json!({ "from": 1_000, "to": 2_000 })).refused(400, "1000 ms long");
    server.post(&path, &json!({ "from": 0, "to": 10, "format": "gif" })).refused(400, "give mp4");
    server.post("/api/v1/recordings/1-never/clips", &json!({ "from": 0, "to": 10 })).refused(404, "no recording");
    let viewer = server.token("viewer");
    let asked = server.plain("POST", &path).header("Authorization", &format!("Bearer {viewer}"));
    asked.json(&json!({ "from": 0, "to": 10 })).send().refused(403, "");
    let body = json!({ "from": 200, "to": 800, "format": "mp4" });
    let once = || server.request("POST", &path).header("Idempotency-Key", "a-key").json(&body).send();
    let made = once();
    assert_eq!((made.is(202).text("state"), made.json()["path"].clone()), ("queued", json!(null)));
    let clip = made.text("clip").to_owned();
    assert_eq!(once().is(202).text("clip"), clip, "asked again with the same key, it is the same one");
    let other = server.post(&path, &json!({ "from": 0, "to": 9_000 })).is(202).text("clip").to_owned();
    let look = |server: &Server, clip: &str| server.get(&format!("{path}/{clip}")).is(200).json().clone();

    let id = |clip: &str| format!("clip/{}/{clip}", name(1));
    looked(&server, "the node is told", || node.works_on(&id(&clip)) && node.works_on(&id(&other)));
    let told = node.played.lock().unwrap().tasks[&id(&clip)].what.clone();
    let expected = Work::Clip { recording: name(1), clip: clip.clone(), from_ms: 200, to_ms: 800 };
    assert_eq!(told, expected);
    node.says(&id(&clip), Progress::Running, "");
    looked(&server, "it is made", || look(&server, &clip)["state"] == "running");
    node.says(&id(&clip), Progress::Waits, "the disk is full");
    looked(&server, "it waits", || look(&server, &clip)["why"] == "the disk is full");

    // Control starts anew in between.
    node.with(|played| played.is_gone = true);
    server.end();
    let server = Server::with(with());
    let node = Node::join(&server, "one", STORE, &[]);
    looked(&server, "the node is told again", || node.works_on(&id(&clip)) && node.works_on(&id(&other)));
    let mut heard = server.fleet.events();
    let news = TaskNews { id: id(&clip), progress: Progress::Done, bytes: 77, duration_ms: 600, ..TaskNews::default() };
    node.with(|played| drop(played.news.insert(id(&clip), news)));
    node.says(&id(&other), Progress::Failed, "there is nothing to play in it");
    looked(&server, "both are over", || {
        look(&server, &clip)["state"] == "ready" && look(&server, &other)["state"] == "failed"
    });
    let ready = look(&server, &clip);
    let at = format!("/cam/rec/{}/clips/{clip}.mp4", name(1));
    assert_eq!((&ready["path"], &ready["bytes"], &ready["duration_ms"]), (&json!(at), &json!(77), &json!(600)));
    assert_eq!(look(&server, &other)["why"], "there is nothing to play in it");
    let events: Vec<What> = std::iter::from_fn(|| heard.try_recv().ok()).map(|told| told.event.what).collect();
    let is_told = |clip: &str, path: &str| {
        events.iter().any(|what| matches!(what, What::Clip { clip: of, path: at, .. } if of == clip && at == path))
    };
    assert!(is_told(&clip, &at) && is_told(&other, ""), "{events:?}");
    node.eventually("it has nothing more to do", |played| played.tasks.is_empty());
    let list = server.get(&path);
    assert_eq!(list.is(200).json()["items"].as_array().unwrap().len(), 2);
    server.get(&format!("{path}/never")).refused(404, "no clip");

    // As many as there may be, of which one still waits when the recording is removed.
    for n in 2..100 {
        server.post(&path, &json!({ "from": 0, "to": n })).is(202);
    }
    server.post(&path, &json!({ "from": 0, "to": 5 })).refused(409, "100 clips");
    delete(&server, &format!("/api/v1/recordings/{}", name(1))).is(202);
    server.post(&path, &json!({ "from": 0, "to": 5 })).refused(409, "being removed");
    let removal = format!("delete/{}", name(1));
    looked(&server, "the node is told", || node.works_on(&removal));
    node.eventually("it makes no more clips", |played| played.tasks.len() == 1);
    // Nor does it when control starts anew, which reads what was to be cut.
    node.with(|played| played.is_gone = true);
    server.end();
    let server = Server::with(with());
    let node = Node::join(&server, "one", STORE, &[]);
    looked(&server, "the node is told", || node.works_on(&removal));
    server.look_after_recordings();
    node.eventually("it makes no more clips", |played| played.tasks.len() == 1);
    node.says(&removal, Progress::Done, "");
    looked(&server, "all is forgotten", || items(&server).is_empty());
    server.get(&path).refused(404, "no recording");
    for kind in ["clip", "recording-work", "recording"] {
        let left = server.run(store.count(millstream_store::item::Kind(kind))).unwrap();
        assert_eq!(left, 0, "{kind}");
    }
}

#[test]
fn small_pictures_are_at_the_node_that_has_them_and_nowhere_before_they_are_made() {
    let server = Server::start();
    let node = Node::join(&server, "one", STORE, &[]);
    recorded(&server, &node, 1);
    let path = format!("/api/v1/recordings/{}/thumbnails.vtt", name(1));
    server.get(&path).refused(404, "or not yet");
    server.get("/api/v1/recordings/1-never/thumbnails.vtt").refused(404, "no recording");
    let told = format!("rec/{}/thumbnails.vtt", name(1));
    node.tell(&server, 3, What::RecordingThumbnails { recording: name(1), path: told.clone(), pictures: 3 });
    server.plain("GET", &path).send().refused(401, "");
    let led = |to: &str| {
        let answer = server.get(&path);
        answer.is(307);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let location = answer.header("location").unwrap();
        let grant = location.strip_prefix(&format!("http://{to}:8080/g/")).expect("at that node, with a grant");
        assert!(grant.len() > 20 && grant.ends_with(&format!("/cam/{told}")), "{location}");
    };
    led("one");
    // Where that is not reached, another one that keeps recordings in the same bucket has them, too; one that keeps them elsewhere has not.
    Node::join(&server, "three", "file:/var/rec", &[]);
    node.with(|played| played.http_url.clear());
    looked(&server, "it says nothing of where it is", || {
        server.fleet.nodes().iter().any(|view| view.id.name == "one" && view.status.http_url.is_empty())
    });
    server.get(&path).refused(503, "the node one has them");
    Node::join(&server, "two", STORE, &[]);
    led("two");
}
