//! `engine/door.rs`: the policy chain is asked before publish and play; a pending step parks the session.
use std::time::Duration;

use millstream_hub::pending::Pending;
use millstream_policy::records::Records;
use millstream_policy::{Answer, Chain, DecisionContext, Denial, Policy, Request, Step, Steps, Verdict, Why, shared};

use super::conn::Task;
use crate::Sabotage;
use crate::plan::Gate;
use crate::world::{Event, World};

/// Longest wait for a pending verdict, as the engine's.
const PENDING_WAIT_MAX: Duration = Duration::from_secs(5);

/// A step of the chain that does what the request's `door` parameter says at its place.
struct Gated(usize);

impl Policy for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn decide(&self, request: &Request, _context: DecisionContext<'_>) -> Step {
        match gate(request, self.0) {
            Gate::Allow => Step::Allow(millstream_policy::Grant::default()),
            Gate::Deny => denied(),
            Gate::Next => Step::Abstain,
            _ => Step::Pending,
        }
    }
}

fn gate(request: &Request, step: usize) -> Gate {
    let letters = request.params.get("door").expect("the door's parameter came through");
    Gate::from_letter(letters.chars().nth(step).expect("two letters"))
}

pub(crate) fn denied() -> Step {
    Denial::step(Why::Forbidden, "not today")
}

/// A session whose verdict is pending.
#[derive(Debug)]
pub(crate) struct Waiting {
    link: usize,
    step: usize,
    request: Request,
}

pub(crate) struct Door {
    chain: Steps,
    pub(crate) pending: Pending<Waiting>,
    pub(crate) pending_max: usize,
    last_ticket: u64,
}

impl Door {
    pub(crate) fn new(shard: usize, pending_max: usize) -> Self {
        let steps = || vec![shared(Gated(0)), shared(Gated(1))];
        let pending = Pending::new(pending_max, PENDING_WAIT_MAX);
        Self {
            chain: Chain::new(steps(), steps()).for_shard(shard),
            pending,
            pending_max,
            last_ticket: (shard as u64) << 48,
        }
    }

    fn ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.last_ticket
    }
}

impl World {
    /// `Door::ask`.
    pub(crate) fn ask(&mut self, link: usize, request: Request) {
        if self.sabotage == Some(Sabotage::EarlyStart)
            && let Some(rtmp) = &mut self.links[link].conn.rtmp
        {
            rtmp.accept(self.now).expect("a request waits");
            self.links[link].conn.take_output();
        }
        let door = &mut self.shards[self.links[link].conn.shard].door;
        let ticket = door.ticket();
        let answer = door.chain.ask(&request, DecisionContext { ticket, unix_s: 0, records: &Records::default() });
        self.answered(link, request, ticket, answer);
    }

    fn answered(&mut self, link: usize, request: Request, ticket: u64, answer: Answer) {
        let shard = self.links[link].conn.shard;
        match answer {
            Answer::Verdict(verdict) => self.verdict(link, verdict, request.action),
            Answer::Pending { step } => {
                let (gate, action) = (gate(&request, step), request.action);
                let waiting = Waiting { link, step, request };
                if self.shards[shard].door.pending.add(ticket, waiting, self.now).is_err() {
                    return self.verdict(link, busy(), action);
                }
                self.totals.pending += 1;
                self.links[link].conn.task = Task::Asking;
                let letter = match gate {
                    Gate::LaterAllow => 'A',
                    Gate::LaterDeny => 'D',
                    Gate::LaterNext => 'N',
                    _ => return,
                };
                let later = self.later(link);
                self.after(later, Event::Answer(shard, ticket, letter));
                if self.random.chance(200) {
                    // Not an answer, and an answer too many.
                    self.after(later / 2, Event::Answer(shard, ticket, 'p'));
                    self.after(later + Duration::from_millis(1), Event::Answer(shard, ticket, 'A'));
                }
            }
        }
    }

    fn later(&self, link: usize) -> Duration {
        Duration::from_millis(self.links[link].peer.plan().mood.later_ms)
    }

    /// `Door::answer`, and the task that it wakes.
    pub(crate) fn answer(&mut self, shard: usize, ticket: u64, step: Step) {
        if step == Step::Pending {
            return;
        }
        let door = &mut self.shards[shard].door;
        let Some(waiting) = door.pending.take(ticket) else { return };
        let ticket = door.ticket();
        let context = DecisionContext { ticket, unix_s: 0, records: &Records::default() };
        let answer = door.chain.resume(waiting.step, step, &waiting.request, context);
        self.answered(waiting.link, waiting.request, ticket, answer);
    }

    /// `Door::expire`; `all` is `Door::close`.
    pub(crate) fn expire(&mut self, shard: usize, all: bool) {
        let until = if all { self.now + PENDING_WAIT_MAX } else { self.now };
        while let Some(waiting) = self.shards[shard].door.pending.expire(until) {
            self.verdict(waiting.link, busy(), waiting.request.action);
        }
    }
}

fn busy() -> Verdict {
    Verdict::Deny(Denial::new(Why::Busy, "try again in a moment"))
}
