//! `millstream hook test` with many events, such as `millstream hook record` writes: a line for each, and what they came to together. Before it: [`super::test`].
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::time::Duration;

use anyhow::anyhow;
use millstream_hooks::Trial;
use millstream_hooks::json::Answer;
use serde_json::{Value, json};

use super::bound::Bound;
use super::show::{self, Lines};
use crate::failure::Failure;
use crate::hook_flags::TestFlags;

/// What all of them came to.
#[derive(Default)]
struct Summary {
    answers: BTreeMap<String, u64>,
    failed: u64,
    /// The first line that failed, or has another answer than was expected.
    wrong: Option<(usize, String)>,
    wrong_count: u64,
    /// Decided by something that a recording has no more.
    redacted: u64,
    cpu: Vec<Duration>,
}

/// Asks about each, one after the other: what the hook keeps, it has kept when it is asked the next one.
pub(super) fn run(flags: &TestFlags, bound: &Bound) -> Result<(), Failure> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let cannot = |error: std::io::Error| Failure::Running(anyhow::Error::new(error).context("cannot print the result"));
    let mut summary = Summary::default();
    if !flags.json {
        let mut lines = Lines::default();
        show::hook(&mut lines, &bound.info, &bound.report);
        lines.write(&mut out).map_err(cannot)?;
    }
    for (line, event) in &bound.events {
        let trial = event.put_to(&bound.hook);
        summary.redacted += u64::from(event.about.get("depends_on_redacted") == Some(&json!(true)));
        let said = summary.add(*line, &trial, flags.expect.as_deref());
        if flags.json {
            let mut shown = trial.to_json();
            shown["line"] = json!(line);
            writeln!(out, "{shown}").map_err(cannot)?;
        } else {
            writeln!(out, "{line:<10} {said}").map_err(cannot)?;
        }
    }
    summary.cpu.sort_unstable();
    let budget = bound.hook.settings().limits.cpu;
    if flags.json {
        writeln!(out, "{}", json!({ "summary": summary.to_json(budget) })).map_err(cannot)?;
    } else {
        summary.lines(budget).write(&mut out).map_err(cannot)?;
    }
    out.flush().map_err(cannot)?;
    match summary.wrong {
        Some((line, why)) => {
            let more = summary.wrong_count - 1;
            let more = if more > 0 { format!("; and {more} more lines") } else { String::new() };
            Err(Failure::Running(anyhow!("line {line}: {why}{more}")))
        }
        None => Ok(()),
    }
}

impl Summary {
    /// Counts a trial, and says in a line what came of it.
    fn add(&mut self, line: usize, trial: &Trial, expected: Option<&str>) -> String {
        let cpu: Duration = trial.calls.iter().map(|call| call.cpu).sum();
        self.cpu.push(cpu);
        let (said, wrong) = match trial.result() {
            Some(Ok(answer)) => {
                let word = show::word(answer);
                let wrong = expected.filter(|wanted| **wanted != word);
                let wrong = wrong.map(|wanted| format!("the answer is {word}, and not {wanted}"));
                *self.answers.entry(word).or_default() += 1;
                (text(answer), wrong)
            }
            Some(Err(failure)) => {
                self.failed += 1;
                (format!("failed: {failure}"), Some(format!("a node would have had no answer: {failure}")))
            }
            None => (String::new(), Some("the hook was not called".to_owned())),
        };
        if let Some(wrong) = wrong {
            self.wrong_count += 1;
            self.wrong.get_or_insert((line, wrong));
        }
        format!("{said} ({:.1} us)", cpu.as_secs_f64() * 1e6)
    }

    fn at(&self, percent: usize) -> Duration {
        self.cpu.get(self.cpu.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
    }

    fn lines(&self, budget: Duration) -> Lines {
        let mut lines = Lines::default();
        let counts: Vec<String> = self.answers.iter().map(|(word, count)| format!("{count} {word}")).collect();
        lines.add("events", format!("{}: {}, {} failed", self.cpu.len(), counts.join(", "), self.failed));
        if self.redacted > 0 {
            lines.add(
                "redacted",
                format!(
                    "{} of them were decided by what a recording has no more: a token or a signature",
                    self.redacted
                ),
            );
        }
        let (median, most) = (show::cpu(self.at(50), budget), show::cpu(self.at(100), budget));
        lines.add("cpu", format!("{median} in the median, at most {most}"));
        lines
    }

    fn to_json(&self, budget: Duration) -> Value {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        json!({
            "events": self.cpu.len(),
            "answers": self.answers,
            "failed": self.failed,
            "depends_on_redacted": self.redacted,
            "cpu_us": { "p50": us(self.at(50)), "max": us(self.at(100)) },
            "budget_us": us(budget),
        })
    }
}

/// An answer in one line.
fn text(answer: &Answer) -> String {
    match answer {
        Answer::Auth(step) => show::step_text(step),
        Answer::Policy(renditions) => {
            let names: Vec<&str> = renditions.iter().map(|it| it.name.as_str()).collect();
            format!("{} renditions: {}", names.len(), names.join(", "))
        }
        Answer::Events(orders) => {
            let kinds: Vec<&str> = orders.iter().map(|it| it.kind.as_str()).collect();
            format!("{} orders: {}", kinds.len(), kinds.join(", "))
        }
        Answer::Motion(Ok(it)) => format!("wants {}x{}, {} frames per second", it.width, it.height, it.fps),
        Answer::Motion(Err(why)) => format!("it does not want this stream: {why}"),
    }
}
