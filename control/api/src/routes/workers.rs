//! `/api/v1/workers`: workers of other machines, and which node each works for.
use axum::extract::State;
use axum::response::Response;
use millstream_control_protocol::work::WorkerStatus;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::Viewer;
use crate::http::fresh::fresh;
use crate::http::page::Page;

/// A worker of another machine than its node.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Worker {
    /// Its name.
    name: String,
    /// Which run of it.
    run: u64,
    /// Milliseconds since it was heard.
    heard_ago_ms: u64,
    /// It was not heard for longer than it would keep silent.
    away: bool,
    /// Another worker of this name comes, and is refused: give it another one with `--name`.
    same_name: bool,
    /// The node that it is for; empty: each node that takes workers has one, and it waits.
    node: String,
    /// It works for that node. What it makes is the node's `worker` in `/api/v1/nodes`.
    serving: bool,
    /// What it says of itself.
    #[serde(flatten)]
    status: WorkerStatus,
}

/// List workers of other machines
///
/// Those that were heard within the last hour, by name. A node's own worker is a part of the node.
#[utoipa::path(get, path = "/api/v1/workers", tag = "live", responses(
    (status = 200, description = "All of them", body = Page<Worker>),
))]
pub async fn workers(State(api): State<Api>, Viewer(_): Viewer) -> Response {
    let items = api.fleet().workers().into_iter().map(|view| Worker {
        name: view.id.name,
        run: view.id.run,
        heard_ago_ms: view.heard_ago_ms,
        away: view.away,
        same_name: view.same_name,
        node: view.node,
        serving: view.serving,
        status: view.status,
    });
    fresh(&Page { items: items.collect(), next: None })
}
