//! Puts an event to a hook, and tells all that came of it: for tests with an event, in the API and in the author's kit.
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::call::{ASKS_TOO_OFTEN, Called, Failure};
use crate::hook::Hook;
use crate::json::{Answer, Event, MAX_REPLIES, Question};
use crate::logs::Line;
use crate::wit::auth::Step;

/// A call that was made for an event.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialCall {
    /// The function of `hooks/wit`.
    pub function: &'static str,
    /// What it took.
    pub cpu: Duration,
    /// What came of it.
    pub result: Result<Answer, Failure>,
}

/// What came of an event.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Trial {
    /// The calls, in order; at least one. The last one has the answer. Where that is to ask an upstream, the event has no reply for it.
    pub calls: Vec<TrialCall>,
    /// What each of them may use of CPU time.
    pub budget: Duration,
    /// What the hook wrote to its log.
    pub logs: Vec<Line>,
}

impl Event {
    /// Asks the hook. Its log begins where it stands, so give it one of its own. Nothing is acted on.
    pub fn put_to(&self, hook: &Hook) -> Trial {
        let hook = self.unix_ms.map_or_else(|| hook.clone(), |ms| hook.at(ms));
        let from = hook.settings().logs.next_number();
        let mut calls = Vec::new();
        let mut called = |function, called: Called<Answer>| {
            calls.push(TrialCall { function, cpu: called.cpu, result: called.result });
        };
        match &self.question {
            Question::Auth(request) => {
                let mut step = hook.authorize(request);
                let mut function = "authorize";
                let (mut replies, mut asks) = (self.replies.iter().take(MAX_REPLIES), 0);
                loop {
                    asks += usize::from(matches!(step.result, Ok(Step::Ask(_))));
                    if asks > MAX_REPLIES {
                        step.result = Err(Failure::Answer(ASKS_TOO_OFTEN.to_owned()));
                    }
                    let state = match &step.result {
                        Ok(Step::Ask(fetch)) => Some(fetch.state.clone()),
                        _ => None,
                    };
                    called(function, step.map(Answer::Auth));
                    let (Some(state), Some(reply)) = (state, replies.next()) else { break };
                    step = hook.resume(request, &state, reply.as_ref().map_err(String::as_str));
                    function = "resume";
                }
            }
            Question::Policy(source) => {
                called("select-renditions", hook.select_renditions(source).map(Answer::Policy));
            }
            Question::Events(notices) => called("on-notices", hook.on_notices(notices).map(Answer::Events)),
            Question::Motion(source) => {
                let made = hook.motion();
                let before = made.cpu;
                let started = match made.result {
                    Ok(mut instance) => instance.start(source).map(Answer::Motion),
                    Err(failure) => Called { result: Err(failure), cpu: Duration::ZERO },
                };
                called("start", Called { cpu: before + started.cpu, ..started });
            }
        }
        Trial { calls, budget: hook.settings().limits.cpu, logs: hook.settings().logs.since(from) }
    }
}

impl Trial {
    /// What the event came to.
    pub fn result(&self) -> Option<&Result<Answer, Failure>> {
        self.calls.last().map(|call| &call.result)
    }

    /// As JSON: `answer` or `failure` of the last call, all `calls`, CPU time and `logs`.
    pub fn to_json(&self) -> Value {
        let us = |time: Duration| (time.as_nanos() as f64 / 1e3 * 10.0).round() / 10.0;
        let outcome = |result: &Result<Answer, Failure>| match result {
            Ok(answer) => ("answer".to_owned(), answer.to_json()),
            Err(failure) => ("failure".to_owned(), json!({ "cause": failure.label(), "message": failure.to_string() })),
        };
        let call = |call: &TrialCall| {
            let mut shown = Map::from_iter([outcome(&call.result)]);
            shown.insert("function".to_owned(), call.function.into());
            shown.insert("cpu_us".to_owned(), us(call.cpu).into());
            Value::Object(shown)
        };
        let mut all = Map::from_iter(self.result().map(outcome));
        all.insert("calls".to_owned(), self.calls.iter().map(call).collect());
        all.insert("cpu_us".to_owned(), us(self.calls.iter().map(|call| call.cpu).sum()).into());
        all.insert("budget_us".to_owned(), us(self.budget).into());
        all.insert("logs".to_owned(), serde_json::to_value(&self.logs).unwrap_or_default());
        Value::Object(all)
    }
}
