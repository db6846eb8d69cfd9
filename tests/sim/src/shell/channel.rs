//! `engine/shard/channel.rs`: a stream as one shard has it, and the task that tends it.
use std::time::Duration;

use millstream_hub::config::StreamConfig;
use millstream_hub::log::{EndReason, Log, LogLimits};
use millstream_hub::mirror::{Feed, FeedMessage, apply};
use millstream_hub::stream::{Stream, Taken};
use millstream_proto::id::Id;
use millstream_proto::media::MediaEvent;
use millstream_proto::time::Time;

use super::packaging::Packaging;
use super::shard::Mail;
use crate::Sabotage;
use crate::reference::Reference;
use crate::world::{Event, World};

const FEED_RETRY: Duration = Duration::from_millis(20);
const MIRROR_LINGER: Duration = Duration::from_secs(5);

pub(crate) struct Channel {
    pub(crate) id: Id,
    pub(crate) shard: usize,
    pub(crate) config: StreamConfig,
    pub(crate) log: Log,
    pub(crate) viewers: usize,
    pub(crate) idle_since: Time,
    pub(crate) side: Side,
    /// Links whose tasks wait for a change.
    pub(crate) waiters: Vec<usize>,
    /// For the audit: `first` and `head` as they were, and how full the reference is.
    pub(crate) seen: (u64, u64),
    pub(crate) packaging: Packaging,
    /// Which reference its tags are held against.
    pub(crate) reference: Option<usize>,
}

#[expect(clippy::large_enum_variant, reason = "there are few")]
pub(crate) enum Side {
    Owner { stream: Stream, feeds: Vec<Feed>, asleep_until: Time, tended: bool },
    Mirror { subscription: u64, state: MirrorState, jumps: u64, tail_jumps: u64, fed: bool },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum MirrorState {
    Asked,
    Live,
    Unknown,
}

impl Channel {
    pub(crate) fn is_over(&self) -> bool {
        self.log.ended().is_some() || matches!(self.side, Side::Mirror { state: MirrorState::Unknown, .. })
    }

    pub(crate) fn subscription(&self) -> Option<u64> {
        if let Side::Mirror { subscription, .. } = self.side { Some(subscription) } else { None }
    }

    pub(crate) fn is_idle_mirror(&self, now: Time) -> bool {
        matches!(self.side, Side::Mirror { .. }) && self.viewers == 0 && now.since(self.idle_since) > MIRROR_LINGER
    }

    /// Jumps of a mirror after its last block: what was lost then is nobody's jump but its own.
    pub(crate) fn tail_jumps(&self) -> u64 {
        if let Side::Mirror { tail_jumps, .. } = self.side { tail_jumps } else { 0 }
    }

    pub(crate) fn unsubscribe(&mut self, from: usize, subscription: u64) {
        if let Side::Owner { feeds, .. } = &mut self.side {
            feeds.retain(|feed| feed.shard != from || feed.subscription != subscription);
            self.packaging.unsubscribe(from, subscription);
        }
    }
}

impl World {
    fn new_channel(&mut self, shard: usize, id: &Id, side: Side, reference: Option<usize>) -> usize {
        let config = self.settings.stream;
        let limits = LogLimits {
            bytes_max: config.log_bytes_max,
            time_max: config.log_time_max,
            rtmp_chunk_bytes: self.settings.chunk_size,
        };
        self.channels.push(Channel {
            id: id.clone(),
            shard,
            config,
            log: Log::new(limits),
            viewers: 0,
            idle_since: self.now,
            side,
            waiters: Vec::new(),
            seen: (0, 0),
            packaging: Packaging::default(),
            reference,
        });
        self.channels.len() - 1
    }

    /// `Channel::own`.
    pub(crate) fn new_owner(&mut self, shard: usize, id: &Id) -> usize {
        let stream = Stream::new(self.settings.stream, self.now);
        self.references.push(Reference::default());
        let side = Side::Owner { stream, feeds: Vec::new(), asleep_until: Time::ZERO, tended: false };
        let channel = self.new_channel(shard, id, side, Some(self.references.len() - 1));
        self.nudge(channel);
        channel
    }

    /// `Channel::mirror`.
    pub(crate) fn new_mirror(&mut self, shard: usize, id: &Id, subscription: u64) -> usize {
        let side = Side::Mirror { subscription, state: MirrorState::Asked, jumps: 0, tail_jumps: 0, fed: false };
        self.new_channel(shard, id, side, None)
    }

    /// The task of `tend` is to look again.
    pub(crate) fn nudge(&mut self, channel: usize) {
        if let Side::Owner { asleep_until, .. } = &mut self.channels[channel].side {
            *asleep_until = self.now;
            self.at(self.now, Event::Tend(channel));
        }
    }

    /// `Waiters::wake_all`.
    pub(crate) fn wake_all(&mut self, channel: usize) {
        for link in std::mem::take(&mut self.channels[channel].waiters) {
            self.wake(link);
        }
    }

    /// `Channel::unknown`.
    pub(crate) fn unknown(&mut self, channel: usize) {
        if let Side::Mirror { state, .. } = &mut self.channels[channel].side {
            *state = MirrorState::Unknown;
        }
        self.wake_all(channel);
    }

    /// `Channel::told`. What the owner's cursor did not count as a jump must follow what came before.
    pub(crate) fn told(&mut self, channel: usize, message: FeedMessage, jumps: u64) {
        let Channel { side, log, reference, seen, .. } = &mut self.channels[channel];
        if let Side::Mirror { subscription, state, jumps: known, tail_jumps, fed } = side {
            *state = MirrorState::Live;
            *reference = self.mirrored.get(subscription).copied();
            if let FeedMessage::Blocks(blocks) = &message {
                let first = blocks[0].seq;
                assert!(!*fed || first >= log.head(), "the feed went back to block {first}");
                let follows = !*fed || first == log.head() || jumps > *known;
                assert!(follows, "blocks {}..{first} were lost on the way to a mirror, and not counted", log.head());
                assert!(blocks.windows(2).all(|two| two[0].seq + 1 == two[1].seq), "a feed message with a hole");
                if !std::mem::replace(fed, true) {
                    // Until then its head says where the owner is.
                    *seen = (0, 0);
                }
                *known = jumps;
            }
            *tail_jumps = jumps - *known;
        }
        apply(log, message);
        self.wake_all(channel);
    }

    /// `Channel::subscribe`.
    pub(crate) fn subscribe(&mut self, channel: usize, from: usize, subscription: u64) {
        let Channel { side, log, reference, .. } = &mut self.channels[channel];
        if let Side::Owner { feeds, .. } = side {
            self.mirrored.extend(reference.map(|reference| (subscription, reference)));
            feeds.retain(|old| old.shard != from);
            feeds.push(Feed::new(from, subscription, log));
        }
        self.nudge(channel);
    }

    /// `Channel::publish`.
    pub(crate) fn claim_place(&mut self, channel: usize, number: u64, waited: bool) -> Result<Option<u64>, Taken> {
        match &mut self.channels[channel].side {
            Side::Owner { stream, .. } => stream.publish(number, waited, self.now),
            Side::Mirror { .. } => panic!("a publisher at a mirror"),
        }
    }

    /// `Channel::leave`.
    pub(crate) fn leave(&mut self, channel: usize, number: u64) {
        let wall = self.wall();
        let Channel { side, log, .. } = &mut self.channels[channel];
        if let Side::Owner { stream, .. } = side {
            stream.set_wall(wall);
            stream.leave(number, false, self.now, log);
        }
        self.nudge(channel);
        self.wake_all(channel);
    }

    /// `Channel::read`. What is pushed is written down beside it.
    pub(crate) fn read(&mut self, channel: usize, link: usize, events: Vec<MediaEvent>) -> bool {
        let (number, wall) = (self.links[link].conn.number, self.wall());
        let Channel { side, log, reference, .. } = &mut self.channels[channel];
        let Side::Owner { stream, asleep_until, .. } = side else { return false };
        if !stream.heard(number, self.now) && self.sabotage != Some(Sabotage::TwoPublishers) {
            return false;
        }
        stream.set_wall(wall);
        let reference = &mut self.references[reference.expect("an owner has one")];
        for event in events {
            let pushed = stream.push(event.clone(), self.now, log);
            reference.push(link, &event, pushed);
        }
        let flushed = stream.after_read(self.now, log);
        let nudge = stream.poll_timeout() < *asleep_until;
        if flushed {
            self.flushed(channel);
        } else {
            self.packaged(channel);
        }
        if nudge {
            self.nudge(channel);
        }
        true
    }

    /// `Channel::flushed`.
    fn flushed(&mut self, channel: usize) -> bool {
        self.wake_all(channel);
        let full = self.packaged(channel);
        self.feed(channel) || full
    }

    /// `Channel::feed`.
    fn feed(&mut self, channel: usize) -> bool {
        let Channel { side: Side::Owner { feeds, .. }, shard, id, .. } = &mut self.channels[channel] else {
            return false;
        };
        let (shard, id, mut feeds) = (*shard, id.clone(), std::mem::take(feeds));
        let mut full = false;
        for feed in &mut feeds {
            let jumps = feed.jumps();
            while let Some(message) = feed.next_message(&self.channels[channel].log) {
                let before = feed.clone();
                feed.told(&message);
                if self.sabotage == Some(Sabotage::LostBlock)
                    && matches!(message, FeedMessage::Blocks(_))
                    && self.random.chance(50)
                {
                    continue;
                }
                let mail = Mail::Feed { id: id.clone(), subscription: feed.subscription, message, jumps: feed.jumps() };
                if self.mail(shard, feed.shard, mail).is_err() {
                    *feed = before;
                    full = true;
                    break;
                }
            }
            self.totals.mirror_jumps += feed.jumps() - jumps;
        }
        if let Side::Owner { feeds: place, .. } = &mut self.channels[channel].side {
            *place = feeds;
        }
        full
    }

    /// `Channel::end`.
    pub(crate) fn end_channel(&mut self, channel: usize, reason: EndReason) {
        self.channels[channel].log.end(reason);
        self.nudge(channel);
        self.wake_all(channel);
    }

    /// `tend`, one round of its loop.
    pub(crate) fn tend(&mut self, channel: usize) {
        let Channel { side, log, .. } = &mut self.channels[channel];
        let Side::Owner { stream, asleep_until, tended, .. } = side else { return };
        if *asleep_until > self.now || *tended {
            return;
        }
        let changed = stream.handle_timeout(self.now, log);
        let retry = if changed {
            self.flushed(channel)
        } else {
            let full = self.packaged(channel);
            self.feed(channel) || full
        };
        let Channel { side: Side::Owner { stream, feeds, asleep_until, tended }, log, packaging, .. } =
            &mut self.channels[channel]
        else {
            return;
        };
        if log.ended().is_some() && feeds.iter().all(Feed::is_over) && !packaging.has_untold() {
            *tended = true;
            return self.remove(channel);
        }
        let retry = retry || log.ended().is_some();
        *asleep_until = if retry { self.now + FEED_RETRY } else { stream.poll_timeout() };
        assert!(retry || *asleep_until > self.now, "a stream's timer does not advance");
        let at = *asleep_until;
        self.at(at, Event::Tend(channel));
    }
}
