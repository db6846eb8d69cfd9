//! What is said to be wrong with a binding, in sentences for people. Before it: records, and what nodes tell of hooks that fail; after it:
//! [`super::bindings`], which shows it.
use millstream_control_protocol::exchange::{AddressFailures, HookCalls};

use crate::Api;
use crate::hooks::versions::{Failed, RollbackWhen, TakenBack};
use crate::model::hook::{BindingRecord, VersionRecord};

/// What nodes tell of hooks that fail, and when that is too often.
pub(super) struct Failing(RollbackWhen, Vec<HookCalls>);

impl Failing {
    /// Of now.
    pub(super) fn of(api: &Api) -> Self {
        Self(api.hook_rules().rollback, api.fleet().failing_hooks())
    }

    /// All that is wrong with a binding, which means this version.
    pub(super) fn warnings(&self, id: &str, record: &BindingRecord, means: Option<&VersionRecord>) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(TakenBack { version, failed: Failed { calls, failures, .. } }) = record.taken_back {
            warnings.push(format!(
                "version {version} failed in {failures} of {calls} calls within a minute, so the binding went back to the version before it; upload a mended \
                 one and activate that"
            ));
        }
        if let Some(VersionRecord { number, failed: Some(Failed { calls, failures, .. }), .. }) = means {
            warnings.push(format!(
                "version {number} failed in {failures} of {calls} calls within a minute; upload a mended one and activate that"
            ));
        }
        warnings.extend(means.and_then(|means| self.blamed(id, record, means)));
        warnings
    }

    /// That a version would have been taken back, were it not for one or two addresses.
    fn blamed(&self, id: &str, record: &BindingRecord, means: &VersionRecord) -> Option<String> {
        let Self(when, told) = self;
        let version = means.number;
        let is_it =
            |told: &&HookCalls| told.binding == id && told.generation == record.generation && told.version == version;
        let told = told.iter().find(is_it)?;
        let AddressFailures { address, failures } = when.blamed(told)?;
        let whose = if address.is_empty() { "one address, as it may be" } else { address.as_str() };
        Some(format!(
            "version {version} failed in {} of {} calls within the last minute, in {failures} of them for requests of {whose}; it is not taken back for what \
             one or two addresses cause",
            told.failures, told.calls
        ))
    }
}
