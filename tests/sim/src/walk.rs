//! What all tasks of a walk share: the engine's handle, what was published, what was seen; and how they wait.
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use millstream_engine_simulated::Remote;
use millstream_engine_simulated::io;
use millstream_proto::time::Time;

use crate::plan::Settings;
use crate::published::Published;

/// What a walk has seen, by name.
pub type Seen = BTreeMap<&'static str, u64>;

/// What all tasks of a walk share.
pub(crate) struct Walk {
    pub(crate) settings: Settings,
    pub(crate) remote: Remote,
    /// Whether the server never runs out of them.
    pub(crate) has_descriptors: bool,
    pub(crate) published: RefCell<BTreeMap<&'static str, Published>>,
    /// Files of playlists by stream and path: each is the same for all.
    pub(crate) files: RefCell<BTreeMap<(&'static str, String), u64>>,
    /// Peers that have not ended.
    pub(crate) peers: Cell<usize>,
    pub(crate) seen: RefCell<Seen>,
    /// Gaps that viewers found; all of them must have been counted by the engine.
    pub(crate) gaps: Cell<u64>,
    /// Pauses that were ended: each may have been a gap.
    pub(crate) resumes: Cell<u64>,
    /// Streams that nobody may play as FLV, since when.
    pub(crate) flv_off: RefCell<BTreeMap<&'static str, Time>>,
}

impl Walk {
    pub(crate) fn new(settings: Settings, remote: Remote, has_descriptors: bool) -> Self {
        Self {
            settings,
            remote,
            has_descriptors,
            published: RefCell::default(),
            files: RefCell::default(),
            peers: Cell::new(0),
            seen: RefCell::default(),
            gaps: Cell::new(0),
            resumes: Cell::new(0),
            flv_off: RefCell::default(),
        }
    }

    pub(crate) fn saw(&self, what: &'static str, count: u64) {
        *self.seen.borrow_mut().entry(what).or_default() += count;
    }

    pub(crate) fn of_stream<T>(&self, stream: &'static str, what: impl FnOnce(&mut Published) -> T) -> T {
        what(self.published.borrow_mut().entry(stream).or_default())
    }
}

/// Counts a peer for as long as its task runs.
pub(crate) struct Peer(Rc<Walk>);

impl Peer {
    pub(crate) fn new(walk: &Rc<Walk>) -> Self {
        walk.peers.set(walk.peers.get() + 1);
        Self(Rc::clone(walk))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.peers.set(self.0.peers.get() - 1);
    }
}

/// Waits until that moment at most: `None`, where it came first.
pub(crate) async fn by<T>(until: Time, what: impl Future<Output = T>) -> Option<T> {
    let (what, timer) = (pin!(what), pin!(io::sleep(until.since(io::now()))));
    match select(what, timer).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

pub(crate) async fn sleep_ms(ms: u64) {
    io::sleep(Duration::from_millis(ms)).await;
}
