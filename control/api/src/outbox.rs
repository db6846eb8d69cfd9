//! Webhooks' outbox in the store: an entry per hook and event, added before the node that told of the event may forget it, and gone
//! when it was delivered or given up. Before it: [`crate::events::Keep`]; after it: `millstream_side::webhook::deliver`.
//!
//! The key is hook, stream, time and event, so that an event that is told twice is one entry, and the entries of a lane (a hook and a
//! stream) are behind each other in the order in which they happened.
use std::sync::Arc;

use millstream_link::event::Event;
use millstream_link::exchange::NodeId;
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use millstream_side::webhook::body;
use millstream_side::webhook::outbox::{Attempt, Entry, Next, Outbox, OutboxError};
use millstream_store::item::{Change, Expect, Query, Write};
use millstream_store::{Store, StoreError};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::model::webhook::{DELIVERIES_KEPT_MS, Delivery, Waiting, WebhookRecord};
use crate::model::{DELIVERY, WAITING, WEBHOOK};

/// Hooks that may exist: each event is held against all of them.
pub const HOOKS_MAX: usize = 100;
/// Deliveries that may wait, of all hooks; what comes on top is not added, and is said in the log.
const WAITING_MAX: u64 = 100_000;
/// Lanes that are looked at in one go.
const LANES_MAX: usize = 4_096;

/// The outbox of a store.
#[derive(Clone)]
pub struct StoredOutbox {
    store: Arc<dyn Store>,
    master: MasterKey,
    runtime: Handle,
}

fn read<T: DeserializeOwned + Default>(value: &[u8]) -> T {
    // What a later release wrote in another shape is passed over: its fields have defaults, and it names no hook.
    serde_json::from_slice(value).unwrap_or_default()
}

/// The lane of a key: what is before its last part.
fn lane(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(lane, _)| lane)
}

impl StoredOutbox {
    /// In this store; secrets of hooks are made from `master`. `runtime` is where the store's answers are waited for.
    pub fn new(store: Arc<dyn Store>, master: MasterKey, runtime: Handle) -> Self {
        Self { store, master, runtime }
    }

    /// Adds what hooks want of these events; says how many entries that were.
    pub(crate) async fn add(&self, node: &NodeId, events: &[Event]) -> Result<usize, StoreError> {
        let hooks = self.store.page(Query { limit: HOOKS_MAX, ..Query::all(WEBHOOK) }).await?.items;
        if hooks.is_empty() {
            return Ok(0);
        }
        let hooks: Vec<(String, WebhookRecord)> = hooks.into_iter().map(|item| (item.key, read(&item.value))).collect();
        let mut writes = Vec::new();
        for event in events {
            let kind = event.what.kind();
            for (id, hook) in hooks.iter().filter(|(_, hook)| hook.wants(kind, &event.stream)) {
                let key = format!("{id}/{}/{:013}-{:020}-{:020}", event.stream, event.at_unix_ms, node.run, event.seq);
                let waiting = Waiting {
                    hook: id.clone(),
                    kind: kind.to_owned(),
                    body: String::from_utf8_lossy(&body(node, event)).into_owned(),
                    attempts: 0,
                    added_ms: event.at_unix_ms,
                    due_ms: 0,
                };
                if hook.url.is_empty() {
                    continue;
                }
                let value = serde_json::to_vec(&waiting).unwrap_or_default();
                writes.push(Write { kind: WAITING, key, expect: Expect::Absent, expires_ms: None, value });
            }
        }
        if !writes.is_empty() && self.store.count(WAITING).await? + writes.len() as u64 > WAITING_MAX {
            tracing::error!(
                lost = writes.len(),
                "{WAITING_MAX} deliveries of webhooks wait, which is the most; see /api/v1/webhooks for whose receiver is away"
            );
            return Ok(0);
        }
        // All at once: they share a sync.
        let writes: Vec<_> = writes.into_iter().map(|write| self.store.put(write)).collect();
        let count = writes.len();
        for write in writes {
            match write.await {
                // Told twice, and added the first time.
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    async fn find_due(&self, now_ms: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let (mut found, mut after) = (Vec::new(), None);
        for _ in 0..LANES_MAX {
            let page = self.store.page(Query { after: after.take(), limit: 1, ..Query::all(WAITING) }).await?;
            let Some(item) = page.items.into_iter().next() else { break };
            // Behind everything of this lane.
            after = Some(format!("{}/\u{10FFFF}", lane(&item.key)));
            let waiting: Waiting = read(&item.value);
            let hook = self.store.get(WEBHOOK, &waiting.hook).await?;
            let Some(hook) = hook.map(|item| read::<WebhookRecord>(&item.value)) else {
                // Its hook is removed: it goes with it, one look at a time.
                self.store.delete(WAITING, &item.key, Expect::Any).await?;
                continue;
            };
            if waiting.due_ms <= now_ms {
                found.push((waiting.due_ms, self.entry(item.key, waiting, hook)));
            }
        }
        found.sort_by_key(|(due_ms, _)| *due_ms);
        Ok(found.into_iter().take(limit).map(|(_, entry)| entry).collect())
    }

    /// When the oldest entry was added: that of one lane, for each lane begins with its oldest.
    async fn oldest(&self) -> Result<Option<u64>, StoreError> {
        let (mut oldest, mut after) = (None, None);
        for _ in 0..LANES_MAX {
            let page = self.store.page(Query { after: after.take(), limit: 1, ..Query::all(WAITING) }).await?;
            let Some(item) = page.items.into_iter().next() else { break };
            after = Some(format!("{}/\u{10FFFF}", lane(&item.key)));
            let added_ms = read::<Waiting>(&item.value).added_ms;
            oldest = Some(oldest.map_or(added_ms, |oldest: u64| oldest.min(added_ms)));
        }
        Ok(oldest)
    }

    fn entry(&self, key: String, waiting: Waiting, hook: WebhookRecord) -> Entry {
        Entry {
            lane: lane(&key).to_owned(),
            key,
            secret: secret(&self.master, &waiting.hook),
            hook: waiting.hook,
            url: hook.url,
            kind: waiting.kind,
            body: waiting.body.into_bytes(),
            attempts: waiting.attempts,
            added_unix_ms: waiting.added_ms,
        }
    }

    async fn note(&self, key: &str, attempt: &Attempt, next: Next) -> Result<(), StoreError> {
        let Some(item) = self.store.get(WAITING, key).await? else { return Ok(()) };
        let waiting: Waiting = read(&item.value);
        let outcome = match next {
            Next::Delivered => "delivered",
            Next::Retry { .. } => "retry",
            Next::GivenUp => "given_up",
        };
        let delivery = Delivery {
            delivery: key.to_owned(),
            kind: waiting.kind.clone(),
            at_unix_ms: attempt.at_unix_ms,
            took_ms: attempt.took_ms,
            status: attempt.status,
            error: attempt.error.clone(),
            outcome: outcome.to_owned(),
        };
        let log = Write {
            kind: DELIVERY,
            key: format!("{}/{:013}-{}", waiting.hook, attempt.at_unix_ms, &key[waiting.hook.len().min(key.len())..]),
            expect: Expect::Any,
            expires_ms: Some(attempt.at_unix_ms + DELIVERIES_KEPT_MS),
            value: serde_json::to_vec(&delivery).unwrap_or_default(),
        };
        let mut changes = vec![Change::Put(log)];
        match next {
            Next::Retry { due_unix_ms } => {
                let waiting = Waiting { attempts: waiting.attempts + 1, due_ms: due_unix_ms, ..waiting };
                let value = serde_json::to_vec(&waiting).unwrap_or_default();
                let expect = Expect::Version(item.version);
                changes.push(Change::Put(Write {
                    kind: WAITING,
                    key: key.to_owned(),
                    expect,
                    expires_ms: None,
                    value,
                }));
            }
            Next::Delivered | Next::GivenUp => {
                changes.push(Change::Delete { kind: WAITING, key: key.to_owned(), expect: Expect::Any });
            }
        }
        self.store.transact(changes).await.map(drop)
    }
}

/// The secret of a webhook: that of a stream of its name at generation 0, which no stream has, so that neither is ever the other's.
pub(crate) fn secret(master: &MasterKey, hook: &str) -> Secret {
    Id::new(hook).map_or_else(|_| Secret::default(), |id| master.stream_secret(&id, 0))
}

fn unusable(error: &StoreError) -> OutboxError {
    OutboxError(error.to_string())
}

impl Outbox for StoredOutbox {
    fn due(&self, now_unix_ms: u64, limit: usize) -> Result<Vec<Entry>, OutboxError> {
        self.runtime.block_on(self.find_due(now_unix_ms, limit)).map_err(|error| unusable(&error))
    }

    fn backlog(&self) -> Result<(u64, Option<u64>), OutboxError> {
        let looking = async { Ok((self.store.count(WAITING).await?, self.oldest().await?)) };
        self.runtime.block_on(looking).map_err(|error: StoreError| unusable(&error))
    }

    fn settle(&self, key: &str, attempt: &Attempt, next: Next) -> Result<(), OutboxError> {
        self.runtime.block_on(self.note(key, attempt, next)).map_err(|error| unusable(&error))
    }
}

#[cfg(test)]
mod tests {
    use millstream_link::event::What;
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

    #[test]
    fn deliveries_wait_in_lanes_and_in_order() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let outbox = StoredOutbox::new(Arc::clone(&store), MasterKey::new([1; 32]), runtime.handle().clone());
        let node = NodeId { name: "n".into(), run: RUN };
        let events = [
            event(1, "a", What::Publish { encoder: String::new() }),
            event(2, "b", What::Publish { encoder: String::new() }),
            event(3, "a", What::Refused { action: String::new(), why: String::new(), reason: String::new(), count: 1 }),
        ];
        runtime.block_on(async {
            let url = || "https://example.com/hook".to_owned();
            hook(&*store, "all", &WebhookRecord { url: url(), ..WebhookRecord::default() }).await;
            let publish = vec!["publish".to_owned()];
            let only =
                WebhookRecord { url: url(), events: publish, stream: Some("a".into()), ..WebhookRecord::default() };
            hook(&*store, "only", &only).await;
            hook(&*store, "off", &WebhookRecord { url: url(), enabled: false, ..WebhookRecord::default() }).await;
            assert_eq!(outbox.add(&node, &events).await, Ok(4));
            // Told again: nothing is there twice.
            outbox.add(&node, &events[..1]).await.unwrap();
            assert_eq!(store.count(WAITING).await, Ok(4));
        });
        assert_eq!(outbox.backlog(), Ok((4, Some(1_001))));
        let due = outbox.due(5_000, 10).unwrap();
        let lanes: Vec<&str> = due.iter().map(|entry| entry.lane.as_str()).collect();
        assert_eq!(lanes, ["all/a", "all/b", "only/a"], "the first of each lane");
        assert_ne!(due[0].secret, due[2].secret);
        assert!(String::from_utf8_lossy(&due[0].body).contains("\"kind\":\"publish\""));
        // A lane waits for its first entry, the others go on.
        outbox.settle(&due[0].key, &attempt(5_000), Next::Retry { due_unix_ms: 9_000 }).unwrap();
        outbox.settle(&due[1].key, &attempt(5_001), Next::Delivered).unwrap();
        let later: Vec<String> = outbox.due(6_000, 10).unwrap().into_iter().map(|entry| entry.lane).collect();
        assert_eq!(later, ["only/a"]);
        let again = outbox.due(9_000, 10).unwrap();
        assert_eq!(again.iter().find(|entry| entry.lane == "all/a").unwrap().attempts, 1);
        outbox.settle(&due[0].key, &attempt(9_000), Next::GivenUp).unwrap();
        let next = outbox.due(9_000, 10).unwrap();
        assert_eq!(next.iter().find(|entry| entry.lane == "all/a").unwrap().kind, "refused");
        // What a removed hook left goes, too.
        runtime.block_on(async {
            store.delete(WEBHOOK, "all", Expect::Any).await.unwrap();
            assert_eq!(store.count(DELIVERY).await, Ok(3));
        });
        outbox.due(9_000, 10).unwrap();
        assert_eq!(runtime.block_on(store.count(WAITING)), Ok(1));
    }
}
