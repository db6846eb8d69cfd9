//! Fairness: how much of its work a task does before the runtime looks at what came in and others have their turn. Tasks that are ready go
//! before that, however long there are any, so a task that only yields keeps everybody waiting who is not one of them.
use std::cell::Cell;
use std::time::Duration;

use millstream_proto::time::Time;

use super::runtime::{IoYield, sleep};

/// The work of one turn. All of these are here, because they add up to what a newcomer waits for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) pieces: u32,
    /// And for so long.
    time: Duration,
    /// From one turn's beginning to the next one's, at least; zero: the next one begins once the runtime has looked.
    every: Duration,
}

impl Limit {
    const fn pieces(pieces: u32) -> Self {
        Self { pieces, time: Duration::MAX, every: Duration::ZERO }
    }

    const fn time(time: Duration) -> Self {
        Self { pieces: u32::MAX, time, every: Duration::ZERO }
    }

    const fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }
}

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// Operations in a row of a peer that sends faster than it is read: epoll finds its socket readable each time. io_uring waits for each.
pub(super) const READS: Limit = Limit::pieces(16);
/// Connections that are accepted in a row.
pub(crate) const ACCEPTS: Limit = Limit::pieces(32);
/// Sends to viewers that have all there is: a newcomer does not wait until all the others have been sent to.
pub(crate) const FAN_OUT: Limit = Limit::time(MILLISECOND);
/// Sends of parts: meanwhile come the audio that goes with these frames, other streams, other viewers. A turn lasts a millisecond at least,
/// so that it has passed by its end: a timer is what the runtime waits for only when nothing is left to run.
pub(crate) const PARTS: Limit = Limit::time(Duration::from_millis(4)).every(MILLISECOND);
/// Tasks that are woken in a row: what they do is one turn of the runtime.
pub(crate) const WAKES: Limit = Limit::pieces(192);
/// Sessions that end together. More of them in a second than connect in one (20,000 on a core that does nothing else), so that they do not pile
/// up.
pub(crate) const ENDS: Limit = Limit::pieces(32).every(MILLISECOND);

/// What is left of a turn.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: &'static Limit,
    began: Cell<Time>,
    done: Cell<u32>,
}

impl Budget {
    /// A turn that begins.
    pub(crate) fn new(limit: &'static Limit, now: Time) -> Self {
        Self { limit, began: Cell::new(now), done: Cell::new(0) }
    }

    /// A piece of work is done.
    pub(crate) fn spend(&self) {
        self.done.set(self.done.get().saturating_add(1));
    }

    /// The next turn begins.
    pub(crate) fn renew(&self, now: Time) {
        self.began.set(now);
        self.done.set(0);
    }

    /// Whether others have their turn before there is more of this.
    pub(crate) fn spent(&self, now: Time) -> bool {
        self.done.get() >= self.limit.pieces || now.since(self.began.get()) >= self.limit.time
    }

    /// Waits until the runtime has looked at what came in, and the next turn may begin.
    pub(crate) async fn yield_to_io(&self, io: &IoYield, now: Time) {
        if self.limit.every.is_zero() {
            io.wait().await;
        } else {
            sleep((self.began.get() + self.limit.every).since(now)).await;
        }
    }

    /// For work that many tasks do a piece each of: how long the one that comes now waits for its turn.
    pub(crate) fn place(&self, now: Time) -> Duration {
        let next = self.began.get() + self.limit.every;
        if next <= now {
            self.renew(now);
        } else if self.spent(now) {
            self.renew(next);
        }
        self.spend();
        self.began.get().since(now)
    }

    pub(crate) async fn turn(&self, now: Time) {
        let wait = self.place(now);
        if !wait.is_zero() {
            // Boxed: it is rare.
            Box::pin(sleep(wait)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_end_together_are_paced() {
        let now = Time::from_millis(7_000);
        let budget = Budget::new(&ENDS, Time::ZERO);
        let waits = |count: u32, now| -> Vec<u128> { (0..count).map(|_| budget.place(now).as_millis()).collect() };
        let mut first = waits(2 * ENDS.pieces + 1, now);
        first.dedup();
        assert_eq!(first, [0, 1, 2]);
        // Who comes meanwhile comes after them, and nobody waits any more once they are through.
        assert_eq!(budget.place(now + Duration::from_micros(500)), Duration::from_micros(1_500));
        assert!(waits(ENDS.pieces, now + Duration::from_millis(3)).iter().all(|wait| *wait == 0));
        assert_eq!(budget.place(now + Duration::from_millis(3)), ENDS.every);
    }

    #[test]
    fn a_turn_is_over_by_pieces_or_by_time() {
        let at = |us| Time::from_millis(5) + Duration::from_micros(us);
        let budget = Budget::new(&ACCEPTS, at(0));
        (1..ACCEPTS.pieces).for_each(|_| budget.spend());
        assert!(!budget.spent(at(1_000_000)));
        budget.spend();
        assert!(budget.spent(at(0)));
        budget.renew(at(0));
        assert!(!budget.spent(at(0)));
        let budget = Budget::new(&FAN_OUT, at(0));
        budget.spend();
        assert!(!budget.spent(at(999)) && budget.spent(at(1_000)));
    }
}
