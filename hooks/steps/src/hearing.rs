//! Event hooks: what happened waits here for each binding, goes to its hook in batches, and what the hook orders comes out. Before it: [`super::notice`];
//! after it: [`super::post`], which calls this on a thread of its own, and whoever carries orders out.
//!
//! Nothing waits for a hook: a queue that is full loses the oldest notices of the stream that has most, and a batch that a hook fails with is not given to it again. Both are counted.
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_control_protocol::state::Binding;
use millstream_hooks::wit::events::{Notice, Order};
use millstream_hooks::{Called, Hook};
use millstream_proto::id::Id;

use crate::failing::Counted;
use crate::numbers::OfVersion;
use crate::reach::{Counts, Reach};
use crate::waiting::{Batch, Waiting};

/// Names and values of a marker: each viewer gets them.
const MARKER_BYTES_MAX: usize = 4 << 10;

/// Who is told: a hook, or in tests something else.
pub trait Hearer: Send + Sync {
    /// Takes notices, and says what is to be done.
    fn on_notices(&self, notices: &[Notice]) -> Called<Vec<Order>>;
}

impl Hearer for Hook {
    fn on_notices(&self, notices: &[Notice]) -> Called<Vec<Order>> {
        self.on_notices(notices)
    }
}

/// What an order means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// The stream is to be recorded, or not, until it is over.
    Record(bool),
    /// The stream's viewers are to be told of a marker.
    Mark(Arc<[(String, String)]>),
}

/// A deed, and what it is counted with.
#[derive(Clone)]
pub struct Ordered {
    /// The stream.
    pub stream: Id,
    /// What is to be done.
    pub deed: Deed,
    numbers: Arc<OfVersion>,
}

impl Ordered {
    /// It was done, or could not be: the stream is not on air.
    pub fn is_done(&self, done: bool) {
        self.numbers.ordered(if done { "followed" } else { "not_on_air" });
    }

    /// There was no room for it.
    pub fn is_dropped(&self) {
        self.numbers.ordered("dropped");
    }
}

impl fmt::Debug for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ordered").field(&self.stream).field(&self.deed).finish()
    }
}

/// What came of a batch.
#[derive(Debug, Default)]
pub struct Delivered {
    /// What the hook wants done and may want.
    pub orders: Vec<Ordered>,
    /// What the call took.
    pub cpu: Duration,
}

/// An event hook that is bound.
pub struct Hearing {
    /// The binding's id.
    pub id: String,
    /// The hook's name.
    pub hook: String,
    /// Which version of it.
    pub version: u64,
    /// Its streams.
    pub reach: Reach,
    /// How often it was called lately, and failed.
    pub calls: Counted,
    /// `None`: its module is not here yet.
    pub hearer: Option<Arc<dyn Hearer>>,
    numbers: Arc<OfVersion>,
    waiting: Mutex<Waiting>,
}

impl Hearing {
    /// A binding of an event hook; `None`: it is for something else, or nobody is asked.
    pub fn new(binding: &Binding, hearer: Option<Arc<dyn Hearer>>, numbers: Arc<OfVersion>) -> Option<Self> {
        let is_of_events = binding.kind == "events" && binding.point == "events";
        let reach = Reach::of(binding).filter(|_| is_of_events)?;
        Some(Self {
            id: binding.id.clone(),
            hook: binding.hook.clone(),
            version: binding.version,
            reach,
            calls: Counted::default(),
            hearer,
            numbers,
            waiting: Mutex::default(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the hook hears of this stream.
    pub fn hears_of(&self, stream: &Id) -> bool {
        self.reach.counts(stream) != Counts::NotAsked
    }

    /// Notes what happened to a stream, where the hook hears of it. True: something waits now.
    pub fn note(&self, stream: &Id, notice: &Notice, from: Option<IpAddr>) -> bool {
        if !self.hears_of(stream) {
            return false;
        }
        if self.hearer.is_none() {
            self.numbers.noticed("not_ready", 1);
            return false;
        }
        let lost = self.waiting().push(notice.clone(), from);
        self.numbers.noticed("lost", lost);
        true
    }

    /// What waits for the same binding as it was goes to this one, where it can be told and is of its streams.
    pub fn take_over(&self, before: &Self) {
        if self.hearer.is_none() {
            return;
        }
        let waited = std::mem::take(&mut *before.waiting());
        for (notice, from) in waited.into_notices() {
            let is_its = Id::new(&notice.target.name).is_ok_and(|stream| self.hears_of(&stream));
            let lost = if is_its { self.waiting().push(notice, from) } else { 1 };
            self.numbers.noticed("lost", lost);
        }
    }

    /// So many could not even be noted: of them nothing is known.
    pub fn missed(&self, count: u64) {
        self.numbers.noticed("lost", count);
    }

    /// Whether something waits.
    pub fn has_news(&self) -> bool {
        !self.waiting().is_empty()
    }

    /// Calls the hook with what waits, as much as a call takes: one call at most.
    pub fn deliver(&self) -> Option<Delivered> {
        let hearer = self.hearer.as_ref()?;
        let Batch { notices, from } = self.waiting().batch();
        if notices.is_empty() {
            return None;
        }
        let told = notices.len() as u64;
        let Called { result, cpu } = hearer.on_notices(&notices);
        self.numbers.took(cpu);
        self.calls.called();
        let orders = match result {
            Ok(orders) => orders,
            Err(failure) => {
                if failure.is_hooks_fault() {
                    // Anybody who is in the batch may have brought it about.
                    self.calls.failed_for_one_of(&from);
                }
                self.numbers.failed(failure.label());
                self.numbers.said(&failure.to_string());
                self.numbers.noticed("failed", told);
                return Some(Delivered { orders: Vec::new(), cpu });
            }
        };
        self.numbers.noticed("told", told);
        Some(Delivered { orders: orders.into_iter().filter_map(|order| self.read(order)).collect(), cpu })
    }

    /// What an order means, where this hook may order it.
    fn read(&self, order: Order) -> Option<Ordered> {
        let deed = match order.kind.as_str() {
            "record-start" => Some(Deed::Record(true)),
            "record-stop" => Some(Deed::Record(false)),
            "marker" => {
                let pairs: Arc<[_]> = order.detail.into_iter().map(|pair| (pair.name, pair.value)).collect();
                if pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MARKER_BYTES_MAX {
                    self.numbers.ordered("dropped");
                    return None;
                }
                Some(Deed::Mark(pairs))
            }
            _ => None,
        };
        let stream = Id::new(&order.name).ok().filter(|stream| !stream.is_rendition());
        let (deed, stream) = match (deed, stream) {
            (Some(deed), Some(stream)) => (deed, stream),
            (None, _) => {
                self.numbers.ordered("unknown");
                return None;
            }
            (_, None) => {
                self.numbers.ordered("not_on_air");
                return None;
            }
        };
        match self.reach.counts(&stream) {
            Counts::Decides => Some(Ordered { stream, deed, numbers: Arc::clone(&self.numbers) }),
            Counts::Compared => {
                self.numbers.ordered("shadow");
                None
            }
            Counts::NotAsked => {
                self.numbers.ordered("other_stream");
                None
            }
        }
    }
}

impl Drop for Hearing {
    /// What waits when the binding changes or goes is for nobody.
    fn drop(&mut self) {
        let waiting = self.waiting.get_mut().unwrap_or_else(PoisonError::into_inner).len();
        self.numbers.noticed("lost", waiting as u64);
    }
}

impl fmt::Debug for Hearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hearing").field("id", &self.id).field("hook", &self.hook).finish_non_exhaustive()
    }
}
