//! A channel from both its ends: how much waits, who is told of room, and where it may end.
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use super::*;

/// Runs a future to its end on this thread, which sleeps meanwhile.
fn block_on<F: Future>(future: F) -> F::Output {
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

fn answer(all_queued: &Arc<AtomicUsize>) -> (Link, Incoming, Arc<Signals>) {
    let signals = Arc::new(Signals::new(70, || {}));
    let (link, incoming) = link(&signals, 66, all_queued);
    (link, incoming, signals)
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
        let (mut link, mut incoming, signals) = answer(&all_queued);
        assert_eq!(fill(&mut link, bytes), pieces, "{bytes}");
        assert!(all_queued.load(Ordering::SeqCst) <= QUEUED_BYTES_MAX);
        let mut taken = Vec::new();
        signals.take(|slot| taken.push(slot));
        signals.take(|slot| taken.push(slot));
        assert_eq!(taken, [66], "one signal for all of it");
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
    let (mut link, mut incoming, _signals) = answer(&Arc::default());
    let mut bytes = Bytes::from(vec![1; 300_000]);
    let at = bytes.as_ptr();
    assert_eq!(block_on(link.piece(&mut bytes)), Ok(PIECE_BYTES_MAX));
    let Taken::Piece(piece) = incoming.take() else { panic!("no piece") };
    assert_eq!((piece.as_ptr(), piece.len(), bytes.len()), (at, PIECE_BYTES_MAX, 300_000 - PIECE_BYTES_MAX));
}

#[test]
fn where_all_answers_have_much_each_has_one_piece_at_a_time() {
    let all_queued = Arc::new(AtomicUsize::new(ALL_QUEUED_BYTES_MAX));
    let (mut link, mut incoming, _signals) = answer(&all_queued);
    assert_eq!(fill(&mut link, 1_000), 1);
    let Taken::Piece(piece) = incoming.take() else { panic!("no piece") };
    incoming.sent(piece.len());
    assert_eq!(fill(&mut link, 1_000), 1);
}

#[test]
fn a_writer_that_waits_is_told_of_room_and_of_the_viewers_end() {
    let (mut link, mut incoming, _signals) = answer(&Arc::default());
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
    let (mut link, mut incoming, signals) = answer(&Arc::default());
    assert!(matches!(incoming.take(), Taken::Nothing));
    link.begin_with(Verdict::Unavailable(Duration::ZERO));
    link.end_with(Verdict::NotFound);
    let mut taken = 0;
    signals.take(|_| taken += 1);
    assert_eq!(taken, 1);
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
    let (mut link, incoming, _signals) = answer(&Arc::default());
    sends(incoming);
    let mut bytes = Bytes::from_static(b"a");
    let piece: Pin<Box<dyn Future<Output = _> + Send + '_>> = Box::pin(link.piece(&mut bytes));
    drop(piece);
}
