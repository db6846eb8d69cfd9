//! The two threads: what they are asked, and how the writer makes one transaction of what has gathered.
use std::path::Path;
use std::sync::mpsc::SyncSender;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::spare::Spare;
use super::{BATCH_JOBS_MAX, PURGE_ITEMS_MAX, checkpoint, open};
use crate::StoreError;
use crate::contract::{Room, end_of};
use crate::item::{Change, Item, Kind, Order, PAGE_ITEMS_MAX, Page, Query, Write};
use crate::repeated::Repeated;

type To<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is to be written.
pub(super) enum WriteKind {
    /// All of these, or none.
    Changes(Vec<Change>),
    /// The same, with what is kept for them where there is no room.
    Revocations(Vec<Change>, Room),
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
    (mut connection, mut spare): (Connection, Spare),
    mut jobs: mpsc::Receiver<WriteJob>,
    committed: &SyncSender<()>,
    path: &Path,
) {
    let refused = Repeated::new();
    while let Some(first) = jobs.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_JOBS_MAX
            && let Ok(job) = jobs.try_recv()
        {
            batch.push(job);
        }
        let (changes, waiting): (Vec<_>, Vec<_>) = batch.into_iter().map(|job| (job.what, job.answer)).unzip();
        // Few and short: kept until it is known that they have found room.
        let revocations: Vec<Option<(Vec<Change>, Room)>> = changes.iter().map(revocation).collect();
        checkpoint::make_way(&connection, path);
        match write_batch(&mut connection, changes) {
            Ok(answers) => {
                // One that waits says as much as two.
                let _ = committed.try_send(());
                for (waiting, answer) in waiting.into_iter().zip(answers) {
                    // Whoever has gone does not want to know.
                    let _ = waiting.send(answer);
                }
                // It may take a moment.
                spare.take_back();
            }
            Err(error) => {
                let error = open::say(path, &error);
                if let Some(count) = refused.again() {
                    tracing::error!(%error, count, "writes to the store were refused");
                }
                let is_full = matches!(error, StoreError::Full { .. });
                for (waiting, revocation) in waiting.into_iter().zip(revocations) {
                    let answer = match revocation {
                        Some(revocation) if is_full => revoke((&mut connection, &spare), &revocation, path),
                        _ => Err(error.clone()),
                    };
                    let _ = waiting.send(answer);
                }
            }
        }
    }
}

fn revocation(what: &WriteKind) -> Option<(Vec<Change>, Room)> {
    match what {
        WriteKind::Revocations(changes, room) => Some((changes.clone(), *room)),
        WriteKind::Changes(_) | WriteKind::Purge { .. } => None,
    }
}

/// Makes changes on a full disk: in the log's own room once all of it is in the file, and with what was kept for this.
fn revoke(
    (connection, spare): (&mut Connection, &Spare),
    (changes, room): &(Vec<Change>, Room),
    path: &Path,
) -> Result<Vec<u64>, StoreError> {
    loop {
        // Where the file needs little more room for all that the log has, the log can be used again and again. Half of what it may use is
        // for that, the other half for the log itself.
        if spare.is_half_there(*room) {
            checkpoint::begin_anew(connection);
        }
        match write_batch(connection, vec![WriteKind::Revocations(changes.clone(), *room)]) {
            Ok(answers) => return answers.into_iter().next().unwrap_or(Ok(Vec::new())),
            Err(error) => match open::say(path, &error) {
                StoreError::Full { .. } if spare.give(*room) => {}
                error => return Err(error),
            },
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
        WriteKind::Changes(changes) | WriteKind::Revocations(changes, _) => changes,
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
    let refused = Repeated::new();
    let said = |error: rusqlite::Error| {
        let error = open::say(path, &error);
        if let Some(count) = refused.again() {
            tracing::error!(%error, count, "reads of the store were refused");
        }
        error
    };
    while let Some(ReadJob(job)) = jobs.blocking_recv() {
        match job {
            // Whoever has gone does not want to know.
            Read::Get { kind, key, answer } => drop(answer.send(get(connection, kind, &key).map_err(said))),
            Read::Page { query, answer } => drop(answer.send(page(connection, &query).map_err(said))),
            Read::Count { kind, answer } => drop(answer.send(count(connection, kind).map_err(said))),
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
    let (start, end) = (query.prefix.as_str(), end_of(&query.prefix));
    // One more than asked for tells whether there is a next page.
    let ask = (query.limit.clamp(1, PAGE_ITEMS_MAX) + 1) as i64;
    // Row by row: what does not fit is not read.
    let fill = |mut statement: CachedStatement<'_>, low: &str, high: &str| {
        Page::fill(statement.query_map(params![query.kind.0, low, high, ask], item)?, query.limit)
    };
    let select = "SELECT key, version, expires_ms, value FROM item WHERE kind = ?1";
    match (&query.after, query.order) {
        (Some(after), Order::Ascending) if after.as_str() >= start => {
            let sql = format!("{select} AND key > ?2 AND key < ?3 ORDER BY key LIMIT ?4");
            fill(on.prepare_cached(&sql)?, after, &end)
        }
        (_, Order::Ascending) => {
            let sql = format!("{select} AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4");
            fill(on.prepare_cached(&sql)?, start, &end)
        }
        (after, Order::Descending) => {
            let high = after.as_deref().filter(|after| *after < end.as_str()).unwrap_or(&end);
            let sql = format!("{select} AND key >= ?2 AND key < ?3 ORDER BY key DESC LIMIT ?4");
            fill(on.prepare_cached(&sql)?, start, high)
        }
    }
}

pub(super) fn count(on: &Connection, kind: Kind) -> rusqlite::Result<u64> {
    on.prepare_cached("SELECT count(*) FROM item WHERE kind = ?1")?
        .query_row(params![kind.0], |row| row.get::<_, i64>(0))
        .map(|count| count as u64)
}
