//! Keeps what hooks decided in the last 24 hours, so that another version can be asked the same. In memory only: a restart begins with nothing. Before it:
//! [`super::step`] on each shard, which hands a decision over without waiting; after it: [`super::replay`], and who asks for recorded events.
//!
//! A shard puts a decision into a bounded queue, and a thread of the recorder takes it from there ten times a second; where the queue is full, the decision is
//! dropped and counted. The thread's own lock is never taken by a shard.
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::decision::Decision;
use crate::ring::{Owner, Ring};

/// Decisions are kept for this long.
const AGE_MAX: Duration = Duration::from_hours(24);
/// Decisions that wait for the thread, of all shards.
const WAITING_MAX: usize = 8_192;
/// Bytes of those.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// The thread takes what waits this often, while something does.
const TAKEN_EVERY: Duration = Duration::from_millis(100);
/// And looks for what is too old this often, while nothing does.
const IDLE: Duration = Duration::from_secs(30);

/// Records decisions. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

struct Shared {
    queue: SyncSender<Arc<Decision>>,
    waiting_bytes: AtomicUsize,
    asleep: AtomicBool,
    thread: OnceLock<Option<Thread>>,
    begun: Instant,
    kept: Mutex<Kept>,
    recorded: AtomicU64,
    queue_full: AtomicU64,
    no_room: AtomicU64,
    over_share: AtomicU64,
}

struct Kept {
    taken: Receiver<Arc<Decision>>,
    ring: Ring<Arc<Decision>>,
}

impl Recorder {
    /// Keeps at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        let (queue, taken) = sync_channel(WAITING_MAX);
        Self(Arc::new(Shared {
            queue,
            waiting_bytes: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            thread: OnceLock::new(),
            begun: Instant::now(),
            kept: Mutex::new(Kept { taken, ring: Ring::new(bytes_max, AGE_MAX) }),
            recorded: AtomicU64::new(0),
            queue_full: AtomicU64::new(0),
            no_room: AtomicU64::new(0),
            over_share: AtomicU64::new(0),
        }))
    }

    /// Starts the thread, where it does not run: a server without hooks has none.
    pub(crate) fn start(&self) {
        self.0.thread.get_or_init(|| {
            let shared = Arc::downgrade(&self.0);
            let started = thread::Builder::new().name("hooks-recorder".to_owned()).spawn(move || take(&shared));
            let said =
                started.inspect_err(|error| tracing::error!(%error, "cannot start the thread that records decisions"));
            said.ok().map(|thread| thread.thread().clone())
        });
    }

    /// Hands a decision over, from a shard: it waits for nobody, and where there is no room the decision is dropped.
    pub(crate) fn record(&self, decision: Decision) {
        let (shared, bytes) = (&*self.0, decision.bytes());
        let waiting = shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > WAITING_BYTES_MAX || shared.queue.try_send(Arc::new(decision)).is_err() {
            shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            shared.queue_full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if shared.asleep.load(Ordering::SeqCst)
            && shared.asleep.swap(false, Ordering::SeqCst)
            && let Some(Some(thread)) = shared.thread.get()
        {
            thread.unpark();
        }
    }

    /// What is kept and meets the condition, oldest first.
    pub fn decisions(&self, wanted: impl Fn(&Decision) -> bool) -> Vec<Arc<Decision>> {
        let mut kept = self.0.kept();
        self.0.take(&mut kept);
        kept.ring.iter().filter(|decision| wanted(decision)).cloned().collect()
    }

    /// What the decisions that are kept take.
    pub fn bytes(&self) -> usize {
        self.0.kept().ring.bytes()
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("recorded", &self.0.recorded).finish_non_exhaustive()
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Every change under this lock leaves whole items.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what waits; gives how many there were.
    fn take(&self, kept: &mut Kept) -> usize {
        let now = self.begun.elapsed();
        let (mut count, Kept { taken, ring }) = (0, kept);
        ring.expire(now);
        // No more than there may wait: shards that add all the time do not hold the lock for ever.
        for decision in taken.try_iter().take(WAITING_MAX) {
            let bytes = decision.bytes();
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            let owner = Owner { address: decision.address, stream: decision.stream.clone() };
            let dropped = ring.push(decision, owner, bytes, now);
            self.no_room.fetch_add(dropped.oldest, Ordering::Relaxed);
            self.over_share.fetch_add(dropped.over_share, Ordering::Relaxed);
            count += 1;
        }
        self.recorded.fetch_add(count as u64, Ordering::Relaxed);
        count
    }
}

/// Takes decisions until the recorder is gone.
fn take(shared: &Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        if shared.take(&mut shared.kept()) > 0 {
            drop(shared);
            thread::sleep(TAKEN_EVERY);
            continue;
        }
        shared.asleep.store(true, Ordering::SeqCst);
        // Whoever has added something before that has not woken this thread.
        let came = shared.take(&mut shared.kept()) > 0;
        drop(shared);
        if !came {
            thread::park_timeout(IDLE);
        }
    }
}

impl Collector for Recorder {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (name, help) = ("millstream_hook_recorded", "Decisions of hooks that were recorded");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, _, u64>(&of(&self.0.recorded), None)?;
        let (name, help) = (
            "millstream_hook_record_dropped",
            "Decisions that are not in the record any more, or never were, by why: the queue was full, they were the oldest, or their address or \
             stream had more than its share",
        );
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        let why = [("queue", &self.0.queue_full), ("oldest", &self.0.no_room), ("share", &self.0.over_share)];
        for (why, count) in why {
            family.encode_family(&[("why", why)])?.encode_counter::<NoLabelSet, _, u64>(&of(count), None)?;
        }
        let (bytes, decisions) = {
            let kept = self.0.kept();
            (kept.ring.bytes() as u64, kept.ring.len() as u64)
        };
        let gauges = [
            ("millstream_hook_record_bytes", "What the recorded decisions take of memory", bytes),
            ("millstream_hook_record_decisions", "Decisions that are in the record", decisions),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            family.encode_gauge(&value)?;
        }
        Ok(())
    }
}
