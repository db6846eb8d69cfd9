//! What there is of one stream of an HTTP/2 connection. Before it: [`super::Http2`], which opens it for a request; after it: [`super::writer`], which
//! sends on it and ends it.
use std::cell::{Cell, RefCell};

use millstream_proto::http2::StreamId;

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
