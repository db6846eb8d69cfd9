//! How many TLS handshakes a shard works at. Before it: [`super::secure`], which has one to do; after it: nothing.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use millstream_proto::time::Time;

use super::session::Session;
use super::wait::{Notify, select};
use crate::io::sleep;

/// Handshakes have one part in so many of a shard's time: a burst of them is not to hold up what is on air.
const SHARE: u32 = 3;
/// Who waits is called so often at most: in between the runtime looks at what came in.
const CALL_EVERY: Duration = Duration::from_millis(1);
/// How many are called at once at most.
const CALLED_MAX: u32 = 8;
/// With so many who wait, new connections stay with the system until it is their turn.
const MANY: usize = 64;
/// What a flight is taken to cost until some were measured.
const USUAL: Duration = Duration::from_micros(250);

/// Handshakes that have their turn one after the other, by the time that they take: that depends on the kind of the key, and on the machine. Who waits has
/// come through the limit of connections that have asked for nothing, which bounds how many there are.
pub(crate) struct Handshakes {
    /// The next flight may be worked at from then on.
    free_at: Cell<Time>,
    /// What one has cost lately.
    usual: Cell<Duration>,
    waiting: RefCell<VecDeque<Weak<Notify>>>,
    /// A task calls them.
    running: Cell<bool>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            free_at: Cell::new(Time::ZERO),
            usual: Cell::new(USUAL),
            waiting: RefCell::default(),
            running: Cell::new(false),
        }
    }
}

impl Handshakes {
    /// Whether this one's turn is now.
    pub(super) fn is_free(&self, now: Time) -> bool {
        !self.running.get() && self.free_at.get() <= now
    }

    /// A flight was worked at from then until now.
    pub(super) fn worked(&self, began: Time, now: Time) {
        let took = now.since(began);
        self.usual.set((self.usual.get() * 3 + took) / 4);
        self.free_at.set(self.free_at.get().max(began) + took * SHARE);
    }

    /// Whether those who wait are enough for now.
    pub(super) fn are_many(&self) -> bool {
        self.waiting.borrow().len() >= MANY
    }

    /// Whether a task is to be started that does [`Self::call`].
    pub(super) fn needs_caller(&self) -> bool {
        !self.running.replace(true)
    }

    /// Waits until this one is called, or its session ends. `begun`: its handshake has cost something already, and is finished before others begin.
    pub(super) async fn called(&self, session: &Session, begun: bool) {
        let called = Rc::new(Notify::default());
        self.join(Rc::downgrade(&called), begun);
        select(called.notified(), session.notify.notified()).await;
    }

    fn join(&self, waits: Weak<Notify>, begun: bool) {
        let waiting = &mut *self.waiting.borrow_mut();
        if begun {
            waiting.push_front(waits);
        } else {
            waiting.push_back(waits);
        }
    }

    /// Calls those who wait, in order, until there is none.
    pub(super) async fn call(&self, now: impl Fn() -> Time) {
        let _ends = Ends(&self.running);
        loop {
            sleep(self.free_at.get().since(now()).max(CALL_EVERY)).await;
            if !self.call_some() {
                return;
            }
        }
    }

    /// Calls as many as are done before the next call. True: more are waiting.
    fn call_some(&self) -> bool {
        let waiting = &mut *self.waiting.borrow_mut();
        let each = (self.usual.get() * SHARE).max(Duration::from_micros(1));
        let mut left =
            u32::try_from(CALL_EVERY.as_nanos() / each.as_nanos()).unwrap_or(CALLED_MAX).clamp(1, CALLED_MAX);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_time_whatever_one_costs() {
        for cost_us in [50, 250, 1_000, 5_000] {
            let handshakes = Handshakes::default();
            let (mut now, mut worked) = (Time::from_millis(7), 0);
            let end = now + Duration::from_secs(2);
            while now < end {
                // All that are ready have a look, one behind the other.
                for _ in 0..100 {
                    if handshakes.is_free(now) {
                        let began = now;
                        now = now + Duration::from_micros(cost_us);
                        handshakes.worked(began, now);
                        worked += cost_us;
                    }
                }
                now = now + Duration::from_micros(100);
            }
            assert!((500_000..680_000).contains(&worked), "{cost_us}: {worked} us of 2 s");
        }
    }

    #[test]
    fn as_many_are_called_as_are_done_until_the_next_call() {
        for (cost_us, called) in [(1, CALLED_MAX), (50, 6), (250, 1), (5_000, 1)] {
            let handshakes = Handshakes::default();
            (0..40).for_each(|_| handshakes.worked(Time::ZERO, Time::ZERO + Duration::from_micros(cost_us)));
            let waiting: Vec<_> = (0..MANY).map(|_| Rc::new(Notify::default())).collect();
            handshakes.waiting.borrow_mut().extend(waiting.iter().map(Rc::downgrade));
            assert!(handshakes.are_many() && handshakes.call_some() && !handshakes.are_many());
            assert_eq!(MANY - handshakes.waiting.borrow().len(), called as usize, "{cost_us}");
        }
    }
}
