//! How a hook's receiver is doing, and how many deliveries may be under way to it because of that: one that is away is asked by one delivery
//! at a time, with doubled waits, whatever waits for it. Before it: what came of deliveries; after it: [`super::deliver`]'s next look.
use std::time::Duration;

use tokio::time::Instant;

use crate::limits::DELIVERIES_PER_HOOK_MAX;

/// With this many lanes whose last try failed, and none that went well since, it is the receiver and not what it is sent.
const LANES_FAILED: usize = 3;
/// The longest wait until a receiver that is away is asked again: it is one request a hook.
const ASK_AGAIN_MOST: Duration = Duration::from_mins(1);

/// What is known of one.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Deliveries to it.
    pub(super) under_way: usize,
    /// It took the last one whose outcome is known.
    is_proven: bool,
    /// Lanes that failed since it took one, up to [`LANES_FAILED`].
    failed: Vec<String>,
    /// Failures since it is away; 0: it is not.
    away: u32,
    not_before: Option<Instant>,
}

impl Health {
    /// How many more deliveries may begin.
    pub(super) fn room(&self, now: Instant) -> usize {
        if self.not_before.is_some_and(|at| now < at) {
            return 0;
        }
        let most = if self.is_proven { DELIVERIES_PER_HOOK_MAX } else { 1 };
        most.saturating_sub(self.under_way)
    }

    /// It took one. True: it had been away.
    pub(super) fn took(&mut self) -> bool {
        self.is_proven = true;
        self.failed.clear();
        self.not_before = None;
        std::mem::take(&mut self.away) > 0
    }

    /// It did not take the one of this lane. True: it is away. `least` and `most` are the waits between tries.
    pub(super) fn failed(&mut self, now: Instant, lane: &str, (least, most): (Duration, Duration)) -> bool {
        self.is_proven = false;
        if self.failed.len() < LANES_FAILED && !self.failed.iter().any(|failed| failed == lane) {
            self.failed.push(lane.to_owned());
        }
        if self.failed.len() < LANES_FAILED {
            return false;
        }
        let wait = least.saturating_mul(1 << self.away.min(20)).min(most).min(ASK_AGAIN_MOST);
        self.away = self.away.saturating_add(1);
        self.not_before = Some(now + wait);
        true
    }

    /// How often it was asked in vain since it is away.
    pub(super) fn asked_in_vain(&self) -> u32 {
        self.away
    }

    /// Whether nothing is lost when it is forgotten; `waits`: something waits for it. Where nothing does, it was removed, or has all.
    pub(super) fn is_plain(&self, waits: bool) -> bool {
        self.under_way == 0 && (self.failed.is_empty() || !waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_is_away_is_asked_by_one_at_a_time_and_less_often() {
        let (mut health, waits) = (Health::default(), (Duration::from_secs(2), Duration::from_mins(15)));
        let now = Instant::now();
        assert_eq!(health.room(now), 1, "unknown: one tries");
        assert!(!health.took());
        assert_eq!(health.room(now), DELIVERIES_PER_HOOK_MAX);
        // One lane that fails for ever is that lane's trouble.
        assert!((0..50).all(|_| !health.failed(now, "hook/a", waits)));
        assert_eq!(health.room(now), 1);
        assert!(!health.failed(now, "hook/b", waits) && health.failed(now, "hook/c", waits));
        assert_eq!((health.room(now), health.room(now + waits.0)), (0, 1));
        for _ in 0..20 {
            assert!(health.failed(now, "hook/a", waits));
        }
        assert_eq!((health.room(now + Duration::from_secs(59)), health.room(now + ASK_AGAIN_MOST)), (0, 1));
        assert!(!health.is_plain(true) && health.is_plain(false), "a hook that is removed is forgotten");
        health.under_way = 1;
        assert!(!health.is_plain(false));
        health.under_way = 0;
        assert!(health.took() && !health.took() && health.is_plain(true));
        assert_eq!(health.room(now), DELIVERIES_PER_HOOK_MAX);
    }
}
