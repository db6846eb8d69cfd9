//! `/api/v1/nodes`: who carries the streams.
use axum::extract::State;
use axum::response::Response;
use millstream_control_protocol::exchange::Status;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::Viewer;
use crate::http::fresh::fresh;
use crate::http::page::Page;

/// A node.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Node {
    /// Its name.
    name: String,
    /// Which run of it.
    run: u64,
    /// Milliseconds since it was heard.
    heard_ago_ms: u64,
    /// It was not heard for longer than it would keep silent.
    away: bool,
    /// Another node of this name comes, and is refused: give it another one with `--node-name`.
    same_name: bool,
    /// What it says of itself.
    #[serde(flatten)]
    status: Status,
}

/// List nodes
///
/// Those that were heard within the last hour, by name.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "live", responses(
    (status = 200, description = "All of them", body = Page<Node>),
))]
pub async fn nodes(State(api): State<Api>, Viewer(_): Viewer) -> Response {
    let items = api.fleet().nodes().into_iter().map(|view| Node {
        name: view.id.name,
        run: view.id.run,
        heard_ago_ms: view.heard_ago_ms,
        away: view.away,
        same_name: view.same_name,
        status: view.status,
    });
    fresh(&Page { items: items.collect(), next: None })
}
