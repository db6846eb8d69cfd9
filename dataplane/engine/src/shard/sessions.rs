//! All sessions of a shard, and its share of the limits: who is let in, who gives way to whom, and what the slow sweep finds. Before it: connections that arrive;
//! after it: [`super::session`], one of them.
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use millstream_policy::{Action, Request};
use millstream_proto::network::counted;
use millstream_proto::time::Time;
use tracing::Span;

use super::budget::share_of;
use super::session::Session;
use super::unfinished::Unfinished;
use crate::close::CloseReason;
use crate::config::Limits;
use crate::io::Closer;
use crate::metrics::ShardStats;

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
    pub(super) new: RefCell<Unfinished>,
    /// Those that have nothing to do, the oldest first.
    pub(super) idle: RefCell<BTreeSet<u64>>,
    /// Descriptors besides those of sessions.
    leases: Cell<usize>,
    /// Sessions that others count in the place of.
    pub(super) carrying: Cell<usize>,
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
    pub(super) fn tell(&self) {
        if let Some(stats) = self.stats.get(self.index) {
            stats.connections.set((self.len() + self.leases.get() - self.carrying.get()) as i64);
        }
    }

    /// One more connection of that address, or the limit that it would pass.
    pub(super) fn count(&self, address: IpAddr) -> Result<(), CloseReason> {
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

    pub(super) fn forget(&self, session: &Session) {
        if session.carries.get() {
            self.carrying.set(self.carrying.get() - 1);
        }
        self.list.borrow_mut().remove(&session.number);
        self.tell();
        session.uncount(self);
    }

    /// A connection of that address counts again that others counted in the place of: it is there, whatever the limit.
    pub(super) fn count_again(&self, address: IpAddr) {
        *self.addresses.borrow_mut().entry(counted(address)).or_default() += 1;
    }

    /// One connection of that address less.
    pub(super) fn uncount(&self, address: IpAddr) {
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
