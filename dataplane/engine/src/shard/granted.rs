//! What a session was admitted for: how long, when it is asked about again, and what it holds meanwhile. It goes with the session from shard to
//! shard. Before it: [`crate::admission`]; after it: the sweep of `session`, which ends sessions, and `recheck`, which asks about them.
use std::time::Duration;

use millstream_policy::{Grant, Held, Request};
use millstream_proto::time::Time;

/// Where there is no decision about a running session, it is asked about again after this time.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Sessions are not asked about more often than this, whatever a policy says.
const RECHECK_MIN: Duration = Duration::from_secs(1);

/// Conditions of a session.
#[derive(Default)]
pub(crate) struct Granted {
    /// It is ended then; `None`: it was admitted for good.
    pub(crate) until: Option<Time>,
    /// It is asked about again.
    pub(crate) recheck: Option<Box<Recheck>>,
    /// Given back at its end.
    _held: Option<Held>,
}

/// A question about a running session.
pub(crate) struct Recheck {
    at: Time,
    question: Request,
}

impl Granted {
    /// What a policy has granted to who has asked this.
    pub(crate) fn new(grant: Grant, question: Request, now: Time) -> Self {
        let Grant { valid_for, recheck_after, held, .. } = grant;
        // Who came at the same moment is not asked about at the same moment.
        let spread = |after: Duration| after / 1_000 * (1_000 - (question.client.session % 100) as u32);
        let at = recheck_after.map(|after| now + spread(after.max(RECHECK_MIN)));
        let recheck = at.map(|at| Box::new(Recheck { at, question: Request { recheck: true, ..question } }));
        Self { until: valid_for.map(|time| now + time), recheck, _held: held }
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// The question, once it is to be asked again.
    pub(crate) fn take_recheck(&mut self, now: Time) -> Option<Request> {
        let due = self.recheck.as_ref().is_some_and(|recheck| recheck.at <= now);
        self.recheck.take_if(|_| due).map(|recheck| recheck.question)
    }

    pub(crate) fn ask_again(&mut self, question: Request, now: Time) {
        self.recheck = Some(Box::new(Recheck { at: now + ASK_AGAIN_AFTER, question }));
    }
}
