//! Cuts a stream into parts and segments, once: a cursor over the owner's log that starts with the first request, and is ahead of it by what
//! waits for the next flush, so that a part is there with its last frame. Before it: the log's blocks; after it: [`super::change`]s, which
//! every shard's [`super::window`] applies.
//!
//! Both tracks have the same segments: the picture's keyframes decide where they end, and the audio follows. A stream without a picture is
//! cut by its audio. A rendition is cut where its source is: [`guided`]. Frames find their segment in [`placing`]; where it ends, [`cutting`] says.
mod cutting;
mod guided;
mod placing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use millstream_proto::cmaf::init::Init;
use millstream_proto::limits::LEFT_OUT_MAX;
use millstream_proto::media::{Codec, MediaEvent, Track};
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
use super::track::{Sample, SegmentPlan, TrackPacker};
use crate::config::HlsConfig;
use crate::log::Log;
use crate::subscriber::{BlockCursor, NextBlock};

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

    fn packer(&self, track: Track) -> Option<&TrackPacker> {
        let slot = if track == Track::Video { &self.video } else { &self.audio };
        slot.packer.as_ref()
    }

    fn slot_and_out(&mut self, track: Track) -> (&mut Slot, &mut Vec<Change>) {
        match track {
            Track::Video => (&mut self.video, &mut self.out),
            Track::Audio => (&mut self.audio, &mut self.out),
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
