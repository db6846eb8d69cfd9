//! Timers of a second and more that go off together: what looks at something each second wakes the process once, and not once each. Before them: tokio's
//! clock; after them: the loops of control and of nodes' agents.
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

/// All timers go off at multiples of their periods since then.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The first multiple of a period that is not before this moment.
fn aligned(at: Instant, every: Duration) -> Instant {
    let since = at.saturating_duration_since(*BEGUN).as_nanos();
    let every = every.as_nanos().max(1);
    let rest = (every - since % every) % every;
    at + Duration::from_nanos(u64::try_from(rest).unwrap_or_default())
}

/// Ticks at once, and then with all others. What was missed is left out.
pub fn interval(every: Duration) -> Interval {
    let next = aligned(Instant::now() + Duration::from_nanos(1), every);
    let mut interval = interval_at(next.checked_sub(every).unwrap_or(next), every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

/// The common moment that is nearest to this time from now on, and not now.
pub fn after(wait: Duration, every: Duration) -> Instant {
    let about = wait.max(every).saturating_sub(every / 2);
    aligned(Instant::now() + about, every)
}

/// Sleeps until the others of this period wake, which is half of it or more.
pub async fn sleep(every: Duration) {
    sleep_until(after(every, every)).await;
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn timers_that_begin_at_different_moments_go_off_at_the_same() {
        let mut first = interval(SECOND);
        let begun = first.tick().await;
        assert!(begun <= Instant::now(), "it ticks at once");
        advance(Duration::from_millis(300)).await;
        let mut second = interval(SECOND);
        assert!(second.tick().await <= Instant::now(), "this one, too");
        let (one, other) = (first.tick().await, second.tick().await);
        assert_eq!((one, other), (begun + SECOND, begun + SECOND));
        // One that is late goes on with the others.
        advance(Duration::from_millis(2_700)).await;
        first.tick().await;
        second.tick().await;
        assert_eq!((first.tick().await, second.tick().await), (begun + 4 * SECOND, begun + 4 * SECOND));
        sleep(SECOND).await;
        assert_eq!(second.tick().await, begun + 5 * SECOND);
        assert!(Instant::now() - (begun + 5 * SECOND) < SECOND / 10, "it woke with them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_no_shorter_than_half_of_a_period() {
        for ms in [0, 100, 499, 501, 999] {
            sleep(SECOND).await;
            advance(Duration::from_millis(ms)).await;
            let now = Instant::now();
            for (wait, least, most) in
                [(SECOND, SECOND / 2, SECOND * 3 / 2), (SECOND * 3, SECOND * 5 / 2, SECOND * 7 / 2)]
            {
                let waits = after(wait, SECOND) - now;
                assert!((least..=most).contains(&waits), "{ms} ms: {waits:?}");
            }
        }
    }
}
