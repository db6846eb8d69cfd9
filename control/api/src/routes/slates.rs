//! `/api/v1/slates`: clips that operators upload, for streams to show while their publisher is away.
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millstream_proto::limits::CLIP_BYTES_MAX;
use serde::Serialize;
use utoipa::ToSchema;

use super::hooks;
use crate::Api;
use crate::auth::{Operator, Viewer};
use crate::http::extract::{self, IfMatch, InPath, Tag};
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::Kept;
use crate::model::slate::SlateRecord;
use crate::streams::valid_id;

/// What clips are sent as.
const MEDIA_TYPES: [&str; 2] = ["video/mp4", "video/x-flv"];

/// A slate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Slate {
    /// Its name: what a stream's setting `slate` holds.
    #[schema(example = "back-soon")]
    name: String,
    /// SHA-256 of its file, hexadecimal.
    sha256: String,
    /// The file's size.
    bytes: u64,
    /// How long one round of it lasts, milliseconds.
    duration_ms: u64,
    /// Pixels across, where the picture says so.
    width: Option<u32>,
    /// Pixels down.
    height: Option<u32>,
    /// It has audio.
    sound: bool,
    /// When it was first uploaded, Unix milliseconds.
    created_unix_ms: u64,
    /// When it was last uploaded, Unix milliseconds.
    updated_unix_ms: u64,
    /// Who did.
    updated_by: String,
}

/// All slates: there are few.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Slates {
    /// By name.
    items: Vec<Slate>,
}

fn shown(name: &str, record: SlateRecord) -> Slate {
    let (width, height) = record.size.unzip();
    Slate {
        name: name.to_owned(),
        sha256: record.sha256,
        bytes: record.bytes,
        duration_ms: record.duration_ms,
        width,
        height,
        sound: record.sound,
        created_unix_ms: record.created_ms,
        updated_unix_ms: record.updated_ms,
        updated_by: record.updated_by,
    }
}

fn tagged(name: &str, kept: Kept<SlateRecord>, status: StatusCode) -> Response {
    let tag = Tag { created_ms: kept.value.created_ms, version: kept.version };
    let mut response = (status, fresh(&shown(name, kept.value))).into_response();
    if let Ok(value) = HeaderValue::try_from(tag.text()) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// List slates
#[utoipa::path(get, path = "/api/v1/slates", tag = "slates", responses(
    (status = 200, description = "All of them", body = Slates),
))]
pub async fn list(State(api): State<Api>, Viewer(_): Viewer) -> Answer<Response> {
    let items = api.all_slates().await?.into_iter().map(|(name, kept)| shown(&name, kept.value)).collect();
    Ok(fresh(&Slates { items }))
}

/// Read a slate
#[utoipa::path(get, path = "/api/v1/slates/{name}", tag = "slates", params(
    ("name" = String, Path, description = "The slate's name"),
), responses(
    (status = 200, description = "The slate; its ETag is for If-Match", body = Slate),
    (status = 404, description = "There is no such slate", body = Problem),
))]
pub async fn read(State(api): State<Api>, Viewer(_): Viewer, InPath(name): InPath<String>) -> Answer<Response> {
    Ok(tagged(&name, api.slate(&name).await?, StatusCode::OK))
}

/// Upload a slate
///
/// The body is the clip itself: MP4 or FLV of at most 8 MiB and 60 s, H.264 that begins with a keyframe, with AAC or without audio. One that is there is
/// replaced only with `If-Match`; streams show the new one from their next slate on.
#[utoipa::path(put, path = "/api/v1/slates/{name}", tag = "slates",
    request_body(content = String, content_type = "video/mp4", description = "The clip; an FLV file is said to be video/x-flv"), params(
    ("name" = String, Path, description = "The slate's name", pattern = "^[A-Za-z0-9_-]{1,64}$"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave, or *; left out to make one"),
), responses(
    (status = 200, description = "As it is now", body = Slate),
    (status = 201, description = "Made", body = Slate),
    (status = 409, description = "There are as many slates, or as large ones, as there may be", body = Problem),
    (status = 412, description = "It has been changed since, or is not there", body = Problem),
    (status = 415, description = "The body is not said to be video/mp4 or video/x-flv", body = Problem),
    (status = 428, description = "It is there with another clip, and there is no If-Match", body = Problem),
))]
pub async fn put(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(name): InPath<String>,
    condition: IfMatch,
    request: Request,
) -> Answer<Response> {
    valid_id(&name).map_err(|_| {
        let message = "give 1 to 64 of A-Z, a-z, 0-9, - and _";
        Problem::fields(vec![FieldError::new("name", message)])
    })?;
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !MEDIA_TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        let detail = "send the clip as it is, and say what it is: Content-Type: video/mp4, or video/x-flv";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail));
    }
    let _place = api.record_locks().place()?;
    let file = extract::read(request.into_body(), CLIP_BYTES_MAX).await?;
    let (is_new, kept) = api.put_slate(&caller, &name, &condition, file).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(hooks::located(tagged(&name, kept, status), &format!("/api/v1/slates/{name}")))
}

/// Remove a slate
///
/// Refused while streams name it.
#[utoipa::path(delete, path = "/api/v1/slates/{name}", tag = "slates", params(
    ("name" = String, Path, description = "The slate's name"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave, or *"),
), responses(
    (status = 204, description = "Removed"),
    (status = 404, description = "There is no such slate", body = Problem),
    (status = 409, description = "Streams name it", body = Problem),
    (status = 412, description = "It has been changed since", body = Problem),
    (status = 428, description = "There is no If-Match", body = Problem),
))]
pub async fn remove(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(name): InPath<String>,
    condition: IfMatch,
) -> Answer<StatusCode> {
    api.delete_slate(&caller, &name, &condition).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Download a slate
///
/// The clip as it was uploaded.
#[utoipa::path(get, path = "/api/v1/slates/{name}/clip", tag = "slates", params(
    ("name" = String, Path, description = "The slate's name"),
), responses(
    (status = 200, description = "The clip", body = String, content_type = "video/mp4"),
    (status = 404, description = "There is no such slate", body = Problem),
))]
pub async fn clip(State(api): State<Api>, Viewer(_): Viewer, InPath(name): InPath<String>) -> Answer<Response> {
    let SlateRecord { sha256, bytes, mp4, .. } = api.slate(&name).await?.value;
    let [mp4_type, flv_type] = MEDIA_TYPES;
    let (media_type, ending) = if mp4 { (mp4_type, "mp4") } else { (flv_type, "flv") };
    Ok(hooks::sent(api, (sha256, bytes), media_type, &format!("{name}.{ending}")))
}
