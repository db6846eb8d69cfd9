//! The control half of `serve`: the store in the data directory, the API on its port, and the fleet that both look after. Before it:
//! [`crate::serve`]; after it: `millstream_api`, on a tokio runtime of its own, which no shard waits for.
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use millstream_agent::beside::AddToLive;
use millstream_agent::certificates::TlsHost;
use millstream_agent::worker::Worker;
use millstream_agent::{Control as LinkTo, FixedStreams, Identity};
use millstream_api::chain::ShowChain;
use millstream_api::clock::Clock;
use millstream_api::events::{Keep, follow};
use millstream_api::hooks::HookRules;
use millstream_api::hooks::inspect::Inspector;
use millstream_api::http::serve::{Limits, TlsPort, serve};
use millstream_api::identity::StoreIdentity;
use millstream_api::ids::Ids;
use millstream_api::outbox::StoredOutbox;
use millstream_api::tls::ShowTls;
use millstream_api::{Api, Parts, routes};
use millstream_control_protocol::state::Stream;
use millstream_engine::Remote;
use millstream_engine::directory::Directory;
use millstream_fleet::http::guard::Guard;
use millstream_fleet::numbers::{END, Numbers};
use millstream_fleet::webhook::deliver::{Deliverer, Patience};
use millstream_fleet::{self as fleet, Fleet, SERIES_EVERY, Tickets, ticks};
use millstream_policy::signed::Apps;
use millstream_proto::network::Network;
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use millstream_proto::sign::grant::GrantKeys;
use millstream_proto::sign::preview::PreviewKey;
use millstream_store::Store;
use millstream_store::sqlite::SqliteStore;
use rustls::ServerConfig;
use serde_json::Value;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::hook_host::HookHost;
use crate::node::Joined;
use crate::own_metrics;
use crate::recordings::tasks::Tasks;

/// How often what has expired is removed from the store.
const PURGE_EVERY: Duration = Duration::from_mins(5);
/// Looks whether the node of this process has joined, and the time of each: five seconds in all.
const JOIN_TRIES: u32 = 500;
const JOIN_WAIT: Duration = Duration::from_millis(10);
/// How long running requests may take once the process ends.
const DRAIN: Duration = Duration::from_secs(2);
/// How long notes of webhooks' deliveries may take once the process ends.
const WEBHOOKS_DRAIN: Duration = Duration::from_secs(2);

/// What the control half is told.
pub(crate) struct Told<'a> {
    pub(crate) listen: SocketAddr,
    /// Names that it goes by, beside loopback names and its address.
    pub(crate) names: Vec<String>,
    /// The token of the `admin-token` file.
    pub(crate) admin_token: Secret,
    /// The token that nodes elsewhere tell.
    pub(crate) node_token: Secret,
    /// The token that workers of other machines tell.
    pub(crate) worker_token: Secret,
    /// What streams' secrets are made from; `None` where nothing checks a signature.
    pub(crate) master: Option<MasterKey>,
    /// What the console's previews are shown by.
    pub(crate) previews: Option<PreviewKey>,
    /// What the console's users play recordings by.
    pub(crate) grants: Option<GrantKeys>,
    /// Which store this is.
    pub(crate) store: StoreIdentity,
    /// Streams of the configuration file.
    pub(crate) streams: Vec<Stream>,
    /// Proxies before the control port whose `Forwarded` and `X-Forwarded-For` are believed.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Networks that webhooks may go to although they are not public.
    pub(crate) webhooks_allow: Vec<Network>,
    /// Applications of push URLs.
    pub(crate) apps: Apps,
    /// The configuration in force, without secrets.
    pub(crate) config: Value,
    /// Where this server is reached, where that is said.
    pub(crate) public_url: Option<String>,
    /// This process as encoders and players reach it, where it has an engine.
    pub(crate) here: Option<millstream_api::Here>,
    /// What is counted beside the engine.
    pub(crate) numbers: Arc<Numbers>,
    /// What looks at hooks before they are kept.
    pub(crate) inspector: Option<Arc<dyn Inspector>>,
    /// What is said of versions of hooks.
    pub(crate) hooks: HookRules,
    /// The engine of this process, where it has one.
    pub(crate) engine: Option<&'a Remote>,
    /// Its chain.
    pub(crate) chain: Option<Arc<dyn ShowChain>>,
    /// What is told of the TLS of this process.
    pub(crate) shows_tls: Option<ShowTls>,
    /// Where it listens with TLS, and what it shows there.
    pub(crate) tls: Option<(SocketAddr, watch::Receiver<Arc<ServerConfig>>)>,
}

/// The runtime of all that is not per-frame: one thread, beside the shards.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    runtime_named("side").context("cannot start the runtime of the control API")
}

fn runtime_named(threads: &str) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name(threads).enable_all().build()
}

/// The store of the data directory, which this process has to itself from here on.
pub(crate) fn open_store(dir: &Path) -> anyhow::Result<Arc<dyn Store>> {
    Ok(Arc::new(SqliteStore::open(dir)?))
}

/// The node of this process, which follows the fleet by the same messages as one elsewhere.
pub(crate) struct Here {
    pub(crate) engine: Remote,
    /// What the engine began with.
    pub(crate) directory: Directory,
    /// Who it is.
    pub(crate) identity: Identity,
    /// What is counted of what it says to control.
    pub(crate) numbers: Arc<Numbers>,
    /// What runs its hooks.
    pub(crate) hooks: HookHost,
    /// Who has its recordings.
    pub(crate) recordings: Option<Tasks>,
    /// Who knows how its worker does.
    pub(crate) worker: Option<Arc<dyn Worker>>,
    /// Who knows how streams do that are pushed on, or watched.
    pub(crate) beside: Vec<AddToLive>,
    /// Who takes control's certificate.
    pub(crate) tls: Option<Arc<dyn TlsHost>>,
}

/// The streams of the configuration file, to be changed while everything runs.
#[derive(Clone)]
pub(crate) struct FileStreams {
    /// Control of this process, where there is one.
    control: Option<(Api, Handle)>,
    node: Option<FixedStreams>,
}

impl FileStreams {
    /// Of a node whose control is elsewhere.
    pub(crate) fn of_node(node: FixedStreams) -> Self {
        Self { control: None, node: Some(node) }
    }

    /// These are the ones from now on. Not to be called from the runtime.
    pub(crate) fn change(&self, streams: Vec<Stream>) -> Result<(), String> {
        if let Some(node) = &self.node {
            node.change(streams.clone());
        }
        let Some((api, runtime)) = &self.control else { return Ok(()) };
        let changed = runtime.block_on(api.change_fixed(streams));
        changed.map_err(|_| {
            "the store cannot be read: streams that were taken out of the file are refused until it can, and are then what it says".to_owned()
        })
    }
}

impl std::fmt::Debug for FileStreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FileStreams")
    }
}

/// A running control half.
pub(crate) struct Control {
    api: Api,
    fleet: Fleet,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    node: Option<Joined>,
    stop_webhooks: watch::Sender<bool>,
    /// Where webhooks are delivered: a thread of its own, so that no receiver slows the API.
    webhooks_runtime: Option<Runtime>,
}

/// What changes where it listens with TLS, where others have a flag.
pub(crate) const CONTROL_TLS_KEY: &str = "config FILE: control.tls_listen";

fn bind(listen: SocketAddr, flag: &str) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let bound = || -> std::io::Result<(TcpListener, SocketAddr)> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound().map_err(|error| {
        anyhow!("cannot listen on {listen} for control: {error}; {}", millstream_engine::listen_advice(&error, flag))
    })
}

impl Control {
    /// Reads the store, binds the port and serves on the runtime.
    pub(crate) fn start(runtime: &Runtime, store: &Arc<dyn Store>, told: Told<'_>) -> anyhow::Result<Self> {
        let listen = told.listen;
        let (listener, address) = bind(listen, "control")?;
        let bind_tls = |(listen, config)| Ok::<_, anyhow::Error>((bind(listen, CONTROL_TLS_KEY)?, config));
        let secure = told.tls.map(bind_tls).transpose()?;
        let key_check = told.master.as_ref().map(MasterKey::check).unwrap_or_default();
        let (news, clock) = (Arc::new(Notify::new()), Clock::system());
        let outbox = told
            .master
            .clone()
            .map(|master| StoredOutbox::new(Arc::clone(store), master, runtime.handle().clone(), clock.clone()));
        let fleet = {
            let keep = Keep::new(Arc::clone(store), outbox.clone(), Arc::clone(&news), clock.clone());
            Fleet::counting([], key_check, keep, Arc::clone(&told.numbers))
        };
        fleet.is_of(told.store.id, told.store.stands_for);
        let (stop_webhooks, webhooks_stopped) = watch::channel(false);
        let guard = Guard::PublicAnd(told.webhooks_allow);
        let mut webhooks_runtime = None;
        if let Some(outbox) = outbox {
            let deliverer =
                Deliverer::counting(Arc::new(outbox), guard.clone(), Patience::default(), Arc::clone(&told.numbers));
            let own = runtime_named("webhooks").context("cannot start the runtime of webhooks")?;
            own.spawn(deliverer.run(news, webhooks_stopped));
            webhooks_runtime = Some(own);
        }
        let engine = told.engine.cloned();
        let numbers = Arc::clone(&told.numbers);
        let of = engine.clone();
        let parts = Parts {
            store: Arc::clone(store),
            fleet: fleet.clone(),
            clock,
            ids: Ids::random(),
            admin_token: Some(told.admin_token),
            master: told.master,
            previews: told.previews,
            grants: told.grants,
            fixed: told.streams,
            names: told.names,
            here: told.here,
            public_url: told.public_url,
            webhooks: guard.clone(),
            apps: told.apps,
            metrics_open: address.ip().is_loopback(),
            config: told.config,
            chain: told.chain,
            tls: told.shows_tls,
            metrics: Some(Arc::new(move || match &engine {
                Some(engine) => engine.metrics().unwrap_or_default(),
                None => told.numbers.text() + &own_metrics::text() + END,
            })),
            inspector: told.inspector,
            hooks: told.hooks,
            draining: Arc::new(move || of.as_ref().is_some_and(Remote::is_draining)),
        };
        let api = runtime.block_on(Api::start(parts)).context("the control API does not start")?;
        let (end, ended) = oneshot::channel();
        let connections = millstream_engine::control_connections();
        let per_address = (connections / 4).max(16);
        let trusted_proxies = told.trusted_proxies;
        let limits = Limits { drain: DRAIN, trusted_proxies, connections, per_address, ..Limits::default() };
        let listening = async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let secure = match secure {
                Some(((listener, address), config)) => {
                    info!(listener = "control", %address, "listening with TLS for control (API, /metrics)");
                    Some(TlsPort { listener: tokio::net::TcpListener::from_std(listener)?, config })
                }
                None => None,
            };
            Ok::<_, std::io::Error>((listener, secure))
        };
        let (listener, secure) = runtime.block_on(listening).context("the control port cannot be listened to")?;
        runtime.spawn(follow(api.clone(), fleet.clone()));
        runtime.spawn(purge(api.clone()));
        runtime.spawn(take_series(api.clone()));
        runtime.spawn(api.clone().take_back_what_fails());
        runtime.spawn(api.clone().attend_to_recordings());
        let (node_token, worker_token) = (told.node_token, told.worker_token);
        let tickets = Tickets::new(&node_token);
        let is_worker = move |token: &Secret| worker_token.matches(token.expose());
        let is_node = move |token: &Secret| node_token.matches(token.expose());
        let kept_api = api.clone();
        // Beside the API's own gate: nodes come by whatever name they were given.
        let routes = routes::router(api).merge(fleet::router(fleet.clone(), Arc::new(is_node)));
        let routes = routes.merge(fleet::work_router(fleet.clone(), Arc::new(is_worker), tickets));
        let serving = runtime.spawn(serve(listener, secure, routes, limits, numbers, async move { drop(ended.await) }));
        info!(listener = "control", address = %address, "listening for control (API, /metrics)");
        Ok(Self { api: kept_api, fleet, end: Some(end), serving, node: None, stop_webhooks, webhooks_runtime })
    }

    /// What nodes follow.
    pub(crate) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Has the engine of this process follow, and waits until it has all streams in force, or for some seconds.
    pub(crate) fn join(&mut self, runtime: &Runtime, here: Here) {
        let link = LinkTo::Here(self.fleet.clone());
        self.node = Some(Joined::start(runtime, link, here, None));
        let fleet = &self.fleet;
        let joined = runtime.block_on(async move {
            for _ in 0..JOIN_TRIES {
                if !fleet.nodes().is_empty() && fleet.in_force(fleet.version(), JOIN_WAIT).await {
                    return true;
                }
                tokio::time::sleep(JOIN_WAIT).await;
            }
            false
        });
        if !joined {
            warn!("the shards have not taken up the stored streams yet; they will as soon as they can");
        }
    }

    /// A way to change the streams of the configuration file.
    pub(crate) fn file_streams(&self, runtime: &Runtime) -> FileStreams {
        let node = self.node.as_ref().map(|node| node.fixed.clone());
        FileStreams { control: Some((self.api.clone(), runtime.handle().clone())), node }
    }

    /// Takes no more requests, and lets those that run end.
    pub(crate) fn stop(mut self, runtime: &Runtime) {
        self.stop_webhooks.send_replace(true);
        if let Some(webhooks) = self.webhooks_runtime.take() {
            webhooks.shutdown_timeout(WEBHOOKS_DRAIN);
        }
        // Dropped, it tells the same.
        drop(self.end.take());
        if let Some(node) = self.node.take() {
            // Tells the last of what happened first, for the session history.
            node.leave(runtime);
        }
        // A panic in it has been printed, and does not change how the server ended.
        drop(runtime.block_on(self.serving));
    }
}

async fn take_series(api: Api) {
    loop {
        ticks::sleep(SERIES_EVERY).await;
        api.take_series();
    }
}

async fn purge(api: Api) {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        api.purge().await;
    }
}
