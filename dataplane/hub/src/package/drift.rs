//! How far an encoder's clock has gone from the clock that its frames arrive by. Asked by [`super::packager`] where a segment ends: dates go by
//! the encoder's clock within a run, and are set right between two runs.
use std::collections::VecDeque;

/// Segments that are looked at: about a minute. Frames come late, for many reasons, but not early: the earliest of a minute tells the clock.
const SEGMENTS: usize = 30;
/// Dates may be wrong by this much, milliseconds, before a run is ended for it: an encoder's clock that is 100 ppm off takes 2.8 hours.
const DRIFT_MS_MAX: i64 = 1_000;

/// Lateness of the frames of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    newest_ms: Option<i64>,
    earlier_ms: VecDeque<i64>,
}

impl Drift {
    /// A frame came this much later than its date says, milliseconds.
    pub(crate) fn late(&mut self, ms: i64) {
        self.newest_ms = Some(self.newest_ms.map_or(ms, |least| least.min(ms)));
    }

    /// A segment has ended. Gives the drift where it is too large.
    pub(crate) fn segment(&mut self) -> Option<i64> {
        self.earlier_ms.extend(self.newest_ms.take());
        while self.earlier_ms.len() > SEGMENTS {
            self.earlier_ms.pop_front();
        }
        let full = self.earlier_ms.len() == SEGMENTS;
        self.least().filter(|ms| full && ms.abs() > DRIFT_MS_MAX)
    }

    /// The drift as far as it is known; counts anew from here.
    pub(crate) fn take(&mut self) -> i64 {
        let least = self.least().unwrap_or(0);
        *self = Self::default();
        least
    }

    fn least(&self) -> Option<i64> {
        self.earlier_ms.iter().copied().chain(self.newest_ms).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_late_for_a_minute_is_drift() {
        let mut drift = Drift::default();
        for _ in 0..SEGMENTS - 1 {
            drift.late(5_000);
            drift.late(1_200);
            assert_eq!(drift.segment(), None, "it may be the network");
        }
        drift.late(1_100);
        assert_eq!(drift.segment(), Some(1_100));
        assert_eq!(drift.take(), 1_100);
        drift.late(-3_000);
        assert_eq!((drift.segment(), drift.take(), drift.take()), (None, -3_000, 0));
        for late_ms in [3_000, 20, 3_000, 3_000].into_iter().cycle().take(100) {
            drift.late(late_ms);
            assert_eq!(drift.segment(), None, "some came in time");
        }
    }
}
