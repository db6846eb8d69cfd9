//! Requests that may be sent twice and take effect once: a `POST` with an `Idempotency-Key` is answered again as it was, for a day.
//!
//! Requests that are being carried out are known to this process ([`super::marks::Running`]), so that two that come at the same moment do not both act. That
//! a request has taken effect is stored with the change itself, in one transaction ([`Mark`]); its answer is kept behind that. So a crash
//! or a full disk leaves no key that took effect and is not known. The requests whose answers hold secrets say that they take no key
//! ([`refuse`]), or what of the answer is to be kept ([`WithoutSecrets`]).
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use millstream_store::item::Expect;

use super::extract::{self, text_header};
use super::marks::{Kept, MARK, Mark, Once, Runs};
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
/// Answers that are kept at the same time.
const ANSWERS_MAX: u64 = 100_000;
/// Bytes of an answer that can be kept.
const ANSWER_BYTES_MAX: usize = 64 << 10;

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
    // Before a key is looked at: who may change nothing shall not fill the store with answers.
    let caller = caller::caller(&parts, api, Role::Operator).await?;
    let body = extract::read(body, extract::BODY_BYTES_MAX).await?;
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    // What was meant is another thing where it is of another version.
    let condition = text_header(&parts.headers, &header::IF_MATCH)?;
    let condition = condition.map(|tag| format!("\nIf-Match: {tag}")).unwrap_or_default();
    let of = Digest::of(&format!("{} {target}{condition}\n{}", parts.method, STANDARD.encode(&body))).text();
    let slot = format!("{}/{}", caller.token_id, Digest::of(&key).text());

    let (mark, _running) = match begin(api, &slot, of).await? {
        Begun::Now(mark, running) => (mark, running),
        Begun::Answered(answer) => return Ok(replay(&answer)),
    };
    let request = Request::from_parts(parts, Body::from(body));
    let response = MARK.scope(Arc::clone(&mark), next.run(request)).await;
    let status = response.status();
    if status.is_server_error() || status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        // Nothing was done, and the same key is good for another try; or something was, which the mark says.
        return Ok(response);
    }
    // A mark without an answer where it is too long: a repetition is told that the request was carried out.
    let (response, answer) = split(response).await?;
    let put = mark.put(answer);
    if let Ok(Ok(versions)) = model::transact(api.store(), vec![put]).await {
        mark.written(api.kept_answers(), versions.first().copied().unwrap_or_default());
    } else {
        // What was asked for is done, and is to be said: only a repetition will not get the same answer.
        if let Some(count) = api.said().answers_lost.again() {
            tracing::warn!(count, "answers to idempotency keys could not be kept");
        }
    }
    Ok(response)
}

/// The body of an answer without the secrets that it holds: what is kept of it, and given to a repetition.
#[derive(Clone)]
pub(crate) struct WithoutSecrets(pub(crate) Bytes);

enum Begun {
    Now(Arc<Mark>, Runs),
    Answered(Kept),
}

async fn begin(api: &Api, slot: &str, request: String) -> Answer<Begun> {
    let again = "a request with this Idempotency-Key is being carried out; wait for its answer";
    let running = api.running().begin(slot).ok_or_else(|| Problem::conflict(again))?;
    let now_ms = api.clock().now_ms();
    let found = model::load::<Once>(api.store(), ONCE, slot).await?;
    let before = match found {
        None if api.kept_answers().load(Ordering::Relaxed) >= ANSWERS_MAX => {
            let detail = format!(
                "{ANSWERS_MAX} answers are kept for idempotency keys, which is the most; send fewer keys a day"
            );
            return Err(Problem::unavailable("too-many-keys", detail, 3_600));
        }
        None => Expect::Absent,
        Some(kept) if now_ms >= kept.value.expires_ms || !(kept.value.done || kept.value.answer.is_some()) => {
            Expect::Version(kept.version)
        }
        Some(kept) if kept.value.request != request => {
            let detail = "this Idempotency-Key was sent with another request; give every request a key of its own";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail));
        }
        Some(kept) => {
            let lost = "a request with this Idempotency-Key was carried out, and its answer could not be kept (it was too long, or the store failed); read what is there";
            return kept.value.answer.map(Begun::Answered).ok_or_else(|| Problem::conflict(lost));
        }
    };
    let mark = Mark { slot: slot.to_owned(), request, now_ms, before, version: AtomicU64::new(0) };
    Ok(Begun::Now(Arc::new(mark), running))
}

/// The answer as it is, and what of it is to be kept; `None` where it is longer than what can be kept.
async fn split(response: Response) -> Answer<(Response, Option<Kept>)> {
    let (parts, body) = response.into_parts();
    // Answers of handlers are whole in memory already, so this ends and adds nothing.
    let body = body.collect().await.map_err(|_| {
        Problem::conflict(
            "the request was carried out, and its answer is lost; read what is there before you repeat it",
        )
    })?;
    let body = body.to_bytes();
    let kept = [header::CONTENT_TYPE, header::ETAG, header::LOCATION, header::CACHE_CONTROL];
    let headers =
        kept.iter().filter_map(|name| Some((name.to_string(), parts.headers.get(name)?.to_str().ok()?.to_owned())));
    let kept = parts.extensions.get::<WithoutSecrets>().map_or(&body, |WithoutSecrets(kept)| kept);
    let answer = (kept.len() <= ANSWER_BYTES_MAX).then(|| Kept {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body: String::from_utf8_lossy(kept).into_owned(),
    });
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
