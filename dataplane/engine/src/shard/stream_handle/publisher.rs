//! Who publishes a stream, on the shard that owns it: from taking the place to leaving it, and what is known of it meanwhile. Before it: [`crate::ingest`], which
//! reads the publisher; after it: the stream's log, and what [`crate::shard::view`] tells of it.
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use millstream_hub::findings::{Dropped, News, Repaired};
use millstream_hub::log::Log;
use millstream_hub::publisher_stats::Reading;
use millstream_hub::stream::{Place as PublisherPlace, Pushed, Taken};
use millstream_policy::records::Labels;
use millstream_proto::id::Id;
use millstream_proto::media::{MediaEvent, Repair, Track};
use millstream_proto::time::Time;

use super::{Owner, Side, StreamHandle};
use crate::metrics::ShardStats;
use crate::shard::context::ShardContext;
use crate::shard::packaging::wall;
use crate::shard::phase::{Status, of_absence, of_publisher, of_slate};

/// Who has or had the publisher's place.
#[derive(Clone)]
pub(super) struct Holder {
    pub(super) who: Publisher,
    /// How often timestamps had jumped before it came.
    pub(super) jumps_before: u64,
}

/// Who publishes, as people know it.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    pub(crate) peer: SocketAddr,
    /// What it came over.
    pub(crate) protocol: &'static str,
    /// What it calls itself.
    pub(crate) encoder: String,
    /// What a policy calls it.
    pub(crate) labels: Option<Labels>,
}

/// A publisher that is on air.
pub(crate) struct OnAir {
    pub(crate) session: u64,
    pub(crate) who: Publisher,
    pub(crate) reading: Reading,
    pub(crate) timestamp_jumps: u64,
    pub(crate) arrival_lag_ms: Option<i64>,
    pub(crate) audio_ahead_ms: Option<i64>,
    pub(crate) announces_audio: bool,
    pub(crate) repaired: Vec<Repaired>,
    pub(crate) dropped: Vec<Dropped>,
}

impl Owner {
    /// Says that timestamps jumped, the first time that those of a session do; there had been `before` jumps in all.
    #[cold]
    fn tell_jump(&self, session: u64, id: &Id, before: u64) {
        if let Some(Holder { who, jumps_before }) = &self.holder
            && *jumps_before == before
        {
            tracing::warn!(
                stream = %id, session, peer = %who.peer,
                "the encoder's timestamps jumped against its own pace; the stream goes on without the jump. Further jumps of this session \
                 are counted only (timestamp_jumps). If viewers notice, look at the encoder's clock or at the file it repeats"
            );
        }
    }
}

impl StreamHandle {
    /// Takes the publisher's place; gives the session that is replaced, and how long ago it was heard.
    pub(crate) fn publish(
        &self,
        session: u64,
        who: &Publisher,
        waited: bool,
        now: Time,
        shard: &ShardContext,
    ) -> Result<Option<(u64, Duration)>, Taken> {
        match &self.side {
            Side::Owner { inner, .. } => {
                let owner = &mut *inner.borrow_mut();
                let before = match owner.stream.place() {
                    PublisherPlace::OnAir { heard, .. } => now.since(heard),
                    PublisherPlace::Vacant { .. } => Duration::ZERO,
                };
                let replaced = owner.stream.publish(session, waited, now)?.map(|old| (old, before));
                if let Some(source) = &self.source {
                    owner.stream.follow_source(source.newest_ms());
                    let log = source.log.borrow();
                    let newest = log.newest_start().and_then(|start| Some(log.get(start)?.block.first_ms));
                    owner.stream.catch_up(newest);
                }
                self.tell_slate(owner, shard);
                owner.holder = Some(Holder { who: who.clone(), jumps_before: owner.stream.timeline().rebases() });
                Ok(replaced)
            }
            // Publishers are only ever handed to the owner.
            Side::Mirror { .. } => Err(Taken { heard_ago: Duration::ZERO }),
        }
    }

    /// Its publisher, where this shard owns it and somebody publishes.
    pub(crate) fn on_air(&self, now: Time) -> Option<OnAir> {
        let Side::Owner { inner, .. } = &self.side else { return None };
        let owner = inner.borrow();
        let PublisherPlace::OnAir { session, .. } = owner.stream.place() else { return None };
        let Holder { who, jumps_before } = owner.holder.clone()?;
        let timestamp_jumps = owner.stream.timeline().rebases() - jumps_before;
        let findings = owner.stream.findings();
        let (repaired, dropped) = (findings.repaired().to_vec(), findings.dropped().cloned().collect());
        Some(OnAir {
            session,
            who,
            reading: owner.stream.publisher_stats().read(now),
            timestamp_jumps,
            arrival_lag_ms: owner.stream.timeline().arrival_lag_ms(),
            audio_ahead_ms: owner.stream.timeline().audio_ahead_ms(),
            announces_audio: owner.stream.announced().audio,
            repaired,
            dropped,
        })
    }

    /// What it is doing, where this shard owns it.
    pub(crate) fn status(&self, now: Time) -> Option<Status> {
        let Side::Owner { inner, .. } = &self.side else { return None };
        let owner = inner.borrow();
        let reading = owner.stream.publisher_stats().read(now);
        // Of a publisher that has left, its number is no longer known: the moment it was admitted tells two apart as well.
        let publication = reading.since.as_micros();
        if owner.stream.is_slated() {
            let since = owner.stream.slate_since().unwrap_or(now);
            return Some(of_slate(now.since(since), publication, &reading, owner.stream.findings()));
        }
        Some(match owner.stream.place() {
            PublisherPlace::OnAir { .. } => of_publisher(publication, &reading, owner.stream.findings(), now),
            PublisherPlace::Vacant { since } => {
                of_absence(now.since(since), publication, &reading, owner.stream.findings())
            }
        })
    }

    /// The publisher's session is over; `dismissed`: not by itself, and no slate is to stand in for it.
    pub(crate) fn leave(&self, session: u64, dismissed: bool, shard: &Rc<ShardContext>) {
        if let Side::Owner { inner, notify, .. } = &self.side {
            let wall = wall(shard);
            let stream = &mut inner.borrow_mut().stream;
            stream.set_wall(wall);
            stream.leave(session, dismissed, wall.now, &mut self.log.borrow_mut());
            notify.notify();
            self.changed(shard);
        }
    }

    /// Takes what came with one read of the publisher's socket. False: the session has been replaced.
    pub(crate) fn read(&self, session: u64, events: &mut Vec<MediaEvent>, now: Time, shard: &Rc<ShardContext>) -> bool {
        let Side::Owner { inner, notify, asleep_until } = &self.side else { return false };
        let owner = &mut *inner.borrow_mut();
        if !owner.stream.heard(session, now) {
            return false;
        }
        owner.stream.set_wall(wall(shard));
        let flushed = {
            let log = &mut *self.log.borrow_mut();
            let (head, rebases) = (log.head(), owner.stream.timeline().rebases());
            for event in events.drain(..) {
                count_frame(&shard.stats, &event);
                if owner.stream.push(event, now, log) == Pushed::BeforeKeyframe {
                    shard.stats.dropped.add("before_keyframe", 1);
                }
            }
            let jumps = owner.stream.timeline().rebases() - rebases;
            if jumps > 0 {
                shard.stats.timestamp_jumps.add(jumps);
                owner.tell_jump(session, &self.id, rebases);
            }
            let flushed = owner.stream.after_read(now, log);
            count_flush(&shard.stats, log, head);
            flushed
        };
        self.say(owner);
        // A shard without room is tried again with the next flush.
        if flushed {
            self.flushed(owner, shard);
        } else {
            // A part is there with its last frame, whenever that goes out to other viewers.
            self.packaged(owner, shard);
        }
        if owner.stream.poll_timeout() < asleep_until.get() {
            notify.notify();
        }
        true
    }

    /// Logs what was found of the publisher's stream: each finding once a session, however often the encoder repeats it.
    pub(super) fn say(&self, owner: &mut Owner) {
        let session = match owner.stream.place() {
            PublisherPlace::OnAir { session, .. } => session,
            PublisherPlace::Vacant { .. } => 0,
        };
        for news in owner.stream.take_news() {
            match news {
                News::Repaired(Repaired { repair, track, .. }) => {
                    let is_sparse = repair == Repair::SparseKeyframes;
                    let (repair, advice) = (repair.label(), repair.advice());
                    if is_sparse {
                        tracing::warn!(stream = %self.id, session, advice, "key frames are far apart");
                    } else {
                        tracing::warn!(stream = %self.id, session, ?track, repair, advice, "the stream is repaired");
                    }
                }
                News::Dropped(Dropped { track, codec, outputs, reason, .. }) => {
                    tracing::warn!(stream = %self.id, session, ?track, codec, ?outputs, reason, "a track is left out");
                }
            }
        }
    }
}

fn count_frame(stats: &ShardStats, event: &MediaEvent) {
    if let MediaEvent::Frame(frame) = event {
        match frame.track {
            Track::Video => stats.frames_video.add(1),
            Track::Audio => stats.frames_audio.add(1),
        }
    }
}

pub(super) fn count_flush(stats: &ShardStats, log: &Log, head_before: u64) {
    let bytes: usize = (head_before..log.head()).filter_map(|seq| log.get(seq)).map(|entry| entry.block.bytes()).sum();
    if bytes > 0 {
        stats.flush_bytes.observe(bytes as f64);
    }
}
