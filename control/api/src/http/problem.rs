//! Errors as clients get them: `application/problem+json` (RFC 9457). Before it: whatever refuses a request; after it: the response.
use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use millstream_store::StoreError;
use serde::Serialize;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::words;

/// What went wrong with a request, and what to do. In a box, because every answer has room for one.
#[derive(Clone, Debug)]
pub struct Problem(Box<Content>);

/// What went wrong with a request, and what to do.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Content {
    /// Names the kind of problem: the same words for the same reason, for programs.
    #[serde(rename = "type")]
    #[schema(example = "urn:millstream:problem:not-found")]
    kind: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What was wrong here, and what to do.
    detail: String,
    /// Parts of the request that are wrong, each with its reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(skip)]
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

/// One part of a request that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct FieldError {
    /// Which field, header or parameter.
    pub field: String,
    /// Why, and what to give instead.
    pub message: String,
}

impl FieldError {
    /// An error about a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        // What was sent may be in either, and is not to come back at any length.
        Self { field: words::name(&field.into()), message: cut(message.into()) }
    }
}

/// Bytes of a sentence in an answer.
const SENTENCE_BYTES_MAX: usize = 1_024;
/// Errors of one answer.
const ERRORS_MAX: usize = 64;

fn cut(mut text: String) -> String {
    if text.len() > SENTENCE_BYTES_MAX {
        let end = (0..=SENTENCE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// What a handler answers.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem of this status; `kind` is the last word of its type.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Content {
            kind: format!("urn:millstream:problem:{kind}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: cut(detail.into()),
            errors: Vec::new(),
            headers: Vec::new(),
        }))
    }

    /// Something asked for does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// The request is not understood, and these parts of it are why.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// The request did not come, or could not be carried out, in time.
    pub fn timeout() -> Self {
        let detail = "the request took too long; send it at once, and try again in a moment";
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
    }

    /// Fields of the body (or parameters) that are wrong.
    pub fn fields(mut errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{}: {}", only.field, only.message),
            _ => format!("{} fields are wrong; see errors", errors.len()),
        };
        let mut problem = Self::bad_request(detail);
        errors.truncate(ERRORS_MAX);
        problem.0.errors = errors;
        problem
    }

    /// The request cannot be carried out as things are.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// With parts of the request, or of what stands against it, each with its reason.
    #[must_use]
    pub fn with_errors(mut self, mut errors: Vec<FieldError>) -> Self {
        errors.truncate(ERRORS_MAX);
        self.0.errors = errors;
        self
    }

    /// Something that is to be carried out later.
    pub fn unavailable(kind: &str, detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail).with(header::RETRY_AFTER, retry_after_s.into())
    }

    /// With a header of the response.
    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        Content::schema()
    }
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        Content::name()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Content::schemas(schemas);
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } => Self::conflict(
                "it was changed by somebody else at the same moment; read it again and repeat the request",
            ),
            StoreError::Large { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", error.to_string()),
            StoreError::Busy => Self::unavailable("busy", error.to_string(), 1),
            // Paths are for the log, which has them; a client needs to know whose move it is.
            StoreError::Full { .. } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk-full",
                "the disk of the store is full: nothing was changed; have the operator free space in the data directory",
            ),
            _ => Self::unavailable(
                "store-failed",
                "the store does not work now; the server's log has the reason: after a change, read what is there before you repeat it",
                10,
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of text and numbers always has a JSON form.
        let body = serde_json::to_vec(&*self.0).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.0.headers {
            headers.insert(name, value);
        }
        response
    }
}
