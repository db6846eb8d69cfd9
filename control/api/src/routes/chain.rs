//! `/api/v1/chain`: the steps that decide who may publish or play, and what they say of a request.
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use millstream_policy::{Action, Client, Request};
use millstream_proto::id::Id;
use millstream_proto::query::{Params, percent_encode};
use millstream_proto::secret::Secret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::auth::Operator;
use crate::chain::{ChainStep, Explained, ShowChain};
use crate::http::extract::{InQuery, Json};
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, FieldError, Problem};

/// The chain in force.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct ChainInForce {
    /// The node that decides by it: the one of this process. Other nodes decide by their own configuration.
    node: String,
    /// The stream.
    stream: String,
    /// publish or play.
    point: String,
    /// The steps in the order in which they are asked, until one allows or denies. Behind the last one everything is denied.
    steps: Vec<ChainStep>,
}

/// Which chain.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// The stream's id; there need not be such a stream.
    #[param(example = "lobby")]
    stream: String,
    /// publish or play.
    #[param(example = "play")]
    point: String,
}

/// Show the chain of a stream
///
/// The steps that decide who may publish or play it, on the node of this process.
#[utoipa::path(get, path = "/api/v1/chain", tag = "administration", params(Which), responses(
    (status = 200, description = "The steps, in order", body = ChainInForce),
    (status = 404, description = "This process carries no streams: each node has its own chain", body = Problem),
))]
pub async fn chain(State(api): State<Api>, Operator(_): Operator, InQuery(which): InQuery<Which>) -> Answer<Response> {
    let (node, chain) = of_this_process(&api)?;
    let action = action("point", &which.point)?;
    let stream = id("stream", &which.stream)?;
    let steps = chain.steps(action, stream.as_str());
    Ok(fresh(&ChainInForce { node, stream: which.stream, point: which.point, steps }))
}

/// A made-up request.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MadeUp {
    /// publish or play.
    #[schema(example = "play")]
    action: String,
    /// The stream's id; there need not be such a stream.
    #[schema(example = "lobby")]
    stream: String,
    /// The application; without it the first of `rtmp.apps`.
    #[serde(default)]
    #[schema(example = "stream")]
    app: Option<String>,
    /// The parameters of the URL, not encoded. Their values are in no answer.
    #[serde(default)]
    params: BTreeMap<String, String>,
    /// Where it comes from; without it 192.0.2.1.
    #[serde(default)]
    #[schema(example = "192.0.2.1")]
    ip: Option<String>,
    /// rtmp, http-flv, ws-flv, hls, dash, grant or recorded; without it rtmp to publish, hls to play.
    #[serde(default)]
    #[schema(example = "hls")]
    protocol: Option<String>,
    /// Whether its connection is encrypted.
    #[serde(default)]
    secure: bool,
    /// `User-Agent`, or flashVer.
    #[serde(default)]
    user_agent: Option<String>,
    /// Headers of an HTTP player: Authorization, User-Agent and Referer count.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Whether steps that ask a back end do so.
    #[serde(default)]
    call: bool,
}

/// What the chain says of it.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct ExplainedHere {
    /// The node whose chain it is.
    node: String,
    /// Its answers.
    #[serde(flatten)]
    explained: Explained,
}

/// Explain what the chain says of a request
///
/// Of a made-up one: nobody is admitted by it. Back ends are asked only with `call`.
#[utoipa::path(post, path = "/api/v1/chain/explain", tag = "administration", request_body = MadeUp, responses(
    (status = 200, description = "What each step answers, and why", body = ExplainedHere),
    (status = 404, description = "This process carries no streams: each node has its own chain", body = Problem),
))]
pub async fn explain(State(api): State<Api>, Operator(_): Operator, Json(made): Json<MadeUp>) -> Answer<Response> {
    let (node, chain) = of_this_process(&api)?;
    let call = made.call;
    let request = request(&api, &made)?;
    let stream = api.fleet().find_stream(|stream| (stream.id == request.name.as_str()).then(|| stream.clone()));
    let explained = chain.explain(request, stream, api.clock().now_s(), call).await;
    Ok(fresh(&ExplainedHere { node, explained }))
}

fn of_this_process(api: &Api) -> Answer<(String, Arc<dyn ShowChain>)> {
    let node = api.here().map(|here| here.node.clone()).filter(|node| !node.is_empty());
    node.zip(api.chain()).ok_or_else(|| {
        Problem::not_found(
            "this process carries no streams; each node decides by the chain of its own configuration (millstream check, millstream config)",
        )
    })
}

fn wrong(field: &str, message: impl Into<String>) -> Problem {
    Problem::fields(vec![FieldError::new(field, message)])
}

fn action(field: &str, text: &str) -> Answer<Action> {
    match text {
        "publish" => Ok(Action::Publish),
        "play" => Ok(Action::Play),
        _ => Err(wrong(field, "give publish or play")),
    }
}

fn id(field: &str, text: &str) -> Answer<Id> {
    Id::new(text).map_err(|error| wrong(field, error.to_string()))
}

/// What the engine would ask the chain.
fn request(api: &Api, made: &MadeUp) -> Answer<Request> {
    let action = action("action", &made.action)?;
    let app = match &made.app {
        Some(app) => id("app", app)?,
        None => api.push_app().cloned().ok_or_else(|| wrong("app", "give one"))?,
    };
    let ip: IpAddr = match &made.ip {
        Some(ip) => ip.parse().map_err(|_| wrong("ip", "give an IP address"))?,
        None => IpAddr::from([192, 0, 2, 1]),
    };
    let usual = if action == Action::Publish { "rtmp" } else { "hls" };
    let protocol = made.protocol.as_deref().unwrap_or(usual);
    let known =
        ["rtmp", "http-flv", "ws-flv", "hls", "dash", "grant", "recorded"].into_iter().find(|known| *known == protocol);
    let protocol =
        known.ok_or_else(|| wrong("protocol", "give rtmp, http-flv, ws-flv, hls, dash, grant or recorded"))?;
    let mut query = String::new();
    for (name, value) in &made.params {
        query.push(if query.is_empty() { '?' } else { '&' });
        percent_encode(name, &mut query);
        query.push('=');
        percent_encode(value, &mut query);
    }
    let params = Params::parse(query.trim_start_matches('?')).map_err(|error| wrong("params", error.to_string()))?;
    let header = |wanted: &str| {
        let mut headers = made.headers.iter();
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.clone())
    };
    let bearer = header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Secret::new(token.trim()))
    });
    let client = Client {
        secure: made.secure,
        user_agent: made.user_agent.clone().or_else(|| header("user-agent")).unwrap_or_default(),
        referer: header("referer").unwrap_or_default(),
        bearer,
        ..Client::new(0, SocketAddr::new(ip, 0), protocol)
    };
    Ok(Request::new(action, (app, id("stream", &made.stream)?), params, client))
}
