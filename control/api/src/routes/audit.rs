//! `/api/v1/audit`: who changed what.
use axum::extract::State;
use axum::response::Response;
use millstream_store::item::{Order, Query};

use super::fresh;
use crate::Api;
use crate::auth::Admin;
use crate::http::extract::InQuery;
use crate::http::page::{Page, Paging, cursor};
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
    let query = Query { after: paging.after()?, order: Order::Descending, limit: paging.limit()?, ..Query::all(AUDIT) };
    let page = api.store().page(query).await?;
    let read = |item| api.unreadable().read::<Entry>(AUDIT, item).map(|kept| kept.value);
    let items: Vec<Entry> = page.items.iter().filter_map(read).collect();
    Ok(fresh(&Page { items, next: page.next.as_deref().map(cursor) }))
}
