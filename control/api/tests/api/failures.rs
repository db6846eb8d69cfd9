//! When the store fails, or the clock.
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use millstream_store::item::{Expect, Item, Kind, Page, Query, Write};
use millstream_store::memory::MemoryStore;
use millstream_store::{Answer, Store, StoreError};
use serde_json::json;

use crate::kit::{NOW_MS, Options, Server};

/// A store that can be told to fail.
#[derive(Default)]
struct Failing {
    inner: MemoryStore,
    /// 0: works; 1: full, it reads; 2: does nothing.
    mode: AtomicU8,
}

impl Failing {
    fn fails(&self, writes: bool) -> Option<StoreError> {
        match self.mode.load(Ordering::Relaxed) {
            1 if writes => Some(StoreError::Full { path: "/secret/place".into() }),
            2 => Some(StoreError::Failed { path: "/secret/place".into(), detail: "I/O error".into() }),
            _ => None,
        }
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
        match self.fails(true) {
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
