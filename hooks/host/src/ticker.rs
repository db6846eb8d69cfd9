//! Advances the engine's epoch while calls run, so that a call that takes long is looked at.
//!
//! The thread sleeps for good once no call has run for a while: a server without hooks pays nothing.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// Shorter costs more of a core than it wins: 250 us cost 4.6% in a measurement.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a call until the thread sleeps.
const IDLE_TICKS: u32 = 50;

/// Counts running calls.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    /// Calls that began, so that short ones between two ticks are seen.
    begun: AtomicUsize,
    asleep: AtomicBool,
    over: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, seen) = (engine.weak(), Arc::clone(&shared));
        let handle: JoinHandle<()> =
            thread::Builder::new().name("hook-ticker".into()).stack_size(128 << 10).spawn(move || {
                let (mut idle, mut begun) = (0, 0);
                while !seen.over.load(Ordering::SeqCst) {
                    let now = seen.begun.load(Ordering::Relaxed);
                    idle = if now == begun && seen.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
                    begun = now;
                    if idle < IDLE_TICKS {
                        thread::sleep(TICK);
                    } else {
                        // A call that begins after this line sees `asleep` and wakes the thread; one that began before is seen here.
                        seen.asleep.store(true, Ordering::SeqCst);
                        if seen.running.load(Ordering::SeqCst) == 0 && !seen.over.load(Ordering::SeqCst) {
                            thread::park();
                        }
                        seen.asleep.store(false, Ordering::SeqCst);
                        idle = 0;
                    }
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                }
            })?;
        Ok(Self { shared, thread: handle.thread().clone() })
    }

    /// Ticks until what is returned is dropped.
    pub(crate) fn run(&self) -> Running<'_> {
        self.shared.begun.fetch_add(1, Ordering::Relaxed);
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.shared)
    }

    #[cfg(test)]
    pub(crate) fn is_asleep(&self) -> bool {
        self.shared.asleep.load(Ordering::SeqCst)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// A call that runs.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn it_ticks_while_calls_run_and_sleeps_after_them() {
        let (engine, start) = (Engine::default(), Instant::now());
        let ticker = Ticker::start(&engine).unwrap();
        let asleep = |wanted| {
            while ticker.is_asleep() != wanted {
                assert!(start.elapsed() < Duration::from_mins(1));
                thread::sleep(TICK);
            }
        };
        for _ in 0..3 {
            asleep(true);
            let running = ticker.run();
            asleep(false);
            thread::sleep(TICK * (IDLE_TICKS + 20));
            assert!(!ticker.is_asleep(), "a call that runs long must be looked at");
            drop(running);
        }
    }
}
