//! From when to when there is motion: an event lasts a while after the newest motion, and is cut where it lasts too long. Before it: [`super::regions`];
//! after it: what the node is told.
use crate::protocol::{Change, Region, WhyEnded};

/// Between two times that an event that goes on is told, milliseconds.
const TOLD_EVERY_MS: i64 = 1_000;

/// The event of a stream, if there is one.
#[derive(Debug)]
pub(super) struct Event {
    duration_ms: i64,
    timeout_ms: i64,
    active: Option<Active>,
}

#[derive(Debug)]
struct Active {
    since_ms: i64,
    moved_ms: i64,
    /// Of the newest frame.
    at_ms: i64,
    told_ms: i64,
    score: f64,
}

impl Event {
    pub(super) fn new(duration_ms: u32, timeout_ms: u32) -> Self {
        Self { duration_ms: i64::from(duration_ms.max(1)), timeout_ms: i64::from(timeout_ms.max(1)), active: None }
    }

    pub(super) fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// A frame with motion, which has been there since `since_ms`.
    pub(super) fn moves(
        &mut self,
        pts_ms: i64,
        since_ms: i64,
        score: f64,
        regions: Vec<Region>,
        may_begin: bool,
    ) -> Option<Change> {
        if self.active.is_none() {
            if !may_begin {
                return None;
            }
            let active = Active { since_ms, moved_ms: pts_ms, at_ms: pts_ms, told_ms: pts_ms, score };
            let until_ms = self.until_ms(&active);
            self.active = Some(active);
            return Some(Change::Started { pts_ms: since_ms, until_ms, score, regions, label: String::new() });
        }
        if let Some(change) = self.over(pts_ms) {
            return Some(change);
        }
        let active = self.active.as_mut()?;
        (active.moved_ms, active.at_ms, active.score) = (pts_ms, pts_ms, active.score.max(score));
        if pts_ms - active.told_ms < TOLD_EVERY_MS {
            return None;
        }
        active.told_ms = pts_ms;
        let score = active.score;
        let until_ms = self.active.as_ref().map_or(pts_ms, |active| self.until_ms(active));
        Some(Change::Extended { until_ms, score })
    }

    /// A frame without motion.
    pub(super) fn still(&mut self, pts_ms: i64) -> Option<Change> {
        self.over(pts_ms)
    }

    /// Nothing that belongs to it comes any more.
    pub(super) fn interrupted(&mut self) -> Option<Change> {
        let Active { at_ms, score, .. } = self.active.take()?;
        Some(Change::Ended { pts_ms: at_ms, score, why: WhyEnded::Interrupted })
    }

    /// Ends it where its time has come.
    fn over(&mut self, pts_ms: i64) -> Option<Change> {
        let active = self.active.as_mut()?;
        active.at_ms = pts_ms;
        let cut_ms = active.since_ms.saturating_add(self.timeout_ms);
        let until_ms = self.active.as_ref().map(|active| self.until_ms(active))?;
        if pts_ms < until_ms {
            return None;
        }
        let Active { score, .. } = self.active.take()?;
        let why = if until_ms >= cut_ms { WhyEnded::Timeout } else { WhyEnded::Still };
        Some(Change::Ended { pts_ms: until_ms, score, why })
    }

    fn until_ms(&self, active: &Active) -> i64 {
        active.moved_ms.saturating_add(self.duration_ms).min(active.since_ms.saturating_add(self.timeout_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of motion from and to these times, looked at five times a second, in words.
    fn told(duration_ms: u32, timeout_ms: u32, moves: &[(i64, i64)]) -> Vec<String> {
        let mut event = Event::new(duration_ms, timeout_ms);
        let mut all = Vec::new();
        for pts_ms in (0..60_000).step_by(200) {
            let change = if moves.iter().any(|(from, to)| (*from..*to).contains(&pts_ms)) {
                event.moves(pts_ms, pts_ms, 0.5, Vec::new(), true)
            } else {
                event.still(pts_ms)
            };
            match change {
                Some(Change::Started { pts_ms, .. }) => all.push(format!("{pts_ms}+")),
                Some(Change::Ended { pts_ms, why, .. }) => all.push(format!("{pts_ms}-{why:?}")),
                _ => {}
            }
        }
        all
    }

    #[test]
    fn an_event_is_extended_and_cut() {
        assert_eq!(told(5_000, 60_000, &[(1_000, 1_200)]), ["1000+", "6000-Still"]);
        assert_eq!(told(5_000, 60_000, &[(1_000, 1_200), (5_800, 6_000)]), ["1000+", "10800-Still"]);
        assert_eq!(told(5_000, 20_000, &[(1_000, 30_000)]), ["1000+", "21000-Timeout", "21200+", "34800-Still"]);
        // Each lasts at least as long as is said, so there is no second one within that.
        assert_eq!(
            told(5_000, 60_000, &[(1_000, 1_200), (6_200, 6_400)]),
            ["1000+", "6000-Still", "6200+", "11200-Still"]
        );
        // Longer than the longest is as long as the longest.
        assert_eq!(told(9_000, 3_000, &[(1_000, 1_200)]), ["1000+", "4000-Timeout"]);
    }

    #[test]
    fn what_is_interrupted_ends_where_it_was_seen_last() {
        let mut event = Event::new(5_000, 60_000);
        assert_eq!(event.interrupted(), None);
        event.moves(0, 0, 0.1, Vec::new(), true);
        assert_eq!(event.moves(800, 0, 0.4, Vec::new(), true), None);
        assert_eq!(
            event.moves(1_000, 0, 0.2, Vec::new(), true),
            Some(Change::Extended { until_ms: 6_000, score: 0.4 })
        );
        event.still(1_400);
        assert_eq!(event.interrupted(), Some(Change::Ended { pts_ms: 1_400, score: 0.4, why: WhyEnded::Interrupted }));
        assert!(!event.is_active());
    }
}
