//! One task that waits, until somebody wakes it. Before it: whoever cannot go on; after it: whoever changes what it waits for.
use std::cell::RefCell;
use std::task::Waker;

/// A task that waits, if one does.
#[derive(Default)]
pub(crate) struct Waiting(RefCell<Option<Waker>>);

impl Waiting {
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }

    pub(crate) fn wait(&self, waker: &Waker) {
        let mut slot = self.0.borrow_mut();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}
