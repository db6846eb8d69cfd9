//! `/api/v1/hooks`: modules that operators upload, in versions. Where they are asked is [`super::bindings`]' business.
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use millstream_fleet::limits::MODULE_BYTES_MAX;
use millstream_policy::signatures::{self, Untrusted};
use millstream_store::StoreError;
use millstream_store::item::Query;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::auth::{Admin, Operator, Viewer};
use crate::hooks::inspect::{self, HookReport};
use crate::hooks::modules;
use crate::hooks::replay::Replay;
use crate::hooks::versions::Failed;
use crate::http::extract::{self, IfMatch, InPath, InQuery, Json, Tag};
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Page, Paging};
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::hook::{DESCRIPTION_BYTES_MAX, Form, HookRecord, VersionRecord, World};
use crate::model::{HOOK, Kept};
use crate::streams::valid_id;

/// What modules are sent as.
const WASM: &str = "application/wasm";
/// Who vouches for a module.
const SIGNATURE: HeaderName = HeaderName::from_static("millstream-signature");

/// A hook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Hook {
    /// Its name.
    #[schema(example = "geo")]
    name: String,
    /// The world that it is made for; never changes.
    kind: World,
    /// What it is, for people.
    description: String,
    /// Its versions, oldest first: the last ten, and those that are bound.
    versions: Vec<HookVersion>,
    /// When it was made, Unix milliseconds.
    created_unix_ms: u64,
    /// When it was last changed, Unix milliseconds.
    updated_unix_ms: u64,
    /// Who changed it.
    updated_by: String,
    /// Always empty: hooks of all kinds are asked. Deprecated; older clients expect a list.
    #[schema(deprecated)]
    not_in_force: [String; 0],
}

/// A version of a hook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct HookVersion {
    /// Its number, from 1.
    number: u64,
    /// SHA-256 of its module, hexadecimal.
    sha256: String,
    /// The module's size.
    bytes: u64,
    /// Its form, by its first bytes.
    form: Form,
    /// What was found in it; missing where control is of a build that runs no hooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<HookReport>,
    /// Its signature: Ed25519 over the SHA-256, in base64url. Where it was uploaded with several, up to four with spaces between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    /// It failed too often when it was in use; nothing goes to it unless `accept_failures` is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<HookFailures>,
    /// In the answer to an upload: how it decides what the hook's bindings have decided before, where that is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Replay>,
    /// When it was uploaded, Unix milliseconds.
    created_unix_ms: u64,
    /// Who uploaded it.
    created_by: String,
}

/// How often a version failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct HookFailures {
    /// When that was noticed, Unix milliseconds.
    at_unix_ms: u64,
    /// Calls within a minute.
    calls: u64,
    /// How many of them failed.
    failures: u64,
}

impl HookFailures {
    pub(super) fn of(Failed { at_ms, calls, failures }: Failed) -> Self {
        Self { at_unix_ms: at_ms, calls, failures }
    }
}

/// A hook to make, or what to change of one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HookFields {
    /// The world that it is made for.
    kind: World,
    /// What it is, for people; what is not given stays.
    #[schema(max_length = 1024)]
    description: Option<String>,
}

/// How to take an upload.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct UploadQuery {
    /// Take it although it decides at once, and differently than what was recorded.
    accept_differences: Option<bool>,
}

/// A body that is said to be a module.
pub(super) fn must_be_wasm(request: &Request) -> Answer<()> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(WASM) {
        return Ok(());
    }
    let detail = "send the module as it is, and say so: Content-Type: application/wasm";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail))
}

impl HookVersion {
    fn of(record: VersionRecord) -> Self {
        let VersionRecord { number, sha256, bytes, form, report, signature, failed, created_ms, created_by } = record;
        let failed = failed.map(HookFailures::of);
        let (replay, created_unix_ms) = (None, created_ms);
        Self { number, sha256, bytes, form, report, signature, failed, replay, created_unix_ms, created_by }
    }
}

fn shown(name: &str, record: HookRecord) -> Hook {
    Hook {
        name: name.to_owned(),
        kind: record.world,
        not_in_force: [],
        description: record.description,
        versions: record.versions.into_iter().map(HookVersion::of).collect(),
        created_unix_ms: record.created_ms,
        updated_unix_ms: record.updated_ms,
        updated_by: record.updated_by,
    }
}

fn tagged(name: &str, kept: Kept<HookRecord>, status: StatusCode) -> Response {
    let tag = Tag { created_ms: kept.value.created_ms, version: kept.version };
    let mut response = (status, fresh(&shown(name, kept.value))).into_response();
    if let Ok(value) = HeaderValue::try_from(tag.text()) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

pub(super) fn located(mut response: Response, path: &str) -> Response {
    if let Ok(location) = HeaderValue::try_from(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// List hooks
///
/// By name.
#[utoipa::path(get, path = "/api/v1/hooks", tag = "hooks", params(Paging), responses(
    (status = 200, description = "Some hooks", body = Page<Hook>),
))]
pub async fn list(State(api): State<Api>, Viewer(_): Viewer, InQuery(paging): InQuery<Paging>) -> Answer<Response> {
    let query = Query { after: paging.after()?, limit: paging.limit()?, ..Query::all(HOOK) };
    let (page, _turn) = api.page(query).await?;
    let items = api.unreadable().read_all::<HookRecord>(HOOK, &page.items);
    Ok(fresh(&Filled::fill(items.map(|(key, kept)| (key.to_owned(), shown(key, kept.value))), page.next.as_deref())))
}

/// Read a hook
#[utoipa::path(get, path = "/api/v1/hooks/{name}", tag = "hooks", params(
    ("name" = String, Path, description = "The hook's name"),
), responses(
    (status = 200, description = "The hook; its ETag is for If-Match", body = Hook),
    (status = 404, description = "There is no such hook", body = Problem),
))]
pub async fn read(State(api): State<Api>, Viewer(_): Viewer, InPath(name): InPath<String>) -> Answer<Response> {
    Ok(tagged(&name, api.hook(&name).await?, StatusCode::OK))
}

/// Make or change a hook
///
/// A hook that is there is changed only with `If-Match`. Modules are uploaded as its versions.
#[utoipa::path(put, path = "/api/v1/hooks/{name}", tag = "hooks", request_body = HookFields, params(
    ("name" = String, Path, description = "The hook's name", pattern = "^[A-Za-z0-9_-]{1,64}$"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave, or *; left out to make one"),
), responses(
    (status = 200, description = "As it is now", body = Hook),
    (status = 201, description = "Made", body = Hook),
    (status = 409, description = "There are as many as there may be, or it is of another kind", body = Problem),
    (status = 412, description = "It has been changed since, or is not there", body = Problem),
    (status = 428, description = "It is there, and there is no If-Match", body = Problem),
))]
pub async fn put(
    State(api): State<Api>,
    Admin(caller): Admin,
    InPath(name): InPath<String>,
    condition: IfMatch,
    Json(given): Json<HookFields>,
) -> Answer<Response> {
    valid_id(&name).map_err(|_| {
        let message = "give 1 to 64 of A-Z, a-z, 0-9, - and _";
        Problem::fields(vec![FieldError::new("name", message)])
    })?;
    if given.description.as_ref().is_some_and(|text| text.len() > DESCRIPTION_BYTES_MAX) {
        let message = format!("this is too long; give at most {DESCRIPTION_BYTES_MAX} bytes");
        return Err(Problem::fields(vec![FieldError::new("description", message)]));
    }
    let change = |found: Option<HookRecord>| {
        if let Some(found) = found.as_ref().filter(|found| found.world != given.kind) {
            let (is, wanted) = (found.world.as_str(), given.kind.as_str());
            let detail = format!("this hook is of kind {is}, which never changes; make another one of kind {wanted}");
            return Err(Problem::conflict(detail));
        }
        let mut record = found.unwrap_or_else(|| HookRecord { world: given.kind, ..HookRecord::default() });
        record.description = given.description.unwrap_or(record.description);
        Ok(record)
    };
    let (is_new, kept) = api.put_hook(&caller, &name, &condition, change).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(located(tagged(&name, kept, status), &format!("/api/v1/hooks/{name}")))
}

/// Remove a hook
///
/// With its versions. Refused while bindings name it.
#[utoipa::path(delete, path = "/api/v1/hooks/{name}", tag = "hooks", params(
    ("name" = String, Path, description = "The hook's name"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave, or *"),
), responses(
    (status = 204, description = "Removed"),
    (status = 404, description = "There is no such hook", body = Problem),
    (status = 409, description = "Bindings name it", body = Problem),
    (status = 412, description = "It has been changed since", body = Problem),
    (status = 428, description = "There is no If-Match", body = Problem),
))]
pub async fn remove(
    State(api): State<Api>,
    Admin(caller): Admin,
    InPath(name): InPath<String>,
    condition: IfMatch,
) -> Answer<StatusCode> {
    api.delete_hook(&caller, &name, &condition).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Upload a version of a hook
///
/// The body is the module itself, at most 20 MiB: a WebAssembly component, or a core module that carries the section which makes one of it.
/// It is compiled and asked what it is before it is kept; what was found is the version's `report`. Where the configuration names
/// `trusted_keys`, `Millstream-Signature` is needed: an Ed25519 signature of the module's SHA-256. Sent again, it is the same version. The last ten are kept; with an eleventh the oldest that is not bound goes.
/// `replay` says how it decides what the hook's bindings have decided in the last 24 hours. Where a live binding means the newest version, one that decides
/// differently is refused unless `accept_differences` is given.
#[utoipa::path(post, path = "/api/v1/hooks/{name}/versions", tag = "hooks",
    request_body(content = String, content_type = "application/wasm", description = "The module"), params(
    ("name" = String, Path, description = "The hook's name"),
    ("Millstream-Signature" = Option<String>, Header, description = "The signature in base64url", max_length = 88),
    UploadQuery,
), responses(
    (status = 200, description = "This module is a version of the hook already", body = HookVersion),
    (status = 201, description = "A new version", body = HookVersion),
    (status = 404, description = "There is no such hook", body = Problem),
    (status = 409, description = "All versions that are kept are bound, all modules together would be too large, a binding that takes the newest version has a configuration that it refuses, or it would decide at once, and differently", body = Problem),
    (status = 415, description = "The body is not said to be application/wasm", body = Problem),
))]
pub async fn upload(
    State(api): State<Api>,
    Admin(caller): Admin,
    InPath(name): InPath<String>,
    InQuery(query): InQuery<UploadQuery>,
    request: Request,
) -> Answer<Response> {
    must_be_wasm(&request)?;
    let hook = api.hook(&name).await?.value;
    let world = hook.world;
    let signature = signature(request.headers())?;
    let _place = api.record_locks().place()?;
    let module = extract::read(request.into_body(), MODULE_BYTES_MAX).await?;
    let form = modules::form(&module).map_err(|message| Problem::fields(vec![FieldError::new("body", message)]))?;
    let sha256 = modules::hashed(&module).await?;
    // Before anybody looks into it.
    must_be_trusted(&api, &sha256, signature.as_deref())?;
    let report = match api.inspector() {
        Some(inspector) => {
            let inspected = inspector.inspect(world, module.clone()).await;
            let mut report = inspected.map_err(|message| Problem::fields(vec![FieldError::new("body", message)]))?;
            let kept =
                inspect::Kept { world, sha256: sha256.clone(), bytes: module.clone(), signature: signature.clone() };
            report.configurations = api.check_upload(&name, &kept).await?;
            Some(report)
        }
        None => None,
    };
    let accepts = query.accept_differences.unwrap_or(false);
    let replay = api.replay_upload((&name, &hook), (&sha256, signature.as_deref(), &module), accepts).await?;
    let (is_new, version) = api.add_version(&caller, &name, (module, form), report, signature).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    let path = format!("/api/v1/hooks/{name}/versions/{}", version.number);
    let shown = HookVersion { replay, ..HookVersion::of(version) };
    Ok(located((status, fresh(&shown)).into_response(), &path))
}

/// Refuses a module that none of the trusted keys has signed.
pub(super) fn must_be_trusted(api: &Api, sha256: &str, signature: Option<&str>) -> Answer<()> {
    let trusted = api.hook_rules().trusted_keys.check(sha256, signature);
    trusted.map_err(|why| Problem::fields(vec![FieldError::new(SIGNATURE.as_str(), why.to_string())]))
}

/// The signature of an upload, as it is kept.
pub(super) fn signature(headers: &HeaderMap) -> Answer<Option<String>> {
    let Some(given) = extract::text_header(headers, &SIGNATURE)? else { return Ok(None) };
    let wrong = |why: Untrusted| Problem::fields(vec![FieldError::new(SIGNATURE.as_str(), why.to_string())]);
    Ok(Some(URL_SAFE_NO_PAD.encode(signatures::read(&given).map_err(wrong)?)))
}

pub(super) async fn find(api: &Api, name: &str, number: u64) -> Answer<VersionRecord> {
    let hook = api.hook(name).await?.value;
    hook.versions
        .into_iter()
        .find(|version| version.number == number)
        .ok_or_else(|| Problem::not_found(format!("the hook has no version {number}; see /api/v1/hooks/{name}")))
}

/// Read a version of a hook
#[utoipa::path(get, path = "/api/v1/hooks/{name}/versions/{number}", tag = "hooks", params(
    ("name" = String, Path, description = "The hook's name"),
    ("number" = u32, Path, description = "The version's number"),
), responses(
    (status = 200, description = "The version, which never changes", body = HookVersion),
    (status = 404, description = "There is no such hook or version", body = Problem),
))]
pub async fn version(
    State(api): State<Api>,
    Viewer(_): Viewer,
    InPath((name, number)): InPath<(String, u64)>,
) -> Answer<Response> {
    Ok(fresh(&HookVersion::of(find(&api, &name, number).await?)))
}

/// Download a version of a hook
///
/// The module as it was uploaded.
#[utoipa::path(get, path = "/api/v1/hooks/{name}/versions/{number}/module", tag = "hooks", params(
    ("name" = String, Path, description = "The hook's name"),
    ("number" = u32, Path, description = "The version's number"),
), responses(
    (status = 200, description = "The module", body = String, content_type = "application/wasm"),
    (status = 404, description = "There is no such hook or version", body = Problem),
))]
pub async fn module(
    State(api): State<Api>,
    Operator(_): Operator,
    InPath((name, number)): InPath<(String, u64)>,
) -> Answer<Response> {
    let VersionRecord { sha256, bytes, .. } = find(&api, &name, number).await?;
    Ok(sent(api, (sha256, bytes), WASM, &format!("{name}-{number}.wasm")))
}

/// A kept file, as a download.
pub(super) fn sent(api: Api, (sha256, bytes): (String, u64), kind: &'static str, file_name: &str) -> Response {
    let header_value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_LENGTH, header_value(bytes.to_string())),
        (header::CONTENT_DISPOSITION, header_value(format!("attachment; filename=\"{file_name}\""))),
        (header::ETAG, header_value(format!("\"{sha256}\""))),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    // A piece is read when the one before has gone out, so that whoever reads slowly costs one piece.
    let pieces = futures_util::stream::unfold((api, sha256, 0), async |(api, sha256, at)| {
        let piece = modules::piece(api.store(), &sha256, at).await.map(Option::unwrap_or_default);
        let length = piece.as_ref().map_or(0, Bytes::len) as u64;
        let ended = matches!(&piece, Ok(piece) if piece.is_empty());
        (!ended).then(|| (piece.map(Frame::data), (api, sha256, at + length)))
    });
    let pieces: std::pin::Pin<Box<dyn futures_core::Stream<Item = Result<Frame<Bytes>, StoreError>> + Send>> =
        Box::pin(pieces);
    (headers, Body::new(StreamBody::new(pieces))).into_response()
}
