//! What the kernel says of processes and of its own punctuality.
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Ticks of `/proc` (USER_HZ, the same on every Linux that this runs on).
const TICKS_PER_S: f64 = 100.0;
/// How long the probe sleeps each time.
const PROBE_EVERY: Duration = Duration::from_millis(2);

/// Binds the calling thread, and those that it starts, to a core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot use core {core}"))
}

/// CPU time of a process so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// All of it.
    pub(crate) total: f64,
    user: f64,
    system: f64,
}

impl Cpu {
    /// Of all threads of the process. The total is exact, the shares are of ticks.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task")).context("the server has ended")? {
            let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            nanos += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in brackets may hold spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Ok(Self { total: nanos as f64 / 1e9, user: ticks(11) / TICKS_PER_S, system: ticks(12) / TICKS_PER_S })
    }

    /// What was used since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { total: self.total - earlier.total, user: self.user - earlier.user, system: self.system - earlier.system }
    }

    /// Part of it that was spent outside the kernel.
    pub(crate) fn user_share(self) -> f64 {
        self.user / (self.user + self.system).max(1.0 / TICKS_PER_S)
    }
}

/// Busy time of all cores so far, in seconds, stolen time included.
pub(crate) fn machine_busy() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are part of user.
    Ok([0, 1, 2, 5, 6, 7].iter().filter_map(|&at| ticks.get(at)).sum::<f64>() / TICKS_PER_S)
}

/// Sleeps again and again on a core until told to stop; how much later than asked it woke.
pub(crate) fn probe(core: usize, stop: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    pin(core)?;
    let mut late = Vec::new();
    while !stop.load(Relaxed) {
        let start = Instant::now();
        std::thread::sleep(PROBE_EVERY);
        late.push(start.elapsed().saturating_sub(PROBE_EVERY));
    }
    Ok(late)
}

/// The value below which this part of the values lies.
pub(crate) fn quantile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    let at = ((values.len() as f64 * part) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or_default()
}

/// Middle, least and greatest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Spread {
    /// Of these values; `None` if there are none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Self { median: f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]), min, max })
    }
}
