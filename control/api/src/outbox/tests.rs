//! The outbox over a store in memory: lanes, what is written unseen, and clocks that leap.
use millstream_control_protocol::event::What;
use millstream_store::memory::MemoryStore;

use super::*;

const RUN: u64 = 9;

fn event(seq: u64, stream: &str, what: What) -> Event {
    Event { seq, at_unix_ms: 1_000 + seq, stream: stream.to_owned(), what, ..Event::default() }
}

async fn hook(store: &dyn Store, id: &str, record: &WebhookRecord) {
    let value = serde_json::to_vec(record).unwrap();
    let write = Write { kind: WEBHOOK, key: id.to_owned(), expect: Expect::Any, expires_ms: None, value };
    store.put(write).await.unwrap();
}

fn attempt(at_unix_ms: u64) -> Attempt {
    Attempt { at_unix_ms, took_ms: 1, status: Some(200), error: String::new() }
}

fn ask() -> Ask {
    Ask { limit: 10, share: 10, ..Ask::default() }
}

#[test]
fn deliveries_wait_in_lanes_and_in_order() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (store, clock): (Arc<dyn Store>, _) = (Arc::new(MemoryStore::new()), Clock::of(|| 5_000));
    let outbox =
        StoredOutbox::new(Arc::clone(&store), MasterKey::new([1; 32]), runtime.handle().clone(), clock.clone());
    let node = NodeId { name: "n".into(), run: RUN };
    let events = [
        event(1, "a", What::Publish { encoder: String::new(), replaced_heard_ago_ms: None }),
        event(2, "b", What::Publish { encoder: String::new(), replaced_heard_ago_ms: None }),
        event(3, "a", What::Refused { action: String::new(), why: String::new(), reason: String::new(), count: 1 }),
    ];
    runtime.block_on(async {
        let url = || "https://example.com/hook".to_owned();
        hook(&*store, "all", &WebhookRecord { url: url(), ..WebhookRecord::default() }).await;
        let publish = vec!["publish".to_owned()];
        let only = WebhookRecord { url: url(), events: publish, stream: Some("a".into()), ..WebhookRecord::default() };
        hook(&*store, "only", &only).await;
        hook(&*store, "off", &WebhookRecord { url: url(), enabled: false, ..WebhookRecord::default() }).await;
        assert_eq!(outbox.add(&node, &events).await, Ok(4));
        // Told again: nothing is there twice.
        outbox.add(&node, &events[..1]).await.unwrap();
        assert_eq!(store.count(WAITING).await, Ok(4));
    });
    let hooks = ["all", "only"].map(str::to_owned).into();
    assert_eq!(outbox.backlog(), Ok(Backlog { waiting: 4, oldest_unix_ms: Some(5_000), hooks }));
    let due = outbox.due(5_000, &ask()).unwrap();
    let lanes: Vec<&str> = due.iter().map(|entry| entry.lane.as_str()).collect();
    assert_eq!(lanes, ["all/a", "only/a", "all/b"], "the first of each lane, the oldest first");
    assert_ne!(due[0].secret, due[1].secret);
    assert!(String::from_utf8_lossy(&due[0].body).contains("\"kind\":\"publish\""));
    // A lane waits for its first entry, the others go on.
    outbox.settle(&due[0].key, &attempt(5_000), Next::Retry { due_unix_ms: 9_000 }).unwrap();
    outbox.settle(&due[2].key, &attempt(5_001), Next::Delivered).unwrap();
    let later: Vec<String> = outbox.due(6_000, &ask()).unwrap().into_iter().map(|entry| entry.lane).collect();
    assert_eq!(later, ["only/a"]);
    let again = outbox.due(9_000, &ask()).unwrap();
    assert_eq!(again.iter().find(|entry| entry.lane == "all/a").unwrap().attempts, 1);
    outbox.settle(&due[0].key, &attempt(9_000), Next::GivenUp).unwrap();
    let next = outbox.due(9_000, &ask()).unwrap();
    assert_eq!(next.iter().find(|entry| entry.lane == "all/a").unwrap().kind, "refused");
    // What a removed hook left goes, too.
    runtime.block_on(async {
        store.delete(WEBHOOK, "all", Expect::Any).await.unwrap();
        assert_eq!(store.count(DELIVERY).await, Ok(3));
    });
    outbox.due(9_000, &ask()).unwrap();
    outbox.due(9_000, &ask()).unwrap();
    assert_eq!(runtime.block_on(store.count(WAITING)), Ok(1));
}

/// A report whose handler was cut off between the write and what is known of it comes again; a broken item is in the way of none.
#[test]
fn what_was_written_unseen_is_found_and_what_cannot_be_read_is_passed_over() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let (store, clock): (Arc<dyn Store>, _) = (Arc::new(MemoryStore::new()), Clock::of(|| 5_000));
    let made =
        || StoredOutbox::new(Arc::clone(&store), MasterKey::new([1; 32]), runtime.handle().clone(), clock.clone());
    let (outbox, other) = (made(), made());
    let node = NodeId { name: "n".into(), run: RUN };
    let events =
        [1, 2].map(|seq| event(seq, "a", What::Publish { encoder: String::new(), replaced_heard_ago_ms: None }));
    runtime.block_on(async {
        let url = "https://example.com/hook".to_owned();
        hook(&*store, "all", &WebhookRecord { url, ..WebhookRecord::default() }).await;
        assert_eq!(outbox.add(&node, &[]).await, Ok(0));
        other.add(&node, &events).await.unwrap();
        outbox.add(&node, &events).await.unwrap();
    });
    let due = outbox.due(5_000, &ask()).unwrap();
    assert_eq!(due.len(), 1);
    // The second one breaks, and a third one comes.
    runtime.block_on(async {
        let page = store.page(Query::all(WAITING)).await.unwrap();
        let Write { kind, expires_ms, .. } = entry_of("all", &node, &events[1], 0);
        let key = page.items[1].key.clone();
        store.put(Write { kind, key, expect: Expect::Any, expires_ms, value: b"\0broken".into() }).await.unwrap();
        let third = event(3, "a", What::Publish { encoder: String::new(), replaced_heard_ago_ms: None });
        outbox.add(&node, &[third]).await.unwrap();
    });
    outbox.settle(&due[0].key, &attempt(5_000), Next::Delivered).unwrap();
    for outbox in [outbox, made()] {
        let next = outbox.due(6_000, &ask()).unwrap();
        assert!(next.len() == 1 && next[0].key.ends_with('3'), "{next:?}");
    }
    assert_eq!(runtime.block_on(store.count(WAITING)), Ok(2));
}
/// A delivery is as old as it has waited here, whatever the clocks of nodes say, and a leap of control's clock makes none old.
#[test]
fn deliveries_do_not_grow_old_by_clocks_that_leap() {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    const HOUR: u64 = 3_600_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let times: Arc<[AtomicU64; 2]> = Arc::new([AtomicU64::new(500_000 * HOUR), AtomicU64::new(0)]);
    let (wall, steady) = (Arc::clone(&times), Arc::clone(&times));
    let clock = Clock::of_both(move || wall[0].load(Relaxed), move || steady[1].load(Relaxed));
    let pass = |hours: u64| {
        for time in &*times {
            time.fetch_add(hours * HOUR, Relaxed);
        }
    };
    let outbox =
        StoredOutbox::new(Arc::clone(&store), MasterKey::new([1; 32]), runtime.handle().clone(), clock.clone());
    let node = NodeId { name: "n".into(), run: RUN };
    let add = |seq| {
        // The node's clock is at 1970.
        let event =
            event(seq, &format!("s{seq}"), What::Publish { encoder: String::new(), replaced_heard_ago_ms: None });
        runtime.block_on(outbox.add(&node, &[event])).unwrap();
    };
    let give_up = || {
        let before = outbox.believed_unix_ms().saturating_sub(24 * HOUR);
        outbox.give_up("all", before, &attempt(0)).unwrap()
    };
    let url = "https://example.com/hook".to_owned();
    runtime.block_on(hook(&*store, "all", &WebhookRecord { url, ..WebhookRecord::default() }));
    add(1);
    assert_eq!(give_up(), 0, "nothing is old before the store's time is known");
    clock.store_was_used(None);
    assert_eq!(give_up(), 0);
    // Ahead by ten years: for a day nothing is old but what is, and what comes meanwhile is not young for ten years once the clock is right.
    times[0].fetch_add(87_600 * HOUR, Relaxed);
    assert_eq!(give_up(), 0);
    pass(20);
    add(2);
    assert_eq!(give_up(), 0);
    times[0].fetch_sub(87_600 * HOUR, Relaxed);
    pass(5);
    assert_eq!(give_up(), 1, "25 hours old");
    assert_eq!(outbox.backlog().unwrap().oldest_unix_ms, Some(500_025 * HOUR));
    pass(25);
    assert_eq!(give_up(), 1);
    assert_eq!(outbox.backlog().unwrap(), Backlog::default());
    // Set right after it was behind: what comes while that is doubted is not old when it is believed.
    times[0].fetch_add(87_600 * HOUR, Relaxed);
    assert_eq!(give_up(), 0);
    pass(20);
    add(3);
    pass(5);
    assert_eq!(give_up(), 0, "5 hours old");
    pass(20);
    assert_eq!(give_up(), 1);
}
