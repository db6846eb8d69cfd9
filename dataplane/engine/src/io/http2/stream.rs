//! One stream of an HTTP/2 connection, as whoever reads and ends it sees it. Before it: [`super::Http2`], which opens it for a request; after it: the
//! socket's reader, and [`super::writer`].
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use millstream_proto::http2::{ErrorCode, StreamId};

use super::Http2;
use crate::io::waiting::Waiting;

/// Where a stream stands that has something to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// It waits for no socket.
    None,
    InLine,
    /// It is its turn.
    First,
}

/// How a stream ended, other than with its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Over {
    /// By one end.
    Closed,
    /// With its connection.
    Broken,
}

/// What there is of a stream besides its connection.
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) head_only: bool,
    pub(super) is_answered: Cell<bool>,
    /// Bytes of the body that are to come, where the head says so.
    pub(super) left: Cell<Option<u64>>,
    pub(super) over: Cell<Option<Over>>,
    /// The peer takes more since the last send.
    pub(super) is_writable: Cell<bool>,
    /// Whoever reads is to find the end.
    pub(super) is_unread: Cell<bool>,
    /// To be done when it is over by the peer.
    pub(super) when_over: RefCell<Option<Box<dyn FnOnce()>>>,
    pub(super) place: Cell<Place>,
    pub(super) sender: Waiting,
    pub(super) reader: Waiting,
}

impl Stream {
    /// Of a request that has just come.
    pub(super) fn new(id: StreamId, head_only: bool) -> Self {
        Self {
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
        }
    }

    /// It is over, other than by its answer.
    pub(super) fn end(&self, why: Over) {
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
