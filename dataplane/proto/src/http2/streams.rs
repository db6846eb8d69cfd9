//! The streams of a connection, and those that were reset while frames of theirs may be on their way.
use super::window::{ReceiveWindow, SendWindow};
use crate::limits::HTTP2_DISCARDED_MAX;

/// A stream that this side has not ended. Its state in the RFC's words (5.1) is open, or half-closed (remote).
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) send_window: SendWindow,
    pub(super) receive_window: ReceiveWindow,
    /// Bytes that the body has yet to have, as `Content-Length` says.
    pub(super) content_left: Option<u64>,
    /// Bytes that the body may yet have.
    pub(super) allowed_left: u64,
    /// The request is not complete: the state is open.
    pub(super) receiving: bool,
    /// The answer has begun.
    pub(super) answered: bool,
    /// It had more to send than the windows allowed, and is to be told when there is room.
    pub(super) blocked: bool,
}

impl Stream {
    pub(super) const fn new(id: u32, send_window: u32, body_bytes_max: u64) -> Self {
        Self {
            id,
            send_window: SendWindow::new(send_window),
            receive_window: ReceiveWindow::new(),
            content_left: None,
            allowed_left: body_bytes_max,
            receiving: true,
            answered: false,
            blocked: false,
        }
    }
}

/// All of them, by number: new ones have the highest.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Vec<Stream>,
    /// Numbers of streams that this side ended and the peer has not, the oldest first: what comes on them is ignored.
    discarded: Vec<u32>,
}

impl Streams {
    /// Adds one; its number is higher than all before.
    pub(super) fn begin(&mut self, stream: Stream) {
        self.open.push(stream);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn place(&self, id: u32) -> Option<usize> {
        self.open.binary_search_by_key(&id, |stream| stream.id).ok()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Stream> {
        self.open.get(self.place(id)?)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let place = self.place(id)?;
        self.open.get_mut(place)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.iter_mut()
    }

    /// Ends one on this side. Where its request is not complete, what still comes of it is ignored from here on.
    pub(super) fn end(&mut self, id: u32) -> Option<Stream> {
        let stream = self.remove(id)?;
        if stream.receiving {
            if self.discarded.len() >= HTTP2_DISCARDED_MAX {
                self.discarded.remove(0);
            }
            self.discarded.push(id);
        }
        Some(stream)
    }

    /// Ends one on both sides.
    pub(super) fn remove(&mut self, id: u32) -> Option<Stream> {
        let stream = self.open.remove(self.place(id)?);
        if self.open.is_empty() {
            self.open = Vec::new();
        }
        Some(stream)
    }

    /// Whether what comes on this stream is ignored; `last`: it is the last that comes.
    pub(super) fn is_discarded(&mut self, id: u32, last: bool) -> bool {
        let Some(place) = self.discarded.iter().position(|known| *known == id) else { return false };
        if last {
            self.discarded.remove(place);
            if self.discarded.is_empty() {
                self.discarded = Vec::new();
            }
        }
        true
    }

    /// The next blocked stream behind this number, or the first one, for which this holds.
    pub(super) fn next_blocked(&mut self, behind: u32) -> Option<&mut Stream> {
        let has_room = |stream: &Stream| stream.blocked && stream.send_window.available() > 0;
        let middle = self.open.partition_point(|stream| stream.id <= behind);
        let (before, after) = (self.open.get(..middle)?, self.open.get(middle..)?);
        let place =
            after.iter().position(has_room).map(|place| middle + place).or_else(|| before.iter().position(has_room))?;
        self.open.get_mut(place)
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.open.capacity() * size_of::<Stream>() + self.discarded.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(ids: &[u32]) -> Streams {
        let mut streams = Streams::default();
        for id in ids {
            streams.begin(Stream::new(*id, 10, 0));
        }
        streams
    }

    #[test]
    fn they_are_found_by_number() {
        let mut streams = streams(&[1, 3, 9]);
        assert_eq!(streams.get(3).map(|stream| stream.id), Some(3));
        assert!(streams.get(5).is_none() && streams.get_mut(11).is_none());
        assert_eq!(streams.remove(3).map(|stream| stream.id), Some(3));
        assert!(!streams.is_discarded(3, false));
        assert_eq!((streams.len(), streams.remove(3).is_none()), (2, true));
        streams.remove(1);
        streams.remove(9);
        assert_eq!((streams.is_empty(), streams.held_bytes()), (true, 0));
    }

    #[test]
    fn what_was_reset_is_ignored_until_it_ends() {
        let mut streams = streams(&[1, 3]);
        streams.get_mut(3).unwrap().receiving = false;
        streams.end(1);
        streams.end(3);
        assert!(streams.is_discarded(1, false) && streams.is_discarded(1, true) && !streams.is_discarded(1, true));
        assert!(!streams.is_discarded(3, false), "it was complete");
        for id in 0..1_000 {
            streams.begin(Stream::new(id, 0, 0));
            streams.end(id);
        }
        assert!(
            streams.is_discarded(999, false) && !streams.is_discarded(871, false) && streams.is_discarded(872, false)
        );
    }

    #[test]
    fn blocked_streams_take_turns() {
        let mut streams = streams(&[1, 3, 5, 7]);
        for id in [1, 5, 7] {
            streams.get_mut(id).unwrap().blocked = true;
        }
        streams.get_mut(5).unwrap().send_window.take(10);
        let mut next = |behind: u32| streams.next_blocked(behind).map(|stream| stream.id);
        assert_eq!((next(0), next(1), next(3), next(7), next(99)), (Some(1), Some(7), Some(7), Some(1), Some(1)));
        assert!(Streams::default().next_blocked(0).is_none());
    }
}
