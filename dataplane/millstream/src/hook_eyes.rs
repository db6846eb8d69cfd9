//! Motion hooks in a worker's process: what the node has compiled is loaded, and called for each picture. Before it: [`millstream_worker`], which
//! is told which hook looks at which stream; after it: `millstream_hooks`, which bounds each call.
//!
//! A hook has no secrets and no public keys here: this process reads what strangers send.
use std::sync::Arc;

use bytes::Bytes;
use millstream_hooks::wit::motion::{Event, Source};
use millstream_hooks::wit::types::Target;
use millstream_hooks::{Called, Failure, Hook, Motion, Runtime, Settings, World};
use millstream_worker::eyes::{Blind, Call, Eye, Eyes, Seen, Sight};
use millstream_worker::protocol::{HookKey, HookSpec, HookUse, Region};

/// What runs hooks; `None`: they cannot run here, which has been said.
pub(crate) fn eyes() -> Option<Arc<dyn Eyes>> {
    let runtime = Runtime::without_pool();
    let runtime = runtime.inspect_err(|error| tracing::error!(%error, "this worker runs no hooks")).ok()?;
    Some(Arc::new(HookEyes(runtime)))
}

struct HookEyes(Runtime);

impl Eyes for HookEyes {
    fn load(&self, key: &HookKey, spec: &HookSpec, sealed: &Bytes) -> Result<Arc<dyn Sight>, String> {
        let opened = millstream_hooks::open(&key.0, sealed, &self.0.fingerprint());
        let compiled = opened.map_err(|error| error.to_string())?;
        if compiled.report.sha256 != spec.sha256 {
            return Err("it is the code of another module".to_owned());
        }
        let module = self.0.load(&compiled.artifact).map_err(|error| error.to_string())?;
        if module.world() != World::Motion {
            return Err(format!("it is of the kind {}", module.world()));
        }
        let settings = Settings {
            config: spec.config.clone(),
            ..Settings::new(spec.name.clone(), spec.version.to_string(), World::Motion)
        };
        Ok(Arc::new(Ready(Hook::new(module, settings))))
    }
}

/// A hook that can be called.
struct Ready(Hook);

impl Sight for Ready {
    fn open(
        &self,
        of: &HookUse,
        (width, height): (u32, u32),
        calls: &mut dyn FnMut(Call<'_>),
    ) -> Result<(Box<dyn Eye>, u32), Blind> {
        // Its log is this stream's alone.
        let settings = Settings { logs: Arc::default(), ..self.0.settings().clone() };
        let hook = Hook::new(self.0.module().clone(), settings);
        let target = Target {
            app: of.app.clone(),
            name: of.stream.clone(),
            params: Vec::new(),
            settings: Vec::new(),
            labels: Vec::new(),
            extra: Vec::new(),
        };
        let source = Source { target, width, height, fps_num: 0, fps_den: 1, extra: Vec::new() };
        let mut motion = told(hook.motion(), calls)?;
        let wanted = told(motion.start(&source), calls);
        let mut looks = Looks { motion, hook, lines: 0 };
        looks.tell_lines(calls);
        let wanted = wanted?.map_err(Blind::Unwilling)?;
        // The host has checked that it is more than 0 and at most 30.
        let every_ms = (1_000.0 / wanted.fps).round().clamp(1.0, 60_000.0) as u32;
        Ok((Box::new(looks), every_ms))
    }
}

/// What a call came to.
fn told<T>(called: Called<T>, calls: &mut dyn FnMut(Call<'_>)) -> Result<T, Blind> {
    calls(Call::Took(called.cpu.as_micros() as u64));
    called.result.map_err(|failure: Failure| Blind::Failed(failure.label(), failure.to_string()))
}

/// An instance at work.
struct Looks {
    motion: Motion,
    hook: Hook,
    /// Lines of its log that were told.
    lines: u64,
}

impl Looks {
    fn tell_lines(&mut self, calls: &mut dyn FnMut(Call<'_>)) {
        let logs = &self.hook.settings().logs;
        if logs.next_number() == self.lines {
            return;
        }
        for line in logs.since(self.lines) {
            self.lines = line.number + 1;
            calls(Call::Wrote(line.level.word(), &line.text));
        }
    }
}

impl Eye for Looks {
    fn look(
        &mut self,
        luma: &[u8],
        (width, height): (u32, u32),
        pts_ms: u64,
        calls: &mut dyn FnMut(Call<'_>),
    ) -> Result<Option<Seen>, Blind> {
        let event = told(self.motion.on_frame(luma, width, height, pts_ms), calls);
        self.tell_lines(calls);
        Ok(event?.map(|event| seen(event, (f64::from(width), f64::from(height)))))
    }
}

/// Parts of the picture in place of pixels.
fn seen(event: Event, (width, height): (f64, f64)) -> Seen {
    let region = |region: millstream_hooks::wit::motion::Region| Region {
        x: f64::from(region.x) / width,
        y: f64::from(region.y) / height,
        width: f64::from(region.width) / width,
        height: f64::from(region.height) / height,
        score: f64::from(region.score),
    };
    Seen {
        active: event.active,
        score: f64::from(event.score),
        regions: event.regions.into_iter().map(region).collect(),
        label: event.label,
    }
}
