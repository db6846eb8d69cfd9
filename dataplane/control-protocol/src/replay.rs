//! Recorded decisions of hooks: what a node is asked to replay or to show, and what it answers. Before it: control's API; after it: the recorder of the node.
use serde::{Deserialize, Serialize};

use crate::state::Binding;

/// Asks a candidate what a hook was asked before.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Replay {
    /// The module and what it is given, as if it were bound so. Without an id, it is compared with what any binding of the hook decided at its point and for
    /// its stream; else with what the binding of that id decided.
    pub candidate: Binding,
    /// It ends after so long, milliseconds, and says what it left out.
    pub for_ms: u32,
    /// Differences to list.
    pub listed_max: u32,
    /// No version has the module: nothing of it is kept for later.
    pub is_dry: bool,
}

/// What came of a replay.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Replayed {
    /// Decisions that the candidate was asked about.
    pub decisions: u64,
    /// Of them: it decides the same.
    pub same: u64,
    /// It decides differently, or fails where the recorded decision did not.
    pub differing: u64,
    /// It would ask an upstream first, which a replay does not.
    pub not_comparable: u64,
    /// It failed: counted as `same` or `differing`, too.
    pub failed: u64,
    /// Recorded decisions that there was no time for.
    pub left_out: u64,
    /// CPU time of the candidate's calls, microseconds.
    pub cpu_us: u64,
    /// Where it decides differently, oldest first; the first ones.
    pub differences: Vec<Difference>,
}

impl Replayed {
    /// Adds what another node or another binding found, as far as there is room in the list.
    pub fn add(&mut self, other: Self, listed_max: usize) {
        let sums = [
            (&mut self.decisions, other.decisions),
            (&mut self.same, other.same),
            (&mut self.differing, other.differing),
            (&mut self.not_comparable, other.not_comparable),
            (&mut self.failed, other.failed),
            (&mut self.left_out, other.left_out),
            (&mut self.cpu_us, other.cpu_us),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        self.differences.extend(other.differences);
        self.differences.sort_by_key(|difference| difference.unix_ms);
        self.differences.truncate(listed_max);
    }
}

/// A decision that a candidate makes differently. Secrets are redacted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Difference {
    /// The node that recorded it.
    pub node: String,
    /// When it was made, Unix milliseconds.
    pub unix_ms: u64,
    /// Of which stream.
    pub stream: String,
    /// `publish` or `play`.
    pub action: String,
    /// The client's address.
    pub ip: String,
    /// How the client came: `rtmp`, `hls` and others.
    pub protocol: String,
    /// The binding that decided.
    pub binding: String,
    /// The version that decided.
    pub version: u64,
    /// What was decided.
    pub recorded: String,
    /// What the candidate decides.
    pub candidate: String,
}

/// Asks for recorded decisions.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShowRecorded {
    /// Of this hook.
    pub hook: String,
    /// Of this binding; empty: of all of the hook's.
    pub binding: String,
    /// At most so many, the newest ones.
    pub limit: u32,
}

/// A recorded decision, without secrets.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Recorded {
    /// When it was made, Unix milliseconds.
    pub unix_ms: u64,
    /// An event for tests of hooks, as JSON in one line: what was asked, what was answered, and where that was.
    pub event: String,
}
