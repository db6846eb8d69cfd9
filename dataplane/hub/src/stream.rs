//! A stream on its owner's shard: the publisher's place, the timeline, and the way of a frame from event to sealed block.
//! Before it: `proto::rtmp`'s events; after it: [`crate::log`]. The log is passed in, because viewers read it on its own.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::flv;
use millstream_proto::media::{Announced, Clip, CodecConfig, Frame, MediaEvent, Repair, TagKind, Track};
use millstream_proto::time::Time;

use crate::config::{FlushPolicy, OnUnpublish, StreamConfig, Takeover};
use crate::findings::{Findings, News};
use crate::flush::Flusher;
use crate::log::{EndReason, Log};
use crate::news::Newsroom;
use crate::package::block::{Block, PendingTags, Tag};
use crate::package::open_gop::OpenGop;
use crate::package::packager::Wall;
use crate::package::stream_headers::{SCRIPT_TIMESTAMP_MS, Seen, StreamHeaders};
use crate::publisher_stats::PublisherStats;
use crate::slate::{FILL_MAX, Slate};
use crate::timeline::Timeline;

/// A publisher that has sent nothing for this long gives way to another, and who finds the place taken waits this long for it.
pub const PUBLISHER_SILENT_AFTER: Duration = Duration::from_secs(1);
/// With only one track seen, viewers start this long after the first frame: the other one had its chance.
const SETTLE: Duration = Duration::from_millis(500);
/// The same where the metadata announces the other one: players read once which tracks there are, and some encoders are slow.
const SETTLE_ANNOUNCED: Duration = Duration::from_secs(3);
/// Viewers hear something at least this often, also while nobody publishes: proxies and players give up at 10 s and more.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// Who waits for the place gets it before the stream ends, also where viewers are not to wait: it is told in the same moment.
const VACANT_AT_LEAST: Duration = Duration::from_millis(1);
/// The slate begins this long after the publisher has left: an encoder that stops and starts is back by then.
pub const SLATE_AFTER: Duration = Duration::from_millis(300);
/// A publisher that has sent nothing for this long, not even answers to pings, is stood in for by the slate: its network has died.
pub const SLATE_SILENT_AFTER: Duration = Duration::from_millis(1_500);
/// A block is sealed when it holds this many bytes, flush or not: what a viewer's send refers to stays small.
const BLOCK_BYTES_MAX: usize = 64 << 10;

/// Who publishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// This session, which last sent something at `heard`.
    OnAir {
        /// Its number.
        session: u64,
        /// Its last sign of life.
        heard: Time,
    },
    /// Nobody since then; viewers wait for a return.
    Vacant {
        /// When the last one left.
        since: Time,
    },
}

/// Another publisher is alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("another publisher is on air with this stream; it was heard {} ms ago, and gives way after {} s of silence", heard_ago.as_millis(), PUBLISHER_SILENT_AFTER.as_secs())]
pub struct Taken {
    /// How long ago it was heard.
    pub heard_ago: Duration,
}

impl Taken {
    /// How long it takes until the place is free if the other one stays silent.
    pub fn silent_in(self) -> Duration {
        PUBLISHER_SILENT_AFTER.saturating_sub(self.heard_ago)
    }
}

/// What came of a frame, for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It is in the stream.
    Taken,
    /// A picture that no keyframe precedes: nobody could decode it.
    BeforeKeyframe,
}

/// How far the stamp of a rendition's keyframe may be from its source's, milliseconds: both are rounded.
const ROUNDED_MS: i64 = 2;

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

    /// What its slate shows from its next start on; without a clip it is the built-in one.
    pub fn set_slate(&mut self, clip: Option<Arc<Clip>>) {
        self.clip = clip;
    }

    /// Changes what becomes of the stream when nobody publishes, also where nobody does now.
    pub fn set_on_unpublish(&mut self, on_unpublish: OnUnpublish, now: Time) {
        if std::mem::replace(&mut self.config.on_unpublish, on_unpublish) == on_unpublish {
            return;
        }
        if let Place::Vacant { since } = &mut self.place {
            // What is to happen now is counted from now on.
            *since = now;
            self.slate = None;
            self.slate_at = self.wants_slate().then_some(now);
        }
    }

    /// Since when the slate plays; `None` while it does not.
    pub fn slate_since(&self) -> Option<Time> {
        self.slate.as_ref().map(|(_, since)| *since)
    }

    /// Whether viewers get the slate, or will in a moment.
    pub fn is_slated(&self) -> bool {
        self.slate.is_some() || self.slate_at.is_some()
    }

    /// Whether the slate is what viewers are to get while nobody publishes. Not before anybody has: it would have no tracks.
    fn wants_slate(&self) -> bool {
        self.config.on_unpublish == OnUnpublish::Slate
            && self.opened
            && !self.dismissed
            && (self.headers.has(Track::Video) || self.headers.has(Track::Audio))
    }

    /// Takes the publisher's place. Gives the session that is replaced, if there is one: it has been silent, or this one has
    /// `waited` for [`PUBLISHER_SILENT_AFTER`] and the configuration puts the newer one first.
    pub fn publish(&mut self, session: u64, waited: bool, now: Time) -> Result<Option<u64>, Taken> {
        let replaced = match self.place {
            Place::Vacant { .. } => None,
            Place::OnAir { session: old, heard } => {
                let heard_ago = now.since(heard);
                let insists = waited && self.config.takeover == Takeover::Replace;
                if heard_ago < PUBLISHER_SILENT_AFTER && !insists {
                    return Err(Taken { heard_ago });
                }
                Some(old)
            }
        };
        self.place = Place::OnAir { session, heard: now };
        (self.slate, self.slate_at, self.interrupted, self.dismissed) = (None, None, None, false);
        self.publisher_stats = PublisherStats::new(now);
        self.findings = Findings::default();
        self.begin_anew();
        self.announced = Announced::default();
        Ok(replaced)
    }

    /// What comes now is of another publisher than what came before.
    fn begin_anew(&mut self) {
        self.publishers = self.publishers.wrapping_add(1);
        self.timeline.restart();
        self.news.restart();
        self.wait_keyframe = true;
        (self.seen, self.first_frame_at, self.settled) = (Seen::default(), None, false);
    }

    /// The session's publish is over. Nothing changes if it was replaced before. `dismissed`: the operator has ended it, and the stream is not
    /// kept with a slate.
    pub fn leave(&mut self, session: u64, dismissed: bool, now: Time, log: &mut Log) {
        if matches!(self.place, Place::OnAir { session: on_air, .. } if on_air == session) {
            (self.dismissed, self.interrupted) = (dismissed, None);
            if self.wants_slate() {
                self.slate_at = self.slate.is_none().then_some(now + SLATE_AFTER);
            } else if let Some(body) = self.news.waiting(now) {
                self.tell(body, now);
            }
            self.flush(now, log);
            self.place = Place::Vacant { since: now };
        }
    }

    /// The session was heard, even if what it sent was no media.
    pub fn heard(&mut self, session: u64, now: Time) -> bool {
        match &mut self.place {
            Place::OnAir { session: on_air, heard } if *on_air == session => {
                *heard = now;
                true
            }
            _ => false,
        }
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

    /// A frame of the publisher or of the slate: a function for each, called in one place, so that a frame is not moved once more on its way.
    fn frame<const SLATE: bool>(&mut self, frame: Frame, now: Time, log: &mut Log) -> Pushed {
        if !SLATE {
            if self.publisher_stats.frame(&frame, now) {
                self.findings.repair(Track::Video, Repair::SparseKeyframes, now);
            }
            self.findings.frame(frame.track, frame.codec);
            if let Some(own) = &self.interrupted {
                // The slate goes on until there is a picture to show.
                if own.has(Track::Video) && !(frame.track == Track::Video && frame.keyframe) {
                    return Pushed::BeforeKeyframe;
                }
                self.resume(now, log);
            }
            self.see(frame.track);
        }
        if let Some(next) = self.headers.with_bare_track(frame.track, frame.codec) {
            self.seal(log);
            self.headers = Arc::new(next);
        }
        let video = frame.track == Track::Video;
        if self.timeline.is_repeated(frame.track, frame.dts_ms) {
            // What follows it refers to it, up to the next keyframe.
            self.wait_keyframe |= video;
            return Pushed::BeforeKeyframe;
        }
        if video && self.wait_keyframe {
            if !frame.keyframe {
                return Pushed::BeforeKeyframe;
            }
            self.wait_keyframe = false;
        }
        let ms = self.timeline.map(frame.track, frame.dts_ms, now);
        if self.timeline.broke() && (frame.keyframe && video || !self.headers.has(Track::Video)) {
            // A hole that a player can only cross at a discontinuity. In the middle of a GOP there is none to be had.
            self.seal(log);
            self.publishers = self.publishers.wrapping_add(1);
        }
        let start = if video { frame.keyframe } else { !self.headers.has(Track::Video) && self.tags.is_empty() };
        if video && start {
            self.seal(log);
        }
        self.tags_start |= start;
        // Who starts here is told at once.
        let clock = if start { self.news.clock(&frame, ms + i64::from(frame.cts_ms), now) } else { None };
        self.first_frame_at.get_or_insert(now);
        self.flusher.add(frame.track, frame.dts_ms, now);
        let leading = video && self.gop.is_leading(frame.keyframe, ms + i64::from(frame.cts_ms));
        self.add(Tag { kind: tag_kind(frame.track), timestamp_ms: ms as u32, body: frame.body, leading }, ms, now);
        if let Some(body) = clock {
            self.tell(body, now);
        }
        if self.tags_bytes >= BLOCK_BYTES_MAX {
            self.seal(log);
        }
        Pushed::Taken
    }

    /// Adds a script tag for who knows it, behind what has come so far. False: nobody publishes, and it is left out.
    pub fn mark(&mut self, body: Bytes, now: Time) -> bool {
        let is_on_air = matches!(self.place, Place::OnAir { .. });
        if is_on_air {
            self.tell(body, now);
        }
        is_on_air
    }

    /// Adds a script tag that players ignore unless they know it.
    fn tell(&mut self, body: Bytes, now: Time) {
        self.add(
            Tag { kind: TagKind::Script, timestamp_ms: SCRIPT_TIMESTAMP_MS, body, leading: false },
            self.timeline.newest_ms(),
            now,
        );
    }

    fn add(&mut self, tag: Tag, ms: i64, now: Time) {
        if self.tags.is_empty() {
            self.tags_span_ms.0 = ms;
            self.arrived = now;
        }
        self.tags_span_ms.1 = ms;
        self.tags_bytes += flv::tag_bytes(tag.body.len());
        self.tags.push(tag);
    }

    fn seal(&mut self, log: &mut Log) {
        if self.tags.is_empty() {
            return;
        }
        if self.tags_start {
            self.start_seq = log.head();
        }
        let mut block = Block::seal(
            (log.head(), self.start_seq),
            self.tags_start,
            Arc::clone(&self.headers),
            self.tags_span_ms,
            (self.publishers, self.arrived),
            &self.tags,
        );
        self.tags.clear();
        self.tags_bytes = 0;
        self.tags_start = false;
        if block.start
            && let Some(from_ms) = self.catches_up_to_ms
        {
            block.catching_up = block.first_ms + ROUNDED_MS < from_ms;
            self.catches_up_to_ms = self.catches_up_to_ms.filter(|_| block.catching_up);
        }
        log.append(Arc::new(block));
    }

    /// What waits for the next flush.
    pub fn pending_tags(&self) -> PendingTags<'_> {
        PendingTags {
            stream_headers: &self.headers,
            first_ms: self.tags_span_ms.0,
            arrived: self.arrived,
            publisher: self.publishers,
            picture_ms: self.timeline.picture_ms(),
            tags: &self.tags,
        }
    }

    /// Call when a whole socket read has been pushed. True: the log changed and viewers are to be woken.
    pub fn after_read(&mut self, now: Time, log: &mut Log) -> bool {
        self.findings.look(now);
        let opened = self.settle(now, log);
        if self.flusher.after_read(now) {
            self.flush(now, log);
            return true;
        }
        opened
    }

    fn flush(&mut self, now: Time, log: &mut Log) {
        self.seal(log);
        self.flusher.flushed(now);
        // A publisher that comes and goes and sends nothing must not put off the keepalive.
        if log.head() > self.flushed_head {
            (self.flushed_at, self.flushed_head) = (now, log.head());
        }
    }

    fn settle(&mut self, now: Time, log: &mut Log) -> bool {
        if self.settles_at().is_none_or(|at| at > now) {
            return false;
        }
        self.settled = true;
        if let Some(next) = self.headers.with_only(self.seen) {
            // A publisher before had a track that this one has not: who joins from here on is not told of it.
            self.seal(log);
            self.headers = Arc::new(next);
        }
        self.opened = true;
        if log.is_open() {
            return false;
        }
        self.flush(now, log);
        log.open();
        true
    }

    /// When the publisher's tracks are known, now that these were seen; `None` before its first frame, and afterwards.
    fn settles_at(&self) -> Option<Time> {
        let first = self.first_frame_at.filter(|_| !self.settled)?;
        let Seen { video, audio, .. } = self.seen;
        let awaited = self.announced.video && !video || self.announced.audio && !audio;
        Some(match (video && audio, awaited) {
            (true, _) => first,
            (false, true) => first + SETTLE_ANNOUNCED,
            (false, false) => first + SETTLE,
        })
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

    fn vacant_until(&self, since: Time) -> Time {
        let wait = match self.config.on_unpublish {
            OnUnpublish::End => Duration::ZERO,
            OnUnpublish::Slate if self.dismissed => Duration::ZERO,
            OnUnpublish::Slate if self.slate.is_some() || self.slate_at.is_some() => self.config.slate_max,
            OnUnpublish::Wait | OnUnpublish::Slate => self.config.publisher_wait,
        };
        since + wait.max(VACANT_AT_LEAST)
    }

    /// The publisher that had fallen silent is back: its slate ends, and what it said before is in force again.
    fn resume(&mut self, now: Time, log: &mut Log) {
        let Some(own) = self.interrupted.take() else { return };
        self.slate = None;
        self.seal(log);
        self.begin_anew();
        self.seen =
            Seen { video: own.has(Track::Video), audio: own.has(Track::Audio), metadata: own.metadata.is_some() };
        self.settled = true;
        if let Some(metadata) = &own.metadata {
            self.describe(metadata, now, log);
        }
        for config in [&own.video, &own.audio].into_iter().flatten() {
            self.put_in_force(config, now, log);
        }
    }

    /// When a publisher that sends nothing is stood in for.
    fn silent_at(&self) -> Option<Time> {
        match self.place {
            Place::OnAir { heard, .. } if self.slate.is_none() && self.wants_slate() => {
                Some(heard + SLATE_SILENT_AFTER)
            }
            _ => None,
        }
    }

    fn slate_due(&self) -> Option<Time> {
        self.slate_at.or_else(|| self.silent_at()).or_else(|| self.slate.as_ref()?.0.due())
    }

    /// Plays what is due of the slate. True: viewers are to be woken.
    fn play_slate(&mut self, now: Time, log: &mut Log) -> bool {
        if self.slate_due().is_none_or(|due| due > now) {
            return false;
        }
        if self.slate_at.take().is_some() {
            self.begin_slate(now, log);
        } else if self.silent_at().is_some() {
            self.interrupted = Some(Arc::clone(&self.headers));
            self.begin_slate(now, log);
        }
        let Some((mut slate, since)) = self.slate.take() else { return false };
        while let Some((frame, at)) = slate.poll(now) {
            // Stamped by when it was due: what was missed before the slate began is filled.
            self.frame::<true>(frame, at, log);
        }
        self.slate = Some((slate, since));
        let flushes = self.flusher.after_read(now);
        if flushes {
            self.flush(now, log);
        }
        flushes
    }

    /// The slate begins: to viewers and packagers one more publisher, whose tracks are known.
    fn begin_slate(&mut self, now: Time, log: &mut Log) {
        let clip = self.clip.clone().unwrap_or_else(crate::slate::built_in);
        self.seal(log);
        self.begin_anew();
        self.settled = true;
        let missed = self.publisher_stats.read(now).heard_ago.min(FILL_MAX);
        let last = Time::ZERO + now.since(Time::ZERO).saturating_sub(missed);
        let mut slate = Slate::new(clip, &self.headers, last);
        let (video, audio) = (self.headers.has(Track::Video), self.headers.has(Track::Audio));
        if let Some(next) = self.headers.with_only(Seen { video, audio, metadata: false }) {
            self.headers = Arc::new(next);
        }
        for config in slate.take_configs() {
            self.put_in_force(&config, now, log);
        }
        self.slate = Some((Box::new(slate), now));
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

fn tag_kind(track: Track) -> TagKind {
    match track {
        Track::Video => TagKind::Video,
        Track::Audio => TagKind::Audio,
    }
}

#[cfg(test)]
mod tests;
