//! The node of this process: an engine, and recordings, renditions, motion, relays and hooks around it. The same beside control and alone. Before it: [`super`], which
//! has its settings; after it: the link to control.
use std::sync::Arc;

use millstream_agent::Identity;
use millstream_agent::beside::AddToLive;
use millstream_control_protocol::state::Binding;
use millstream_engine::config::{Config, MoreMetrics};
use millstream_engine::{Engine, Remote};
use millstream_fleet::numbers::Numbers;
use millstream_policy::Chain;
use millstream_proto::secret::Secret;
use millstream_transcoder::Workers;
use rustls::ServerConfig;
use tokio::runtime::Runtime;
use tokio::sync::watch::Receiver;
use tracing::error;

use super::running::start;
use super::secrets::Secrets;
use crate::cli::Failure;
use crate::control::Here;
use crate::hook_host::HookHost;
use crate::layers::Layers;
use crate::motion::{Motions, watched as watched_for_motion};
use crate::pictures::photographed;
use crate::recordings::{Recordings, Running};
use crate::relays::relayed;
use crate::settings::transcode::TranscodeSettings;
use crate::transcoding::{take_workers, transcoded};
use crate::{own_metrics, public};

/// An engine and what is around it.
pub(super) struct OwnNode {
    pub(super) engine: Engine,
    /// What the link to control needs.
    pub(super) here: Here,
    pub(super) storing: Storing,
    workers: Option<Workers>,
}

/// What still stores something when the engine has ended.
pub(super) struct Storing {
    motions: Option<Motions>,
    recordings: Option<Running>,
}

impl OwnNode {
    /// Starts the engine with this configuration, and what is around it.
    pub(super) fn start(
        layers: &Layers,
        config: Config,
        mut identity: Identity,
        (hooks, chain): (HookHost, Chain),
        runtime: &Runtime,
    ) -> Result<Self, Failure> {
        let numbers = Arc::<Numbers>::default();
        let recordings = start_recordings(layers, runtime);
        let (config, relays) = relayed(config, layers.relay_allow.clone(), identity.node.run, runtime);
        let (config, transcoding) = transcoded(config, layers.transcode.clone(), runtime).map_err(Failure::Running)?;
        let (worker, workers) = (transcoding.worker(), transcoding.workers());
        let keyframes_only = layers.motion_keyframes_only;
        let (config, motions) = recorded(config, recordings.as_ref(), workers.clone(), keyframes_only, runtime);
        let (app, directory) = (app_of(&config), config.directory.clone());
        let engine = start(counted(config, &numbers), chain)?;
        let remote = engine.remote();
        hooks.run_in(workers.clone());
        transcoding.reach(remote.clone());
        let beside = beside(relays, motions.as_ref(), &hooks, &remote);
        hooks.decide_for(&remote, &app);
        let tasks = recordings.as_ref().map(|recordings| recordings.tasks(runtime));
        let recordings = recordings.map(|recordings| recordings.tell(remote.clone(), workers.clone(), runtime));
        (identity.rtmp_url, identity.http_url) = public::urls(&layers.public, remote.addresses());
        identity.rtmps_url = public::rtmps_url(&layers.public, remote.addresses());
        let here =
            Here { engine: remote, directory, identity, numbers, hooks, recordings: tasks, worker, beside, tls: None };
        Ok(Self { engine, here, storing: Storing { motions, recordings }, workers })
    }

    /// Takes workers of other machines, where some may come.
    pub(super) fn take_workers(
        &mut self,
        settings: &TranscodeSettings,
        node_token: &Secret,
        shown: Option<&Receiver<Arc<ServerConfig>>>,
    ) -> Result<(), Failure> {
        let identity = &mut self.here.identity;
        identity.worker_url = take_workers(self.workers.as_ref(), settings, (&identity.node.name, node_token), shown)?;
        Ok(())
    }
}

impl Storing {
    /// Stores what is under way.
    pub(super) fn finish(self, runtime: &Runtime) {
        if let Some(motions) = self.motions {
            motions.finish(runtime);
        }
        self.recordings.into_iter().for_each(Running::stop);
    }
}
/// The recorder. Without it streams are served all the same.
fn start_recordings(layers: &Layers, runtime: &Runtime) -> Option<Recordings> {
    let wait = layers.config.stream.publisher_wait;
    match Recordings::start(&layers.data_dir, &layers.record, wait, runtime) {
        Ok(recordings) => {
            own_metrics::and(recordings.numbers());
            Some(recordings)
        }
        Err(error) => {
            error!(error = format!("{error:#}"), "nothing is recorded until the server is started again");
            None
        }
    }
}

/// The configuration of an engine whose streams, and pictures of them, are recorded, and in which motion is looked for.
fn recorded(
    config: Config,
    recordings: Option<&Recordings>,
    workers: Option<Workers>,
    keyframes_only: bool,
    runtime: &Runtime,
) -> (Config, Option<Motions>) {
    match recordings {
        Some(recordings) => {
            let config = photographed(config, workers.clone(), recordings.store(), recordings.engine(), runtime);
            let (config, motions) = watched_for_motion(config, workers, recordings.store(), keyframes_only, runtime);
            (recordings.config(config, runtime), motions)
        }
        None => (config, None),
    }
}

/// Who knows how streams do that are pushed on, or watched, or whose renditions a hook chooses. Control hears of motion from here on.
fn beside(relays: AddToLive, motions: Option<&Motions>, hooks: &HookHost, engine: &Remote) -> Vec<AddToLive> {
    let of_motion = motions.map(|motions| {
        motions.tell_to(engine.clone());
        motions.beside()
    });
    std::iter::once(relays).chain(of_motion).chain(hooks.beside()).collect()
}

/// The application that streams are below.
fn app_of(config: &Config) -> String {
    config.apps.first().map_or_else(|| "stream".to_owned(), ToString::to_string)
}

/// The configuration of an engine whose `/metrics` show these, too.
fn counted(config: Config, numbers: &Arc<Numbers>) -> Config {
    let numbers = Arc::clone(numbers);
    Config { more_metrics: Some(MoreMetrics::new(move || numbers.text() + &own_metrics::text())), ..config }
}

/// What runs hooks, and the chain with them that an engine is to begin with.
pub(super) fn start_hooks(
    layers: &Layers,
    secrets: &Secrets,
    bindings: &[Binding],
    runtime: &Runtime,
) -> Result<(HookHost, Chain), Failure> {
    let place = (layers.data_dir.as_path(), layers.shards);
    let started = HookHost::start(place, &layers.hooks, secrets.chain.chain.clone(), bindings, runtime);
    let (hooks, chain) = started.map_err(Failure::Configuration)?;
    #[cfg(feature = "hooks")]
    if let Some(numbers) = hooks.numbers() {
        own_metrics::of_hooks(numbers);
    }
    secrets.chain.view.comes_after(hooks.clone());
    Ok((hooks, chain))
}
