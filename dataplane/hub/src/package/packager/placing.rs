//! Frames find their segment: audio waits for the picture, what cannot be decoded is left out, tracks and runs begin. Before it: [`super`], which reads them out of
//! the log; after it: [`super::cutting`], which says where segments end, and [`crate::package::track`].
use millstream_proto::cmaf::init::{InitError, init};
use millstream_proto::limits::HLS_HELD_FRAMES_MAX;
use millstream_proto::media::{CodecConfig, Frame, Track};

use super::Packager;
use crate::package::track::{Lengths, Sample, SegmentPlan, TrackPacker};

/// Audio that is ahead of the picture waits for it this long, on the stream's timeline.
const HOLD_MS: u64 = 1_000;
/// Beside video, parts of audio are this much of the configured length, percent. A player reloads each playlist once a part, and Video.js 8 fetches nothing
/// of one track while it appends to the other: where both had nearly the same period, their reloads met for several periods in a row.
const AUDIO_PART_PERCENT: u32 = 91;
/// Beside video, the playlist of the audio tells players to keep a target duration, a part and this much from its end, milliseconds: so Video.js 8 begins
/// two parts before a keyframe. It starts before the end of the playlist that ends first, and counts an open segment as a target duration. With
/// less, it starts within a segment and shows nothing until the next one. With the last part alone before the keyframe, it may lose all of the segment
/// but its first part: it puts the header before each part until one playlist brings two, and what follows a header is dropped up to a keyframe. Its
/// playlist is replaced once in three parts at most. hls.js and Shaka go by the playlist of the video.
const AUDIO_HOLD_BACK_MS: u64 = 100;
/// The next picture is not expected later than this after the newest: at lower rates, audio does not run ahead on the strength of a guess.
const NEXT_MS_MAX: u64 = 100;
/// A picture that is this far behind the audio no longer decides where segments end.
const SILENT_MS: u64 = 2_000;

impl Packager {
    pub(super) fn configure(&mut self, config: &CodecConfig) {
        if config.track == Track::Audio {
            // What came before it is of the configuration before it.
            self.release(u64::MAX);
        }
        let made = init(config);
        let slot = self.slot(config.track);
        (slot.codec, slot.fresh) = (None, None);
        match made {
            Ok(made) => (slot.codec, slot.fresh) = (Some(config.codec), Some(made)),
            Err(error) => self.leave_out(error.to_string()),
        }
    }

    pub(super) fn frame(&mut self, frame: &Frame) {
        let slot = self.slot(frame.track);
        if slot.codec != Some(frame.codec) {
            // A codec without a configuration: said once, when it takes the place of another or of none.
            if slot.codec.take().is_some() || slot.packer.is_none() && slot.fresh.is_none() {
                self.leave_out(InitError::Codec(frame.codec).to_string());
            }
            self.dropped += 1;
            return;
        }
        if frame.track == Track::Video
            && self.gop.is_leading(frame.keyframe, frame.dts_ms.saturating_add(i64::from(frame.cts_ms)))
        {
            // Players start at any segment, and at any part with a keyframe; the bytes are the same for all.
            return;
        }
        let stamp_ms = u64::try_from(frame.dts_ms).unwrap_or(0);
        let delay_ms = self.left_out_delay_ms(frame, stamp_ms);
        let sample = Sample {
            dts_ms: stamp_ms - delay_ms,
            cts_ms: frame.cts_ms + delay_ms as i32,
            sync: frame.keyframe,
            data: frame.body.slice(frame.data_at.min(frame.body.len())..),
        };
        match frame.track {
            Track::Video => {
                let dts_ms = sample.dts_ms;
                self.video_ms = Some(dts_ms);
                self.place(Track::Video, sample);
                self.release(self.before_next(dts_ms));
            }
            Track::Audio => {
                let newest_ms = sample.dts_ms;
                self.held.push_back(sample);
                match self.video_ms {
                    Some(video_ms) if newest_ms > video_ms + SILENT_MS.max(self.step_ms * 3 / 2) => {
                        self.release(u64::MAX);
                        self.catch_up();
                        self.video_ms = None;
                    }
                    Some(video_ms) => {
                        self.release(self.before_next(video_ms).max(newest_ms.saturating_sub(HOLD_MS)));
                    }
                    None => self.release(u64::MAX),
                }
            }
        }
    }

    /// The last moment before the next picture, as far as that can be predicted: audio up to here is in the segment of the newest one,
    /// whether or not the next ends it.
    fn before_next(&self, video_ms: u64) -> u64 {
        let interval_ms = self.video.packer.as_ref().map_or(0, |packer| packer.interval_us() / 1_000);
        video_ms + interval_ms.min(NEXT_MS_MAX).saturating_sub(1)
    }

    /// Places the audio up to this time.
    pub(super) fn release(&mut self, until_ms: u64) {
        while self.held.front().is_some_and(|frame| frame.dts_ms <= until_ms) || self.held.len() > HLS_HELD_FRAMES_MAX {
            let Some(frame) = self.held.pop_front() else { return };
            self.place(Track::Audio, frame);
        }
    }

    pub(super) fn leads(&self, track: Track) -> bool {
        match track {
            Track::Video => self.video_ms.is_some(),
            Track::Audio => self.video_ms.is_none(),
        }
    }

    fn place(&mut self, track: Track, frame: Sample) {
        let us = frame.dts_ms.saturating_mul(1_000);
        if !self.has_place(track, us, &frame) {
            self.dropped += 1;
            return;
        }
        self.begin(track, us, &frame);
        if let Some(packer) = &mut self.slot(track).packer {
            packer.foresee(frame.dts_ms);
        }
        if track == Track::Video && frame.sync {
            let delay_ms = u64::try_from(frame.cts_ms).unwrap_or(0);
            self.delay_us = delay_ms * 1_000;
            if self.guide.is_none() {
                self.plans.keyframe(frame.dts_ms, delay_ms);
            }
            if let Some(before) = self.key_us.replace(us).filter(|before| *before < us) {
                let gop_us = us - before;
                let interval_us = self.video.packer.as_ref().map_or(0, TrackPacker::interval_us);
                let steady = gop_us.abs_diff(self.gop_us) < interval_us;
                self.steady_gops = if steady { self.steady_gops.saturating_add(1) } else { 0 };
                self.gop_us = gop_us;
            }
        }
        if self.leads(track) {
            if self.ends_segment(track, us, &frame) {
                self.cut(us, frame.sync);
            }
        } else if track == Track::Audio {
            let full = self.is_full(track, us, &frame);
            if self.follows.is_some_and(|plan| us >= plan.start_us || full) {
                self.catch_up();
            } else if full {
                // The picture has fallen silent in the middle of a segment.
                self.cut(us, false);
                self.catch_up();
            }
        }
        if self.guide.is_none() && self.leaves_hole(track, us, &frame) {
            // A segment has ended before it, and its last part could not be stretched up to here.
            self.break_off(us);
        }
        let arrived = self.arrived;
        let (slot, out) = self.slot_and_out(track);
        if slot.packer.as_mut().is_none_or(|packer| !packer.frame(frame, arrived, out)) {
            self.dropped += 1;
        }
        if track == Track::Video && self.leads(track) {
            self.close_in_time();
        }
        if track == Track::Audio {
            self.catch_up_in_time();
        }
    }

    /// Whatever has to happen before a frame of that track: a new run after a restart, a change of coding or a hole, the track's own start.
    fn begin(&mut self, track: Track, us: u64, frame: &Sample) {
        let anything = self.video.packer.is_some() || self.audio.packer.is_some();
        let slot = self.slot(track);
        let recoded = slot.fresh.is_some() && slot.packer.as_ref().is_some_and(TrackPacker::has_begun);
        if track == Track::Video && self.leaves_hole(track, us, frame) {
            // What was heard before it is of the run that ends.
            self.release((us / 1_000).saturating_sub(1));
        }
        let hole = self.leaves_hole(track, us, frame);
        if self.guide.is_none() {
            if anything && (std::mem::take(&mut self.restarted) || recoded || hole) {
                self.break_off(us);
            }
            if !anything {
                (self.at.start_us, self.at.run_start_ms) = (us, us / 1_000);
                self.plans.push(self.at);
            }
        }
        let Some(fresh) = self.slot(track).fresh.take() else { return };
        self.headers += 1;
        let (number, at) = (self.headers, self.at);
        let beside_video = track == Track::Audio && (self.video.fresh.is_some() || self.video.packer.is_some());
        let target_ms = self.session.target_duration_s.saturating_mul(1_000);
        let (part, hold_back_least_ms) = if beside_video {
            let video_part_ms = u64::try_from(self.config.part.as_millis()).unwrap_or(0);
            (self.config.part * AUDIO_PART_PERCENT / 100, u64::from(target_ms) + video_part_ms + AUDIO_HOLD_BACK_MS)
        } else {
            (self.config.part, 0)
        };
        let lengths = Lengths {
            part,
            part_most_ms: target_ms,
            hold_back_least_ms,
            segment_most_us: self.pace.most_us,
            carry_us: self.pace.carry_us,
        };
        let until_us = self.until_us(us);
        let (slot, out) = self.slot_and_out(track);
        if let Some(packer) = &mut slot.packer {
            packer.configure(fresh, number, out);
        } else {
            let mut packer = TrackPacker::new(track, lengths, fresh, number, out);
            packer.go_on(SegmentPlan { start_us: us.max(at.start_us), until_us, ..at }, out);
            slot.packer = Some(packer);
        }
    }
}
