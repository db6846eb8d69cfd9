//! How often a hook failed within the last minute, and for whose requests: no client is to take a version away from all others. Before it: [`super::failing`]; after it: the
//! node's reports.
//!
//! Each slice of time has its addresses, at most so many: one that is new when they are all taken replaces the one with the fewest failures, and gets what
//! that had (the algorithm is called Space-Saving). So an address with more than a 64th of what a slice's addresses are blamed for is in it, with no fewer than it
//! caused.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use millstream_proto::network::site;

/// How long failures are of one slice.
const SLICE: Duration = Duration::from_secs(5);
/// Slices that a minute touches.
const SLICES: usize = 13;
/// Addresses of a slice that are told apart.
const ADDRESSES_MAX: usize = 64;

/// Failures by address.
#[derive(Debug, Default)]
pub(crate) struct Blame(VecDeque<Slice>);

#[derive(Debug)]
struct Slice {
    since: Instant,
    failures: u64,
    /// Of those, the ones that no client's request brought about.
    nobody: u64,
    addresses: Vec<(IpAddr, u64)>,
}

impl Slice {
    fn blame(&mut self, site: IpAddr) {
        if let Some((_, failures)) = self.addresses.iter_mut().find(|(known, _)| *known == site) {
            *failures += 1;
        } else if self.addresses.len() < ADDRESSES_MAX {
            self.addresses.push((site, 1));
        } else if let Some(least) = self.addresses.iter_mut().min_by_key(|(_, failures)| *failures) {
            *least = (site, least.1 + 1);
        }
    }
}

impl Blame {
    /// A request from there made the hook fail.
    pub(crate) fn add(&mut self, address: IpAddr, now: Instant) {
        self.add_one_of(&[address], now);
    }

    /// It failed once, for a request from one of these, or for no client's where there are none. Which one is not known, so each is blamed: else whoever
    /// makes it fail need only come together with somebody else.
    pub(crate) fn add_one_of(&mut self, addresses: &[IpAddr], now: Instant) {
        let slice = self.slice(now);
        slice.failures += 1;
        if addresses.is_empty() {
            slice.nobody += 1;
        }
        // Two of one site are one.
        let sites: BTreeSet<IpAddr> = addresses.iter().map(|address| site(*address)).collect();
        for site in sites {
            slice.blame(site);
        }
    }

    /// The slice of this moment.
    fn slice(&mut self, now: Instant) -> &mut Slice {
        self.forget(now);
        let is_new = self.0.back().is_none_or(|last| now.saturating_duration_since(last.since) >= SLICE);
        let new = || Slice { since: now, failures: 0, nobody: 0, addresses: Vec::new() };
        let mut last = self.0.pop_back();
        if is_new {
            self.0.extend(last.take());
        }
        while self.0.len() >= SLICES {
            self.0.pop_front();
        }
        self.0.push_back_mut(last.unwrap_or_else(new))
    }

    /// How often it failed.
    pub(crate) fn failures(&mut self, now: Instant) -> u64 {
        self.forget(now);
        self.0.iter().map(|slice| slice.failures).sum()
    }

    /// Of those, the ones that no client's request brought about.
    pub(crate) fn by_nobody(&mut self, now: Instant) -> u64 {
        self.forget(now);
        self.0.iter().map(|slice| slice.nobody).sum()
    }

    /// The addresses with the most failures, the worst one first.
    pub(crate) fn worst(&mut self, count: usize, now: Instant) -> Vec<(IpAddr, u64)> {
        self.forget(now);
        let mut sums = BTreeMap::new();
        for (address, failures) in self.0.iter().flat_map(|slice| &slice.addresses) {
            *sums.entry(*address).or_insert(0) += failures;
        }
        let mut worst: Vec<_> = sums.into_iter().collect();
        worst.sort_by_key(|(_, failures)| std::cmp::Reverse(*failures));
        worst.truncate(count);
        worst
    }

    /// Drops what is a minute old, a slice at a time.
    fn forget(&mut self, now: Instant) {
        let is_old = |slice: &Slice| now.saturating_duration_since(slice.since) >= SLICE * SLICES as u32;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn who_fails_most_is_known_among_any_number_of_others() {
        let start = Instant::now();
        let mut blame = Blame::default();
        for number in 0..100_000_u32 {
            let now = start + Duration::from_millis(u64::from(number));
            // Each failure comes from another address, but each twentieth.
            blame.add(if number % 20 == 0 { four(7) } else { four(1_000 + number) }, now);
            assert!(blame.0.len() <= SLICES && blame.0.iter().all(|slice| slice.addresses.len() <= ADDRESSES_MAX));
        }
        let worst = blame.worst(2, start + Duration::from_secs(100));
        let [(address, failures), (_, second)] = worst[..] else { panic!("{worst:?}") };
        assert_eq!(address, four(7));
        // A 20th of what came within the last 60 to 65 seconds, and at most a 64th of it beyond that.
        assert!((3_000..=3_250 + 65_000 / 64).contains(&failures), "{failures}");
        assert!(second < failures, "{second}");
        assert!((60_000..=65_000).contains(&blame.failures(start + Duration::from_secs(100))));
        let later = start + Duration::from_secs(200);
        assert_eq!((blame.worst(2, later), blame.failures(later)), (Vec::new(), 0));
    }

    #[test]
    fn a_site_with_many_addresses_is_one() {
        let now = Instant::now();
        let mut blame = Blame::default();
        for number in 0..20 {
            blame.add(format!("2001:db8:5:{number:x}::1").parse().unwrap(), now);
            blame.add("::ffff:192.0.2.1".parse().unwrap(), now);
        }
        let six: IpAddr = "2001:db8:5::".parse().unwrap();
        let mut worst = blame.worst(9, now);
        worst.sort_unstable();
        assert_eq!(worst, [("192.0.2.1".parse().unwrap(), 20), (six, 20)]);
    }

    #[test]
    fn a_failure_of_one_of_several_is_one_and_each_is_blamed() {
        let now = Instant::now();
        let mut blame = Blame::default();
        blame.add_one_of(&[four(1), four(2)], now);
        blame.add_one_of(&["2001:db8:5:1::1".parse().unwrap(), "2001:db8:5:2::1".parse().unwrap()], now);
        blame.add_one_of(&[], now);
        blame.add(four(1), now);
        assert_eq!((blame.failures(now), blame.by_nobody(now)), (4, 1));
        let six: IpAddr = "2001:db8:5::".parse().unwrap();
        assert_eq!(blame.worst(9, now), [(four(1), 2), (four(2), 1), (six, 1)]);
        let later = now + Duration::from_secs(200);
        assert_eq!((blame.failures(later), blame.by_nobody(later)), (0, 0));
    }
}
