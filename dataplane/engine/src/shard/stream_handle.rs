//! A stream as one shard has it: the log its viewers read, and either the stream itself (on the shard that owns it) or the
//! subscription to it. Between [`crate::ingest`] or the mailboxes, which fill it, and [`crate::egress`], which empties it.
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_control_protocol::event::What;
use millstream_hub::address::Address;
use millstream_hub::config::{FlushPolicy, OnUnpublish, StreamConfig, Takeover};
use millstream_hub::findings::{Dropped, News, Repaired};
use millstream_hub::log::{EndReason, Log, LogLimits};
use millstream_hub::mirror::{Feed, FeedMessage, apply};
use millstream_hub::package::change::Change;
use millstream_hub::package::marker::Said;
use millstream_hub::publisher_stats::Reading;
use millstream_hub::stream::{Place as PublisherPlace, Pushed, Stream, Taken};
use millstream_hub::stream_message::StreamMessage;
use millstream_hub::subscriber::{Follows, Progress, Subscriber, View};
use millstream_policy::records::Labels;
use millstream_proto::id::Id;
use millstream_proto::media::{Clip, MediaEvent, Repair, Track};
use millstream_proto::time::Time;

use super::audience::Audience;
use super::context::ShardContext;
use super::packaging::{Packaging, wall};
use super::phase::{Status, of_absence, of_publisher, of_slate};
use super::reached::Reached;
use super::wait::{Either, Notify, Place, Waiters, select};
use crate::directory::{ByHand, Settings};
use crate::egress::fan_out::FanOut;
use crate::io::sleep_until;
use crate::metrics::ShardStats;
use crate::subscribers::Made;

/// A feed that found its mailbox full is tried again after this long.
const FEED_RETRY: Duration = Duration::from_millis(20);
/// The owner answers a subscription within this time, or the viewer is told to come again.
const SUBSCRIBE_WAIT: Duration = Duration::from_secs(2);
/// Subscribers have this long for what they had no room for when their stream ended.
const SUBSCRIBERS_WAIT: Duration = Duration::from_secs(2);
/// A rendition lasts as long as its source: it does not end for want of a publisher.
const RENDITION_WAIT: Duration = Duration::from_hours(24 * 365 * 100);
/// A mirror without viewers is kept this long for the next one.
const MIRROR_LINGER: Duration = Duration::from_secs(5);

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

/// Who has or had the publisher's place.
#[derive(Clone)]
struct Holder {
    who: Publisher,
    /// How often timestamps had jumped before it came.
    jumps_before: u64,
}

impl Owner {
    /// What is wished of its recording, whatever its settings say.
    fn wished(&self) -> Option<ByHand> {
        self.by_hand.or_else(|| self.by_grant.map(|wanted| ByHand { wanted, number: 0 }))
    }

    fn into_side(self) -> Side {
        Side::Owner {
            inner: Box::new(RefCell::new(self)),
            notify: Notify::default(),
            asleep_until: Cell::new(Time::ZERO),
        }
    }

    /// Says that timestamps jumped, the first time that those of a session do; there had been `before` jumps in all.
    #[cold]
    fn tell_jump(&self, session: u64, id: &Id, before: u64) {
        if let Some(Holder { who, jumps_before }) = &self.holder
            && *jumps_before == before
        {
            tracing::warn!(
                stream = %id, session, peer = %who.peer,
                "the encoder's timestamps jumped against its own pace; the stream goes on without the jump. Further jumps of this session \
                 are counted only (timestamp_jumps). If viewers notice, look at the encoder's clock or at the file it repeats"
            );
        }
    }
}

/// Who publishes, as people know it.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    pub(crate) peer: SocketAddr,
    /// What it came over.
    pub(crate) protocol: &'static str,
    /// What it calls itself.
    pub(crate) encoder: String,
    /// What a policy calls it.
    pub(crate) labels: Option<Labels>,
}

/// A publisher that is on air.
pub(crate) struct OnAir {
    pub(crate) session: u64,
    pub(crate) who: Publisher,
    pub(crate) reading: Reading,
    pub(crate) timestamp_jumps: u64,
    pub(crate) arrival_lag_ms: Option<i64>,
    pub(crate) audio_ahead_ms: Option<i64>,
    pub(crate) announces_audio: bool,
    pub(crate) repaired: Vec<Repaired>,
    pub(crate) dropped: Vec<Dropped>,
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

/// Why there is nothing to play.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotPlayable {
    NotOnAir,
    /// The owner's shard does not answer in time.
    Busy,
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

    /// A stream handle for a stream that this shard owns; a task is to tend it until the stream is over: [`tend`].
    pub(super) fn own(shard: &Rc<ShardContext>, id: &Id) -> Rc<Self> {
        let config = stream_config(shard, id);
        let mut stream = Stream::new(config, shard.now());
        stream.set_slate(shard.slate_of(id));
        // What was begun by hand was meant for who was on air then; that goes on where this process was started meanwhile.
        let by_hand = shard.resumed_by_hand(id);
        let owner = Owner {
            stream,
            feeds: Vec::new(),
            holder: None,
            slate_since: None,
            by_hand,
            by_grant: None,
            subscribers: shard.config.subscribers.of(id, &shard.settings_of(id).recorded_by(by_hand)),
        };
        Self::new(shard, id, config, None, owner.into_side())
    }

    /// A rendition of a stream that this shard owns; it is tended as that is. It lasts as long as its source, whoever publishes it.
    pub(super) fn own_rendition(shard: &Rc<ShardContext>, id: &Id, source: Rc<Self>) -> Rc<Self> {
        let config = StreamConfig {
            on_unpublish: OnUnpublish::Wait,
            publisher_wait: RENDITION_WAIT,
            takeover: Takeover::Replace,
            ..stream_config(shard, id)
        };
        let owner = Owner {
            stream: Stream::new(config, shard.now()),
            feeds: Vec::new(),
            holder: None,
            slate_since: None,
            by_hand: None,
            by_grant: None,
            subscribers: Vec::new(),
        };
        Self::new(shard, id, config, Some(source), owner.into_side())
    }

    /// What it is a rendition of, on the shard that owns both.
    pub(super) fn source(&self) -> Option<&Rc<Self>> {
        self.source.as_ref()
    }

    /// Whether nobody has watched it, here or on another shard, for that long.
    pub(super) fn is_unwatched(&self, now: Time, linger: Duration) -> bool {
        let Side::Owner { inner, .. } = &self.side else { return false };
        if self.viewers.get() > 0 || !inner.borrow().feeds.is_empty() {
            self.idle_since.set(now);
        }
        now.since(self.idle_since.get()) > linger
    }

    /// Since when nobody publishes it, where this shard owns it.
    pub(super) fn vacant_since(&self) -> Option<Time> {
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

    /// A stream handle that mirrors a stream of another shard.
    pub(super) fn mirror(shard: &ShardContext, id: &Id, subscription: u64) -> Rc<Self> {
        let side = Side::Mirror { subscription, state: Cell::new(MirrorState::Asked) };
        Self::new(shard, id, stream_config(shard, id), None, side)
    }

    /// A place for a viewer.
    pub(super) fn viewer_guard(self: Rc<Self>, shard: &Rc<ShardContext>) -> ViewerGuard {
        self.viewers.set(self.viewers.get() + 1);
        ViewerGuard { handle: self, shard: Rc::clone(shard) }
    }

    /// Waits until it is known whether there is a stream. At once, where this shard owns it.
    pub(super) async fn playable(&self, shard: &ShardContext) -> Result<(), NotPlayable> {
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

    /// Whether nothing of it has come yet: no tracks are known, and nothing of it was ever packaged.
    pub(crate) fn has_not_begun(&self) -> bool {
        !self.log.borrow().is_open() && self.packaging.window.borrow().session().is_none()
    }

    /// Whether it is over, or was never there.
    pub(crate) fn is_over(&self) -> bool {
        self.log.borrow().ended().is_some()
            || matches!(&self.side, Side::Mirror { state, .. } if state.get() == MirrorState::Unknown)
    }

    /// The subscription of a mirror.
    pub(super) fn subscription(&self) -> Option<u64> {
        match &self.side {
            Side::Mirror { subscription, .. } => Some(*subscription),
            Side::Owner { .. } => None,
        }
    }

    /// The owner does not know the stream.
    pub(super) fn unknown(&self, shard: &Rc<ShardContext>) {
        if let Side::Mirror { state, .. } = &self.side {
            state.set(MirrorState::Unknown);
        }
        self.changed(shard);
    }

    /// The owner has news.
    pub(super) fn told(&self, shard: &Rc<ShardContext>, message: FeedMessage) {
        if let Side::Mirror { state, .. } = &self.side {
            state.set(MirrorState::Live);
        }
        apply(&mut self.log.borrow_mut(), message);
        self.changed(shard);
    }

    /// Viewers have something new to look at, and so has who waits for anything else.
    fn changed(&self, shard: &Rc<ShardContext>) {
        self.fan_out.tell(shard);
        self.waiters.wake_all();
    }

    /// Whether a mirror is of no more use: nobody has watched it for a while.
    pub(super) fn is_idle_mirror(&self, now: Time) -> bool {
        matches!(self.side, Side::Mirror { .. })
            && self.viewers.get() == 0
            && now.since(self.idle_since.get()) > MIRROR_LINGER
    }

    /// Another shard has viewers for it.
    pub(super) fn subscribe(&self, from: Address, subscription: u64) {
        if let Side::Owner { inner, notify, .. } = &self.side {
            let feed = Feed::new(from, subscription, &self.log.borrow());
            let feeds = &mut inner.borrow_mut().feeds;
            feeds.retain(|old| old.to != from);
            feeds.push(feed);
            notify.notify();
        }
    }

    /// It has none any more.
    pub(super) fn unsubscribe(&self, from: Address, subscription: u64) {
        if let Side::Owner { inner, .. } = &self.side {
            inner.borrow_mut().feeds.retain(|feed| feed.to != from || feed.subscription != subscription);
            self.packaging.unsubscribe(from, subscription);
        }
    }

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
    pub(super) fn package_for(&self, shard: &Rc<ShardContext>, from: Address, subscription: u64) {
        if let Side::Owner { notify, .. } = &self.side {
            self.package(shard);
            self.packaging.subscribe(from, subscription);
            notify.notify();
        }
    }

    /// The owner's packager has news.
    pub(super) fn repackaged(&self, shard: &Rc<ShardContext>, changes: Vec<Change>) {
        self.packaging.apply(shard, changes);
    }

    /// It is over: its playlists are told the end.
    pub(super) fn finish_packaging(&self, shard: &Rc<ShardContext>) {
        if let Side::Owner { inner, .. } = &self.side {
            self.packaged(&mut inner.borrow_mut(), shard);
        }
    }

    /// What has come becomes parts and segments, here and elsewhere. True: another shard has no room.
    fn packaged(&self, owner: &mut Owner, shard: &Rc<ShardContext>) -> bool {
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

    /// Whether something was done by hand about its recording that counts for this life of it.
    pub(super) fn is_recorded_by_hand(&self) -> bool {
        matches!(&self.side, Side::Owner { inner, .. } if inner.borrow().by_hand.is_some())
    }

    /// Its settings may have changed: who follows it beside its viewers is asked anew where that makes a difference.
    pub(super) fn offer_again_where_it_matters(&self, shard: &Rc<ShardContext>, [before, after]: [Settings; 2]) {
        let Side::Owner { inner, .. } = &self.side else { return };
        let by_hand_before = inner.borrow().by_hand;
        // One that was there before this life began does not begin to count now.
        let by_hand = if before.by_hand == after.by_hand { by_hand_before } else { after.by_hand };
        let wished_before = inner.borrow().wished();
        inner.borrow_mut().by_hand = by_hand;
        let wished = inner.borrow().wished();
        self.offer_again(shard, &before.recorded_by(wished_before), &after.recorded_by(wished));
    }

    /// It is recorded, or not, whatever its settings say, until it is over: somebody has said so.
    pub(super) fn record(&self, wanted: bool, shard: &Rc<ShardContext>) {
        let by_hand = ByHand { wanted, number: 0 };
        self.change_wish(shard, |owner| owner.by_hand = Some(by_hand));
    }

    /// The same as long as this publisher is there, by what it was granted; `None`: nothing was said of it.
    pub(crate) fn record_as_granted(&self, wanted: Option<bool>, shard: &Rc<ShardContext>) {
        self.change_wish(shard, |owner| owner.by_grant = wanted);
    }

    fn change_wish(&self, shard: &Rc<ShardContext>, change: impl FnOnce(&mut Owner)) {
        let Side::Owner { inner, .. } = &self.side else { return };
        let before = inner.borrow().wished();
        change(&mut inner.borrow_mut());
        let after = inner.borrow().wished();
        if self.source.is_none() && before != after {
            let settings = shard.settings_of(&self.id);
            self.offer_again(shard, &settings.clone().recorded_by(before), &settings.recorded_by(after));
        }
    }

    fn offer_again(&self, shard: &Rc<ShardContext>, before: &Settings, after: &Settings) {
        let Side::Owner { inner, notify, .. } = &self.side else { return };
        let all = &shard.config.subscribers;
        let makers = all.that_differ(before, after);
        if makers.is_empty() {
            return;
        }
        let made: Vec<Made> = makers.iter().flat_map(|maker| all.made(*maker, &self.id, after)).collect();
        let mut subscribers = std::mem::take(&mut inner.borrow_mut().subscribers);
        subscribers.retain(|one| !makers.contains(&one.maker));
        subscribers.extend(made);
        inner.borrow_mut().subscribers = subscribers;
        notify.notify();
    }

    /// Viewers are told of a marker: those of FLV and RTMP by this script tag, those of HLS and DASH by their playlists. False: nobody publishes.
    pub(super) fn mark(&self, said: &Said, body: Bytes, shard: &Rc<ShardContext>) -> bool {
        let Side::Owner { inner, notify, .. } = &self.side else { return false };
        let is_told = inner.borrow_mut().stream.mark(body, shard.now());
        if is_told {
            self.packaging.mark(shard, said, self.newest_ms());
            notify.notify();
        }
        is_told
    }

    /// Takes the publisher's place; gives the session that is replaced, and how long ago it was heard.
    pub(crate) fn publish(
        &self,
        session: u64,
        who: &Publisher,
        waited: bool,
        now: Time,
        shard: &ShardContext,
    ) -> Result<Option<(u64, Duration)>, Taken> {
        match &self.side {
            Side::Owner { inner, .. } => {
                let owner = &mut *inner.borrow_mut();
                let before = match owner.stream.place() {
                    PublisherPlace::OnAir { heard, .. } => now.since(heard),
                    PublisherPlace::Vacant { .. } => Duration::ZERO,
                };
                let replaced = owner.stream.publish(session, waited, now)?.map(|old| (old, before));
                if let Some(source) = &self.source {
                    owner.stream.follow_source(source.newest_ms());
                    let log = source.log.borrow();
                    let newest = log.newest_start().and_then(|start| Some(log.get(start)?.block.first_ms));
                    owner.stream.catch_up(newest);
                }
                self.tell_slate(owner, shard);
                owner.holder = Some(Holder { who: who.clone(), jumps_before: owner.stream.timeline().rebases() });
                Ok(replaced)
            }
            // Publishers are only ever handed to the owner.
            Side::Mirror { .. } => Err(Taken { heard_ago: Duration::ZERO }),
        }
    }

    /// Its publisher, where this shard owns it and somebody publishes.
    pub(crate) fn on_air(&self, now: Time) -> Option<OnAir> {
        let Side::Owner { inner, .. } = &self.side else { return None };
        let owner = inner.borrow();
        let PublisherPlace::OnAir { session, .. } = owner.stream.place() else { return None };
        let Holder { who, jumps_before } = owner.holder.clone()?;
        let timestamp_jumps = owner.stream.timeline().rebases() - jumps_before;
        let findings = owner.stream.findings();
        let (repaired, dropped) = (findings.repaired().to_vec(), findings.dropped().cloned().collect());
        Some(OnAir {
            session,
            who,
            reading: owner.stream.publisher_stats().read(now),
            timestamp_jumps,
            arrival_lag_ms: owner.stream.timeline().arrival_lag_ms(),
            audio_ahead_ms: owner.stream.timeline().audio_ahead_ms(),
            announces_audio: owner.stream.announced().audio,
            repaired,
            dropped,
        })
    }

    /// What it is doing, where this shard owns it.
    pub(super) fn status(&self, now: Time) -> Option<Status> {
        let Side::Owner { inner, .. } = &self.side else { return None };
        let owner = inner.borrow();
        let reading = owner.stream.publisher_stats().read(now);
        // Of a publisher that has left, its number is no longer known: the moment it was admitted tells two apart as well.
        let publication = reading.since.as_micros();
        if owner.stream.is_slated() {
            let since = owner.stream.slate_since().unwrap_or(now);
            return Some(of_slate(now.since(since), publication, &reading, owner.stream.findings()));
        }
        Some(match owner.stream.place() {
            PublisherPlace::OnAir { .. } => of_publisher(publication, &reading, owner.stream.findings(), now),
            PublisherPlace::Vacant { since } => {
                of_absence(now.since(since), publication, &reading, owner.stream.findings())
            }
        })
    }

    /// Changes when frames go out.
    pub(crate) fn set_flush(&self, policy: FlushPolicy) {
        if let Side::Owner { inner, notify, .. } = &self.side {
            let stream = &mut inner.borrow_mut().stream;
            if stream.config().flush != policy {
                stream.set_flush(policy);
                tracing::info!(stream = %self.id, ?policy, "flush policy changed");
                // What waits may be due at once.
                notify.notify();
            }
        }
    }

    /// Changes what its slate shows from its next start on.
    pub(crate) fn set_slate(&self, slate: Option<Arc<Clip>>) {
        if let Side::Owner { inner, .. } = &self.side {
            inner.borrow_mut().stream.set_slate(slate);
        }
    }

    /// Changes what becomes of the stream when its publisher has gone, and what it shows then.
    pub(crate) fn set_on_unpublish(&self, on_unpublish: OnUnpublish, slate: Option<Arc<Clip>>, shard: &ShardContext) {
        if let Side::Owner { inner, notify, .. } = &self.side {
            let owner = &mut *inner.borrow_mut();
            owner.stream.set_slate(slate);
            if owner.stream.config().on_unpublish != on_unpublish {
                owner.stream.set_on_unpublish(on_unpublish, shard.now());
                self.tell_slate(owner, shard);
                notify.notify();
            }
        }
    }

    /// Since when viewers get the slate, where this shard owns the stream.
    pub(crate) fn slate_since(&self) -> Option<Time> {
        match &self.side {
            Side::Owner { inner, .. } => inner.borrow().slate_since,
            Side::Mirror { .. } => None,
        }
    }

    pub(crate) fn shows_slate(&self) -> bool {
        self.slate_since().is_some()
    }

    /// Tells where the slate has begun or ended since the last call.
    fn tell_slate(&self, owner: &mut Owner, shard: &ShardContext) {
        let since = owner.stream.slate_since();
        let before = std::mem::replace(&mut owner.slate_since, since);
        if before == since {
            return;
        }
        if let Some(began) = before {
            let why = match (owner.stream.place(), self.log.borrow().ended()) {
                (PublisherPlace::OnAir { .. }, _) => "publisher",
                (_, Some(_)) => "end",
                (_, None) => "off",
            };
            let lasted_ms = u64::try_from(shard.now().since(began).as_millis()).unwrap_or(u64::MAX);
            tracing::info!(stream = %self.id, why, lasted_ms, "slate ended");
            shard.stats.slates.add(-1);
            shard.tell_of(&self.id, || What::SlateEnded { why: why.to_owned(), lasted_ms });
        }
        if since.is_some() {
            tracing::info!(stream = %self.id, "slate started");
            shard.stats.slates.add(1);
            shard.stats.slates_total.add(1);
            shard.tell_of(&self.id, || What::SlateStarted {});
        }
    }

    /// The publisher's session is over; `dismissed`: not by itself, and no slate is to stand in for it.
    pub(crate) fn leave(&self, session: u64, dismissed: bool, shard: &Rc<ShardContext>) {
        if let Side::Owner { inner, notify, .. } = &self.side {
            let wall = wall(shard);
            let stream = &mut inner.borrow_mut().stream;
            stream.set_wall(wall);
            stream.leave(session, dismissed, wall.now, &mut self.log.borrow_mut());
            notify.notify();
            self.changed(shard);
        }
    }

    /// Takes what came with one read of the publisher's socket. False: the session has been replaced.
    pub(crate) fn read(&self, session: u64, events: &mut Vec<MediaEvent>, now: Time, shard: &Rc<ShardContext>) -> bool {
        let Side::Owner { inner, notify, asleep_until } = &self.side else { return false };
        let owner = &mut *inner.borrow_mut();
        if !owner.stream.heard(session, now) {
            return false;
        }
        owner.stream.set_wall(wall(shard));
        let flushed = {
            let log = &mut *self.log.borrow_mut();
            let (head, rebases) = (log.head(), owner.stream.timeline().rebases());
            for event in events.drain(..) {
                count_frame(&shard.stats, &event);
                if owner.stream.push(event, now, log) == Pushed::BeforeKeyframe {
                    shard.stats.dropped.add("before_keyframe", 1);
                }
            }
            let jumps = owner.stream.timeline().rebases() - rebases;
            if jumps > 0 {
                shard.stats.timestamp_jumps.add(jumps);
                owner.tell_jump(session, &self.id, rebases);
            }
            let flushed = owner.stream.after_read(now, log);
            count_flush(&shard.stats, log, head);
            flushed
        };
        self.say(owner);
        // A shard without room is tried again with the next flush.
        if flushed {
            self.flushed(owner, shard);
        } else {
            // A part is there with its last frame, whenever that goes out to other viewers.
            self.packaged(owner, shard);
        }
        if owner.stream.poll_timeout() < asleep_until.get() {
            notify.notify();
        }
        true
    }

    /// Logs what was found of the publisher's stream: each finding once a session, however often the encoder repeats it.
    fn say(&self, owner: &mut Owner) {
        let session = match owner.stream.place() {
            PublisherPlace::OnAir { session, .. } => session,
            PublisherPlace::Vacant { .. } => 0,
        };
        for news in owner.stream.take_news() {
            match news {
                News::Repaired(Repaired { repair, track, .. }) => {
                    let is_sparse = repair == Repair::SparseKeyframes;
                    let (repair, advice) = (repair.label(), repair.advice());
                    if is_sparse {
                        tracing::warn!(stream = %self.id, session, advice, "key frames are far apart");
                    } else {
                        tracing::warn!(stream = %self.id, session, ?track, repair, advice, "the stream is repaired");
                    }
                }
                News::Dropped(Dropped { track, codec, outputs, reason, .. }) => {
                    tracing::warn!(stream = %self.id, session, ?track, codec, ?outputs, reason, "a track is left out");
                }
            }
        }
    }

    /// Viewers here and mirrors elsewhere get what is new. True: a mirror has no room, and is to be tried again.
    fn flushed(&self, owner: &mut Owner, shard: &Rc<ShardContext>) -> bool {
        // A mirror that hears of the end lets go of its playlists: first it hears of the last parts.
        let full = self.packaged(owner, shard);
        let full = self.feed(owner, shard) || full;
        // Last: it takes a while.
        self.changed(shard);
        full
    }

    /// Mirrors elsewhere get what is new to them.
    fn feed(&self, owner: &mut Owner, shard: &ShardContext) -> bool {
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

    /// The stream is over.
    pub(super) fn end(&self, reason: EndReason, shard: &Rc<ShardContext>) {
        self.log.borrow_mut().end(reason);
        if let Side::Owner { notify, .. } = &self.side {
            notify.notify();
        }
        self.changed(shard);
    }
}

fn stream_config(shard: &ShardContext, id: &Id) -> StreamConfig {
    StreamConfig { flush: shard.flush_of(id), on_unpublish: shard.on_unpublish_of(id), ..shard.config.stream }
}

fn count_frame(stats: &ShardStats, event: &MediaEvent) {
    if let MediaEvent::Frame(frame) = event {
        match frame.track {
            Track::Video => stats.frames_video.add(1),
            Track::Audio => stats.frames_audio.add(1),
        }
    }
}

fn count_flush(stats: &ShardStats, log: &Log, head_before: u64) {
    let bytes: usize = (head_before..log.head()).filter_map(|seq| log.get(seq)).map(|entry| entry.block.bytes()).sum();
    if bytes > 0 {
        stats.flush_bytes.observe(bytes as f64);
    }
}

/// Looks after a stream's clock for as long as it lives: flushes that no read caused, keepalives, the end.
pub(super) async fn tend(shard: &Rc<ShardContext>, handle: &Rc<StreamHandle>) {
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
