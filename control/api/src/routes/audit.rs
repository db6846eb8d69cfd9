//! `/api/v1/audit`: who changed what.
use axum::extract::State;
use axum::response::Response;

use super::newest::newest;
use crate::Api;
use crate::auth::Admin;
use crate::http::extract::InQuery;
use crate::http::page::{Page, Paging};
use crate::http::problem::Answer;
use crate::model::AUDIT;
use crate::model::audit::Entry;

/// List changes
///
/// The newest first, kept for 400 days.
#[utoipa::path(get, path = "/api/v1/audit", tag = "administration", params(Paging), responses(
    (status = 200, description = "Some changes", body = Page<Entry>),
))]
pub async fn audit(State(api): State<Api>, Admin(_): Admin, InQuery(paging): InQuery<Paging>) -> Answer<Response> {
    newest::<Entry>(&api, AUDIT, String::new(), &paging).await
}
