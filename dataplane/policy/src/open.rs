//! The step that admits anyone. It is the whole chain of `--auth open`; whoever builds that chain says so loudly.
use millstream_proto::id::Id;

use crate::{DecisionContext, Grant, Policy, Request, Stance, Step};

/// Allows whatever is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Policy for Open {
    fn name(&self) -> &'static str {
        "open"
    }

    fn decide(&self, _request: &Request, _context: DecisionContext<'_>) -> Step {
        Step::Allow(Grant::default())
    }

    fn stance(&self, _name: &Id) -> Stance {
        Stance::Admits
    }
}
