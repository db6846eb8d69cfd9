//! Where segments end: at keyframes, in time or before they are too long, and where a run breaks off. Before it: [`super::placing`], a frame at a time; after it:
//! [`crate::package::track`], which cuts what it has, and [`crate::package::plans`], which renditions follow.
use millstream_proto::media::Track;

use super::{Packager, Slot};
use crate::package::track::{Sample, SegmentPlan, TrackPacker};

/// After so many equal distances of keyframes, the next keyframe is expected in time.
const STEADY_GOPS_MIN: u32 = 2;

impl Packager {
    pub(super) fn leaves_hole(&self, track: Track, us: u64, frame: &Sample) -> bool {
        self.packer(track).is_some_and(|packer| packer.leaves_hole(us, packer.frame_us(&frame.data)))
    }

    pub(super) fn ends_segment(&self, track: Track, us: u64, frame: &Sample) -> bool {
        let Some(packer) = self.packer(track) else { return false };
        if let Some(guide) = &self.guide {
            return guide.at(us).is_some_and(|plan| plan.msn > self.at.msn);
        }
        if track == Track::Video && packer.has_begun() && packer.is_between_segments() {
            return true;
        }
        let length_us = us.saturating_sub(self.at.start_us);
        let begun =
            [&self.video, &self.audio].iter().any(|slot| slot.packer.as_ref().is_some_and(TrackPacker::is_open));
        // Where no keyframe is to be waited for, a segment ends with a whole part.
        let whole = packer.is_between_parts();
        let ready = length_us >= self.pace.ready_us;
        let ends = match track {
            Track::Video => {
                let waits = self.until_us(self.at.start_us).is_some_and(|until_us| us < until_us + packer.part_us());
                frame.sync && ready || whole && !waits && length_us + packer.part_us() > self.pace.lead_us()
            }
            Track::Audio => ready && whole,
        };
        // A part of frames that has just begun would be the next segment's, though it was hinted for this one: it gets long enough to stay.
        let lead_us = if track == Track::Video && packer.carries(us) { self.pace.most_us } else { self.pace.lead_us() };
        begun && (ends || length_us + packer.frame_us(&frame.data) > lead_us || self.is_full(track, us, frame))
    }

    /// A segment whose next picture presumably goes to the next segment is closed with its last part, not with that picture. Shaka fetches a part
    /// once more that was hinted for one segment and is another's, and shows nothing from there to the next keyframe.
    pub(super) fn close_in_time(&mut self) {
        let (at, lead_us) = (self.at, self.pace.lead_us());
        let Some(packer) = self.video.packer.as_ref().filter(|packer| packer.is_open() && packer.is_between_parts())
        else {
            return;
        };
        let length_us = packer.length_us(0);
        let ends = match self.until_us(at.start_us) {
            _ if let Some(guide) = &self.guide => guide
                .after(at.msn)
                .is_some_and(|next| at.start_us + length_us + packer.interval_us() / 2 >= next.start_us),
            None => length_us + packer.part_us() > lead_us,
            Some(until_us) => {
                self.steady_gops >= STEADY_GOPS_MIN && at.start_us + length_us + packer.interval_us() / 2 >= until_us
            }
        };
        if ends {
            let (slot, out) = self.slot_and_out(Track::Video);
            if let Some(packer) = &mut slot.packer {
                packer.close_segment(out);
            }
        }
    }

    /// Where a segment that begins at `us` will presumably end: at the first keyframe after its time.
    pub(super) fn until_us(&self, us: u64) -> Option<u64> {
        if let Some(next) = self.guide.as_ref().and_then(|guide| guide.after(guide.at(us)?.msn)) {
            return Some(next.start_us);
        }
        let (key_us, ready_us) = (self.key_us.unwrap_or(us), us + self.pace.ready_us);
        let gops = ready_us.saturating_sub(key_us).div_ceil(self.gop_us.max(1));
        Some(key_us + gops * self.gop_us).filter(|until_us| *until_us <= us + self.pace.lead_us())
    }

    /// Whether this frame would make the track's segment too long.
    pub(super) fn is_full(&self, track: Track, us: u64, frame: &Sample) -> bool {
        if self.guide.is_some() {
            // Its source's segments are not too long.
            return false;
        }
        self.packer(track).is_some_and(|packer| {
            packer.is_open() && packer.length_us(us) + packer.frame_us(&frame.data) > self.pace.most_us
        })
    }

    /// The leading track's next segment begins at `us`; the audio's with what is heard when its first picture is seen.
    pub(super) fn cut(&mut self, us: u64, sync: bool) {
        if self.guide.is_some() {
            return self.cut_as_guided(us);
        }
        let lost =
            |slot: &Slot| slot.packer.as_ref().is_some_and(|packer| packer.is_open() && packer.leaves_hole(us, 0));
        if self.drift.segment().is_some() && sync || lost(&self.video) {
            return self.break_off(us);
        }
        let plan = SegmentPlan {
            msn: self.at.msn + 1,
            discontinuity: false,
            start_us: us,
            until_us: self.until_us(us),
            ..self.at
        };
        self.plans.push(plan);
        self.go_on(plan);
    }

    /// The leading track goes to this segment at once, the audio with what is heard when its first picture is seen.
    pub(super) fn go_on(&mut self, plan: SegmentPlan) {
        self.catch_up();
        self.at = plan;
        self.move_to(Track::Video, plan);
        if self.leads(Track::Video) {
            let until_us = plan.until_us.map(|until_us| until_us + self.delay_us);
            let follows = SegmentPlan { start_us: plan.start_us + self.delay_us, until_us, ..plan };
            self.follows = self.audio.packer.is_some().then_some(follows);
            self.catch_up_in_time();
        } else {
            self.move_to(Track::Audio, plan);
        }
    }

    /// The audio goes to the segment that the picture is in with the frame that ends nearest to its beginning, not with the next one: its
    /// last part need not wait for that.
    pub(super) fn catch_up_in_time(&mut self) {
        if self.follows.is_some_and(|plan| self.audio.packer.as_ref().is_some_and(|sound| sound.reaches(plan.start_us)))
        {
            self.catch_up();
        }
    }

    /// The audio goes to the segment that the picture is in.
    pub(super) fn catch_up(&mut self) {
        if let Some(plan) = self.follows.take() {
            self.move_to(Track::Audio, plan);
        }
    }

    fn move_to(&mut self, track: Track, plan: SegmentPlan) {
        let (slot, out) = self.slot_and_out(track);
        if let Some(packer) = &mut slot.packer {
            packer.go_on(plan, out);
        }
    }

    /// What comes is of another timeline or coding: all tracks begin a new segment with it.
    pub(super) fn break_off(&mut self, us: u64) {
        self.catch_up();
        // Dates may jump here, but they rise, in both tracks.
        let newest_us =
            [&self.video, &self.audio].into_iter().filter_map(|slot| Some(slot.packer.as_ref()?.newest_us(us)));
        let back_ms_max = i64::try_from(newest_us.min().unwrap_or(0) / 2_000).unwrap_or(0);
        self.zero_unix_ms += self.drift.take().max(-back_ms_max);
        let plan = SegmentPlan {
            msn: self.at.msn + 1,
            discontinuity: true,
            discontinuities: self.at.discontinuities + 1,
            run_start_ms: us / 1_000,
            start_us: us,
            until_us: self.until_us(us),
            zero_unix_ms: self.zero_unix_ms,
        };
        self.plans.push(plan);
        self.begin_run(plan);
    }

    /// All tracks begin a run with this segment.
    pub(super) fn begin_run(&mut self, plan: SegmentPlan) {
        self.at = plan;
        for track in [Track::Video, Track::Audio] {
            self.move_to(track, plan);
            let (slot, out) = self.slot_and_out(track);
            if let Some(packer) = &mut slot.packer {
                packer.skip_part(out);
            }
        }
    }
}
