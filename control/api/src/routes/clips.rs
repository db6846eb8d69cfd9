//! `/api/v1/recordings/{recording}/clips`: parts of recordings as files of their own. After it: [`crate::recordings`].
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::{Operator, Viewer};
use crate::http::extract::{InPath, Json};
use crate::http::fresh::fresh;
use crate::http::page::Page;
use crate::http::problem::{Answer, Problem};
use crate::model::recording_work::Clip;

/// What a clip can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// An MP4 file, index first.
    #[default]
    Mp4,
}

/// Which part of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClipWanted {
    /// Where it begins, milliseconds from the recording's beginning as its players count: what is missing has no length.
    from: u64,
    /// Where it ends; one behind the recording's end: there. At most 12 hours behind `from`.
    to: u64,
    /// As what.
    #[serde(default)]
    #[schema(inline)]
    #[allow(dead_code, reason = "there is one, and it is checked by being read")]
    format: Format,
}

/// Have a clip made
///
/// A node makes it of what is stored and puts it beside the recording: `state` tells how far it is, and the event `clip` that it is ready or cannot be made.
/// It shows exactly that span. Nothing is encoded: what a decoder needs before it, from the last keyframe on, is in the file and not shown. A clip goes with
/// its recording, which has 100 at most.
#[utoipa::path(post, path = "/api/v1/recordings/{recording}/clips", tag = "recordings", params(
    ("recording" = String, Path, description = "The recording's name"),
), request_body = ClipWanted, responses(
    (status = 202, description = "It is to be made", body = Clip),
    (status = 404, description = "There is no such recording", body = Problem),
    (status = 409, description = "The recording is being removed, or has as many clips as it may", body = Problem),
))]
pub async fn create(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(name): InPath<String>,
    Json(wanted): Json<ClipWanted>,
) -> Answer<(StatusCode, Response)> {
    let made = api.make_clip(&caller, &name, (wanted.from, wanted.to)).await?;
    Ok((StatusCode::ACCEPTED, fresh(&made)))
}

/// List clips
///
/// All of a recording, in the order in which they were asked for.
#[utoipa::path(get, path = "/api/v1/recordings/{recording}/clips", tag = "recordings", params(
    ("recording" = String, Path, description = "The recording's name"),
), responses(
    (status = 200, description = "All of them", body = Page<Clip>),
    (status = 404, description = "There is no such recording", body = Problem),
))]
pub async fn list(State(api): State<Api>, Viewer(_): Viewer, InPath(name): InPath<String>) -> Answer<Response> {
    api.recording(&name).await?;
    Ok(fresh(&Page { items: api.clips(&name).await?, next: None }))
}

/// A clip
#[utoipa::path(get, path = "/api/v1/recordings/{recording}/clips/{clip}", tag = "recordings", params(
    ("recording" = String, Path, description = "The recording's name"),
    ("clip" = String, Path, description = "The clip's name"),
), responses(
    (status = 200, description = "The clip", body = Clip),
    (status = 404, description = "There is no such recording, or no such clip of it", body = Problem),
))]
pub async fn read(
    State(api): State<Api>,
    Viewer(_): Viewer,
    InPath((name, clip)): InPath<(String, String)>,
) -> Answer<Response> {
    api.recording(&name).await?;
    Ok(fresh(&api.clip(&name, &clip).await?))
}
