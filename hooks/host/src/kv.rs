//! A hook's own values: bounded, in memory, the oldest make room for new ones.
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 256;
/// The longest value, in bytes.
const MAX_VALUE_BYTES: usize = 4096;
/// The most keys and values of one hook, with 64 bytes for each entry.
const MAX_TOTAL_BYTES: usize = 4 << 20;
/// Values live at most this long.
const MAX_TTL: Duration = Duration::from_hours(24);
/// What an entry costs beside its key and value.
const ENTRY_BYTES: usize = 64;

/// The values of one hook on this node.
#[derive(Default)]
pub struct Kv(Mutex<Inner>);

#[derive(Clone, Default)]
struct Inner {
    entries: HashMap<Arc<str>, Entry>,
    /// By when they were made or set: what makes room first.
    by_age: BTreeMap<u64, Arc<str>>,
    next_age: u64,
    bytes: usize,
    evicted: u64,
}

#[derive(Clone)]
struct Entry {
    value: Vec<u8>,
    ends: Instant,
    age: u64,
}

impl Kv {
    /// How many values there are, expired ones included.
    pub fn len(&self) -> usize {
        self.locked(|inner| inner.entries.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many values made room for others before their time.
    pub fn evicted(&self) -> u64 {
        self.locked(|inner| inner.evicted)
    }

    /// The same values, for somebody else to change.
    pub(crate) fn copy(&self) -> Self {
        Self(Mutex::new(self.locked(|inner| inner.clone())))
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.get_at(key, Instant::now())
    }

    pub(crate) fn set(&self, key: &str, value: Vec<u8>, ttl_ms: u32) -> Result<(), String> {
        self.set_at(key, value, ttl_ms, Instant::now())
    }

    pub(crate) fn add(&self, key: &str, delta: i64, ttl_ms: u32) -> Result<i64, String> {
        self.add_at(key, delta, ttl_ms, Instant::now())
    }

    fn locked<T>(&self, with: impl FnOnce(&mut Inner) -> T) -> T {
        // No code of a guest runs under the lock, so a poisoned one has whole values all the same.
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn get_at(&self, key: &str, now: Instant) -> Option<Vec<u8>> {
        self.locked(|inner| inner.entries.get(key).filter(|entry| entry.ends > now).map(|entry| entry.value.clone()))
    }

    fn set_at(&self, key: &str, value: Vec<u8>, ttl_ms: u32, now: Instant) -> Result<(), String> {
        if key.len() > MAX_KEY_BYTES {
            return Err(format!("kv: the key has {} bytes, at most {MAX_KEY_BYTES} are kept", key.len()));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(format!("kv: the value has {} bytes, at most {MAX_VALUE_BYTES} are kept", value.len()));
        }
        self.locked(|inner| inner.put(key, value, now + ttl(ttl_ms), now));
        Ok(())
    }

    fn add_at(&self, key: &str, delta: i64, ttl_ms: u32, now: Instant) -> Result<i64, String> {
        if key.len() > MAX_KEY_BYTES {
            return Err(format!("kv: the key has {} bytes, at most {MAX_KEY_BYTES} are kept", key.len()));
        }
        self.locked(|inner| {
            let before = inner.entries.get(key).filter(|entry| entry.ends > now);
            let (number, ends) = match before {
                None => (0, now + ttl(ttl_ms)),
                Some(entry) => {
                    let bytes: [u8; 8] = entry
                        .value
                        .as_slice()
                        .try_into()
                        .map_err(|_| format!("kv: the value has {} bytes and is no number", entry.value.len()))?;
                    (i64::from_le_bytes(bytes), entry.ends)
                }
            };
            let sum = number.checked_add(delta).ok_or("kv: the number would be too large")?;
            inner.put(key, sum.to_le_bytes().to_vec(), ends, now);
            Ok(sum)
        })
    }
}

fn ttl(ms: u32) -> Duration {
    if ms == 0 { MAX_TTL } else { Duration::from_millis(u64::from(ms)).min(MAX_TTL) }
}

impl Inner {
    fn put(&mut self, key: &str, value: Vec<u8>, ends: Instant, now: Instant) {
        self.remove(key);
        let size = key.len() + value.len() + ENTRY_BYTES;
        while self.bytes + size > MAX_TOTAL_BYTES {
            let Some((_, oldest)) = self.by_age.first_key_value() else { break };
            let oldest = Arc::clone(oldest);
            if self.entries.get(&oldest).is_some_and(|entry| entry.ends > now) {
                self.evicted += 1;
            }
            self.remove(&oldest);
        }
        let (key, age): (Arc<str>, _) = (key.into(), self.next_age);
        self.next_age += 1;
        self.bytes += size;
        self.by_age.insert(age, Arc::clone(&key));
        self.entries.insert(key, Entry { value, ends, age });
    }

    fn remove(&mut self, key: &str) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.by_age.remove(&entry.age);
            self.bytes -= key.len() + entry.value.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_and_numbers_are_not_prolonged() {
        let (kv, start) = (Kv::default(), Instant::now());
        kv.set_at("a", b"x".to_vec(), 1000, start).unwrap();
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(kv.get_at("a", after(999)).as_deref(), Some(&b"x"[..]));
        assert_eq!(kv.get_at("a", after(1000)), None);
        assert_eq!(kv.add_at("n", 2, 1000, start), Ok(2));
        assert_eq!(kv.add_at("n", -5, 1000, after(900)), Ok(-3));
        assert_eq!(kv.add_at("n", 1, 1000, after(1001)), Ok(1), "a minute's count must end");
        assert!(kv.add_at("a", 1, 0, start).unwrap_err().contains("no number"));
        assert_eq!(kv.add_at("m", i64::MAX, 0, start), Ok(i64::MAX));
        assert!(kv.add_at("m", 1, 0, start).is_err());
    }

    #[test]
    fn the_oldest_make_room() {
        let (kv, now) = (Kv::default(), Instant::now());
        let fit = MAX_TOTAL_BYTES / (MAX_VALUE_BYTES + 8 + ENTRY_BYTES);
        for n in 0..fit + 10 {
            kv.set_at(&format!("{n:08}"), vec![0; MAX_VALUE_BYTES], 0, now).unwrap();
        }
        assert_eq!((kv.len(), kv.evicted()), (fit, 10));
        assert!(kv.get_at("00000009", now).is_none() && kv.get_at("00000010", now).is_some());
        // The same key again takes no more room.
        for _ in 0..3 * fit {
            kv.set_at("00000020", vec![1; MAX_VALUE_BYTES], 0, now).unwrap();
        }
        assert_eq!((kv.len(), kv.evicted()), (fit, 10));
        assert!(kv.set_at(&"k".repeat(257), vec![], 0, now).is_err());
        assert!(kv.set_at("k", vec![0; 4097], 0, now).is_err());
    }

    #[test]
    fn a_copy_has_the_values_and_changes_none() {
        let kv = Kv::default();
        kv.set("a", b"x".to_vec(), 0).unwrap();
        kv.add("n", 2, 0).unwrap();
        let copy = kv.copy();
        assert_eq!((copy.add("n", 1, 0), copy.get("a").as_deref()), (Ok(3), Some(&b"x"[..])));
        copy.set("b", b"y".to_vec(), 0).unwrap();
        assert_eq!((kv.add("n", 0, 0), kv.get("b"), kv.len(), copy.len()), (Ok(2), None, 2, 3));
    }
}
