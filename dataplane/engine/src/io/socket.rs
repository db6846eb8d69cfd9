//! A connection over the runtime: readiness without a buffer, reads into owned buffers, sends of shared pieces.
#![allow(unsafe_code)]
use std::cell::RefCell;
use std::future::{Future, poll_fn, ready};
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use millstream_hub::viewer::Piece;
use millstream_proto::time::Time;
use millstream_tls::{Records, Session};
use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;

use super::budget::{Budget, READS};
use super::buf::{BatchBuf, FileBuf, PieceBuf};
use super::http2::{StreamRef, StreamWriter};
use super::ktls;
use super::runtime::on_epoll;
use super::sys;
use super::tls::{SEND_BYTES_MAX, SEND_NOW_BYTES_MAX, Tls};

/// Unsent bytes that the kernel takes before it says "full" (HOT_PATH, rule 6): without it a stalled viewer holds megabytes.
const NOTSENT_LOWAT_BYTES: libc::c_int = 128 << 10;

/// Both directions of a connection.
pub(crate) struct Socket {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// The connection that both directions share. Not monoio's own halves: its writing half shuts the socket down when it is
/// dropped, and a publisher's socket goes on at another shard.
#[derive(Clone)]
pub(crate) struct Shared(Rc<TcpStream>);

impl Shared {
    fn operation(&self) -> Operation<'_, TcpStream> {
        // SAFETY: a `TcpStream` is an `Rc` to the descriptor, the descriptor's number, and a cache of addresses (monoio 0.2.4: `TcpStream`,
        // `StreamMeta`; the version is pinned). The runtime's operation, which may outlive the value, clones the `Rc`.
        unsafe { Operation::on(&self.0) }
    }

    fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A shared value for one operation. The runtime borrows a connection mutably for as long as an operation lasts, and there are two at a time, one
/// that reads and one that writes: each gets a value of its own, so that no reference to the shared one is kept across a wait.
struct Operation<'a, T>(ManuallyDrop<T>, PhantomData<&'a T>);

impl<'a, T> Operation<'a, T> {
    /// # Safety
    /// A copy of a `T`, bit by bit, that is never dropped may be used beside the original, and owns no memory that the original does, too, but
    /// by counts of references.
    unsafe fn on(shared: &'a Rc<T>) -> Self {
        // SAFETY: the pointer is of a live value, which outlives the copy by its lifetime. That the copy is one is up to the caller.
        Self(ManuallyDrop::new(unsafe { std::ptr::read(Rc::as_ptr(shared)) }), PhantomData)
    }
}

impl<T> Deref for Operation<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Operation<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

thread_local! {
    /// Where a shard's TLS connections read; allocated with the first one.
    static ENCRYPTED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
/// Bytes of that.
const ENCRYPTED_BYTES: usize = 64 << 10;

pub(crate) struct Reader {
    shared: Shared,
    tls: Option<Rc<Tls>>,
    /// Of a stream of the connection: nothing is read on it.
    stream: Option<StreamRef>,
    /// For operations that end without a wait.
    budget: Budget,
}

/// The sending direction. It is one value, which whoever sends owns: the session's task, or a sender for many ([`WriterSlot`]).
pub(crate) struct Writer {
    shared: Shared,
    tls: Option<Rc<Tls>>,
    /// Of a stream of the connection, which has TLS.
    stream: Option<StreamWriter>,
    /// The same as the shared one's, which is a visit to memory away.
    fd: RawFd,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        let shared = Shared(Rc::new(stream));
        let fd = shared.fd();
        Self {
            reader: Reader { shared: shared.clone(), tls: None, stream: None, budget: Budget::new(&READS, Time::ZERO) },
            writer: Writer { shared, tls: None, stream: None, fd },
        }
    }

    /// Takes over a descriptor that another shard let go.
    pub(crate) fn from_fd(descriptor: impl Into<Descriptor>) -> io::Result<Self> {
        let Descriptor { fd, tls } = descriptor.into();
        let socket = TcpStream::from_std(std::net::TcpStream::from(fd)).map(Self::new)?;
        Ok(if let Some(tls) = tls { socket.with(*tls) } else { socket })
    }

    /// What is read and sent from here on is this session's, whose handshake is over; `plain` came behind it.
    pub(crate) fn secure(self, session: Session, plain: Vec<u8>) -> Self {
        self.with(Tls::new(session, plain))
    }

    fn with(self, tls: Tls) -> Self {
        let (Self { mut reader, mut writer }, tls) = (self, Rc::new(tls));
        (reader.tls, writer.tls) = (Some(Rc::clone(&tls)), Some(tls));
        Self { reader, writer }
    }

    /// Whether it is encrypted by us.
    pub(crate) fn is_secure(&self) -> bool {
        self.reader.tls.is_some()
    }

    /// A local connection: the end here, and the other for a shard.
    pub(crate) fn pair() -> io::Result<(Self, Descriptor)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok((Self::from_fd(OwnedFd::from(ours))?, OwnedFd::from(theirs).into()))
    }

    /// Lets the descriptor go, for another shard; `None` where somebody else still refers to it.
    pub(crate) fn into_fd(self) -> Option<Descriptor> {
        let Self { reader, writer } = self;
        drop(writer);
        let stream = Rc::into_inner(reader.shared.0)?;
        let tls = reader.tls.map(|tls| Rc::into_inner(tls).map(Box::new).ok_or(())).transpose().ok()?;
        // SAFETY: `into_raw_fd` gives up ownership, which is taken here.
        let fd = unsafe { OwnedFd::from_raw_fd(stream.into_raw_fd()) };
        Some(Descriptor { fd, tls })
    }

    /// Settings of every connection: no Nagle, a bound on unsent bytes, and an end for peers that have vanished, also while data
    /// is unsent, where keepalive does not fire.
    pub(crate) fn tune(&self, vanished_after: Duration) {
        let fd = self.reader.shared.fd();
        let millis = libc::c_int::try_from(vanished_after.as_millis()).unwrap_or(libc::c_int::MAX);
        sys::set_tcp(fd, libc::TCP_NODELAY, 1);
        sys::set_tcp(fd, libc::TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES);
        sys::set_tcp(fd, libc::TCP_USER_TIMEOUT, millis);
        // A socket that is gone already says so at its first read.
        let _ = self.reader.shared.0.set_tcp_keepalive(
            Some(Duration::from_secs(15)),
            Some(Duration::from_secs(5)),
            Some(3),
        );
    }
}

/// A connection on its way to another shard.
pub(crate) struct Descriptor {
    fd: OwnedFd,
    tls: Option<Box<Tls>>,
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, tls: None }
    }
}

impl Reader {
    /// Waits until there is something to read, without holding a buffer for it.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        if let Some(stream) = &self.stream {
            stream.ended().await;
            return Ok(());
        }
        if self.tls.as_ref().is_some_and(|tls| tls.has_news()) {
            return fairly(&self.budget, ready(Ok(()))).await;
        }
        fairly(&self.budget, self.shared.0.readable(false)).await
    }

    /// Reads what is there: `None` where nothing is, `Some(0)` at the end.
    pub(crate) fn recv_now(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        if let Some(stream) = &self.stream {
            return stream.read();
        }
        let Some(tls) = &self.tls else { return sys::recv_now(self.shared.fd(), buf) };
        let before = tls.read(buf);
        if before > 0 {
            return Ok(Some(before));
        }
        match self.take_in(tls)? {
            Some(0) => Ok(Some(0)),
            // Of a record that is not whole there is nothing to read.
            _ => Ok(Some(tls.read(buf)).filter(|count| *count > 0 || tls.has_ended())),
        }
    }

    /// Has TLS look at what is there: `None` where nothing is, `Some(0)` at the end of the stream, whether or not the peer has said goodbye
    /// before it; many do not.
    fn take_in(&self, tls: &Tls) -> io::Result<Option<usize>> {
        if tls.has_ended() {
            return Ok(Some(0));
        }
        let fd = self.shared.fd();
        ENCRYPTED.with_borrow_mut(|bytes| {
            bytes.resize(ENCRYPTED_BYTES, 0);
            let Some(count) = sys::recv_now(fd, bytes)? else { return Ok(None) };
            let received = tls.receive(bytes.get_mut(..count).unwrap_or_default());
            // Answers of TLS itself; the writer sends what the socket has no room for now.
            flush(fd, tls);
            if tls.is_in_kernel() && tls.is_sent() {
                ktls::say_alert(fd, tls);
            }
            received.map(|()| Some(count))
        })
    }

    async fn recv_encrypted(&mut self, tls: Rc<Tls>, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        loop {
            let count = tls.read_all(&mut buf);
            if count > 0 {
                return (Ok(count), buf);
            }
            if let Err(error) = self.readable().await {
                return (Err(error), buf);
            }
            match self.take_in(&tls) {
                Ok(Some(0)) => return (Ok(0), buf),
                Ok(_) => {}
                Err(error) => return (Err(error), buf),
            }
        }
    }

    /// Reads into an owned buffer; 0 at the end. For peers that send all the time: one operation instead of two.
    pub(crate) async fn recv(&mut self, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        if let Some(tls) = self.tls.clone() {
            // Boxed: plain connections have no room for it.
            return Box::pin(self.recv_encrypted(tls, buf)).await;
        }
        fairly(&self.budget, self.shared.operation().read(buf)).await
    }

    /// Waits until nothing of what was sent is held where an end would cut it off ([`ktls`]), and says goodbye. Whoever calls bounds the wait.
    pub(crate) async fn say_goodbye(&self) {
        say_goodbye(&self.shared, self.tls.as_deref()).await;
    }

    /// Whether the kernel makes the records of what is sent.
    pub(crate) fn is_in_kernel(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_in_kernel())
    }

    /// Ends the connection from our side without cutting off what was just said: a socket that is closed over unread bytes is
    /// reset, and a peer that is reset may never see the last answer. Waits for the peer's end; whoever calls bounds the wait.
    pub(crate) async fn linger(&mut self, scratch: &RefCell<Box<[u8]>>) {
        self.say_goodbye().await;
        finish(self.shared.fd(), self.tls.as_deref());
        while self.readable().await.is_ok() {
            if !matches!(self.recv_now(&mut scratch.borrow_mut()), Ok(None | Some(1..))) {
                return;
            }
        }
    }

    /// A handle for elsewhere on this shard.
    pub(crate) fn closer(&self) -> Closer {
        match &self.stream {
            Some(stream) => Closer::Stream(stream.clone()),
            None => Closer::Socket(self.shared.clone()),
        }
    }
}

/// Does the operation; lets others run when too many before it did not have to wait.
async fn fairly<F: Future>(budget: &Budget, operation: F) -> F::Output {
    let mut operation = pin!(operation);
    let mut waits = false;
    let output = poll_fn(|cx| {
        let polled = operation.as_mut().poll(cx);
        waits |= polled.is_pending();
        polled
    })
    .await;
    if waits {
        budget.renew(Time::ZERO);
        return output;
    }
    budget.spend();
    if budget.spent(Time::ZERO) {
        budget.renew(Time::ZERO);
        // Boxed: it is rare.
        Box::pin(on_epoll()).await;
    }
    output
}

/// Ends a connection whose task waits for something else.
pub(crate) enum Closer {
    Socket(Shared),
    Stream(StreamRef),
}

impl Closer {
    /// Ends both directions: whatever waits completes.
    pub(crate) fn close(&self) {
        match self {
            Self::Socket(shared) => sys::shutdown(shared.fd(), libc::SHUT_RDWR),
            Self::Stream(stream) => stream.close(),
        }
    }

    /// Ends the receiving direction: a read that waits completes, and goodbye can still be said.
    pub(crate) fn close_read(&self) {
        match self {
            Self::Socket(shared) => sys::shutdown(shared.fd(), libc::SHUT_RD),
            Self::Stream(stream) => stream.close_read(),
        }
    }
}

impl Writer {
    pub(super) fn fd(&self) -> RawFd {
        self.fd
    }

    /// The connection's TLS, where it has some.
    pub(super) fn tls(&self) -> Option<&Rc<Tls>> {
        self.tls.as_ref()
    }

    /// As a sender of one of the connection's streams, with what is read of that.
    pub(super) fn of_stream(&self, end: StreamRef) -> Socket {
        let (shared, budget) = (self.shared.clone(), Budget::new(&READS, Time::ZERO));
        let reader = Reader { shared, tls: None, stream: Some(end.clone()), budget };
        let (shared, tls) = (self.shared.clone(), self.tls.clone());
        Socket { reader, writer: Self { shared, tls, stream: Some(StreamWriter::new(end)), fd: self.fd } }
    }

    /// The connection's own once more, for a task that waits for the socket.
    pub(super) fn again(&self) -> Self {
        Self { shared: self.shared.clone(), tls: self.tls.clone(), stream: None, fd: self.fd }
    }

    /// What the socket takes of these now.
    pub(super) fn offer(&self, bytes: &[u8]) -> usize {
        let count = sys::send_pieces_now(self.fd, &[io::IoSlice::new(bytes)]);
        self.took(count);
        count
    }

    /// The socket took that much of one send.
    pub(super) fn took(&self, bytes: usize) {
        if let Some(tls) = &self.tls {
            tls.took(bytes);
        }
    }

    /// What encrypts the next send; `None`: it goes out as it is, for there is no TLS, or the kernel makes the records.
    fn sealing(&self) -> Option<&Rc<Tls>> {
        let tls = self.tls.as_ref()?;
        if tls.may_go_to_kernel() && !self.is_in_batch() {
            ktls::enter(self.fd, tls);
        }
        if !tls.is_in_kernel() {
            return Some(tls);
        }
        renew(self.fd, tls);
        // Frames are made here either way.
        Some(tls).filter(|_| self.stream.is_some())
    }

    /// Nothing is to be sent before the kernel has other keys.
    fn wants_keys(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_keys())
    }

    /// Waits until it has them.
    async fn renewed(&self) -> io::Result<()> {
        while let Some(tls) = self.tls.as_ref().filter(|tls| tls.wants_keys()) {
            renew(self.fd, tls);
            if tls.wants_keys() {
                self.shared.0.writable(false).await?;
                on_epoll().await;
            }
        }
        Ok(())
    }

    /// Ends the connection: whoever reads it finds that.
    pub(super) fn close(&self) {
        sys::shutdown(self.fd, libc::SHUT_RDWR);
    }

    /// Whether a batch may send by it now.
    pub(crate) fn is_free(&self) -> bool {
        match (&self.stream, &self.tls) {
            (Some(stream), _) => stream.is_free(),
            // Other keys come before anything else, and may have to wait for room.
            (None, Some(tls)) => !tls.wants_keys(),
            (None, None) => true,
        }
    }

    /// Whether something of its connection is in a batch that is not out yet.
    pub(crate) fn is_in_batch(&self) -> bool {
        self.stream.as_ref().is_some_and(StreamWriter::is_in_batch)
    }

    /// Encrypts these for a batch; how many bytes of them; `None`: they go out as they are.
    pub(super) fn encrypt_for(&self, pieces: &[Piece], out: &mut Records) -> Option<io::Result<usize>> {
        let tls = self.sealing()?;
        let pieces = pieces.iter().map(|piece| &**piece);
        Some(match &self.stream {
            Some(stream) => stream.encrypt_for(pieces, out),
            None => tls.encrypt_for(pieces, out),
        })
    }

    /// A batch is out that had something of it; `rest` did not fit into the socket, and is the connection's to send. `None`: it is not known what did.
    pub(super) fn keep(&self, rest: Option<&[u8]>) {
        match (&self.stream, &self.tls, rest) {
            (Some(stream), _, rest) => stream.sent(rest),
            (None, Some(tls), Some(rest)) => tls.keep(rest),
            (None, ..) => {}
        }
    }

    /// Sends what fits of these, without waiting: how many bytes. With TLS [`Self::flush`] is to be called before whoever sends waits for something
    /// else.
    pub(crate) fn send_now(&mut self, pieces: &[io::IoSlice<'_>]) -> usize {
        let Some(tls) = self.sealing() else {
            if self.wants_keys() {
                return 0;
            }
            let count = sys::send_pieces_now(self.fd, pieces);
            self.took(count);
            return count;
        };
        if let Some(stream) = &self.stream {
            return stream.send_now(pieces, |records| self.offer(records));
        }
        if !self.flush_now(tls) {
            return 0;
        }
        let taken = tls.encrypt(pieces.iter().map(|piece| &**piece), SEND_NOW_BYTES_MAX).unwrap_or(0);
        self.flush_now(tls);
        taken
    }

    fn flush_now(&self, tls: &Tls) -> bool {
        flush(self.fd, tls)
    }

    /// Waits until what was sent is with the socket: TLS takes more than that at a time.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if let Some(stream) = self.stream.as_ref().filter(|stream| !stream.is_free()) {
            return Box::pin(stream.flush(|records| self.offer(records))).await;
        }
        match self.tls.clone().filter(|tls| !tls.is_ready()) {
            Some(tls) => Box::pin(self.flush_encrypted(tls, |_| {})).await,
            None => Ok(()),
        }
    }

    /// `progress` hears of each step.
    async fn flush_encrypted(&mut self, tls: Rc<Tls>, progress: impl Fn(usize)) -> io::Result<()> {
        while !self.flush_now(&tls) {
            self.renewed().await?;
            let mut bytes = Bytes::from(tls.take_queue());
            while !bytes.is_empty() {
                let (result, _) = self.shared.operation().write(bytes.clone()).await;
                match result? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    count => {
                        tls.took(count);
                        bytes.advance(count);
                    }
                }
                progress(0);
                // The peer may have asked for other keys meanwhile.
                self.renewed().await?;
            }
            tls.sent();
        }
        Ok(())
    }

    /// Sends these encrypted, a piece at a time: all of them, or as many as it sends before the kernel makes the records. The rest is given back.
    async fn send_encrypted(
        &mut self,
        tls: Rc<Tls>,
        pieces: Vec<Bytes>,
        progress: &impl Fn(usize),
    ) -> io::Result<Vec<Bytes>> {
        if let Some(stream) = &self.stream {
            return stream.send_all(pieces, progress, |records| self.offer(records)).await.map(|()| Vec::new());
        }
        self.flush_encrypted(Rc::clone(&tls), progress).await?;
        let mut pieces = pieces.into_iter();
        while let Some(mut piece) = pieces.next() {
            while !piece.is_empty() {
                if self.sealing().is_none() {
                    return Ok(std::iter::once(piece).chain(pieces).collect());
                }
                let taken = tls.encrypt(std::iter::once(&piece[..]), SEND_BYTES_MAX)?;
                self.flush_encrypted(Rc::clone(&tls), progress).await?;
                piece.advance(taken);
                progress(taken);
            }
        }
        Ok(Vec::new())
    }

    async fn send_load_encrypted(&mut self, tls: Rc<Tls>, load: Load) -> (io::Result<usize>, Load) {
        if let Some(stream) = &self.stream {
            let pieces = || load.pieces().iter().map(|piece| &**piece);
            return (stream.send(pieces, |records| self.offer(records)).await, load);
        }
        if let Err(error) = self.flush_encrypted(Rc::clone(&tls), |_| {}).await {
            return (Err(error), load);
        }
        match tls.encrypt(load.pieces().iter().map(|piece| &**piece), SEND_BYTES_MAX) {
            Ok(taken) => (self.flush_encrypted(tls, |_| {}).await.map(|()| taken), load),
            Err(error) => (Err(error), load),
        }
    }

    /// Ends the sending direction: the peer finds the end behind what was sent, as far as that fits now.
    pub(crate) fn finish_now(&self) {
        if let Some(stream) = &self.stream {
            return stream.finish(|records| self.offer(records));
        }
        finish(self.fd, self.tls.as_deref());
    }

    /// The same; waits until the kernel has no part of it that the end would cut off. Whoever calls bounds the wait.
    pub(crate) async fn finish(&self) {
        if self.stream.is_none() {
            say_goodbye(&self.shared, self.tls.as_deref()).await;
        }
        self.finish_now();
    }

    /// Sends all of it.
    pub(crate) async fn send_all(&mut self, bytes: Bytes) -> io::Result<()> {
        if self.sealing().is_some() {
            return self.send_file(vec![bytes], |_| {}).await;
        }
        if self.wants_keys() {
            Box::pin(self.renewed()).await?;
        }
        let length = bytes.len();
        let sent = self.shared.operation().write_all(bytes).await.0;
        self.took(length);
        sent.map(drop)
    }

    /// Sends all of an answer whose bytes lie in several places; `progress` hears of each step, with its bytes.
    pub(crate) async fn send_file(&mut self, mut pieces: Vec<Bytes>, progress: impl Fn(usize)) -> io::Result<()> {
        if let Some(tls) = self.sealing().cloned() {
            // Boxed, here and below: plain connections have no room for it.
            pieces = Box::pin(self.send_encrypted(tls, pieces, &progress)).await?;
        }
        let mut buf = FileBuf::new(pieces);
        while !buf.is_empty() {
            if self.wants_keys() {
                Box::pin(self.renewed()).await?;
            }
            let (result, back) = self.shared.operation().writev(buf).await;
            buf = back;
            match result? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => {
                    self.took(count);
                    buf.sent(count);
                    progress(count);
                }
            }
        }
        Ok(())
    }

    /// Sends what fits, as one operation, and gives the load back with the bytes that were taken.
    pub(crate) async fn send(&mut self, load: Load) -> (io::Result<usize>, Load) {
        if let Some(tls) = self.sealing().cloned() {
            return Box::pin(self.send_load_encrypted(tls, load)).await;
        }
        if self.wants_keys()
            && let Err(error) = Box::pin(self.renewed()).await
        {
            return (Err(error), load);
        }
        let (result, load) = match load {
            Load::One(piece) => {
                let (result, PieceBuf(piece)) = self.shared.operation().write(PieceBuf(piece)).await;
                (result, Load::One(piece))
            }
            Load::Many(batch) => {
                let (result, batch) = self.shared.operation().writev(batch).await;
                (result, Load::Many(batch))
            }
        };
        self.took(*result.as_ref().unwrap_or(&0));
        (result, load)
    }
}

/// Gives the kernel other keys where it is to have them, and the socket room for that.
fn renew(fd: RawFd, tls: &Tls) {
    if tls.wants_keys() {
        ktls::renew(fd, tls);
    }
}

/// Has the socket take of the connection's queue what it takes, behind other keys where it is to have them. True: nothing is left.
fn flush(fd: RawFd, tls: &Tls) -> bool {
    renew(fd, tls);
    tls.flush(|records| {
        let count = sys::send_pieces_now(fd, &[io::IoSlice::new(records)]);
        tls.took(count);
        count
    })
}

/// Ends the sending direction; with TLS the peer is told, as far as that fits.
fn finish(fd: RawFd, tls: Option<&Tls>) {
    if let Some(tls) = tls {
        if !tls.is_in_kernel() {
            tls.close();
        }
        if flush(fd, tls) && tls.is_in_kernel() {
            ktls::say_goodbye(fd, tls);
        }
    }
    sys::shutdown(fd, libc::SHUT_WR);
}

/// Where the kernel makes the records: waits until it has taken the goodbye, and what it may hold before that ([`ktls`]).
async fn say_goodbye(shared: &Shared, tls: Option<&Tls>) {
    let Some(tls) = tls.filter(|tls| tls.is_in_kernel() && tls.is_sent()) else { return };
    // Room first: without it the kernel takes a goodbye all the same, and holds it behind what it holds already.
    while shared.0.writable(false).await.is_ok() && !ktls::say_goodbye(shared.fd(), tls) {
        // It lacks memory, which a socket that has room does not say.
        on_epoll().await;
    }
}

/// What one send carries.
pub(crate) enum Load {
    /// The usual case: one block.
    One(Piece),
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

#[cfg(test)]
mod tests {
    use std::cell::{Cell, UnsafeCell};
    use std::future::pending;
    use std::io::{Read as _, Write as _};
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::super::runtime::{Driver, run};
    use super::super::slot::WriterSlot;
    use super::*;
    use crate::shard::wait::{Either, select};

    /// More than a socket takes at once.
    const MANY_BYTES: usize = if cfg!(miri) { 300_000 } else { 4 << 20 };

    fn pair() -> (Socket, Socket) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let socket = |stream: UnixStream| {
            // By `fcntl`, which Miri knows.
            socket2::SockRef::from(&stream).set_nonblocking(true).unwrap();
            Socket::from_fd(OwnedFd::from(stream)).unwrap()
        };
        (socket(ours), socket(theirs))
    }

    /// What a `TcpStream` is made of, with operations that use their reference again after each wait.
    #[derive(Default)]
    struct Model {
        descriptor: Rc<Cell<u32>>,
        addresses: UnsafeCell<[u64; 8]>,
    }

    impl Model {
        async fn operate(&mut self) {
            for _ in 0..3 {
                let held = Rc::clone(&self.descriptor);
                held.set(held.get() + 1);
                self.addresses.get_mut()[0] += 1;
                yields().await;
            }
        }

        async fn readable(&self) {
            for _ in 0..3 {
                yields().await;
                self.descriptor.set(self.descriptor.get() + 1);
            }
        }
    }

    async fn yields() {
        let mut polled = false;
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// For Miri: monoio's driver itself breaks the rules of aliasing that it checks, so that the test below says nothing of ours.
    #[test]
    fn operations_that_overlap_keep_to_the_rules_of_aliasing() {
        let shared = Rc::new(Model::default());
        // SAFETY: a `Model` holds a count of references and plain numbers.
        let (mut reads, mut writes) = unsafe { (Operation::on(&shared), Operation::on(&shared)) };
        let mut all: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> =
            vec![Box::pin(reads.operate()), Box::pin(writes.operate()), Box::pin(shared.readable())];
        let mut cx = Context::from_waker(Waker::noop());
        while !all.is_empty() {
            all.retain_mut(|one| one.as_mut().poll(&mut cx).is_pending());
        }
        drop(all);
        assert_eq!((shared.descriptor.get(), Rc::strong_count(&shared.descriptor)), (9, 1));
    }

    /// The three senders and a reader of a connection while it is under way, each in more than one step.
    #[test]
    fn both_directions_are_under_way_at_once_and_the_descriptor_goes_on() {
        // Miri has no io_uring.
        let drivers = if cfg!(miri) { &[Driver::Epoll][..] } else { &[Driver::Uring, Driver::Epoll] };
        for driver in drivers {
            run(*driver, both_directions()).unwrap();
        }
    }

    async fn both_directions() {
        let (mut socket, mut peer) = pair();
        let closer = socket.reader.closer();
        let Socket { reader, writer } = &mut socket;
        let reads = async {
            reader.readable().await.unwrap();
            reader.recv(Vec::with_capacity(8)).await
        };
        let sends = async {
            writer.send_all(Bytes::from(vec![1; MANY_BYTES])).await.unwrap();
            writer.send_file(vec![Bytes::from(vec![2; MANY_BYTES]), Bytes::from_static(b"end")], |_| {}).await.unwrap();
            pending::<()>().await;
        };
        let peers = async {
            let (mut count, mut buf) = (0, Vec::with_capacity(64 << 10));
            while count < 2 * MANY_BYTES + 3 {
                buf.clear();
                let (result, back) = peer.reader.recv(buf).await;
                (count, buf) = (count + result.unwrap(), back);
            }
            assert!(buf.ends_with(b"end"));
            peer.writer.send_all(Bytes::from_static(b"thanks")).await.unwrap();
            pending::<()>().await;
        };
        let Either::A((result, got)) = select(reads, select(sends, peers)).await else { panic!("they do not end") };
        assert_eq!((result.unwrap(), &got[..]), (6, &b"thanks"[..]));
        drop(closer);
        // Moved to a sender for many and back.
        let Socket { reader, writer } = socket;
        let slot = WriterSlot::default();
        slot.put(writer);
        let mut writer = slot.take().unwrap();
        assert!(slot.is_empty());
        assert_eq!(writer.send_now(&[io::IoSlice::new(b"a"), io::IoSlice::new(b"b")]), 2);
        let mut ours = UnixStream::from(Socket { reader, writer }.into_fd().unwrap().fd);
        let mut theirs = UnixStream::from(peer.into_fd().unwrap().fd);
        let mut got = [0; 2];
        theirs.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ab");
        theirs.write_all(b"!").unwrap();
        ours.read_exact(&mut got[..1]).unwrap();
        // Somebody who may still end a connection keeps it here.
        let (socket, _peer) = pair();
        let _closer = socket.reader.closer();
        assert!(socket.into_fd().is_none());
    }
}
