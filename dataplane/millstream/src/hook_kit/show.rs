//! How the kit prints what it has found: a word, and behind it what belongs to it.
use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use millstream_hooks::json::Answer;
use millstream_hooks::wit::auth::Step;
use millstream_hooks::wit::meta;
use millstream_hooks::wit::policy::{Picture, Sound};
use millstream_hooks::{Form, Report};

use crate::failure::Failure;

/// Lines with a word in front.
#[derive(Default)]
pub(crate) struct Lines(Vec<String>);

impl Lines {
    pub(crate) fn add(&mut self, word: &str, text: impl Display) {
        self.0.push(format!("{word:<10} {text}"));
    }

    pub(crate) fn print(self) -> Result<(), Failure> {
        self.write(&mut std::io::stdout()).context("cannot print the result").map_err(Failure::Running)
    }

    pub(crate) fn write(self, out: &mut impl Write) -> io::Result<()> {
        out.write_all((self.0.join("\n") + "\n").as_bytes())
    }
}

/// What the hook is.
pub(crate) fn hook(lines: &mut Lines, info: &meta::Info, report: &Report) {
    let form = match report.form {
        Form::Component => "component",
        Form::CoreModule => "core module",
    };
    let Report { world, module_bytes, contract, .. } = report;
    lines.add(
        "hook",
        format!("{} {}, kind {world}, a {form} of {module_bytes} bytes, contract {contract}", info.name, info.version),
    );
    if !report.traps.is_empty() {
        lines.add("traps", format!("it ends when it calls what hooks are not given: {}", report.traps.join(", ")));
    }
}

/// Microseconds, and of how many.
pub(crate) fn cpu(used: Duration, budget: Duration) -> String {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    format!("{:.1} us of {:.0} us ({:.1}%)", us(used), us(budget), 100.0 * us(used) / us(budget))
}

/// The word for an answer, as `--expect` has it.
pub(crate) fn word(answer: &Answer) -> String {
    match answer {
        Answer::Auth(Step::Allow(_)) => "allow".to_owned(),
        Answer::Auth(Step::Deny(_)) => "deny".to_owned(),
        Answer::Auth(Step::Next) => "next".to_owned(),
        Answer::Auth(Step::Redirect(_)) => "redirect".to_owned(),
        Answer::Auth(Step::Ask(_)) => "ask".to_owned(),
        Answer::Policy(renditions) => renditions.len().to_string(),
        Answer::Events(orders) => orders.len().to_string(),
        Answer::Motion(_) => "nothing".to_owned(),
    }
}

/// An answer, in a line or some.
pub(crate) fn answer(lines: &mut Lines, answer: &Answer) {
    match answer {
        Answer::Auth(step) => lines.add("answer", step_text(step)),
        Answer::Policy(renditions) if renditions.is_empty() => lines.add("answer", "no renditions"),
        Answer::Policy(renditions) => {
            for it in renditions {
                let picture = match &it.picture {
                    Picture::Copy => "video as it is".to_owned(),
                    Picture::Drop => "no video".to_owned(),
                    Picture::Encode(video) => {
                        format!(
                            "{} {}x{} (0: by the shape), {} kbit/s",
                            video.codec, video.width, video.height, video.kbps
                        )
                    }
                };
                let sound = match &it.sound {
                    Sound::Copy => "audio as it is".to_owned(),
                    Sound::Drop => "no audio".to_owned(),
                    Sound::Encode(audio) => format!("{} {} kbit/s", audio.codec, audio.kbps),
                };
                let when = if it.on_demand { "while somebody watches" } else { "always" };
                lines.add("rendition", format!("{}: {picture}; {sound}; {when}", it.name));
            }
        }
        Answer::Motion(Ok(it)) => {
            lines.add("wants", format!("{}x{}, {} frames per second", it.width, it.height, it.fps));
        }
        Answer::Motion(Err(why)) => lines.add("answer", format!("it does not want this stream: {why}")),
        Answer::Events(orders) if orders.is_empty() => lines.add("answer", "no orders"),
        Answer::Events(orders) => {
            for it in orders {
                let detail: Vec<String> =
                    it.detail.iter().map(|pair| format!("{}={:?}", pair.name, pair.value)).collect();
                lines.add(
                    "order",
                    format!("{} for {}/{} {}", it.kind, it.app, it.name, detail.join(" ")).trim_end().to_owned(),
                );
            }
        }
    }
}

pub(crate) fn step_text(step: &Step) -> String {
    match step {
        Step::Allow(grant) => {
            let mut text = "allow".to_owned();
            if grant.valid_ms > 0 {
                let _ = write!(text, ", for {} ms", grant.valid_ms);
            }
            if grant.recheck_ms > 0 {
                let _ = write!(text, ", asked again after {} ms", grant.recheck_ms);
            }
            for slot in &grant.slots {
                let _ = write!(text, ", one of {} places of {:?}", slot.max, slot.key);
            }
            if let Some(name) = &grant.rename {
                let _ = write!(text, ", to publish as {name:?}");
            }
            for label in &grant.labels {
                let _ = write!(text, ", label {}={:?}", label.name, label.value);
            }
            text
        }
        Step::Deny(denial) => {
            let again = denial.retry_ms.map(|ms| format!("; to be tried again after {ms} ms")).unwrap_or_default();
            format!("deny, {}: {:?}{again}", denial.why, denial.reason)
        }
        Step::Next => "next: the next step of the chain decides".to_owned(),
        Step::Redirect(location) => format!("redirect to {location}"),
        Step::Ask(fetch) => {
            format!(
                "ask the upstream {:?}: {} {} (what it answers is for the \"replies\" of the event)",
                fetch.upstream, fetch.method, fetch.path
            )
        }
    }
}
