//! What is looked at in a module before it is kept. Before it: an upload; after it: the version's record, or a refusal that tells the hook's author what to
//! do. Who looks is whoever runs hooks: the binary hands it in.
use std::pin::Pin;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::hook::World;

/// What is known of a module.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HookReport {
    /// The version of the contract that it was built against.
    pub contract: String,
    /// What it exports.
    pub exports: Vec<String>,
    /// What it imports.
    pub imports: Vec<String>,
    /// Imports that nothing is behind: the hook fails when it calls one. Toolchains bring them along; most hooks never do.
    pub traps: Vec<String>,
    /// Bytes of the compiled code.
    pub compiled_bytes: u64,
    /// Bytes of memory that an instance begins with.
    pub memory_bytes: u64,
    /// How long it took to compile.
    pub compile_ms: u64,
    /// What the hook calls itself.
    pub name: String,
    /// What it calls its version.
    pub version: String,
    /// What it reads of a binding's configuration.
    pub settings: Vec<HookSetting>,
}

/// Something that a hook reads of a binding's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HookSetting {
    /// The key.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// `text`, `secret`, `key` or `upstream`; an open set.
    pub kind: String,
    /// The hook does not work without it.
    pub required: bool,
    /// What counts when it is not set.
    pub default: Option<String>,
}

/// The outcome of a look at a module; an error is a sentence for its author.
pub type Inspected<'a> = Pin<Box<dyn Future<Output = Result<HookReport, String>> + Send + 'a>>;

/// Looks at modules.
pub trait Inspector: Send + Sync {
    /// Looks at a module that is to be a hook of this world.
    fn inspect(&self, world: World, module: Bytes) -> Inspected<'_>;
}
