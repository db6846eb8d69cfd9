//! The sending direction of a connection: sends of shared pieces, in the clear, by TLS here, or by the kernel's. Before it: [`super::connection`]; after it: whoever
//! sends, and batches of sends ([`crate::io::send_batch`]).
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use bytes::{Buf as _, Bytes};
use millstream_hub::viewer::Piece;
use millstream_proto::time::Time;
use millstream_tls::Records;
use monoio::io::{AsyncWriteRent, AsyncWriteRentExt};

use super::connection::{Shared, finish, flush, renew, say_goodbye};
use super::load::Load;
use super::{Reader, Socket};
use crate::io::budget::{Budget, READS};
use crate::io::buf::{FileBuf, PieceBuf};
use crate::io::http2::{StreamRef, StreamWriter};
use crate::io::runtime::on_epoll;
use crate::io::tls::{SEND_BYTES_MAX, SEND_NOW_BYTES_MAX, Tls};
use crate::io::{ktls, sys};

/// The sending direction. It is one value, which whoever sends owns: the session's task, or a sender for many ([`crate::io::slot`]).
pub(crate) struct Writer {
    pub(super) shared: Shared,
    pub(super) tls: Option<Rc<Tls>>,
    /// Of a stream of the connection, which has TLS.
    pub(super) stream: Option<StreamWriter>,
    /// The same as the shared one's, which is a visit to memory away.
    pub(super) fd: RawFd,
}

impl Writer {
    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    /// The connection's TLS, where it has some.
    pub(crate) fn tls(&self) -> Option<&Rc<Tls>> {
        self.tls.as_ref()
    }

    /// As a sender of one of the connection's streams, with what is read of that.
    pub(crate) fn of_stream(&self, end: StreamRef) -> Socket {
        let (shared, budget) = (self.shared.clone(), Budget::new(&READS, Time::ZERO));
        let reader = Reader { shared, tls: None, stream: Some(end.clone()), budget };
        let (shared, tls) = (self.shared.clone(), self.tls.clone());
        Socket { reader, writer: Self { shared, tls, stream: Some(StreamWriter::new(end)), fd: self.fd } }
    }

    /// The connection's own once more, for a task that waits for the socket.
    pub(crate) fn again(&self) -> Self {
        Self { shared: self.shared.clone(), tls: self.tls.clone(), stream: None, fd: self.fd }
    }

    /// What the socket takes of these now.
    pub(crate) fn offer(&self, bytes: &[u8]) -> usize {
        let count = sys::send_pieces_now(self.fd, &[io::IoSlice::new(bytes)]);
        self.took(count);
        count
    }

    /// The socket took that much of one send.
    pub(crate) fn took(&self, bytes: usize) {
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
    pub(crate) fn close(&self) {
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
    pub(crate) fn encrypt_for(&self, pieces: &[Piece], out: &mut Records) -> Option<io::Result<usize>> {
        let tls = self.sealing()?;
        let pieces = pieces.iter().map(|piece| &**piece);
        Some(match &self.stream {
            Some(stream) => stream.encrypt_for(pieces, out),
            None => tls.encrypt_for(pieces, out),
        })
    }

    /// A batch is out that had something of it; `rest` did not fit into the socket, and is the connection's to send. `None`: it is not known what did.
    pub(crate) fn keep(&self, rest: Option<&[u8]>) {
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
        if !flush(self.fd, tls) {
            return 0;
        }
        let taken = tls.encrypt(pieces.iter().map(|piece| &**piece), SEND_NOW_BYTES_MAX).unwrap_or(0);
        flush(self.fd, tls);
        taken
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
        while !flush(self.fd, &tls) {
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
