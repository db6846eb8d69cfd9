//! What the baselines with a task per viewer share: they differ in their sockets and timers only.
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use millstream_hub::config::FlushPolicy;

use super::feed::{Cursor, Feed, READ_BYTES};

/// A viewer's socket.
pub(super) trait Out {
    /// One send.
    async fn send(&mut self, bytes: Bytes) -> io::Result<usize>;
}

/// The publisher's socket.
pub(super) trait In {
    /// One read.
    async fn recv(&mut self, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>);
}

/// The stream, as its tasks see it.
pub(super) struct Channel {
    feed: RefCell<Feed>,
    viewers: Waiters,
    /// A frame came.
    frames: Waiters,
}

impl Channel {
    pub(super) fn new(policy: FlushPolicy) -> Rc<Self> {
        Rc::new(Self { feed: RefCell::new(Feed::new(policy)), viewers: Waiters::default(), frames: Waiters::default() })
    }

    /// Reads until the publisher is gone.
    pub(super) async fn publish(&self, mut socket: impl In) {
        let mut buf = Vec::with_capacity(READ_BYTES);
        loop {
            buf.clear();
            let (result, back) = socket.recv(buf).await;
            buf = back;
            if !matches!(result, Ok(1..)) {
                return;
            }
            if self.feed.borrow_mut().read(&buf) {
                self.viewers.wake_all();
            }
            self.frames.wake_all();
        }
    }

    /// Flushes that no read causes.
    pub(super) async fn tend(&self, sleep: impl AsyncFn(Duration)) {
        loop {
            let seen = self.frames.seen();
            if self.feed.borrow_mut().tick() {
                self.viewers.wake_all();
            }
            let wait = self.feed.borrow().wait();
            match wait {
                Some(wait) => sleep(wait).await,
                None => self.frames.changed(seen).await,
            }
        }
    }

    /// Sends to one viewer for as long as it is there.
    pub(super) async fn view(&self, mut socket: impl Out) {
        let mut cursor = Cursor::default();
        loop {
            let seen = self.viewers.seen();
            let bytes = cursor.fill(&self.feed.borrow());
            let Some(bytes) = bytes else {
                self.viewers.changed(seen).await;
                continue;
            };
            let length = bytes.len();
            match socket.send(bytes).await {
                Ok(count @ 1..) => cursor.sent(count, length),
                _ => return,
            }
        }
    }
}

/// Tasks that wait for the same thing to change.
#[derive(Default)]
struct Waiters {
    changes: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Waiters {
    fn seen(&self) -> u64 {
        self.changes.get()
    }

    fn wake_all(&self) {
        self.changes.set(self.changes.get() + 1);
        let mut woken = self.wakers.take();
        for waker in woken.drain(..) {
            waker.wake();
        }
        // Waking runs nothing, so nobody has come in between; the room is used again.
        *self.wakers.borrow_mut() = woken;
    }

    async fn changed(&self, seen: u64) {
        poll_fn(|cx| {
            if self.changes.get() != seen {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
