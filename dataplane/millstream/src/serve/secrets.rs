//! Keys, tokens and the chain that is made with them: what a process makes at its first start and reads at each. Before it: the merged settings; after it: the engine
//! and control, which are given them.
use std::sync::Arc;

use anyhow::Context as _;
use millstream_agent::Control as LinkTo;
use millstream_api::clock::Clock;
use millstream_api::identity::{self, Beside, Key, StoreIdentity};
use millstream_engine::Remote;
use millstream_engine::config::GrantConfig;
use millstream_policy::Chain;
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use millstream_proto::sign::grant::GrantKeys;
use millstream_proto::sign::preview::PreviewKey;
use millstream_store::Store;
use tokio::runtime::Runtime;
use tracing::warn;

use crate::chain::view::ChainView;
use crate::chain::{self, ChainChange, Parts};
use crate::hook_host::HookHost;
use crate::keys;
use crate::layers::Layers;
use crate::settings::values::Role;

/// What is made at the first start and read at each.
pub(super) struct Secrets {
    pub(super) chain: MadeChain,
    /// Of control; empty at a node.
    pub(super) admin_token: Secret,
    /// What nodes elsewhere tell control; empty at a node, which has it in its way to control.
    pub(super) node_token: Secret,
    pub(super) worker_token: Secret,
    /// `None` where nothing checks a signature.
    pub(super) master: Option<MasterKey>,
    /// What play grants are made from; `None`: there are none.
    pub(super) grants: Option<MasterKey>,
    /// Which store control has.
    pub(super) store: StoreIdentity,
}

/// A chain, what it is made from, and what is shown of it.
#[derive(Clone)]
pub(super) struct MadeChain {
    pub(super) chain: Chain,
    pub(super) parts: Parts,
    pub(super) view: ChainView,
}

impl MadeChain {
    /// An engine runs by it from now on.
    pub(super) fn runs_in(self, engine: Remote, hooks: HookHost, runtime: &Runtime) -> ChainChange {
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
pub(super) fn node_secrets(layers: &Layers, runtime: &Runtime) -> anyhow::Result<(Secrets, LinkTo)> {
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
pub(super) fn control_secrets(
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

/// The configuration with the keys of play grants.
pub(super) fn grants(layers: &Layers, secrets: &Secrets) -> GrantConfig {
    let keys = grant_keys(layers.grant_generation, secrets.grants.as_ref());
    GrantConfig { keys, previews: previews(secrets.grants.as_ref()), ..layers.config.grants.clone() }
}

pub(super) fn grant_keys(generation: u32, master: Option<&MasterKey>) -> Option<GrantKeys> {
    master.map(|master| GrantKeys::new(master, generation))
}

/// What the console's previews are shown by.
pub(super) fn previews(master: Option<&MasterKey>) -> Option<PreviewKey> {
    master.map(PreviewKey::new)
}
