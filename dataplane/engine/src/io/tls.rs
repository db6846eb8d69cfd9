//! A connection's TLS, as its reader and its writer share it: the session, plaintext that nobody has read yet, and records that the socket has not
//! taken yet. It knows no system, so that the simulator has it too. Before it: [`crate::shard::secure`], which has shaken hands; after it: `socket`.
//!
//! What is encrypted is sent, in that order and once: records have numbers. So plaintext counts as sent as soon as it is encrypted, and what a socket
//! does not take of the records waits in `queue`. Nothing is encrypted for a connection whose queue is not empty but answers of TLS itself, so the queue
//! is at most one send. A connection that waits has neither queue nor plaintext, and no memory for them.
//!
//! A session that the kernel has makes no records: `socket` sends past it, and says how much the kernel took.
use std::cell::{Cell, RefCell, RefMut};
use std::io;

use millstream_tls::{Records, SendKeys, Session, TlsError};

/// Plaintext that one send takes at most, when nobody waits for it: as much as a plain one (HOT_PATH, rule 2).
pub(super) const SEND_NOW_BYTES_MAX: usize = 256 << 10;
/// And when its task waits for it: what is in the queue is this viewer's alone, whereas blocks are shared.
pub(super) const SEND_BYTES_MAX: usize = 64 << 10;
/// Plaintext of a record at most.
const RECORD_BYTES_MAX: u64 = 16 << 10;
/// Memory of queues that is kept for the next one, by each shard.
const SPARE_BYTES_MAX: usize = 1 << 20;

thread_local! {
    /// A shard's, between two uses.
    static SPARE: RefCell<Records> = const { RefCell::new(Records::new()) };
}

/// The TLS of one connection.
pub(crate) struct Tls {
    session: RefCell<Session>,
    /// Decrypted, and not read yet.
    plain: RefCell<Vec<u8>>,
    /// Encrypted, and not sent yet.
    queue: RefCell<Records>,
    /// Somebody waits until the socket takes what came before the queue.
    busy: Cell<bool>,
    /// Records that the kernel may still make with the keys that it has; `None`: it has none.
    kernel_records_left: Cell<Option<u64>>,
    /// It was to have others, and there are none: the connection ends.
    lacks_keys: Cell<bool>,
}

impl Tls {
    /// Of a handshake that is over, behind which that much plaintext came already.
    pub(super) fn new(session: Session, plain: Vec<u8>) -> Self {
        Self {
            session: RefCell::new(session),
            plain: RefCell::new(plain),
            queue: RefCell::default(),
            busy: Cell::new(false),
            kernel_records_left: Cell::new(None),
            lacks_keys: Cell::new(false),
        }
    }

    /// The kernel makes the records of what is sent.
    pub(super) fn is_in_kernel(&self) -> bool {
        self.kernel_records_left.get().is_some()
    }

    /// Whether the kernel is to make them from now on.
    pub(super) fn may_go_to_kernel(&self) -> bool {
        !self.is_in_kernel() && self.is_sent() && self.session.borrow().may_go_to_kernel()
    }

    /// The socket takes no keys.
    pub(super) fn stay(&self) {
        self.session.borrow_mut().stay();
    }

    /// Lets this give the keys to the socket. Where that fails nothing is sent any more.
    pub(super) fn give_keys(&self, give: impl FnOnce(&SendKeys) -> io::Result<()>) -> io::Result<()> {
        let session = &mut *self.session.borrow_mut();
        let keys = session.keys_for_kernel().map_err(invalid)?;
        // Not before the kernel has them: what is sent as it is goes out in the clear where it has none.
        give(&keys).inspect_err(|_| session.kernel_failed())?;
        self.kernel_records_left.set(Some(session.records_max().saturating_sub(keys.sequence())));
        Ok(())
    }

    /// The kernel took so many bytes of one send: each send ends a record.
    pub(super) fn took(&self, bytes: usize) {
        if let Some(left) = self.kernel_records_left.get() {
            self.kernel_records_left.set(Some(left.saturating_sub((bytes as u64).div_ceil(RECORD_BYTES_MAX))));
        }
    }

    /// The kernel is to have other keys before anything else is sent: the peer has asked for them, or those that it has are used up. Neither
    /// [`Self::flush`] nor whoever sends past it gives the socket anything until it has them.
    pub(super) fn wants_keys(&self) -> bool {
        let is_due = |left| left == 0 || self.session.borrow().wants_keys();
        !self.lacks_keys.get() && self.kernel_records_left.get().is_some_and(is_due)
    }

    /// Those keys, once the peer was told; `None`: it could not be told now. An error where there are none.
    pub(super) fn next_keys(&self, tell: impl FnOnce() -> io::Result<bool>) -> io::Result<Option<SendKeys>> {
        let keys = self.keys_after(tell);
        // Nobody is to wait for keys that do not come.
        self.lacks_keys.set(keys.is_err());
        keys
    }

    fn keys_after(&self, tell: impl FnOnce() -> io::Result<bool>) -> io::Result<Option<SendKeys>> {
        let session = &mut *self.session.borrow_mut();
        if !session.has_next_keys() {
            return Err(invalid(TlsError::KeysUsedUp));
        }
        if !tell()? {
            return Ok(None);
        }
        let keys = session.next_keys().map_err(invalid)?;
        self.kernel_records_left.set(Some(session.records_max()));
        Ok(Some(keys))
    }

    /// What is to be said in an alert that the kernel makes a record of.
    pub(super) fn alert(&self) -> Option<[u8; 2]> {
        self.session.borrow().alert()
    }

    /// That was said.
    pub(super) fn alert_is_said(&self) {
        self.session.borrow_mut().alert_is_said();
    }

    /// HTTP/2 was agreed on.
    pub(super) fn is_http2(&self) -> bool {
        self.session.borrow().is_http2()
    }

    /// Whether a read is answered without the socket.
    pub(super) fn has_news(&self) -> bool {
        !self.plain.borrow().is_empty() || self.has_ended()
    }

    /// The peer has said that it sends no more.
    pub(super) fn has_ended(&self) -> bool {
        self.session.borrow().has_ended()
    }

    /// Takes bytes from the socket, which are used up; what is to be answered is in the queue, also where this fails.
    pub(super) fn receive(&self, bytes: &mut [u8]) -> io::Result<()> {
        let queue = &mut *self.queue.borrow_mut();
        let received = self.session.borrow_mut().receive(bytes, &mut self.plain.borrow_mut(), queue);
        received.map_err(invalid)
    }

    /// Reads what is there.
    pub(super) fn read(&self, buf: &mut [u8]) -> usize {
        let plain = &mut *self.plain.borrow_mut();
        let count = plain.len().min(buf.len());
        buf[..count].copy_from_slice(&plain[..count]);
        plain.drain(..count);
        if plain.is_empty() {
            // Connections that wait hold no buffer.
            *plain = Vec::new();
        }
        count
    }

    /// Reads all that is there.
    pub(super) fn read_all(&self, buf: &mut Vec<u8>) -> usize {
        let plain = self.plain.take();
        buf.extend_from_slice(&plain);
        plain.len()
    }

    /// Encrypts as much of these as `most` into the queue: how much; an error where nothing more can be said.
    pub(super) fn encrypt<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>, most: usize) -> io::Result<usize> {
        let queue = &mut *self.queue.borrow_mut();
        self.encrypt_into(pieces, most, Self::roomy(queue))
    }

    /// A queue with the memory of an earlier one.
    fn roomy(queue: &mut Records) -> &mut Records {
        if queue.room() == 0 {
            *queue = SPARE.take();
        }
        queue
    }

    /// Lets this encrypt what it makes of the connection's bytes, into the queue.
    pub(super) fn seal<T>(&self, make: impl FnOnce(&mut Sealer<'_>) -> T) -> T {
        let queue = &mut *self.queue.borrow_mut();
        make(&mut Sealer { session: self.session.borrow_mut(), out: Self::roomy(queue) })
    }

    /// The same into a buffer of the caller's, behind what waits in the queue.
    pub(super) fn seal_for<T>(&self, out: &mut Records, make: impl FnOnce(&mut Sealer<'_>) -> T) -> T {
        let queue = self.queue.take();
        out.push(queue.as_slice());
        make(&mut Sealer { session: self.session.borrow_mut(), out })
    }

    /// The same into a buffer of the caller's, behind what waits in the queue.
    pub(super) fn encrypt_for<'a>(
        &self,
        pieces: impl Iterator<Item = &'a [u8]>,
        out: &mut Records,
    ) -> io::Result<usize> {
        let queue = self.queue.take();
        out.push(queue.as_slice());
        self.encrypt_into(pieces, usize::MAX, out)
    }

    fn encrypt_into<'a>(
        &self,
        pieces: impl Iterator<Item = &'a [u8]>,
        most: usize,
        out: &mut Records,
    ) -> io::Result<usize> {
        let session = &mut *self.session.borrow_mut();
        let mut taken = 0;
        for piece in pieces {
            let some = piece.get(..piece.len().min(most - taken)).unwrap_or_default();
            session.send(some, out).map_err(invalid)?;
            taken += some.len();
            if some.len() < piece.len() {
                break;
            }
        }
        Ok(taken)
    }

    /// Goodbye, into the queue.
    pub(super) fn close(&self) {
        self.session.borrow_mut().close(&mut self.queue.borrow_mut());
    }

    /// What a socket did not take of the caller's buffer comes before all else.
    pub(super) fn keep(&self, rest: &[u8]) {
        self.queue.borrow_mut().push(rest);
    }

    /// Whether all that was encrypted is with the socket.
    pub(super) fn is_sent(&self) -> bool {
        !self.busy.get() && self.queue.borrow().is_empty()
    }

    /// Whether the next send may go out: all before it is with the socket, and so are the keys that it wants.
    pub(super) fn is_ready(&self) -> bool {
        self.is_sent() && !self.wants_keys()
    }

    /// Has the socket take of the queue what it takes. True: nothing is left, and the next send may go out ([`Self::is_ready`]).
    pub(super) fn flush(&self, offer: impl FnOnce(&[u8]) -> usize) -> bool {
        if self.busy.get() || self.wants_keys() {
            return false;
        }
        let queue = &mut *self.queue.borrow_mut();
        if !queue.is_empty() {
            let sent = offer(queue.as_slice());
            queue.discard(sent);
        }
        if !queue.is_empty() {
            return false;
        }
        let empty = std::mem::take(queue);
        if empty.room() > 0 {
            SPARE.with_borrow_mut(|spare| {
                if empty.room() > spare.room() && empty.room() <= SPARE_BYTES_MAX {
                    *spare = empty;
                }
            });
        }
        true
    }

    /// Takes the queue out, for a send that waits; nothing else is sent until [`Self::sent`].
    pub(super) fn take_queue(&self) -> Vec<u8> {
        self.busy.set(true);
        self.queue.take().into_vec()
    }

    /// That send is over.
    pub(super) fn sent(&self) {
        self.busy.set(false);
    }

    /// Whether it holds no memory but the session's.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.queue.borrow().room() == 0 && self.plain.borrow().capacity() == 0
    }
}

/// What encrypts for one connection.
pub(super) struct Sealer<'a> {
    session: RefMut<'a, Session>,
    out: &'a mut Records,
}

impl Sealer<'_> {
    /// Encrypts these, in records of their own.
    pub(super) fn seal(&mut self, plain: &[u8]) -> io::Result<()> {
        self.session.send(plain, self.out).map_err(invalid)
    }
}

fn invalid(error: TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Whether this is a peer's fault in TLS, and not the network's.
pub(crate) fn is_fault(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

#[cfg(test)]
mod tests;
