//! Frames gather into tags and blocks, and go out: from the frame on the timeline to the sealed block in the log. Before it: [`super`], which takes what a publisher
//! sent; after it: [`crate::log`].
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::flv;
use millstream_proto::media::{Frame, Repair, TagKind, Track};
use millstream_proto::time::Time;

use super::{Pushed, Stream};
use crate::log::Log;
use crate::package::block::{Block, PendingTags, Tag};
use crate::package::stream_headers::{SCRIPT_TIMESTAMP_MS, Seen};

/// With only one track seen, viewers start this long after the first frame: the other one had its chance.
const SETTLE: Duration = Duration::from_millis(500);
/// The same where the metadata announces the other one: players read once which tracks there are, and some encoders are slow.
const SETTLE_ANNOUNCED: Duration = Duration::from_secs(3);
/// A block is sealed when it holds this many bytes, flush or not: what a viewer's send refers to stays small.
pub(super) const BLOCK_BYTES_MAX: usize = 64 << 10;
/// How far the stamp of a rendition's keyframe may be from its source's, milliseconds: both are rounded.
const ROUNDED_MS: i64 = 2;

impl Stream {
    /// A frame of the publisher or of the slate: a function for each, called in one place, so that a frame is not moved once more on its way.
    pub(super) fn frame<const SLATE: bool>(&mut self, frame: Frame, now: Time, log: &mut Log) -> Pushed {
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

    /// Adds a script tag that players ignore unless they know it.
    pub(super) fn tell(&mut self, body: Bytes, now: Time) {
        self.add(
            Tag { kind: TagKind::Script, timestamp_ms: SCRIPT_TIMESTAMP_MS, body, leading: false },
            self.timeline.newest_ms(),
            now,
        );
    }

    pub(super) fn add(&mut self, tag: Tag, ms: i64, now: Time) {
        if self.tags.is_empty() {
            self.tags_span_ms.0 = ms;
            self.arrived = now;
        }
        self.tags_span_ms.1 = ms;
        self.tags_bytes += flv::tag_bytes(tag.body.len());
        self.tags.push(tag);
    }

    pub(super) fn seal(&mut self, log: &mut Log) {
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

    pub(super) fn flush(&mut self, now: Time, log: &mut Log) {
        self.seal(log);
        self.flusher.flushed(now);
        // A publisher that comes and goes and sends nothing must not put off the keepalive.
        if log.head() > self.flushed_head {
            (self.flushed_at, self.flushed_head) = (now, log.head());
        }
    }

    pub(super) fn settle(&mut self, now: Time, log: &mut Log) -> bool {
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
    pub(super) fn settles_at(&self) -> Option<Time> {
        let first = self.first_frame_at.filter(|_| !self.settled)?;
        let Seen { video, audio, .. } = self.seen;
        let awaited = self.announced.video && !video || self.announced.audio && !audio;
        Some(match (video && audio, awaited) {
            (true, _) => first,
            (false, true) => first + SETTLE_ANNOUNCED,
            (false, false) => first + SETTLE,
        })
    }
}

pub(super) fn tag_kind(track: Track) -> TagKind {
    match track {
        Track::Video => TagKind::Video,
        Track::Audio => TagKind::Audio,
    }
}
