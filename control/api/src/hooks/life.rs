//! The life of a hook's versions: activated and rolled back by operators, and taken back by themselves where they fail too often. Before it: the routes, and what
//! nodes report; after it: the store, the fleet, events. Which version comes after which is [`super::versions`]' business.
use std::time::Duration;

use millstream_control_protocol::event::What;
use millstream_control_protocol::exchange::HookCalls;
use millstream_fleet::ticks;
use millstream_store::item::{Change, Expect, TRANSACTION_CHANGES_MAX};

use super::inspect::{ConfigCheck, Given};
use super::versions::{self, Failed};
use super::{Named, no_version, unknown_hook};
use crate::Api;
use crate::auth::Caller;
use crate::http::extract::{IfMatch, Tag};
use crate::http::problem::{Answer, Problem};
use crate::model::hook::{BindingRecord, HookRecord, VersionRecord, Which};
use crate::model::token::Role;
use crate::model::{self, BINDING, HOOK, Kept};
use crate::reconcile::{Subject, Unsettled};

/// Bindings that are written in one transaction, beside their hook, the audit log and the mark of a request.
pub(super) const BINDINGS_AT_ONCE: usize = TRANSACTION_CHANGES_MAX - 3;
/// What nodes say of failing hooks is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who takes versions back, in the audit log.
const BY_ITSELF: &str = "millstream";

/// A binding whose version has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Moved {
    /// Its id.
    pub(crate) binding: String,
    /// The version that it had.
    pub(crate) from: Option<u64>,
    /// The version that it has.
    pub(crate) to: u64,
}

/// A version that is refused because it has failed, unless somebody says otherwise.
pub(crate) fn must_be_sound(version: &VersionRecord, accept_failures: bool) -> Answer<()> {
    let Some(Failed { calls, failures, .. }) = version.failed.filter(|_| !accept_failures) else { return Ok(()) };
    let number = version.number;
    Err(Problem::conflict(format!(
        "version {number} failed in {failures} of {calls} calls within a minute when it was in use; upload a mended one, or say \"accept_failures\": true \
         to use it all the same"
    )))
}

/// What is to become of the live bindings of a hook.
#[derive(Clone, Copy)]
enum Wanted {
    Activate { number: u64, accept_failures: bool },
    RollBack { accept_failures: bool },
}

/// A change of a hook and of its bindings that could be stored now.
struct Plan {
    at: u64,
    hook: HookRecord,
    before: Named<BindingRecord>,
    after: Vec<(String, BindingRecord)>,
    /// What has to work before that: versions with what bindings give them.
    needs: Vec<(VersionRecord, BindingRecord)>,
}

/// Times that a change is looked at again, because what it is about was changed while versions were tried out.
const PLANS_MAX: usize = 4;

impl Api {
    /// Gives all live bindings of a hook this version.
    pub(crate) async fn activate(
        &self,
        caller: &Caller,
        name: &str,
        condition: &IfMatch,
        (number, accept_failures): (u64, bool),
    ) -> Answer<Vec<Moved>> {
        let wanted = Wanted::Activate { number, accept_failures };
        let parts = vec![format!("version {number}")];
        let moved = self.carry_out(caller, ("hook.activate", name), parts, (condition, wanted)).await?;
        let bindings = moved.len() as u64;
        if bindings > 0 {
            let (hook, by) = (name.to_owned(), caller.who.clone());
            self.fleet().tell(None, What::HookActivated { hook, version: number, bindings, by }).await;
        }
        Ok(moved)
    }

    async fn plan_activation(
        &self,
        name: &str,
        condition: &IfMatch,
        (number, accept_failures): (u64, bool),
    ) -> Answer<Plan> {
        let Kept { version: at, value: mut hook } = self.hook(name).await?;
        condition.must_hold(Tag { created_ms: hook.created_ms, version: at })?;
        let version = hook.version(Which::Number(number)).ok_or_else(|| no_version(&hook, Which::Number(number)))?;
        must_be_sound(version, accept_failures)?;
        self.must_be_signed(version)?;
        let before = self.bindings_of(name).await?;
        let live = before.iter().map(|(_, kept)| &kept.value).filter(|binding| versions::is_live(binding));
        let needs: Vec<_> = live.map(|binding| (version.clone(), binding.clone())).collect();
        if needs.is_empty() {
            return Err(Problem::conflict(format!(
                "no binding of this hook is live: bind it first (POST /api/v1/hook-bindings with \"hook\": \"{name}\", \"mode\": \"live\")"
            )));
        }
        let mut after: Vec<_> = before.iter().map(|(id, kept)| (id.clone(), kept.value.clone())).collect();
        versions::activate(&mut after, &hook, number);
        if accept_failures && let Some(version) = hook.versions.iter_mut().find(|version| version.number == number) {
            version.failed = None;
        }
        Ok(Plan { at, hook, before, after, needs })
    }

    fn must_be_signed(&self, version: &VersionRecord) -> Answer<()> {
        let trusted = self.hook_rules().trusted_keys.check(&version.sha256, version.signature.as_deref());
        trusted.map_err(|why| Problem::conflict(format!("version {}: {why}", version.number)))
    }

    /// Gives the live bindings of a hook that changed last the version again that they had before.
    pub(crate) async fn roll_back(
        &self,
        caller: &Caller,
        name: &str,
        condition: &IfMatch,
        accept_failures: bool,
    ) -> Answer<Vec<Moved>> {
        let wanted = Wanted::RollBack { accept_failures };
        let moved = self.carry_out(caller, ("hook.roll_back", name), Vec::new(), (condition, wanted)).await?;
        let mut versions: Vec<u64> = moved.iter().map(|moved| moved.to).collect();
        versions.sort_unstable();
        versions.dedup();
        let (hook, by, bindings) = (name.to_owned(), caller.who.clone(), moved.len() as u64);
        self.fleet().tell(None, What::HookRolledBack { hook, versions, bindings, by }).await;
        Ok(moved)
    }

    async fn plan_rollback(&self, name: &str, condition: &IfMatch, accept_failures: bool) -> Answer<Plan> {
        let Kept { version: at, value: hook } = self.hook(name).await?;
        condition.must_hold(Tag { created_ms: hook.created_ms, version: at })?;
        let before = self.bindings_of(name).await?;
        let mut after: Vec<_> = before.iter().map(|(id, kept)| (id.clone(), kept.value.clone())).collect();
        let changed = versions::roll_back(&mut after, &hook);
        if changed.is_empty() {
            return Err(Problem::conflict(format!(
                "no live binding of this hook had another version before, of those that are kept; activate one (POST /api/v1/hooks/{name}/activate)"
            )));
        }
        let mut needs = Vec::new();
        for at in &changed {
            let Some((_, binding)) = after.get(*at) else { continue };
            let Some(version) = hook.version(binding.version) else { continue };
            must_be_sound(version, accept_failures)?;
            self.must_be_signed(version)?;
            needs.push((version.clone(), binding.clone()));
        }
        Ok(Plan { at, hook, before, after, needs })
    }

    async fn plan(&self, name: &str, condition: &IfMatch, wanted: Wanted) -> Answer<Plan> {
        match wanted {
            Wanted::Activate { number, accept_failures } => {
                self.plan_activation(name, condition, (number, accept_failures)).await
            }
            Wanted::RollBack { accept_failures } => self.plan_rollback(name, condition, accept_failures).await,
        }
    }

    /// Stores what is planned once all works that it needs. That is found out without the lock of records, for a version may have to be compiled; under the lock
    /// all else is looked at again, and whatever is new is tried out, too.
    async fn carry_out(
        &self,
        caller: &Caller,
        action: (&str, &str),
        parts: Vec<String>,
        (condition, wanted): (&IfMatch, Wanted),
    ) -> Answer<Vec<Moved>> {
        let mut works: Vec<(String, Given)> = Vec::new();
        for _ in 0..PLANS_MAX {
            let lock = self.record_locks().lock_records().await;
            let Plan { at, hook, before, after, mut needs } = self.plan(action.1, condition, wanted).await?;
            needs.retain(|(version, binding)| {
                let given = Given::of(binding);
                !works.iter().any(|(sha256, known)| *sha256 == version.sha256 && *known == given)
            });
            if needs.is_empty() {
                return self.save_all(caller, action, parts, (at, hook), (&before, &after)).await;
            }
            drop(lock);
            // One module at a time, each with all that it is given.
            needs.sort_by_key(|(version, _)| version.number);
            for same in needs.chunk_by(|(one, _), (other, _)| one.number == other.number) {
                let bindings: Vec<&BindingRecord> = same.iter().map(|(_, binding)| binding).collect();
                if let Some((version, _)) = same.first() {
                    self.must_accept_configs(&hook, version.clone(), &bindings).await?;
                }
            }
            works.extend(needs.into_iter().map(|(version, binding)| (version.sha256, Given::of(&binding))));
        }
        Err(Problem::conflict("the hook or its bindings were changed again and again meanwhile; send it again"))
    }

    /// Writes what has changed of bindings with their hook, and tells the nodes of all of it in one step. To be called under the lock of records.
    async fn save_all(
        &self,
        caller: &Caller,
        (action, name): (&str, &str),
        parts: Vec<String>,
        (at, mut hook): (u64, HookRecord),
        (before, after): (&Named<BindingRecord>, &[(String, BindingRecord)]),
    ) -> Answer<Vec<Moved>> {
        let now_ms = self.clock().now_ms();
        (hook.updated_ms, hook.updated_by) = (now_ms, caller.who.clone());
        let (mut puts, mut told, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        for ((id, kept), (_, record)) in
            before.iter().zip(after).filter(|((_, kept), (_, record))| kept.value != *record)
        {
            let mut record = record.clone();
            (record.updated_ms, record.updated_by) = (now_ms, caller.who.clone());
            let (from, to) = (versions::number(&kept.value, &hook), versions::number(&record, &hook));
            moved.extend(to.filter(|to| from != Some(*to)).map(|to| Moved { binding: id.clone(), from, to }));
            told.extend(record.to_link(id, &hook));
            puts.push(model::to_put((BINDING, id), Expect::Version(kept.version), None, &record));
        }
        let unsettled = Unsettled::new(self, Subject::Hook(name.to_owned()));
        let mut hook_at = Expect::Version(at);
        // All in one transaction, where there are not more than that takes.
        let mut chunks: Vec<Vec<Change>> = puts.chunks(BINDINGS_AT_ONCE).map(<[Change]>::to_vec).collect();
        if chunks.is_empty() {
            chunks.push(Vec::new());
        }
        for mut changes in chunks {
            changes.insert(0, model::to_put((HOOK, name), hook_at, None, &hook));
            let saved = self.logged(caller, (action, name), parts.clone(), changes).await?;
            hook_at = Expect::Version(saved.map_err(|model::Conflict| IfMatch::failed())?);
        }
        self.fleet().bind_all(told);
        unsettled.settle();
        Ok(moved)
    }

    /// Looks every second whether a version fails too often, for ever.
    pub async fn take_back_what_fails(self) {
        loop {
            ticks::sleep(LOOK_EVERY).await;
            self.look_for_failing_hooks().await;
        }
    }

    /// Takes versions back that fail too often.
    pub async fn look_for_failing_hooks(&self) {
        let when = self.hook_rules().rollback;
        for told in self.fleet().failing_hooks().into_iter().filter(|told| when.is_met(told)) {
            if let Err(problem) = self.take_back(&told).await {
                let status = problem.status().as_u16();
                tracing::warn!(
                    status,
                    binding = told.binding,
                    "a version that fails cannot be taken back now; it is tried again"
                );
            }
        }
    }

    async fn take_back(&self, told: &HookCalls) -> Answer<()> {
        let _lock = self.record_locks().lock_records().await;
        let Some(kept) = model::load::<BindingRecord>(self.store(), BINDING, &told.binding).await? else {
            return Ok(());
        };
        let (at, mut binding) = (kept.version, kept.value);
        let hook = model::load::<HookRecord>(self.store(), HOOK, &binding.hook).await?.ok_or_else(unknown_hook)?;
        let (hook_at, mut hook, name) = (hook.version, hook.value, binding.hook.clone());
        // What was counted is of a version that the binding has no more.
        let is_current =
            binding.generation == told.generation && versions::number(&binding, &hook) == Some(told.version);
        if !is_current || !binding.mode.decides() {
            return Ok(());
        }
        let &HookCalls { version, calls, failures, .. } = told;
        let failed = Failed { at_ms: self.clock().now_ms(), calls, failures };
        // Nodes would refuse a version that nobody whom they trust has signed.
        let mut fit = hook.clone();
        fit.versions.retain(|kept| kept.number == version || self.must_be_signed(kept).is_ok());
        let back_to = versions::take_back(&mut binding, &fit, failed);
        let is_known = hook.versions.iter().any(|kept| kept.number == version && kept.failed.is_some());
        if back_to.is_none() && is_known {
            return Ok(());
        }
        if let Some(kept) = hook.versions.iter_mut().find(|kept| kept.number == version) {
            kept.failed = Some(failed);
        }
        let caller = Caller {
            who: BY_ITSELF.to_owned(),
            token_id: String::new(),
            role: Role::Admin,
            address: String::new(),
            login: None,
            is_assistant: false,
        };
        (hook.updated_ms, hook.updated_by) = (failed.at_ms, caller.who.clone());
        let mut changes = vec![model::to_put((HOOK, &name), Expect::Version(hook_at), None, &hook)];
        let mut parts = vec![format!("binding {}", told.binding), format!("version {version}")];
        let action = if let Some(back_to) = back_to {
            parts.push(format!("back to version {back_to}"));
            (binding.updated_ms, binding.updated_by) = (failed.at_ms, caller.who.clone());
            changes.push(model::to_put((BINDING, &told.binding), Expect::Version(at), None, &binding));
            "hook.roll_back"
        } else {
            "hook.fails"
        };
        let unsettled = Unsettled::new(self, Subject::Binding(told.binding.clone()));
        let saved = self.logged(&caller, (action, &name), parts, changes).await?;
        saved.map_err(|model::Conflict| IfMatch::failed())?;
        if let Some(binding) = binding.to_link(&told.binding, &hook) {
            self.fleet().bind(binding);
        }
        unsettled.settle();
        let (hook, id) = (name, told.binding.clone());
        tracing::warn!(hook, binding = id, version, calls, failures, back_to, "a version of a hook fails too often");
        let what = match back_to {
            Some(back_to) => What::HookRolledBackAutomatically { hook, binding: id, version, back_to, calls, failures },
            None => What::HookFailing { hook, binding: id, version, calls, failures },
        };
        self.fleet().tell(binding.stream.as_deref(), what).await;
        Ok(())
    }

    /// Refuses a version that does not work with the configuration of a binding that is to have it.
    pub(crate) async fn must_accept_configs(
        &self,
        hook: &HookRecord,
        version: VersionRecord,
        bindings: &[&BindingRecord],
    ) -> Answer<()> {
        let given: Vec<Given> = bindings.iter().map(|binding| Given::of(binding)).collect();
        let module = self.module_of(hook, &version).await?;
        for (check, binding) in self.check_configs(module, given).await?.iter().zip(bindings) {
            if let ConfigCheck::Refused(reason) = check {
                let (number, of) = (version.number, binding.stream.as_deref().unwrap_or("all streams"));
                return Err(Problem::conflict(format!(
                    "version {number} refuses the configuration of the binding for {of} ({}): {reason}",
                    binding.point.as_str()
                )));
            }
        }
        Ok(())
    }
}
