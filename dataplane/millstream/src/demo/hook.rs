//! `millstream demo --hook FILE`: a hook of a file decides who plays the demo's stream, as if it had been uploaded and bound.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use millstream_control_protocol::state::{Binding, Mode};
use millstream_engine::Remote;
use millstream_hooks::{Hook, Settings, World, kind_of};
use millstream_policy::Chain;
use sha2::{Digest as _, Sha256};
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;
use crate::hook_flags::DemoHookFlags;
use crate::hook_kit::secret;
use crate::hook_settings::HookSettings;
use crate::hooks::Hooks;

/// A hook in force.
pub(crate) struct DemoHook {
    /// What it calls itself, for the banner.
    shown: String,
    hooks: Arc<Hooks>,
    _runtime: Runtime,
    _dir: TemporaryDir,
}

/// Where its compiled form is until the demo ends.
struct TemporaryDir(PathBuf);

impl TemporaryDir {
    fn new() -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("millstream-demo-{}", std::process::id()));
        // One that is there is somebody else's.
        DirBuilder::new().mode(0o700).create(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl DemoHook {
    /// Compiles and binds it. Gives the chain that the engine is to begin with.
    pub(crate) fn bind(
        flags: &DemoHookFlags,
        (stream, shards): (&str, Option<usize>),
        base: &Chain,
    ) -> Result<Option<(Self, Chain)>, Failure> {
        let Some(file) = &flags.hook else { return Ok(None) };
        let bound = || {
            let module = std::fs::read(file).context("cannot be read")?;
            let world = kind_of(&module)?;
            if world != World::Auth {
                bail!(
                    "it is of the kind {world}, and the demo has use for the kind auth; `millstream hook test` tries others"
                );
            }
            let dir = TemporaryDir::new()?;
            let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("hooks").enable_all().build()?;
            let mut secrets = BTreeMap::new();
            for (name, value) in &flags.hook_secret {
                secrets.insert(name.clone(), secret(name, value)?);
            }
            let binding = Binding {
                id: "demo".to_owned(),
                hook: "demo".to_owned(),
                kind: world.as_str().to_owned(),
                version: 1,
                sha256: hex(&Sha256::digest(&module)),
                bytes: module.len() as u64,
                stream: Some(stream.to_owned()),
                point: "play".to_owned(),
                order: 0,
                mode: Mode::Live,
                config: flags.hook_config.iter().cloned().collect(),
                secrets: secrets.keys().cloned().collect(),
                ..Binding::default()
            };
            let settings = HookSettings { secrets, ..HookSettings::default() };
            let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let shards = shards.unwrap_or_else(cores);
            let hooks = Hooks::new(&dir.0, settings.clone(), shards, base.clone(), runtime.handle())?;
            hooks.modules().prepare(&binding.sha256, &binding.kind, None, &module).map_err(anyhow::Error::msg)?;
            let loaded = hooks.modules().get(&binding.sha256).context("it was not compiled")?;
            let of_binding = Settings {
                config: binding.config.clone(),
                secrets: settings.secrets,
                ..Settings::new("demo", "1", world)
            };
            let hook = Hook::new(loaded, of_binding);
            let info = hook.describe().result.context("its `describe` fails")?;
            if let Err(refused) = hook.check_config().result.context("its configuration cannot be checked")? {
                bail!("it refuses its configuration: {refused} (--hook-config and --hook-secret set it)");
            }
            let chain = hooks.beginning_with(&[binding]);
            let shown = format!("{} {}", info.name, info.version);
            Ok((Self { shown, hooks, _runtime: runtime, _dir: dir }, chain))
        };
        bound().map(Some).with_context(|| file.display().to_string()).map_err(Failure::Configuration)
    }

    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// The engine runs.
    pub(crate) fn decide_for(&self, engine: Remote) {
        self.hooks.decide_for(engine, "stream");
    }
}
