//! Whether a back end answers: after some failures in a row it is left alone, and one question at a time finds out whether it is back.
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which it is away.
const FAILURES_MAX: u32 = 5;
const WAIT_LEAST: Duration = Duration::from_secs(1);
const WAIT_MOST: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    /// Away until then, and until one question went well.
    away: Option<Instant>,
    is_probed: bool,
}

/// What a change of health is to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// The first failure after an answer.
    Failing,
    Away,
    Back,
}

impl Health {
    /// Whether a question may go out. While it is away, one may now and then, and what becomes of that is waited for.
    pub(super) fn may_ask(&mut self, now: Instant) -> bool {
        match self.away {
            None => true,
            Some(until) if now >= until && !self.is_probed => {
                self.is_probed = true;
                true
            }
            Some(_) => false,
        }
    }

    pub(super) fn answered(&mut self) -> Option<Change> {
        let was_away = self.away.is_some();
        *self = Self::default();
        was_away.then_some(Change::Back)
    }

    pub(super) fn failed(&mut self, now: Instant) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        self.is_probed = false;
        if self.failures < FAILURES_MAX {
            return (self.failures == 1).then_some(Change::Failing);
        }
        let wait = WAIT_LEAST.saturating_mul(1 << (self.failures - FAILURES_MAX).min(8)).min(WAIT_MOST);
        let change = self.away.is_none().then_some(Change::Away);
        self.away = Some(now + wait);
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_is_left_alone_and_tried_by_one_at_a_time() {
        let (mut health, start) = (Health::default(), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(health.failed(at(0)), Some(Change::Failing));
        assert_eq!([(); 3].map(|()| health.failed(at(0))), [None; 3]);
        assert!(health.may_ask(at(0)));
        assert_eq!(health.failed(at(0)), Some(Change::Away));
        assert!(!health.may_ask(at(999)));
        assert!(health.may_ask(at(1_000)) && !health.may_ask(at(1_000)), "one at a time");
        assert_eq!(health.failed(at(1_500)), None);
        assert!(!health.may_ask(at(3_499)) && health.may_ask(at(3_500)));
        assert_eq!((health.answered(), health.answered()), (Some(Change::Back), None));
        assert!(health.may_ask(at(3_500)) && health.may_ask(at(3_500)));
        for _ in 0..100 {
            health.failed(at(4_000));
        }
        assert!(health.may_ask(at(19_000)), "never longer than {WAIT_MOST:?}");
    }
}
