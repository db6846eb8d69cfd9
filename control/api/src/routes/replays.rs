//! `/api/v1/hooks/{name}/decisions` and replays: what hooks have decided, and what another version would. What is recorded is on the nodes
//! ([`crate::hooks::replay`]).
use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use millstream_fleet::limits::MODULE_BYTES_MAX;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::hooks;
use crate::Api;
use crate::auth::{Admin, Operator};
use crate::hooks::modules;
use crate::hooks::replay::{Decisions, Replay, with_config};
use crate::http::extract::{self, InPath, InQuery, MaybeJson};
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::hook::{HookRecord, VersionRecord, World};

/// Decisions that are shown where nothing is said.
const SHOWN: u32 = 500;

/// What to replay a version with.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayFields {
    /// What this binding has decided; left out: what all bindings of the hook have that decide now.
    #[schema(max_length = 64)]
    binding: Option<String>,
    /// Its configuration, in the place of the binding's.
    config: Option<BTreeMap<String, String>>,
}

/// Of which binding.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfBinding {
    /// What this binding has decided; left out: what all bindings of the hook have that decide now.
    #[param(max_length = 64)]
    binding: Option<String>,
}

/// Which decisions.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Of this binding only.
    #[param(max_length = 64)]
    binding: Option<String>,
    /// At most so many, the newest ones [default: 500].
    #[param(minimum = 1, maximum = 2000)]
    limit: Option<u32>,
}

fn must_be_auth(hook: &HookRecord) -> Answer<()> {
    if hook.world == World::Auth {
        return Ok(());
    }
    let kind = hook.world.as_str();
    Err(Problem::conflict(format!("this hook is of kind {kind}: decisions of hooks of kind auth alone are recorded")))
}

/// Replay a version of a hook
///
/// Asks it what the hook's bindings have decided in the last 24 hours, at the time when that was, and lists where it decides differently. Nothing changes: it
/// has values, logs and counters of its own, and asks no upstream. Nodes have what they recorded in memory only.
#[utoipa::path(post, path = "/api/v1/hooks/{name}/versions/{number}/replay", tag = "hooks",
    request_body = Option<ReplayFields>, params(
    ("name" = String, Path, description = "The hook's name"),
    ("number" = u32, Path, description = "The version's number"),
), responses(
    (status = 200, description = "What came of it", body = Replay),
    (status = 404, description = "There is no such hook, version or binding", body = Problem),
    (status = 409, description = "The hook is of a kind whose decisions are not recorded", body = Problem),
))]
pub async fn version(
    State(api): State<Api>,
    Operator(_): Operator,
    InPath((name, number)): InPath<(String, u64)>,
    MaybeJson(given): MaybeJson<ReplayFields>,
) -> Answer<Response> {
    let hook = api.hook(&name).await?.value;
    must_be_auth(&hook)?;
    let VersionRecord { sha256, signature, .. } = hooks::find(&api, &name, number).await?;
    let of_version = (sha256.as_str(), signature.as_deref());
    let mut candidates = api.candidates((&name, hook.world), of_version, given.binding.as_deref()).await?;
    with_config(&mut candidates, given.config);
    for candidate in &mut candidates {
        candidate.version = number;
    }
    Ok(fresh(&api.replay(candidates, None, false).await))
}

/// Replay a module
///
/// As with a version, for a module that is not uploaded: it is not kept.
#[utoipa::path(post, path = "/api/v1/hooks/{name}/replay", tag = "hooks",
    request_body(content = String, content_type = "application/wasm", description = "The module"), params(
    ("name" = String, Path, description = "The hook's name"),
    ("Millstream-Signature" = Option<String>, Header, description = "The signature in base64url, where trusted_keys are configured", max_length = 88),
    OfBinding,
), responses(
    (status = 200, description = "What came of it", body = Replay),
    (status = 404, description = "There is no such hook or binding", body = Problem),
    (status = 409, description = "The hook is of a kind whose decisions are not recorded", body = Problem),
    (status = 415, description = "The body is not said to be application/wasm", body = Problem),
))]
pub async fn module(
    State(api): State<Api>,
    Admin(_): Admin,
    InPath(name): InPath<String>,
    InQuery(of): InQuery<OfBinding>,
    request: Request,
) -> Answer<Response> {
    hooks::must_be_wasm(&request)?;
    let signature = hooks::signature(request.headers())?;
    let hook = api.hook(&name).await?.value;
    must_be_auth(&hook)?;
    let _place = api.record_locks().place()?;
    let module = extract::read(request.into_body(), MODULE_BYTES_MAX).await?;
    let of_body = |message| Problem::fields(vec![FieldError::new("body", message)]);
    modules::form(&module).map_err(of_body)?;
    let sha256 = modules::hashed(&module).await?;
    // Before anybody looks into it.
    hooks::must_be_trusted(&api, &sha256, signature.as_deref())?;
    if let Some(inspector) = api.inspector() {
        inspector.inspect(hook.world, module.clone()).await.map_err(of_body)?;
    }
    let offered = (sha256.as_str(), signature.as_deref());
    let candidates = api.candidates((&name, hook.world), offered, of.binding.as_deref()).await?;
    // Looked at once the replay is over: it may have been uploaded meanwhile.
    let has_version = async || api.has_version_of(&sha256).await.unwrap_or(true);
    let replay = api.replay(candidates, Some(module), !has_version().await).await;
    if let Some(inspector) = api.inspector()
        && !has_version().await
    {
        inspector.forget(hook.world, &sha256);
    }
    Ok(fresh(&replay))
}

/// Show recorded decisions
///
/// What the hook was asked and what it decided, on all nodes, without tokens and other secrets: events to test a hook with.
#[utoipa::path(get, path = "/api/v1/hooks/{name}/decisions", tag = "hooks", params(
    ("name" = String, Path, description = "The hook's name"),
    Wanted,
), responses(
    (status = 200, description = "The newest of them, oldest first", body = Decisions),
    (status = 404, description = "There is no such hook", body = Problem),
))]
pub async fn decisions(
    State(api): State<Api>,
    Operator(_): Operator,
    InPath(name): InPath<String>,
    InQuery(wanted): InQuery<Wanted>,
) -> Answer<Response> {
    api.hook(&name).await?;
    Ok(fresh(&api.recorded(&name, wanted.binding, wanted.limit.unwrap_or(SHOWN)).await))
}
