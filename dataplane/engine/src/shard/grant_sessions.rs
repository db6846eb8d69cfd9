//! Sessions of viewers that play by a grant: what each of them holds (a place among a hook's), for as long as its newest grant admits, and the
//! connections that end with it. Before it: [`crate::egress::grant`], which makes grants; after it: the sweep. Other shards are told of renewals by
//! mailbox, since a viewer's connections come to any.
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use millstream_policy::Held;
use millstream_proto::network::counted;
use millstream_proto::sign::grant::GrantSession;
use millstream_proto::time::Time;

use super::grant_connections::{Connections, Joined};
use super::session::Session;

/// Sessions of a shard that are remembered.
const SESSIONS_LEN_MAX: usize = 65_536;
/// Of those, of one address: many viewers may be behind one.
const SESSIONS_PER_ADDRESS_MAX: usize = 8_192;

/// When a session was renewed, and at which shard: of two renewals at the same moment all shards take the same one for the newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Renewal {
    pub(crate) at: Time,
    pub(crate) shard: usize,
}

/// What a session holds from a renewal on.
pub(crate) enum Holds {
    /// What it holds already: nobody could decide about it.
    AsBefore,
    /// This; nothing, where another shard has it now.
    This(Option<Held>),
}

struct Entry {
    until: Time,
    /// The newest that is known.
    renewal: Renewal,
    /// Given back when this is dropped.
    held: Option<Held>,
    connections: Connections<Session>,
    address: IpAddr,
}

/// What a shard tells the others of a session's connections there.
#[derive(Clone, Debug)]
pub(crate) struct Playing {
    pub(crate) name: GrantSession,
    /// All of them.
    pub(crate) joined: Vec<Joined>,
    pub(crate) until: Time,
    pub(crate) address: IpAddr,
}

/// The sessions that a shard knows of.
#[derive(Default)]
pub(crate) struct GrantSessions(RefCell<Inner>);

#[derive(Default)]
struct Inner {
    entries: HashMap<GrantSession, Entry>,
    of_address: HashMap<IpAddr, usize>,
}

impl GrantSessions {
    /// A session is admitted up to that moment, unless a newer renewal is known. False: there is no room for it.
    pub(crate) fn renew(
        &self,
        name: GrantSession,
        renewal: Renewal,
        until: Time,
        holds: Holds,
        address: IpAddr,
        now: Time,
    ) -> bool {
        let before = {
            let inner = &mut *self.0.borrow_mut();
            // Nothing has to be remembered of a session that holds nothing and plays nothing here.
            if !matches!(holds, Holds::This(Some(_))) && !inner.entries.contains_key(&name) {
                return true;
            }
            let Some(entry) = inner.entry(name, until, address, now) else { return false };
            if renewal < entry.renewal {
                return true;
            }
            (entry.renewal, entry.until) = (renewal, until);
            for connection in entry.connections.here() {
                connection.granted.borrow_mut().until = Some(until);
            }
            match holds {
                Holds::AsBefore => None,
                Holds::This(held) => std::mem::replace(&mut entry.held, held),
            }
        };
        // What was held before is given back only now that its successor is held.
        drop(before);
        true
    }

    /// A connection plays as this session, up to its end, which renewals move; gives what the other shards are to be told. `None`: as many do as may, at
    /// all shards together, or there is no room.
    pub(crate) fn join(&self, name: GrantSession, until: Time, session: &Rc<Session>, now: Time) -> Option<Playing> {
        let inner = &mut *self.0.borrow_mut();
        let entry = inner.entry(name, until, session.peer().ip(), now)?;
        if !entry.connections.join(Joined { at: now, number: session.number }, session) {
            return None;
        }
        // Another connection may have shown a newer grant.
        entry.until = entry.until.max(until);
        session.granted.borrow_mut().until = Some(entry.until);
        Some(entry.playing(name))
    }

    /// Another shard has these connections of a session; gives those here that are too many. Without room they are not counted.
    pub(super) fn hear(&self, shard: usize, playing: &Playing, now: Time) -> Vec<Rc<Session>> {
        let inner = &mut *self.0.borrow_mut();
        let Playing { name, ref joined, until, address } = *playing;
        if joined.is_empty() && !inner.entries.contains_key(&name) {
            return Vec::new();
        }
        let Some(entry) = inner.entry(name, until, address, now) else { return Vec::new() };
        // Its connections there may have shown a newer grant.
        entry.until = entry.until.max(until);
        entry.connections.hear(shard, joined)
    }

    /// Another shard has no room to hear of it: it is told again with the next sweep.
    pub(super) fn not_told(&self, name: GrantSession) {
        if let Some(entry) = self.0.borrow_mut().entries.get_mut(&name) {
            entry.connections.not_told();
        }
    }

    /// Forgets what is over; gives what the other shards are to be told.
    pub(super) fn sweep(&self, now: Time) -> Vec<Playing> {
        let mut inner = self.0.borrow_mut();
        let over = inner.take_over(now);
        let untold = inner.entries.iter_mut();
        let changed = untold.filter_map(|(name, entry)| entry.connections.is_untold().then(|| entry.playing(*name)));
        let changed = changed.collect();
        drop(inner);
        drop(over);
        changed
    }
}

impl Entry {
    fn playing(&mut self, name: GrantSession) -> Playing {
        Playing { name, joined: self.connections.tell(), until: self.until, address: self.address }
    }
}

impl Inner {
    fn entry(&mut self, name: GrantSession, until: Time, address: IpAddr, now: Time) -> Option<&mut Entry> {
        let address = counted(address);
        if !self.entries.contains_key(&name) {
            let is_full = |inner: &Self| {
                let own = inner.of_address.get(&address).copied().unwrap_or(0);
                own >= SESSIONS_PER_ADDRESS_MAX || inner.entries.len() >= SESSIONS_LEN_MAX
            };
            if is_full(self) {
                drop(self.take_over(now));
            }
            if is_full(self) {
                return None;
            }
            *self.of_address.entry(address).or_default() += 1;
        }
        let new =
            || Entry { until, renewal: Renewal::default(), held: None, connections: Connections::default(), address };
        Some(self.entries.entry(name).or_insert_with(new))
    }

    /// Takes out those that are over.
    fn take_over(&mut self, now: Time) -> Vec<Entry> {
        let over: Vec<Entry> = self.entries.extract_if(|_, entry| entry.until <= now).map(|(_, entry)| entry).collect();
        for entry in &over {
            if let Some(count) = self.of_address.get_mut(&entry.address) {
                *count -= 1;
                if *count == 0 {
                    self.of_address.remove(&entry.address);
                }
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Place(Arc<AtomicUsize>);

    impl Drop for Place {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn name(number: u32) -> GrantSession {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        GrantSession::new(bytes)
    }

    #[test]
    fn what_a_session_holds_is_given_back_when_its_newest_grant_is_over() {
        let (sessions, places, at) = (GrantSessions::default(), Arc::<AtomicUsize>::default(), Time::from_millis);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let renew = |number, until, now| {
            places.fetch_add(1, Ordering::Relaxed);
            let held = Held::new(Place(Arc::clone(&places)));
            let renewal = Renewal { at: at(now), shard: 0 };
            assert!(sessions.renew(name(number), renewal, at(until), Holds::This(Some(held)), address, at(now)));
        };
        renew(1, 1_000, 0);
        renew(2, 1_500, 0);
        renew(1, 2_000, 900);
        assert_eq!(places.load(Ordering::Relaxed), 2, "what a renewal replaces is given back");
        assert!(sessions.sweep(at(1_500)).is_empty());
        assert_eq!(places.load(Ordering::Relaxed), 1);
        // Nobody could decide: it goes on with what it has.
        let undecided = Renewal { at: at(1_550), shard: 1 };
        assert!(sessions.renew(name(1), undecided, at(2_100), Holds::AsBefore, address, at(1_550)));
        assert!(sessions.sweep(at(2_050)).is_empty());
        assert_eq!(places.load(Ordering::Relaxed), 1);
        // Another shard has asked: the place is there.
        let elsewhere = |ms| Renewal { at: at(ms), shard: 1 };
        assert!(sessions.renew(name(1), elsewhere(1_600), at(2_500), Holds::This(None), address, at(1_600)));
        assert_eq!(places.load(Ordering::Relaxed), 0);
        assert!(sessions.sweep(at(2_500)).is_empty());
        let inner = sessions.0.borrow();
        assert!(inner.entries.is_empty() && inner.of_address.is_empty());
    }

    #[test]
    fn of_two_renewals_at_the_same_moment_all_shards_keep_the_same() {
        let at = Time::from_millis;
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        for (first, second) in [(5, 6), (6, 5), (5, 5)] {
            let shards = [(); 2].map(|()| GrantSessions::default());
            let places = Arc::<AtomicUsize>::default();
            let stamps = [first, second].map(at);
            let of = |shard: usize| Renewal { at: stamps[shard], shard };
            for (shard, sessions) in shards.iter().enumerate() {
                places.fetch_add(1, Ordering::Relaxed);
                let held = Some(Held::new(Place(Arc::clone(&places))));
                assert!(sessions.renew(
                    name(1),
                    of(shard),
                    at(1_000 + shard as u64),
                    Holds::This(held),
                    address,
                    at(7)
                ));
            }
            // Each hears of the other's.
            for (shard, sessions) in shards.iter().enumerate() {
                let other = 1 - shard;
                assert!(sessions.renew(
                    name(1),
                    of(other),
                    at(1_000 + other as u64),
                    Holds::This(None),
                    address,
                    at(8)
                ));
            }
            assert_eq!(places.load(Ordering::Relaxed), 1, "the newer one is kept, at {first} and {second}");
        }
    }

    #[test]
    fn a_session_that_holds_nothing_and_plays_nothing_takes_no_room() {
        let (sessions, at) = (GrantSessions::default(), Time::from_millis);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(sessions.renew(name(1), Renewal::default(), at(1_000), Holds::This(None), address, at(0)));
        assert!(sessions.0.borrow().entries.is_empty());
    }

    #[test]
    fn one_address_takes_nothing_from_others() {
        let (sessions, at) = (GrantSessions::default(), Time::from_millis);
        let renew = |number, address: u32, now: u64| {
            let held = Some(Held::new(()));
            let renewal = Renewal { at: at(now), shard: 0 };
            sessions.renew(
                name(number),
                renewal,
                at(now + 1_000),
                Holds::This(held),
                Ipv4Addr::from(address).into(),
                at(now),
            )
        };
        for number in 0..SESSIONS_PER_ADDRESS_MAX as u32 {
            assert!(renew(number, 1, 0));
        }
        assert!(!renew(u32::MAX, 1, 0), "one more of the same address");
        assert!(renew(0, 1, 0), "one that is known");
        assert!(renew(u32::MAX, 2, 0));
        assert!(renew(u32::MAX - 1, 1, 1_000), "those that are over give way");
    }

    #[test]
    fn connections_of_other_shards_are_remembered_until_the_grant_is_over_and_told_again_where_they_were_not() {
        let (sessions, at) = (GrantSessions::default(), Time::from_millis);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let playing = |joined: &[u64], until| Playing {
            name: name(1),
            joined: joined.iter().map(|number| Joined { at: at(*number), number: *number }).collect(),
            until: at(until),
            address,
        };
        assert!(sessions.hear(1, &playing(&[], 1_000), at(0)).is_empty());
        assert!(sessions.0.borrow().entries.is_empty(), "nothing plays");
        assert!(sessions.hear(1, &playing(&[1, 2], 1_000), at(0)).is_empty());
        assert!(sessions.sweep(at(10)).is_empty());
        sessions.not_told(name(1));
        assert_eq!(sessions.sweep(at(20)).len(), 1);
        assert!(sessions.sweep(at(30)).is_empty());
        sessions.sweep(at(1_000));
        assert!(sessions.0.borrow().entries.is_empty());
    }
}
