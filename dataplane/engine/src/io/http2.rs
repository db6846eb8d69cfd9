//! HTTP/2 over one TLS connection, as its reader and the senders of its streams share it: each stream looks like a connection of its own to
//! whoever sends on it. It knows no system, so that the simulator has it too. Before it: `tls`; after it: [`crate::egress::http2`], which gives out the
//! requests, and `socket`, whose writers send by [`StreamWriter`] where they are of a stream.
//!
//! What is sent is made into frames and encrypted in one step, so that frames lie whole and in order in the connection's queue. A stream sends only
//! while that queue is with the socket and the connection's window has room; those that wait for either stand in line, and each has one send in turn.
//! A task waits for a socket that is full on behalf of all of them, and lives no longer than that.
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::{Buf as _, Bytes};
use millstream_proto::http2::{
    Connection, ConnectionError, ErrorCode, Event, HeadBlock, Limits, RequestHead, StreamId,
};
use millstream_tls::Records;

use super::socket::{Socket, Writer};
use super::tls::{SEND_BYTES_MAX, SEND_NOW_BYTES_MAX, Sealer, Tls};

/// Plaintext of a TLS record at most (RFC 8446, 5.1): what is sent together shares records.
const RECORD_BYTES: usize = 16 << 10;
/// A frame of a body, without the nine bytes of its head: with them it fills a record. It is what a stream sends at a time while others stand in line.
const DATA_FRAME_BYTES: usize = RECORD_BYTES - 9;
/// Heads of answers that are kept as blocks: crowds get the same few.
const HEADS_KEPT: usize = 8;

thread_local! {
    /// A shard's, for frames that become a record.
    static FRAMES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The heads that were made last: the text, and the block that was made of it.
    static HEADS: RefCell<VecDeque<(Bytes, HeadBlock)>> = const { RefCell::new(VecDeque::new()) };
}

/// Starts a task of the shard.
type Spawner = Box<dyn Fn(Pin<Box<dyn Future<Output = ()>>>)>;

/// One connection.
pub(crate) struct Http2 {
    tls: Rc<Tls>,
    spawn: Spawner,
    connection: RefCell<Connection>,
    /// Those that somebody answers.
    streams: RefCell<HashMap<StreamId, Rc<Stream>>>,
    /// Those that wait for the socket.
    line: RefCell<VecDeque<Rc<Stream>>>,
    /// The connection's own, for what belongs to no stream.
    writer: Writer,
    /// A task waits until the socket takes what is in the queue.
    sending: Cell<bool>,
    /// A stream of it is in a send batch. Of two sends to one socket the second may find room that the first did not.
    in_batch: Cell<bool>,
    /// The connection is over.
    is_over: Cell<bool>,
    /// Told when the last of its streams has gone.
    when_idle: RefCell<Option<Rc<dyn Fn()>>>,
}

/// A request, as it came.
pub(crate) struct NewRequest {
    pub(crate) stream: StreamId,
    pub(crate) head: RequestHead,
}

impl Http2 {
    /// Over this connection, whose handshake is over.
    pub(super) fn new(tls: Rc<Tls>, writer: Writer, spawn: Spawner) -> Rc<Self> {
        let limits = Limits { data_frame_bytes: DATA_FRAME_BYTES, ..Limits::default() };
        Rc::new(Self {
            tls,
            spawn,
            connection: RefCell::new(Connection::new(limits)),
            streams: RefCell::default(),
            line: RefCell::default(),
            writer,
            sending: Cell::new(false),
            in_batch: Cell::new(false),
            is_over: Cell::new(false),
            when_idle: RefCell::default(),
        })
    }

    /// This is to be done each time that the last of its streams has gone.
    pub(crate) fn when_idle(&self, what: impl Fn() + 'static) {
        *self.when_idle.borrow_mut() = Some(Rc::new(what));
    }

    /// Takes bytes of the peer; how many. Where that is not all, [`Self::next_request`] comes first.
    pub(crate) fn receive(&self, bytes: &[u8]) -> Result<usize, ConnectionError> {
        self.connection.borrow_mut().receive(bytes)
    }

    /// The next request. What is of streams that somebody answers is passed on to them.
    pub(crate) fn next_request(&self) -> Option<NewRequest> {
        loop {
            let event = self.connection.borrow_mut().poll_event();
            let Some(event) = event else {
                // The connection's window may have grown, which is told of streams that have tried to send, and not of those in line.
                if self.tls.is_sent() && self.connection.borrow().has_window() {
                    self.next_in_line();
                }
                return None;
            };
            match event {
                Event::Request { stream, head, .. } => return Some(NewRequest { stream, head }),
                Event::Writable { stream } => {
                    if let Some(stream) = self.stream(stream) {
                        stream.is_writable.set(true);
                        stream.sender.wake();
                    }
                }
                Event::Reset { stream, .. } => {
                    if let Some(stream) = self.stream(stream) {
                        stream.end(Over::Closed);
                    }
                }
                // What a request brings besides its head is of no use to anybody.
                _ => {}
            }
        }
    }

    fn stream(&self, id: StreamId) -> Option<Rc<Stream>> {
        self.streams.borrow().get(&id).cloned()
    }

    /// The connection of a request, as whoever answers it sees it. `head_only`: the answer has no body.
    pub(crate) fn open(self: &Rc<Self>, id: StreamId, head_only: bool) -> Socket {
        let stream = Rc::new(Stream {
            id,
            head_only,
            is_answered: Cell::new(false),
            left: Cell::new(None),
            over: Cell::new(None),
            is_writable: Cell::new(false),
            is_unread: Cell::new(false),
            when_over: RefCell::default(),
            place: Cell::new(Place::None),
            sender: Waiting::default(),
            reader: Waiting::default(),
        });
        self.streams.borrow_mut().insert(id, Rc::clone(&stream));
        self.writer.of_stream(StreamRef { http2: Rc::clone(self), stream })
    }

    /// A stream is over: this is to be done when the peer has ended it, or the connection with it.
    pub(crate) fn when_over(&self, id: StreamId, what: impl FnOnce() + 'static) {
        if let Some(stream) = self.stream(id) {
            *stream.when_over.borrow_mut() = Some(Box::new(what));
        }
    }

    /// Says what the connection itself has to say.
    pub(crate) fn say(self: &Rc<Self>) {
        let is_sent = self.flush_now();
        if is_sent && self.seal_control().is_err() {
            return self.break_off();
        }
        if !is_sent || !self.flush_now() {
            self.wait_for_socket();
        }
    }

    fn flush_now(&self) -> bool {
        self.tls.flush(|records| self.writer.offer(records))
    }

    fn seal_control(&self) -> io::Result<()> {
        let Some(frames) = self.connection.borrow_mut().poll_output() else { return Ok(()) };
        self.tls.seal(|sealer| sealer.seal(&frames))
    }

    /// Has a task wait until the socket has taken the queue, and let those in line on.
    fn wait_for_socket(self: &Rc<Self>) {
        if self.sending.replace(true) {
            return;
        }
        let sending = Sending(Rc::clone(self));
        (self.spawn)(Box::pin(async move {
            let http2 = &sending.0;
            let mut writer = http2.writer.again();
            while writer.flush().await.and_then(|()| http2.seal_control()).is_ok() {
                if http2.tls.is_sent() {
                    http2.sending.set(false);
                    break;
                }
            }
        }));
    }

    /// There is room: the first in line looks. It lets the next one on when it has had its turn, or when it goes.
    fn next_in_line(&self) {
        let Some(stream) = self.line.borrow_mut().pop_front() else { return };
        stream.place.set(Place::First);
        stream.sender.wake();
    }

    /// A stream has to wait for the socket. Whose turn it was has not lost it.
    fn stand_in_line(&self, stream: &Rc<Stream>) {
        let mut line = self.line.borrow_mut();
        match stream.place.replace(Place::InLine) {
            Place::InLine => {}
            Place::None => line.push_back(Rc::clone(stream)),
            Place::First => line.push_front(Rc::clone(stream)),
        }
    }

    /// A stream needs the socket no more, for now or for good.
    fn leave_line(&self, stream: &Rc<Stream>) {
        match stream.place.replace(Place::None) {
            Place::None => {}
            Place::InLine => self.line.borrow_mut().retain(|other| !Rc::ptr_eq(other, stream)),
            Place::First => self.next_in_line(),
        }
    }

    /// Time has passed, by a second or so.
    pub(crate) fn tick(&self) {
        self.connection.borrow_mut().tick();
    }

    /// The peer is to begin no more streams.
    pub(crate) fn drain(&self) {
        self.connection.borrow_mut().drain();
    }

    /// Whether nothing is asked.
    pub(crate) fn is_idle(&self) -> bool {
        self.streams.borrow().is_empty()
    }

    /// Nothing more will be asked or said.
    pub(crate) fn is_finished(&self) -> bool {
        self.connection.borrow().is_finished()
    }

    /// Nothing can be sent any more: the connection's reader is to find that.
    pub(crate) fn break_off(&self) {
        self.end(false);
        self.writer.close();
    }

    /// The connection is done with: it is ended cleanly, as far as that can be said now, and whatever still waits for the socket waits no more.
    pub(crate) fn close(&self) {
        self.end(true);
        self.writer.finish();
        self.writer.close();
    }

    /// What came has begun something that is not complete.
    pub(crate) fn is_half_said(&self) -> bool {
        !self.connection.borrow().is_idle()
    }

    /// The connection is over: so are its streams. `cleanly`: one end has said so.
    pub(crate) fn end(&self, cleanly: bool) {
        if self.is_over.replace(true) {
            return;
        }
        self.when_idle.take();
        let streams: Vec<_> = self.streams.borrow().values().cloned().collect();
        for stream in streams {
            stream.end(if cleanly { Over::Closed } else { Over::Broken });
        }
    }
}

/// A task that waits for a socket. However it ends, those in line look again.
struct Sending(Rc<Http2>);

impl Drop for Sending {
    fn drop(&mut self) {
        let Self(http2) = self;
        // It failed, or a defect ended it.
        if http2.sending.replace(false) {
            http2.break_off();
        }
        http2.next_in_line();
    }
}

/// Where a stream stands that has something to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// It waits for no socket.
    None,
    InLine,
    /// It is its turn.
    First,
}

/// How a stream ended, other than with its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Over {
    /// By one end.
    Closed,
    /// With its connection.
    Broken,
}

/// A task that waits.
#[derive(Default)]
struct Waiting(RefCell<Option<Waker>>);

impl Waiting {
    fn wake(&self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }

    fn wait(&self, waker: &Waker) {
        let mut slot = self.0.borrow_mut();
        if !slot.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }
}

/// What there is of a stream besides its connection.
struct Stream {
    id: StreamId,
    head_only: bool,
    is_answered: Cell<bool>,
    /// Bytes of the body that are to come, where the head says so.
    left: Cell<Option<u64>>,
    over: Cell<Option<Over>>,
    /// The peer takes more since the last send.
    is_writable: Cell<bool>,
    /// Whoever reads is to find the end.
    is_unread: Cell<bool>,
    /// To be done when it is over by the peer.
    when_over: RefCell<Option<Box<dyn FnOnce()>>>,
    place: Cell<Place>,
    sender: Waiting,
    reader: Waiting,
}

impl Stream {
    fn end(&self, why: Over) {
        if self.over.get().is_none() {
            self.over.set(Some(why));
        }
        self.sender.wake();
        self.reader.wake();
        if let Some(told) = self.when_over.take() {
            told();
        }
    }
}

/// A stream and its connection, for whoever waits for its end or makes it.
#[derive(Clone)]
pub(crate) struct StreamRef {
    http2: Rc<Http2>,
    stream: Rc<Stream>,
}

impl StreamRef {
    /// Waits until the stream is over, or is not to be read any more.
    pub(super) async fn ended(&self) {
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
    pub(super) fn read(&self) -> io::Result<Option<usize>> {
        match self.stream.over.get() {
            None if self.stream.is_unread.get() => Ok(Some(0)),
            None => Ok(None),
            Some(Over::Closed) => Ok(Some(0)),
            Some(Over::Broken) => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// Ends what is read of it; its answer goes on.
    pub(super) fn close_read(&self) {
        self.stream.is_unread.set(true);
        self.stream.reader.wake();
    }

    /// Ends it before its time, unless its answer is complete.
    pub(super) fn close(&self) {
        self.stream.when_over.take();
        let was_open = self.http2.connection.borrow_mut().reset(self.stream.id, ErrorCode::CANCEL);
        self.stream.end(Over::Closed);
        if was_open {
            self.http2.say();
        }
    }
}

/// What sends on a stream. It is one value, as the writer that it belongs to; with it the stream ends.
pub(super) struct StreamWriter(StreamRef);

impl StreamWriter {
    pub(super) fn new(end: StreamRef) -> Self {
        Self(end)
    }

    fn tls(&self) -> &Tls {
        &self.0.http2.tls
    }

    /// Gives the socket what is in the queue. False: something is left, and a task waits for room.
    fn flush_now(&self, offer: impl FnOnce(&[u8]) -> usize) -> bool {
        let is_sent = self.tls().flush(offer);
        if !is_sent {
            self.0.http2.wait_for_socket();
        }
        is_sent
    }

    /// Whether it may send now without having to wait its turn.
    pub(super) fn is_free(&self) -> bool {
        let http2 = &self.0.http2;
        self.tls().is_sent() && !http2.in_batch.get() && http2.line.borrow().is_empty()
    }

    /// Makes frames of as much of these as a batch may send, behind what waits in the queue; how much that was.
    pub(super) fn encrypt_for<'a>(
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
    pub(super) fn sent(&self, rest: Option<&[u8]>) {
        let http2 = &self.0.http2;
        http2.in_batch.set(false);
        let Some(rest) = rest else { return http2.break_off() };
        self.tls().keep(rest);
        if !rest.is_empty() {
            http2.wait_for_socket();
        }
    }

    /// Sends what fits of these, without waiting; how much that was.
    pub(super) fn send_now(&self, pieces: &[io::IoSlice<'_>], offer: impl Fn(&[u8]) -> usize) -> usize {
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
    pub(super) async fn flush(&self, offer: impl Fn(&[u8]) -> usize) -> io::Result<()> {
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
    pub(super) async fn send<'a, I: Iterator<Item = &'a [u8]>>(
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
    pub(super) async fn send_all(
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
    pub(super) fn finish(&self, offer: impl FnOnce(&[u8]) -> usize) {
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
        FRAMES.with_borrow_mut(|plain| {
            plain.clear();
            let mut frames = Frames { plain, sealer };
            let connection = &mut *http2.connection.borrow_mut();
            if let Some(control) = connection.poll_output() {
                frames.push(&[&control])?;
            }
            let taken = stream.make(connection, pieces, most, &mut frames);
            // What it made the connection say.
            if let Some(control) = connection.poll_output() {
                frames.push(&[&control])?;
            }
            frames.seal()?;
            taken
        })
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

impl Stream {
    fn make<'a>(
        &self,
        connection: &mut Connection,
        pieces: impl Iterator<Item = &'a [u8]>,
        most: usize,
        frames: &mut Frames<'_, '_>,
    ) -> io::Result<usize> {
        let mut taken = 0;
        for mut piece in pieces {
            if !self.is_answered.get() {
                let head = head_block(piece)?;
                let body_bytes = if self.head_only { Some(0) } else { head.body_bytes() };
                let Ok(frame) = connection.respond(self.id, &head, body_bytes == Some(0)) else {
                    return Err(io::ErrorKind::BrokenPipe.into());
                };
                frames.push(&[frame.as_bytes(), head.block()])?;
                self.is_answered.set(true);
                self.left.set(body_bytes);
                taken += head.head_bytes();
                piece = piece.get(head.head_bytes()..).unwrap_or_default();
            }
            while !piece.is_empty() && taken < most {
                let wanted = piece.len().min(most - taken);
                let left = self.left.get();
                if left == Some(0) {
                    if !self.head_only {
                        tracing::error!(
                            bytes = piece.len(),
                            "an answer is longer than its head says: the rest is left out"
                        );
                    }
                    taken += piece.len();
                    break;
                }
                let wanted = left.map_or(wanted, |left| wanted.min(usize::try_from(left).unwrap_or(usize::MAX)));
                let ends = left == Some(wanted as u64);
                let Ok(frame) = connection.data(self.id, wanted, ends) else {
                    return if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::BrokenPipe.into()) };
                };
                let Some(frame) = frame else { return Ok(taken) };
                let (sent, rest) = piece.split_at(frame.bytes.min(piece.len()));
                frames.push(&[&frame.head, sent])?;
                self.left.set(left.map(|left| left - sent.len() as u64));
                taken += sent.len();
                piece = rest;
            }
        }
        Ok(taken)
    }
}

/// Frames on their way into records. Their bytes are copied once more, so that a head and what follows it share a record.
struct Frames<'a, 'b> {
    plain: &'a mut Vec<u8>,
    sealer: &'a mut Sealer<'b>,
}

impl Frames<'_, '_> {
    /// Adds bytes that belong together.
    fn push(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if self.plain.len() + bytes > RECORD_BYTES {
            self.seal()?;
        }
        for part in parts {
            self.plain.extend_from_slice(part);
        }
        Ok(())
    }

    fn seal(&mut self) -> io::Result<()> {
        if self.plain.is_empty() {
            return Ok(());
        }
        let sealed = self.sealer.seal(self.plain);
        self.plain.clear();
        sealed
    }
}

/// The block of the head that these bytes begin with.
fn head_block(text: &[u8]) -> io::Result<HeadBlock> {
    HEADS.with_borrow_mut(|heads| {
        if let Some((_, block)) = heads.iter().find(|(head, _)| text.starts_with(head)) {
            return Ok(block.clone());
        }
        let block = HeadBlock::of_http1(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        heads.truncate(HEADS_KEPT - 1);
        let head = Bytes::copy_from_slice(text.get(..block.head_bytes()).unwrap_or_default());
        heads.push_front((head, block.clone()));
        Ok(block)
    })
}
