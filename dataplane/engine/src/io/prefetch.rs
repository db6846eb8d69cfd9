//! Memory that is fetched before it is needed. A flush visits every viewer, and by then the kernel's work for all the others has
//! pushed a viewer's state out of the caches: waiting for it line by line took four fifths of what a send costs outside the
//! kernel. Who knows which one comes soon asks the processor for that one's memory while it does its own work.
use std::task::Waker;

use super::sys;

const LINE_BYTES: usize = 64;
/// What the runtime keeps in front of a task.
const TASK_BYTES: usize = 2 * LINE_BYTES;

/// A run of memory: the address of its first line, and in the bits below that the number of its lines. Only ever asked for,
/// never read, so it need not be valid any more.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Area(usize);

impl Area {
    fn new(at: usize, bytes: usize) -> Self {
        let first = at & !(LINE_BYTES - 1);
        let lines = (at + bytes - first).div_ceil(LINE_BYTES).min(LINE_BYTES - 1);
        Self(first | lines)
    }

    pub(crate) fn of<T>(value: &T) -> Self {
        Self::new(std::ptr::from_ref(value).addr(), size_of::<T>())
    }

    /// The head of the task that this wakes.
    pub(crate) fn of_task(waker: &Waker) -> Self {
        Self::new(waker.data().addr(), TASK_BYTES)
    }

    pub(crate) fn fetch(self) {
        let first = self.0 & !(LINE_BYTES - 1);
        for line in 0..self.0 - first {
            sys::prefetch(first + line * LINE_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_is_made_of_whole_lines() {
        let lines = |at, bytes| {
            let Area(packed) = Area::new(at, bytes);
            (packed & !63, packed & 63)
        };
        assert_eq!(lines(0x1000, 1), (0x1000, 1));
        assert_eq!(lines(0x103F, 2), (0x1000, 2));
        assert_eq!(lines(0x1010, 64), (0x1000, 2));
        assert_eq!(lines(0x1000, 1 << 20), (0x1000, 63));
    }
}
