//! A limit on what is read before the head of an answer. A server may send answers of the class 1xx without end before the final one,
//! each of which is read and forgotten; no other limit stops that before the time of the exchange is over. Before it: the socket; after
//! it: [`super::client`].
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::ANSWER_HEAD_BYTES_MAX;

/// Bytes that are counted once there is a head: the reader of the body has a limit of its own.
const UNLIMITED: usize = usize::MAX;
/// Too many came.
const OVER: usize = usize::MAX - 1;

/// How many bytes may come before the head of the answer that is waited for.
#[derive(Clone, Debug)]
pub(super) struct Meter(Arc<AtomicUsize>);

impl Meter {
    /// An exchange begins.
    pub(super) fn begin(&self) {
        let _ = self.change(|left| (left != OVER).then_some(ANSWER_HEAD_BYTES_MAX));
    }

    /// The head has come, or none will.
    pub(super) fn headed(&self) {
        let _ = self.change(|left| (left != OVER).then_some(UNLIMITED));
    }

    /// Whether too many came. The connection is broken then.
    pub(super) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OVER
    }

    /// These came; `false`: they are too many.
    fn came(&self, bytes: usize) -> bool {
        let left = |left| match left {
            UNLIMITED | OVER => None,
            left => Some(usize::checked_sub(left, bytes).unwrap_or(OVER)),
        };
        let _ = self.change(left);
        !self.is_over()
    }

    fn change(&self, to: impl FnMut(usize) -> Option<usize>) -> Result<usize, usize> {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, to)
    }
}

/// A socket that fails once more came than [`Meter`] allows.
#[derive(Debug)]
pub(super) struct Headed<S> {
    socket: S,
    meter: Meter,
}

impl<S> Headed<S> {
    pub(super) fn around(socket: S) -> (Self, Meter) {
        let meter = Meter(Arc::new(AtomicUsize::new(ANSWER_HEAD_BYTES_MAX)));
        (Self { socket, meter: meter.clone() }, meter)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Headed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, into);
        if !self.meter.came(into.filled().len() - before) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too much came before the head of an answer",
            )));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Headed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
