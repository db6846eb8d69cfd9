//! What all tasks of a shard share and pass on: clock, configuration, numbers, sessions, the way to other shards, and the start of tasks. It
//! knows no streams: [`super::state`] has those.
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use millstream_control_protocol::state::Outputs;
use millstream_hub::address::Address;
use millstream_hub::config::{FlushPolicy, HlsConfig, OnUnpublish, Rendition};
use millstream_hub::registry;
use millstream_hub::stream_message::StreamMessage;
use millstream_hub::viewer::Piece;
use millstream_policy::table::Table;
use millstream_proto::id::{Id, RenditionName};
use millstream_proto::media::Clip;
use millstream_proto::output::Output;
use millstream_proto::sign::grant::GrantSession;
use millstream_proto::time::Time;
use millstream_tls::ServerTls;

use super::answers::Answers;
use super::events::{Faults, Refusals};
use super::grant_sessions::{GrantSessions, Holds, Playing, Renewal};
use super::grants::{Grants, Kept, Viewer};
use super::handshakes::Handshakes;
use super::mailbox::Mail;
use super::presence::Presence;
use super::said::Inbox;
use super::session::Session;
use super::sessions::{Arrival, Sessions};
use super::wait::Waiters;
use crate::admin::feed::Feed;
use crate::admin::plays::PlayFeed;
use crate::clock::{Clock, unix_ms, unix_s};
use crate::close::CloseReason;
use crate::config::Config;
use crate::directory::{ByHand, Directory, Settings};
use crate::egress::head::Heads;
use crate::io::{self, Budget, IoYield, LoadPool, Outbox, SendBatch, Socket};
use crate::metrics::ShardStats;
use crate::renditions::Trouble;
use crate::slates::Slates;

/// Longest segment that a stream's record may ask for.
const HLS_SEGMENT_MAX: Duration = Duration::from_mins(1);
/// Segments of a playlist that a stream's record may ask for; bytes bound them besides.
const HLS_WINDOW_MAX: usize = 1_000;

/// Whether there is a stream of that name.
type IsHeld = Box<dyn Fn(&Id) -> bool>;

/// A running shard, but for its streams.
pub(crate) struct ShardContext {
    pub(crate) index: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) clock: Clock,
    /// The streams that there are: replaced as a whole, between two pieces of work.
    pub(crate) directory: RefCell<Directory>,
    /// Recordings that were begun or ended by hand before this process was started, of streams that have not come back yet.
    pub(super) resumed: RefCell<Table<ByHand>>,
    /// Renditions that streams on air have in place of those of their records.
    pub(super) ladders: RefCell<HashMap<Id, Arc<[Rendition]>>>,
    /// Clips for streams whose publisher is away.
    pub(crate) slates: RefCell<Slates>,
    pub(super) feed: Arc<Feed>,
    /// Viewers that come and go, for who wants to know.
    pub(crate) plays: Arc<PlayFeed>,
    pub(super) refusals: Refusals,
    pub(super) faults: Arc<Faults>,
    /// The port that HTTP is on, for those who look for it elsewhere.
    pub(crate) http_port: u16,
    /// And the one that RTMP is on.
    pub(crate) rtmp_port: u16,
    /// The same with TLS, where there are.
    pub(crate) rtmps_port: Option<u16>,
    pub(crate) https_port: Option<u16>,
    /// What TLS connections are shown; replaced as a whole when certificates change.
    pub(crate) tls: RefCell<Option<ServerTls>>,
    pub(crate) handshakes: Handshakes,
    pub(crate) stats: Arc<ShardStats>,
    pub(crate) all_stats: Vec<Arc<ShardStats>>,
    pub(crate) sessions: Rc<Sessions>,
    /// With recorded files, under way.
    pub(crate) answers: Rc<Answers>,
    pub(crate) loads: LoadPool,
    /// For long work.
    pub(crate) io_yield: IoYield,
    /// For sends to many; empty between uses.
    pub(crate) send_batch: RefCell<SendBatch>,
    /// For gathering a send; empty between uses.
    pub(crate) pieces: RefCell<Vec<Piece>>,
    /// For reading; what peers send little of is parsed from here, so that they hold no buffer.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// Of answers that many get in the same second.
    pub(crate) heads: Heads,
    /// Of viewers who have no session.
    pub(crate) grants: Grants,
    /// What players say of how they play.
    pub(crate) said: Inbox,
    /// Of viewers who play by a grant.
    pub(crate) grant_sessions: GrantSessions,
    /// Viewers without a session, while somebody wants to know of them.
    pub(super) presence: Presence,
    pub(super) outboxes: Vec<Option<Outbox<Mail>>>,
    pub(super) leaving: Budget,
    pub(super) last_number: Cell<u64>,
    pub(super) draining: Cell<bool>,
    pub(super) drain: Waiters,
    /// Whether the shard holds a stream of that name.
    pub(super) is_held: OnceCell<IsHeld>,
}

impl ShardContext {
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Until when a preview's token admits to a stream; `None`: it does not.
    pub(crate) fn preview_until(&self, id: &Id, token: Option<&str>) -> Option<Time> {
        let (key, token) = self.config.grants.previews.as_ref().zip(token)?;
        let expiry_unix_s = key.check(token, id, unix_s())?;
        let left_ms = expiry_unix_s.saturating_mul(1_000).saturating_sub(unix_ms());
        Some(self.now() + Duration::from_millis(left_ms))
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

    /// How a stream behaves, as far as its record says.
    pub(crate) fn settings_of(&self, id: &Id) -> Settings {
        self.directory.borrow().settings(id)
    }

    /// A stream's renditions: those that somebody has chosen for it, else those of its record.
    fn ladder_of(&self, id: &Id) -> Option<Arc<[Rendition]>> {
        let Some(chosen) = self.ladders.borrow().get(id).cloned() else {
            return self.directory.borrow().settings(id).renditions;
        };
        // A hook chooses sizes and rates; whether something is drawn over them is the record's to say.
        let of_record = self.settings_of(id);
        let marked = of_record.watermark.is_some();
        if marked && chosen.is_empty() {
            // Without any the source would be played, which has no watermark.
            return of_record.renditions;
        }
        let chosen =
            if marked { chosen.iter().cloned().map(|one| Rendition { marked, ..one }).collect() } else { chosen };
        Some(chosen).filter(|all| !all.is_empty())
    }

    /// A stream's rendition of that name.
    pub(super) fn rendition_of(&self, id: &Id, name: &RenditionName) -> Option<Rendition> {
        self.ladder_of(id)?.iter().find(|rendition| rendition.name == *name).cloned()
    }

    /// Whether it has not been there for longer than a publisher is waited for: who comes now may have been on air before a restart.
    pub(super) fn is_young(&self) -> bool {
        self.now().since(Time::ZERO) <= self.config.stream.publisher_wait
    }

    /// What was done by hand about the recording of a stream that comes back after a restart; once.
    pub(super) fn resumed_by_hand(&self, id: &Id) -> Option<ByHand> {
        let mut resumed = self.resumed.borrow_mut();
        if resumed.is_empty() {
            return None;
        }
        if !self.is_young() {
            *resumed = Table::default();
            return None;
        }
        let by_hand = resumed.get(id).copied()?;
        *resumed = resumed.with([(id.clone(), None)]);
        (self.settings_of(id).by_hand == Some(by_hand)).then_some(by_hand)
    }

    /// The renditions that viewers of a stream may ask for; `None`: it has none.
    pub(crate) fn renditions_of(&self, id: &Id) -> Option<Arc<[Rendition]>> {
        self.config.renditions.transcoder.as_ref().filter(|_| !id.is_rendition())?;
        self.ladder_of(id)
    }

    /// Those of them that would be made now if somebody asked for them, as far as whoever makes them knows.
    pub(crate) fn offered_renditions(&self, stream: &Id) -> Option<Arc<[Rendition]>> {
        let all = self.renditions_of(stream)?;
        let is_offered = |rendition: &&Rendition| self.trouble(&stream.of_rendition(&rendition.name)).is_none();
        let transcoder = self.config.renditions.transcoder.as_ref()?;
        if !transcoder.has_trouble() || all.iter().all(|rendition| is_offered(&rendition)) {
            return Some(all);
        }
        let offered: Arc<[Rendition]> = all.iter().filter(is_offered).cloned().collect();
        // With a watermark the source would be listed in place of none: rather a refusal for a moment.
        Some(if offered.is_empty() && all.iter().any(|one| one.marked) { all } else { offered })
    }

    /// Why a rendition is not made now, although its stream has it.
    pub(crate) fn trouble(&self, rendition: &Id) -> Option<Trouble> {
        let transcoder = self.config.renditions.transcoder.as_ref()?;
        if transcoder.has_trouble() { transcoder.trouble(rendition) } else { None }
    }

    /// Which outputs a stream has.
    pub(crate) fn outputs_of(&self, id: &Id) -> Outputs {
        self.directory.borrow().outputs(id)
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

    /// Registers a session that came from another shard.
    pub(crate) fn readmit(&self, number: u64, peer: SocketAddr, socket: &Socket) -> Result<Rc<Session>, CloseReason> {
        let protocol = if socket.is_secure() { "rtmps" } else { "rtmp" };
        let span = tracing::info_span!("session", session = number, %peer, shard = self.index, protocol);
        self.sessions.admit(number, peer, socket.reader.closer(), span, Arrival::HandedOver)
    }

    /// The shard of this node that owns a stream whose publisher is here.
    pub(crate) fn home(&self, id: &Id) -> usize {
        registry::owner(id, self.shards())
    }

    /// The shard that owns a stream, at whichever node. At another one it is not known which: see [`crate::nodes::Nodes::send`].
    pub(crate) fn owner(&self, id: &Id) -> Address {
        let here = Address::here(self.home(id));
        self.config.nodes.owner(id).map_or(here, |node| Address { node, shard: 0 })
    }

    /// Tells another shard something of a stream; counted where there is no room for it.
    pub(crate) fn send(&self, to: Address, id: &Id, message: StreamMessage) -> Result<(), StreamMessage> {
        if to.is_here() {
            let mail = Mail::Stream { id: id.clone(), from: Address::here(self.index), message };
            return self.put(to.shard, mail).map_err(Mail::into_stream_message);
        }
        let told = self.config.nodes.send(self.index, to, id, message);
        if told.is_err() {
            self.stats.mailbox_full.add(1);
        }
        told
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

    /// A session that plays by grants is admitted up to that moment, here and at the other shards. False: what it holds cannot be kept.
    pub(crate) fn renew(&self, name: GrantSession, until: Time, holds: Holds, address: IpAddr) -> bool {
        let (is_holding, moved) = (matches!(holds, Holds::This(Some(_))), matches!(holds, Holds::This(_)));
        let renewal = Renewal { at: self.now(), shard: self.index };
        let kept = self.grant_sessions.renew(name, renewal, until, holds, address, renewal.at);
        for shard in (0..self.shards()).filter(|shard| *shard != self.index) {
            // Where there is no room, connections end with the grant that they have shown, and their pages come back with the new one.
            let _ = self.put(shard, Mail::Renewed { name, renewal, until, moved, address });
        }
        kept || !is_holding
    }

    /// A connection plays as a session of play grants. False: as many do as may, or there is no room.
    pub(crate) fn join(&self, name: GrantSession, until: Time, session: &Rc<Session>) -> bool {
        let joined = self.grant_sessions.join(name, until, session, self.now());
        if let Some(playing) = &joined {
            self.tell_playing(playing);
        }
        joined.is_some()
    }

    /// Tells the other shards which connections of a session play here.
    pub(super) fn tell_playing(&self, playing: &Playing) {
        let others = (0..self.shards()).filter(|shard| *shard != self.index);
        let mail = || Mail::Playing { from: self.index, playing: playing.clone() };
        if others.map(|shard| self.put(shard, mail()).is_ok()).filter(|told| !told).count() > 0 {
            self.grant_sessions.not_told(playing.name);
        }
    }

    /// A viewer without a session is admitted up to that moment, here and at the other shards; `None`: for good. False: nothing could be kept.
    pub(crate) fn grant(&self, id: &Id, viewer: Viewer, until: Option<Time>) -> bool {
        // Who may watch a stream may watch its renditions.
        let id = &id.stream();
        let kept = self.grants.keep(id, viewer, until, self.now());
        if kept == Kept::Tell {
            let others = (0..self.shards()).filter(|shard| *shard != self.index);
            let told = others.map(|shard| self.put(shard, Mail::Granted { id: id.clone(), viewer, until }).is_ok());
            // Where there was no room, what was known before counts until it is told again.
            if told.filter(|told| !told).count() > 0 {
                self.grants.not_told(id, viewer);
            }
        }
        kept != Kept::Full
    }
}
