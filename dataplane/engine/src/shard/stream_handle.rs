//! A stream as one shard has it: the log its viewers read, and either the stream itself (on the shard that owns it) or the
//! subscription to it. Between [`crate::ingest`] or the mailboxes, which fill it, and [`crate::egress`], which empties it.
//!
//! Its parts: [`publisher`] (who publishes it), [`mirror`] (what shards tell each other of it), [`packaged`] (its parts and segments), [`recorded`] (whether it is
//! recorded), [`slate`] (what it shows without a publisher), [`tend`] (its clock).
pub(crate) mod mirror;
mod packaged;
pub(crate) mod publisher;
mod recorded;
mod slate;
pub(crate) mod tend;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_hub::config::{OnUnpublish, StreamConfig, Takeover};
use millstream_hub::log::{Log, LogLimits};
use millstream_hub::mirror::Feed;
use millstream_hub::package::marker::Said;
use millstream_hub::stream::{Place as PublisherPlace, Stream};
use millstream_proto::id::Id;
use millstream_proto::time::Time;

use self::publisher::Holder;
use super::audience::Audience;
use super::context::ShardContext;
use super::packaging::Packaging;
use super::reached::Reached;
use super::wait::{Notify, Waiters};
use crate::directory::ByHand;
use crate::egress::fan_out::FanOut;
use crate::subscribers::Made;

/// A rendition lasts as long as its source: it does not end for want of a publisher.
const RENDITION_WAIT: Duration = Duration::from_hours(24 * 365 * 100);

/// A stream on one shard.
pub(crate) struct StreamHandle {
    pub(crate) id: Id,
    pub(crate) config: StreamConfig,
    /// What viewers read.
    pub(crate) log: RefCell<Log>,
    /// Viewers that wait for more to send.
    pub(crate) fan_out: Rc<FanOut>,
    /// Who waits for any other change.
    pub(crate) waiters: Waiters,
    pub(crate) packaging: Rc<Packaging>,
    /// Who plays it here.
    pub(crate) audience: Audience,
    /// Who asks for its playlists here.
    pub(crate) reached: Reached,
    viewers: Cell<usize>,
    idle_since: Cell<Time>,
    /// Of a rendition, on the owner's shard: what it is made of.
    source: Option<Rc<StreamHandle>>,
    side: Side,
}

enum Side {
    Owner { inner: Box<RefCell<Owner>>, notify: Notify, asleep_until: Cell<Time> },
    Mirror { subscription: u64, state: Cell<MirrorState> },
}

struct Owner {
    stream: Stream,
    feeds: Vec<Feed>,
    /// The publisher of now, or the last one.
    holder: Option<Holder>,
    /// Since when its slate is known to play.
    slate_since: Option<Time>,
    /// What was done by hand about its recording, and counts for this life of the stream.
    by_hand: Option<ByHand>,
    /// What its publisher was granted about its recording; what is done by hand goes before it.
    by_grant: Option<bool>,
    /// Who follows it beside its viewers.
    subscribers: Vec<Made>,
}

impl Owner {
    fn new(stream: Stream) -> Self {
        Self {
            stream,
            feeds: Vec::new(),
            holder: None,
            slate_since: None,
            by_hand: None,
            by_grant: None,
            subscribers: Vec::new(),
        }
    }

    fn into_side(self) -> Side {
        Side::Owner {
            inner: Box::new(RefCell::new(self)),
            notify: Notify::default(),
            asleep_until: Cell::new(Time::ZERO),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MirrorState {
    Asked,
    Live,
    Unknown,
}

/// A viewer's place at a stream handle; counted while it is held.
pub(crate) struct ViewerGuard {
    pub(crate) handle: Rc<StreamHandle>,
    shard: Rc<ShardContext>,
}

impl Drop for ViewerGuard {
    fn drop(&mut self) {
        let handle = &self.handle;
        handle.viewers.set(handle.viewers.get() - 1);
        handle.idle_since.set(self.shard.now());
    }
}

impl StreamHandle {
    fn new(shard: &ShardContext, id: &Id, config: StreamConfig, source: Option<Rc<Self>>, side: Side) -> Rc<Self> {
        let limits = LogLimits {
            bytes_max: config.log_bytes_max,
            time_max: config.log_time_max,
            rtmp_chunk_bytes: shard.config.chunk_size,
        };
        Rc::new(Self {
            id: id.clone(),
            config,
            log: RefCell::new(Log::new(limits)),
            fan_out: Rc::default(),
            waiters: Waiters::default(),
            packaging: Rc::default(),
            audience: Audience::default(),
            reached: Reached::new(&shard.config.formats),
            viewers: Cell::new(0),
            idle_since: Cell::new(shard.now()),
            source,
            side,
        })
    }

    /// A stream handle for a stream that this shard owns; a task is to tend it until the stream is over: [`tend::tend`].
    pub(crate) fn own(shard: &Rc<ShardContext>, id: &Id) -> Rc<Self> {
        let config = stream_config(shard, id);
        let mut stream = Stream::new(config, shard.now());
        stream.set_slate(shard.slate_of(id));
        // What was begun by hand was meant for who was on air then; that goes on where this process was started meanwhile.
        let by_hand = shard.resumed_by_hand(id);
        let subscribers = shard.config.subscribers.of(id, &shard.settings_of(id).recorded_by(by_hand));
        let owner = Owner { by_hand, subscribers, ..Owner::new(stream) };
        Self::new(shard, id, config, None, owner.into_side())
    }

    /// A rendition of a stream that this shard owns; it is tended as that is. It lasts as long as its source, whoever publishes it.
    pub(crate) fn own_rendition(shard: &Rc<ShardContext>, id: &Id, source: Rc<Self>) -> Rc<Self> {
        let config = StreamConfig {
            on_unpublish: OnUnpublish::Wait,
            publisher_wait: RENDITION_WAIT,
            takeover: Takeover::Replace,
            ..stream_config(shard, id)
        };
        let owner = Owner::new(Stream::new(config, shard.now()));
        Self::new(shard, id, config, Some(source), owner.into_side())
    }

    /// What it is a rendition of, on the shard that owns both.
    pub(crate) fn source(&self) -> Option<&Rc<Self>> {
        self.source.as_ref()
    }

    /// Whether nobody has watched it, here or on another shard, for that long.
    pub(crate) fn is_unwatched(&self, now: Time, linger: Duration) -> bool {
        let Side::Owner { inner, .. } = &self.side else { return false };
        if self.viewers.get() > 0 || !inner.borrow().feeds.is_empty() {
            self.idle_since.set(now);
        }
        now.since(self.idle_since.get()) > linger
    }

    /// Since when nobody publishes it, where this shard owns it.
    pub(crate) fn vacant_since(&self) -> Option<Time> {
        let Side::Owner { inner, .. } = &self.side else { return None };
        match inner.borrow().stream.place() {
            PublisherPlace::Vacant { since } => Some(since),
            PublisherPlace::OnAir { .. } => None,
        }
    }

    /// The newest stamp on its timeline, milliseconds, where this shard owns it.
    fn newest_ms(&self) -> i64 {
        match &self.side {
            Side::Owner { inner, .. } => inner.borrow().stream.timeline().newest_ms(),
            Side::Mirror { .. } => 0,
        }
    }

    /// A place for a viewer.
    pub(crate) fn viewer_guard(self: Rc<Self>, shard: &Rc<ShardContext>) -> ViewerGuard {
        self.viewers.set(self.viewers.get() + 1);
        ViewerGuard { handle: self, shard: Rc::clone(shard) }
    }

    /// Whether nothing of it has come yet: no tracks are known, and nothing of it was ever packaged.
    pub(crate) fn has_not_begun(&self) -> bool {
        !self.log.borrow().is_open() && self.packaging.window.borrow().session().is_none()
    }

    /// Whether it is over, or was never there.
    pub(crate) fn is_over(&self) -> bool {
        self.log.borrow().ended().is_some()
            || matches!(&self.side, Side::Mirror { state, .. } if state.get() == MirrorState::Unknown)
    }

    /// Viewers are told of a marker: those of FLV and RTMP by this script tag, those of HLS and DASH by their playlists. False: nobody publishes.
    pub(crate) fn mark(&self, said: &Said, body: Bytes, shard: &Rc<ShardContext>) -> bool {
        let Side::Owner { inner, notify, .. } = &self.side else { return false };
        let is_told = inner.borrow_mut().stream.mark(body, shard.now());
        if is_told {
            self.packaging.mark(shard, said, self.newest_ms());
            notify.notify();
        }
        is_told
    }
}

fn stream_config(shard: &ShardContext, id: &Id) -> StreamConfig {
    StreamConfig { flush: shard.flush_of(id), on_unpublish: shard.on_unpublish_of(id), ..shard.config.stream }
}
