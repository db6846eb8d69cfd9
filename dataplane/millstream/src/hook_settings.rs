//! What hooks may use of this server, by name. Before it: the `[hooks]` table ([`crate::settings::hooks`]); after it: [`crate::hook_host`].
use std::collections::BTreeMap;

use millstream_api::hooks::versions::RollbackWhen;
use millstream_fleet::http::url::Url;
use millstream_policy::scope::Fail;
use millstream_policy::signatures::TrustedKeys;
use millstream_proto::network::Network;
use millstream_proto::secret::Secret;

/// What the record of decisions takes of memory where nothing is set.
const RECORD_BYTES: u64 = 64 << 20;

/// What the table says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct HookSettings {
    /// Where a hook gives no answer.
    pub(crate) fail: Fail,
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// Public keys in PEM.
    pub(crate) keys: BTreeMap<String, String>,
    pub(crate) upstreams: BTreeMap<String, Url>,
    /// Networks that names of upstreams may lead to although they are not public.
    pub(crate) upstreams_allow: Vec<Network>,
    /// Only modules that one of these has signed run; none: all do.
    pub(crate) trusted_keys: TrustedKeys,
    /// When a version goes back by itself.
    pub(crate) rollback: RollbackWhen,
    /// What the record of decisions may take of memory; 0: nothing is recorded.
    pub(crate) record_bytes: u64,
}

impl Default for HookSettings {
    fn default() -> Self {
        Self {
            fail: Fail::default(),
            secrets: BTreeMap::new(),
            keys: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            upstreams_allow: Vec::new(),
            trusted_keys: TrustedKeys::default(),
            rollback: RollbackWhen::default(),
            record_bytes: RECORD_BYTES,
        }
    }
}
