//! A request as hooks see it. Before it: the engine's admission; after it: a hook's `authorize`.
use std::net::IpAddr;

use millstream_hooks::wit::{auth, types};
use millstream_policy::records::Labels;
use millstream_policy::{DecisionContext, Request};
use millstream_proto::query::Params;
use millstream_proto::secret::Secret;

/// Parameters that players put into URLs by themselves: they say nothing about who asks, and change with each playlist.
const OF_PLAYERS: [&str; 4] = ["_HLS_msn", "_HLS_part", "_HLS_skip", "CMCD"];

/// What of a request does not change while its viewer plays on.
pub fn steady(params: &Params) -> impl Iterator<Item = (&str, &str)> {
    params.iter().filter(|(name, _)| !OF_PLAYERS.contains(name)).map(|(name, value)| (name, value.expose()))
}

/// What a node knows of a stream that is on air.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OnAir {
    /// Its viewers at this node.
    pub viewers: u32,
    /// The labels that its publisher was given.
    pub labels: Option<Labels>,
}

/// The question for a hook. `on_air`: as the stream was counted last.
pub fn ask(request: &Request, context: DecisionContext<'_>, on_air: Option<&OnAir>) -> auth::Request {
    let pair = |(name, value): (&str, &str)| types::Pair { name: name.to_owned(), value: value.to_owned() };
    let client = &request.client;
    let address = client.address.ip().to_canonical();
    let session = match client.viewer {
        Some(viewer) => named(viewer.number()),
        None => client.session.to_string(),
    };
    let all = |labels: Option<&Labels>| -> Vec<types::Pair> {
        labels.into_iter().flat_map(|labels| labels.iter()).map(|(name, value)| pair((name, value))).collect()
    };
    let record = context.records.get(&request.name);
    let labels = [
        record.and_then(|record| record.labels.as_ref()),
        on_air.and_then(|on_air| on_air.labels.as_ref()),
        request.labels.as_ref(),
    ];
    auth::Request {
        action: request.action.as_str().to_owned(),
        recheck: request.recheck,
        client: types::Client {
            session,
            ip: shown(address),
            port: client.address.port(),
            protocol: client.protocol.to_owned(),
            secure: client.secure,
            user_agent: client.user_agent.clone(),
            referer: client.referer.clone(),
            token: token(request).unwrap_or_default().to_owned(),
            extra: Vec::new(),
        },
        target: types::Target {
            app: request.app.as_str().to_owned(),
            name: request.name.as_str().to_owned(),
            params: steady(&request.params).map(pair).collect(),
            settings: all(record.and_then(|record| record.settings.as_ref())),
            labels: labels.into_iter().flat_map(all).collect(),
            extra: Vec::new(),
        },
        viewers: on_air.map_or(0, |on_air| on_air.viewers),
        extra: Vec::new(),
    }
}

/// What the client has sent as its token: the parameter `token`, else a bearer token.
fn token(request: &Request) -> Option<&str> {
    request.params.get("token").or_else(|| request.client.bearer.as_ref().map(Secret::expose))
}

fn shown(address: IpAddr) -> String {
    address.to_string()
}

/// The session of a viewer whose requests have only this in common.
pub fn named(number: u64) -> String {
    format!("v{number:016x}")
}
