//! `/api/v1/streams/{id}/motion`: motion that was seen in a stream.
use axum::extract::State;
use axum::response::Response;

use super::newest::newest;
use crate::Api;
use crate::auth::Viewer;
use crate::http::extract::{InPath, InQuery};
use crate::http::page::{Page, Paging};
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
    newest::<SeenMotion>(&api, MOTION, format!("{id}/"), &paging).await
}
