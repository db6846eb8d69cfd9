//! Hooks, their versions, and where they are bound: through HTTP, and as nodes are told.
use std::sync::Arc;

use millstream_control_protocol::exchange::{NodeId, Poll};
use millstream_control_protocol::state::{Binding, Mode};
use millstream_store::item::Kind;
use millstream_store::memory::MemoryStore;
use millstream_store::{Store as _, sqlite::SqliteStore};
use serde_json::{Value, json};

use crate::harness::{Options, Response, Server};

/// A component as far as its first bytes tell, of this size, unlike others of another seed.
pub(crate) fn component(seed: u8, bytes: usize) -> Vec<u8> {
    let rest = (0..bytes - 8).map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed));
    b"\0asm\x0d\0\x01\0".iter().copied().chain(rest).collect()
}

impl Server {
    pub(crate) fn hook(&self, name: &str, kind: &str) -> Response {
        self.request("PUT", &format!("/api/v1/hooks/{name}")).json(&json!({ "kind": kind })).send()
    }

    pub(crate) fn upload(&self, name: &str, module: impl Into<Vec<u8>>) -> Response {
        let request = self.request("POST", &format!("/api/v1/hooks/{name}/versions"));
        request.header("Content-Type", "application/wasm").body(module).send()
    }

    pub(crate) fn bind(&self, fields: &Value) -> Response {
        self.post("/api/v1/hook-bindings", fields)
    }

    /// What a node that is new is told of bindings.
    pub(crate) fn told(&self) -> Vec<Binding> {
        let node = NodeId { name: "asks".to_owned(), run: 1 };
        let push = self.run(self.fleet.poll(&Poll { node, ..Poll::default() })).unwrap();
        push.update.unwrap().bindings
    }
}

#[test]
fn a_hook_is_made_changed_uploaded_read_and_removed() {
    let server = Server::start();
    let made = server.hook("geo", "auth");
    assert_eq!(made.is(201).header("location"), Some("/api/v1/hooks/geo"));
    // Clients of earlier releases expect a list.
    assert_eq!((&made.json()["versions"], &made.json()["not_in_force"]), (&json!([]), &json!([])));
    let put = |more: Option<&str>, body: Value| {
        let request = server.request("PUT", "/api/v1/hooks/geo");
        more.into_iter().fold(request, |request, tag| request.header("If-Match", tag)).json(&body).send()
    };
    put(None, json!({ "kind": "auth" })).refused(428, "If-Match");
    put(Some("\"0-0\""), json!({ "kind": "auth" })).refused(412, "");
    put(Some(made.etag()), json!({ "kind": "motion" })).refused(409, "kind auth, which never changes");
    let changed = put(Some(made.etag()), json!({ "kind": "auth", "description": "who is where" }));
    assert_eq!(changed.is(200).text("description"), "who is where");
    let absent = server.request("PUT", "/api/v1/hooks/other").header("If-Match", "*");
    absent.json(&json!({ "kind": "auth" })).send().refused(412, "");
    server.hook("a%20b", "auth").refused(400, "name");
    server.hook("x", "sorcery").refused(400, "");

    let module = component(1, 600_000);
    let first = server.upload("geo", module.clone());
    assert_eq!(first.is(201).header("location"), Some("/api/v1/hooks/geo/versions/1"));
    assert_eq!((&first.json()["number"], &first.json()["bytes"]), (&json!(1), &json!(600_000)));
    assert_eq!(first.text("form"), "component");
    let again = server.upload("geo", module.clone());
    assert_eq!(again.is(200).json(), first.json(), "the same bytes are the same version");
    let core = server.upload("geo", *b"\0asm\x01\0\0\0");
    assert_eq!((&core.is(201).json()["number"], core.text("form")), (&json!(2), "module"));

    let shown = server.get("/api/v1/hooks/geo");
    assert_eq!(shown.is(200).json()["versions"].as_array().unwrap().len(), 2);
    assert_eq!(server.get("/api/v1/hooks").is(200).json()["items"][0], *shown.json());
    assert_eq!(server.get("/api/v1/hooks/geo/versions/1").is(200).json(), first.json());
    server.get("/api/v1/hooks/geo/versions/3").refused(404, "no version 3");
    server.get("/api/v1/hooks/geo/versions/one").refused(400, "");
    let bytes = server.get("/api/v1/hooks/geo/versions/1/module");
    assert_eq!(bytes.is(200).header("content-type"), Some("application/wasm"));
    assert_eq!((bytes.header("content-length"), bytes.raw() == module), (Some("600000"), true));

    let remove = |tag: &str| server.request("DELETE", "/api/v1/hooks/geo").header("If-Match", tag).send();
    server.request("DELETE", "/api/v1/hooks/geo").send().refused(428, "");
    remove(made.etag()).refused(412, "");
    remove(shown.etag()).is(204);
    server.get("/api/v1/hooks/geo").refused(404, "no hook");
    server.upload("geo", module).refused(404, "no hook");
    let log: Vec<_> = server.audit().into_iter().map(|(_, action, target)| (action, target)).collect();
    let expected = ["hook.delete", "hook.version.create", "hook.version.create", "hook.update", "hook.create"];
    assert_eq!(log, expected.map(|action| (action.to_owned(), "geo".to_owned())));
}

#[test]
fn what_is_no_module_is_refused_before_it_is_kept() {
    let store = Arc::new(MemoryStore::new());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    server.hook("geo", "auth").is(201);
    server.upload("geo", "").refused(400, "too short");
    server.upload("geo", "(module)").refused(400, "WebAssembly text");
    server.upload("geo", *b"\x7fELF\x02\x01\x01\0").refused(400, "no WebAssembly");
    server.upload("geo", *b"\0asm\x0c\0\x01\0").refused(400, "version 12, layer 1");
    let post = |kind: &str| {
        let request = server.request("POST", "/api/v1/hooks/geo/versions").header("Content-Type", kind);
        request.body(component(1, 100)).send()
    };
    post("application/json").refused(415, "application/wasm");
    post("application/octet-stream").refused(415, "application/wasm");
    // Too long by what is said, without waiting for the bytes; and by what comes.
    let said = server.request("POST", "/api/v1/hooks/geo/versions").header("Content-Type", "application/wasm");
    said.header("Content-Length", "20971521").send().refused(413, "at most 20971520");
    let keyed = server.request("POST", "/api/v1/hooks/geo/versions").header("Idempotency-Key", "k");
    keyed.header("Content-Type", "application/wasm").body(component(1, 100)).send().refused(400, "takes no key");
    let kept = |kind| server.run(store.count(Kind(kind))).unwrap();
    assert_eq!((kept("module"), kept("module-piece")), (0, 0));
    // The largest one is taken.
    server.upload("geo", component(1, 20 << 20)).is(201);
    assert_eq!((kept("module"), kept("module-piece")), (1, 80));
}

#[test]
fn ten_versions_are_kept_and_bound_ones_among_them() {
    let server = Server::start();
    server.hook("geo", "auth").is(201);
    for seed in 1..=10 {
        server.upload("geo", component(seed, 100)).is(201);
    }
    let pinned = server.bind(&json!({ "hook": "geo", "point": "play", "version": 1 }));
    pinned.is(201);
    server.upload("geo", component(11, 100)).is(201);
    let numbers = || -> Vec<u64> {
        let hook = server.get("/api/v1/hooks/geo");
        hook.is(200).json()["versions"].as_array().unwrap().iter().map(|v| v["number"].as_u64().unwrap()).collect()
    };
    assert_eq!(numbers(), [1, 3, 4, 5, 6, 7, 8, 9, 10, 11], "2 was the oldest that is not bound");
    for number in 3..=11 {
        server.bind(&json!({ "hook": "geo", "point": "play", "version": number })).is(201);
    }
    server.upload("geo", component(12, 100)).refused(409, "all 10 versions");
    server.bind(&json!({ "hook": "geo", "point": "play", "version": 2 })).refused(409, "it has 1, 3, 4");
    let path = format!("/api/v1/hook-bindings/{}", pinned.text("id"));
    server.request("DELETE", &path).header("If-Match", "*").send().is(204);
    assert_eq!(server.upload("geo", component(12, 100)).is(201).json()["number"], json!(12));
    assert_eq!(numbers(), [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
}

#[test]
fn a_binding_is_made_changed_listed_and_removed_and_nodes_are_told() {
    let server = Server::start();
    server.hook("geo", "auth").is(201);
    server.bind(&json!({ "hook": "geo", "point": "play" })).refused(409, "no version yet");
    let first = server.upload("geo", component(1, 100)).text("sha256").to_owned();
    let fields = json!({
        "hook": "geo", "point": "play", "stream": "cam", "order": 10, "mode": "canary", "canary_percent": 5,
        "config": { "countries": "ch,de" }, "secrets": ["geo-key"],
    });
    let made = server.bind(&fields);
    let path = made.is(201).header("location").unwrap().to_owned();
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&made.json()[name], value, "{name}");
    }
    assert_eq!(made.json()["version"], "newest");
    assert_eq!(made.json()["means"], json!({ "version": 1, "sha256": first }));
    assert_eq!(made.json()["not_in_force"], json!([]));
    let told = server.told();
    let [binding] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((binding.kind.as_str(), binding.point.as_str(), binding.mode), ("auth", "play", Mode::Canary));
    assert_eq!((binding.version, &binding.sha256, binding.bytes), (1, &first, 100));
    assert_eq!((binding.canary_percent, binding.secrets.as_slice()), (5, &["geo-key".to_owned()][..]));

    // A new version reaches those that mean the newest one, and nobody else.
    let pinned = server.bind(&json!({ "hook": "geo", "point": "publish", "version": 1, "mode": "live" }));
    pinned.is(201);
    let second = server.upload("geo", component(2, 100)).text("sha256").to_owned();
    let mut versions: Vec<_> = server.told().into_iter().map(|told| (told.point, told.version, told.sha256)).collect();
    versions.sort();
    assert_eq!(versions, [("play".to_owned(), 2, second), ("publish".to_owned(), 1, first.clone())]);
    let now = server.get(&path);
    assert_eq!(now.is(200).json()["means"]["version"], json!(2));

    // A rollback is another version.
    let change = |tag: &str, body: Value| server.request("PATCH", &path).header("If-Match", tag).json(&body).send();
    server.request("PATCH", &path).json(&json!({})).send().refused(428, "");
    let back = change(now.etag(), json!({ "version": 1, "mode": "off", "stream": "" }));
    assert_eq!(back.is(200).json()["stream"], json!(null));
    change(now.etag(), json!({ "version": 2 })).refused(412, "");
    change(back.etag(), json!({ "hook": "other" })).refused(400, "never changes");
    change(back.etag(), json!({ "point": "motion" })).refused(400, "publish, play");
    assert!(server.told().iter().all(|told| told.version == 1 && told.sha256 == first));

    let listed = |query: &str| server.get(&format!("/api/v1/hook-bindings{query}")).is(200).json().clone();
    assert_eq!(listed("")["items"].as_array().unwrap().len(), 2);
    let page = listed("?limit=1&hook=geo");
    let rest = listed(&format!("?hook=geo&cursor={}", page["next"].as_str().unwrap()));
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &json!(null)));
    assert_ne!(rest["items"][0]["id"], page["items"][0]["id"]);
    assert_eq!(listed("?hook=other")["items"], json!([]));

    server
        .request("DELETE", "/api/v1/hooks/geo")
        .header("If-Match", "*")
        .send()
        .refused(409, "2 bindings name this hook");
    server.request("DELETE", &path).header("If-Match", back.etag()).send().is(204);
    server.get(&path).refused(404, "no binding");
    assert_eq!(server.told().len(), 1);
    let log: Vec<_> = server.audit().into_iter().map(|(_, action, _)| action).take(2).collect();
    assert_eq!(log, ["hook.binding.delete", "hook.binding.update"], "what was refused is not in it");
}

#[test]
fn what_is_wrong_with_a_binding_is_said() {
    let server = Server::start();
    server.hook("geo", "auth").is(201);
    server.hook("seen", "motion").is(201);
    server.upload("geo", component(1, 100)).is(201);
    server.upload("seen", component(1, 100)).is(201);
    let refused = |body: Value, status, part| {
        server.bind(&body).refused(status, part);
    };
    refused(json!({}), 400, "2 fields are wrong");
    refused(json!({ "hook": "nobody", "point": "play" }), 404, "no hook");
    refused(json!({ "hook": "seen", "point": "play" }), 400, "kind motion are asked at: motion");
    let with = |name: &str, value: Value| {
        let mut body = json!({ "hook": "geo", "point": "play" });
        body[name] = value;
        body
    };
    refused(with("version", json!("oldest")), 400, "the word newest");
    refused(with("version", json!(0)), 409, "it has 1");
    refused(with("stream", json!("a b")), 400, "stream");
    refused(with("order", json!(10_000)), 400, "9999");
    refused(with("mode", json!("canary")), 400, "1 to 99");
    refused(with("canary_percent", json!(100)), 400, "1 to 99");
    refused(with("config", json!({ "": "x" })), 400, "1 to 64 bytes");
    refused(with("config", json!({ "x": "y".repeat(1_025) })), 400, "1024 bytes");
    refused(with("secrets", json!(["a", "a"])), 400, "each once");
    refused(with("secrets", json!(["a value, by mistake"])), 400, "values belong elsewhere");
    refused(with("speed", json!(1)), 400, "");
    assert_eq!(server.told(), []);
    // Repeated with a key it takes effect once.
    let keyed = || {
        let request = server.request("POST", "/api/v1/hook-bindings").header("Idempotency-Key", "k");
        request.json(&json!({ "hook": "geo", "point": "play" })).send()
    };
    assert_eq!(keyed().is(201).json(), keyed().is(201).json());
    assert_eq!(server.told().len(), 1);
}

#[test]
fn a_change_whose_answer_is_too_long_to_be_kept_is_answered_and_made_once() {
    let server = Server::start();
    server.hook("geo", "auth").is(201);
    server.upload("geo", component(1, 100)).is(201);
    // Characters that are six bytes each in JSON: the answer shows them again, with more around them.
    let config: serde_json::Map<_, _> = (0..32).map(|n| (format!("c{n:02}"), json!("\u{1}".repeat(338)))).collect();
    let mut new = json!({ "hook": "geo", "point": "play", "mode": "off", "config": config });
    let pad = 65_500 - new.to_string().len();
    new["config"]["c00"] = json!("\u{1}".repeat(338) + &"y".repeat(pad.min(600)));
    let keyed = || {
        let request = server.request("POST", "/api/v1/hook-bindings").header("Idempotency-Key", "once");
        request.json(&new).send()
    };
    let made = keyed();
    assert!(made.is(201).raw().len() > 64 << 10, "{} bytes are no test of it", made.raw().len());
    for _ in 0..2 {
        keyed().refused(409, "was carried out");
    }
    let bindings = server.get("/api/v1/hook-bindings?limit=500");
    assert_eq!(bindings.is(200).json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn admins_upload_operators_bind_viewers_look() {
    let server = Server::start();
    server.hook("geo", "auth").is(201);
    server.upload("geo", component(1, 100)).is(201);
    let binding = server.bind(&json!({ "hook": "geo", "point": "play" }));
    let binding = binding.is(201).header("location").unwrap();
    let (viewer, operator) = (server.token("viewer"), server.token("operator"));
    let by = |token: &str, method: &str, path: &str| {
        let request = server.plain(method, path).header("Authorization", &format!("Bearer {token}"));
        request.header("If-Match", "*").json(&json!({})).send().status
    };
    for path in ["/api/v1/hooks", "/api/v1/hooks/geo", "/api/v1/hooks/geo/versions/1", "/api/v1/hook-bindings", binding]
    {
        assert_eq!(by(&viewer, "GET", path), 200, "{path}");
    }
    assert_eq!(by(&viewer, "GET", "/api/v1/hooks/geo/versions/1/module"), 403);
    assert_eq!(by(&operator, "GET", "/api/v1/hooks/geo/versions/1/module"), 200);
    for (method, path) in
        [("PUT", "/api/v1/hooks/geo"), ("DELETE", "/api/v1/hooks/geo"), ("POST", "/api/v1/hooks/geo/versions")]
    {
        assert_eq!((by(&viewer, method, path), by(&operator, method, path)), (403, 403), "{method} {path}");
    }
    for (method, path) in [("POST", "/api/v1/hook-bindings"), ("PATCH", binding), ("DELETE", binding)] {
        assert_eq!(by(&viewer, method, path), 403, "{method} {path}");
    }
    assert_eq!((by(&operator, "PATCH", binding), by(&operator, "DELETE", binding)), (200, 204));
}

/// Hooks of all kinds are in force; a binding changes nothing of what nodes get of streams.
#[test]
fn a_live_binding_of_any_kind_is_in_force() {
    let server = Server::start();
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let streams = || {
        let poll = Poll { node: NodeId { name: "n".into(), run: 1 }, ..Poll::default() };
        server.run(server.fleet.poll(&poll)).unwrap().update.unwrap().streams
    };
    let (key, before) = (server.get("/api/v1/streams/cam/key").json().clone(), streams());
    for (kind, point) in
        [("auth", "publish"), ("auth", "play"), ("policy", "renditions"), ("motion", "motion"), ("events", "events")]
    {
        let name = format!("{kind}-{point}");
        server.hook(&name, kind).is(201);
        server.upload(&name, component(1, 100)).is(201);
        let bound = server.bind(&json!({ "hook": name, "point": point, "mode": "live" }));
        let id = bound.is(201).text("id").to_owned();
        let told = server.told();
        let told = told.iter().find(|told| told.id == id).expect("nodes are told of it");
        assert_eq!((told.kind.as_str(), told.point.as_str(), told.mode), (kind, point, Mode::Live));
    }
    assert_eq!((server.get("/api/v1/streams/cam/key").json(), streams()), (&key, before));
}

/// Hooks outlive the process; what no hook names is swept, and nothing else.
#[test]
fn hooks_are_there_after_a_restart_and_what_nothing_names_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Arc::new(SqliteStore::open(dir.path()).unwrap());
    let store = open();
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    let (kept, gone) = (component(1, 300_000), component(2, 300_000));
    server.hook("kept", "auth").is(201);
    server.hook("gone", "auth").is(201);
    server.upload("kept", kept.clone()).is(201);
    // The same module under two names is there once, and stays for the one that is left.
    server.upload("gone", kept.clone()).is(201);
    server.upload("gone", gone).is(201);
    server.bind(&json!({ "hook": "kept", "point": "play", "mode": "shadow" })).is(201);
    let told = server.told();
    server.request("DELETE", "/api/v1/hooks/gone").header("If-Match", "*").send().is(204);
    let count = |kind| server.run(store.count(Kind(kind))).unwrap();
    assert_eq!((count("module"), count("module-piece")), (2, 4));
    server.purge();
    assert_eq!((count("module"), count("module-piece")), (1, 2));
    server.end();
    drop(store);

    let server = Server::with(Options { store: open(), ..Options::default() });
    assert_eq!(server.told(), told);
    assert_eq!(server.get("/api/v1/hooks/kept/versions/1/module").is(200).raw(), kept);
}
