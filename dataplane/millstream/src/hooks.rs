//! Hooks of this process: compiles modules in a process of their own, gives bindings what the configuration has for them, and has the engine
//! decide by them. Before it: the agent, which brings modules and bindings; after it: `millstream_hook_steps`.
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Bytes;
use millstream_agent::runner::{self, Binds, Runner};
use millstream_api::hooks::inspect::{HookReport, HookSetting, Inspected, Inspector};
use millstream_api::model::hook;
use millstream_control_protocol::state::{Binding, Mode};
use millstream_engine::Remote;
use millstream_engine::admin::remote::Unanswered;
use millstream_hook_steps::bound::{Bound, Decider, Fail};
use millstream_hook_steps::chain::{chain, in_order};
use millstream_hook_steps::numbers::Numbers;
use millstream_hook_steps::step::Node;
use millstream_hooks::wit::meta;
use millstream_hooks::{
    ArtifactCache, Cached, Capacity, Compiled, Counters, Hook, Kv, Logs, Module, PublicKey, Runtime, Settings, World,
    compile_in_child,
};
use millstream_policy::{Action, Chain};
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::hook_host::BoundHook;
use crate::hook_settings::HookSettings;
use crate::keys;
use crate::upstreams::Upstreams;

/// A module that takes longer to compile is refused.
const COMPILE_TIME_MAX: Duration = Duration::from_mins(1);
/// Looks whether shards have taken a chain, and the time between them.
const CHAIN_TRIES: u32 = 50;
const CHAIN_WAIT: Duration = Duration::from_millis(100);
/// Viewers are counted for hooks this often.
const VIEWERS_EVERY: Duration = Duration::from_secs(2);
/// Where compiled modules are kept, in the data directory.
const CACHE_DIR: &str = "hooks-compiled";

/// What hooks of this process run with.
pub(crate) struct Hooks {
    /// Made with the first binding: servers without hooks pay nothing for them.
    runtime: OnceLock<Runtime>,
    /// Made when it is first written: a server without hooks needs no room for it.
    cache: OnceLock<Option<ArtifactCache>>,
    data_dir: PathBuf,
    exe: PathBuf,
    settings: HookSettings,
    keys: BTreeMap<String, PublicKey>,
    node: Arc<Node>,
    numbers: Numbers,
    engine: OnceLock<Remote>,
    runtime_of_side: Handle,
    /// The steps after hooks.
    base: Mutex<Chain>,
    modules: Mutex<HashMap<String, Module>>,
    /// What is in force, with what it was made of.
    bound: tokio::sync::Mutex<Vec<(Binding, Arc<Bound>)>>,
    /// The same, for who looks.
    in_force: Mutex<Vec<Arc<Bound>>>,
    of_names: Mutex<HashMap<String, OfHook>>,
}

/// What all versions of a hook share on a node.
#[derive(Clone, Default)]
struct OfHook {
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
        let node = Node::new(shards, Box::new(upstreams)).context("cannot start the threads of hooks")?;
        let numbers = Numbers::default();
        Ok(Arc::new(Self {
            runtime: OnceLock::new(),
            cache: OnceLock::new(),
            data_dir: data_dir.to_owned(),
            exe: std::env::current_exe().context("this program's own file is not known")?,
            settings,
            keys,
            node,
            numbers,
            engine: OnceLock::new(),
            runtime_of_side: runtime.clone(),
            base: Mutex::new(base),
            modules: Mutex::default(),
            bound: tokio::sync::Mutex::default(),
            in_force: Mutex::default(),
            of_names: Mutex::default(),
        }))
    }

    /// The chain that the engine is to begin with, where these bindings were in force before: modules that were compiled before decide at once, and
    /// whoever another hook is to decide about is told to try again until its module is here.
    pub(crate) fn beginning_with(&self, bindings: &[Binding]) -> Chain {
        for binding in bindings.iter().filter(|binding| binding.is_on()) {
            let (Ok(world), Some(sha256)) = (binding.kind.parse(), digest(&binding.sha256)) else { continue };
            let Ok(runtime) = self.runtime() else { continue };
            let Some(Cached::Found(compiled)) = self.cached(runtime, &sha256, world) else { continue };
            if let Ok(module) = runtime.load(&compiled.artifact) {
                locked(&self.modules).insert(binding.sha256.clone(), module);
            }
        }
        let (made, warnings) = self.make(bindings, &[]);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let chain = self.chain(&made);
        // Nothing else has it yet.
        if let Ok(mut bound) = self.bound.try_lock() {
            *bound = made;
        }
        chain
    }

    /// What is counted.
    pub(crate) fn numbers(&self) -> Numbers {
        self.numbers.clone()
    }

    /// The engine runs.
    pub(crate) fn decide_for(self: &Arc<Self>, engine: Remote) {
        let remote = engine.clone();
        self.node.answers_go_to(Box::new(move |ticket, step| remote.answer(ticket, step)));
        let _ = self.engine.set(engine.clone());
        let hooks = Arc::downgrade(self);
        self.runtime_of_side.spawn(async move {
            loop {
                tokio::time::sleep(VIEWERS_EVERY).await;
                let Some(hooks) = hooks.upgrade() else { return };
                hooks.count_viewers(&engine).await;
            }
        });
    }

    /// Counts the viewers of each stream, where a hook may ask.
    async fn count_viewers(&self, engine: &Remote) {
        if locked(&self.in_force).is_empty() {
            return;
        }
        let Ok(Ok(live)) = timeout(VIEWERS_EVERY, engine.on_air()).await else { return };
        let viewers = live.iter().filter_map(|live| {
            let count: u64 = live.viewers.iter().map(|viewers| viewers.count).sum();
            Some((Id::new(&live.id).ok()?, u32::try_from(count).unwrap_or(u32::MAX)))
        });
        *self.node.viewers.write().unwrap_or_else(PoisonError::into_inner) = viewers.collect();
    }

    /// Other steps come after the hooks from here on.
    pub(crate) async fn set_base(&self, base: &Chain) -> Result<(), Unanswered> {
        let bound = self.bound.lock().await;
        locked(&self.base).clone_from(base);
        match self.engine.get() {
            Some(engine) => engine.set_policies(&self.chain(&bound)).await,
            None => Ok(()),
        }
    }

    /// The bindings in force, in their order.
    pub(crate) fn bound(&self, action: Action) -> Vec<BoundHook> {
        let in_force = locked(&self.in_force).clone();
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
        in_force.into_iter().filter(|bound| bound.action == action).map(shown).collect()
    }

    fn runtime(&self) -> Result<&Runtime, String> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let made = Runtime::new(Capacity::default()).map_err(|error| error.to_string())?;
        Ok(self.runtime.get_or_init(|| made))
    }

    /// Where compiled modules are kept; `None`: nowhere, which has been said.
    fn cache(&self) -> Option<&ArtifactCache> {
        let open = || {
            let dir = self.data_dir.join(CACHE_DIR);
            let made = keys::hook_cache_key(&self.data_dir)
                .and_then(|key| ArtifactCache::new(&dir, key).with_context(|| format!("cannot use {}", dir.display())));
            made.inspect_err(|error| {
                tracing::warn!(error = format!("{error:#}"), "compiled hooks are not kept: each start compiles them");
            })
            .ok()
        };
        self.cache.get_or_init(open).as_ref()
    }

    fn cached(&self, runtime: &Runtime, sha256: &[u8; 32], world: World) -> Option<Cached> {
        Some(self.cache()?.get(sha256, world, &runtime.fingerprint()))
    }

    fn keep(&self, compiled: &Compiled) {
        if let Some(Err(error)) = self.cache().map(|cache| cache.put(compiled)) {
            tracing::warn!(%error, "a compiled hook cannot be kept: the next start makes it anew");
        }
    }

    fn compiled(&self, runtime: &Runtime, sha256: [u8; 32], world: World, module: &[u8]) -> Result<Compiled, String> {
        match self.cached(runtime, &sha256, world) {
            Some(Cached::Found(compiled)) => return Ok(*compiled),
            Some(Cached::Missing) | None => {}
            Some(Cached::Ignored(why)) => tracing::warn!(why, "a compiled hook is not used, and is made anew"),
        }
        let compiled =
            compile_in_child(&self.exe, module, world, COMPILE_TIME_MAX).map_err(|error| error.to_string())?;
        self.keep(&compiled);
        Ok(compiled)
    }

    fn chain(&self, bound: &[(Binding, Arc<Bound>)]) -> Chain {
        *locked(&self.in_force) = in_order(bound.iter().map(|(_, bound)| Arc::clone(bound)).collect());
        let base = locked(&self.base).clone();
        chain(&base, bound.iter().map(|(_, bound)| Arc::clone(bound)).collect(), &self.node)
    }

    async fn bring_into_force(&self, bound: &[(Binding, Arc<Bound>)]) -> bool {
        let Some(engine) = self.engine.get() else { return false };
        let chain = self.chain(bound);
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
    fn make(
        &self,
        bindings: &[Binding],
        before: &[(Binding, Arc<Bound>)],
    ) -> (Vec<(Binding, Arc<Bound>)>, Vec<String>) {
        let (mut made, mut warnings) = (Vec::new(), Vec::new());
        let fail = if self.settings.fail_open == Some(true) { Fail::Open } else { Fail::Closed };
        for binding in bindings.iter().filter(|binding| binding.mode != Mode::Off) {
            let same = before.iter().find(|(known, bound)| known == binding && bound.decider.is_some());
            if let Some(same) = same {
                made.push(same.clone());
                continue;
            }
            let decider = match self.decider(binding) {
                Ok(decider) => decider,
                Err(warning) => {
                    warnings.push(format!(
                        "hook {:?}, bound to {}: {warning}",
                        cut(&binding.hook),
                        cut(&binding.point)
                    ));
                    None
                }
            };
            let numbers = self.numbers.of(&binding.hook, binding.version);
            match Bound::new(binding, fail, decider, numbers) {
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
        let Some(module) = locked(&self.modules).get(&binding.sha256).cloned() else { return Ok(None) };
        let of_hook = locked(&self.of_names).entry(binding.hook.clone()).or_default().clone();
        let shadow = binding.mode == Mode::Shadow;
        let named = |name: &String| Some((name.clone(), self.settings.secrets.get(name)?.clone()));
        let secrets: BTreeMap<String, Secret> = binding.secrets.iter().filter_map(named).collect();
        if let Some(missing) = binding.secrets.iter().find(|name| !secrets.contains_key(*name)) {
            let missing = cut(missing);
            return Err(format!(
                "it may use the secret {missing:?}, which this node's configuration does not have; add it to [hooks] secrets"
            ));
        }
        let settings = Settings {
            config: binding.config.clone(),
            secrets,
            keys: self.keys.clone(),
            kv: if shadow { of_hook.shadow_kv } else { of_hook.kv },
            shadow,
            logs: of_hook.logs,
            counters: of_hook.counters,
            ..Settings::new(binding.hook.clone(), binding.version.to_string(), module.world())
        };
        let hook = Hook::new(module, settings);
        match hook.check_config().result {
            Ok(Ok(())) => Ok(Some(Arc::new(hook))),
            Ok(Err(refused)) => Err(format!("it refuses its configuration: {}", cut(&refused))),
            Err(failure) => Err(format!("its configuration cannot be checked: {failure}")),
        }
    }
}

impl Runner for Hooks {
    fn prepare(&self, sha256: &str, kind: &str, module: &[u8]) -> Result<(), String> {
        if locked(&self.modules).contains_key(sha256) {
            return Ok(());
        }
        let world: World = kind.parse().map_err(|_| format!("this release knows no hooks of kind {:?}", cut(kind)))?;
        let digest = digest(sha256).ok_or("this is no SHA-256")?;
        let runtime = self.runtime()?;
        let compiled = self.compiled(runtime, digest, world, module)?;
        let module = runtime.load(&compiled.artifact).map_err(|error| error.to_string())?;
        locked(&self.modules).insert(sha256.to_owned(), module);
        Ok(())
    }

    fn bind<'a>(&'a self, bindings: &'a [Binding]) -> Binds<'a> {
        Box::pin(async move {
            let mut bound = self.bound.lock().await;
            let (made, mut warnings) = self.make(bindings, &bound);
            let in_force = self.bring_into_force(&made).await;
            if !in_force {
                warnings
                    .push("not every shard decides by the hooks as they are bound now; it is tried again".to_owned());
            }
            *bound = made;
            // Only now: sessions that were pending have what they began with.
            locked(&self.modules).retain(|sha256, _| bindings.iter().any(|binding| binding.sha256 == *sha256));
            locked(&self.of_names).retain(|hook, _| bindings.iter().any(|binding| binding.hook == *hook));
            self.numbers.retain(|hook, version| {
                bindings.iter().any(|binding| binding.hook == hook && binding.version == version)
            });
            runner::Bound { in_force, warnings }
        })
    }
}

impl Hooks {
    /// Compiles a module, and asks it what it is.
    fn look(&self, world: World, module: &[u8]) -> Result<HookReport, String> {
        let runtime = self.runtime()?;
        let compiled =
            compile_in_child(&self.exe, module, world, COMPILE_TIME_MAX).map_err(|error| error.to_string())?;
        let loaded = runtime.load(&compiled.artifact).map_err(|error| error.to_string())?;
        let hook = Hook::new(loaded, Settings::new("upload", "", world));
        let info = hook.describe().result.map_err(|failure| format!("its `describe` fails: {failure}"))?;
        // A node of this process needs it next.
        self.keep(&compiled);
        let found = compiled.report;
        let setting = |setting: meta::Setting| HookSetting {
            name: setting.name,
            about: setting.about,
            kind: setting.kind,
            required: setting.required,
            default: setting.default,
        };
        Ok(HookReport {
            contract: found.contract,
            exports: found.exports,
            imports: found.imports,
            traps: found.traps,
            compiled_bytes: found.artifact_bytes as u64,
            memory_bytes: found.memory_bytes as u64,
            compile_ms: found.compile_time.as_millis() as u64,
            name: info.name,
            version: info.version,
            settings: info.settings.into_iter().map(setting).collect(),
        })
    }
}

/// For uploads to the API of this process.
pub(crate) struct Looks(pub(crate) Arc<Hooks>);

impl Inspector for Looks {
    fn inspect(&self, world: hook::World, module: Bytes) -> Inspected<'_> {
        let hooks = Arc::clone(&self.0);
        Box::pin(async move {
            let world: World = world.as_str().parse().map_err(|_| "this release knows no such hooks".to_owned())?;
            let looked = tokio::task::spawn_blocking(move || hooks.look(world, &module)).await;
            looked.unwrap_or_else(|_| Err("the server is ending".to_owned()))
        })
    }
}

/// Words of another process, not for ever.
fn cut(text: &str) -> String {
    text.chars().take(256).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(digest)
}
