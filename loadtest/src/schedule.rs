//! When each viewer comes and goes, fixed before the run begins: a slow server does not get an easier plan. Before it:
//! [`crate::plan`]; after it: the event loop connects whom it names.
use std::time::Duration;

use crate::plan::{Plan, Shape, View};

/// How a viewer watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Flv,
    Rtmp,
    /// Playlists are polled, segments fetched.
    Hls,
    /// Playlists and parts are waited for.
    LlHls,
}

impl Protocol {
    /// Of one request after another, on two connections.
    pub(crate) fn is_hls(self) -> bool {
        matches!(self, Self::Hls | Self::LlHls)
    }
}

/// What a viewer does with what it gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Habit {
    Drain,
    /// Takes it apart and compares it.
    Sample,
    /// Reads this many bytes per second, and counts.
    Slow(u32),
}

/// A place for a viewer: at most one session at a time sits there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    pub(crate) protocol: Protocol,
    pub(crate) habit: Habit,
    /// Index of the stream.
    pub(crate) stream: usize,
}

/// One visit, in time since the first viewer may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Visit {
    pub(crate) slot: usize,
    pub(crate) at: Duration,
    /// When it goes by itself; `None` stays to the end.
    pub(crate) until: Option<Duration>,
}

/// The places. Streams are dealt out in turn; the sample is spread evenly over those that are not slow, of both protocols.
pub(crate) fn slots(plan: &Plan, streams: usize) -> Vec<Slot> {
    let view = &plan.view;
    let total = plan.viewers();
    let slow_rate = view.slow_kbit.saturating_mul(125);
    let place = |n: usize| {
        let protocol = match n {
            n if n < view.flv => Protocol::Flv,
            n if n < view.flv + view.rtmp => Protocol::Rtmp,
            n if n < view.flv + view.rtmp + view.hls => Protocol::Hls,
            _ => Protocol::LlHls,
        };
        let habit = if n < view.slow { Habit::Slow(slow_rate) } else { Habit::Drain };
        Slot { protocol, habit, stream: n % streams.max(1) }
    };
    let mut slots: Vec<Slot> = (0..total).map(place).collect();
    let quick = &mut slots[view.slow.min(total)..];
    let (count, wanted) = (quick.len(), view.sample.min(quick.len()));
    for k in 0..wanted {
        quick[k * count / wanted].habit = Habit::Sample;
    }
    // Protocols and habits take turns in coming, so that no second of a ramp has only one kind.
    let mut order: Vec<usize> = (0..total).collect();
    order.sort_by_key(|&n| scatter(n as u64));
    order.into_iter().map(|n| slots[n]).collect()
}

/// All visits in the order of their times.
pub(crate) fn visits(view: &View, total: usize, duration: Duration) -> Vec<Visit> {
    let spread = |n: usize| view.over.mul_f64(n as f64 / total.max(1) as f64);
    let mut visits = Vec::new();
    for slot in 0..total {
        let at = match view.schedule {
            Shape::Ramp | Shape::Churn => spread(slot),
            Shape::Steady => Duration::from_secs_f64(slot as f64 / f64::from(view.per_second.max(1))),
            Shape::Burst => view.over,
        };
        if view.schedule == Shape::Churn {
            let (mut at, mut round) = (at, 0);
            while at < duration {
                let share = scatter((slot as u64) << 32 | round) as f64 / u64::MAX as f64;
                let until = at + view.stay.mul_f64(0.5 + share);
                visits.push(Visit { slot, at, until: (until < duration).then_some(until) });
                (at, round) = (until, round + 1);
            }
        } else if at < duration {
            visits.push(Visit { slot, at, until: None });
        }
    }
    visits.sort_by_key(|visit| visit.at);
    visits
}

/// About how many visits there will be, without making them.
pub(crate) fn sessions_estimate(view: &View, duration: Duration) -> usize {
    let total = view.total();
    match view.schedule {
        Shape::Churn => {
            // Stays are at least half as long as said.
            let rounds = duration.as_millis() / (view.stay.as_millis() / 2).max(1) + 1;
            total.saturating_mul(usize::try_from(rounds).unwrap_or(usize::MAX))
        }
        _ => total,
    }
}

/// A number that looks random and is the same in every run (splitmix64).
fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(change: impl FnOnce(&mut Plan)) -> Plan {
        let mut plan = Plan::load("smoke").unwrap();
        change(&mut plan);
        plan
    }

    fn times(plan: &Plan) -> Vec<u128> {
        visits(&plan.view, plan.viewers(), plan.duration).iter().map(|visit| visit.at.as_millis()).collect()
    }

    #[test]
    fn viewers_come_as_planned() {
        let of = |shape| plan(|p| (p.view.flv, p.view.rtmp, p.view.schedule, p.view.per_second) = (4, 0, shape, 2));
        assert_eq!(times(&of(Shape::Ramp)), [0, 250, 500, 750]);
        assert_eq!(times(&of(Shape::Steady)), [0, 500, 1000, 1500]);
        assert_eq!(times(&of(Shape::Burst)), [1000; 4]);
    }

    #[test]
    fn churning_viewers_leave_no_place_empty() {
        let plan = plan(|p| {
            (p.view.schedule, p.view.stay, p.duration) = (Shape::Churn, Duration::from_secs(2), Duration::from_mins(1));
        });
        let visits = visits(&plan.view, plan.viewers(), plan.duration);
        assert!(visits.len() <= sessions_estimate(&plan.view, plan.duration));
        assert!((300..420).contains(&visits.len()), "12 places, 60 s, 2 s each: {}", visits.len());
        for slot in 0..plan.viewers() {
            let mine: Vec<_> = visits.iter().filter(|visit| visit.slot == slot).collect();
            assert!(mine.windows(2).all(|pair| pair[0].until == Some(pair[1].at)));
            assert!(mine.last().unwrap().until.is_none());
            let stays = mine.iter().filter_map(|visit| visit.until?.checked_sub(visit.at));
            assert!(stays.into_iter().all(|stay| (1_000..=3_000).contains(&stay.as_millis())));
        }
    }

    #[test]
    fn the_sample_is_spread_over_protocols_and_spares_the_slow() {
        let plan = plan(|p| (p.view.flv, p.view.rtmp, p.view.slow, p.view.sample) = (60, 40, 20, 8));
        let slots = slots(&plan, 3);
        let count = |wanted: &dyn Fn(&Slot) -> bool| slots.iter().filter(|slot| wanted(slot)).count();
        assert_eq!(count(&|s| s.habit == Habit::Sample), 8);
        assert_eq!(count(&|s| s.habit == Habit::Sample && s.protocol == Protocol::Rtmp), 4);
        assert_eq!(count(&|s| matches!(s.habit, Habit::Slow(_)) && s.protocol == Protocol::Flv), 20);
        assert_eq!((count(&|s| s.stream == 0), count(&|s| s.stream == 2)), (34, 33));
    }
}
