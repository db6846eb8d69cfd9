//! The receiving direction of a connection: readiness without a buffer, reads into owned buffers, and an end from elsewhere. Before it: [`super::connection`]; after
//! it: [`crate::ingest`] and [`crate::egress`].
use std::cell::RefCell;
use std::future::{Future, poll_fn, ready};
use std::io;
use std::pin::pin;
use std::rc::Rc;

use millstream_proto::time::Time;
use monoio::io::AsyncReadRent;

use super::connection::{Shared, finish, flush, say_goodbye};
use crate::io::budget::Budget;
use crate::io::http2::StreamRef;
use crate::io::runtime::on_epoll;
use crate::io::tls::Tls;
use crate::io::{ktls, sys};

thread_local! {
    /// Where a shard's TLS connections read; allocated with the first one.
    static ENCRYPTED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of that.
const ENCRYPTED_BYTES: usize = 64 << 10;

/// The receiving direction.
pub(crate) struct Reader {
    pub(super) shared: Shared,
    pub(super) tls: Option<Rc<Tls>>,
    /// Of a stream of the connection: nothing is read on it.
    pub(super) stream: Option<StreamRef>,
    /// For operations that end without a wait.
    pub(super) budget: Budget,
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
