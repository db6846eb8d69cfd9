//! `millstream demo --hook FILE` in a build without hooks: says what to do.
use millstream_engine::Remote;
use millstream_policy::Chain;

use crate::failure::Failure;
use crate::hook_flags::DemoHookFlags;
use crate::hook_kit;

/// There is none.
pub(crate) enum DemoHook {}

impl DemoHook {
    pub(crate) fn bind(
        flags: &DemoHookFlags,
        _: (&str, Option<usize>),
        _: &Chain,
    ) -> Result<Option<(Self, Chain)>, Failure> {
        if flags.hook.is_some() { Err(hook_kit::not_built()) } else { Ok(None) }
    }

    pub(crate) fn shown(&self) -> &str {
        match *self {}
    }

    pub(crate) fn decide_for(&self, _: Remote) {
        match *self {}
    }
}
