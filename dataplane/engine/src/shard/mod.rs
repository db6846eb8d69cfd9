//! A shard: one pinned thread with its own runtime, sockets, streams, viewers and numbers. Nothing in here is shared with another
//! shard but what travels by [`mailbox`].
pub(crate) mod answers;
pub(crate) mod audience;
pub(crate) mod budget;
pub(crate) mod context;
pub(crate) mod drain;
mod ended_streams;
pub(crate) mod events;
pub(crate) mod grant_connections;
pub(crate) mod grant_sessions;
pub(crate) mod granted;
pub(crate) mod grants;
pub(crate) mod handshakes;
pub(crate) mod introduce;
pub(crate) mod mailbox;
mod memory_trimmer;
pub(crate) mod packaging;
pub(crate) mod part_sender;
pub(crate) mod phase;
pub(crate) mod presence;
pub(crate) mod reached;
mod recheck;
mod rendition_view;
mod renditions;
pub(crate) mod said;
pub(crate) mod secure;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod snapshots;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod stream_handle;
mod stream_messages;
mod unfinished;
pub(crate) mod view;
pub(crate) mod wait;

use std::cell::{Cell, OnceCell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use millstream_hub::log::EndReason;
use millstream_hub::stream_message::StreamMessage;
use millstream_hub::viewer::OVERDUE_LOOK_EVERY;
use millstream_policy::Chain;
use millstream_proto::network::Network;
use millstream_proto::time::Time;

use self::answers::Answers;
use self::budget::{Publishes, share_of};
use self::context::ShardContext;
use self::drain::PlaylistsWanted;
use self::ended_streams::EndedStreams;
use self::events::{Faults, Refusals, Refused};
use self::grant_sessions::{GrantSessions, Holds};
use self::grants::Grants;
use self::handshakes::Handshakes;
use self::mailbox::Mail;
use self::memory_trimmer::MemoryTrimmer;
use self::presence::Presence;
use self::recheck::recheck;
use self::secure::secure;
use self::session::Session;
use self::sessions::{Arrival, Due, Sessions};
use self::snapshots::Snapshots;
use self::state::{Port, Shard};
use self::status::Statuses;
use self::wait::{Either, Place, Waiters, select};
use crate::admin::feed::Feed;
use crate::admin::plays::PlayFeed;
use crate::admission::Admission;
use crate::clock::Clock;
use crate::close::CloseReason;
use crate::config::{Config, Limits};
use crate::egress::head::Heads;
use crate::egress::http;
use crate::io::{
    ACCEPTS, Bound, Budget, Driver, ENDS, Inbox, IoYield, Listener, LoadPool, Outbox, SendBatch, ShardWaker, Socket,
    WakeListener, sleep,
};
use crate::metrics::ShardStats;
use crate::{ingest, io};

/// Bytes of a shard's scratch buffer: what is read from peers that send little is parsed from here, so that they hold no buffer.
const SCRATCH_BYTES: usize = 64 << 10;
/// After an accept that failed (no descriptors left, mostly) the next one waits: the loop neither dies nor spins.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Ports with TLS look so often whether there is a place for another handshake.
const HANDSHAKES_PAUSE: Duration = Duration::from_millis(1);
/// And a line in the log says so this often.
const ACCEPT_SAID_EVERY: Duration = Duration::from_mins(1);
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
    /// The same with TLS, where there are.
    pub(crate) rtmps: Option<Bound>,
    pub(crate) https: Option<Bound>,
    /// Only one shard has it.
    pub(crate) control: Option<Bound>,
    pub(crate) wake_listener: WakeListener,
    /// What wakes it.
    pub(crate) waker: ShardWaker,
    /// Bytes that wait in answers with recorded files, of all shards.
    pub(crate) recorded_bytes: Arc<AtomicUsize>,
    pub(crate) outboxes: Vec<Option<Outbox<Mail>>>,
    pub(crate) inboxes: Vec<Inbox<Mail>>,
    pub(crate) outside: Receiver<Mail>,
    /// Shards that have not drained.
    pub(crate) undrained: Arc<AtomicUsize>,
    pub(crate) feed: Arc<Feed>,
    /// Viewers that come and go.
    pub(crate) plays: Arc<PlayFeed>,
    /// What peers of all shards got wrong lately.
    pub(crate) faults: Arc<Faults>,
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
        waker,
        recorded_bytes,
        outboxes,
        mut inboxes,
        outside,
        ..
    } = parts;
    let Some(stats) = all_stats.get(index).map(Arc::clone) else { return Err(ErrorKind::InvalidInput.into()) };
    let undrained = parts.undrained;
    let answers_max = share_of(config.recorded.answers, all_stats.len());
    let answers = Answers::new(answers_max, waker, recorded_bytes, Arc::clone(&stats));
    let publishes = Publishes::new(config.limits.per_address, all_stats.len());
    let control = Sessions::new(CONTROL_LIMITS, vec![Arc::new(ShardStats::new(&config.formats))], 0);
    let context = Rc::new(ShardContext {
        index,
        answers,
        sessions: Sessions::new(config.limits, all_stats.clone(), index),
        directory: RefCell::new(config.directory.clone()),
        resumed: RefCell::new(config.directory.by_hand()),
        ladders: RefCell::default(),
        slates: RefCell::new(config.slates.clone()),
        feed: parts.feed,
        plays: parts.plays,
        refusals: Refusals::new(events::EVERY),
        faults: parts.faults,
        rtmp_port: parts.rtmp.local_addr().map_or(config.rtmp.port(), |address| address.port()),
        http_port: parts.http.local_addr().map_or(config.http.port(), |address| address.port()),
        rtmps_port: parts.rtmps.as_ref().and_then(|bound| Some(bound.local_addr().ok()?.port())),
        https_port: parts.https.as_ref().and_then(|bound| Some(bound.local_addr().ok()?.port())),
        tls: RefCell::new(config.tls.as_ref().map(|tls| tls.server.clone())),
        handshakes: Handshakes::default(),
        config,
        clock,
        stats,
        all_stats,
        loads: LoadPool::default(),
        io_yield: IoYield::new(driver)?,
        send_batch: RefCell::new(SendBatch::new(driver)),
        pieces: RefCell::default(),
        scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
        heads: Heads::default(),
        grants: Grants::default(),
        said: self::said::Inbox::default(),
        grant_sessions: GrantSessions::default(),
        presence: Presence::default(),
        outboxes,
        leaving: Budget::new(&ENDS, Time::ZERO),
        last_number: Cell::new(0),
        draining: Cell::new(false),
        drain: Waiters::default(),
        is_held: OnceCell::new(),
    });
    let shard = Rc::new(Shard {
        context,
        publishes,
        control,
        admission: Admission::new(&chain, index),
        handles: RefCell::default(),
        ended_streams: EndedStreams::default(),
        statuses: Statuses::default(),
        playlists_wanted: PlaylistsWanted::default(),
        snapshots: Snapshots::default(),
        memory_trimmer: MemoryTrimmer::default(),
    });
    let held_by = Rc::downgrade(&shard);
    let _ = shard.is_held.set(Box::new(move |id| held_by.upgrade().is_some_and(|shard| shard.holds(id))));
    let listeners = [
        (Port::Rtmp, false, Some(parts.rtmp)),
        (Port::Http, false, Some(parts.http)),
        (Port::Rtmp, true, parts.rtmps),
        (Port::Http, true, parts.https),
        (Port::Control, false, parts.control),
    ];
    for (port, secure, listener) in listeners {
        if let Some(listener) = listener {
            shard.spawn(accept(Rc::clone(&shard), (port, secure), Listener::new(listener, driver)?));
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
            shard.answers.tell();
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
        let Due { overdue, rechecks } = shard.sessions.due(now);
        for number in overdue {
            budget.turn(shard.now()).await;
            shard.sessions.end_overdue(number, now);
        }
        for (session, question) in rechecks {
            budget.turn(shard.now()).await;
            shard.spawn(recheck(Rc::clone(shard), session, question));
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

/// Accepts on a port, and whether that has TLS.
async fn accept(shard: Rc<Shard>, (port, secure): (Port, bool), listener: Listener) {
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
        while secure && shard.handshakes.are_many() {
            // A connection that waits here has cost nothing yet, and is not one of those that give way.
            sleep(HANDSHAKES_PAUSE).await;
        }
        let accepted = ready.and_then(|()| {
            let budget = Budget::new(&ACCEPTS, Time::ZERO);
            while !budget.spent(Time::ZERO)
                && let Some((socket, peer)) = listener.accept()?
            {
                shard.admit(port, secure, socket, peer);
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

/// Shakes hands, and then serves what the port is for: a task of its own, so that what the handshake needed goes with it.
async fn serve_secure(shard: Rc<Shard>, session: Rc<Session>, socket: Socket, port: Port, arrival: Arrival) {
    match secure(&shard, &session, socket, port, arrival).await {
        Ok(socket) => {
            // A proxy has named the client already.
            let arrival = if arrival == Arrival::Proxied { Arrival::Direct } else { arrival };
            let of_task = Rc::clone(&shard);
            match port {
                Port::Rtmp => shard.spawn(ingest::serve(of_task, session, socket, arrival)),
                Port::Http | Port::Control => shard.spawn(http::serve(of_task, session, socket, port, arrival)),
            }
        }
        Err((socket, why)) => {
            shard.leave(&session).await;
            drop(socket);
            let why = session.ending().unwrap_or(why);
            if session.is_new() && why.is_peers() {
                return ingest::connection::checked(&shard, &session);
            }
            if session.is_quiet() {
                shard.stats.closed.add(why.label(), 1);
            } else {
                shard.ended(&session, why);
            }
        }
    }
}

impl Shard {
    fn admit(self: &Rc<Self>, port: Port, secure: bool, socket: Socket, peer: SocketAddr) {
        self.stats.connections_total.add(1);
        let number = self.number();
        // Port names are those of the startup lines.
        let protocol = match (port, secure) {
            (Port::Rtmp, false) => "rtmp",
            (Port::Rtmp, true) => "rtmps",
            (Port::Http, false) => "http",
            (Port::Http, true) => "https",
            (Port::Control, _) => "control",
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
                if secure {
                    return self.spawn(serve_secure(shard, session, socket, port, arrival));
                }
                match port {
                    Port::Rtmp => self.spawn(ingest::serve(shard, session, socket, arrival)),
                    Port::Http | Port::Control => {
                        self.spawn(http::serve(shard, session, socket, port, arrival));
                    }
                }
            }
            Err(limit) => {
                if port == Port::Control {
                    self.stats.refused.add(limit.label(), 1);
                } else {
                    self.refused(&Refused::at_arrival(number, peer, protocol, limit));
                }
                // A TLS client would understand no word before it has shaken hands.
                if port != Port::Rtmp && !secure {
                    http::turn_away(self, socket);
                }
            }
        }
    }

    fn receive(self: &Rc<Self>, mail: Mail) {
        match mail {
            Mail::Publisher(handoff) => self.spawn(ingest::resume(Rc::clone(self), handoff)),
            Mail::Stream { id, from, message } => self.take_stream_message(&id, from, message),
            Mail::Answer { ticket, step } => self.admission.answer(ticket, step),
            Mail::Granted { id, viewer, until } => {
                // Full: who is not known here was admitted for good.
                let _ = self.grants.keep(&id, viewer, until, self.now());
            }
            Mail::Renewed { name, renewal, until, moved, address } => {
                let holds = if moved { Holds::This(None) } else { Holds::AsBefore };
                // Full: connections that play by it end with the grant that they have shown.
                let _ = self.grant_sessions.renew(name, renewal, until, holds, address, self.now());
            }
            Mail::Playing { from, playing } => {
                for too_many in self.grant_sessions.hear(from, &playing, self.now()) {
                    too_many.end(CloseReason::GrantShared);
                }
            }
            Mail::Work(work) => {
                // As with a session's task, a defect in it ends it alone; who asked finds that there is no answer.
                if catch_unwind(AssertUnwindSafe(|| work(Rc::clone(self) as Rc<dyn std::any::Any>))).is_err() {
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
                        .for_each(|session| session.end_politely(CloseReason::Shutdown));
                    self.drain.wake_all();
                }
            }
        }
    }

    fn sweep(self: &Rc<Self>, now: Time) {
        self.sweep_renditions(now);
        self.sweep_snapshots(now);
        self.tell_refusals(now);
        self.tell_faults(now);
        for number in self.control.due(now).overdue {
            self.control.end_overdue(number, now);
        }
        self.admission.expire(now);
        self.grants.sweep(now);
        for playing in self.grant_sessions.sweep(now) {
            self.tell_playing(&playing);
        }
        self.sweep_presence(now);
        self.statuses.sweep(now);
        self.publishes.sweep(now);
        let (mut mirrors, mut bytes, mut blocks, mut hls_bytes, mut idle) = (0, 0, 0, 0, Vec::new());
        for handle in self.handles.borrow().values() {
            let log = handle.log.borrow();
            bytes += log.bytes();
            hls_bytes += handle.packaging.window.borrow().bytes();
            blocks += log.head() - log.first();
            mirrors += i64::from(handle.subscription().is_some());
            handle.packaging.past.sweep(now);
            if handle.is_idle_mirror(now) {
                idle.push(Rc::clone(handle));
            }
        }
        hls_bytes += self.ended_streams.sweep(now);
        for handle in idle {
            self.remove(&handle);
            if let Some(subscription) = handle.subscription() {
                // Without room it is said again when the next message comes.
                drop(self.send(self.owner(&handle.id), &handle.id, StreamMessage::Unsubscribe { subscription }));
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
        let renditions = self.handles.borrow().values().filter(|handle| handle.source().is_some()).count() as i64;
        stats.streams.set(self.handles.borrow().len() as i64 - mirrors - renditions);
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
            // Viewers end with their log, once they have all of it, and what carries them when they have ended.
            if session.ending().is_none() && !session.was_watching() && !session.carries() {
                session.end_politely(CloseReason::Shutdown);
            }
        }
    }
}
