//! Hooks of this process: gives bindings what the configuration has for them, and has the engine decide by them. Before it: the agent, which brings
//! bindings, and [`crate::hook_modules`]; after it: `millstream_hook_steps`.
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use millstream_agent::runner::{self, Binds, HookTrouble, LogPage, LogsOf, Runner};
use millstream_control_protocol::exchange::{AddressFailures, HOOK_BLAME_MAX, HookCalls, HookLine};
use millstream_control_protocol::replay::{Recorded, Replay, Replayed, ShowRecorded};
use millstream_control_protocol::state::{Binding, Mode};
use millstream_engine::Remote;
use millstream_engine::admin::remote::Unanswered;
use millstream_fleet::limits::{HOOKS_TOLD_MAX, REPLAYS_WAIT_MAX};
use millstream_hook_steps::bound::{Bound, Decider};
use millstream_hook_steps::chain::{chain, in_order};
use millstream_hook_steps::failing::Lately;
use millstream_hook_steps::numbers::Numbers;
use millstream_hook_steps::question::OnAir;
use millstream_hook_steps::recorder::Recorder;
use millstream_hook_steps::step::Node;
use millstream_hook_steps::troubles::{self, Trouble};
use millstream_hooks::{Counters, Hook, Kv, Level, Line, Logs, Module, PublicKey, Settings};
use millstream_policy::{Action, Chain};
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::hook_host::BoundHook;
use crate::hook_modules::HookModules;
use crate::hook_settings::HookSettings;
use crate::upstreams::Upstreams;

/// Looks whether shards have taken a chain, and the time between them.
const CHAIN_TRIES: u32 = 50;
const CHAIN_WAIT: Duration = Duration::from_millis(100);
/// Streams on air are looked at for hooks this often.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What was compiled is looked through for the first time so long after the start, and then so often.
const FIRST_TRIM: Duration = Duration::from_secs(5);
const TRIM_EVERY: Duration = Duration::from_hours(24);

/// A binding in force, with what it was made of.
type InForce = Vec<(Binding, Arc<Bound>)>;

/// What hooks of this process run with.
pub(crate) struct Hooks {
    modules: Arc<HookModules>,
    settings: HookSettings,
    keys: BTreeMap<String, PublicKey>,
    node: Arc<Node>,
    numbers: Numbers,
    /// `None`: nothing is recorded.
    recorder: Option<Recorder>,
    replaying: Mutex<()>,
    engine: OnceLock<Remote>,
    side: Handle,
    /// Held by who changes the chain.
    changing: tokio::sync::Mutex<()>,
    /// The steps after hooks.
    base: Mutex<Chain>,
    in_force: Mutex<InForce>,
    of_names: Mutex<HashMap<String, OfHook>>,
}

/// What all versions of a hook share on a node.
#[derive(Clone, Default)]
pub(crate) struct OfHook {
    kv: Arc<Kv>,
    shadow_kv: Arc<Kv>,
    logs: Arc<Logs>,
    counters: Arc<Counters>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hooks {
    /// For an engine of so many shards, which decides by `base` where no hook does.
    pub(crate) fn new(
        data_dir: &Path,
        settings: HookSettings,
        shards: usize,
        base: Chain,
        runtime: &Handle,
    ) -> anyhow::Result<Arc<Self>> {
        let keys = settings.keys.iter().map(|(name, pem)| {
            let key = PublicKey::from_pem(pem).with_context(|| format!("hooks.keys: {name}"))?;
            Ok((name.clone(), key))
        });
        let keys = keys.collect::<anyhow::Result<_>>()?;
        let upstreams = Upstreams::new(settings.upstreams.clone(), runtime.clone());
        let node = Node::new(shards, Box::new(upstreams));
        let room = usize::try_from(settings.record_bytes).unwrap_or(usize::MAX);
        let recorder = (room > 0).then(|| Recorder::new(room));
        if let Some(recorder) = &recorder {
            node.record_to(recorder.clone());
        }
        let hooks = Arc::new(Self {
            modules: HookModules::new(data_dir, settings.trusted_keys.clone())?,
            settings,
            keys,
            node,
            numbers: Numbers::default(),
            recorder,
            replaying: Mutex::default(),
            engine: OnceLock::new(),
            side: runtime.clone(),
            changing: tokio::sync::Mutex::default(),
            base: Mutex::new(base),
            in_force: Mutex::default(),
            of_names: Mutex::default(),
        });
        hooks.trim_for_ever();
        Ok(hooks)
    }

    /// Removes what was compiled and is not needed any more: soon, when it is known what is bound, and then each day.
    fn trim_for_ever(self: &Arc<Self>) {
        let hooks = Arc::downgrade(self);
        self.side.spawn(async move {
            let mut wait = FIRST_TRIM;
            loop {
                tokio::time::sleep(wait).await;
                wait = TRIM_EVERY;
                let Some(hooks) = hooks.upgrade() else { return };
                let trim = move || {
                    let bindings: Vec<Binding> =
                        locked(&hooks.in_force).iter().map(|(binding, _)| binding.clone()).collect();
                    hooks.modules.trim(&bindings);
                };
                let _ = tokio::task::spawn_blocking(trim).await;
            }
        });
    }

    /// Removes what was compiled for a replay of a module that no version has, once replays for its other bindings have had their time.
    pub(crate) fn forget_soon(&self, sha256: &str, kind: &str) {
        let (modules, sha256) = (Arc::clone(&self.modules), sha256.to_owned());
        let Ok(world) = kind.parse() else { return };
        self.side.spawn(async move {
            tokio::time::sleep(REPLAYS_WAIT_MAX).await;
            modules.forget(&sha256, world);
        });
    }

    /// The modules.
    pub(crate) fn modules(&self) -> &Arc<HookModules> {
        &self.modules
    }

    /// The chain that the engine is to begin with, where these bindings were in force before: modules that were compiled before decide at once, and
    /// whoever another hook is to decide about is told to try again until its module is here.
    pub(crate) fn beginning_with(&self, bindings: &[Binding]) -> Chain {
        for binding in bindings.iter().filter(|binding| binding.is_on()) {
            self.modules.recall(&binding.sha256, &binding.kind, binding.signature.as_deref());
        }
        let (made, warnings) = self.make(bindings);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let chain = self.chain(&locked(&self.base), &made);
        *locked(&self.in_force) = made;
        chain
    }

    /// What is counted.
    pub(crate) fn numbers(&self) -> Numbers {
        self.numbers.clone()
    }

    /// What is recorded.
    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// The engine runs.
    pub(crate) fn decide_for(self: &Arc<Self>, engine: Remote) {
        let remote = engine.clone();
        self.node.answers_go_to(Box::new(move |ticket, step| remote.answer(ticket, step)));
        let _ = self.engine.set(engine.clone());
        let hooks = Arc::downgrade(self);
        self.side.spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let Some(hooks) = hooks.upgrade() else { return };
                hooks.look_at_streams(&engine).await;
            }
        });
    }

    /// Counts the viewers of each stream, and reads its labels, where a hook may ask.
    async fn look_at_streams(&self, engine: &Remote) {
        if locked(&self.in_force).is_empty() {
            return;
        }
        let Ok(Ok(live)) = timeout(LOOK_EVERY, engine.on_air()).await else { return };
        let on_air = live.into_iter().filter_map(|live| {
            let count: u64 = live.viewers.iter().map(|viewers| viewers.count).sum();
            let viewers = u32::try_from(count).unwrap_or(u32::MAX);
            let labels = live.publisher.map(|publisher| publisher.labels).filter(|labels| !labels.is_empty());
            let labels = labels.map(|labels| labels.into_iter().collect());
            Some((Id::new(&live.id).ok()?, OnAir { viewers, labels }))
        });
        *self.node.on_air.write().unwrap_or_else(PoisonError::into_inner) = on_air.collect();
    }

    /// Other steps come after the hooks from here on; on an error the ones before do, with the next change of a binding at the latest.
    pub(crate) async fn set_base(&self, base: &Chain) -> Result<(), Unanswered> {
        let _changing = self.changing.lock().await;
        let in_force = locked(&self.in_force).clone();
        if let Some(engine) = self.engine.get() {
            engine.set_policies(&self.chain(base, &in_force)).await?;
        }
        locked(&self.base).clone_from(base);
        Ok(())
    }

    /// To be held while a replay runs.
    pub(crate) fn replaying(&self) -> MutexGuard<'_, ()> {
        locked(&self.replaying)
    }

    /// A binding, while it is in force with this version.
    pub(crate) fn binding_in_force(&self, id: &str, version: u64) -> Option<Binding> {
        let in_force = locked(&self.in_force);
        let found = in_force.iter().find(|(binding, _)| binding.id == id && binding.version == version);
        found.map(|(binding, _)| binding.clone())
    }

    /// The bindings in force, in their order.
    pub(crate) fn bound(&self, action: Action) -> Vec<BoundHook> {
        let in_force = locked(&self.in_force).iter().map(|(_, bound)| Arc::clone(bound)).collect();
        let shown = |bound: Arc<Bound>| BoundHook {
            name: bound.hook.clone(),
            stream: bound.stream.as_ref().map(ToString::to_string),
            settings: [
                ("binding".to_owned(), bound.id.clone().into()),
                ("version".to_owned(), bound.version.into()),
                ("mode".to_owned(), serde_json::to_value(bound.mode).unwrap_or_default()),
                ("ready".to_owned(), bound.decider.is_some().into()),
            ]
            .into_iter()
            .collect(),
            bound,
        };
        in_order(in_force).into_iter().filter(|bound| bound.action == action).map(shown).collect()
    }

    fn chain(&self, base: &Chain, in_force: &InForce) -> Chain {
        chain(base, in_force.iter().map(|(_, bound)| Arc::clone(bound)).collect(), &self.node)
    }

    async fn bring_into_force(&self, made: &InForce) -> bool {
        let Some(engine) = self.engine.get() else { return false };
        let chain = self.chain(&locked(&self.base), made);
        for _ in 0..CHAIN_TRIES {
            if engine.set_policies(&chain).await.is_ok() {
                return true;
            }
            if engine.is_draining() {
                return false;
            }
            tokio::time::sleep(CHAIN_WAIT).await;
        }
        false
    }

    /// Bindings that can be in force, and what is wrong with the others. What has not changed stays what it is, with what it has counted.
    fn make(&self, bindings: &[Binding]) -> (InForce, Vec<String>) {
        let before = locked(&self.in_force).clone();
        let (mut made, mut warnings) = (Vec::new(), Vec::new());
        for binding in bindings.iter().filter(|binding| binding.mode != Mode::Off) {
            let same = before.iter().find(|(known, bound)| known == binding && bound.decider.is_some());
            if let Some(same) = same {
                made.push(same.clone());
                continue;
            }
            let found = self.decider(binding);
            // Until the module of another version is here, or where that cannot decide on this node, the one before does.
            let before_it = before.iter().find(|(known, bound)| {
                let where_it_was = (&known.id, &known.hook, known.mode, &known.point, &known.stream);
                let is_there = (&binding.id, &binding.hook, binding.mode, &binding.point, &binding.stream);
                where_it_was == is_there && bound.decider.is_some()
            });
            let decider = match found {
                Ok(decider) => decider,
                Err(warning) => {
                    let goes_on = before_it.map(|(known, _)| format!("; version {} goes on", known.version));
                    warnings.push(format!(
                        "hook {:?}, bound to {}: {warning}{}",
                        cut(&binding.hook),
                        cut(&binding.point),
                        goes_on.unwrap_or_default()
                    ));
                    None
                }
            };
            if let (None, Some(before_it)) = (&decider, before_it) {
                made.push(before_it.clone());
                continue;
            }
            let numbers = self.numbers.of(&binding.hook, binding.version);
            match Bound::new(binding, self.settings.fail, decider, numbers) {
                Some(bound) => made.push((binding.clone(), Arc::new(bound))),
                None => warnings.push(format!(
                    "hook {:?} ({}) is bound to {}, and is not in force: this release asks hooks of kind auth only",
                    cut(&binding.hook),
                    cut(&binding.kind),
                    cut(&binding.point)
                )),
            }
        }
        (made, warnings)
    }

    /// What answers for a binding; `Ok(None)`: its module is not here yet.
    fn decider(&self, binding: &Binding) -> Result<Option<Arc<dyn Decider>>, String> {
        self.modules.may_run(&binding.sha256, binding.signature.as_deref())?;
        let Some(module) = self.modules.get(&binding.sha256) else { return Ok(None) };
        let of_hook = locked(&self.of_names).entry(binding.hook.clone()).or_default().clone();
        self.bound_hook(binding, module, of_hook).map(|hook| Some(Arc::new(hook) as _))
    }

    /// A module with what a binding gives it, where it takes that.
    pub(crate) fn bound_hook(&self, binding: &Binding, module: Module, of_hook: OfHook) -> Result<Hook, String> {
        let shadow = binding.mode == Mode::Shadow;
        let settings = Settings {
            config: binding.config.clone(),
            kv: if shadow { of_hook.shadow_kv } else { of_hook.kv },
            shadow,
            logs: of_hook.logs,
            counters: of_hook.counters,
            ..Settings::new(binding.hook.clone(), binding.version.to_string(), module.world())
        };
        let hook = Hook::new(module, self.with_secrets(settings, &binding.secrets)?);
        match hook.check_config().result {
            Ok(Ok(())) => Ok(hook),
            Ok(Err(refused)) => Err(format!("it refuses its configuration: {}", cut(&refused))),
            Err(failure) => Err(format!("its configuration cannot be checked: {failure}")),
        }
    }
}

impl Hooks {
    /// With these secrets, by name, and the public keys of the configuration.
    pub(crate) fn with_secrets(&self, settings: Settings, names: &[String]) -> Result<Settings, String> {
        let of = |name: &String| Some((name.clone(), self.settings.secrets.get(name)?.clone()));
        let secrets: BTreeMap<String, Secret> = names.iter().filter_map(of).collect();
        if let Some(missing) = names.iter().find(|name| !secrets.contains_key(*name)) {
            let missing = cut(missing);
            return Err(format!(
                "it may use the secret {missing:?}, which this node's configuration does not have; add it to [hooks] secrets"
            ));
        }
        Ok(Settings { secrets, keys: self.keys.clone(), ..settings })
    }
}

impl Runner for Hooks {
    fn prepare(&self, sha256: &str, kind: &str, signature: Option<&str>, module: &[u8]) -> Result<(), String> {
        self.modules.prepare(sha256, &cut(kind), signature, module)
    }

    fn bind<'a>(&'a self, bindings: &'a [Binding]) -> Binds<'a> {
        Box::pin(async move {
            let _changing = self.changing.lock().await;
            let (made, mut warnings) = self.make(bindings);
            let in_force = self.bring_into_force(&made).await;
            if !in_force {
                warnings
                    .push("not every shard decides by the hooks as they are bound now; it is tried again".to_owned());
            }
            *locked(&self.in_force) = made;
            // Only now: sessions that were pending have what they began with.
            self.modules.retain(bindings);
            locked(&self.of_names).retain(|hook, _| bindings.iter().any(|binding| binding.hook == *hook));
            self.numbers.retain(|hook, version| {
                bindings.iter().any(|binding| binding.hook == hook && binding.version == version)
            });
            runner::Bound { in_force, warnings }
        })
    }

    fn replay_needs_module(&self, replay: &Replay) -> bool {
        self.replay_needs_bytes(&replay.candidate)
    }

    fn replay(&self, replay: &Replay, module: &[u8]) -> Result<Replayed, String> {
        self.replay_recorded(replay, module)
    }

    fn recorded(&self, wanted: &ShowRecorded) -> Vec<Recorded> {
        self.show_recorded(wanted)
    }

    fn failing(&self) -> Vec<HookCalls> {
        let in_force = locked(&self.in_force).clone();
        let calls = in_force.into_iter().map(|(_, bound)| {
            let Lately { calls, failures, worst } = bound.calls.lately(HOOK_BLAME_MAX);
            let (binding, generation, version) = (bound.id.clone(), bound.generation, bound.version);
            let blamed =
                |(address, failures): (IpAddr, u64)| AddressFailures { address: address.to_string(), failures };
            let by_address = worst.into_iter().map(blamed).collect();
            HookCalls { binding, generation, version, calls, failures, by_address }
        });
        calls.filter(|counted| counted.failures > 0).take(HOOKS_TOLD_MAX).collect()
    }

    fn troubles(&self) -> Vec<HookTrouble> {
        let told = |(stream, hook, trouble): (Id, String, Trouble)| {
            let Trouble { denied_publish, denied_play, failed } = trouble;
            let [denied_publish, denied_play, failed] = [denied_publish, denied_play, failed]
                .map(|troubles::Tally { count, why }| runner::Tally { count, why });
            // To the outside a rendition is its stream.
            HookTrouble { stream: stream.stream().to_string(), hook, denied_publish, denied_play, failed }
        };
        self.node.troubles.take().into_iter().map(told).collect()
    }

    fn logs(&self, which: &LogsOf<'_>) -> LogPage {
        let Some(of_hook) = locked(&self.of_names).get(which.hook).cloned() else { return LogPage::default() };
        let all = of_hook.logs.since(which.from.unwrap_or(0));
        let end = all.last().map_or(which.from.unwrap_or(0), |last| last.number + 1);
        let least = level(which.level);
        let wanted = all.into_iter().filter(|line| {
            line.level >= least && which.version.is_none_or(|version| line.version == version.to_string())
        });
        let mut lines: Vec<Line> = wanted.collect();
        let next = if which.from.is_some() {
            let is_cut = lines.len() > which.limit;
            lines.truncate(which.limit);
            lines.last().filter(|_| is_cut).map_or(end, |last| last.number + 1)
        } else {
            // The newest ones.
            lines.drain(..lines.len().saturating_sub(which.limit));
            end
        };
        let told = |line: Line| HookLine {
            number: line.number,
            unix_ms: line.unix_ms,
            version: line.version.parse().unwrap_or(0),
            shadow: line.shadow,
            level: word(line.level).to_owned(),
            text: line.text,
        };
        LogPage { lines: lines.into_iter().map(told).collect(), next, dropped: of_hook.logs.dropped() }
    }
}

/// The least important level that is meant.
fn level(text: &str) -> Level {
    [Level::Info, Level::Warn, Level::Error].into_iter().find(|level| word(*level) == text).unwrap_or(Level::Debug)
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// Words of another process, not for ever.
fn cut(text: &str) -> String {
    text.chars().take(256).map(|char| if char.is_control() { ' ' } else { char }).collect()
}
