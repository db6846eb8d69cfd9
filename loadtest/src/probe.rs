//! The scheduling probe: a thread that sleeps a millisecond at a time and records by how much it overslept. When that is much, the machine
//! was too busy (or the hypervisor elsewhere) for any delay of this run to mean something.
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::tally::Times;

/// How long it sleeps.
const SLEEP: Duration = Duration::from_millis(1);
/// A run whose probe's 99th percentile is above this is void, milliseconds.
pub(crate) const VOID_P99_MS: f64 = 5.0;

#[derive(Debug)]
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Times>,
}

impl Probe {
    pub(crate) fn start() -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("probe".to_owned()).spawn(move || {
            let mut times = Times::new();
            while !seen.load(Ordering::Relaxed) {
                let start = Instant::now();
                std::thread::sleep(SLEEP);
                times.record(start.elapsed().saturating_sub(SLEEP));
            }
            times
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends it; how much it overslept.
    pub(crate) fn finish(self) -> Times {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| Times::new())
    }
}
