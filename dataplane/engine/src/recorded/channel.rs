//! The way of one answer from whoever has the files, on any thread, to the task of its viewer: a ring of pieces with one writer and one reader,
//! as between shards. The shard takes no lock but [`Notify`]'s, for a moment, when the writer waits for room.
//!
//! Which answers have news a shard learns from its [`Signals`]: a bit for each answer, so that nothing can be lost for want of room and an answer that
//! has much to say is one bit all the same.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::http::file::Selected;
use millstream_proto::secret::Secret;
use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::Notify;

use super::{FoundFile, SendError};

/// Bytes that may wait for one viewer, with those that the kernel is being given.
const QUEUED_BYTES_MAX: usize = 512 << 10;
/// Bytes of one piece: what is longer is cut, so that each viewer may always have one.
const PIECE_BYTES_MAX: usize = 128 << 10;
/// A piece counts for so many at least, so that a ring has an end.
const PIECE_COST_MIN: usize = 4 << 10;
/// All pieces that may wait, and the verdict before them.
const RING_LEN: usize = QUEUED_BYTES_MAX / PIECE_COST_MIN + 1;
/// Bytes that may wait for all viewers of the process. Beyond it each has one piece at a time.
const ALL_QUEUED_BYTES_MAX: usize = 256 << 20;

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    Found(FoundFile, Selected),
    Redirect(Secret),
    NotFound,
    Unavailable(Duration),
    Denied,
}

enum Told {
    Verdict(Box<Verdict>),
    Piece(Bytes),
}

/// What the two ends of an answer share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Bytes on their way, as they count.
    queued: AtomicUsize,
    /// The same of all answers of the process.
    all_queued: Arc<AtomicUsize>,
    viewer_gone: AtomicBool,
    writer_gone: AtomicBool,
    /// There is room again, or the viewer has gone.
    room: Notify,
    signals: Arc<Signals>,
    slot: usize,
}

impl Shared {
    /// Whether nothing more will come.
    pub(crate) fn is_over(&self) -> bool {
        self.writer_gone.load(Ordering::SeqCst)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What nobody took.
        self.all_queued.fetch_sub(*self.queued.get_mut(), Ordering::Relaxed);
    }
}

/// Which answers of a shard have news.
pub(crate) struct Signals {
    words: Box<[AtomicU64]>,
    /// Has the shard look.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signals").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

impl Signals {
    pub(crate) fn new(slots: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let words = (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { words, wake: Box::new(wake) }
    }

    fn set(&self, slot: usize) {
        if let Some(word) = self.words.get(slot / 64) {
            word.fetch_or(1 << (slot % 64), Ordering::SeqCst);
        }
        (self.wake)();
    }

    /// Those that were set since it was last asked.
    pub(crate) fn take(&self, mut each: impl FnMut(usize)) {
        for (index, word) in self.words.iter().enumerate() {
            // Most have not, and a look is cheaper than a swap.
            if word.load(Ordering::SeqCst) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::SeqCst);
            while bits != 0 {
                each(index * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}

/// A way for the answer that has this slot.
pub(crate) fn link(signals: &Arc<Signals>, slot: usize, all_queued: &Arc<AtomicUsize>) -> (Link, Incoming) {
    let shared = Arc::new(Shared {
        queued: AtomicUsize::new(0),
        all_queued: Arc::clone(all_queued),
        viewer_gone: AtomicBool::new(false),
        writer_gone: AtomicBool::new(false),
        room: Notify::new(),
        signals: Arc::clone(signals),
        slot,
    });
    let (ring, taker) = RingBuffer::new(RING_LEN);
    (Link { ring, shared: Arc::clone(&shared) }, Incoming { ring: taker, shared })
}

/// The writing end. It is one value, so that there is one writer.
pub(crate) struct Link {
    ring: Producer<Told>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn is_wanted(&self) -> bool {
        !self.shared.viewer_gone.load(Ordering::SeqCst)
    }

    /// Pieces follow.
    pub(super) fn begin_with(&mut self, verdict: Verdict) {
        self.put(Told::Verdict(Box::new(verdict)));
        self.signal();
    }

    /// Nothing follows: the end is there when it is told.
    pub(super) fn end_with(mut self, verdict: Verdict) {
        self.put(Told::Verdict(Box::new(verdict)));
    }

    /// Sends the beginning of these once there is room for it; how many.
    pub(super) async fn piece(&mut self, bytes: &mut Bytes) -> Result<usize, SendError> {
        let count = bytes.len().min(PIECE_BYTES_MAX);
        let cost = count.max(PIECE_COST_MIN);
        loop {
            if !self.is_wanted() {
                return Err(SendError::Gone);
            }
            if self.has_room(cost) {
                break;
            }
            // What is told between the look and this is kept for it.
            self.shared.room.notified().await;
        }
        self.shared.queued.fetch_add(cost, Ordering::SeqCst);
        self.shared.all_queued.fetch_add(cost, Ordering::Relaxed);
        self.put(Told::Piece(bytes.split_to(count)));
        self.signal();
        Ok(count)
    }

    fn has_room(&self, cost: usize) -> bool {
        let queued = self.shared.queued.load(Ordering::SeqCst);
        let within = |queued: usize, most: usize| queued + cost <= most;
        queued == 0
            || within(queued, QUEUED_BYTES_MAX)
                && within(self.shared.all_queued.load(Ordering::Relaxed), ALL_QUEUED_BYTES_MAX)
    }

    fn put(&mut self, told: Told) {
        // There is room for all that the count of bytes lets through.
        let put = self.ring.push(told);
        debug_assert!(put.is_ok(), "a ring that is too short");
    }

    fn signal(&self) {
        self.shared.signals.set(self.shared.slot);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.writer_gone.store(true, Ordering::SeqCst);
        self.signal();
    }
}

/// What there is of an answer.
#[derive(Debug)]
pub(crate) enum Taken {
    Verdict(Box<Verdict>),
    Piece(Bytes),
    /// Nothing yet.
    Nothing,
    /// Nothing more will come.
    Over,
}

/// The reading end, at the shard.
pub(crate) struct Incoming {
    ring: Consumer<Told>,
    shared: Arc<Shared>,
}

impl Incoming {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn take(&mut self) -> Taken {
        // Looked at first: what was put before the writer went is there then.
        let is_over = self.shared.is_over();
        match self.ring.pop() {
            Ok(Told::Verdict(verdict)) => Taken::Verdict(verdict),
            Ok(Told::Piece(piece)) => Taken::Piece(piece),
            Err(_) if is_over => Taken::Over,
            Err(_) => Taken::Nothing,
        }
    }

    /// A piece that was taken is the kernel's.
    pub(crate) fn sent(&self, piece_bytes: usize) {
        let cost = piece_bytes.max(PIECE_COST_MIN);
        self.shared.queued.fetch_sub(cost, Ordering::SeqCst);
        self.shared.all_queued.fetch_sub(cost, Ordering::Relaxed);
        self.shared.room.notify_one();
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.viewer_gone.store(true, Ordering::SeqCst);
        self.shared.room.notify_one();
    }
}

#[cfg(test)]
mod tests;
