//! What a binding has granted to viewers of HLS and DASH, who ask for each playlist anew: its hook is asked once, and then when the grant says so. One
//! shard's; a viewer whose requests come to several shards is asked about at each. It outlives changes of the binding: another version or configuration
//! is asked about each viewer anew, who keeps meanwhile what it holds. Sessions of play grants, which ask once a minute, are one for all shards. Before it
//! and after it: [`super::step`]. What viewers hold is given back by [`super::threads`], which sweeps.
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use millstream_policy::{Grant, Request, ViewerName};
use millstream_proto::network::counted;
use millstream_proto::secret::Secret;

use crate::question::steady;

/// A grant that does not say when to ask again is kept this long.
const KEPT: Duration = Duration::from_secs(10);
/// A viewer is gone, with what it holds, when it has not asked for this long: three target durations of long segments.
const GONE_AFTER: Duration = Duration::from_secs(20);
/// What a session of play grants was granted is known this long after it was asked about: longer than a play grant lives, which is two minutes where nothing
/// is set. One that lives longer than this is renewed as if it were new.
const RENEWED_WITHIN: Duration = Duration::from_mins(20);
/// Grants that are kept; beyond them hooks are asked with each playlist.
const KEPT_MAX: usize = 65_536;
/// Of those, of one address: there may be many viewers behind one.
const PER_ADDRESS_MAX: usize = 4_096;

struct Entry {
    grant: Grant,
    /// By the binding of this number.
    by: u64,
    /// When it was given.
    since: Instant,
    /// It is not asked about up to then.
    until: Instant,
    asked: Instant,
    address: IpAddr,
    /// It is a session of play grants: what that holds is kept with its grants, and each renewal is asked about.
    renews: bool,
}

impl Entry {
    /// The grant, as it is worth now.
    fn left(&self, now: Instant) -> Option<Grant> {
        let spent = now.saturating_duration_since(self.since);
        let mut grant = self.grant.clone();
        grant.valid_for = grant.valid_for.map(|valid| valid.saturating_sub(spent));
        grant.goes_on = self.renews;
        grant.valid_for.is_none_or(|left| !left.is_zero()).then_some(grant)
    }

    fn is_gone(&self, now: Instant) -> bool {
        let after = if self.renews { RENEWED_WITHIN } else { GONE_AFTER };
        now.saturating_duration_since(self.asked) >= after
    }
}

/// What a viewer was granted.
pub enum Known {
    /// Nobody has to be asked.
    Fresh(Grant),
    /// The hook is to be asked whether that still holds.
    Stale(Grant),
}

/// Grants, by what does not change from one request of a viewer to the next.
#[derive(Default)]
pub struct KeptGrants {
    entries: HashMap<u64, Entry>,
    of_address: HashMap<IpAddr, usize>,
}

/// The same for whoever may be in: what was granted before does not count to a session of play grants that has no good one.
pub fn key_if_in(request: &Request) -> Option<u64> {
    if matches!(request.client.viewer, Some(ViewerName::Granted(_))) { None } else { key(request) }
}

/// Whether this is about a session of play grants.
pub fn is_of_grants(request: &Request) -> bool {
    matches!(request.client.viewer, Some(ViewerName::Granted(_) | ViewerName::Renewing(_)))
}

/// What a viewer's requests have in common; `None`: it has a session, which keeps its grant itself.
pub fn key(request: &Request) -> Option<u64> {
    let viewer = request.client.viewer?;
    let mut hasher = DefaultHasher::new();
    if is_of_grants(request) {
        // Its name is the server's own, whatever else it shows.
        (viewer.number(), request.name.as_str()).hash(&mut hasher);
        return Some(hasher.finish());
    }
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
    /// What was granted. The binding of the number `by` wants to know.
    pub fn get(&mut self, key: u64, by: u64, now: Instant) -> Option<Known> {
        let entry = self.entries.get_mut(&key)?;
        let grant = entry.left(now)?;
        entry.asked = now;
        Some(if now < entry.until && entry.by == by { Known::Fresh(grant) } else { Known::Stale(grant) })
    }

    /// There is no decision about a viewer: what it was granted, which holds for a while without one. `None`: it is not in.
    pub fn stays(&mut self, key: u64, by: u64, now: Instant) -> Option<Grant> {
        let entry = self.entries.get_mut(&key)?;
        let grant = entry.left(now)?;
        entry.asked = now;
        if !entry.renews {
            (entry.by, entry.until) = (by, now + KEPT);
        }
        Some(grant)
    }

    /// Keeps what the binding of the number `by` has granted; false: there is no room.
    pub fn keep(&mut self, key: u64, by: u64, request: &Request, grant: &Grant, now: Instant) -> bool {
        let renews = is_of_grants(request);
        let (mut grant, mut until) = (grant.clone(), now + grant.recheck_after.unwrap_or(KEPT));
        if renews {
            (grant.held, until) = (None, now);
        }
        let address = counted(request.client.address.ip());
        let own = self.of_address.get(&address).copied().unwrap_or(0);
        if !self.entries.contains_key(&key) {
            if own >= PER_ADDRESS_MAX || self.entries.len() >= KEPT_MAX {
                return renews;
            }
            *self.of_address.entry(address).or_default() += 1;
        }
        self.entries.insert(key, Entry { grant, by, since: now, until, asked: now, address, renews });
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
        let gone: Vec<Entry> = self.entries.extract_if(|_, entry| entry.is_gone(now)).map(|(_, entry)| entry).collect();
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
