//! A stream on its owner's shard: the publisher's place, the timeline, and the way of a frame from event to sealed block.
//! Before it: `proto::rtmp`'s events; after it: [`crate::log`]. The log is passed in, because viewers read it on its own.
//!
//! Its parts: [`place`] (who publishes), [`gather`] (frames become blocks), [`stand_in`] (the slate).
mod gather;
mod place;
mod stand_in;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::flv;
use millstream_proto::media::{Announced, Clip, CodecConfig, MediaEvent, TagKind, Track};
use millstream_proto::time::Time;

use self::gather::tag_kind;
use crate::config::{FlushPolicy, StreamConfig};
use crate::findings::{Findings, News};
use crate::flush::Flusher;
use crate::log::{EndReason, Log};
use crate::news::Newsroom;
use crate::package::block::Tag;
use crate::package::open_gop::OpenGop;
use crate::package::packager::Wall;
use crate::package::stream_headers::{SCRIPT_TIMESTAMP_MS, Seen, StreamHeaders};
use crate::publisher_stats::PublisherStats;
use crate::slate::Slate;
use crate::timeline::Timeline;

pub use self::place::{PUBLISHER_SILENT_AFTER, Place, Taken};
pub use self::stand_in::{SLATE_AFTER, SLATE_SILENT_AFTER};

/// Viewers hear something at least this often, also while nobody publishes: proxies and players give up at 10 s and more.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// What came of a frame, for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It is in the stream.
    Taken,
    /// A picture that no keyframe precedes: nobody could decode it.
    BeforeKeyframe,
}

/// The owner's side of one stream.
#[derive(Debug)]
pub struct Stream {
    config: StreamConfig,
    place: Place,
    timeline: Timeline,
    headers: Arc<StreamHeaders>,
    flusher: Flusher,
    tags: Vec<Tag>,
    tags_bytes: usize,
    tags_start: bool,
    tags_span_ms: (i64, i64),
    /// Number of the newest block that a decoder can start at.
    start_seq: u64,
    gop: OpenGop,
    arrived: Time,
    /// How many have published it, slates among them; one more for each hole that stamps which jumped have left.
    publishers: u32,
    /// What is played while nobody publishes; `None`: the built-in clip.
    clip: Option<Arc<Clip>>,
    /// What plays now, and since when.
    slate: Option<(Box<Slate>, Time)>,
    /// When it begins to.
    slate_at: Option<Time>,
    /// What was in force when the slate began although there is a publisher, which had fallen silent.
    interrupted: Option<Arc<StreamHeaders>>,
    /// Viewers may start.
    opened: bool,
    /// The publisher was sent away: the stream is not kept with a slate.
    dismissed: bool,
    wait_keyframe: bool,
    /// What the publisher of now has sent.
    seen: Seen,
    /// What its metadata says that it will send.
    announced: Announced,
    publisher_stats: PublisherStats,
    news: Newsroom,
    findings: Findings,
    first_frame_at: Option<Time>,
    /// Its tracks are taken as known.
    settled: bool,
    /// When viewers were last woken with something new, and how far the log was.
    flushed_at: Time,
    flushed_head: u64,
    /// Where viewers of a rendition begin, as long as it has not come there.
    catches_up_to_ms: Option<i64>,
}

impl Stream {
    /// A stream that nobody publishes yet.
    pub fn new(config: StreamConfig, now: Time) -> Self {
        Self {
            catches_up_to_ms: None,
            config,
            place: Place::Vacant { since: now },
            timeline: Timeline::default(),
            headers: Arc::default(),
            flusher: Flusher::new(config.flush),
            tags: Vec::new(),
            tags_bytes: 0,
            tags_start: false,
            tags_span_ms: (0, 0),
            start_seq: 0,
            gop: OpenGop::default(),
            arrived: now,
            publishers: 0,
            clip: None,
            slate: None,
            slate_at: None,
            interrupted: None,
            opened: false,
            dismissed: false,
            wait_keyframe: true,
            seen: Seen::default(),
            announced: Announced::default(),
            publisher_stats: PublisherStats::new(now),
            news: Newsroom::default(),
            findings: Findings::default(),
            first_frame_at: None,
            settled: false,
            flushed_at: now,
            flushed_head: 0,
        }
    }

    /// Its settings.
    pub fn config(&self) -> &StreamConfig {
        &self.config
    }

    /// Who publishes.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The timeline, for metrics.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// How its publisher is doing, or was when it left.
    pub fn publisher_stats(&self) -> &PublisherStats {
        &self.publisher_stats
    }

    /// What the metadata of its publisher says that it will send.
    pub fn announced(&self) -> Announced {
        self.announced
    }

    /// What is wrong with what its publisher sends, or sent when it left.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }

    /// What of that is to be logged.
    pub fn take_news(&mut self) -> Vec<News> {
        self.findings.take_news()
    }

    /// It is a rendition: its publisher's stamps are those of its source, whose timeline is at `source_ms` now.
    pub fn follow_source(&mut self, source_ms: i64) {
        self.timeline.follow(source_ms);
    }

    /// It is a rendition, and its publisher begins further back than viewers of FLV and RTMP are to begin: at this keyframe of its source, where there is one,
    /// milliseconds of the timeline.
    pub fn catch_up(&mut self, keyframe_ms: Option<i64>) {
        self.catches_up_to_ms = keyframe_ms;
    }

    /// Changes when frames go out, while the stream runs.
    pub fn set_flush(&mut self, policy: FlushPolicy) {
        self.config.flush = policy;
        self.flusher.set_policy(policy);
    }

    /// Says what the wall clock says, for what viewers are told of it; without it they are told nothing. To be called before each read.
    pub fn set_wall(&mut self, wall: Wall) {
        self.news.set_wall(wall);
    }

    /// What comes now is of another publisher than what came before.
    fn begin_anew(&mut self) {
        self.publishers = self.publishers.wrapping_add(1);
        self.timeline.restart();
        self.news.restart();
        self.wait_keyframe = true;
        (self.seen, self.first_frame_at, self.settled) = (Seen::default(), None, false);
    }

    /// Takes what the publisher sent.
    pub fn push(&mut self, event: MediaEvent, now: Time, log: &mut Log) -> Pushed {
        match event {
            MediaEvent::Config(config) => self.configure(&config, now, log),
            MediaEvent::Metadata(body) => match &mut self.interrupted {
                // Encoders repeat it on a screen that stands still: the slate goes on until there is a picture to show.
                Some(own) => {
                    if let Some(next) = own.with_metadata(&body) {
                        *own = Arc::new(next);
                    }
                }
                None => self.describe(&body, now, log),
            },
            MediaEvent::Frame(frame) => return self.frame::<false>(frame, now, log),
            MediaEvent::Repaired(track, repair) => self.findings.repair(track, repair, now),
            MediaEvent::LeftOut(left_out) => self.findings.left_out(left_out),
            MediaEvent::Unconfigured(track, codec) => self.findings.unconfigured(track, codec, now),
            _ => {}
        }
        Pushed::Taken
    }

    fn configure(&mut self, config: &CodecConfig, now: Time, log: &mut Log) {
        self.resume(now, log);
        self.see(config.track);
        self.publisher_stats.configured(config);
        self.findings.configured(config);
        self.put_in_force(config, now, log);
    }

    fn put_in_force(&mut self, config: &CodecConfig, now: Time, log: &mut Log) {
        let Some(next) = self.headers.with_config(config) else { return };
        let kind = tag_kind(config.track);
        self.change(next, kind, config.body.clone(), now, log);
        if config.track == Track::Video {
            // Frames coded against the old configuration do not decode with the new one.
            self.wait_keyframe = true;
        }
    }

    fn see(&mut self, track: Track) {
        match track {
            Track::Video => self.seen.video = true,
            Track::Audio => self.seen.audio = true,
        }
    }

    fn describe(&mut self, body: &Bytes, now: Time, log: &mut Log) {
        self.seen.metadata = true;
        self.announced = Announced::read(body);
        if let Some(next) = self.headers.with_metadata(body) {
            self.change(next, TagKind::Script, body.clone(), now, log);
        }
    }

    /// A change of the stream headers travels in a block of its own, so that no viewer starts at it and gets it twice.
    fn change(&mut self, next: StreamHeaders, kind: TagKind, body: Bytes, now: Time, log: &mut Log) {
        self.seal(log);
        self.headers = Arc::new(next);
        let ms = self.timeline.newest_ms();
        let timestamp_ms = if kind == TagKind::Script { SCRIPT_TIMESTAMP_MS } else { ms as u32 };
        self.add(Tag { kind, timestamp_ms, body, leading: false }, ms, now);
        self.seal(log);
    }

    /// Adds a script tag for who knows it, behind what has come so far. False: nobody publishes, and it is left out.
    pub fn mark(&mut self, body: Bytes, now: Time) -> bool {
        let is_on_air = matches!(self.place, Place::OnAir { .. });
        if is_on_air {
            self.tell(body, now);
        }
        is_on_air
    }

    /// When [`Stream::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Time {
        let keepalive = self.flushed_at + KEEPALIVE_EVERY;
        let end = match self.place {
            Place::Vacant { since } => self.vacant_until(since),
            Place::OnAir { .. } => keepalive,
        };
        let settle = self.settles_at().unwrap_or(keepalive);
        let finding = self.findings.due().unwrap_or(keepalive);
        let slate = self.slate_due().unwrap_or(keepalive);
        [self.flusher.due().unwrap_or(keepalive), end, settle, finding, slate].into_iter().fold(keepalive, Time::min)
    }

    /// Does what is due. True: the log changed and viewers are to be woken.
    pub fn handle_timeout(&mut self, now: Time, log: &mut Log) -> bool {
        if let Place::Vacant { since } = self.place
            && now >= self.vacant_until(since)
        {
            log.end(EndReason::PublisherGone);
            (self.slate, self.slate_at) = (None, None);
            return true;
        }
        self.findings.look(now);
        if log.ended().is_some() {
            (self.slate, self.slate_at, self.opened) = (None, None, false);
        }
        let opened = self.settle(now, log);
        if self.play_slate(now, log) {
            return true;
        }
        if self.flusher.due().is_some_and(|due| due <= now) {
            self.flush(now, log);
            return true;
        }
        if now >= self.flushed_at + KEEPALIVE_EVERY {
            self.tell(Bytes::from_static(flv::keepalive_body()), now);
            self.flush(now, log);
            return true;
        }
        opened
    }
}

#[cfg(test)]
mod tests;
