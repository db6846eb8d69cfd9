//! A stream's playlists on one shard: the window that requests look at, and, on the owner's shard, the packager that fills it and the way
//! to the other shards. Between [`super::stream_handle`], whose log is read, and [`crate::egress::hls`], which answers.
use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher as _, RandomState};
use std::rc::Rc;
use std::time::Duration;

use millstream_hub::address::Address;
use millstream_hub::config::HlsConfig;
use millstream_hub::log::Log;
use millstream_hub::package::block::PendingTags;
use millstream_hub::package::change::Change;
use millstream_hub::package::marker::Said;
use millstream_hub::package::packager::{Packager, Wall};
use millstream_hub::package::window::Window;
use millstream_hub::stream_message::StreamMessage;
use millstream_proto::id::Id;
use millstream_proto::time::Time;

use super::context::ShardContext;
use super::part_sender::{PartSender, announce};
use super::wait::Waiters;
use crate::clock::unix_ms;
use crate::egress::past_view::PastView;
use crate::egress::texts::Texts;

/// Changes that wait for room in another shard's mailbox; with more, it gets the whole window anew.
const CHANGES_WAITING_MAX: usize = 1_024;

/// The playlists of a stream handle.
#[derive(Default)]
pub(crate) struct Packaging {
    /// What is answered from.
    pub(crate) window: RefCell<Window>,
    /// Its playlists as they are sent.
    pub(crate) texts: Texts,
    /// What is recorded of it, for playlists that reach back.
    pub(crate) past: PastView,
    /// Requests that wait for a part.
    pub(crate) part_sender: PartSender,
    /// Behind the segments of the last life.
    pub(super) least_msn: Cell<u64>,
    /// Of a mirror of a stream that is over: until when its owner answers its playlists.
    pub(super) listed_until: Cell<Option<Time>>,
    /// Requests that wait for any change of it.
    pub(crate) waiters: Waiters,
    /// Of a mirror: the owner has been asked for changes.
    pub(super) asked: Cell<bool>,
    packager: RefCell<Option<Box<Packager>>>,
    outlets: RefCell<Vec<Outlet>>,
}

/// Another shard that wants the changes.
struct Outlet {
    to: Address,
    subscription: u64,
    untold: Vec<Change>,
}

impl Packaging {
    /// Begins on the owner's shard; false where it has begun before.
    pub(super) fn begin(&self, shard: &ShardContext, id: &Id, log: &Log) -> bool {
        let mut packager = self.packager.borrow_mut();
        if packager.is_some() {
            return false;
        }
        let wall = wall(shard);
        let config = shard.hls_of(id);
        // Discontinuities end segments before their time: the last life may have had more of them than there were seconds.
        let first_msn = first_msn(&config, wall.unix_ms).max(self.least_msn.get());
        *packager = Some(Box::new(Packager::new(config, session_name(wall.unix_ms), first_msn, log, wall)));
        true
    }

    /// Begins to cut a rendition where its source is cut; false where it has begun, or the source has no segments yet.
    pub(super) fn begin_as_guided(&self, shard: &ShardContext, id: &Id, log: &Log, of: &Self) -> bool {
        let mut packager = self.packager.borrow_mut();
        let source = of.packager.borrow();
        let Some(plans) = source.as_ref().filter(|_| packager.is_none()).and_then(|source| source.plans()) else {
            return false;
        };
        let Some(guide) = of.window.borrow().as_guide() else { return false };
        let wall = wall(shard);
        let begun = Packager::guided(shard.hls_of(id), session_name(wall.unix_ms), (guide, plans), log, wall);
        *packager = begun.map(Box::new);
        packager.is_some()
    }

    /// Of a rendition: learns where its source is cut by now.
    pub(super) fn follow(&self, source: &Self) {
        if let (Some(own), Some(source)) = (&mut *self.packager.borrow_mut(), &*source.packager.borrow())
            && let Some(plans) = source.plans()
        {
            own.follow(plans);
        }
    }

    /// Whether it is cut here.
    pub(super) fn has_begun(&self) -> bool {
        self.packager.borrow().is_some()
    }

    /// Reads on in the log, and in what it is about to get.
    pub(super) fn advance(
        self: &Rc<Self>,
        shard: &Rc<ShardContext>,
        id: &Id,
        log: &Log,
        pending_tags: PendingTags<'_>,
    ) {
        let mut packager = self.packager.borrow_mut();
        let Some(packager) = packager.as_mut() else { return };
        let wall = wall(shard);
        let changes = packager.advance(log, pending_tags, wall);
        let stats = &shard.stats;
        stats.dropped.add("hls", packager.take_dropped());
        stats.hls_realigned.add(packager.take_realigned());
        for reason in packager.take_left_out() {
            // The operator was told when the track came: [`super::stream_handle`].
            stats.dropped.add("hls_track", 1);
            tracing::debug!(stream = %id, reason, "a track is left out of HLS and DASH");
        }
        for change in &changes {
            match change {
                Change::Part(..) => stats.hls_parts.add(1),
                Change::Closed(_) => stats.hls_segments.add(1),
                _ => {}
            }
        }
        self.take(shard, changes);
        let took = shard.now().since(wall.now);
        stats.packaging_micros.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Puts a marker at this moment of the stream's timeline, milliseconds; the other shards are told with the next part.
    pub(super) fn mark(self: &Rc<Self>, shard: &Rc<ShardContext>, said: &Said, timeline_ms: i64) {
        let changes = self.window.borrow().mark(said, timeline_ms);
        self.take(shard, changes);
    }

    /// Takes changes on the owner's shard, and notes them for the others.
    fn take(self: &Rc<Self>, shard: &Rc<ShardContext>, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        for outlet in &mut *self.outlets.borrow_mut() {
            outlet.untold.extend(changes.iter().cloned());
        }
        self.apply(shard, changes);
        for outlet in &mut *self.outlets.borrow_mut() {
            if outlet.untold.len() > CHANGES_WAITING_MAX {
                outlet.untold = self.window.borrow().snapshot();
            }
        }
    }

    /// Takes changes, and lets those who wait have what has come.
    pub(super) fn apply(self: &Rc<Self>, shard: &Rc<ShardContext>, changes: Vec<Change>) {
        let mut window = self.window.borrow_mut();
        for change in changes {
            if matches!(&change, Change::Began(next) if window.session().is_some_and(|old| old != next.name)) {
                self.part_sender.forget();
            }
            window.apply(change);
        }
        drop(window);
        announce(shard, self);
    }

    /// Another shard wants to know all there is, and what comes.
    pub(super) fn subscribe(&self, to: Address, subscription: u64) {
        let untold = self.window.borrow().snapshot();
        let mut outlets = self.outlets.borrow_mut();
        outlets.retain(|outlet| outlet.to != to);
        outlets.push(Outlet { to, subscription, untold });
    }

    pub(super) fn unsubscribe(&self, to: Address, subscription: u64) {
        self.outlets.borrow_mut().retain(|outlet| outlet.to != to || outlet.subscription != subscription);
    }

    /// Tells the other shards. True: one has no room.
    pub(super) fn tell(&self, shard: &ShardContext, id: &Id) -> bool {
        let mut full = false;
        for outlet in &mut *self.outlets.borrow_mut() {
            if outlet.untold.is_empty() {
                continue;
            }
            // All of it at once: requests there are not to see a stream that is half told.
            let changes = std::mem::take(&mut outlet.untold);
            let message = StreamMessage::Packaged { subscription: outlet.subscription, changes };
            if let Err(message) = shard.send(outlet.to, id, message) {
                if let StreamMessage::Packaged { changes, .. } = message {
                    outlet.untold = changes;
                }
                full = true;
            }
        }
        full
    }

    /// Whether that shard, or any, has yet to be told something.
    pub(super) fn has_untold(&self, to: Option<Address>) -> bool {
        let is_meant = |outlet: &&Outlet| to.is_none_or(|to| outlet.to == to);
        self.outlets.borrow().iter().filter(is_meant).any(|outlet| !outlet.untold.is_empty())
    }

    /// How long what was in a playlist can be fetched after the stream is over; zero where there was none. Of a stream that goes on, what one
    /// shard had of it is soon out of date.
    pub(super) fn linger(&self) -> Duration {
        let window = self.window.borrow();
        if window.is_ended() { Duration::from_secs(window.linger_s()) } else { Duration::ZERO }
    }
}

/// This moment on both clocks.
pub(super) fn wall(shard: &ShardContext) -> Wall {
    Wall { now: shard.now(), unix_ms: unix_ms() }
}

/// A media sequence that begins here has never been this far before, across restarts of the server as well: a stream makes no
/// more segments than there are seconds, or of shorter segments no more than fit.
fn first_msn(config: &HlsConfig, unix_ms: u64) -> u64 {
    let segment_ms = u64::try_from(config.segment.as_millis()).unwrap_or(u64::MAX).clamp(1, 1_000);
    unix_ms / segment_ms
}

/// A name that no other session of a stream has: the moment it began, and something random against clocks that were set back.
fn session_name(unix_ms: u64) -> String {
    format!("{unix_ms:x}{:05x}", RandomState::new().hash_one(unix_ms) & 0xF_FFFF)
}
