//! What is to be done about recordings, and who does it, as this process knows it: what the store has, and what nodes have been told. Changed by
//! [`super`] and the files beside it.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use millstream_control_protocol::task::Task;
use millstream_fleet::Fleet;
use millstream_store::item::Query;
use millstream_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::RECORDING_BY_HAND;
use crate::model::recording_work::{ByHand, Work};
use crate::model::unreadable::Unreadable;

/// What is to be done, and who does it.
#[derive(Debug, Default)]
pub(crate) struct Recordings {
    inner: Mutex<Inner>,
    /// There is something new to do.
    pub(super) wake: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) work: BTreeMap<String, Known>,
    pub(super) read_at: Option<Instant>,
    pub(super) by_hand: Watched,
    pub(super) retained_at_ms: Option<u64>,
}

/// Something to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) work: Work,
    /// Who has been told of it.
    pub(super) node: Option<String>,
    /// Why it is not done.
    pub(super) why: String,
    /// It is known that a node does it.
    pub(super) is_begun: bool,
    /// Its event has been told by this process.
    pub(super) is_told: bool,
}

impl Recordings {
    /// What the store has: the fleet is told of what was done by hand.
    pub(crate) async fn begin(store: &dyn Store, fleet: &Fleet, unreadable: &Unreadable) -> Result<Self, StoreError> {
        let by_hand = begin(store, fleet, unreadable).await?;
        Ok(Self { inner: Mutex::new(Inner { by_hand, ..Inner::default() }), wake: Notify::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change under this lock is one step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is in the store: nodes are to be told.
    pub(super) fn add(&self, work: Work) {
        self.lock().work.entry(work.id()).or_insert_with(|| Known { work, ..Known::default() });
        self.wake.notify_one();
    }

    /// It is done, or will not be.
    pub(super) fn remove(&self, id: &str) {
        self.lock().work.remove(id);
    }
}

/// What is stored, as far as it is looked at each second, by stream.
pub(super) type Watched = BTreeMap<String, OnAir>;

/// Where a session is.
#[derive(Clone, Debug)]
pub(super) struct OnAir {
    pub(super) node: String,
    pub(super) run: u64,
    /// Its node does not hold the stream, since then.
    pub(super) absent_since: Option<Instant>,
}

impl OnAir {
    pub(super) fn of(by_hand: &ByHand) -> Self {
        Self { node: by_hand.node.clone(), run: by_hand.run, absent_since: None }
    }
}

/// Tells the fleet what the store has.
async fn begin(store: &dyn Store, fleet: &Fleet, unreadable: &Unreadable) -> Result<Watched, StoreError> {
    let (mut watched, mut after) = (Watched::new(), None);
    loop {
        let page = store.page(Query { after, ..Query::all(RECORDING_BY_HAND) }).await?;
        for item in &page.items {
            if let Some(kept) = unreadable.read::<ByHand>(RECORDING_BY_HAND, item) {
                fleet.assign(Task::by_hand(&item.key, kept.value.wanted, kept.value.number));
                watched.insert(item.key.clone(), OnAir::of(&kept.value));
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(watched);
        }
    }
}
