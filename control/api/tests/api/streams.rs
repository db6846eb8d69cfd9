//! Records: made, read, changed and removed, under conditions.
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Options, Server};

#[test]
fn a_stream_is_made_read_changed_and_removed() {
    let server = Server::start();
    let made = server.post("/api/v1/streams", &json!({ "id": "lobby", "settings": { "videoname": "Lobby" } }));
    made.is(201);
    assert_eq!(made.header("location"), Some("/api/v1/streams/lobby"));
    let stream = made.json();
    assert_eq!(
        (&stream["id"], &stream["source"], &stream["generation"]),
        (&json!("lobby"), &json!("store"), &json!(1))
    );
    let settings = &stream["settings"];
    assert_eq!(
        (&settings["videoname"], &settings["isFlv"], &settings["isHls"]),
        (&json!("Lobby"), &json!(true), &json!(true))
    );
    assert_eq!(settings["outdate"], "2027-11-24", "a year from the day it was made");

    let read = server.get("/api/v1/streams/lobby");
    assert_eq!((read.is(200).json(), read.etag()), (stream, made.etag()));
    assert_eq!(read.header("cache-control"), Some("no-store"));
    let again = server.request("GET", "/api/v1/streams/lobby").header("If-None-Match", read.etag()).send();
    again.is(304);

    let patch = json!({ "settings": { "videoname": "Hall", "labels": { "floor": "2" } } });
    let change =
        |etag: &str| server.request("PATCH", "/api/v1/streams/lobby").header("If-Match", etag).json(&patch).send();
    let changed = change(read.etag());
    assert_eq!(changed.is(200).json()["settings"]["videoname"], "Hall");
    assert_ne!(changed.etag(), read.etag());
    change(read.etag()).refused(412, "changed since");
    let etag = changed.etag();
    server.request("DELETE", "/api/v1/streams/lobby").header("If-Match", read.etag()).send().refused(412, "");
    server.request("DELETE", "/api/v1/streams/lobby").header("If-Match", etag).send().is(204);
    server.get("/api/v1/streams/lobby").refused(404, "no stream lobby");
    let log: Vec<_> = server.audit().into_iter().map(|(_, action, _)| action).collect();
    assert_eq!(log, ["stream.delete", "stream.update", "stream.create"]);
}

#[test]
fn a_change_must_say_which_version_it_means() {
    let server = Server::start();
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let patch = json!({ "settings": {} });
    server.request("PATCH", "/api/v1/streams/cam").json(&patch).send().refused(428, "If-Match");
    server.request("DELETE", "/api/v1/streams/cam").send().refused(428, "If-Match");
    server.request("PATCH", "/api/v1/streams/cam").header("If-Match", "*").json(&patch).send().is(200);
    server.request("PATCH", "/api/v1/streams/none").header("If-Match", "*").json(&patch).send().refused(404, "");
}

#[test]
fn an_etag_of_a_removed_stream_is_not_that_of_the_next() {
    let server = Server::start();
    let first = server.post("/api/v1/streams", &json!({ "id": "cam" }));
    server.request("DELETE", "/api/v1/streams/cam").header("If-Match", first.etag()).send().is(204);
    server.set_clock(crate::harness::NOW_MS + 1);
    let second = server.post("/api/v1/streams", &json!({ "id": "cam" }));
    assert_ne!(first.etag(), second.etag());
    // Nor do keys that were issued for the first one admit to the second.
    assert_eq!(second.is(201).json()["generation"], 2);
}

#[test]
fn ids_are_the_callers_or_random() {
    let server = Server::start();
    let made = server.post("/api/v1/streams", &json!({}));
    let id = made.is(201).text("id").to_owned();
    assert_eq!((id.len(), id.matches('-').count()), (36, 4));
    server.post("/api/v1/streams", &json!({ "id": id })).refused(409, "already");
    for id in ["", "../etc", "a b", "a/b", "straße", &"a".repeat(65)] {
        server.post("/api/v1/streams", &json!({ "id": id })).refused(400, "\"id\"");
    }
}

#[test]
fn case_56_a_path_leads_to_one_stream() {
    let server = Server::start();
    let with = |id: &str, push: &str, play: &str| json!({ "id": id, "settings": { "push_paths": [push], "play_paths": [play] } });
    let made = server.post("/api/v1/streams", &with("a", "live/my cam.1", "/live/a.flv"));
    assert_eq!(made.is(201).json()["settings"]["push_paths"], json!(["live/my cam.1"]));
    let refused = server.post("/api/v1/streams", &with("b", "live/my cam.1", "/live/b.flv"));
    refused.refused(409, "leads to stream a already");
    // However it is written.
    server.post("/api/v1/streams", &with("b", "live/b", "/live/%61.flv")).refused(409, "leads to stream a already");
    server
        .post("/api/v1/streams", &with("b", "live/my%20cam.1", "/live/b.flv"))
        .refused(409, "leads to stream a already");
    let b = server.post("/api/v1/streams", &with("b", "live/b", "/live/b.flv")).is(201).etag().to_owned();
    let change = |etag: &str, id: &str, push: &str| {
        let patch = json!({ "settings": { "push_paths": [push] } });
        server.request("PATCH", &format!("/api/v1/streams/{id}")).header("If-Match", etag).json(&patch).send()
    };
    change(&b, "b", "live/my cam.1").refused(409, "stream a");
    // Its own it may say again.
    let b = change(&b, "b", "live/b").is(200).etag().to_owned();
    server.request("DELETE", "/api/v1/streams/a").header("If-Match", "*").send().is(204);
    change(&b, "b", "live/my cam.1").is(200);
    server.post("/api/v1/streams", &with("c", "/x", "/c/live.flv")).refused(400, "2 fields");
}

#[test]
fn what_is_wrong_is_named() {
    let server = Server::start();
    let wrong = json!({ "settings": { "isFlv": "true", "hls_time": 0, "nonsense": 1 } });
    let refused = server.post("/api/v1/streams", &wrong);
    let errors = refused.refused(400, "3 fields").json()["errors"].as_array().unwrap();
    let fields: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["hls_time", "isFlv", "nonsense"]);
    server.post("/api/v1/streams", &json!({ "name": "x" })).refused(400, "no such field; there is id or settings");
    assert_eq!(server.get("/api/v1/streams").json()["items"], json!([]));
}

#[test]
fn what_is_accepted_and_not_done_is_said() {
    let server = Server::start();
    let made = server.post(
        "/api/v1/streams",
        &json!({ "settings": { "isWaterMark": true, "isMotion": true, "codec": "libx265", "isCluster": true, "isCodec": true, "isRelay": false } }),
    );
    let idle = made.is(201).json()["not_in_force"].as_array().unwrap().clone();
    assert_eq!(idle, [json!("isCluster")]);
}

#[test]
fn a_list_goes_through_all_streams_in_pages() {
    let fixed = vec![Server::fixed("a-file"), Server::fixed("zz-file"), Server::fixed("cam-3")];
    let server = Server::with(Options { fixed, ..Options::default() });
    for n in 0..7 {
        let made = server.post("/api/v1/streams", &json!({ "id": format!("cam-{n}") }));
        made.is(if n == 3 { 409 } else { 201 });
    }
    for limit in [1, 2, 3, 4, 9, 50] {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("/api/v1/streams?limit={limit}{cursor}"));
            let items = page.is(200).json()["items"].as_array().unwrap();
            assert!(items.len() <= limit, "{page:?}");
            ids.extend(items.iter().map(|stream| stream["id"].as_str().unwrap().to_owned()));
            match page.json()["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let expected = ["a-file", "cam-0", "cam-1", "cam-2", "cam-3", "cam-4", "cam-5", "cam-6", "zz-file"];
        assert_eq!(ids, expected, "limit {limit}");
    }
    server.get("/api/v1/streams?limit=0").refused(400, "limit");
    server.get("/api/v1/streams?limit=501").refused(400, "limit");
    server.get("/api/v1/streams?limit=x").refused(400, "limit");
    server.get("/api/v1/streams?cursor=%00").refused(400, "cursor");
}

#[test]
fn streams_of_the_file_are_shown_and_changed_there_only() {
    let server = Server::with(Options { fixed: vec![Server::fixed("file")], ..Options::default() });
    let read = server.get("/api/v1/streams/file");
    assert_eq!((read.is(200).text("source"), read.header("etag")), ("configuration", None));
    let change = |method| server.request(method, "/api/v1/streams/file").header("If-Match", "*");
    change("PATCH").json(&json!({ "settings": {} })).send().refused(409, "configuration file");
    change("DELETE").send().refused(409, "configuration file");
    server.post("/api/v1/streams/file/key", &json!({})).refused(409, "configuration file");
    server.post("/api/v1/streams", &json!({ "id": "file" })).refused(409, "configuration file");
    server.get("/api/v1/streams/file/key").is(200);
}

#[test]
fn a_node_has_a_change_in_force_when_it_is_acknowledged() {
    let server = Server::start();
    server.node("n", |_| millstream_control_protocol::exchange::Answer::NotUnderstood);
    let took = Instant::now();
    for n in 0..20 {
        server.post("/api/v1/streams", &json!({ "id": format!("cam-{n}") })).is(201);
        let nodes = server.fleet.nodes();
        assert_eq!(nodes[0].have, Some(server.fleet.version()), "after stream {n}");
    }
    // Nothing is waited for beside the node's polls.
    assert!(took.elapsed() < Duration::from_secs(10), "{:?}", took.elapsed());
}

#[test]
fn a_request_with_a_key_takes_effect_once() {
    let server = Server::start();
    let post = |key: &str, name: &str| {
        let request = server.request("POST", "/api/v1/streams").header("Idempotency-Key", key);
        request.json(&json!({ "settings": { "videoname": name } })).send()
    };
    let (first, second) = (post("k1", "a"), post("k1", "a"));
    assert_eq!(first.is(201).json(), second.is(201).json());
    assert_eq!((first.etag(), first.header("location")), (second.etag(), second.header("location")));
    assert_eq!((first.header("idempotency-replayed"), second.header("idempotency-replayed")), (None, Some("true")));
    post("k1", "b").refused(422, "another request");
    // What it is to be done to is a part of what is asked for.
    let rotate = |condition: &str| {
        let request = server.request("POST", &format!("/api/v1/streams/{}/key", first.text("id")));
        request.header("Idempotency-Key", "r1").header("If-Match", condition).json(&json!({})).send()
    };
    rotate(first.etag()).is(200);
    assert_eq!(rotate(first.etag()).is(200).header("idempotency-replayed"), Some("true"));
    rotate("\"1-1\"").refused(422, "another request");
    assert_ne!(post("k2", "a").text("id"), first.text("id"));
    post("", "a").refused(400, "1 to 128");
    post(&"k".repeat(129), "a").refused(400, "1 to 128");
    // Somebody else's key of the same name is another one.
    let token = server.token("operator");
    let theirs = server.plain("POST", "/api/v1/streams").header("Authorization", &format!("Bearer {token}"));
    let theirs = theirs.header("Idempotency-Key", "k1").json(&json!({ "settings": { "videoname": "a" } })).send();
    assert_ne!(theirs.is(201).text("id"), first.text("id"));
    // A refusal is an answer as well; and a day later the key is new.
    let bad = |key| {
        server.request("POST", "/api/v1/streams").header("Idempotency-Key", key).json(&json!({ "id": "" })).send()
    };
    assert_eq!((bad("k3").is(400).json(), bad("k3").header("idempotency-replayed")), (bad("k3").json(), Some("true")));
    server.set_clock(crate::harness::NOW_MS + 25 * 3_600_000);
    assert_ne!(post("k1", "a").is(201).text("id"), first.text("id"));
    let token = server.request("POST", "/api/v1/tokens").header("Idempotency-Key", "k");
    token.json(&json!({ "name": "x", "role": "viewer" })).send().refused(400, "secret");
}

#[test]
fn two_requests_with_one_key_at_the_same_moment_make_one_stream() {
    let server = Server::start();
    let body = json!({});
    let answers: Vec<_> = std::thread::scope(|scope| {
        let post = || server.request("POST", "/api/v1/streams").header("Idempotency-Key", "k").json(&body).send();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(post)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| matches!(answer.status, 201 | 409)), "{answers:?}");
    assert_eq!(server.get("/api/v1/streams").json()["items"].as_array().unwrap().len(), 1);
}
