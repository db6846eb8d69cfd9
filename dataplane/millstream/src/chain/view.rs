//! The chain as the API shows it: its steps in words, and what they say of a made-up request. Before it: [`super::Parts`], which makes both
//! the chain and this, so that they say the same.
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use millstream_agent::callback::Probe;
use millstream_api::chain::{ChainStep, Explained, Explaining, ShowChain, StepAnswer};
use millstream_control_protocol::state::Stream;
use millstream_engine::directory::Directory;
use millstream_policy::records::Records;
use millstream_policy::{Action, Chain, DecisionContext, Denial, Request, Step};
use serde_json::{Map, Value};

use crate::hook_host::{BoundHook, HookHost};
use crate::settings::steps::StepEntry;

/// What a binding of a hook is among the steps.
const HOOK: &str = "hook";

/// A step that was put before the preset's.
#[derive(Clone, Debug)]
pub(crate) struct ShownStep {
    name: String,
    kind: &'static str,
    origin: &'static str,
    publish: bool,
    play: bool,
    /// Empty: all.
    streams: Vec<String>,
    settings: Map<String, Value>,
    /// Of steps that ask somebody else.
    probe: Option<Probe>,
}

impl ShownStep {
    /// Of the configuration.
    pub(super) fn of(entry: &StepEntry, probe: Option<Probe>) -> Self {
        let settings = entry.shown.iter().filter(|(key, _)| !matches!(key.as_str(), "name" | "kind" | "point"));
        Self {
            name: entry.name.clone(),
            kind: entry.kind.word(),
            origin: "configuration",
            publish: entry.publish,
            play: entry.play,
            streams: entry.streams.iter().map(ToString::to_string).collect(),
            settings: settings.map(|(key, value)| (key.clone(), value.clone())).collect(),
            probe,
        }
    }

    fn of_preset(kind: &'static str) -> Self {
        Self {
            name: kind.to_owned(),
            kind,
            origin: "preset",
            publish: true,
            play: true,
            streams: Vec::new(),
            settings: Map::new(),
            probe: None,
        }
    }

    fn of_hook(name: &str) -> Self {
        Self { name: name.to_owned(), kind: HOOK, origin: "binding", ..Self::of_preset(HOOK) }
    }

    const fn is_for(&self, action: Action) -> bool {
        match action {
            Action::Publish => self.publish,
            Action::Play => self.play,
        }
    }

    fn applies(&self, stream: &str) -> bool {
        self.streams.is_empty() || self.streams.iter().any(|id| id == stream)
    }
}

/// The whole chain.
#[derive(Debug)]
pub(crate) struct ShownChain {
    /// Those before the preset's, in the order of the chain.
    before: Vec<ShownStep>,
    chain: Chain,
}

impl ShownChain {
    /// `before` describes the first steps of `chain`.
    pub(super) fn new(before: Vec<ShownStep>, chain: Chain) -> Self {
        Self { before, chain }
    }

    /// The steps of an action, as many as the chain has for it.
    fn of(&self, action: Action) -> Vec<ShownStep> {
        let before = self.before.iter().filter(|step| step.is_for(action));
        let mut shown: Vec<ShownStep> = before.cloned().collect();
        // Made as a shard makes them: what they know is the configuration.
        let steps = self.chain.for_shard(0);
        let of_preset = steps.of(action).iter().skip(shown.len());
        shown.extend(of_preset.map(|policy| ShownStep::of_preset(policy.name())));
        shown
    }

    /// What the steps say that ask nobody else; `None` of the others.
    fn ask(
        &self,
        shown: &[ShownStep],
        request: &Request,
        records: &Records,
        unix_s: u64,
    ) -> Vec<Option<(Step, String)>> {
        let steps = self.chain.for_shard(0);
        let context = DecisionContext { ticket: 0, unix_s, records };
        let asked = shown.iter().zip(steps.of(request.action)).map(|(shown, policy)| {
            if shown.probe.is_some() && shown.applies(request.name.as_str()) {
                return None;
            }
            let step = policy.decide(request, context);
            let why = if step == Step::Abstain { policy.abstains_because(request) } else { String::new() };
            Some((step, why))
        });
        asked.collect()
    }
}

/// The chain in force, which may be replaced while everything runs.
#[derive(Clone, Debug)]
pub(crate) struct ChainView {
    shown: Arc<RwLock<Arc<ShownChain>>>,
    /// Those are asked first.
    hooks: Arc<OnceLock<HookHost>>,
}

impl ChainView {
    pub(crate) fn new(shown: ShownChain) -> Self {
        Self { shown: Arc::new(RwLock::new(Arc::new(shown))), hooks: Arc::default() }
    }

    /// These hooks are asked before its steps.
    pub(crate) fn comes_after(&self, hooks: HookHost) {
        // A process has one.
        let _ = self.hooks.set(hooks);
    }

    fn hooks(&self, action: Action) -> Vec<BoundHook> {
        self.hooks.get().map(|hooks| hooks.bound(action)).unwrap_or_default()
    }

    pub(super) fn set(&self, shown: ShownChain) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(shown);
    }

    fn now(&self) -> Arc<ShownChain> {
        Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ShowChain for ChainView {
    fn steps(&self, action: Action, stream: &str) -> Vec<ChainStep> {
        let hooks = self.hooks(action).into_iter().map(|hook| ChainStep {
            applies: hook.stream.as_deref().is_none_or(|own| own == stream),
            name: hook.name,
            kind: HOOK.to_owned(),
            origin: "binding".to_owned(),
            settings: hook.settings,
        });
        let steps = self.now().of(action).into_iter().map(|step| ChainStep {
            applies: step.applies(stream),
            name: step.name,
            kind: step.kind.to_owned(),
            origin: step.origin.to_owned(),
            settings: step.settings,
        });
        hooks.chain(steps).collect()
    }

    fn explain(&self, request: Request, stream: Option<Stream>, unix_s: u64, call: bool) -> Explaining {
        let (now, hooks) = (self.now(), self.hooks(request.action));
        Box::pin(async move {
            let shown = now.of(request.action);
            let directory = Directory::new(stream.as_ref());
            let asked = now.ask(&shown, &request, directory.records(), unix_s);
            let mut answers: Vec<Option<(Step, String)>> = Vec::new();
            let context = DecisionContext { ticket: 0, unix_s, records: directory.records() };
            for hook in &hooks {
                let (step, why) = hook.explain(&request, context, call).await;
                answers.push(Some((step.unwrap_or(Step::Pending), why)));
            }
            for (step, asked) in shown.iter().zip(asked) {
                let answer = match (asked, &step.probe) {
                    (Some((answer, why)), _) => Some((answer, why)),
                    (None, Some(probe)) if call => {
                        let step = probe.ask(request.clone()).await;
                        step.map(|step| (step, "the back end allows it, and pass = \"next\"".to_owned()))
                    }
                    (None, _) => None,
                };
                answers.push(answer);
            }
            let of_hooks = hooks.iter().map(|hook| ShownStep::of_hook(&hook.name));
            let shown: Vec<ShownStep> = of_hooks.chain(shown).collect();
            explained(&shown, answers, call)
        })
    }
}

/// The answers in words, and what comes of them.
fn explained(shown: &[ShownStep], answers: Vec<Option<(Step, String)>>, call: bool) -> Explained {
    let mut whole = Explained {
        verdict: "deny".to_owned(),
        why: Some("forbidden".to_owned()),
        reason: "nothing in the configuration allows this".to_owned(),
        valid_ms: None,
        steps: Vec::new(),
    };
    let mut is_open = true;
    for (step, answer) in shown.iter().zip(answers) {
        let name = &step.name;
        let (word, reason, why, valid) = match answer {
            None if call => ("not_called", "it has too much to do to be asked".to_owned(), None, None),
            None => ("not_called", "it asks a back end; ask with \"call\": true".to_owned(), None, None),
            Some((Step::Abstain, why)) => ("next", why, None, None),
            Some((Step::Allow(grant), _)) => ("allow", format!("{name} admits it"), None, grant.valid_for),
            Some((Step::Deny(denial), why)) => ("deny", refusal(&denial, &why), Some(denial.why.label()), None),
            Some((Step::Pending, why)) => ("not_called", why, None, None),
        };
        let decides = is_open && word != "next";
        if decides {
            is_open = false;
            if word == "not_called" { "unknown" } else { word }.clone_into(&mut whole.verdict);
            whole.why = why.map(str::to_owned);
            whole.reason.clone_from(&reason);
            whole.valid_ms = valid.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        }
        whole.steps.push(StepAnswer {
            name: name.clone(),
            kind: step.kind.to_owned(),
            origin: step.origin.to_owned(),
            answer: word.to_owned(),
            reason,
            decides,
        });
    }
    whole
}

/// What a client would be told, and what nobody tells it.
fn refusal(denial: &Denial, why: &str) -> String {
    match &denial.location {
        Some(location) => format!("{}: {location}", denial.reason),
        None if denial.undecided && !why.is_empty() => format!("{} ({why})", denial.reason),
        None => denial.reason.clone(),
    }
}
