//! Keys: what is shown is what admission admits.
use std::sync::Arc;

use millstream_api::Here;
use millstream_api::model::settings::midnight_s;
use millstream_proto::id::Id;
use millstream_proto::sign::{Action, Claim, Keys, SignError, verify};
use millstream_store::Store;
use millstream_store::memory::MemoryStore;
use serde_json::{Value, json};

use crate::harness::{NOW_MS, Options, Server, here, master};

/// Holds a signature against the secrets of these generations, as a node's admission does.
fn admits(id: &str, sign: &str, generations: &[u64], at_s: u64) -> Result<(), SignError> {
    let (app, id) = (Id::new("stream").unwrap(), Id::new(id).unwrap());
    let secrets: Vec<_> = generations.iter().map(|generation| master().stream_secret(&id, *generation)).collect();
    let claim = Claim { action: Action::Publish, app: &app, id: &id };
    verify([sign].into_iter(), claim, Keys { stream: &secrets, legacy: &[] }, at_s)
}

const NOW_S: u64 = NOW_MS / 1_000;

#[test]
fn a_key_signs_for_its_expiry_in_both_forms() {
    let server = Server::start();
    server.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "outdate": "2027-01-01" } })).is(201);
    let key = server.get("/api/v1/streams/cam/key");
    let expiry = midnight_s("2027-01-01").unwrap();
    assert_eq!(key.is(200).json()["expires_unix_s"], json!(expiry));
    for sign in [key.text("sign"), key.text("legacy_sign")] {
        assert_eq!(admits("cam", sign, &[1], expiry - 1), Ok(()));
        assert_eq!(admits("cam", sign, &[1], expiry), Err(SignError::Expired { since: 0 }));
    }
    assert_eq!(key.text("push_url"), format!("rtmp://push.example.org/stream/cam?sign={}", key.text("sign")));
    assert_eq!(key.header("cache-control"), Some("no-store"));
    let later = server.get("/api/v1/streams/cam/key?expires=1800000000");
    assert_eq!(admits("cam", later.is(200).text("sign"), &[1], 1_799_999_999), Ok(()));
    let day = server.get("/api/v1/streams/cam/key?expires=2030-01-01");
    assert_eq!(day.json()["expires_unix_s"], json!(midnight_s("2030-01-01")));
    for bad in ["tomorrow", "1800000000000", "2030-02-30", "-1", ""] {
        server.get(&format!("/api/v1/streams/cam/key?expires={bad}")).refused(400, "expires");
    }
    server.get("/api/v1/streams/none/key").refused(404, "no stream none");
}

#[test]
fn a_rotation_gives_grace_or_none() {
    let server = Server::start();
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let first = server.get("/api/v1/streams/cam/key").text("sign").to_owned();
    let rotate = |body: &Value| server.post("/api/v1/streams/cam/key", body);
    let rotated = rotate(&json!({ "grace_s": 60 }));
    let expected = (&json!(2), &json!([{ "generation": 1, "until_unix_s": NOW_S + 60 }]));
    assert_eq!((&rotated.is(200).json()["generation"], &rotated.json()["previous"]), expected);
    let second = server.get("/api/v1/streams/cam/key").text("sign").to_owned();
    assert_ne!(first, second);
    assert_eq!(
        (admits("cam", &second, &[2], NOW_S), admits("cam", &first, &[2], NOW_S)),
        (Ok(()), Err(SignError::Wrong))
    );
    // Without a word, a day.
    assert_eq!(rotate(&json!({})).json()["previous"][1]["until_unix_s"], json!(NOW_S + 86_400));
    // A grace that is over is shown no longer.
    server.set_clock(NOW_MS + 60_000);
    assert_eq!(server.get("/api/v1/streams/cam").json()["previous"].as_array().unwrap().len(), 1);
    // At once means at once, for every earlier one.
    let at_once = rotate(&json!({ "grace_s": 0 }));
    assert_eq!((&at_once.json()["generation"], &at_once.json()["previous"]), (&json!(4), &json!([])));
    rotate(&json!({ "grace_s": -1 })).refused(400, "give a whole number");
    rotate(&json!({ "grace_s": 40_000_000 })).refused(400, "grace_s");
    let stale = server.request("POST", "/api/v1/streams/cam/key").header("If-Match", "\"1-1\"").json(&json!({})).send();
    stale.refused(412, "");
    assert!(server.audit().iter().any(|(_, action, target)| action == "stream.key.rotate" && target == "cam"));
}

/// Whoever rotates wants the new address next.
#[test]
fn a_rotation_gives_the_new_push_address_and_needs_no_body() {
    let server = Server::start();
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let rotated = server.request("POST", "/api/v1/streams/cam/key").send();
    assert_eq!(rotated.is(200).json()["previous"][0]["until_unix_s"], json!(NOW_S + 86_400));
    assert_eq!(rotated.json(), server.get("/api/v1/streams/cam/key").is(200).json());
    assert!(rotated.text("push_url").starts_with("rtmp://push.example.org/stream/cam?sign="), "{rotated:?}");
    // A repetition is told that it was done; the store has no secret.
    let keyed = || server.request("POST", "/api/v1/streams/cam/key").header("Idempotency-Key", "k").send();
    assert!(!keyed().is(200).text("sign").is_empty());
    let again = keyed();
    assert_eq!(again.is(200).header("idempotency-replayed"), Some("true"));
    assert_eq!((&again.json()["generation"], &again.json()["sign"]), (&json!(3), &Value::Null));
    assert!(!again.body().contains("sign=") && !again.body().contains("rtmp://"), "{again:?}");
}

#[test]
fn keys_in_their_grace_are_few() {
    let server = Server::start();
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let rotate = |grace_s: u64| server.post("/api/v1/streams/cam/key", &json!({ "grace_s": grace_s }));
    for _ in 0..4 {
        rotate(60).is(200);
    }
    rotate(60).refused(409, "in their grace");
    rotate(0).is(200);
    rotate(60).is(200);
}

#[test]
fn rotations_at_the_same_moment_all_count() {
    let server = Server::start();
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| server.post("/api/v1/streams/cam/key", &json!({ "grace_s": 0 })).is(200).status);
        }
    });
    assert_eq!(server.get("/api/v1/streams/cam").json()["generation"], json!(7));
}

#[test]
fn nodes_are_told_of_generations_and_outputs() {
    let server = Server::start();
    server
        .post(
            "/api/v1/streams",
            &json!({ "id": "cam", "settings": { "isFlv": false, "isCMAF": false, "flush": "low" } }),
        )
        .is(201);
    server.post("/api/v1/streams/cam/key", &json!({ "grace_s": 60 })).is(200);
    let poll = millstream_control_protocol::exchange::Poll {
        node: millstream_control_protocol::exchange::NodeId { name: "n".into(), run: 1 },
        ..Default::default()
    };
    let update = server.run(server.fleet.poll(&poll)).unwrap().update.unwrap();
    let stream = &update.streams[0];
    assert_eq!((stream.id.as_str(), stream.generation, stream.previous.len()), ("cam", 2, 1));
    assert_eq!((stream.outputs.flv, stream.outputs.hls, stream.outputs.cmaf), (false, true, false));
    assert_eq!(stream.flush, Some(millstream_control_protocol::state::Flush::Low));
}

/// Whatever name the caller of the API happens to use.
#[test]
fn addresses_are_those_that_nodes_are_reached_at() {
    use millstream_control_protocol::exchange::{NodeId, Report, Status};
    let tell = |server: &Server, name: &str, rtmp_url: &str, http_url: &str| {
        let status = Status { rtmp_url: rtmp_url.into(), http_url: http_url.into(), ..Status::default() };
        let report = Report { node: NodeId { name: name.into(), run: 1 }, status, ..Report::default() };
        server.run(server.fleet.report(report)).unwrap();
    };
    let key = |server: &Server| {
        let request = server.request("GET", "/api/v1/streams/cam/key").header("Host", "stream.example.org:8081");
        request.send().is(200).json().clone()
    };
    let nodes = |key: &Value, name: &str| -> Vec<String> {
        let urls = key["push_urls"].as_array().unwrap();
        urls.iter().map(|url| url[name].as_str().unwrap().to_owned()).collect()
    };
    // Control alone: before a node is heard nobody knows.
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let control = Server::with(Options { here: None, store: Arc::clone(&store), ..Options::default() });
    control.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let shown = key(&control);
    assert_eq!((&shown["push_url"], &shown["push_urls"]), (&Value::Null, &json!([])));
    assert!(shown["sign"].is_string());
    tell(&control, "b", "rtmp://b.example.org:1936", "https://b.example.org");
    tell(&control, "a", "rtmps://a.example.org", "http://192.0.2.1:8080");
    // One of an older release does not say.
    tell(&control, "old", "", "");
    let shown = key(&control);
    let sign = shown["sign"].as_str().unwrap();
    assert_eq!(shown["push_url"], format!("rtmp://b.example.org:1936/stream/cam?sign={sign}"));
    assert_eq!(nodes(&shown, "node"), ["b", "a"]);
    assert_eq!(nodes(&shown, "push_url")[1], format!("rtmps://a.example.org/stream/cam?sign={sign}"));
    let patch = control.request("PATCH", "/api/v1/streams/cam").header("If-Match", "*");
    patch.json(&json!({ "settings": { "isHls": false } })).send().is(200);
    let addresses = control.get("/api/v1/streams/cam/addresses").is(200).json()["items"].clone();
    let expected = json!({
        "node": "b", "rtmp": "rtmp://b.example.org:1936/stream/cam", "page": "https://b.example.org/cam/index.html",
        "flv": "https://b.example.org/cam/live.flv", "hls": null, "dash": "https://b.example.org/cam/manifest.mpd",
    });
    assert_eq!(addresses[0], expected);
    assert_eq!(addresses[2]["rtmp"], Value::Null);
    control.get("/api/v1/streams/nobody/addresses").is(404);
    // Draining, it comes last, and as it was once it has started anew.
    let drains = |run, draining| {
        let status = Status { rtmp_url: "rtmp://b.example.org:1936".into(), draining, ..Status::default() };
        let report = Report { node: NodeId { name: "b".into(), run }, status, ..Report::default() };
        control.run(control.fleet.report(report)).unwrap();
        nodes(&key(&control), "node")
    };
    assert_eq!((drains(1, true), drains(2, false)), (vec!["a".into(), "b".into()], vec!["b".into(), "a".into()]));
    // Whoever comes first after a restart of control is not the first one.
    control.purge();
    drop(control);
    let again = Server::with(Options { here: None, store, ..Options::default() });
    tell(&again, "!", "rtmp://evil.example.org", "http://evil.example.org");
    tell(&again, "a", "rtmps://a.example.org", "http://192.0.2.1:8080");
    tell(&again, "b", "rtmp://b.example.org:1936", "https://b.example.org");
    assert_eq!(nodes(&key(&again), "node"), ["b", "a", "!"]);
    // What control's configuration says of the fleet comes first, whatever nodes say of themselves.
    let fleet = Here { rtmp_url: "rtmps://push.example.org".to_owned(), ..Here::default() };
    let pinned = Server::with(Options { here: Some(fleet), ..Options::default() });
    pinned.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    tell(&pinned, "!", "rtmp://evil.example.org", "http://evil.example.org");
    let shown = key(&pinned);
    assert!(shown["push_url"].as_str().unwrap().starts_with("rtmps://push.example.org/stream/cam?"), "{shown}");
    assert_eq!(nodes(&shown, "node"), ["", "!"]);
    // One process: itself first, and once.
    let all = Server::start();
    all.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    tell(&all, "here", "rtmp://push.example.org", "https://play.example.org");
    tell(&all, "a", "rtmp://a.example.org", "http://a.example.org");
    assert_eq!(nodes(&key(&all), "node"), ["here", "a"]);
}

#[test]
fn a_stream_that_is_pushed_over_tls_has_addresses_with_tls_and_no_others() {
    use millstream_control_protocol::exchange::{NodeId, Report, Status};
    let here = Here { rtmps_url: "rtmps://push.example.org:1938".to_owned(), ..here() };
    let server = Server::with(Options { here: Some(here), ..Options::default() });
    // A node without TLS, and one whose TLS is a proxy's.
    for (name, rtmp_url) in [("bare", "rtmp://bare.example.org"), ("proxied", "rtmps://proxied.example.org")] {
        let status = Status { rtmp_url: rtmp_url.into(), ..Status::default() };
        let report = Report { node: NodeId { name: name.into(), run: 1 }, status, ..Report::default() };
        server.run(server.fleet.report(report)).unwrap();
    }
    let made = server.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "isRtmps": true } }));
    assert_eq!(made.is(201).json()["not_in_force"], json!([]));
    let addresses = server.get("/api/v1/streams/cam/addresses").is(200).json()["items"].clone();
    let rtmp: Vec<Value> = addresses.as_array().unwrap().iter().map(|item| item["rtmp"].clone()).collect();
    let expected = json!(["rtmps://push.example.org:1938/stream/cam", null, "rtmps://proxied.example.org/stream/cam"]);
    assert_eq!(json!(rtmp), expected);
    let key = server.get("/api/v1/streams/cam/key").is(200).json().clone();
    let nodes: Vec<Value> = key["push_urls"].as_array().unwrap().iter().map(|url| url["node"].clone()).collect();
    assert_eq!(json!(nodes), json!(["here", "proxied"]));
    assert!(key["push_url"].as_str().unwrap().starts_with("rtmps://push.example.org:1938/stream/cam?sign="), "{key}");
}
