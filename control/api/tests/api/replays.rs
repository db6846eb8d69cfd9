//! Versions that are held against what nodes have recorded: what differs is refused, what was left out is said, and nothing takes longer or more room than it may.
use std::time::{Duration, Instant};

use millstream_control_protocol::exchange::{Answer, Order};
use millstream_control_protocol::replay::Replayed;
use serde_json::{Value, json};

use crate::harness::{Response, Server};
use crate::hooks::component;

/// A hook of two versions with so many live bindings, which have the first one.
fn with_bindings(count: usize) -> (Server, Vec<String>) {
    let server = Server::start();
    server.hook("geo", "auth").is(201);
    for seed in 1..=2 {
        server.upload("geo", component(seed, 100)).is(201);
    }
    let bind = |_| {
        let made = server.bind(&json!({ "hook": "geo", "point": "play", "mode": "live", "version": 1 }));
        made.is(201).text("id").to_owned()
    };
    let mut ids: Vec<String> = (0..count).map(bind).collect();
    ids.sort();
    (server, ids)
}

fn activate(server: &Server) -> Response {
    let request = server.request("POST", "/api/v1/hooks/geo/activate").header("If-Match", "*");
    request.json(&json!({ "version": 2 })).send()
}

/// What was left out: binding, count and reason.
fn left_out(list: &Value) -> Vec<(String, u64, String)> {
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let all = list.as_array().map(Vec::as_slice).unwrap_or_default().iter();
    all.map(|one| (text(one, "binding"), one["decisions"].as_u64().unwrap(), text(one, "reason"))).collect()
}

/// All ten are the same; of some bindings there are more, for which there was no time.
fn replays(order: &Order, short: impl Fn(&str) -> bool) -> Answer {
    let Order::Replay { replay } = order else { return Answer::NotUnderstood };
    let left_out = if short(&replay.candidate.id) { 5 } else { 0 };
    Answer::Replayed { replayed: Box::new(Replayed { decisions: 10, same: 10, left_out, ..Replayed::default() }) }
}

#[test]
fn what_was_left_out_of_a_replay_is_said_of_each_binding() {
    let (server, ids) = with_bindings(66);
    let first = ids[0].clone();
    server.node("edge", move |order| replays(order, |id| id == first));
    let done = activate(&server);
    let told = left_out(&done.is(200).json()["left_out"]);
    assert_eq!(done.json()["changed"].as_array().unwrap().len(), 66);
    let of: Vec<&str> = told.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(of, [ids[0].as_str(), &ids[64], &ids[65]], "{told:?}");
    assert_eq!((told[0].1, told[0].2.as_str()), (5, "there was no time for 5 decisions"));
    assert!(told[1].2.contains("64 bindings"), "{told:?}");
    // Nothing is replayed for the version that they have, and nothing is left out.
    assert_eq!(activate(&server).is(200).json()["left_out"], json!(null));

    // A change of one binding, and an upload.
    let path = format!("/api/v1/hook-bindings/{}", ids[0]);
    let change = |body: Value| server.request("PATCH", &path).header("If-Match", "*").json(&body).send();
    let changed = change(json!({ "version": 1 }));
    assert_eq!(left_out(&changed.is(200).json()["left_out"])[0].1, 5);
    assert_eq!(change(json!({ "order": 3 })).is(200).json()["left_out"], json!(null));
    let uploaded = server.upload("geo", component(3, 100));
    let replay = &uploaded.is(201).json()["replay"];
    let told = left_out(&replay["left_out_of"]);
    assert_eq!((told.len(), &replay["left_out"], &replay["decisions"]), (3, &json!(5), &json!(640)), "{replay}");
}

#[test]
fn a_node_that_hangs_costs_a_change_of_many_bindings_one_wait() {
    let (server, ids) = with_bindings(4);
    server.node("edge", |order| replays(order, |_| false));
    server.node_that_may_hang("hangs", |_| None);
    let before = Instant::now();
    let told = left_out(&activate(&server).is(200).json()["left_out"]);
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
    assert_eq!(told.iter().map(|(id, ..)| id).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    assert!(
        told.iter().all(|(_, count, why)| *count == 0 && why.starts_with("these nodes have replayed nothing: hangs (")),
        "{told:?}"
    );
}
