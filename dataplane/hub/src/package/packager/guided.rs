//! A rendition is cut where its source is: its frames have the source's decode times, so a segment of it has the same number, beginning and
//! date, and a player may switch at any of them. What it lacks, because it began late or its encoder was started anew, is a gap in it
//! and moves nothing. Beside [`super`], which cuts all other streams.
use std::sync::Arc;

use millstream_proto::media::{Codec, Frame, Track};

use super::super::change::{Change, Guide, Session};
use super::super::plans::SegmentPlans;
use super::super::track::{Sample, SegmentPlan, TrackPacker};
use super::{Packager, Wall};
use crate::config::HlsConfig;
use crate::log::Log;

impl Packager {
    /// Begins as [`Packager::new`] does, in the segment of the source that the first frame is in. `None`: the source has none yet.
    pub fn guided(
        config: HlsConfig,
        name: String,
        (guide, source): (Guide, &SegmentPlans),
        log: &Log,
        wall: Wall,
    ) -> Option<Self> {
        let (pace, step_ms) = source.chosen()?;
        let newest = source.newest_msn()?;
        let mut packager = Self::new(config, name, newest, log, wall);
        packager.pace = pace;
        packager.step_ms = step_ms;
        packager.undecided = None;
        let session = Session { target_duration_s: pace.target_s, guide: Some(guide), ..(*packager.session).clone() };
        packager.session = Arc::new(session);
        packager.out = vec![Change::Began(Arc::clone(&packager.session))];
        packager.guide = Some(source.clone());
        Some(packager)
    }

    /// Learns where the source's segments are by now. To be called before [`Packager::advance`].
    pub fn follow(&mut self, source: &SegmentPlans) {
        if let Some(guide) = self.guide.as_mut().filter(|guide| guide.newest_msn() != source.newest_msn()) {
            guide.clone_from(source);
        }
    }

    /// How much earlier than its stamp a frame is decoded, milliseconds, where its coding has no composition times, as AV1's: it comes with the time at
    /// which it is shown, and its source's frames are decoded that much before that.
    pub(super) fn left_out_delay_ms(&self, frame: &Frame, stamp_ms: u64) -> u64 {
        let is_left_out = frame.track == Track::Video && !matches!(frame.codec, Codec::Avc | Codec::Hevc);
        let guide = self.guide.as_ref().filter(|_| is_left_out);
        guide.map_or(0, |guide| guide.delay_ms(stamp_ms).min(stamp_ms))
    }

    /// Whether a frame has a place: of a rendition that has yet to begin, or lost its place, only a picture that one can start at has.
    pub(super) fn has_place(&mut self, track: Track, us: u64, frame: &Sample) -> bool {
        let Some(guide) = &self.guide else { return true };
        let starts = track == Track::Video && frame.sync;
        if self.video.packer.is_none() && self.audio.packer.is_none() {
            let plan = guide.at(us).filter(|_| starts);
            if let Some(plan) = plan {
                self.restarted = false;
                self.at = SegmentPlan { start_us: us, discontinuity: false, ..plan };
            }
            return plan.is_some();
        }
        let slot = if track == Track::Video { &self.video } else { &self.audio };
        let recoded = slot.fresh.is_some() && slot.packer.as_ref().is_some_and(TrackPacker::is_open);
        let hole = self.leaves_hole(track, us, frame);
        if track == Track::Audio {
            // Behind a hole it begins with a segment, as a new coding does: which, the picture says.
            return !(self.astray || self.restarted || recoded || hole && self.follows.is_none());
        }
        let begins = guide.at(us).is_some_and(|plan| plan.start_us == us && plan.msn > self.at.msn);
        self.astray |= std::mem::take(&mut self.restarted) || recoded || hole;
        if self.astray && begins && starts {
            self.astray = false;
            self.leave_rests();
            self.cut_as_guided(us);
            for track in [Track::Video, Track::Audio] {
                let (slot, out) = self.slot_and_out(track);
                if let Some(packer) = &mut slot.packer {
                    packer.skip_part(out);
                }
            }
        }
        !self.astray
    }

    /// Both tracks have no more of the segment that they are in. Where the source's run ends with it, it ends with what it has: what is between two runs
    /// is in none of them.
    fn leave_rests(&mut self) {
        let next = self.guide.as_ref().and_then(|guide| guide.after(self.at.msn));
        let Some(next) = next.filter(|next| !next.discontinuity) else { return };
        self.catch_up();
        let delay_us = self.delay_us;
        for (track, until_us) in [(Track::Video, next.start_us), (Track::Audio, next.start_us + delay_us)] {
            let (slot, out) = self.slot_and_out(track);
            if let Some(packer) = &mut slot.packer {
                packer.leave_rest(until_us, out);
            }
        }
    }

    /// Goes to the source's segment that begins at `us` or before it; those between have nothing of this rendition and are gaps.
    pub(super) fn cut_as_guided(&mut self, us: u64) {
        while let Some(plan) = self.guide.as_ref().and_then(|guide| guide.after(self.at.msn)) {
            if plan.start_us > us {
                return;
            }
            let plan = SegmentPlan { until_us: self.until_us(plan.start_us), ..plan };
            if plan.discontinuity {
                self.catch_up();
                self.begin_run(plan);
            } else {
                self.go_on(plan);
            }
        }
    }
}
