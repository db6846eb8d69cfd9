//! From an uploaded module to compiled code, or to the reason why not.
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::artifact::{Artifact, LoadError};
use crate::inspect::{self, Form};
use crate::link::{check_types, link};
use crate::module::Module;
use crate::refused::Refused;
use crate::runtime::Runtime;
use crate::text::{bounded, hex};
use crate::world::{MAX_MEMORIES, World};

/// A module that was found good.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What was found.
    pub report: Report,
    /// The code.
    pub artifact: Artifact,
}

/// What is known of a module, for the answer to an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What the module is for.
    pub world: World,
    /// What was uploaded.
    pub form: Form,
    /// SHA-256 of what was uploaded.
    pub sha256: String,
    /// The version of the contract that it was built against.
    pub contract: String,
    /// What it exports, with versions.
    pub exports: Vec<String>,
    /// What it imports, with versions.
    pub imports: Vec<String>,
    /// Imports (`wasi:...`) that nothing is behind: the hook traps when it calls one. Toolchains drag them in; most hooks never do.
    pub traps: Vec<String>,
    /// Of what was uploaded.
    pub module_bytes: usize,
    /// Of the compiled code.
    pub artifact_bytes: usize,
    /// The memory that an instance begins with.
    pub memory_bytes: usize,
    /// How long compiling took.
    pub compile_time: Duration,
}

impl Runtime {
    /// Checks a module and compiles it: seconds of CPU for a large one. A server does that in a process of its own
    /// ([`compile_in_child`](crate::compile_in_child)).
    pub fn compile(&self, module: &[u8], world: World) -> Result<Compiled, Refused> {
        let began = Instant::now();
        let (bytes, form) = inspect::component(module)?;
        let found = inspect::look(&bytes, world)?;
        // Validation comes first, so that what the compiler says later is about the compiler.
        inspect::validate(&bytes)?;
        let component = Component::new(self.engine(), &bytes)
            .map_err(|error| Refused::Compile(bounded(&format!("{:#}", error.root_cause()))))?;
        let memory_bytes = fits(&component)?;
        let types = |error: wasmtime::Error| Refused::Types(bounded(&format!("{error:#}")));
        let pre = link(self, &component).map_err(types)?;
        check_types(&pre, world).map_err(types)?;
        let code = component.serialize().map_err(|error| Refused::Compile(bounded(&format!("{error:#}"))))?;
        let sha256: [u8; 32] = Sha256::digest(module).into();
        let report = Report {
            world,
            form,
            sha256: hex(&sha256),
            contract: found.contract,
            exports: found.exports,
            imports: found.imports,
            traps: found.traps,
            module_bytes: module.len(),
            artifact_bytes: code.len(),
            memory_bytes,
            compile_time: began.elapsed(),
        };
        Ok(Compiled { report, artifact: Artifact::trusted(sha256, world, self.fingerprint(), code) })
    }

    /// Makes compiled code ready to be called.
    pub fn load(&self, artifact: &Artifact) -> Result<Module, LoadError> {
        Module::new(self, artifact)
    }
}

/// The memory that an instance begins with, when the pool has room for what it needs.
fn fits(component: &Component) -> Result<usize, Refused> {
    let Some(needs) = component.resources_required() else {
        return Err(Refused::Invalid("it imports or exports whole modules; a hook is one component".into()));
    };
    if needs.num_memories > MAX_MEMORIES || needs.num_tables > 8 {
        let (memories, tables) = (needs.num_memories, needs.num_tables);
        let what = format!("{memories} memories and {tables} tables, and a hook has at most {MAX_MEMORIES} and 8");
        return Err(Refused::Memory(what));
    }
    Ok(needs.max_initial_memory_size.unwrap_or(0) as usize * inspect::PAGE_BYTES)
}
