//! Admission's steps: each does what the request's `door` parameter says at its place, now or later.
use std::cell::RefCell;

use millstream_engine_simulated::Remote;
use millstream_engine_simulated::io;
use millstream_policy::{Chain, DecisionContext, Denial, Grant, Policy, PolicyMaker, Request, Step, Why, shared};

use crate::plan::Gate;
use crate::walk::sleep_ms;

thread_local! {
    static REMOTE: RefCell<Option<Remote>> = const { RefCell::new(None) };
}

struct Gated(usize);

impl Policy for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn decide(&self, request: &Request, context: DecisionContext<'_>) -> Step {
        let letters = request.params.get("door").expect("the door's parameter came through");
        let later_ms: u64 = request.params.get("later").and_then(|ms| ms.parse().ok()).expect("a number");
        let from = request.params.get("from").expect("the client's address came through");
        assert_eq!(request.client.address.ip().to_canonical().to_string(), from, "the door is told of another client");
        let decided = match Gate::from_letter(letters.chars().nth(self.0).expect("two letters")) {
            Gate::Allow => return Step::Allow(Grant::default()),
            Gate::Deny => return denied(),
            Gate::Next => return Step::Abstain,
            Gate::Never => return Step::Pending,
            Gate::LaterAllow => Step::Allow(Grant::default()),
            Gate::LaterDeny => denied(),
            Gate::LaterNext => Step::Abstain,
        };
        let ticket = context.ticket;
        let remote = REMOTE.with(|remote| remote.borrow().clone()).expect("it is open");
        io::spawn_outside(async move {
            sleep_ms(later_ms / 2).await;
            if io::draw(5) == 0 {
                // Not an answer.
                remote.answer(ticket, Step::Pending);
            }
            sleep_ms(later_ms - later_ms / 2).await;
            remote.answer(ticket, decided);
            if io::draw(5) == 0 {
                // An answer too many.
                remote.answer(ticket, Step::Allow(Grant::default()));
            }
        });
        Step::Pending
    }
}

fn denied() -> Step {
    Denial::step(Why::Forbidden, "not today")
}

pub(crate) fn chain() -> Chain {
    let steps = || -> Vec<PolicyMaker> { vec![shared(Gated(0)), shared(Gated(1))] };
    Chain::new(steps(), steps())
}

pub(crate) fn open(remote: &Remote) {
    REMOTE.with(|slot| *slot.borrow_mut() = Some(remote.clone()));
}

pub(crate) fn close() {
    REMOTE.with(|slot| *slot.borrow_mut() = None);
}
