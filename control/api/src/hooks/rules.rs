//! What an operator has said about the versions of hooks: see `[hooks]` of the configuration.
use millstream_policy::signatures::TrustedKeys;

use super::versions::RollbackWhen;

/// What an operator has said about the versions of hooks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HookRules {
    /// Only modules that one of these has signed are kept; none: all are.
    pub trusted_keys: TrustedKeys,
    /// When a version is taken back.
    pub rollback: RollbackWhen,
}
