//! Holds a version of a hook against what its bindings have decided before, on all nodes. Before it: uploads, changes of bindings, and whoever asks; after it:
//! the fleet's nodes, each of which replays what it has recorded.
use std::collections::BTreeMap;

use bytes::Bytes;
use millstream_control_protocol::replay::{Difference, Recorded, Replay as Order, Replayed, ShowRecorded};
use millstream_control_protocol::state::Binding;
use millstream_fleet::limits::{DIFFERENCES_LISTED_MAX, RECORDED_SHOWN_MAX, REPLAY_FOR_MAX};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::Api;
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::Kept;
use crate::model::hook::{BindingRecord, HookRecord, Mode, Which, World};

/// Bindings that one replay is about.
const BINDINGS_MAX: usize = 8;
/// Differences that a refusal shows.
const SHOWN_IN_REFUSAL: usize = 20;

/// What came of a replay, of all bindings and nodes that it was about.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
pub struct Replay {
    /// The bindings whose decisions were replayed.
    bindings: Vec<String>,
    /// Decisions that the candidate was asked about.
    decisions: u64,
    /// Of them: it decides the same.
    same: u64,
    /// It decides differently, or fails where the recorded decision did not.
    differing: u64,
    /// It would ask an upstream first, which a replay does not.
    not_comparable: u64,
    /// It failed: counted as `same` or `differing`, too.
    failed: u64,
    /// Recorded decisions that there was no time for.
    left_out: u64,
    /// Decisions in a second of CPU time.
    per_second: u64,
    /// Where it decides differently, oldest first; the first hundred.
    differences: Vec<Difference>,
    /// Nodes that did not answer, and why: what they have recorded is not in here.
    unanswered: Vec<Unanswered>,
}

/// A node that did not answer.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
#[schema(as = ReplayUnanswered)]
pub struct Unanswered {
    /// Its name.
    node: String,
    /// Why.
    reason: String,
}

/// Recorded decisions.
#[derive(Clone, PartialEq, Debug, Default, Serialize, ToSchema)]
#[schema(as = RecordedDecisions)]
pub struct Decisions {
    /// Events, oldest first, as `millstream hook test` takes them: `request` and `unix_ms` are what the hook was asked and when, `answer` what it answered.
    /// `about` has the node, binding and version, the verdict in words, where something was taken out of the request (`redacted`), and whether the hook
    /// decides something else without that, or could not be asked whether it does (`depends_on_redacted`).
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    /// Nodes that did not answer, and why.
    unanswered: Vec<Unanswered>,
}

/// A version that was held against the record, or need not be.
#[must_use]
pub(crate) struct Checked(Option<String>);

impl Checked {
    /// The binding that is to be stored means the version that was checked.
    pub(crate) fn holds_for(&self, record: &BindingRecord, hook: &HookRecord) -> Answer<()> {
        let Some(checked) = &self.0 else { return Ok(()) };
        match hook.version(record.version) {
            Some(version) if version.sha256 == *checked => Ok(()),
            _ => Err(Problem::conflict("another version was uploaded at the same moment; send it again")),
        }
    }
}

impl Replay {
    fn add(&mut self, total: &mut Replayed, told: millstream_fleet::Told<Replayed>) {
        for (node, replayed) in told {
            match replayed {
                Ok(replayed) => total.add(replayed, DIFFERENCES_LISTED_MAX),
                Err(error) if self.unanswered.iter().all(|known| known.node != node) => {
                    self.unanswered.push(Unanswered { node, reason: error.to_string() });
                }
                Err(_) => {}
            }
        }
    }

    fn of(mut self, total: Replayed) -> Self {
        let per_second = total.decisions.saturating_mul(1_000_000).checked_div(total.cpu_us).unwrap_or(0);
        (self.decisions, self.same, self.differing) = (total.decisions, total.same, total.differing);
        (self.not_comparable, self.failed, self.left_out) = (total.not_comparable, total.failed, total.left_out);
        (self.per_second, self.differences) = (per_second, total.differences);
        self
    }

    /// Whether it says anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.decisions == 0 && self.left_out == 0 && self.unanswered.is_empty()
    }

    /// Why something is refused that decides differently than before.
    fn refusal(&self, what: &str) -> Problem {
        let Self { decisions, differing, .. } = self;
        let first = self.differences.first().map(shown).unwrap_or_default();
        let detail = format!(
            "{what} decides {differing} of {decisions} recorded decisions differently (first: {first}); look at them, and give \
             accept_differences: true to have it all the same"
        );
        let listed = self.differences.iter().take(SHOWN_IN_REFUSAL);
        let errors = listed.map(|difference| FieldError::new("accept_differences", shown(difference)));
        Problem::conflict(detail).with_errors(errors.collect())
    }
}

fn shown(difference: &Difference) -> String {
    let Difference { unix_ms, stream, action, ip, protocol, recorded, candidate, .. } = difference;
    let at = i64::try_from(unix_ms / 1_000).ok().and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
    let at = at.and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok()).unwrap_or_default();
    format!("{at} {action} of {stream} by {ip} ({protocol}): recorded: {recorded}; now: {candidate}")
}

impl Api {
    /// Asks a candidate what these bindings have decided; each is what would be in force with it. `offered`: the module's bytes, where no version has it.
    pub(crate) async fn replay(&self, candidates: Vec<Binding>, offered: Option<Bytes>) -> Replay {
        let candidates: Vec<Binding> = candidates.into_iter().take(BINDINGS_MAX).collect();
        let _offered = candidates.first().zip(offered).map(|(first, bytes)| self.fleet().offer(&first.sha256, bytes));
        let each = REPLAY_FOR_MAX / u32::try_from(candidates.len().max(1)).unwrap_or(1);
        let for_ms = u32::try_from(each.as_millis()).unwrap_or(u32::MAX);
        let (mut replay, mut total) = (Replay::default(), Replayed::default());
        for candidate in candidates {
            if !candidate.id.is_empty() {
                replay.bindings.push(candidate.id.clone());
            }
            let order = Order { candidate, for_ms, listed_max: DIFFERENCES_LISTED_MAX as u32 };
            replay.add(&mut total, self.fleet().replay(order).await);
        }
        replay.of(total)
    }

    /// What would be in force of a hook's bindings that decide (or of one of them, whatever its mode), with this module in the place of theirs.
    pub(crate) async fn candidates(
        &self,
        (name, world): (&str, World),
        (sha256, signature): (&str, Option<&str>),
        only: Option<&str>,
    ) -> Answer<Vec<Binding>> {
        let bound = self.bindings_of(name).await?;
        if let Some(only) = only
            && bound.iter().all(|(id, _)| id != only)
        {
            return Err(Problem::not_found("the hook has no binding of this id; see /api/v1/hook-bindings"));
        }
        let is_meant = |(id, binding): &(String, Kept<BindingRecord>)| match only {
            Some(only) => id == only,
            None => matches!(binding.value.mode, Mode::Live | Mode::Canary),
        };
        let hook = candidate_hook(world, sha256, signature);
        let bound = bound.into_iter().filter(is_meant);
        Ok(bound.filter_map(|(id, binding)| as_candidate(&id, &binding.value, &hook)).collect())
    }

    /// Refuses a change by which a version comes to decide that decides recorded decisions differently, unless the caller accepts that. To be asked before the
    /// change is stored, without locks; what it gives is held against the record that is then stored.
    pub(crate) async fn check_differences(
        &self,
        before: Option<(&str, &BindingRecord)>,
        after: &BindingRecord,
        accepts: bool,
    ) -> Answer<Checked> {
        if accepts || after.mode != Mode::Live {
            return Ok(Checked(None));
        }
        let hook = self.hook(&after.hook).await?.value;
        let id = before.map(|(id, _)| id).unwrap_or_default();
        // What is wrong with it is said when it is to be stored.
        let Some(candidate) = after.to_link(id, &hook) else { return Ok(Checked(None)) };
        let was = before.filter(|(_, before)| before.mode == Mode::Live);
        let was = was.and_then(|(_, before)| hook.version(before.version));
        if hook.world != World::Auth || was.is_some_and(|was| was.sha256 == candidate.sha256) {
            return Ok(Checked(None));
        }
        let sha256 = candidate.sha256.clone();
        let what = format!("version {} of the hook {}", candidate.version, after.hook);
        self.refuse_differences(vec![candidate], &what).await?;
        Ok(Checked(Some(sha256)))
    }

    /// The same for a version that all live bindings of a hook are to get.
    pub(crate) async fn check_activation(&self, name: &str, number: u64, accepts: bool) -> Answer<()> {
        let hook = self.hook(name).await?.value;
        // What is wrong with it is said when it is to be stored.
        let Some(version) = hook.version(Which::Number(number)) else { return Ok(()) };
        if accepts || hook.world != World::Auth {
            return Ok(());
        }
        let is_meant = |binding: &BindingRecord| {
            let was = hook.version(binding.version);
            binding.mode == Mode::Live && was.is_none_or(|was| was.sha256 != version.sha256)
        };
        let bound = self.bindings_of(name).await?;
        let bound = bound.into_iter().filter(|(_, binding)| is_meant(&binding.value));
        let candidates = bound.filter_map(|(id, binding)| {
            BindingRecord { version: Which::Number(number), ..binding.value }.to_link(&id, &hook)
        });
        self.refuse_differences(candidates.collect(), &format!("version {number} of the hook {name}")).await
    }

    async fn refuse_differences(&self, candidates: Vec<Binding>, what: &str) -> Answer<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        let replay = self.replay(candidates, None).await;
        for Unanswered { node, reason } in &replay.unanswered {
            tracing::warn!(node, reason, "a version is activated without what this node has recorded");
        }
        if replay.differing > 0 { Err(replay.refusal(what)) } else { Ok(()) }
    }

    /// What a module that is being uploaded would decide in the place of the versions that decide now. Refused where a binding means the newest version, so
    /// that the upload would activate it, and it decides differently.
    pub(crate) async fn replay_upload(
        &self,
        (name, hook): (&str, &HookRecord),
        (sha256, signature, module): (&str, Option<&str>, &Bytes),
        accepts: bool,
    ) -> Answer<Option<Replay>> {
        if hook.world != World::Auth || hook.versions.iter().any(|version| version.sha256 == sha256) {
            return Ok(None);
        }
        let candidates = self.candidates((name, hook.world), (sha256, signature), None).await?;
        if candidates.is_empty() {
            return Ok(None);
        }
        let replay = self.replay(candidates, Some(module.clone())).await;
        if replay.differing > 0 && !accepts {
            let newest = self.bindings_of(name).await?.into_iter().find(|(_, binding)| {
                let BindingRecord { mode, version, .. } = &binding.value;
                *mode == Mode::Live && *version == Which::Newest
            });
            if let Some((id, _)) = newest {
                let what = format!("the binding {id} means the newest version, and this one");
                return Err(replay.refusal(&what));
            }
        }
        Ok((!replay.is_empty()).then_some(replay))
    }

    /// What nodes have recorded of a hook's decisions, at most `limit` of each.
    pub(crate) async fn recorded(&self, hook: &str, binding: Option<String>, limit: u32) -> Decisions {
        let limit = limit.clamp(1, RECORDED_SHOWN_MAX);
        let wanted = ShowRecorded { hook: hook.to_owned(), binding: binding.unwrap_or_default(), limit };
        let (mut items, mut unanswered) = (Vec::new(), Vec::new());
        for (node, told) in self.fleet().recorded(wanted).await {
            match told {
                Ok(decisions) => items
                    .extend(decisions.iter().filter_map(|decision| Some((decision.unix_ms, event(&node, decision)?)))),
                Err(error) => unanswered.push(Unanswered { node, reason: error.to_string() }),
            }
        }
        items.sort_by_key(|(unix_ms, _)| *unix_ms);
        let more = items.len().saturating_sub(limit as usize);
        Decisions { items: items.into_iter().skip(more).map(|(_, event)| event).collect(), unanswered }
    }
}

/// A node's event, with the node in it.
fn event(node: &str, recorded: &Recorded) -> Option<Value> {
    let mut event: Value = serde_json::from_str(&recorded.event).ok()?;
    event
        .as_object_mut()?
        .entry("about")
        .or_insert_with(|| json!({}))
        .as_object_mut()?
        .insert("node".to_owned(), node.into());
    Some(event)
}

/// A hook whose only version is this module: it has no number yet.
fn candidate_hook(world: World, sha256: &str, signature: Option<&str>) -> HookRecord {
    let (sha256, signature) = (sha256.to_owned(), signature.map(str::to_owned));
    let version = crate::model::hook::VersionRecord { sha256, signature, ..Default::default() };
    HookRecord { world, versions: vec![version], ..HookRecord::default() }
}

fn as_candidate(id: &str, record: &BindingRecord, hook: &HookRecord) -> Option<Binding> {
    let record = BindingRecord { version: crate::model::hook::Which::Newest, ..record.clone() };
    record.to_link(id, hook)
}

/// What a candidate is given in the place of the binding's configuration.
pub(crate) fn with_config(candidates: &mut [Binding], config: Option<BTreeMap<String, String>>) {
    let Some(config) = config else { return };
    for candidate in candidates {
        candidate.config.clone_from(&config);
    }
}
