//! `/api/v1/store`: what of the store cannot be served.
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::Admin;
use crate::http::fresh::fresh;
use crate::http::problem::Answer;
use crate::model::STREAM;
use crate::model::unreadable::UnreadableItem;

/// The store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct StoreState {
    /// Streams that it has.
    streams: u64,
    /// Items that could not be read since the server started, at most a thousand: they are passed over and left as they are.
    unreadable: Vec<UnreadableItem>,
}

/// Show how the store is
///
/// An item that a later release wrote, or that is damaged, is passed over. It stays in the store: run the release that wrote it, or restore a
/// backup.
#[utoipa::path(get, path = "/api/v1/store", tag = "administration", responses(
    (status = 200, description = "What is there, and what of it cannot be read", body = StoreState),
))]
pub async fn store(State(api): State<Api>, Admin(_): Admin) -> Answer<Response> {
    let streams = api.store().count(STREAM).await?;
    Ok(fresh(&StoreState { streams, unreadable: api.unreadable().list() }))
}
