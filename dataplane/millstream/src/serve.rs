//! `millstream serve`: configuration to policy chain to engine, then signals until the drain is over. Before it: [`crate::cli`];
//! after it: the engine owns everything that happens.
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use millstream_acme::Config as Order;
use millstream_acme::files::Files;
use millstream_agent::beside::AddToLive;
use millstream_agent::certificates::TlsHost;
use millstream_agent::{Control as LinkTo, Identity};
use millstream_api::chain::ShowChain;
use millstream_api::clock::Clock;
use millstream_api::hooks::HookRules;
use millstream_api::identity::{self, Beside, Key, StoreIdentity};
use millstream_control_protocol::state::Binding;
use millstream_engine::config::{Config, GrantConfig, MoreMetrics};
use millstream_engine::{Addresses, Engine, HTTPS_KEY, RTMPS_KEY, Remote};
use millstream_fleet::numbers::Numbers;
use millstream_policy::Chain;
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use millstream_proto::sign::grant::GrantKeys;
use millstream_proto::sign::preview::PreviewKey;
use millstream_store::Store;
use millstream_transcoder::Workers;
use rustls::ServerConfig;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use tokio::runtime::Runtime;
use tokio::sync::watch::Receiver;
use tracing::{error, info, warn};

use crate::certificates::{self, Begun, InUse};
use crate::chain::view::ChainView;
use crate::chain::{self, ChainChange, Parts};
use crate::cli::{Failure, ServeFlags};
use crate::control::{self, CONTROL_TLS_KEY, Control, FileStreams, Here, Told};
use crate::fleet_certificates::{ForFleet, OfFleet};
use crate::hook_host::HookHost;
use crate::layers::{self, Layers};
use crate::motion::{Motions, watched as watched_for_motion};
use crate::node::{self, Joined, Kept};
use crate::pictures::photographed;
use crate::recordings::{Recordings, Running};
use crate::relays::relayed;
use crate::reload::Reload;
use crate::settings::values::Role;
use crate::settings::{Settings, reference};
use crate::transcoding::{look_at, take_workers, transcoded};
use crate::{keys, logging, notify, own_metrics, public, settings};

/// Serves until a signal has ended it.
pub(crate) fn run(flags: ServeFlags) -> Result<(), Failure> {
    let settings = read(flags.config.as_deref()).map_err(Failure::Configuration)?;
    let _log = logging::start(&logging::Wanted::merge(&flags.engine.log, &settings.log))?;
    // Before anything is made: a hangup while it starts is not its end.
    let signals = signals()?;
    let reload = Reload::of(&flags);
    let accept = flags.accept_new_key;
    let file = flags.config.clone();
    let wrong = |error| match &file {
        Some(file) => Failure::Configuration(settings::in_file(file, error)),
        None => Failure::Configuration(error),
    };
    let mut layers = prepare(flags, settings).map_err(wrong)?;
    let order = layers.acme.as_ref().map(|acme| acme.config(&layers.data_dir)).transpose().map_err(wrong)?;
    let certificates = certificates::begin(&mut layers).map_err(|error| wrong(error.context("tls.certificates")))?;
    let certificates = (certificates, order);
    let reload = reload.beginning_with(&layers);
    let runtime = control::runtime().map_err(Failure::Running)?;
    if layers.role != Role::Control {
        // Not only at the first start: each worker would end as soon as it is started.
        look_at(&layers.transcode).map_err(wrong)?;
    }
    if layers.role == Role::Node {
        let (secrets, link) = node_secrets(&layers, &runtime).map_err(Failure::Configuration)?;
        return as_node(layers, secrets, certificates, (link, accept), (signals, reload), &runtime);
    }
    if !layers.data_dir.join(keys::ADMIN_TOKEN).exists() {
        look_for_ports(&layers).map_err(Failure::Running)?;
    }
    // Before any port is open and any secret is made: who has the data directory is the server.
    keys::make_data_dir(&layers.data_dir).map_err(Failure::Configuration)?;
    let store = control::open_store(&layers.data_dir).map_err(Failure::Running)?;
    let secrets = control_secrets(&layers, &store, accept, &runtime).map_err(Failure::Configuration)?;
    match layers.role {
        Role::Control => as_control(layers, secrets, certificates, &store, (signals, reload), &runtime),
        _ => as_all(layers, secrets, certificates, &store, (signals, reload), &runtime),
    }
}

/// Whether the ports are free: a first start that fails leaves no keys behind.
fn look_for_ports(layers: &Layers) -> anyhow::Result<()> {
    let engine = [("RTMP", "rtmp", layers.config.rtmp), ("HTTP", "http", layers.config.http)];
    let tls = [("RTMPS", RTMPS_KEY, layers.tls.rtmp), ("HTTPS", HTTPS_KEY, layers.tls.http)];
    let tls = tls.into_iter().filter_map(|(what, key, address)| Some((what, key, address?)));
    let engine = engine.into_iter().chain(tls).filter(|_| layers.role != Role::Control);
    let control = layers.tls.control.map(|address| ("control", CONTROL_TLS_KEY, address));
    for (what, flag, address) in engine.chain([("control", "control", layers.control)]).chain(control) {
        if let Err(error) = millstream_engine::try_address(address) {
            let advice = millstream_engine::listen_advice(&error, flag);
            bail!("cannot listen on {address} for {what}: {error}; {advice}");
        }
    }
    Ok(())
}

/// Control and a node in one process, which speak as they would if they were two.
fn as_all(
    layers: Layers,
    secrets: Secrets,
    (certificates, order): (Option<Begun>, Option<Order>),
    store: &Arc<dyn Store>,
    signals: (Signals, Reload),
    runtime: &Runtime,
) -> Result<(), Failure> {
    let mut identity = node::identity(layers.node_name.clone(), secrets.master.as_ref()).map_err(Failure::Running)?;
    let numbers = Arc::<Numbers>::default();
    let recordings = start_recordings(&layers, runtime);
    let config = Config { grants: grants(&layers, &secrets), ..layers.config.clone() };
    let (config, relays) = relayed(config, layers.relay_allow.clone(), identity.node.run, runtime);
    let (config, transcoding) = transcoded(config, layers.transcode.clone(), runtime).map_err(Failure::Running)?;
    let keyframes_only = layers.motion_keyframes_only;
    let (config, motions) = recorded(config, recordings.as_ref(), transcoding.workers(), keyframes_only, runtime);
    let config = counted(config, &numbers);
    let app = app_of(&config);
    let directory = config.directory.clone();
    // Whoever comes before the node has heard of them is not to get past them.
    let bindings = runtime.block_on(millstream_api::hooks::bound(store.as_ref()));
    let bindings = bindings.context("cannot read the bindings of hooks").map_err(Failure::Running)?;
    let (hooks, chain) = start_hooks(&layers, &secrets, &bindings, runtime)?;
    let engine = start(config, chain)?;
    let remote = engine.remote();
    let worker = transcoding.worker();
    let workers = transcoding.workers();
    hooks.run_in(workers.clone());
    transcoding.reach(remote.clone());
    let workers_of = workers.clone();
    let beside = beside(relays, motions.as_ref(), &hooks, &remote);
    hooks.decide_for(&remote, &app);
    let tasks = recordings.as_ref().map(|recordings| recordings.tasks(runtime));
    let recordings = recordings.map(|recordings| recordings.tell(remote.clone(), workers, runtime));
    (identity.rtmp_url, identity.http_url) = public::urls(&layers.public, remote.addresses());
    identity.rtmps_url = public::rtmps_url(&layers.public, remote.addresses());
    let (certificates, shown) = watched(certificates, Some(&remote), runtime);
    let tokens = (identity.node.name.as_str(), &secrets.node_token);
    identity.worker_url = take_workers(workers_of.as_ref(), &layers.transcode, tokens, shown.as_ref())?;
    let change = secrets.chain.clone().runs_in(remote.clone(), hooks.clone(), runtime);
    let told = Told {
        inspector: hooks.inspector.clone(),
        tls: layers.tls.control.zip(shown),
        shows_tls: certificates.as_ref().map(InUse::shows),
        ..told(layers, secrets, Arc::clone(&numbers), Some((&remote, &identity)))
    };
    let mut control = Control::start(runtime, store, told).map_err(Failure::Running)?;
    let own_node = identity.node.name.clone();
    control.join(
        runtime,
        Here { engine: remote, directory, identity, numbers, hooks, recordings: tasks, worker, beside, tls: None },
    );
    runtime.block_on(async { for_fleet(certificates.as_ref(), order, &control, Some(&own_node)) });
    info!("ready");
    notify::tell(notify::READY);
    let (signals, reload) = signals;
    let reload = reload.changing(control.file_streams(runtime)).changing_steps(change).reading(certificates);
    let ended = wait(engine, signals, || {}, Some(reload));
    // While control still hears of it.
    if let Some(motions) = motions {
        motions.finish(runtime);
    }
    recordings.into_iter().for_each(Running::stop);
    control.stop(runtime);
    ended
}

/// Control alone: nodes elsewhere follow it.
fn as_control(
    layers: Layers,
    secrets: Secrets,
    (certificates, order): (Option<Begun>, Option<Order>),
    store: &Arc<dyn Store>,
    (mut signals, reload): (Signals, Reload),
    runtime: &Runtime,
) -> Result<(), Failure> {
    // It has no engine: what is looked at is compiled, and then let go of.
    let (hooks, _) = start_hooks(&layers, &secrets, &[], runtime)?;
    let (certificates, shown) = watched(certificates, None, runtime);
    let tls = layers.tls.control.zip(shown);
    let shows_tls = certificates.as_ref().map(InUse::shows);
    let told =
        Told { inspector: hooks.inspector.clone(), tls, shows_tls, ..told(layers, secrets, Arc::default(), None) };
    let control = Control::start(runtime, store, told).map_err(Failure::Running)?;
    runtime.block_on(async { for_fleet(certificates.as_ref(), order, &control, None) });
    info!("ready");
    notify::tell(notify::READY);
    let mut reload = reload.changing(control.file_streams(runtime)).reading(certificates);
    let signal = signals.forever().find(|signal| {
        if *signal == SIGHUP {
            reload.run();
        }
        *signal != SIGHUP
    });
    info!(signal, "ending; nodes go on");
    notify::tell(notify::STOPPING);
    control.stop(runtime);
    info!("ended");
    Ok(())
}

/// A node alone: it follows a control elsewhere, and goes on while that is away.
fn as_node(
    layers: Layers,
    secrets: Secrets,
    (certificates, order): (Option<Begun>, Option<Order>),
    (link, accept): (LinkTo, bool),
    (signals, reload): (Signals, Reload),
    runtime: &Runtime,
) -> Result<(), Failure> {
    let mut identity = node::identity(layers.node_name.clone(), secrets.master.as_ref()).map_err(Failure::Running)?;
    let kept = Kept::read(&layers.data_dir, accept);
    let directory = kept.directory(&layers.config.directory);
    let numbers = Arc::<Numbers>::default();
    let (hooks, chain) = start_hooks(&layers, &secrets, kept.bindings(), runtime)?;
    let grants = grants(&layers, &secrets);
    let recordings = start_recordings(&layers, runtime);
    let keyframes_only = layers.motion_keyframes_only;
    let (transcode, node_token) = (layers.transcode.clone(), secrets.node_token.clone());
    let config = Config { control: Some(layers.control), directory: directory.clone(), grants, ..layers.config };
    let (config, relays) = relayed(config, layers.relay_allow, identity.node.run, runtime);
    let (config, transcoding) = transcoded(config, layers.transcode, runtime).map_err(Failure::Running)?;
    let (config, motions) = recorded(config, recordings.as_ref(), transcoding.workers(), keyframes_only, runtime);
    let app = app_of(&config);
    let engine = start(counted(config, &numbers), chain)?;
    let worker = transcoding.worker();
    let workers = transcoding.workers();
    hooks.run_in(workers.clone());
    transcoding.reach(engine.remote());
    let workers_of = workers.clone();
    let beside = beside(relays, motions.as_ref(), &hooks, &engine.remote());
    hooks.decide_for(&engine.remote(), &app);
    let tasks = recordings.as_ref().map(|recordings| recordings.tasks(runtime));
    let recordings = recordings.map(|recordings| recordings.tell(engine.remote(), workers, runtime));
    let change = secrets.chain.runs_in(engine.remote(), hooks.clone(), runtime);
    (identity.rtmp_url, identity.http_url) = public::urls(&layers.public, engine.addresses());
    identity.rtmps_url = public::rtmps_url(&layers.public, engine.addresses());
    let (certificates, shown) = watched(certificates, Some(&engine.remote()), runtime);
    let tokens = (identity.node.name.as_str(), &node_token);
    identity.worker_url = take_workers(workers_of.as_ref(), &transcode, tokens, shown.as_ref())?;
    if let Some((in_use, order)) = certificates.as_ref().zip(order) {
        in_use.order(order, in_use.clone());
    }
    let tls = certificates.as_ref().filter(|_| layers.tls.from_control);
    let tls = tls.map(|own| Arc::new(OfFleet::new(own.clone(), Files::below(&layers.data_dir))) as Arc<dyn TlsHost>);
    let engine_of = engine.remote();
    let here = Here { engine: engine_of, directory, identity, numbers, hooks, recordings: tasks, worker, beside, tls };
    let joined = Joined::start(runtime, link, here, Some(kept));
    info!("ready");
    notify::tell(notify::READY);
    let reload = reload.changing(FileStreams::of_node(joined.fixed.clone())).changing_steps(change);
    let ended = wait(engine, signals, || {}, Some(reload.reading(certificates)));
    if let Some(motions) = motions {
        motions.finish(runtime);
    }
    recordings.into_iter().for_each(Running::stop);
    joined.leave(runtime);
    ended
}

/// Looks after the files with certificates from here on; what the control port is to show.
fn watched(
    certificates: Option<Begun>,
    engine: Option<&Remote>,
    runtime: &Runtime,
) -> (Option<InUse>, Option<Receiver<Arc<ServerConfig>>>) {
    certificates.map(|begun| begun.watched(engine.cloned(), runtime.handle().clone())).unzip()
}

/// Has the certificate ordered that this process and the nodes of its control show, and gives these what there is.
fn for_fleet(certificates: Option<&InUse>, order: Option<Order>, control: &Control, own_node: Option<&str>) {
    if let Some((own, order)) = certificates.zip(order) {
        let server = ForFleet::new(own.clone(), order.files.clone(), control.fleet().clone(), own_node);
        own.order(order, server);
    }
}

/// The configuration with the keys of play grants.
fn grants(layers: &Layers, secrets: &Secrets) -> GrantConfig {
    let keys = grant_keys(layers.grant_generation, secrets.grants.as_ref());
    GrantConfig { keys, previews: previews(secrets.grants.as_ref()), ..layers.config.grants.clone() }
}

fn grant_keys(generation: u32, master: Option<&MasterKey>) -> Option<GrantKeys> {
    master.map(|master| GrantKeys::new(master, generation))
}

/// What the console's previews are shown by.
fn previews(master: Option<&MasterKey>) -> Option<PreviewKey> {
    master.map(PreviewKey::new)
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
fn start_hooks(
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

fn told<'a>(
    layers: Layers,
    secrets: Secrets,
    numbers: Arc<Numbers>,
    here: Option<(&'a Remote, &Identity)>,
) -> Told<'a> {
    let (engine, identity) = here.unzip();
    let of_node = identity.map(|identity| millstream_api::Here {
        node: identity.node.name.clone(),
        rtmp_url: identity.rtmp_url.clone(),
        http_url: identity.http_url.clone(),
        rtmps_url: identity.rtmps_url.clone(),
    });
    Told {
        here: of_node.or_else(|| public::of_fleet(&layers.public)),
        numbers,
        listen: layers.control,
        config: reference::shown(&layers),
        chain: engine.map(|_| Arc::new(secrets.chain.view) as Arc<dyn ShowChain>),
        apps: layers.config.apps.clone(),
        // A name that browsers use is one that requests come by.
        names: layers
            .control_names
            .into_iter()
            .chain(layers.public.control.as_deref().and_then(layers::host_of))
            .collect(),
        previews: previews(secrets.grants.as_ref()),
        grants: grant_keys(layers.grant_generation, secrets.grants.as_ref()),
        admin_token: secrets.admin_token,
        node_token: secrets.node_token,
        worker_token: secrets.worker_token,
        master: secrets.master,
        store: secrets.store,
        streams: layers.streams,
        trusted_proxies: layers.control_trusted_proxies,
        webhooks_allow: layers.webhooks_allow,
        public_url: layers.public.control,
        inspector: None,
        shows_tls: None,
        tls: None,
        hooks: HookRules { trusted_keys: layers.hooks.trusted_keys, rollback: layers.hooks.rollback },
        engine,
    }
}

/// What is made at the first start and read at each.
struct Secrets {
    chain: MadeChain,
    /// Of control; empty at a node.
    admin_token: Secret,
    /// What nodes elsewhere tell control; empty at a node, which has it in its way to control.
    node_token: Secret,
    worker_token: Secret,
    /// `None` where nothing checks a signature.
    master: Option<MasterKey>,
    /// What play grants are made from; `None`: there are none.
    grants: Option<MasterKey>,
    /// Which store control has.
    store: StoreIdentity,
}

fn read(config: Option<&Path>) -> anyhow::Result<Settings> {
    Ok(config.map(settings::read).transpose()?.unwrap_or_default())
}

/// Everything that is decided before a file is made or a socket opened.
fn prepare(flags: ServeFlags, settings: Settings) -> anyhow::Result<Layers> {
    let key_file = flags.key_file.as_deref().map(keys::read_key_file).transpose()?;
    let merging = layers::Flags {
        engine: flags.engine,
        data_dir: flags.data_dir,
        auth: flags.auth,
        domains: flags.domain,
        acme_email: flags.acme_email,
        control_plain: flags.control_plain,
        control_url: flags.control_url,
        control_token_file: flags.control_token_file,
        role: flags.role,
        node_name: flags.node_name,
        key_file,
    };
    let layers = layers::merge(merging, settings)?;
    for warning in &layers.warnings {
        warn!("{warning}");
    }
    Ok(layers)
}

/// A chain, what it is made from, and what is shown of it.
#[derive(Clone)]
struct MadeChain {
    chain: Chain,
    parts: Parts,
    view: ChainView,
}

impl MadeChain {
    /// An engine runs by it from now on.
    fn runs_in(self, engine: Remote, hooks: HookHost, runtime: &Runtime) -> ChainChange {
        let Self { parts, view, .. } = self;
        parts.runs_in(engine.clone());
        ChainChange { parts, engine, hooks, runtime: runtime.handle().clone(), view }
    }
}

/// The chain that was asked for.
fn chain(layers: &Layers, master: Option<&MasterKey>, runtime: &Runtime) -> anyhow::Result<MadeChain> {
    chain::warn_if_open(layers.auth, &layers.steps);
    let parts = Parts::of(
        layers.auth,
        master.cloned(),
        layers.legacy_keys.clone(),
        layers.config.apps.clone(),
        runtime.handle().clone(),
    );
    let (chain, shown) = parts.chain(&layers.steps).map_err(anyhow::Error::msg)?;
    Ok(MadeChain { chain, parts, view: ChainView::new(shown) })
}

/// A node has copies of what control has made. One without them does not start, and leaves nothing behind.
fn node_secrets(layers: &Layers, runtime: &Runtime) -> anyhow::Result<(Secrets, LinkTo)> {
    let url = layers.control_url.clone().context("a node needs --control-url")?;
    let node_token = keys::read_node_token(&layers.control_token_file)?;
    let link = LinkTo::over_http(url, node_token.clone());
    keys::make_data_dir(&layers.data_dir)?;
    // A node that made a key of its own would refuse every signature that control makes.
    let advice =
        "a node needs the key that signatures are made with; copy control's master-key file, with its permissions";
    let master = if chain::needs_master(layers.auth, &layers.steps) {
        Some(keys::read_master_key(&layers.data_dir).context(advice)?)
    } else {
        None
    };
    let (admin_token, worker_token, store) = (Secret::default(), Secret::default(), StoreIdentity::default());
    // A grant of one node has to be right at all of them: without control's key there are none.
    let grants = if master.is_some() { master.clone() } else { keys::find_master_key(&layers.data_dir)? };
    if grants.is_none() && layers.steps.iter().any(|entry| entry.play) {
        warn!("this node makes no play grants; {advice}");
    }
    let chain = chain(layers, master.as_ref(), runtime)?;
    Ok((Secrets { chain, admin_token, node_token, worker_token, master, grants, store }, link))
}

/// Control makes what is missing at its first start, and refuses to begin anew beside a store or a key that is not the one of before.
fn control_secrets(
    layers: &Layers,
    store: &Arc<dyn Store>,
    accept: bool,
    runtime: &Runtime,
) -> anyhow::Result<Secrets> {
    let dir = &layers.data_dir;
    let signed = chain::needs_master(layers.auth, &layers.steps);
    let (found, marker) = (if signed { keys::find_master_key(dir)? } else { None }, keys::store_marker(dir)?);
    let key = match &found {
        _ if !signed => Key::NotNeeded,
        Some(key) => Key::Is(key),
        None => Key::Missing,
    };
    let beside = Beside { marker: marker.as_deref(), key, accept, now_ms: Clock::system().now_ms() };
    let refused = || format!("the data directory {} is not as it was", dir.display());
    let judged = runtime.block_on(identity::judge(store.as_ref(), beside)).with_context(refused)?;
    let master = signed.then(|| keys::master_key(dir)).transpose()?;
    let identity = runtime.block_on(identity::settle(store.as_ref(), judged, master.as_ref()))?;
    if marker.as_deref() != Some(identity.id.as_str())
        && let Err(error) = keys::mark_store(dir, &identity.id)
    {
        warn!(%error, "an emptied store would not be noticed");
    }
    let (admin_token, node_token) = (keys::admin_token(dir)?, keys::node_token(dir)?);
    let worker_token = keys::worker_token(dir)?;
    let grants = match &master {
        Some(master) => Some(master.clone()),
        None if layers.steps.iter().any(|entry| entry.play) => Some(keys::master_key(dir)?),
        // A key of this process alone is one that other nodes do not have.
        None if layers.role == Role::Control => keys::find_master_key(dir)?,
        // Hooks may protect a stream later: grants of a key of this process are good until it ends, and then renewed.
        None => keys::find_master_key(dir)?.map_or_else(keys::passing, Ok).map(Some)?,
    };
    let chain = chain(layers, master.as_ref(), runtime)?;
    Ok(Secrets { chain, admin_token, node_token, worker_token, master, grants, store: identity })
}

/// SIGTERM, SIGINT and SIGHUP, caught from here on: one that arrives while the engine starts is not lost. SIGXFSZ does nothing: where a file
/// may not grow (`RLIMIT_FSIZE`), the write fails, as on a full disk.
pub(crate) fn signals() -> Result<Signals, Failure> {
    let ignored = signal_hook::flag::register(SIGXFSZ, Arc::default());
    ignored.context("cannot catch signals").map_err(Failure::Running)?;
    Signals::new([SIGTERM, SIGINT, SIGHUP]).context("cannot catch signals").map_err(Failure::Running)
}

/// Starts the engine and says where it listens.
pub(crate) fn start(config: Config, chain: Chain) -> Result<Engine, Failure> {
    let engine = millstream_engine::start(config, chain).map_err(Failure::running)?;
    let Addresses { rtmp, http, rtmps, https, control } = engine.addresses();
    info!(listener = "rtmp", address = %rtmp, "listening for RTMP (push and play)");
    info!(listener = "http", address = %http, "listening for HTTP (play)");
    if let Some(rtmps) = rtmps {
        info!(listener = "rtmps", address = %rtmps, "listening for RTMPS (push and play)");
    }
    if let Some(https) = https {
        info!(listener = "https", address = %https, "listening for HTTPS (play)");
    }
    if let Some(control) = control {
        info!(listener = "control", address = %control, "listening for control (/metrics)");
    }
    Ok(engine)
}

/// Waits until the engine has ended: by a signal and a clean drain, or because a shard died. The first signal calls `on_signal`
/// before the drain starts; SIGHUP is none of these where there is something to reload.
pub(crate) fn wait(
    engine: Engine,
    mut signals: Signals,
    on_signal: impl Fn() + Send + 'static,
    mut reload: Option<Reload>,
) -> Result<(), Failure> {
    let stop = engine.remote();
    let waiting = signals.handle();
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut ending = false;
        for signal in signals.forever() {
            if signal == SIGHUP
                && let Some(reload) = &mut reload
            {
                reload.run();
                continue;
            }
            // A terminal that is closed says it after Ctrl-C.
            if ending && signal == SIGHUP {
                continue;
            }
            if std::mem::replace(&mut ending, true) {
                error!(signal, "second signal: ending without waiting for sessions");
                std::process::exit(1);
            }
            info!(signal, "draining; a second signal ends at once");
            notify::tell(notify::STOPPING);
            on_signal();
            stop.shutdown();
        }
    });
    let thread = thread.context("cannot start the thread that waits for signals").map_err(Failure::Running)?;
    let ended = engine.wait().map_err(Failure::running);
    waiting.close();
    // The thread ends with its signals; a panic in it has been printed, and does not change how the engine ended.
    drop(thread.join());
    if ended.is_ok() {
        info!("ended");
    }
    ended
}
