//! Admission: everybody who wants to publish or play is led here first, over whatever protocol, and nothing is answered before
//! the verdict. It asks the policy chain; a step that needs time parks the session.
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use millstream_hub::pending::Pending;
use millstream_policy::{Answer, Chain, DecisionContext, Denial, Request, Step, Steps, Undecided, Verdict};
use millstream_proto::id::Id;
use millstream_proto::time::Time;

use crate::clock::unix_s;
use crate::shard::context::ShardContext;
use crate::shard::events::Refused;
use crate::shard::granted::Granted;
use crate::shard::wait::Oneshot;

/// Sessions of one shard whose verdict may be pending.
const PENDING_LEN_MAX: usize = 4096;
/// Longest wait for a pending verdict.
const PENDING_WAIT_MAX: Duration = Duration::from_secs(5);
/// Tickets carry their shard in the bits above these.
const TICKET_BITS: u32 = 48;

/// The shard that an answer to this ticket must go to.
pub(crate) fn shard_of(ticket: u64) -> usize {
    (ticket >> TICKET_BITS) as usize
}

/// What a pending session is waiting for; `None`: it took too long.
type Decision = Rc<Oneshot<Option<Step>>>;

pub(crate) struct Admission {
    /// Replaced as a whole. Requests that are pending go on with the steps that they began with.
    steps: RefCell<Rc<Steps>>,
    pending: RefCell<Pending<Decision>>,
    last_ticket: Cell<u64>,
}

impl Admission {
    pub(crate) fn new(chain: &Chain, shard: usize) -> Self {
        Self {
            steps: RefCell::new(Rc::new(chain.for_shard(shard))),
            pending: RefCell::new(Pending::new(PENDING_LEN_MAX, PENDING_WAIT_MAX)),
            last_ticket: Cell::new((shard as u64) << TICKET_BITS),
        }
    }

    /// Decides by this chain from here on.
    pub(crate) fn replace(&self, chain: &Chain, shard: usize) {
        // Made first: it may take a while, and may fail.
        let steps = Rc::new(chain.for_shard(shard));
        self.steps.replace(steps);
    }

    /// The grant, at once in most cases, else when it has come or the wait is over; or why there is none. Steps run in the task of the session
    /// that asks, so that a defect in one ends that session alone.
    pub(crate) async fn ask(&self, shard: &ShardContext, request: Request) -> Result<Granted, Denial> {
        let steps = Rc::clone(&self.steps.borrow());
        let mut ticket = self.ticket();
        let mut answer = decide(shard, ticket, |context| steps.ask(&request, context));
        let verdict = loop {
            let step = match answer {
                Answer::Verdict(verdict) => break verdict,
                Answer::Pending { step } => step,
            };
            let decision = Oneshot::new();
            let pending = self.pending.borrow_mut().add(ticket, Rc::clone(&decision), shard.now());
            let decided = match pending {
                Ok(()) => decision.get().await.ok_or(Undecided::Late),
                Err(_) => Err(Undecided::Full),
            };
            // A later step that is pending too gets a ticket of its own: a second answer of this one is not for it.
            ticket = self.ticket();
            answer = match decided {
                Ok(decided) => decide(shard, ticket, |context| steps.resume(step, decided, &request, context)),
                Err(why) => decide(shard, ticket, |context| steps.undecided(step, why, &request, context)),
            };
        };
        decide(shard, ticket, |context| steps.observe(&request, context, &verdict));
        let denial = match verdict {
            Verdict::Allow(grant) => return Ok(Granted::new(grant, request, shard.now())),
            Verdict::Deny(denial) => denial,
        };
        let client = &request.client;
        shard.refused(&Refused {
            action: request.action.as_str(),
            why: denial.why.label(),
            reason: &denial.reason,
            stream: request.name.as_str(),
            session: client.session,
            peer: client.address,
            protocol: client.protocol,
        });
        Err(denial)
    }

    /// Whether a step goes by the parameters of this request's URL.
    pub(crate) fn reads_params(&self, request: &Request) -> bool {
        self.steps.borrow().reads_params(request)
    }

    /// Whether not everybody may play this stream.
    pub(crate) fn is_protected(&self, name: &Id) -> bool {
        self.steps.borrow().is_protected(name)
    }

    fn ticket(&self) -> u64 {
        let ticket = self.last_ticket.get() + 1;
        self.last_ticket.set(ticket);
        ticket
    }

    /// A pending step has decided; nothing happens if it took too long.
    pub(crate) fn answer(&self, ticket: u64, step: Step) {
        // "Pending" again is no decision: the step stays where it is.
        if step == Step::Pending {
            return;
        }
        let pending = self.pending.borrow_mut().take(ticket);
        if let Some(decision) = pending {
            decision.set(Some(step));
        }
    }

    /// Turns away those that have waited too long.
    pub(crate) fn expire(&self, now: Time) {
        loop {
            let expired = self.pending.borrow_mut().expire(now);
            match expired {
                Some(decision) => decision.set(None),
                None => return,
            }
        }
    }

    /// Turns away all who wait.
    pub(crate) fn close(&self, now: Time) {
        self.expire(now + PENDING_WAIT_MAX);
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending.borrow().len()
    }
}

/// Asks the chain something, beside what there is now.
fn decide<T>(shard: &ShardContext, ticket: u64, ask: impl FnOnce(DecisionContext<'_>) -> T) -> T {
    let directory = shard.directory.borrow();
    ask(DecisionContext { ticket, unix_s: unix_s(), records: directory.records() })
}
