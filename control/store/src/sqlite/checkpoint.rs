//! Takes the write-ahead log into the file, beside those who write: both have to be synced for it, and whoever waits for an answer shall
//! not wait for that. Before it: the writer, which says when it has committed; after it: the disk.
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::open;
use crate::repeated::Repeated;

/// A log is taken in once it has so many bytes: pages that are written often are then written once.
const LOG_BYTES: u64 = 4 << 20;
/// With so many bytes nothing is written before it is taken in: under endless writes there is never a moment at which it is empty.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// It is taken in no more often than this: a log that begins anew keeps its size, which says nothing of what is in it.
const PAUSE: Duration = Duration::from_secs(1);

fn log_bytes(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // Where there is none, nothing is to be taken in.
    std::fs::metadata(log).map_or(0, |log| log.len())
}

/// The thread: until there is no writer any more.
pub(super) fn run(connection: &Connection, commits: &Receiver<()>, path: &Path) {
    let mut not_before = Instant::now();
    let failing = Repeated::new();
    while commits.recv().is_ok() {
        if Instant::now() < not_before || log_bytes(path) < LOG_BYTES {
            continue;
        }
        // Whoever reads or writes meanwhile is not waited for, and does not wait.
        if let Err(error) = take_in(connection, "PASSIVE")
            && let Some(count) = failing.again()
        {
            say(path, &error, count);
        }
        not_before = Instant::now() + PAUSE;
    }
}

/// Takes the log in and empties it where it has become too long, in the writer's own thread.
pub(super) fn make_way(connection: &Connection, path: &Path) {
    if log_bytes(path) >= LOG_BYTES_MAX
        && let Err(error) = take_in(connection, "TRUNCATE")
        && let Some(count) = STUCK.again()
    {
        say(path, &error, count);
    }
}

/// The log was to be emptied and could not be.
static STUCK: Repeated = Repeated::new();

/// Takes the log in, so that the next write begins it anew and needs no room that it does not have.
pub(super) fn begin_anew(connection: &Connection) {
    // Where the file itself needs more room, the log keeps what it has.
    let _ = take_in(connection, "RESTART");
}

fn take_in(connection: &Connection, how: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()))
}

fn say(path: &Path, error: &rusqlite::Error, count: u64) {
    // Nothing is lost by it: what was answered is in the log, which is tried again.
    let error = open::say(path, error);
    tracing::warn!(%error, count, "the log of the store cannot be taken into its file now; it grows until it can");
}
