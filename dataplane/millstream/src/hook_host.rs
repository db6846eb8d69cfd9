//! Hooks of this process, as far as this build runs any: what [`crate::serve`] and [`crate::node`] need to know of [`crate::hooks`].
use std::path::Path;
use std::sync::Arc;

use millstream_agent::runner::Runner;
use millstream_api::hooks::inspect::Inspector;
use millstream_control_protocol::state::Binding;
use millstream_engine::Remote;
use millstream_policy::Chain;
use tokio::runtime::Runtime;

use crate::hook_settings::HookSettings;
#[cfg(feature = "hooks")]
use crate::hooks::{Hooks, Looks};

/// What runs hooks.
#[derive(Clone, Default)]
pub(crate) struct HookHost {
    /// For the agent.
    pub(crate) runner: Option<Arc<dyn Runner>>,
    /// For the API.
    pub(crate) inspector: Option<Arc<dyn Inspector>>,
    #[cfg(feature = "hooks")]
    hooks: Option<Arc<Hooks>>,
}

impl HookHost {
    /// For an engine of so many shards (`None`: one per core), which decides by `base` where no hook does; `bindings` were in force before. Gives the chain that it is to begin with.
    #[cfg(feature = "hooks")]
    pub(crate) fn start(
        (data_dir, shards): (&Path, Option<usize>),
        settings: &HookSettings,
        base: Chain,
        bindings: &[Binding],
        runtime: &Runtime,
    ) -> anyhow::Result<(Self, Chain)> {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let shards = shards.unwrap_or_else(cores);
        let hooks = Hooks::new(data_dir, settings.clone(), shards, base, runtime.handle())?;
        let chain = hooks.beginning_with(bindings);
        let (runner, inspector): (Arc<dyn Runner>, Arc<dyn Inspector>) =
            (Arc::clone(&hooks) as _, Arc::new(Looks(Arc::clone(&hooks))));
        Ok((Self { runner: Some(runner), inspector: Some(inspector), hooks: Some(hooks) }, chain))
    }

    /// This build has none.
    #[cfg(not(feature = "hooks"))]
    #[allow(clippy::unnecessary_wraps, reason = "the other form can fail")]
    pub(crate) fn start(
        _place: (&Path, Option<usize>),
        _settings: &HookSettings,
        base: Chain,
        _bindings: &[Binding],
        _runtime: &Runtime,
    ) -> anyhow::Result<(Self, Chain)> {
        Ok((Self::default(), base))
    }

    /// What is counted of hooks.
    #[cfg(feature = "hooks")]
    pub(crate) fn numbers(&self) -> Option<millstream_hook_steps::numbers::Numbers> {
        self.hooks.as_ref().map(|hooks| hooks.numbers())
    }

    /// The engine runs: what follows of it decides there.
    #[cfg_attr(not(feature = "hooks"), allow(clippy::unused_self, reason = "the other form has something"))]
    pub(crate) fn decide_for(&self, engine: &Remote) {
        #[cfg(feature = "hooks")]
        if let Some(hooks) = &self.hooks {
            hooks.decide_for(engine.clone());
        }
        #[cfg(not(feature = "hooks"))]
        let _ = engine;
    }
}
