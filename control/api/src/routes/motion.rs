//! `/api/v1/streams/{id}/motion`: motion that was seen in a stream.
use axum::extract::State;
use axum::response::Response;
use millstream_store::item::{Order, Query};

use crate::Api;
use crate::auth::Viewer;
use crate::http::extract::{InPath, InQuery};
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Page, Paging};
use crate::http::problem::Answer;
use crate::model::MOTION;
use crate::model::motion::SeenMotion;

/// Motion in a stream
///
/// The newest first, with its picture and film; kept for 30 days, also of streams that are removed. Files are below the stream's play address, for as long as
/// `retention_days` of the stream says.
#[utoipa::path(get, path = "/api/v1/streams/{id}/motion", tag = "streams", params(
    ("id" = String, Path, description = "The stream's id"), Paging,
), responses(
    (status = 200, description = "Some motion", body = Page<SeenMotion>),
))]
pub async fn motion(
    State(api): State<Api>,
    Viewer(_): Viewer,
    InPath(id): InPath<String>,
    InQuery(paging): InQuery<Paging>,
) -> Answer<Response> {
    crate::streams::valid_id(&id)?;
    let query = Query {
        kind: MOTION,
        prefix: format!("{id}/"),
        after: paging.after()?,
        order: Order::Descending,
        limit: paging.limit()?,
    };
    let (page, _turn) = api.page(query).await?;
    let items = api.unreadable().read_all::<SeenMotion>(MOTION, &page.items);
    Ok(fresh(&Filled::fill(items.map(|(key, kept)| (key.to_owned(), kept.value)), page.next.as_deref())))
}
