//! Relays of this node: streams whose records ask for it are pushed on to other servers. Before it: the `[relay]` table; after it: the engine, which
//! is given followers for them, and the agent, which tells control how they do.
use std::sync::Arc;

use millstream_agent::beside::AddToLive;
use millstream_control_protocol::live::Live;
use millstream_engine::config::Config;
use millstream_engine::subscribers::SubscriberMaker;
use millstream_fleet::http::guard::Guard;
use millstream_proto::network::Network;
use millstream_relay::Relays;
use tokio::runtime::Runtime;

use crate::own_metrics;

/// The configuration of an engine whose streams are pushed on, and who knows how that goes. `run` tells this server's streams from others'.
pub(crate) fn relayed(config: Config, allow: Vec<Network>, run: u64, runtime: &Runtime) -> (Config, AddToLive) {
    let relays = Relays::new(runtime.handle().clone(), Guard::PublicAnd(allow), run);
    let (counted, shown) = (relays.clone(), relays.clone());
    own_metrics::and(move || counted.numbers());
    let maker = SubscriberMaker::new(
        move |id, settings| settings.relays.as_deref().map(|to| relays.followers(id, to)).unwrap_or_default(),
        |before, after| before.relays != after.relays,
    );
    let subscribers = config.subscribers.clone().and(maker);
    (
        Config { subscribers, relay_seed: run, ..config },
        Arc::new(move |live: &mut Live| live.relays = shown.of(&live.id)),
    )
}
