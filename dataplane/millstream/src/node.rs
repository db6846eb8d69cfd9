//! The node half of `serve`: what this process is called, what it needs to reach control, and the agent that runs beside its engine.
//! Before it: [`crate::serve`], which has started the engine; after it: `millstream_agent`.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use millstream_agent::{Agent, Control, FixedStreams, Identity, kept, update_of};
use millstream_control_protocol::exchange::NodeId;
use millstream_control_protocol::state::{Binding, State};
use millstream_engine::directory::Directory;
use millstream_proto::sign::MasterKey;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::clock::unix_ms;
use crate::control::Here;

/// Where a node keeps the last state of control, in its data directory.
const KEPT_STATE: &str = "node-state.json";
/// What a machine that has no name is called.
const NAMELESS: &str = "node";

/// The state that a node was sent last, and where it is kept.
pub(crate) struct Kept {
    path: PathBuf,
    state: Option<State>,
    /// Control may have another store than the one that the state is of.
    accept_any_store: bool,
}

impl Kept {
    /// Reads it. One that cannot be used is said and left out: control sends it anew.
    pub(crate) fn read(dir: &Path, accept_any_store: bool) -> Self {
        let path = dir.join(KEPT_STATE);
        let state = kept::load(&path).unwrap_or_else(|error| {
            warn!(%error, "the kept state cannot be used");
            None
        });
        if let Some(state) = &state {
            info!(streams = state.streams.len(), "starting with the state that control sent last");
        }
        Self { path, state, accept_any_store }
    }

    /// Hooks that were bound.
    pub(crate) fn bindings(&self) -> &[Binding] {
        self.state.as_ref().and_then(|state| state.bindings.as_deref()).unwrap_or_default()
    }

    /// The directory that an engine begins with.
    pub(crate) fn directory(&self, fixed: &Directory) -> Directory {
        self.state.as_ref().map_or_else(|| fixed.clone(), |state| fixed.updated(&update_of(state)).directory)
    }
}

/// Who this process is in its fleet: `name`, or the machine's.
pub(crate) fn identity(name: Option<String>, master: Option<&MasterKey>) -> anyhow::Result<Identity> {
    let hostname = || std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    let name = name.or_else(|| hostname().ok().filter(|name| !name.is_empty())).unwrap_or_else(|| NAMELESS.to_owned());
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    let now_ms = unix_ms();
    // Rises from start to start, so that the history of sessions is in order; the last bits tell two of the same moment apart. 53 bits,
    // which every reader of JSON takes as they are.
    let run = ((now_ms << 12) | u64::from(u16::from_ne_bytes(random) >> 4)) & ((1 << 53) - 1);
    Ok(Identity {
        node: NodeId { name, run },
        key_check: master.map(MasterKey::check).unwrap_or_default(),
        started_unix_ms: now_ms,
        ..Identity::default()
    })
}

/// The agent beside an engine.
pub(crate) struct Joined {
    pub(crate) fixed: FixedStreams,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Joined {
    /// Begins to follow control.
    pub(crate) fn start(
        runtime: &Runtime,
        control: Control,
        Here { engine, directory, identity, numbers, hooks, recordings, worker, beside, tls }: Here,
        kept: Option<Kept>,
    ) -> Self {
        let mut agent = Agent::counting(control, engine, directory, identity, numbers).beside(beside);
        if let Some(worker) = worker {
            agent = agent.run_worker(worker);
        }
        if let Some(host) = tls {
            agent = agent.take_certificates(host);
        }
        if let Some(runner) = hooks.runner {
            agent = agent.run_hooks(runner);
        }
        if let Some(tasks) = recordings {
            agent = agent.run_recordings(Arc::new(tasks));
        }
        if let Some(Kept { path, state, accept_any_store }) = kept {
            agent = agent.keep_at(path, state);
            if accept_any_store {
                agent = agent.accept_any_store();
            }
        }
        let (stop, stopped) = watch::channel(false);
        Self { fixed: agent.fixed_streams(), stop, running: runtime.spawn(agent.run(stopped)) }
    }

    /// Tells control the last of what happened, for which it has two seconds.
    pub(crate) fn leave(self, runtime: &Runtime) {
        self.stop.send_replace(true);
        // A panic in it has been printed, and does not change how the engine ended.
        drop(runtime.block_on(self.running));
    }
}
