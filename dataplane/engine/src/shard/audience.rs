//! Who watches a stream handle on this shard, for whoever asks: [`super::view`]. Sessions enter and leave it as they begin and end to play,
//! [`crate::egress::pump`].
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use super::session::Session;

/// The sessions that watch a stream handle on this shard: a change when one comes or goes, and none per frame.
#[derive(Default)]
pub(crate) struct Audience {
    sessions: RefCell<BTreeMap<u64, Watcher>>,
    /// Protocols are few: a list is looked through sooner than a map.
    counts: RefCell<Vec<Count>>,
}

struct Watcher {
    session: Weak<Session>,
    protocol: &'static str,
}

/// How many watch over a protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) protocol: &'static str,
    pub(crate) sessions: usize,
}

impl Audience {
    pub(crate) fn join(&self, session: &Rc<Session>, protocol: &'static str) {
        self.sessions.borrow_mut().insert(session.number, Watcher { session: Rc::downgrade(session), protocol });
        let mut counts = self.counts.borrow_mut();
        match counts.iter_mut().find(|known| known.protocol == protocol) {
            Some(count) => count.sessions += 1,
            None => counts.push(Count { protocol, sessions: 1 }),
        }
    }

    pub(crate) fn leave(&self, number: u64) {
        if let Some(Watcher { protocol, .. }) = self.sessions.borrow_mut().remove(&number) {
            let mut counts = self.counts.borrow_mut();
            if let Some(count) = counts.iter_mut().find(|known| known.protocol == protocol) {
                count.sessions -= 1;
            }
        }
    }

    /// How many, by protocol.
    pub(crate) fn counts(&self) -> Vec<Count> {
        self.counts.borrow().iter().copied().filter(|count| count.sessions > 0).collect()
    }

    /// Some of them, the same ones as long as they stay: half of those who have been here longest, half of the newest.
    pub(crate) fn some(&self, most: usize) -> Vec<Rc<Session>> {
        let sessions = self.sessions.borrow();
        let oldest = sessions.values().take(most.div_ceil(2));
        let newest = sessions.values().rev().take(sessions.len().saturating_sub(most.div_ceil(2)).min(most / 2));
        oldest.chain(newest).filter_map(|watcher| watcher.session.upgrade()).collect()
    }

    /// Those after a session number, in their order.
    pub(crate) fn after(&self, number: u64, limit: usize) -> Vec<Rc<Session>> {
        let sessions = self.sessions.borrow();
        sessions.range(number + 1..).filter_map(|(_, watcher)| watcher.session.upgrade()).take(limit).collect()
    }
}
