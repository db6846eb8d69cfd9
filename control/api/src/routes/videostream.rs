//! `/videostream`, also under `/Prod`: the API of the system that this one replaces, for scripts that know no other. Records are flat,
//! switches and numbers may be text, the last write wins.
//!
//! What is read is of one type whatever was written: switches are true or false, numbers are numbers. `key` is made on reading.
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{key, streams};
use crate::Api;
use crate::auth::Operator;
use crate::http::extract::{InPath, InQuery, Json};
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Paging};
use crate::http::problem::{Answer, Problem};
use crate::model::settings::{FIELDS, Reading, Settings};
use crate::streams::{Condition, Found};

/// Streams of one answer: a list of the original has no pages, and most callers will not ask for a second one.
const LIST_MAX: usize = 1_000;

/// A record as the original shows it, its fields in one object.
fn record(api: &Api, found: &Found) -> Map<String, Value> {
    let mut record = found.record.settings.shown(true);
    record.insert("id".to_owned(), json!(found.id));
    let key = api.master().and_then(|master| key::legacy_key(api, master, found)).unwrap_or_default();
    record.insert("key".to_owned(), json!(key));
    record.insert("not_in_force".to_owned(), json!(found.record.settings.not_in_force()));
    record
}

/// What a caller gives: settings, and what is none. A record that was read may be sent back as it is, so what this server adds to it is
/// left out; names that nobody knows are answered as ignored, because the original kept whatever it got.
fn split(given: Map<String, Value>) -> (Map<String, Value>, Vec<String>) {
    let (mut settings, mut ignored) = (Map::new(), Vec::new());
    for (name, value) in given {
        if FIELDS.iter().any(|field| field.name == name) {
            settings.insert(name, value);
        } else if !matches!(name.as_str(), "id" | "key" | "not_in_force" | "ignored") {
            ignored.push(name.chars().take(64).collect());
        }
    }
    ignored.truncate(64);
    (settings, ignored)
}

fn answer(api: &Api, found: &Found, ignored: &[String]) -> Response {
    let mut record = record(api, found);
    if !ignored.is_empty() {
        record.insert("ignored".to_owned(), json!(ignored));
    }
    fresh(&record)
}

/// List records
///
/// The first 1,000, or fewer where they are long (about a mebibyte); where there are more, the `Link` header has the address of the next ones.
#[utoipa::path(get, path = "/videostream", tag = "videostream", params(Paging), responses(
    (status = 200, description = "Records", body = Vec<serde_json::Map<String, serde_json::Value>>),
))]
pub async fn list(State(api): State<Api>, Operator(_): Operator, InQuery(paging): InQuery<Paging>) -> Answer<Response> {
    let limit = if paging.limit.is_some() { paging.limit()? } else { LIST_MAX };
    let (found, next, _turn) = streams::page(&api, &paging, limit).await?;
    let Filled { items, next } =
        Filled::fill(found.iter().map(|found| (found.id.clone(), record(&api, found))), next.as_deref());
    let mut response = fresh(&items);
    let link = next.map(|next| HeaderValue::try_from(format!("</videostream?cursor={next}>; rel=\"next\"")));
    if let Some(Ok(link)) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Make a record
///
/// Its id is made here. Without `outdate` its key is good for a year. HLS and DASH are off unless `isHls` and `isCMAF` say otherwise, as in
/// the original system.
#[utoipa::path(post, path = "/videostream", tag = "videostream",
    request_body = serde_json::Map<String, serde_json::Value>, responses(
    (status = 200, description = "The record, with its id and key", body = serde_json::Map<String, serde_json::Value>),
    (status = 409, description = "There are as many streams as there may be", body = Problem),
))]
pub async fn create(
    State(api): State<Api>,
    Operator(caller): Operator,
    Json(given): Json<Map<String, Value>>,
) -> Answer<Response> {
    let (settings, ignored) = split(given);
    let settings = Settings::with_legacy_defaults(&settings);
    let found = api.create_stream(&caller, None, &settings, Reading::Lenient).await?;
    Ok(answer(&api, &found, &ignored))
}

/// Read a record
#[utoipa::path(get, path = "/videostream/{id}", tag = "videostream", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "The record, with its key", body = serde_json::Map<String, serde_json::Value>),
    (status = 404, description = "There is no such record", body = Problem),
))]
pub async fn read(State(api): State<Api>, Operator(_): Operator, InPath(id): InPath<String>) -> Answer<Response> {
    Ok(answer(&api, &api.stream(&id).await?, &[]))
}

/// Change a record
///
/// The given fields are set, the rest stays.
#[utoipa::path(put, path = "/videostream/{id}", tag = "videostream",
    request_body = serde_json::Map<String, serde_json::Value>, params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "The record as it is now", body = serde_json::Map<String, serde_json::Value>),
    (status = 404, description = "There is no such record", body = Problem),
    (status = 409, description = "It is in the configuration file, and is changed there", body = Problem),
))]
pub async fn update(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(id): InPath<String>,
    Json(given): Json<Map<String, Value>>,
) -> Answer<Response> {
    let (settings, ignored) = split(given);
    let found = api.update_stream(&caller, &id, Condition::None, &settings, Reading::Lenient).await?;
    Ok(answer(&api, &found, &ignored))
}

/// Remove a record
#[utoipa::path(delete, path = "/videostream/{id}", tag = "videostream", params(
    ("id" = String, Path, description = "The stream's id"),
), responses(
    (status = 200, description = "Removed; the record's id", body = serde_json::Map<String, serde_json::Value>),
    (status = 404, description = "There is no such record", body = Problem),
    (status = 409, description = "It is in the configuration file, and is removed there", body = Problem),
))]
pub async fn remove(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(id): InPath<String>,
) -> Answer<Response> {
    api.delete_stream(&caller, &id, Condition::None, false).await?;
    Ok((StatusCode::OK, fresh(&json!({ "id": id }))).into_response())
}
