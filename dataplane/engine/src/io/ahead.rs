//! Memory that is fetched before it is needed. A flush visits every viewer, and by then the kernel's work for all the others has
//! pushed a viewer's state out of the caches: waiting for it line by line took four fifths of what a send costs outside the
//! kernel. Viewers are visited in the same order flush after flush, so each remembers who came a few visits after it, and
//! asks the processor for that one's memory while it does its own work.
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use super::sys;

/// Visits between asking for memory and needing it. One is too late for the first lines; more than four gains nothing.
const DISTANCE: usize = 4;
/// Runs of memory that a task needs at each visit.
const AREAS: usize = 7;
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

    /// A value.
    pub(crate) fn of<T>(value: &T) -> Self {
        Self::reaching(value, size_of::<T>())
    }

    /// A value, and what lies behind it.
    pub(crate) fn reaching<T>(value: &T, bytes: usize) -> Self {
        Self::new(std::ptr::from_ref(value).addr(), bytes)
    }

    /// A value, and what was allocated just before it.
    pub(crate) fn following<T>(value: &T, bytes: usize) -> Self {
        Self::new(std::ptr::from_ref(value).addr().saturating_sub(bytes), bytes + size_of::<T>())
    }

    /// The head of the task that this wakes.
    pub(crate) fn of_task(waker: &Waker) -> Self {
        Self::new(waker.data().addr(), TASK_BYTES)
    }

    /// Asks for it.
    pub(crate) fn fetch(self) {
        let first = self.0 & !(LINE_BYTES - 1);
        for line in 0..self.0 - first {
            sys::prefetch(first + line * LINE_BYTES);
        }
    }
}

/// What one task needs at each visit.
pub(crate) struct Spot(Rc<Remembered>);

struct Remembered {
    own: [Area; AREAS],
    /// Of the task that came `DISTANCE` visits later, the last time.
    later: Cell<[Area; AREAS]>,
    /// Which one that was; zero before there is one.
    later_at: Cell<usize>,
}

/// The tasks of a shard that were visited last, and where the next one goes.
#[derive(Default)]
pub(crate) struct Recent(RefCell<([Option<Rc<Remembered>>; DISTANCE], usize)>);

impl Spot {
    /// A task that needs these, besides the spot itself.
    pub(crate) fn new(areas: [Area; AREAS - 1]) -> Self {
        Self(Rc::new_cyclic(|this: &std::rc::Weak<Remembered>| {
            let mut own = [Area::default(); AREAS];
            own[..AREAS - 1].copy_from_slice(&areas);
            own[AREAS - 1] = Area::new(this.as_ptr().addr(), size_of::<Remembered>());
            Remembered { own, later: Cell::default(), later_at: Cell::new(0) }
        }))
    }

    /// The task runs: asks for what the one that comes soon will need.
    pub(crate) fn visit(&self, recent: &Recent) {
        for area in self.0.later.get() {
            area.fetch();
        }
        let (recent, at) = &mut *recent.0.borrow_mut();
        let this = std::ptr::from_ref(&*self.0).addr();
        // Told apart by address: where a new one took the memory of one that has gone, the old hint stays, and asks for nothing useful.
        if let Some(earlier) = recent[*at].replace(Rc::clone(&self.0))
            && earlier.later_at.replace(this) != this
        {
            earlier.later.set(self.0.own);
        }
        *at = (*at + 1) % DISTANCE;
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

    #[test]
    fn each_remembers_who_comes_later() {
        let spots: Vec<Spot> = (0..10).map(|_| Spot::new([Area::default(); AREAS - 1])).collect();
        let recent = Recent::default();
        for _ in 0..2 {
            for spot in &spots {
                spot.visit(&recent);
            }
        }
        for (n, spot) in spots.iter().enumerate() {
            assert!(spot.0.later.get() == spots[(n + DISTANCE) % spots.len()].0.own, "{n}");
        }
        drop(spots);
    }
}
