//! One binding as a step of one shard's chain. Before it: the engine's admission; after it: the next step, or a verdict.
//!
//! A decision runs on the shard while hooks use little of its time and this one is quick, else on [`super::threads`], while the session waits. Where an
//! upstream is asked, it goes on there. A hook that fails decides nothing: the binding's [`Fail`] does.
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use millstream_hooks::json::MAX_REPLIES;
use millstream_hooks::wit::auth;
use millstream_hooks::{ASKS_TOO_OFTEN, Called};
use millstream_policy::scope::Fail;
use millstream_policy::table::Table;
use millstream_policy::{DecisionContext, Denial, Policy, Request, Stance, Step, Undecided, Verdict, Why};
use millstream_proto::id::Id;
use millstream_proto::network::counted;

use crate::answer::{self, Answer, Places};
use crate::bound::{Bound, Counts, unanswered};
use crate::decision::{self, Decision};
use crate::kept::{self, KeptGrants, Known};
use crate::pace::ShardTime;
use crate::question::{self, OnAir};
use crate::recorder::Recorder;
use crate::slots::Slots;
use crate::threads::{Threads, Waiting};
use crate::troubles::Troubles;

/// What upstreams answer, when they have.
pub type Replied = Box<dyn FnOnce(Result<auth::Reply, String>) + Send>;

/// Asks upstreams.
pub trait Fetcher: Send + Sync {
    /// Asks, and calls `replied` once, at the latest when the fetch's time is over.
    fn fetch(&self, fetch: auth::Fetch, replied: Replied);
}

/// Where answers of pending steps go: the ticket and what was decided.
pub type Answerer = Box<dyn Fn(u64, Step) + Send + Sync>;

/// What one shard keeps of what a binding has granted; shared with who sweeps.
type KeptOfShard = Arc<Mutex<KeptGrants>>;

/// In place of a shard, for sessions of play grants: each of their requests may come to another shard, and there are few of them.
const RENEWALS: usize = usize::MAX;

/// What all steps of a node share.
pub struct Node {
    /// Places that grants take.
    pub slots: Slots,
    /// Streams on air, as they were looked at last.
    pub on_air: RwLock<Table<OnAir>>,
    /// Whom hooks turned away, and how often they failed.
    pub troubles: Troubles,
    threads: OnceLock<Option<Threads>>,
    at_once: bool,
    answerer: OnceLock<Answerer>,
    fetcher: Box<dyn Fetcher>,
    shards: Vec<ShardTime>,
    /// By the binding's id and the shard.
    kept: Mutex<HashMap<(String, usize), KeptOfShard>>,
    recorder: OnceLock<Recorder>,
}

impl Node {
    /// For so many shards.
    pub fn new(shards: usize, fetcher: Box<dyn Fetcher>) -> Arc<Self> {
        Arc::new(Self::of(shards, fetcher))
    }

    /// Without threads: what is for them is done at once by who asks for it. For simulations, which must go the same way each time.
    pub fn without_threads(shards: usize, fetcher: Box<dyn Fetcher>) -> Arc<Self> {
        Arc::new(Self { at_once: true, ..Self::of(shards, fetcher) })
    }

    fn of(shards: usize, fetcher: Box<dyn Fetcher>) -> Self {
        Self {
            slots: Slots::default(),
            on_air: RwLock::default(),
            troubles: Troubles::default(),
            threads: OnceLock::new(),
            at_once: false,
            answerer: OnceLock::new(),
            fetcher,
            shards: (0..shards).map(|_| ShardTime::default()).collect(),
            kept: Mutex::default(),
            recorder: OnceLock::new(),
        }
    }

    /// Asks an upstream, and calls `replied` once.
    pub fn fetch(&self, fetch: auth::Fetch, replied: Replied) {
        self.fetcher.fetch(fetch, replied);
    }

    /// Decisions are recorded there. Until this is said they are not.
    pub fn record_to(&self, recorder: Recorder) {
        let _ = self.recorder.set(recorder);
    }

    /// The threads, which begin with the first binding: a server without hooks has none. `None`: the system gives none, which has been said.
    fn threads(self: &Arc<Self>) -> Option<&Threads> {
        let start = || {
            let swept = Arc::downgrade(self);
            let tick = move || {
                if let Some(node) = swept.upgrade() {
                    node.sweep(Instant::now());
                }
            };
            Threads::start(1, tick)
                .inspect_err(|error| tracing::error!(%error, "cannot start the threads of hooks"))
                .ok()
        };
        self.threads.get_or_init(start).as_ref()
    }

    /// Does this soon, beside the shards; false: there is no room.
    fn soon(self: &Arc<Self>, waiting: &Waiting, job: impl FnOnce() + Send + 'static) -> bool {
        if self.at_once {
            job();
            return true;
        }
        self.threads().is_some_and(|threads| threads.add(waiting, job).is_ok())
    }

    /// Answers of pending steps go there. Until this is said there are none.
    pub fn answers_go_to(&self, answerer: Answerer) {
        let _ = self.answerer.set(answerer);
    }

    fn answer(&self, ticket: u64, step: Step) {
        if let Some(answerer) = self.answerer.get() {
            answerer(ticket, step);
        }
    }

    pub(crate) fn sweep(&self, now: Instant) {
        let all = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let each: Vec<_> = all().values().cloned().collect();
        for kept in each {
            let gone = locked(&kept).sweep(now);
            drop(gone);
        }
        // Of bindings that are no more: who changes one makes its new steps before the old ones go.
        let over: Vec<_> = all().extract_if(|_, kept| Arc::strong_count(kept) == 1).collect();
        drop(over);
    }

    fn kept(&self, binding: &str, shard: usize) -> KeptOfShard {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((binding.to_owned(), shard)).or_default())
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

fn locked(kept: &Mutex<KeptGrants>) -> MutexGuard<'_, KeptGrants> {
    // A shard's own, but for a moment each second: see [`Node::sweep`].
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A binding, as one shard asks it.
#[derive(Clone)]
pub struct HookStep {
    bound: Arc<Bound>,
    node: Arc<Node>,
    shard: usize,
    kept: KeptOfShard,
    /// Of sessions of play grants.
    renewals: KeptOfShard,
    waiting: Waiting,
    comparing: Waiting,
    decider: Arc<decision::Decider>,
}

/// A decision that goes on elsewhere.
struct Case {
    step: HookStep,
    ticket: u64,
    request: Request,
    question: auth::Request,
    asks: usize,
}

impl HookStep {
    /// For this shard. `waiting` counts the decisions, and the comparisons, of the binding that wait for a thread.
    pub fn new(bound: Arc<Bound>, node: Arc<Node>, shard: usize, waiting: [Waiting; 2]) -> Self {
        let (kept, renewals) = (node.kept(&bound.id, shard), node.kept(&bound.id, RENEWALS));
        // What viewers hold is given back there.
        if !node.at_once {
            node.threads();
            if let Some(recorder) = node.recorder.get() {
                recorder.start();
            }
        }
        let [waiting, comparing] = waiting;
        let (binding, hook) = (bound.id.clone(), bound.hook.clone());
        let decider = Arc::new(decision::Decider { binding, hook, version: bound.version });
        Self { bound, node, shard, kept, renewals, waiting, comparing, decider }
    }

    /// What is recorded of a call.
    fn said(&self, called: &Called<auth::Step>) -> Option<decision::Verdict> {
        self.node.recorder.get().and_then(|_| decision::Verdict::of(called))
    }

    /// Records a decision of now.
    fn record(&self, request: &Request, question: auth::Request, verdict: Option<decision::Verdict>) {
        let (Some(recorder), Some(verdict)) = (self.node.recorder.get(), verdict) else { return };
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let what = (request.action, request.name.clone(), counted(request.client.address.ip()));
        recorder.record(Decision::new(unix_ms, what, question, verdict, Arc::clone(&self.decider)));
    }

    /// Where what this request's viewer was granted is kept.
    fn kept_of(&self, request: &Request) -> MutexGuard<'_, KeptGrants> {
        locked(if kept::is_of_grants(request) { &self.renewals } else { &self.kept })
    }

    fn failed(&self, label: &'static str, request: &Request) -> Step {
        self.bound.numbers.failed(label);
        self.node.troubles.failed(&self.bound.hook, &request.name, label);
        // Who is in stays, under the conditions that it has: what the rest of the chain would say is not about these.
        let now = Instant::now();
        let stays = kept::key_if_in(request).and_then(|key| self.kept_of(request).stays(key, self.bound.number, now));
        if let Some(grant) = stays {
            return Step::Allow(grant);
        }
        let fail = if request.recheck { Fail::Closed } else { self.bound.fail };
        unanswered(fail, &self.bound.hook)
    }

    /// What a call came to: a step, or what is to be asked first.
    fn settle(&self, called: Called<auth::Step>, request: &Request, asks: usize) -> Answer {
        let numbers = &self.bound.numbers;
        numbers.took(called.cpu);
        self.bound.calls.called();
        let answered = match called.result {
            Ok(answered) => answered,
            Err(failure) => {
                if failure.is_hooks_fault() {
                    self.bound.calls.failed(request.client.address.ip());
                }
                numbers.said(&failure.to_string());
                return Answer::Step(self.failed(failure.label(), request));
            }
        };
        numbers.answered(&answered);
        let answer = match answer::read(answered, request, (&self.bound.hook, Places::Take(&self.node.slots))) {
            Ok(answer) => answer,
            Err(error) => {
                self.bound.calls.failed(request.client.address.ip());
                numbers.said(&error);
                return Answer::Step(self.failed("answer", request));
            }
        };
        if let Answer::Step(step) = &answer {
            self.node.troubles.answered(&self.bound.hook, request.action, &request.name, step);
        }
        match &answer {
            Answer::Ask(_) if asks >= MAX_REPLIES => {
                self.bound.calls.failed(request.client.address.ip());
                numbers.said(ASKS_TOO_OFTEN);
                Answer::Step(self.failed("asks", request))
            }
            Answer::Step(step) if !self.keep(request, step) => {
                let reason = "this address has too many viewers, or the server has; try again in a moment";
                Answer::Step(Denial::step(Why::Busy, reason))
            }
            _ => answer,
        }
    }

    /// Keeps what was granted to a viewer without a session. False: it holds something, and there is no room to keep that.
    fn keep(&self, request: &Request, step: &Step) -> bool {
        let Some(key) = kept::key(request) else { return true };
        match step {
            Step::Allow(grant) => {
                let kept = self.kept_of(request).keep(key, self.bound.number, request, grant, Instant::now());
                kept || grant.held.is_none()
            }
            // Also where it has no opinion any more: what it has granted does not count then.
            Step::Deny(_) | Step::Abstain => {
                let before = self.kept_of(request).forget(key);
                drop(before);
                true
            }
            Step::Pending => true,
        }
    }

    /// The question as a hook of this node gets it.
    pub(crate) fn question_of(node: &Node, request: &Request, context: DecisionContext<'_>) -> auth::Request {
        let on_air = node.on_air.read().unwrap_or_else(PoisonError::into_inner);
        question::ask(request, context, on_air.get(&request.name))
    }

    fn question(&self, request: &Request, context: DecisionContext<'_>) -> auth::Request {
        Self::question_of(&self.node, request, context)
    }
}

impl Policy for HookStep {
    fn name(&self) -> &'static str {
        "hook"
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        if self.bound.counts(&request.name) != Counts::Decides {
            return Step::Abstain;
        }
        let Some(decider) = &self.bound.decider else { return self.failed("not_ready", request) };
        let now = Instant::now();
        let known = kept::key_if_in(request).and_then(|key| self.kept_of(request).get(key, self.bound.number, now));
        let request = match known {
            None => Cow::Borrowed(request),
            Some(Known::Fresh(grant)) => {
                self.bound.numbers.kept();
                return Step::Allow(grant);
            }
            Some(Known::Stale(grant)) => Cow::Owned(Request { recheck: true, labels: grant.labels, ..request.clone() }),
        };
        let request = &*request;
        let question = self.question(request, context);
        let case = |question, asks| Case {
            step: self.clone(),
            ticket: context.ticket,
            request: request.clone(),
            question,
            asks,
        };
        let time = self.node.shards.get(self.shard);
        if self.bound.pace.is_slow() || time.is_some_and(|time| !time.has_room(now)) {
            self.bound.numbers.moved();
            let will_be_answered = case(question, 0).decide_on_thread();
            return if will_be_answered { Step::Pending } else { self.failed("queue", request) };
        }
        let called = decider.authorize(&question);
        self.bound.pace.took(called.cpu);
        if let Some(time) = time {
            time.used(called.cpu, Instant::now());
        }
        let said = self.said(&called);
        match self.settle(called, request, 0) {
            Answer::Step(step) => {
                self.record(request, question, said);
                step
            }
            Answer::Ask(fetch) => {
                case(question, 0).ask(fetch);
                Step::Pending
            }
        }
    }

    fn undecided(&self, request: &Request, why: Undecided) -> Step {
        let label = match why {
            Undecided::Late => "late",
            Undecided::Full => "pending",
        };
        self.failed(label, request)
    }

    fn reads_params(&self, request: &Request) -> bool {
        self.bound.counts(&request.name) == Counts::Decides
    }

    fn stance(&self, name: &Id) -> Stance {
        if self.bound.counts(name) == Counts::Decides { Stance::Judges } else { Stance::Passes }
    }

    fn observe(&self, request: &Request, context: DecisionContext<'_>, verdict: &Verdict) {
        let compared = self.bound.counts(&request.name) == Counts::Compared;
        let Some(decider) = self.bound.decider.clone().filter(|_| compared) else { return };
        // A sample is enough, and decisions come first.
        if !self.bound.numbers.compare_now() {
            return self.bound.numbers.not_compared();
        }
        let (step, question, request) = (self.clone(), self.question(request, context), request.clone());
        let allowed = matches!(verdict, Verdict::Allow(_));
        let compare = move || step.compare(&*decider, &question, &request, allowed);
        if !self.node.soon(&self.comparing, compare) {
            self.bound.numbers.not_compared();
        }
    }
}

impl HookStep {
    /// Asks a hook whose answer does not count. It takes no places and asks no upstream.
    fn compare(&self, decider: &dyn crate::bound::Decider, question: &auth::Request, request: &Request, allowed: bool) {
        let numbers = &self.bound.numbers;
        let called = decider.authorize(question);
        numbers.took(called.cpu);
        let would_allow = match called.result {
            Err(failure) => {
                numbers.failed(failure.label());
                numbers.said(&failure.to_string());
                return;
            }
            Ok(auth::Step::Allow(_)) => true,
            Ok(auth::Step::Deny(_) | auth::Step::Redirect(_)) => false,
            // What the rest of the chain says is what it would come to.
            Ok(auth::Step::Next) => allowed,
            Ok(auth::Step::Ask(_)) => return numbers.not_compared(),
        };
        numbers.compared(would_allow == allowed);
        if would_allow != allowed {
            let (action, stream) = (request.action.as_str(), request.name.as_str());
            tracing::debug!(
                hook = self.bound.hook,
                version = self.bound.version,
                action,
                stream,
                would_allow,
                "a shadow disagrees"
            );
        }
    }
}

impl Case {
    /// True: it will be answered.
    fn decide_on_thread(self) -> bool {
        let (node, waiting) = (Arc::clone(&self.step.node), self.step.waiting.clone());
        let decide = move || {
            let Some(decider) = self.step.bound.decider.clone() else { return };
            let called = decider.authorize(&self.question);
            self.step.bound.pace.took(called.cpu);
            self.go_on(called);
        };
        node.soon(&waiting, decide)
    }

    fn go_on(self, called: Called<auth::Step>) {
        let said = self.step.said(&called);
        match self.step.settle(called, &self.request, self.asks) {
            Answer::Step(step) => {
                self.step.node.answer(self.ticket, step);
                self.step.record(&self.request, self.question, said);
            }
            Answer::Ask(fetch) => self.ask(fetch),
        }
    }

    /// Asks an upstream, and then the hook again.
    fn ask(mut self, mut fetch: auth::Fetch) {
        self.asks += 1;
        let node = Arc::clone(&self.step.node);
        let state = std::mem::take(&mut fetch.state);
        let replied = move |outcome: Result<auth::Reply, String>| {
            let (node, waiting) = (Arc::clone(&self.step.node), self.step.waiting.clone());
            let (ticket, step, request) = (self.ticket, self.step.clone(), self.request.clone());
            let resume = move || {
                let Some(decider) = self.step.bound.decider.clone() else { return };
                let called = decider.resume(&self.question, &state, outcome);
                self.go_on(called);
            };
            if !node.soon(&waiting, resume) {
                node.answer(ticket, step.failed("queue", &request));
            }
        };
        node.fetcher.fetch(fetch, Box::new(replied));
    }
}
