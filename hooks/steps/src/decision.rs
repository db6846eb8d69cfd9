//! A decision as it is recorded: what was asked, what the hook answered, and which hook. Before it: [`super::step`]; after it: [`super::recorder`], and
//! [`super::replay`], which asks another version the same.
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use millstream_hooks::wit::{auth, types};
use millstream_hooks::{Called, Failure};
use millstream_policy::Action;
use millstream_proto::id::Id;

/// What a hook came to.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// Its answer, which asks no upstream.
    Step(auth::Step),
    /// It failed: a word of [`Failure::label`].
    Failed(&'static str),
}

/// A grant's or a denial's times of two calls that are the same but for when they were made.
const SAME_MS: u32 = 1_000;

impl Verdict {
    /// Of a call; `None`: an upstream is asked first, or the server had no room for the call.
    pub fn of(called: &Called<auth::Step>) -> Option<Self> {
        match &called.result {
            Ok(auth::Step::Ask(_)) | Err(Failure::NoInstance) => None,
            Ok(step) => Some(Self::Step(step.clone())),
            Err(failure) => Some(Self::Failed(failure.label())),
        }
    }

    /// Whether somebody who asks notices a difference: another answer, another reason to refuse, another address, or other conditions of a grant. Not:
    /// other words of a refusal, and times that differ by less than a second.
    pub fn differs(&self, other: &Self) -> bool {
        use auth::Step::{Allow, Deny, Redirect};
        match (self, other) {
            (Self::Failed(_), Self::Failed(_)) => false,
            (Self::Step(Allow(a)), Self::Step(Allow(b))) => {
                let times = differ(a.recheck_ms, b.recheck_ms) || differ(a.valid_ms, b.valid_ms);
                let untimed = |grant: &auth::Grant| auth::Grant { recheck_ms: 0, valid_ms: 0, ..grant.clone() };
                times || untimed(a) != untimed(b)
            }
            (Self::Step(Deny(a)), Self::Step(Deny(b))) => a.why != b.why,
            (Self::Step(Redirect(a)), Self::Step(Redirect(b))) => a != b,
            (a, b) => a != b,
        }
    }
}

/// No time at all is another thing than a short time.
fn differ(a_ms: u32, b_ms: u32) -> bool {
    (a_ms == 0) != (b_ms == 0) || a_ms.abs_diff(b_ms) >= SAME_MS
}

/// For people. It may repeat what the client sent: see [`super::redact`].
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(label) => write!(f, "failed ({label})"),
            Self::Step(auth::Step::Next) => f.write_str("next"),
            Self::Step(auth::Step::Ask(fetch)) => write!(f, "ask {}", fetch.upstream),
            Self::Step(auth::Step::Redirect(to)) => write!(f, "redirect to {to}"),
            Self::Step(auth::Step::Deny(denial)) if denial.reason.is_empty() => write!(f, "deny {}", denial.why),
            Self::Step(auth::Step::Deny(denial)) => write!(f, "deny {}: {}", denial.why, denial.reason),
            Self::Step(auth::Step::Allow(grant)) => {
                f.write_str("allow")?;
                for (name, ms) in [("recheck-ms", grant.recheck_ms), ("valid-ms", grant.valid_ms)] {
                    if ms > 0 {
                        write!(f, " {name}={ms}")?;
                    }
                }
                for slot in &grant.slots {
                    write!(f, " slot {}={}", slot.key, slot.max)?;
                }
                for label in &grant.labels {
                    write!(f, " label {}={}", label.name, label.value)?;
                }
                if let Some(name) = &grant.rename {
                    write!(f, " rename={name}")?;
                }
                if let Some(recording) = grant.recording {
                    write!(f, " recording={recording}")?;
                }
                Ok(())
            }
        }
    }
}

/// Who decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decider {
    /// The binding's id.
    pub binding: String,
    /// The hook.
    pub hook: String,
    /// Which version of it.
    pub version: u64,
}

/// A question as it was put, with what the client sent as its token: it is never printed.
#[derive(Clone, PartialEq)]
pub struct Question(auth::Request);

impl Question {
    /// For asking it again.
    pub fn expose(&self) -> &auth::Request {
        &self.0
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A decision.
#[derive(Clone, Debug)]
pub struct Decision {
    /// When, Unix milliseconds.
    pub unix_ms: u64,
    /// Publish or play.
    pub action: Action,
    /// Of which stream.
    pub stream: Id,
    /// The client's address, as peers are counted.
    pub address: IpAddr,
    /// What was asked.
    pub question: Question,
    /// What the hook said.
    pub verdict: Verdict,
    /// Which hook.
    pub by: Arc<Decider>,
}

impl Decision {
    /// A decision of now.
    pub fn new(
        unix_ms: u64,
        (action, stream, address): (Action, Id, IpAddr),
        question: auth::Request,
        verdict: Verdict,
        by: Arc<Decider>,
    ) -> Self {
        Self { unix_ms, action, stream, address, question: Question(question), verdict, by }
    }

    /// About what it takes of memory.
    pub fn bytes(&self) -> usize {
        let auth::Request { client, target, action, extra, .. } = self.question.expose();
        let texts = [
            action,
            &client.session,
            &client.ip,
            &client.protocol,
            &client.user_agent,
            &client.referer,
            &client.token,
            &target.app,
            &target.name,
        ];
        let lists = [&client.extra, &target.params, &target.settings, &target.labels, &target.extra, extra];
        let of_verdict = match &self.verdict {
            Verdict::Step(auth::Step::Deny(denial)) => text(&denial.why) + text(&denial.reason),
            Verdict::Step(auth::Step::Redirect(to)) => text(to),
            Verdict::Step(auth::Step::Allow(grant)) => {
                let slots: usize = grant.slots.iter().map(|slot| size_of::<auth::Slot>() + text(&slot.key)).sum();
                slots + pairs(&grant.labels) + pairs(&grant.extra) + grant.rename.as_ref().map_or(0, text)
            }
            _ => 0,
        };
        size_of::<Self>()
            + texts.into_iter().map(text).sum::<usize>()
            + lists.into_iter().map(pairs).sum::<usize>()
            + of_verdict
    }
}

/// What an allocator needs beside a text.
const ALLOCATION_BYTES: usize = 16;

fn text(text: &String) -> usize {
    if text.capacity() == 0 { 0 } else { text.capacity() + ALLOCATION_BYTES }
}

fn pairs(list: &Vec<types::Pair>) -> usize {
    let room = list.capacity() * size_of::<types::Pair>();
    room + list.iter().map(|pair| text(&pair.name) + text(&pair.value)).sum::<usize>()
}
