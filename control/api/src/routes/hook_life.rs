//! What operators do with the versions of a hook: try one with an event, activate it, roll back.
use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::Api;
use crate::auth::Operator;
use crate::hooks::inspect::Given;
use crate::hooks::life::Moved;
use crate::hooks::replay::LeftOut;
use crate::http::extract::{IfMatch, InPath, Json, MaybeJson, Tag};
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, FieldError, Problem};
use crate::routes::bindings::config_error;
use crate::routes::hooks::find;

/// Which version to activate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Activation {
    /// Its number.
    #[schema(minimum = 1)]
    version: u32,
    /// It may be one that failed too often before; that is forgotten then.
    #[serde(default)]
    accept_failures: bool,
    /// It may decide recorded decisions differently.
    #[serde(default)]
    accept_differences: bool,
}

/// How to roll back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// It may lead to a version that failed too often before.
    #[serde(default)]
    accept_failures: bool,
}

/// What has changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct VersionsChanged {
    /// Bindings that have another version now.
    changed: Vec<VersionChanged>,
    /// Of which bindings not all that is recorded was replayed before, and why: where nothing was left out this is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
}

/// A binding whose version has changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct VersionChanged {
    /// Its id.
    binding: String,
    /// The version that it had.
    from: Option<u64>,
    /// The version that it has.
    to: u64,
}

async fn answered(api: &Api, name: &str, moved: Vec<Moved>, left_out: Vec<LeftOut>) -> Answer<Response> {
    let changed = moved.into_iter().map(|Moved { binding, from, to }| VersionChanged { binding, from, to }).collect();
    let mut response = (StatusCode::OK, fresh(&VersionsChanged { changed, left_out })).into_response();
    let hook = api.hook(name).await?;
    let tag = Tag { created_ms: hook.value.created_ms, version: hook.version };
    if let Ok(value) = HeaderValue::try_from(tag.text()) {
        response.headers_mut().insert(header::ETAG, value);
    }
    Ok(response)
}

/// Activate a version
///
/// All live bindings of the hook have it from then on, in one step. Bindings of other modes stay as they are. Told as `hook_activated`.
#[utoipa::path(post, path = "/api/v1/hooks/{name}/activate", tag = "hooks", request_body = Activation, params(
    ("name" = String, Path, description = "The hook's name"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading the hook gave, or *"),
), responses(
    (status = 200, description = "Done; the hook's new ETag with it", body = VersionsChanged),
    (status = 404, description = "There is no such hook", body = Problem),
    (status = 409, description = "There is no such version, no live binding, or the version does not work, has failed before, or decides recorded decisions differently", body = Problem),
    (status = 412, description = "The hook has been changed since", body = Problem),
    (status = 428, description = "There is no If-Match", body = Problem),
))]
pub async fn activate(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(name): InPath<String>,
    condition: IfMatch,
    Json(given): Json<Activation>,
) -> Answer<Response> {
    let which = (u64::from(given.version), given.accept_failures);
    let left_out = api.check_activation(&name, which.0, given.accept_differences).await?;
    let moved = api.activate(&caller, &name, &condition, which).await?;
    answered(&api, &name, moved, left_out).await
}

/// Roll back
///
/// The live bindings that changed last have the version again that they had before: an activation, an upload or a change of one binding is undone. Once
/// more undoes the one before. Told as `hook_rolled_back`.
#[utoipa::path(post, path = "/api/v1/hooks/{name}/rollback", tag = "hooks", request_body(content = Option<Rollback>), params(
    ("name" = String, Path, description = "The hook's name"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading the hook gave, or *"),
), responses(
    (status = 200, description = "Done; the hook's new ETag with it", body = VersionsChanged),
    (status = 404, description = "There is no such hook", body = Problem),
    (status = 409, description = "There is nothing to go back to, or the version has failed before", body = Problem),
    (status = 412, description = "The hook has been changed since", body = Problem),
    (status = 428, description = "There is no If-Match", body = Problem),
))]
pub async fn roll_back(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(name): InPath<String>,
    condition: IfMatch,
    MaybeJson(given): MaybeJson<Rollback>,
) -> Answer<Response> {
    let moved = api.roll_back(&caller, &name, &condition, given.accept_failures).await?;
    answered(&api, &name, moved, Vec::new()).await
}

/// An event to try a version with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialRequest {
    /// The question: `{"request": {...}}` with the fields of `hooks/wit` in snake case. What is not given has a default; `kind` is the hook's.
    event: Map<String, Value>,
    /// The configuration and the secrets are those of this binding.
    binding: Option<String>,
    /// What the hook may read as its configuration.
    config: Option<BTreeMap<String, String>>,
    /// Names of secrets that it may have used for it.
    secrets: Option<Vec<String>>,
}

/// What came of an event.
#[derive(Debug, ToSchema)]
#[allow(dead_code, reason = "the document's; the content is made by whoever runs hooks")]
pub struct Trial {
    /// What the hook answers; missing where it fails.
    answer: Option<Map<String, Value>>,
    /// Why there is no answer: `cause` and `message`.
    failure: Option<Map<String, Value>>,
    /// Each call with its `function`, `cpu_us`, and `answer` or `failure`.
    calls: Vec<Map<String, Value>>,
    /// CPU time of all calls, microseconds.
    cpu_us: f64,
    /// What one call may use.
    budget_us: f64,
    /// What the hook wrote to its log.
    logs: Vec<Map<String, Value>>,
    /// What is wrong with the configuration; null: nothing.
    config_refused: Option<String>,
}

/// Test a version with an event
///
/// The hook is asked once, with a store of values of its own; nothing is acted on, and no upstream is asked: `replies` of the event stand for their answers.
#[utoipa::path(post, path = "/api/v1/hooks/{name}/versions/{number}/test", tag = "hooks", request_body = TrialRequest, params(
    ("name" = String, Path, description = "The hook's name"),
    ("number" = u32, Path, description = "The version's number"),
), responses(
    (status = 200, description = "What came of it", body = Trial),
    (status = 404, description = "There is no such hook, version or binding", body = Problem),
    (status = 409, description = "This control runs no hooks, or not this module", body = Problem),
))]
pub async fn test(
    State(api): State<Api>,
    Operator(_): Operator,
    InPath((name, number)): InPath<(String, u64)>,
    Json(given): Json<TrialRequest>,
) -> Answer<Response> {
    let version = find(&api, &name, number).await?;
    let hook = api.hook(&name).await?.value;
    let mut with = match &given.binding {
        Some(id) => {
            let binding = api.binding(id).await?.value;
            if binding.hook != name {
                let message = format!("this binding is of the hook {}", binding.hook);
                return Err(Problem::fields(vec![FieldError::new("binding", message)]));
            }
            Given::of(&binding)
        }
        None => Given::default(),
    };
    if let Some(message) = given.config.as_ref().and_then(config_error) {
        return Err(Problem::fields(vec![FieldError::new("config", message)]));
    }
    with.config = given.config.unwrap_or(with.config);
    let secrets = if given.secrets.is_some() { "secrets" } else { "binding" };
    with.secrets = given.secrets.unwrap_or(with.secrets);
    let mut event = given.event;
    event.entry("kind").or_insert_with(|| hook.world.as_str().into());
    Ok(fresh(&api.try_out(&hook, &version, (with, Value::Object(event)), secrets).await?))
}
