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

use super::net::{self, End};
use super::runtime::Driver;
use super::world::world;

pub(crate) struct Socket {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

pub(crate) struct Reader(Rc<End>);
pub(crate) struct Writer(Rc<End>);
pub(crate) struct Closer(Rc<End>);

/// A connection on its way to another shard.
pub(crate) struct Descriptor(End);

impl Socket {
    fn new(end: End) -> Self {
        let end = Rc::new(end);
        Self { reader: Reader(Rc::clone(&end)), writer: Writer(end) }
    }

    pub(crate) fn from_fd(Descriptor(end): Descriptor) -> io::Result<Self> {
        Ok(Self::new(end))
    }

    pub(crate) fn pair() -> io::Result<(Self, Descriptor)> {
        let (ours, theirs) = End::pair();
        Ok((Self::new(ours), Descriptor(theirs)))
    }

    pub(crate) fn into_fd(self) -> Option<Descriptor> {
        let Self { reader, writer } = self;
        drop(writer);
        Rc::into_inner(reader.0).map(Descriptor)
    }

    pub(crate) fn tune(&self, _vanished_after: Duration) {}
}

impl Reader {
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await;
        Ok(())
    }

    pub(crate) fn recv_now(&self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(bytes) = self.0.read(buf.len())? else { return Ok(None) };
        buf[..bytes.len()].copy_from_slice(&bytes);
        Ok(Some(bytes.len()))
    }

    pub(crate) async fn recv(&mut self, mut buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let room = buf.capacity() - buf.len();
        loop {
            match self.0.read(room) {
                Ok(None) => self.0.readable().await,
                Ok(Some(bytes)) => {
                    buf.extend_from_slice(&bytes);
                    return (Ok(bytes.len()), buf);
                }
                Err(error) => return (Err(error), buf),
            }
        }
    }

    pub(crate) async fn linger(&mut self, scratch: &RefCell<Box<[u8]>>) {
        self.0.finish();
        loop {
            self.0.readable().await;
            if !matches!(self.recv_now(&mut scratch.borrow_mut()), Ok(None | Some(1..))) {
                return;
            }
        }
    }

    pub(crate) fn closer(&self) -> Closer {
        Closer(Rc::clone(&self.0))
    }
}

impl Closer {
    pub(crate) fn close(&self) {
        self.0.finish();
        self.0.stop_reading();
    }

    pub(crate) fn close_read(&self) {
        self.0.stop_reading();
    }
}

impl Writer {
    pub(crate) fn send_now(&mut self, pieces: &[io::IoSlice<'_>]) -> usize {
        let mut sent = 0;
        for piece in pieces {
            let count = self.0.write(piece).unwrap_or(0);
            sent += count;
            if count < piece.len() {
                break;
            }
        }
        sent
    }

    pub(crate) fn finish(&self) {
        self.0.finish();
    }

    pub(crate) async fn send_all(&mut self, bytes: Bytes) -> io::Result<()> {
        self.0.write_all(&bytes).await
    }

    pub(crate) async fn send_file(&mut self, pieces: Vec<Bytes>, progress: impl Fn(usize)) -> io::Result<()> {
        for mut piece in pieces {
            while !piece.is_empty() {
                let count = self.0.write_some(&piece).await?;
                piece.advance(count);
                progress(count);
            }
        }
        Ok(())
    }

    pub(crate) async fn send(&mut self, load: Load) -> (io::Result<usize>, Load) {
        let Some(first) = load.0.first() else { return (Ok(0), load) };
        let mut result = self.0.write_some(first).await;
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
}

pub(crate) struct Sent<'a> {
    pub(crate) writer: Writer,
    pub(crate) pieces: &'a [Piece],
    pub(crate) count: Option<usize>,
}

impl SendBatch {
    pub(crate) fn new(_driver: Driver) -> Self {
        Self { shots: VecDeque::new(), pieces: Vec::new() }
    }

    pub(crate) fn add(&mut self, writer: Writer, pieces: &mut Vec<Piece>) {
        let from = self.pieces.len();
        self.pieces.append(pieces);
        self.shots.push_back((writer, from..self.pieces.len(), None));
    }

    pub(crate) fn len(&self) -> usize {
        self.shots.len()
    }

    pub(crate) fn fire(&mut self) {
        let lost = world(|world| world.random.below(10_000) < world.weather.lost_batches);
        for (writer, pieces, sent) in &mut self.shots {
            let slices: Vec<_> = self.pieces[pieces.clone()].iter().map(|piece| io::IoSlice::new(piece)).collect();
            let count = writer.send_now(&slices);
            *sent = (!lost).then_some(count);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.shots.clear();
        self.pieces.clear();
    }

    pub(crate) fn results(&mut self) -> impl Iterator<Item = Sent<'_>> {
        let Self { shots, pieces } = self;
        shots.drain(..).map(|(writer, range, count)| Sent { writer, pieces: &pieces[range], count })
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
