//! What handlers take out of requests: like axum's own extractors, but whatever they refuse is a [`Problem`] that says where and why.
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::{FieldError, Problem};
use super::words;

/// Bytes of a request's body: a stream's settings with long texts have a few thousand.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes of a body that anybody may send.
const SHORT_BYTES_MAX: usize = 4 << 10;
/// Time for a body that anybody may send.
const SHORT_TIME: Duration = Duration::from_secs(5);

/// A body of JSON.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        json(request, BODY_BYTES_MAX).await.map(Self)
    }
}

/// A body of JSON whose fields may all be left out, and the body with them.
#[derive(Clone, Copy, Debug)]
pub struct MaybeJson<T>(pub T);

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let bytes = read(body, BODY_BYTES_MAX).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        json(Request::from_parts(head, Body::from(bytes)), BODY_BYTES_MAX).await.map(Self)
    }
}

/// A short body of JSON that anybody may send, without a token: at most [`SHORT_BYTES_MAX`] within [`SHORT_TIME`].
#[derive(Clone, Copy, Debug)]
pub struct ShortJson<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for ShortJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let whole = timeout(SHORT_TIME, json(request, SHORT_BYTES_MAX)).await;
        whole.unwrap_or_else(|_| Err(Problem::timeout())).map(Self)
    }
}

async fn json<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<T, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "send JSON, and say so: Content-Type: application/json",
        ));
    }
    let bytes = read(request.into_body(), bytes_max).await?;
    serde_json::from_slice(&bytes).map_err(|error| words::body(&error))
}

/// Whether a body is said to be JSON, in one of its forms (`application/merge-patch+json`).
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

/// The whole body, refused when it is too long (before it is read, where it says so).
pub(crate) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    match Limited::new(body, bytes_max).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(bytes_max)),
        Err(_) => Err(Problem::bad_request("the body ended before its time")),
    }
}

fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("the body is too long; at most {bytes_max} bytes are taken");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
}

/// Parameters of the path.
#[derive(Clone, Copy, Debug)]
pub struct InPath<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let taken: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        taken.map(|Path(value)| Self(value)).map_err(|rejection| words::path(&rejection))
    }
}

/// Parameters of the query.
#[derive(Clone, Copy, Debug)]
pub struct InQuery<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for InQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let taken: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, state).await;
        taken.map(|Query(value)| Self(value)).map_err(|rejection| words::query(&rejection))
    }
}

/// A version of something, as its `ETag`: when it was made, and how often it was written since. The former tells it from another one of
/// the same name that was removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// Unix milliseconds.
    pub created_ms: u64,
    /// [`millstream_store::item::Item::version`].
    pub version: u64,
}

impl Tag {
    /// The header's value.
    pub fn text(self) -> String {
        format!("\"{:x}-{}\"", self.created_ms, self.version)
    }
}

/// The condition of a request that changes something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IfMatch(Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        text_header(&parts.headers, &header::IF_MATCH).map(Self)
    }
}

impl IfMatch {
    /// Holds it against what is there: 428 where there is no condition, 412 where it does not hold.
    pub fn must_hold(&self, tag: Tag) -> Result<(), Problem> {
        if self.0.is_none() {
            let detail = "say which version is meant: If-Match with the ETag that reading it gave (or * for any)";
            return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, "precondition-required", detail));
        }
        self.may_hold(tag)
    }

    /// As [`IfMatch::must_hold`], where no condition is one that holds.
    pub fn may_hold(&self, tag: Tag) -> Result<(), Problem> {
        let Some(condition) = &self.0 else { return Ok(()) };
        let holds = condition.split(',').map(str::trim).any(|one| one == "*" || one == tag.text());
        if holds { Ok(()) } else { Err(Self::failed()) }
    }

    /// Whether there is a condition.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// It was changed since the caller read it.
    pub fn failed() -> Problem {
        let detail = "it was changed since it was read; read it again, and repeat the change with the new ETag";
        Problem::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail)
    }
}

/// Whether the caller has this version already (`If-None-Match`).
pub fn not_modified(headers: &HeaderMap, tag: Tag) -> bool {
    let condition = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    condition.is_some_and(|condition| {
        condition.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == "*" || one == tag.text())
    })
}

/// A header as text, if it is there; more than one, or one that is no text, is refused.
pub(crate) fn text_header(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::fields(vec![FieldError::new(name.as_str(), "give this header once")]));
    }
    match first.to_str() {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(Problem::fields(vec![FieldError::new(name.as_str(), "this header is not ASCII text")])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let tag = Tag { created_ms: 255, version: 3 };
        let check = |condition: Option<&str>, expected: Option<u16>| {
            let held = IfMatch(condition.map(str::to_owned)).must_hold(tag);
            assert_eq!(held.err().map(|problem| problem.status().as_u16()), expected, "{condition:?}");
        };
        check(None, Some(428));
        check(Some("\"ff-3\""), None);
        check(Some("\"ff-2\", \"ff-3\""), None);
        check(Some("*"), None);
        check(Some("\"ff-2\""), Some(412));
        check(Some("W/\"ff-3\""), Some(412));
        check(Some(""), Some(412));
    }
}
