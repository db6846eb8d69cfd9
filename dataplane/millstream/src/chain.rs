//! The chain that decides who may publish and play: the configured steps in their order, then the preset's. Before it: the configuration;
//! after it: the engine. SIGHUP makes it anew and puts it into every shard.
use std::time::Duration;

use millstream_agent::callback::{Callbacks, Probe};
use millstream_engine::Remote;
use millstream_policy::cidr::Cidr;
use millstream_policy::open::Open;
use millstream_policy::preset::{Preset, preset};
use millstream_policy::scope::only_for;
use millstream_policy::signed::{Apps, Recorded, Signed, SignedPublish};
use millstream_policy::{Chain, PolicyMaker, shared};
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use tokio::runtime::Handle;
use tracing::warn;

use self::view::{ChainView, ShownChain, ShownStep};
use crate::hook_host::HookHost;
use crate::settings::steps::{StepEntry, StepKind};
use crate::settings::values::AuthPreset;

pub(crate) mod view;

/// Time for the shards to take up another chain.
const CHANGE_WAIT: Duration = Duration::from_secs(5);

/// What steps need that is not in their entries.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    auth: AuthPreset,
    /// `None` where no step checked a signature at the start.
    master: Option<MasterKey>,
    legacy_keys: Vec<Secret>,
    apps: Apps,
    callbacks: Callbacks,
}

/// Whether a chain of this configuration checks signatures that are made with the master key.
pub(crate) fn needs_master(auth: AuthPreset, steps: &[StepEntry]) -> bool {
    let signed = |entry: &StepEntry| matches!(entry.kind, StepKind::Signed { .. });
    auth == AuthPreset::Signed || steps.iter().any(signed)
}

impl Parts {
    /// Callbacks are asked on this runtime.
    pub(crate) fn of(
        auth: AuthPreset,
        master: Option<MasterKey>,
        legacy_keys: Vec<Secret>,
        apps: Apps,
        runtime: Handle,
    ) -> Self {
        Self { auth, master, legacy_keys, apps, callbacks: Callbacks::new(runtime) }
    }

    /// The engine that runs by the chain.
    pub(crate) fn runs_in(&self, engine: Remote) {
        self.callbacks.answer_to(engine);
    }

    /// The chain with these steps; an error says which of them needs a restart.
    pub(crate) fn chain(&self, steps: &[StepEntry]) -> Result<(Chain, ShownChain), String> {
        let (mut publish, mut play) = (Vec::new(), Vec::new());
        let mut shown = Vec::new();
        for entry in steps {
            let (maker, probe) = self.step(entry)?;
            let maker = only_for(entry.streams.clone(), maker);
            if entry.publish {
                publish.push(PolicyMaker::clone(&maker));
            }
            if entry.play {
                play.push(maker);
            }
            shown.push(ShownStep::of(entry, probe));
        }
        let chain = self.preset()?.after(publish, play);
        Ok((chain.clone(), ShownChain::new(shown, chain)))
    }

    fn preset(&self) -> Result<Chain, String> {
        Ok(match self.auth {
            AuthPreset::Open => preset(Preset::Open),
            AuthPreset::Signed => {
                let (legacy, apps) = (self.legacy_keys.clone(), self.apps.clone());
                preset(Preset::Signed { master: self.master("auth.preset")?, legacy, apps })
            }
        })
    }

    fn master(&self, of: &str) -> Result<MasterKey, String> {
        self.master.clone().ok_or_else(|| format!("{of}: the master key is made or read at a start only; restart"))
    }

    fn step(&self, entry: &StepEntry) -> Result<(PolicyMaker, Option<Probe>), String> {
        let maker = match &entry.kind {
            StepKind::Open => shared(Open),
            StepKind::Recorded { pass } => shared(Recorded { apps: self.apps.clone(), pass: *pass }),
            StepKind::Cidr { allow, deny, pass } => {
                shared(Cidr { allow: allow.clone(), deny: deny.clone(), pass: *pass })
            }
            StepKind::Signed { missing, pass, until_exp } => {
                let master = self.master(&format!("auth.steps {}", entry.name))?;
                let keys = SignedPublish::new(master, self.legacy_keys.clone(), self.apps.clone());
                shared(Signed { keys, missing: *missing, pass: *pass, until_exp: *until_exp })
            }
            StepKind::Jwt(rules) => rules.as_ref().clone().maker(),
            StepKind::Callback(callback) => {
                let (maker, probe) = self.callbacks.maker(callback.as_ref().clone());
                return Ok((maker, Some(probe)));
            }
        };
        Ok((maker, None))
    }
}

/// Says loudly who may push where nobody is asked.
pub(crate) fn warn_if_open(auth: AuthPreset, steps: &[StepEntry]) {
    if auth != AuthPreset::Open {
        return;
    }
    if steps.iter().any(|entry| entry.publish && entry.streams.is_empty()) {
        warn!("auth.preset is \"open\": whoever no step of auth.steps refuses or admits may push any stream");
    } else {
        warn!("AUTH IS OPEN: anyone who reaches the RTMP port may push any stream; use --auth signed in production");
    }
}

/// The way to other steps while everything runs.
#[derive(Debug)]
pub(crate) struct ChainChange {
    pub(crate) parts: Parts,
    pub(crate) engine: Remote,
    /// Those are asked first.
    pub(crate) hooks: HookHost,
    pub(crate) runtime: Handle,
    /// What the API shows.
    pub(crate) view: ChainView,
}

impl ChainChange {
    /// Every shard decides by these from now on. Not to be called from the runtime.
    pub(crate) fn change(&self, steps: &[StepEntry]) -> Result<(), String> {
        let (chain, shown) = self.parts.chain(steps)?;
        let change = async { tokio::time::timeout(CHANGE_WAIT, self.hooks.put_before(&chain, &self.engine)).await };
        match self.runtime.block_on(change) {
            Ok(Ok(())) => {
                self.view.set(shown);
                Ok(())
            }
            Ok(Err(error)) => Err(format!("{error}; send SIGHUP again")),
            Err(_) => Err("the shards did not answer in time; send SIGHUP again".to_owned()),
        }
    }
}
