//! A map by stream id that does not change, and whose changed copy is cheap: it shares what stays. So a change among a hundred
//! thousand streams is made beside the shards and reaches each of them as one reference.
use std::collections::HashMap;
use std::sync::Arc;

use millstream_proto::id::Id;

/// Parts that a change copies one of: with 100,000 entries, some 400.
const PARTS: usize = 256;

/// Values by stream id. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Table<V> {
    parts: Arc<[Arc<HashMap<Id, V>>]>,
    len: usize,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        let empty = Arc::default();
        Self { parts: (0..PARTS).map(|_| Arc::clone(&empty)).collect(), len: 0 }
    }
}

impl<V> Table<V> {
    /// The value of a stream.
    pub fn get(&self, id: &Id) -> Option<&V> {
        self.parts.get(id.place(PARTS)).and_then(|part| part.get(id))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Id, &V)> {
        self.parts.iter().flat_map(|part| part.iter())
    }
}

impl<V: Clone> Table<V> {
    /// This table with other values; `None` takes one out.
    pub fn with(&self, changes: impl IntoIterator<Item = (Id, Option<V>)>) -> Self {
        let mut parts = self.parts.to_vec();
        let mut len = self.len;
        for (id, value) in changes {
            let Some(shared) = parts.get_mut(id.place(PARTS)) else { continue };
            // Copied by the first change of a part; those after it find it their own.
            let entries = Arc::make_mut(shared);
            let before = entries.len();
            match value {
                Some(value) => drop(entries.insert(id, value)),
                None => drop(entries.remove(&id)),
            }
            len = len + entries.len() - before;
        }
        Self { parts: parts.into(), len }
    }
}

impl<V: Clone> FromIterator<(Id, V)> for Table<V> {
    fn from_iter<T: IntoIterator<Item = (Id, V)>>(entries: T) -> Self {
        Self::default().with(entries.into_iter().map(|(id, value)| (id, Some(value))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> Id {
        Id::new(&format!("camera-{n}")).unwrap()
    }

    #[test]
    fn a_changed_copy_leaves_the_one_before_as_it_was() {
        let first: Table<u32> = (0..1000).map(|n| (id(n), n)).collect();
        let second = first.with([(id(1), None), (id(2), Some(20)), (id(1000), Some(1000)), (id(9999), None)]);
        assert_eq!((first.len(), first.get(&id(1)), first.get(&id(2))), (1000, Some(&1), Some(&2)));
        assert_eq!((second.len(), second.get(&id(1)), second.get(&id(2))), (1000, None, Some(&20)));
        assert_eq!(second.iter().count(), 1000);
        let shared = first.parts.iter().zip(&*second.parts).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert!(shared >= PARTS - 4, "{shared} of {PARTS} parts are shared");
    }

    #[test]
    fn parts_are_of_a_size() {
        let table: Table<()> = (0..100_000).map(|n| (id(n), ())).collect();
        assert!(table.parts.iter().all(|part| (200..700).contains(&part.len())));
    }
}
