//! `/api/v1/streams/{id}/recording`: a recording is begun and ended by hand. After it: [`crate::recordings`].
use axum::extract::State;
use axum::response::Response;

use crate::Api;
use crate::auth::Operator;
use crate::http::extract::InPath;
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, Problem};
use crate::model::recording_work::RecordedByHand;

/// Begin a recording by hand
///
/// Of a stream that is on air, whatever `isOnDemand` says, from the oldest keyframe on that the server still has and that no recording of the session has,
/// and until its session is over: the next session goes by the settings again. An encoder that comes back while its stream still waits for it goes on with the session. Asking again changes nothing.
#[utoipa::path(post, path = "/api/v1/streams/{id}/recording", tag = "recordings", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "It is recorded", body = RecordedByHand),
    (status = 404, description = "There is no such stream", body = Problem),
    (status = 409, description = "It is not on air, or its node has no recorder", body = Problem),
))]
pub async fn start(State(api): State<Api>, Operator(caller): Operator, InPath(id): InPath<String>) -> Answer<Response> {
    Ok(fresh(&api.record_by_hand(&caller, &id, true).await?))
}

/// End a recording by hand
///
/// Whoever began it, and for the rest of the stream's session: the next session goes by the settings again. Asking again changes nothing.
#[utoipa::path(delete, path = "/api/v1/streams/{id}/recording", tag = "recordings", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "It is not recorded any more", body = RecordedByHand),
    (status = 404, description = "There is no such stream", body = Problem),
    (status = 409, description = "It is not on air, or its node has no recorder", body = Problem),
))]
pub async fn stop(State(api): State<Api>, Operator(caller): Operator, InPath(id): InPath<String>) -> Answer<Response> {
    Ok(fresh(&api.record_by_hand(&caller, &id, false).await?))
}
