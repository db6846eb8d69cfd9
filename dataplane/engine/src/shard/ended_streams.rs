//! Streams that are over and whose playlists and segments can still be fetched: kept for as long as RFC 8216bis says, and told to shards that
//! mirror its next session and never mirrored this one. Beside [`super::packaging`], which the stream handles bring along.
use std::cell::RefCell;
use std::rc::Rc;

use millstream_hub::address::Address;
use millstream_hub::package::change::Change;
use millstream_hub::stream_message::StreamMessage;
use millstream_proto::id::Id;
use millstream_proto::time::Time;

use super::state::Shard;
use super::stream_handle::StreamHandle;

/// Streams that are over; the newest last.
#[derive(Default)]
pub(crate) struct EndedStreams(RefCell<Vec<Over>>);

struct Over {
    handle: Rc<StreamHandle>,
    /// Its playlists are answered until then.
    listed_until: Time,
    /// And the files that they list until then.
    until: Time,
}

impl EndedStreams {
    /// Keeps a stream handle, if there is anything to fetch of it.
    pub(super) fn keep(&self, handle: &Rc<StreamHandle>, now: Time) {
        let linger = handle.packaging.linger();
        if linger.is_zero() {
            return;
        }
        let listed_until = handle.packaging.listed_until.get().unwrap_or(now + linger);
        // Who gets a playlist at the last moment has as long for what it lists (RFC 8216bis 6.2.2).
        self.0.borrow_mut().push(Over { handle: Rc::clone(handle), listed_until, until: listed_until + linger });
    }

    /// Forgets what can no longer be fetched; gives the bytes that the rest holds.
    pub(super) fn sweep(&self, now: Time) -> usize {
        let mut handles = self.0.borrow_mut();
        handles.retain(|over| over.until > now);
        handles.iter().map(|over| over.handle.packaging.window.borrow().bytes()).sum()
    }

    fn has(&self, handle: &Rc<StreamHandle>) -> bool {
        self.0.borrow().iter().any(|over| Rc::ptr_eq(&over.handle, handle))
    }

    /// Those of that id, the newest first.
    fn of(&self, id: &Id) -> Vec<(Rc<StreamHandle>, Time)> {
        let handles = self.0.borrow();
        let of_id = handles.iter().rev().filter(|over| over.handle.id == *id);
        of_id.map(|over| (Rc::clone(&over.handle), over.listed_until)).collect()
    }
}

impl Shard {
    /// Sessions of that stream that are over, the newest first, and until when their playlists can be fetched.
    fn ended(self: &Rc<Self>, id: &Id) -> Vec<(Rc<StreamHandle>, Time)> {
        let mut ended = self.ended_streams.of(id);
        // One that other shards have yet to be told of is still held.
        let held = self.handles.borrow().get(id).filter(|held| held.is_over()).cloned();
        if let Some(held) = held {
            held.finish_packaging(self);
            let linger = held.packaging.linger();
            if !linger.is_zero() {
                ended.insert(0, (held, self.now() + linger));
            }
        }
        ended
    }

    /// Somebody who came while the stream was on air has its playlists made now: if it has ended meanwhile, what they list stays.
    pub(crate) fn keep_if_over(&self, handle: &Rc<StreamHandle>) {
        let is_held = || self.handles.borrow().get(&handle.id).is_some_and(|held| Rc::ptr_eq(held, handle));
        if handle.is_over() && !is_held() && !self.ended_streams.has(handle) {
            self.ended_streams.keep(handle, self.now());
        }
    }

    /// The newest session of that stream that is over and of which files can still be fetched, and until when its playlists can.
    pub(super) fn newest_ended(self: &Rc<Self>, id: &Id) -> Option<(Rc<StreamHandle>, Time)> {
        self.ended(id).into_iter().next()
    }

    /// The newest session of that stream that is over and whose playlists can still be fetched.
    pub(crate) fn newest_listed(self: &Rc<Self>, id: &Id) -> Option<Rc<StreamHandle>> {
        self.newest_ended(id).filter(|(_, listed_until)| *listed_until > self.now()).map(|(over, _)| over)
    }

    /// The stream as it was in that session.
    pub(crate) fn ended_session(self: &Rc<Self>, id: &Id, session: &str) -> Option<Rc<StreamHandle>> {
        let of_session = |over: &Rc<StreamHandle>| {
            let window = over.packaging.window.borrow();
            window.session() == Some(session) || window.is_guided_by(session)
        };
        self.ended(id).into_iter().map(|(over, _)| over).find(of_session)
    }

    /// A shard that wants the playlists of a stream of ours gets what can still be fetched of its earlier sessions.
    pub(super) fn tell_ended(&self, id: &Id, to: Address) {
        for (over, listed_until) in self.ended_streams.of(id).into_iter().rev() {
            let changes = over.packaging.window.borrow().snapshot();
            // Without room, who asks for a file of then is told that it is gone.
            drop(self.send(to, id, StreamMessage::OfEnded { changes, listed_until }));
        }
    }

    /// An earlier session of a stream that this shard mirrors.
    pub(super) fn told_of_ended(self: &Rc<Self>, id: &Id, changes: Vec<Change>, listed_until: Time) {
        let known = |name: &str| self.ended_session(id, name).is_some();
        if changes.iter().any(|change| matches!(change, Change::Began(session) if known(&session.name))) {
            return;
        }
        let handle = StreamHandle::mirror(self, id, self.number());
        handle.packaging.listed_until.set(Some(listed_until));
        handle.repackaged(self, changes);
        self.ended_streams.keep(&handle, self.now());
    }
}
