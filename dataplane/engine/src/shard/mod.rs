//! A shard: one pinned thread with its own runtime, sockets, streams, viewers and numbers. Nothing in here is shared with another
//! shard but what travels by [`mailbox`].
pub(crate) mod audience;
pub(crate) mod budget;
pub(crate) mod drain;
mod ended_streams;
pub(crate) mod events;
pub(crate) mod grants;
pub(crate) mod introduce;
pub(crate) mod mailbox;
mod memory_trimmer;
pub(crate) mod packaging;
pub(crate) mod part_sender;
pub(crate) mod reached;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod stream_handle;
mod unfinished;
pub(crate) mod view;
pub(crate) mod wait;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::task::{Context, Poll};
use std::time::Duration;

use millstream_control_protocol::state::Outputs;
use millstream_hub::config::{FlushPolicy, HlsConfig, OnUnpublish};
use millstream_hub::log::EndReason;
use millstream_hub::registry;
use millstream_hub::viewer::{OVERDUE_LOOK_EVERY, Piece};
use millstream_policy::Chain;
use millstream_proto::id::Id;
use millstream_proto::media::Clip;
use millstream_proto::network::Network;
use millstream_proto::output::Output;
use millstream_proto::time::Time;

use self::budget::Publishes;
use self::drain::PlaylistsWanted;
use self::ended_streams::EndedStreams;
use self::events::{Refusals, Refused};
use self::grants::{Grants, Kept};
use self::mailbox::Mail;
use self::memory_trimmer::MemoryTrimmer;
use self::session::{Arrival, Session, Sessions};
use self::status::Statuses;
use self::stream_handle::{NotPlayable, StreamHandle, ViewerGuard};
use self::wait::{Either, Place, Waiters, select};
use crate::admin::feed::Feed;
use crate::admission::Admission;
use crate::clock::Clock;
use crate::close::CloseReason;
use crate::config::{Config, Limits};
use crate::directory::Directory;
use crate::egress::head::Heads;
use crate::io::{
    ACCEPTS, Bound, Budget, Driver, ENDS, Inbox, IoYield, Listener, LoadPool, Outbox, SendBatch, Socket, WakeListener,
    sleep,
};
use crate::metrics::ShardStats;
use crate::slates::Slates;
use crate::{egress, ingest, io};

/// Bytes of a shard's scratch buffer: what is read from peers that send little is parsed from here, so that they hold no buffer.
const SCRATCH_BYTES: usize = 64 << 10;
/// After an accept that failed (no descriptors left, mostly) the next one waits: the loop neither dies nor spins.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// And a line in the log says so this often.
const ACCEPT_SAID_EVERY: Duration = Duration::from_mins(1);
/// Longest segment that a stream's record may ask for.
const HLS_SEGMENT_MAX: Duration = Duration::from_mins(1);
/// Segments of a playlist that a stream's record may ask for; bytes bound them besides.
const HLS_WINDOW_MAX: usize = 1_000;
/// Time for goodbyes once the drain is over.
const GOODBYE: Duration = Duration::from_millis(500);

/// What the control port takes.
const CONTROL_LIMITS: Limits = Limits {
    memory: None,
    connections: 64,
    connections_asked_for: false,
    per_address: 64,
    handshakes: 64,
    streams: 0,
    blocked: 0,
};

/// What a shard is made of, before its thread runs.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) driver: Driver,
    pub(crate) chain: Chain,
    pub(crate) stats: Vec<Arc<ShardStats>>,
    pub(crate) rtmp: Bound,
    pub(crate) http: Bound,
    /// Only one shard has it.
    pub(crate) control: Option<Bound>,
    pub(crate) wake_listener: WakeListener,
    pub(crate) outboxes: Vec<Option<Outbox<Mail>>>,
    pub(crate) inboxes: Vec<Inbox<Mail>>,
    pub(crate) outside: Receiver<Mail>,
    /// Shards that have not drained.
    pub(crate) undrained: Arc<AtomicUsize>,
    pub(crate) feed: Arc<Feed>,
}

/// What a listening port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Port {
    Rtmp,
    Http,
    Control,
}

/// A running shard, as its tasks see it.
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    pub(crate) admission: Admission,
    /// The streams that there are: replaced as a whole, between two pieces of work.
    pub(crate) directory: RefCell<Directory>,
    /// Clips for streams whose publisher is away.
    pub(crate) slates: RefCell<Slates>,
    feed: Arc<Feed>,
    refusals: Refusals,
    faults: Refusals,
    /// The port that HTTP is on, for those who look for it elsewhere.
    pub(crate) http_port: u16,
    /// And the one that RTMP is on.
    pub(crate) rtmp_port: u16,
    pub(crate) stats: Arc<ShardStats>,
    pub(crate) all_stats: Vec<Arc<ShardStats>>,
    pub(crate) sessions: Rc<Sessions>,
    /// How often streams and addresses may publish.
    pub(crate) publishes: Publishes,
    /// Those of the control port, apart: a crowd of viewers is when operators look at the metrics.
    control: Rc<Sessions>,
    pub(crate) loads: LoadPool,
    /// For long work.
    pub(crate) io_yield: IoYield,
    /// For sends to many; empty between uses.
    pub(crate) send_batch: RefCell<SendBatch>,
    /// For gathering a send; empty between uses.
    pub(crate) pieces: RefCell<Vec<Piece>>,
    /// For reading; see [`SCRATCH_BYTES`].
    pub(crate) scratch: RefCell<Box<[u8]>>,
    handles: RefCell<HashMap<Id, Rc<StreamHandle>>>,
    ended_streams: EndedStreams,
    /// Of streams that other shards own.
    statuses: Statuses,
    /// Of answers that many get in the same second.
    pub(crate) heads: Heads,
    /// Of viewers who have no session.
    pub(crate) grants: Grants,
    /// By viewers who have no session.
    pub(crate) playlists_wanted: PlaylistsWanted,
    outboxes: Vec<Option<Outbox<Mail>>>,
    leaving: Budget,
    memory_trimmer: MemoryTrimmer,
    last_number: Cell<u64>,
    draining: Cell<bool>,
    drain: Waiters,
}

/// Runs a shard, to the end of its drain.
pub(crate) async fn main(parts: Parts) -> std::io::Result<()> {
    let Parts {
        index,
        config,
        clock,
        driver,
        chain,
        stats: all_stats,
        wake_listener,
        outboxes,
        mut inboxes,
        outside,
        ..
    } = parts;
    let Some(stats) = all_stats.get(index).map(Arc::clone) else { return Err(ErrorKind::InvalidInput.into()) };
    let undrained = parts.undrained;
    let shard = Rc::new(Shard {
        index,
        sessions: Sessions::new(config.limits, all_stats.clone(), index),
        publishes: Publishes::new(config.limits.per_address, all_stats.len()),
        control: Sessions::new(CONTROL_LIMITS, vec![Arc::new(ShardStats::new(&config.formats))], 0),
        directory: RefCell::new(config.directory.clone()),
        slates: RefCell::new(config.slates.clone()),
        feed: parts.feed,
        refusals: Refusals::new(events::EVERY),
        faults: Refusals::new(events::FAULTS_EVERY),
        rtmp_port: parts.rtmp.local_addr().map_or(config.rtmp.port(), |address| address.port()),
        http_port: parts.http.local_addr().map_or(config.http.port(), |address| address.port()),
        config,
        clock,
        admission: Admission::new(&chain, index),
        stats,
        all_stats,
        loads: LoadPool::default(),
        io_yield: IoYield::new(driver)?,
        send_batch: RefCell::new(SendBatch::new(driver)),
        pieces: RefCell::default(),
        scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
        handles: RefCell::default(),
        ended_streams: EndedStreams::default(),
        statuses: Statuses::default(),
        heads: Heads::default(),
        grants: Grants::default(),
        playlists_wanted: PlaylistsWanted::default(),
        outboxes,
        leaving: Budget::new(&ENDS, Time::ZERO),
        memory_trimmer: MemoryTrimmer::default(),
        last_number: Cell::new(0),
        draining: Cell::new(false),
        drain: Waiters::default(),
    });
    let listeners = [(Port::Rtmp, Some(parts.rtmp)), (Port::Http, Some(parts.http)), (Port::Control, parts.control)];
    for (port, listener) in listeners {
        if let Some(listener) = listener {
            shard.spawn(accept(Rc::clone(&shard), port, Listener::new(listener, driver)?));
        }
    }
    let listening = {
        let shard = Rc::clone(&shard);
        wake_listener.listen(move || {
            while let Ok(mail) = outside.try_recv() {
                shard.receive(mail);
            }
            for inbox in &mut inboxes {
                while let Some(mail) = inbox.take() {
                    shard.receive(mail);
                }
            }
        })
    };
    match select(listening, live(&shard, &undrained)).await {
        Either::A(result) => result,
        Either::B(()) => Ok(()),
    }
}

/// The shard's slow clock, until all shards are drained: one that ended sooner would leave its share of `/healthz` unanswered.
async fn live(shard: &Rc<Shard>, undrained: &AtomicUsize) {
    let (mut drained_by, mut goodbye, mut drained) = (None, None, false);
    let place = Place::default();
    loop {
        let look_every = OVERDUE_LOOK_EVERY / if drained_by.is_some() { 10 } else { 2 };
        select(sleep(look_every), shard.drain.changed(u64::from(shard.draining.get()), &place)).await;
        let now = shard.now();
        shard.sweep(now);
        let budget = Budget::new(&ENDS, now);
        for number in shard.sessions.overdue(now) {
            budget.turn(shard.now()).await;
            shard.sessions.end_overdue(number, now);
        }
        if !shard.draining.get() {
            continue;
        }
        let deadline = *drained_by.get_or_insert(now + shard.config.drain);
        if now >= deadline {
            // Looked at before the streams end: who is there then may come for the end of a playlist.
            goodbye.get_or_insert_with(|| shard.playlists_wanted.last_playlist(now).max(GOODBYE));
            shard.end_all(now, now >= deadline + GOODBYE / 2);
        }
        // Others' viewers may come here with their next request, so that this may become untrue again.
        let is_drained = shard.sessions.len() == 0 && !shard.playlists_wanted.is_watched(now);
        if is_drained != std::mem::replace(&mut drained, is_drained) {
            if is_drained {
                undrained.fetch_sub(1, Ordering::SeqCst)
            } else {
                undrained.fetch_add(1, Ordering::SeqCst)
            };
        }
        if undrained.load(Ordering::SeqCst) == 0 || goodbye.is_some_and(|goodbye| now >= deadline + goodbye) {
            // What would be told later.
            shard.tell_refusals(now + events::EVERY);
            shard.tell_faults(now + events::FAULTS_EVERY);
            return;
        }
    }
}

async fn accept(shard: Rc<Shard>, port: Port, listener: Listener) {
    let place = Place::default();
    let (mut said, mut unsaid): (Option<Time>, u64) = (None, 0);
    loop {
        // Only the RTMP port closes at once: the others go on to say that the server is draining.
        let ready = match port {
            Port::Rtmp => match select(listener.ready(), shard.drain.changed(0, &place)).await {
                Either::A(ready) => ready,
                Either::B(()) => return,
            },
            Port::Http | Port::Control => listener.ready().await,
        };
        let accepted = ready.and_then(|()| {
            let budget = Budget::new(&ACCEPTS, Time::ZERO);
            while !budget.spent(Time::ZERO)
                && let Some((socket, peer)) = listener.accept()?
            {
                shard.admit(port, socket, peer);
                budget.spend();
            }
            Ok(())
        });
        match accepted {
            Ok(()) => {}
            // It was gone before it was taken.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                shard.stats.refused.add("accept", 1);
                // Said once a minute, also where it works now and then.
                let now = shard.now();
                unsaid += 1;
                if said.is_none_or(|said| said + ACCEPT_SAID_EVERY <= now) {
                    let count = std::mem::take(&mut unsaid);
                    tracing::warn!(%error, ?port, shard = shard.index, count, "cannot accept connections; trying again");
                    said = Some(now);
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Shard {
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.all_stats.len()
    }

    /// Whether nothing new is taken.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// When a stream's frames go out.
    pub(crate) fn flush_of(&self, id: &Id) -> FlushPolicy {
        self.directory.borrow().settings(id).flush.unwrap_or(self.config.stream.flush)
    }

    /// What becomes of a stream when its publisher has gone.
    pub(crate) fn on_unpublish_of(&self, id: &Id) -> OnUnpublish {
        self.directory.borrow().settings(id).on_unpublish.unwrap_or(self.config.stream.on_unpublish)
    }

    /// The clip that it shows then; `None`: the built-in one.
    pub(crate) fn slate_of(&self, id: &Id) -> Option<Arc<Clip>> {
        self.slates.borrow().get(self.directory.borrow().settings(id).slate)
    }

    /// How a stream is cut for HLS and DASH, from its next start on.
    pub(crate) fn hls_of(&self, id: &Id) -> HlsConfig {
        let (all, own) = (self.config.hls, self.directory.borrow().settings(id));
        // A segment holds two parts at least, and a playlist three segments (RFC 8216, 6.2.2).
        let segment = own.hls_segment_s.map(|s| Duration::from_secs(s.into()).clamp(all.part * 2, HLS_SEGMENT_MAX));
        let window = own.hls_window.map(|segments| (segments as usize).clamp(3, HLS_WINDOW_MAX));
        HlsConfig { segment: segment.unwrap_or(all.segment), window: window.unwrap_or(all.window), ..all }
    }

    /// The stream and the output that a path of another server is mapped to, by a stream's record or by a pattern of the configuration. What
    /// the pattern gives to a stream that has a record is not another stream's to take.
    pub(crate) fn mapped(&self, path: &[String]) -> Option<(Id, &'static Output)> {
        let directory = self.directory.borrow();
        let by_pattern = self.config.play_paths.iter().find_map(|pattern| pattern.find(path));
        match by_pattern {
            Some((id, output)) if directory.records().get(&id).is_some() => Some((id, output)),
            other => directory.played(path).or(other),
        }
    }

    /// Which outputs a stream has.
    pub(crate) fn outputs_of(&self, id: &Id) -> Outputs {
        self.directory.borrow().settings(id).outputs
    }

    /// Whether what a proxy at this address says of its clients is believed.
    pub(crate) fn trusts(&self, address: IpAddr) -> bool {
        self.config.trusted_proxies.iter().any(|network| network.contains(address))
    }

    /// Counts and logs the end of a session.
    pub(crate) fn ended(&self, session: &Session, why: CloseReason) {
        let why = why.label();
        self.stats.closed.add(why, 1);
        tracing::info!(parent: &session.span, why, "session ended");
    }

    /// For whoever leaves: with a crowd they go a few at a time, unless others have their places already.
    pub(crate) async fn leave(&self, session: &Session) {
        if !session.gives_way() && !self.is_draining() {
            self.leaving.turn(self.now()).await;
        }
    }

    /// A number that no other session or subscription of the process has.
    pub(crate) fn number(&self) -> u64 {
        let number = self.last_number.get() + 1;
        self.last_number.set(number);
        number * self.shards() as u64 + self.index as u64
    }

    /// Starts a task of this shard. A panic in it ends it alone, and is counted.
    pub(crate) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let shard = Rc::clone(self);
        // Boxed: pinned in an async block it would be there twice, as what the block captured and as what it pinned.
        let mut task = Box::pin(task);
        io::spawn(poll_fn(move |cx| shard.poll_guarded(task.as_mut(), cx)));
    }

    fn poll_guarded(&self, task: Pin<&mut impl Future<Output = ()>>, cx: &mut Context<'_>) -> Poll<()> {
        // State that a panic leaves half-changed belongs to the session that ends with it; borrows are released by unwinding.
        self.guarded(|| task.poll(cx)).unwrap_or(Poll::Ready(()))
    }

    /// Does a piece of a session's work. `None`: a panic ended it, which is counted; whoever calls ends the session.
    pub(crate) fn guarded<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(work)).ok().or_else(|| {
            self.stats.panics.add(1);
            tracing::error!(shard = self.index, "a defect ended a session; please report the message above");
            None
        })
    }

    fn admit(self: &Rc<Self>, port: Port, socket: Socket, peer: SocketAddr) {
        self.stats.connections_total.add(1);
        let number = self.number();
        // Port names are those of the startup lines.
        let protocol = match port {
            Port::Rtmp => "rtmp",
            Port::Http => "http",
            Port::Control => "control",
        };
        let introduced: &[Network] = match port {
            Port::Rtmp => &self.config.proxy_protocol_from,
            Port::Http => &self.config.http_proxy_protocol_from,
            Port::Control => &[],
        };
        let arrival = if introduced.iter().any(|network| network.contains(peer.ip())) {
            Arrival::Proxied
        } else if port == Port::Http && self.trusts(peer.ip()) {
            Arrival::Shared
        } else {
            Arrival::Direct
        };
        let span = if arrival == Arrival::Direct {
            tracing::info_span!("session", session = number, %peer, shard = self.index, protocol)
        } else {
            let no_peer = tracing::field::Empty;
            tracing::info_span!("session", session = number, peer = no_peer, shard = self.index, protocol, proxy = %peer)
        };
        let sessions = if port == Port::Control { &self.control } else { &self.sessions };
        match sessions.admit(number, peer, socket.reader.closer(), span, arrival) {
            Ok(session) => {
                socket.tune(self.config.stream.stall_close);
                let shard = Rc::clone(self);
                match port {
                    Port::Rtmp => self.spawn(ingest::serve(shard, session, socket, arrival)),
                    Port::Http | Port::Control => {
                        self.spawn(egress::http::serve(shard, session, socket, port, arrival));
                    }
                }
            }
            Err(limit) => {
                if port == Port::Control {
                    self.stats.refused.add(limit.label(), 1);
                } else {
                    self.refused(&Refused::at_arrival(number, peer, protocol, limit));
                }
                if port != Port::Rtmp {
                    egress::http::turn_away(self, socket);
                }
            }
        }
    }

    /// Registers a session that came from another shard.
    pub(crate) fn readmit(&self, number: u64, peer: SocketAddr, socket: &Socket) -> Result<Rc<Session>, CloseReason> {
        let span = tracing::info_span!("session", session = number, %peer, shard = self.index, protocol = "rtmp");
        self.sessions.admit(number, peer, socket.reader.closer(), span, Arrival::HandedOver)
    }

    /// The shard that owns a stream.
    pub(crate) fn owner(&self, id: &Id) -> usize {
        registry::owner(id, self.shards())
    }

    /// Sends to another shard; counted where it has no room.
    pub(crate) fn put(&self, to: usize, mail: Mail) -> Result<(), Mail> {
        let put = match self.outboxes.get(to) {
            Some(Some(outbox)) => outbox.put(mail),
            _ => Err(mail),
        };
        if put.is_err() {
            self.stats.mailbox_full.add(1);
        }
        put
    }

    fn receive(self: &Rc<Self>, mail: Mail) {
        match mail {
            Mail::Publisher(handoff) => self.spawn(ingest::resume(Rc::clone(self), handoff)),
            Mail::Subscribe { id, from, subscription } => {
                if let Some(handle) = self.live(&id) {
                    return handle.subscribe(from, subscription);
                }
                let over = self.last_life(&id).map(|over| over.packaging.window.borrow().snapshot());
                let mail = match over {
                    Some(changes) => Mail::Over { id, subscription, changes },
                    None => Mail::Unknown { id, subscription },
                };
                // The asker gives up by itself if this finds no room.
                drop(self.put(from, mail));
            }
            Mail::Unsubscribe { id, from, subscription } => {
                if let Some(handle) = self.live(&id) {
                    handle.unsubscribe(from, subscription);
                }
            }
            Mail::Feed { id, subscription, message } => match self.mirrored(&id, subscription) {
                Some(handle) => {
                    handle.told(self, message);
                    if handle.is_over() {
                        self.remove(&handle);
                    }
                }
                // Sent before the owner heard that nobody watches any more.
                None => self.unsubscribe(id, subscription),
            },
            Mail::Package { id, from, subscription } => {
                if let Some(handle) = self.live(&id) {
                    self.tell_past(&id, from);
                    handle.package_for(self, from, subscription);
                }
            }
            Mail::Packaged { id, subscription, changes } => {
                if let Some(handle) = self.mirrored(&id, subscription) {
                    handle.repackaged(self, changes);
                }
            }
            Mail::OfEnded { id, changes } => self.told_of_ended(&id, changes),
            Mail::Over { id, subscription, changes } => {
                if let Some(handle) = self.mirrored(&id, subscription) {
                    handle.repackaged(self, changes);
                    handle.unknown(self);
                    self.remove(&handle);
                }
            }
            Mail::Unknown { id, subscription } => {
                if let Some(handle) = self.mirrored(&id, subscription) {
                    handle.unknown(self);
                    self.remove(&handle);
                }
            }
            Mail::Answer { ticket, step } => self.admission.answer(ticket, step),
            Mail::Granted { id, viewer, until } => {
                // Full: who is not known here was admitted for good.
                let _ = self.grants.keep(&id, viewer, until, self.now());
            }
            Mail::Work(work) => {
                // As with a session's task, a defect in it ends it alone; who asked finds that there is no answer.
                if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
                    self.stats.panics.add(1);
                    tracing::error!(shard = self.index, "a defect ended an answer; please report the message above");
                }
            }
            // Said more than once by impatient operators: the drain counts one change.
            Mail::Shutdown => {
                if !self.draining.replace(true) {
                    let handles: Vec<_> = self.handles.borrow().values().cloned().collect();
                    // Nobody's session ends with a slate: there is nothing to wait for.
                    handles.iter().filter(|handle| handle.shows_slate()).for_each(|handle| {
                        handle.end(EndReason::Shutdown, self);
                    });
                    self.sessions
                        .all()
                        .iter()
                        .filter(|session| session.is_idle())
                        .for_each(|session| session.end(CloseReason::Shutdown));
                    self.drain.wake_all();
                }
            }
        }
    }

    /// A viewer without a session is admitted up to that moment, here and at the other shards; false: nothing could be kept of it.
    pub(crate) fn grant(&self, id: &Id, viewer: u64, until: Time) -> bool {
        let kept = self.grants.keep(id, viewer, until, self.now());
        if kept == Kept::Tell {
            for shard in (0..self.shards()).filter(|shard| *shard != self.index) {
                // Without room, the files that are asked for there have no end.
                drop(self.put(shard, Mail::Granted { id: id.clone(), viewer, until }));
            }
        }
        kept != Kept::Full
    }

    fn unsubscribe(&self, id: Id, subscription: u64) {
        // Without room it is said again when the next feed message comes.
        drop(self.put(self.owner(&id), Mail::Unsubscribe { id, from: self.index, subscription }));
    }

    fn live(&self, id: &Id) -> Option<Rc<StreamHandle>> {
        self.handles.borrow().get(id).filter(|handle| !handle.is_over()).cloned()
    }

    /// Whether it holds this stream, on air or waiting for its publisher.
    pub(crate) fn holds(&self, id: &Id) -> bool {
        self.live(id).is_some()
    }

    fn mirrored(&self, id: &Id, subscription: u64) -> Option<Rc<StreamHandle>> {
        let handles = self.handles.borrow();
        handles.get(id).filter(|handle| handle.subscription() == Some(subscription)).cloned()
    }

    /// Forgets a stream handle; viewers that still hold it read on to its end.
    pub(crate) fn remove(&self, handle: &Rc<StreamHandle>) {
        let mut handles = self.handles.borrow_mut();
        if handles.get(&handle.id).is_some_and(|held| Rc::ptr_eq(held, handle)) {
            handles.remove(&handle.id);
            self.ended_streams.keep(handle, self.now());
        }
    }

    /// The stream handle for a publisher of a stream that this shard owns; `None` where there are too many streams.
    pub(crate) fn own(self: &Rc<Self>, id: &Id) -> Option<Rc<StreamHandle>> {
        if let Some(handle) = self.live(id) {
            return Some(handle);
        }
        if self.handles.borrow().len() >= self.config.limits.streams {
            return None;
        }
        let handle = StreamHandle::own(self, id);
        self.handles.borrow_mut().insert(id.clone(), Rc::clone(&handle));
        Some(handle)
    }

    /// a viewer guard at a stream that is on air, wherever it is owned.
    pub(crate) async fn subscribe(self: &Rc<Self>, id: &Id) -> Result<ViewerGuard, NotPlayable> {
        let handle = match self.live(id) {
            Some(handle) => handle,
            None if self.owner(id) == self.index => return Err(NotPlayable::NotOnAir),
            None => {
                if self.handles.borrow().len() >= self.config.limits.streams {
                    return Err(NotPlayable::Busy);
                }
                let subscription = self.number();
                let handle = StreamHandle::mirror(self, id, subscription);
                let mail = Mail::Subscribe { id: id.clone(), from: self.index, subscription };
                self.put(self.owner(id), mail).map_err(|_| NotPlayable::Busy)?;
                self.handles.borrow_mut().insert(id.clone(), Rc::clone(&handle));
                handle
            }
        };
        let viewer_guard = Rc::clone(&handle).viewer_guard(self);
        let playable = handle.playable(self).await;
        if playable == Err(NotPlayable::Busy) {
            self.remove(&handle);
        }
        playable.map(|()| viewer_guard)
    }

    fn sweep(&self, now: Time) {
        self.tell_refusals(now);
        self.tell_faults(now);
        for number in self.control.overdue(now) {
            self.control.end_overdue(number, now);
        }
        self.admission.expire(now);
        self.grants.sweep(now);
        self.statuses.sweep(now);
        self.publishes.sweep(now);
        let (mut mirrors, mut bytes, mut blocks, mut hls_bytes, mut idle) = (0, 0, 0, 0, Vec::new());
        for handle in self.handles.borrow().values() {
            let log = handle.log.borrow();
            bytes += log.bytes();
            hls_bytes += handle.packaging.window.borrow().bytes();
            blocks += log.head() - log.first();
            mirrors += i64::from(handle.subscription().is_some());
            if handle.is_idle_mirror(now) {
                idle.push(Rc::clone(handle));
            }
        }
        hls_bytes += self.ended_streams.sweep(now);
        for handle in idle {
            self.remove(&handle);
            if let Some(subscription) = handle.subscription() {
                self.unsubscribe(handle.id.clone(), subscription);
            }
        }
        if self.memory_trimmer.looks_low((bytes + hls_bytes) as u64, self.sessions.len()) {
            io::give_back();
        }
        let stats = &self.stats;
        // One shard tells it for all.
        if self.index == 0
            && let Some(bytes) = io::resident_bytes()
        {
            stats.resident_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        stats.mirrors.set(mirrors);
        stats.streams.set(self.handles.borrow().len() as i64 - mirrors);
        stats.log_bytes.set(bytes as i64);
        stats.hls_bytes.set(hls_bytes as i64);
        stats.log_blocks.set(blocks as i64);
        stats.pending.set(self.admission.pending() as i64);
        stats.cpu_micros.set(u64::try_from(io::thread_cpu().as_micros()).unwrap_or(u64::MAX));
    }

    /// Ends what is still there when the drain is over, each with a goodbye. Mirrors hear of it from the owner, behind its last parts;
    /// `late`: they have heard nothing.
    fn end_all(self: &Rc<Self>, now: Time, late: bool) {
        self.admission.close(now);
        let handles: Vec<_> = self.handles.borrow().values().cloned().collect();
        for handle in handles.iter().filter(|handle| late || handle.subscription().is_none()) {
            handle.end(EndReason::Shutdown, self);
        }
        for session in self.sessions.all() {
            // Viewers end with their log, once they have all of it.
            if session.ending().is_none() && !session.was_watching() {
                session.end_politely(CloseReason::Shutdown);
            }
        }
    }
}
