//! What a binding would say of a made-up request, for people who ask what the chain does. Nothing is counted, no place is taken, and what the hook keeps stays as
//! it is: it works with a copy. Before it: the API; after it: its answer.
use std::sync::Arc;

use millstream_hooks::json::MAX_REPLIES;
use millstream_hooks::wit::auth;
use millstream_hooks::{ASKS_TOO_OFTEN, Called};
use millstream_policy::{DecisionContext, Request, Step};

use crate::answer::{self, Answer, Places};
use crate::bound::{Bound, Counts, Decider, unanswered};
use crate::step::{HookStep, Node};

/// What a binding would say.
pub enum Explanation {
    /// This, and why.
    Step(Step, String),
    /// It asks an upstream first.
    Asks(Box<Asking>),
}

/// A made-up question that waits for an upstream.
pub struct Asking {
    decider: Arc<dyn Decider>,
    question: auth::Request,
    /// What is to be asked.
    pub fetch: auth::Fetch,
    /// How often it has asked before.
    asks: usize,
}

/// What this binding of this node would say.
pub fn explain(bound: &Bound, node: &Node, request: &Request, context: DecisionContext<'_>) -> Explanation {
    let abstains = |why: &str| Explanation::Step(Step::Abstain, why.to_owned());
    match bound.counts(&request.name) {
        Counts::NotAsked => return abstains("it is for another stream"),
        Counts::Compared => return abstains("its answers are compared here, and do not count"),
        Counts::Decides => {}
    }
    let Some(decider) = &bound.decider else { return failed(bound, "its module is not ready on this node") };
    let decider = decider.aside().unwrap_or_else(|| Arc::clone(decider));
    let question = HookStep::question_of(node, request, context);
    let called = decider.authorize(&question);
    read((bound, node, request), called, (decider, question, 0))
}

impl Asking {
    /// What it says now that the upstream has answered, or has not.
    pub fn resume(
        self,
        bound: &Bound,
        node: &Node,
        request: &Request,
        outcome: Result<auth::Reply, String>,
    ) -> Explanation {
        let Self { decider, question, fetch, asks } = self;
        let called = decider.resume(&question, &fetch.state, outcome);
        read((bound, node, request), called, (decider, question, asks + 1))
    }
}

fn failed(bound: &Bound, why: &str) -> Explanation {
    Explanation::Step(unanswered(bound.fail, &bound.hook), format!("the hook fails: {why}"))
}

fn read(
    (bound, node, request): (&Bound, &Node, &Request),
    called: Called<auth::Step>,
    (decider, question, asks): (Arc<dyn Decider>, auth::Request, usize),
) -> Explanation {
    let answered = match called.result {
        Ok(answered) => answered,
        Err(failure) => return failed(bound, &failure.to_string()),
    };
    match answer::read(answered, request, (&bound.hook, Places::Look(&node.slots))) {
        Ok(Answer::Step(step)) => Explanation::Step(step, "the hook has no opinion on this".to_owned()),
        Ok(Answer::Ask(_)) if asks >= MAX_REPLIES => failed(bound, ASKS_TOO_OFTEN),
        Ok(Answer::Ask(fetch)) => Explanation::Asks(Box::new(Asking { decider, question, fetch, asks })),
        Err(error) => failed(bound, &error),
    }
}
