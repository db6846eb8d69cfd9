//! The audit log: every change, with who made it. An entry is durable before the change is acknowledged.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long entries are kept, milliseconds: a year and a month.
pub const KEPT_MS: u64 = 400 * 24 * 3_600_000;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Entry {
    /// When, Unix milliseconds.
    pub at_unix_ms: u64,
    /// Who: `admin-token`, or a token's name and id.
    pub who: String,
    /// From which address.
    pub address: String,
    /// What was done: `stream.create`, `stream.key.rotate`, ...: an open set.
    pub action: String,
    /// To what: an id.
    pub target: String,
    /// Which of its parts: names of fields, no values, which may be secret.
    pub parts: Vec<String>,
}
