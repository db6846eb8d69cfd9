//! Streams that are over and whose playlists and segments can still be fetched: kept for as long as RFC 8216bis says, and told to shards that
//! mirror the stream's next life and never mirrored this one. Beside [`super::packaging`], which the channels bring along.
use std::cell::RefCell;
use std::rc::Rc;

use millstream_hub::package::change::Change;
use millstream_proto::id::Id;
use millstream_proto::time::Time;

use super::Shard;
use super::channel::Channel;
use super::mailbox::Mail;

/// Channels that are over; the newest last.
#[derive(Default)]
pub(crate) struct Past(RefCell<Vec<Over>>);

struct Over {
    channel: Rc<Channel>,
    /// When it is forgotten.
    until: Time,
}

impl Past {
    /// Keeps a channel, if there is anything to fetch of it.
    pub(super) fn keep(&self, channel: &Rc<Channel>, now: Time) {
        let linger = channel.packaging.linger();
        if !linger.is_zero() {
            self.0.borrow_mut().push(Over { channel: Rc::clone(channel), until: now + linger });
        }
    }

    /// Forgets what can no longer be fetched; gives the bytes that the rest holds.
    pub(super) fn sweep(&self, now: Time) -> usize {
        let mut channels = self.0.borrow_mut();
        channels.retain(|over| over.until > now);
        channels.iter().map(|over| over.channel.packaging.window.borrow().bytes()).sum()
    }

    /// Those of that id, the newest first.
    fn of(&self, id: &Id) -> Vec<Rc<Channel>> {
        let channels = self.0.borrow();
        channels.iter().rev().map(|over| &over.channel).filter(|channel| channel.id == *id).cloned().collect()
    }
}

impl Shard {
    /// The last life of that stream that can still be fetched.
    pub(crate) fn last_life(&self, id: &Id) -> Option<Rc<Channel>> {
        self.past.of(id).into_iter().next()
    }

    /// The life of that stream with that session.
    pub(crate) fn past_life(&self, id: &Id, session: &str) -> Option<Rc<Channel>> {
        self.past.of(id).into_iter().find(|over| over.packaging.window.borrow().session() == Some(session))
    }

    /// A shard that wants the playlists of a stream of ours gets what can still be fetched of its earlier lives.
    pub(super) fn tell_past(&self, id: &Id, to: usize) {
        for over in self.past.of(id).into_iter().rev() {
            let changes = over.packaging.window.borrow().snapshot();
            // Without room, who asks for a file of then is told that it is gone.
            drop(self.put(to, Mail::Past { id: id.clone(), changes }));
        }
    }

    /// An earlier life of a stream that this shard mirrors.
    pub(super) fn told_past(self: &Rc<Self>, id: &Id, changes: Vec<Change>) {
        let known = |name: &str| self.past_life(id, name).is_some();
        if changes.iter().any(|change| matches!(change, Change::Began(session) if known(&session.name))) {
            return;
        }
        let channel = Channel::mirror(self, id, self.number());
        channel.repackaged(self, changes);
        self.past.keep(&channel, self.now());
    }
}
