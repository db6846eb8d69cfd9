//! How tasks of one shard wait for each other: no locks, no atomics.
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::io::{Area, WAKES, Waiting};

/// Waking touches the head of each task: those that come so many wakes later are asked for.
const WAKES_PREFETCHED: usize = 6;

/// Many tasks that wait for the same thing to change. Counting changes makes it safe to look first and wait afterwards.
#[derive(Default)]
pub(crate) struct Waiters {
    changes: Cell<u64>,
    /// Who waits for the next change.
    wakers: RefCell<Vec<Waker>>,
    /// Who is to be told of one that there was.
    due: RefCell<VecDeque<Waker>>,
}

impl Waiters {
    /// The number of changes so far.
    pub(crate) fn seen(&self) -> u64 {
        self.changes.get()
    }

    /// Something changed: everybody looks again.
    pub(crate) fn wake_all(&self) {
        self.change();
        self.wake(usize::MAX);
    }

    /// Something changed: who waits is to be told, by [`Waiters::wake_block`].
    pub(super) fn change(&self) {
        self.changes.set(self.changes.get().wrapping_add(1));
        self.due.borrow_mut().extend(self.wakers.borrow_mut().drain(..));
    }

    /// Wakes a block of those who are to be told. True: there are more.
    pub(super) fn wake_block(&self) -> bool {
        self.wake(WAKES.pieces as usize)
    }

    fn wake(&self, most: usize) -> bool {
        let due = &mut *self.due.borrow_mut();
        for _ in 0..most {
            let Some(waker) = due.pop_front() else { return false };
            if let Some(soon) = due.get(WAKES_PREFETCHED) {
                Area::of_task(soon).fetch();
            }
            waker.wake();
        }
        !due.is_empty()
    }

    /// Waits for a change after `seen`.
    pub(crate) async fn changed(&self, seen: u64, place: &Place) {
        self.changed_or(seen, &Notify::default(), place).await;
    }

    /// Waits for a change after `seen`, or for the notify.
    pub(crate) async fn changed_or(&self, seen: u64, notify: &Notify, place: &Place) {
        poll_fn(|cx| {
            if notify.take() || self.changes.get() != seen {
                return Poll::Ready(());
            }
            if place.0.replace(Some(seen)) != Some(seen) {
                self.wakers.borrow_mut().push(cx.waker().clone());
            }
            notify.task.wait(cx.waker());
            Poll::Pending
        })
        .await;
    }
}

/// A task's place among the waiters of one thing, kept for as long as the task may wait for it: a wait that something else ended
/// leaves its waker behind, and the next wait for the same change finds it there instead of adding another.
#[derive(Default)]
pub(crate) struct Place(Cell<Option<u64>>);

/// One task that is told to look again.
#[derive(Default)]
pub(crate) struct Notify {
    notified: Cell<bool>,
    task: Waiting,
}

impl Notify {
    pub(crate) fn notify(&self) {
        self.notified.set(true);
        self.task.wake();
    }

    /// Waits to be told.
    pub(crate) async fn notified(&self) {
        poll_fn(|cx| {
            if self.take() {
                return Poll::Ready(());
            }
            self.task.wait(cx.waker());
            Poll::Pending
        })
        .await;
    }

    fn take(&self) -> bool {
        self.notified.replace(false)
    }
}

/// A value that comes later.
pub(crate) struct Oneshot<T> {
    value: RefCell<Option<T>>,
    notify: Notify,
}

impl<T> Oneshot<T> {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { value: RefCell::new(None), notify: Notify::default() })
    }

    pub(crate) fn set(&self, value: T) {
        *self.value.borrow_mut() = Some(value);
        self.notify.notify();
    }

    pub(crate) async fn get(&self) -> T {
        loop {
            if let Some(value) = self.value.take() {
                return value;
            }
            self.notify.notified().await;
        }
    }
}

pub(crate) enum Either<A, B> {
    A(A),
    B(B),
}

/// Runs both until one ends; the other is dropped.
pub(crate) async fn select<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| {
        if let Poll::Ready(value) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::A(value));
        }
        b.as_mut().poll(cx).map(Either::B)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::io::{Driver, run, sleep, spawn};

    const BLOCK: usize = WAKES.pieces as usize;
    const CROWD: usize = 2 * BLOCK + 1;

    /// A crowd of tasks that each wait until the value is one or more.
    fn crowd(waiters: &Rc<Waiters>, value: &Rc<Cell<u32>>, through: &Rc<Cell<usize>>) {
        for _ in 0..CROWD {
            let (waiters, value, through) = (Rc::clone(waiters), Rc::clone(value), Rc::clone(through));
            spawn(async move {
                let place = Place::default();
                loop {
                    let seen = waiters.seen();
                    if value.get() > 0 {
                        break;
                    }
                    waiters.changed(seen, &place).await;
                }
                through.set(through.get() + 1);
            });
        }
    }

    #[test]
    fn a_crowd_is_woken_block_by_block_and_nobody_is_forgotten() {
        let main = async {
            let (waiters, value, through) = (Rc::new(Waiters::default()), Rc::default(), Rc::default());
            crowd(&waiters, &value, &through);
            sleep(Duration::from_millis(5)).await;
            // A change that is nothing to them, and while it is being told, the one that they wait for.
            waiters.change();
            assert!(waiters.wake_block());
            assert_eq!(waiters.due.borrow().len(), CROWD - BLOCK);
            value.set(1);
            waiters.change();
            assert_eq!(through.get(), 0, "they have not run yet");
            while through.get() < CROWD {
                waiters.wake_block();
                sleep(Duration::from_millis(1)).await;
            }
            assert!(!waiters.wake_block());
        };
        run(Driver::Epoll, main).unwrap();
    }
}
