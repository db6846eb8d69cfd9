//! What a binding would say of a made-up request, for people who ask what the chain does. Nothing is counted, no place is taken and no upstream is asked. Before
//! it: the API; after it: its answer.
use millstream_policy::{DecisionContext, Request, Step};

use crate::answer::{self, Answer};
use crate::bound::{Bound, Counts, unanswered};
use crate::question;
use crate::slots::Slots;

/// The step, where one can be told, and why.
pub fn explain(bound: &Bound, request: &Request, context: DecisionContext<'_>) -> (Option<Step>, String) {
    let failed = |why: String| (Some(unanswered(bound.fail, &bound.hook)), why);
    match bound.counts(&request.name) {
        Counts::NotAsked => return (Some(Step::Abstain), "it is for another stream".to_owned()),
        Counts::Compared => return (Some(Step::Abstain), "its answers are compared here, and do not count".to_owned()),
        Counts::Decides => {}
    }
    let Some(decider) = &bound.decider else { return failed("its module is not ready on this node".to_owned()) };
    let answered = match decider.authorize(&question::ask(request, context, None)).result {
        Ok(answered) => answered,
        Err(failure) => return failed(failure.to_string()),
    };
    match answer::read(answered, request, (&bound.hook, &Slots::default())) {
        Ok(Answer::Step(step)) => (Some(step), "the hook has no opinion on this".to_owned()),
        Ok(Answer::Ask(fetch)) => (None, format!("it asks the upstream {:?} first", fetch.upstream)),
        Err(error) => failed(error),
    }
}
