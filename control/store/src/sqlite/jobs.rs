//! The two threads: what they are asked, and how the writer makes one transaction of what has gathered.
use std::path::Path;
use std::sync::mpsc::SyncSender;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::{BATCH_JOBS_MAX, PURGE_ITEMS_MAX, checkpoint, open};
use crate::StoreError;
use crate::contract::end_of;
use crate::item::{Change, Item, Kind, Order, PAGE_ITEMS_MAX, Page, Query, Write};

type To<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is to be written.
pub(super) enum WriteKind {
    /// All of these, or none.
    Changes(Vec<Change>),
    Purge {
        now_ms: u64,
    },
}

/// A change, and who waits for it. The numbers that it comes to are the new versions, or how many items were purged.
pub(super) struct WriteJob {
    pub(super) what: WriteKind,
    pub(super) answer: To<Vec<u64>>,
}

/// One look.
pub(super) enum Read {
    Get { kind: Kind, key: String, answer: To<Option<Item>> },
    Page { query: Query, answer: To<Page> },
    Count { kind: Kind, answer: To<u64> },
}

pub(super) struct ReadJob(pub(super) Read);

/// The writer's thread: until nobody can ask any more.
pub(super) fn write_all(
    mut connection: Connection,
    mut jobs: mpsc::Receiver<WriteJob>,
    committed: &SyncSender<()>,
    path: &Path,
) {
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_JOBS_MAX
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        let (changes, waiting): (Vec<_>, Vec<_>) = batch.into_iter().map(|job| (job.what, job.answer)).unzip();
        checkpoint::make_way(&connection, path);
        match write_batch(&mut connection, changes) {
            Ok(answers) => {
                // One that waits says as much as two.
                let _ = committed.try_send(());
                for (waiting, answer) in waiting.into_iter().zip(answers) {
                    // Whoever has gone does not want to know.
                    let _ = waiting.send(answer);
                }
            }
            Err(error) => {
                let error = open::say(path, &error);
                tracing::error!(%error, writes = waiting.len(), "writes to the store were refused");
                for waiting in waiting {
                    let _ = waiting.send(Err(error.clone()));
                }
            }
        }
    }
}

/// All or nothing; an item that is not as expected is an answer, no error of the batch.
fn write_batch(
    connection: &mut Connection,
    changes: Vec<WriteKind>,
) -> rusqlite::Result<Vec<Result<Vec<u64>, StoreError>>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let answers = changes.into_iter().map(|change| write(&transaction, change)).collect::<rusqlite::Result<_>>()?;
    transaction.commit()?;
    Ok(answers)
}

/// Looks at all conditions of a job before it writes the first item, so that a job whose conditions do not hold changes nothing.
fn write(on: &Transaction<'_>, what: WriteKind) -> rusqlite::Result<Result<Vec<u64>, StoreError>> {
    let changes = match what {
        WriteKind::Changes(changes) => changes,
        WriteKind::Purge { now_ms } => return purge(on, now_ms).map(|purged| Ok(vec![purged])),
    };
    let mut versions = Vec::with_capacity(changes.len());
    for change in &changes {
        let (kind, key) = change.target();
        let current = version(on, kind, key)?;
        if !change.holds(current) {
            return Ok(Err(StoreError::Conflict { current }));
        }
        versions.push(current.unwrap_or(0) + 1);
    }
    for (change, version) in changes.into_iter().zip(&mut versions) {
        match change {
            Change::Put(Write { kind, key, expires_ms, value, .. }) => {
                let sql = "INSERT INTO item (kind, key, version, expires_ms, value) VALUES (?1, ?2, ?3, ?4, ?5) \
                           ON CONFLICT (kind, key) DO UPDATE SET version = ?3, expires_ms = ?4, value = ?5";
                let expires_ms = expires_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
                on.prepare_cached(sql)?.execute(params![kind.0, key, *version as i64, expires_ms, value])?;
            }
            Change::Delete { kind, key, .. } => {
                on.prepare_cached("DELETE FROM item WHERE kind = ?1 AND key = ?2")?.execute(params![kind.0, key])?;
                *version = 0;
            }
        }
    }
    Ok(Ok(versions))
}

fn purge(on: &Transaction<'_>, now_ms: u64) -> rusqlite::Result<u64> {
    let sql = "DELETE FROM item WHERE (kind, key) IN \
               (SELECT kind, key FROM item WHERE expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2)";
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let purged = on.prepare_cached(sql)?.execute(params![now_ms, PURGE_ITEMS_MAX as i64])?;
    Ok(purged as u64)
}

fn version(on: &Connection, kind: Kind, key: &str) -> rusqlite::Result<Option<u64>> {
    on.prepare_cached("SELECT version FROM item WHERE kind = ?1 AND key = ?2")?
        .query_row(params![kind.0, key], |row| row.get::<_, i64>(0).map(|version| version as u64))
        .optional()
}

/// The reader's thread: until nobody can ask any more.
pub(super) fn read_all(connection: &Connection, mut jobs: mpsc::Receiver<ReadJob>, path: &Path) {
    fn answer<T>(to: To<T>, path: &Path, found: rusqlite::Result<T>) {
        let found = found.map_err(|error| open::say(path, &error));
        if let Err(error) = &found {
            tracing::error!(%error, "a read of the store was refused");
        }
        // Whoever has gone does not want to know.
        let _ = to.send(found);
    }
    while let Some(ReadJob(job)) = jobs.blocking_recv() {
        match job {
            Read::Get { kind, key, answer: to } => answer(to, path, get(connection, kind, &key)),
            Read::Page { query, answer: to } => answer(to, path, page(connection, &query)),
            Read::Count { kind, answer: to } => answer(to, path, count(connection, kind)),
        }
    }
}

fn item(row: &Row<'_>) -> rusqlite::Result<Item> {
    Ok(Item {
        key: row.get(0)?,
        version: row.get::<_, i64>(1)? as u64,
        expires_ms: row.get::<_, Option<i64>>(2)?.map(|ms| ms as u64),
        value: row.get(3)?,
    })
}

pub(super) fn get(on: &Connection, kind: Kind, key: &str) -> rusqlite::Result<Option<Item>> {
    on.prepare_cached("SELECT key, version, expires_ms, value FROM item WHERE kind = ?1 AND key = ?2")?
        .query_row(params![kind.0, key], item)
        .optional()
}

fn page(on: &Connection, query: &Query) -> rusqlite::Result<Page> {
    let limit = query.limit.clamp(1, PAGE_ITEMS_MAX);
    let (start, end) = (query.prefix.as_str(), end_of(&query.prefix));
    // One more than asked for tells whether there is a next page.
    let ask = (limit + 1) as i64;
    let all = |mut statement: CachedStatement<'_>, low: &str, high: &str| -> rusqlite::Result<Vec<Item>> {
        statement.query_map(params![query.kind.0, low, high, ask], item)?.collect()
    };
    let select = "SELECT key, version, expires_ms, value FROM item WHERE kind = ?1";
    let mut items = match (&query.after, query.order) {
        (Some(after), Order::Ascending) if after.as_str() >= start => {
            let sql = format!("{select} AND key > ?2 AND key < ?3 ORDER BY key LIMIT ?4");
            all(on.prepare_cached(&sql)?, after, &end)?
        }
        (_, Order::Ascending) => {
            let sql = format!("{select} AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4");
            all(on.prepare_cached(&sql)?, start, &end)?
        }
        (after, Order::Descending) => {
            let high = after.as_deref().filter(|after| *after < end.as_str()).unwrap_or(&end);
            let sql = format!("{select} AND key >= ?2 AND key < ?3 ORDER BY key DESC LIMIT ?4");
            all(on.prepare_cached(&sql)?, start, high)?
        }
    };
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|item| item.key.clone());
    Ok(Page { items, next })
}

pub(super) fn count(on: &Connection, kind: Kind) -> rusqlite::Result<u64> {
    on.prepare_cached("SELECT count(*) FROM item WHERE kind = ?1")?
        .query_row(params![kind.0], |row| row.get::<_, i64>(0))
        .map(|count| count as u64)
}
