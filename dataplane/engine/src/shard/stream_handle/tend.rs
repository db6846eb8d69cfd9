//! A stream's clock for as long as it lives: flushes that no read caused, keepalives, the end; and who hears of a flush. Before it: [`crate::shard::state`], which begins
//! a task for each stream that its shard owns; after it: its viewers, its mirrors, and [`super::packaged`].
use std::rc::Rc;
use std::time::Duration;

use millstream_hub::log::EndReason;
use millstream_hub::mirror::Feed;

use super::publisher::count_flush;
use super::{Owner, Side, StreamHandle};
use crate::io::sleep_until;
use crate::shard::context::ShardContext;
use crate::shard::wait::select;

/// A feed that found its mailbox full is tried again after this long.
const FEED_RETRY: Duration = Duration::from_millis(20);
/// Subscribers have this long for what they had no room for when their stream ended.
const SUBSCRIBERS_WAIT: Duration = Duration::from_secs(2);

/// Looks after a stream's clock for as long as it lives: flushes that no read caused, keepalives, the end.
pub(crate) async fn tend(shard: &Rc<ShardContext>, handle: &Rc<StreamHandle>) {
    let Side::Owner { inner, notify, asleep_until } = &handle.side else { return };
    let mut ended_until = None;
    loop {
        let now = shard.now();
        let (retry, wake_at) = {
            let owner = &mut *inner.borrow_mut();
            let changed = {
                let log = &mut *handle.log.borrow_mut();
                let head = log.head();
                let changed = owner.stream.handle_timeout(now, log);
                count_flush(&shard.stats, log, head);
                changed
            };
            handle.say(owner);
            handle.tell_slate(owner, shard);
            let retry = if changed {
                handle.flushed(owner, shard)
            } else {
                // A publisher that leaves flushes without waking anybody.
                let full = handle.packaged(owner, shard);
                handle.feed(owner, shard) || full
            };
            let log = handle.log.borrow();
            if log.ended().is_some() && owner.feeds.iter().all(Feed::is_over) && !handle.packaging.has_untold(None) {
                let until = *ended_until.get_or_insert(now + SUBSCRIBERS_WAIT);
                if owner.subscribers.is_empty() || now >= until {
                    break;
                }
            }
            (
                retry || log.ended().is_some(),
                if log.ended().is_some() { now + FEED_RETRY } else { owner.stream.poll_timeout() },
            )
        };
        asleep_until.set(wake_at);
        // Who has no room is asked again soon; nobody else waits for it.
        let wake_at = if retry { wake_at.min(now + FEED_RETRY) } else { wake_at };
        select(notify.notified(), sleep_until(shard.clock.instant(wake_at))).await;
    }
}

impl StreamHandle {
    /// Viewers have something new to look at, and so has who waits for anything else.
    pub(super) fn changed(&self, shard: &Rc<ShardContext>) {
        self.fan_out.tell(shard);
        self.waiters.wake_all();
    }

    /// Viewers here and mirrors elsewhere get what is new. True: a mirror has no room, and is to be tried again.
    pub(super) fn flushed(&self, owner: &mut Owner, shard: &Rc<ShardContext>) -> bool {
        // A mirror that hears of the end lets go of its playlists: first it hears of the last parts.
        let full = self.packaged(owner, shard);
        let full = self.feed(owner, shard) || full;
        // Last: it takes a while.
        self.changed(shard);
        full
    }

    /// The stream is over.
    pub(crate) fn end(&self, reason: EndReason, shard: &Rc<ShardContext>) {
        self.log.borrow_mut().end(reason);
        if let Side::Owner { notify, .. } = &self.side {
            notify.notify();
        }
        self.changed(shard);
    }
}
