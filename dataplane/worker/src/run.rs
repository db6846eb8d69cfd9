//! The worker's process: orders in, jobs, reports out. Before it: the binary's subcommand; after it: [`crate::job`] and [`crate::snapshot`].
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;

use crate::capacity;
use crate::crash;
use crate::eyes::{Eyes, Seeing, Sight};
use crate::ffmpeg::{Ffmpeg, FfmpegSettings};
use crate::job::{Job, Jobs, Said};
use crate::mark::Fonts;
use crate::motion::hooked::Hooked;
use crate::net::{self, Port};
use crate::protocol::{
    FrameError, HookKey, HookSpec, HookUse, MotionSettings, Order, PROTOCOL, Reader, Report, Sandbox, SecretUrl, Why,
};
use crate::reporter::Reporter;
use crate::sandbox::{self, Code};
use crate::snapshot::{Request, Snapshots, Taken};
use crate::sprite::{Sprite, Sprites};
use crate::watch::Watch;

const READ_BYTES: usize = 16 << 10;
/// Jobs at the same time.
const JOBS_MAX: usize = 64;
/// Streams in which motion is looked for at the same time.
const WATCHES_MAX: usize = 128;

/// Hooks that are ready at the same time.
const HOOKS_MAX: usize = 64;

/// Why a worker ends before its node says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The pipes failed.
    #[error("the worker's pipes: {0}")]
    Io(#[from] io::Error),
    /// What came is no message, and nothing behind it can be read.
    #[error("the node's orders: {0}")]
    Frame(#[from] FrameError),
    /// The process that starts children of `ffmpeg` cannot be started.
    #[error("the process that starts ffmpeg cannot be started: {0}")]
    Starter(#[source] io::Error),
}

/// The worker's process: limits itself, then takes orders until its input ends; text is drawn with these fonts, whose files are open, and what is not
/// decoded here, or is to be encoded by another encoder, goes to children of an `ffmpeg`. It connects to these ports alone, or to any where none is given. The
/// kernel ends it with the *thread* that started it (`PR_SET_PDEATHSIG`), so that has to be one that lives as long as the node.
///
/// # Errors
/// See [`RunError`]. When this returns, the process is to end: threads may still be at work.
pub fn run(
    input: impl Read,
    output: impl Write + Send + 'static,
    (fonts, ports): (Fonts, &[u16]),
    ffmpeg: Option<&FfmpegSettings>,
) -> Result<(), RunError> {
    let ffmpeg = started(ffmpeg)?;
    crash::report_faults();
    // Before there is any other thread: what is set for a thread holds for those that it starts.
    let sandbox = sandbox::enter(Code::Own, ports);
    serve_with(input, output, sandbox, (fonts, ffmpeg), Seeing::default())
}

/// The process that starts children: before this one limits itself.
fn started(settings: Option<&FfmpegSettings>) -> Result<Option<Ffmpeg>, RunError> {
    settings.map(Ffmpeg::start).transpose().map_err(RunError::Starter)
}

/// The same for a worker that runs motion hooks: it may run code that it was not started with, which no other worker may. `eyes` is called
/// when the limits are in force.
///
/// # Errors
/// See [`RunError`].
pub fn run_with_hooks(
    input: impl Read,
    output: impl Write + Send + 'static,
    (fonts, ports): (Fonts, &[u16]),
    ffmpeg: Option<&FfmpegSettings>,
    eyes: impl FnOnce() -> Option<Arc<dyn Eyes>>,
) -> Result<(), RunError> {
    let ffmpeg = started(ffmpeg)?;
    crash::report_faults();
    let sandbox = sandbox::enter(Code::OfHooks, ports);
    serve_with(input, output, sandbox, (fonts, ffmpeg), Seeing(eyes()))
}

/// Takes orders until the input ends, without limits on the process: for tests.
///
/// # Errors
/// See [`RunError`].
pub fn serve(
    input: impl Read,
    output: impl Write + Send + 'static,
    sandbox: Sandbox,
    fonts: Fonts,
) -> Result<(), RunError> {
    serve_with(input, output, sandbox, (fonts, None), Seeing::default())
}

fn serve_with(
    mut input: impl Read,
    output: impl Write + Send + 'static,
    sandbox: Sandbox,
    (fonts, ffmpeg): (Fonts, Option<Ffmpeg>),
    seeing: Seeing,
) -> Result<(), RunError> {
    let reporter = Reporter::start(output)?;
    if ffmpeg.is_some() && !sandbox.landlock {
        tracing::warn!("this kernel has no Landlock: ffmpeg is kept from writing files, and not from reading them");
    }
    let capacity = capacity::measure();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    tracing::info!(?capacity, ?sandbox, "worker ready");
    reporter.tell(Report::Ready { protocol: PROTOCOL, version, capacity, sandbox });
    let mut worker = Worker {
        snapshots: Snapshots::new(reporter.clone(), ffmpeg.clone()),
        sprites: Sprites::new(reporter.clone()),
        reporter,
        jobs: HashMap::new(),
        decoded: Jobs::new(ffmpeg, capacity),
        watches: HashMap::new(),
        fonts,
        seeing,
        hook_key: None,
        hooks: HashMap::new(),
    };
    let (mut reader, mut buffer) = (Reader::new(), vec![0; READ_BYTES]);
    loop {
        let length = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        reader.push(buffer.get(..length).unwrap_or_default());
        loop {
            match reader.poll::<Order>() {
                Ok(Some(message)) => worker.obey(message.header, message.payload),
                Ok(None) => break,
                Err(error @ FrameError::Json(_)) => tracing::warn!(%error, "an order that is not understood"),
                Err(error) => return Err(error.into()),
            }
        }
    }
    tracing::info!("the node has gone");
    Ok(())
}

struct Worker {
    reporter: Reporter,
    jobs: HashMap<u64, Job>,
    snapshots: Snapshots,
    sprites: Sprites,
    /// What jobs have decoded.
    decoded: Jobs,
    /// Each with how many hooks look at it.
    watches: HashMap<u64, (Watch, usize)>,
    fonts: Fonts,
    /// What runs hooks.
    seeing: Seeing,
    hook_key: Option<HookKey>,
    /// Hooks that are ready, and why others are not.
    hooks: HashMap<u64, Result<Arc<dyn Sight>, String>>,
}

impl Worker {
    /// Gives jobs, watches and hooks the room that they need, and this much more. A hook needs it once, and for each stream that it looks at.
    fn make_room(&self, jobs: usize, watches: usize, hooks: usize) {
        let looking: usize = self.watches.values().map(|(_, hooks)| hooks).sum();
        let hooks = self.hooks.len() + looking + hooks;
        sandbox::make_room(self.jobs.len() + jobs, self.watches.len() + watches, hooks);
    }

    /// Makes a hook ready.
    fn load(&self, spec: &HookSpec, sealed: &Bytes) -> Result<Arc<dyn Sight>, String> {
        let Some(eyes) = &self.seeing.0 else { return Err("this worker runs no hooks".to_owned()) };
        let Some(key) = &self.hook_key else { return Err("the worker has no key for hooks".to_owned()) };
        eyes.load(key, spec, sealed)
    }

    /// What looks for motion in a stream in place of the built-in detector.
    fn look_by(&self, of: HookUse, motion: MotionSettings) -> Result<Hooked, String> {
        let sight = self.hooks.get(&of.hook).cloned();
        let sight = sight.unwrap_or_else(|| Err("the worker was given no such hook".to_owned()))?;
        Ok(Hooked::new(sight, of, motion))
    }

    fn obey(&mut self, order: Order, payload: Bytes) {
        self.jobs.retain(|_, job| !job.is_over());
        self.watches.retain(|_, (watch, _)| !watch.is_over());
        match order {
            Order::Introduce { http, rtmp } => {
                net::introduce(Port::Http, http);
                net::introduce(Port::Rtmp, rtmp);
            }
            Order::Start { job, source, renditions, marks } => {
                let refusal = match () {
                    () if self.jobs.contains_key(&job) => {
                        Some((Why::BadOrder, "a job of this number stands".to_owned()))
                    }
                    () if self.jobs.len() >= JOBS_MAX => {
                        Some((Why::Full, format!("renditions of {JOBS_MAX} streams are made here already")))
                    }
                    () => None,
                };
                if let Some((why, error)) = refusal {
                    return self.reporter.tell(Report::Ended { job, rendition: None, why, error: Some(error) });
                }
                self.make_room(1, 0, 0);
                let marks = Said { fonts: self.fonts.clone(), marks, file: payload };
                let with = (self.reporter.clone(), &self.decoded);
                let running = Job::start(job, source, renditions, marks, with);
                self.jobs.insert(job, running);
            }
            // A job that is over has told so; the order was on its way.
            Order::Renditions { job, renditions } => {
                if let Some(running) = self.jobs.get_mut(&job) {
                    running.set(renditions);
                }
            }
            Order::Marks { job, marks } => {
                if let Some(running) = self.jobs.get_mut(&job) {
                    running.mark(Said { fonts: self.fonts.clone(), marks, file: payload });
                }
            }
            Order::Stop { job } => {
                if let Some(running) = self.jobs.remove(&job) {
                    running.stop();
                }
            }
            Order::Snapshot { request, source, width_max, quality } => {
                let stream = crate::net::source::stream_of(&source);
                let running = self.decoded.newest(&stream);
                let running = running.map(|(picture, colour, pts_ms)| Taken { picture, colour, pts_ms });
                self.snapshots.ask(source, Request { id: request, width_max, quality }, running);
            }
            Order::Sprite { request, columns, tile_width_max, tile_height_max, tiles } => {
                let sprite = Sprite { request, columns, within: (tile_width_max, tile_height_max), tiles, payload };
                self.sprites.ask(sprite);
            }
            Order::Watch { watch, source, motion, hook, shadow } => self.watch(watch, source, motion, [hook, shadow]),
            Order::Unwatch { watch } => drop(self.watches.remove(&watch)),
            Order::HookKey { key } => self.hook_key = Some(key),
            Order::Hook { hook, spec } => {
                if self.hooks.len() >= HOOKS_MAX {
                    return tracing::warn!(hook = spec.name, "too many hooks");
                }
                self.make_room(0, 0, 1);
                let loaded = self.load(&spec, &payload);
                if let Err(error) = &loaded {
                    tracing::warn!(hook = spec.name, version = spec.version, error, "a motion hook cannot be used");
                }
                self.hooks.insert(hook, loaded);
            }
            Order::Unhook { hook } => drop(self.hooks.remove(&hook)),
            Order::Ping => self.reporter.tell(Report::Pong),
            Order::Unknown => tracing::warn!("an order of a newer version"),
        }
    }

    fn watch(&mut self, watch: u64, source: SecretUrl, motion: MotionSettings, [hook, shadow]: [Option<HookUse>; 2]) {
        let refuse = |why, error: String| {
            self.reporter.tell(Report::WatchEnded { watch, why, error: Some(error) });
        };
        if self.watches.contains_key(&watch) || self.watches.len() >= WATCHES_MAX {
            return refuse(Why::BadOrder, "a watch of this number stands, or there are too many".to_owned());
        }
        let hooked = match hook.map(|hook| self.look_by(hook, motion)).transpose() {
            Ok(hooked) => hooked,
            Err(error) => return refuse(Why::Unsupported, error),
        };
        // One that cannot look beside costs the watch nothing: why has been said when it was loaded.
        let hooks = [hooked, shadow.and_then(|shadow| self.look_by(shadow, motion).ok())];
        let looking = hooks.iter().flatten().count();
        self.make_room(0, 1, looking);
        match Watch::start(watch, source, motion, self.reporter.clone(), self.decoded.clone(), hooks) {
            Ok(running) => drop(self.watches.insert(watch, (running, looking))),
            Err(error) => refuse(Why::Failed, format!("no thread: {error}")),
        }
    }
}
