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

use super::health::Health;
use super::outbox::{Ask, Attempt, Backlog, Entry, Next, Outbox, OutboxError};
use crate::http::client::{AskError, Connection, Reply};
use crate::http::guard::Guard;
use crate::http::url::Url;
use crate::limits::{DELIVERIES_AT_ONCE_MAX, HOOK_REPLY_BYTES_MAX};
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
    /// An entry that is older than this is given up with its next failure, by the time that the outbox believes ([`Outbox::believed_unix_ms`]).
    pub give_up_after: Duration,
    /// But not before it was tried so often, or its receiver, where that is away: a server that was off finds all of them old.
    pub give_up_tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer_wait: Duration::from_secs(10),
            retry_least: Duration::from_secs(2),
            retry_most: Duration::from_mins(15),
            give_up_after: Duration::from_hours(24),
            give_up_tries: 8,
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
        let mut under_way: JoinSet<Result<bool, OutboxError>> = JoinSet::new();
        let mut tasks: HashMap<tokio::task::Id, (String, String)> = HashMap::new();
        let mut lanes: HashSet<String> = HashSet::new();
        let mut hooks: HashMap<String, Health> = HashMap::new();
        let mut failing = false;
        let mut counted: Option<Instant> = None;
        loop {
            if counted.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
                let waiting = this.count().await;
                counted = Some(Instant::now());
                let waits = |hook: &String| waiting.as_ref().is_none_or(|waiting| waiting.contains(hook));
                hooks.retain(|hook, health| !health.is_plain(waits(hook)));
            }
            let wait = match this.due(&lanes, &hooks).await {
                Ok(entries) => {
                    failing = false;
                    for entry in entries {
                        let health = hooks.entry(entry.hook.clone()).or_default();
                        let room = lanes.len() < DELIVERIES_AT_ONCE_MAX && health.room(Instant::now()) > 0;
                        if room && lanes.insert(entry.lane.clone()) {
                            health.under_way += 1;
                            let this = Arc::clone(&this);
                            let of = (entry.lane.clone(), entry.hook.clone());
                            let task = under_way.spawn(async move { this.deliver(entry).await });
                            tasks.insert(task.id(), of);
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
                Some(done) = under_way.join_next_with_id() => {
                    let id = done.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
                    let Some((lane, hook)) = tasks.remove(&id) else { continue };
                    let health = hooks.entry(hook.clone()).or_default();
                    health.under_way = health.under_way.saturating_sub(1);
                    // A defect in it has been printed; its lane stays closed, so that nothing overtakes what it was about.
                    let Ok((_, settled)) = done else { continue };
                    lanes.remove(&lane);
                    match settled {
                        Ok(taken) => this.learn(health, (&hook, &lane), taken).await,
                        Err(error) => {
                            tracing::error!(%error, hook, "what came of a webhook's delivery cannot be kept: it will come again");
                            sleep(OUTBOX_RETRY).await;
                        }
                    }
                }
            }
        }
    }

    /// Draws what follows from how a delivery went: a receiver that is back gets all that waits, one that is away nothing that is too old.
    async fn learn(&self, health: &mut Health, (hook, lane): (&str, &str), taken: bool) {
        let outbox = Arc::clone(&self.outbox);
        let of = hook.to_owned();
        let done = if taken {
            if !health.took() {
                return;
            }
            tracing::info!(hook, "a webhook's receiver is back");
            tokio::task::spawn_blocking(move || outbox.hurry(&of)).await
        } else {
            let Patience { retry_least, retry_most, give_up_tries, .. } = self.patience;
            let is_away = health.failed(Instant::now(), lane, (retry_least, retry_most));
            if !is_away || health.asked_in_vain() < give_up_tries {
                return;
            }
            let at_unix_ms = unix_ms();
            let error = "the receiver was away for longer than deliveries are kept".to_owned();
            let attempt = Attempt { at_unix_ms, took_ms: 0, status: None, error };
            let (before_unix_ms, numbers) = (self.old_before_ms(), Arc::clone(&self.numbers));
            let of_log = hook.to_owned();
            tokio::task::spawn_blocking(move || {
                outbox.give_up(&of, before_unix_ms, &attempt).map(|given_up| {
                    numbers.given_up.add(given_up as u64);
                    if given_up > 0 {
                        tracing::warn!(
                            hook = of_log,
                            deliveries = given_up,
                            "a webhook's receiver is away: its old deliveries are given up"
                        );
                    }
                })
            })
            .await
        };
        if let Ok(Err(error)) = done {
            tracing::warn!(%error, hook, "what waits for a webhook cannot be changed now");
        }
    }

    /// Counts what waits; the hooks that something waits for.
    async fn count(&self) -> Option<HashSet<String>> {
        let outbox = Arc::clone(&self.outbox);
        // One that cannot be read is told of when it is asked for what is due.
        let Backlog { waiting, oldest_unix_ms, hooks } =
            tokio::task::spawn_blocking(move || outbox.backlog()).await.ok()?.ok()?;
        self.numbers.backlog(waiting, oldest_unix_ms);
        Some(hooks)
    }

    /// What was added before this is old, Unix milliseconds.
    fn old_before_ms(&self) -> u64 {
        self.outbox.believed_unix_ms().saturating_sub(self.patience.give_up_after.as_millis() as u64)
    }

    async fn due(&self, busy: &HashSet<String>, hooks: &HashMap<String, Health>) -> Result<Vec<Entry>, OutboxError> {
        let limit = DELIVERIES_AT_ONCE_MAX.saturating_sub(busy.len());
        if limit == 0 {
            return Ok(Vec::new());
        }
        let (outbox, now) = (Arc::clone(&self.outbox), Instant::now());
        let shares = hooks.iter().map(|(hook, health)| (hook.clone(), health.room(now))).collect();
        let now_unix_ms = unix_ms();
        let latest_unix_ms = Some(now_unix_ms.saturating_add(self.patience.retry_most.as_millis() as u64));
        let ask = Ask { busy: busy.clone(), shares, share: Health::default().room(now), limit, latest_unix_ms };
        let due = tokio::task::spawn_blocking(move || outbox.due(now_unix_ms, &ask)).await;
        due.unwrap_or_else(|_| Err(OutboxError("a defect ended the look at it".to_owned())))
    }

    /// One try, and the note of it; whether the receiver took it.
    async fn deliver(&self, entry: Entry) -> Result<bool, OutboxError> {
        let attempt = try_once(&entry, &self.guard, self.patience.answer_wait).await;
        let (status, error) = (attempt.status, &attempt.error);
        let is_old = entry.added_unix_ms <= self.old_before_ms();
        let next = if error.is_empty() {
            Next::Delivered
        } else if status == Some(StatusCode::GONE.as_u16())
            || (is_old && entry.attempts + 1 >= self.patience.give_up_tries)
        {
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
        let outbox = Arc::clone(&self.outbox);
        let settled = tokio::task::spawn_blocking(move || outbox.settle(&entry.key, &attempt, next)).await;
        // That it wants no more of them is an answer, too. One that is given up for its age is none.
        let taken = matches!(next, Next::Delivered) || status == Some(StatusCode::GONE.as_u16());
        settled.unwrap_or_else(|_| Err(OutboxError("a defect ended the note".to_owned()))).map(|()| taken)
    }
}

/// One try, and what came of it. The receiver has so long to answer.
pub async fn try_once(entry: &Entry, guard: &Guard, answer_wait: Duration) -> Attempt {
    let (at_unix_ms, began) = (unix_ms(), Instant::now());
    let outcome = post(entry, guard, answer_wait, at_unix_ms / 1000).await;
    let took_ms = began.elapsed().as_millis() as u64;
    let (status, error) = match outcome {
        Ok(Reply { status, .. }) if status.is_success() => (Some(status), String::new()),
        Ok(Reply { status, .. }) if status.is_redirection() => {
            (Some(status), "the server redirects, which is not followed; give the hook the new URL".to_owned())
        }
        Ok(Reply { status, .. }) => (Some(status), format!("the server answers with status {}", status.as_u16())),
        Err(error) => (None, error),
    };
    Attempt { at_unix_ms, took_ms, status: status.map(|status| status.as_u16()), error }
}

async fn post(entry: &Entry, guard: &Guard, answer_wait: Duration, unix_s: u64) -> Result<Reply, String> {
    let url: Url = entry.url.parse().map_err(|error: crate::http::url::UrlError| error.to_string())?;
    let text = |value: &str| HeaderValue::from_str(value).map_err(|_| "the entry cannot be sent".to_owned());
    let mut headers = HeaderMap::new();
    headers.insert(SIGNATURE, text(&webhook::sign(&entry.secret, unix_s, &entry.body))?);
    headers.insert(EVENT, text(&entry.kind)?);
    headers.insert(DELIVERY, text(&entry.key)?);
    let said = |error: AskError| error.to_string();
    // A connection each: an operator's server may be restarted at any time, and hooks are few.
    let mut connection = Connection::open(&url, guard).await.map_err(said)?;
    let body = Bytes::from(entry.body.clone());
    connection.post(&url, headers, body, answer_wait, HOOK_REPLY_BYTES_MAX).await.map_err(said)
}
