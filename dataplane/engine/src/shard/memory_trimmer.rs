//! When memory is to be given back to the system. The allocator keeps what was freed, and an overloaded server refuses by what it holds: what
//! a crowd took must not be held against those who come after it. Asked by the shard's sweep.
use std::cell::Cell;

/// Looks that what is held must have stayed low for: streams let go of a GOP now and then, and fill up again.
const LOOKS: usize = 8;
/// Less than this is not worth a walk through all that is free.
const BYTES_MIN: u64 = 4 << 20;
/// What a connection holds, about.
const SESSION_BYTES: u64 = 8 << 10;

/// How much a shard holds, and held.
#[derive(Debug, Default)]
pub(super) struct MemoryTrimmer {
    /// The most since memory was given back.
    height: Cell<u64>,
    lately: Cell<[u64; LOOKS]>,
}

impl MemoryTrimmer {
    /// The shard holds so much now. True: half of what it held is free, and stays so.
    pub(super) fn looks_low(&self, bytes: u64, sessions: usize) -> bool {
        let now = bytes.saturating_add(sessions as u64 * SESSION_BYTES);
        let mut lately = self.lately.get();
        lately.rotate_left(1);
        lately[LOOKS - 1] = now;
        self.lately.set(lately);
        let most = lately.into_iter().fold(now, u64::max);
        let height = self.height.get().max(most);
        let low = height - most >= BYTES_MIN.max(height / 2);
        self.height.set(if low { most } else { height });
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// At which of these looks memory is given back.
    fn low(held: impl IntoIterator<Item = u64>) -> Vec<usize> {
        let memory_trimmer = MemoryTrimmer::default();
        held.into_iter().enumerate().filter(|(_, held)| memory_trimmer.looks_low(*held, 0)).map(|(at, _)| at).collect()
    }

    #[test]
    fn memory_is_given_back_once_after_a_crowd() {
        let crowd = std::iter::repeat_n(100 * MIB, 20);
        assert_eq!(low(crowd.clone().chain(std::iter::repeat_n(10 * MIB, 50))), [20 + LOOKS - 1]);
        // While it goes down, and where that is not much.
        assert!(low((0..100).map(|n| (100 - n) * MIB).take(50)).is_empty());
        assert!(low(crowd.clone().chain(std::iter::repeat_n(60 * MIB, 50))).is_empty());
        assert!(low(std::iter::repeat_n(5 * MIB, 20).chain(std::iter::repeat_n(2 * MIB, 20))).is_empty());
        // A stream that drops its GOP every two seconds.
        assert!(low((0..100).map(|n| n % 8 * 4 * MIB)).is_empty());
        // The next crowd is another.
        let twice = crowd.clone().chain(std::iter::repeat_n(0, 20)).chain(crowd).chain(std::iter::repeat_n(0, 20));
        assert_eq!(low(twice).len(), 2);
    }

    #[test]
    fn sessions_count() {
        let memory_trimmer = MemoryTrimmer::default();
        assert!(!memory_trimmer.looks_low(0, 5_000));
        assert!((0..LOOKS).any(|_| memory_trimmer.looks_low(0, 5)));
    }
}
