//! Makes components of core modules, and tells what a module is for: for authors' tools. Uploads take core modules, too.
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap};

use crate::inspect::{self, Form};
use crate::refused::Refused;
use crate::text::bounded;
use crate::wit;
use crate::world::World;

/// The component of a module. A core module whose bindings did not put the contract's section into it is taken for that world; one that has the
/// section needs none. A component comes back as it is.
pub fn pack(module: &[u8], world: Option<World>) -> Result<(Vec<u8>, Form), Refused> {
    let Some(world) = world.filter(|_| !says_its_world(module)) else { return inspect::component(module) };
    let core = |error: String| Refused::Core(bounded(&error));
    let (resolve, id) = contract(world).map_err(core)?;
    let mut with_section = module.to_vec();
    embed_component_metadata(&mut with_section, &resolve, id, StringEncoding::UTF8)
        .map_err(|error| core(format!("{error:#}")))?;
    inspect::component(&with_section)
}

/// What a module is for, by what it exports.
pub fn kind_of(module: &[u8]) -> Result<World, Refused> {
    let (component, _) = inspect::component(module)?;
    let mut refused = None;
    for world in World::ALL {
        match inspect::look(&component, world) {
            Ok(_) => return Ok(world),
            Err(error @ Refused::World { .. }) => refused = refused.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or(Refused::NotWasm))
}

/// A component does, and so does a core module with the section that wit-bindgen writes.
fn says_its_world(module: &[u8]) -> bool {
    use wasmparser::{Parser, Payload};
    Parser::is_component(module)
        || Parser::new(0).parse_all(module).any(|payload| {
            matches!(payload, Ok(Payload::CustomSection(section)) if section.name().starts_with("component-type"))
        })
}

fn contract(world: World) -> Result<(Resolve, wit_parser::WorldId), String> {
    let mut files = SourceMap::default();
    for (name, text) in wit::FILES {
        files.push_str(name, text);
    }
    let group = files.parse().map_err(|(_, error)| error.to_string())?;
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).map_err(|error| format!("{error:#}"))?;
    let id = resolve.select_world(&[package], Some(world.wit_world())).map_err(|error| format!("{error:#}"))?;
    Ok((resolve, id))
}
