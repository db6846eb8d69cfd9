//! How many TLS handshakes a shard works at. Before it: [`super::secure`], which has one to do; after it: nothing.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use millstream_proto::time::Time;

use super::session::Session;
use super::wait::{Notify, select};
use crate::io::{Budget, HANDSHAKES, sleep};

/// Handshakes that have their turn one after the other: their signatures are the longest work of a shard, and a burst of them is not to hold up what is
/// on air. Who waits has come through the limit of connections that have asked for nothing, which bounds how many there are.
pub(crate) struct Handshakes {
    budget: Budget,
    waiting: RefCell<VecDeque<Weak<Notify>>>,
    /// A task calls them.
    running: Cell<bool>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { budget: Budget::new(&HANDSHAKES, Time::ZERO), waiting: RefCell::default(), running: Cell::new(false) }
    }
}

impl Handshakes {
    /// Whether this one's turn is now.
    pub(super) fn is_free(&self, now: Time) -> bool {
        !self.running.get() && self.budget.place(now).is_zero()
    }

    /// Whether a task is to be started that does [`Self::call`].
    pub(super) fn needs_caller(&self) -> bool {
        !self.running.replace(true)
    }

    /// Waits until this one is called, or its session ends.
    pub(super) async fn called(&self, session: &Session) {
        let called = Rc::new(Notify::default());
        self.waiting.borrow_mut().push_back(Rc::downgrade(&called));
        select(called.notified(), session.notify.notified()).await;
    }

    /// Calls those who wait, in order, until there is none.
    pub(super) async fn call(&self) {
        let _ends = Ends(&self.running);
        loop {
            // A turn is a millisecond, in which the runtime looks at what came in.
            sleep(Duration::from_millis(1)).await;
            if !self.call_some() {
                return;
            }
        }
    }

    /// Calls those whose turn it is. True: more are waiting.
    fn call_some(&self) -> bool {
        let waiting = &mut *self.waiting.borrow_mut();
        let mut left = HANDSHAKES.pieces;
        while left > 0
            && let Some(next) = waiting.pop_front()
        {
            // Who has gone meanwhile takes nobody's turn.
            if let Some(next) = next.upgrade() {
                next.notify();
                left -= 1;
            }
        }
        !waiting.is_empty()
    }
}

/// Says that a task has ended, however it does.
struct Ends<'a>(&'a Cell<bool>);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
