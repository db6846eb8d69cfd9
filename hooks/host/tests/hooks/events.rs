//! Events as JSON: what is read, what is refused and with which words, and what comes of putting one to a hook.
use std::fs;
use std::path::Path;

use millstream_hooks::json::{Answer, Event, Question};
use millstream_hooks::wit::auth::Step;
use millstream_hooks::{Secret, Settings, World};
use serde_json::json;

use crate::fixture::{self, guest};

fn refused(event: &str) -> String {
    Event::parse(event).expect_err(event).to_string()
}

#[test]
fn what_is_not_given_has_a_default_and_what_is_written_reads_back() {
    for world in World::ALL {
        let least = Event::parse(&json!({ "kind": world.as_str() }).to_string()).unwrap();
        assert_eq!(least, Event::new(Question::example(world)));
        assert_eq!(Event::parse(&least.write()), Ok(least.clone()), "{}", least.write());
        assert!(!least.write().contains('\n'));
    }
    let event = Event::parse(
        r#"{"kind": "auth", "unix_ms": 5, "about": {"node": "n-1"}, "answer": {"answer": "next"},
            "request": {"action": "publish", "viewers": 7, "client": {"ip": "2001:db8::1", "secure": true},
                        "target": {"params": {"b": "2", "a": "1"}, "labels": [{"name": "x", "value": "1"}, {"name": "x", "value": "2"}]}},
            "replies": [{"status": 404, "headers": {"content-type": "text/plain"}, "body": "né"}, {"error": "timed out"}]}"#,
    )
    .unwrap();
    let Question::Auth(request) = &event.question else { panic!("{event:?}") };
    assert_eq!((request.action.as_str(), request.viewers, request.client.ip.as_str()), ("publish", 7, "2001:db8::1"));
    assert_eq!((request.client.protocol.as_str(), request.client.secure), ("hls", true));
    assert_eq!((request.target.params.len(), request.target.labels.len()), (2, 2));
    assert_eq!(event.replies[0].as_ref().unwrap().body, "né".as_bytes());
    assert_eq!(event.replies[1], Err("timed out".to_owned()));
    assert_eq!(Event::parse(&event.write()).as_ref(), Ok(&event));
    let binary = event.write().replace("\"né\"", r#"{"hex": "00ff"}"#);
    let binary = Event::parse(&binary).unwrap();
    assert_eq!(binary.replies[0].as_ref().unwrap().body, [0, 255]);
    assert_eq!(Event::parse(&binary.write()), Ok(binary));
    let told =
        r#"{"kind": "events", "request": {"notices": [{"kind": "play-start", "client": {"ip": "192.0.2.9"}}, {}]}}"#;
    let Question::Events(notices) = Event::parse(told).unwrap().question else { panic!("events") };
    assert_eq!(notices[0].client.as_ref().map(|client| client.port), Some(50_000));
    assert_eq!((notices[1].client.as_ref(), notices[1].kind.as_str()), (None, "publish-start"));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (event, words) in [
        ("{", vec!["no JSON"]),
        ("[]", vec!["the event must be an object, and is a list", "the event:"]),
        ("{}", vec!["kind", "missing", "\"policy\""]),
        (r#"{"kind": "authn"}"#, vec!["kind", "\"auth\""]),
        (r#"{"kind": "auth", "requests": {}}"#, vec!["requests is no field", "request, unix_ms"]),
        (r#"{"kind": "auth", "request": {"client": {"adress": ""}}}"#, vec!["request.client.adress", "ip, port"]),
        (r#"{"kind": "auth", "request": {"viewers": "7"}}"#, vec!["request.viewers", "a number", "a text"]),
        (r#"{"kind": "auth", "request": {"viewers": -1}}"#, vec!["request", "-1", "u32"]),
        (r#"{"kind": "auth", "request": {"client": {"port": 70000}}}"#, vec!["request", "70000", "u16"]),
        (r#"{"kind": "auth", "request": {"client": null}}"#, vec!["request.client", "an object", "null"]),
        (r#"{"kind": "auth", "request": {"target": {"params": {"n": 1}}}}"#, vec!["request.target.params.n", "a text"]),
        (r#"{"kind": "auth", "request": {"extra": [{"name": "x"}]}}"#, vec!["request.extra[0]", "\"value\""]),
        (r#"{"kind": "auth", "unix_ms": "now"}"#, vec!["unix_ms", "milliseconds"]),
        (r#"{"kind": "policy", "replies": [{}]}"#, vec!["replies", "only for auth"]),
        (r#"{"kind": "auth", "replies": [{"body": {"hex": "0"}}]}"#, vec!["replies[0].body"]),
        (r#"{"kind": "auth", "replies": [{"status": 700000}]}"#, vec!["replies[0].status", "u16"]),
        (r#"{"kind": "events", "request": {}}"#, vec!["request.notices", "missing"]),
        (r#"{"kind": "events", "request": {"notices": []}}"#, vec!["request.notices", "1 to 256"]),
        (r#"{"kind": "events", "request": {"notices": [{}, {"id": "x"}]}}"#, vec!["request.notices[1].id", "a number"]),
    ] {
        let said = refused(event);
        let found = words.iter().any(|word| said.contains(word)) && (words.len() != 1 || said.contains(words[0]));
        assert!(found, "{event}: {said}");
        if !event.starts_with('[') {
            assert!(words.iter().all(|word| said.contains(word)), "{event}: {said} has not all of {words:?}");
        }
    }
}

#[test]
fn an_event_tells_decision_logs_and_cpu() {
    let module = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests/built/signed-url.wasm")).unwrap();
    let mut settings = Settings::new("signed-url", "1", World::Auth);
    settings.secrets.insert("key".to_owned(), Secret::new("s3cret"));
    let hook = fixture::hook(&module, settings, World::Auth);
    let sign = "8ff35fa157a2b534c215746ed7280c16e9e0b10568488abc3e8be2d4526037f4";
    let event = |sign: &str| {
        Event::parse(&format!(
            r#"{{"kind": "auth", "unix_ms": 1999999940000, "request": {{"target": {{"app": "live", "params": {{"expires": "2000000000", "sign": "{sign}"}}}}}}}}"#
        ))
        .unwrap()
    };
    let right = event(sign).put_to(&hook);
    assert!(matches!(right.result(), Some(Ok(Answer::Auth(Step::Allow(grant)))) if grant.valid_ms == 60_000));
    let shown = right.to_json();
    assert_eq!(shown["answer"]["answer"], "allow");
    assert_eq!((&shown["answer"]["grant"]["valid_ms"], &shown["budget_us"]), (&json!(60_000), &json!(2_000.0)));
    assert!(shown["cpu_us"].as_f64().is_some_and(|us| us > 0.0), "{shown}");
    assert_eq!((shown["calls"].as_array().unwrap().len(), &shown["calls"][0]["function"]), (1, &json!("authorize")));
    let wrong = event("00").put_to(&hook).to_json();
    assert_eq!(wrong["answer"]["denial"]["why"], "forbidden", "{wrong}");
    let other = Event::parse(r#"{"kind": "policy"}"#).unwrap().put_to(&hook).to_json();
    assert_eq!(other["failure"]["cause"], "world", "{other}");
}

#[test]
fn events_of_all_kinds_are_put_to_hooks() {
    for (world, answer) in [
        (World::Auth, json!({ "answer": "next" })),
        (World::Policy, json!({ "renditions": [] })),
        (World::Motion, json!({ "wanted": { "width": 160, "height": 90, "fps": 5.0 } })),
        (World::Events, json!({ "orders": [] })),
    ] {
        let trial = Event::new(Question::example(world)).put_to(&guest(world).hook()).to_json();
        assert_eq!(trial["answer"], answer, "{trial}");
    }
    let mut loops = guest(World::Auth);
    loops.body = "(loop $l (br $l)) (i32.const 1024)".into();
    let trial = Event::new(Question::example(World::Auth)).put_to(&loops.hook()).to_json();
    assert_eq!(trial["failure"]["cause"], "time", "{trial}");
    assert!(trial["cpu_us"].as_f64() >= trial["budget_us"].as_f64(), "{trial}");
}

#[test]
fn a_trial_asks_upstreams_as_often_as_a_node_does() {
    let mut asks = guest(World::Auth);
    asks.items = "(data (i32.const 60) \"GET/up\")".into();
    let store = |at: u32, value: u32| format!("(i32.store (i32.const {at}) (i32.const {value}))");
    // The upstream "up", GET, "/".
    let fetch: String = [(1028, 64), (1032, 2), (1036, 60), (1040, 3), (1044, 63), (1048, 1)]
        .map(|(at, value)| store(at, value))
        .concat();
    asks.body = format!("(i32.store8 (i32.const 1024) (i32.const 4)) {fetch} (i32.const 1024)");
    let hook = asks.hook();
    let put = |replies: &str| {
        Event::parse(&format!(r#"{{"kind": "auth", "replies": {replies}}}"#)).unwrap().put_to(&hook).to_json()
    };
    let once = put(r#"[{"status": 200}]"#);
    assert_eq!(
        (&once["answer"]["fetch"]["upstream"], once["calls"].as_array().unwrap().len()),
        (&json!("up"), 2),
        "{once:#}"
    );
    let twice = put(r#"[{"status": 200}, {"status": 200}]"#);
    assert!(twice["failure"]["message"].as_str().is_some_and(|why| why.contains("more than twice")), "{twice:#}");
    assert_eq!(twice["calls"].as_array().unwrap().len(), 3);
}
