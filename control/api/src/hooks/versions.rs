//! Which version of a hook a binding has, had before, and goes back to. Pure: before it, records of the store; after it, [`super::life`] writes them.
//!
//! Each change of what bindings have is a step with a number. A binding remembers the versions that it had, with the step that took each away. To roll back is
//! to undo the last step: the bindings that it changed get back what they had, and no others change.
use millstream_control_protocol::exchange::{AddressFailures, HookCalls};
use serde::{Deserialize, Serialize};

use crate::model::hook::{BindingRecord, HookRecord, Mode, Which};

/// Versions that a binding remembers.
pub const HISTORY_MAX: usize = 10;

/// A version that a binding had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Had {
    /// The version's number.
    pub version: u64,
    /// The step that took it away.
    pub step: u64,
}

/// How often a version failed within a minute.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Failed {
    /// When that was noticed, Unix milliseconds.
    pub at_ms: u64,
    /// Calls within a minute.
    pub calls: u64,
    /// How many of them failed.
    pub failures: u64,
}

/// A version that a binding lost by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TakenBack {
    /// The version that failed.
    pub version: u64,
    /// How often.
    pub failed: Failed,
}

/// Addresses whose failures bring no version back, those that have most: a client often has one of IPv4 and one of IPv6.
pub const ADDRESSES_LEFT_OUT: usize = 2;

/// When a version has failed too often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RollbackWhen {
    /// Of a hundred calls within a minute, so many have failed; 0: never.
    pub percent: u32,
    /// And so many calls at least.
    pub failures: u32,
}

impl Default for RollbackWhen {
    fn default() -> Self {
        Self { percent: 5, failures: 10 }
    }
}

impl RollbackWhen {
    /// Whether these are too many failures: also without those of the addresses that have most. What no client brought about counts in any case, and
    /// addresses cannot have more than the rest: of a failure that one of several brought about each is told.
    pub fn is_met(self, told: &HookCalls) -> bool {
        let blamed = told.by_address.iter().take(ADDRESSES_LEFT_OUT).map(|blamed| blamed.failures);
        let of_clients = told.failures.saturating_sub(told.by_nobody);
        let left_out = blamed.fold(0, u64::saturating_add).min(of_clients);
        self.is_met_by(told.calls.saturating_sub(left_out), told.failures - left_out)
    }

    /// The address that is to blame alone for what would else be too many failures.
    pub fn blamed(self, told: &HookCalls) -> Option<&AddressFailures> {
        let is_blamed = self.is_met_by(told.calls, told.failures) && !self.is_met(told);
        told.by_address.first().filter(|_| is_blamed)
    }

    fn is_met_by(self, calls: u64, failures: u64) -> bool {
        self.percent > 0
            && failures >= u64::from(self.failures)
            && u128::from(failures) * 100 >= u128::from(calls) * u128::from(self.percent)
    }
}

/// The number for a change of these bindings, which are all of a hook.
pub fn next_step<'a>(bindings: impl IntoIterator<Item = &'a BindingRecord>) -> u64 {
    bindings.into_iter().flat_map(|binding| &binding.had).map(|had| had.step).max().unwrap_or(0) + 1
}

/// The number of the version that a binding means.
pub fn number(binding: &BindingRecord, hook: &HookRecord) -> Option<u64> {
    hook.version(binding.version).map(|version| version.number)
}

/// Has a binding mean this from here on; says whether that is another version than before. `hook` has all versions that are kept.
pub fn move_to(binding: &mut BindingRecord, hook: &HookRecord, to: Which, step: u64) -> bool {
    let before = number(binding, hook);
    binding.version = to;
    let after = number(binding, hook);
    if before == after {
        return false;
    }
    note(binding, before, step);
    true
}

/// A binding loses this version.
pub fn note(binding: &mut BindingRecord, version: Option<u64>, step: u64) {
    if let Some(version) = version {
        if binding.had.len() >= HISTORY_MAX {
            binding.had.remove(0);
        }
        binding.had.push(Had { version, step });
    }
    binding.generation += 1;
    binding.taken_back = None;
}

/// Whether activations and rollbacks concern the binding: others decide nothing, or are tried out with a version of their own.
pub fn is_live(binding: &BindingRecord) -> bool {
    binding.mode == Mode::Live
}

/// Gives every live binding this version; says which have another one than before.
pub fn activate(bindings: &mut [(String, BindingRecord)], hook: &HookRecord, version: u64) -> Vec<usize> {
    let step = next_step(bindings.iter().map(|(_, binding)| binding));
    let live = bindings.iter_mut().enumerate().filter(|(_, (_, binding))| is_live(binding));
    let mut changed = Vec::new();
    for (at, (_, binding)) in live {
        if move_to(binding, hook, Which::Number(version), step) {
            changed.push(at);
        }
    }
    changed
}

/// The last version that a binding had which is still there; with its place in what it remembers.
fn before(binding: &BindingRecord, hook: &HookRecord, fits: impl Fn(u64) -> bool) -> Option<(usize, Had)> {
    let now = number(binding, hook);
    let is_there = |version| hook.versions.iter().any(|kept| kept.number == version);
    let found = binding.had.iter().copied().enumerate().rev();
    found.into_iter().find(|(_, had)| Some(had.version) != now && is_there(had.version) && fits(had.version))
}

/// The version that a rollback would give a binding.
pub fn previous(binding: &BindingRecord, hook: &HookRecord) -> Option<u64> {
    before(binding, hook, |_| true).map(|(_, had)| had.version)
}

fn go_back(binding: &mut BindingRecord, (at, had): (usize, Had)) {
    binding.had.truncate(at);
    binding.version = Which::Number(had.version);
    binding.generation += 1;
    binding.taken_back = None;
}

/// Undoes the last step that changed live bindings; says which. None: there is nothing to go back to.
pub fn roll_back(bindings: &mut [(String, BindingRecord)], hook: &HookRecord) -> Vec<usize> {
    let found: Vec<(usize, (usize, Had))> = bindings
        .iter()
        .enumerate()
        .filter(|(_, (_, binding))| is_live(binding))
        .filter_map(|(at, (_, binding))| Some((at, before(binding, hook, |_| true)?)))
        .collect();
    let last = found.iter().map(|(_, (_, had))| had.step).max();
    let mut changed = Vec::new();
    for (at, place) in found.into_iter().filter(|(_, (_, had))| Some(had.step) == last) {
        go_back(&mut bindings[at].1, place);
        changed.push(at);
    }
    changed
}

/// Takes a version that has failed too often away from a binding, and gives back the last one that has not; says which that is.
pub fn take_back(binding: &mut BindingRecord, hook: &HookRecord, failed: Failed) -> Option<u64> {
    let version = number(binding, hook)?;
    let is_sound = |number| hook.versions.iter().any(|kept| kept.number == number && kept.failed.is_none());
    let place = before(binding, hook, is_sound)?;
    go_back(binding, place);
    binding.taken_back = Some(TakenBack { version, failed });
    Some(place.1.version)
}

#[cfg(test)]
mod tests;
