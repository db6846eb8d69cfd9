//! Why a module is refused, told to its author.
use serde::{Deserialize, Serialize};

use crate::text::bounded;
use crate::world::World;

/// Why a module is refused. The messages are for its author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It does not begin as a module does.
    #[error(
        "this is not WebAssembly: a module begins with the bytes 00 61 73 6d. Upload the .wasm file that the compiler wrote, not its text form or an archive"
    )]
    NotWasm,
    /// It is larger than a module may be.
    #[error(
        "the module has {bytes} bytes, and at most {max} are taken: build it for size, and without debug information"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The maximum.
        max: usize,
    },
    /// It is damaged, or uses a part of WebAssembly that hooks do not have.
    #[error("the module is not valid: {0}")]
    Invalid(String),
    /// A core module that cannot be made a component.
    #[error(
        "this is a core module that does not say which world it was built for: {0}. Generate its bindings from hooks/wit (wit-bindgen)"
    )]
    Core(String),
    /// It exports another world, or none.
    #[error(
        "this is no hook of the kind {wanted}: it exports {}. One of this kind exports millstream:hooks/meta and millstream:hooks/{wanted}",
        listed(found)
    )]
    World {
        /// What it was uploaded as.
        wanted: World,
        /// What it exports.
        found: Vec<String>,
    },
    /// It was built against a version of the contract that this server does not speak.
    #[error(
        "the module was built against {found}, and this server speaks version {spoken}: build it against the hooks/wit of this server"
    )]
    Contract {
        /// The interface with its version.
        found: String,
        /// The server's version.
        spoken: String,
    },
    /// It imports what nobody gives it.
    #[error("the module imports {}, which hooks are not given: they have millstream:hooks/host and nothing else", listed(.0))]
    UnknownImports(
        /// Their names.
        Vec<String>,
    ),
    /// A function of the contract has another type than in `hooks/wit`.
    #[error("an import or export is not as in hooks/wit: {0}")]
    Types(String),
    /// It begins with more memory or larger tables than it may have.
    #[error("the module asks for {0}")]
    Memory(String),
    /// The compiler failed.
    #[error("the module could not be compiled: {0}")]
    Compile(String),
    /// The compiler's process failed.
    #[error("the compiler's process {0}")]
    Compiler(String),
}

impl Refused {
    /// A word for metrics and for programs.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotWasm => "not_wasm",
            Self::TooLarge { .. } => "too_large",
            Self::Invalid(_) => "invalid",
            Self::Core(_) => "core_module",
            Self::World { .. } => "world",
            Self::Contract { .. } => "contract",
            Self::UnknownImports(_) => "imports",
            Self::Types(_) => "types",
            Self::Memory(_) => "memory",
            Self::Compile(_) => "compile",
            Self::Compiler(_) => "compiler",
        }
    }
}

fn listed(names: &[String]) -> String {
    let mut text = names.iter().take(12).map(|name| bounded(name)).collect::<Vec<_>>().join(", ");
    if names.len() > 12 {
        text.push_str(", ...");
    }
    if text.is_empty() { "nothing".into() } else { text }
}
