//! Clients that hang up at any moment: what was stored is what the nodes have, counters are right, and a key takes effect once.
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millstream_control_protocol::exchange::{NodeId, Poll};
use millstream_store::item::{Change, Expect, Item, Kind, Page, Query, Write};
use millstream_store::memory::MemoryStore;
use millstream_store::{Answer, Store, StoreError};
use serde_json::{Value, json};

use crate::harness::{ADMIN, Options, Server};

/// A store whose every answer takes some milliseconds, and which may write and then say that it failed, as a network store can.
#[derive(Default)]
struct Distant {
    inner: MemoryStore,
    calls: AtomicU64,
    /// Every so many writes of streams and slates are said to have failed; 0: none.
    lies_every: AtomicU64,
    writes: AtomicU64,
}

impl Distant {
    fn after<'a, T: Send + 'a>(&self, answer: Answer<'a, T>) -> Answer<'a, T> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(call * 7 % 5)).await;
            answer.await
        })
    }

    fn lies(&self, kind: Kind) -> bool {
        let every = self.lies_every.load(Ordering::Relaxed);
        matches!(kind.0, "stream" | "slate")
            && every > 0
            && self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(every)
    }
}

fn lie<'a, T: Send + 'a>(answer: Answer<'a, T>) -> Answer<'a, T> {
    Box::pin(async move {
        answer.await?;
        Err(StoreError::Failed { path: "/store".into(), detail: "no answer in time".into() })
    })
}

impl Store for Distant {
    fn get(&self, kind: Kind, key: &str) -> Answer<'_, Option<Item>> {
        self.after(self.inner.get(kind, key))
    }
    fn put(&self, write: Write) -> Answer<'_, u64> {
        let lies = self.lies(write.kind);
        let answer = self.after(self.inner.put(write));
        if lies { lie(answer) } else { answer }
    }
    fn delete(&self, kind: Kind, key: &str, expect: Expect) -> Answer<'_, ()> {
        let lies = self.lies(kind);
        let answer = self.after(self.inner.delete(kind, key, expect));
        if lies { lie(answer) } else { answer }
    }
    fn transact(&self, changes: Vec<Change>) -> Answer<'_, Vec<u64>> {
        let lies = changes.iter().any(|change| self.lies(change.target().0));
        let answer = self.after(self.inner.transact(changes));
        if lies { lie(answer) } else { answer }
    }
    fn page(&self, query: Query) -> Answer<'_, Page> {
        self.after(self.inner.page(query))
    }
    fn count(&self, kind: Kind) -> Answer<'_, u64> {
        self.after(self.inner.count(kind))
    }
    fn purge(&self, now_ms: u64) -> Answer<'_, u64> {
        self.after(self.inner.purge(now_ms))
    }
}

/// Sends a request and hangs up after so long, without reading what comes back.
fn hang_up(server: &Server, method: &str, path: &str, more: &str, body: &Value, after: Duration) {
    let body = body.to_string();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN}\r\n{more}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
    std::thread::sleep(after);
}

/// Generations of all streams as a node that is new is told them.
fn told(server: &Server) -> BTreeMap<String, u64> {
    let poll = Poll { node: NodeId { name: "n".into(), run: 1 }, ..Poll::default() };
    let update = server.run(server.fleet.poll(&poll)).unwrap().update.unwrap();
    update.streams.into_iter().map(|stream| (stream.id, stream.generation)).collect()
}

/// The same as the API shows them, from the store.
fn stored(server: &Server) -> BTreeMap<String, u64> {
    let page = server.get("/api/v1/streams?limit=500");
    let items = page.is(200).json()["items"].as_array().unwrap().clone();
    assert_eq!(page.json()["next"], Value::Null);
    items.iter().map(|item| (item["id"].as_str().unwrap().to_owned(), item["generation"].as_u64().unwrap())).collect()
}

/// Within a second of the last hang-up.
#[track_caller]
fn agree(server: &Server, what: &str) {
    let until = Instant::now() + Duration::from_secs(1);
    loop {
        let (told, stored) = (told(server), stored(server));
        if told == stored {
            return;
        }
        assert!(Instant::now() < until, "{what}: told {told:?}\nstored {stored:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Some milliseconds, another number each time.
fn moment(n: u64) -> Duration {
    Duration::from_micros(n * 1_709 % 12_000)
}

#[test]
fn case_36_a_client_that_hangs_up_leaves_nothing_half_done() {
    let store = Arc::new(Distant::default());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    let none = json!({});
    for n in 0..60 {
        let body = json!({ "id": format!("cam-{n}") });
        hang_up(&server, "POST", "/api/v1/streams", "", &body, moment(n));
    }
    agree(&server, "after hang-ups of creates");
    let made = stored(&server).into_keys().collect::<Vec<_>>();
    assert!(made.len() > 30, "only {} were stored before the client was gone", made.len());
    for (n, id) in (0..).zip(&made) {
        hang_up(&server, "POST", &format!("/api/v1/streams/{id}/key"), "", &json!({ "grace_s": 0 }), moment(n));
    }
    agree(&server, "after hang-ups of rotations");
    assert!(stored(&server).values().any(|generation| *generation == 2));
    for (n, id) in (0..).zip(&made) {
        hang_up(&server, "DELETE", &format!("/api/v1/streams/{id}"), "If-Match: *\r\n", &none, moment(n));
    }
    agree(&server, "after hang-ups of removals");
    for id in stored(&server).into_keys() {
        server.request("DELETE", &format!("/api/v1/streams/{id}")).header("If-Match", "*").send().is(204);
    }
    server.post("/api/v1/streams", &json!({ "id": "after" })).is(201);
    assert_eq!(told(&server).into_keys().collect::<Vec<_>>(), ["after"]);
}

#[test]
fn case_36_a_key_of_a_request_whose_client_hung_up_takes_effect_once() {
    let store = Arc::new(Distant::default());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    let key = |n: u64| format!("Idempotency-Key: k{n}\r\n");
    let body = |n: u64| json!({ "settings": { "videoname": format!("n{n}") } });
    for n in 0..40 {
        hang_up(&server, "POST", "/api/v1/streams", &key(n), &body(n), moment(n));
    }
    std::thread::sleep(Duration::from_millis(200));
    for n in 0..40 {
        let again = server.request("POST", "/api/v1/streams").header("Idempotency-Key", &format!("k{n}"));
        again.json(&body(n)).send().is(201);
    }
    let page = server.get("/api/v1/streams?limit=500");
    let mut names: Vec<_> =
        page.json()["items"].as_array().unwrap().iter().map(|item| item["settings"]["videoname"].to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!((names.len(), stored(&server).len()), (40, 40), "each key made one stream");
    agree(&server, "after repeated keys");
}

#[test]
fn nodes_have_what_is_stored_where_the_store_wrote_and_said_that_it_failed() {
    let store = Arc::new(Distant::default());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    for n in 0..12 {
        server.post("/api/v1/streams", &json!({ "id": format!("cam-{n}") })).is(201);
    }
    store.lies_every.store(2, Ordering::Relaxed);
    let mut failed = 0;
    for n in 0..12 {
        let path = format!("/api/v1/streams/cam-{n}");
        let answer = if n % 2 == 0 {
            server.post(&format!("{path}/key"), &json!({ "grace_s": 0 }))
        } else {
            server.request("DELETE", &path).header("If-Match", "*").send()
        };
        failed += u32::from(answer.status >= 500);
    }
    for n in 20..26 {
        failed += u32::from(server.post("/api/v1/streams", &json!({ "id": format!("cam-{n}") })).status >= 500);
    }
    assert!(failed >= 6, "only {failed} writes were said to have failed");
    store.lies_every.store(0, Ordering::Relaxed);
    agree(&server, "after failures");
}

#[test]
fn a_slate_that_was_stored_and_said_to_have_failed_keeps_its_clip() {
    const FIRST: &[u8] = include_bytes!("../../../../dataplane/hub/slate/slate.flv");
    const NEXT: &[u8] = include_bytes!("../../../../dataplane/millstream/clip/demo.flv");
    let store = Arc::new(Distant::default());
    let server = Server::with(Options { store: Arc::clone(&store) as _, ..Options::default() });
    let put = |clip: &[u8]| {
        let request = server.request("PUT", "/api/v1/slates/back").header("Content-Type", "video/x-flv");
        request.header("If-Match", "*").body(clip).send()
    };
    let made = server.request("PUT", "/api/v1/slates/back").header("Content-Type", "video/x-flv").body(FIRST).send();
    made.is(201);
    server.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "slate": "back" } })).is(201);
    store.lies_every.store(1, Ordering::Relaxed);
    assert!(put(NEXT).status >= 500);
    store.lies_every.store(0, Ordering::Relaxed);
    // The sweep goes by what is stored, and whoever sends the clip again has it everywhere.
    server.purge();
    let again = put(NEXT);
    again.is(200);
    assert_eq!(server.get("/api/v1/slates/back/clip").is(200).raw(), NEXT);
    let poll = Poll { node: NodeId { name: "n".into(), run: 1 }, ..Poll::default() };
    let update = server.run(server.fleet.poll(&poll)).unwrap().update.unwrap();
    assert_eq!(update.streams[0].slate.as_deref(), Some(again.text("sha256")));
}
