//! The life of a hook's versions: activated, rolled back by operators and by itself; and what hooks write.
use std::collections::BTreeMap;
use std::time::Duration;

use millstream_control_protocol::event::What;
use millstream_control_protocol::exchange::{AddressFailures, Answer, HookCalls, HookLine, NodeId, Order, Report};
use millstream_control_protocol::hook_numbers::HookNumbers;
use serde_json::{Value, json};

use crate::harness::{Response, Server};
use crate::hooks::component;

impl Server {
    pub(crate) fn on_hook(&self, what: &str, tag: &str, body: &Value) -> Response {
        self.request("POST", &format!("/api/v1/hooks/geo/{what}")).header("If-Match", tag).json(body).send()
    }

    /// The version that each binding is told with, by its point.
    pub(crate) fn versions(&self) -> Vec<(String, u64)> {
        let mut told: Vec<_> = self.told().into_iter().map(|told| (told.point, told.version)).collect();
        told.sort();
        told
    }
}

pub(crate) fn with_versions(count: u8) -> Server {
    let server = Server::start();
    server.hook("geo", "auth").is(201);
    for seed in 1..=count {
        server.upload("geo", component(seed, 100)).is(201);
    }
    server
}

fn kinds(server: &Server, heard: &mut tokio::sync::broadcast::Receiver<millstream_fleet::NodeEvent>) -> Vec<What> {
    let mut all = Vec::new();
    while let Ok(Ok(heard)) = server.run(async { tokio::time::timeout(Duration::from_millis(200), heard.recv()).await })
    {
        all.push(heard.event.what);
    }
    all
}

#[test]
fn live_bindings_are_activated_in_one_step_and_rolled_back() {
    let server = with_versions(3);
    let mut heard = server.fleet.events();
    server.on_hook("activate", "*", &json!({ "version": 1 })).refused(409, "no binding of this hook is live");
    let bind = |point: &str, mode: &str, version: Value| {
        let made = server.bind(&json!({ "hook": "geo", "point": point, "mode": mode, "version": version }));
        made.is(201).text("id").to_owned()
    };
    let (play, publish) = (bind("play", "live", json!(1)), bind("publish", "live", json!("newest")));
    server.on_hook("rollback", "*", &json!({})).refused(409, "no live binding");
    let before = server.get("/api/v1/hooks/geo").is(200).etag().to_owned();
    server.request("POST", "/api/v1/hooks/geo/activate").json(&json!({ "version": 2 })).send().refused(428, "If-Match");
    server.on_hook("activate", &before, &json!({ "version": 9 })).refused(409, "it has 1, 2, 3");
    server.on_hook("activate", &before, &json!({ "version": 2, "speed": 1 })).refused(400, "");
    let done = server.on_hook("activate", &before, &json!({ "version": 2 }));
    let mut changed = done.is(200).json()["changed"].as_array().unwrap().clone();
    changed.sort_by_key(|one| one["from"].as_u64());
    let expected = [json!({ "binding": play, "from": 1, "to": 2 }), json!({ "binding": publish, "from": 3, "to": 2 })];
    assert_eq!(changed, expected);
    let both = |play, publish| vec![("play".to_owned(), play), ("publish".to_owned(), publish)];
    assert_eq!(server.versions(), both(2, 2));
    server.on_hook("activate", &before, &json!({ "version": 3 })).refused(412, "");
    assert_eq!(server.on_hook("activate", done.etag(), &json!({ "version": 2 })).is(200).json()["changed"], json!([]));

    // A new version reaches nobody, for both have a number now; the next step is undone first.
    server.upload("geo", component(4, 100)).is(201);
    assert_eq!(server.versions(), both(2, 2));
    let path = format!("/api/v1/hook-bindings/{play}");
    assert_eq!(server.get(&path).json()["previous"], json!(1));
    server.request("PATCH", &path).header("If-Match", "*").json(&json!({ "version": "newest" })).send().is(200);
    server.upload("geo", component(5, 100)).is(201);
    assert_eq!(server.versions(), both(5, 2));
    let back = || server.on_hook("rollback", "*", &json!({}));
    assert_eq!(back().is(200).json()["changed"], json!([{ "binding": play, "from": 5, "to": 4 }]), "the upload");
    assert_eq!(back().is(200).json()["changed"], json!([{ "binding": play, "from": 4, "to": 2 }]), "the change");
    assert_eq!(back().is(200).json()["changed"].as_array().unwrap().len(), 2, "the activation");
    assert_eq!(server.versions(), both(1, 3));
    back().refused(409, "no live binding");
    let log: Vec<_> = server.audit().into_iter().filter(|(_, action, _)| action.starts_with("hook.")).collect();
    assert_eq!((log[0].1.as_str(), log[0].2.as_str()), ("hook.roll_back", "geo"));
    let told: Vec<&str> = kinds(&server, &mut heard).iter().map(What::kind).collect();
    assert_eq!(told, ["hook_activated", "hook_rolled_back", "hook_rolled_back", "hook_rolled_back"]);
    let operator = server.token("operator");
    let by = |token: &str, what| {
        let request = server.plain("POST", &format!("/api/v1/hooks/geo/{what}"));
        let request = request.header("Authorization", &format!("Bearer {token}")).header("If-Match", "*");
        request.json(&json!({ "version": 1 })).send().status
    };
    assert_eq!((by(&operator, "activate"), by(&server.token("viewer"), "activate")), (200, 403));
    assert_eq!(by(&server.token("viewer"), "rollback"), 403);
}

/// As a node tells it.
fn fails(server: &Server, binding: &str, generation: u64, version: u64, (calls, failures): (u64, u64)) {
    // Each from another viewer.
    let by_address = (0..failures.min(8)).map(|at| blamed(&format!("192.0.2.{at}"), 1)).collect();
    fails_for(server, ("edge", binding), (generation, version), (calls, failures), by_address);
}

fn blamed(address: &str, failures: u64) -> AddressFailures {
    AddressFailures { address: address.to_owned(), failures }
}

fn fails_for(
    server: &Server,
    (node, binding): (&str, &str),
    (generation, version): (u64, u64),
    (calls, failures): (u64, u64),
    by_address: Vec<AddressFailures>,
) {
    let binding = binding.to_owned();
    tells(server, node, HookCalls { binding, generation, version, calls, failures, by_nobody: 0, by_address });
}

fn tells(server: &Server, node: &str, calls: HookCalls) {
    let report =
        Report { node: NodeId { name: node.to_owned(), run: 1 }, failing_hooks: vec![calls], ..Report::default() };
    server.run(server.fleet.report(report)).unwrap();
    server.look_for_failing_hooks();
}

#[test]
fn what_fails_too_often_goes_back_once_and_is_marked() {
    let server = with_versions(2);
    let made = server.bind(&json!({ "hook": "geo", "point": "play", "mode": "live", "version": 1 }));
    let id = made.is(201).text("id").to_owned();
    let generation = || server.told()[0].generation;
    let is_now = |version| assert_eq!(server.versions(), [("play".to_owned(), version)]);
    // The first version has none before it: that is told once.
    let mut heard = server.fleet.events();
    fails(&server, &id, generation(), 1, (100, 4));
    assert_eq!(kinds(&server, &mut heard), [], "too few");
    fails(&server, &id, generation(), 1, (20, 20));
    fails(&server, &id, generation(), 1, (30, 30));
    let told = kinds(&server, &mut heard);
    assert!(matches!(&told[..], [What::HookFailing { version: 1, failures: 20, .. }]), "{told:?}");
    is_now(1);
    let path = format!("/api/v1/hook-bindings/{id}");
    assert!(server.get(&path).json()["warnings"][0].as_str().unwrap().contains("20 of 20"), "{:?}", server.get(&path));

    server.on_hook("activate", "*", &json!({ "version": 2 })).is(200);
    let active = generation();
    // What was counted before the activation, and of another version.
    fails(&server, &id, active - 1, 2, (50, 50));
    fails(&server, &id, active, 1, (50, 50));
    is_now(2);
    // Version 1 has failed, too: nothing to go back to.
    fails(&server, &id, active, 2, (50, 50));
    is_now(2);
    server.on_hook("activate", "*", &json!({ "version": 1 })).refused(409, "accept_failures");
    server
        .request("PATCH", &path)
        .header("If-Match", "*")
        .json(&json!({ "version": 1 }))
        .send()
        .refused(409, "failed in");
    server.on_hook("activate", "*", &json!({ "version": 1, "accept_failures": true })).is(200);
    let third = server.upload("geo", component(3, 100));
    third.is(201);
    server.on_hook("activate", "*", &json!({ "version": 3 })).is(200);
    kinds(&server, &mut heard);
    // More than a twentieth without those of two viewers.
    fails(&server, &id, generation(), 3, (1_000, 51));
    is_now(3);
    fails(&server, &id, generation(), 3, (1_000, 52));
    is_now(1);
    let told = kinds(&server, &mut heard);
    assert!(
        matches!(
            &told[..],
            [What::HookRolledBackAutomatically { version: 3, back_to: 1, calls: 1_000, failures: 52, .. }]
        ),
        "{told:?}"
    );
    // It does not come again by itself, nor by an upload; and a late report of the old one changes nothing.
    fails(&server, &id, active + 2, 3, (1_000, 1_000));
    server.upload("geo", component(4, 100)).is(201);
    is_now(1);
    let shown = server.get(&path);
    assert_eq!(shown.json()["taken_back"]["version"], json!(3));
    assert!(shown.json()["warnings"][0].as_str().unwrap().contains("version 3 failed in 52 of 1000"));
    assert_eq!(server.get("/api/v1/hooks/geo/versions/3").json()["failed"]["failures"], json!(52));
    assert_eq!(server.audit()[1].1, "hook.roll_back");
    // Shadows decide nothing, so they go on.
    server
        .request("PATCH", &path)
        .header("If-Match", "*")
        .json(&json!({ "mode": "shadow", "version": 3 }))
        .send()
        .is(200);
    fails(&server, &id, generation(), 3, (1_000, 1_000));
    is_now(3);
    assert_eq!(kinds(&server, &mut heard), []);
}

/// Whoever finds a request that makes a hook trap sends it as often as they like.
#[test]
fn one_address_takes_no_version_back_on_any_number_of_nodes() {
    let server = with_versions(2);
    let made = server.bind(&json!({ "hook": "geo", "point": "play", "mode": "live", "version": 1 }));
    let id = made.is(201).text("id").to_owned();
    server.on_hook("activate", "*", &json!({ "version": 2 })).is(200);
    let now = (server.told()[0].generation, 2);
    let fails = |node: &str, counts, by| fails_for(&server, (node, &id), now, counts, by);
    let mut heard = server.fleet.events();
    // One client, by both of its addresses, and at two nodes; the others have what they always have.
    fails("edge", (1_000, 900), vec![blamed("192.0.2.1", 600), blamed("2001:db8::", 291)]);
    fails("edge-2", (500, 400), vec![blamed("2001:db8::", 395), blamed("192.0.2.1", 5)]);
    assert_eq!((kinds(&server, &mut heard), server.versions()), (vec![], vec![("play".to_owned(), 2)]));
    assert_eq!(server.get("/api/v1/hooks/geo/versions/2").json()["failed"], json!(null), "nor is it marked");
    // An operator sees it, and who it is.
    let path = format!("/api/v1/hook-bindings/{id}");
    let said = |shown: &Value| shown["warnings"].to_string();
    let one = said(server.get(&path).json());
    assert!(
        one.contains("1300 of 1500 calls") && one.contains("2001:db8::") && one.contains("not taken back"),
        "{one}"
    );
    assert_eq!(said(&server.get("/api/v1/hook-bindings").json()["items"][0]), one);
    // A node of the release before tells no addresses: all that it tells may be one client's, here and at the next such node.
    fails("edge", (100, 90), Vec::new());
    fails("edge-2", (100, 90), Vec::new());
    assert_eq!(server.versions(), [("play".to_owned(), 2)]);
    // It fails for others as well.
    fails("edge", (1_000, 900), vec![blamed("192.0.2.1", 600), blamed("2001:db8::", 250), blamed("192.0.2.3", 20)]);
    assert_eq!(server.versions(), [("play".to_owned(), 1)]);
}

/// Hooks of policy and motion are asked for no client, and event hooks hear of much that no client did.
#[test]
fn what_fails_for_nobody_goes_back_and_what_an_old_node_tells_does_not() {
    let server = with_versions(2);
    let made = server.bind(&json!({ "hook": "geo", "point": "play", "mode": "live", "version": 1 }));
    let id = made.is(201).text("id").to_owned();
    server.on_hook("activate", "*", &json!({ "version": 2 })).is(200);
    let generation = server.told()[0].generation;
    let calls = |failures, by_nobody, by_address| HookCalls {
        binding: id.clone(),
        generation,
        version: 2,
        calls: 100,
        failures,
        by_nobody,
        by_address,
    };
    let is_now = |version| assert_eq!(server.versions(), [("play".to_owned(), version)]);
    // A node of a release before says nothing of whose failures they are: they may all be one client's.
    tells(&server, "edge", calls(90, 0, Vec::new()));
    is_now(2);
    // Batches that hold the same two addresses: each is blamed for all of them, and nine more were nobody's.
    let both = vec![blamed("192.0.2.1", 60), blamed("192.0.2.2", 60)];
    tells(&server, "edge", calls(69, 9, both));
    is_now(2);
    tells(&server, "edge", calls(10, 10, Vec::new()));
    is_now(1);
}

#[test]
fn what_a_hook_did_is_added_up_over_nodes() {
    let server = with_versions(2);
    let counts = |version: u64, allow: u64, disagreed: u64| HookNumbers {
        version,
        answers: BTreeMap::from([("allow".to_owned(), allow)]),
        failures: BTreeMap::from([("trap".to_owned(), 1)]),
        agreed: 5,
        disagreed,
        cpu_us: allow * 30,
        // All within 50 us, but one.
        cpu_calls: [vec![0, 0, allow - 1], vec![0; 7], vec![1]].concat(),
        ..HookNumbers::default()
    };
    let plays = move |versions: Vec<HookNumbers>| {
        move |order: &Order| {
            let Order::HookNumbers { hook } = order else { return Answer::NotUnderstood };
            assert_eq!(hook, "geo");
            Answer::HookNumbers { versions: versions.clone() }
        }
    };
    server.node("a", plays(vec![counts(1, 100, 0), counts(2, 10, 3)]));
    server.node("b", plays(vec![counts(1, 300, 2)]));
    server.node("old", |_| Answer::NotUnderstood);
    let page = server.get("/api/v1/hooks/geo/numbers").is(200).json().clone();
    let items = page["items"].as_array().unwrap();
    assert_eq!(items.iter().map(|one| one["version"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 1]);
    let of_both = &items[1];
    assert_eq!((&of_both["calls"], &of_both["answers"]["allow"]), (&json!(400), &json!(400)));
    assert_eq!(
        (&of_both["agreed"], &of_both["disagreed"], &of_both["failures"]["trap"]),
        (&json!(10), &json!(2), &json!(2))
    );
    assert_eq!(
        (&of_both["cpu_mean_us"], &of_both["cpu_median_us"], &of_both["cpu_p99_us"]),
        (&json!(30.0), &json!(50), &json!(50))
    );
    assert_eq!(items[0]["cpu_p99_us"], json!(null), "one of ten took longer than the largest class");
    assert!(
        page["missing"][0]["node"] == "old" && page["missing"][0]["reason"].as_str().unwrap().contains("release"),
        "{page}"
    );
    server.get("/api/v1/hooks/nobody/numbers").refused(404, "no hook");
}

#[test]
fn logs_of_all_nodes_are_read_in_pages() {
    let server = with_versions(1);
    let line = |number: u64, unix_ms, level: &str, text: &str| HookLine {
        number,
        unix_ms,
        version: 1 + number % 2,
        level: level.to_owned(),
        text: text.to_owned(),
        ..HookLine::default()
    };
    let plays = move |of: &'static str, count: u64| {
        move |order: &Order| {
            let Order::HookLogs { hook, from, version, level, limit } = order else { return Answer::NotUnderstood };
            assert_eq!((hook.as_str(), level.as_str()), ("geo", "debug"));
            let all =
                (0..count).map(|number| line(number, 1_000 + number * 10, "info", &format!("{of}\u{1b}{number}")));
            let wanted = all.filter(|line| version.is_none_or(|version| line.version == version));
            let mut lines: Vec<_> = wanted.filter(|line| from.is_none_or(|from| line.number >= from)).collect();
            let mut next = count;
            if lines.len() > *limit as usize {
                if from.is_some() {
                    lines.truncate(*limit as usize);
                    next = lines.last().unwrap().number + 1;
                } else {
                    lines.drain(..lines.len() - *limit as usize);
                }
            }
            Answer::HookLogs { lines, next, dropped: 3 }
        }
    };
    server.node("a", plays("a", 10));
    server.node("b", plays("b", 4));
    server.node("old", |_| Answer::NotUnderstood);
    let get = |query: &str| {
        let page = server.get(&format!("/api/v1/hooks/geo/logs{query}"));
        let texts = page.is(200).json()["items"].as_array().unwrap().iter();
        let texts: Vec<String> = texts.map(|line| line["text"].as_str().unwrap().to_owned()).collect();
        (page.text("next").to_owned(), texts, page.json().clone())
    };
    let (next, newest, page) = get("?limit=3");
    assert_eq!(newest, ["a 7", "a 8", "a 9"], "without control characters");
    assert_eq!((&page["dropped"], &page["items"][0]["node"]), (&json!(6), &json!("a")));
    assert!(page["failed"]["old"].as_str().unwrap().contains("release"), "{page}");
    assert_eq!(get(&format!("?cursor={next}")).1, [""; 0], "nothing since");
    // From the beginning, in pages: each line once, in the order of time.
    let (mut cursor, mut all) = ("e30".to_owned(), Vec::new());
    for _ in 0..10 {
        let (next, texts, _) = get(&format!("?limit=3&cursor={cursor}"));
        all.extend(texts);
        cursor = next;
    }
    let expected = ["a 0", "b 0", "a 1", "b 1", "a 2", "b 2", "a 3", "b 3", "a 4", "a 5", "a 6", "a 7", "a 8", "a 9"];
    assert_eq!(all, expected);
    assert_eq!(get("?version=2&limit=2").1, ["a 7", "a 9"]);
    for wrong in ["?limit=0", "?limit=1001", "?level=loud", "?cursor=%00", "?cursor=AAAA", "?version=x"] {
        server.get(&format!("/api/v1/hooks/geo/logs{wrong}")).is(400);
    }
    server.get("/api/v1/hooks/nobody/logs").refused(404, "no hook");
}
