//! A connection over the runtime: readiness without a buffer, reads into owned buffers, sends of shared pieces.
#![allow(unsafe_code)]
use std::cell::{Cell, RefCell, UnsafeCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_hub::viewer::Piece;
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

use super::buf::{BatchBuf, FileBuf, PieceBuf};
use super::runtime::sleep;
use super::sys;

/// Unsent bytes that the kernel takes before it says "full" (HOT_PATH, rule 6): without it a stalled viewer holds megabytes.
const NOTSENT_LOWAT_BYTES: libc::c_int = 128 << 10;

/// Both directions of a connection.
pub(crate) struct Socket {
    /// The receiving direction.
    pub(crate) reader: Reader,
    /// The sending direction.
    pub(crate) writer: Writer,
}

/// The connection that both directions share. Not monoio's own halves: its writing half shuts the socket down when it is
/// dropped, and a publisher's socket goes on at another shard.
type Shared = Rc<UnsafeCell<TcpStream>>;

/// A look at the connection that changes nothing: its descriptor, readiness.
fn look(shared: &Shared) -> &TcpStream {
    // SAFETY: everything stays on this thread, and no method of `TcpStream` used in this file keeps a reference to its fields
    // across a wait, or changes them: each operation clones the shared descriptor and works on that. `Reader` and `Writer` are
    // not `Clone`, so that there is one reading and one writing operation at a time.
    unsafe { &*shared.get() }
}

/// The connection for one read or write operation.
#[allow(clippy::mut_from_ref)]
fn operate(shared: &Shared) -> &mut TcpStream {
    // SAFETY: see `look`.
    unsafe { &mut *shared.get() }
}

/// The receiving direction.
pub(crate) struct Reader {
    shared: Shared,
    /// Operations in a row that ended without a wait.
    at_once: Cell<u8>,
}

/// A peer that sends faster than it is read is interrupted after so many operations: epoll finds its socket readable each time, and
/// the shard's other tasks would never run. io_uring waits for each operation.
const AT_ONCE_MAX: u8 = 16;

/// The sending direction.
pub(crate) struct Writer(Shared);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        let shared = Rc::new(UnsafeCell::new(stream));
        Self { reader: Reader { shared: Rc::clone(&shared), at_once: Cell::new(0) }, writer: Writer(shared) }
    }

    /// Takes over a descriptor that another shard let go.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        TcpStream::from_std(std::net::TcpStream::from(fd)).map(Self::new)
    }

    /// Lets the descriptor go, for another shard; `None` where somebody else still refers to it.
    pub(crate) fn into_fd(self) -> Option<OwnedFd> {
        let Self { reader, writer } = self;
        drop(writer);
        let stream = Rc::try_unwrap(reader.shared).ok()?.into_inner();
        // SAFETY: `into_raw_fd` gives up ownership, which is taken here.
        Some(unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) })
    }

    /// Ends the connection from our side without cutting off what was just said: a socket that is closed over unread bytes is
    /// reset, and a peer that is reset may never see the last answer. Waits for the peer's end; whoever calls bounds the wait.
    pub(crate) async fn linger(&mut self, scratch: &RefCell<Box<[u8]>>) {
        sys::shutdown(self.reader.fd(), libc::SHUT_WR);
        while self.reader.readable().await.is_ok() {
            if !matches!(self.reader.recv_now(&mut scratch.borrow_mut()), Ok(None | Some(1..))) {
                return;
            }
        }
    }

    /// Settings of every connection: no Nagle, a bound on unsent bytes, and an end for peers that have vanished, also while data
    /// is unsent, where keepalive does not fire.
    pub(crate) fn tune(&self, vanished_after: Duration) {
        let fd = self.reader.fd();
        let millis = libc::c_int::try_from(vanished_after.as_millis()).unwrap_or(libc::c_int::MAX);
        sys::set_tcp(fd, libc::TCP_NODELAY, 1);
        sys::set_tcp(fd, libc::TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES);
        sys::set_tcp(fd, libc::TCP_USER_TIMEOUT, millis);
        // SAFETY: the descriptor outlives the borrow, because `self` holds it.
        let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(15))
            .with_interval(Duration::from_secs(5))
            .with_retries(3);
        // A socket that is gone already says so at its first read.
        let _ = socket2::SockRef::from(&borrowed).set_tcp_keepalive(&keepalive);
    }
}

impl Reader {
    fn fd(&self) -> RawFd {
        look(&self.shared).as_raw_fd()
    }

    /// Waits until there is something to read, without holding a buffer for it.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        fairly(&self.at_once, look(&self.shared).readable(false)).await
    }

    /// Reads what is there: `None` where nothing is, `Some(0)` at the end.
    pub(crate) fn recv_now(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        sys::recv_now(self.fd(), buf)
    }

    /// Reads into an owned buffer; 0 at the end. For peers that send all the time: one operation instead of two.
    pub(crate) async fn recv(&mut self, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        fairly(&self.at_once, operate(&self.shared).read(buf)).await
    }

    /// A handle for elsewhere on this shard.
    pub(crate) fn closer(&self) -> Closer {
        Closer(Rc::clone(&self.shared))
    }
}

/// Does the operation; lets others run when too many before it did not have to wait.
async fn fairly<F: Future>(at_once: &Cell<u8>, operation: F) -> F::Output {
    let mut operation = pin!(operation);
    let mut polls = 0_u8;
    let output = poll_fn(|cx| {
        polls = polls.saturating_add(1);
        operation.as_mut().poll(cx)
    })
    .await;
    at_once.set(if polls == 1 { at_once.get() + 1 } else { 0 });
    if at_once.get() == AT_ONCE_MAX {
        at_once.set(0);
        // A wait, not a yield: the runtime looks at its timers only when nothing is left to run. Boxed: it is rare.
        Box::pin(sleep(Duration::from_millis(1))).await;
    }
    output
}

/// Acts on a connection whose task waits for something else.
pub(crate) struct Closer(Shared);

impl Closer {
    /// Ends both directions: whatever waits completes.
    pub(crate) fn close(&self) {
        sys::shutdown(look(&self.0).as_raw_fd(), libc::SHUT_RDWR);
    }

    /// Sends what fits of an answer, without waiting: how many bytes. Only while its task has nothing to send.
    pub(crate) fn send_now(&self, pieces: &[io::IoSlice<'_>]) -> usize {
        sys::send_pieces_now(look(&self.0).as_raw_fd(), pieces)
    }

    /// Ends the receiving direction: a read that waits completes, and goodbye can still be said.
    pub(crate) fn close_read(&self) {
        sys::shutdown(look(&self.0).as_raw_fd(), libc::SHUT_RD);
    }
}

impl Writer {
    /// For sends by others while its task waits for something else.
    pub(crate) fn lend(&mut self) -> Lent {
        Lent(look(&self.0).as_raw_fd())
    }

    /// Sends what fits of a few last words, without waiting.
    pub(crate) fn send_now(&self, bytes: &[u8]) {
        sys::send_now(look(&self.0).as_raw_fd(), bytes);
    }

    /// Ends the sending direction: the peer finds the end behind what was sent.
    pub(crate) fn finish(&self) {
        sys::shutdown(look(&self.0).as_raw_fd(), libc::SHUT_WR);
    }

    /// Sends all of it.
    pub(crate) async fn send_all(&mut self, bytes: Bytes) -> io::Result<()> {
        operate(&self.0).write_all(bytes).await.0.map(drop)
    }

    /// Sends all of an answer whose bytes lie in several places; `progress` hears of each step, with its bytes.
    pub(crate) async fn send_file(&mut self, pieces: Vec<Bytes>, progress: impl Fn(usize)) -> io::Result<()> {
        let mut buf = FileBuf::new(pieces);
        while !buf.is_empty() {
            let (result, back) = operate(&self.0).writev(buf).await;
            buf = back;
            match result? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => {
                    buf.sent(count);
                    progress(count);
                }
            }
        }
        Ok(())
    }

    /// Sends what fits, as one operation, and gives the load back with the bytes that were taken.
    pub(crate) async fn send(&mut self, load: Load) -> (io::Result<usize>, Load) {
        match load {
            Load::One(piece) => {
                let (result, PieceBuf(piece)) = operate(&self.0).write(PieceBuf(piece)).await;
                (result, Load::One(piece))
            }
            Load::Many(batch) => {
                let (result, batch) = operate(&self.0).writev(batch).await;
                (result, Load::Many(batch))
            }
        }
    }
}

/// A writer that its task has lent: to be given back before the task sends again, and before it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lent(RawFd);

impl Lent {
    #[cfg(test)]
    pub(super) fn of(fd: RawFd) -> Self {
        Self(fd)
    }

    pub(super) fn fd(self) -> RawFd {
        self.0
    }
}

/// What one send carries.
pub(crate) enum Load {
    /// The usual case: one block.
    One(Piece),
    /// Several.
    Many(BatchBuf),
}

impl Load {
    /// The pieces, in order.
    pub(crate) fn pieces(&self) -> &[Piece] {
        match self {
            Self::One(piece) => std::slice::from_ref(piece),
            Self::Many(batch) => &batch.pieces,
        }
    }
}

/// Vectors for sends of several pieces, reused within a shard.
#[derive(Default)]
pub(crate) struct LoadPool {
    free: RefCell<Vec<BatchBuf>>,
}

/// Vectors kept for reuse: they are in use only while viewers catch up.
const BATCHES_KEPT_MAX: usize = 256;

impl LoadPool {
    /// Takes all pieces out of `pieces`, of which there is at least one.
    pub(crate) fn load(&self, pieces: &mut Vec<Piece>) -> Load {
        if pieces.len() == 1
            && let Some(piece) = pieces.pop()
        {
            return Load::One(piece);
        }
        let mut batch = self.free.borrow_mut().pop().unwrap_or_else(BatchBuf::new);
        batch.pieces.append(pieces);
        batch.aim();
        Load::Many(batch)
    }

    /// Takes a load back, once it was sent: what it referred to is let go.
    pub(crate) fn unload(&self, load: Load) {
        if let Load::Many(mut batch) = load {
            batch.clear();
            let mut free = self.free.borrow_mut();
            if free.len() < BATCHES_KEPT_MAX {
                free.push(batch);
            }
        }
    }
}
