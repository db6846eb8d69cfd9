//! Which file each slate is, by its name: what nodes are told of the streams that show it. Changed by [`super`].
use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use millstream_control_protocol::state::Stream;
use millstream_store::item::Query;
use millstream_store::{Store, StoreError};
use serde_json::{Map, Value};
use tokio::sync::MutexGuard;

use crate::http::problem::{Answer, FieldError, Problem};
use crate::model::SLATE;
use crate::model::settings::Settings;
use crate::model::slate::SlateRecord;
use crate::model::stream::StreamRecord;
use crate::model::unreadable::Unreadable;

/// Which file each slate is, and who may change that now.
#[derive(Debug, Default)]
pub(crate) struct Slates {
    files: RwLock<BTreeMap<String, String>>,
    pub(super) changes: tokio::sync::Mutex<()>,
}

impl Slates {
    /// Those of the store: what a control that starts begins with.
    pub(crate) async fn of(store: &dyn Store, unreadable: &Unreadable) -> Result<Self, StoreError> {
        let (mut files, mut after) = (BTreeMap::new(), None);
        loop {
            let page = store.page(Query { after, ..Query::all(SLATE) }).await?;
            for item in &page.items {
                if let Some(slate) = unreadable.read::<SlateRecord>(SLATE, item) {
                    files.insert(item.key.clone(), slate.value.sha256);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(Self { files: RwLock::new(files), ..Self::default() });
            }
        }
    }

    pub(super) fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, String>> {
        // Every change under this lock is one step.
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, name: &str, sha256: Option<String>) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        match sha256 {
            Some(sha256) => files.insert(name.to_owned(), sha256),
            None => files.remove(name),
        };
    }

    /// What nodes are told of a stream.
    pub(crate) fn to_link(&self, record: &StreamRecord, id: &str) -> Stream {
        let slate = self.read().get(record.settings.text("slate")).cloned();
        Stream { slate, ..record.to_link(id) }
    }

    /// Keeps slates as they are while this is held, where settings that are given name one: from the [check](Self::check) until they are stored.
    pub(crate) async fn hold(&self, given: &Map<String, Value>) -> Option<MutexGuard<'_, ()>> {
        let names = given.get("slate").and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        if names { Some(self.changes.lock().await) } else { None }
    }

    /// Refuses settings that name a slate which is not there.
    pub(crate) fn check(&self, settings: &Settings) -> Answer<()> {
        let name = settings.text("slate");
        if name.is_empty() || self.read().contains_key(name) {
            return Ok(());
        }
        let message = "there is no slate of this name; see /api/v1/slates, or upload it with PUT /api/v1/slates/{name}";
        Err(Problem::fields(vec![FieldError::new("slate", message)]))
    }
}
