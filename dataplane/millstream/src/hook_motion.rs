//! Motion hooks of this node: which one looks at which stream. They run in a worker's process, which is given what was compiled here. Before it:
//! [`crate::hooks`], which has the bindings; after it: `millstream_transcoder`, which tells a worker.
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use millstream_control_protocol::state::Binding;
use millstream_hook_steps::bound::Counts;
use millstream_hook_steps::failing::Counted;
use millstream_hook_steps::numbers::{self, OfVersion};
use millstream_hook_steps::reach::Reach;
use millstream_hooks::{Level, Logs, World};
use millstream_proto::id::Id;
use millstream_transcoder::{HookSpec, HookTally, MotionHook, MotionHooks, Workers};

use crate::hook_modules::HookModules;

/// A failure that is not the hook's fault does not count for a rollback.
const NOT_ITS_FAULT: [&str; 3] = ["busy", "ended", "world"];
/// Failures of one tally that count: a hook that fails is called again half a second later.
const FAILURES_MAX: u64 = 16;

// Neither of the two crates knows the other: a worker tells classes of calls, and here they are counted.
const _: () = {
    let (of_worker, of_node) = (HookTally::CPU_US, numbers::CPU_US);
    assert!(of_worker.len() == of_node.len());
    let mut class = 0;
    while class < of_node.len() {
        assert!(of_worker[class] == of_node[class]);
        class += 1;
    }
};

/// A motion hook that is bound.
pub(crate) struct Watcher {
    pub(crate) id: String,
    pub(crate) order: u32,
    pub(crate) reach: Reach,
    pub(crate) calls: Arc<Counted>,
    /// `None`: its module is not here yet.
    pub(crate) hook: Option<Arc<MotionHook>>,
}

impl Watcher {
    /// A binding of a motion hook; `None`: it is for something else, or nobody is asked. `modules` have it where `is_ready`.
    pub(crate) fn new(
        binding: &Binding,
        is_ready: bool,
        (modules, logs): (&Arc<HookModules>, &Arc<Logs>),
        numbers: Arc<OfVersion>,
    ) -> Option<Self> {
        let is_of_motion = binding.kind == "motion" && binding.point == "motion";
        let reach = Reach::of(binding).filter(|_| is_of_motion)?;
        let calls = Arc::<Counted>::default();
        let spec = HookSpec {
            name: binding.hook.clone(),
            version: binding.version,
            sha256: binding.sha256.clone(),
            config: binding.config.clone(),
        };
        let hook = is_ready.then(|| {
            let (modules, sha256) = (Arc::clone(modules), binding.sha256.clone());
            let taker = Taker { calls: Arc::clone(&calls), numbers, logs: Arc::clone(logs), spec: spec.clone() };
            Arc::new(MotionHook {
                spec,
                sealed: Box::new(move |key| Some(modules.sealed(&sha256, World::Motion, &key.0)?.into())),
                told: Box::new(move |tally| taker.take(tally)),
            })
        });
        Some(Self { id: binding.id.clone(), order: binding.order, reach, calls, hook })
    }
}

/// Why a binding cannot be in force as it is; `None`: it can.
pub(crate) fn objection(binding: &Binding) -> Option<&'static str> {
    if binding.kind != "motion" {
        return None;
    }
    (!binding.secrets.is_empty()).then_some(
        "motion hooks are given no secrets: they run where pictures of strangers are decoded; remove `secrets` of the binding",
    )
}

/// Counts what calls in a worker came to.
struct Taker {
    calls: Arc<Counted>,
    numbers: Arc<OfVersion>,
    logs: Arc<Logs>,
    spec: HookSpec,
}

impl Taker {
    fn take(&self, tally: &HookTally) {
        (0..tally.calls.min(10_000)).for_each(|_| self.calls.called());
        self.numbers.took_in_classes(&tally.cpu);
        self.numbers.spent(Duration::from_micros(tally.spent_us));
        self.numbers.compared_elsewhere(tally.agreed, tally.disagreed);
        for (cause, count) in &tally.failures {
            self.numbers.failed_elsewhere(cause, *count);
            if !NOT_ITS_FAULT.contains(&cause.as_str()) {
                (0..(*count).min(FAILURES_MAX)).for_each(|_| self.calls.failed_for_nobody());
            }
        }
        if !tally.error.is_empty() {
            self.numbers.said(&tally.error);
        }
        for (level, text) in &tally.lines {
            self.logs.relay(&self.spec.name, &self.spec.version.to_string(), Level::of_word(level), text);
        }
    }
}

/// Who looks at which stream.
#[derive(Default)]
pub(crate) struct Watchers {
    bound: RwLock<Vec<Arc<Watcher>>>,
    workers: OnceLock<Workers>,
}

impl Watchers {
    /// These look from here on, and no others.
    pub(crate) fn bind(&self, mut watchers: Vec<Arc<Watcher>>) {
        watchers.sort_by(|a, b| (a.order, &a.id).cmp(&(b.order, &b.id)));
        *self.bound.write().unwrap_or_else(PoisonError::into_inner) = watchers;
        if let Some(workers) = self.workers.get() {
            workers.hooks_changed();
        }
    }

    fn first(&self, stream: &Id, wanted: Counts) -> Option<Arc<MotionHook>> {
        let bound = self.bound.read().unwrap_or_else(PoisonError::into_inner);
        bound.iter().find(|watcher| watcher.reach.counts(stream) == wanted)?.hook.clone()
    }

    /// These workers run them.
    pub(crate) fn run_in(self: &Arc<Self>, workers: Workers) {
        workers.look_by(Arc::clone(self) as _);
        let _ = self.workers.set(workers);
    }
}

impl MotionHooks for Watchers {
    fn of(&self, stream: &Id) -> Option<Arc<MotionHook>> {
        self.first(stream, Counts::Decides)
    }

    fn beside(&self, stream: &Id) -> Option<Arc<MotionHook>> {
        self.first(stream, Counts::Compared)
    }
}
