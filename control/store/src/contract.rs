//! The trait that every store implements. Before it: the API's records; after it: a file, or a table somewhere.
use std::future::Future;
use std::pin::Pin;

use crate::StoreError;
use crate::item::{
    Change, Expect, Item, KEY_BYTES_MAX, Kind, Page, Query, TRANSACTION_CHANGES_MAX, VALUE_BYTES_MAX, Write,
};

/// What a call comes to, later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// How much of what a store keeps for a full disk a change may use ([`Store::revoke`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// All of it: it makes worthless what leaked.
    All,
    /// Half of it: the rest is for those.
    Half,
}

/// Items by kind and key. Calls may be made from many tasks at once; each sees every write that was answered before it was made.
pub trait Store: Send + Sync + 'static {
    /// One item, expired ones included.
    fn get(&self, kind: Kind, key: &str) -> Answer<'_, Option<Item>>;

    /// Writes an item if what is there is as expected, and gives its new version. The answer comes when the write is durable.
    fn put(&self, write: Write) -> Answer<'_, u64>;

    /// Removes an item if it is as expected ([`Expect::Any`] is content with none). The answer comes when that is durable.
    fn delete(&self, kind: Kind, key: &str, expect: Expect) -> Answer<'_, ()>;

    /// Makes all of these changes, or none: where one item is not as expected, or the disk is full, nothing is changed. Each is of another
    /// item, at most [`TRANSACTION_CHANGES_MAX`]. Gives the items' new versions in the same order (0 for one that was removed). The answer
    /// comes when all of it is durable.
    fn transact(&self, changes: Vec<Change>) -> Answer<'_, Vec<u64>>;

    /// The same, of changes that take rights away or make room: removals, revocations. A store keeps room for them, so that they are made
    /// when the disk is full.
    fn revoke(&self, changes: Vec<Change>, room: Room) -> Answer<'_, Vec<u64>> {
        let _ = room;
        self.transact(changes)
    }

    /// Items in order of their keys.
    fn page(&self, query: Query) -> Answer<'_, Page>;

    /// How many items of a kind there are, expired ones included.
    fn count(&self, kind: Kind) -> Answer<'_, u64>;

    /// Removes items whose expiry is at or before `now_ms`, some thousand at most, and says how many those were.
    fn purge(&self, now_ms: u64) -> Answer<'_, u64>;
}

/// Refuses what is over a maximum, before it is sent anywhere.
pub(crate) fn check(write: &Write) -> Result<(), StoreError> {
    let over = |what, bytes, max| if bytes > max { Err(StoreError::Large { what, bytes, max }) } else { Ok(()) };
    over("the key", write.key.len(), KEY_BYTES_MAX)?;
    over("the value", write.value.len(), VALUE_BYTES_MAX)
}

/// The same for a transaction.
pub(crate) fn check_all(changes: &[Change]) -> Result<(), StoreError> {
    if changes.len() > TRANSACTION_CHANGES_MAX {
        let (bytes, max) = (changes.len(), TRANSACTION_CHANGES_MAX);
        return Err(StoreError::Large { what: "the transaction, counted in items,", bytes, max });
    }
    changes.iter().try_for_each(|change| match change {
        Change::Put(write) => check(write),
        Change::Delete { .. } => Ok(()),
    })
}

/// The end of the range of keys that begin with `prefix`: no character of a key comes behind this one.
pub(crate) fn end_of(prefix: &str) -> String {
    format!("{prefix}\u{10FFFF}")
}
