//! What a hook has granted to viewers of HLS and DASH, who ask for each playlist anew: it is asked once, and then when the grant says so. One shard's;
//! a viewer whose requests come to several shards is asked about at each. Before it and after it: [`super::step`]. What viewers hold is given back by
//! [`super::threads`], which sweeps.
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use millstream_policy::{Grant, Request};
use millstream_proto::network::counted;
use millstream_proto::secret::Secret;

use crate::question::steady;

/// A grant that does not say when to ask again is kept this long.
const KEPT: Duration = Duration::from_secs(10);
/// A viewer is gone, with what it holds, when it has not asked for this long: three target durations of long segments.
const GONE_AFTER: Duration = Duration::from_secs(20);
/// Grants that are kept; beyond them hooks are asked with each playlist.
const KEPT_MAX: usize = 16_384;
/// Of those, of one address.
const PER_ADDRESS_MAX: usize = 256;

struct Entry {
    grant: Grant,
    /// When it was given.
    since: Instant,
    /// It is not asked about up to then.
    until: Instant,
    asked: Instant,
    address: IpAddr,
}

/// Grants, by what does not change from one request of a viewer to the next.
#[derive(Default)]
pub struct KeptGrants {
    entries: HashMap<u64, Entry>,
    of_address: HashMap<IpAddr, usize>,
}

/// What a viewer's requests have in common; `None`: it has a session, which keeps its grant itself.
pub fn key(request: &Request) -> Option<u64> {
    let viewer = request.client.viewer?;
    let mut hasher = DefaultHasher::new();
    (viewer, request.name.as_str(), request.app.as_str(), request.client.protocol).hash(&mut hasher);
    let client = &request.client;
    (client.address.ip(), &client.user_agent, &client.referer).hash(&mut hasher);
    client.bearer.as_ref().map(Secret::expose).hash(&mut hasher);
    for pair in steady(&request.params) {
        pair.hash(&mut hasher);
    }
    Some(hasher.finish())
}

impl KeptGrants {
    /// What was granted, as it is worth now.
    pub fn get(&mut self, key: u64, now: Instant) -> Option<Grant> {
        let entry = self.entries.get_mut(&key)?;
        entry.asked = now;
        let spent = now.saturating_duration_since(entry.since);
        let left = entry.grant.valid_for.map(|valid| valid.saturating_sub(spent));
        if now >= entry.until || left.is_some_and(|left| left.is_zero()) {
            return None;
        }
        let mut grant = entry.grant.clone();
        grant.valid_for = left;
        Some(grant)
    }

    /// Keeps what was granted; false: there is no room.
    pub fn keep(&mut self, key: u64, request: &Request, grant: &Grant, now: Instant) -> bool {
        let address = counted(request.client.address.ip());
        let own = self.of_address.get(&address).copied().unwrap_or(0);
        if !self.entries.contains_key(&key) {
            if own >= PER_ADDRESS_MAX || self.entries.len() >= KEPT_MAX {
                return false;
            }
            *self.of_address.entry(address).or_default() += 1;
        }
        let until = now + grant.recheck_after.unwrap_or(KEPT);
        self.entries.insert(key, Entry { grant: grant.clone(), since: now, until, asked: now, address });
        true
    }

    /// Nothing is granted any more: what was, is to be dropped once nobody waits for this.
    #[must_use]
    pub fn forget(&mut self, key: u64) -> Option<Grant> {
        let entry = self.entries.remove(&key)?;
        release(&mut self.of_address, entry.address);
        Some(entry.grant)
    }

    /// Takes out the grants of those who are gone: to be dropped once nobody waits for this.
    #[must_use]
    pub fn sweep(&mut self, now: Instant) -> Vec<Grant> {
        let is_gone = |entry: &mut Entry| now.saturating_duration_since(entry.asked) >= GONE_AFTER;
        let gone: Vec<Entry> = self.entries.extract_if(|_, entry| is_gone(entry)).map(|(_, entry)| entry).collect();
        for entry in &gone {
            release(&mut self.of_address, entry.address);
        }
        gone.into_iter().map(|entry| entry.grant).collect()
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
