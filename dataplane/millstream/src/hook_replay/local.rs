//! A replay of events of a file, in this process. Before it: a file of `millstream hook record`; after it: what is printed. What a version decided by
//! something that was redacted cannot be told from a file, and is not compared.
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use millstream_hook_steps::decision::{Decider, Decision, Verdict};
use millstream_hook_steps::replay::{Bounds, replay as ask_again};
use millstream_hooks::json::{Event, Question};
use millstream_hooks::wit::auth;
use millstream_hooks::{Capacity, Hook, Runtime, Settings, World};
use millstream_policy::Action;
use millstream_proto::id::Id;
use serde_json::{Value, json};

use crate::hook_kit::{given, takes_config};

/// Events of a file.
const EVENTS_MAX: usize = 1_000_000;
/// Bytes of one of them.
const LINE_BYTES_MAX: usize = 1 << 20;
/// A replay takes no longer.
const TIME_MAX: Duration = Duration::from_mins(10);
/// Differences that are listed.
const LISTED_MAX: usize = 1_000;

/// Asks a module about the events of a file.
pub(super) fn replay(
    module: &[u8],
    events: &Path,
    config: &[(String, String)],
    secrets: &[(String, String)],
    keys: &[(String, String)],
) -> anyhow::Result<Value> {
    let hook = bound(module, config, secrets, keys)?;
    let (mut decisions, mut not_comparable) = (Vec::new(), 0_u64);
    let opened = File::open(events).with_context(|| format!("cannot read {}", events.display()))?;
    for (number, line) in BufReader::new(opened).lines().enumerate() {
        let at = || format!("{}:{}", events.display(), number + 1);
        let line = line.with_context(at)?;
        if line.trim().is_empty() {
            continue;
        }
        if line.len() > LINE_BYTES_MAX || decisions.len() == EVENTS_MAX {
            bail!("{}: at most {EVENTS_MAX} events of {LINE_BYTES_MAX} bytes each are replayed", at());
        }
        let event = Event::parse(&line).map_err(|error| anyhow!("{error}")).with_context(at)?;
        match decision(event) {
            Some(decision) => decisions.push(decision),
            None => not_comparable += 1,
        }
    }
    let bounds = Bounds { until: Instant::now() + TIME_MAX, listed_max: LISTED_MAX };
    let done = ask_again(decisions.iter(), bounds, |request, unix_ms| hook.at(unix_ms).authorize(request));
    let per_second = done.decisions.saturating_mul(1_000_000).checked_div(done.cpu_us).unwrap_or(0);
    let not_comparable = not_comparable + done.not_comparable;
    let mut replay = serde_json::to_value(done)?;
    (replay["per_second"], replay["not_comparable"]) = (json!(per_second), json!(not_comparable));
    Ok(replay)
}

/// The module, with what a binding would give it.
fn bound(
    module: &[u8],
    config: &[(String, String)],
    secrets: &[(String, String)],
    keys: &[(String, String)],
) -> anyhow::Result<Hook> {
    // As on a node: instances of a pool take a third of the time that others take.
    let runtime = Runtime::new(Capacity { calls: 1, kept: 0 })?;
    let compiled = runtime.compile(module, World::Auth)?;
    let settings = given(Settings::new("candidate", "", World::Auth), config, secrets, keys)?;
    let hook = Hook::new(runtime.load(&compiled.artifact)?, settings);
    takes_config(&hook)?;
    Ok(hook)
}

/// An event as the decision that it was recorded from; `None`: it has no answer, or hangs on what was redacted.
fn decision(event: Event) -> Option<Decision> {
    let Question::Auth(request) = event.question else { return None };
    if event.about.get("depends_on_redacted") == Some(&json!(true)) {
        return None;
    }
    let text = |name: &str| event.about.get(name).and_then(Value::as_str).unwrap_or_default();
    let verdict = match &event.answer {
        Some(answer) => Verdict::Step(step(answer)?),
        None if text("verdict").starts_with("failed") => Verdict::Failed("trap"),
        None => return None,
    };
    let by = Decider {
        binding: text("binding").to_owned(),
        hook: text("hook").to_owned(),
        version: event.about.get("version").and_then(Value::as_u64).unwrap_or(0),
    };
    let action = if request.action == "publish" { Action::Publish } else { Action::Play };
    let stream = Id::new(&request.target.name).ok()?;
    let address = request.client.ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    Some(Decision::new(event.unix_ms?, (action, stream, address), request, verdict, Arc::new(by)))
}

/// An answer, from JSON.
fn step(answer: &Value) -> Option<auth::Step> {
    let part = |name: &str| answer.get(name).cloned().unwrap_or_default();
    Some(match answer["answer"].as_str()? {
        "allow" => auth::Step::Allow(serde_json::from_value(part("grant")).ok()?),
        "deny" => auth::Step::Deny(serde_json::from_value(part("denial")).ok()?),
        "next" => auth::Step::Next,
        "redirect" => auth::Step::Redirect(serde_json::from_value(part("location")).ok()?),
        _ => return None,
    })
}
