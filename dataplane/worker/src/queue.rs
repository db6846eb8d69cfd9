//! A bounded queue between two threads: what waits has a weight, and a push waits only as long as it is told to. Between the threads of
//! [`crate::job`].
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The end that gives. Dropped, it leaves what waits to the other end.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The end that takes. Dropped, it makes every push fail.
#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    weight_max: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    weight: usize,
    /// One end has gone.
    closed: bool,
}

/// Why something was not taken; it is given back.
#[derive(Debug)]
pub(crate) enum NotPushed<T> {
    /// There is no room, and it was waited for.
    Full(T),
    /// Nobody takes anything any more.
    Closed,
}

/// What a pop gives.
#[derive(Debug)]
pub(crate) enum Popped<T> {
    Item(T),
    /// Nothing came in time.
    Nothing,
    /// Nothing comes any more.
    Closed,
}

/// A queue of so much weight. What is heavier than all of it fits when nothing else waits.
pub(crate) fn queue<T>(weight_max: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { items: VecDeque::new(), weight: 0, closed: false };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), weight_max });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// A panic of one thread leaves the other's data as it was: nothing here is half done while the lock is held.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Shared<T> {
    fn wait<'a>(&'a self, state: MutexGuard<'a, State<T>>, until: Instant) -> Option<MutexGuard<'a, State<T>>> {
        let wait = until.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero())?;
        Some(self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0)
    }

    fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }
}

impl<T> Sender<T> {
    /// Nobody takes anything any more.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.0.state).closed
    }

    /// Gives an item; waits for room for at most `wait`.
    pub(crate) fn push(&self, item: T, weight: usize, wait: Duration) -> Result<(), NotPushed<T>> {
        let until = Instant::now() + wait;
        let mut state = lock(&self.0.state);
        loop {
            if state.closed {
                return Err(NotPushed::Closed);
            }
            if state.items.is_empty() || state.weight.saturating_add(weight) <= self.0.weight_max {
                state.items.push_back((item, weight));
                state.weight += weight;
                self.0.changed.notify_all();
                return Ok(());
            }
            match self.0.wait(state, until) {
                Some(again) => state = again,
                None => return Err(NotPushed::Full(item)),
            }
        }
    }
}

impl<T> Receiver<T> {
    /// Takes the next item; waits for it for at most `wait`.
    pub(crate) fn pop(&self, wait: Duration) -> Popped<T> {
        let until = Instant::now() + wait;
        let mut state = lock(&self.0.state);
        loop {
            if let Some((item, weight)) = state.items.pop_front() {
                state.weight -= weight;
                self.0.changed.notify_all();
                return Popped::Item(item);
            }
            if state.closed {
                return Popped::Closed;
            }
            match self.0.wait(state, until) {
                Some(again) => state = again,
                None => return Popped::Nothing,
            }
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.close();
        let mut state = lock(&self.0.state);
        let items = std::mem::take(&mut state.items);
        state.weight = 0;
        drop(state);
        drop(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[test]
    fn room_is_by_weight() {
        let (sender, receiver) = queue(10);
        sender.push("heavy", 100, SOON).unwrap();
        assert!(matches!(sender.push("light", 1, SOON), Err(NotPushed::Full("light"))));
        assert!(matches!(receiver.pop(SOON), Popped::Item("heavy")));
        for _ in 0..10 {
            sender.push("light", 1, SOON).unwrap();
        }
        assert!(matches!(sender.push("light", 1, SOON), Err(NotPushed::Full(_))));
        drop(sender);
        assert!((0..10).all(|_| matches!(receiver.pop(SOON), Popped::Item("light"))));
        assert!(matches!(receiver.pop(SOON), Popped::Closed));
    }

    #[test]
    fn who_waits_is_woken() {
        let (sender, receiver) = queue(1);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..1000 {
                    sender.push(n, 1, Duration::from_secs(10)).unwrap();
                }
            });
            for n in 0..1000 {
                assert!(matches!(receiver.pop(Duration::from_secs(10)), Popped::Item(m) if m == n));
            }
        });
        assert!(matches!(receiver.pop(SOON), Popped::Nothing));
        drop(receiver);
        assert!(matches!(sender.push(1, 1, SOON), Err(NotPushed::Closed)));
    }
}
