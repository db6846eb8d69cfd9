//! Webhooks' outbox in the store: an entry per hook and event, added before the node that told of the event may forget it, and gone
//! when it was delivered or given up. Before it: [`crate::events::Keep`]; after it: `millstream_fleet::webhook::deliver`.
//!
//! The key is hook, stream, time and event, so that an event that is told twice is one entry, and the entries of a lane (a hook and a
//! stream) are behind each other in the order in which they happened. [`lanes`] knows the first of each.
mod lanes;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_control_protocol::event::Event;
use millstream_control_protocol::exchange::NodeId;
use millstream_fleet::webhook::body;
use millstream_fleet::webhook::outbox::{Ask, Attempt, Backlog, Entry, Next, Outbox, OutboxError};
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use millstream_store::item::{Change, Expect, Query, Write};
use millstream_store::{Store, StoreError};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};

use self::lanes::{Lanes, Times};
use crate::clock::Clock;
use crate::model::webhook::{DELIVERIES_KEPT_MS, Delivery, Waiting, WebhookRecord};
use crate::model::{DELIVERY, WAITING, WEBHOOK};

/// Hooks that may exist: each event is held against all of them.
pub const HOOKS_MAX: usize = 100;
/// Deliveries that may wait: each hook has an equal share of them. What comes on top is not added, and is said in the log.
const WAITING_MAX: u64 = 100_000;
/// Entries of removed hooks that go with one look.
const REMOVED_AT_ONCE: usize = 256;
/// Entries of a lane that are read to find its next one: the first is it, unless that cannot be read.
const NEXT_AT_ONCE: usize = 2;
/// Old entries of a hook that are given up at once.
const OLD_AT_ONCE: usize = 250;
/// A line in the log tells this often of what found no room.
const SAY_FULL_EVERY: Duration = Duration::from_mins(1);

/// The outbox of a store.
#[derive(Clone)]
pub struct StoredOutbox {
    store: Arc<dyn Store>,
    master: MasterKey,
    runtime: Handle,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

/// What is known of what waits.
#[derive(Default)]
struct State {
    /// `None` until the store was read.
    lanes: Option<Lanes>,
    /// Hooks that were removed, and whose entries are still there.
    removed: Vec<String>,
    /// Since a line in the log told of entries that found no room, and how many since.
    told_full: Option<(Instant, u64)>,
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
    pub fn new(store: Arc<dyn Store>, master: MasterKey, runtime: Handle, clock: Clock) -> Self {
        Self { store, master, runtime, clock, state: Arc::default() }
    }

    /// What waits; read from the store the first time. Who writes an entry notes it here afterwards, so that a look at the store under this
    /// lock misses nothing.
    async fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let mut state = self.state.lock().await;
        if state.lanes.is_none() {
            let (mut lanes, mut after) = (Lanes::default(), None);
            loop {
                let page = self.store.page(Query { after: after.take(), ..Query::all(WAITING) }).await?;
                for item in &page.items {
                    if let Some(waiting) = waiting_of(&item.value) {
                        lanes.add(&item.key, times_of(&waiting));
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            state.lanes = Some(lanes);
        }
        Ok(state)
    }

    /// Adds what hooks want of these events; says how many entries that were.
    pub(crate) async fn add(&self, node: &NodeId, events: &[Event]) -> Result<usize, StoreError> {
        let hooks = self.store.page(Query { limit: HOOKS_MAX, ..Query::all(WEBHOOK) }).await?.items;
        if hooks.is_empty() {
            return Ok(0);
        }
        let hooks: Vec<(String, WebhookRecord)> = hooks.into_iter().map(|item| (item.key, read(&item.value))).collect();
        let share = WAITING_MAX / hooks.len() as u64;
        let times = Times { added_ms: self.clock.now_ms(), due_ms: 0 };
        let added_ms = times.added_ms;
        let mut writes = Vec::new();
        for (id, hook) in hooks.iter().filter(|(_, hook)| !hook.url.is_empty()) {
            let wanted = events.iter().filter(|event| hook.wants(event.what.kind(), &event.stream));
            let mut of_hook: Vec<Write> = wanted.map(|event| entry_of(id, node, event, added_ms)).collect();
            let mut state = self.state().await?;
            let waiting = state.lanes.as_ref().map_or(0, |lanes| lanes.waiting_for(id));
            // A receiver that is away takes no room from others.
            let room = usize::try_from(share.saturating_sub(waiting)).unwrap_or(usize::MAX);
            if of_hook.len() > room {
                state.say_full(id, (of_hook.len() - room) as u64, share);
                of_hook.truncate(room);
            }
            writes.append(&mut of_hook);
        }
        // All at once: they share a sync.
        let writes: Vec<_> = writes.into_iter().map(|write| (write.key.clone(), self.store.put(write))).collect();
        let (mut added, mut found, mut failed) = (Vec::new(), Vec::new(), None);
        for (key, write) in writes {
            match write.await {
                Ok(_) => added.push(key),
                // Told twice, and written the first time: whether that was noted here is not certain.
                Err(StoreError::Conflict { .. }) => found.push(key),
                Err(error) => failed = Some(error),
            }
        }
        let mut state = self.state().await?;
        if let Some(lanes) = &mut state.lanes {
            for key in &added {
                lanes.add(key, times);
            }
            for key in &found {
                lanes.find(key, times);
            }
        }
        failed.map_or(Ok(added.len()), Err)
    }

    async fn find_due(&self, now_ms: u64, ask: &Ask) -> Result<Vec<Entry>, StoreError> {
        let mut state = self.state().await?;
        self.purge_removed(&mut state).await?;
        let Some(lanes) = &mut state.lanes else { return Ok(Vec::new()) };
        let (mut found, mut hooks) = (Vec::new(), HashMap::new());
        for key in lanes.due(now_ms, ask) {
            let Some((hook, _, _)) = lanes::parts(&key) else { continue };
            if !hooks.contains_key(hook) {
                let item = self.store.get(WEBHOOK, hook).await?;
                hooks.insert(hook.to_owned(), item.map(|item| read::<WebhookRecord>(&item.value)));
            }
            let Some(Some(record)) = hooks.get(hook) else { continue };
            match self.store.get(WAITING, &key).await?.and_then(|item| waiting_of(&item.value)) {
                Some(waiting) => found.push(self.entry(key, waiting, record.clone())),
                None => self.next_of_lane(lanes, &key).await?,
            }
        }
        let removed: Vec<String> =
            hooks.into_iter().filter_map(|(hook, record)| record.is_none().then_some(hook)).collect();
        for hook in &removed {
            lanes.drop_hook(hook);
        }
        state.removed.extend(removed);
        Ok(found)
    }

    /// What waited for hooks that are removed goes, a page at each look.
    async fn purge_removed(&self, state: &mut State) -> Result<(), StoreError> {
        let Some(hook) = state.removed.last() else { return Ok(()) };
        let query = Query { prefix: format!("{hook}/"), limit: REMOVED_AT_ONCE, ..Query::all(WAITING) };
        let page = self.store.page(query).await?;
        let gone: Vec<_> = page.items.iter().map(|item| self.store.delete(WAITING, &item.key, Expect::Any)).collect();
        for gone in gone {
            gone.await?;
        }
        if page.next.is_none() {
            state.removed.pop();
        }
        Ok(())
    }

    /// An entry is gone: what its lane begins with now.
    async fn next_of_lane(&self, lanes: &mut Lanes, key: &str) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let query = Query { prefix: format!("{}/", lane(key)), after, limit: NEXT_AT_ONCE, ..Query::all(WAITING) };
            let page = self.store.page(query).await?;
            // What cannot be read is passed over, and stays.
            let next =
                page.items.iter().find_map(|item| Some((item.key.as_str(), times_of(&waiting_of(&item.value)?))));
            if next.is_some() || page.next.is_none() {
                lanes.gone(key, next);
                return Ok(());
            }
            after = page.next;
        }
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
        let Some(waiting) = waiting_of(&item.value) else { return Ok(()) };
        let log = Change::Put(log_of(key, &waiting, attempt, next));
        match next {
            Next::Retry { due_unix_ms } => {
                // Added while the clock was ahead: it would be young for as long as that was.
                let added_ms = waiting.added_ms.min(self.clock.now_ms());
                let waiting = Waiting { attempts: waiting.attempts + 1, due_ms: due_unix_ms, added_ms, ..waiting };
                let value = serde_json::to_vec(&waiting).unwrap_or_default();
                let expect = Expect::Version(item.version);
                let postponed = Write { kind: WAITING, key: key.to_owned(), expect, expires_ms: None, value };
                self.store.transact(vec![log, Change::Put(postponed)]).await?;
                if let Some(lanes) = &mut self.state().await?.lanes {
                    lanes.postpone(key, due_unix_ms);
                }
            }
            Next::Delivered | Next::GivenUp => {
                let gone = Change::Delete { kind: WAITING, key: key.to_owned(), expect: Expect::Any };
                self.store.transact(vec![log, gone]).await?;
                if let Some(lanes) = &mut self.state().await?.lanes {
                    self.next_of_lane(lanes, key).await?;
                }
            }
        }
        Ok(())
    }

    async fn give_up_old(&self, hook: &str, before_unix_ms: u64, attempt: &Attempt) -> Result<usize, StoreError> {
        let (mut state, now_ms) = (self.state().await?, self.clock.now_ms());
        let older = |lanes: &mut Lanes| lanes.older(hook, (before_unix_ms, now_ms), OLD_AT_ONCE);
        let old = state.lanes.as_mut().map_or_else(Vec::new, older);
        drop(state);
        // Beside each other: they share syncs.
        let all = futures_util::future::join_all(old.iter().map(|key| self.note(key, attempt, Next::GivenUp))).await;
        all.into_iter().collect::<Result<Vec<()>, _>>().map(|all| all.len())
    }
}

impl State {
    /// Tells of entries that found no room, once a minute.
    fn say_full(&mut self, hook: &str, lost: u64, share: u64) {
        let (since, more) = self.told_full.map_or((None, 0), |(since, more)| (Some(since), more));
        if since.is_some_and(|since| since.elapsed() < SAY_FULL_EVERY) {
            self.told_full = since.map(|since| (since, more + lost));
            return;
        }
        self.told_full = Some((Instant::now(), 0));
        tracing::error!(
            hook,
            lost = more + lost,
            "{share} deliveries of a webhook wait, which is its share: what comes on top is lost; see /api/v1/webhooks for whose receiver is away"
        );
    }
}

fn times_of(waiting: &Waiting) -> Times {
    Times { added_ms: waiting.added_ms, due_ms: waiting.due_ms }
}

/// An entry, where it can be read.
fn waiting_of(value: &[u8]) -> Option<Waiting> {
    serde_json::from_slice(value).ok()
}

/// The entry of a hook for an event.
fn entry_of(hook: &str, node: &NodeId, event: &Event, added_ms: u64) -> Write {
    let key = format!("{hook}/{}/{:013}-{:020}-{:020}", event.stream, event.at_unix_ms, node.run, event.seq);
    let waiting = Waiting {
        hook: hook.to_owned(),
        kind: event.what.kind().to_owned(),
        body: String::from_utf8_lossy(&body(node, event)).into_owned(),
        attempts: 0,
        added_ms,
        due_ms: 0,
    };
    let value = serde_json::to_vec(&waiting).unwrap_or_default();
    Write { kind: WAITING, key, expect: Expect::Absent, expires_ms: None, value }
}

/// The line of the delivery log for a try.
fn log_of(key: &str, waiting: &Waiting, attempt: &Attempt, next: Next) -> Write {
    let outcome = match next {
        Next::Delivered => "delivered",
        Next::Retry { .. } => "retry",
        Next::GivenUp => "given_up",
    };
    let behind_hook = key.get(waiting.hook.len()..).unwrap_or_default();
    logged(&waiting.hook, behind_hook, &delivery((key, &waiting.kind), attempt, outcome))
}

/// What came of a try, for people. `of`: the delivery's key, and the kind of event.
fn delivery((key, kind): (&str, &str), attempt: &Attempt, outcome: &str) -> Delivery {
    Delivery {
        delivery: key.to_owned(),
        kind: kind.to_owned(),
        at_unix_ms: attempt.at_unix_ms,
        took_ms: attempt.took_ms,
        status: attempt.status,
        error: attempt.error.clone(),
        outcome: outcome.to_owned(),
    }
}

/// A line of a hook's delivery log; `end` tells it from others of the same millisecond.
fn logged(hook: &str, end: &str, delivery: &Delivery) -> Write {
    Write {
        kind: DELIVERY,
        key: format!("{hook}/{:013}-{end}", delivery.at_unix_ms),
        expect: Expect::Any,
        expires_ms: Some(delivery.at_unix_ms + DELIVERIES_KEPT_MS),
        value: serde_json::to_vec(delivery).unwrap_or_default(),
    }
}

/// What came of a try that was asked for by hand.
pub(crate) fn tried(entry: &Entry, attempt: &Attempt) -> Delivery {
    let outcome = if attempt.error.is_empty() { "delivered" } else { "failed" };
    delivery((&entry.key, &entry.kind), attempt, outcome)
}

/// The line of the delivery log for it.
pub(crate) fn log_of_test(hook: &str, delivery: &Delivery) -> Write {
    logged(hook, &delivery.kind, delivery)
}

/// The secret of a webhook: that of a stream of its name at generation 0, which no stream has, so that neither is ever the other's.
pub(crate) fn secret(master: &MasterKey, hook: &str) -> Secret {
    Id::new(hook).map_or_else(|_| Secret::default(), |id| master.stream_secret(&id, 0))
}

fn unusable(error: &StoreError) -> OutboxError {
    OutboxError(error.to_string())
}

impl Outbox for StoredOutbox {
    fn due(&self, now_unix_ms: u64, ask: &Ask) -> Result<Vec<Entry>, OutboxError> {
        self.runtime.block_on(self.find_due(now_unix_ms, ask)).map_err(|error| unusable(&error))
    }

    fn believed_unix_ms(&self) -> u64 {
        self.clock.believed_ms()
    }

    fn backlog(&self) -> Result<Backlog, OutboxError> {
        let looking = async { Ok(self.state().await?.lanes.as_ref().map_or_else(Backlog::default, Lanes::backlog)) };
        self.runtime.block_on(looking).map_err(|error: StoreError| unusable(&error))
    }

    fn settle(&self, key: &str, attempt: &Attempt, next: Next) -> Result<(), OutboxError> {
        self.runtime.block_on(self.note(key, attempt, next)).map_err(|error| unusable(&error))
    }

    fn hurry(&self, hook: &str) -> Result<(), OutboxError> {
        let hurrying = async {
            if let Some(lanes) = &mut self.state().await?.lanes {
                lanes.hurry(hook);
            }
            Ok(())
        };
        self.runtime.block_on(hurrying).map_err(|error: StoreError| unusable(&error))
    }

    fn give_up(&self, hook: &str, before_unix_ms: u64, attempt: &Attempt) -> Result<usize, OutboxError> {
        self.runtime.block_on(self.give_up_old(hook, before_unix_ms, attempt)).map_err(|error| unusable(&error))
    }
}
