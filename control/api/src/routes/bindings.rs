//! `/api/v1/hook-bindings`: where hooks are asked, for which streams, in which order, and how much each counts.
use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::auth::{Operator, Viewer};
use crate::hooks::life;
use crate::hooks::replay::LeftOut;
use crate::hooks::versions;
use crate::http::extract::{IfMatch, InPath, InQuery, Json, Tag};
use crate::http::fresh::fresh;
use crate::http::page::{Filled, Page, Paging};
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::Kept;
use crate::model::hook::{
    BindingRecord, CONFIG_NAME_BYTES_MAX, CONFIG_PAIRS_MAX, CONFIG_VALUE_BYTES_MAX, HookRecord, Mode, ORDER_MAX, Point,
    SECRETS_MAX, Which,
};
use crate::routes::binding_warnings::Failing;
use crate::routes::hooks::HookFailures;
use crate::streams::valid_id;

/// A binding of a hook.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct Binding {
    /// Its id.
    id: String,
    /// The hook's name.
    hook: String,
    /// Which version of it.
    version: Which,
    /// Which version that is now.
    means: Option<Meant>,
    /// The stream that it is for; null: all.
    stream: Option<String>,
    /// Where it is asked.
    point: Point,
    /// Its place among those of the same point: lower ones are asked first.
    order: u32,
    /// How much it counts.
    mode: Mode,
    /// With mode `canary`: of how many streams in a hundred it decides.
    canary_percent: u32,
    /// What the hook may read as its configuration.
    config: BTreeMap<String, String>,
    /// Names of secrets that the hook may have used for it.
    secrets: Vec<String>,
    /// The version that a rollback gives it; null: there is none.
    previous: Option<u64>,
    /// The version that it lost because it failed too often, until it is given another one.
    taken_back: Option<TakenBack>,
    /// What is wrong with it, in sentences for people.
    warnings: Vec<String>,
    /// In the answer to a change by which a version comes to be live: what of the record it was not held against, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
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

/// A version that a binding lost by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = BindingTakenBack)]
pub struct TakenBack {
    /// Its number.
    version: u64,
    /// How often it failed.
    failed: HookFailures,
}

/// The version that a binding means.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = BindingMeans)]
pub struct Meant {
    /// Its number.
    version: u64,
    /// SHA-256 of its module, hexadecimal.
    sha256: String,
}

/// A binding to make, or what to change of one: what is not given stays (or is the default).
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BindingFields {
    /// The hook's name. Needed to make one; never changes.
    #[schema(max_length = 64)]
    hook: Option<String>,
    /// Which version of it [default: newest].
    version: Option<Which>,
    /// The stream that it is for; empty: all, which is the default.
    #[schema(max_length = 64)]
    stream: Option<String>,
    /// Where it is asked; one that fits the hook's kind. Needed to make one.
    point: Option<Point>,
    /// Its place among those of the same point [default: 0].
    #[schema(minimum = 0, maximum = 9999)]
    order: Option<u32>,
    /// How much it counts [default: off].
    mode: Option<Mode>,
    /// With mode `canary`, which needs it: of how many streams in a hundred it decides.
    #[schema(minimum = 1, maximum = 99)]
    canary_percent: Option<u32>,
    /// What the hook may read as its configuration: all of it; at most 32 pairs.
    config: Option<BTreeMap<String, String>>,
    /// Names of secrets (not their values) that the hook may have used for it: all of them.
    #[schema(max_items = 16)]
    secrets: Option<Vec<String>>,
    /// It may have a version that failed too often before.
    accept_failures: Option<bool>,
    /// Let a version decide although it decides differently than what was recorded; else it is refused, and the answer shows where. Not kept.
    accept_differences: Option<bool>,
}

/// Which bindings.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Of this hook only.
    #[param(max_length = 64)]
    hook: Option<String>,
}

fn shown(id: &str, record: BindingRecord, hook: Option<&HookRecord>, failing: &Failing) -> Binding {
    let means = hook.and_then(|hook| hook.version(record.version));
    let previous = hook.and_then(|hook| versions::previous(&record, hook));
    let taken_back =
        record.taken_back.map(|back| TakenBack { version: back.version, failed: HookFailures::of(back.failed) });
    let warnings = failing.warnings(id, &record, means);
    Binding {
        id: id.to_owned(),
        not_in_force: [],
        means: means.map(|version| Meant { version: version.number, sha256: version.sha256.clone() }),
        hook: record.hook,
        version: record.version,
        stream: record.stream,
        point: record.point,
        order: record.order,
        mode: record.mode,
        canary_percent: record.canary_percent,
        config: record.config,
        secrets: record.secrets,
        previous,
        taken_back,
        warnings,
        left_out: Vec::new(),
        created_unix_ms: record.created_ms,
        updated_unix_ms: record.updated_ms,
        updated_by: record.updated_by,
    }
}

async fn tagged(
    api: &Api,
    id: &str,
    kept: Kept<BindingRecord>,
    (status, left_out): (StatusCode, Vec<LeftOut>),
) -> Answer<Response> {
    let tag = Tag { created_ms: kept.value.created_ms, version: kept.version };
    // It cannot be removed while this names it.
    let hook = api.hook(&kept.value.hook).await?.value;
    let shown = Binding { left_out, ..shown(id, kept.value, Some(&hook), &Failing::of(api)) };
    let mut response = (status, fresh(&shown)).into_response();
    if let Ok(value) = HeaderValue::try_from(tag.text()) {
        response.headers_mut().insert(header::ETAG, value);
    }
    Ok(response)
}

/// Sets what is given; says all that is wrong with it.
fn set(record: &mut BindingRecord, given: BindingFields) -> Answer<()> {
    let mut errors = Vec::new();
    let mut wrong = |field: &str, message: String| errors.push(FieldError::new(field, message));
    let is_new = record.hook.is_empty();
    match given.hook {
        Some(hook) if !is_new && hook != record.hook => {
            wrong("hook", "a binding's hook never changes; make another binding".to_owned());
        }
        Some(hook) => record.hook = hook,
        None if is_new => wrong("hook", "missing; say which hook is to be asked".to_owned()),
        None => {}
    }
    if given.point.is_none() && is_new {
        wrong("point", "missing; say where the hook is to be asked".to_owned());
    }
    if let Some(stream) = given.stream {
        if stream.is_empty() {
            record.stream = None;
        } else if valid_id(&stream).is_ok() {
            record.stream = Some(stream);
        } else {
            wrong("stream", "this is no stream's id; give one, or empty text for all streams".to_owned());
        }
    }
    if let Some(Which::Number(number)) = given.version
        && u32::try_from(number).is_err()
    {
        wrong("version", "there are not so many versions".to_owned());
    }
    if given.order.is_some_and(|order| order > ORDER_MAX) {
        wrong("order", format!("give 0 to {ORDER_MAX}"));
    }
    if let Some(config) = &given.config
        && let Some(message) = config_error(config)
    {
        wrong("config", message);
    }
    if let Some(secrets) = &given.secrets {
        let distinct = secrets.iter().collect::<std::collections::BTreeSet<_>>().len() == secrets.len();
        if secrets.len() > SECRETS_MAX || !distinct || secrets.iter().any(|name| valid_id(name).is_err()) {
            let names = "1 to 64 of A-Z, a-z, 0-9, - and _";
            wrong(
                "secrets",
                format!("give at most {SECRETS_MAX} names, each once, each of {names}; values belong elsewhere"),
            );
        }
    }
    record.mode = given.mode.unwrap_or(record.mode);
    record.canary_percent = given.canary_percent.unwrap_or(record.canary_percent);
    let percents = if record.mode == Mode::Canary { 1..=99 } else { 0..=99 };
    if !percents.contains(&record.canary_percent) {
        wrong("canary_percent", "give 1 to 99: of how many streams in a hundred it decides".to_owned());
    }
    record.version = given.version.unwrap_or(record.version);
    record.point = given.point.unwrap_or(record.point);
    record.order = given.order.unwrap_or(record.order);
    record.config = given.config.unwrap_or_else(|| std::mem::take(&mut record.config));
    record.secrets = given.secrets.unwrap_or_else(|| std::mem::take(&mut record.secrets));
    if errors.is_empty() { Ok(()) } else { Err(Problem::fields(errors)) }
}

pub(super) fn config_error(config: &BTreeMap<String, String>) -> Option<String> {
    if config.len() > CONFIG_PAIRS_MAX {
        return Some(format!("give at most {CONFIG_PAIRS_MAX} pairs"));
    }
    if config.keys().any(|name| name.is_empty() || name.len() > CONFIG_NAME_BYTES_MAX) {
        return Some(format!("a name has 1 to {CONFIG_NAME_BYTES_MAX} bytes"));
    }
    let long = config.values().any(|value| value.len() > CONFIG_VALUE_BYTES_MAX);
    long.then(|| format!("a value has at most {CONFIG_VALUE_BYTES_MAX} bytes"))
}

/// Whether the point fits the hook.
fn fits(record: &BindingRecord, hook: &HookRecord, accept_failures: bool) -> Answer<()> {
    if record.mode.decides()
        && let Some(version) = hook.version(record.version)
    {
        life::must_be_sound(version, accept_failures)?;
    }
    let points = hook.world.points();
    if points.contains(&record.point) {
        return Ok(());
    }
    let words: Vec<&str> = points.iter().map(|point| point.as_str()).collect();
    let message = format!("hooks of kind {} are asked at: {}", hook.world.as_str(), words.join(", "));
    Err(Problem::fields(vec![FieldError::new("point", message)]))
}

/// List bindings
///
/// By id.
#[utoipa::path(get, path = "/api/v1/hook-bindings", tag = "hooks", params(Filter, Paging), responses(
    (status = 200, description = "Some bindings", body = Page<Binding>),
))]
pub async fn list(
    State(api): State<Api>,
    Viewer(_): Viewer,
    InQuery(filter): InQuery<Filter>,
    InQuery(paging): InQuery<Paging>,
) -> Answer<Response> {
    let (after, limit) = (paging.after()?, paging.limit()?);
    let (hooks, bindings) = api.hooks_and_bindings().await?;
    let failing = Failing::of(&api);
    let mut behind = bindings.into_iter().filter(|(id, binding)| {
        after.as_ref().is_none_or(|after| id > after)
            && filter.hook.as_ref().is_none_or(|hook| *hook == binding.value.hook)
    });
    let items: Vec<(String, Binding)> = behind
        .by_ref()
        .take(limit)
        .map(|(id, binding)| {
            let hook = hooks.iter().find(|(name, _)| *name == binding.value.hook);
            let binding = shown(&id, binding.value, hook.map(|(_, hook)| &hook.value), &failing);
            (id, binding)
        })
        .collect();
    let more = behind.next().is_some();
    let next = items.last().filter(|_| more).map(|(id, _)| id.clone());
    Ok(fresh(&Filled::fill(items, next.as_deref())))
}

/// Bind a hook
///
/// It is asked there from then on, as far as its mode says.
#[utoipa::path(post, path = "/api/v1/hook-bindings", tag = "hooks", request_body = BindingFields, params(
    ("Idempotency-Key" = Option<String>, Header, description = "A name for this request, so that it takes effect once", max_length = 128, min_length = 1),
), responses(
    (status = 201, description = "Bound", body = Binding),
    (status = 404, description = "There is no such hook", body = Problem),
    (status = 409, description = "There are as many as there may be, the hook has no such version, or it does not work with this configuration, or it decides differently than what was recorded", body = Problem),
    (status = 422, description = "The Idempotency-Key was sent with another request", body = Problem),
))]
pub async fn create(
    State(api): State<Api>,
    Operator(caller): Operator,
    Json(given): Json<BindingFields>,
) -> Answer<Response> {
    let mut after = BindingRecord::default();
    set(&mut after, given.clone())?;
    let mut checked = api.check_change(None, &after, given.accept_differences.unwrap_or(false)).await?;
    let left_out = std::mem::take(&mut checked.left_out);
    let accepts = given.accept_failures.unwrap_or_default();
    let check = |record: &BindingRecord, hook: &HookRecord| {
        fits(record, hook, accepts)?;
        checked.holds_for(record, hook)
    };
    let (id, kept) = api.create_binding(&caller, |record| set(record, given), check).await?;
    let mut response = tagged(&api, &id, kept, (StatusCode::CREATED, left_out)).await?;
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/hook-bindings/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Read a binding
#[utoipa::path(get, path = "/api/v1/hook-bindings/{id}", tag = "hooks", params(
    ("id" = String, Path, description = "The binding's id"),
), responses(
    (status = 200, description = "The binding; its ETag is for If-Match", body = Binding),
    (status = 404, description = "There is no such binding", body = Problem),
))]
pub async fn read(State(api): State<Api>, Viewer(_): Viewer, InPath(id): InPath<String>) -> Answer<Response> {
    let kept = api.binding(&id).await?;
    tagged(&api, &id, kept, (StatusCode::OK, Vec::new())).await
}

/// Change a binding
///
/// What is given is set, the rest stays: another version is a rollback or a roll-out. Where a version comes to decide that decides differently than what was
/// recorded, the change is refused unless `accept_differences` is true.
#[utoipa::path(patch, path = "/api/v1/hook-bindings/{id}", tag = "hooks", request_body = BindingFields, params(
    ("id" = String, Path, description = "The binding's id"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave, or *"),
), responses(
    (status = 200, description = "As it is now", body = Binding),
    (status = 404, description = "There is no such binding", body = Problem),
    (status = 409, description = "The hook has no such version, or it does not work with this configuration, or it decides differently than what was recorded", body = Problem),
    (status = 412, description = "It has been changed since", body = Problem),
    (status = 428, description = "There is no If-Match", body = Problem),
))]
pub async fn update(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(id): InPath<String>,
    condition: IfMatch,
    Json(given): Json<BindingFields>,
) -> Answer<Response> {
    let before = api.binding(&id).await?;
    condition.must_hold(Tag { created_ms: before.value.created_ms, version: before.version })?;
    let mut after = before.value.clone();
    set(&mut after, given.clone())?;
    let accepts = given.accept_differences.unwrap_or(false);
    let mut checked = api.check_change(Some((&id, &before.value)), &after, accepts).await?;
    let left_out = std::mem::take(&mut checked.left_out);
    // What is not about the version or the mode stays possible where the version has failed.
    let accepts = given.accept_failures.unwrap_or(given.version.is_none() && given.mode.is_none());
    let check = |record: &BindingRecord, hook: &HookRecord| {
        fits(record, hook, accepts)?;
        checked.holds_for(record, hook)
    };
    let kept = api.update_binding(&caller, &id, &condition, |record| set(record, given), check).await?;
    tagged(&api, &id, kept, (StatusCode::OK, left_out)).await
}

/// Remove a binding
#[utoipa::path(delete, path = "/api/v1/hook-bindings/{id}", tag = "hooks", params(
    ("id" = String, Path, description = "The binding's id"),
    ("If-Match" = Option<String>, Header, description = "The ETag that reading it gave, or *"),
), responses(
    (status = 204, description = "Removed"),
    (status = 404, description = "There is no such binding", body = Problem),
    (status = 412, description = "It has been changed since", body = Problem),
    (status = 428, description = "There is no If-Match", body = Problem),
))]
pub async fn remove(
    State(api): State<Api>,
    Operator(caller): Operator,
    InPath(id): InPath<String>,
    condition: IfMatch,
) -> Answer<StatusCode> {
    api.delete_binding(&caller, &id, &condition).await?;
    Ok(StatusCode::NO_CONTENT)
}
