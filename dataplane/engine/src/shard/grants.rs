//! Grants of viewers who have no session, those of HLS and DASH: the policy is asked with each of their playlists, and what it granted holds
//! for the files that those name. Before it: [`crate::egress::hls`]. The files may be asked for at another shard, which is told by mailbox.
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use millstream_proto::id::Id;
use millstream_proto::time::Time;

/// Grants of a shard that are remembered.
const GRANTS_LEN_MAX: usize = 65_536;
/// Of those, of one address: it can call itself what it likes.
const GRANTS_PER_ADDRESS_MAX: usize = 4_096;
/// A grant that is over is remembered this long: what its viewer's last playlist named is gone then.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// Other shards are told of a grant that was renewed once it is later than what they know by this part of what is left of it.
const TOLD_AGAIN_PART: u32 = 4;

/// A viewer, as far as one can be told from another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Viewer {
    /// Where it is.
    pub(crate) address: IpAddr,
    /// What it calls itself, as [`super::reached::hash`] has it.
    pub(crate) name: u64,
}

#[derive(Clone, Copy)]
struct Held {
    until: Time,
    /// What the other shards know.
    told: Time,
}

/// Grants that end some time.
#[derive(Default)]
pub(crate) struct Grants(RefCell<Inner>);

#[derive(Default)]
struct Inner {
    held: HashMap<(Id, Viewer), Held>,
    of_address: HashMap<IpAddr, usize>,
}

/// What came of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// It is kept; the other shards know enough of it.
    Here,
    /// It is kept; the other shards are to be told.
    Tell,
    /// There are as many as there may be, of this address or in all.
    Full,
}

impl Grants {
    /// This viewer is admitted up to that moment; `None`: for good. Of several who cannot be told apart, the longest grant counts.
    pub(crate) fn keep(&self, id: &Id, viewer: Viewer, until: Option<Time>, now: Time) -> Kept {
        let inner = &mut *self.0.borrow_mut();
        // Most policies grant for good: then there is nothing to look up.
        if until.is_none() && inner.held.is_empty() {
            return Kept::Here;
        }
        let key = (id.clone(), viewer);
        let Some(until) = until else { return if inner.remove(&key) { Kept::Tell } else { Kept::Here } };
        if !inner.held.contains_key(&key) {
            if inner.is_full(viewer.address) {
                inner.retain(|held| held.until > now);
            }
            if inner.is_full(viewer.address) {
                return Kept::Full;
            }
            *inner.of_address.entry(viewer.address).or_default() += 1;
        }
        let held = inner.held.entry(key).or_insert(Held { until, told: Time::ZERO });
        held.until = held.until.max(until);
        if held.until.since(held.told) > held.until.since(now) / TOLD_AGAIN_PART {
            held.told = held.until;
            Kept::Tell
        } else {
            Kept::Here
        }
    }

    /// Another shard could not be told: all of them are with the viewer's next playlist.
    pub(super) fn not_told(&self, id: &Id, viewer: Viewer) {
        if let Some(held) = self.0.borrow_mut().held.get_mut(&(id.clone(), viewer)) {
            held.told = Time::ZERO;
        }
    }

    /// Whether what this viewer was admitted for is over. Who is not known here was admitted for good.
    pub(crate) fn is_over(&self, id: &Id, viewer: impl FnOnce() -> Viewer, now: Time) -> bool {
        let held = &self.0.borrow().held;
        !held.is_empty() && held.get(&(id.clone(), viewer())).is_some_and(|held| held.until <= now)
    }

    /// Whether this viewer is known here, and admitted.
    pub(crate) fn is_known(&self, id: &Id, viewer: Viewer, now: Time) -> bool {
        self.0.borrow().held.get(&(id.clone(), viewer)).is_some_and(|held| held.until > now)
    }

    pub(super) fn sweep(&self, now: Time) {
        self.0.borrow_mut().retain(|held| held.until + FORGOTTEN_AFTER > now);
    }
}

impl Inner {
    fn is_full(&self, address: IpAddr) -> bool {
        let own = self.of_address.get(&address).copied().unwrap_or(0);
        own >= GRANTS_PER_ADDRESS_MAX || self.held.len() >= GRANTS_LEN_MAX
    }

    fn remove(&mut self, key: &(Id, Viewer)) -> bool {
        let was_there = self.held.remove(key).is_some();
        if was_there {
            release(&mut self.of_address, key.1.address);
        }
        was_there
    }

    fn retain(&mut self, stays: impl Fn(&Held) -> bool) {
        let of_address = &mut self.of_address;
        self.held.retain(|(_, viewer), held| {
            let stays = stays(held);
            if !stays {
                release(of_address, viewer.address);
            }
            stays
        });
    }
}

fn release(of_address: &mut HashMap<IpAddr, usize>, address: IpAddr) {
    if let Some(count) = of_address.get_mut(&address) {
        *count -= 1;
        if *count == 0 {
            of_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn viewer(address: u32, name: u64) -> Viewer {
        Viewer { address: Ipv4Addr::from(address).into(), name }
    }

    #[test]
    fn grants_end_and_others_are_told_of_them_now_and_then() {
        let (grants, id, at) = (Grants::default(), Id::new("a").unwrap(), Time::from_millis);
        let keep = |until: Option<u64>, now| grants.keep(&id, viewer(1, 1), until.map(at), at(now));
        assert!(!grants.is_over(&id, || viewer(1, 1), at(0)), "nobody has said that it ends");
        assert_eq!(keep(Some(10_000), 0), Kept::Tell);
        assert_eq!(keep(Some(11_000), 1_000), Kept::Here);
        assert_eq!(keep(Some(13_000), 3_000), Kept::Tell);
        // A neighbour that cannot be told from it takes nothing from it.
        assert_eq!(keep(Some(5_000), 3_000), Kept::Here);
        assert!(!grants.is_over(&id, || viewer(1, 1), at(12_999)) && grants.is_over(&id, || viewer(1, 1), at(13_000)));
        assert!(grants.is_known(&id, viewer(1, 1), at(12_999)) && !grants.is_known(&id, viewer(1, 1), at(13_000)));
        assert!(!grants.is_known(&id, viewer(1, 2), at(0)));
        assert!(!grants.is_over(&id, || viewer(1, 2), at(13_000)) && !grants.is_over(&id, || viewer(2, 1), at(13_000)));
        // Who was not told is told again.
        grants.not_told(&id, viewer(1, 1));
        assert_eq!(keep(Some(13_000), 3_000), Kept::Tell);
        // For good: what was said before does not count any more.
        assert_eq!((keep(None, 14_000), keep(None, 14_000)), (Kept::Tell, Kept::Here));
        assert!(!grants.is_over(&id, || viewer(1, 1), at(20_000)));
        keep(Some(15_000), 14_000);
        grants.sweep(at(15_000) + FORGOTTEN_AFTER);
        let inner = grants.0.borrow();
        assert!(inner.held.is_empty() && inner.of_address.is_empty());
    }

    #[test]
    fn one_address_takes_nothing_from_others_and_what_is_over_gives_way() {
        let (grants, id, at) = (Grants::default(), Id::new("a").unwrap(), Time::from_millis);
        let keep = |viewer, now| grants.keep(&id, viewer, Some(at(now + 9_000)), at(now));
        for name in 0..GRANTS_PER_ADDRESS_MAX as u64 {
            keep(viewer(1, name), 0);
        }
        assert_eq!((keep(viewer(1, u64::MAX), 0), keep(viewer(2, 0), 0)), (Kept::Full, Kept::Tell));
        assert_ne!(keep(viewer(1, 1), 0), Kept::Full, "one that is known");
        assert_eq!(keep(viewer(1, u64::MAX), 9_000), Kept::Tell, "the others are over");
        for address in 0..GRANTS_LEN_MAX as u32 {
            keep(viewer(address, 0), 10_000);
        }
        assert_eq!(keep(viewer(u32::MAX, 0), 10_000), Kept::Full);
    }
}
