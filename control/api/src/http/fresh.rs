//! Answers in JSON that no cache keeps. Before it: the routes; after it: the connection.
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

/// JSON that no cache keeps: it is of this moment.
pub(crate) fn fresh<T: serde::Serialize>(value: &T) -> Response {
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ];
    // What is shown is made of text, numbers and maps with text keys, and always has a JSON form. In a box: no larger than it is while it
    // waits to be read.
    let body = serde_json::to_vec(value).unwrap_or_default().into_boxed_slice();
    (headers, body).into_response()
}
