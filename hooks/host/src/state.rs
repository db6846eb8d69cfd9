//! What belongs to one instance: its limits, what it has used, and what its binding gives it.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};

use crate::settings::Settings;
use crate::world::{Limits, MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS};

/// CPU time of this thread since it began.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The data of an instance's store.
pub(crate) struct State {
    pub(crate) settings: Arc<Settings>,
    pub(crate) limits: Limits,
    /// The time that the guest is told, in place of the real one.
    pub(crate) unix_ms: Option<u64>,
    /// Of the thread, when the call began.
    pub(crate) began: Duration,
    /// The instance was made, and an export was called.
    pub(crate) entered: bool,
    pub(crate) out_of_time: bool,
    pub(crate) memory_refused: bool,
    /// Of all its memories, now.
    memory_bytes: usize,
    /// In this call.
    pub(crate) log_lines: u32,
}

impl State {
    /// A store for one instance, with its limits in force.
    pub(crate) fn store(
        engine: &Engine,
        settings: &Arc<Settings>,
        unix_ms: Option<u64>,
        began: Duration,
    ) -> Store<Self> {
        let mut limits = settings.limits;
        limits.memory_bytes = limits.memory_bytes.min(MAX_MEMORY_BYTES);
        let mut store = Store::new(
            engine,
            Self {
                settings: Arc::clone(settings),
                limits,
                unix_ms,
                began,
                entered: false,
                out_of_time: false,
                memory_refused: false,
                memory_bytes: 0,
                log_lines: 0,
            },
        );
        store.limiter(|state| state);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        store.set_epoch_deadline(1);
        // Wall-clock time says nothing of the guest on a busy machine: at each tick its thread's CPU time decides.
        store.epoch_deadline_callback(|mut store| {
            let state = store.data_mut();
            if thread_cpu().saturating_sub(state.began) < state.limits.cpu {
                return Ok(UpdateDeadline::Continue(1));
            }
            state.out_of_time = true;
            Ok(UpdateDeadline::Interrupt)
        });
        store
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        // Of all memories together.
        let sum = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let granted = sum <= self.limits.memory_bytes;
        self.memory_refused |= !granted;
        if granted {
            self.memory_bytes = sum;
            if self.settings.memory_peak.load(Ordering::Relaxed) < sum {
                self.settings.memory_peak.fetch_max(sum, Ordering::Relaxed);
            }
        }
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_refused = true;
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn all_memories_of_an_instance_share_its_limit() {
        let settings = Arc::new(Settings::new("two", "1", World::Auth));
        let mut store = State::store(&Engine::default(), &settings, None, thread_cpu());
        let state = store.data_mut();
        assert!(state.memory_growing(0, 6 << 20, None).unwrap());
        assert!(state.memory_growing(0, 1 << 20, None).unwrap());
        assert!(!state.memory_growing(1 << 20, 3 << 20, None).unwrap() && state.memory_refused);
        assert!(state.memory_growing(1 << 20, 2 << 20, None).unwrap());
        assert!(!state.memory_growing(6 << 20, (6 << 20) + 1, None).unwrap());
        assert_eq!(settings.memory_peak.load(Ordering::Relaxed), 8 << 20);
    }
}
