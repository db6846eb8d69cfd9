//! Holds a version of a hook against what its bindings have decided before, on all nodes. Before it: uploads, changes of bindings, and whoever asks; after it:
//! the fleet's nodes, each of which replays what it has recorded.
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use millstream_control_protocol::replay::{Difference, Recorded, Replay as Order, Replayed, ShowRecorded};
use millstream_control_protocol::state::Binding;
use millstream_fleet::LinkError;
use millstream_fleet::limits::{DIFFERENCES_LISTED_MAX, RECORDED_SHOWN_MAX, REPLAY_FOR_MAX, REPLAYS_WAIT_MAX};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::inspect::Given;
use crate::Api;
use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::Kept;
use crate::model::hook::{BindingRecord, HookRecord, Mode, Which, World};

/// Bindings that one replay is about: each is an order to every node.
const BINDINGS_MAX: usize = 64;
/// Time that is too short for a binding.
const TOO_SHORT: Duration = Duration::from_millis(100);
/// Nodes that are named where something was left out.
const NODES_NAMED_MAX: usize = 8;
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
    /// Recorded decisions that there was no time for, as far as they were counted.
    left_out: u64,
    /// Of which bindings not all was replayed, and why: also where nobody has counted how much that is.
    left_out_of: Vec<LeftOut>,
    /// Decisions in a second of CPU time.
    per_second: u64,
    /// Where it decides differently, oldest first; the first hundred.
    differences: Vec<Difference>,
    /// Nodes that did not answer, and why: what they have recorded is not in here.
    unanswered: Vec<Unanswered>,
}

/// A binding of whose decisions not all were replayed: what the candidate would have made of the others is not known.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
#[schema(as = ReplayLeftOut)]
pub struct LeftOut {
    /// Its id; empty: a binding that was being made.
    binding: String,
    /// How many recorded decisions were left out, of those that were counted.
    decisions: u64,
    /// Why, in a sentence.
    reason: String,
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
    /// Decisions that are wanted and have no room in an answer, which has at most 8 MiB of them: the oldest ones.
    left_out: u64,
    /// Nodes that did not answer, and why.
    unanswered: Vec<Unanswered>,
}

/// A version that was held against the record, or need not be.
#[must_use]
#[derive(Default)]
pub(crate) struct Checked {
    sha256: Option<String>,
    /// With what it would be given, where it was to decide.
    given: Option<Given>,
    /// What it was not held against.
    pub(crate) left_out: Vec<LeftOut>,
}

impl Checked {
    /// The binding that is to be stored means the version that was checked.
    pub(crate) fn holds_for(&self, record: &BindingRecord, hook: &HookRecord) -> Answer<()> {
        if record.mode.decides() && self.given.as_ref() != Some(&Given::of(record)) {
            return Err(Problem::conflict("the binding was changed at the same moment; send it again"));
        }
        let Some(checked) = &self.sha256 else { return Ok(()) };
        match hook.version(record.version) {
            Some(version) if version.sha256 == *checked => Ok(()),
            _ => Err(Problem::conflict("another version was uploaded at the same moment; send it again")),
        }
    }
}

impl Replay {
    /// Adds what nodes told of a binding; those in `late` were not asked.
    fn add(
        &mut self,
        total: &mut Replayed,
        binding: &str,
        told: millstream_fleet::Told<Replayed>,
        late: &mut BTreeSet<String>,
    ) {
        let mut decisions = 0_u64;
        let mut silent: BTreeMap<String, String> =
            late.iter().map(|node| (node.clone(), LinkError::Late.to_string())).collect();
        for (node, replayed) in told {
            match replayed {
                Ok(replayed) => {
                    decisions = decisions.saturating_add(replayed.left_out);
                    total.add(replayed, DIFFERENCES_LISTED_MAX);
                }
                Err(error) => {
                    silent.insert(node.clone(), error.to_string());
                    // It would be late for the next binding, too, and take the time of the others.
                    if error == LinkError::Late {
                        late.insert(node.clone());
                    }
                    if self.unanswered.iter().all(|known| known.node != node) {
                        self.unanswered.push(Unanswered { node, reason: error.to_string() });
                    }
                }
            }
        }
        let mut reasons = Vec::new();
        if decisions > 0 {
            reasons.push(format!("there was no time for {decisions} decisions"));
        }
        if !silent.is_empty() {
            let named = silent.iter().take(NODES_NAMED_MAX).map(|(node, why)| format!("{node} ({why})"));
            let named: Vec<String> = named.collect();
            let more = silent.len() - named.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            reasons.push(format!("these nodes have replayed nothing: {}{more}", named.join(", ")));
        }
        if !reasons.is_empty() {
            self.leave_out(binding, decisions, reasons.join("; "));
        }
    }

    fn leave_out(&mut self, binding: &str, decisions: u64, reason: String) {
        self.left_out_of.push(LeftOut { binding: binding.to_owned(), decisions, reason });
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
        self.decisions == 0 && self.left_out_of.is_empty()
    }

    /// Why something is refused that decides differently than before.
    fn refusal(&self, what: &str) -> Problem {
        let Self { decisions, differing, .. } = self;
        let more = if self.left_out_of.is_empty() { "" } else { ", and not all that is recorded was replayed" };
        let first = self.differences.first().map(shown).unwrap_or_default();
        let detail = format!(
            "{what} decides {differing} of {decisions} recorded decisions differently (first: {first}){more}; look at them, and give \
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
    /// Asks a candidate what these bindings have decided; each is what would be in force with it. `offered`: the module's bytes, where no version has it. All
    /// bindings together have [`REPLAYS_WAIT_MAX`]; what there was no time for is said. `is_dry`: no version will have it.
    pub(crate) async fn replay(&self, candidates: Vec<Binding>, offered: Option<Bytes>, is_dry: bool) -> Replay {
        let _offered = candidates.first().zip(offered).map(|(first, bytes)| self.fleet().offer(&first.sha256, bytes));
        let until = Instant::now() + REPLAYS_WAIT_MAX;
        let (mut replay, mut total) = (Replay::default(), Replayed::default());
        // What those do not need that have few decisions is for the next ones.
        let (mut replaying, mut late) = (REPLAY_FOR_MAX, BTreeSet::new());
        let mut left = u32::try_from(candidates.len().min(BINDINGS_MAX)).unwrap_or(u32::MAX);
        for (number, candidate) in candidates.into_iter().enumerate() {
            let binding = candidate.id.clone();
            if number >= BINDINGS_MAX {
                replay.leave_out(&binding, 0, format!("a replay is for {BINDINGS_MAX} bindings at most"));
                continue;
            }
            let (wait, share) = (until.saturating_duration_since(Instant::now()), replaying / left.max(1));
            left = left.saturating_sub(1);
            if wait < TOO_SHORT || share < TOO_SHORT {
                let seconds = REPLAYS_WAIT_MAX.as_secs();
                replay.leave_out(
                    &binding,
                    0,
                    format!("the {seconds} seconds for all bindings were over before its turn came"),
                );
                continue;
            }
            if !binding.is_empty() {
                replay.bindings.push(binding.clone());
            }
            let for_ms = u32::try_from(share.min(wait).as_millis()).unwrap_or(u32::MAX);
            let order = Order { candidate, for_ms, listed_max: DIFFERENCES_LISTED_MAX as u32, is_dry };
            let began = Instant::now();
            let told = self.fleet().replay(order, &late, wait).await;
            replaying = replaying.saturating_sub(began.elapsed().min(share));
            replay.add(&mut total, &binding, told, &mut late);
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
            None => binding.value.mode.decides(),
        };
        let hook = candidate_hook(world, sha256, signature);
        let bound = bound.into_iter().filter(is_meant);
        Ok(bound.filter_map(|(id, binding)| as_candidate(&id, &binding.value, &hook)).collect())
    }

    /// Refuses a change by which a version comes to decide that does not work with what the binding gives it, or decides recorded decisions differently (unless the
    /// caller accepts that). As [`Self::check_differences`].
    pub(crate) async fn check_change(
        &self,
        before: Option<(&str, &BindingRecord)>,
        after: &BindingRecord,
        accepts: bool,
    ) -> Answer<Checked> {
        let hook = self.hook(&after.hook).await?.value;
        // What else is wrong with it is said when it is to be stored.
        let version =
            hook.version(after.version).filter(|_| after.mode.decides() && hook.world.points().contains(&after.point));
        let is_as_before = |before: &BindingRecord| {
            let was = hook.version(before.version);
            before.mode.decides()
                && Given::of(before) == Given::of(after)
                && was.map(|was| &was.sha256) == version.map(|version| &version.sha256)
        };
        let is_new = before.is_none_or(|(_, before)| !is_as_before(before));
        let version = version.filter(|_| is_new);
        if let Some(version) = version {
            self.must_accept_configs(&hook, version.clone(), &[after]).await?;
        }
        let mut checked = self.check_differences(before, after, accepts).await?;
        checked.sha256 = checked.sha256.or_else(|| version.map(|version| version.sha256.clone()));
        checked.given = after.mode.decides().then(|| Given::of(after));
        Ok(checked)
    }

    /// Refuses a change by which a version comes to decide that decides recorded decisions differently, unless the caller accepts that. To be asked before the
    /// change is stored, without locks; what it gives is held against the record that is then stored.
    async fn check_differences(
        &self,
        before: Option<(&str, &BindingRecord)>,
        after: &BindingRecord,
        accepts: bool,
    ) -> Answer<Checked> {
        if accepts || after.mode != Mode::Live {
            return Ok(Checked::default());
        }
        let hook = self.hook(&after.hook).await?.value;
        let id = before.map(|(id, _)| id).unwrap_or_default();
        // What is wrong with it is said when it is to be stored.
        let Some(candidate) = after.to_link(id, &hook) else { return Ok(Checked::default()) };
        let was = before.filter(|(_, before)| before.mode == Mode::Live);
        let was = was.and_then(|(_, before)| hook.version(before.version));
        if hook.world != World::Auth || was.is_some_and(|was| was.sha256 == candidate.sha256) {
            return Ok(Checked::default());
        }
        let sha256 = candidate.sha256.clone();
        let what = format!("version {} of the hook {}", candidate.version, after.hook);
        let left_out = self.refuse_differences(vec![candidate], &what).await?;
        Ok(Checked { sha256: Some(sha256), left_out, ..Checked::default() })
    }

    /// The same for a version that all live bindings of a hook are to get; gives what it was not held against.
    pub(crate) async fn check_activation(&self, name: &str, number: u64, accepts: bool) -> Answer<Vec<LeftOut>> {
        let hook = self.hook(name).await?.value;
        // What is wrong with it is said when it is to be stored.
        let Some(version) = hook.version(Which::Number(number)) else { return Ok(Vec::new()) };
        if accepts || hook.world != World::Auth {
            return Ok(Vec::new());
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

    async fn refuse_differences(&self, candidates: Vec<Binding>, what: &str) -> Answer<Vec<LeftOut>> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let replay = self.replay(candidates, None, false).await;
        if replay.differing > 0 {
            return Err(replay.refusal(what));
        }
        for LeftOut { binding, reason, .. } in &replay.left_out_of {
            tracing::warn!(what, binding, reason, "a version is activated without all that is recorded");
        }
        Ok(replay.left_out_of)
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
        let replay = self.replay(candidates, Some(module.clone()), false).await;
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

    /// What nodes have recorded of a hook's decisions: the newest ones, at most `limit`.
    pub(crate) async fn recorded(&self, hook: &str, binding: Option<String>, limit: u32) -> Decisions {
        let limit = limit.clamp(1, RECORDED_SHOWN_MAX);
        let wanted = ShowRecorded { hook: hook.to_owned(), binding: binding.unwrap_or_default(), limit };
        let all = self.fleet().recorded(wanted).await;
        let unanswered = |(node, error): (String, LinkError)| Unanswered { node, reason: error.to_string() };
        Decisions {
            items: all.decisions.iter().filter_map(|(node, decision)| event(node, decision)).collect(),
            left_out: all.left_out,
            unanswered: all.unanswered.into_iter().map(unanswered).collect(),
        }
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
