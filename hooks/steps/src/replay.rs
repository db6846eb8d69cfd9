//! Asks a candidate what other versions were asked, and lists where it answers differently. Before it: [`super::recorder`]; after it: answers of the API and
//! reports of uploads.
use std::time::Instant;

use millstream_control_protocol::replay::{Difference, Replayed};
use millstream_hooks::Called;
use millstream_hooks::wit::auth;

use crate::decision::{Decision, Verdict};
use crate::redact;

/// How far a replay goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// It ends then, and says what it left out.
    pub until: Instant,
    /// Differences that are listed; beyond them they are counted.
    pub listed_max: usize,
}

/// Asks a candidate, which is given a question and the time when it was put (Unix milliseconds), about these decisions, in their order.
pub fn replay<'a>(
    decisions: impl ExactSizeIterator<Item = &'a Decision>,
    bounds: Bounds,
    mut candidate: impl FnMut(&auth::Request, u64) -> Called<auth::Step>,
) -> Replayed {
    let mut done = Replayed { left_out: decisions.len() as u64, ..Replayed::default() };
    let mut cpu_ns = 0;
    for decision in decisions {
        if Instant::now() >= bounds.until {
            break;
        }
        done.left_out -= 1;
        done.decisions += 1;
        let question = decision.question.expose();
        let called = candidate(question, decision.unix_ms);
        cpu_ns += called.cpu.as_nanos();
        let Some(now) = Verdict::of(&called) else {
            done.not_comparable += 1;
            continue;
        };
        done.failed += u64::from(matches!(now, Verdict::Failed(_)));
        if !decision.verdict.differs(&now) {
            done.same += 1;
            continue;
        }
        done.differing += 1;
        if done.differences.len() < bounds.listed_max {
            done.differences.push(difference(decision, &now, called.result.err().map(|failure| failure.to_string())));
        }
    }
    done.cpu_us = u64::try_from(cpu_ns / 1_000).unwrap_or(u64::MAX);
    done
}

fn difference(decision: &Decision, now: &Verdict, failure: Option<String>) -> Difference {
    let (request, hidden) = redact::request(decision.question.expose());
    Difference {
        node: String::new(),
        unix_ms: decision.unix_ms,
        stream: request.target.name,
        action: decision.action.as_str().to_owned(),
        ip: request.client.ip,
        protocol: request.client.protocol,
        binding: decision.by.binding.clone(),
        version: decision.by.version,
        recorded: hidden.text(&decision.verdict.to_string()),
        candidate: hidden.text(&failure.map_or_else(|| now.to_string(), |why| format!("{now}: {why}"))),
    }
}
