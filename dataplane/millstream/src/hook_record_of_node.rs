//! What this node does with the decisions that it has recorded: asks a candidate about them, or shows them. Before it: orders of control; after it:
//! `millstream_hook_steps`. A candidate decides nothing: it has values, logs and counters of its own, which end with the replay, and asks no upstream.
use std::time::{Duration, Instant};

use millstream_control_protocol::replay::{Recorded, Replay, Replayed, ShowRecorded};
use millstream_control_protocol::state::Binding;
use millstream_hook_steps::decision::{Decider, Decision, Verdict};
use millstream_hook_steps::redact::{self, Hidden};
use millstream_hook_steps::replay::{Bounds, replay};
use millstream_hooks::json::{Answer, Event, Question};
use millstream_hooks::wit::auth;
use millstream_hooks::{Hook, run_aside};
use serde_json::{Map, Value, json};

use crate::hooks::{Hooks, OfHook};

/// Bytes of what is shown at once.
const SHOWN_BYTES_MAX: usize = 8 << 20;
/// The thread of replays.
const THREAD: &str = "hooks-replay";

/// What a candidate is held against: decisions of its binding; of one that is being made, those of bindings in force that ask its hook at its place with its
/// configuration.
struct Against<'a> {
    candidate: &'a Binding,
    bindings: Vec<String>,
}

impl Against<'_> {
    fn has(&self, decision: &Decision) -> bool {
        let of_stream = self.candidate.stream.as_ref().is_none_or(|stream| *stream == decision.stream.as_str());
        self.bindings.contains(&decision.by.binding) && (of_stream || !self.candidate.id.is_empty())
    }
}

impl Hooks {
    /// Whether a replay of this candidate needs its bytes.
    pub(crate) fn replay_needs_bytes(&self, candidate: &Binding) -> bool {
        let against = self.against(candidate);
        let has_decisions =
            self.recorder().is_some_and(|record| !record.decisions(|decision| against.has(decision)).is_empty());
        has_decisions && !self.modules().is_compiled(&candidate.sha256, &candidate.kind)
    }

    /// Asks a candidate what was decided before. One replay runs at a time.
    pub(crate) fn replay_recorded(&self, order: &Replay, module: &[u8]) -> Result<Replayed, String> {
        let until = Instant::now() + Duration::from_millis(order.for_ms.into());
        let candidate = &order.candidate;
        let Some(recorder) = self.recorder() else { return Ok(Replayed::default()) };
        let _one = self.replaying();
        let against = self.against(candidate);
        let decisions = recorder.decisions(|decision| against.has(decision));
        if decisions.is_empty() {
            return Ok(Replayed::default());
        }
        if Instant::now() >= until {
            return Err("other replays took all the time; try again in a moment".to_owned());
        }
        if order.is_dry {
            self.forget_soon(&candidate.sha256, &candidate.kind);
        }
        let hook = self.aside(candidate, module)?;
        let until = Instant::now() + Duration::from_millis(order.for_ms.into());
        let bounds = Bounds { until, listed_max: order.listed_max as usize };
        let asked = || {
            replay(decisions.iter().map(AsRef::as_ref), bounds, |request, unix_ms| hook.at(unix_ms).authorize(request))
        };
        run_aside(THREAD, asked).map_err(|error| format!("the replay cannot be made: {error}"))
    }

    fn against<'a>(&self, candidate: &'a Binding) -> Against<'a> {
        let is_alike = |bound: &Binding| {
            bound.hook == candidate.hook
                && bound.point == candidate.point
                && bound.config == candidate.config
                && bound.secrets == candidate.secrets
        };
        let bindings = match candidate.id.as_str() {
            "" => self.auth_bindings().into_iter().filter(is_alike).map(|bound| bound.id).collect(),
            id => vec![id.to_owned()],
        };
        Against { candidate, bindings }
    }

    /// Recorded decisions without secrets, oldest first.
    pub(crate) fn show_recorded(&self, wanted: &ShowRecorded) -> Vec<Recorded> {
        let Some(recorder) = self.recorder() else { return Vec::new() };
        let is_wanted = |decision: &Decision| {
            let by = &decision.by;
            by.hook == wanted.hook && (wanted.binding.is_empty() || wanted.binding == by.binding)
        };
        let decisions = recorder.decisions(is_wanted);
        let newest = decisions.len().saturating_sub(wanted.limit as usize);
        let show = || {
            let mut again = Again { hooks: self, hook: None };
            let (mut shown, mut bytes) = (Vec::new(), 0);
            for decision in decisions[newest..].iter().rev() {
                let event = again.shown(decision);
                bytes += event.event.len();
                if bytes > SHOWN_BYTES_MAX {
                    break;
                }
                shown.push(event);
            }
            shown.reverse();
            shown
        };
        run_aside(THREAD, show).unwrap_or_default()
    }

    /// A hook whose calls decide nothing and leave nothing.
    fn aside(&self, binding: &Binding, module: &[u8]) -> Result<Hook, String> {
        // Also what decides nothing is asked with secrets.
        self.modules().may_run(&binding.sha256, binding.signature.as_deref())?;
        let module = self.modules().load_aside(&binding.sha256, &binding.kind, module)?;
        self.bound_hook(binding, module, OfHook::default())
    }
}

/// Asks the versions that decided once more.
struct Again<'a> {
    hooks: &'a Hooks,
    /// The one that was asked last, by binding and version.
    hook: Option<((String, u64), Option<Hook>)>,
}

impl Again<'_> {
    fn shown(&mut self, decision: &Decision) -> Recorded {
        let (request, hidden) = redact::request(decision.question.expose());
        let depends = self.depends(decision, &request, &hidden);
        let Decider { binding, hook, version } = &*decision.by;
        let about = [
            ("hook", json!(hook)),
            ("binding", json!(binding)),
            ("version", json!(version)),
            ("verdict", json!(hidden.text(&decision.verdict.to_string()))),
            ("redacted", json!(hidden.places)),
            ("depends_on_redacted", json!(depends)),
        ];
        let mut event = Event::new(Question::Auth(request));
        event.unix_ms = Some(decision.unix_ms);
        event.about = about.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if let Verdict::Step(step) = &decision.verdict {
            event.answer = Some(redacted(Answer::Auth(step.clone()).to_json(), &hidden));
        }
        Recorded { unix_ms: decision.unix_ms, event: event.write() }
    }

    /// Whether the version that decided decides something else without what was hidden; also where it cannot be asked.
    fn depends(&mut self, decision: &Decision, request: &auth::Request, hidden: &Hidden) -> bool {
        if hidden.places.is_empty() {
            return false;
        }
        let by = (decision.by.binding.clone(), decision.by.version);
        if self.hook.as_ref().is_none_or(|(of, _)| *of != by) {
            let binding = self.hooks.binding_in_force(&by.0, by.1);
            let hook = binding.and_then(|binding| self.hooks.aside(&binding, &[]).ok());
            self.hook = Some((by, hook));
        }
        let Some((_, Some(hook))) = &self.hook else { return true };
        let now = Verdict::of(&hook.at(decision.unix_ms).authorize(request));
        now.is_none_or(|now| decision.verdict.differs(&now))
    }
}

/// An answer, each of whose texts may repeat what was asked.
fn redacted(answer: Value, hidden: &Hidden) -> Value {
    match answer {
        Value::String(text) => hidden.text(&text).into(),
        Value::Array(items) => items.into_iter().map(|item| redacted(item, hidden)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, redacted(value, hidden))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}
