//! What is done to hooks and their bindings. As with streams, the record is written under a condition, in one transaction with the audit log, and
//! the nodes are told under the same lock, so that they see changes in the order in which they were stored.
//!
//! What belongs together is in several items: the bytes are there before the version that names them ([`modules`]), the version before a
//! binding that means it, and a hook goes only when no binding names it. Changes of records exclude each other ([`locks::RecordLocks`]): there are few,
//! and one process has the store.
use std::collections::BTreeSet;

use millstream_store::item::Expect;

pub use self::rules::HookRules;
pub use self::stored::bound;
use self::stored::{Named, all};
use crate::Api;
use crate::auth::Caller;
use crate::http::extract::{IfMatch, Tag};
use crate::http::problem::{Answer, Problem};
use crate::model::hook::{BINDINGS_MAX, BindingRecord, HOOKS_MAX, HookRecord, Which};
use crate::model::{self, BINDING, HOOK, Kept, SLATE};
use crate::reconcile::{Subject, Unsettled};

pub mod inspect;
pub(crate) mod life;
pub(crate) mod locks;
pub(crate) mod modules;
pub mod replay;
pub mod rules;
pub(crate) mod stored;
mod trial;
mod upload;
pub mod versions;

/// A hook of a path.
pub(crate) fn unknown_hook() -> Problem {
    Problem::not_found("there is no hook of this name; see /api/v1/hooks")
}

fn unknown_binding() -> Problem {
    Problem::not_found("there is no binding of this id; see /api/v1/hook-bindings")
}

impl Api {
    /// A hook.
    pub(crate) async fn hook(&self, name: &str) -> Answer<Kept<HookRecord>> {
        crate::streams::valid_id(name).map_err(|_| unknown_hook())?;
        model::load(self.store(), HOOK, name).await?.ok_or_else(unknown_hook)
    }

    /// A binding.
    pub(crate) async fn binding(&self, id: &str) -> Answer<Kept<BindingRecord>> {
        crate::streams::valid_id(id).map_err(|_| unknown_binding())?;
        model::load(self.store(), BINDING, id).await?.ok_or_else(unknown_binding)
    }

    /// All of both, in order.
    pub(crate) async fn hooks_and_bindings(&self) -> Answer<(Named<HookRecord>, Named<BindingRecord>)> {
        let hooks = all(self.store(), HOOK, self.unreadable()).await?;
        Ok((hooks, all(self.store(), BINDING, self.unreadable()).await?))
    }

    /// Whether a version of any hook has this module.
    pub(crate) async fn has_version_of(&self, sha256: &str) -> Answer<bool> {
        let hooks = all::<HookRecord>(self.store(), HOOK, self.unreadable()).await?;
        Ok(hooks.iter().any(|(_, hook)| hook.value.versions.iter().any(|version| version.sha256 == sha256)))
    }

    pub(crate) async fn bindings_of(&self, hook: &str) -> Answer<Vec<(String, Kept<BindingRecord>)>> {
        let mut found = all::<BindingRecord>(self.store(), BINDING, self.unreadable()).await?;
        found.retain(|(_, binding)| binding.value.hook == hook);
        Ok(found)
    }

    /// Makes a hook of this name (`None` comes in), or changes the one that is there. Says whether it is new.
    pub(crate) async fn put_hook(
        &self,
        caller: &Caller,
        name: &str,
        condition: &IfMatch,
        change: impl FnOnce(Option<HookRecord>) -> Answer<HookRecord>,
    ) -> Answer<(bool, Kept<HookRecord>)> {
        let _lock = self.record_locks().lock_records().await;
        let found: Option<Kept<HookRecord>> = model::load(self.store(), HOOK, name).await?;
        let (version, is_new) = (found.as_ref().map(|found| found.version), found.is_none());
        match &found {
            Some(found) => condition.must_hold(Tag { created_ms: found.value.created_ms, version: found.version })?,
            None if condition.is_some() => return Err(IfMatch::failed()),
            None if self.store().count(HOOK).await? >= HOOKS_MAX as u64 => {
                return Err(Problem::conflict(format!("there are {HOOKS_MAX} hooks, which is the most; remove some")));
            }
            None => {}
        }
        let now_ms = self.clock().now_ms();
        let mut record = change(found.map(|found| found.value))?;
        if is_new {
            record.created_ms = now_ms;
        }
        (record.updated_ms, record.updated_by) = (now_ms, caller.who.clone());
        let action = if is_new { "hook.create" } else { "hook.update" };
        let expect = version.map_or(Expect::Absent, Expect::Version);
        let put = model::to_put((HOOK, name), expect, None, &record);
        let saved = self.logged(caller, (action, name), Vec::new(), vec![put]).await?;
        let version = saved.map_err(|model::Conflict| IfMatch::failed())?;
        Ok((is_new, Kept { version, value: record }))
    }

    /// Removes a hook with its versions; refused while bindings name it. Its bytes go with the next sweep.
    pub(crate) async fn delete_hook(&self, caller: &Caller, name: &str, condition: &IfMatch) -> Answer<()> {
        let _lock = self.record_locks().lock_records().await;
        let Kept { version, value: record } = self.hook(name).await?;
        condition.must_hold(Tag { created_ms: record.created_ms, version })?;
        let bound = self.bindings_of(name).await?.len();
        if bound > 0 {
            let detail =
                format!("{bound} bindings name this hook; remove them first (/api/v1/hook-bindings?hook={name})");
            return Err(Problem::conflict(detail));
        }
        let delete = model::to_delete((HOOK, name), Expect::Version(version));
        let deleted = self.logged(caller, ("hook.delete", name), Vec::new(), vec![delete]).await?;
        deleted.map(drop).map_err(|model::Conflict| IfMatch::failed())
    }

    /// Makes a binding.
    pub(crate) async fn create_binding(
        &self,
        caller: &Caller,
        change: impl FnOnce(&mut BindingRecord) -> Answer<()>,
        check: impl FnOnce(&BindingRecord, &HookRecord) -> Answer<()>,
    ) -> Answer<(String, Kept<BindingRecord>)> {
        let _lock = self.record_locks().lock_records().await;
        if self.store().count(BINDING).await? >= BINDINGS_MAX as u64 {
            return Err(Problem::conflict(format!(
                "there are {BINDINGS_MAX} bindings, which is the most; remove some"
            )));
        }
        let id = self.uuid()?;
        let mut record = BindingRecord { created_ms: self.clock().now_ms(), ..BindingRecord::default() };
        change(&mut record)?;
        let version =
            self.save_binding(caller, ("hook.binding.create", &id), Expect::Absent, (None, &mut record), check).await?;
        Ok((id, Kept { version, value: record }))
    }

    /// Changes a binding.
    pub(crate) async fn update_binding(
        &self,
        caller: &Caller,
        id: &str,
        condition: &IfMatch,
        change: impl FnOnce(&mut BindingRecord) -> Answer<()>,
        check: impl FnOnce(&BindingRecord, &HookRecord) -> Answer<()>,
    ) -> Answer<Kept<BindingRecord>> {
        let _lock = self.record_locks().lock_records().await;
        let Kept { version, value: mut record } = self.binding(id).await?;
        condition.must_hold(Tag { created_ms: record.created_ms, version })?;
        let before = record.clone();
        change(&mut record)?;
        let action = ("hook.binding.update", id);
        let records = (Some(&before), &mut record);
        let version = self.save_binding(caller, action, Expect::Version(version), records, check).await?;
        Ok(Kept { version, value: record })
    }

    async fn save_binding(
        &self,
        caller: &Caller,
        (action, id): (&str, &str),
        expect: Expect,
        (before, record): (Option<&BindingRecord>, &mut BindingRecord),
        check: impl FnOnce(&BindingRecord, &HookRecord) -> Answer<()>,
    ) -> Answer<u64> {
        let hook = self.hook(&record.hook).await?.value;
        check(record, &hook)?;
        if let Some(before) = before {
            let wanted = std::mem::replace(&mut record.version, before.version);
            let all = self.bindings_of(&record.hook).await?;
            let step = versions::next_step(all.iter().map(|(_, binding)| &binding.value));
            versions::move_to(record, &hook, wanted, step);
        }
        let told = record.to_link(id, &hook).ok_or_else(|| no_version(&hook, record.version))?;
        (record.updated_ms, record.updated_by) = (self.clock().now_ms(), caller.who.clone());
        let parts = vec![format!("hook {}", record.hook)];
        let unsettled = Unsettled::new(self, Subject::Binding(id.to_owned()));
        let put = model::to_put((BINDING, id), expect, None, record);
        let saved = self.logged(caller, (action, id), parts, vec![put]).await?;
        let version = saved.map_err(|model::Conflict| IfMatch::failed())?;
        self.fleet().bind(told);
        unsettled.settle();
        Ok(version)
    }

    /// Removes a binding.
    pub(crate) async fn delete_binding(&self, caller: &Caller, id: &str, condition: &IfMatch) -> Answer<()> {
        let _lock = self.record_locks().lock_records().await;
        let Kept { version, value: record } = self.binding(id).await?;
        condition.must_hold(Tag { created_ms: record.created_ms, version })?;
        let parts = vec![format!("hook {}", record.hook)];
        let unsettled = Unsettled::new(self, Subject::Binding(id.to_owned()));
        let delete = model::to_delete((BINDING, id), Expect::Version(version));
        let deleted = self.logged(caller, ("hook.binding.delete", id), parts, vec![delete]).await?;
        deleted.map_err(|model::Conflict| IfMatch::failed())?;
        self.fleet().unbind(id);
        unsettled.settle();
        Ok(())
    }

    /// Removes modules that no version and no slate names: of hooks that are gone, and of uploads that were cut off.
    pub(crate) async fn sweep_modules(&self) {
        // While somebody uploads, a module may be there whose version is not yet.
        let Ok(_sweeping) = self.record_locks().bytes.try_write() else { return };
        let swept = async {
            let hooks = all::<HookRecord>(self.store(), HOOK, self.unreadable()).await?;
            let slates = self.all_slates().await?;
            let (all_hooks, all_slates) = (self.store().count(HOOK).await?, self.store().count(SLATE).await?);
            if (hooks.len() as u64, slates.len() as u64) != (all_hooks, all_slates) {
                // One that cannot be read may name any of them.
                return Err(Problem::unavailable("store-failed", "a hook or a slate cannot be read", 60));
            }
            let versions = hooks.into_iter().flat_map(|(_, hook)| hook.value.versions);
            // By what is stored: what is held in memory may be behind a write whose end nobody saw.
            let slates = slates.into_iter().map(|(_, slate)| slate.value.sha256);
            let named: BTreeSet<String> = versions.map(|version| version.sha256).chain(slates).collect();
            modules::sweep(self.store(), |sha256| named.contains(sha256)).await
        };
        match swept.await {
            Ok(0) => {}
            Ok(modules) => tracing::info!(modules, "modules that no hook names any more are removed"),
            Err(problem) => {
                let status = problem.status().as_u16();
                tracing::warn!(
                    status,
                    "modules that no hook names cannot be removed now; the store keeps them until they can"
                );
            }
        }
    }
}

fn no_version(hook: &HookRecord, which: Which) -> Problem {
    let numbers: Vec<String> = hook.versions.iter().map(|version| version.number.to_string()).collect();
    Problem::conflict(match which {
        Which::Newest => "the hook has no version yet; upload one first (POST /api/v1/hooks/NAME/versions)".to_owned(),
        Which::Number(number) if numbers.is_empty() => {
            format!("the hook has no version {number}: it has none; upload one first")
        }
        Which::Number(number) => format!("the hook has no version {number}; it has {}", numbers.join(", ")),
    })
}
