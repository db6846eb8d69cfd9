//! Cuts a stream into parts and segments, once: a cursor over the owner's log that starts with the first request, and is ahead of it by what
//! waits for the next flush, so that a part is there with its last frame. Before it: the log's blocks; after it: [`super::change`]s, which
//! every shard's [`super::window`] applies.
//!
//! Both tracks have the same segments: the picture's keyframes decide where they end, and the audio follows. A stream without a picture is
//! cut by its audio. A rendition is cut where its source is: [`guided`].
mod guided;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millstream_proto::cmaf::init::{Init, InitError, init};
use millstream_proto::limits::{HLS_HELD_FRAMES_MAX, LEFT_OUT_MAX};
use millstream_proto::media::{Codec, CodecConfig, Frame, MediaEvent, Track};
use millstream_proto::time::Time;

use super::block::{Block, PendingTags, Tag};
use super::change::{Change, Session};
use super::demux::Demux;
use super::drift::Drift;
use super::open_gop::OpenGop;
use super::pace::SegmentPace;
use super::plans::SegmentPlans;
use super::steps::steps;
use super::stream_headers::StreamHeaders;
use super::track::{Lengths, Sample, SegmentPlan, TrackPacker};
use crate::config::HlsConfig;
use crate::log::Log;
use crate::subscriber::{BlockCursor, NextBlock};

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
/// After so many equal distances of keyframes, the next keyframe is expected in time.
const STEADY_GOPS_MIN: u32 = 2;
/// The next picture is not expected later than this after the newest: at lower rates, audio does not run ahead on the strength of a guess.
const NEXT_MS_MAX: u64 = 100;
/// A picture that is this far behind the audio no longer decides where segments end.
const SILENT_MS: u64 = 2_000;

/// A moment on both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wall {
    /// The process's clock.
    pub now: Time,
    /// The same moment, Unix milliseconds.
    pub unix_ms: u64,
}

/// A track's codec, and the header to begin its next segment with.
#[derive(Debug, Default)]
struct Slot {
    packer: Option<TrackPacker>,
    /// Of the configuration in force; `None` where the track is not offered.
    codec: Option<Codec>,
    /// Not used yet.
    fresh: Option<Init>,
}

/// Cuts one stream.
#[derive(Debug)]
pub struct Packager {
    config: HlsConfig,
    session: Arc<Session>,
    pace: SegmentPace,
    /// Lengths have yet to be chosen: since when.
    undecided: Option<Time>,
    /// The longest distance of frames at the start, milliseconds.
    step_ms: u64,
    /// The longest distance of keyframes at the start.
    first_gop: Option<Duration>,
    demux: Demux,
    cursor: BlockCursor,
    /// Tags of that block which have been read already.
    ahead: usize,
    /// All that was there has been read once: what comes now has just arrived.
    current: bool,
    publisher: Option<u32>,
    video: Slot,
    audio: Slot,
    headers: u32,
    /// The segment that the leading track is in.
    at: SegmentPlan,
    /// The audio's next segment, while it is still in the one before.
    follows: Option<SegmentPlan>,
    /// Audio ahead of the picture.
    held: VecDeque<Sample>,
    gop: OpenGop,
    /// Decode time of the newest picture of this publisher, milliseconds.
    video_ms: Option<u64>,
    /// How long after its decode time a keyframe is shown, microseconds.
    delay_us: u64,
    /// When the newest keyframe of the picture was, and how far the one before it was from it, microseconds.
    key_us: Option<u64>,
    gop_us: u64,
    /// How many distances of keyframes in a row were as long as the one before, to a frame.
    steady_gops: u32,
    /// What comes is of another publisher, or follows a hole in the log.
    restarted: bool,
    zero_unix_ms: i64,
    drift: Drift,
    /// When the newest tags came.
    arrived: Time,
    out: Vec<Change>,
    ended: bool,
    left_out: Vec<String>,
    left_out_told: usize,
    dropped: u64,
    /// Its newest segments, for its renditions.
    plans: SegmentPlans,
    /// Of a rendition: those of its source.
    guide: Option<SegmentPlans>,
    /// Of a rendition that has lost its place: it goes on with a segment of its source.
    astray: bool,
}

impl Packager {
    /// Begins at the oldest start that the log holds, as far as a playlist reaches: the first one has whole segments, and the keyframes so far tell
    /// how long they are. `name` is the session's, and `first_msn` the number of its first segment.
    pub fn new(config: HlsConfig, name: String, first_msn: u64, log: &Log, wall: Wall) -> Self {
        let reach = config.segment.saturating_mul(u32::try_from(config.window).unwrap_or(u32::MAX));
        let blocks: Vec<&Block> = log.starts().filter_map(|seq| log.get(seq)).map(|entry| &*entry.block).collect();
        let newest_ms = log.get(log.head().wrapping_sub(1)).map_or(0, |entry| entry.block.last_ms);
        let begin = blocks
            .iter()
            .position(|block| apart(block.first_ms, newest_ms) <= reach)
            .unwrap_or(blocks.len().saturating_sub(1));
        let starts = blocks.get(begin..).unwrap_or_default();
        let gop = starts.windows(2).map(|pair| apart(pair[0].first_ms, pair[1].first_ms)).max();
        let pictures = log.stream_headers().has(Track::Video);
        let gop = gop.filter(|_| pictures);
        let pace = SegmentPace::choose(config.segment, config.part, gop, None);
        let first = starts.first().copied();
        let next_block = first.map_or(log.first(), |block| block.seq);
        // Dates are those of arrival: the newest block's, which no burst at the start of the stream has held up.
        let newest = log.get(log.head().wrapping_sub(1)).map(|entry| &*entry.block);
        let zero_unix_ms = newest.map_or(wall.unix_ms as i64, |block| arrival_ms(block.arrived, wall) - block.first_ms);
        let session = Arc::new(Session {
            name,
            target_duration_s: pace.target_s,
            window: config.window,
            bytes_max: config.bytes_max,
            zero_unix_ms: u64::try_from(zero_unix_ms).unwrap_or(0),
            guide: None,
        });
        Self {
            config,
            out: vec![Change::Began(Arc::clone(&session))],
            session,
            pace,
            undecided: Some(wall.now),
            step_ms: 0,
            first_gop: gop,
            demux: Demux::default(),
            cursor: BlockCursor::at(next_block),
            ahead: 0,
            current: false,
            publisher: None,
            video: Slot::default(),
            audio: Slot::default(),
            headers: 0,
            at: SegmentPlan {
                msn: first_msn,
                discontinuity: false,
                discontinuities: 0,
                run_start_ms: 0,
                start_us: 0,
                until_us: None,
                zero_unix_ms,
            },
            follows: None,
            held: VecDeque::new(),
            gop: OpenGop::default(),
            video_ms: None,
            delay_us: 0,
            key_us: None,
            // The usual encoder is set to segments of the configured length.
            gop_us: micros(gop.unwrap_or(config.segment)),
            steady_gops: 0,
            restarted: false,
            zero_unix_ms,
            drift: Drift::default(),
            arrived: wall.now,
            ended: false,
            left_out: Vec::new(),
            left_out_told: 0,
            dropped: 0,
            plans: SegmentPlans::default(),
            guide: None,
            astray: false,
        }
    }

    /// What stays the same.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Where its segments begin, for its renditions; `None` before that is known.
    pub fn plans(&self) -> Option<&SegmentPlans> {
        Some(&self.plans).filter(|plans| !plans.is_empty())
    }

    /// Tracks that could not be offered, and why, each once: those found since the last call.
    pub fn take_left_out(&mut self) -> Vec<String> {
        let told = std::mem::replace(&mut self.left_out_told, self.left_out.len());
        self.left_out.get(told..).unwrap_or_default().to_vec()
    }

    fn leave_out(&mut self, reason: String) {
        if self.left_out.len() < LEFT_OUT_MAX && !self.left_out.contains(&reason) {
            self.left_out.push(reason);
        }
    }

    /// Frames of audio that were stretched or dropped since the last call, because its clock is not that of its stamps.
    pub fn take_realigned(&mut self) -> u64 {
        let packers = [&mut self.video, &mut self.audio].into_iter().filter_map(|slot| slot.packer.as_mut());
        packers.map(TrackPacker::take_realigned).sum()
    }

    /// Frames that had no place since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Reads what is new in the log, and what waits for its next block, and gives what came of it. To be called after each read of the
    /// publisher's socket.
    pub fn advance(&mut self, log: &Log, pending_tags: PendingTags<'_>, wall: Wall) -> Vec<Change> {
        if let Some(since) = self.undecided {
            let waited = wall.now.since(since);
            let Some(step) = steps(log, self.cursor.position(), &pending_tags, waited) else { return Vec::new() };
            self.undecided = None;
            self.choose(step);
        }
        if self.cursor.catch_up(log).is_some() {
            (self.ahead, self.restarted) = (0, true);
        }
        while let NextBlock::Block(entry) = self.cursor.next(log) {
            let Block { stream_headers, first_ms, arrived, publisher, .. } = &*entry.block;
            let unread = entry.block.frames().skip(std::mem::take(&mut self.ahead)).map(|tag| Tag {
                kind: tag.kind,
                timestamp_ms: tag.timestamp_ms,
                body: entry.block.body(tag),
                leading: false,
            });
            self.read((stream_headers, *publisher), (*first_ms, *arrived), unread, wall);
        }
        if log.ended().is_none() {
            let PendingTags { stream_headers, first_ms, arrived, publisher, tags, .. } = pending_tags;
            let unread = tags.get(self.ahead..).unwrap_or_default().iter().cloned();
            self.read((stream_headers, publisher), (first_ms, arrived), unread, wall);
            self.ahead = tags.len();
        }
        self.current = true;
        if log.ended().is_some() && !self.ended {
            self.ended = true;
            self.release(u64::MAX);
            self.catch_up();
            let end_us = self.at.start_us;
            for slot in [&mut self.video, &mut self.audio] {
                // A segment that has no frame is not worth a gap: nothing follows it.
                if let Some(packer) = slot.packer.as_mut().filter(|packer| packer.is_open()) {
                    packer.end_segment(end_us, &mut self.out);
                }
            }
            self.out.push(Change::Ended);
        }
        std::mem::take(&mut self.out)
    }

    /// Chooses the lengths of segments, with the longest distance of frames so far.
    fn choose(&mut self, step: Duration) {
        self.pace = SegmentPace::choose(self.config.segment, self.config.part, self.first_gop, Some(step));
        self.step_ms = micros(step) / 1_000;
        let session = Session { target_duration_s: self.pace.target_s, ..(*self.session).clone() };
        self.session = Arc::new(session);
        self.plans = SegmentPlans::new(self.pace, self.step_ms);
        self.out = vec![Change::Began(Arc::clone(&self.session))];
    }

    /// Reads tags of that publisher; the first of their block has that time and arrived then.
    fn read(
        &mut self,
        (stream_headers, publisher): (&StreamHeaders, u32),
        (first_ms, arrived): (i64, Time),
        tags: impl Iterator<Item = Tag>,
        wall: Wall,
    ) {
        let mut events = Vec::new();
        self.demux.read(stream_headers, tags, |event| events.push(event));
        if events.is_empty() {
            return;
        }
        self.arrived = if self.current { wall.now } else { arrived };
        self.drift.late(arrival_ms(arrived, wall) - first_ms - self.zero_unix_ms);
        if self.publisher.replace(publisher).is_some_and(|before| before != publisher) {
            self.release(u64::MAX);
            self.restarted = true;
            (self.video_ms, self.key_us) = (None, None);
        }
        for event in events {
            match event {
                MediaEvent::Config(config) => self.configure(&config),
                MediaEvent::Frame(frame) => self.frame(&frame),
                _ => {}
            }
        }
    }

    fn slot(&mut self, track: Track) -> &mut Slot {
        match track {
            Track::Video => &mut self.video,
            Track::Audio => &mut self.audio,
        }
    }

    fn slot_and_out(&mut self, track: Track) -> (&mut Slot, &mut Vec<Change>) {
        match track {
            Track::Video => (&mut self.video, &mut self.out),
            Track::Audio => (&mut self.audio, &mut self.out),
        }
    }

    fn configure(&mut self, config: &CodecConfig) {
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

    fn frame(&mut self, frame: &Frame) {
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
    fn release(&mut self, until_ms: u64) {
        while self.held.front().is_some_and(|frame| frame.dts_ms <= until_ms) || self.held.len() > HLS_HELD_FRAMES_MAX {
            let Some(frame) = self.held.pop_front() else { return };
            self.place(Track::Audio, frame);
        }
    }

    fn leads(&self, track: Track) -> bool {
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

    fn leaves_hole(&self, track: Track, us: u64, frame: &Sample) -> bool {
        let slot = if track == Track::Video { &self.video } else { &self.audio };
        slot.packer.as_ref().is_some_and(|packer| packer.leaves_hole(us, packer.frame_us(&frame.data)))
    }

    fn ends_segment(&self, track: Track, us: u64, frame: &Sample) -> bool {
        let slot = if track == Track::Video { &self.video } else { &self.audio };
        let Some(packer) = &slot.packer else { return false };
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
    fn close_in_time(&mut self) {
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
    fn until_us(&self, us: u64) -> Option<u64> {
        if let Some(next) = self.guide.as_ref().and_then(|guide| guide.after(guide.at(us)?.msn)) {
            return Some(next.start_us);
        }
        let (key_us, ready_us) = (self.key_us.unwrap_or(us), us + self.pace.ready_us);
        let gops = ready_us.saturating_sub(key_us).div_ceil(self.gop_us.max(1));
        Some(key_us + gops * self.gop_us).filter(|until_us| *until_us <= us + self.pace.lead_us())
    }

    /// Whether this frame would make the track's segment too long.
    fn is_full(&self, track: Track, us: u64, frame: &Sample) -> bool {
        if self.guide.is_some() {
            // Its source's segments are not too long.
            return false;
        }
        let slot = if track == Track::Video { &self.video } else { &self.audio };
        slot.packer.as_ref().is_some_and(|packer| {
            packer.is_open() && packer.length_us(us) + packer.frame_us(&frame.data) > self.pace.most_us
        })
    }

    /// The leading track's next segment begins at `us`; the audio's with what is heard when its first picture is seen.
    fn cut(&mut self, us: u64, sync: bool) {
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
    fn go_on(&mut self, plan: SegmentPlan) {
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
    fn catch_up_in_time(&mut self) {
        if self.follows.is_some_and(|plan| self.audio.packer.as_ref().is_some_and(|sound| sound.reaches(plan.start_us)))
        {
            self.catch_up();
        }
    }

    /// The audio goes to the segment that the picture is in.
    fn catch_up(&mut self) {
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
    fn break_off(&mut self, us: u64) {
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
    fn begin_run(&mut self, plan: SegmentPlan) {
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

/// That moment in Unix milliseconds.
fn arrival_ms(arrived: Time, wall: Wall) -> i64 {
    let ago = i64::try_from(wall.now.since(arrived).as_millis()).unwrap_or(i64::MAX / 4);
    (wall.unix_ms as i64).saturating_sub(ago)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4)
}

fn apart(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(to_ms.saturating_sub(from_ms).max(0).unsigned_abs())
}
