//! What there is in a walk: its time, its chance, its connections, its timers. One per thread, for as long as [`super::run`] runs.
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::task::Waker;

use millstream_proto::time::Time;
use millstream_test_support::random::Random;

use super::net::Net;

/// What the system does to a walk besides what its peers do.
#[derive(Clone, Debug)]
pub struct Weather {
    /// A timer fires up to so much later, microseconds.
    pub timer_late_us: u64,
    /// A shard sees its mail up to so much later, microseconds.
    pub mail_us: u64,
    /// And, so many times in a thousand, up to a hundred times that.
    pub mail_slow: u64,
    /// Messages that a mailbox between two shards takes.
    pub mailbox_max: usize,
    /// Descriptors of connections that the server may hold.
    pub descriptors_max: usize,
    /// So many times in a thousand the machine does something else for up to 20 ms between two pieces of work.
    pub hiccups: u64,
    /// So many times in ten thousand a batch of sends fails, and nobody knows what was sent.
    pub lost_batches: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            timer_late_us: 0,
            mail_us: 10,
            mail_slow: 0,
            mailbox_max: usize::MAX,
            descriptors_max: usize::MAX,
            hiccups: 0,
            lost_batches: 0,
        }
    }
}

/// What happens at a time.
pub(super) enum Timer {
    Wake(Waker),
    /// The listener of that number has mail.
    Mail(usize),
    /// The connection is known to be dead.
    Vanished(usize),
}

pub(super) struct World {
    pub(super) now_ns: u64,
    pub(super) random: Random,
    pub(super) weather: Weather,
    pub(super) net: Net,
    timers: BTreeMap<(u64, u64), Timer>,
    timers_made: u64,
    /// Listeners: whether there is mail, and who waits for it.
    pub(super) listeners: Vec<(bool, Option<Waker>)>,
    pub(super) hash: u64,
    pub(super) print: bool,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

impl World {
    pub(super) fn begin(seed: u64, weather: Weather, print: bool) {
        let world = Self {
            now_ns: 1_000_000,
            random: Random::new(seed),
            weather,
            net: Net::default(),
            timers: BTreeMap::new(),
            timers_made: 0,
            listeners: Vec::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            print,
        };
        WORLD.with(|slot| *slot.borrow_mut() = Some(world));
    }

    /// Ends the walk's world; what it held is let go when nobody looks at it any more.
    pub(super) fn end() {
        let world = WORLD.with(|slot| slot.borrow_mut().take());
        drop(world);
    }

    pub(super) fn set(&mut self, at_ns: u64, timer: Timer) -> (u64, u64) {
        self.timers_made += 1;
        let key = (at_ns, self.timers_made);
        self.timers.insert(key, timer);
        key
    }

    /// Takes a timer back; false: it has gone off.
    pub(super) fn unset(&mut self, key: (u64, u64)) -> bool {
        self.timers.remove(&key).is_some()
    }

    pub(super) fn next_timer(&self) -> Option<u64> {
        self.timers.first_key_value().map(|(key, _)| key.0)
    }

    /// What is due by now.
    pub(super) fn due(&mut self) -> Option<Timer> {
        (self.next_timer()? <= self.now_ns).then(|| self.timers.pop_first().map(|(_, timer)| timer))?
    }

    pub(super) fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3);
        self.hash ^= self.hash >> 29;
    }
}

/// Does something with the world; nothing where the walk is over, as for what is dropped after it.
pub(super) fn maybe<T>(what: impl FnOnce(&mut World) -> T) -> Option<T> {
    WORLD.try_with(|slot| slot.borrow_mut().as_mut().map(what)).ok().flatten()
}

pub(super) fn world<T>(what: impl FnOnce(&mut World) -> T) -> T {
    maybe(what).expect("within a walk")
}

/// The walk's time.
pub fn now() -> Time {
    Time::from_micros(world(|world| world.now_ns) / 1_000)
}

/// Draws from the walk's chance: less than `end`.
pub fn draw(end: u64) -> u64 {
    world(|world| world.random.below(end))
}

/// Connections that the server holds.
pub fn descriptors() -> usize {
    world(|world| world.net.descriptors)
}

/// Over everything that happened so far.
pub fn trace_hash() -> u64 {
    world(|world| world.hash)
}

/// Notes something that happened: two walks of a seed have the same notes.
pub fn note(what: &str) {
    world(|world| {
        let mut number = world.now_ns;
        for byte in what.bytes() {
            number = number.wrapping_mul(31) ^ u64::from(byte);
        }
        world.mix(number);
    });
    say(what);
}

/// Prints a line of the trace, where one is wanted.
pub fn say(what: &str) {
    maybe(|world| {
        if world.print {
            let at_us = world.now_ns / 1_000;
            println!("{:6}.{:06}  {what}", at_us / 1_000_000, at_us % 1_000_000);
        }
    });
}

/// Notes bytes that somebody got.
pub fn note_bytes(bytes: &[u8]) {
    let hash = bytes.iter().fold(bytes.len() as u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(*byte));
    world(|world| world.mix(hash));
}

/// Switches a planted defect on for this thread, or all of them off.
pub fn plant(name: Option<&'static str>) {
    PLANTED.set(name);
}

pub(crate) fn is_planted(name: &str) -> bool {
    PLANTED.get() == Some(name)
}
