//! Looks at a module before it is compiled: what it is, what it exports and imports, whether it is valid.
use serde::{Deserialize, Serialize};
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};
use wit_component::ComponentEncoder;

use crate::refused::Refused;
use crate::text::bounded;
use crate::wit;
use crate::world::{MAX_MEMORY_BYTES, MAX_MODULE_BYTES, MAX_TABLE_ELEMENTS, World};

/// Of linear memory.
pub(crate) const PAGE_BYTES: usize = 64 << 10;

/// What was uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A component.
    Component,
    /// A core module with a section that says its world, which was made a component.
    CoreModule,
}

/// The names that a component has.
pub(crate) struct Found {
    pub(crate) contract: String,
    pub(crate) exports: Vec<String>,
    pub(crate) imports: Vec<String>,
    pub(crate) traps: Vec<String>,
}

/// The component, made from a core module where it is one.
pub(crate) fn component(module: &[u8]) -> Result<(Vec<u8>, Form), Refused> {
    if module.len() > MAX_MODULE_BYTES {
        return Err(Refused::TooLarge { bytes: module.len(), max: MAX_MODULE_BYTES });
    }
    if !module.starts_with(b"\0asm") {
        return Err(Refused::NotWasm);
    }
    if Parser::is_component(module) {
        return Ok((module.to_vec(), Form::Component));
    }
    if !Parser::is_core_wasm(module) {
        return Err(Refused::Invalid("its version is neither that of a module nor that of a component".into()));
    }
    let core = |error: &dyn std::fmt::Display| Refused::Core(bounded(&error.to_string()));
    validate(module)?;
    let encoder = ComponentEncoder::default().module(module).map_err(|error| core(&format!("{error:#}")))?;
    let component = encoder.validate(true).encode().map_err(|error| core(&format!("{error:#}")))?;
    Ok((component, Form::CoreModule))
}

/// Only what the engine has too: see `runtime::settings`.
pub(crate) fn validate(bytes: &[u8]) -> Result<(), Refused> {
    let mut features = WasmFeatures::default();
    let without =
        WasmFeatures::MULTI_MEMORY | WasmFeatures::MEMORY64 | WasmFeatures::THREADS | WasmFeatures::RELAXED_SIMD;
    features.remove(without | WasmFeatures::GC | WasmFeatures::EXCEPTIONS | WasmFeatures::CM_ASYNC);
    features.insert(WasmFeatures::GC_TYPES | WasmFeatures::COMPONENT_MODEL);
    let valid = Validator::new_with_features(features).validate_all(bytes);
    valid.map(|_| ()).map_err(|error| Refused::Invalid(bounded(&error.to_string())))
}

/// Reads the outermost names, and holds them against the world.
pub(crate) fn look(component: &[u8], world: World) -> Result<Found, Refused> {
    let invalid = |error: wasmparser::BinaryReaderError| Refused::Invalid(bounded(&error.to_string()));
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(invalid)? {
            Payload::Version { encoding: Encoding::Component | Encoding::Module, .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    imports.push(import.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export.map_err(invalid)?.name.name.to_owned());
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let bytes = memory.map_err(invalid)?.initial.saturating_mul(PAGE_BYTES as u64);
                    if bytes > MAX_MEMORY_BYTES as u64 {
                        let (asked, most) = (bytes >> 20, MAX_MEMORY_BYTES >> 20);
                        return Err(Refused::Memory(format!(
                            "{asked} MiB of memory at its start, and a hook has at most {most} MiB"
                        )));
                    }
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    let elements = table.map_err(invalid)?.ty.initial;
                    if elements > MAX_TABLE_ELEMENTS as u64 {
                        return Err(Refused::Memory(format!(
                            "a table of {elements} elements, and a hook has at most {MAX_TABLE_ELEMENTS}"
                        )));
                    }
                }
            }
            _ => {}
        }
    }
    // What it was built against comes first: with another contract, the rest is bound to be wrong too.
    let ours: Vec<Interface<'_>> = imports.iter().chain(&exports).filter_map(|name| Interface::of(name)).collect();
    if let Some(other) = ours.iter().find(|it| !it.is_spoken()) {
        return Err(Refused::Contract { found: other.full.to_owned(), spoken: wit::VERSION.to_owned() });
    }
    let exported = |name: &str| exports.iter().filter_map(|it| Interface::of(it)).any(|it| it.name == name);
    if !exported("meta") || !exported(world.as_str()) {
        return Err(Refused::World { wanted: world, found: exports });
    }
    let (mut unknown, mut traps) = (Vec::new(), Vec::new());
    for import in &imports {
        match Interface::of(import) {
            Some(it) if ["host", "types"].contains(&it.name) => {}
            None if import.starts_with("wasi:") => traps.push(import.clone()),
            _ => unknown.push(import.clone()),
        }
    }
    if !unknown.is_empty() {
        return Err(Refused::UnknownImports(unknown));
    }
    let contract = ours.first().map_or(wit::VERSION, |it| it.version).to_owned();
    Ok(Found { contract, exports, imports, traps })
}

/// `millstream:hooks/NAME@VERSION`.
struct Interface<'a> {
    full: &'a str,
    name: &'a str,
    version: &'a str,
}

impl<'a> Interface<'a> {
    fn of(full: &'a str) -> Option<Self> {
        let rest = full.strip_prefix(wit::PACKAGE)?.strip_prefix('/')?;
        let (name, version) = rest.split_once('@').unwrap_or((rest, ""));
        Some(Self { full, name, version })
    }

    /// Versions 0.1.x are one line: a later one only adds, so that a module of an earlier one goes on. One of a later one may need more.
    fn is_spoken(&self) -> bool {
        let parts = |version: &str| {
            let mut parts = version.splitn(3, '.').map(str::parse);
            match (parts.next(), parts.next(), parts.next()) {
                (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Some::<(u64, u64, u64)>((major, minor, patch)),
                _ => None,
            }
        };
        match (parts(self.version), parts(wit::VERSION)) {
            (Some(it), Some(ours)) => (it.0, it.1) == (ours.0, ours.1) && it.2 <= ours.2,
            _ => false,
        }
    }
}
