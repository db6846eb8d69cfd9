//! Sessions of viewers that play by a grant: what each of them holds (a place among a hook's), for as long as its newest grant admits, and the
//! connections that end with it. Before it: [`crate::egress::grant`], which makes grants; after it: the sweep. Other shards are told of renewals by
//! mailbox, since a viewer's connections come to any.
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};

use millstream_policy::Held;
use millstream_proto::network::counted;
use millstream_proto::sign::grant::GrantSession;
use millstream_proto::time::Time;

use super::session::Session;

/// Sessions of a shard that are remembered.
const SESSIONS_LEN_MAX: usize = 65_536;
/// Of those, of one address: many viewers may be behind one.
const SESSIONS_PER_ADDRESS_MAX: usize = 1_024;
/// Connections of a session that play at the same time: a page that reconnects has two for a moment.
const CONNECTIONS_MAX: usize = 4;

struct Entry {
    until: Time,
    /// Given back when this is dropped.
    held: Option<Held>,
    connections: Vec<Weak<Session>>,
    address: IpAddr,
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
    /// A session is admitted up to that moment, and holds this from here on. False: there is no room for it.
    pub(crate) fn renew(
        &self,
        name: GrantSession,
        until: Time,
        held: Option<Held>,
        address: IpAddr,
        now: Time,
    ) -> bool {
        let before = {
            let inner = &mut *self.0.borrow_mut();
            let Some(entry) = inner.entry(name, until, address, now) else { return false };
            entry.until = until;
            for connection in entry.connections.iter().filter_map(Weak::upgrade) {
                connection.granted.borrow_mut().until = Some(until);
            }
            std::mem::replace(&mut entry.held, held)
        };
        // What was held before is given back only now that its successor is held.
        drop(before);
        true
    }

    /// A connection plays as this session, up to its end, which renewals move. False: as many do as may, or there is no room.
    pub(crate) fn join(&self, name: GrantSession, until: Time, session: &Rc<Session>, now: Time) -> bool {
        let inner = &mut *self.0.borrow_mut();
        let Some(entry) = inner.entry(name, until, session.peer().ip(), now) else { return false };
        entry.connections.retain(|connection| connection.strong_count() > 0);
        if entry.connections.len() >= CONNECTIONS_MAX {
            return false;
        }
        entry.connections.push(Rc::downgrade(session));
        // Another connection may have shown a newer grant.
        entry.until = entry.until.max(until);
        session.granted.borrow_mut().until = Some(entry.until);
        true
    }

    pub(super) fn sweep(&self, now: Time) {
        let over = self.0.borrow_mut().take_over(now);
        drop(over);
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
        let new = || Entry { until, held: None, connections: Vec::new(), address };
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
            assert!(sessions.renew(name(number), at(until), Some(held), address, at(now)));
        };
        renew(1, 1_000, 0);
        renew(2, 1_500, 0);
        renew(1, 2_000, 900);
        assert_eq!(places.load(Ordering::Relaxed), 2, "what a renewal replaces is given back");
        sessions.sweep(at(1_500));
        assert_eq!(places.load(Ordering::Relaxed), 1);
        // Another shard has asked: the place is there.
        assert!(sessions.renew(name(1), at(2_500), None, address, at(1_600)));
        assert_eq!(places.load(Ordering::Relaxed), 0);
        sessions.sweep(at(2_500));
        let inner = sessions.0.borrow();
        assert!(inner.entries.is_empty() && inner.of_address.is_empty());
    }

    #[test]
    fn one_address_takes_nothing_from_others() {
        let (sessions, at) = (GrantSessions::default(), Time::from_millis);
        let renew = |number, address: u32, now: u64| {
            sessions.renew(name(number), at(now + 1_000), None, Ipv4Addr::from(address).into(), at(now))
        };
        for number in 0..SESSIONS_PER_ADDRESS_MAX as u32 {
            assert!(renew(number, 1, 0));
        }
        assert!(!renew(u32::MAX, 1, 0), "one more of the same address");
        assert!(renew(0, 1, 0), "one that is known");
        assert!(renew(u32::MAX, 2, 0));
        assert!(renew(u32::MAX - 1, 1, 1_000), "those that are over give way");
    }
}
