//! Answers with recorded files that are under way at a shard: a slot each, of a fixed number, which a signal belongs to. Before it:
//! [`crate::recorded`], whose writers ring; after it: [`crate::egress`], whose tasks are told to look. A slot is free again when both ends of its
//! answer have gone: a reader that hangs counts for as long as it hangs.
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::session::Session;
use crate::io::ShardWaker;
use crate::metrics::ShardStats;
use crate::recorded::{Incoming, Link, Shared, Signals, Taken, link};

/// All answers of a shard that are under way.
pub(crate) struct Answers {
    signals: Arc<Signals>,
    slots: RefCell<Slots>,
    slots_max: usize,
    /// Bytes that wait in answers of the process.
    all_queued: Arc<AtomicUsize>,
    stats: Arc<ShardStats>,
}

#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    free: Vec<usize>,
}

/// An answer; free where it has neither end.
#[derive(Default)]
struct Slot {
    /// Who is told of news.
    viewer: Option<Rc<Session>>,
    shared: Option<Arc<Shared>>,
}

impl Answers {
    pub(crate) fn new(
        slots_max: usize,
        waker: ShardWaker,
        all_queued: Arc<AtomicUsize>,
        stats: Arc<ShardStats>,
    ) -> Rc<Self> {
        let signals = Arc::new(Signals::new(slots_max, move || waker.wake()));
        Rc::new(Self { signals, slots: RefCell::default(), slots_max, all_queued, stats })
    }

    /// One for this session, which is notified of its news; `None`: there are as many as there may be.
    pub(crate) fn begin(self: &Rc<Self>, session: &Rc<Session>) -> Option<(Link, OpenAnswer)> {
        let slots = &mut *self.slots.borrow_mut();
        let slot = match slots.free.pop() {
            Some(slot) => slot,
            None if slots.all.len() < self.slots_max => {
                slots.all.push(Slot::default());
                slots.all.len() - 1
            }
            None => return None,
        };
        let (link, incoming) = link(&self.signals, slot, &self.all_queued);
        *slots.all.get_mut(slot)? =
            Slot { viewer: Some(Rc::clone(session)), shared: Some(Arc::clone(incoming.shared())) };
        self.stats.recorded_answers.add(1);
        Some((link, OpenAnswer { incoming: Some(incoming), slot, home: Rc::clone(self) }))
    }

    /// Tells those whose signals are set.
    pub(crate) fn tell(&self) {
        self.signals.take(|slot| {
            let slots = &mut *self.slots.borrow_mut();
            match slots.all.get(slot).map(|slot| &slot.viewer) {
                Some(Some(viewer)) => viewer.notify.notify(),
                // It may be free, where it rang once more before it ended.
                Some(None) => self.free_if_over(slots, slot),
                None => {}
            }
        });
    }

    /// The viewer's end has gone.
    fn end(&self, slot: usize) {
        let slots = &mut *self.slots.borrow_mut();
        if let Some(slot) = slots.all.get_mut(slot) {
            slot.viewer = None;
        }
        self.free_if_over(slots, slot);
    }

    fn free_if_over(&self, slots: &mut Slots, slot: usize) {
        let Some(held) = slots.all.get_mut(slot) else { return };
        if held.shared.as_ref().is_some_and(|shared| shared.is_over()) {
            held.shared = None;
            slots.free.push(slot);
            self.stats.recorded_answers.add(-1);
        }
    }
}

/// The viewer's end of an answer.
pub(crate) struct OpenAnswer {
    incoming: Option<Incoming>,
    slot: usize,
    home: Rc<Answers>,
}

impl OpenAnswer {
    pub(crate) fn take(&mut self) -> Taken {
        self.incoming.as_mut().map_or(Taken::Over, Incoming::take)
    }

    /// A piece that was taken is the kernel's.
    pub(crate) fn sent(&self, piece_bytes: usize) {
        if let Some(incoming) = &self.incoming {
            incoming.sent(piece_bytes);
        }
    }
}

impl Drop for OpenAnswer {
    fn drop(&mut self) {
        // First: whoever writes sees it, and rings.
        self.incoming = None;
        self.home.end(self.slot);
    }
}
