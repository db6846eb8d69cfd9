//! `millstream hook pack`: a component of a core module.
use anyhow::{Context as _, anyhow};
use millstream_hooks::{Form, Hook, Runtime, Settings, World, kind_of};

use super::show::Lines;
use super::{bound, show};
use crate::failure::Failure;
use crate::hook_flags::PackFlags;

/// Writes the component, once it is known that an upload would take it.
pub(crate) fn run(flags: &PackFlags) -> Result<(), Failure> {
    let file = flags.file.display();
    let module = bound::module(&flags.file)?;
    let given = flags.kind.map(World::from);
    let packed = millstream_hooks::pack(&module, given).with_context(|| match given {
        Some(_) => file.to_string(),
        None => format!("{file} (--kind says what it is for, where its bindings have not)"),
    });
    let (component, form) = packed.map_err(Failure::Running)?;
    let world = kind_of(&component).with_context(|| file.to_string()).map_err(Failure::Running)?;
    if let Some(given) = given.filter(|given| *given != world) {
        return Err(Failure::Running(anyhow!("{file} is of the kind {world}, and not {given}")));
    }
    let runtime = Runtime::without_pool().map_err(Failure::running)?;
    let compiled = runtime.compile(&component, world).with_context(|| file.to_string()).map_err(Failure::Running)?;
    let loaded = runtime.load(&compiled.artifact).map_err(Failure::running)?;
    let info = Hook::new(loaded, Settings::new("upload", "", world)).describe().result;
    let info = info.context("its `describe` fails, and no upload would be taken").map_err(Failure::Running)?;
    let output = flags.output.clone().unwrap_or_else(|| flags.file.with_extension("component.wasm"));
    std::fs::write(&output, &component)
        .with_context(|| format!("cannot write {}", output.display()))
        .map_err(Failure::Running)?;
    let mut lines = Lines::default();
    show::hook(&mut lines, &info, &compiled.report);
    if form == Form::Component {
        lines.add("note", "it was a component already");
    }
    lines.add("written", output.display());
    lines.print()
}
