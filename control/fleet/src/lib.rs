//! Control's end of the link: the state that all nodes are to have, what they tell, and orders to them. Before it: control's API,
//! which changes streams and asks; after it: nodes that poll, over HTTP ([`router`]) or within the process.
//!
//! A change is in force as soon as the nodes' polls have brought it to their shards, a few milliseconds; [`Fleet::in_force`] waits for
//! that. What nodes are asked they answer within [`crate::limits::ORDER_WAIT_MAX`], or the question fails.
//!
//! [`work`] has workers of other machines; [`certificates`] are those that control has for all nodes; [`webhook`] sends events to operators' servers; [`http`] is the client that it and the nodes' agents use; [`numbers`] is what is counted.
//!
//! Invariants: every queue, map, body and wait has a maximum, in [`limits`]; a secret never reaches a log; what control has
//! acknowledged as kept is kept.
#![forbid(unsafe_code)]

pub mod backoff;
pub mod certificates;
mod certified;
mod desired_state;
mod error;
mod hooks;
pub mod http;
pub mod limits;
mod node_registry;
pub mod numbers;
mod quality;
mod replays;
mod router;
mod runs;
mod shares;
mod tasks;
#[cfg(test)]
mod tests;
mod time_series;
mod trust;
pub mod webhook;
mod work;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use futures_util::stream::{self, Stream as Answers, StreamExt as _};
use millstream_control_protocol::PROTOCOL;
use millstream_control_protocol::diagnosis::Condition;
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{Answer, NodeId, Order, Poll, Push, Receipt, Report, Whom};
use millstream_control_protocol::live::{Live, Viewer};
use millstream_control_protocol::quality::Quality;
use millstream_control_protocol::state::{Binding, Stream, Version};
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, timeout_at};

use self::certificates::DesiredTls;
use self::desired_state::DesiredState;
pub use self::error::LinkError;
pub use self::hooks::{HookLogs, LogCursor, LogPlace, LogQuery};
use self::node_registry::NodeRegistry;
pub use self::node_registry::NodeView;
pub use self::replays::{Offered, Told};
pub use self::router::{IsNode, OnNode, router, work_router};
use self::shares::Shares;
use self::time_series::TimeSeries;
pub use self::time_series::{Point, SERIES_EVERY};
use self::work::Workers;
pub use self::work::{Tickets, WorkerView};
use crate::limits::{
    EVENTS_BEHIND_MAX, ORDER_WAIT_MAX, POLL_WAIT_MAX, VIEWERS_ASKED_AT_ONCE_MAX, VIEWERS_PER_PAGE_MAX,
};
use crate::numbers::Numbers;

/// A future that can be handed around.
pub type Promise<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Keeps events for good: session history, webhooks' outbox. A node forgets an event only after this has said so; one that could not
/// be kept comes again, and may come twice all the same: its node, run and number tell.
pub trait EventSink: Send + Sync + 'static {
    /// Keeps them, all or none, in this order; the error is for the log.
    fn keep(&self, node: NodeId, events: Vec<Event>) -> Promise<Result<(), String>>;

    /// A piece of a hook's module, from its byte `at` on: as much as is kept together, nothing at its end; `None`: there is no such
    /// module. The error is for the log.
    fn module(&self, sha256: String, at: u64) -> Promise<Result<Option<Bytes>, String>>;
}

/// Keeps nothing and has no hooks: for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct DropEvents;

impl EventSink for DropEvents {
    fn keep(&self, _node: NodeId, _events: Vec<Event>) -> Promise<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn module(&self, _sha256: String, _at: u64) -> Promise<Result<Option<Bytes>, String>> {
        Box::pin(async { Ok(None) })
    }
}

/// An event and where it happened.
#[derive(Clone, PartialEq, Debug)]
pub struct NodeEvent {
    /// The node.
    pub node: NodeId,
    /// The event.
    pub event: Event,
}

/// How many sessions an order ended, and what stood in its way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kicked {
    /// Sessions that are being ended.
    pub sessions: u64,
    /// Nodes that could not be told, and why.
    pub failed: Vec<(String, LinkError)>,
}

/// Where a page of viewers ends: node and session number.
pub type ViewerCursor = (String, u64);

/// Some of a stream's viewers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ViewersOnNodes {
    /// Node and viewer, in the order of nodes' names and of session numbers.
    pub viewers: Vec<(String, Viewer)>,
    /// There are more behind this.
    pub next: Option<ViewerCursor>,
    /// Nodes that could not be asked, and why.
    pub failed: Vec<(String, LinkError)>,
}

/// Control's end of the link. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Fleet(Arc<Inner>);

struct Inner {
    desired: Mutex<DesiredState>,
    tls: Mutex<DesiredTls>,
    registry: Mutex<NodeRegistry>,
    workers: Mutex<Workers>,
    shares: Mutex<Shares>,
    series: Mutex<TimeSeries>,
    /// Modules that are not kept, while a replay needs them.
    offers: Mutex<replays::Offers>,
    /// There is a newer state. Whoever waits is woken in the order in which they came, which a simulation repeats; a watch channel's waiters
    /// are woken in a random one.
    changed: Notify,
    /// Some node has a newer state in force than before.
    caught_up: Notify,
    /// Some node has told of its tasks.
    task_told: Notify,
    heard: broadcast::Sender<NodeEvent>,
    sink: Box<dyn EventSink>,
    numbers: Arc<Numbers>,
    /// Events of control's own.
    own_events: AtomicU64,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fleet")
            .field("desired", &self.0.desired)
            .field("registry", &self.0.registry)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left is whole: every change under these locks is made of steps that do not panic between each other.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fleet {
    /// A fleet without nodes yet, with these streams. `key_check` is [`millstream_proto::sign::MasterKey`]'s, or empty.
    pub fn new(streams: impl IntoIterator<Item = Stream>, key_check: String, sink: impl EventSink) -> Self {
        Self::counting(streams, key_check, sink, Arc::default())
    }

    /// The same, counting what nodes say.
    pub fn counting(
        streams: impl IntoIterator<Item = Stream>,
        key_check: String,
        sink: impl EventSink,
        numbers: Arc<Numbers>,
    ) -> Self {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64);
        Self::of_run(run, streams, key_check, sink, numbers)
    }

    /// The same, of a run of control that has this number: another one than every run before it.
    pub fn of_run(
        run: u64,
        streams: impl IntoIterator<Item = Stream>,
        key_check: String,
        sink: impl EventSink,
        numbers: Arc<Numbers>,
    ) -> Self {
        let desired = DesiredState::new(run, key_check, streams);
        Self(Arc::new(Inner {
            desired: Mutex::new(desired),
            tls: Mutex::default(),
            registry: Mutex::default(),
            workers: Mutex::default(),
            shares: Mutex::new(Shares::new(Instant::now())),
            series: Mutex::default(),
            offers: Mutex::default(),
            changed: Notify::new(),
            caught_up: Notify::new(),
            task_told: Notify::new(),
            heard: broadcast::channel(EVENTS_BEHIND_MAX).0,
            sink: Box::new(sink),
            numbers,
            own_events: AtomicU64::new(0),
        }))
    }

    fn change(&self, what: impl FnOnce(&mut DesiredState)) -> Version {
        let (before, version) = {
            let mut desired = lock(&self.0.desired);
            let before = desired.version();
            what(&mut desired);
            (before, desired.version())
        };
        if version != before {
            self.0.changed.notify_waiters();
        }
        version
    }

    /// Says which store the streams are of, and which ones an operator has put it in the place of. To be called before nodes come.
    pub fn is_of(&self, store: String, stands_for: Vec<String>) {
        lock(&self.0.desired).is_of(store, stands_for);
    }

    /// Says which nodes were there before control began, in the order in which they came. To be called before nodes come.
    pub fn came_before(&self, names: Vec<String>) {
        lock(&self.0.registry).came_before(names);
    }

    /// Names of nodes in the order in which they came, for the next run.
    pub fn came(&self) -> Vec<String> {
        lock(&self.0.registry).came()
    }

    /// Creates or changes a stream.
    pub fn put(&self, stream: Stream) -> Version {
        self.change(|desired| desired.put(stream))
    }

    /// What `look` finds at the first stream, in the order of their ids, of which it finds something.
    pub fn find_stream<T>(&self, look: impl FnMut(&Stream) -> Option<T>) -> Option<T> {
        lock(&self.0.desired).find_stream(look)
    }

    /// Takes a stream out: nobody is admitted to it any more. Who is on air goes on; see [`Fleet::kick_stream`].
    pub fn remove(&self, id: &str) -> Version {
        self.change(|desired| desired.remove(id))
    }

    /// These are all streams from here on.
    pub fn replace(&self, streams: impl IntoIterator<Item = Stream>) -> Version {
        self.change(|desired| desired.replace(streams))
    }

    /// Binds a hook, or changes how it is bound.
    pub fn bind(&self, binding: Binding) -> Version {
        self.change(|desired| desired.bind(binding))
    }

    /// Binds all of these in one step: a node has all of them or none.
    pub fn bind_all(&self, bindings: impl IntoIterator<Item = Binding>) -> Version {
        self.change(|desired| bindings.into_iter().for_each(|binding| desired.bind(binding)))
    }

    /// Takes a binding out.
    pub fn unbind(&self, id: &str) -> Version {
        self.change(|desired| desired.unbind(id))
    }

    /// A piece of a hook's module, from its byte `at` on; nothing at its end.
    pub async fn module(&self, sha256: &str, at: u64) -> Result<Bytes, LinkError> {
        if !certificates::is_sha256(sha256) {
            return Err(LinkError::Sha256);
        }
        if at == 0 {
            self.0.numbers.files_given.one();
        }
        if let Some(piece) = lock(&self.0.offers).piece(sha256, at) {
            return Ok(piece);
        }
        let piece = self.0.sink.module(sha256.to_owned(), at).await.map_err(LinkError::Module)?;
        piece.ok_or(LinkError::NoModule)
    }

    /// The newest state.
    pub fn version(&self) -> Version {
        lock(&self.0.desired).version()
    }

    /// Waits until every node that is here has this state in force; false: not in this time.
    pub async fn in_force(&self, version: Version, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            // Before the look: whatever comes after that ends the wait.
            let caught_up = self.0.caught_up.notified();
            if lock(&self.0.registry).all_have(version) {
                return true;
            }
            if timeout_at(until, caught_up).await.is_err() {
                return false;
            }
        }
    }

    /// A node's question for news; answered when there are some, or when its wait is over.
    pub async fn poll(&self, poll: &Poll) -> Result<Push, LinkError> {
        self.0.numbers.polls_heard.one();
        let until = Instant::now() + Duration::from_millis(u64::from(poll.wait_ms)).min(POLL_WAIT_MAX);
        let mut had = false;
        loop {
            let changed = self.0.changed.notified();
            let (commands, wake) = lock(&self.0.registry).poll(poll)?;
            if !std::mem::replace(&mut had, true) {
                self.0.caught_up.notify_waiters();
            }
            let update = lock(&self.0.desired).update(poll.have).filter(|update| Some(update.version) != poll.refused);
            let tls = lock(&self.0.tls).news(poll.tls);
            if update.is_some() || tls.is_some() || !commands.is_empty() || Instant::now() >= until {
                return Ok(Push { protocol: PROTOCOL, update, commands, tls });
            }
            // Whatever it was, all is looked at again: so the order is as good as chance, and a simulation repeats it.
            tokio::select! {
                biased;
                () = changed => {}
                () = wake.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// What a node tells. Its events are kept before it is thanked.
    pub async fn report(&self, mut report: Report) -> Result<Receipt, LinkError> {
        self.0.numbers.reports_heard.one();
        trust::tidy(&mut report);
        if lock(&self.0.desired).is_foreign(&report.store) {
            // They wait for the store that they are about.
            report.events.clear();
        }
        let events = lock(&self.0.registry).new_events(&report)?;
        let node = report.node.clone();
        let (events, left_out) = lock(&self.0.shares).let_through(Instant::now(), &node, events);
        self.0.numbers.events_left_out.add(left_out);
        if !events.is_empty() {
            let kept = self.0.sink.keep(node.clone(), events.clone()).await;
            kept.inspect_err(|_| self.0.numbers.reports_not_kept.one()).map_err(LinkError::Keeping)?;
        }
        let untold = {
            let mut shares = lock(&self.0.shares);
            shares.kept(&node);
            shares.untold(Instant::now())
        };
        let has_tasks = !report.tasks.is_empty();
        let events_through = lock(&self.0.registry).report(report)?;
        if has_tasks {
            // One waits; where none does just now, the next look finds the permit.
            self.0.task_told.notify_one();
        }
        for event in events {
            // Nobody may be listening.
            let _ = self.0.heard.send(NodeEvent { node: node.clone(), event });
        }
        for (node, event) in untold {
            if let What::LeftOut { count } = event.what {
                tracing::warn!(
                    node = node.name,
                    stream = event.stream,
                    count,
                    "events of a stream were left out: it has too many"
                );
            }
            // Told once: what cannot be kept now is in the log.
            let kept = self.0.sink.keep(node.clone(), vec![event.clone()]).await;
            kept.unwrap_or_else(|_| self.0.numbers.reports_not_kept.one());
            let _ = self.0.heard.send(NodeEvent { node, event });
        }
        Ok(Receipt { protocol: PROTOCOL, events_through })
    }

    /// Events from here on. A listener that is too far behind is told how many it missed.
    pub fn events(&self) -> broadcast::Receiver<NodeEvent> {
        self.0.heard.subscribe()
    }

    /// All nodes that were heard within the last hour, by name.
    pub fn nodes(&self) -> Vec<NodeView> {
        lock(&self.0.registry).views()
    }

    /// Every stream that is held, by node, as it was told last: some seconds ago.
    pub fn on_air(&self) -> Vec<(String, Live)> {
        lock(&self.0.registry).on_air()
    }

    /// Takes in how all streams are now, for [`Fleet::time_series`]; to be called every [`SERIES_EVERY`].
    pub fn take_series(&self, now_unix_ms: u64) {
        let points = lock(&self.0.registry).points();
        lock(&self.0.series).take(now_unix_ms, points);
    }

    /// How a stream was on air within the last hour, the oldest point first.
    pub fn time_series(&self, stream: &str) -> Vec<Point> {
        lock(&self.0.series).of(stream)
    }

    /// What nodes that are here have found wrong with a stream, by node, as they told last: at once where something has changed.
    pub fn conditions(&self, stream: &str) -> Vec<(String, Vec<Condition>)> {
        lock(&self.0.registry).conditions(stream)
    }

    /// The same, of one node.
    pub fn conditions_at(&self, node: &str, stream: &str) -> Vec<Condition> {
        lock(&self.0.registry).conditions_at(node, stream)
    }

    async fn ask(&self, node: &str, order: Order, until: Instant) -> Result<Answer, LinkError> {
        if Instant::now() >= until {
            return Err(LinkError::Late);
        }
        let answer = lock(&self.0.registry).order(node, order)?;
        match timeout_at(until, answer).await {
            Ok(Ok(Answer::Failed { reason })) => Err(LinkError::Failed(reason)),
            Ok(Ok(Answer::NotUnderstood)) => {
                Err(LinkError::Failed("its release does not know this order; upgrade it".to_owned()))
            }
            Ok(Ok(answer)) => Ok(answer),
            // Its run is over.
            Ok(Err(_)) => Err(LinkError::Away),
            Err(_) => Err(LinkError::Late),
        }
    }

    /// A stream as it is now, by node: only nodes that hold it. A node that was told to look and does not answer is shown as it told
    /// last.
    pub async fn look(&self, stream: &str) -> Vec<(String, Live)> {
        let nodes = lock(&self.0.registry).present();
        let last_told = lock(&self.0.registry).last_told(stream);
        let mut found = Vec::new();
        for (node, answer) in self.ask_all(nodes, &Order::Look { stream: stream.to_owned() }).await {
            match answer {
                Ok(Answer::Live { live: Some(live) }) if live.id == stream => found.push((node, *live)),
                Ok(_) => {}
                Err(_) => found.extend(last_told.iter().find(|(told, _)| *told == node).cloned()),
            }
        }
        found
    }

    /// A stream as nodes that are here told of it last, by node; nobody is asked.
    pub fn last_told(&self, stream: &str) -> Vec<(String, Live)> {
        lock(&self.0.registry).last_told(stream)
    }

    /// Asks all nodes at the same time.
    async fn ask_all(&self, nodes: Vec<String>, order: &Order) -> Vec<(String, Result<Answer, LinkError>)> {
        self.ask_all_for(nodes, order, ORDER_WAIT_MAX).await
    }

    /// The same, with so much time.
    async fn ask_all_for(
        &self,
        nodes: Vec<String>,
        order: &Order,
        wait: Duration,
    ) -> Vec<(String, Result<Answer, LinkError>)> {
        let at_once = nodes.len();
        let orders = nodes.into_iter().map(|node| (node, order.clone())).collect();
        let mut answers: Vec<_> = self.ask_each(orders, at_once, wait).collect().await;
        answers.sort_by(|(a, _), (b, _)| a.cmp(b));
        answers
    }

    /// Asks nodes, so many at the same time, and gives every node's answer as it comes. Together they have the time of one: nodes that
    /// hang cost the caller one wait, and whose turn does not come by its end is late.
    fn ask_each(
        &self,
        orders: Vec<(String, Order)>,
        at_once: usize,
        wait: Duration,
    ) -> impl Answers<Item = (String, Result<Answer, LinkError>)> + use<> {
        let (fleet, until) = (self.clone(), Instant::now() + wait);
        let ask = move |(node, order): (String, Order)| {
            let fleet = fleet.clone();
            async move {
                let answer = fleet.ask(&node, order, until).await;
                (node, answer)
            }
        };
        stream::iter(orders).map(ask).buffer_unordered(at_once.max(1))
    }

    /// How a stream plays, as players have said at the nodes that answer: by protocol, and which nodes did not answer.
    pub async fn quality(&self, stream: &str) -> (Vec<Quality>, Vec<(String, LinkError)>) {
        let nodes = lock(&self.0.registry).present();
        let order = |node: String| (node, Order::Quality { stream: stream.to_owned() });
        let orders = nodes.into_iter().map(order).collect();
        let mut answers = pin!(self.ask_each(orders, VIEWERS_ASKED_AT_ONCE_MAX, ORDER_WAIT_MAX));
        let (mut all, mut failed) = (BTreeMap::new(), BTreeMap::new());
        while let Some((node, answer)) = answers.next().await {
            match answer {
                Ok(Answer::Quality { quality }) => quality::add(&mut all, quality),
                // A node of an earlier release.
                Ok(_) => {
                    failed.insert(node, LinkError::other_answer());
                }
                Err(error) => {
                    failed.insert(node, error);
                }
            }
        }
        (all.into_values().collect(), failed.into_iter().collect())
    }

    /// Who watches a stream, at most `limit`, after the cursor of the page before.
    pub async fn viewers(&self, stream: &str, after: Option<&ViewerCursor>, limit: u32) -> ViewersOnNodes {
        let limit = limit.clamp(1, VIEWERS_PER_PAGE_MAX) as usize;
        let after_of = |node: &str| after.filter(|(at, _)| at == node).map_or(0, |(_, session)| *session);
        let mut nodes = lock(&self.0.registry).present();
        nodes.retain(|node| after.is_none_or(|(at, _)| node >= at));
        let order = |node: String| {
            let after = after_of(&node);
            (node, Order::Viewers { stream: stream.to_owned(), after, limit: limit as u32 })
        };
        let orders = nodes.into_iter().map(order).collect();
        let mut answers = pin!(self.ask_each(orders, VIEWERS_ASKED_AT_ONCE_MAX, ORDER_WAIT_MAX));
        // No more than a page is held, however many nodes answer.
        let (mut found, mut ends, mut failed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut is_cut = false;
        while let Some((node, answer)) = answers.next().await {
            let mut told = match answer {
                Ok(Answer::Viewers { page }) => page,
                Ok(_) => {
                    failed.insert(node, LinkError::other_answer());
                    continue;
                }
                Err(error) => {
                    failed.insert(node, error);
                    continue;
                }
            };
            let after = after_of(&node);
            // No more than was asked for, whatever it says: pages that never end would be read for ever.
            told.viewers.retain(|viewer| viewer.session > after);
            if told.viewers.len() > limit {
                told.viewers.truncate(limit);
                told.next_after = told.viewers.last().map(|viewer| viewer.session);
            }
            told.viewers.iter_mut().for_each(trust::tidy_viewer);
            if let Some(next) = told.next_after.filter(|next| *next > after && !told.viewers.is_empty()) {
                ends.insert(node.clone(), next);
            }
            found.extend(told.viewers.into_iter().map(|viewer| ((node.clone(), viewer.session), viewer)));
            while found.len() > limit {
                found.pop_last();
                is_cut = true;
            }
        }
        // Behind the first node that has more there is nothing yet.
        let end: Option<ViewerCursor> = ends.pop_first();
        if let Some((node, _)) = &end {
            found.retain(|(of, _), _| of <= node);
        }
        let last = found.keys().next_back().cloned();
        let is_full = found.len() == limit && is_cut;
        let next = if is_full && end.as_ref().is_none_or(|end| last.as_ref() < Some(end)) { last } else { end };
        let viewers = found.into_iter().map(|((node, _), viewer)| (node, viewer)).collect();
        ViewersOnNodes { viewers, next, failed: failed.into_iter().collect() }
    }

    /// Ends sessions of a stream on every node.
    pub async fn kick_stream(&self, stream: &str, whom: Whom) -> Kicked {
        let nodes = lock(&self.0.registry).present();
        self.kick(nodes, &Order::KickStream { stream: stream.to_owned(), whom }).await
    }

    /// Ends one session of a node.
    pub async fn kick_session(&self, node: &str, session: u64) -> Kicked {
        self.kick(vec![node.to_owned()], &Order::KickSession { session }).await
    }

    async fn kick(&self, nodes: Vec<String>, order: &Order) -> Kicked {
        let mut kicked = Kicked::default();
        for (node, answer) in self.ask_all(nodes, order).await {
            match answer {
                Ok(Answer::Kicked { sessions }) => kicked.sessions = kicked.sessions.saturating_add(sessions),
                Ok(_) => kicked.failed.push((node, LinkError::other_answer())),
                Err(error) => kicked.failed.push((node, error)),
            }
        }
        kicked
    }
}
