//! What a connection's bytes and answers go through, so that its [`Place`] is known to be at work, waiting or stalled; one that is not read
//! for too long ends.
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::places::{Place, Served};

/// A socket whose peer must read.
pub(super) struct Wire<S> {
    stream: S,
    place: Arc<Place>,
    patience: Duration,
    /// Since it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, place: Arc<Place>, patience: Duration) -> Self {
        Self { stream, place, patience, stalled: None }
    }

    fn look(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if self.stalled.take().is_some() {
                self.place.set_stalls(false);
            }
            return written;
        }
        let (place, patience) = (&self.place, self.patience);
        let stalled = self.stalled.get_or_insert_with(|| {
            place.set_stalls(true);
            Box::pin(sleep(patience))
        });
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.look(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.look(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for when all that there was is written.
        self.place.is_written();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A request is under way until this is dropped. As long as its body is not here it waits for its client, as an idle connection does.
pub(super) struct UnderWay {
    place: Arc<Place>,
    _served: Option<Served>,
}

impl UnderWay {
    /// With its body, which tells the place when it is here.
    pub(super) fn new(place: &Arc<Place>, served: Option<Served>, body: Incoming) -> (Arc<Self>, Body) {
        let arrived = body.is_end_stream();
        // Where the body is not here, the wait begins anew: connections that wait for a request give way before it.
        place.set_waits(!arrived);
        let under_way = Arc::new(Self { place: Arc::clone(place), _served: served });
        let of = if arrived { Weak::new() } else { Arc::downgrade(&under_way) };
        (under_way, Body::new(Arriving { body, of }))
    }
}

/// A request's body.
struct Arriving {
    body: Incoming,
    /// The request that waits for it. A handler may hold the body longer than its request is under way.
    of: Weak<UnderWay>,
}

impl Arriving {
    /// It is here, or nobody waits for it any longer: the server is at work.
    fn arrived(&mut self) {
        if let Some(under_way) = std::mem::take(&mut self.of).upgrade() {
            under_way.place.set_waits(false);
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.arrived();
    }
}

impl hyper::body::Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.arrived();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.place.set_waits(true);
    }
}

/// An answer's body; its request is under way until this is dropped.
pub(super) struct Answering {
    body: Body,
    /// It is sent piece by piece, and each is counted when it comes.
    in_pieces: bool,
    under_way: Arc<UnderWay>,
}

impl Answering {
    /// An answer with this body; `None`: too many others wait to be read.
    pub(super) fn new(body: Body, under_way: Arc<UnderWay>) -> Option<Self> {
        let whole = body.size_hint().exact();
        let bytes = whole.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        under_way.place.holds(bytes).then_some(Self { body, in_pieces: whole.is_none(), under_way })
    }
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.in_pieces
            && let Some(Ok(frame)) = &frame
            && let Some(piece) = frame.data_ref()
            && !self.under_way.place.holds(piece.len())
        {
            let full = io::Error::new(io::ErrorKind::OutOfMemory, "too many answers are not read");
            return Poll::Ready(Some(Err(axum::Error::new(full))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
