//! What is kept of the past, bounded by bytes and by age: the oldest goes first. While an address or a stream has more than a share of the room, the oldest of
//! whoever has most makes room, so that nobody pushes out what is kept of others. No clock and no lock. Before it and after it: [`super::recorder`].
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use millstream_proto::id::Id;

/// Of the room an address has at most one part in so many before its items make room for new ones, whoever's these are.
const ADDRESS_SHARE: usize = 16;
/// The same for a stream.
const STREAM_SHARE: usize = 4;
/// What keeping an item costs beside it: its places in the maps.
const ITEM_BYTES: usize = 320;

/// Whose an item is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    /// The peer's address, as peers are counted ([`millstream_proto::network::counted`]).
    pub address: IpAddr,
    /// The stream.
    pub stream: Id,
}

/// Items that were dropped before their time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// The oldest of all.
    pub oldest: u64,
    /// Those of an address or a stream that had more than its share.
    pub over_share: u64,
}

/// Items of the past, oldest first.
#[derive(Debug)]
pub struct Ring<T> {
    bytes_max: usize,
    age_max: Duration,
    bytes: usize,
    next: u64,
    items: BTreeMap<u64, Item<T>>,
    of_address: Shares<IpAddr>,
    of_stream: Shares<Id>,
}

#[derive(Debug)]
struct Item<T> {
    value: T,
    owner: Owner,
    bytes: usize,
    at: Duration,
}

/// What each has of the room.
#[derive(Debug)]
struct Shares<K> {
    of: HashMap<K, Share>,
    by_bytes: BTreeSet<(usize, K)>,
}

#[derive(Debug, Default)]
struct Share {
    bytes: usize,
    items: BTreeSet<u64>,
}

impl<K: Hash + Ord + Clone> Shares<K> {
    fn new() -> Self {
        Self { of: HashMap::new(), by_bytes: BTreeSet::new() }
    }

    fn add(&mut self, key: &K, number: u64, bytes: usize) {
        let share = self.of.entry(key.clone()).or_default();
        self.by_bytes.remove(&(share.bytes, key.clone()));
        share.bytes += bytes;
        share.items.insert(number);
        self.by_bytes.insert((share.bytes, key.clone()));
    }

    fn remove(&mut self, key: &K, number: u64, bytes: usize) {
        let Some(share) = self.of.get_mut(key) else { return };
        self.by_bytes.remove(&(share.bytes, key.clone()));
        share.items.remove(&number);
        share.bytes -= bytes;
        if share.items.is_empty() {
            self.of.remove(key);
        } else {
            self.by_bytes.insert((share.bytes, key.clone()));
        }
    }

    /// The oldest item of whoever has most, where that is more than this.
    fn oldest_of_largest(&self, more_than: usize) -> Option<u64> {
        let (_, key) = self.by_bytes.last().filter(|(bytes, _)| *bytes > more_than)?;
        self.of.get(key)?.items.first().copied()
    }
}

impl<T> Ring<T> {
    /// With this much room, for items that are not older than this.
    pub fn new(bytes_max: usize, age_max: Duration) -> Self {
        Self {
            bytes_max,
            age_max,
            bytes: 0,
            next: 0,
            items: BTreeMap::new(),
            of_address: Shares::new(),
            of_stream: Shares::new(),
        }
    }

    /// Adds an item of so many bytes. `now`: since a beginning of the caller's; it does not go back. One that is larger than all room is dropped.
    pub fn push(&mut self, value: T, owner: Owner, bytes: usize, now: Duration) -> Dropped {
        self.expire(now);
        let (bytes, mut dropped) = (bytes.saturating_add(ITEM_BYTES), Dropped::default());
        if bytes > self.bytes_max {
            dropped.over_share += 1;
            return dropped;
        }
        while self.bytes + bytes > self.bytes_max {
            let over_share = self.over_share();
            let Some(number) = over_share.or_else(|| self.items.keys().next().copied()) else { break };
            self.remove(number);
            *(if over_share.is_some() { &mut dropped.over_share } else { &mut dropped.oldest }) += 1;
        }
        let number = self.next;
        self.next += 1;
        self.bytes += bytes;
        self.of_address.add(&owner.address, number, bytes);
        self.of_stream.add(&owner.stream, number, bytes);
        self.items.insert(number, Item { value, owner, bytes, at: now });
        dropped
    }

    /// The oldest item of the address, or else of the stream, that has most, where that is more than a share.
    fn over_share(&self) -> Option<u64> {
        let of_address = self.of_address.oldest_of_largest(self.bytes_max / ADDRESS_SHARE);
        of_address.or_else(|| self.of_stream.oldest_of_largest(self.bytes_max / STREAM_SHARE))
    }

    /// Drops what is too old.
    pub fn expire(&mut self, now: Duration) {
        while let Some((number, item)) = self.items.first_key_value() {
            if now.saturating_sub(item.at) < self.age_max {
                return;
            }
            let number = *number;
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(item) = self.items.remove(&number) else { return };
        self.bytes -= item.bytes;
        self.of_address.remove(&item.owner.address, number, item.bytes);
        self.of_stream.remove(&item.owner.stream, number, item.bytes);
    }

    /// All items, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.values().map(|item| &item.value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DAY: Duration = Duration::from_hours(24);
    /// With this much of its own an item takes 1,024 bytes.
    const BYTES: usize = 1024 - ITEM_BYTES;

    fn owner(address: u8, stream: &str) -> Owner {
        Owner { address: Ipv4Addr::new(10, 0, 0, address).into(), stream: Id::new(stream).unwrap() }
    }

    fn values(ring: &Ring<u32>) -> Vec<u32> {
        ring.iter().copied().collect()
    }

    #[test]
    fn the_oldest_go_first_by_room_and_by_age() {
        let mut ring = Ring::new(32 * 1024, DAY);
        for n in 0..34 {
            let from = u8::try_from(n).unwrap();
            let dropped = ring.push(n, owner(from, &format!("s{n}")), BYTES, SECOND * n);
            assert_eq!(dropped, Dropped { oldest: u64::from(n >= 32), over_share: 0 });
        }
        assert_eq!((values(&ring), ring.bytes()), ((2..34).collect(), 32 * 1024));
        ring.expire(DAY + SECOND * 31);
        assert_eq!(values(&ring), [32, 33], "those of 24 hours are gone");
        ring.push(34, owner(1, "s"), BYTES, DAY + SECOND * 32);
        assert_eq!(values(&ring), [33, 34]);
        ring.expire(DAY * 3);
        assert!(
            ring.is_empty() && ring.bytes() == 0 && ring.of_address.of.is_empty() && ring.of_stream.by_bytes.is_empty()
        );
    }

    #[test]
    fn one_large_item_does_not_empty_the_ring() {
        let mut ring = Ring::new(8 * 1024, DAY);
        ring.push(1, owner(1, "a"), BYTES, SECOND);
        assert_eq!(ring.push(2, owner(2, "a"), 8 * 1024, SECOND).over_share, 1);
        assert_eq!(ring.push(3, owner(2, "a"), usize::MAX, SECOND).over_share, 1);
        assert_eq!(values(&ring), [1]);
    }

    #[test]
    fn an_address_that_hammers_pays_for_all() {
        let mut ring = Ring::new(64 * 1024, DAY);
        // Whoever is alone has all of it.
        for n in 0..1_000 {
            ring.push(n, owner(66, &format!("s{}", n % 9)), BYTES, SECOND);
        }
        assert_eq!(ring.len(), 64);
        let mut wanted = Vec::new();
        for n in 2_000..2_045_u32 {
            // Others, who come seldom: nothing of theirs goes while the one that hammers has more.
            ring.push(n, owner(u8::try_from(n % 15).unwrap(), &format!("s{}", n % 9)), BYTES, SECOND);
            wanted.push(n);
            for hammer in 0..100 {
                ring.push(hammer, owner(66, &format!("s{}", hammer % 9)), BYTES, SECOND);
            }
        }
        let of_others: Vec<u32> = values(&ring).into_iter().filter(|n| *n >= 2_000).collect();
        assert_eq!((ring.len(), of_others), (64, wanted));
    }

    #[test]
    fn a_crowd_on_one_stream_leaves_three_quarters_to_others() {
        let mut ring = Ring::new(64 * 1024, DAY);
        for n in 0..48_u8 {
            ring.push(u32::from(n), owner(n, &format!("s{n}")), BYTES, SECOND);
        }
        for n in 0..10_000_u32 {
            let from = Owner { address: Ipv4Addr::from(n).into(), stream: Id::new("crowd").unwrap() };
            ring.push(100 + n, from, BYTES, SECOND);
        }
        let others = values(&ring).into_iter().filter(|n| *n < 100).count();
        assert_eq!((ring.len(), others), (64, 47), "one made room while the crowd was within its share");
    }

    /// Whatever is added by whomever, the bounds hold, the order stays, and the shares add up.
    #[test]
    fn bounds_and_order_hold_for_any_items() {
        let mut seed = 7_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..50 {
            let room = 1024 * (1 + random(40) as usize);
            let age = Duration::from_secs(1 + random(100));
            let (mut ring, mut now) = (Ring::new(room, age), Duration::ZERO);
            for n in 0..400 {
                now += Duration::from_millis(random(3_000));
                let own = owner(random(6) as u8, &format!("s{}", random(4)));
                ring.push((n, now), own, random(3_000) as usize, now);
                assert!(ring.bytes() <= room, "{} of {room}", ring.bytes());
                let items: Vec<_> = ring.iter().copied().collect();
                assert!(items.is_sorted() && items.iter().all(|(_, at)| now.saturating_sub(*at) < age));
                let of_items: usize = ring.items.values().map(|item| item.bytes).sum();
                let of_addresses: usize = ring.of_address.by_bytes.iter().map(|(bytes, _)| bytes).sum();
                let of_streams: usize = ring.of_stream.of.values().map(|share| share.bytes).sum();
                assert_eq!([of_items, of_addresses, of_streams], [ring.bytes(); 3]);
            }
        }
    }
}
