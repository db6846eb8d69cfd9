//! Modules of hooks, ready to be called: compiled in a process of their own, or taken from what was compiled before. Before it: the agent's modules and
//! uploads to the API; after it: [`crate::hooks`] binds them.
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use millstream_api::hooks::inspect::{HookReport, HookSetting};
use millstream_control_protocol::state::Binding;
use millstream_hooks::wit::meta;
use millstream_hooks::{
    ArtifactCache, Cached, Capacity, Compiled, Hook, Module, Runtime, Settings, World, compile_in_child,
};
use millstream_policy::signatures::TrustedKeys;
use millstream_proto::hex;

use crate::keys;

/// A module that takes longer to compile is refused.
const COMPILE_TIME_MAX: Duration = Duration::from_mins(1);
/// What was compiled of a module that no binding names is kept this long.
const COMPILED_KEPT: Duration = Duration::from_hours(7 * 24);
/// Calls at the same time that decide nothing.
const ASIDE_CALLS: u32 = 4;
/// Where compiled modules are kept, in the data directory.
const CACHE_DIR: &str = "hooks-compiled";

/// Modules by SHA-256. Runtime and cache are made when they are first needed: a server without hooks pays nothing for them.
pub(crate) struct HookModules {
    runtime: OnceLock<Runtime>,
    /// For replays: they share no pool and no lock with the calls that decide.
    aside: OnceLock<Runtime>,
    cache: OnceLock<Option<ArtifactCache>>,
    data_dir: PathBuf,
    exe: PathBuf,
    trusted: TrustedKeys,
    ready: Mutex<HashMap<String, Module>>,
}

impl HookModules {
    /// Compiled ones are kept in the data directory.
    pub(crate) fn new(data_dir: &Path, trusted: TrustedKeys) -> anyhow::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            runtime: OnceLock::new(),
            aside: OnceLock::new(),
            cache: OnceLock::new(),
            data_dir: data_dir.to_owned(),
            exe: std::env::current_exe().context("this program's own file is not known")?,
            trusted,
            ready: Mutex::default(),
        }))
    }

    fn ready(&self) -> MutexGuard<'_, HashMap<String, Module>> {
        // Every change under this lock is one step.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that is ready.
    pub(crate) fn get(&self, sha256: &str) -> Option<Module> {
        self.ready().get(sha256).cloned()
    }

    /// Forgets those that no binding names, and removes what was compiled of them a week ago or longer.
    pub(crate) fn retain(&self, bindings: &[Binding]) {
        self.ready().retain(|sha256, _| bindings.iter().any(|binding| binding.sha256 == *sha256));
        self.trim(bindings);
    }

    /// Removes what was compiled a week ago or longer of modules that no binding names.
    pub(crate) fn trim(&self, bindings: &[Binding]) {
        // A server that never had a hook makes no directory, and no key, to find nothing in it.
        if !self.data_dir.join(CACHE_DIR).is_dir() {
            return;
        }
        let Some(cache) = self.cache() else { return };
        let named = |binding: &Binding| Some((hex::decode(&binding.sha256)?, binding.kind.parse().ok()?));
        let named: Vec<_> = bindings.iter().filter_map(named).collect();
        let Some(written_before) = SystemTime::now().checked_sub(COMPILED_KEPT) else { return };
        match cache.keep_only(&named, written_before) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "compiled hooks that no binding names are removed"),
            Err(error) => tracing::warn!(%error, "compiled hooks that no binding names cannot be removed"),
        }
    }

    /// Removes what was compiled of a module that nobody keeps; what a binding in force has stays.
    pub(crate) fn forget(&self, sha256: &str, world: World) {
        let (Some(digest), None) = (hex::decode(sha256), self.get(sha256)) else { return };
        let removed = self.cache.get().and_then(Option::as_ref).map(|cache| cache.remove(&digest, world));
        if let Some(Err(error)) = removed {
            tracing::warn!(%error, "what was compiled of a module that is not kept cannot be removed; it goes within eight days");
        }
    }

    /// Makes a module ready that was compiled before; nothing happens where it was not.
    pub(crate) fn recall(&self, sha256: &str, world: &str, signature: Option<&str>) {
        if self.trusted.check(sha256, signature).is_err() {
            return;
        }
        let (Ok(world), Some(digest)) = (world.parse(), hex::decode(sha256)) else { return };
        let Ok(runtime) = self.runtime() else { return };
        let Some(Cached::Found(compiled)) = self.cached(runtime, &digest, world) else { return };
        if let Ok(module) = runtime.load(&compiled.artifact) {
            self.ready().insert(sha256.to_owned(), module);
        }
    }

    /// Whether this node may run a module.
    pub(crate) fn may_run(&self, sha256: &str, signature: Option<&str>) -> Result<(), String> {
        self.trusted.check(sha256, signature).map_err(|why| why.to_string())
    }

    /// Makes a module ready; compiles it where that was not done before.
    pub(crate) fn prepare(
        &self,
        sha256: &str,
        world: &str,
        signature: Option<&str>,
        module: &[u8],
    ) -> Result<(), String> {
        // Control has looked, too: this is for where control was taken over.
        self.may_run(sha256, signature)?;
        if self.ready().contains_key(sha256) {
            return Ok(());
        }
        let module = self.load(sha256, known(world)?, module)?;
        self.ready().insert(sha256.to_owned(), module);
        Ok(())
    }

    /// A module, compiled where that was not done before.
    pub(crate) fn load(&self, sha256: &str, world: World, module: &[u8]) -> Result<Module, String> {
        if let Some(ready) = self.get(sha256).filter(|ready| ready.world() == world) {
            return Ok(ready);
        }
        self.load_into(self.runtime()?, sha256, world, module)
    }

    /// Whether a module has been compiled here before.
    pub(crate) fn is_compiled(&self, sha256: &str, world: &str) -> bool {
        let (Ok(world), Some(digest)) = (world.parse(), hex::decode(sha256)) else { return false };
        let Ok(runtime) = self.aside() else { return false };
        matches!(self.cached(runtime, &digest, world), Some(Cached::Found(_)))
    }

    /// A module for calls that decide nothing; `module` is not looked at where it was compiled before.
    pub(crate) fn load_aside(&self, sha256: &str, world: &str, module: &[u8]) -> Result<Module, String> {
        self.load_into(self.aside()?, sha256, known(world)?, module)
    }

    /// What was compiled of a module, for a process of this node that has this key; `None`: it is not kept.
    pub(crate) fn sealed(&self, sha256: &str, world: World, key: &[u8; 32]) -> Option<Vec<u8>> {
        let digest = hex::decode(sha256)?;
        let Cached::Found(compiled) = self.cached(self.runtime().ok()?, &digest, world)? else { return None };
        millstream_hooks::seal(key, &compiled).ok()
    }

    fn load_into(&self, runtime: &Runtime, sha256: &str, world: World, module: &[u8]) -> Result<Module, String> {
        let digest = hex::decode(sha256).ok_or("this is no SHA-256")?;
        let compiled = match self.cached(runtime, &digest, world) {
            Some(Cached::Found(compiled)) => *compiled,
            other => {
                if let Some(Cached::Ignored(why)) = other {
                    tracing::warn!(why, "a compiled hook is not used, and is made anew");
                }
                self.compile(world, module)?
            }
        };
        runtime.load(&compiled.artifact).map_err(|error| error.to_string())
    }

    fn aside(&self) -> Result<&Runtime, String> {
        if let Some(runtime) = self.aside.get() {
            return Ok(runtime);
        }
        let made = Runtime::new(Capacity { calls: ASIDE_CALLS, kept: 0 }).map_err(|error| error.to_string())?;
        Ok(self.aside.get_or_init(|| made))
    }

    /// Compiles a module, and asks it what it is.
    pub(crate) fn look(&self, world: World, module: &[u8]) -> Result<HookReport, String> {
        let compiled = self.compile(world, module)?;
        let loaded = self.runtime()?.load(&compiled.artifact).map_err(|error| error.to_string())?;
        let hook = Hook::new(loaded, Settings::new("upload", "", world));
        let info = hook.describe().result.map_err(|failure| format!("its `describe` fails: {failure}"))?;
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
            configurations: Vec::new(),
        })
    }

    fn compile(&self, world: World, module: &[u8]) -> Result<Compiled, String> {
        let compiled =
            compile_in_child(&self.exe, module, world, COMPILE_TIME_MAX).map_err(|error| error.to_string())?;
        if let Some(Err(error)) = self.cache().map(|cache| cache.put(&compiled)) {
            tracing::warn!(%error, "a compiled hook cannot be kept: the next start makes it anew");
        }
        Ok(compiled)
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
}

/// A kind of hooks by its name.
fn known(world: &str) -> Result<World, String> {
    world.parse().map_err(|_| format!("this release knows no hooks of kind {world:?}"))
}
