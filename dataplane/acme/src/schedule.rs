//! When a certificate is ordered: at two thirds of the life of the one there is, at once where there is none for these names, and after a failure
//! with doubled waits, or when the authority has said. Time and chance are arguments. Before it: [`crate::renewal`], which has a clock.
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The wait after a first failure. With doublings these are five tries in the first hour, which is what Let's Encrypt allows of failed ones.
const WAIT_MIN: Duration = Duration::from_mins(2);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_hours(6);
/// An authority is not believed that asks for more: its longest limit is of a week.
const ASKED_MAX: Duration = Duration::from_hours(7 * 24);
/// Who starts the server again, or sends SIGHUP, has changed something: it is tried at once, but no sooner after the last try than this.
const HURRY: Duration = Duration::from_mins(1);

/// A certificate that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    /// When it begins to be valid and when it ends, seconds since 1970.
    pub(crate) valid_s: (u64, u64),
    /// It is for the names that are wanted, of the authority that is asked.
    pub(crate) is_wanted: bool,
}

impl Held {
    /// When it is renewed; `spread` from 0 to 1 keeps servers that were started together apart.
    fn renewal_s(&self, spread: f64) -> u64 {
        let (from_s, until_s) = self.valid_s;
        let life = until_s.saturating_sub(from_s);
        from_s.saturating_add(life / 3 * 2).saturating_add((life as f64 / 30.0 * spread.clamp(0.0, 1.0)) as u64)
    }

    /// Whether less than a third of its life is left.
    pub(crate) fn is_old(&self, now_s: u64) -> bool {
        now_s >= self.renewal_s(0.0)
    }
}

/// That orders fail, since when and why. It is kept, so that a start knows of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failed {
    /// When the first of them failed, seconds since 1970.
    pub since_s: u64,
    /// When the last of them failed.
    pub tried_s: u64,
    /// How many in a row.
    pub times: u32,
    /// Why the last of them failed.
    pub reason: String,
    /// What tells one reason from another: words without numbers and times.
    pub kind: String,
    /// Until when the authority has asked to wait; 0: it has not.
    pub asked_until_s: u64,
    /// When it is tried again.
    pub next_s: u64,
}

/// What to do, and when.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Schedule {
    failed: Option<Failed>,
    spread: f64,
}

impl Schedule {
    /// After a start, with what is known of failures before it.
    pub(crate) fn new(failed: Option<Failed>, spread: f64) -> Self {
        let mut schedule = Self { failed, spread };
        schedule.hurry();
        schedule
    }

    /// When an order is to be made, seconds since 1970; what is past is now.
    pub(crate) fn next_s(&self, now_s: u64, held: Option<Held>) -> u64 {
        let wanted_s = held.filter(|held| held.is_wanted).map_or(0, |held| held.renewal_s(self.spread));
        // A clock that was set back must not make it wait for years.
        let again_s = self.failed.as_ref().filter(|failed| failed.tried_s <= now_s).map_or(0, |failed| failed.next_s);
        wanted_s.max(again_s)
    }

    /// Somebody has looked after it: it is tried soon, unless the authority has asked to wait.
    pub(crate) fn hurry(&mut self) {
        if let Some(failed) = &mut self.failed {
            let soon_s = failed.tried_s.saturating_add(HURRY.as_secs());
            failed.next_s = failed.next_s.min(soon_s.max(failed.asked_until_s));
        }
    }

    /// An order has failed; `asked`: the wait that the authority wants, `chance` from 0 to 1. True: for another reason than the one before.
    pub(crate) fn failed(
        &mut self,
        now_s: u64,
        (kind, reason): (String, String),
        asked: Option<Duration>,
        chance: f64,
    ) -> bool {
        let before = self.failed.take();
        let times = before.as_ref().map_or(0, |before| before.times).saturating_add(1);
        let asked = asked.map(|asked| asked.min(ASKED_MAX));
        let wait = match asked {
            // The first time it is believed; who asks for a second each time is not asked every second.
            Some(asked) => asked.max(if times > 1 { wait(times - 1) } else { Duration::ZERO }),
            None => wait(times),
        };
        let wait = wait.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 4.0);
        let is_new = before.as_ref().is_none_or(|before| before.kind != kind);
        self.failed = Some(Failed {
            since_s: before.map_or(now_s, |before| before.since_s),
            tried_s: now_s,
            times,
            reason,
            kind,
            asked_until_s: asked.map_or(0, |asked| now_s.saturating_add(asked.as_secs())),
            // Rounded up: not before it was asked for.
            next_s: now_s.saturating_add(wait.as_secs() + 1),
        });
        is_new
    }

    /// An order has brought a certificate.
    pub(crate) fn succeeded(&mut self, spread: f64) {
        self.spread = spread;
        self.failed = None;
    }

    /// That orders fail, if they do.
    pub(crate) fn failure(&self) -> Option<&Failed> {
        self.failed.as_ref()
    }
}

/// The wait after so many failures in a row.
fn wait(times: u32) -> Duration {
    WAIT_MIN.saturating_mul(1 << times.saturating_sub(1).min(16)).min(WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;
    const NOW_S: u64 = 1_800_000_000;

    fn held(age_days: u64, life_days: u64) -> Held {
        let from_s = NOW_S - age_days * DAY_S;
        Held { valid_s: (from_s, from_s + life_days * DAY_S), is_wanted: true }
    }

    fn why(kind: &str) -> (String, String) {
        (kind.to_owned(), format!("{kind} in words"))
    }

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life() {
        let schedule = |spread| Schedule::new(None, spread);
        assert_eq!(schedule(0.0).next_s(NOW_S, Some(held(0, 90))), NOW_S + 60 * DAY_S);
        assert_eq!(schedule(1.0).next_s(NOW_S, Some(held(0, 90))), NOW_S + 63 * DAY_S);
        // One of six days has the same rule.
        assert_eq!(schedule(0.0).next_s(NOW_S, Some(held(1, 6))), NOW_S + 3 * DAY_S);
        assert!(schedule(0.5).next_s(NOW_S, Some(held(70, 90))) <= NOW_S);
        assert!(!held(59, 90).is_old(NOW_S) && held(60, 90).is_old(NOW_S));
        // None, or one for other names.
        assert_eq!(schedule(0.5).next_s(NOW_S, None), 0);
        assert_eq!(schedule(0.5).next_s(NOW_S, Some(Held { is_wanted: false, ..held(0, 90) })), 0);
        // One that ends before it begins is renewed when it begins.
        let odd = Held { valid_s: (NOW_S, 5), is_wanted: true };
        assert_eq!(schedule(1.0).next_s(NOW_S, Some(odd)), NOW_S);
    }

    #[test]
    fn waits_double_up_to_hours_and_chance_only_adds() {
        let mut schedule = Schedule::new(None, 0.0);
        let mut now_s = NOW_S;
        let mut waits = Vec::new();
        for n in 0..12 {
            let is_new = schedule.failed(now_s, why("unreachable"), None, 0.0);
            assert_eq!(is_new, n == 0);
            let next_s = schedule.next_s(now_s, None);
            waits.push((next_s - now_s) / 60);
            now_s = next_s;
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 360, 360, 360, 360]);
        let failed = schedule.failure().unwrap();
        assert_eq!((failed.since_s, failed.times), (NOW_S, 12));
        assert!(schedule.failed(now_s, why("refused"), None, 1.0), "another reason is told");
        assert_eq!((schedule.next_s(now_s, None) - now_s) / 60, 360 * 5 / 4);
        assert_eq!(schedule.failure().unwrap().times, 13);
        schedule.succeeded(0.0);
        assert!(schedule.failure().is_none() && schedule.failed(now_s, why("refused"), None, 0.0));
    }

    #[test]
    fn what_the_authority_asks_for_is_kept_to() {
        let mut schedule = Schedule::new(None, 0.0);
        let hour = Some(Duration::from_hours(1));
        schedule.failed(NOW_S, why("rate_limited"), hour, 0.0);
        assert_eq!(schedule.next_s(NOW_S, None), NOW_S + 3_601);
        // Neither a start nor SIGHUP changes that.
        schedule.hurry();
        assert_eq!(schedule.next_s(NOW_S, None), NOW_S + 3_600);
        let again = Schedule::new(schedule.failure().cloned(), 0.0);
        assert_eq!(again.next_s(NOW_S, None), NOW_S + 3_600);
        // A second that is asked for every time is not taken at its word, and a year never.
        let mut schedule = Schedule::new(None, 0.0);
        let second = Some(Duration::from_secs(1));
        let waits: Vec<u64> = (0..3)
            .map(|_| {
                schedule.failed(NOW_S, why("rate_limited"), second, 0.0);
                schedule.next_s(NOW_S, None) - NOW_S
            })
            .collect();
        assert_eq!(waits, [2, 121, 241]);
        schedule.failed(NOW_S, why("rate_limited"), Some(Duration::from_hours(365 * 24)), 1.0);
        assert!(schedule.next_s(NOW_S, None) <= NOW_S + 9 * DAY_S);
    }

    #[test]
    fn who_looks_after_it_does_not_wait_and_does_not_hammer() {
        let mut schedule = Schedule::new(None, 0.0);
        for _ in 0..9 {
            schedule.failed(NOW_S, why("challenge"), None, 0.0);
        }
        assert!(schedule.next_s(NOW_S, None) > NOW_S + 3_600);
        schedule.hurry();
        assert_eq!(schedule.next_s(NOW_S + 5, None), NOW_S + 60);
        assert_eq!(Schedule::new(schedule.failure().cloned(), 0.0), schedule);
        // A certificate that is good waits for its own time.
        assert_eq!(schedule.next_s(NOW_S + 5, Some(held(0, 90))), NOW_S + 60 * DAY_S);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_it() {
        let mut schedule = Schedule::new(None, 0.0);
        schedule.failed(NOW_S, why("unreachable"), None, 0.0);
        assert_eq!(schedule.next_s(NOW_S - 365 * DAY_S, None), 0);
    }
}
