//! Where the newest segments of a stream begin, for its renditions, which are cut at the same places and have the same numbers. Made by the
//! [`super::packager`] of the source; read by those of its renditions.
use std::collections::VecDeque;

use super::pace::SegmentPace;
use super::track::SegmentPlan;

/// Segments that are remembered: a rendition is not further behind.
pub(super) const PLANS_MAX: usize = 128;

/// The newest segments of a stream. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegmentPlans {
    plans: VecDeque<SegmentPlan>,
    /// The lengths that were chosen, and the longest distance of frames, milliseconds; `None` before that.
    chosen: Option<(SegmentPace, u64)>,
    /// Keyframes from which on frames are shown later than before, or sooner, the newest ones: decode time, and how long after it, milliseconds.
    keyframes: VecDeque<(u64, u64)>,
}

impl SegmentPlans {
    pub(super) fn new(pace: SegmentPace, step_ms: u64) -> Self {
        Self { chosen: Some((pace, step_ms)), ..Self::default() }
    }

    pub(super) fn push(&mut self, plan: SegmentPlan) {
        if self.plans.len() == PLANS_MAX {
            self.plans.pop_front();
        }
        self.plans.push_back(plan);
    }

    /// A keyframe has come. One that is shown as late as the one before says nothing new.
    pub(super) fn keyframe(&mut self, dts_ms: u64, delay_ms: u64) {
        if self.keyframes.back().is_some_and(|(_, before)| *before == delay_ms) {
            return;
        }
        if self.keyframes.len() == PLANS_MAX {
            self.keyframes.pop_front();
        }
        self.keyframes.push_back((dts_ms, delay_ms));
    }

    /// How long after its decode time a picture is shown that is shown at that time, by the keyframe before it, milliseconds.
    pub(super) fn delay_ms(&self, pts_ms: u64) -> u64 {
        let keyframe = self.keyframes.iter().rev().find(|(dts_ms, delay_ms)| dts_ms + delay_ms <= pts_ms);
        keyframe.or(self.keyframes.front()).map_or(0, |(_, delay_ms)| *delay_ms)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// Number of the newest segment.
    pub(super) fn newest_msn(&self) -> Option<u64> {
        self.plans.back().map(|plan| plan.msn)
    }

    pub(super) fn chosen(&self) -> Option<(SegmentPace, u64)> {
        self.chosen
    }

    /// The segment that a frame with this decode time is in, microseconds; what is before all of them is in none.
    pub(super) fn at(&self, us: u64) -> Option<SegmentPlan> {
        self.plans.iter().rev().find(|plan| plan.start_us <= us).copied()
    }

    /// The segment behind that number.
    pub(super) fn after(&self, msn: u64) -> Option<SegmentPlan> {
        self.plans.iter().find(|plan| plan.msn > msn).copied()
    }
}
