//! Random walks: a stream, its mirror and viewers of all forms, with everything that can happen to them in random order. What each
//! viewer got is held against a baseline of the stream whose log forgets nothing. A seed that fails is named and fails again.
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use millstream_proto::media::{MediaEvent, TagKind, Track};
use millstream_proto::time::Time;

use crate::address::Address;
use crate::config::{FlushPolicy, StreamConfig};
use crate::fixture::*;
use crate::log::Log;
use crate::mirror::{Feed, FeedMessage, apply};
use crate::package::block::Format;
use crate::stream::Place;
use crate::viewer::{CloseReason, Fill, Start, Viewer};

const SEEDS: u64 = 200;
const STEPS: usize = 3_000;

struct Walker {
    client: Client,
    /// Reads the mirror's log.
    there: bool,
    /// Is sent everything at each step.
    quick: bool,
    paused: bool,
    resumes: u64,
    sending_since: Option<Time>,
    closed: Option<CloseReason>,
}

struct World {
    random: Random,
    fixture: StreamFixture,
    /// Is told the same, and forgets nothing.
    baseline: StreamFixture,
    feed: Feed,
    mailbox: VecDeque<FeedMessage>,
    mirror: Log,
    walkers: Vec<Walker>,
    session: u64,
    /// The tracks that the publisher has configured: video, audio.
    configured: [bool; 2],
    dts_ms: i64,
    mark: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..9 {
            random.below(1);
        }
        let config = StreamConfig {
            log_bytes_max: [8_000, 20_000, 80_000][random.below(3)],
            log_time_max: Duration::from_millis([500, 3_000][random.below(2)]),
            lag_skips: [3, 1_000][random.below(2)],
            ..StreamConfig::default()
        };
        let (mut fixture, mut baseline) = (
            StreamFixture::new(config),
            StreamFixture::new(StreamConfig { log_bytes_max: usize::MAX, log_time_max: Duration::MAX, ..config }),
        );
        let flush = [FlushPolicy::Low, FlushPolicy::Balanced, FlushPolicy::Dense][random.below(3)];
        fixture.stream.set_flush(flush);
        baseline.stream.set_flush(flush);
        let (feed, mirror) = (Feed::new(Address::here(1), 1, &fixture.log), log_of(&config));
        let (mailbox, walkers) = (VecDeque::new(), Vec::new());
        let configured = [false, false];
        let mut world = Self {
            random,
            fixture,
            baseline,
            feed,
            mailbox,
            mirror,
            walkers,
            session: 1,
            configured,
            dts_ms: 0xFFFF_0000,
            mark: 0,
        };
        for format in [Format::FlvChunked, Format::FlvPlain] {
            world.join(format, false, true);
        }
        world
    }

    fn chance(&mut self, of_thousand: usize) -> bool {
        self.random.below(1_000) < of_thousand
    }

    fn join(&mut self, format: Format, there: bool, quick: bool) {
        let start = if quick || self.chance(800) { Start::Newest } else { Start::Next };
        let log = if there { &self.mirror } else { &self.fixture.log };
        let client = Client::new(Viewer::new(format, start, log, self.fixture.now), format);
        let (sending_since, closed) = (None, None);
        self.walkers.push(Walker { client, there, quick, paused: false, resumes: 0, sending_since, closed });
    }

    fn both<T: PartialEq + std::fmt::Debug>(&mut self, act: impl Fn(&mut StreamFixture) -> T) {
        assert_eq!(
            act(&mut self.fixture),
            act(&mut self.baseline),
            "how long the log is changes nothing for the stream"
        );
    }

    fn step(&mut self) {
        let pause_ms = match self.random.below(1_000) {
            0 => 6_000,
            1..5 => 1_000 + self.random.below(1_000),
            _ => self.random.below(40),
        };
        self.both(|fixture| fixture.wait_ms(pause_ms as u64).len());
        self.dts_ms += pause_ms as i64;
        self.publisher();
        self.carry();
        if self.walkers.len() < 10 && self.chance(20) {
            let format = FORMATS[self.random.below(FORMATS.len())];
            let there = self.chance(400);
            self.join(format, there, false);
        }
        for index in 0..self.walkers.len() {
            self.walker(index);
        }
        check_bounds(&self.fixture.log);
        check_bounds(&self.mirror);
    }

    fn publisher(&mut self) {
        let session = self.session;
        match self.fixture.stream.place() {
            Place::Vacant { .. } if self.chance(if session.is_multiple_of(16) { 1 } else { 50 }) => self.publish(),
            Place::Vacant { .. } => {}
            Place::OnAir { .. } if self.chance(4) => {
                self.both(|fixture| fixture.stream.leave(session, false, fixture.now, &mut fixture.log));
            }
            Place::OnAir { heard, .. } if self.fixture.now.since(heard) >= Duration::from_secs(1) => self.publish(),
            Place::OnAir { .. } => {
                let events: Vec<_> = (0..self.random.below(4)).map(|_| self.event()).collect();
                self.both(|fixture| (fixture.stream.heard(session, fixture.now), fixture.read(&events)));
            }
        }
    }

    fn publish(&mut self) {
        self.session += 1;
        self.dts_ms = self.random.below(1 << 33) as i64;
        let session = self.session;
        self.both(|fixture| fixture.stream.publish(session, false, fixture.now));
        self.configured = [false, false];
    }

    fn config(&mut self, track: Track) -> MediaEvent {
        self.configured[usize::from(track == Track::Audio)] = true;
        config(track, 1 + self.random.below(3) as u8)
    }

    fn event(&mut self) -> MediaEvent {
        self.mark += 1;
        let jitter = self.random.below(20) as i64;
        let bytes_max = if self.chance(20) { 4_000 } else { 200 };
        let bytes = self.random.below(bytes_max);
        // Some publishers have one track only, or the other one later.
        let video_of_ten = [6, 4, 10, 0][self.session as usize % 4];
        let track = if self.random.below(10) < video_of_ten { Track::Video } else { Track::Audio };
        let kind = self.random.below(1_000);
        if kind < 5 || !self.configured[usize::from(track == Track::Audio)] {
            return self.config(track);
        }
        if kind < 7 {
            return metadata(["one", "two"][self.random.below(2)]);
        }
        if kind < 9 {
            self.dts_ms += [-7_200_000, -9_000, 9_000, 7_200_000][self.random.below(4)];
        }
        match track {
            Track::Audio => frame(track, true, self.dts_ms + jitter, bytes, self.mark),
            Track::Video if kind < 100 => frame(track, true, self.dts_ms - jitter, 3 * bytes, self.mark),
            Track::Video => frame(track, false, self.dts_ms - jitter, bytes, self.mark),
        }
    }

    /// The mailbox has room for two, and is emptied when the other shard gets to it.
    fn carry(&mut self) {
        while self.mailbox.len() < 2 {
            let Some(message) = self.feed.next_message(&self.fixture.log) else { break };
            self.feed.told(&message);
            self.mailbox.push_back(message);
        }
        if self.chance(300) {
            self.mailbox.drain(..).for_each(|message| apply(&mut self.mirror, message));
        }
    }

    fn walker(&mut self, index: usize) {
        let (now, config) = (self.fixture.now, self.fixture.config);
        let (rtmp, act) = (self.walkers[index].client.format == Format::Rtmp, self.random.below(100));
        let lazy = index.is_multiple_of(3);
        let take_max = [4, 300, 9_000][self.random.below(3)];
        let take = 1 + self.random.below(take_max);
        let World { walkers, fixture, mirror, .. } = self;
        let walker = &mut walkers[index];
        let log = if walker.there { mirror } else { &fixture.log };
        if walker.closed.is_some() {
            return;
        }
        let stalled = walker.sending_since.is_some_and(|since| now.since(since) > config.stall_close);
        assert_eq!(walker.client.viewer.overdue(&config, now) == Some(CloseReason::Stalled), stalled);
        if rtmp && act < 2 {
            walker.client.viewer.pause(!walker.paused, now);
            walker.resumes += u64::from(walker.paused);
            walker.paused = !walker.paused;
        }
        if rtmp && act < 5 {
            walker.client.viewer.lead(control());
        }
        if walker.quick {
            if let Fill::Close(reason) = walker.client.drain(log, &config, now, take) {
                walker.closed = Some(reason);
            }
        } else if walker.sending_since.is_none() {
            match walker.client.fill(log, &config, now) {
                Fill::Send => walker.sending_since = Some(now),
                Fill::Wait => {}
                Fill::Close(reason) => walker.closed = Some(reason),
            }
        } else if act < if lazy { 10 } else { 60 } {
            walker.sending_since = None;
            walker.client.take(take);
        }
    }

    /// Everyone gets what there is; then what they got is looked at.
    fn finish(mut self) {
        self.both(|fixture| fixture.wait_ms(200).len());
        while let Some(message) = self.feed.next_message(&self.fixture.log) {
            self.feed.told(&message);
            self.mailbox.push_back(message);
        }
        self.mailbox.drain(..).for_each(|message| apply(&mut self.mirror, message));
        assert_eq!(self.feed.is_over(), self.fixture.log.ended().is_some());
        let reference = Reference::new(&self.baseline.log);
        for walker in &mut self.walkers {
            let log = if walker.there { &self.mirror } else { &self.fixture.log };
            if !walker.client.load.is_empty() {
                walker.client.take(usize::MAX);
            }
            if walker.closed.is_none()
                && let Fill::Close(reason) =
                    walker.client.drain(log, &self.fixture.config, self.fixture.now, usize::MAX)
            {
                walker.closed = Some(reason);
            }
            reference.check(walker, log);
        }
        let [chunked, plain, ..] = &self.walkers[..] else { unreachable!() };
        assert!(dechunk(&chunked.client.got) == plain.client.got, "the two forms of FLV hold the same");
    }
}

fn check_bounds(log: &Log) {
    let held: Vec<_> = (log.first()..log.head()).filter_map(|seq| log.get(seq)).map(|entry| &entry.block).collect();
    assert_eq!(held.len() as u64, log.head() - log.first());
    assert!(log.bytes() <= log.limits.bytes_max || held.len() == 1);
    if let ([oldest, rest @ ..], Some(newest)) = (&held[..], held.last()) {
        let reach_ms = u128::from((newest.last_ms - oldest.first_ms).max(0).unsigned_abs());
        assert!(reach_ms <= log.limits.time_max.as_millis() || rest.iter().all(|block| !block.start));
    }
    assert_eq!(log.newest_start(), held.iter().rev().find(|block| block.start).map(|block| block.seq));
}

/// A frame as it was published.
struct Published {
    index: usize,
    kind: TagKind,
    ms: u32,
    /// A viewer may start at it.
    start: bool,
    /// Name of the configuration of its track.
    config: String,
}

/// All frames of a stream, by their marks.
struct Reference(HashMap<u32, Published>);

fn is_frame(kind: TagKind, body: &[u8]) -> bool {
    kind != TagKind::Script && body.get(1) == Some(&1)
}

fn mark(body: &[u8]) -> u32 {
    u32::from_be_bytes(*body.last_chunk().unwrap())
}

/// The configurations in force, as tags go by: video, audio.
#[derive(Default)]
struct Configs([String; 2]);

impl Configs {
    fn of(&mut self, kind: TagKind) -> &mut String {
        &mut self.0[usize::from(kind == TagKind::Audio)]
    }
}

impl Reference {
    fn new(log: &Log) -> Self {
        let (mut frames, mut configs, mut last) = (HashMap::new(), Configs::default(), [0, 0]);
        for seq in log.first()..log.head() {
            let block = &log.get(seq).unwrap().block;
            for (at, tag) in block.frames().enumerate() {
                let (kind, ms, index) = (tag.kind, tag.timestamp_ms, frames.len());
                let got = Got { kind, ms, body: tag.body.to_vec().into() };
                if is_frame(kind, tag.body) {
                    let last = &mut last[usize::from(kind == TagKind::Audio)];
                    assert!(ms >= *last, "stamps of a track run forward");
                    *last = ms;
                    let (start, config) = (block.start && at == 0, configs.of(kind).clone());
                    assert!(!start || kind == TagKind::Audio || got.name().starts_with('K'));
                    frames.insert(mark(tag.body), Published { index, kind, ms, start, config });
                } else if kind != TagKind::Script {
                    *configs.of(kind) = got.name();
                }
            }
        }
        Self(frames)
    }

    fn check(&self, walker: &Walker, log: &Log) {
        let (mut last, mut gaps, mut configs) = (None, 0, Configs::default());
        for tag in walker.client.tags() {
            if !is_frame(tag.kind, &tag.body) {
                if tag.kind != TagKind::Script {
                    *configs.of(tag.kind) = tag.name();
                }
                continue;
            }
            let published = &self.0[&mark(&tag.body)];
            assert_eq!((tag.kind, tag.ms), (published.kind, published.ms));
            assert_eq!(*configs.of(tag.kind), published.config, "the configuration of {}", tag.name());
            if last.is_none_or(|last: usize| last + 1 != published.index) {
                assert!(last.is_none_or(|last| last < published.index), "{} comes again", tag.name());
                assert!(published.start, "goes on at {}, which is no start", tag.name());
                gaps += u64::from(last.is_some());
            }
            last = Some(published.index);
        }
        let skips = walker.client.viewer.skips();
        assert!(gaps <= skips + walker.resumes, "{gaps} gaps, {skips} skips");
        let lagged = walker.closed == Some(CloseReason::Lagging);
        if !lagged && !walker.paused && log.newest_start().is_some() && last.is_some() {
            assert_eq!(last, self.0.len().checked_sub(1), "gets everything to the end");
        }
    }
}

#[test]
fn random_walks() {
    let only = option_env!("WALK_SEED").and_then(|seed| seed.parse::<u64>().ok());
    let (mut tags, mut skips, mut ends) = (0, 0, 0);
    for seed in only.map_or(1..SEEDS + 1, |seed| seed..seed + 1) {
        let walk = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
                if world.fixture.log.ended().is_some() {
                    break;
                }
            }
            let seen = (
                world.mark as u64,
                world.walkers.iter().map(|walker| walker.client.viewer.skips()).sum::<u64>(),
                u64::from(world.fixture.log.ended().is_some()),
            );
            world.finish();
            seen
        });
        let Ok(seen) = walk else { panic!("WALK_SEED={seed}") };
        (tags, skips, ends) = (tags + seen.0, skips + seen.1, ends + seen.2);
    }
    // The walks have been where they were meant to go.
    println!("{tags} events, {skips} skips, {ends} ends");
    assert!(only.is_some() || (tags > 100_000 && skips > 1_000 && ends > 10));
}
