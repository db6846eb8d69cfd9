//! Uploads: a module becomes a version of its hook. Before it: the route, which has read and checked the module; after it: the store, and the nodes of
//! bindings that take the newest version.
use bytes::Bytes;
use millstream_fleet::limits::MODULES_BYTES_MAX;
use millstream_policy::signatures::{self, SIGNATURES_MAX};
use millstream_store::item::Expect;

use super::inspect::{ConfigCheck, Given, HookConfiguration, HookReport, Kept as Module};
use super::{life, modules, versions};
use crate::Api;
use crate::auth::Caller;
use crate::http::problem::{Answer, Problem};
use crate::model::hook::{BindingRecord, Form, HookRecord, Mode, VERSIONS_MAX, VersionRecord, Which};
use crate::model::{self, BINDING, HOOK, Kept};
use crate::reconcile::{Subject, Unsettled};

impl Api {
    /// Adds a version with this module; one that has it already is given again. Says whether it is new.
    pub(crate) async fn add_version(
        &self,
        caller: &Caller,
        name: &str,
        (module, form): (Bytes, Form),
        report: Option<HookReport>,
        signature: Option<String>,
    ) -> Answer<(bool, VersionRecord)> {
        let bytes = module.len() as u64;
        let hashing = module.clone();
        let hashed = tokio::task::spawn_blocking(move || modules::sha256(&hashing)).await;
        let sha256 = hashed.map_err(|_| Problem::unavailable("ending", "the server is ending", 10))?;
        let _uploading = self.record_locks().uploading().await;
        // One that is there already, and says no less than this.
        let same = |hook: &HookRecord| {
            let same = hook.versions.iter().find(|version| version.sha256 == sha256)?;
            let has =
                |wanted: &String| same.signature.as_ref().is_some_and(|all| all.split(' ').any(|it| it == wanted));
            signature.as_ref().is_none_or(has).then(|| same.clone())
        };
        if let Some(version) = same(&self.hook(name).await?.value) {
            return Ok((false, version));
        }
        if modules::bytes_kept(self.store()).await? + bytes > MODULES_BYTES_MAX {
            let detail = format!(
                "all modules together would have more than {MODULES_BYTES_MAX} bytes, which is the most; remove hooks that are not needed"
            );
            return Err(Problem::conflict(detail));
        }
        modules::keep(self.store(), &sha256, &module).await?;

        let _lock = self.record_locks().lock_records().await;
        let Kept { version: at, value: mut hook } = self.hook(name).await?;
        if let Some(version) = same(&hook) {
            return Ok((false, version));
        }
        let bound = self.bindings_of(name).await?;
        let now_ms = self.clock().now_ms();
        let known = hook.versions.iter_mut().find(|version| version.sha256 == sha256);
        let is_new = known.is_none();
        let (version, parts) = if let Some(known) = known {
            known.signature = self.with_signature(known, signature.as_deref())?;
            (known.clone(), vec![format!("version {} signed", known.number)])
        } else {
            let dropped = make_room(&mut hook, &bound)?;
            hook.last_version += 1;
            let (number, created_by) = (hook.last_version, caller.who.clone());
            let version = VersionRecord {
                number,
                sha256,
                bytes,
                form,
                report,
                signature,
                failed: None,
                created_ms: now_ms,
                created_by,
            };
            let mut parts = vec![format!("version {number}")];
            parts.extend(dropped.map(|number| format!("version {number} dropped")));
            (version, parts)
        };
        let unsettled = Unsettled::new(self, Subject::Hook(name.to_owned()));
        let mut changes = Vec::new();
        let mut after = bound.clone();
        if is_new {
            let step = versions::next_step(bound.iter().map(|(_, binding)| &binding.value));
            for (id, binding) in after.iter_mut().filter(|(_, binding)| binding.value.version == Which::Newest) {
                let before = versions::number(&binding.value, &hook);
                versions::note(&mut binding.value, before, step);
                changes.push(model::to_put((BINDING, id), Expect::Version(binding.version), None, &binding.value));
            }
            hook.versions.push(version.clone());
        }
        // What bindings remember comes first: a version that none of them had is passed over when they go back.
        while changes.len() > life::BINDINGS_AT_ONCE {
            let first = changes.split_off(changes.len() - life::BINDINGS_AT_ONCE);
            let saved = model::transact(self.store(), first).await?;
            saved.map_err(|model::Conflict| changed_meanwhile())?;
        }
        (hook.updated_ms, hook.updated_by) = (now_ms, caller.who.clone());
        changes.insert(0, model::to_put((HOOK, name), Expect::Version(at), None, &hook));
        let saved = self.logged(caller, ("hook.version.create", name), parts, changes).await?;
        // Under the lock nobody else writes it, but another process of a later release might.
        saved.map_err(|model::Conflict| changed_meanwhile())?;
        self.fleet().bind_all(after.iter().filter_map(|(id, binding)| binding.value.to_link(id, &hook)));
        unsettled.settle();
        Ok((is_new, version))
    }

    /// The signatures of a version with one more. Nodes may have keys that control has not, so a new one never takes the place of another.
    fn with_signature(&self, version: &VersionRecord, more: Option<&str>) -> Answer<Option<String>> {
        let Some(more) = more else { return Ok(version.signature.clone()) };
        let trusted = &self.hook_rules().trusted_keys;
        let is_kept = |signature: &&str| trusted.check(&version.sha256, Some(signature)).is_ok();
        let known: Vec<&str> = version.signature.iter().flat_map(|all| all.split(' ')).filter(is_kept).collect();
        let all = signatures::joined(Some(&known.join(" ")), more, SIGNATURES_MAX).ok_or_else(|| {
            let number = version.number;
            Problem::conflict(format!(
                "version {number} has {SIGNATURES_MAX} signatures, which is the most; upload the module as a version of another hook, or remove this hook"
            ))
        })?;
        Ok(Some(all))
    }

    /// What is found of a module with the configurations of the hook's bindings; refused where one that takes it at once cannot work with it.
    pub(crate) async fn check_upload(&self, name: &str, module: &Module) -> Answer<Vec<HookConfiguration>> {
        let mut bound = self.bindings_of(name).await?;
        bound.retain(|(_, binding)| binding.value.mode != Mode::Off);
        let given = bound.iter().map(|(_, binding)| Given::of(&binding.value)).collect();
        let checks = self.check_configs(module.clone(), given).await?;
        for ((id, binding), check) in bound.iter().zip(&checks) {
            let takes_it = binding.value.version == Which::Newest && binding.value.mode.decides();
            if let ConfigCheck::Refused(reason) = check
                && takes_it
            {
                return Err(Problem::conflict(format!(
                    "the binding {id} takes the newest version, and this one refuses its configuration: {reason}. Give the binding the number of the version \
                     that it has (PATCH /api/v1/hook-bindings/{id}), or another configuration"
                )));
            }
        }
        Ok(bound.iter().zip(&checks).map(|((id, _), check)| HookConfiguration::of(id, check)).collect())
    }
}

fn changed_meanwhile() -> Problem {
    Problem::conflict("the hook was changed at the same moment; send it again")
}

/// Drops the oldest version that no binding means where there are as many as are kept; gives its number.
fn make_room(hook: &mut HookRecord, bound: &[(String, Kept<BindingRecord>)]) -> Answer<Option<u64>> {
    if hook.versions.len() < VERSIONS_MAX {
        return Ok(None);
    }
    let means = |number| bound.iter().any(|(_, binding)| binding.value.version == Which::Number(number));
    // What a binding would go back to stays, as long as something else can go.
    let goes_back_to =
        |number| bound.iter().any(|(_, it)| it.value.had.last().is_some_and(|had| had.version == number));
    let position = |goes: &dyn Fn(u64) -> bool| hook.versions.iter().position(|version| goes(version.number));
    let spare = position(&|number| !means(number) && !goes_back_to(number));
    let Some(oldest) = spare.or_else(|| position(&|number| !means(number))) else {
        let detail = format!("all {VERSIONS_MAX} versions of this hook are bound, which is the most; unbind one first");
        return Err(Problem::conflict(detail));
    };
    Ok(Some(hook.versions.remove(oldest).number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_version_that_is_not_bound_goes_first() {
        let version = |number| VersionRecord { number, ..VersionRecord::default() };
        let full =
            || HookRecord { versions: (1..=10).map(version).collect(), last_version: 10, ..HookRecord::default() };
        let bound = |which: &[Which]| -> Vec<_> {
            let binding = |version| BindingRecord { version, ..BindingRecord::default() };
            let kept = which.iter().map(|which| Kept { version: 1, value: binding(*which) });
            kept.map(|kept| ("id".to_owned(), kept)).collect()
        };
        let check = |mut hook: HookRecord, which: &[Which], expected: Option<u64>| {
            assert_eq!(make_room(&mut hook, &bound(which)).unwrap(), expected, "{which:?}");
            assert!(hook.versions.len() < VERSIONS_MAX);
        };
        check(HookRecord::default(), &[], None);
        check(full(), &[], Some(1));
        // Whoever means the newest will mean the next one.
        check(full(), &[Which::Newest], Some(1));
        check(full(), &[Which::Number(2), Which::Number(1)], Some(3));
        let all: Vec<_> = (1..=10).map(Which::Number).collect();
        assert!(make_room(&mut full(), &bound(&all)).is_err());
    }
}
