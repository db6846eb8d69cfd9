//! Hooks of this process, as far as this build runs any: what [`crate::serve`] and [`crate::node`] need to know of [`crate::hooks`].
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use millstream_agent::beside::AddToLive;
use millstream_agent::runner::Runner;
use millstream_api::hooks::inspect::Inspector;
use millstream_control_protocol::state::Binding;
use millstream_engine::Remote;
use millstream_engine::admin::remote::Unanswered;
#[cfg(feature = "hooks")]
use millstream_hook_steps::{numbers::Numbers, recorder::Recorder};
use millstream_policy::{Action, Chain, DecisionContext, Request, Step};
use millstream_transcoder::Workers;
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use crate::hook_settings::HookSettings;
#[cfg(feature = "hooks")]
use crate::hook_trials::Trials;
#[cfg(feature = "hooks")]
use crate::hooks::Hooks;

/// A binding in force.
pub(crate) struct BoundHook {
    /// The hook's name.
    pub(crate) name: String,
    /// The stream that it is for; `None`: all.
    pub(crate) stream: Option<String>,
    /// What else the API shows.
    pub(crate) settings: Map<String, Value>,
    #[cfg(feature = "hooks")]
    pub(crate) bound: Arc<millstream_hook_steps::bound::Bound>,
    #[cfg(feature = "hooks")]
    pub(crate) node: Arc<millstream_hook_steps::step::Node>,
}

#[cfg_attr(not(feature = "hooks"), allow(clippy::unused_self, reason = "with hooks there is something"))]
impl BoundHook {
    /// What it would say of a request, where that can be told, and why. It asks upstreams only if `call` says so.
    #[cfg(feature = "hooks")]
    pub(crate) async fn explain(
        &self,
        request: &Request,
        context: DecisionContext<'_>,
        call: bool,
    ) -> (Option<Step>, String) {
        use millstream_hook_steps::explain::{Explanation, explain};
        let mut explanation = explain(&self.bound, &self.node, request, context);
        loop {
            let asking = match explanation {
                Explanation::Step(step, why) => return (Some(step), why),
                Explanation::Asks(asking) if call => asking,
                Explanation::Asks(asking) => {
                    let upstream = &asking.fetch.upstream;
                    return (None, format!("it asks the upstream {upstream:?} first; ask with \"call\": true"));
                }
            };
            let (replied, reply) = tokio::sync::oneshot::channel();
            self.node.fetch(asking.fetch.clone(), Box::new(|outcome| drop(replied.send(outcome))));
            let outcome = reply.await.unwrap_or_else(|_| Err("the server is ending".to_owned()));
            explanation = asking.resume(&self.bound, &self.node, request, outcome);
        }
    }

    #[cfg(not(feature = "hooks"))]
    pub(crate) fn explain(
        &self,
        _: &Request,
        _: DecisionContext<'_>,
        _: bool,
    ) -> std::future::Ready<(Option<Step>, String)> {
        std::future::ready((None, String::new()))
    }
}

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

impl fmt::Debug for HookHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.runner.is_some() { "HookHost" } else { "HookHost of none" })
    }
}

#[cfg_attr(not(feature = "hooks"), allow(clippy::unused_self, reason = "with hooks there is something"))]
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
            (Arc::clone(&hooks) as _, Arc::new(Trials(Arc::clone(&hooks))));
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

    /// Has every shard decide by this chain from here on, after the hooks.
    pub(crate) async fn put_before(&self, chain: &Chain, engine: &Remote) -> Result<(), Unanswered> {
        #[cfg(feature = "hooks")]
        if let Some(hooks) = &self.hooks {
            return hooks.set_base(chain).await;
        }
        engine.set_policies(chain).await
    }

    /// The bindings in force, in their order.
    pub(crate) fn bound(&self, action: Action) -> Vec<BoundHook> {
        #[cfg(feature = "hooks")]
        if let Some(hooks) = &self.hooks {
            return hooks.bound(action);
        }
        let _ = action;
        Vec::new()
    }

    /// What is counted of hooks.
    #[cfg(feature = "hooks")]
    pub(crate) fn numbers(&self) -> Option<(Numbers, Option<Recorder>)> {
        self.hooks.as_ref().map(|hooks| (hooks.numbers(), hooks.recorder().cloned()))
    }

    /// The engine runs, and its streams are below this application: what follows of it decides there.
    pub(crate) fn decide_for(&self, engine: &Remote, app: &str) {
        #[cfg(feature = "hooks")]
        if let Some(hooks) = &self.hooks {
            hooks.decide_for(engine.clone(), app);
        }
        #[cfg(not(feature = "hooks"))]
        let _ = (engine, app);
    }

    /// Motion hooks run in these workers.
    #[cfg_attr(not(feature = "hooks"), expect(clippy::needless_pass_by_value, reason = "a build with hooks keeps it"))]
    pub(crate) fn run_in(&self, workers: Option<Workers>) {
        #[cfg(feature = "hooks")]
        if let Some((hooks, workers)) = self.hooks.as_ref().zip(workers) {
            hooks.watchers().run_in(workers);
        }
        #[cfg(not(feature = "hooks"))]
        let _ = workers;
    }

    /// Adds to what is told of streams what hooks have chosen for them.
    pub(crate) fn beside(&self) -> Option<AddToLive> {
        #[cfg(feature = "hooks")]
        return self.hooks.as_ref().map(|hooks| hooks.ladders().beside());
        #[cfg(not(feature = "hooks"))]
        None
    }
}
