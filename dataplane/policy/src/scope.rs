//! What steps of a configuration have in common: the streams that they are for, and what they give to who passes or brings nothing.
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use millstream_proto::id::Id;

use crate::{DecisionContext, Grant, Policy, PolicyMaker, Request, Stance, Step, Undecided, Verdict};

/// What who passes a step gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// It is admitted; no later step is asked.
    Allow,
    /// It goes on to the next step: this one is a condition.
    Next,
}

impl Pass {
    /// Of a step that everybody passes.
    pub(crate) const fn stance(self) -> Stance {
        match self {
            Self::Allow => Stance::Admits,
            Self::Next => Stance::Passes,
        }
    }

    /// As the answer of a step.
    pub fn step(self, grant: Grant) -> Step {
        match self {
            Self::Allow => Step::Allow(grant),
            Self::Next => Step::Abstain,
        }
    }
}

/// What who brings no credential of a step's kind gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// It is refused.
    Deny,
    /// It goes on to the next step, which may know it by something else.
    Next,
}

/// What is done with who is asked about where who decides gives no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fail {
    /// It is refused for now.
    #[default]
    Closed,
    /// It passes.
    Open,
}

/// A step that is asked for these streams only; for all where there is none.
pub fn only_for(streams: Vec<Id>, maker: PolicyMaker) -> PolicyMaker {
    if streams.is_empty() {
        return maker;
    }
    let streams: Arc<HashSet<Id>> = Arc::new(streams.into_iter().collect());
    Arc::new(move |shard| Rc::new(OnlyFor { streams: Arc::clone(&streams), step: maker(shard) }))
}

struct OnlyFor {
    streams: Arc<HashSet<Id>>,
    step: Rc<dyn Policy>,
}

impl OnlyFor {
    fn is_for(&self, request: &Request) -> bool {
        self.streams.contains(&request.name)
    }
}

impl Policy for OnlyFor {
    fn name(&self) -> &'static str {
        self.step.name()
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        if self.is_for(request) { self.step.decide(request, context) } else { Step::Abstain }
    }

    fn undecided(&self, request: &Request, why: Undecided) -> Step {
        self.step.undecided(request, why)
    }

    fn abstains_because(&self, request: &Request) -> String {
        if self.is_for(request) {
            self.step.abstains_because(request)
        } else {
            "it is for other streams (streams = [...])".to_owned()
        }
    }

    fn reads_params(&self, request: &Request) -> bool {
        self.is_for(request) && self.step.reads_params(request)
    }

    fn stance(&self, name: &Id) -> Stance {
        if self.streams.contains(name) { self.step.stance(name) } else { Stance::Passes }
    }

    fn observe(&self, request: &Request, context: DecisionContext<'_>, verdict: &Verdict) {
        if self.is_for(request) {
            self.step.observe(request, context, verdict);
        }
    }
}
