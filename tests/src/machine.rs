//! Whether the machine had time for what a test measured: how late threads woke, and how often no core was idle.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{millis, percentile};

/// Threads that sleep a millisecond may wake so late (p99).
const LATE: Duration = millis(5);
/// Share of the windows in which all cores may be busy. Browsers decode and draw on the cores that the server has: where those are taken all the
/// time, a picture that is late says nothing about the server.
const SATURATED: f64 = 0.4;
const WINDOW: Duration = millis(500);
/// A window is saturated where the cores were idle for less than this share of it.
const IDLE: f64 = 0.05;

/// Watches the machine while something runs.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Load>,
}

/// What was seen of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    late_p99: Duration,
    saturated: f64,
}

impl Probe {
    pub fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut late = Vec::new();
            let (mut windows, mut full) = (0_u32, 0_u32);
            let (mut since, mut before) = (Instant::now(), cpu_ticks());
            while !seen.load(Ordering::Relaxed) {
                let asleep = Instant::now();
                std::thread::sleep(millis(1));
                late.push(asleep.elapsed().saturating_sub(millis(1)));
                if since.elapsed() >= WINDOW {
                    let now = cpu_ticks();
                    let (idle, all) = (now.0 - before.0, now.1 - before.1);
                    windows += 1;
                    full += u32::from((idle as f64) < all as f64 * IDLE);
                    (since, before) = (Instant::now(), now);
                }
            }
            Load { late_p99: percentile(&mut late, 0.99), saturated: f64::from(full) / f64::from(windows.max(1)) }
        });
        Self { stop, thread }
    }

    pub fn stop(self) -> Load {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only sleeps and reads /proc/stat")
    }
}

impl Load {
    /// Times that were measured meanwhile say nothing.
    pub fn too_busy(self) -> bool {
        self.late_p99 > LATE || self.saturated > SATURATED
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { late_p99, saturated } = self;
        write!(
            f,
            "a thread that sleeps a millisecond wakes {late_p99:?} late (p99), no core was idle in {:.0}% of the time{}",
            saturated * 100.0,
            if self.too_busy() { ": the machine was too busy to judge times" } else { "" }
        )
    }
}

/// Ticks in which a core was idle, or worked for processes that give way to all others, and all ticks, since the machine started. Source: proc(5),
/// `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
fn cpu_ticks() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/stat").expect("Linux");
    let ticks = text.lines().next().into_iter().flat_map(|line| line.split_whitespace().skip(1).take(8));
    let ticks: Vec<u64> = ticks.map(|ticks| ticks.parse().expect("a number")).collect();
    (ticks[1] + ticks[3] + ticks[4], ticks.iter().sum())
}
