//! The world of a walk: its clock, its event queue, its links and its shards. One event at a time; everything else is in the
//! modules that it calls.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use millstream_policy::Step;
use millstream_proto::id::Id;
use millstream_proto::time::Time;
use millstream_test_support::random::Random;

use crate::Sabotage;
use crate::net::Pipe;
use crate::peer::Peer;
use crate::plan::{PeerPlan, Settings, draw};
use crate::reference::Reference;
use crate::shell::channel::Channel;
use crate::shell::conn::Conn;
use crate::shell::door::Door;
use crate::shell::shard::{Mail, Shard};
use crate::trace::Trace;

/// Everything ends within this time after the last peer has come: the longest wait is a silent publisher's, one minute.
const END_WITHIN: Duration = Duration::from_secs(100);
/// Steps of one walk at most.
const STEPS_MAX: u64 = 2_000_000;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Event {
    /// The peer of that plan connects.
    Connect(usize),
    /// The peer of that link does what it does now and then.
    Tick(usize),
    /// The peer of that link leaves.
    Leave(usize),
    /// Bytes, or the end, arrive at the server.
    Up(usize),
    /// Bytes, or the end, arrive at the peer.
    Down(usize),
    /// The task of that link is polled.
    Wake(usize),
    /// The send under way completes, if there is room.
    Sent(usize),
    /// The shard looks into its mailboxes.
    Bell(usize),
    /// A pending policy step answers.
    Answer(usize, u64, char),
    /// The task that tends the channel is polled.
    Tend(usize),
    /// A player asks that shard for a playlist of one of the streams.
    AskPlaylist(usize, usize),
    /// The shard's slow clock.
    Sweep(usize),
    Drain,
}

/// A connection with both its ends.
pub(crate) struct Link {
    pub(crate) conn: Conn,
    pub(crate) peer: Peer,
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
}

/// What a walk has seen, so that tests can tell that it went where it was meant to go.
#[derive(Clone, Copy, Default, Debug)]
pub struct Totals {
    /// Events of the queue.
    pub events: u64,
    /// Frames that viewers got.
    pub frames: u64,
    /// Jumps that the lag rule counted.
    pub skips: u64,
    /// Jumps of mirrors.
    pub mirror_jumps: u64,
    /// Publishers that went to another shard.
    pub handovers: u64,
    /// Publishers that took a silent one's place.
    pub takeovers: u64,
    /// Requests that were refused, for whatever reason.
    pub refused: u64,
    /// Messages that found no room.
    pub mailbox_full: u64,
    /// Requests that were pending.
    pub pending: u64,
    /// Viewers that were told the end of their stream.
    pub ended: u64,
    /// Viewers closed by a rule: lagging, stalled, no keyframe.
    pub closed: u64,
    /// Servers that were drained.
    pub drains: u64,
    /// Parts that packagers made.
    pub parts: u64,
}

pub(crate) struct World {
    pub(crate) now: Time,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    sequence: u64,
    pub(crate) random: Random,
    pub(crate) settings: Settings,
    pub(crate) plans: Vec<PeerPlan>,
    pub(crate) links: Vec<Link>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) references: Vec<Reference>,
    /// What the mirror of a subscription mirrors.
    pub(crate) mirrored: BTreeMap<u64, usize>,
    pub(crate) mailboxes: BTreeMap<(usize, usize), std::collections::VecDeque<Mail>>,
    pub(crate) draining_until: Option<Time>,
    pub(crate) over: bool,
    pub(crate) trace: Trace,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) totals: Totals,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, print: bool) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x4D69_6C6C_7374_7265);
        let (settings, plans) = draw(&mut random);
        let shards = (0..settings.shards).map(|index| Shard::new(Door::new(index, settings.pending_max))).collect();
        let mut world = Self {
            now: Time::from_millis(1),
            queue: BinaryHeap::new(),
            sequence: 0,
            random,
            settings,
            plans,
            links: Vec::new(),
            shards,
            channels: Vec::new(),
            references: Vec::new(),
            mirrored: BTreeMap::new(),
            mailboxes: BTreeMap::new(),
            draining_until: None,
            over: false,
            trace: Trace::new(print),
            sabotage,
            totals: Totals::default(),
        };
        for plan in 0..world.plans.len() {
            world.at(world.plans[plan].at, Event::Connect(plan));
        }
        for shard in 0..world.settings.shards {
            world.at(world.now, Event::Sweep(shard));
        }
        for &(at, shard, stream) in &world.settings.playlist_asks.clone() {
            world.at(at, Event::AskPlaylist(shard, stream));
        }
        if let Some(at) = world.settings.drain_at {
            world.at(at, Event::Drain);
        }
        world
    }

    /// Queues an event; those of one time happen in the order of their queueing.
    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at.max(self.now), self.sequence, event)));
    }

    pub(crate) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    /// Walks to the end: nobody is connected any more, and no stream is left.
    pub(crate) fn walk(&mut self) {
        while let Some(Reverse((at, _, event))) = self.queue.pop() {
            self.now = at;
            self.totals.events += 1;
            assert!(self.totals.events < STEPS_MAX, "the walk does not end");
            self.trace.mix(&[at.as_micros()]);
            self.happen(event);
            self.audit();
            if at > self.settings.quiet_after && self.is_quiet() {
                break;
            }
            assert!(at < self.settings.quiet_after + END_WITHIN, "something never ends: {}", self.who_is_left());
        }
        self.finish();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Connect(plan) => self.connect(plan),
            Event::Tick(link) => self.tick(link),
            Event::Leave(link) => self.peer_leaves(link),
            Event::Up(link) => self.run(link),
            Event::Down(link) => self.peer_readable(link),
            Event::Wake(link) => {
                self.links[link].conn.woken = false;
                self.run(link);
            }
            Event::Sent(link) => self.sent(link),
            Event::Bell(shard) => self.bell(shard),
            Event::Answer(shard, ticket, letter) => {
                let step = match letter {
                    'A' => Step::Allow(millstream_policy::Grant::default()),
                    'N' => Step::Abstain,
                    'D' => crate::shell::door::denied(),
                    _ => Step::Pending,
                };
                self.receive(shard, Mail::Answer { ticket, step });
            }
            Event::Tend(channel) => self.tend(channel),
            Event::AskPlaylist(shard, stream) => {
                self.ask_for_playlist(shard, &Self::id(crate::plan::STREAMS[stream]));
            }
            Event::Sweep(shard) => self.sweep(shard),
            Event::Drain => {
                self.totals.drains += 1;
                self.draining_until = Some(self.now + self.settings.drain);
                (0..self.settings.shards).for_each(|shard| self.receive(shard, Mail::Shutdown));
            }
        }
    }

    /// Writes to a pipe as much as it takes now; gives the count. A short write is as good as a whole one.
    pub(crate) fn write(&mut self, link: usize, up: bool, bytes: &Bytes) -> usize {
        let room = if up { self.links[link].up.room() } else { self.links[link].down.room() };
        let mut count = room.min(bytes.len());
        if count > 1 && self.random.chance(150) {
            count = self.random.within(1, count as u64 + 1) as usize;
        }
        self.put(link, up, bytes.slice(..count));
        count
    }

    /// Writes what there is room for.
    pub(crate) fn put(&mut self, link: usize, up: bool, bytes: Bytes) {
        let pipe = if up { &mut self.links[link].up } else { &mut self.links[link].down };
        if let Some(at) = pipe.write(self.now, bytes) {
            self.at(at, if up { Event::Up(link) } else { Event::Down(link) });
        }
    }

    pub(crate) fn close(&mut self, link: usize, up: bool) {
        let pipe = if up { &mut self.links[link].up } else { &mut self.links[link].down };
        if let Some(at) = pipe.finish(self.now) {
            self.at(at, if up { Event::Up(link) } else { Event::Down(link) });
        }
    }

    /// The stream's id as the product knows it.
    pub(crate) fn id(name: &str) -> Id {
        Id::new(name).expect("a name that is an id")
    }

    fn is_quiet(&self) -> bool {
        self.links.iter().all(|link| link.conn.is_over() && !link.peer.is_open())
            && self.shards.iter().all(|shard| shard.channels.is_empty() && shard.door.pending.is_empty())
    }

    fn who_is_left(&self) -> String {
        let links = self.links.iter().enumerate().filter(|(_, link)| !link.conn.is_over() || link.peer.is_open());
        let links: Vec<_> = links.map(|(index, link)| format!("link {index}: {:?}", link.conn.task)).collect();
        let channels: Vec<_> = self.shards.iter().flat_map(|shard| shard.channels.values()).collect();
        format!("{links:?}, channels {channels:?}")
    }
}
