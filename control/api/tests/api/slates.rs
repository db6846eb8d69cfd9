//! Slates: uploaded, checked, named by streams, and as nodes are told of them.
use std::sync::Arc;
use std::time::Duration;

use millstream_control_protocol::exchange::{NodeId, Poll};
use millstream_control_protocol::state::{OnUnpublish, Stream};
use millstream_store::Store as _;
use millstream_store::item::{Change, Expect, Item, Kind, Page, Query, Write};
use millstream_store::memory::MemoryStore;
use serde_json::json;

use crate::harness::{Options, Response, Server};

const SLATE: &[u8] = include_bytes!("../../../../dataplane/hub/slate/slate.flv");
const DEMO: &[u8] = include_bytes!("../../../../dataplane/millstream/clip/demo.flv");

impl Server {
    fn slate(&self, name: &str, tag: Option<&str>, clip: &[u8]) -> Response {
        let request = self.request("PUT", &format!("/api/v1/slates/{name}")).header("Content-Type", "video/x-flv");
        tag.into_iter().fold(request, |request, tag| request.header("If-Match", tag)).body(clip).send()
    }

    /// A stream as a node that is new is told of it.
    fn told_of(&self, id: &str) -> Stream {
        let node = NodeId { name: "asks".to_owned(), run: 1 };
        let push = self.run(self.fleet.poll(&Poll { node, ..Poll::default() })).unwrap();
        push.update.unwrap().streams.into_iter().find(|stream| stream.id == id).unwrap()
    }

    fn set(&self, id: &str, settings: &serde_json::Value) -> Response {
        let request = self.request("PATCH", &format!("/api/v1/streams/{id}")).header("If-Match", "*");
        request.json(&json!({ "settings": settings })).send()
    }
}

#[test]
fn a_slate_is_uploaded_named_replaced_and_removed() {
    let store = Arc::new(MemoryStore::new());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    server.set("cam", &json!({ "slate": "back" })).refused(400, "PUT /api/v1/slates/{name}");
    let made = server.slate("back", None, SLATE);
    assert_eq!(made.is(201).header("location"), Some("/api/v1/slates/back"));
    let json = made.json();
    assert_eq!((&json["width"], &json["height"], &json["sound"]), (&json!(640), &json!(360), &json!(false)));
    assert_eq!((&json["duration_ms"], &json["bytes"]), (&json!(2_000), &json!(SLATE.len())));
    assert_eq!(server.get("/api/v1/slates/back").is(200).json(), json);
    assert_eq!(server.get("/api/v1/slates").is(200).json()["items"][0], *json);
    let clip = server.get("/api/v1/slates/back/clip");
    assert_eq!((clip.is(200).header("content-type"), clip.raw()), (Some("video/x-flv"), SLATE));

    server.set("cam", &json!({ "on_unpublish": "slate", "slate": "back" })).is(200);
    let told = server.told_of("cam");
    assert_eq!(told.on_unpublish, Some(OnUnpublish::Slate));
    assert_eq!(told.slate.as_deref(), Some(made.text("sha256")));
    // Another file under the name: only by who says which one is meant; nodes are told of it.
    server.slate("back", None, SLATE).is(200);
    server.slate("back", None, DEMO).refused(428, "If-Match");
    server.slate("back", Some("\"0-0\""), DEMO).refused(412, "");
    let next = server.slate("back", Some(made.etag()), DEMO);
    assert_eq!((next.is(200).json()["sound"].as_bool(), next.etag() == made.etag()), (Some(true), false));
    assert_eq!(server.told_of("cam").slate.as_deref(), Some(next.text("sha256")));
    // What nothing names any more goes; what is named stays.
    let kept = |kind| server.run(store.count(Kind(kind))).unwrap();
    assert_eq!(kept("module"), 2);
    server.purge();
    assert_eq!(kept("module"), 1);
    assert_eq!(server.get("/api/v1/slates/back/clip").is(200).raw(), DEMO);

    let remove = |tag: &str| server.request("DELETE", "/api/v1/slates/back").header("If-Match", tag).send();
    remove(next.etag()).refused(409, "1 streams name this slate, cam among them");
    server.set("cam", &json!({ "slate": null })).is(200);
    assert_eq!(server.told_of("cam").slate, None);
    server.request("DELETE", "/api/v1/slates/back").send().refused(428, "");
    remove(next.etag()).is(204);
    server.get("/api/v1/slates/back").refused(404, "no slate");
    server.purge();
    assert_eq!((kept("module"), kept("module-piece")), (0, 0));
    let log = server.audit().into_iter().filter(|(_, action, _)| action.starts_with("slate."));
    assert_eq!(log.map(|(_, action, _)| action).collect::<Vec<_>>(), ["slate.delete", "slate.update", "slate.create"]);
}

/// A store that keeps a transaction waiting when it is told to: as a disk that is slow, or a network.
#[derive(Default)]
struct Slow {
    inner: MemoryStore,
    /// The kind of which the next write waits.
    waits: std::sync::Mutex<Option<&'static str>>,
}

impl millstream_store::Store for Slow {
    fn get(&self, kind: Kind, key: &str) -> millstream_store::Answer<'_, Option<Item>> {
        self.inner.get(kind, key)
    }
    fn put(&self, write: Write) -> millstream_store::Answer<'_, u64> {
        self.inner.put(write)
    }
    fn delete(&self, kind: Kind, key: &str, expect: Expect) -> millstream_store::Answer<'_, ()> {
        self.inner.delete(kind, key, expect)
    }
    fn transact(&self, changes: Vec<Change>) -> millstream_store::Answer<'_, Vec<u64>> {
        let mut waits = self.waits.lock().unwrap();
        let kind = changes.iter().find_map(|change| waits.filter(|kind| change.target().0.0 == *kind));
        let late = kind.is_some().then(|| waits.take());
        Box::pin(async move {
            if late.is_some() {
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            self.inner.transact(changes).await
        })
    }
    fn page(&self, query: Query) -> millstream_store::Answer<'_, Page> {
        self.inner.page(query)
    }
    fn count(&self, kind: Kind) -> millstream_store::Answer<'_, u64> {
        self.inner.count(kind)
    }
    fn purge(&self, now_ms: u64) -> millstream_store::Answer<'_, u64> {
        self.inner.purge(now_ms)
    }
}

/// A stream names a slate while it is being removed: one of the two is refused, whichever comes second.
#[test]
fn a_slate_is_never_removed_under_a_stream_that_has_just_named_it() {
    let store = Arc::new(Slow::default());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let named = json!({ "slate": "back" });
    for slow in ["stream", "slate"] {
        for new in [false, true] {
            let tag = server.slate("back", None, SLATE).etag().to_owned();
            let remove = || server.request("DELETE", "/api/v1/slates/back").header("If-Match", &tag).send().status;
            let name = || {
                if new {
                    server.post("/api/v1/streams", &json!({ "id": "next", "settings": named })).status
                } else {
                    server.set("cam", &named).status
                }
            };
            let (first, second): (&(dyn Fn() -> u16 + Sync), &(dyn Fn() -> u16 + Sync)) =
                if slow == "stream" { (&name, &remove) } else { (&remove, &name) };
            *store.waits.lock().unwrap() = Some(slow);
            let (first, second) = std::thread::scope(|scope| {
                let first = scope.spawn(first);
                std::thread::sleep(Duration::from_millis(150));
                let second = second();
                (first.join().unwrap(), second)
            });
            assert!(store.waits.lock().unwrap().is_none(), "{slow}: nothing was slow");
            let expected = match (slow, new) {
                ("stream", true) => (201, 409),
                ("stream", false) => (200, 409),
                _ => (204, 400),
            };
            assert_eq!((first, second), expected, "{slow} {new}");
            if slow == "stream" {
                let id = if new { "next" } else { "cam" };
                assert!(server.told_of(id).slate.is_some());
                server.set(id, &json!({ "slate": null })).is(200);
            }
            let tag = server.get("/api/v1/slates/back");
            if tag.status == 200 {
                server.request("DELETE", "/api/v1/slates/back").header("If-Match", tag.etag()).send().is(204);
            }
        }
    }
}

#[test]
fn a_slate_of_mp4_comes_back_as_it_was() {
    let server = Server::with(Options::default());
    let mp4 = include_bytes!("../../../../dataplane/proto/tests/data/clip.mp4");
    let request = server.request("PUT", "/api/v1/slates/phone").header("Content-Type", "video/mp4");
    assert_eq!(request.body(mp4).send().is(201).json()["width"], json!(64));
    let clip = server.get("/api/v1/slates/phone/clip");
    assert_eq!((clip.is(200).header("content-type"), clip.raw()), (Some("video/mp4"), &mp4[..]));
}

#[test]
fn what_cannot_be_played_is_refused_before_it_is_kept() {
    let store = Arc::new(MemoryStore::new());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    server.slate("back", None, b"\0\0\0\x20ftypisom").refused(400, "cannot be read: it is cut short");
    server.slate("back", None, &SLATE[..3_000]).refused(400, "give the whole file");
    server.slate("a%20b", None, SLATE).refused(400, "name");
    let json = server.request("PUT", "/api/v1/slates/back").header("Content-Type", "application/json");
    json.body(SLATE).send().refused(415, "video/x-flv");
    let large = server.request("PUT", "/api/v1/slates/back").header("Content-Type", "video/x-flv");
    large.header("Content-Length", "8388609").send().refused(413, "at most 8388608");
    assert_eq!(server.run(store.count(Kind("module"))), Ok(0));
    // Who may only look may not.
    let viewer = server.token("viewer");
    let request = server.plain("PUT", "/api/v1/slates/back").header("Authorization", &format!("Bearer {viewer}"));
    request.header("Content-Type", "video/x-flv").body(SLATE).send().refused(403, "");
}

#[test]
fn a_control_that_starts_again_knows_what_its_streams_show() {
    let store = Arc::new(MemoryStore::new());
    let options = || Options { store: Arc::clone(&store) as _, ..Options::default() };
    let server = Server::with(options());
    let made = server.slate("back", None, SLATE);
    let settings = json!({ "on_unpublish": "slate", "slate": "back" });
    server.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201);
    server.end();
    let server = Server::with(options());
    assert_eq!(server.told_of("cam").slate.as_deref(), Some(made.text("sha256")));
    let module = server.run(server.fleet.module(made.text("sha256"), 0)).unwrap();
    assert_eq!(module.len(), SLATE.len());
}
