//! What every handler holds: the store, the nodes, the clock, the keys, and the configuration as far as it is shown.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use millstream_control_protocol::state::Stream;
use millstream_fleet::Fleet;
use millstream_fleet::http::guard::Guard;
use millstream_fleet::numbers::END;
use millstream_policy::signed::Apps;
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use millstream_proto::sign::grant::GrantKeys;
use millstream_proto::sign::preview::PreviewKey;
use millstream_store::item::{Change, Expect, Order, Page, Query};
use millstream_store::repeated::Repeated;
use millstream_store::{Room, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};

use crate::auth::tries::{Failures, Logins};
use crate::auth::who::Caller;
use crate::chain::ShowChain;
use crate::clock::{Clock, Stamps};
use crate::events::feed::Feed;
use crate::hooks::inspect::Inspector;
use crate::hooks::locks::RecordLocks;
use crate::hooks::rules::HookRules;
use crate::hooks::stored::bindings;
use crate::http::marks::{self, Running};
use crate::http::problem::{Answer, Problem};
use crate::ids::Ids;
use crate::model::audit::{self, Entry};
use crate::model::settings::Settings;
use crate::model::stream::StreamRecord;
use crate::model::token::Digest;
use crate::model::unreadable::Unreadable;
use crate::model::{self, AUDIT, META, ONCE, STREAM};
use crate::recordings::desired::Recordings;
use crate::slates::names::Slates;
use crate::streams::locks::{Locks, STREAMS_MAX};
use crate::tls::ShowTls;

/// What the API is made of.
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The nodes.
    pub fleet: Fleet,
    /// What time it is.
    pub clock: Clock,
    /// Ids of what is made.
    pub ids: Ids,
    /// The token of the data directory's `admin-token` file.
    pub admin_token: Option<Secret>,
    /// What streams' secrets are made from; `None` where nothing checks a signature.
    pub master: Option<MasterKey>,
    /// What previews of streams are shown by; `None`: previews are viewers as all others are.
    pub previews: Option<PreviewKey>,
    /// What who may look at streams gets grants to play them by; `None`: there is nothing to make them with.
    pub grants: Option<GrantKeys>,
    /// Streams of the configuration file: shown, and changed there only.
    pub fixed: Vec<Stream>,
    /// Names that this server is reached by, beside loopback names and its address.
    pub names: Vec<String>,
    /// This process as encoders and players reach it, where it carries streams itself; or the fleet as a whole, without a name, where the
    /// configuration of a control alone says how that is reached.
    pub here: Option<Here>,
    /// Where this server is reached, `https://host`, where the operator has said it.
    pub public_url: Option<String>,
    /// Where webhooks may go.
    pub webhooks: Guard,
    /// Applications of push URLs; the first is the one that is shown.
    pub apps: Apps,
    /// Anyone who reaches the port may read `/metrics`: it is a loopback port.
    pub metrics_open: bool,
    /// The configuration in force, without secrets.
    pub config: Value,
    /// The chain of this process' engine, where it has one.
    pub chain: Option<Arc<dyn ShowChain>>,
    /// The TLS of this process' ports, where it has some.
    pub tls: Option<ShowTls>,
    /// The text of `/metrics`, where this process has any.
    pub metrics: Option<Arc<dyn Fn() -> String + Send + Sync>>,
    /// Looks at modules before they are kept; `None`: this build runs no hooks, and takes them as they are.
    pub inspector: Option<Arc<dyn Inspector>>,
    /// What is said of versions of hooks.
    pub hooks: HookRules,
    /// Whether this process is about to end.
    pub draining: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// A node, or a fleet, as encoders and players reach it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Here {
    /// Its name; a fleet has none.
    pub node: String,
    /// `rtmp://host[:port]`.
    pub rtmp_url: String,
    /// `http://host[:port]`.
    pub http_url: String,
    /// `rtmps://host[:port]`; empty where there is none.
    pub rtmps_url: String,
}

impl Here {
    /// The server that a stream is pushed to, which may be one that is pushed over TLS only; empty where it cannot be.
    pub(crate) fn push_server(&self, settings: &Settings) -> &str {
        match settings.on("isRtmps") {
            true if self.rtmps_url.is_empty() && self.rtmp_url.starts_with("rtmps://") => &self.rtmp_url,
            true => &self.rtmps_url,
            false => &self.rtmp_url,
        }
    }
}

/// Why the API does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The API. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    parts: Parts,
    admin_token: Option<Digest>,
    fixed: RwLock<Arc<BTreeMap<String, StreamRecord>>>,
    stamps: Stamps,
    failures: Failures,
    feed: Feed,
    locks: Locks,
    record_locks: RecordLocks,
    slates: Slates,
    recordings: Recordings,
    stored_streams: AtomicU64,
    kept_answers: AtomicU64,
    running: Running,
    unreadable: Unreadable,
    said: Said,
    /// Held by requests that make one of what there may be so many of.
    making: Mutex<()>,
    logins: Logins,
    /// Turns of those who make a page of a list.
    pages: Semaphore,
}

/// Pages of lists that are being made at the same time.
const PAGES_AT_ONCE: usize = 8;

/// When the clock was last believed, as kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Believed {
    at_unix_ms: u64,
}

/// The item of [`META`] with it.
const BELIEVED: &str = "clock";
/// It is written no more often than this.
const BELIEVED_EVERY_MS: u64 = 24 * 3_600_000;

/// Nodes in the order in which they came, as kept.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct NodeOrder {
    names: Vec<String>,
}

/// The item of [`META`] with it.
const NODE_ORDER: &str = "nodes";

/// When this store was used last, as far as it says, Unix milliseconds: by its newest audit entry, or by the last purge.
async fn last_seen(store: &dyn Store, newest_stamp: Option<&str>) -> Result<Option<u64>, StoreError> {
    let kept = store.get(META, BELIEVED).await?;
    let believed =
        kept.and_then(|item| serde_json::from_slice::<Believed>(&item.value).ok()).map(|kept| kept.at_unix_ms);
    let stamp = newest_stamp.and_then(|stamp| stamp.split_once('-')?.0.parse().ok());
    Ok(believed.max(stamp))
}

/// A stream that is counted and not stored yet; not counted any more when it is dropped.
#[must_use]
pub(crate) struct Counted<'a>(&'a Api);

impl Counted<'_> {
    /// It is stored.
    pub(crate) fn stays(self) {
        std::mem::forget(self);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.count_one_less();
    }
}

/// What may happen with every request, and is not to be told with every one.
#[derive(Debug, Default)]
pub(crate) struct Said {
    internal: Repeated,
    full: Repeated,
    unavailable: Repeated,
    /// Answers to idempotency keys that could not be kept.
    pub(crate) answers_lost: Repeated,
    /// Changes that a node was too slow for.
    pub(crate) slow_nodes: Repeated,
}

impl Said {
    /// Answers with this status, 500 and above.
    pub(crate) fn failed(&self, status: u16) -> &Repeated {
        match status {
            507 => &self.full,
            503 => &self.unavailable,
            _ => &self.internal,
        }
    }
}

/// How much changes that take rights or things away may use of the room that there is for them on a full disk ([`Store::revoke`]).
fn room_for(action: &str) -> Option<Room> {
    match action {
        "token.delete" | "stream.delete" | "stream.key.rotate" => Some(Room::All),
        "logout" => Some(Room::Half),
        other => other.ends_with(".delete").then_some(Room::Half),
    }
}

/// An entry of the audit log; `None`: a full disk had no room for it.
#[must_use]
pub(crate) struct Recorded(Option<String>);

impl Api {
    /// Reads what the store has and tells the nodes all streams.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let last = Query { order: Order::Descending, limit: 1, ..Query::all(AUDIT) };
        let last = parts.store.page(last).await?.items.pop().map(|item| item.key);
        let mut streams: BTreeMap<String, Stream> =
            parts.fixed.iter().map(|stream| (stream.id.clone(), stream.clone())).collect();
        let fixed: BTreeMap<String, StreamRecord> =
            streams.iter().map(|(id, stream)| (id.clone(), StreamRecord::of_link(stream))).collect();
        let unreadable = Unreadable::default();
        let slates = Slates::of(parts.store.as_ref(), &unreadable).await?;
        let (mut stored, mut after) = (0, None);
        loop {
            let page = parts.store.page(Query { after, ..Query::all(STREAM) }).await?;
            for item in &page.items {
                stored += 1;
                let Some(kept) = unreadable.read::<StreamRecord>(STREAM, item) else { continue };
                if fixed.contains_key(&item.key) {
                    tracing::warn!(
                        stream = item.key,
                        "this stream is in the configuration file and in the store: the file counts"
                    );
                    continue;
                }
                streams.insert(item.key.clone(), slates.to_link(&kept.value, &item.key));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let kept_answers = parts.store.count(ONCE).await?;
        let bindings = bindings(parts.store.as_ref(), &unreadable).await?;
        parts.clock.store_was_used(last_seen(parts.store.as_ref(), last.as_deref()).await?);
        // One that cannot be read costs no more than the order.
        let order = parts.store.get(META, NODE_ORDER).await?;
        let order = order.and_then(|item| serde_json::from_slice::<NodeOrder>(&item.value).ok());
        parts.fleet.came_before(order.unwrap_or_default().names);
        parts.fleet.replace(streams.into_values());
        for binding in bindings {
            parts.fleet.bind(binding);
        }
        let recordings = Recordings::begin(parts.store.as_ref(), &parts.fleet, &unreadable).await?;
        tracing::info!(stored, configured = fixed.len(), "streams are known");
        Ok(Self(Arc::new(Inner {
            admin_token: parts.admin_token.as_ref().map(|token| Digest::of(token.expose())),
            fixed: RwLock::new(Arc::new(fixed)),
            stamps: Stamps::after(last.as_deref()),
            failures: Failures::default(),
            feed: Feed::new(parts.clock.now_ms()),
            locks: Locks::default(),
            record_locks: RecordLocks::default(),
            slates,
            recordings,
            stored_streams: AtomicU64::new(stored),
            kept_answers: AtomicU64::new(kept_answers),
            running: Running::default(),
            unreadable,
            said: Said::default(),
            making: Mutex::default(),
            logins: Logins::default(),
            pages: Semaphore::new(PAGES_AT_ONCE),
            parts,
        })))
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.0.parts.store.as_ref()
    }

    pub(crate) fn fleet(&self) -> &Fleet {
        &self.0.parts.fleet
    }

    pub(crate) fn inspector(&self) -> Option<&dyn Inspector> {
        self.0.parts.inspector.as_deref()
    }

    pub(crate) fn hook_rules(&self) -> &HookRules {
        &self.0.parts.hooks
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    /// A UUID for something new.
    pub(crate) fn uuid(&self) -> Answer<String> {
        self.0.parts.ids.uuid()
    }

    pub(crate) fn master(&self) -> Option<&MasterKey> {
        self.0.parts.master.as_ref()
    }

    pub(crate) fn admin_token(&self) -> Option<&Digest> {
        self.0.admin_token.as_ref()
    }

    pub(crate) fn fixed(&self) -> Arc<BTreeMap<String, StreamRecord>> {
        Arc::clone(&self.0.fixed.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Gives what was there before.
    pub(crate) fn replace_fixed(
        &self,
        next: Arc<BTreeMap<String, StreamRecord>>,
    ) -> Arc<BTreeMap<String, StreamRecord>> {
        std::mem::replace(&mut *self.0.fixed.write().unwrap_or_else(PoisonError::into_inner), next)
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.0.parts.names
    }

    /// This process, where it carries streams itself, or the fleet, where it is said how that is reached.
    pub(crate) fn here(&self) -> Option<&Here> {
        self.0.parts.here.as_ref()
    }

    /// Where this server is reached, where that is said.
    pub(crate) fn public_url(&self) -> Option<&str> {
        self.0.parts.public_url.as_deref()
    }

    /// What grants are made with.
    pub(crate) fn grants(&self) -> Option<&GrantKeys> {
        self.0.parts.grants.as_ref()
    }

    /// What previews are shown by.
    pub(crate) fn previews(&self) -> Option<&PreviewKey> {
        self.0.parts.previews.as_ref()
    }

    /// Where webhooks may go.
    pub(crate) fn webhooks(&self) -> &Guard {
        &self.0.parts.webhooks
    }

    /// The application of the push URLs that are shown.
    pub(crate) fn push_app(&self) -> Option<&Id> {
        self.0.parts.apps.first()
    }

    /// Browsers reach this server by TLS only.
    pub(crate) fn secure(&self) -> bool {
        self.public_url().is_some_and(|url| url.starts_with("https://"))
    }

    pub(crate) fn metrics_open(&self) -> bool {
        self.0.parts.metrics_open
    }

    /// The chain of this process' engine.
    pub(crate) fn chain(&self) -> Option<Arc<dyn ShowChain>> {
        self.0.parts.chain.clone()
    }

    /// What shows the TLS of this process.
    pub(crate) fn tls(&self) -> Option<&ShowTls> {
        self.0.parts.tls.as_ref()
    }

    pub(crate) fn config(&self) -> &Value {
        &self.0.parts.config
    }

    pub(crate) fn metrics(&self) -> Option<String> {
        let text = (self.0.parts.metrics.as_ref()?)();
        let (name, count) = ("millstream_store_unreadable", self.unreadable().count());
        let help = "Items of the store that cannot be read; they are passed over and left as they are.";
        let own = format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {count}\n");
        Some(format!("{}{own}{END}", text.strip_suffix(END).unwrap_or(&text)))
    }

    pub(crate) fn draining(&self) -> bool {
        (self.0.parts.draining)()
    }

    pub(crate) fn said(&self) -> &Said {
        &self.0.said
    }

    /// Until this is dropped nobody else makes one of what there may be so many of: counting and making are one step.
    pub(crate) async fn makes(&self) -> MutexGuard<'_, ()> {
        self.0.making.lock().await
    }

    /// A page of the store for an answer, with a turn that is held until the answer is made: a page takes some mebibytes until then, and many may
    /// ask at the same moment.
    pub(crate) async fn page(&self, query: Query) -> Answer<(Page, SemaphorePermit<'_>)> {
        // It is never closed.
        let busy = |_| Problem::unavailable("busy", "the server ends; try again in a moment", 1);
        let turn = self.0.pages.acquire().await.map_err(busy)?;
        Ok((self.store().page(query).await?, turn))
    }

    pub(crate) fn logins(&self) -> &Logins {
        &self.0.logins
    }

    pub(crate) fn failures(&self) -> &Failures {
        &self.0.failures
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.0.feed
    }

    pub(crate) fn locks(&self) -> &Locks {
        &self.0.locks
    }

    pub(crate) fn slates(&self) -> &Slates {
        &self.0.slates
    }

    pub(crate) fn recordings(&self) -> &Recordings {
        &self.0.recordings
    }

    pub(crate) fn record_locks(&self) -> &RecordLocks {
        &self.0.record_locks
    }

    /// One stream more, where there may be one. Counted before it is stored, so that requests at the same moment do not pass the maximum together.
    pub(crate) fn count_one_more(&self) -> Answer<Counted<'_>> {
        let more = |streams: u64| (streams < STREAMS_MAX).then_some(streams + 1);
        let counted = self.0.stored_streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        let full = |_| Problem::conflict(format!("there are {STREAMS_MAX} streams, which is the most; remove some"));
        counted.map(|_| Counted(self)).map_err(full)
    }

    /// One stream fewer, until the store is counted again.
    pub(crate) fn count_one_less(&self) {
        // A change that did not run to its end may not have counted its stream.
        let less = |streams: u64| Some(streams.saturating_sub(1));
        let _ = self.0.stored_streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Counts the streams of the store.
    pub(crate) async fn count_streams(&self) -> Answer<()> {
        let streams = self.store().count(STREAM).await?;
        self.0.stored_streams.store(streams, Ordering::Relaxed);
        Ok(())
    }

    /// Items of the store that could not be read.
    pub(crate) fn unreadable(&self) -> &Unreadable {
        &self.0.unreadable
    }

    /// Requests with idempotency keys that are being carried out.
    pub(crate) fn running(&self) -> &Running {
        &self.0.running
    }

    /// How many answers are kept for idempotency keys, since the last look; those that have expired meanwhile included.
    pub(crate) fn kept_answers(&self) -> &AtomicU64 {
        &self.0.kept_answers
    }

    /// Writes into the audit log that something is done which changes nothing in the store. It is durable when this returns. What needs no
    /// disk is done on a full one as well, without an entry, and takes no room from what needs it: the process's log tells of it.
    pub(crate) async fn record(&self, caller: &Caller, action: &str, target: &str) -> Answer<Recorded> {
        let (stamp, entry) = self.entry(caller, action, target, Vec::new());
        match self.store().transact(vec![entry]).await {
            Ok(_) => {
                tracing::info!(who = caller.who, action, target, "changed");
                Ok(Recorded(Some(stamp)))
            }
            Err(StoreError::Full { .. }) => {
                let (who, address) = (&caller.who, &caller.address);
                tracing::warn!(
                    who,
                    address,
                    action,
                    target,
                    "changed; the disk is full: this line is told in place of an entry of the audit log"
                );
                Ok(Recorded(None))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Takes back the entry of something that came to nothing. Should that fail, the log names what was tried and no more.
    pub(crate) async fn forget(&self, Recorded(stamp): Recorded) {
        let Some(stamp) = stamp else { return };
        if let Err(error) = self.store().delete(AUDIT, &stamp, Expect::Any).await {
            tracing::warn!(%error, stamp, "the audit log has an entry of something that came to nothing");
        }
    }

    /// Makes changes and writes them into the audit log, all of it or nothing: also that the request has taken effect, where it came with an
    /// idempotency key. Gives the new version of the first item. A conflict is the inner error, because what it means depends.
    pub(crate) async fn logged(
        &self,
        caller: &Caller,
        (action, target): (&str, &str),
        parts: Vec<String>,
        mut changes: Vec<Change>,
    ) -> Answer<Result<u64, model::Conflict>> {
        changes.push(self.entry(caller, action, target, parts).1);
        let mark = marks::mark();
        if let Some(mark) = &mark {
            changes.push(mark.to_put());
        }
        let made = model::transact_as(self.store(), room_for(action), changes).await?;
        let Ok(versions) = made else { return Ok(Err(model::Conflict)) };
        if let (Some(mark), Some(version)) = (mark, versions.last()) {
            mark.written(self.kept_answers(), *version);
        }
        tracing::info!(who = caller.who, action, target, "changed");
        Ok(Ok(versions.first().copied().unwrap_or_default()))
    }

    /// An entry of the audit log, and its place there.
    fn entry(&self, caller: &Caller, action: &str, target: &str, parts: Vec<String>) -> (String, Change) {
        let now_ms = self.clock().now_ms();
        let stamp = self.0.stamps.next(now_ms);
        let entry = Entry {
            at_unix_ms: now_ms,
            who: caller.who.clone(),
            address: caller.address.clone(),
            action: action.to_owned(),
            target: target.to_owned(),
            parts,
        };
        let change = model::to_put((AUDIT, &stamp), Expect::Any, Some(now_ms + audit::KEPT_MS), &entry);
        (stamp, change)
    }

    /// Keeps for the next start up to when the clock was believed.
    async fn keep_believed(&self, until_ms: u64) {
        let kept = model::load::<Believed>(self.store(), META, BELIEVED).await;
        if let Ok(kept) = kept
            && kept.is_none_or(|kept| until_ms.abs_diff(kept.value.at_unix_ms) >= BELIEVED_EVERY_MS)
        {
            let believed = Believed { at_unix_ms: until_ms };
            // A store that cannot be written now is written at the next purge.
            let _ = model::save(self.store(), (META, BELIEVED), Expect::Any, None, &believed).await;
        }
    }

    /// Keeps for the next start in which order nodes came.
    async fn keep_node_order(&self) {
        let order = NodeOrder { names: self.fleet().came() };
        let kept = model::load::<NodeOrder>(self.store(), META, NODE_ORDER).await;
        if let Ok(kept) = kept
            && kept.map(|kept| kept.value).unwrap_or_default() != order
        {
            // As above.
            let _ = model::save(self.store(), (META, NODE_ORDER), Expect::Any, None, &order).await;
        }
    }

    /// Tidies up: removes what has expired or belongs to nothing any more, counts what is left. To be called every few minutes.
    pub async fn purge(&self) {
        let until_ms = self.clock().believed_ms();
        self.keep_believed(until_ms).await;
        self.keep_node_order().await;
        loop {
            match self.store().purge(until_ms).await {
                Ok(0) => break,
                Ok(items) => tracing::debug!(items, "expired items are removed from the store"),
                Err(error) => {
                    tracing::warn!(%error, "expired items cannot be removed from the store; it grows until they can");
                    break;
                }
            }
        }
        self.expire_recordings(until_ms).await;
        self.sweep_modules().await;
        if let Err(problem) = self.count_streams().await {
            tracing::warn!(status = problem.status().as_u16(), "the streams of the store cannot be counted now");
        }
        if let Ok(kept) = self.store().count(ONCE).await {
            self.0.kept_answers.store(kept, Ordering::Relaxed);
        }
    }
}
