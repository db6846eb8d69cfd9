//! How threads wake a shard: an eventfd that the shard polls in its ring, woken at most once until the shard has looked. And how shards leave
//! each other messages: one bounded ring per pair, one writer and one reader each.
use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use super::socket::Socket;
use super::sys;

/// Wakes the shard that holds the [`WakeListener`]. Cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub(crate) struct ShardWaker {
    fd: Arc<OwnedFd>,
    woken: Arc<AtomicBool>,
}

/// The shard's end, before it runs.
pub(crate) struct WakeListener {
    waker: ShardWaker,
}

impl WakeListener {
    /// A wake listener and what rings it.
    pub(crate) fn new() -> io::Result<(Self, ShardWaker)> {
        let waker = ShardWaker { fd: Arc::new(sys::eventfd()?), woken: Arc::new(AtomicBool::new(false)) };
        Ok((Self { waker: waker.clone() }, waker))
    }

    /// Calls `on_wake` after each ring, for as long as the shard runs.
    pub(crate) async fn listen(self, mut on_wake: impl FnMut()) -> io::Result<()> {
        // The runtime has no type for an eventfd; its stream type polls any descriptor, and only polling is used.
        let poll = Socket::from_fd(self.waker.fd.as_fd().try_clone_to_owned()?)?.reader;
        loop {
            poll.readable().await?;
            let mut count = [0; 8];
            // Reading resets it. It cannot fail in a way that matters: it was readable, and nobody else reads it.
            let _ = sys::read_now(self.waker.fd.as_fd(), &mut count);
            // Cleared before looking: what is put after this rings again.
            self.waker.woken.store(false, Ordering::SeqCst);
            on_wake();
        }
    }
}

impl ShardWaker {
    /// Wakes the shard. Call after putting what it is to find.
    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            // A full counter is a ring too.
            let _ = sys::write_now(self.fd.as_fd(), &1_u64.to_ne_bytes());
        }
    }
}

/// The sending end of a mailbox.
pub(crate) struct Outbox<T> {
    ring: RefCell<Producer<T>>,
    waker: ShardWaker,
}

impl<T> Outbox<T> {
    /// Puts a message, or gives it back where there is no room.
    pub(crate) fn put(&self, message: T) -> Result<(), T> {
        let put = self.ring.borrow_mut().push(message).map_err(|rtrb::PushError::Full(message)| message);
        self.waker.wake();
        put
    }
}

/// The receiving end of a mailbox.
pub(crate) struct Inbox<T>(Consumer<T>);

impl<T> Inbox<T> {
    /// The next message, if there is one.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.pop().ok()
    }
}

/// A mailbox for so many messages, from one writer to the shard that `waker` wakes.
pub(crate) fn mailbox<T>(waker: &ShardWaker, len_max: usize) -> (Outbox<T>, Inbox<T>) {
    let (producer, consumer) = RingBuffer::new(len_max);
    (Outbox { ring: RefCell::new(producer), waker: waker.clone() }, Inbox(consumer))
}
