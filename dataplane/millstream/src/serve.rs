//! `millstream serve`: configuration to policy chain to engine, then signals until the drain is over. Before it: [`crate::cli`];
//! after it: the engine owns everything that happens. Its parts: [`secrets`] (what it makes and reads), [`own_node`] (an engine and what is around it), [`running`] (an
//! engine from its start to its end).
mod own_node;
pub(crate) mod running;
mod secrets;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use millstream_acme::Config as Order;
use millstream_acme::files::Files;
use millstream_agent::certificates::TlsHost;
use millstream_agent::{Control as LinkTo, Identity};
use millstream_api::chain::ShowChain;
use millstream_api::hooks::HookRules;
use millstream_engine::config::Config;
use millstream_engine::{HTTPS_KEY, RTMPS_KEY, Remote};
use millstream_fleet::numbers::Numbers;
use millstream_store::Store;
use rustls::ServerConfig;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;
use tokio::runtime::Runtime;
use tokio::sync::watch::Receiver;
use tracing::{info, warn};

use self::own_node::{OwnNode, start_hooks};
use self::running::{signals, wait};
use self::secrets::{Secrets, control_secrets, grant_keys, grants, node_secrets, previews};
use crate::certificates::{self, Begun, InUse};
use crate::cli::{Failure, ServeFlags};
use crate::control::{self, CONTROL_TLS_KEY, Control, FileStreams, Told};
use crate::fleet_certificates::{ForFleet, OfFleet};
use crate::layers::{self, Layers};
use crate::node::{self, Joined, Kept};
use crate::reload::Reload;
use crate::settings::values::Role;
use crate::settings::{self, Settings, reference};
use crate::transcoding::look_at;
use crate::{keys, logging, notify, public};

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
        return as_node(&layers, secrets, certificates, (link, accept), (signals, reload), &runtime);
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
    let identity = node::identity(layers.node_name.clone(), secrets.master.as_ref()).map_err(Failure::Running)?;
    // Whoever comes before the node has heard of them is not to get past them.
    let bindings = runtime.block_on(millstream_api::hooks::bound(store.as_ref()));
    let bindings = bindings.context("cannot read the bindings of hooks").map_err(Failure::Running)?;
    let hooks = start_hooks(&layers, &secrets, &bindings, runtime)?;
    let config = Config { grants: grants(&layers, &secrets), ..layers.config.clone() };
    let mut node = OwnNode::start(&layers, config, identity, hooks, runtime)?;
    let remote = node.engine.remote();
    let (certificates, shown) = watched(certificates, Some(&remote), runtime);
    node.take_workers(&layers.transcode, &secrets.node_token, shown.as_ref())?;
    let OwnNode { engine, here, storing, .. } = node;
    let change = secrets.chain.clone().runs_in(remote.clone(), here.hooks.clone(), runtime);
    let told = Told {
        inspector: here.hooks.inspector.clone(),
        tls: layers.tls.control.zip(shown),
        shows_tls: certificates.as_ref().map(InUse::shows),
        ..told(layers, secrets, Arc::clone(&here.numbers), Some((&remote, &here.identity)))
    };
    let mut control = Control::start(runtime, store, told).map_err(Failure::Running)?;
    let own_node = here.identity.node.name.clone();
    control.join(runtime, here);
    runtime.block_on(async { for_fleet(certificates.as_ref(), order, &control, Some(&own_node)) });
    info!("ready");
    notify::tell(notify::READY);
    let (signals, reload) = signals;
    let reload = reload.changing(control.file_streams(runtime)).changing_steps(change).reading(certificates);
    let ended = wait(engine, signals, || {}, Some(reload));
    // While control still hears of it.
    storing.finish(runtime);
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
    layers: &Layers,
    secrets: Secrets,
    (certificates, order): (Option<Begun>, Option<Order>),
    (link, accept): (LinkTo, bool),
    (signals, reload): (Signals, Reload),
    runtime: &Runtime,
) -> Result<(), Failure> {
    let identity = node::identity(layers.node_name.clone(), secrets.master.as_ref()).map_err(Failure::Running)?;
    let kept = Kept::read(&layers.data_dir, accept);
    let hooks = start_hooks(layers, &secrets, kept.bindings(), runtime)?;
    let config = Config {
        control: Some(layers.control),
        directory: kept.directory(&layers.config.directory),
        grants: grants(layers, &secrets),
        ..layers.config.clone()
    };
    let mut node = OwnNode::start(layers, config, identity, hooks, runtime)?;
    let remote = node.engine.remote();
    let (certificates, shown) = watched(certificates, Some(&remote), runtime);
    node.take_workers(&layers.transcode, &secrets.node_token, shown.as_ref())?;
    let OwnNode { engine, mut here, storing, .. } = node;
    let change = secrets.chain.runs_in(remote, here.hooks.clone(), runtime);
    if let Some((in_use, order)) = certificates.as_ref().zip(order) {
        in_use.order(order, in_use.clone());
    }
    let tls = certificates.as_ref().filter(|_| layers.tls.from_control);
    here.tls = tls.map(|own| Arc::new(OfFleet::new(own.clone(), Files::below(&layers.data_dir))) as Arc<dyn TlsHost>);
    let joined = Joined::start(runtime, link, here, Some(kept));
    info!("ready");
    notify::tell(notify::READY);
    let reload = reload.changing(FileStreams::of_node(joined.fixed.clone())).changing_steps(change);
    let ended = wait(engine, signals, || {}, Some(reload.reading(certificates)));
    storing.finish(runtime);
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
