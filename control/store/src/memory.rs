//! A store that is gone with its process: for `demo`, which writes nothing to disk, and for tests that are about something else.
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::contract::{Answer, Store, check_all, end_of};
use crate::item::{Change, Expect, Item, Kind, Order, Page, Query, Write};
use crate::{StoreError, sqlite::PURGE_ITEMS_MAX};

/// Items in a map.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<(Kind, String), Item>>);

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn items(&self) -> MutexGuard<'_, BTreeMap<(Kind, String), Item>> {
        // A panic elsewhere leaves whole items: each change is one call of the map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, changes: Vec<Change>) -> Result<Vec<u64>, StoreError> {
        check_all(&changes)?;
        let mut items = self.items();
        let slot = |change: &Change| {
            let (kind, key) = change.target();
            (kind, key.to_owned())
        };
        for change in &changes {
            let current = items.get(&slot(change)).map(|item| item.version);
            if !change.holds(current) {
                return Err(StoreError::Conflict { current });
            }
        }
        let made = changes.into_iter().map(|change| {
            let slot = slot(&change);
            match change {
                Change::Put(Write { key, expires_ms, value, .. }) => {
                    let version = items.get(&slot).map_or(0, |item| item.version) + 1;
                    items.insert(slot, Item { key, version, expires_ms, value });
                    version
                }
                Change::Delete { .. } => {
                    items.remove(&slot);
                    0
                }
            }
        });
        Ok(made.collect())
    }

    fn read(&self, query: &Query) -> Page {
        let items = self.items();
        let range = (query.kind, query.prefix.clone())..(query.kind, end_of(&query.prefix));
        let behind = |item: &&Item| match (&query.after, query.order) {
            (None, _) => true,
            (Some(after), Order::Ascending) => item.key > *after,
            (Some(after), Order::Descending) => item.key < *after,
        };
        let found = items.range(range).map(|(_, item)| item);
        let whole = |item: &Item| Ok::<_, Infallible>(item.clone());
        let Ok(page) = match query.order {
            Order::Ascending => Page::fill(found.filter(behind).map(whole), query.limit),
            Order::Descending => Page::fill(found.rev().filter(behind).map(whole), query.limit),
        };
        page
    }

    fn remove_expired(&self, now_ms: u64) -> u64 {
        let mut items = self.items();
        let expired = items.iter().filter(|(_, item)| item.expires_ms.is_some_and(|at| at <= now_ms));
        let expired: Vec<_> = expired.map(|(slot, _)| slot.clone()).take(PURGE_ITEMS_MAX).collect();
        for slot in &expired {
            items.remove(slot);
        }
        expired.len() as u64
    }
}

impl Store for MemoryStore {
    fn get(&self, kind: Kind, key: &str) -> Answer<'_, Option<Item>> {
        let item = self.items().get(&(kind, key.to_owned())).cloned();
        Box::pin(async move { Ok(item) })
    }

    fn put(&self, write: Write) -> Answer<'_, u64> {
        let done = self.change(vec![Change::Put(write)]);
        Box::pin(async move { done.map(|versions| versions.first().copied().unwrap_or_default()) })
    }

    fn delete(&self, kind: Kind, key: &str, expect: Expect) -> Answer<'_, ()> {
        let done = self.change(vec![Change::Delete { kind, key: key.to_owned(), expect }]);
        Box::pin(async move { done.map(drop) })
    }

    fn transact(&self, changes: Vec<Change>) -> Answer<'_, Vec<u64>> {
        let done = self.change(changes);
        Box::pin(async move { done })
    }

    fn page(&self, query: Query) -> Answer<'_, Page> {
        let page = self.read(&query);
        Box::pin(async move { Ok(page) })
    }

    fn count(&self, kind: Kind) -> Answer<'_, u64> {
        let count = self.items().keys().filter(|(of, _)| *of == kind).count() as u64;
        Box::pin(async move { Ok(count) })
    }

    fn purge(&self, now_ms: u64) -> Answer<'_, u64> {
        let purged = self.remove_expired(now_ms);
        Box::pin(async move { Ok(purged) })
    }
}
