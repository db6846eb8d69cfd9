//! Places of the control port's connections. One who opens many takes places from nobody else: when they run out, a connection that waits
//! for a request or for the rest of one, or that does not read its answer, gives way, of the address that has most. The bytes of answers that
//! wait to be read are bounded the same way. A connection on which a node has shown its token is counted apart, and never gives way. Before it: [`super::serve`]; after it: the sockets.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream_proto::network::counted;
use tokio::sync::Notify;

/// Connections of nodes. A node has two or three; the number bounds what a thief of a token can open.
const NODES_MAX: usize = 4_096;
/// Bytes of long answers that may wait to be read, of all connections together but those of nodes.
const HELD_BYTES_MAX: usize = 64 << 20;
/// Of those, of one address.
const HELD_BYTES_PER_ADDRESS_MAX: usize = 16 << 20;
/// Answers of so many bytes always have room: with the number of connections, those are bounded as well.
const SHORT_ANSWER_BYTES: usize = 64 << 10;
/// A connection that has not read its answer for so long may give way.
const STALLED: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Slot {
    /// `None`: a proxy's, which counts for no address.
    address: Option<IpAddr>,
    /// It waits for a request's head or body since then; `None`: it has a request under way that is here as a whole.
    waits: Option<Instant>,
    /// It cannot be written to since then.
    stalls: Option<Instant>,
    is_node: bool,
    /// Bytes of its answer that are not written yet.
    held: usize,
    end: Arc<Notify>,
}

/// Why there is no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    /// All are taken, by requests that are under way.
    All,
    /// This address has as many as one may have.
    Address,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    slots: HashMap<u64, Slot>,
    /// Connections of each address, and requests that proxies pass on for it.
    of_address: HashMap<IpAddr, usize>,
    nodes: usize,
    /// Bytes of answers that wait to be read, those of nodes apart; and of each address that has some.
    held: usize,
    held_by: HashMap<IpAddr, usize>,
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    inner: Mutex<Inner>,
    most: usize,
    most_of_address: usize,
}

impl Places {
    pub(super) fn new(most: usize, most_of_address: usize) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), most, most_of_address })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Counts are whole between any two steps.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection of this address, or of a proxy; and whether another one had to give way for it.
    pub(super) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<(Place, bool), Full> {
        let address = address.map(counted);
        let mut inner = self.lock();
        let mut gave_way = false;
        if address.is_some_and(|address| inner.count_of(address) >= self.most_of_address) {
            gave_way = inner.make_room(address).then_some(true).ok_or(Full::Address)?;
        } else if inner.slots.len() - inner.nodes >= self.most {
            gave_way = inner.make_room(None).then_some(true).ok_or(Full::All)?;
        }
        inner.last += 1;
        let (number, end) = (inner.last, Arc::new(Notify::new()));
        let waits = Some(Instant::now());
        let slot = Slot { address, waits, stalls: None, is_node: false, held: 0, end: Arc::clone(&end) };
        inner.slots.insert(number, slot);
        inner.count(address);
        drop(inner);
        Ok((Place { places: Arc::clone(self), number, end, held: AtomicBool::new(false) }, gave_way))
    }

    /// A request that a proxy passes on for an address; `None`: that has as many under way as it may have.
    pub(super) fn serve(self: &Arc<Self>, address: IpAddr) -> Option<Served> {
        let address = counted(address);
        let mut inner = self.lock();
        (inner.count_of(address) < self.most_of_address).then(|| {
            inner.count(Some(address));
            Served { places: Arc::clone(self), address }
        })
    }

    #[cfg(test)]
    fn counts(&self) -> (usize, usize, usize) {
        let inner = self.lock();
        (inner.slots.len(), inner.nodes, inner.of_address.len())
    }
}

impl Inner {
    fn count_of(&self, address: IpAddr) -> usize {
        self.of_address.get(&address).copied().unwrap_or(0)
    }

    fn count(&mut self, address: Option<IpAddr>) {
        if let Some(address) = address {
            *self.of_address.entry(address).or_default() += 1;
        }
    }

    fn uncount(&mut self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        if let Some(count) = self.of_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.of_address.remove(&address);
            }
        }
    }

    /// Ends the connection that has waited longest, of this address or of the one that has most. False: there is none.
    fn make_room(&mut self, of: Option<IpAddr>) -> bool {
        let now = Instant::now();
        let stalls = |slot: &Slot| slot.stalls.filter(|since| now.duration_since(*since) >= STALLED);
        let since = |slot: &Slot| slot.waits.or_else(|| stalls(slot));
        let mine = |slot: &Slot| !slot.is_node && (of.is_none() || slot.address == of);
        let candidates = self.slots.iter().filter(|(_, slot)| mine(slot));
        let candidates = candidates.filter_map(|(number, slot)| Some((*number, slot.address, since(slot)?)));
        let worst = candidates.max_by_key(|(number, address, since)| {
            (address.map_or(0, |address| self.count_of(address)), std::cmp::Reverse((*since, *number)))
        });
        let Some((number, _, _)) = worst else { return false };
        self.leave(number);
        true
    }

    /// A connection holds so many bytes of an answer from here on.
    fn set_held(&mut self, number: u64, bytes: usize) {
        let Some(slot) = self.slots.get_mut(&number).filter(|slot| !slot.is_node) else { return };
        let before = std::mem::replace(&mut slot.held, bytes);
        self.held = self.held - before + bytes;
        if let Some(address) = slot.address {
            let by = self.held_by.entry(address).or_default();
            *by = *by - before + bytes;
            if *by == 0 {
                self.held_by.remove(&address);
            }
        }
    }

    /// Whether so many bytes more find room, of this address and in all. One answer has it always, whatever its length.
    fn has_room(&self, address: Option<IpAddr>, bytes: usize) -> bool {
        let own = address.and_then(|address| self.held_by.get(&address)).copied().unwrap_or(0);
        let fits = |held: usize, most: usize| held == 0 || held + bytes <= most;
        fits(own, HELD_BYTES_PER_ADDRESS_MAX) && fits(self.held, HELD_BYTES_MAX)
    }

    /// Ends the connection that has held most for too long, of this address or of the one that holds most. False: there is none.
    fn make_room_for_bytes(&mut self, of: Option<IpAddr>, but: u64) -> bool {
        let now = Instant::now();
        let stalls = |slot: &Slot| slot.stalls.is_some_and(|since| now.duration_since(since) >= STALLED);
        let mine = |slot: &Slot| !slot.is_node && slot.held > 0 && (of.is_none() || slot.address == of);
        let candidates = self.slots.iter().filter(|(number, slot)| **number != but && mine(slot) && stalls(slot));
        let by = |slot: &Slot| slot.address.and_then(|address| self.held_by.get(&address)).copied().unwrap_or(0);
        let worst = candidates.max_by_key(|(number, slot)| (by(slot), slot.held, std::cmp::Reverse(**number)));
        let Some((number, _)) = worst else { return false };
        let number = *number;
        self.leave(number);
        true
    }

    fn leave(&mut self, number: u64) {
        self.set_held(number, 0);
        if let Some(slot) = self.slots.remove(&number) {
            slot.end.notify_one();
            if slot.is_node {
                self.nodes -= 1;
            } else {
                self.uncount(slot.address);
            }
        }
    }
}

/// A connection's place, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    end: Arc<Notify>,
    /// Whether bytes of an answer are counted for it.
    held: AtomicBool,
}

impl Place {
    /// Waits until it has to give way.
    pub(super) async fn gives_way(&self) {
        self.end.notified().await;
    }

    /// It waits for a request or for the rest of one, or has one under way.
    pub(super) fn set_waits(&self, waits: bool) {
        if let Some(slot) = self.places.lock().slots.get_mut(&self.number) {
            slot.waits = waits.then(Instant::now);
        }
    }

    /// It does not read, or does again.
    pub(super) fn set_stalls(&self, stalls: bool) {
        if let Some(slot) = self.places.lock().slots.get_mut(&self.number) {
            slot.stalls = stalls.then(Instant::now);
        }
    }

    /// Its answer has so many bytes. False: they find no room, because of answers that others, or others of its address, do not read.
    pub(super) fn holds(&self, bytes: usize) -> bool {
        let mut inner = self.places.lock();
        let Some(slot) = inner.slots.get(&self.number) else { return false };
        if slot.is_node {
            return true;
        }
        let (address, before) = (slot.address, slot.held);
        let more = bytes.saturating_sub(before);
        while more > SHORT_ANSWER_BYTES && !inner.has_room(address, more) {
            let own = address.filter(|address| {
                inner.held_by.get(address).is_some_and(|held| *held > 0 && held + more > HELD_BYTES_PER_ADDRESS_MAX)
            });
            if !inner.make_room_for_bytes(own, self.number) {
                return false;
            }
        }
        inner.set_held(self.number, bytes);
        drop(inner);
        self.held.store(bytes > 0, Ordering::Relaxed);
        true
    }

    /// All of its answer so far is written.
    pub(super) fn is_written(&self) {
        if self.held.swap(false, Ordering::Relaxed) {
            self.places.lock().set_held(self.number, 0);
        }
    }

    /// A node has shown its token on it.
    pub(super) fn is_nodes(&self) {
        let mut inner = self.places.lock();
        if inner.nodes >= NODES_MAX {
            return;
        }
        inner.set_held(self.number, 0);
        let Some(slot) = inner.slots.get_mut(&self.number).filter(|slot| !slot.is_node) else { return };
        slot.is_node = true;
        let address = slot.address;
        inner.nodes += 1;
        inner.uncount(address);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().leave(self.number);
    }
}

/// A request that a proxy has passed on, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Served {
    places: Arc<Places>,
    address: IpAddr,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.places.lock().uncount(Some(self.address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ended(place: &Place) -> bool {
        !place.places.lock().slots.contains_key(&place.number)
    }

    #[test]
    fn who_has_most_gives_way_and_never_a_node_or_a_request() {
        let places = Places::new(6, 4);
        let take = |text: &str| places.take(Some(address(text))).unwrap();
        let (node, _) = take("192.0.2.9");
        node.is_nodes();
        node.is_nodes();
        let (other, _) = take("198.51.100.1");
        let crowd: Vec<Place> = (0..4).map(|_| take("192.0.2.9").0).collect();
        assert_eq!(places.counts(), (6, 1, 2));
        // One more of the same: its own oldest goes.
        let (fifth, gave_way) = take("192.0.2.9");
        assert!(gave_way && ended(&crowd[0]) && !ended(&other) && !ended(&node));
        let (_sixth, gave_way) = take("203.0.113.1");
        assert!(!gave_way);
        // All six are taken: the crowd gives way, but not where it has a request under way.
        crowd[1].set_waits(false);
        let (_last, gave_way) = take("203.0.113.2");
        assert!(gave_way && !ended(&crowd[1]) && ended(&crowd[2]) && !ended(&other));
        drop((fifth, crowd, other, node));
        assert_eq!(places.counts(), (2, 0, 2));
    }

    #[test]
    fn answers_that_nobody_reads_are_bounded_and_the_oldest_stalled_ones_give_way() {
        const MIB: usize = 1 << 20;
        let places = Places::new(500, 200);
        let take = |text: &str| places.take(Some(address(text))).unwrap().0;
        let crowd: Vec<Place> = (0..16).map(|_| take("192.0.2.9")).collect();
        assert!(crowd.iter().all(|place| place.holds(MIB)));
        // One address has its share, and nobody else is harmed by it.
        let one_more = take("192.0.2.9");
        assert!(!one_more.holds(MIB) && one_more.holds(SHORT_ANSWER_BYTES));
        one_more.is_written();
        let other = take("198.51.100.1");
        assert!(other.holds(30 * MIB) && !other.holds(80 * MIB));
        other.is_written();
        // Who reads has room again; who has not for a while gives way.
        crowd[3].is_written();
        assert!(one_more.holds(MIB));
        one_more.is_written();
        assert!(crowd[3].holds(MIB));
        crowd[5].set_stalls(true);
        places.lock().slots.get_mut(&crowd[5].number).unwrap().stalls = Instant::now().checked_sub(STALLED);
        assert!(one_more.holds(MIB) && ended(&crowd[5]));
        // All together.
        let many: Vec<Place> =
            (1..=3).flat_map(|n| (0..16).map(move |_| n)).map(|n| take(&format!("203.0.113.{n}"))).collect();
        assert!(many.iter().all(|place| place.holds(MIB)));
        assert!(!other.holds(MIB));
        let node = take("198.51.100.7");
        node.is_nodes();
        assert!(node.holds(100 * MIB));
        drop((crowd, many, one_more, other, node));
        let inner = places.lock();
        assert!(inner.held == 0 && inner.held_by.is_empty());
    }

    #[test]
    fn requests_that_are_under_way_keep_their_places_and_one_address_has_no_more_than_its_share() {
        let places = Places::new(100, 3);
        let working: Vec<Place> = (0..3).map(|_| places.take(Some(address("2001:db8::1"))).unwrap().0).collect();
        for place in &working {
            place.set_waits(false);
        }
        assert_eq!(places.take(Some(address("2001:db8::2"))).unwrap_err(), Full::Address);
        assert!(places.take(Some(address("2001:db8:1::2"))).is_ok());
        // What proxies pass on counts for whom it is for.
        assert!(places.serve("2001:db8::3".parse().unwrap()).is_none());
        let many: Vec<Place> = (0..50).map(|_| places.take(None).unwrap().0).collect();
        let served = places.serve("198.51.100.1".parse().unwrap()).unwrap();
        drop((many, working, served));
        assert_eq!(places.counts(), (0, 0, 0));
    }
}
