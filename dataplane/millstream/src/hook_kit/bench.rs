//! `millstream hook bench`: how many calls a core makes, and what they take.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use millstream_hooks::json::Question;
use millstream_hooks::{Failure as CallFailure, Kv, Logs, Settings};

use super::bound::{Bound, load};
use super::frames::Frames;
use super::show::{self, Lines};
use crate::failure::Failure;
use crate::hook_flags::BenchFlags;

/// Calls before the first that counts.
const WARM_UP: usize = 100;
/// No more are kept; at 20 us each that is a minute.
const CALLS_MAX: usize = 3_000_000;

/// Calls for as long as it was told to, and prints figures of CPU time: other programs on the machine change little of them.
pub(crate) fn run(flags: &BenchFlags) -> Result<(), Failure> {
    let bound = load(&flags.bound)?;
    let mut call = caller(&bound, flags.bound.frames.as_deref())?;
    let failed = |failure: CallFailure| Failure::Running(anyhow!("a node would have had no answer: {failure}"));
    for _ in 0..WARM_UP {
        call().map_err(failed)?;
    }
    let (mut cpu, ends) = (Vec::new(), Instant::now() + flags.time);
    while cpu.len() < CALLS_MAX && (cpu.is_empty() || Instant::now() < ends) {
        cpu.push(call().map_err(failed)?);
    }
    cpu.sort_unstable();
    let at = |per_mille: usize| cpu[(cpu.len() - 1) * per_mille / 1000];
    let total: Duration = cpu.iter().sum();
    let budget = bound.hook.settings().limits.cpu;
    let mut lines = Lines::default();
    show::hook(&mut lines, &bound.info, &bound.report);
    let per_second = cpu.len() as f64 / total.as_secs_f64();
    lines.add("calls", format!("{}, {per_second:.0} per second of a core", cpu.len()));
    for (name, per_mille) in [("cpu p50", 500), ("cpu p99", 990), ("cpu max", 1000)] {
        lines.add(name, show::cpu(at(per_mille), budget));
    }
    let settings = bound.hook.settings();
    let kib = |bytes: usize| bytes / 1024;
    let peak = settings.memory_peak.load(Ordering::Relaxed);
    lines.add("memory", format!("{} KiB of {} KiB", kib(peak), kib(settings.limits.memory_bytes)));
    lines.add("compiled", format!("{} bytes in {:.0?}", bound.report.artifact_bytes, bound.report.compile_time));
    lines.print()
}

type Call<'a> = Box<dyn FnMut() -> Result<Duration, CallFailure> + 'a>;

/// One call after the other.
fn caller<'a>(bound: &'a Bound, frames: Option<&str>) -> Result<Call<'a>, Failure> {
    let hook = &bound.hook;
    if let Some(Question::Motion(source)) = bound.question() {
        let cannot = |failure: CallFailure| Failure::Running(anyhow!("it cannot be started: {failure}"));
        let mut motion = hook.motion().result.map_err(cannot)?;
        let wanted = motion.start(source).result.map_err(cannot)?;
        let wanted = wanted.map_err(|why| Failure::Running(anyhow!("it does not want this stream: {why}")))?;
        let frames = Frames::of(frames.unwrap_or("square"))?;
        let size = (wanted.width, wanted.height);
        let count = frames.count(size.0 as usize * size.1 as usize)?;
        let all: Vec<Vec<u8>> = (0..count).map(|n| frames.frame(n, size)).collect();
        let mut n = 0;
        return Ok(Box::new(move || {
            let luma = &all[(n % count) as usize];
            let pts_ms = (n as f64 * 1000.0 / f64::from(wanted.fps)) as u64;
            n += 1;
            let called = motion.on_frame(luma, size.0, size.1, pts_ms);
            called.result.map(|_| called.cpu)
        }));
    }
    let mut n = 0_u32;
    let mut asked = hook.clone();
    Ok(Box::new(move || {
        // What the calls have kept and written is not to slow later ones down, or to change what they answer.
        if n.is_multiple_of(1000) {
            let settings =
                Settings { kv: Arc::<Kv>::default(), logs: Arc::<Logs>::default(), ..hook.settings().clone() };
            asked = millstream_hooks::Hook::new(hook.module().clone(), settings);
        }
        let (_, event) = &bound.events[n as usize % bound.events.len()];
        n = n.wrapping_add(1);
        let trial = event.put_to(&asked);
        let cpu = trial.calls.iter().map(|call| call.cpu).sum();
        match trial.calls.into_iter().next_back().map(|call| call.result) {
            Some(Err(failure)) => Err(failure),
            _ => Ok(cpu),
        }
    }))
}
