//! Clocks and what else the engine asks the system for.
use std::cell::Cell;
use std::time::{Duration, Instant};

use super::world::world;

/// What the wall clock says when a walk begins, seconds since 1970.
const BEGINS_S: u64 = 1_800_000_000;

thread_local! {
    /// What stands for the time zero of a walk: only differences to it are looked at.
    static ZERO: Cell<Instant> = Cell::new(Instant::now());
}

pub(super) fn instant_ns(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(ZERO.get()).as_nanos()).unwrap_or(u64::MAX / 4)
}

pub(crate) fn monotonic_instant() -> Instant {
    ZERO.get() + Duration::from_nanos(world(|world| world.now_ns))
}

/// Looking at the clock is what divides long work: some of it takes long.
pub(crate) fn monotonic_ns() -> u64 {
    world(|world| {
        world.now_ns += world.random.below(400);
        if world.random.below(2_000) == 0 {
            world.now_ns += world.random.below(2_000_000);
        }
        world.now_ns
    })
}

pub(crate) fn since_1970() -> Duration {
    Duration::from_secs(BEGINS_S) + Duration::from_nanos(world(|world| world.now_ns))
}

pub(crate) fn thread_cpu() -> Duration {
    Duration::ZERO
}

pub(crate) fn raise_descriptor_limit() -> u64 {
    1 << 20
}

pub(crate) fn resident_bytes() -> Option<u64> {
    Some(100 << 20)
}

pub(crate) fn machine_bytes() -> Option<u64> {
    Some(8 << 30)
}

pub(crate) fn give_back() {}

pub(crate) fn prefetch(_address: usize) {}
