//! Compiled code that may be loaded. The one place of the crate with `unsafe`.
#![allow(unsafe_code)]
use wasmtime::component::Component;

use crate::runtime::Runtime;
use crate::text::{bounded, hex};
use crate::world::World;

/// Compiled code of a module, made by this program: by [`Runtime::compile`], by its compiler's process, or read from the authenticated
/// cache. There is no other way to get one, because native code from elsewhere would run with all rights of the server.
#[derive(Clone)]
pub struct Artifact {
    sha256: [u8; 32],
    world: World,
    /// Of the engine that compiled it.
    fingerprint: [u8; 32],
    code: Vec<u8>,
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Artifact({}, {}, {} bytes)", self.world, hex(&self.sha256), self.code.len())
    }
}

/// Why compiled code cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Another version of the runtime, other settings or another processor: compile the module again.
    #[error("the compiled code is for another engine or processor: compile the module again")]
    Foreign,
    /// The runtime does not take it.
    #[error("the compiled code cannot be used: {0}")]
    Unusable(String),
}

impl Artifact {
    /// For the modules of this crate that know where the code comes from.
    pub(crate) fn trusted(sha256: [u8; 32], world: World, fingerprint: [u8; 32], code: Vec<u8>) -> Self {
        Self { sha256, world, fingerprint, code }
    }

    /// SHA-256 of the module that was compiled.
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// What the module is for.
    pub fn world(&self) -> World {
        self.world
    }

    /// Of the engine that compiled it; see [`Runtime::fingerprint`].
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The code's size in bytes.
    pub fn size(&self) -> usize {
        self.code.len()
    }

    pub(crate) fn code(&self) -> &[u8] {
        &self.code
    }

    pub(crate) fn component(&self, runtime: &Runtime) -> Result<Component, LoadError> {
        if self.fingerprint != runtime.fingerprint() {
            return Err(LoadError::Foreign);
        }
        // SAFETY: `deserialize` runs what the bytes say as native code, so they must come unchanged from `Component::serialize` of this
        // version of wasmtime. An `Artifact` is made in three places of this crate, each of which has the bytes from there: `compile` from
        // the call itself, `child` from a process of this program over a pipe that only the two have, and `cache` from bytes whose HMAC,
        // under a key of this node or of one of its processes, was checked over exactly these bytes. The fingerprint above makes sure of version, settings and processor.
        unsafe { Component::deserialize(runtime.engine(), &self.code) }
            .map_err(|error| LoadError::Unusable(bounded(&format!("{error:#}"))))
    }
}
