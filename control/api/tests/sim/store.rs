//! A store that takes its time, and fails before or after it wrote. What it has written outlives the control that wrote it.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_store::item::{Change, Expect, Item, Kind, Page, Query, Write};
use millstream_store::memory::MemoryStore;
use millstream_store::{Answer, Store, StoreError};

use super::random::Random;

/// One run of control's view of a disk.
pub(crate) struct Run {
    pub(crate) disk: Arc<MemoryStore>,
    pub(crate) random: Random,
    /// Faults are drawn.
    pub(crate) faulty: Arc<AtomicBool>,
    /// The run has crashed: whoever waits for its store waits for ever, as a process does that is gone.
    pub(crate) dead: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// Nothing is written.
    Full,
    /// It is written, and the answer says that it failed.
    Lie,
}

impl Run {
    async fn pause(&self) {
        tokio::time::sleep(self.random.context(20)).await;
        if self.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    fn fault(&self) -> Fault {
        match (self.faulty.load(Ordering::Relaxed), self.random.below(100)) {
            (true, 0..4) => Fault::Full,
            (true, 4..8) => Fault::Lie,
            _ => Fault::None,
        }
    }

    fn read<'a, T: Send + 'a>(
        &'a self,
        what: String,
        read: impl FnOnce() -> Answer<'a, T> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            self.pause().await;
            if self.faulty.load(Ordering::Relaxed) && self.random.percent(2) {
                self.random.say(format_args!("store: {what} fails"));
                return Err(failed());
            }
            self.random.say(format_args!("store: {what}"));
            let found = read().await;
            self.pause().await;
            found
        })
    }

    fn write<'a, T: Send + 'a>(
        &'a self,
        what: String,
        write: impl FnOnce() -> Answer<'a, T> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            self.pause().await;
            let fault = self.fault();
            self.random.say(format_args!("store: {what}, {fault:?}"));
            if matches!(fault, Fault::Full) {
                return Err(StoreError::Full { path: "store".into() });
            }
            let done = write().await;
            self.pause().await;
            if matches!(fault, Fault::Lie) { done.and(Err(failed())) } else { done }
        })
    }
}

fn failed() -> StoreError {
    StoreError::Failed { path: "store".into(), detail: "no answer in time".into() }
}

impl Store for Run {
    fn get(&self, kind: Kind, key: &str) -> Answer<'_, Option<Item>> {
        let key = key.to_owned();
        self.read(format!("get {kind:?} {key}"), move || self.disk.get(kind, &key))
    }
    fn put(&self, write: Write) -> Answer<'_, u64> {
        self.write(format!("put {:?} {}", write.kind, write.key), move || self.disk.put(write))
    }
    fn delete(&self, kind: Kind, key: &str, expect: Expect) -> Answer<'_, ()> {
        let key = key.to_owned();
        self.write(format!("delete {kind:?} {key}"), move || self.disk.delete(kind, &key, expect))
    }
    fn transact(&self, changes: Vec<Change>) -> Answer<'_, Vec<u64>> {
        let targets: Vec<_> = changes.iter().map(Change::target).collect();
        self.write(format!("transact {targets:?}"), move || self.disk.transact(changes))
    }
    fn page(&self, query: Query) -> Answer<'_, Page> {
        self.read(format!("page {:?} {}", query.kind, query.prefix), move || self.disk.page(query))
    }
    fn count(&self, kind: Kind) -> Answer<'_, u64> {
        self.read(format!("count {kind:?}"), move || self.disk.count(kind))
    }
    fn purge(&self, now_ms: u64) -> Answer<'_, u64> {
        self.write(format!("purge {now_ms}"), move || self.disk.purge(now_ms))
    }
}
