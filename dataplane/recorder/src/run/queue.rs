//! From a shard to the disk's thread: a bounded ring for each stream, without locks. Nobody is woken for a part: the thread looks often enough, and is
//! woken only where a ring is half full. Before it: the stream's window, which is the buffer behind it; after it: [`super::thread`].
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use millstream_hub::package::change::Change;
use millstream_hub::subscriber::{ChangeCursor, Follows, NextChange, Progress, Subscriber, View};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::limits::{QUEUE_BYTES_MAX, QUEUE_CHANGES_MAX, QUEUE_STREAM_BYTES_MAX};

/// What all queues share.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Bytes of parts in all of them.
    bytes: AtomicUsize,
    /// Times that one was full.
    pub(super) full: AtomicU64,
    pub(super) thread: OnceLock<Thread>,
}

impl Queues {
    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

fn bytes_of(next: &NextChange) -> usize {
    match next {
        NextChange::Change(Change::Part(_, part)) => part.bytes.len(),
        NextChange::Change(Change::Header(_, header)) => header.bytes.len(),
        _ => 0,
    }
}

/// The shard's end.
pub(super) struct Follower {
    cursor: ChangeCursor,
    ring: Producer<NextChange>,
    /// Bytes of parts in this one.
    bytes: Arc<AtomicUsize>,
    queues: Arc<Queues>,
    /// There was no room for all that the stream has.
    is_behind: bool,
    is_cut_off: Arc<AtomicBool>,
}

/// The thread's end.
pub(super) struct Feed {
    ring: Consumer<NextChange>,
    bytes: Arc<AtomicUsize>,
    queues: Arc<Queues>,
    is_cut_off: Arc<AtomicBool>,
}

/// A queue of a stream.
pub(super) fn queue(queues: &Arc<Queues>) -> (Follower, Feed) {
    let (producer, consumer) = RingBuffer::new(QUEUE_CHANGES_MAX);
    let bytes = Arc::new(AtomicUsize::new(0));
    let is_cut_off = Arc::new(AtomicBool::new(false));
    let follower = Follower {
        cursor: ChangeCursor::new(),
        ring: producer,
        bytes: Arc::clone(&bytes),
        queues: Arc::clone(queues),
        is_behind: false,
        is_cut_off: Arc::clone(&is_cut_off),
    };
    (follower, Feed { ring: consumer, bytes, queues: Arc::clone(queues), is_cut_off })
}

impl Follower {
    fn has_room(&self) -> bool {
        let of_stream = self.bytes.load(Ordering::Relaxed);
        let of_all = self.queues.bytes.load(Ordering::Relaxed);
        // One part, whose length is not known yet, may come on top.
        self.ring.slots() > 0 && of_stream < QUEUE_STREAM_BYTES_MAX && of_all < QUEUE_BYTES_MAX
    }
}

impl Subscriber for Follower {
    fn follows(&self) -> Follows {
        Follows::Segments
    }

    fn advance(&mut self, stream: View<'_>) -> Progress {
        loop {
            if self.ring.is_abandoned() {
                return Progress::Done;
            }
            self.is_behind = false;
            if !self.has_room() {
                let pending = self.cursor.clone().next(stream.window);
                if pending == NextChange::Wait {
                    break;
                }
                // The end alone is no loss.
                self.is_behind = pending != NextChange::Change(Change::Ended);
                self.queues.full.fetch_add(1, Ordering::Relaxed);
                self.queues.wake();
                return Progress::Behind;
            }
            let next = self.cursor.next(stream.window);
            if next == NextChange::Wait {
                break;
            }
            let (bytes, is_last) = (bytes_of(&next), next == NextChange::Change(Change::Ended));
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.queues.bytes.fetch_add(bytes, Ordering::Relaxed);
            // There is a slot: this is the only end that fills them.
            let _ = self.ring.push(next);
            if is_last {
                return Progress::Done;
            }
        }
        let is_half_full = self.ring.slots() < QUEUE_CHANGES_MAX / 2
            || self.bytes.load(Ordering::Relaxed) > QUEUE_STREAM_BYTES_MAX / 2;
        if is_half_full {
            self.queues.wake();
        }
        Progress::CaughtUp
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Before the ring is seen to be abandoned.
        self.is_cut_off.store(self.is_behind, Ordering::Release);
    }
}

impl Feed {
    /// The next change; its bytes no longer count.
    pub(super) fn next(&mut self) -> Option<NextChange> {
        let next = self.ring.pop().ok()?;
        let bytes = bytes_of(&next);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.queues.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(next)
    }

    /// Whether the stream has ended with something that there was no room for; known when nothing more can come.
    pub(super) fn is_cut_off(&self) -> bool {
        self.is_cut_off.load(Ordering::Acquire)
    }

    /// Whether nothing more can come.
    pub(super) fn is_over(&self) -> bool {
        self.ring.is_abandoned() && self.ring.is_empty()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}
