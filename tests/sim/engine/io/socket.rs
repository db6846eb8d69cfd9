//! What the engine holds of a connection, with the product's names.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use millstream_hub::viewer::Piece;
use millstream_tls::{Records, Session};

use super::http2::{StreamRef, StreamWriter};
use super::net::{self, End};
use super::runtime::Driver;
use super::tls::{SEND_BYTES_MAX, SEND_NOW_BYTES_MAX, Tls};
use super::world::world;

pub(crate) struct Socket {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

pub(crate) struct Reader {
    end: Rc<End>,
    tls: Option<Rc<Tls>>,
    stream: Option<StreamRef>,
}

pub(crate) struct Writer {
    end: Rc<End>,
    tls: Option<Rc<Tls>>,
    stream: Option<StreamWriter>,
}

pub(crate) enum Closer {
    Socket(Rc<End>),
    Stream(StreamRef),
}

/// A connection on its way to another shard.
pub(crate) struct Descriptor {
    end: End,
    tls: Option<Box<Tls>>,
}

impl Socket {
    fn new(end: End) -> Self {
        let end = Rc::new(end);
        let reader = Reader { end: Rc::clone(&end), tls: None, stream: None };
        Self { reader, writer: Writer { end, tls: None, stream: None } }
    }

    pub(crate) fn from_fd(Descriptor { end, tls }: Descriptor) -> io::Result<Self> {
        let socket = Self::new(end);
        Ok(if let Some(tls) = tls { socket.with(*tls) } else { socket })
    }

    pub(crate) fn pair() -> io::Result<(Self, Descriptor)> {
        let (ours, theirs) = End::pair();
        Ok((Self::new(ours), Descriptor { end: theirs, tls: None }))
    }

    pub(crate) fn into_fd(self) -> Option<Descriptor> {
        let Self { reader, writer } = self;
        drop(writer);
        let end = Rc::into_inner(reader.end)?;
        let tls = reader.tls.map(|tls| Rc::into_inner(tls).map(Box::new).ok_or(())).transpose().ok()?;
        Some(Descriptor { end, tls })
    }

    pub(crate) fn secure(self, session: Session, plain: Vec<u8>) -> Self {
        self.with(Tls::new(session, plain))
    }

    fn with(self, tls: Tls) -> Self {
        let (Self { mut reader, mut writer }, tls) = (self, Rc::new(tls));
        (reader.tls, writer.tls) = (Some(Rc::clone(&tls)), Some(tls));
        Self { reader, writer }
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.reader.tls.is_some()
    }

    pub(crate) fn tune(&self, _vanished_after: Duration) {}
}

impl Reader {
    pub(crate) async fn readable(&self) -> io::Result<()> {
        if let Some(stream) = &self.stream {
            stream.ended().await;
            return Ok(());
        }
        if self.tls.as_ref().is_none_or(|tls| !tls.has_news()) {
            self.end.readable().await;
        }
        Ok(())
    }

    pub(crate) fn recv_now(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        if let Some(stream) = &self.stream {
            return stream.read();
        }
        if let Some(tls) = &self.tls {
            let before = tls.read(buf);
            if before > 0 || tls.has_ended() {
                return Ok(Some(before));
            }
            let Some(bytes) = self.end.read(buf.len())? else { return Ok(None) };
            let received = tls.receive(&mut bytes.to_vec());
            tls.flush(|records| self.end.write(records).unwrap_or(0));
            received?;
            let is_over = bytes.is_empty() || tls.has_ended();
            return Ok(Some(tls.read(buf)).filter(|count| *count > 0 || is_over));
        }
        let Some(bytes) = self.end.read(buf.len())? else { return Ok(None) };
        buf[..bytes.len()].copy_from_slice(&bytes);
        Ok(Some(bytes.len()))
    }

    pub(crate) async fn recv(&mut self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let from = buf.len();
        let room = buf.capacity() - from;
        buf.resize(from + room, 0);
        let result = loop {
            match self.recv_now(&mut buf[from..]) {
                Ok(None) => drop(self.readable().await),
                Ok(Some(count)) => break Ok(count),
                Err(error) => break Err(error),
            }
        };
        buf.truncate(from + *result.as_ref().unwrap_or(&0));
        (result, buf)
    }

    /// No kernel makes records here.
    #[expect(clippy::unused_self, reason = "the product's asks its session")]
    pub(crate) fn is_in_kernel(&self) -> bool {
        false
    }

    pub(crate) async fn say_goodbye(&self) {}

    pub(crate) async fn linger(&mut self, scratch: &RefCell<Box<[u8]>>) {
        finish(&self.end, self.tls.as_deref());
        loop {
            self.end.readable().await;
            if !matches!(self.recv_now(&mut scratch.borrow_mut()), Ok(None | Some(1..))) {
                return;
            }
        }
    }

    pub(crate) fn closer(&self) -> Closer {
        match &self.stream {
            Some(stream) => Closer::Stream(stream.clone()),
            None => Closer::Socket(Rc::clone(&self.end)),
        }
    }
}

fn finish(end: &End, tls: Option<&Tls>) {
    if let Some(tls) = tls {
        tls.close();
        tls.flush(|records| end.write(records).unwrap_or(0));
    }
    end.finish();
}

impl Closer {
    pub(crate) fn close(&self) {
        match self {
            Self::Socket(end) => {
                end.finish();
                end.stop_reading();
            }
            Self::Stream(stream) => stream.close(),
        }
    }

    pub(crate) fn close_read(&self) {
        match self {
            Self::Socket(end) => end.stop_reading(),
            Self::Stream(stream) => stream.close_read(),
        }
    }
}

impl Writer {
    pub(super) fn tls(&self) -> Option<&Rc<Tls>> {
        self.tls.as_ref()
    }

    pub(super) fn of_stream(&self, end: StreamRef) -> Socket {
        let reader = Reader { end: Rc::clone(&self.end), tls: None, stream: Some(end.clone()) };
        let (socket, tls) = (Rc::clone(&self.end), self.tls.clone());
        Socket { reader, writer: Self { end: socket, tls, stream: Some(StreamWriter::new(end)) } }
    }

    pub(super) fn again(&self) -> Self {
        Self { end: Rc::clone(&self.end), tls: self.tls.clone(), stream: None }
    }

    pub(super) fn offer(&self, bytes: &[u8]) -> usize {
        self.end.write(bytes).unwrap_or(0)
    }

    pub(super) fn close(&self) {
        self.end.finish();
        self.end.stop_reading();
    }

    pub(crate) fn is_free(&self) -> bool {
        self.stream.as_ref().is_none_or(StreamWriter::is_free)
    }

    pub(crate) fn is_in_batch(&self) -> bool {
        self.stream.as_ref().is_some_and(StreamWriter::is_in_batch)
    }

    pub(crate) fn send_now(&mut self, pieces: &[io::IoSlice<'_>]) -> usize {
        if let Some(stream) = &self.stream {
            return stream.send_now(pieces, |records| self.offer(records));
        }
        if let Some(tls) = self.tls.clone() {
            if !self.flush_now(&tls) {
                return 0;
            }
            let taken = tls.encrypt(pieces.iter().map(|piece| &**piece), SEND_NOW_BYTES_MAX).unwrap_or(0);
            self.flush_now(&tls);
            return taken;
        }
        let mut sent = 0;
        for piece in pieces {
            let count = self.end.write(piece).unwrap_or(0);
            sent += count;
            if count < piece.len() {
                break;
            }
        }
        sent
    }

    fn flush_now(&self, tls: &Tls) -> bool {
        tls.flush(|records| self.end.write(records).unwrap_or(0))
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if let Some(stream) = self.stream.as_ref().filter(|stream| !stream.is_free()) {
            return stream.flush(|records| self.offer(records)).await;
        }
        let Some(tls) = self.tls.clone().filter(|tls| !tls.is_sent()) else { return Ok(()) };
        while !self.flush_now(&tls) {
            let sent = self.end.write_all(&tls.take_queue()).await;
            tls.sent();
            sent?;
        }
        Ok(())
    }

    async fn send_encrypted(&mut self, tls: &Tls, pieces: &[&[u8]]) -> io::Result<usize> {
        if let Some(stream) = &self.stream {
            return stream.send(|| pieces.iter().copied(), |records| self.offer(records)).await;
        }
        self.flush().await?;
        let taken = tls.encrypt(pieces.iter().copied(), SEND_BYTES_MAX)?;
        self.flush().await?;
        Ok(taken)
    }

    pub(crate) fn finish_now(&self) {
        if let Some(stream) = &self.stream {
            return stream.finish(|records| self.offer(records));
        }
        finish(&self.end, self.tls.as_deref());
    }

    pub(crate) async fn finish(&self) {
        self.finish_now();
    }

    pub(crate) async fn send_all(&mut self, bytes: Bytes) -> io::Result<()> {
        if self.tls.is_some() {
            return self.send_file(vec![bytes], |_| {}).await;
        }
        self.end.write_all(&bytes).await
    }

    pub(crate) async fn send_file(&mut self, pieces: Vec<Bytes>, progress: impl Fn(usize)) -> io::Result<()> {
        for mut piece in pieces {
            while !piece.is_empty() {
                let count = match self.tls.clone() {
                    Some(tls) => self.send_encrypted(&tls, &[&piece]).await?,
                    None => self.end.write_some(&piece).await?,
                };
                piece.advance(count);
                progress(count);
            }
        }
        Ok(())
    }

    pub(crate) async fn send(&mut self, load: Load) -> (io::Result<usize>, Load) {
        if let Some(tls) = self.tls.clone() {
            let pieces: Vec<&[u8]> = load.0.iter().map(|piece| &**piece).collect();
            return (self.send_encrypted(&tls, &pieces).await, load);
        }
        let Some(first) = load.0.first() else { return (Ok(0), load) };
        let mut result = self.end.write_some(first).await;
        // The rest of it goes with it as far as there is room.
        if let Ok(sent) = &mut result
            && *sent == first.len()
        {
            let rest: Vec<_> = load.0[1..].iter().map(|piece| io::IoSlice::new(piece)).collect();
            *sent += self.send_now(&rest);
        }
        (result, load)
    }
}

/// What one send carries.
pub(crate) struct Load(Vec<Piece>);

impl Load {
    pub(crate) fn pieces(&self) -> &[Piece] {
        &self.0
    }
}

#[derive(Default)]
pub(crate) struct LoadPool;

impl LoadPool {
    #[expect(clippy::unused_self, reason = "the product's has vectors to reuse")]
    pub(crate) fn load(&self, pieces: &mut Vec<Piece>) -> Load {
        Load(std::mem::take(pieces))
    }

    #[expect(clippy::unused_self, reason = "the product's takes vectors back")]
    pub(crate) fn unload(&self, load: Load) {
        drop(load);
    }
}

/// Less than the product's: walks have few viewers.
pub(crate) const SEND_BATCH_MAX: usize = 3;

/// Sends that go out together.
pub(crate) struct SendBatch {
    shots: VecDeque<(Writer, Range<usize>, Option<usize>)>,
    pieces: Vec<Piece>,
    records: Records,
}

pub(crate) struct Sent<'a> {
    pub(crate) writer: Writer,
    pub(crate) pieces: &'a [Piece],
    pub(crate) count: Option<usize>,
    pub(crate) unsent: bool,
}

impl SendBatch {
    pub(crate) fn new(_driver: Driver) -> Self {
        Self { shots: VecDeque::new(), pieces: Vec::new(), records: Records::new() }
    }

    pub(crate) fn add(&mut self, writer: Writer, pieces: &mut Vec<Piece>) {
        let from = self.pieces.len();
        self.pieces.append(pieces);
        self.shots.push_back((writer, from..self.pieces.len(), None));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.shots.len() >= SEND_BATCH_MAX
    }

    pub(crate) fn fire(&mut self) {
        let lost = world(|world| world.random.below(10_000) < world.weather.lost_batches);
        for (writer, pieces, sent) in &mut self.shots {
            let pieces = &self.pieces[pieces.clone()];
            let count = if let Some(tls) = &writer.tls {
                // As the product's: all of it is encrypted, and what the socket does not take of that waits at the connection.
                self.records.clear();
                let plain = pieces.iter().map(|piece| &**piece);
                let encrypted = match &writer.stream {
                    Some(stream) => stream.encrypt_for(plain, &mut self.records),
                    None => tls.encrypt_for(plain, &mut self.records),
                };
                let records = self.records.as_slice();
                let rest = &records[writer.offer(records)..];
                match &writer.stream {
                    Some(stream) => stream.sent(Some(rest).filter(|_| !lost)),
                    None => tls.keep(rest),
                }
                encrypted.ok()
            } else {
                let slices: Vec<_> = pieces.iter().map(|piece| io::IoSlice::new(piece)).collect();
                Some(writer.send_now(&slices))
            };
            *sent = count.filter(|_| !lost);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.shots.clear();
        self.pieces.clear();
    }

    pub(crate) fn results(&mut self) -> impl Iterator<Item = Sent<'_>> {
        let Self { shots, pieces, .. } = self;
        shots.drain(..).map(|(writer, range, count)| {
            let unsent = writer.tls.as_ref().is_some_and(|tls| !tls.is_sent());
            Sent { writer, pieces: &pieces[range], count, unsent }
        })
    }
}

/// A port of one shard.
pub(crate) struct Bound {
    address: SocketAddr,
    listener: usize,
}

pub(crate) fn bind(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<Bound>)> {
    Ok((address, (0..count).map(|_| Bound { address, listener: net::listen(address) }).collect()))
}

impl Bound {
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

pub(crate) struct Listener(Bound);

impl Listener {
    pub(crate) fn new(bound: Bound, _driver: Driver) -> io::Result<Self> {
        Ok(Self(bound))
    }

    pub(crate) async fn ready(&self) -> io::Result<()> {
        net::acceptable(self.0.listener).await;
        Ok(())
    }

    pub(crate) fn accept(&self) -> io::Result<Option<(Socket, SocketAddr)>> {
        Ok(net::accept(self.0.listener)?.map(|(end, peer)| (Socket::new(end), peer)))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        net::stop_listening(self.listener);
    }
}
