//! `/api/v1/audit`: who changed what.
use axum::extract::State;
use axum::response::Response;
use millstream_store::item::{Order, Query};

use crate::Api;
use crate::auth::Admin;
use crate::http::extract::InQuery;
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Page, Paging};
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
    let (page, _turn) = api.page(query).await?;
    let items = api.unreadable().read_all::<Entry>(AUDIT, &page.items);
    Ok(fresh(&Filled::fill(items.map(|(key, kept)| (key.to_owned(), kept.value)), page.next.as_deref())))
}
