//! A hook of a file, bound to what the command line gives it, in the engine that a node has.
use std::fs::File;
use std::io::Read as _;
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
    /// What it is asked, with the lines of the file; at least one.
    pub(crate) events: Vec<(usize, Event)>,
}

/// Events of a file.
const EVENTS_MAX: usize = 100_000;
/// Bytes of a file of events.
const EVENTS_BYTES_MAX: u64 = 256 << 20;

impl Bound {
    /// The first one.
    pub(crate) fn question(&self) -> Option<&Question> {
        self.events.first().map(|(_, event)| &event.question)
    }
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
    let events = events(flags.event.as_deref(), world)?;
    let runtime = Runtime::new(Capacity { calls: 4, kept: 1 }).map_err(Failure::running)?;
    let compiled = runtime.compile(&module, world).with_context(|| file.to_string()).map_err(Failure::Running)?;
    let loaded = runtime.load(&compiled.artifact).map_err(Failure::running)?;
    let settings = settings(flags, world).map_err(Failure::Configuration)?;
    let hook = Hook::new(loaded, settings);
    let info = Hook::new(hook.module().clone(), Settings::new("upload", "", world)).describe();
    let info = info.result.context("its `describe` fails, and no upload would be taken").map_err(Failure::Running)?;
    takes_config(&hook).map_err(Failure::Running)?;
    Ok(Bound { hook, info, report: compiled.report, events })
}

/// Refuses a hook that does not take its configuration.
pub(crate) fn takes_config(hook: &Hook) -> anyhow::Result<()> {
    match hook.check_config().result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(refused)) => {
            let advice = "it refuses its configuration, and a binding like this would let nobody in";
            Err(anyhow!("{advice}: {refused} (--config, --secret and --key set it)"))
        }
        Err(failure) => Err(anyhow!("its configuration cannot be checked: {failure}")),
    }
}

/// What a binding and a node would give a hook.
pub(crate) fn given(
    mut settings: Settings,
    config: &[(String, String)],
    secrets: &[(String, String)],
    keys: &[(String, String)],
) -> anyhow::Result<Settings> {
    settings.config.extend(config.iter().cloned());
    for (name, value) in secrets {
        settings.secrets.insert(name.clone(), secret(name, value)?);
    }
    for (name, file) in keys {
        let file = file.trim_start_matches('@');
        let pem = std::fs::read_to_string(file).with_context(|| format!("key {name}: cannot read {file}"))?;
        settings.keys.insert(name.clone(), PublicKey::from_pem(&pem).with_context(|| file.to_owned())?);
    }
    Ok(settings)
}

fn settings(flags: &BoundFlags, world: World) -> anyhow::Result<Settings> {
    let name = flags.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or("hook");
    given(Settings::new(name, "test", world), &flags.config, &flags.secret, &flags.key)
}

/// The events of a file, or an example.
fn events(file: Option<&Path>, world: World) -> Result<Vec<(usize, Event)>, Failure> {
    let Some(file) = file else { return Ok(vec![(1, Event::new(Question::example(world)))]) };
    let read = || {
        let mut text = String::new();
        let opened = File::open(file).context("cannot be read")?;
        opened.take(EVENTS_BYTES_MAX + 1).read_to_string(&mut text).context("cannot be read")?;
        anyhow::ensure!(text.len() as u64 <= EVENTS_BYTES_MAX, "it has more than {EVENTS_BYTES_MAX} bytes");
        let events = Event::parse_all(&text, EVENTS_MAX)?;
        for (line, event) in &events {
            let is = event.question.world();
            let at = if events.len() > 1 { format!("line {line}: ") } else { String::new() };
            anyhow::ensure!(is == world, "{at}the event is of the kind {is}, and the hook of the kind {world}");
        }
        Ok(events)
    };
    read().with_context(|| file.display().to_string()).map_err(Failure::Configuration)
}
