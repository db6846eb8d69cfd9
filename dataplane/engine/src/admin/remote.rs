//! The running engine from any other thread: questions that shards answer, changes that they apply, sessions that they end. Each is a
//! piece of work that a shard does between two others, put into its mailbox; nothing here waits in a shard, and a shard that has no
//! room or has ended is left out of the answer, which then says so.
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use millstream_control_protocol::event::Event;
use millstream_control_protocol::exchange::Whom;
use millstream_control_protocol::live::{Live, Viewer, ViewerPage, Watching};
use millstream_hub::address::Address;
use millstream_hub::config::Rendition;
use millstream_hub::registry;
use millstream_hub::stream_message::StreamMessage;
use millstream_policy::records::Record;
use millstream_policy::{Chain, Step};
use millstream_proto::id::Id;
use millstream_tls::ServerTls;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, timeout_at};

use super::feed::{Events, Feed};
use super::plays::{PlayFeed, Plays};
use super::{Addresses, Mailboxes};
use crate::admission;
use crate::config::MoreMetrics;
use crate::directory::{Changed, Directory};
use crate::metrics::{self, ShardStats};
use crate::renditions::NoPicture;
use crate::shard::mailbox::Mail;
use crate::shard::said::Said;
use crate::shard::state::{Shard, work as work_of};
use crate::shard::view;
use crate::shard::view::Part;
use crate::slates::{Clips, SlateKey, Slates};

/// Streams that a shard tells of at once: some 100 us of its time.
const STREAMS_PER_TURN: usize = 256;
/// Viewers that a shard tells of at once.
const VIEWERS_PER_TURN: usize = 1000;

/// Some shards did not answer: their mailboxes are full, or they have ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{missing} of {shards} shards did not answer: they are busy or have ended")]
pub struct Unanswered {
    /// How many did not.
    pub missing: usize,
    /// How many there are.
    pub shards: usize,
}

/// What a stream's record says.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct OfRecord {
    /// What policies go by; `None`: it has none.
    pub record: Option<Record>,
    /// The renditions of its settings.
    pub renditions: Option<Arc<[Rendition]>>,
}

/// Numbers of the whole process at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Open connections.
    pub connections: u64,
    /// Sessions that publish.
    pub publishers: u64,
    /// Sessions that play.
    pub viewers: u64,
    /// Events that found no room.
    pub events_lost: u64,
}

/// A handle to the running engine. Cheap to clone, and usable from any thread; whoever waits for an answer sets the limit of time.
#[derive(Clone, Debug)]
pub struct Remote {
    pub(super) mailboxes: Mailboxes,
    pub(super) stats: Arc<[Arc<ShardStats>]>,
    pub(super) more_metrics: Option<MoreMetrics>,
    pub(super) feed: Arc<Feed>,
    pub(super) plays: Arc<PlayFeed>,
    pub(super) addresses: Addresses,
    /// Of the configuration.
    pub(super) slates: Slates,
}

impl Remote {
    /// Where the engine listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.stats.len()
    }

    /// What happens, from now on; `None` where somebody has it already.
    pub fn events(&self) -> Option<Events> {
        self.feed.take()
    }

    /// Viewers that come and go, from when they are wanted on; `None` where somebody has them already.
    pub fn plays(&self) -> Option<Plays> {
        self.plays.take()
    }

    /// Tells what happened beside the shards. False: there was no room for it, and it is counted as lost.
    pub fn tell(&self, event: Event) -> bool {
        !self.feed.is_on() || self.feed.put(event)
    }

    /// The answer of the pending policy step that was given `ticket`. Comes to nothing where it is too late.
    pub fn answer(&self, ticket: u64, step: Step) {
        drop(self.mailboxes.try_put(admission::shard_of(ticket), Mail::Answer { ticket, step }));
    }

    /// Something that a shard of another node tells a shard of this one. Comes back where there is no room for it now, or no such shard: what brings it
    /// is to keep it, and what comes behind it, until there is.
    pub fn deliver(&self, from: Address, to: usize, id: Id, message: StreamMessage) -> Result<(), StreamMessage> {
        let to = if message.is_for_owner() { registry::owner(&id, self.shards()) } else { to };
        self.mailboxes.try_put(to, Mail::Stream { id, from, message }).map_err(Mail::into_stream_message)
    }

    /// A picture that a shard asked for, a JPEG, or why there is none. Comes to nothing where it is too late.
    pub fn snapshot(&self, shard: usize, stream: Id, picture: Result<Bytes, NoPicture>) {
        drop(self.mailboxes.try_put(shard, work_of(move |shard: &Rc<Shard>| shard.take_snapshot(&stream, picture))));
    }

    /// Begins the drain: nothing new is taken, sessions end within the configured time. May be called more than once.
    pub fn shutdown(&self) {
        self.mailboxes.shutdown();
    }

    /// Whether nothing new is taken.
    pub fn is_draining(&self) -> bool {
        self.mailboxes.is_draining()
    }

    /// All numbers as OpenMetrics text.
    pub fn metrics(&self) -> Result<String, std::fmt::Error> {
        metrics::render(&self.stats, self.more_metrics.as_ref())
    }

    /// Numbers of the whole process.
    pub fn counts(&self) -> Counts {
        let sum =
            |of: fn(&ShardStats) -> i64| self.stats.iter().map(|stats| u64::try_from(of(stats)).unwrap_or(0)).sum();
        Counts {
            connections: sum(|stats| stats.connections.get()),
            publishers: sum(|stats| stats.publishers.get()),
            viewers: sum(|stats| {
                let of_sessions = stats.viewers().filter(|(format, _)| format.role.is_some());
                of_sessions.map(|(_, gauge)| gauge.get()).sum()
            }),
            events_lost: self.feed.lost(),
        }
    }

    /// Gives every shard a new directory; returns once each of them decides by it. On an error some do and some do not: try again.
    pub async fn apply(&self, directory: &Directory, changed: &Changed) -> Result<(), Unanswered> {
        let (directory, changed) = (directory.clone(), changed.clone());
        self.ask(move |shard| view::apply(shard, &directory, &changed)).all().await.map(drop)
    }

    /// Streams of which what is kept is removed after so many days; see [`Directory::retained`].
    pub async fn retained(&self) -> Result<Vec<(Id, u32)>, Unanswered> {
        self.ask_first(|shard| shard.directory.borrow().retained()).await
    }

    /// Has every shard decide by this chain; returns once each of them does. Sessions that are admitted stay so, and requests that are
    /// pending go on with the chain that they began with.
    pub async fn set_policies(&self, chain: &Chain) -> Result<(), Unanswered> {
        let chain = chain.clone();
        self.ask(move |shard| shard.admission.replace(&chain, shard.index)).all().await.map(drop)
    }

    /// Has every shard show these certificates to whoever comes from now on; nothing where it was started without TLS.
    pub async fn set_tls(&self, tls: &ServerTls) -> Result<(), Unanswered> {
        let tls = tls.clone();
        let replace = move |shard: &Rc<Shard>| {
            if let Some(shown) = &mut *shard.tls.borrow_mut() {
                *shown = tls.clone();
            }
        };
        self.ask(replace).all().await.map(drop)
    }

    /// Whether the configuration has given this clip.
    pub fn has_slate(&self, key: SlateKey) -> bool {
        self.slates.has(key)
    }

    /// Gives every shard these clips besides those of the configuration; what streams show changes with their next slate.
    pub async fn hold_slates(&self, clips: &Arc<Clips>) -> Result<(), Unanswered> {
        let clips = Arc::clone(clips);
        self.ask(move |shard| view::hold_slates(shard, &clips)).all().await.map(drop)
    }

    /// Every shard offers these renditions of a stream in place of those of its record; `None`: those of its record again. Whoever says so takes it
    /// back when the stream is over.
    pub async fn set_ladder(&self, id: &Id, ladder: Option<Arc<[Rendition]>>) -> Result<(), Unanswered> {
        let id = id.clone();
        self.ask(move |shard| view::set_ladder(shard, &id, ladder.as_ref())).all().await.map(drop)
    }

    /// What the records of these streams say, as one shard has it. Told in turns.
    pub async fn of_records(&self, ids: &[Id]) -> Result<Vec<OfRecord>, Unanswered> {
        let mut all = Vec::with_capacity(ids.len());
        for some in ids.chunks(STREAMS_PER_TURN) {
            let some = some.to_vec();
            let records = self.ask_first(move |shard| some.iter().map(|id| view::of_record(shard, id)).collect());
            all.extend::<Vec<_>>(records.await?);
        }
        Ok(all)
    }

    /// Has a stream recorded, or not, until it is over, whatever its settings say; false: it is not on air.
    pub async fn record(&self, id: &Id, wanted: bool) -> Result<bool, Unanswered> {
        let id = id.clone();
        let done = self.ask(move |shard| view::record(shard, &id, wanted)).all().await?;
        Ok(done.contains(&true))
    }

    /// Tells viewers of a marker with these names and values; false: the stream is not on air.
    pub async fn mark(&self, id: &Id, pairs: Arc<[(String, String)]>) -> Result<bool, Unanswered> {
        let id = id.clone();
        let done = self.ask(move |shard| view::mark(shard, &id, &pairs)).all().await?;
        Ok(done.contains(&true))
    }

    /// A stream as it is now; `None` where nobody publishes or watches it.
    pub async fn look(&self, id: &Id) -> Result<Option<Live>, Unanswered> {
        let id = id.clone();
        let parts = self.ask(move |shard| view::look(shard, &id)).all().await?;
        Ok(parts.into_iter().flatten().reduce(Part::merge).map(Part::finish))
    }

    /// Every stream that somebody publishes or watches, by id. Told in turns, so it is not of one moment.
    pub async fn on_air(&self) -> Result<Vec<Live>, Unanswered> {
        let all: Vec<Live> = self.parts(view::Viewers::All).await?.into_iter().map(Part::finish).collect();
        self.note_reached(&all);
        Ok(all)
    }

    /// What players have said of how they play since this was asked last, by shard and then in the order in which it came: of the shards that answer within
    /// this time. The others keep what they have for the next time.
    pub async fn said_by_players(&self, wait: Duration) -> Vec<Said> {
        let is_asked = Arc::new(AtomicBool::new(true));
        let still_asked = Arc::clone(&is_asked);
        // A shard that comes to it later would take what nobody hears.
        let take = move |shard: &Rc<Shard>| if still_asked.load(Relaxed) { shard.said.take() } else { Vec::new() };
        let mut asked = self.ask(take);
        let (until, mut all) = (Instant::now() + wait, Vec::new());
        while let Ok(Some(said)) = timeout_at(until, asked.receiver.recv()).await {
            all.extend(said);
        }
        is_asked.store(false, Relaxed);
        all
    }

    /// The same with the viewers of each stream itself that have a session and no others, and how some of those keep up: the same ones each time as long
    /// as they stay. This is asked each second.
    pub async fn on_air_with_watching(&self) -> Result<Vec<(Live, Vec<Watching>)>, Unanswered> {
        Ok(self.parts(view::Viewers::OfItself).await?.into_iter().map(Part::finish_with_watching).collect())
    }

    async fn parts(&self, whom: view::Viewers) -> Result<Vec<Part>, Unanswered> {
        let mut all: Vec<Part> = Vec::new();
        let mut after = None;
        loop {
            let from: Option<Id> = after.take();
            let pages = self.ask(move |shard| view::on_air(shard, from.as_ref(), STREAMS_PER_TURN, whom)).all().await?;
            // Each shard went on to its own place: what is certain is what all of them have passed.
            let passed = pages.iter().filter_map(|page| page.next.clone()).min();
            let certain = |part: &Part| passed.as_ref().is_none_or(|passed| part.live.id.as_str() <= passed.as_str());
            let mut told: Vec<_> = pages.into_iter().flat_map(|page| page.streams).filter(certain).collect();
            told.sort_by(|a, b| a.live.id.cmp(&b.live.id));
            for part in told {
                match all.pop() {
                    Some(last) if last.live.id == part.live.id => all.push(last.merge(part)),
                    last => {
                        all.extend(last);
                        all.push(part);
                    }
                }
            }
            let Some(passed) = passed else { return Ok(all) };
            after = Some(passed);
        }
    }

    /// Keeps how many are reached without a session for the metrics; the first shard tells it.
    fn note_reached(&self, all: &[Live]) {
        let Some(stats) = self.stats.first() else { return };
        for (format, gauge) in stats.viewers().filter(|(format, _)| format.role.is_none()) {
            let viewers = all.iter().flat_map(|live| &live.viewers);
            let of_protocol = viewers.filter(|viewers| viewers.protocol == format.protocol);
            gauge.set(i64::try_from(of_protocol.map(|viewers| viewers.count).sum::<u64>()).unwrap_or(i64::MAX));
        }
    }

    /// Who watches a stream, at most `limit`, after this session number.
    pub async fn viewers(&self, id: &Id, after: u64, limit: usize) -> Result<ViewerPage, Unanswered> {
        let limit = limit.clamp(1, VIEWERS_PER_TURN);
        let id = id.clone();
        let pages = self.ask(move |shard| view::viewers(shard, &id, after, limit + 1)).all().await?;
        let mut viewers: Vec<Viewer> = pages.into_iter().flatten().collect();
        viewers.sort_by_key(|viewer| viewer.session);
        let more = viewers.len() > limit;
        viewers.truncate(limit);
        let next_after = viewers.last().filter(|_| more).map(|viewer| viewer.session);
        Ok(ViewerPage { viewers, next_after })
    }

    /// Ends a session; false: there is none of this number.
    pub async fn kick_session(&self, session: u64) -> Result<bool, Unanswered> {
        let ended = self.ask(move |shard| view::kick_session(shard, session)).all().await?;
        Ok(ended.contains(&true))
    }

    /// Ends sessions of a stream; how many.
    pub async fn kick_stream(&self, id: &Id, whom: Whom) -> Result<u64, Unanswered> {
        let id = id.clone();
        let ended = self.ask(move |shard| view::kick_stream(shard, &id, whom)).all().await?;
        Ok(ended.into_iter().sum())
    }

    /// Has the first shard answer: of what all of them have alike.
    async fn ask_first<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Rc<Shard>) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (sender, mut receiver) = channel(1);
        let job = move |shard: &Rc<Shard>| {
            // Who asked may have given up.
            let _ = sender.try_send(question(shard));
        };
        drop(self.mailboxes.try_put(0, work_of(job)));
        receiver.recv().await.ok_or(Unanswered { missing: 1, shards: self.shards() })
    }

    /// Has every shard do this.
    fn ask<T: Send + 'static>(&self, work: impl Fn(&Rc<Shard>) -> T + Clone + Send + 'static) -> Asked<T> {
        let shards = self.shards();
        let (sender, receiver) = channel(shards);
        for shard in 0..shards {
            let (work, sender) = (work.clone(), sender.clone());
            // There is room for each, but who asked may have given up.
            let job = move |shard: &Rc<Shard>| drop(sender.try_send(work(shard)));
            drop(self.mailboxes.try_put(shard, work_of(job)));
        }
        Asked { receiver, shards }
    }
}

/// A question to all shards.
struct Asked<T> {
    receiver: Receiver<T>,
    shards: usize,
}

impl<T> Asked<T> {
    async fn all(mut self) -> Result<Vec<T>, Unanswered> {
        let mut answers = Vec::with_capacity(self.shards);
        while let Some(answer) = self.receiver.recv().await {
            answers.push(answer);
        }
        let missing = self.shards - answers.len();
        if missing == 0 { Ok(answers) } else { Err(Unanswered { missing, shards: self.shards }) }
    }
}
