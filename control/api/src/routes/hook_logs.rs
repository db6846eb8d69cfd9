//! `/api/v1/hooks/{name}/logs`: what a hook has written, on all nodes. The text is the hook's: bounded and cleaned by the node, and again here.
use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_fleet::limits::HOOK_LINES_MAX;
use millstream_fleet::{LogCursor, LogPlace, LogQuery};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::auth::Operator;
use crate::http::extract::{InPath, InQuery};
use crate::http::fresh::fresh;
use crate::http::problem::{Answer, FieldError, Problem};

/// Lines of a page, where a request does not say how many.
const LINES: u32 = 100;
/// Bytes of a cursor: a place on each of as many nodes as there may be.
const CURSOR_BYTES_MAX: usize = 128 << 10;

/// How important a line is, in the hook's own eyes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For its author.
    #[default]
    Debug,
    /// What happens.
    Info,
    /// What should not happen.
    Warn,
    /// What somebody must mend.
    Error,
}

impl LogLevel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Which lines.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Of this version only.
    #[param(minimum = 1)]
    version: Option<u32>,
    /// At least so important [default: debug].
    #[param(inline)]
    level: Option<LogLevel>,
    /// At most so many lines [default: 100].
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Behind a page that was read before: its `next`. Without it, the newest lines.
    cursor: Option<String>,
}

/// A line of a hook's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct HookLogLine {
    /// When it was written, Unix milliseconds by the node's clock.
    at_unix_ms: u64,
    /// The node.
    node: String,
    /// The version that wrote it.
    version: u64,
    /// It runs beside the version that decides.
    shadow: bool,
    /// How important it is: `debug`, `info`, `warn` or `error`.
    level: String,
    /// The hook's own words, without control characters. They may come from whoever it was asked about.
    text: String,
}

/// Some of a hook's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct HookLogPage {
    /// The lines, oldest first.
    items: Vec<HookLogLine>,
    /// For `cursor`: what is behind these, also what is not written yet.
    next: String,
    /// Lines that nodes did not keep, since they started, because the hook wrote too many at once.
    dropped: u64,
    /// Nodes that did not answer, and why.
    failed: BTreeMap<String, String>,
}

/// Read a hook's log
///
/// The last lines that nodes keep in memory: a thousand of each hook. They are gone with a restart of the node, and when no binding names the hook any more.
#[utoipa::path(get, path = "/api/v1/hooks/{name}/logs", tag = "hooks", params(
    ("name" = String, Path, description = "The hook's name"), Filter,
), responses(
    (status = 200, description = "Some lines", body = HookLogPage),
    (status = 404, description = "There is no such hook", body = Problem),
))]
pub async fn logs(
    State(api): State<Api>,
    Operator(_): Operator,
    InPath(name): InPath<String>,
    InQuery(filter): InQuery<Filter>,
) -> Answer<Response> {
    let limit = filter.limit.unwrap_or(LINES);
    if !(1..=HOOK_LINES_MAX).contains(&limit) {
        let message = format!("give 1 to {HOOK_LINES_MAX}");
        return Err(Problem::fields(vec![FieldError::new("limit", message)]));
    }
    let after = match filter.cursor.as_deref() {
        None => None,
        Some(text) => {
            let wrong =
                || Problem::fields(vec![FieldError::new("cursor", "give the next of a page that was read before")]);
            Some(read(text).ok_or_else(wrong)?)
        }
    };
    api.hook(&name).await?;
    let level = filter.level.unwrap_or_default().as_str().to_owned();
    let query = LogQuery { hook: name, after, version: filter.version.map(u64::from), level, limit };
    let found = api.fleet().hook_logs(query).await;
    let line = |(node, line): (String, millstream_control_protocol::exchange::HookLine)| HookLogLine {
        at_unix_ms: line.unix_ms,
        node,
        version: line.version,
        shadow: line.shadow,
        level: line.level,
        text: line.text,
    };
    Ok(fresh(&HookLogPage {
        items: found.lines.into_iter().map(line).collect(),
        next: written(&found.next),
        dropped: found.dropped,
        failed: found.failed.into_iter().map(|(node, error)| (node, error.to_string())).collect(),
    }))
}

fn written(cursor: &LogCursor) -> String {
    let places: BTreeMap<&str, (u64, u64)> =
        cursor.iter().map(|(node, place)| (node.as_str(), (place.run, place.next))).collect();
    // Texts and numbers always have a JSON form.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&places).unwrap_or_default())
}

fn read(text: &str) -> Option<LogCursor> {
    let bytes = (text.len() <= CURSOR_BYTES_MAX).then(|| URL_SAFE_NO_PAD.decode(text).ok())??;
    let places: BTreeMap<String, (u64, u64)> = serde_json::from_slice(&bytes).ok()?;
    Some(places.into_iter().map(|(node, (run, next))| (node, LogPlace { run, next })).collect())
}
