//! What a binding gives a module: configuration, secrets, limits, and where its values, logs and counters are.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use millstream_proto::secret::Secret;

use crate::counters::Counters;
use crate::crypto::PublicKey;
use crate::kv::Kv;
use crate::logs::Logs;
use crate::world::{Limits, World};

/// What a binding gives a module.
#[derive(Clone)]
pub struct Settings {
    /// The hook's name, for logs.
    pub name: String,
    /// The version that runs, for logs.
    pub version: String,
    /// What `host.config` answers.
    pub config: BTreeMap<String, String>,
    /// What `host.digest` and `host.hmac` compute with.
    pub secrets: BTreeMap<String, Secret>,
    /// What `host.verify` checks with.
    pub keys: BTreeMap<String, PublicKey>,
    /// What a call may use.
    pub limits: Limits,
    /// The hook's values. A shadow gets one of its own.
    pub kv: Arc<Kv>,
    /// Runs beside the version that decides. Only said in its logs.
    pub shadow: bool,
    /// Where its log goes.
    pub logs: Arc<Logs>,
    /// Where its counters are.
    pub counters: Arc<Counters>,
    /// The most memory that an instance has had, bytes.
    pub memory_peak: Arc<AtomicUsize>,
}

impl Settings {
    /// The same with copies of what a call changes.
    pub(crate) fn aside(&self) -> Self {
        Self {
            kv: Arc::new(self.kv.copy()),
            logs: Arc::default(),
            counters: Arc::default(),
            memory_peak: Arc::default(),
            ..self.clone()
        }
    }

    /// Nothing but a name and a version, and the limits of that world.
    pub fn new(name: impl Into<String>, version: impl Into<String>, world: World) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
            keys: BTreeMap::new(),
            limits: world.limits(),
            kv: Arc::default(),
            shadow: false,
            logs: Arc::default(),
            counters: Arc::default(),
            memory_peak: Arc::default(),
        }
    }
}
