//! The newest samples of something, over a length of time. Between [`super::publisher`] and [`super::viewers`], and the looks that they are given:
//! looks at very many streams are further apart than a second, so a window is a length of time and no number of samples.
use std::collections::VecDeque;

/// Looks of one window at most: whoever looks more often than that has the newest ones.
const SAMPLES_MAX: usize = 64;

/// Samples with their times, milliseconds, oldest first: those within the window's length, and the newest one before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window<T>(VecDeque<(u64, T)>);

impl<T: Copy> Window<T> {
    /// Takes a sample, and forgets those that the window does not need any more.
    pub(crate) fn push(&mut self, now_ms: u64, sample: T, length_ms: u64) {
        self.0.push_back((now_ms, sample));
        let is_old = |at: Option<&(u64, T)>| at.is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= length_ms);
        while self.0.len() > SAMPLES_MAX || (self.0.len() > 2 && is_old(self.0.get(1))) {
            self.0.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The first and the last sample, each with its time, where they are so far apart.
    pub(crate) fn ends(&self, length_ms: u64) -> Option<((u64, T), (u64, T))> {
        let (first, last) = (*self.0.front()?, *self.0.back()?);
        (last.0.saturating_sub(first.0) >= length_ms).then_some((first, last))
    }

    /// The samples, oldest first.
    pub(crate) fn samples(&self) -> impl Iterator<Item = T> {
        self.0.iter().map(|(_, sample)| *sample)
    }

    /// From one sample to the next, the newest first: how long that took, milliseconds, and both.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (u64, T, T)> {
        let newest = self.0.iter().rev();
        newest.clone().skip(1).zip(newest).map(|(sooner, later)| (later.0.saturating_sub(sooner.0), sooner.1, later.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_length_of_time_however_often_somebody_looks() {
        for every_ms in [250, 1_000, 2_900] {
            let mut window = Window::default();
            for n in 0..100 {
                window.push(n * every_ms, n, 3_000);
                let ends = window.ends(3_000);
                assert_eq!(ends.is_some(), n * every_ms >= 3_000, "{every_ms}: {n}");
                assert!(ends.is_none_or(|(first, last)| last.0 - first.0 < 3_000 + every_ms && last.1 == n));
            }
        }
        let mut rare = Window::default();
        (0..5_u64).for_each(|n| rare.push(n * 10_000, n, 3_000));
        assert_eq!(rare.ends(3_000), Some(((30_000, 3), (40_000, 4))));
        assert_eq!(rare.steps().collect::<Vec<_>>(), [(10_000, 3, 4)]);
    }

    #[test]
    fn it_is_bounded() {
        let mut window = Window::default();
        (0..1_000).for_each(|n| window.push(5, n, 3_000));
        assert_eq!(window.samples().count(), SAMPLES_MAX);
    }
}
