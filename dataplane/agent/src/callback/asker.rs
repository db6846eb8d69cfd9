//! The task that asks a callback's back end: one for each step, beside the shards. It owns what is kept, who waits and the connections, so
//! that nothing here is shared.
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method};
use bytes::Bytes;
use millstream_fleet::http::client::{AskError, Connection, Reply};
use millstream_policy::{Denial, Grant, Request, Step, Why};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::forms::Verdict;
use super::health::{Change, Health};
use super::kept::{Kept, Key};
use super::{Callback, Question};

/// Bytes of an answer: a number, or a line of JSON.
const ANSWER_BYTES_MAX: usize = 4 << 10;
/// Questions that wait for a turn.
const WAITING_MAX: usize = 4096;
/// Of those and of the ones under way, about one address (an IPv6 /64).
const PER_ADDRESS_MAX: usize = 256;

/// Who waits for the answer to one question.
enum Waiter {
    Session(u64),
    Made(oneshot::Sender<Step>),
}

/// A question that waits for a turn.
struct Waiting {
    key: Key,
    body: Bytes,
    until: Instant,
}

/// What came of one.
struct Asked {
    key: Key,
    outcome: Result<Reply, AskError>,
    connection: Option<Connection>,
}

struct Asker<A> {
    callback: Arc<Callback>,
    total: Arc<Semaphore>,
    answer: A,
    kept: Kept,
    health: Health,
    /// Those who wait, by what they wait for: several playlists of a viewer are one question.
    waiters: HashMap<Key, Vec<Waiter>>,
    of_address: HashMap<IpAddr, usize>,
    turns: VecDeque<Waiting>,
    under_way: JoinSet<Asked>,
    idle: Vec<Connection>,
    /// Numbers made-up questions, so that none is taken for another.
    made: u64,
}

/// Asks until nobody can ask any more and all have their answer.
pub(super) async fn run(
    callback: Arc<Callback>,
    mut questions: mpsc::Receiver<Question>,
    total: Arc<Semaphore>,
    answer: impl Fn(u64, Step) + Send + 'static,
) {
    let kept = Kept::new(callback.cache);
    let mut asker = Asker {
        callback,
        total,
        answer,
        kept,
        health: Health::default(),
        waiters: HashMap::new(),
        of_address: HashMap::new(),
        turns: VecDeque::new(),
        under_way: JoinSet::new(),
        idle: Vec::new(),
        made: 0,
    };
    let mut is_open = true;
    while is_open || !asker.waiters.is_empty() {
        let late = asker.turns.front().map(|waiting| waiting.until);
        tokio::select! {
            biased;
            Some(done) = asker.under_way.join_next() => if let Ok(done) = done { asker.settle(done) },
            () = async { tokio::time::sleep_until(late.unwrap_or_else(Instant::now)).await }, if late.is_some() => asker.expire(),
            question = questions.recv(), if is_open => match question {
                Some(question) => asker.take(question),
                None => is_open = false,
            },
        }
        asker.begin();
    }
}

impl<A: Fn(u64, Step)> Asker<A> {
    fn take(&mut self, question: Question) {
        let now = Instant::now();
        let (request, waiter): (Box<Request>, Waiter) = match question {
            Question::Session { ticket, request } => (request, Waiter::Session(ticket)),
            Question::Made { mut request, answer } => {
                self.made += 1;
                // A session of its own, which no other has.
                request.client.protocol = "explain";
                request.client.session = u64::MAX - self.made;
                (request, Waiter::Made(answer))
            }
        };
        let key = Key::of(&request);
        if let Some(step) = self.kept.find(&key, now) {
            return self.tell(waiter, step);
        }
        if let Some(waiters) = self.waiters.get_mut(&key) {
            return waiters.push(waiter);
        }
        let address = key.counted();
        let own = self.of_address.get(&address).copied().unwrap_or(0);
        if own >= PER_ADDRESS_MAX {
            let reason = "too many requests of this address wait for the server that decides; try again in a moment";
            return self.tell(waiter, Denial::undecided(reason));
        }
        if self.turns.len() >= WAITING_MAX {
            let step =
                self.callback.failed("too many requests wait for the server that decides; try again in a moment");
            return self.tell(waiter, step);
        }
        if !self.health.may_ask(now) {
            let step = self.callback.failed("the server that decides is away; try again in a moment");
            return self.tell(waiter, step);
        }
        *self.of_address.entry(address).or_default() += 1;
        let body = self.callback.form.body(&request);
        self.waiters.insert(key.clone(), vec![waiter]);
        self.turns.push_back(Waiting { key, body, until: now + self.callback.timeout });
    }

    fn tell(&self, waiter: Waiter, step: Step) {
        match waiter {
            Waiter::Session(ticket) => (self.answer)(ticket, step),
            // Who asked may have gone.
            Waiter::Made(answer) => drop(answer.send(step)),
        }
    }

    fn tell_all(&mut self, key: &Key, step: &Step) {
        let address = key.counted();
        if let Some(count) = self.of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&address);
            }
        }
        for waiter in self.waiters.remove(key).unwrap_or_default() {
            self.tell(waiter, step.clone());
        }
    }

    /// Begins as many as may be under way.
    fn begin(&mut self) {
        while self.under_way.len() < self.callback.at_once {
            let Some(Waiting { key, body, until }) = self.turns.pop_front() else { return };
            let (callback, total) = (Arc::clone(&self.callback), Arc::clone(&self.total));
            let idle = std::iter::from_fn(|| self.idle.pop()).find(Connection::is_open);
            self.under_way.spawn(async move {
                let late = || (Err(AskError::Late(callback.url.to_string())), None);
                let asking = async {
                    // Never closed.
                    let _turn = total.acquire().await;
                    ask(&callback, body, idle, until).await
                };
                let (outcome, connection) = timeout_at(until, asking).await.unwrap_or_else(|_| late());
                Asked { key, outcome, connection }
            });
        }
    }

    /// Answers those whose turn did not come in time: too many are before them, which is the back end's fault.
    fn expire(&mut self) {
        let now = Instant::now();
        while self.turns.front().is_some_and(|waiting| waiting.until <= now) {
            let Some(Waiting { key, .. }) = self.turns.pop_front() else { return };
            let step = self.callback.failed("the server that decides has too much to do; try again in a moment");
            self.tell_all(&key, &step);
        }
        self.failed(now, "it did not answer those before in time");
    }

    /// It gave no verdict.
    fn failed(&mut self, now: Instant, why: &str) {
        let name = &self.callback.name;
        match self.health.failed(now) {
            Some(Change::Failing) => warn!(step = name, why, "the back end of a callback gave no verdict"),
            Some(Change::Away) => {
                warn!(
                    step = name,
                    why, "the back end of a callback is away: its failure policy decides until it is back"
                );
                let rest: Vec<Key> = self.turns.drain(..).map(|waiting| waiting.key).collect();
                let step = self.callback.failed("the server that decides is away; try again in a moment");
                for key in &rest {
                    self.tell_all(key, &step);
                }
            }
            _ => {}
        }
    }

    fn settle(&mut self, Asked { key, outcome, connection }: Asked) {
        let now = Instant::now();
        if let Some(connection) = connection.filter(Connection::is_open) {
            self.idle.push(connection);
        }
        let verdict = match outcome {
            Ok(reply) => self.callback.form.read(&reply),
            Err(error) => Verdict::None(error.to_string()),
        };
        let step = match verdict {
            Verdict::Allow => self.callback.pass.step(Grant::default()),
            Verdict::Deny(reason) => Denial::step(Why::Forbidden, format!("{reason} (stream {})", key.stream())),
            Verdict::None(why) => {
                self.failed(now, &why);
                let step = self.callback.failed("the server that decides gave no verdict; try again in a moment");
                return self.tell_all(&key, &step);
            }
        };
        if self.health.answered() == Some(Change::Back) {
            info!(step = self.callback.name, "the back end of a callback is back");
        }
        self.kept.keep(key.clone(), step.clone(), now);
        self.tell_all(&key, &step);
    }
}

/// Asks once; a kept connection that broke before it answered is replaced by a new one, since the back end may have closed it just then.
async fn ask(
    callback: &Callback,
    body: Bytes,
    idle: Option<Connection>,
    until: Instant,
) -> (Result<Reply, AskError>, Option<Connection>) {
    if let Some(mut connection) = idle {
        match post(callback, &mut connection, body.clone(), until).await {
            Err(AskError::Broken(..)) => {}
            outcome => return reusable(outcome, connection),
        }
    }
    match Connection::open(&callback.url, &callback.guard).await {
        Ok(mut connection) => {
            let outcome = post(callback, &mut connection, body, until).await;
            reusable(outcome, connection)
        }
        Err(error) => (Err(error), None),
    }
}

/// What was cut off is not read to its end: the connection is closed.
fn reusable(outcome: Result<Reply, AskError>, connection: Connection) -> (Result<Reply, AskError>, Option<Connection>) {
    let is_whole = outcome.as_ref().is_ok_and(|reply| reply.body.is_some());
    (outcome, is_whole.then_some(connection))
}

async fn post(callback: &Callback, to: &mut Connection, body: Bytes, until: Instant) -> Result<Reply, AskError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(callback.form.content_type()));
    let wait = until.saturating_duration_since(Instant::now());
    to.ask(Method::POST, &callback.url, headers, body, wait, ANSWER_BYTES_MAX).await
}
