//! Links a module to the host, and holds its types against the contract.
//!
//! The generated bindings look exports up by name alone and compare types at the first call, so a module of another shape would be found
//! out by a viewer. Here it is found out at the upload.
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentNamedList, InstancePre, Lift, Linker, Lower, ResourceType};
use wasmtime::{Result, bail, format_err};

use crate::runtime::Runtime;
use crate::state::State;
use crate::wit;
use crate::wit::auth::{Reply, Request, Step};
use crate::wit::events::{Notice, Order};
use crate::wit::meta::Info;
use crate::wit::motion::{Event, Source as Watched, Wanted};
use crate::wit::policy::{Rendition, Source};
use crate::world::World;

/// The module with the host's functions behind its imports, and a trap behind each function of WASI.
pub(crate) fn link(runtime: &Runtime, component: &Component) -> Result<InstancePre<State>> {
    let mut linker = runtime.linker().clone();
    trap_wasi(&mut linker, component)?;
    // Compares the types of what is imported.
    linker.instantiate_pre(component)
}

fn trap_wasi(linker: &mut Linker<State>, component: &Component) -> Result<()> {
    let engine = component.engine();
    for (interface, item) in component.component_type().imports(engine) {
        let (true, ComponentItem::ComponentInstance(instance)) = (interface.starts_with("wasi:"), item.ty) else {
            continue;
        };
        let mut traps = linker.instance(interface)?;
        for (name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    let full = format!("{interface}#{name}");
                    traps.func_new(name, move |_, _, _, _| {
                        bail!("it called {full}, which hooks are not given; the upload's report lists it")
                    })?;
                }
                ComponentItem::Resource(_) => {
                    traps.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether all functions of the world are there and have the contract's types.
pub(crate) fn check_types(pre: &InstancePre<State>, world: World) -> Result<()> {
    let module = Types(pre);
    module.check::<(), (Info,)>("meta", "describe")?;
    module.check::<(), (Result<(), String>,)>("meta", "check-config")?;
    match world {
        World::Auth => {
            module.check::<(&Request,), (Step,)>("auth", "authorize")?;
            module.check::<(&Request, &[u8], Result<&Reply, &str>), (Step,)>("auth", "resume")
        }
        World::Policy => module.check::<(&Source,), (Vec<Rendition>,)>("policy", "select-renditions"),
        World::Motion => {
            module.check::<(&Watched,), (Result<Wanted, String>,)>("motion", "start")?;
            module.check::<(&[u8], u32, u32, u64), (Option<Event>,)>("motion", "on-frame")
        }
        World::Events => module.check::<(&[Notice],), (Vec<Order>,)>("events", "on-notices"),
    }
}

struct Types<'a>(&'a InstancePre<State>);

impl Types<'_> {
    fn check<Params, Return>(&self, interface: &str, function: &str) -> Result<()>
    where
        Params: ComponentNamedList + Lower,
        Return: ComponentNamedList + Lift,
    {
        let found = self.function(interface, function);
        let found = found.ok_or_else(|| format_err!("{interface} has no function {function}"))?;
        let right = found.typecheck::<Params, Return>(&self.0.instance_type());
        right.map_err(|error| format_err!("{interface}, {function}: {error:#}"))
    }

    fn function(&self, interface: &str, function: &str) -> Option<ComponentFunc> {
        let (engine, ty) = (self.0.engine(), self.0.component().component_type());
        let exports = ty.exports(engine);
        // Any version that is spoken has the same functions.
        let wanted = format!("{}/{interface}@", wit::PACKAGE);
        let mut found = exports.filter(|(name, _)| name.starts_with(&wanted));
        let ComponentItem::ComponentInstance(instance) = found.next()?.1.ty else { return None };
        match instance.get_export(engine, function)?.ty {
            ComponentItem::ComponentFunc(function) => Some(function),
            _ => None,
        }
    }
}
