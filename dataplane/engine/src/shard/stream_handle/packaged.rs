//! A stream that is cut into parts and segments, and those who follow it beside its viewers. Before it: its log; after it: [`crate::shard::packaging`], which has the
//! packager, and the subscribers.
use std::rc::Rc;

use millstream_hub::address::Address;
use millstream_hub::package::change::Change;
use millstream_hub::stream_message::StreamMessage;
use millstream_hub::subscriber::{Follows, Progress, Subscriber, View};

use super::{Owner, Side, StreamHandle};
use crate::shard::context::ShardContext;
use crate::subscribers::Made;

impl StreamHandle {
    /// Cuts the stream into parts and segments from here on, if nobody has asked for that before.
    pub(crate) fn package(&self, shard: &Rc<ShardContext>) {
        match &self.side {
            Side::Owner { inner, notify, .. } => {
                if let Some(source) = &self.source {
                    source.package(shard);
                    self.packaging.asked.set(true);
                }
                if self.begin_packaging(shard) {
                    self.packaged(&mut inner.borrow_mut(), shard);
                    notify.notify();
                }
            }
            Side::Mirror { subscription, .. } => {
                if !self.packaging.asked.replace(true) {
                    let message = StreamMessage::Package { subscription: *subscription };
                    // Without room, the next request asks again.
                    self.packaging.asked.set(shard.send(shard.owner(&self.id), &self.id, message).is_ok());
                }
            }
        }
    }

    /// Of a rendition, only once its source is cut: it follows that. False: it had begun, or cannot yet.
    fn begin_packaging(&self, shard: &ShardContext) -> bool {
        let log = &*self.log.borrow();
        match &self.source {
            None => self.packaging.begin(shard, &self.id, log),
            Some(source) => log.is_open() && self.packaging.begin_as_guided(shard, &self.id, log, &source.packaging),
        }
    }

    /// Another shard wants its playlists.
    pub(crate) fn package_for(&self, shard: &Rc<ShardContext>, from: Address, subscription: u64) {
        if let Side::Owner { notify, .. } = &self.side {
            self.package(shard);
            self.packaging.subscribe(from, subscription);
            notify.notify();
        }
    }

    /// The owner's packager has news.
    pub(crate) fn repackaged(&self, shard: &Rc<ShardContext>, changes: Vec<Change>) {
        self.packaging.apply(shard, changes);
    }

    /// It is over: its playlists are told the end.
    pub(crate) fn finish_packaging(&self, shard: &Rc<ShardContext>) {
        if let Side::Owner { inner, .. } = &self.side {
            self.packaged(&mut inner.borrow_mut(), shard);
        }
    }

    /// What has come becomes parts and segments, here and elsewhere. True: another shard has no room.
    pub(super) fn packaged(&self, owner: &mut Owner, shard: &Rc<ShardContext>) -> bool {
        let log = &*self.log.borrow();
        let follows = |subscriber: &dyn Subscriber| shard.guarded(|| subscriber.follows());
        let wants_segments =
            || owner.subscribers.iter().any(|one| follows(&*one.subscriber) == Some(Follows::Segments));
        if log.is_open()
            && !self.packaging.has_begun()
            && (wants_segments() || self.source.is_some() && self.packaging.asked.get())
        {
            self.begin_packaging(shard);
        }
        if let Some(source) = &self.source {
            self.packaging.follow(&source.packaging);
        }
        self.packaging.advance(shard, &self.id, log, owner.stream.pending_tags());
        let full = self.packaging.tell(shard, &self.id);
        if owner.subscribers.is_empty() {
            return full;
        }
        let (window, mut behind) = (self.packaging.window.borrow(), false);
        let encoder = owner.holder.as_ref().map(|holder| &*holder.who.encoder);
        owner.subscribers.retain_mut(|Made { subscriber, .. }| {
            let progress = shard.guarded(|| subscriber.advance(View { log, window: &window, encoder }));
            behind |= progress == Some(Progress::Behind);
            match progress {
                Some(Progress::Behind) => true,
                // Of a stream that is over, it has all.
                Some(Progress::CaughtUp) => log.ended().is_none(),
                Some(Progress::Done) | None => false,
            }
        });
        full || behind
    }
}
