//! What is on air: `/api/v1/live`, and of one stream its session and its viewers, with the means to end them.
use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_control_protocol::exchange::Whom;
use millstream_control_protocol::live::{Live, Viewer as Watching};
use millstream_fleet::{Kicked, LinkError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{Operator, Viewer};
use crate::http::extract::{InPath, InQuery};
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Page, Paging, cursor};
use crate::http::problem::{Answer, FieldError, Problem};
use crate::routes::diagnosis::{Mark, marks};

/// A stream on a node.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct OnNode {
    /// The node.
    node: String,
    /// What is live of it there.
    #[serde(flatten)]
    live: Live,
    /// What is wrong with it there, the gravest first.
    conditions: Vec<Mark>,
}

impl OnNode {
    fn new(api: &Api, node: String, live: Live) -> Self {
        let conditions = marks(api.fleet().conditions_at(&node, &live.id));
        Self { node, live, conditions }
    }
}

/// A viewer on a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct ViewerOnNode {
    /// The node.
    node: String,
    /// The viewer.
    #[serde(flatten)]
    viewer: Watching,
}

/// Some viewers, and which nodes could not be asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Viewers {
    /// The viewers, by node and session.
    items: Vec<ViewerOnNode>,
    /// The cursor of the next page; null where this is the last one.
    next: Option<String>,
    /// Nodes whose viewers are not here, and why.
    missing: Vec<Missing>,
}

/// A node that did not do its part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Missing {
    /// The node.
    node: String,
    /// Why.
    reason: String,
}

/// What came of ending sessions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Ended {
    /// Sessions that are being ended.
    sessions: u64,
    /// Nodes that could not be told, and why.
    missing: Vec<Missing>,
}

pub(super) fn missing(failed: Vec<(String, LinkError)>) -> Vec<Missing> {
    failed.into_iter().map(|(node, error)| Missing { node, reason: error.to_string() }).collect()
}

/// List streams that are held
///
/// On air, showing a slate, or waiting for their publisher with viewers who stay; by id and node, as the nodes told a few seconds ago.
#[utoipa::path(get, path = "/api/v1/live", tag = "live", params(Paging), responses(
    (status = 200, description = "Some of them", body = Page<OnNode>),
))]
pub async fn list(State(api): State<Api>, Viewer(_): Viewer, InQuery(paging): InQuery<Paging>) -> Answer<Response> {
    let (limit, after) = (paging.limit()?, paging.after()?);
    let key = |(node, live): &(String, Live)| format!("{}/{node}", live.id);
    let mut all = api.fleet().on_air();
    all.retain(|one| after.as_ref().is_none_or(|after| key(one) > *after));
    all.sort_by_cached_key(key);
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more).map(key);
    let items = all.into_iter().map(|one| (key(&one), OnNode::new(&api, one.0, one.1)));
    Ok(fresh(&Filled::fill(items, next.as_deref())))
}

/// Look at a stream's session
///
/// As it is now: codecs, bitrate, frames per second, keyframe interval, gaps, jitter, viewers.
#[utoipa::path(get, path = "/api/v1/streams/{id}/session", tag = "live", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "On which node it is, and how", body = OnNode),
    (status = 404, description = "There is no such stream, or it is not on air", body = Problem),
))]
pub async fn session(State(api): State<Api>, Viewer(_): Viewer, InPath(id): InPath<String>) -> Answer<Response> {
    crate::streams::valid_id(&id)?;
    let mut found = api.fleet().look(&id).await;
    // A publisher is on one node; others may have viewers who wait.
    found.sort_by_key(|(_, live)| (live.publisher.is_none(), live.slate_since_unix_ms.is_none()));
    match found.into_iter().next() {
        Some((node, live)) => Ok(fresh(&OnNode::new(&api, node, live))),
        None => Err(Problem::not_found(format!("stream {id} is not on air"))),
    }
}

/// End a stream's session
///
/// The publisher is cut off, and a slate with it; it may come back at once, unless its key is rotated or the stream removed.
#[utoipa::path(delete, path = "/api/v1/streams/{id}/session", tag = "live", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "It is being ended", body = Ended),
    (status = 404, description = "Nobody publishes it", body = Problem),
))]
pub async fn kick(State(api): State<Api>, Operator(caller): Operator, InPath(id): InPath<String>) -> Answer<Response> {
    crate::streams::valid_id(&id)?;
    let recorded = api.record(&caller, KICK, &id).await?;
    let kicked = api.fleet().kick_stream(&id, Whom::Publisher).await;
    ended(&api, recorded, kicked, &format!("nobody publishes stream {id}")).await
}

/// The word of the audit log.
const KICK: &str = "session.kick";

async fn ended(api: &Api, recorded: crate::app::Recorded, kicked: Kicked, nobody: &str) -> Answer<Response> {
    if kicked.sessions == 0 && kicked.failed.is_empty() {
        api.forget(recorded).await;
        return Err(Problem::not_found(nobody));
    }
    Ok(fresh(&Ended { sessions: kicked.sessions, missing: missing(kicked.failed) }))
}

/// List a stream's viewers
#[utoipa::path(get, path = "/api/v1/streams/{id}/viewers", tag = "live", params(
    ("id" = String, Path, description = "The stream's id"), Paging,
), responses(
    (status = 200, description = "Some viewers", body = Viewers),
))]
pub async fn viewers(
    State(api): State<Api>,
    Viewer(_): Viewer,
    InPath(id): InPath<String>,
    InQuery(paging): InQuery<Paging>,
) -> Answer<Response> {
    crate::streams::valid_id(&id)?;
    let after = paging.cursor.as_deref().map(from_cursor).transpose()?;
    let page = api.fleet().viewers(&id, after.as_ref(), paging.limit()? as u32).await;
    let key = |node: &str, session: u64| format!("{session}/{node}");
    let next = page.next.map(|(node, session)| key(&node, session));
    // Bounded as it is: what nodes tell of a viewer is short (`millstream_fleet`, `trust`).
    let items = page.viewers.into_iter().map(|(node, viewer)| ViewerOnNode { node, viewer }).collect();
    Ok(fresh(&Viewers { items, next: next.as_deref().map(cursor), missing: missing(page.failed) }))
}

fn from_cursor(text: &str) -> Answer<(String, u64)> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (session, node) = text.split_once('/')?;
        Some((node.to_owned(), session.parse().ok()?))
    };
    read()
        .ok_or_else(|| Problem::fields(vec![FieldError::new("cursor", "give the next of the page before, as it was")]))
}

/// End a session of a node
///
/// A viewer's, or a publisher's: session numbers are in the log, in the lists and in events.
#[utoipa::path(delete, path = "/api/v1/nodes/{node}/sessions/{session}", tag = "live", params(
    ("node" = String, Path, description = "The node's name"),
    ("session" = u64, Path, description = "The session's number"),
), responses(
    (status = 200, description = "It is being ended", body = Ended),
    (status = 404, description = "There is no such session, or no such node", body = Problem),
))]
pub async fn kick_session(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath((node, session)): InPath<(String, u64)>,
) -> Answer<Response> {
    if !api.fleet().nodes().iter().any(|known| known.id.name == node) {
        return Err(Problem::not_found("there is no node of this name; see /api/v1/nodes"));
    }
    let recorded = api.record(&caller, KICK, &format!("{node}/{session}")).await?;
    let kicked = api.fleet().kick_session(&node, session).await;
    ended(&api, recorded, kicked, &format!("node {node} has no session {session}")).await
}
