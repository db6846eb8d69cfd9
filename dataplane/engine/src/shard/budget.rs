//! How often something may be published: a budget per connection, per stream and per address, so that whoever publishes and leaves again and
//! again fills neither the log, nor the events, nor the history of others. Before it: [`crate::ingest`], which asks before a publisher gets
//! its place; after it: the wait, or the refusal, that it answers with.
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use millstream_proto::id::Id;
use millstream_proto::network::counted;
use millstream_proto::time::Time;

/// Publishes of a connection, and of a stream, that may follow each other at once: encoders that flap, and tools that try.
const BURST: u32 = 20;
/// And one in this time.
const EVERY: Duration = Duration::from_secs(1);
/// Publishes of an address in this time, once it has used its burst, which is as many as it may have connections: a relay that restarts
/// brings all its streams at once.
const EVERY_OF_ADDRESS: Duration = Duration::from_millis(20);
/// A publish that is early by no more than this waits; others are refused, but for a connection, which waits for its own budget.
const PATIENCE: Duration = Duration::from_secs(1);
/// Streams and addresses that are told apart; they are forgotten once their budget is whole again.
const KEYS_MAX: usize = 16_384;

/// When the budget of one of them is whole again (GCRA's theoretical arrival time).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RateLimit(Time);

impl RateLimit {
    /// Takes one out; how long whoever asks has to wait for it. `None`: longer than `patience`, and nothing was taken.
    fn take(&mut self, now: Time, every: Duration, burst: u32, patience: Duration) -> Option<Duration> {
        let whole = self.0.max(now) + every;
        let wait = whole.since(now + every.saturating_mul(burst));
        (wait <= patience).then(|| {
            self.0 = whole;
            wait
        })
    }
}

/// The budget of one connection, which goes with it from shard to shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct OfConnection {
    budget: RateLimit,
    /// Its waits have been told.
    told: bool,
}

/// What a connection has to do before it publishes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Turn {
    pub(crate) wait: Duration,
    /// It is the first time that it waits: worth a line in the log.
    pub(crate) is_news: bool,
}

impl OfConnection {
    pub(crate) fn publish(&mut self, now: Time) -> Turn {
        let wait = self.budget.take(now, EVERY, BURST, Duration::MAX).unwrap_or(EVERY);
        let told = std::mem::replace(&mut self.told, !wait.is_zero());
        Turn { wait, is_news: self.told && !told }
    }

    /// Whether it publishes too often just now: then its lines in the log are left out.
    pub(crate) fn is_slowed(&self) -> bool {
        self.told
    }
}

/// The budgets of things that are told apart by a key.
struct RateLimits<K>(RefCell<HashMap<K, RateLimit>>);

impl<K: Eq + Hash> RateLimits<K> {
    fn take(&self, key: K, now: Time, every: Duration, burst: u32) -> Option<Duration> {
        let mut budgets = self.0.borrow_mut();
        if budgets.len() >= KEYS_MAX && !budgets.contains_key(&key) {
            // Those that are told apart have their budgets; together, who comes on top has none.
            return None;
        }
        budgets.entry(key).or_default().take(now, every, burst, PATIENCE)
    }

    fn sweep(&self, now: Time) {
        let mut budgets = self.0.borrow_mut();
        budgets.retain(|_, budget| budget.0 > now);
        if budgets.len() < budgets.capacity() / 4 {
            budgets.shrink_to_fit();
        }
    }
}

/// What one of so many shards may take of a limit of the process: the kernel spreads connections evenly, but not exactly.
pub(super) fn share_of(limit: usize, shards: usize) -> usize {
    if shards < 2 { limit } else { (limit + limit / 4).div_ceil(shards).max(1) }
}

/// The budgets of the streams and the addresses that publish at a shard.
pub(crate) struct Publishes {
    streams: RateLimits<Id>,
    addresses: RateLimits<IpAddr>,
    burst_of_address: u32,
    every_of_address: Duration,
}

impl Publishes {
    /// Of one of so many shards, at which an address may have `per_address` connections in all.
    pub(super) fn new(per_address: usize, shards: usize) -> Self {
        let share = |limit| share_of(limit, shards);
        let a_second = share((Duration::from_secs(1).as_millis() / EVERY_OF_ADDRESS.as_millis()) as usize);
        Self {
            streams: RateLimits(RefCell::default()),
            addresses: RateLimits(RefCell::default()),
            burst_of_address: u32::try_from(share(per_address)).unwrap_or(u32::MAX).max(BURST),
            every_of_address: Duration::from_secs(1) / u32::try_from(a_second).unwrap_or(1).max(1),
        }
    }

    /// One more publish of a stream, from an address: how long it has to wait; `None`: it is refused.
    pub(crate) fn publish(&self, id: &Id, address: IpAddr, now: Time) -> Option<Duration> {
        let of_address = self.addresses.take(counted(address), now, self.every_of_address, self.burst_of_address);
        let of_stream = self.streams.take(id.clone(), now, EVERY, BURST);
        Some(of_address?.max(of_stream?))
    }

    /// Forgets those whose budget is whole.
    pub(super) fn sweep(&self, now: Time) {
        self.streams.sweep(now);
        self.addresses.sweep(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_connection_publishes_at_once_for_a_while_and_then_once_a_second() {
        let mut budget = OfConnection::default();
        for _ in 0..BURST {
            assert_eq!(budget.publish(at(5)), Turn { wait: Duration::ZERO, is_news: false });
        }
        assert!(!budget.is_slowed());
        assert_eq!(budget.publish(at(5)), Turn { wait: EVERY, is_news: true });
        assert_eq!(budget.publish(at(1_005)), Turn { wait: EVERY, is_news: false });
        assert!(budget.is_slowed());
        // Once it behaves, it is as it was.
        assert_eq!(budget.publish(at(60_000)), Turn { wait: Duration::ZERO, is_news: false });
        assert!(!budget.is_slowed());
    }

    #[test]
    fn ten_seconds_of_publishes_of_one_stream_are_thirty_and_others_feel_nothing() {
        let publishes = Publishes::new(2_000, 1);
        let (flood, other) = (Id::new("flood").unwrap(), Id::new("other").unwrap());
        let attacker = "192.0.2.1".parse().unwrap();
        let admitted = (0..10_000).filter(|ms| publishes.publish(&flood, attacker, at(*ms)).is_some()).count();
        assert!((29..=32).contains(&admitted), "{admitted}");
        assert_eq!(publishes.publish(&other, "192.0.2.2".parse().unwrap(), at(10_000)), Some(Duration::ZERO));
        publishes.sweep(at(60_000));
        assert!(publishes.streams.0.borrow().is_empty() && publishes.addresses.0.borrow().is_empty());
    }

    #[test]
    fn an_address_that_makes_up_streams_has_a_budget_too() {
        let publishes = Publishes::new(100, 1);
        let names = (0..10_000_u64).map(|n| Id::new(&format!("s{n}")).unwrap());
        let one = "2001:db8::1".parse().unwrap();
        let admitted = names.zip(0..).filter(|(id, ms)| publishes.publish(id, one, at(*ms)).is_some()).count();
        assert!((590..=660).contains(&admitted), "{admitted}");
        // Its neighbour in the /64 is the same peer; another network is not.
        let late = Id::new("late").unwrap();
        assert!(
            publishes.publish(&late, "2001:db8::2".parse().unwrap(), at(10_000)).is_none_or(|wait| !wait.is_zero())
        );
        assert_eq!(publishes.publish(&late, "2001:db8:1::2".parse().unwrap(), at(10_000)), Some(Duration::ZERO));
    }
}
