//! The store in a file, `store.sqlite` of the data directory. Before it: [`crate::Store`]'s callers; after it: SQLite.
//!
//! Threads own a connection each. The writer takes what has gathered, up to [`BATCH_JOBS_MAX`] writes, into one transaction
//! ([`jobs`]), so that many callers share the cost of one sync; each is answered when that transaction is on disk
//! (`synchronous=FULL`). The reader sees every transaction that was committed before it asks, and never waits for the writer (WAL).
//! A third thread takes the log into the file ([`checkpoint`]), which the other two do not wait for.
//! [`open`] takes the lock of the directory, brings an older file to this version's format and refuses a damaged one; [`reserve`] keeps
//! the room that opening needs when the disk is full, and [`spare`] the room for revocations.
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use crate::StoreError;
use crate::contract::{Answer, Room, Store, check_all};
use crate::item::{Change, Expect, Item, Kind, Page, Query, Write};

mod backup;
mod checkpoint;
mod jobs;
mod open;
mod reserve;
mod spare;

pub use backup::{BackupError, backup};

use self::jobs::{Read, ReadJob, WriteJob, WriteKind};

/// The file's name in the data directory.
pub const FILE: &str = "store.sqlite";
/// Calls that may wait for either thread.
const WAITING_JOBS_MAX: usize = 1_024;
/// Writes of one transaction.
const BATCH_JOBS_MAX: usize = 256;
/// Items that one purge removes: it shall not keep other writes waiting.
pub(crate) const PURGE_ITEMS_MAX: usize = 2_000;

/// One item of the store of a data directory, which another process may have open; `None` where there is no store either.
pub fn peek(dir: &Path, kind: Kind, key: &str) -> Result<Option<Item>, StoreError> {
    let path = dir.join(FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let connection = open::reader(&path)?;
    jobs::get(&connection, kind, key).map_err(|error| open::say(&path, &error))
}

/// How many items of a kind the store of a data directory has; none where there is no store.
pub fn peek_count(dir: &Path, kind: Kind) -> Result<u64, StoreError> {
    let path = dir.join(FILE);
    if !path.is_file() {
        return Ok(0);
    }
    let connection = open::reader(&path)?;
    jobs::count(&connection, kind).map_err(|error| open::say(&path, &error))
}

/// An open store. Dropping it ends its threads, after what they have begun.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writes: Option<mpsc::Sender<WriteJob>>,
    reads: Option<mpsc::Sender<ReadJob>>,
    threads: Vec<JoinHandle<()>>,
    // Dropped last, when no thread uses the file any more.
    _lock: open::Lock,
}

impl SqliteStore {
    /// Opens the store of a data directory, which exists; makes it where there is none. Blocks while it checks the file.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let lock = open::Lock::take(dir)?;
        let path = dir.join(FILE);
        let connect = || Ok::<_, StoreError>((open::writer(&path)?, open::reader(&path)?, open::checkpointer(&path)?));
        let (to_write, to_read, to_checkpoint) = match connect() {
            Err(StoreError::Full { .. }) if reserve::give_back(dir) => {
                tracing::warn!(path = %path.display(), "the disk of the store is full: what it has can be read, and nothing can be changed before there is room");
                connect()?
            }
            connected => connected?,
        };
        reserve::take(dir);
        let spare = spare::Spare::take(dir);
        let (writes, write_jobs) = mpsc::channel(WAITING_JOBS_MAX);
        let (reads, read_jobs) = mpsc::channel(WAITING_JOBS_MAX);
        let failed = |error: std::io::Error| StoreError::Failed { path: path.clone(), detail: error.to_string() };
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let of = path.clone();
        let (committed, commits) = std::sync::mpsc::sync_channel(1);
        let checkpointing =
            named("store-log").spawn(move || checkpoint::run(&to_checkpoint, &commits, &of)).map_err(failed)?;
        let of = path.clone();
        let writing = named("store-write")
            .spawn(move || jobs::write_all((to_write, spare), write_jobs, &committed, &of))
            .map_err(failed)?;
        let of = path.clone();
        let reading = named("store-read").spawn(move || jobs::read_all(&to_read, read_jobs, &of)).map_err(failed)?;
        Ok(Self {
            path,
            writes: Some(writes),
            reads: Some(reads),
            threads: vec![writing, reading, checkpointing],
            _lock: lock,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn gone(&self) -> StoreError {
        StoreError::Failed { path: self.path.clone(), detail: "its thread has ended; see the log".to_owned() }
    }

    fn ask<J, T: Send + 'static>(
        &self,
        to: Option<&mpsc::Sender<J>>,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> J,
    ) -> Answer<'_, T> {
        let (answer, answered) = oneshot::channel();
        let sent = match to.map(|to| to.try_send(job(answer))) {
            Some(Ok(())) => Ok(()),
            Some(Err(mpsc::error::TrySendError::Full(_))) => Err(StoreError::Busy),
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => Err(self.gone()),
        };
        Box::pin(async move {
            sent?;
            answered.await.unwrap_or_else(|_| Err(self.gone()))
        })
    }

    fn write(&self, what: WriteKind) -> Answer<'_, Vec<u64>> {
        self.ask(self.writes.as_ref(), |answer| WriteJob { what, answer })
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        (self.writes, self.reads) = (None, None);
        for thread in self.threads.drain(..) {
            // A panic has been printed by its thread.
            drop(thread.join());
        }
        if let Some(dir) = self.path.parent() {
            reserve::take(dir);
        }
    }
}

impl Store for SqliteStore {
    fn get(&self, kind: Kind, key: &str) -> Answer<'_, Option<Item>> {
        let key = key.to_owned();
        self.ask(self.reads.as_ref(), |answer| ReadJob(Read::Get { kind, key, answer }))
    }

    fn put(&self, write: Write) -> Answer<'_, u64> {
        one(self.transact(vec![Change::Put(write)]))
    }

    fn delete(&self, kind: Kind, key: &str, expect: Expect) -> Answer<'_, ()> {
        let done = self.write(WriteKind::Changes(vec![Change::Delete { kind, key: key.to_owned(), expect }]));
        Box::pin(async move { done.await.map(drop) })
    }

    fn transact(&self, changes: Vec<Change>) -> Answer<'_, Vec<u64>> {
        match check_all(&changes) {
            Ok(()) => self.write(WriteKind::Changes(changes)),
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }

    fn revoke(&self, changes: Vec<Change>, room: Room) -> Answer<'_, Vec<u64>> {
        match check_all(&changes) {
            Ok(()) => self.write(WriteKind::Revocations(changes, room)),
            Err(error) => Box::pin(async move { Err(error) }),
        }
    }

    fn page(&self, query: Query) -> Answer<'_, Page> {
        self.ask(self.reads.as_ref(), |answer| ReadJob(Read::Page { query, answer }))
    }

    fn count(&self, kind: Kind) -> Answer<'_, u64> {
        self.ask(self.reads.as_ref(), |answer| ReadJob(Read::Count { kind, answer }))
    }

    fn purge(&self, now_ms: u64) -> Answer<'_, u64> {
        one(self.write(WriteKind::Purge { now_ms }))
    }
}

/// The answer of a job that comes to one number.
fn one(answer: Answer<'_, Vec<u64>>) -> Answer<'_, u64> {
    Box::pin(async move { answer.await.map(|numbers| numbers.first().copied().unwrap_or_default()) })
}
