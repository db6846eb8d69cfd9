//! What is looked at in a module before it is kept. Before it: an upload; after it: the version's record, or a refusal that tells the hook's author what to
//! do. Who looks is whoever runs hooks: the binary hands it in.
use std::collections::BTreeMap;
use std::pin::Pin;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::hook::{BindingRecord, World};

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
    /// Whether it works with the configurations of the hook's bindings, as they were when it was uploaded.
    pub configurations: Vec<HookConfiguration>,
}

/// Whether a version works with the configuration of a binding.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HookConfiguration {
    /// The binding's id.
    pub binding: String,
    /// Null: this control cannot tell.
    pub accepted: Option<bool>,
    /// Why not, or why it cannot tell.
    pub reason: String,
}

impl HookConfiguration {
    /// What came of a check.
    pub(crate) fn of(binding: &str, check: &ConfigCheck) -> Self {
        let (accepted, reason) = match check {
            ConfigCheck::Accepted => (Some(true), ""),
            ConfigCheck::Refused(reason) => (Some(false), reason.as_str()),
            ConfigCheck::Unknown(why) => (None, why.as_str()),
        };
        Self { binding: binding.to_owned(), accepted, reason: reason.to_owned() }
    }
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

/// A module that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// What it is for.
    pub world: World,
    /// Its SHA-256.
    pub sha256: String,
    /// What was uploaded.
    pub bytes: Bytes,
    /// Who vouches for it.
    pub signature: Option<String>,
}

/// What a binding gives a module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Given {
    /// What it may read as its configuration.
    pub config: BTreeMap<String, String>,
    /// Names of secrets that it may have used.
    pub secrets: Vec<String>,
}

impl Given {
    /// What this binding gives.
    pub(crate) fn of(binding: &BindingRecord) -> Self {
        Self { config: binding.config.clone(), secrets: binding.secrets.clone() }
    }
}

/// Whether a module works with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfigCheck {
    /// It does.
    Accepted,
    /// It says why not, or fails when it is asked.
    Refused(String),
    /// That cannot be told here: a secret is missing that nodes may have.
    Unknown(String),
}

/// The outcome of checks, one for each configuration.
pub type Checked<'a> = Pin<Box<dyn Future<Output = Result<Vec<ConfigCheck>, String>> + Send + 'a>>;
/// What came of an event.
pub type Tried<'a> = Pin<Box<dyn Future<Output = Result<Value, TrialRefused>> + Send + 'a>>;

/// Why a version is not asked; each with a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrialRefused {
    /// The event is none.
    Event {
        /// The field of the event that is wrong; empty: the event as a whole.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// What is to be given to it is not here.
    Secrets(String),
    /// The module itself cannot run here.
    Module(String),
}

/// Looks at modules.
pub trait Inspector: Send + Sync {
    /// Looks at a module that is to be a hook of this world.
    fn inspect(&self, world: World, module: Bytes) -> Inspected<'_>;

    /// Asks a module about configurations.
    fn check(&self, module: Kept, given: Vec<Given>) -> Checked<'_>;

    /// Nobody keeps this module: nor is what was made of it to look at it. Nothing happens where a binding in force has it.
    fn forget(&self, world: World, sha256: &str);

    /// Puts an event to a module, in the JSON form of events.
    fn try_out(&self, module: Kept, given: Given, event: Value) -> Tried<'_>;
}
