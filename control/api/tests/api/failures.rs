//! When the store fails, or the clock.
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use millstream_control_protocol::exchange::Answer as NodeAnswer;
use millstream_store::item::{Change, Expect, Item, Kind, Page, Query, Write};
use millstream_store::memory::MemoryStore;
use millstream_store::{Answer, Room, Store, StoreError};
use serde_json::json;

use crate::harness::{NOW_MS, Options, Server};

/// A store that can be told to fail.
#[derive(Default)]
struct Failing {
    inner: MemoryStore,
    /// 0: works; 1: full, it reads; 2: does nothing; 3: full for the audit log, and has room for a little more.
    mode: AtomicU8,
    /// What was to be revoked, with how much of the room that is kept for it.
    revoked: Mutex<Vec<Room>>,
}

impl Failing {
    fn fails(&self, writes: bool) -> Option<StoreError> {
        match self.mode.load(Ordering::Relaxed) {
            1 if writes => Some(StoreError::Full { path: "/secret/place".into() }),
            2 => Some(StoreError::Failed { path: "/secret/place".into(), detail: "I/O error".into() }),
            _ => None,
        }
    }

    fn fails_of_audit(&self, audit: bool) -> Option<StoreError> {
        (audit && self.mode.load(Ordering::Relaxed) == 3).then(|| StoreError::Full { path: "/secret/place".into() })
    }
}

fn or<T: Send + 'static>(error: Option<StoreError>, answer: Answer<'_, T>) -> Answer<'_, T> {
    match error {
        Some(error) => Box::pin(async move { Err(error) }),
        None => answer,
    }
}

impl Store for Failing {
    fn get(&self, kind: Kind, key: &str) -> Answer<'_, Option<Item>> {
        or(self.fails(false), self.inner.get(kind, key))
    }
    fn put(&self, write: Write) -> Answer<'_, u64> {
        match self.fails(true).or_else(|| self.fails_of_audit(write.kind.0 == "audit")) {
            Some(error) => Box::pin(async move { Err(error) }),
            None => self.inner.put(write),
        }
    }
    fn delete(&self, kind: Kind, key: &str, expect: Expect) -> Answer<'_, ()> {
        match self.fails(true) {
            Some(error) => Box::pin(async move { Err(error) }),
            None => self.inner.delete(kind, key, expect),
        }
    }
    fn transact(&self, changes: Vec<Change>) -> Answer<'_, Vec<u64>> {
        let audit = changes.iter().any(|change| change.target().0.0 == "audit");
        match self.fails(true).or_else(|| self.fails_of_audit(audit)) {
            Some(error) => Box::pin(async move { Err(error) }),
            None => self.inner.transact(changes),
        }
    }
    fn revoke(&self, changes: Vec<Change>, room: Room) -> Answer<'_, Vec<u64>> {
        self.revoked.lock().unwrap().push(room);
        self.transact(changes)
    }
    fn page(&self, query: Query) -> Answer<'_, Page> {
        or(self.fails(false), self.inner.page(query))
    }
    fn count(&self, kind: Kind) -> Answer<'_, u64> {
        or(self.fails(false), self.inner.count(kind))
    }
    fn purge(&self, now_ms: u64) -> Answer<'_, u64> {
        or(self.fails(true), self.inner.purge(now_ms))
    }
}

#[test]
fn a_full_disk_refuses_changes_and_shows_what_is_there() {
    let store = Arc::new(Failing::default());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    let made = server.post("/api/v1/streams", &json!({ "id": "cam" }));
    store.mode.store(1, Ordering::Relaxed);
    let refused = server.post("/api/v1/streams", &json!({ "id": "cam2" }));
    assert!(!refused.refused(507, "disk").body().contains("/secret/place"));
    let patch = server.request("PATCH", "/api/v1/streams/cam").header("If-Match", made.etag());
    patch.json(&json!({ "settings": { "videoname": "x" } })).send().refused(507, "disk");
    let with_key = || server.request("POST", "/api/v1/streams").header("Idempotency-Key", "k").json(&json!({})).send();
    with_key().refused(507, "disk");
    assert_eq!(server.get("/api/v1/streams/cam").is(200).etag(), made.etag());
    store.mode.store(0, Ordering::Relaxed);
    server.post("/api/v1/streams", &json!({ "id": "cam2" })).is(201);
    with_key().is(201);
}

/// What needs no disk is done, and takes no room from what makes worthless what leaked.
#[test]
fn on_a_full_disk_sessions_are_ended_and_the_kept_room_is_for_revocations() {
    let store = Arc::new(Failing::default());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let made = server.post("/api/v1/tokens", &json!({ "name": "ci", "role": "viewer" }));
    let token = format!("/api/v1/tokens/{}", made.is(201).text("id"));
    let hook = server.post("/api/v1/webhooks", &json!({ "url": "https://example.com/x" }));
    let hook = format!("/api/v1/webhooks/{}", hook.is(201).text("id"));
    server.node("n1", |_| NodeAnswer::Kicked { sessions: 1 });
    let before = server.audit();
    store.mode.store(1, Ordering::Relaxed);
    for path in ["/api/v1/streams/cam/session", "/api/v1/nodes/n1/sessions/43"] {
        let ended = server.request("DELETE", path).send();
        assert_eq!(ended.is(200).json(), &json!({ "sessions": 1, "missing": [] }), "{path}");
    }
    assert_eq!(server.audit(), before);
    assert_eq!(*store.revoked.lock().unwrap(), []);
    let any = |method: &str, path: &str| server.request(method, path).header("If-Match", "*").send().is(507).status;
    any("DELETE", &hook);
    any("DELETE", &token);
    server.post("/api/v1/streams/cam/key", &json!({})).is(507);
    any("DELETE", "/api/v1/streams/cam");
    assert_eq!(*store.revoked.lock().unwrap(), [Room::Half, Room::All, Room::All, Room::All]);
}

#[test]
fn a_store_that_does_nothing_is_said_to_be_down() {
    let store = Arc::new(Failing::default());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    store.mode.store(2, Ordering::Relaxed);
    let refused = server.get("/api/v1/streams");
    assert!(!refused.refused(503, "store").body().contains("/secret/place"));
    assert!(refused.header("retry-after").is_some());
    server.plain("GET", "/healthz").send().is(200);
    server.plain("GET", "/metrics").send().is(200);
}

#[test]
fn a_clock_that_is_set_back_breaks_no_order() {
    let server = Server::start();
    for (n, ms) in [NOW_MS, NOW_MS + 10, NOW_MS - 86_400_000, 0, NOW_MS - 5].into_iter().enumerate() {
        server.set_clock(ms);
        server.post("/api/v1/streams", &json!({ "id": format!("cam-{n}") })).is(201);
    }
    let targets: Vec<_> = server.audit().into_iter().map(|(_, _, target)| target).collect();
    assert_eq!(
        targets,
        ["cam-4", "cam-3", "cam-2", "cam-1", "cam-0"],
        "the log is in the order in which it was written"
    );
    server.set_clock(0);
    let made = server.get("/api/v1/streams/cam-0");
    let patch = server.request("PATCH", "/api/v1/streams/cam-0").header("If-Match", made.is(200).etag());
    patch.json(&json!({ "settings": { "videoname": "x" } })).send().is(200);
}

/// Room for one item and not for the other is what a full disk is at first. Each change is refused as a whole, whatever it consists of.
#[test]
fn what_a_full_disk_refuses_has_changed_nothing() {
    const CLIP: &[u8] = include_bytes!("../../../../dataplane/hub/slate/slate.flv");
    let store = Arc::new(Failing::default());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let hook = server.post("/api/v1/webhooks", &json!({ "url": "https://example.com/x" }));
    let hook = format!("/api/v1/webhooks/{}", hook.is(201).text("id"));
    let made = server.post("/api/v1/tokens", &json!({ "name": "ci", "role": "viewer" }));
    let token = format!("/api/v1/tokens/{}", made.is(201).text("id"));
    server.request("PUT", "/api/v1/hooks/geo").json(&json!({ "kind": "auth" })).send().is(201);
    let clip = |name: &str| {
        let put = server.request("PUT", &format!("/api/v1/slates/{name}")).header("Content-Type", "video/x-flv");
        put.body(CLIP).send()
    };
    clip("back").is(201);
    let state = || {
        let lists = ["streams", "webhooks", "tokens", "hooks", "slates", "hook-bindings", "audit"];
        let read = |list: &str| server.get(&format!("/api/v1/{list}")).is(200).json().to_string();
        (lists.map(read), server.fleet.version())
    };
    let before = state();
    store.mode.store(3, Ordering::Relaxed);
    let any = |method: &str, path: &str| server.request(method, path).header("If-Match", "*");
    let refusals = [
        server.post("/api/v1/streams", &json!({ "id": "cam2" })),
        server.post("/videostream", &json!({})),
        any("PATCH", "/api/v1/streams/cam").json(&json!({ "settings": { "videoname": "x" } })).send(),
        server.post("/api/v1/streams/cam/key", &json!({ "grace_s": 0 })),
        any("DELETE", "/api/v1/streams/cam").send(),
        server.post("/api/v1/webhooks", &json!({ "url": "https://example.com/y" })),
        any("PATCH", &hook).json(&json!({ "enabled": false })).send(),
        any("DELETE", &hook).send(),
        server.post("/api/v1/tokens", &json!({ "name": "ci2", "role": "viewer" })),
        server.request("DELETE", &token).send(),
        server.request("PUT", "/api/v1/hooks/geo2").json(&json!({ "kind": "auth" })).send(),
        any("DELETE", "/api/v1/hooks/geo").send(),
        clip("other"),
        any("DELETE", "/api/v1/slates/back").send(),
        server.plain("POST", "/api/v1/login").json(&json!({ "token": crate::harness::ADMIN })).send(),
    ];
    for refusal in &refusals {
        refusal.refused(507, "nothing was changed");
    }
    let keyed = || {
        let request = server.request("POST", "/api/v1/streams").header("Idempotency-Key", "k");
        request.json(&json!({ "id": "keyed" })).send()
    };
    keyed().refused(507, "nothing was changed");
    assert_eq!(state(), before);
    store.mode.store(0, Ordering::Relaxed);
    keyed().is(201);
    assert_eq!(keyed().is(201).header("idempotency-replayed"), Some("true"));
}

/// One item that a later release wrote, or a broken disk, takes nothing else with it, and is there for whoever can read it.
#[test]
fn items_that_cannot_be_read_are_passed_over_said_and_left() {
    const KINDS: [&str; 9] =
        ["audit", "hook", "hook-binding", "motion", "session", "slate", "stream", "token", "webhook"];
    const GARBAGE: &[u8] = b"\x00\xffnot JSON";
    let store = Arc::new(MemoryStore::new());
    let first = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    first.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    first.post("/api/v1/webhooks", &json!({ "url": "https://example.com/x" })).is(201);
    first.token("viewer");
    first.request("PUT", "/api/v1/hooks/geo").json(&json!({ "kind": "auth" })).send().is(201);
    first.end();
    let key = |kind: &str| if matches!(kind, "motion" | "session") { "cam/0".to_owned() } else { format!("!{kind}") };
    for kind in KINDS {
        let write =
            Write { kind: Kind(kind), key: key(kind), expect: Expect::Absent, expires_ms: None, value: GARBAGE.into() };
        first_block(store.put(write)).unwrap();
    }
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    let count = |path: &str| server.get(path).is(200).json()["items"].as_array().unwrap().len();
    for path in ["streams", "webhooks", "tokens", "hooks"] {
        assert_eq!(count(&format!("/api/v1/{path}")), 1, "{path}");
    }
    assert!(count("/api/v1/audit") >= 4);
    for path in ["slates", "hook-bindings", "streams/cam/history", "streams/cam/motion"] {
        assert_eq!(count(&format!("/api/v1/{path}")), 0, "{path}");
    }
    let told = server.run(server.fleet.poll(&millstream_control_protocol::exchange::Poll {
        node: millstream_control_protocol::exchange::NodeId { name: "n".into(), run: 1 },
        ..Default::default()
    }));
    assert_eq!(told.unwrap().update.unwrap().streams.len(), 1);
    // It is named, counted, and not to be written over.
    let shown = server.get("/api/v1/store").is(200).json().clone();
    let kinds: Vec<&str> =
        shown["unreadable"].as_array().unwrap().iter().map(|i| i["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, KINDS);
    assert_eq!(shown["streams"], 2);
    let metrics = server.plain("GET", "/metrics").header("Accept", "application/openmetrics-text").send().body();
    assert!(metrics.contains("millstream_store_unreadable 9\n") && metrics.ends_with("# EOF\n"), "{metrics}");
    let id = "unreadable-stream";
    let write =
        Write { kind: Kind("stream"), key: id.into(), expect: Expect::Absent, expires_ms: None, value: GARBAGE.into() };
    first_block(store.put(write)).unwrap();
    server.get(&format!("/api/v1/streams/{id}")).refused(503, "restore a backup");
    server.request("DELETE", &format!("/api/v1/streams/{id}")).header("If-Match", "*").send().is(503);
    server.post("/api/v1/streams", &json!({ "id": id })).is(409);
    // What else there is can be changed.
    server.post("/api/v1/streams", &json!({ "id": "cam2" })).is(201);
    server.purge();
    for kind in KINDS {
        let item = first_block(store.get(Kind(kind), &key(kind))).unwrap().unwrap();
        assert_eq!((item.version, item.value.as_slice()), (1, GARBAGE), "{kind}");
    }
}

/// The store in memory answers at once.
fn first_block<T>(answer: Answer<'_, T>) -> Result<T, StoreError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(answer)
}

#[test]
fn a_clock_that_leaps_over_years_removes_nothing_at_once() {
    const YEAR_MS: u64 = 365 * 86_400_000;
    let server = Server::with(Options { steady: true, ..Options::default() });
    let expires = NOW_MS + YEAR_MS;
    let token = json!({ "name": "ci", "role": "viewer", "expires_unix_ms": expires });
    let id = server.post("/api/v1/tokens", &token).is(201).text("id").to_owned();
    let before = server.audit();
    server.purge();
    server.set_clock(NOW_MS + 10 * YEAR_MS);
    for _ in 0..3 {
        server.purge();
    }
    assert_eq!(server.audit(), before);
    server.get(&format!("/api/v1/tokens/{id}")).is(200);
    server.set_clock(NOW_MS);
    server.purge();
    assert_eq!(server.audit(), before);
    // A clock that stands for a day is right.
    server.set_clock(NOW_MS + 10 * YEAR_MS);
    server.purge();
    server.pass(25 * 3_600_000);
    server.purge();
    assert!(server.audit().is_empty());
    server.get(&format!("/api/v1/tokens/{id}")).is(404);
}
