//! Earlier runs of what has a name in the fleet, a node or a worker: one that comes again and again is another process of the same name. Before it: who is
//! heard; after it: [`super::node_registry`] and [`super::work`], which refuse the second.
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How long it is shown that one of a name was refused.
const SAME_NAME_SHOWN: Duration = Duration::from_mins(1);
/// Runs that are remembered.
const RUNS_REMEMBERED: usize = 4;
/// A run that has come back so often is of a second one.
const RETURNS_OF_TWO: u32 = 3;

/// Earlier runs of one name.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Runs that another one replaced, the last ones, and how often each came back.
    replaced: VecDeque<(u64, u32)>,
    /// When one was refused last.
    refused_at: Option<Instant>,
}

impl Runs {
    pub(super) fn replaced(&mut self, run: u64) {
        if !self.replaced.iter().any(|(known, _)| *known == run) {
            self.replaced.push_back((run, 0));
            if self.replaced.len() > RUNS_REMEMBERED {
                self.replaced.pop_front();
            }
        }
    }

    /// Whether this run was there before the other one.
    fn is_before(&self, run: u64, other: u64) -> bool {
        let place = |run| self.replaced.iter().position(|(known, _)| *known == run).unwrap_or(RUNS_REMEMBERED);
        place(run) < place(other)
    }

    /// How often this run has come back, now included.
    fn returns_of(&mut self, run: u64) -> u32 {
        let known = self.replaced.iter_mut().find(|(known, _)| *known == run);
        known.map_or(0, |(_, count)| {
            *count = count.saturating_add(1);
            *count
        })
    }

    /// How often this run, which is not the last one, has come back: one that was replaced comes no more, but for a message that was under way. `None`: it is
    /// of a second process of the name, and refused.
    pub(super) fn returned(&mut self, run: u64, last: u64, last_is_away: bool) -> Option<u32> {
        let returned = self.returns_of(run);
        let is_second = returned >= RETURNS_OF_TWO && !self.is_before(run, last) && !last_is_away;
        (!is_second).then_some(returned)
    }

    /// One was refused; whether that is to be said.
    pub(super) fn refused(&mut self) -> bool {
        self.refused_at.replace(Instant::now()).is_none_or(|at| at.elapsed() >= SAME_NAME_SHOWN)
    }

    /// One was refused within the last minute.
    pub(super) fn was_refused(&self) -> bool {
        self.refused_at.is_some_and(|at| at.elapsed() < SAME_NAME_SHOWN)
    }
}
