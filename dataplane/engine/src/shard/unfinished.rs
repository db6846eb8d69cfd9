//! Connections that have yet to ask for something, by address. Where there are too many, one of the address that has most goes: who opens
//! thousands a second takes its own places, and never those of an encoder far away, whose handshake takes a second.
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use millstream_proto::network::counted;

/// All of a shard.
#[derive(Default)]
pub(super) struct Unfinished {
    /// Whose each is.
    addresses: HashMap<u64, IpAddr>,
    /// Those of an address, the oldest first.
    sessions: HashMap<IpAddr, BTreeSet<u64>>,
    /// How many an address has; among those with as many, the one with the oldest is last.
    ranks: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
}

impl Unfinished {
    pub(super) fn insert(&mut self, number: u64, address: IpAddr) {
        let address = counted(address);
        self.addresses.insert(number, address);
        self.change(address, |of_address| of_address.insert(number));
    }

    /// It has asked, or is gone.
    pub(super) fn remove(&mut self, number: u64) {
        if let Some(address) = self.addresses.remove(&number) {
            self.change(address, |of_address| of_address.remove(&number));
        }
    }

    /// A proxy has named the address behind it.
    pub(super) fn comes_from(&mut self, number: u64, address: IpAddr) {
        if self.addresses.contains_key(&number) {
            self.remove(number);
            self.insert(number, address);
        }
    }

    /// Takes out the oldest one of the address that has most.
    pub(super) fn pop_crowded(&mut self) -> Option<u64> {
        let (_, Reverse(number), _) = *self.ranks.last()?;
        self.remove(number);
        Some(number)
    }

    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    fn change(&mut self, address: IpAddr, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let of_address = self.sessions.entry(address).or_default();
        if let Some(oldest) = of_address.first() {
            self.ranks.remove(&(of_address.len(), Reverse(*oldest), address));
        }
        change(of_address);
        match of_address.first() {
            Some(oldest) => drop(self.ranks.insert((of_address.len(), Reverse(*oldest), address))),
            None => drop(self.sessions.remove(&address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_address_that_has_most_gives_one_up_and_else_the_oldest_goes() {
        let mut all = Unfinished::default();
        all.insert(1, address("192.0.2.1"));
        all.insert(2, address("192.0.2.2"));
        assert_eq!(all.pop_crowded(), Some(1), "nobody has more than another");
        all.insert(3, address("192.0.2.3"));
        (10..20).for_each(|number| all.insert(number, address("198.51.100.7")));
        assert_eq!((0..9).map_while(|_| all.pop_crowded()).collect::<Vec<_>>(), (10..19).collect::<Vec<_>>());
        assert_eq!(all.pop_crowded(), Some(2));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer_and_a_proxy_is_none() {
        let mut all = Unfinished::default();
        all.insert(1, address("2001:db8:1::1"));
        for number in 2..5 {
            all.insert(number, address(&format!("2001:db8::{number}")));
        }
        assert_eq!(all.pop_crowded(), Some(2));
        // A load balancer's connections are those of whom it names.
        (10..20).for_each(|number| all.insert(number, address("10.0.0.1")));
        (10..20).for_each(|number| all.comes_from(number, address(&format!("203.0.113.{number}"))));
        assert_eq!(all.pop_crowded(), Some(3));
        all.remove(1);
        all.remove(1);
        all.comes_from(1, address("10.0.0.1"));
        assert_eq!(all.len(), 11);
        assert_eq!(std::iter::from_fn(|| all.pop_crowded()).count(), 11);
        assert!(all.ranks.is_empty() && all.sessions.is_empty() && all.addresses.is_empty());
    }
}
