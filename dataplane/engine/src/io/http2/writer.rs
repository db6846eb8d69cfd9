//! A stream of an HTTP/2 connection, as whoever reads it, sends on it and ends it sees it. What sends waits for its turn at the socket and for the peer's windows, and ends the stream. Before it: the
//! socket's writer; after it: [`super::frames`], and the connection's queue.
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Buf as _, Bytes};
use millstream_proto::http2::ErrorCode;
use millstream_tls::Records;

use super::Http2;
use super::frames::{DATA_FRAME_BYTES, with_frames};
use super::stream::{Over, Place, Stream};
use crate::io::tls::{SEND_BYTES_MAX, SEND_NOW_BYTES_MAX, Sealer, Tls};

/// A stream and its connection, for whoever waits for its end or makes it.
#[derive(Clone)]
pub(crate) struct StreamRef {
    pub(super) http2: Rc<Http2>,
    pub(super) stream: Rc<Stream>,
}

impl StreamRef {
    /// Waits until the stream is over, or is not to be read any more.
    pub(crate) async fn ended(&self) {
        poll_fn(|cx| {
            if self.stream.over.get().is_some() || self.stream.is_unread.get() {
                return Poll::Ready(());
            }
            self.stream.reader.wait(cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// What a read finds: nothing, or the end.
    pub(crate) fn read(&self) -> io::Result<Option<usize>> {
        match self.stream.over.get() {
            None if self.stream.is_unread.get() => Ok(Some(0)),
            None => Ok(None),
            Some(Over::Closed) => Ok(Some(0)),
            Some(Over::Broken) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// Ends what is read of it; its answer goes on.
    pub(crate) fn close_read(&self) {
        self.stream.is_unread.set(true);
        self.stream.reader.wake();
    }

    /// Ends it before its time, unless its answer is complete.
    pub(crate) fn close(&self) {
        self.stream.when_over.take();
        let was_open = self.http2.connection.borrow_mut().reset(self.stream.id, ErrorCode::CANCEL);
        self.stream.end(Over::Closed);
        if was_open {
            self.http2.say();
        }
    }
}

/// What sends on a stream. It is one value, as the writer that it belongs to; with it the stream ends.
pub(crate) struct StreamWriter(StreamRef);

impl StreamWriter {
    pub(crate) fn new(end: StreamRef) -> Self {
        Self(end)
    }

    fn tls(&self) -> &Tls {
        &self.0.http2.tls
    }

    /// Gives the socket what is in the queue. False: something comes before the next send, and a task waits until it is out.
    fn flush_now(&self, offer: impl FnOnce(&[u8]) -> usize) -> bool {
        let is_sent = self.tls().flush(offer);
        if !is_sent {
            self.0.http2.wait_for_socket();
        }
        is_sent
    }

    /// Whether it may send now without having to wait its turn.
    pub(crate) fn is_free(&self) -> bool {
        let http2 = &self.0.http2;
        self.tls().is_ready() && !http2.in_batch.get() && http2.line.borrow().is_empty()
    }

    /// Whether something of the connection is in a batch that is not out yet.
    pub(crate) fn is_in_batch(&self) -> bool {
        self.0.http2.in_batch.get()
    }

    /// Makes frames of as much of these as a batch may send, behind what waits in the queue; how much that was.
    pub(crate) fn encrypt_for<'a>(
        &self,
        pieces: impl Iterator<Item = &'a [u8]>,
        out: &mut Records,
    ) -> io::Result<usize> {
        self.0.http2.in_batch.set(true);
        match self.tls().seal_for(out, |sealer| self.seal(sealer, pieces, usize::MAX)) {
            // The stream, or the connection, has ended: its task finds that out.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(0),
            taken => taken,
        }
    }

    /// The batch is out; `rest` did not fit into the socket. `None`: it is not known what did, so that nothing can be said on the connection any more.
    pub(crate) fn sent(&self, rest: Option<&[u8]>) {
        let http2 = &self.0.http2;
        http2.in_batch.set(false);
        let Some(rest) = rest else { return http2.break_off() };
        self.tls().keep(rest);
        if !rest.is_empty() {
            http2.wait_for_socket();
        }
    }

    /// Sends what fits of these, without waiting; how much that was.
    pub(crate) fn send_now(&self, pieces: &[io::IoSlice<'_>], offer: impl Fn(&[u8]) -> usize) -> usize {
        if !self.flush_now(&offer) || !self.is_free() {
            return 0;
        }
        let pieces = pieces.iter().map(|piece| &**piece);
        let taken = self.tls().seal(|sealer| self.seal(sealer, pieces, SEND_NOW_BYTES_MAX)).unwrap_or(0);
        self.flush_now(&offer);
        taken
    }

    /// Waits for its turn at the socket and, with `sends_body`, at the connection's window. It is over with [`Http2::leave_line`].
    async fn turn(&self, sends_body: bool, offer: impl Fn(&[u8]) -> usize) -> io::Result<()> {
        let StreamRef { http2, stream } = &self.0;
        poll_fn(|cx| {
            if http2.is_over.get() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if stream.over.get().is_some() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let is_next = stream.place.get() == Place::First || http2.line.borrow().is_empty();
            let has_room = !http2.sending.get() && self.flush_now(&offer);
            if is_next && has_room && (!sends_body || http2.connection.borrow().has_window()) {
                return Poll::Ready(Ok(()));
            }
            stream.sender.wait(cx.waker());
            http2.stand_in_line(stream);
            Poll::Pending
        })
        .await
    }

    /// Waits until what was sent is with the socket.
    pub(crate) async fn flush(&self, offer: impl Fn(&[u8]) -> usize) -> io::Result<()> {
        let flushed = self.turn(false, offer).await;
        self.0.http2.leave_line(&self.0.stream);
        flushed
    }

    /// Waits until the peer takes more of this stream, or it is over.
    async fn writable(&self) {
        let stream = &self.0.stream;
        poll_fn(|cx| {
            if stream.over.get().is_some() || stream.is_writable.take() {
                return Poll::Ready(());
            }
            stream.sender.wait(cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Sends some of these, once there is room at the socket and at the peer; how much that was.
    pub(crate) async fn send<'a, I: Iterator<Item = &'a [u8]>>(
        &self,
        pieces: impl Fn() -> I,
        offer: impl Fn(&[u8]) -> usize,
    ) -> io::Result<usize> {
        let StreamRef { http2, stream } = &self.0;
        loop {
            self.turn(stream.is_answered.get(), &offer).await.inspect_err(|_| http2.leave_line(stream))?;
            let most = if http2.line.borrow().is_empty() { SEND_BYTES_MAX } else { DATA_FRAME_BYTES };
            stream.is_writable.set(false);
            let taken = self.tls().seal(|sealer| self.seal(sealer, pieces(), most));
            // What is in the queue goes out also where this has failed.
            self.flush_now(&offer);
            http2.leave_line(stream);
            let taken = taken?;
            if taken > 0 || pieces().all(<[u8]>::is_empty) {
                self.flush(&offer).await?;
                return Ok(taken);
            }
            if http2.connection.borrow().has_window() {
                self.writable().await;
            }
        }
    }

    /// Sends all of these; `progress` hears of each step, with its bytes.
    pub(crate) async fn send_all(
        &self,
        pieces: Vec<Bytes>,
        progress: impl Fn(usize),
        offer: impl Fn(&[u8]) -> usize,
    ) -> io::Result<()> {
        for mut piece in pieces {
            while !piece.is_empty() {
                let taken = self.send(|| std::iter::once(&piece[..]), &offer).await?;
                piece.advance(taken);
                progress(taken);
            }
        }
        Ok(())
    }

    /// The answer is complete, where its head did not say how long it is.
    pub(crate) fn finish(&self, offer: impl FnOnce(&[u8]) -> usize) {
        let StreamRef { http2, stream } = &self.0;
        let end = http2.connection.borrow_mut().data(stream.id, 0, true);
        if let Ok(Some(frame)) = end {
            // What fails here fails at the next read, too.
            let _ = self.tls().seal(|sealer| sealer.seal(&frame.head));
        }
        self.flush_now(offer);
    }

    /// Makes frames of what may go of these; how many of their bytes those are. The first are the head of an answer, in HTTP/1's words.
    fn seal<'a>(
        &self,
        sealer: &mut Sealer<'_>,
        pieces: impl Iterator<Item = &'a [u8]>,
        most: usize,
    ) -> io::Result<usize> {
        let StreamRef { http2, stream } = &self.0;
        if http2.is_over.get() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        with_frames(sealer, |frames| {
            let connection = &mut *http2.connection.borrow_mut();
            if let Some(control) = connection.poll_output() {
                frames.push(&[&control])?;
            }
            let taken = stream.make(connection, pieces, most, frames);
            // What it made the connection say.
            if let Some(control) = connection.poll_output() {
                frames.push(&[&control])?;
            }
            Ok(taken)
        })?
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        let StreamRef { http2, stream } = &self.0;
        http2.streams.borrow_mut().remove(&stream.id);
        http2.leave_line(stream);
        if http2.in_batch.replace(false) {
            // A defect ended the batch: records that were made of it are missing.
            http2.break_off();
        }
        // Its answer is not complete, and nobody is left who could complete it.
        let was_open = http2.connection.borrow_mut().reset(stream.id, ErrorCode::INTERNAL_ERROR);
        stream.when_over.take();
        stream.end(Over::Closed);
        if was_open {
            http2.say();
        }
        let told = http2.when_idle.borrow().clone();
        if let Some(told) = told.filter(|_| http2.is_idle()) {
            told();
        }
    }
}
