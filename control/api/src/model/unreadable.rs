//! Items of the store that cannot be read: a later release wrote them, or they are damaged. Each is passed over, said once, counted, shown, and
//! left in the store as it is, so that one of them does not keep all others from being served.
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use millstream_store::item::{Item, Kind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use super::Kept;

/// Items that are remembered; more are as much of a reason to look at the store.
const REMEMBERED_MAX: usize = 1_000;

/// Which items could not be read since this process began.
#[derive(Debug, Default)]
pub(crate) struct Unreadable(Mutex<BTreeSet<(&'static str, String)>>);

/// An item that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct UnreadableItem {
    /// What it is: `stream`, `token`, `webhook`, ...: an open set.
    kind: &'static str,
    /// Which one: its id.
    key: String,
}

impl Unreadable {
    fn items(&self) -> MutexGuard<'_, BTreeSet<(&'static str, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An item as what it means; `None`: it cannot be read.
    pub(crate) fn read<T: DeserializeOwned>(&self, kind: Kind, item: &Item) -> Option<Kept<T>> {
        match serde_json::from_slice(&item.value) {
            Ok(value) => Some(Kept { version: item.version, value }),
            Err(error) => {
                let mut items = self.items();
                if items.len() < REMEMBERED_MAX && items.insert((kind.0, item.key.clone())) {
                    tracing::error!(
                        kind = kind.0,
                        key = item.key,
                        %error,
                        "a stored item cannot be read and is passed over; it stays as it is: run the release that wrote it, or restore a backup"
                    );
                }
                None
            }
        }
    }

    /// Of these items, with their keys, those that can be read.
    pub(crate) fn read_all<'a, T: DeserializeOwned>(
        &self,
        kind: Kind,
        items: &'a [Item],
    ) -> impl Iterator<Item = (&'a str, Kept<T>)> {
        items.iter().filter_map(move |item| Some((item.key.as_str(), self.read(kind, item)?)))
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.items().len()
    }

    /// Which.
    pub(crate) fn list(&self) -> Vec<UnreadableItem> {
        self.items().iter().map(|(kind, key)| UnreadableItem { kind, key: key.clone() }).collect()
    }
}
