//! What an API of a world is made of.
use std::sync::Arc;

use millstream_api::Parts;
use millstream_api::clock::Clock;
use millstream_api::hooks::HookRules;
use millstream_api::ids::Ids;
use millstream_fleet::Fleet;
use millstream_fleet::http::guard::Guard;
use millstream_policy::signed::Apps;
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use millstream_store::Store;

use super::control::ADMIN;
use super::random::Random;

/// A key of an older system, which streams of the first generation take.
pub(crate) const LEGACY_KEY: &str = "old-secret";

pub(crate) fn master() -> MasterKey {
    MasterKey::new([7; 32])
}

pub(crate) fn parts(store: Arc<dyn Store>, fleet: Fleet, clock: Clock, random: &Random) -> Parts {
    let random = random.clone();
    Parts {
        store,
        fleet,
        clock,
        ids: Ids::of(move || u128::from(random.next()) << 64 | u128::from(random.next())),
        admin_token: Some(Secret::new(ADMIN)),
        master: Some(master()),
        previews: None,
        grants: None,
        fixed: Vec::new(),
        names: Vec::new(),
        here: None,
        public_url: None,
        webhooks: Guard::Open,
        apps: Apps::default(),
        metrics_open: true,
        config: serde_json::Value::Null,
        chain: None,
        tls: None,
        metrics: None,
        inspector: None,
        hooks: HookRules::default(),
        draining: Arc::new(|| false),
    }
}
