//! Takes what is due out of the outbox and posts it, lanes beside each other and each lane in order. Before it: [`super::outbox`]; after
//! it: an operator's server, and the delivery log.
//!
//! A delivery may come twice: when we end between the answer and the note of it. Its key is then the same.
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use millstream_proto::sign::webhook;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::outbox::{Attempt, Entry, Next, Outbox, OutboxError};
use crate::http::client::{AskError, Connection, Reply};
use crate::http::guard::Guard;
use crate::http::url::Url;
use crate::limits::{DELIVERIES_AT_ONCE_MAX, DELIVERIES_PER_HOOK_MAX, HOOK_REPLY_BYTES_MAX};
use crate::numbers::Numbers;

/// `t=<unix seconds>,v1=<hex>`: see `proto::sign::webhook`.
pub const SIGNATURE: HeaderName = HeaderName::from_static("millstream-signature");
/// The kind of event, as in the body.
pub const EVENT: HeaderName = HeaderName::from_static("millstream-event");
/// The delivery's key: the same when it comes again.
pub const DELIVERY: HeaderName = HeaderName::from_static("millstream-delivery");

/// The outbox is looked at this often without being told that there is something new.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What waits is counted this often: that reads all of it.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// An outbox that cannot be used is tried again after this long.
const OUTBOX_RETRY: Duration = Duration::from_secs(5);

/// How patient deliveries are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Time for the answer of one try.
    pub answer_wait: Duration,
    /// After the first failure; doubled with each one after it.
    pub retry_least: Duration,
    /// The longest wait between two tries.
    pub retry_most: Duration,
    /// An entry that is older than this is given up with its next failure.
    pub give_up_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer_wait: Duration::from_secs(10),
            retry_least: Duration::from_secs(2),
            retry_most: Duration::from_mins(15),
            give_up_after: Duration::from_hours(24),
        }
    }
}

/// Delivers until it is told to stop.
pub struct Deliverer {
    outbox: Arc<dyn Outbox>,
    guard: Guard,
    patience: Patience,
    numbers: Arc<Numbers>,
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Waits until it is true, or can never be.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// What a lane was when its delivery began.
type Done = (String, String, Result<(), OutboxError>);

impl Deliverer {
    /// Out of this outbox, to where `guard` allows.
    pub fn new(outbox: Arc<dyn Outbox>, guard: Guard, patience: Patience) -> Self {
        Self::counting(outbox, guard, patience, Arc::default())
    }

    /// The same, counting what comes of it.
    pub fn counting(outbox: Arc<dyn Outbox>, guard: Guard, patience: Patience, numbers: Arc<Numbers>) -> Self {
        Self { outbox, guard, patience, numbers }
    }

    /// Runs until `stop` is true; deliveries that are under way then are left as they are, and come again. `news`: something was added.
    pub async fn run(self, news: Arc<Notify>, mut stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let mut under_way: JoinSet<Done> = JoinSet::new();
        let mut lanes: HashSet<String> = HashSet::new();
        let mut hooks: HashMap<String, usize> = HashMap::new();
        let mut failing = false;
        let mut counted: Option<Instant> = None;
        loop {
            if counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
                this.count().await;
                counted = Some(Instant::now());
            }
            let wait = match this.due(lanes.len()).await {
                Ok(entries) => {
                    failing = false;
                    for entry in entries {
                        let of_hook = hooks.get(&entry.hook).copied().unwrap_or_default();
                        let room = under_way.len() < DELIVERIES_AT_ONCE_MAX && of_hook < DELIVERIES_PER_HOOK_MAX;
                        if room && lanes.insert(entry.lane.clone()) {
                            *hooks.entry(entry.hook.clone()).or_default() += 1;
                            let this = Arc::clone(&this);
                            under_way.spawn(async move {
                                let (lane, hook) = (entry.lane.clone(), entry.hook.clone());
                                (lane, hook, this.deliver(entry).await)
                            });
                        }
                    }
                    LOOK_EVERY
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "webhooks wait");
                    }
                    OUTBOX_RETRY
                }
            };
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = news.notified() => {}
                () = sleep(wait) => {}
                Some(done) = under_way.join_next() => {
                    // A defect in it has been printed; its lane stays closed, so that nothing overtakes what it was about.
                    if let Ok((lane, hook, settled)) = done {
                        lanes.remove(&lane);
                        if let Some(count) = hooks.get_mut(&hook) {
                            *count -= 1;
                            if *count == 0 {
                                hooks.remove(&hook);
                            }
                        }
                        if let Err(error) = settled {
                            tracing::error!(%error, hook, "what came of a webhook's delivery cannot be kept: it will come again");
                            sleep(OUTBOX_RETRY).await;
                        }
                    }
                }
            }
        }
    }

    async fn count(&self) {
        let outbox = Arc::clone(&self.outbox);
        // One that cannot be read is told of when it is asked for what is due.
        if let Ok(Ok((waiting, oldest_unix_ms))) = tokio::task::spawn_blocking(move || outbox.backlog()).await {
            self.numbers.backlog(waiting, oldest_unix_ms);
        }
    }

    async fn due(&self, busy: usize) -> Result<Vec<Entry>, OutboxError> {
        let outbox = Arc::clone(&self.outbox);
        // Those that are under way are offered again, and more of a hook than may go at once.
        let limit = busy + 4 * DELIVERIES_AT_ONCE_MAX;
        let due = tokio::task::spawn_blocking(move || outbox.due(unix_ms(), limit)).await;
        due.unwrap_or_else(|_| Err(OutboxError("a defect ended the look at it".to_owned())))
    }

    /// One try, and the note of it.
    async fn deliver(&self, entry: Entry) -> Result<(), OutboxError> {
        let (at_unix_ms, began) = (unix_ms(), Instant::now());
        let outcome = self.post(&entry, at_unix_ms / 1000).await;
        let took_ms = began.elapsed().as_millis() as u64;
        let (status, error) = match outcome {
            Ok(Reply { status, .. }) if status.is_success() => (Some(status), String::new()),
            Ok(Reply { status, .. }) if status.is_redirection() => {
                (Some(status), "the server redirects, which is not followed; give the hook the new URL".to_owned())
            }
            Ok(Reply { status, .. }) => (Some(status), format!("the server answers with status {}", status.as_u16())),
            Err(error) => (None, error),
        };
        let age_ms = at_unix_ms.saturating_sub(entry.added_unix_ms);
        let next = if error.is_empty() {
            Next::Delivered
        } else if status == Some(StatusCode::GONE) || u128::from(age_ms) >= self.patience.give_up_after.as_millis() {
            tracing::warn!(hook = entry.hook, kind = entry.kind, error, "a webhook's delivery is given up");
            Next::GivenUp
        } else {
            let wait =
                self.patience.retry_least.saturating_mul(1 << entry.attempts.min(20)).min(self.patience.retry_most);
            tracing::debug!(hook = entry.hook, kind = entry.kind, error, ?wait, "a webhook's delivery failed");
            Next::Retry { due_unix_ms: unix_ms() + wait.as_millis() as u64 }
        };
        match next {
            Next::Delivered => self.numbers.delivered.one(),
            Next::Retry { .. } => self.numbers.retried.one(),
            Next::GivenUp => self.numbers.given_up.one(),
        }
        let attempt = Attempt { at_unix_ms, took_ms, status: status.map(|status| status.as_u16()), error };
        let outbox = Arc::clone(&self.outbox);
        let settled = tokio::task::spawn_blocking(move || outbox.settle(&entry.key, &attempt, next)).await;
        settled.unwrap_or_else(|_| Err(OutboxError("a defect ended the note".to_owned())))
    }

    async fn post(&self, entry: &Entry, unix_s: u64) -> Result<Reply, String> {
        let url: Url = entry.url.parse().map_err(|error: crate::http::url::UrlError| error.to_string())?;
        let text = |value: &str| HeaderValue::from_str(value).map_err(|_| "the entry cannot be sent".to_owned());
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE, text(&webhook::sign(&entry.secret, unix_s, &entry.body))?);
        headers.insert(EVENT, text(&entry.kind)?);
        headers.insert(DELIVERY, text(&entry.key)?);
        let said = |error: AskError| error.to_string();
        // A connection each: an operator's server may be restarted at any time, and hooks are few.
        let mut connection = Connection::open(&url, &self.guard).await.map_err(said)?;
        let body = Bytes::from(entry.body.clone());
        connection.post(&url, headers, body, self.patience.answer_wait, HOOK_REPLY_BYTES_MAX).await.map_err(said)
    }
}
