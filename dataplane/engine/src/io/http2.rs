//! HTTP/2 over one TLS connection, as its reader and the senders of its streams share it: each stream looks like a connection of its own to
//! whoever sends on it. It knows no system, so that the simulator has it too. Before it: `tls`; after it: [`crate::egress::http2`], which gives out the
//! requests, and `socket`, whose writers send by [`StreamWriter`] where they are of a stream.
//!
//! What is sent is made into frames and encrypted in one step, so that frames lie whole and in order in the connection's queue. A stream sends only
//! while that queue is with the socket, which has the keys that come next ([`Tls::is_ready`]), and the connection's window has room; those that wait for
//! one of these stand in line, and each has one send in turn. A task waits for the socket on behalf of all of them, and lives no longer than that.
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use millstream_proto::http2::{Connection, ConnectionError, Event, Limits, RequestHead, StreamId};

use super::socket::{Reader, Socket, Writer};
use super::tls::Tls;
use frames::DATA_FRAME_BYTES;
use stream::{Over, Place, Stream};

mod frames;
mod stream;
mod writer;

pub(super) use writer::{StreamRef, StreamWriter};

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
    /// A task waits until the socket takes what is in the queue, and the keys before it.
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
    fn new(tls: Rc<Tls>, writer: Writer, spawn: Spawner) -> Rc<Self> {
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
                if self.tls.is_ready() && self.connection.borrow().has_window() {
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
        let stream = Rc::new(Stream::new(id, head_only));
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
                if http2.tls.is_ready() {
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
    pub(crate) fn tick(&self) -> Result<(), ConnectionError> {
        self.connection.borrow_mut().tick()
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
        // First: streams that end would say so behind records that are missing.
        self.writer.close();
        self.end(false);
    }

    /// The connection is done with: it is ended cleanly, as far as that can be said now, and whatever still waits for the socket waits no more.
    pub(crate) fn close(&self) {
        self.end(true);
        self.writer.finish_now();
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

impl Socket {
    /// HTTP/2 over it, where that was agreed on, and what is read of the connection; else the connection as it was.
    pub(crate) fn into_http2(
        self,
        spawn: impl Fn(Pin<Box<dyn Future<Output = ()>>>) + 'static,
    ) -> Result<(Reader, Rc<Http2>), Self> {
        match self.writer.tls().filter(|tls| tls.is_http2()).cloned() {
            Some(tls) => Ok((self.reader, Http2::new(tls, self.writer, Box::new(spawn)))),
            None => Err(self),
        }
    }
}
