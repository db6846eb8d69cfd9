//! `millstream hook test`: an event and all that came of it, or many, with a line for each ([`super::many`]). The exit status is 1 where a node would have had no answer, or not the expected one.
use std::fmt::Write as _;

use anyhow::anyhow;
use millstream_hooks::World;
use millstream_hooks::json::{Answer, Question};
use serde_json::json;

use super::bound::{Bound, load};
use super::show::{self, Lines};
use super::{frames, many};
use crate::failure::Failure;
use crate::hook_flags::TestFlags;

/// Asks, and prints.
pub(crate) fn run(flags: &TestFlags) -> Result<(), Failure> {
    let bound = load(&flags.bound)?;
    if bound.report.world == World::Motion && flags.bound.frames.is_some() {
        return motion(flags, &bound);
    }
    let [(_, event)] = &bound.events[..] else { return many::run(flags, &bound) };
    let trial = event.put_to(&bound.hook);
    let last = trial.result();
    if flags.json {
        print_json(&trial.to_json())?;
    } else {
        let mut lines = Lines::default();
        show::hook(&mut lines, &bound.info, &bound.report);
        match last {
            Some(Ok(answer)) => show::answer(&mut lines, answer),
            Some(Err(failure)) => lines.add("failed", failure),
            None => {}
        }
        said(&mut lines, &bound);
        for call in &trial.calls {
            lines.add("cpu", format!("{} in {}", show::cpu(call.cpu, trial.budget), call.function));
        }
        lines.print()?;
    }
    match last {
        Some(Ok(answer)) => expected(flags, &show::word(answer)),
        Some(Err(failure)) => Err(Failure::Running(anyhow!("a node would have had no answer: {failure}"))),
        None => Err(Failure::Running(anyhow!("the hook was not called"))),
    }
}

/// Its log and its counters.
fn said(lines: &mut Lines, bound: &Bound) {
    let settings = bound.hook.settings();
    for line in settings.logs.since(0) {
        lines.add("log", format!("{:?}: {}", line.level, line.text).to_lowercase_first());
    }
    if settings.logs.dropped() > 0 {
        lines.add("log", format!("{} more lines, which a node would have dropped", settings.logs.dropped()));
    }
    for (name, value) in settings.counters.snapshot() {
        lines.add("counter", format!("{name} {value}"));
    }
}

trait LowercaseFirst {
    fn to_lowercase_first(self) -> String;
}

impl LowercaseFirst for String {
    fn to_lowercase_first(mut self) -> String {
        if let Some(first) = self.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        self
    }
}

fn expected(flags: &TestFlags, found: &str) -> Result<(), Failure> {
    match &flags.expect {
        Some(wanted) if wanted != found => Err(Failure::Running(anyhow!("the answer is {found}, and not {wanted}"))),
        _ => Ok(()),
    }
}

fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    use std::io::Write as _;
    let printed = writeln!(std::io::stdout(), "{value:#}");
    printed.map_err(|error| Failure::Running(anyhow::Error::new(error).context("cannot print the result")))
}

/// A motion hook with frames: what it sees, and when.
fn motion(flags: &TestFlags, bound: &Bound) -> Result<(), Failure> {
    let Some(Question::Motion(source)) = bound.question() else {
        return Err(Failure::Configuration(anyhow!("the event is none of a motion hook")));
    };
    let watched = frames::watch(&bound.hook, source, flags.bound.frames.as_deref().unwrap_or_default())?;
    let word = if watched.events.iter().any(|(_, event)| event.active) { "motion" } else { "nothing" };
    if flags.json {
        let events = watched.events.iter().map(|(pts_ms, event)| json!({ "pts_ms": pts_ms, "event": event }));
        let all = json!({
            "frames": watched.cpu.len(),
            "wanted": watched.wanted,
            "events": events.collect::<serde_json::Value>(),
            "cpu_us": { "p50": watched.at(50).as_secs_f64() * 1e6, "max": watched.at(100).as_secs_f64() * 1e6 },
            "budget_us": bound.hook.settings().limits.cpu.as_secs_f64() * 1e6,
            "failure": watched.failure.as_ref().map(ToString::to_string),
        });
        print_json(&all)?;
    } else {
        let mut lines = Lines::default();
        show::hook(&mut lines, &bound.info, &bound.report);
        show::answer(&mut lines, &Answer::Motion(Ok(watched.wanted)));
        for (pts_ms, event) in &watched.events {
            let what = if event.active { "begins" } else { "ends" };
            let mut text = format!("{pts_ms} ms: {} {what}, score {:.2}", event.label, event.score);
            for it in &event.regions {
                let _ = write!(text, ", {}x{} at {},{} ({:.2})", it.width, it.height, it.x, it.y, it.score);
            }
            lines.add("event", text);
        }
        if let Some(failure) = &watched.failure {
            lines.add("failed", failure);
        }
        said(&mut lines, bound);
        let budget = bound.hook.settings().limits.cpu;
        lines.add("frames", watched.cpu.len());
        lines.add(
            "cpu",
            format!(
                "{} in the median, at most {}",
                show::cpu(watched.at(50), budget),
                show::cpu(watched.at(100), budget)
            ),
        );
        lines.print()?;
    }
    match &watched.failure {
        Some(failure) => Err(Failure::Running(anyhow!("it fails at frame {}: {failure}", watched.cpu.len()))),
        None => expected(flags, word),
    }
}
