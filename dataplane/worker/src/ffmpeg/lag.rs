//! How many frames a child holds back, learnt from what it does: sans-IO. Before it: how many are under way; after it: whether the next one is waited for.
//!
//! A child that gives each picture at once is waited for, so that a picture goes on without waiting for the next frame. One that holds some back is not.
use std::time::{Duration, Instant};

/// Frames that are under way at most.
pub(super) const UNDER_WAY_MAX: usize = 24;
/// A child that gives nothing for so long hangs.
pub(super) const HANGS: Duration = Duration::from_secs(5);
/// How long the next one is waited for.
const WAIT: Duration = Duration::from_millis(100);
/// A source that gives no frame for so long is silent itself: meanwhile no child can give anything.
const SOURCE_SILENT: Duration = Duration::from_secs(1);
/// So many frames in a row that were not held back make it expect less.
const STEADY: u32 = 60;

/// What is known of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Lag {
    begun: bool,
    held: usize,
    steady: u32,
}

impl Lag {
    /// How long to wait for the next one, with so many under way; `None`: not at all.
    pub(super) fn wait(&self, under_way: usize) -> Option<Duration> {
        match () {
            () if under_way >= UNDER_WAY_MAX => Some(HANGS),
            () if self.begun && under_way > self.held => Some(WAIT),
            () => None,
        }
    }

    /// One has come.
    pub(super) fn came(&mut self) {
        self.begun = true;
    }

    /// None has come in time.
    pub(super) fn waited(&mut self, under_way: usize) {
        (self.held, self.steady) = (under_way, 0);
    }

    /// A frame was given, and all that came was taken.
    pub(super) fn settled(&mut self, under_way: usize) {
        self.steady = if under_way < self.held { self.steady + 1 } else { 0 };
        if self.steady >= STEADY {
            (self.held, self.steady) = (self.held - 1, 0);
        }
    }
}

/// How long a child has given nothing while it had frames to go on with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    heard: Instant,
    /// When it was done with the frame before.
    served: Instant,
}

impl Silence {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, served: now }
    }

    /// It is about to get a frame, with so many under way before that one.
    pub(super) fn gets(&mut self, under_way: usize, now: Instant) {
        if under_way == 0 || now.saturating_duration_since(self.served) > SOURCE_SILENT {
            self.heard = now;
        }
    }

    /// It has given something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// It has the frame, and what it gave was taken.
    pub(super) fn served(&mut self, now: Instant) {
        self.served = now;
    }

    /// Whether it hangs.
    pub(super) fn is_hanging(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= HANGS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_source_is_not_taken_for_a_child_that_hangs() {
        let start = Instant::now();
        // Frames that come at these times, seconds, with so many under way before each.
        let hangs = |times: &[f32], under_way: usize| {
            let mut silence = Silence::new(start);
            times.iter().any(|seconds| {
                let now = start + Duration::from_secs_f32(*seconds);
                silence.gets(under_way, now);
                let hangs = silence.is_hanging(now);
                silence.served(now);
                hangs
            })
        };
        let steady: Vec<f32> = (0..120).map(|frame| frame as f32 / 20.0).collect();
        assert!(hangs(&steady, 2));
        assert!(!hangs(&steady, 0));
        // A pause, and keyframes alone.
        assert!(!hangs(&[0.0, 0.1, 8.0, 8.1], 2));
        assert!(!hangs(&[0.0, 6.0, 12.0, 18.0], 1));
    }
}
