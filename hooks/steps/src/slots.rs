//! Places that grants take: how many hold a key at once, counted on this node. A place is given back when its last holder's session ends, however
//! that comes about. Before it: [`super::answer`]; after it: the grant that travels with the session.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_policy::{Client, ViewerName};

/// Keys that are counted at once, of all hooks.
const KEYS_MAX: usize = 1_000_000;

/// Who holds a place: a session, or a viewer with all of its requests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Holder {
    /// The session's number.
    Session(u64),
    /// Where it is, and what its requests have in common: the name alone is anybody's to choose.
    Claimed(IpAddr, u64),
    /// A session of play grants, wherever it is.
    Granted(u64),
}

impl Holder {
    /// Whoever this client is.
    pub fn of(client: &Client) -> Self {
        match client.viewer {
            None => Self::Session(client.session),
            Some(ViewerName::Claimed(number)) => Self::Claimed(client.address.ip().to_canonical(), number),
            Some(ViewerName::Granted(number) | ViewerName::Renewing(number)) => Self::Granted(number),
        }
    }
}

/// Places by hook and key. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Slots(Arc<Mutex<Keys>>);

/// Of each hook and key: who holds it, and how often.
type Keys = HashMap<(String, String), HashMap<Holder, usize>>;

/// A place. It is given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    slots: Slots,
    key: (String, String),
    holder: Holder,
}

impl Slots {
    /// A place of this hook's key, where fewer than `max` others hold one. Who has one already keeps it.
    pub fn take(&self, hook: &str, key: &str, max: u32, holder: Holder) -> Option<Place> {
        let key = (hook.to_owned(), key.to_owned());
        let mut keys = self.keys();
        if !has_room(&keys, &key, max, holder) {
            return None;
        }
        *keys.entry(key.clone()).or_default().entry(holder).or_default() += 1;
        drop(keys);
        Some(Place { slots: self.clone(), key, holder })
    }

    /// Whether [`Self::take`] would give one.
    pub fn has_room(&self, hook: &str, key: &str, max: u32, holder: Holder) -> bool {
        has_room(&self.keys(), &(hook.to_owned(), key.to_owned()), max, holder)
    }

    /// How many hold a key.
    pub fn held(&self, hook: &str, key: &str) -> usize {
        self.keys().get(&(hook.to_owned(), key.to_owned())).map_or(0, HashMap::len)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        // Every change under this lock is one step. It is held for some hundred nanoseconds, and only where a hook counts places.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_room(keys: &Keys, key: &(String, String), max: u32, holder: Holder) -> bool {
    match keys.get(key) {
        Some(holders) => holders.contains_key(&holder) || holders.len() < max as usize,
        None => max > 0 && keys.len() < KEYS_MAX,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut keys = self.slots.keys();
        let Some(holders) = keys.get_mut(&self.key) else { return };
        if let Some(times) = holders.get_mut(&self.holder) {
            *times -= 1;
            if *times == 0 {
                holders.remove(&self.holder);
            }
        }
        if holders.is_empty() {
            keys.remove(&self.key);
        }
    }
}
