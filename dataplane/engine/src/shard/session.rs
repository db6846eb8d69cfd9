//! The sessions of a shard: who is connected, until when they must have done something, and how they are ended from outside
//! their own task. One slow sweep replaces a timer per session.
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use millstream_hub::config::StreamConfig;
use millstream_hub::viewer::{self, Viewer};
use millstream_policy::{Action, Request};
use millstream_proto::network::counted;
use millstream_proto::time::Time;
use tracing::Span;

use super::budget::{OfConnection, share_of};
use super::granted::Granted;
use super::unfinished::Unfinished;
use super::wait::Notify;
use crate::close::CloseReason;
use crate::config::Limits;
use crate::io::Closer;
use crate::metrics::ShardStats;

/// What a session plays.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) config: StreamConfig,
    pub(crate) viewer: Rc<RefCell<Viewer>>,
    /// What it came over.
    pub(crate) protocol: &'static str,
    pub(crate) since: Time,
}

pub(crate) struct Session {
    /// Its number, unique in the process.
    pub(crate) number: u64,
    /// Its span: what is logged of it is logged in there.
    pub(crate) span: Span,
    /// Wakes its viewer task.
    pub(crate) notify: Notify,
    /// How often it may publish.
    pub(crate) publishes: Cell<OfConnection>,
    /// What it was admitted for.
    pub(crate) granted: RefCell<Granted>,
    peer: Cell<SocketAddr>,
    /// Its connection is encrypted, by us or as a proxy in front says.
    secure: Cell<bool>,
    /// Whether it counts for that address: not before a proxy has named it.
    counted: Cell<bool>,
    closer: Closer,
    deadline: Cell<Option<Time>>,
    ending: Cell<Option<CloseReason>>,
    new: Cell<bool>,
    idle: Cell<bool>,
    /// Requests on it are sessions of their own, which count in its place.
    carries: Cell<bool>,
    /// Its end needs no line of its own.
    quiet: Cell<bool>,
    watching: RefCell<Option<Watched>>,
    home: Weak<Sessions>,
}

impl Session {
    fn new(home: &Rc<Sessions>, number: u64, peer: SocketAddr, counted: bool, span: Span, closer: Closer) -> Self {
        Self {
            number,
            peer: Cell::new(peer),
            secure: Cell::new(false),
            counted: Cell::new(counted),
            span,
            notify: Notify::default(),
            publishes: Cell::default(),
            granted: RefCell::default(),
            closer,
            deadline: Cell::new(None),
            ending: Cell::new(None),
            new: Cell::new(false),
            idle: Cell::new(false),
            carries: Cell::new(false),
            quiet: Cell::new(false),
            watching: RefCell::new(None),
            home: Rc::downgrade(home),
        }
    }

    /// Its address; the proxy's until that has named the client.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer.get()
    }

    /// A proxy has named the address behind it, which counts from here on; an error is the limit that this would pass.
    pub(crate) fn comes_from(&self, peer: SocketAddr) -> Result<(), CloseReason> {
        self.span.record("peer", tracing::field::display(peer));
        self.peer.set(peer);
        if let Some(home) = self.home.upgrade()
            && !self.counted.get()
        {
            home.new.borrow_mut().comes_from(self.number, peer.ip());
            home.count(peer.ip())?;
            self.counted.set(true);
        }
        Ok(())
    }

    /// Whether the client's connection is encrypted is known, or a proxy has said so.
    pub(crate) fn set_secure(&self, secure: bool) {
        self.secure.set(secure);
    }

    /// Whether the client's connection is encrypted, as far as that is known.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure.get()
    }

    /// A proxy that many share has named whom the request that follows is for: that address counts until [`Session::served`], or to the
    /// session's end. An error is the limit that this would pass; then nobody counts.
    pub(crate) fn serves(&self, client: SocketAddr) -> Result<(), CloseReason> {
        let Some(home) = self.home.upgrade() else { return Ok(()) };
        self.uncount(&home);
        self.peer.set(client);
        home.count(client.ip())?;
        self.counted.set(true);
        Ok(())
    }

    /// The request has been answered: the connection is the proxy's again, and counts for nobody.
    pub(crate) fn served(&self, proxy: SocketAddr) {
        if let Some(home) = self.home.upgrade() {
            self.uncount(&home);
        }
        self.peer.set(proxy);
    }

    /// A proxy that many share is all that is known of the client so far.
    pub(crate) fn comes_through(&self, proxy: SocketAddr) {
        self.peer.set(proxy);
    }

    /// Tells the log whom the rest of the connection is for.
    pub(crate) fn name_peer(&self) {
        self.span.record("peer", tracing::field::display(self.peer()));
    }

    fn uncount(&self, home: &Sessions) {
        if self.counted.replace(false) {
            home.uncount(self.peer().ip());
        }
    }

    /// It must have moved this deadline by then, or is ended.
    pub(crate) fn set_deadline(&self, deadline: Option<Time>) {
        self.deadline.set(deadline);
    }

    /// It has asked for something: it no longer counts against the limit of those that have not.
    pub(crate) fn asked(&self) {
        if self.new.replace(false)
            && let Some(home) = self.home.upgrade()
        {
            home.new.borrow_mut().remove(self.number);
        }
    }

    /// Whether it has yet to ask for something.
    pub(crate) fn is_new(&self) -> bool {
        self.new.get()
    }

    /// It waits for a request, or has one.
    pub(crate) fn set_idle(&self, idle: bool) {
        if self.idle.replace(idle) != idle
            && let Some(home) = self.home.upgrade()
        {
            let mut all = home.idle.borrow_mut();
            if idle {
                all.insert(self.number)
            } else {
                all.remove(&self.number)
            };
        }
    }

    /// Requests on it have begun to be sessions of their own: the first counts in its place. Or all of them are over, and it counts again. `counted`: for
    /// its address, too.
    pub(crate) fn set_carries(&self, carries: bool, counted: bool) {
        let Some(home) = self.home.upgrade() else { return };
        if self.carries.replace(carries) == carries {
            return;
        }
        if carries {
            home.carrying.set(home.carrying.get() + 1);
            self.uncount(&home);
        } else {
            home.carrying.set(home.carrying.get() - 1);
            if counted {
                home.count_again(self.peer().ip());
                self.counted.set(true);
            }
        }
        home.tell();
    }

    /// Whether requests on it are sessions of their own.
    pub(crate) fn carries(&self) -> bool {
        self.carries.get()
    }

    /// Whether its end needs no line of its own in the log.
    pub(crate) fn set_quiet(&self, quiet: bool) {
        self.quiet.set(quiet);
    }

    /// Whether its end has been told already.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.get()
    }

    /// Whether it has nothing to do, and loses nothing when it ends.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle.get()
    }

    /// Whether it plays or played.
    pub(crate) fn was_watching(&self) -> bool {
        self.watching.borrow().is_some()
    }

    /// Why it is being ended, if it is.
    pub(crate) fn ending(&self) -> Option<CloseReason> {
        self.ending.get()
    }

    /// Ends it: its task finds the connection closed, and this reason.
    pub(crate) fn end(&self, why: CloseReason) {
        if self.ending.get().is_none() {
            self.ending.set(Some(why));
        }
        self.closer.close();
        self.notify.notify();
    }

    /// Why it ends where the socket says this: a socket that we closed looks like one that the peer closed.
    pub(crate) fn ended_by(&self, socket: CloseReason) -> CloseReason {
        self.ending.get().unwrap_or(socket)
    }

    /// Ends it, but lets it say goodbye: reading ends, writing goes on.
    pub(crate) fn end_politely(&self, why: CloseReason) {
        if self.ending.get().is_none() {
            self.ending.set(Some(why));
        }
        self.closer.close_read();
        self.notify.notify();
    }

    fn is_expired(&self, now: Time) -> bool {
        self.granted.borrow().is_over(now)
    }

    /// What is to be asked about it again now.
    fn take_recheck(&self, now: Time) -> Option<Request> {
        self.granted.borrow_mut().take_recheck(now).filter(|_| self.ending().is_none())
    }

    /// Ends it because it may not go on: a viewer at once, a publisher politely.
    pub(super) fn end_as_asked(&self, why: CloseReason) {
        if self.was_watching() { self.end(why) } else { self.end_politely(why) }
    }

    fn is_overdue(&self, now: Time) -> bool {
        self.has_missed(now)
            || self.ending().is_none() && self.is_expired(now)
            || self.ending().is_none() && self.stuck(now).is_some()
    }

    fn end_overdue(&self, now: Time) {
        // Also one that is being ended: its goodbye has a deadline too.
        if self.has_missed(now) {
            self.end(CloseReason::Timeout);
        } else if self.ending().is_none() && self.is_expired(now) {
            self.end_as_asked(CloseReason::Expired);
        } else if self.ending().is_none() {
            match self.stuck(now) {
                // Nothing is under way: it finds out by itself, and can say goodbye.
                Some(viewer::CloseReason::NoStart) => self.notify.notify(),
                Some(why) => self.end(why.into()),
                None => {}
            }
        }
    }

    fn has_missed(&self, now: Time) -> bool {
        self.deadline.get().is_some_and(|deadline| deadline <= now)
    }

    /// Why what it plays is to end.
    fn stuck(&self, now: Time) -> Option<viewer::CloseReason> {
        let watching = self.watching.borrow();
        let Watched { config, viewer, .. } = watching.as_ref()?;
        // A viewer that is being worked on is not overdue.
        viewer.try_borrow().ok().and_then(|viewer| viewer.overdue(config, now))
    }

    /// Whether it is being ended so that others have its place.
    pub(super) fn gives_way(&self) -> bool {
        matches!(self.ending(), Some(CloseReason::Handshakes | CloseReason::GaveWay))
    }

    /// What it plays or played.
    pub(crate) fn watched(&self) -> Option<Watched> {
        self.watching.borrow().clone()
    }

    /// It plays: the sweep looks after its viewer from here on.
    pub(crate) fn watch(&self, watched: Watched) {
        *self.watching.borrow_mut() = Some(watched);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.asked();
        self.set_idle(false);
        if let Some(home) = self.home.upgrade() {
            home.forget(self);
        }
    }
}

/// Ends a session whose task ends without having said so: a defect. Its other task is not to go on alone.
pub(crate) struct EndsWith<'a>(pub(crate) &'a Session);

impl Drop for EndsWith<'_> {
    fn drop(&mut self) {
        self.0.end(CloseReason::Defect);
    }
}

/// A descriptor besides that of a session: it counts as a connection of its address for as long as it is held.
pub(crate) struct Lease {
    home: Rc<Sessions>,
    address: IpAddr,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Self { home, address } = self;
        home.leases.set(home.leases.get() - 1);
        home.tell();
        home.uncount(*address);
    }
}

/// Sessions that something is to be done about.
#[derive(Default)]
pub(crate) struct Due {
    /// Those that have missed their deadline, and viewers that have waited or stalled too long.
    pub(crate) overdue: Vec<u64>,
    /// Those that the policy is to be asked about again, with the question.
    pub(crate) rechecks: Vec<(Rc<Session>, Request)>,
}

/// How a connection came here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Arrival {
    /// From its peer. It has yet to ask for something.
    Direct,
    /// Through a proxy that has yet to name the peer; counts for no address until then.
    Proxied,
    /// Through a proxy that names the peer with each request; counts for no address between them.
    Shared,
    /// From another shard, where it has asked and holds its descriptor already.
    HandedOver,
}

/// All sessions of a shard, and its share of the limits.
pub(crate) struct Sessions {
    list: RefCell<HashMap<u64, Weak<Session>>>,
    addresses: RefCell<HashMap<IpAddr, usize>>,
    /// Those that have yet to ask for something.
    new: RefCell<Unfinished>,
    /// Those that have nothing to do, the oldest first.
    idle: RefCell<BTreeSet<u64>>,
    /// Descriptors besides those of sessions.
    leases: Cell<usize>,
    /// Sessions that others count in the place of.
    carrying: Cell<usize>,
    limits: Limits,
    /// Numbers of all shards, which tell how many connections the process has; this shard's are at `index`.
    stats: Vec<Arc<ShardStats>>,
    index: usize,
}

impl Sessions {
    /// The sessions of one of the shards that `stats` are of. Connections are counted exactly, for they are descriptors. For
    /// the rest, the kernel spreads connections evenly, but not exactly: each shard gets a quarter more than its share.
    pub(crate) fn new(limits: Limits, stats: Vec<Arc<ShardStats>>, index: usize) -> Rc<Self> {
        let shards = stats.len();
        let share = |limit| share_of(limit, shards);
        let limits = Limits { per_address: share(limits.per_address), handshakes: share(limits.handshakes), ..limits };
        Rc::new(Self {
            list: RefCell::default(),
            addresses: RefCell::default(),
            new: RefCell::default(),
            idle: RefCell::default(),
            leases: Cell::new(0),
            carrying: Cell::new(0),
            limits,
            stats,
            index,
        })
    }

    /// A new connection, or the limit that it would pass.
    pub(crate) fn admit(
        self: &Rc<Self>,
        number: u64,
        peer: SocketAddr,
        closer: Closer,
        span: Span,
        arrival: Arrival,
    ) -> Result<Rc<Session>, CloseReason> {
        if arrival != Arrival::HandedOver {
            self.make_place()?;
        }
        let counted = !matches!(arrival, Arrival::Proxied | Arrival::Shared);
        if counted {
            self.count(peer.ip())?;
        }
        let new = arrival != Arrival::HandedOver;
        let session = Rc::new(Session::new(self, number, peer, counted, span, closer));
        session.new.set(new);
        self.list.borrow_mut().insert(number, Rc::downgrade(&session));
        self.tell();
        if new {
            self.new.borrow_mut().insert(number, peer.ip());
        }
        self.make_room();
        Ok(session)
    }

    /// Whether there is a place for one more; connections that have nothing to do give way.
    fn make_place(&self) -> Result<(), CloseReason> {
        if self.open() >= places(Action::Publish, self.limits.connections as u64) {
            self.end_idle();
        }
        if self.open() >= self.limits.connections as u64 { Err(CloseReason::Connections) } else { Ok(()) }
    }

    /// A request that is answered beside others of its connection, as a connection of its own would be; or the limit that it would pass. `counted`:
    /// it is of the connection's peer, and not of somebody whom a proxy has yet to name.
    pub(crate) fn begin_request(
        self: &Rc<Self>,
        number: u64,
        connection: &Session,
        (closer, span): (Closer, Span),
        counted: bool,
    ) -> Result<Rc<Session>, CloseReason> {
        self.make_place()?;
        let peer = connection.peer();
        if counted {
            self.count(peer.ip())?;
        }
        let session = Rc::new(Session::new(self, number, peer, counted, span, closer));
        session.secure.set(connection.is_secure());
        self.list.borrow_mut().insert(number, Rc::downgrade(&session));
        self.tell();
        Ok(session)
    }

    /// A descriptor for a further session of a connection that is here, whose own descriptor is one more; or the limit that they would pass.
    pub(crate) fn lease(self: &Rc<Self>, address: IpAddr) -> Result<Lease, CloseReason> {
        if self.open() + 2 > self.limits.connections as u64 {
            return Err(CloseReason::Connections);
        }
        self.count(address)?;
        self.leases.set(self.leases.get() + 1);
        self.tell();
        Ok(Lease { home: Rc::clone(self), address })
    }

    /// Whether a connection that is here may begin this. When connections or memory run out, new publishers are refused first, in
    /// the last tenth, then new viewers, in the last twentieth, then connections. Who is on air goes on.
    pub(crate) fn has_room(&self, action: Action) -> bool {
        let held = self.stats.first().map_or(0, |stats| stats.resident_bytes.get().unsigned_abs());
        self.open() <= places(action, self.limits.connections as u64)
            && self.limits.memory.is_none_or(|most| held <= places(action, most))
    }

    /// Connections of the process, and what else counts as one.
    fn open(&self) -> u64 {
        self.stats.iter().map(|stats| u64::try_from(stats.connections.get()).unwrap_or(0)).sum()
    }

    /// Tells the other shards how many of them are here.
    fn tell(&self) {
        if let Some(stats) = self.stats.get(self.index) {
            stats.connections.set((self.len() + self.leases.get() - self.carrying.get()) as i64);
        }
    }

    /// One more connection of that address, or the limit that it would pass.
    fn count(&self, address: IpAddr) -> Result<(), CloseReason> {
        let mut addresses = self.addresses.borrow_mut();
        let of_address = addresses.entry(counted(address)).or_default();
        if *of_address >= self.limits.per_address {
            return Err(CloseReason::PerAddress);
        }
        *of_address += 1;
        Ok(())
    }

    /// Before anybody is refused, a connection that has nothing to do gives way.
    fn end_idle(&self) {
        let oldest = self.idle.borrow_mut().pop_first();
        if let Some(session) = oldest.and_then(|number| self.get(number)) {
            // Politely, for those whose protocol has a word for it.
            session.end_politely(CloseReason::GaveWay);
        }
    }

    /// With too many that have not asked for anything, one of the address that has most goes: who connects and says nothing cannot keep
    /// others out.
    fn make_room(&self) {
        let crowded = {
            let mut new = self.new.borrow_mut();
            if new.len() <= self.limits.handshakes {
                return;
            }
            new.pop_crowded()
        };
        if let Some(session) = crowded.and_then(|number| self.get(number)) {
            session.end(CloseReason::Handshakes);
        }
    }

    fn forget(&self, session: &Session) {
        if session.carries.get() {
            self.carrying.set(self.carrying.get() - 1);
        }
        self.list.borrow_mut().remove(&session.number);
        self.tell();
        session.uncount(self);
    }

    /// A connection of that address counts again that others counted in the place of: it is there, whatever the limit.
    fn count_again(&self, address: IpAddr) {
        *self.addresses.borrow_mut().entry(counted(address)).or_default() += 1;
    }

    /// One connection of that address less.
    fn uncount(&self, address: IpAddr) {
        let mut addresses = self.addresses.borrow_mut();
        let address = counted(address);
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.borrow().len()
    }

    /// The session of that number.
    pub(crate) fn get(&self, number: u64) -> Option<Rc<Session>> {
        self.list.borrow().get(&number).and_then(Weak::upgrade)
    }

    /// Those that something is to be done about.
    pub(crate) fn due(&self, now: Time) -> Due {
        let mut due = Due::default();
        for session in self.all() {
            if session.is_overdue(now) {
                due.overdue.push(session.number);
            } else if let Some(question) = session.take_recheck(now) {
                due.rechecks.push((session, question));
            }
        }
        due
    }

    /// Ends one of those, if it still is one.
    pub(crate) fn end_overdue(&self, number: u64, now: Time) {
        if let Some(session) = self.get(number) {
            session.end_overdue(now);
        }
    }

    /// Every session there is now.
    pub(crate) fn all(&self) -> Vec<Rc<Session>> {
        self.list.borrow().values().filter_map(Weak::upgrade).collect()
    }
}

/// How many of `most` may be taken before this is refused.
fn places(action: Action, most: u64) -> u64 {
    match action {
        Action::Publish => most - most / 10,
        Action::Play => most - most / 20,
    }
}
