//! The document at `/api/v1/openapi.json`. The handlers describe what is theirs; what holds for all of them (who may call, what any
//! request can be answered with) is added here, so that it is said once and forgotten nowhere.
use std::sync::OnceLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use crate::http::problem::Problem;
use crate::model::hook;
use crate::model::settings::schema;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Millstream",
        description = "Streams, their keys and what is live of them. Errors are problem+json (RFC 9457). Send a token as \
                       `Authorization: Bearer TOKEN`; the first one is in the file `admin-token` of the data directory."
    ),
    components(schemas(Problem))
)]
struct Head;

/// The beginning of the document.
pub(crate) fn head() -> OpenApi {
    Head::openapi()
}

/// Answers that any request that needs a token can get.
const WITH_TOKEN: &[(&str, &str)] = &[
    ("400", "A part of the request is wrong; `errors` says which"),
    ("401", "No credentials, or wrong ones"),
    ("403", "The credentials are right, and not enough"),
    ("503", "Not now; `Retry-After` says when"),
];
/// Answers that any request can get.
const ANY: &[(&str, &str)] =
    &[("408", "The request took too long"), ("421", "The Host header does not name this server")];
/// Answers that requests that change something can get.
const CHANGING: &[(&str, &str)] = &[("507", "The store's disk is full; nothing was changed")];
/// Answers that requests with a body can get.
const WITH_BODY: &[(&str, &str)] = &[("413", "The body is too long"), ("415", "The body is not said to be JSON")];

/// Adds what holds for all operations.
fn finish(document: OpenApi) -> Value {
    // A document of text, numbers and maps always has a JSON form.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    document["openapi"] = json!("3.1.0");
    document["info"]["license"] = json!({ "name": "Apache-2.0", "identifier": "Apache-2.0" });
    document["servers"] = json!([{ "url": "/", "description": "The server that has given this document" }]);
    document["components"]["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "An API token" },
        "login": {
            "type": "apiKey", "in": "cookie", "name": crate::auth::caller::COOKIE,
            "description": "The cookie of POST /api/v1/login; requests that change something carry its csrf as X-CSRF-Token"
        }
    });
    document["components"]["schemas"]["Settings"] = schema::json();
    document["components"]["schemas"]["HookVersionWanted"] = hook::which_json();
    document["security"] = json!([{ "bearer": [] }, { "login": [] }]);
    document["tags"] = TAGS.iter().map(|(name, about)| json!({ "name": name, "description": about })).collect();
    let paths = document["paths"].as_object_mut();
    for (path, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let Some(operation) = operation.as_object_mut() {
                operation.insert("operationId".to_owned(), json!(operation_id(method, path)));
                finish_operation(method, operation);
            }
        }
    }
    drop_unused(&mut document);
    document
}

/// What the parts of the API are about.
const TAGS: &[(&str, &str)] = &[
    ("streams", "What may be pushed and played, and with which keys"),
    ("live", "What is on air, where, and for whom"),
    ("recordings", "What was recorded"),
    ("webhooks", "Where events go"),
    ("hooks", "WebAssembly modules, and where they are asked"),
    ("slates", "Clips that are shown while an encoder is away"),
    ("administration", "Tokens, changes, configuration, store"),
    ("login", "Cookies for browsers"),
    ("monitoring", "What monitors ask"),
    ("videostream", "The API of the system that this one replaces"),
];

/// Takes out schemas that nothing refers to: those that others hold a copy of.
fn drop_unused(document: &mut Value) {
    loop {
        let text = document.to_string();
        let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
        let before = schemas.len();
        schemas.retain(|name, _| text.contains(&format!("\"#/components/schemas/{name}\"")));
        if schemas.len() == before {
            return;
        }
    }
}

fn finish_operation(method: &str, operation: &mut Map<String, Value>) {
    let open = operation.get("security").is_some();
    let has_body = operation.contains_key("requestBody");
    let summary = operation.get("summary").cloned().unwrap_or_default();
    operation.entry("description").or_insert(summary);
    let changes = method != "get";
    if let Some(body) = operation.get_mut("requestBody") {
        // utoipa takes bytes for text.
        if let Some(module) = body.pointer_mut("/content/application~1wasm") {
            module["schema"] = json!({ "type": "string", "format": "binary" });
        }
    }
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
    let groups = [(true, ANY), (!open, WITH_TOKEN), (changes, CHANGING), (changes, WITH_TOKEN), (has_body, WITH_BODY)];
    for (_, group) in groups.iter().filter(|(applies, _)| *applies) {
        for (status, description) in *group {
            responses.entry(*status).or_insert_with(|| json!({ "description": description }));
        }
    }
    for (status, response) in responses.iter_mut() {
        if status.starts_with(['4', '5']) {
            let schema = json!({ "$ref": "#/components/schemas/Problem" });
            response["content"] = json!({ "application/problem+json": { "schema": schema } });
        }
    }
}

/// The document's bytes: it changes with the release and with nothing else, so a process writes it once.
pub(crate) fn render(document: OpenApi) -> Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    // A document of text, numbers and maps always has a JSON form.
    BYTES.get_or_init(|| serde_json::to_vec(&finish(document)).unwrap_or_default().into()).clone()
}

/// Shows the document.
pub(crate) fn show(document: &Bytes) -> Response {
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("max-age=60")),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ];
    (headers, document.clone()).into_response()
}

/// What generated clients call an operation: its method and its path, of which there is one.
fn operation_id(method: &str, path: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    let words = path.split('/').filter(|part| !part.is_empty()).map(|part| {
        let name = part.trim_matches(|c| c == '{' || c == '}').replace(['-', '.'], "_");
        if part.starts_with('{') { format!("by_{name}") } else { name }
    });
    std::iter::once(method.to_owned()).chain(words).collect::<Vec<_>>().join("_")
}
