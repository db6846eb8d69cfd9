//! A module that is loaded: its code, and where its exports are.
use std::sync::Arc;

use wasmtime::component::InstancePre;

use crate::artifact::{Artifact, LoadError};
use crate::link::link;
use crate::runtime::Runtime;
use crate::state::State;
use crate::text::bounded;
use crate::wit::{auth, events, meta, motion, policy};
use crate::world::World;

/// A module of which instances can be made. Clones are the same module.
#[derive(Clone)]
pub struct Module(Arc<Inner>);

struct Inner {
    runtime: Runtime,
    pre: InstancePre<State>,
    exports: Exports,
    sha256: [u8; 32],
}

/// Where the functions are, found once.
pub(crate) struct Exports {
    pub(crate) meta: meta::GuestIndices,
    pub(crate) role: Role,
}

/// Those of the module's world.
pub(crate) enum Role {
    Auth(auth::GuestIndices),
    Policy(policy::GuestIndices),
    Motion(motion::GuestIndices),
    Events(events::GuestIndices),
}

impl Exports {
    /// Finds them; the error says what is missing or has another type.
    pub(crate) fn find(pre: &InstancePre<State>, world: World) -> wasmtime::Result<Self> {
        Ok(Self {
            meta: meta::GuestIndices::new(pre)?,
            role: match world {
                World::Auth => Role::Auth(auth::GuestIndices::new(pre)?),
                World::Policy => Role::Policy(policy::GuestIndices::new(pre)?),
                World::Motion => Role::Motion(motion::GuestIndices::new(pre)?),
                World::Events => Role::Events(events::GuestIndices::new(pre)?),
            },
        })
    }
}

impl Module {
    pub(crate) fn new(runtime: &Runtime, artifact: &Artifact) -> Result<Self, LoadError> {
        let failed = |error: wasmtime::Error| LoadError::Unusable(bounded(&format!("{error:#}")));
        let component = artifact.component(runtime)?;
        let pre = link(runtime, &component).map_err(failed)?;
        let exports = Exports::find(&pre, artifact.world()).map_err(failed)?;
        Ok(Self(Arc::new(Inner { runtime: runtime.clone(), pre, exports, sha256: artifact.sha256() })))
    }

    /// What the module is for.
    pub fn world(&self) -> World {
        match self.0.exports.role {
            Role::Auth(_) => World::Auth,
            Role::Policy(_) => World::Policy,
            Role::Motion(_) => World::Motion,
            Role::Events(_) => World::Events,
        }
    }

    /// SHA-256 of the module as it was uploaded.
    pub fn sha256(&self) -> [u8; 32] {
        self.0.sha256
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    pub(crate) fn pre(&self) -> &InstancePre<State> {
        &self.0.pre
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.0.exports
    }
}
