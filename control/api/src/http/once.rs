//! Requests that may be sent twice and take effect once: a `POST` with an `Idempotency-Key` is answered again as it was, for a day.
//!
//! The key is reserved before the request is carried out, so that two that come at the same moment do not both act. What is kept is
//! the answer; the requests whose answers hold secrets say that they take no key ([`refuse`]).
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Limited};
use millstream_store::item::Expect;
use serde::{Deserialize, Serialize};

use super::extract::{self, text_header};
use super::problem::{Answer, FieldError, Problem};
use crate::Api;
use crate::auth::caller;
use crate::model::token::{Digest, Role};
use crate::model::{self, ONCE};

/// The header with the caller's key.
pub const KEY_HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer is one that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Characters of a key.
const KEY_CHARS_MAX: usize = 128;
/// How long an answer is kept, milliseconds.
const KEPT_MS: u64 = 24 * 3_600_000;
/// After how long a request that was begun and has no answer counts as lost, milliseconds: its process has ended.
const LOST_MS: u64 = 60_000;
/// Answers that are kept at the same time.
const ANSWERS_MAX: u64 = 100_000;
/// Bytes of an answer that can be kept.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A reservation, then the answer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Once {
    /// Of method, path and body: another request with the same key is a mistake.
    request: String,
    begun_ms: u64,
    expires_ms: u64,
    answer: Option<Kept>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Around handlers of `POST`.
pub(crate) async fn once(State(api): State<Api>, request: Request, next: Next) -> Response {
    match carry_out(&api, request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

/// Around handlers of `POST` that take no key.
pub(crate) async fn refuse(request: Request, next: Next) -> Response {
    if request.headers().contains_key(KEY_HEADER) {
        let message = "this request takes no key (it may be repeated as it is, or its answer holds a secret, which is not kept); leave it out";
        return Problem::fields(vec![FieldError::new(KEY_HEADER.as_str(), message)]).into_response();
    }
    next.run(request).await
}

async fn carry_out(api: &Api, request: Request, next: Next) -> Answer<Response> {
    let Some(key) = text_header(request.headers(), &KEY_HEADER)? else { return Ok(next.run(request).await) };
    if key.is_empty() || key.len() > KEY_CHARS_MAX {
        let message = format!("give 1 to {KEY_CHARS_MAX} characters, such as a UUID");
        return Err(Problem::fields(vec![FieldError::new(KEY_HEADER.as_str(), message)]));
    }
    let (parts, body) = request.into_parts();
    // Before a key is reserved: who may change nothing shall not fill the store with reservations.
    let caller = caller::caller(&parts, api, Role::Operator).await?;
    let body = extract::read(body, extract::BODY_BYTES_MAX).await?;
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let of = Digest::of(&format!("{} {target}\n{}", parts.method, STANDARD.encode(&body))).text();
    let slot = format!("{}/{}", caller.token_id, Digest::of(&key).text());

    let version = match reserve(api, &slot, &of).await? {
        Reserved::Now(version) => version,
        Reserved::Answered(answer) => return Ok(replay(&answer)),
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        // Nothing was done: the same key is to be good for another try.
        api.delete_item((ONCE, &slot), version).await?;
        return Ok(response);
    }
    let (response, answer) = split(response).await?;
    let now_ms = api.clock().now_ms();
    let once = Once { request: of, begun_ms: now_ms, expires_ms: now_ms + KEPT_MS, answer: Some(answer) };
    // Taken over as lost by a second request: then that one's answer counts.
    let _ = model::save(api.store(), (ONCE, &slot), Expect::Version(version), Some(once.expires_ms), &once).await?;
    Ok(response)
}

enum Reserved {
    Now(u64),
    Answered(Kept),
}

async fn reserve(api: &Api, slot: &str, of: &str) -> Answer<Reserved> {
    let now_ms = api.clock().now_ms();
    if api.kept_answers().load(Ordering::Relaxed) >= ANSWERS_MAX {
        let detail =
            format!("{ANSWERS_MAX} answers are kept for idempotency keys, which is the most; send fewer keys a day");
        return Err(Problem::unavailable("too-many-keys", detail, 3_600));
    }
    let begun = Once { request: of.to_owned(), begun_ms: now_ms, expires_ms: now_ms + KEPT_MS, answer: None };
    let save = |expect| model::save(api.store(), (ONCE, slot), expect, Some(begun.expires_ms), &begun);
    if let Ok(version) = save(Expect::Absent).await? {
        api.kept_answers().fetch_add(1, Ordering::Relaxed);
        return Ok(Reserved::Now(version));
    }
    let again = || Problem::conflict("a request with this Idempotency-Key is being carried out; wait for its answer");
    let Some(kept) = model::load::<Once>(api.store(), ONCE, slot).await? else { return Err(again()) };
    let lost = kept.value.answer.is_none() && now_ms.abs_diff(kept.value.begun_ms) > LOST_MS;
    if lost || now_ms >= kept.value.expires_ms {
        return save(Expect::Version(kept.version)).await?.map(Reserved::Now).map_err(|model::Conflict| again());
    }
    if kept.value.request != of {
        let detail = "this Idempotency-Key was sent with another request; give every request a key of its own";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail));
    }
    kept.value.answer.map(Reserved::Answered).ok_or_else(again)
}

async fn split(response: Response) -> Answer<(Response, Kept)> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body =
        body.map_err(|_| Problem::conflict("the answer is too long to be kept; repeat without a key"))?.to_bytes();
    let kept = [header::CONTENT_TYPE, header::ETAG, header::LOCATION, header::CACHE_CONTROL];
    let headers =
        kept.iter().filter_map(|name| Some((name.to_string(), parts.headers.get(name)?.to_str().ok()?.to_owned())));
    let answer = Kept {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    Ok((Response::from_parts(parts, Body::from(body)), answer))
}

fn replay(kept: &Kept) -> Response {
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::OK);
    let mut response = (status, kept.body.clone()).into_response();
    for (name, value) in &kept.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
