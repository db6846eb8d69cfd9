//! A node: the product's rules of what it follows, its directory and its policy chain, in a loop that stands for `agent/agent`, over a
//! network that loses questions and answers, with a disk that it keeps its state on.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use millstream_agent::following::{Following, Judgement, Whole, update_of};
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{NodeId, Report};
use millstream_control_protocol::state::{State, Version};
use millstream_engine::directory::Directory;
use millstream_policy::preset::{Preset, preset};
use millstream_policy::signed::Apps;
use millstream_policy::{Action, Answer, Client, DecisionContext, Request, Steps, Verdict};
use millstream_proto::id::Id;
use millstream_proto::query::Params;
use millstream_proto::secret::Secret;
use millstream_proto::sign::{Claim, legacy, v2};

use super::control::Control;
use super::parts::{LEGACY_KEY, master};
use super::random::{Count, Random};

/// What of a node survives its process.
#[derive(Clone)]
pub(crate) struct Node {
    name: String,
    control: Control,
    random: Random,
    inner: Rc<RefCell<Inner>>,
    /// Messages are lost.
    lossy: Rc<std::cell::Cell<bool>>,
    pub(crate) refused: Count,
}

struct Inner {
    run: u64,
    following: Following,
    whole: Whole,
    directory: Directory,
    disk: Option<State>,
    chain: Steps,
    /// Generations that this run has had in force: they never fall.
    highest: BTreeMap<String, u64>,
    /// The same of bindings.
    highest_bound: BTreeMap<String, u64>,
    events: Vec<Event>,
    acknowledged: BTreeMap<u64, u64>,
}

impl Node {
    pub(crate) fn new(n: u64, control: &Control) -> Self {
        let chain =
            preset(Preset::Signed { master: master(), legacy: vec![Secret::new(LEGACY_KEY)], apps: Apps::default() })
                .for_shard(0);
        let inner = Inner {
            run: n * 1_000 + 1,
            following: Following::default(),
            whole: Whole::default(),
            directory: Directory::default(),
            disk: None,
            chain,
            highest: BTreeMap::new(),
            highest_bound: BTreeMap::new(),
            events: Vec::new(),
            acknowledged: BTreeMap::new(),
        };
        Self {
            name: format!("node-{n}"),
            control: control.clone(),
            random: control.random.clone(),
            inner: Rc::new(RefCell::new(inner)),
            lossy: Rc::new(std::cell::Cell::new(true)),
            refused: Count::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn mend(&self) {
        self.lossy.set(false);
    }

    fn id(&self) -> NodeId {
        NodeId { name: self.name.clone(), run: self.inner.borrow().run }
    }

    /// The state in force.
    pub(crate) fn have(&self) -> Option<Version> {
        self.inner.borrow().following.have()
    }

    /// The process ends and starts again with what its disk has.
    pub(crate) fn restart(&self) {
        self.random.say(format_args!("{} starts anew", self.name));
        let mut inner = self.inner.borrow_mut();
        inner.run += 1;
        let state = inner.disk.clone();
        inner.following = state.as_ref().map_or_else(Following::default, |state| Following::from_kept(state, true));
        inner.whole = state.clone().map(Whole::of).unwrap_or_default();
        let kept = state.as_ref().map(|state| Directory::default().updated(&update_of(state)).directory);
        inner.directory = kept.unwrap_or_default();
        inner.highest.clear();
        inner.highest_bound.clear();
        inner.events.clear();
    }

    /// For ever: asks for news.
    pub(crate) async fn follow(self) {
        loop {
            let run = self.inner.borrow().run;
            let poll = self.inner.borrow().following.poll(&self.id(), 500);
            tokio::time::sleep(self.random.context(60)).await;
            let lost = self.lossy.get() && self.random.percent(15);
            let answered = match self.control.up() {
                Some(up) if !lost => {
                    // A crash of control ends the question; a lost answer is as if it had not come.
                    let push = tokio::time::timeout(Duration::from_secs(2), up.fleet.poll(&poll)).await;
                    let gone =
                        self.control.up().is_none_or(|now| now.fleet.version().epoch != up.fleet.version().epoch);
                    let lost = gone || (self.lossy.get() && self.random.percent(15));
                    push.ok().and_then(Result::ok).filter(|_| !lost)
                }
                _ => None,
            };
            tokio::time::sleep(self.random.context(40)).await;
            // The answer was to the run of before.
            if self.inner.borrow().run != run {
                continue;
            }
            match answered.map(|push| push.update) {
                Some(Some(update)) => {
                    let mut inner = self.inner.borrow_mut();
                    let judgement = inner.following.judge(&update);
                    self.random.say(format_args!(
                        "{} is told {:?} from {:?}: {judgement:?}",
                        self.name, update.version, update.from
                    ));
                    match judgement {
                        Judgement::Take => {
                            inner.directory = inner.directory.updated(&update).directory;
                            inner.following.taken(&update);
                            inner.whole.take_in(&update);
                            inner.hold_generations();
                        }
                        Judgement::Gap => {}
                        Judgement::OtherStore => self.refused.one(),
                    }
                }
                Some(None) => {}
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// For ever: keeps the state, some time behind.
    pub(crate) async fn keep(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(50) + self.random.context(1_000)).await;
            let mut inner = self.inner.borrow_mut();
            if inner.following.have().is_some() {
                inner.disk = Some(inner.whole.state());
                self.random.say(format_args!("{} has kept {:?}", self.name, inner.following.have()));
            }
        }
    }

    /// For ever: something happens, and control is told until it has kept it.
    pub(crate) async fn report(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(50) + self.random.context(400)).await;
            let report = {
                let mut inner = self.inner.borrow_mut();
                if self.lossy.get() {
                    let seq = inner.events.last().map_or(0, |event| event.seq) + 1;
                    let what = What::Publish { encoder: String::new(), replaced_heard_ago_ms: None };
                    // Each of a stream of its own: one stream has a share of control's events.
                    let stream = format!("seen-by-{}-{}-{seq}", self.name, inner.run);
                    inner.events.push(Event { seq, session: seq, stream, what, ..Event::default() });
                }
                let through = inner.acknowledged.get(&inner.run).copied().unwrap_or(0);
                let events = inner.events.iter().filter(|event| event.seq > through).cloned().collect();
                Report {
                    store: inner.following.store().to_owned(),
                    node: NodeId { name: self.name.clone(), run: inner.run },
                    events,
                    ..Report::default()
                }
            };
            let run = report.node.run;
            let Some(up) = self.control.up() else { continue };
            if self.lossy.get() && self.random.percent(15) {
                continue;
            }
            let told = tokio::time::timeout(Duration::from_secs(2), up.fleet.report(report)).await;
            if self.lossy.get() && self.random.percent(15) {
                continue;
            }
            if let Ok(Ok(receipt)) = told {
                let mut inner = self.inner.borrow_mut();
                let through = inner.acknowledged.entry(run).or_default();
                *through = (*through).max(receipt.events_through);
                self.random.say(format_args!("{} is thanked through {through}", self.name));
            }
        }
    }

    /// Events that it may have forgotten: each run, and up to which number.
    pub(crate) fn acknowledged(&self) -> BTreeMap<u64, u64> {
        self.inner.borrow().acknowledged.clone()
    }

    /// Generations in force, by stream.
    pub(crate) fn generations(&self) -> BTreeMap<String, u64> {
        let inner = self.inner.borrow();
        inner.directory.records().iter().map(|(id, record)| (id.as_str().to_owned(), record.generation)).collect()
    }

    /// The version of each binding that is in force, by its id.
    pub(crate) fn versions(&self) -> BTreeMap<String, u64> {
        let bindings = self.inner.borrow().whole.state().bindings.unwrap_or_default();
        bindings.into_iter().map(|binding| (binding.id, binding.version)).collect()
    }

    /// What it decides by, for messages.
    pub(crate) fn shows(&self, id: &str) -> String {
        let inner = self.inner.borrow();
        let (record, have) = (inner.directory.records().get(&Id::new(id).unwrap()), inner.following.have());
        format!("{record:?} of {have:?} at {}", self.control.now_s())
    }

    /// Whether an encoder with a signature of this generation is let in; generation 0: with one of the older system.
    pub(crate) fn admits(&self, id: &str, generation: u64) -> bool {
        let inner = self.inner.borrow();
        let (now_s, id) = (self.control.now_s(), Id::new(id).unwrap());
        let app = Id::new("stream").unwrap();
        let sign = if generation == 0 {
            legacy::sign(&app, &id, now_s + 3_600, &Secret::new(LEGACY_KEY))
        } else {
            let claim = Claim { action: Action::Publish, app: &app, id: &id };
            v2::sign(claim, now_s + 3_600, &master().stream_secret(&id, generation))
        };
        let client = Client::new(1, ([192, 0, 2, 1], 5_000).into(), "rtmp");
        let params = Params::parse(&format!("sign={}", sign.expose())).unwrap();
        let request = Request::new(Action::Publish, (app, id), params, client);
        let context = DecisionContext { ticket: 1, unix_s: now_s, records: inner.directory.records() };
        matches!(inner.chain.ask(&request, context), Answer::Verdict(Verdict::Allow(_)))
    }
}

impl Inner {
    /// What a run has revoked stays revoked: a stream's generation does not fall while its control has the same store.
    fn hold_generations(&mut self) {
        for (id, record) in self.directory.records().iter() {
            let highest = self.highest.entry(id.as_str().to_owned()).or_default();
            assert!(record.generation >= *highest, "{id}: generation {} after {highest}", record.generation);
            *highest = record.generation;
        }
        // Nor does a binding's: what was counted of a version is not taken for another one's.
        for binding in self.whole.state().bindings.unwrap_or_default() {
            let highest = self.highest_bound.entry(binding.id.clone()).or_default();
            assert!(binding.generation >= *highest, "{binding:?} after {highest}");
            *highest = binding.generation;
        }
    }
}
