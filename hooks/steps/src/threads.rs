//! Threads for decisions that do not run on a shard: those of slow hooks, those after an upstream was asked, and comparisons. Before it:
//! [`super::step`]; after it: the ticket's answer goes to the shard that waits for it.
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Decisions that may wait, of all hooks.
const WAITING_MAX: usize = 4_096;
/// Of those, of one binding.
const OF_BINDING_MAX: usize = 512;
/// What has to be done now and then is done this often.
const TICK: Duration = Duration::from_secs(1);

/// A decision to be made.
type Job = Box<dyn FnOnce() + Send>;

/// A few threads with a bounded queue. They end when the last handle is dropped.
#[derive(Debug)]
pub struct Threads {
    queue: SyncSender<Job>,
    ending: Arc<AtomicBool>,
}

/// Comparisons of one binding that may wait.
const COMPARISONS_MAX: usize = 16;

/// How many decisions of a binding wait, and how many may.
#[derive(Clone, Debug)]
pub struct Waiting {
    count: Arc<AtomicUsize>,
    most: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { count: Arc::default(), most: OF_BINDING_MAX }
    }
}

impl Waiting {
    /// For comparisons, of which few may wait.
    pub fn of_comparisons() -> Self {
        Self { most: COMPARISONS_MAX, ..Self::default() }
    }
}

/// There is no room for another decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Threads {
    /// So many threads; each calls `tick` about once a second.
    pub fn start(threads: usize, tick: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(WAITING_MAX);
        let (jobs, tick) = (Arc::new(Mutex::new(jobs)), Arc::new(tick));
        let ending = Arc::new(AtomicBool::new(false));
        for number in 0..threads.max(1) {
            let (jobs, tick, ending) = (Arc::clone(&jobs), Arc::clone(&tick), Arc::clone(&ending));
            let thread = thread::Builder::new().name(format!("hooks-{number}"));
            thread.spawn(move || work(&jobs, &*tick, &ending))?;
        }
        Ok(Self { queue, ending })
    }

    /// Does this soon. `waiting` is the binding's count.
    pub fn add(&self, waiting: &Waiting, job: impl FnOnce() + Send + 'static) -> Result<(), Full> {
        if waiting.count.fetch_add(1, Relaxed) >= waiting.most {
            waiting.count.fetch_sub(1, Relaxed);
            return Err(Full);
        }
        let counted = Counted(waiting.clone());
        let job = Box::new(move || {
            let _counted = counted;
            job();
        });
        match self.queue.try_send(job) {
            Ok(()) => Ok(()),
            // The job is dropped, and with it its count.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Full),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.ending.store(true, Relaxed);
    }
}

struct Counted(Waiting);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Relaxed);
    }
}

fn work(jobs: &Mutex<Receiver<Job>>, tick: &dyn Fn(), ending: &AtomicBool) {
    let mut ticked = Instant::now();
    while !ending.load(Relaxed) {
        if ticked.elapsed() >= TICK {
            tick();
            ticked = Instant::now();
        }
        // Whoever waits holds the lock; the others wait for it.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(TICK);
        match job {
            // A defect in one decision is that decision's.
            Ok(job) => drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job))),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
