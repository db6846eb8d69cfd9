//! Hooks of this process: gives bindings what the configuration has for them, and has the engine decide by them. Before it: the agent, which brings
//! bindings, and [`crate::hook_modules`]; after it: `millstream_hook_steps`.
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context as _;
use millstream_agent::runner::{self, Binds, HookTrouble, LogPage, LogsOf, Runner};
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{AddressFailures, HOOK_BLAME_MAX, HookCalls};
use millstream_control_protocol::hook_numbers::HookNumbers;
use millstream_control_protocol::replay::{Recorded, Replay, Replayed, ShowRecorded};
use millstream_control_protocol::state::{Binding, Mode};
use millstream_engine::Remote;
use millstream_engine::admin::remote::Unanswered;
use millstream_fleet::limits::{HOOKS_TOLD_MAX, REPLAYS_WAIT_MAX};
use millstream_fleet::ticks;
use millstream_hook_steps::bound::Bound;
use millstream_hook_steps::chain::{chain, in_order};
use millstream_hook_steps::failing::{Counted, Lately};
use millstream_hook_steps::hearing::Hearing;
use millstream_hook_steps::ladder::Choosing;
use millstream_hook_steps::notice::notice;
use millstream_hook_steps::numbers::Numbers;
use millstream_hook_steps::post::Post;
use millstream_hook_steps::question::OnAir;
use millstream_hook_steps::recorder::Recorder;
use millstream_hook_steps::step::Node;
use millstream_hook_steps::troubles::{self, Trouble};
use millstream_hooks::{Counters, Hook, Kv, Logs, Module, PublicKey, Settings};
use millstream_policy::{Action, Chain};
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::hook_host::BoundHook;
use crate::hook_ladders::Ladders;
use crate::hook_logs;
use crate::hook_modules::HookModules;
use crate::hook_motion::{Watcher, Watchers, objection};
use crate::hook_orders::Orders;
use crate::hook_remake::{Made, cut, remake, unknown};
use crate::hook_settings::HookSettings;
use crate::hook_viewers::Viewers;
use crate::upstreams::Upstreams;

/// Looks whether shards have taken a chain, and the time between them.
const CHAIN_TRIES: u32 = 50;
const CHAIN_WAIT: Duration = Duration::from_millis(100);
/// Streams that have just begun are looked at for hooks this often, and all streams less often.
const LOOK_AT_FRESH_EVERY: Duration = Duration::from_millis(250);
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What was compiled is looked through for the first time so long after the start, and then so often.
const FIRST_TRIM: Duration = Duration::from_secs(5);
const TRIM_EVERY: Duration = Duration::from_hours(24);

/// A binding in force, with what it was made of.
type InForce = Vec<Made<Bound>>;

/// Bindings that decide nothing about sessions.
#[derive(Clone, Default)]
struct Beside {
    events: Vec<Made<Hearing>>,
    policies: Vec<Made<Choosing>>,
    motions: Vec<Made<Watcher>>,
}

/// All bindings in force.
#[derive(Default)]
struct AllInForce {
    auth: InForce,
    beside: Beside,
}

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
    beside: Mutex<Beside>,
    post: Post,
    viewers: Viewers,
    orders: Orders,
    ladders: Arc<Ladders>,
    watchers: Arc<Watchers>,
    /// The application that streams are below.
    app: OnceLock<String>,
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
        let upstreams = Upstreams::new(&settings.upstreams, &settings.upstreams_allow, runtime.clone());
        let node = Node::new(shards, Box::new(upstreams));
        let room = usize::try_from(settings.record_bytes).unwrap_or(usize::MAX);
        let recorder = (room > 0).then(|| Recorder::new(room));
        if let Some(recorder) = &recorder {
            node.record_to(recorder.clone());
        }
        let (orders, carrier) = Orders::new();
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
            beside: Mutex::default(),
            post: Post::new(carrier),
            viewers: Viewers::default(),
            orders,
            ladders: Arc::default(),
            watchers: Arc::default(),
            app: OnceLock::new(),
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
                    hooks.modules.trim(&hooks.bindings());
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
        let (AllInForce { auth: made, beside }, warnings) = self.make(bindings);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        self.bring_beside(&beside);
        let chain = self.chain(&locked(&self.base), &made);
        *locked(&self.in_force) = made;
        chain
    }

    /// What is counted.
    pub(crate) fn numbers(&self) -> Numbers {
        self.numbers.clone()
    }

    /// Who hears of what happens.
    pub(crate) fn post(&self) -> &Post {
        &self.post
    }

    /// The application that streams are below.
    pub(crate) fn app(&self) -> &str {
        self.app.get().map_or("", String::as_str)
    }

    /// What is recorded.
    pub(crate) fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// The engine runs; its streams are below this application.
    pub(crate) fn decide_for(self: &Arc<Self>, engine: Remote, app: &str) {
        let _ = self.app.set(app.to_owned());
        self.orders.go_to(engine.clone(), &self.side);
        let remote = engine.clone();
        self.node.answers_go_to(Box::new(move |ticket, step| remote.answer(ticket, step)));
        let _ = self.engine.set(engine.clone());
        let hooks = Arc::downgrade(self);
        self.viewers.tell(Weak::clone(&hooks), &engine, &self.side);
        self.viewers.want(!self.post.hearings().is_empty());
        self.side.spawn(async move {
            let mut all = ticks::interval(LOOK_EVERY);
            loop {
                let Some(ladders) = hooks.upgrade().map(|hooks| Arc::clone(&hooks.ladders)) else { return };
                let looks_at_all = tokio::select! {
                    _ = all.tick() => true,
                    () = ladders.has_fresh(LOOK_AT_FRESH_EVERY) => false,
                };
                let Some(hooks) = hooks.upgrade() else { return };
                if looks_at_all {
                    hooks.look_at_streams(&engine).await;
                } else {
                    hooks.ladders.look_at_fresh(&engine, hooks.app()).await;
                }
            }
        });
    }

    /// Counts the viewers of each stream, and reads its labels, where a hook may ask.
    async fn look_at_streams(&self, engine: &Remote) {
        if locked(&self.in_force).is_empty() && !self.ladders.is_on() {
            return;
        }
        let Ok(Ok(live)) = timeout(LOOK_EVERY, engine.on_air()).await else { return };
        let app = self.app();
        self.ladders.look_at_all(&live, engine, app).await;
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

    /// Which renditions were chosen, for what is told of streams.
    pub(crate) fn ladders(&self) -> &Arc<Ladders> {
        &self.ladders
    }

    /// Which motion hook looks at which stream, for who keeps workers.
    pub(crate) fn watchers(&self) -> &Arc<Watchers> {
        &self.watchers
    }

    /// All bindings in force.
    fn bindings(&self) -> Vec<Binding> {
        let (in_force, beside) = (locked(&self.in_force).clone(), locked(&self.beside).clone());
        let of_sessions = in_force.into_iter().map(|(binding, _)| binding);
        let of_events = beside.events.into_iter().map(|(binding, _)| binding);
        let of_renditions = beside.policies.into_iter().map(|(binding, _)| binding);
        let of_motion = beside.motions.into_iter().map(|(binding, _)| binding);
        of_sessions.chain(of_events).chain(of_renditions).chain(of_motion).collect()
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

    /// Bindings of auth hooks that are in force.
    pub(crate) fn auth_bindings(&self) -> Vec<Binding> {
        locked(&self.in_force).iter().map(|(binding, _)| binding.clone()).collect()
    }

    /// The bindings in force, in their order.
    pub(crate) fn bound(&self, action: Action) -> Vec<BoundHook> {
        let in_force = locked(&self.in_force).iter().map(|(_, bound)| Arc::clone(bound)).collect();
        let shown = |bound: Arc<Bound>| BoundHook {
            name: bound.hook.clone(),
            stream: bound.reach.stream.as_ref().map(ToString::to_string),
            settings: [
                ("binding".to_owned(), bound.id.clone().into()),
                ("version".to_owned(), bound.version.into()),
                ("mode".to_owned(), serde_json::to_value(bound.reach.mode).unwrap_or_default()),
                ("ready".to_owned(), bound.decider.is_some().into()),
            ]
            .into_iter()
            .collect(),
            bound,
            node: Arc::clone(&self.node),
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
    fn make(&self, bindings: &[Binding]) -> (AllInForce, Vec<String>) {
        let (before, beside) = (locked(&self.in_force).clone(), locked(&self.beside).clone());
        let (mut made, mut warnings) = (AllInForce::default(), Vec::new());
        for binding in bindings.iter().filter(|binding| binding.mode != Mode::Off) {
            let numbers = || self.numbers.of(&binding.hook, binding.version);
            let hook = || self.hook(binding);
            let warning = match binding.kind.as_str() {
                "auth" => {
                    let new = |hook: Option<Hook>| {
                        Bound::new(binding, self.settings.fail, hook.map(|hook| Arc::new(hook) as _), numbers())
                    };
                    let (one, warning) = remake(&before, binding, hook, new);
                    made.auth.extend(one);
                    warning
                }
                "events" => {
                    let new =
                        |hook: Option<Hook>| Hearing::new(binding, hook.map(|hook| Arc::new(hook) as _), numbers());
                    let (one, warning) = remake(&beside.events, binding, hook, new);
                    made.beside.events.extend(one);
                    warning
                }
                "policy" => {
                    let new =
                        |hook: Option<Hook>| Choosing::new(binding, hook.map(|hook| Arc::new(hook) as _), numbers());
                    let (one, warning) = remake(&beside.policies, binding, hook, new);
                    made.beside.policies.extend(one);
                    warning
                }
                "motion" => {
                    let logs = locked(&self.of_names).entry(binding.hook.clone()).or_default().logs.clone();
                    let hook = || match objection(binding) {
                        Some(objection) => Err(objection.to_owned()),
                        None => hook(),
                    };
                    let new =
                        |hook: Option<Hook>| Watcher::new(binding, hook.is_some(), (&self.modules, &logs), numbers());
                    let (one, warning) = remake(&beside.motions, binding, hook, new);
                    made.beside.motions.extend(one);
                    warning
                }
                _ => Some(unknown(binding)),
            };
            warnings.extend(warning);
        }
        (made, warnings)
    }

    /// Those that decide nothing about sessions are in force from here on.
    fn bring_beside(&self, beside: &Beside) {
        *locked(&self.beside) = beside.clone();
        let before = self.post.hearings();
        let hearings: Vec<_> = beside.events.iter().map(|(_, hearing)| Arc::clone(hearing)).collect();
        let hand_over = || {
            for changed in before.iter().filter(|old| !hearings.iter().any(|new| Arc::ptr_eq(old, new))) {
                if let Some(new) = hearings.iter().find(|new| new.id == changed.id) {
                    new.take_over(changed);
                }
            }
        };
        self.viewers.want(!hearings.is_empty());
        hand_over();
        self.post.bind(hearings.clone());
        // What has come meanwhile.
        hand_over();
        self.post.look();
        self.ladders.bind(beside.policies.iter().map(|(_, choosing)| Arc::clone(choosing)).collect());
        self.watchers.bind(beside.motions.iter().map(|(_, watcher)| Arc::clone(watcher)).collect());
    }

    /// The hook of a binding; `Ok(None)`: its module is not here yet.
    fn hook(&self, binding: &Binding) -> Result<Option<Hook>, String> {
        self.modules.may_run(&binding.sha256, binding.signature.as_deref())?;
        let Some(module) = self.modules.get(&binding.sha256) else { return Ok(None) };
        let of_hook = locked(&self.of_names).entry(binding.hook.clone()).or_default().clone();
        self.bound_hook(binding, module, of_hook).map(Some)
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
            let (AllInForce { auth: made, beside }, mut warnings) = self.make(bindings);
            self.bring_beside(&beside);
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
        let counted = |binding: &Binding, calls: &Counted| {
            let Lately { calls, failures, by_nobody, worst } = calls.lately(HOOK_BLAME_MAX);
            let (binding, generation, version) = (binding.id.clone(), binding.generation, binding.version);
            let blamed =
                |(address, failures): (IpAddr, u64)| AddressFailures { address: address.to_string(), failures };
            let by_address = worst.into_iter().map(blamed).collect();
            HookCalls { binding, generation, version, calls, failures, by_nobody, by_address }
        };
        let (in_force, beside) = (locked(&self.in_force).clone(), locked(&self.beside).clone());
        let of_sessions = in_force.iter().map(|(binding, bound)| counted(binding, &bound.calls));
        let of_events = beside.events.iter().map(|(binding, hearing)| counted(binding, &hearing.calls));
        let of_renditions = beside.policies.iter().map(|(binding, choosing)| counted(binding, &choosing.calls));
        let of_motion = beside.motions.iter().map(|(binding, watcher)| counted(binding, &watcher.calls));
        let all = of_sessions.chain(of_events).chain(of_renditions).chain(of_motion);
        all.filter(|counted| counted.failures > 0).take(HOOKS_TOLD_MAX).collect()
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
        let of_hook = locked(&self.of_names).get(which.hook).cloned();
        of_hook.map(|of_hook| hook_logs::page(&of_hook.logs, which)).unwrap_or_default()
    }

    fn numbers(&self, hook: &str) -> Vec<HookNumbers> {
        self.numbers.told(hook)
    }

    fn happened(&self, event: &Event) {
        if matches!(event.what, What::Publish { .. }) {
            self.ladders.begins(&event.stream);
        }
        let Ok(stream) = Id::new(&event.stream) else { return };
        if !self.post.wants(&stream) {
            return;
        }
        let app = self.app();
        if let Some((notice, from)) = notice(event, app) {
            self.post.tell(&stream, &notice, from);
        }
    }
}
