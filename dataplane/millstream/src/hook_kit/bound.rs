//! A hook of a file, bound to what the command line gives it, in the engine that a node has.
use std::path::Path;

use anyhow::{Context as _, anyhow};
use millstream_hooks::json::{Event, Question};
use millstream_hooks::wit::meta;
use millstream_hooks::{Capacity, Hook, PublicKey, Report, Runtime, Secret, Settings, World, kind_of};

use crate::failure::Failure;
use crate::hook_flags::BoundFlags;

/// A hook that is ready to be asked.
pub(crate) struct Bound {
    pub(crate) hook: Hook,
    pub(crate) info: meta::Info,
    pub(crate) report: Report,
    pub(crate) event: Event,
}

/// Reads a module.
pub(crate) fn module(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display())).map_err(Failure::Configuration)
}

/// A secret, or what is in the file that is named with `@`.
pub(crate) fn secret(name: &str, value: &str) -> anyhow::Result<Secret> {
    let Some(file) = value.strip_prefix('@') else { return Ok(Secret::new(value)) };
    let text = std::fs::read_to_string(file).with_context(|| format!("secret {name}: cannot read {file}"))?;
    Ok(Secret::new(text.trim_end_matches(['\n', '\r'])))
}

/// Loads it; refused is what an upload would refuse, in the same words.
pub(crate) fn load(flags: &BoundFlags) -> Result<Bound, Failure> {
    let module = module(&flags.file)?;
    let file = flags.file.display();
    let world = kind_of(&module).with_context(|| file.to_string()).map_err(Failure::Running)?;
    if flags.frames.is_some() && world != World::Motion {
        return Err(Failure::Configuration(anyhow!("{file} is of the kind {world}: only motion hooks get frames")));
    }
    let event = event(flags.event.as_deref(), world)?;
    let runtime = Runtime::new(Capacity { calls: 4, kept: 1 }).map_err(Failure::running)?;
    let compiled = runtime.compile(&module, world).with_context(|| file.to_string()).map_err(Failure::Running)?;
    let loaded = runtime.load(&compiled.artifact).map_err(Failure::running)?;
    let settings = settings(flags, world).map_err(Failure::Configuration)?;
    let hook = Hook::new(loaded, settings);
    let info = Hook::new(hook.module().clone(), Settings::new("upload", "", world)).describe();
    let info = info.result.context("its `describe` fails, and no upload would be taken").map_err(Failure::Running)?;
    match hook.check_config().result {
        Ok(Ok(())) => {}
        Ok(Err(refused)) => {
            let advice = "it refuses its configuration, and a binding like this would let nobody in";
            return Err(Failure::Running(anyhow!("{advice}: {refused} (--config, --secret and --key set it)")));
        }
        Err(failure) => return Err(Failure::Running(anyhow!("its configuration cannot be checked: {failure}"))),
    }
    Ok(Bound { hook, info, report: compiled.report, event })
}

fn settings(flags: &BoundFlags, world: World) -> anyhow::Result<Settings> {
    let name = flags.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("hook");
    let mut settings = Settings::new(name, "test", world);
    settings.config.extend(flags.config.iter().cloned());
    for (name, value) in &flags.secret {
        settings.secrets.insert(name.clone(), secret(name, value)?);
    }
    for (name, file) in &flags.key {
        let file = file.trim_start_matches('@');
        let pem = std::fs::read_to_string(file).with_context(|| format!("key {name}: cannot read {file}"))?;
        settings.keys.insert(name.clone(), PublicKey::from_pem(&pem).with_context(|| file.to_owned())?);
    }
    Ok(settings)
}

/// The event of a file, or an example.
fn event(file: Option<&Path>, world: World) -> Result<Event, Failure> {
    let Some(file) = file else { return Ok(Event::new(Question::example(world))) };
    let read = || {
        let text = std::fs::read_to_string(file).context("cannot be read")?;
        let event = Event::parse(&text)?;
        let is = event.question.world();
        anyhow::ensure!(is == world, "the event is of the kind {is}, and the hook of the kind {world}");
        Ok(event)
    };
    read().with_context(|| file.display().to_string()).map_err(Failure::Configuration)
}
