//! A stream between shards: a mirror, which hears of what the owner's log gets, and the owner's feeds, which tell it. Before it: [`crate::shard::stream_messages`],
//! which reads the mailboxes; after it: the mirror's log and its viewers.
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use millstream_hub::address::Address;
use millstream_hub::mirror::{Feed, FeedMessage, apply};
use millstream_hub::stream_message::StreamMessage;
use millstream_proto::id::Id;
use millstream_proto::time::Time;

use super::{MirrorState, Owner, Side, StreamHandle, stream_config};
use crate::io::sleep_until;
use crate::shard::context::ShardContext;
use crate::shard::wait::{Either, Place, select};

/// The owner answers a subscription within this time, or the viewer is told to come again.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(2);
/// A mirror without viewers is kept this long for the next one.
const MIRROR_LINGER: Duration = Duration::from_secs(5);

/// Why there is nothing to play.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotPlayable {
    NotOnAir,
    /// The owner's shard does not answer in time.
    Busy,
}

impl StreamHandle {
    /// A stream handle that mirrors a stream of another shard.
    pub(crate) fn mirror(shard: &ShardContext, id: &Id, subscription: u64) -> Rc<Self> {
        let side = Side::Mirror { subscription, state: Cell::new(MirrorState::Asked) };
        Self::new(shard, id, stream_config(shard, id), None, side)
    }

    /// Waits until it is known whether there is a stream. At once, where this shard owns it.
    pub(crate) async fn playable(&self, shard: &ShardContext) -> Result<(), NotPlayable> {
        let Side::Mirror { state, .. } = &self.side else { return Ok(()) };
        let deadline = shard.now() + SUBSCRIBE_WAIT;
        let place = Place::default();
        loop {
            let seen = self.waiters.seen();
            match state.get() {
                MirrorState::Live => return Ok(()),
                MirrorState::Unknown => return Err(NotPlayable::NotOnAir),
                MirrorState::Asked => {}
            }
            let wait = self.waiters.changed(seen, &place);
            if let Either::B(()) = select(wait, sleep_until(shard.clock.instant(deadline))).await {
                return Err(NotPlayable::Busy);
            }
        }
    }

    /// The subscription of a mirror.
    pub(crate) fn subscription(&self) -> Option<u64> {
        match &self.side {
            Side::Mirror { subscription, .. } => Some(*subscription),
            Side::Owner { .. } => None,
        }
    }

    /// The owner does not know the stream.
    pub(crate) fn unknown(&self, shard: &Rc<ShardContext>) {
        if let Side::Mirror { state, .. } = &self.side {
            state.set(MirrorState::Unknown);
        }
        self.changed(shard);
    }

    /// The owner has news.
    pub(crate) fn told(&self, shard: &Rc<ShardContext>, message: FeedMessage) {
        if let Side::Mirror { state, .. } = &self.side {
            state.set(MirrorState::Live);
        }
        apply(&mut self.log.borrow_mut(), message);
        self.changed(shard);
    }

    /// Whether a mirror is of no more use: nobody has watched it for a while.
    pub(crate) fn is_idle_mirror(&self, now: Time) -> bool {
        matches!(self.side, Side::Mirror { .. })
            && self.viewers.get() == 0
            && now.since(self.idle_since.get()) > MIRROR_LINGER
    }

    /// Another shard has viewers for it.
    pub(crate) fn subscribe(&self, from: Address, subscription: u64) {
        if let Side::Owner { inner, notify, .. } = &self.side {
            let feed = Feed::new(from, subscription, &self.log.borrow());
            let feeds = &mut inner.borrow_mut().feeds;
            feeds.retain(|old| old.to != from);
            feeds.push(feed);
            notify.notify();
        }
    }

    /// It has none any more.
    pub(crate) fn unsubscribe(&self, from: Address, subscription: u64) {
        if let Side::Owner { inner, .. } = &self.side {
            inner.borrow_mut().feeds.retain(|feed| feed.to != from || feed.subscription != subscription);
            self.packaging.unsubscribe(from, subscription);
        }
    }

    /// Mirrors elsewhere get what is new to them.
    pub(super) fn feed(&self, owner: &mut Owner, shard: &ShardContext) -> bool {
        let log = self.log.borrow();
        let mut full = false;
        for feed in &mut owner.feeds {
            let jumps = feed.jumps();
            while let Some(message) = feed.next_message(&log) {
                // A mirror lets its playlists go with the end of the log: it is to know their end by then.
                if matches!(message, FeedMessage::Ended(_)) && self.packaging.has_untold(Some(feed.to)) {
                    full = true;
                    break;
                }
                let before = feed.clone();
                feed.told(&message);
                let message = StreamMessage::Feed { subscription: feed.subscription, message };
                if shard.send(feed.to, &self.id, message).is_err() {
                    *feed = before;
                    full = true;
                    break;
                }
            }
            shard.stats.mirror_jumps.add(feed.jumps() - jumps);
        }
        full
    }
}
