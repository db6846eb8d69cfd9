//! What a session was admitted for: how long, when it is asked about again, and what it holds meanwhile. It goes with the session from shard to
//! shard. Before it: [`crate::admission`]; after it: the sweep of `session`, which ends sessions, and `recheck`, which asks about them.
use std::time::Duration;

use millstream_policy::records::Labels;
use millstream_policy::{Action, Grant, Held, Request};
use millstream_proto::id::Id;
use millstream_proto::time::Time;

use super::grant_sessions::Holds;

/// Where there is no decision about a running session, it is asked about again after this time.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// An answer that has not come after this time does not come.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
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
    held: Option<Held>,
    /// Nobody has decided: what it holds already is kept in place of that.
    goes_on: bool,
    /// Its labels.
    pub(crate) labels: Option<Labels>,
    /// The stream that it publishes, where that is another one than it named.
    rename: Option<Id>,
    /// What it publishes is recorded, or not, whatever the stream's settings say.
    pub(crate) record: Option<bool>,
}

/// A question about a running session.
pub(crate) struct Recheck {
    at: Time,
    /// It is being asked: its answer is for this grant, and for no other that may come meanwhile.
    is_asked: bool,
    question: Request,
}

impl Granted {
    /// What a policy has granted to who has asked this.
    pub(crate) fn new(grant: Grant, question: Request, now: Time) -> Self {
        let Grant { valid_for, recheck_after, held, goes_on, labels, rename, record, .. } = grant;
        let question_publishes = question.action == Action::Publish && !question.recheck;
        let rename = rename.filter(|_| question_publishes);
        // Who came at the same moment is not asked about at the same moment.
        let spread = |after: Duration| after / 1_000 * (1_000 - (question.client.session % 100) as u32);
        let at = recheck_after.map(|after| now + spread(after.max(RECHECK_MIN)));
        let recheck = at.map(|at| {
            // By the name that it gave: the same steps are asked.
            let question = Request { recheck: true, labels: labels.clone(), ..question };
            Box::new(Recheck { at, is_asked: false, question })
        });
        let record = record.filter(|_| question_publishes);
        Self { until: valid_for.map(|time| now + time), recheck, held, goes_on, labels, rename, record }
    }

    /// The stream that a publisher gets which named this one.
    pub(crate) fn publishes(&self, named: Id) -> Id {
        self.rename.clone().unwrap_or(named)
    }

    /// For who shows a grant: up to its end.
    pub(crate) fn up_to(until: Time) -> Self {
        Self { until: Some(until), ..Self::default() }
    }

    /// What is given back at its end, for who keeps it from here on.
    pub(crate) fn take_holds(&mut self) -> Holds {
        if self.goes_on { Holds::AsBefore } else { Holds::This(self.held.take()) }
    }

    /// When it is to be asked about again.
    pub(crate) fn recheck_at(&self) -> Option<Time> {
        self.recheck.as_ref().map(|recheck| recheck.at)
    }

    /// Whether it is over.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// The question, once it is to be asked again.
    pub(crate) fn take_recheck(&mut self, now: Time) -> Option<Request> {
        let recheck = self.recheck.as_mut().filter(|recheck| recheck.at <= now)?;
        // An answer that is lost, as with a session that is handed over meanwhile, is asked for again.
        (recheck.at, recheck.is_asked) = (now + ANSWER_WAIT_MAX, true);
        Some(recheck.question.clone())
    }

    /// Whether the answer that comes is for this grant.
    pub(crate) fn is_asked(&self) -> bool {
        self.recheck.as_ref().is_some_and(|recheck| recheck.is_asked)
    }

    /// There was no decision.
    pub(crate) fn ask_again(&mut self, now: Time) {
        if let Some(recheck) = &mut self.recheck {
            (recheck.at, recheck.is_asked) = (now + ASK_AGAIN_AFTER, false);
        }
    }
}
