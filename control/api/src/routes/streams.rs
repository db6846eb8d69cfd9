//! `/api/v1/streams`: make, list, read, change and remove streams.
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millstream_store::item::Query;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::SemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use super::newest::newest;
use crate::Api;
use crate::auth::{Caller, Operator, Viewer};
use crate::http::extract::{IfMatch, InPath, InQuery, Json, not_modified};
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Page, Paging};
use crate::http::problem::{Answer, Problem};
use crate::model::history::Session;
use crate::model::settings::{Reading, Settings};
use crate::model::stream::{Grace, StreamRecord};
use crate::model::{SESSION, STREAM};
use crate::streams::{Condition, Found};

/// A stream.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct Stream {
    /// Its id, the last part of its push and play addresses.
    #[schema(example = "98724e64-bcd1-4887-af4a-60be440709aa")]
    id: String,
    /// Where its record is: `store`, or `configuration` for a `[[stream]]` of the file, which is changed there only.
    #[schema(example = "store")]
    source: &'static str,
    /// The generation of its secret; each rotation of its key raises it.
    generation: u64,
    /// Generations before it that still admit.
    previous: Vec<Grace>,
    /// When it was made, Unix milliseconds; null for a stream of the configuration.
    created_unix_ms: Option<u64>,
    /// When it was last changed, Unix milliseconds; null for a stream of the configuration.
    updated_unix_ms: Option<u64>,
    /// Who changed it; null for a stream of the configuration.
    updated_by: Option<String>,
    /// What is said of it.
    #[schema(value_type = Settings)]
    settings: Map<String, Value>,
    /// Settings that say something and that this version does not act on.
    not_in_force: Vec<&'static str>,
}

impl Stream {
    fn of(found: &Found, caller: &Caller, now_s: u64) -> Self {
        let Found { id, record, tag } = found;
        Self {
            id: id.clone(),
            source: if tag.is_some() { "store" } else { "configuration" },
            generation: record.generation,
            previous: record.in_grace(now_s),
            created_unix_ms: tag.map(|_| record.created_ms),
            updated_unix_ms: tag.map(|_| record.updated_ms),
            updated_by: tag.map(|_| record.updated_by.clone()),
            settings: record.settings.shown(caller.reads_secrets()),
            not_in_force: record.settings.not_in_force(),
        }
    }
}

/// A stream to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewStream {
    /// Its id; a UUID is made where none is given.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: Option<String>,
    /// What is said of it; what is not said is the default. Without `outdate` its key is good for a year.
    #[serde(default)]
    #[schema(value_type = Option<Settings>)]
    settings: Option<Map<String, Value>>,
}

/// A change of a stream.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamPatch {
    /// What is to be said of it from now on; what is not given stays, and null is the default again.
    #[schema(value_type = Settings)]
    settings: Map<String, Value>,
}

fn tagged(found: &Found, status: StatusCode, caller: &Caller, api: &Api) -> Response {
    let mut response = (status, fresh(&Stream::of(found, caller, api.clock().now_s()))).into_response();
    if let Some(tag) = found.tag
        && let Ok(value) = HeaderValue::try_from(tag.text())
    {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// List streams
///
/// In the order of their ids, those of the configuration file among them.
#[utoipa::path(get, path = "/api/v1/streams", tag = "streams", params(Paging), responses(
    (status = 200, description = "Some streams", body = Page<Stream>),
))]
pub async fn list(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    InQuery(paging): InQuery<Paging>,
) -> Answer<Response> {
    let (found, next, _turn) = page(&api, &paging, paging.limit()?).await?;
    let now_s = api.clock().now_s();
    let shown = |found: &Found| (found.id.clone(), Stream::of(found, &caller, now_s));
    Ok(fresh(&Filled::fill(found.iter().map(shown), next.as_deref())))
}

/// Streams of store and configuration, in one order; the key that the next page begins behind; and the turn of [`Api::page`].
pub(crate) async fn page<'a>(
    api: &'a Api,
    paging: &Paging,
    limit: usize,
) -> Answer<(Vec<Found>, Option<String>, SemaphorePermit<'a>)> {
    let after = paging.after()?;
    let query = Query { after: after.clone(), limit, ..Query::all(STREAM) };
    let (stored, turn) = api.page(query).await?;
    let more_stored = stored.next.is_some();
    let mut found = Vec::with_capacity(stored.items.len());
    for item in stored.items.iter().filter(|item| !api.fixed().contains_key(&item.key)) {
        if let Some(kept) = api.unreadable().read::<StreamRecord>(STREAM, item) {
            found.push(Found::stored(&item.key, kept));
        }
    }
    // Behind the store's page there may be more of it, so only those of the file up to its end belong here.
    let last_stored = stored.next.unwrap_or_default();
    let fixed = api.fixed();
    let fixed = fixed.iter().filter(|(id, _)| after.as_ref().is_none_or(|after| *id > after));
    let fixed = fixed.filter(|(id, _)| !more_stored || **id <= last_stored).take(limit + 1);
    found.extend(fixed.map(|(id, record)| Found { id: id.clone(), record: record.clone(), tag: None }));
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let more = more_stored || found.len() > limit;
    found.truncate(limit);
    let last = found.last().map_or(last_stored, |found| found.id.clone());
    Ok((found, more.then_some(last), turn))
}

/// Make a stream
///
/// It may be pushed as soon as this is answered. With an `Idempotency-Key` the same request can be sent again.
#[utoipa::path(post, path = "/api/v1/streams", tag = "streams", request_body = NewStream, params(
    ("Idempotency-Key" = Option<String>, Header, description = "A name for this request, so that it takes effect once", max_length = 128, min_length = 1),
), responses(
    (status = 201, description = "Made", body = Stream),
    (status = 409, description = "There is a stream of this id already, or the same request is being carried out", body = Problem),
    (status = 422, description = "The Idempotency-Key was sent with another request", body = Problem),
))]
pub async fn create(
    State(api): State<Api>,
    Operator(caller): Operator,
    Json(new): Json<NewStream>,
) -> Answer<Response> {
    let given = new.settings.unwrap_or_default();
    let found = api.create_stream(&caller, new.id.as_deref(), &given, Reading::Strict).await?;
    let mut response = tagged(&found, StatusCode::CREATED, &caller, &api);
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/streams/{}", found.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Read a stream
#[utoipa::path(get, path = "/api/v1/streams/{id}", tag = "streams", params(
    ("id" = String, Path, description = "The stream's id"),
    ("If-None-Match" = Option<String>, Header, description = "The ETag of what is there already"),
), responses(
    (status = 200, description = "The stream; its ETag is for If-Match", body = Stream),
    (status = 304, description = "It is still as the ETag in If-None-Match"),
    (status = 404, description = "There is no such stream", body = Problem),
))]
pub async fn read(
    State(api): State<Api>,
    Viewer(caller): Viewer,
    InPath(id): InPath<String>,
    headers: HeaderMap,
) -> Answer<Response> {
    let found = api.stream(&id).await?;
    if found.tag.is_some_and(|tag| not_modified(&headers, tag)) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    Ok(tagged(&found, StatusCode::OK, &caller, &api))
}

/// Change a stream
///
/// What is given is set, the rest stays. `If-Match` says which version is meant.
#[utoipa::path(patch, path = "/api/v1/streams/{id}", tag = "streams", request_body = StreamPatch, params(
    ("id" = String, Path, description = "The stream's id"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave, or *"),
), responses(
    (status = 200, description = "As it is now", body = Stream),
    (status = 404, description = "There is no such stream", body = Problem),
    (status = 409, description = "It is in the configuration file, and is changed there", body = Problem),
    (status = 412, description = "It has been changed since", body = Problem),
    (status = 428, description = "There is no If-Match", body = Problem),
))]
pub async fn update(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(id): InPath<String>,
    condition: IfMatch,
    Json(patch): Json<StreamPatch>,
) -> Answer<Response> {
    let condition = Condition::Must(&condition);
    let found = api.update_stream(&caller, &id, condition, &patch.settings, Reading::Strict).await?;
    Ok(tagged(&found, StatusCode::OK, &caller, &api))
}

/// What removing does beside.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Removing {
    /// End its sessions too [default: false, they go on until they leave].
    #[serde(default)]
    #[param(required = false)]
    kick: bool,
}

/// Remove a stream
///
/// Nobody is admitted to it from then on. Signatures that were made for it do not admit to another stream of the same id later.
#[utoipa::path(delete, path = "/api/v1/streams/{id}", tag = "streams", params(
    ("id" = String, Path, description = "The stream's id"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave, or *"),
    Removing,
), responses(
    (status = 204, description = "Removed"),
    (status = 404, description = "There is no such stream", body = Problem),
    (status = 409, description = "It is in the configuration file, and is removed there", body = Problem),
    (status = 412, description = "It has been changed since", body = Problem),
    (status = 428, description = "There is no If-Match", body = Problem),
))]
pub async fn remove(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(id): InPath<String>,
    InQuery(removing): InQuery<Removing>,
    condition: IfMatch,
) -> Answer<StatusCode> {
    api.delete_stream(&caller, &id, Condition::Must(&condition), removing.kick).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sessions of a stream's publishers
///
/// The newest first, kept for 90 days, also of streams that are removed.
#[utoipa::path(get, path = "/api/v1/streams/{id}/history", tag = "streams", params(
    ("id" = String, Path, description = "The stream's id"), Paging,
), responses(
    (status = 200, description = "Some sessions", body = Page<Session>),
))]
pub async fn history(
    State(api): State<Api>,
    Viewer(_): Viewer,
    InPath(id): InPath<String>,
    InQuery(paging): InQuery<Paging>,
) -> Answer<Response> {
    crate::streams::valid_id(&id)?;
    newest::<Session>(&api, SESSION, format!("{id}/"), &paging).await
}
