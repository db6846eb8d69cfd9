//! The way of one answer from whoever has the files, on any thread, to the task of its viewer: a ring of pieces with one writer and one reader,
//! as between shards. The shard takes no lock but [`Notify`]'s, for a moment, when the writer waits for room.
//!
//! Which answers have news a shard learns from its [`Bells`]: a bit for each answer, so that nothing can be lost for want of room and an answer that
//! has much to say is one bit all the same.
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
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
    bells: Arc<Bells>,
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
pub(crate) struct Bells {
    words: Box<[AtomicU64]>,
    /// Has the shard look.
    wake: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Bells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bells").field("words", &self.words.len()).finish_non_exhaustive()
    }
}

impl Bells {
    pub(crate) fn new(slots: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let words = (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { words, wake: Box::new(wake) }
    }

    fn ring(&self, slot: usize) {
        if let Some(word) = self.words.get(slot / 64) {
            word.fetch_or(1 << (slot % 64), Ordering::SeqCst);
        }
        (self.wake)();
    }

    /// Those that have rung since it was last asked.
    pub(crate) fn rung(&self, mut each: impl FnMut(usize)) {
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
pub(crate) fn link(bells: &Arc<Bells>, slot: usize, all_queued: &Arc<AtomicUsize>) -> (Link, Incoming) {
    let shared = Arc::new(Shared {
        queued: AtomicUsize::new(0),
        all_queued: Arc::clone(all_queued),
        viewer_gone: AtomicBool::new(false),
        writer_gone: AtomicBool::new(false),
        room: Notify::new(),
        bells: Arc::clone(bells),
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
        self.ring();
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
        self.ring();
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

    fn ring(&self) {
        self.shared.bells.ring(self.shared.slot);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.writer_gone.store(true, Ordering::SeqCst);
        self.ring();
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

/// Runs a future to its end on this thread, which sleeps meanwhile.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use super::*;

    fn answer(all_queued: &Arc<AtomicUsize>) -> (Link, Incoming, Arc<Bells>) {
        let bells = Arc::new(Bells::new(70, || {}));
        let (link, incoming) = link(&bells, 66, all_queued);
        (link, incoming, bells)
    }

    /// Sends pieces of so many bytes for as long as there is room; how many.
    fn fill(link: &mut Link, bytes: usize) -> usize {
        let mut count = 0;
        loop {
            let mut piece = Bytes::from(vec![7; bytes]);
            let mut sends = pin!(link.piece(&mut piece));
            match sends.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(_)) => count += 1,
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => return count,
            }
        }
    }

    #[test]
    fn so_many_bytes_wait_and_no_more_however_they_are_cut() {
        for (bytes, pieces) in [(64 << 10, 8), (128 << 10, 4), (100_000, 5), (1, 128), (4 << 10, 128)] {
            let all_queued = Arc::default();
            let (mut link, mut incoming, bells) = answer(&all_queued);
            assert_eq!(fill(&mut link, bytes), pieces, "{bytes}");
            assert!(all_queued.load(Ordering::SeqCst) <= QUEUED_BYTES_MAX);
            let mut rung = Vec::new();
            bells.rung(|slot| rung.push(slot));
            bells.rung(|slot| rung.push(slot));
            assert_eq!(rung, [66], "a bell for all of it");
            let Taken::Piece(piece) = incoming.take() else { panic!("no piece") };
            assert_eq!(fill(&mut link, bytes), 0, "the kernel has yet to take it");
            incoming.sent(piece.len());
            assert_eq!(fill(&mut link, bytes), 1);
            drop(link);
            let rest = std::iter::from_fn(|| match incoming.take() {
                Taken::Piece(piece) => Some(piece.len()),
                Taken::Over => None,
                other => panic!("{other:?}"),
            });
            assert!(rest.eq(vec![bytes; pieces]));
            drop(incoming);
            assert_eq!(all_queued.load(Ordering::SeqCst), 0, "what nobody took is given back");
        }
    }

    #[test]
    fn a_long_piece_is_cut_and_not_copied() {
        let (mut link, mut incoming, _bells) = answer(&Arc::default());
        let mut bytes = Bytes::from(vec![1; 300_000]);
        let at = bytes.as_ptr();
        assert_eq!(block_on(link.piece(&mut bytes)), Ok(PIECE_BYTES_MAX));
        let Taken::Piece(piece) = incoming.take() else { panic!("no piece") };
        assert_eq!((piece.as_ptr(), piece.len(), bytes.len()), (at, PIECE_BYTES_MAX, 300_000 - PIECE_BYTES_MAX));
    }

    #[test]
    fn where_all_answers_have_much_each_has_one_piece_at_a_time() {
        let all_queued = Arc::new(AtomicUsize::new(ALL_QUEUED_BYTES_MAX));
        let (mut link, mut incoming, _bells) = answer(&all_queued);
        assert_eq!(fill(&mut link, 1_000), 1);
        let Taken::Piece(piece) = incoming.take() else { panic!("no piece") };
        incoming.sent(piece.len());
        assert_eq!(fill(&mut link, 1_000), 1);
    }

    #[test]
    fn a_writer_that_waits_is_told_of_room_and_of_the_viewers_end() {
        let (mut link, mut incoming, _bells) = answer(&Arc::default());
        let (sender, sent) = std::sync::mpsc::channel();
        let writes = std::thread::spawn(move || {
            loop {
                match block_on(link.piece(&mut Bytes::from(vec![0; PIECE_BYTES_MAX]))) {
                    Ok(_) => sender.send(()).unwrap(),
                    Err(error) => return (error, link.is_wanted()),
                }
            }
        });
        let next = || sent.recv_timeout(Duration::from_secs(20)).expect("a piece");
        (0..4).for_each(|_| next());
        for _ in 0..100 {
            let Taken::Piece(piece) = incoming.take() else { panic!("no piece") };
            incoming.sent(piece.len());
            next();
        }
        assert!(sent.recv_timeout(Duration::from_millis(50)).is_err(), "no room");
        drop(incoming);
        assert_eq!(writes.join().unwrap(), (SendError::Gone, false));
    }

    #[test]
    fn what_was_said_before_the_end_is_taken_before_the_end() {
        let (mut link, mut incoming, bells) = answer(&Arc::default());
        assert!(matches!(incoming.take(), Taken::Nothing));
        link.begin_with(Verdict::Unavailable(Duration::ZERO));
        link.end_with(Verdict::NotFound);
        let mut rung = 0;
        bells.rung(|_| rung += 1);
        assert_eq!(rung, 1);
        for expected in ["Unavailable(0ns)", "NotFound"] {
            let Taken::Verdict(verdict) = incoming.take() else { panic!("no {expected}") };
            assert_eq!(format!("{verdict:?}"), expected);
        }
        assert!(matches!(incoming.take(), Taken::Over) && incoming.shared().is_over());
    }

    /// Both ends go to other threads, and a future that sends does.
    #[test]
    fn ends_may_be_anywhere() {
        fn sends<T: Send>(_: T) {}
        let (mut link, incoming, _bells) = answer(&Arc::default());
        sends(incoming);
        let mut bytes = Bytes::from_static(b"a");
        let piece: Pin<Box<dyn Future<Output = _> + Send + '_>> = Box::pin(link.piece(&mut bytes));
        drop(piece);
    }
}
