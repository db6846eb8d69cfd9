//! The thread that tells event hooks what happened. Before it: the node's agent, which has the engine's events; after it: [`super::hearing`], and whoever
//! carries out what hooks order.
//!
//! The thread begins with the first binding: a server without event hooks has none. Hooks have a fifth of its time together, whatever they take.
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use millstream_hooks::wit::events::Notice;
use millstream_proto::id::Id;

use crate::hearing::{Delivered, Hearing, Ordered};

/// What happens within this time goes to a hook at once.
const GATHERED: Duration = Duration::from_millis(100);
/// After a call hooks are not called for so many times what it took.
const REST: u32 = 4;

/// Carries out what a hook orders. May not wait.
pub type Carrier = Box<dyn Fn(Ordered) + Send + Sync>;

/// Who hears of what happens on a node. The thread ends when this is dropped.
pub struct Post {
    shared: Arc<Shared>,
    carrier: Arc<Carrier>,
    started: AtomicBool,
}

#[derive(Default)]
struct Shared {
    hearings: Mutex<Vec<Arc<Hearing>>>,
    news: Mutex<News>,
    changed: Condvar,
}

/// What the thread waits for.
#[derive(Default)]
struct News {
    /// Something has happened.
    is_there: bool,
    /// Nobody is there any more.
    is_over: bool,
}

impl Shared {
    fn tell(&self) {
        locked(&self.news).is_there = true;
        self.changed.notify_one();
    }

    fn end(&self) {
        locked(&self.news).is_over = true;
        self.changed.notify_one();
    }

    /// Waits until something has happened; false: it is over.
    fn wait(&self) -> bool {
        let wait = self.changed.wait_while(locked(&self.news), |news| !news.is_there && !news.is_over);
        let mut news = wait.unwrap_or_else(PoisonError::into_inner);
        news.is_there = false;
        !news.is_over
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Post {
    /// Nobody hears yet.
    pub fn new(carrier: Carrier) -> Self {
        Self { shared: Arc::default(), carrier: Arc::new(carrier), started: AtomicBool::new(false) }
    }

    /// These hear from here on, and no others. What waits for a binding that stays as it is goes on waiting.
    pub fn bind(&self, hearings: Vec<Arc<Hearing>>) {
        let is_needed = !hearings.is_empty();
        *locked(&self.shared.hearings) = hearings;
        if is_needed && !self.started.swap(true, Relaxed) {
            let (shared, carrier) = (Arc::clone(&self.shared), Arc::clone(&self.carrier));
            let thread = thread::Builder::new().name("hook-events".to_owned());
            if let Err(error) = thread.spawn(move || run(&shared, &carrier)) {
                tracing::error!(%error, "cannot start the thread of event hooks");
                self.started.store(false, Relaxed);
            }
        }
    }

    /// Something waits that nobody was told of: what a changed binding has taken over.
    pub fn look(&self) {
        self.shared.tell();
    }

    /// Those who hear now.
    pub fn hearings(&self) -> Vec<Arc<Hearing>> {
        locked(&self.shared.hearings).clone()
    }

    /// Something has happened to a stream.
    pub fn tell(&self, stream: &Id, notice: &Notice, from: Option<IpAddr>) {
        let mut is_news = false;
        for hearing in locked(&self.shared.hearings).iter() {
            is_news |= hearing.note(stream, notice, from);
        }
        if is_news {
            self.shared.tell();
        }
    }

    /// So much happened that it could not be told, to nobody knows which streams.
    pub fn missed(&self, count: u64) {
        locked(&self.shared.hearings).iter().for_each(|hearing| hearing.missed(count));
    }

    /// Whether anybody hears of this stream: else nobody need make a notice.
    pub fn wants(&self, stream: &Id) -> bool {
        locked(&self.shared.hearings).iter().any(|hearing| hearing.hears_of(stream))
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Post").field(&locked(&self.shared.hearings).len()).finish()
    }
}

fn run(shared: &Shared, carrier: &Carrier) {
    while shared.wait() {
        thread::sleep(GATHERED);
        let hearings = locked(&shared.hearings).clone();
        let mut has_more = false;
        for hearing in hearings {
            let began = Instant::now();
            // A defect in one call is that call's: its notices are lost, those behind them are not. Nobody has said what it took.
            let deliver = std::panic::AssertUnwindSafe(|| hearing.deliver());
            let delivered = std::panic::catch_unwind(deliver)
                .unwrap_or_else(|_| Some(Delivered { orders: Vec::new(), cpu: began.elapsed() }));
            has_more |= hearing.has_news();
            let Some(Delivered { orders, cpu }) = delivered else { continue };
            orders.into_iter().for_each(carrier);
            thread::sleep(cpu * REST);
        }
        if has_more {
            shared.tell();
        }
    }
}
