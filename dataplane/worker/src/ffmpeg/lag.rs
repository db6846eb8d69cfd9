//! How many frames a child holds back, learnt from what it does: sans-IO. Before it: how many are under way; after it: whether the next one is waited for.
//!
//! A child that gives each picture at once is waited for, so that a picture goes on without waiting for the next frame. One that holds some back is not.
use std::time::Duration;

/// Frames that are under way at most.
pub(super) const UNDER_WAY_MAX: usize = 24;
/// A child that gives nothing for so long hangs.
pub(super) const HANGS: Duration = Duration::from_secs(5);
/// How long the next one is waited for.
const WAIT: Duration = Duration::from_millis(100);
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
