//! Webhooks: where events go, what waits to go there, and what came of it. A hook's secret is derived from the master key.
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long the delivery log is kept, milliseconds.
pub const DELIVERIES_KEPT_MS: u64 = 7 * 24 * 3_600_000;

/// A hook as kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct WebhookRecord {
    /// Where events go.
    pub url: String,
    /// Kinds of events; none: all.
    pub events: Vec<String>,
    /// Of this stream only.
    pub stream: Option<String>,
    /// Events are added to what waits.
    pub enabled: bool,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// When it was last changed, Unix milliseconds.
    pub updated_ms: u64,
}

impl Default for WebhookRecord {
    fn default() -> Self {
        Self { url: String::new(), events: Vec::new(), stream: None, enabled: true, created_ms: 0, updated_ms: 0 }
    }
}

impl WebhookRecord {
    /// Whether an event of this kind and stream goes there.
    pub fn wants(&self, kind: &str, stream: &str) -> bool {
        self.enabled
            && (self.events.is_empty() || self.events.iter().any(|event| event == kind))
            && self.stream.as_ref().is_none_or(|only| only == stream)
    }
}

/// A delivery that waits.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// The hook's id.
    pub hook: String,
    /// The kind of event.
    pub kind: String,
    /// The body, JSON.
    pub body: String,
    /// Tries so far.
    pub attempts: u32,
    /// When it was added, Unix milliseconds.
    pub added_ms: u64,
    /// Not before this time, Unix milliseconds.
    pub due_ms: u64,
}

/// What came of a try.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Delivery {
    /// What the receiver got as `Millstream-Delivery`: the same for every try of it.
    pub delivery: String,
    /// The kind of event.
    pub kind: String,
    /// When the try began, Unix milliseconds.
    pub at_unix_ms: u64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// The receiver's status; null where it gave none.
    pub status: Option<u16>,
    /// What went wrong; empty where nothing did.
    pub error: String,
    /// `delivered`, `retry` or `given_up`; of a test, `failed`.
    pub outcome: String,
}
