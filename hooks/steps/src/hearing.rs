//! Event hooks: what happened waits here for each binding, goes to its hook in batches, and what the hook orders comes out. Before it: [`super::notice`];
//! after it: [`super::post`], which calls this on a thread of its own, and whoever carries orders out.
//!
//! Nothing waits for a hook: a queue that is full loses its oldest notices, and a batch that a hook fails with is not given to it again. Both are counted.
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_control_protocol::state::Binding;
use millstream_hooks::wit::events::{Notice, Order};
use millstream_hooks::{Called, Hook};
use millstream_proto::id::Id;

use crate::failing::Counted;
use crate::notice;
use crate::numbers::OfVersion;
use crate::reach::{Counts, Reach};

/// Notices that wait for a hook.
pub const WAITING_MAX: usize = 1_024;
/// And their bytes, about.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// Notices of a call: the contract's.
pub const BATCH_MAX: usize = 256;
/// And their bytes, about.
const BATCH_BYTES_MAX: usize = 256 << 10;

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

#[derive(Default)]
struct Waiting {
    notices: VecDeque<(Notice, Option<IpAddr>)>,
    bytes: usize,
}

impl Waiting {
    fn pop(&mut self) -> Option<(Notice, Option<IpAddr>)> {
        let popped = self.notices.pop_front()?;
        self.bytes = self.bytes.saturating_sub(notice::bytes(&popped.0));
        Some(popped)
    }
}

/// An event hook that is bound.
pub struct Hearing {
    /// The binding's id.
    pub id: String,
    /// The hook's name.
    pub hook: String,
    /// Which version of it.
    pub version: u64,
    /// Rises with each change of the version.
    pub generation: u64,
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
            generation: binding.generation,
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

    /// Notes what happened to a stream, where the hook hears of it. True: something waits now.
    pub fn note(&self, stream: &Id, notice: &Notice, from: Option<IpAddr>) -> bool {
        if self.reach.counts(stream) == Counts::NotAsked {
            return false;
        }
        if self.hearer.is_none() {
            self.numbers.noticed("not_ready", 1);
            return false;
        }
        let mut waiting = self.waiting();
        waiting.bytes += notice::bytes(notice);
        waiting.notices.push_back((notice.clone(), from));
        let mut lost = 0;
        while waiting.notices.len() > WAITING_MAX || waiting.bytes > WAITING_BYTES_MAX {
            lost += u64::from(waiting.pop().is_some());
        }
        drop(waiting);
        self.numbers.noticed("lost", lost);
        true
    }

    /// Whether something waits.
    pub fn has_news(&self) -> bool {
        !self.waiting().notices.is_empty()
    }

    /// Calls the hook with what waits, as much as a call takes: one call at most.
    pub fn deliver(&self) -> Option<Delivered> {
        let hearer = self.hearer.as_ref()?;
        let (mut batch, mut from, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut waiting = self.waiting();
        while let Some((next, _)) = waiting.notices.front() {
            bytes += notice::bytes(next);
            if batch.len() == BATCH_MAX || (bytes > BATCH_BYTES_MAX && !batch.is_empty()) {
                break;
            }
            let Some((next, address)) = waiting.pop() else { break };
            batch.push(next);
            from.push(address);
        }
        drop(waiting);
        if batch.is_empty() {
            return None;
        }
        let told = batch.len() as u64;
        let Called { result, cpu } = hearer.on_notices(&batch);
        self.numbers.took(cpu);
        self.calls.called();
        let orders = match result {
            Ok(orders) => orders,
            Err(failure) => {
                if failure.is_hooks_fault() {
                    // Who alone is in the batch may have brought it about.
                    from.sort_unstable();
                    from.dedup();
                    match from[..] {
                        [Some(address)] => self.calls.failed(address),
                        _ => self.calls.failed_for_nobody(),
                    }
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
            "marker" => Some(Deed::Mark(order.detail.into_iter().map(|pair| (pair.name, pair.value)).collect())),
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

impl fmt::Debug for Hearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hearing").field("id", &self.id).field("hook", &self.hook).finish_non_exhaustive()
    }
}
