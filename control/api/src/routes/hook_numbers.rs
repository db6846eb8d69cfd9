//! `/api/v1/hooks/{name}/numbers`: what versions of a hook did on all nodes: answers, failures, CPU time, and where a shadow disagrees.
use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use millstream_control_protocol::hook_numbers::HookNumbers;
use serde::Serialize;
use utoipa::ToSchema;

use crate::Api;
use crate::auth::Viewer;
use crate::http::extract::InPath;
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, Problem};
use crate::routes::live::{Missing, missing};

/// What versions of a hook did.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct HookFigures {
    /// The hook's name.
    hook: String,
    /// By version, the newest first: those that are bound now.
    items: Vec<VersionFigures>,
    /// Nodes whose counts are not in it, and why.
    missing: Vec<Missing>,
}

/// What one version did, since its nodes bound it.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct VersionFigures {
    /// Its number.
    version: u64,
    /// Calls.
    calls: u64,
    /// Decisions by answer: `allow`, `deny`, `next`, `redirect`, `ask`: an open set. What never happened is not here, as below.
    answers: BTreeMap<String, u64>,
    /// Calls that came to no answer, by cause.
    failures: BTreeMap<String, u64>,
    /// Comparisons of a shadow with what was decided that came out the same.
    agreed: u64,
    /// Those that came out differently. A replay shows which: see the hook's versions.
    disagreed: u64,
    /// Those that were not made.
    not_compared: u64,
    /// Events for event hooks: told, or lost and why.
    notices: BTreeMap<String, u64>,
    /// What event hooks ordered, by what became of it.
    orders: BTreeMap<String, u64>,
    /// CPU time of a call, microseconds, on average; null where there was none, as in the two that follow.
    cpu_mean_us: Option<f64>,
    /// Half of the calls took no more than this, by classes.
    cpu_median_us: Option<u64>,
    /// 99 of a hundred took no more than this, by classes; null also where they took more than the largest class.
    cpu_p99_us: Option<u64>,
}

impl VersionFigures {
    fn of(numbers: HookNumbers) -> Self {
        let cpu = numbers.cpu();
        let HookNumbers { version, answers, failures, agreed, disagreed, not_compared, .. } = numbers;
        Self {
            version,
            calls: cpu.count(),
            answers,
            failures,
            agreed,
            disagreed,
            not_compared,
            cpu_mean_us: cpu.mean().map(|us| (us * 10.0).round() / 10.0),
            cpu_median_us: cpu.bound_of(0.5),
            cpu_p99_us: cpu.bound_of(0.99),
            notices: numbers.notices,
            orders: numbers.orders,
        }
    }
}

/// Read what a hook did
///
/// Counts of its versions that are bound, on all nodes, since each node bound them: the same as in their `/metrics`.
#[utoipa::path(get, path = "/api/v1/hooks/{name}/numbers", tag = "hooks", params(
    ("name" = String, Path, description = "The hook's name"),
), responses(
    (status = 200, description = "What it did", body = HookFigures),
    (status = 404, description = "There is no such hook", body = Problem),
))]
pub async fn numbers(State(api): State<Api>, Viewer(_): Viewer, InPath(name): InPath<String>) -> Answer<Response> {
    let hook = api.hook(&name).await?.value;
    let (versions, failed) = api.fleet().hook_numbers(&name).await;
    let known =
        versions.into_values().rev().filter(|told| hook.versions.iter().any(|kept| kept.number == told.version));
    let items = known.map(VersionFigures::of).collect();
    Ok(fresh(&HookFigures { hook: name, items, missing: missing(failed) }))
}
