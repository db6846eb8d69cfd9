//! Hooks: modules that operators upload, in versions, and bindings, which say where each is asked.
use std::borrow::Cow;
use std::collections::BTreeMap;

use millstream_control_protocol::state;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::hooks::inspect::HookReport;
use crate::hooks::versions::{Failed, Had, TakenBack};

/// Hooks that may exist.
pub const HOOKS_MAX: usize = 100;
/// Versions that are kept of a hook; with another one the oldest that is not bound goes.
pub const VERSIONS_MAX: usize = 10;
/// Bindings that may exist: all of them are told to nodes that are new, and asked one after the other.
pub const BINDINGS_MAX: usize = 1_000;
/// Bytes of a hook's description.
pub const DESCRIPTION_BYTES_MAX: usize = 1_024;
/// Pairs of a binding's configuration.
pub const CONFIG_PAIRS_MAX: usize = 32;
/// Bytes of a pair's name.
pub const CONFIG_NAME_BYTES_MAX: usize = 64;
/// Bytes of a pair's value.
pub const CONFIG_VALUE_BYTES_MAX: usize = 1_024;
/// Names of secrets of a binding.
pub const SECRETS_MAX: usize = 16;
/// The highest place in an order.
pub const ORDER_MAX: u32 = 9_999;

/// The world that a hook is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum World {
    /// Decides who may publish or play.
    #[default]
    Auth,
    /// Chooses renditions.
    Policy,
    /// Looks for motion.
    Motion,
    /// Is told what happens.
    Events,
}

impl World {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Policy => "policy",
            Self::Motion => "motion",
            Self::Events => "events",
        }
    }

    /// Where hooks of this world can be asked.
    pub const fn points(self) -> &'static [Point] {
        match self {
            Self::Auth => &[Point::Publish, Point::Play],
            Self::Policy => &[Point::Renditions],
            Self::Motion => &[Point::Motion],
            Self::Events => &[Point::Events],
        }
    }
}

/// Where a hook is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Point {
    /// Before somebody publishes.
    #[default]
    Publish,
    /// Before somebody plays.
    Play,
    /// When a stream begins: which renditions it is to have.
    Renditions,
    /// With frames of a stream.
    Motion,
    /// When something has happened.
    Events,
}

impl Point {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Play => "play",
            Self::Renditions => "renditions",
            Self::Motion => "motion",
            Self::Events => "events",
        }
    }
}

/// How much a binding counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Its hook is not asked.
    #[default]
    Off,
    /// Its hook is asked, and what it says is counted and not followed.
    Shadow,
    /// Its hook decides for a share of the streams, and is a shadow for the others.
    Canary,
    /// Its hook decides.
    Live,
}

impl Mode {
    /// Its hook decides, for all streams or for some.
    pub const fn decides(self) -> bool {
        matches!(self, Self::Canary | Self::Live)
    }
}

/// What form a module has, as its first bytes tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A WebAssembly component.
    #[default]
    Component,
    /// A core module, which has to carry the section that makes a component of it.
    Module,
}

/// A hook as kept, under its name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HookRecord {
    /// What it is made for; never changes.
    pub world: World,
    /// What it is, for people.
    pub description: String,
    /// Those that are kept, by number.
    pub versions: Vec<VersionRecord>,
    /// Numbers that were given: the next version has one more, whatever was removed.
    pub last_version: u64,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// When it was last changed, Unix milliseconds.
    pub updated_ms: u64,
    /// Who changed it.
    pub updated_by: String,
}

/// A version of a hook as kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionRecord {
    /// Its number, from 1.
    pub number: u64,
    /// SHA-256 of its module, 64 hexadecimal digits: what the bytes are kept under.
    pub sha256: String,
    /// The module's size.
    pub bytes: u64,
    /// Its form.
    pub form: Form,
    /// What was found in it; `None`: nobody has looked, as where control is of a build without hooks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<HookReport>,
    /// Its signatures, in base64url with spaces between them: Ed25519 over the SHA-256 of the module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// It has failed too often: nothing goes to it unless somebody says so who knows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<Failed>,
    /// When it was uploaded, Unix milliseconds.
    pub created_ms: u64,
    /// Who uploaded it.
    pub created_by: String,
}

impl HookRecord {
    /// The version that a binding means.
    pub fn version(&self, which: Which) -> Option<&VersionRecord> {
        match which {
            Which::Newest => self.versions.last(),
            Which::Number(number) => self.versions.iter().find(|version| version.number == number),
        }
    }
}

/// Which version of a hook: a number, or the word `newest`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Spoken", into = "Spoken")]
pub enum Which {
    /// Whichever was uploaded last, also from now on.
    #[default]
    Newest,
    /// This one.
    Number(u64),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged, expecting = "give a version's number, or the word newest")]
enum Spoken {
    Number(u64),
    Word(Newest),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Newest {
    Newest,
}

impl From<Spoken> for Which {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Number(number) => Self::Number(number),
            Spoken::Word(Newest::Newest) => Self::Newest,
        }
    }
}

impl From<Which> for Spoken {
    fn from(which: Which) -> Self {
        match which {
            Which::Newest => Self::Word(Newest::Newest),
            Which::Number(number) => Self::Number(number),
        }
    }
}

impl PartialSchema for Which {
    fn schema() -> RefOr<Schema> {
        // Stands for what [`which_json`] says, which `openapi::finish` puts in its place.
        Schema::default().into()
    }
}

impl ToSchema for Which {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("HookVersionWanted")
    }
}

/// [`Which`] in the OpenAPI document.
pub(crate) fn which_json() -> serde_json::Value {
    json!({
        "description": "A version's number, or the word for whichever was uploaded last",
        "oneOf": [{ "type": "integer", "minimum": 1, "maximum": u32::MAX }, { "type": "string", "enum": ["newest"] }],
    })
}

/// A binding as kept, under its id.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BindingRecord {
    /// The hook's name.
    pub hook: String,
    /// Which version of it.
    pub version: Which,
    /// Of this stream only.
    pub stream: Option<String>,
    /// Where it is asked.
    pub point: Point,
    /// Its place among those of the same point.
    pub order: u32,
    /// How much it counts.
    pub mode: Mode,
    /// With [`Mode::Canary`]: of how many streams in a hundred it decides.
    pub canary_percent: u32,
    /// What the hook may read as its configuration.
    pub config: BTreeMap<String, String>,
    /// Names of secrets that the hook may have used for it.
    pub secrets: Vec<String>,
    /// Versions that it had before, oldest first.
    pub had: Vec<Had>,
    /// Rises with each change of its version.
    pub generation: u64,
    /// The version that it lost by itself, until it is given another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<TakenBack>,
    /// When it was made, Unix milliseconds.
    pub created_ms: u64,
    /// When it was last changed, Unix milliseconds.
    pub updated_ms: u64,
    /// Who changed it.
    pub updated_by: String,
}

impl BindingRecord {
    /// What nodes are told; `None` where the version that it means is not there.
    pub fn to_link(&self, id: &str, hook: &HookRecord) -> Option<state::Binding> {
        let version = hook.version(self.version)?;
        Some(state::Binding {
            id: id.to_owned(),
            hook: self.hook.clone(),
            kind: hook.world.as_str().to_owned(),
            version: version.number,
            sha256: version.sha256.clone(),
            bytes: version.bytes,
            stream: self.stream.clone(),
            point: self.point.as_str().to_owned(),
            order: self.order,
            mode: match self.mode {
                Mode::Off => state::Mode::Off,
                Mode::Shadow => state::Mode::Shadow,
                Mode::Canary => state::Mode::Canary,
                Mode::Live => state::Mode::Live,
            },
            canary_percent: if self.mode == Mode::Canary { self.canary_percent } else { 0 },
            config: self.config.clone(),
            secrets: self.secrets.clone(),
            generation: self.generation,
            signature: version.signature.clone(),
        })
    }
}

/// What is known of a module's bytes while they are kept; written before them, removed after them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModuleRecord {
    /// How many there are.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number_or_the_word() {
        let read = |text: &str| serde_json::from_str::<Which>(text);
        assert_eq!(read("\"newest\"").unwrap(), Which::Newest);
        assert_eq!(read("3").unwrap(), Which::Number(3));
        for wrong in ["\"oldest\"", "-1", "1.5", "null", "[]"] {
            assert!(read(wrong).unwrap_err().to_string().contains("the word newest"), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&[Which::Newest, Which::Number(3)]).unwrap(), "[\"newest\",3]");
    }

    #[test]
    fn what_a_binding_means_is_resolved() {
        let version = |number| VersionRecord { number, sha256: format!("{number:064x}"), ..VersionRecord::default() };
        let hook = HookRecord { versions: vec![version(2), version(5)], last_version: 5, ..HookRecord::default() };
        let told = |which| {
            let binding = BindingRecord { version: which, canary_percent: 5, ..BindingRecord::default() };
            binding.to_link("b", &hook).map(|told| (told.version, told.canary_percent))
        };
        assert_eq!(told(Which::Newest), Some((5, 0)));
        assert_eq!(told(Which::Number(2)), Some((2, 0)));
        assert_eq!(told(Which::Number(3)), None);
        assert_eq!(BindingRecord::default().to_link("b", &HookRecord::default()), None);
    }
}
