//! Lists of what is kept, the newest first: all that such a route does. Before it: the routes of histories and logs.
use axum::response::Response;
use millstream_store::item::{Kind, Order, Query};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Api;
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Paging};
use crate::http::problem::Answer;

/// A page of the items whose keys begin like this, which are in the order of time. What cannot be read is left out.
pub(super) async fn newest<T: Serialize + DeserializeOwned>(
    api: &Api,
    kind: Kind,
    prefix: String,
    paging: &Paging,
) -> Answer<Response> {
    let query = Query { kind, prefix, after: paging.after()?, order: Order::Descending, limit: paging.limit()? };
    let (page, _turn) = api.page(query).await?;
    let items = api.unreadable().read_all::<T>(kind, &page.items);
    Ok(fresh(&Filled::fill(items.map(|(key, kept)| (key.to_owned(), kept.value)), page.next.as_deref())))
}
