//! Opening the file: the directory's lock, the format's migrations, the check for damage, and SQLite's errors in our words.
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::StoreError;

/// The lock's file in the data directory; it stays, empty or not, when nobody holds it.
const LOCK_FILE: &str = "store.lock";
/// Marks the file as ours (`PRAGMA application_id`): "MLST".
const APPLICATION_ID: i32 = 0x4D4C_5354;
/// Each brings a file of the format of its index to the next one. Published ones are never changed, only followed.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE item (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        version INTEGER NOT NULL,
        expires_ms INTEGER,
        value BLOB NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    CREATE INDEX item_expiry ON item (expires_ms) WHERE expires_ms IS NOT NULL;
"];
/// How long SQLite waits for another process (a backup) that has the file.
const BUSY: Duration = Duration::from_secs(5);
/// Memory for pages of the file, KiB a connection. The system caches the file as well; SQLite's own default is 2,000.
const CACHE_KIB: i32 = 512;
/// The index of the log cannot grow.
const SHM_NO_ROOM: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
/// A file could not be written to.
const WRITE_FAILED: i32 = rusqlite::ffi::SQLITE_IOERR_WRITE;
/// What a file is to be able to grow by.
static GROWTH: [u8; 64 << 10] = [7; 64 << 10];
/// Bytes that a write-ahead log is cut to once it has been taken into the file.
const WAL_BYTES_KEPT: i64 = 16 << 20;

/// The data directory, held by this process alone until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        let failed = |error: std::io::Error| {
            let advice = if error.kind() == std::io::ErrorKind::PermissionDenied {
                "; it is another user's: run this as that user (sudo -u USER), or give another directory with --data-dir"
            } else {
                ""
            };
            StoreError::Failed { path: path.clone(), detail: format!("{error}{advice}") }
        };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let read = (&file).take(16).read_to_string(&mut holder);
                let known = read.is_ok() && !holder.trim().is_empty();
                let holder = if known { holder.trim().to_owned() } else { "unknown".to_owned() };
                return Err(StoreError::Locked { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // For the message of whoever comes second. A full disk must not keep the server from starting.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

/// The connection that writes; makes or migrates the file.
pub(super) fn writer(path: &Path) -> Result<Connection, StoreError> {
    let ours = |error| say(path, &error);
    // Made here and not by SQLite, so that nobody else may read it; its log gets the same permissions.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::Failed { path: path.to_owned(), detail: error.to_string() })?;
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(ours)?;
    set_up(&connection).map_err(ours)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(ours)?;
    // The default of WAL, NORMAL, may lose the last transactions with the power; what was answered must not be lost.
    connection.pragma_update(None, "synchronous", "FULL").map_err(ours)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT).map_err(ours)?;
    // Taking the log into the file syncs both, for which nobody who writes is to wait: `checkpoint` does it beside them.
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(ours)?;
    migrate(path, &mut connection)?;
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(ours)?;
    if found != "ok" {
        return Err(StoreError::Damaged { path: path.to_owned(), detail: found });
    }
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let ours = |error| say(path, &error);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(ours)?;
    set_up(&connection).map_err(ours)?;
    connection.pragma_update(None, "query_only", true).map_err(ours)?;
    Ok(connection)
}

/// A connection that takes the log into the file.
pub(super) fn checkpointer(path: &Path) -> Result<Connection, StoreError> {
    let ours = |error| say(path, &error);
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(ours)?;
    set_up(&connection).map_err(ours)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(ours)?;
    Ok(connection)
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // A file that somebody has prepared shall not run functions, nor be trusted in its schema.
    connection.pragma_update(None, "trusted_schema", false)
}

/// Brings the file to this version's format. A file that has it already is not written to, so that a full disk keeps no server from starting.
fn migrate(path: &Path, connection: &mut Connection) -> Result<(), StoreError> {
    let ours = |error| say(path, &error);
    if marks(connection).map_err(ours)? == (APPLICATION_ID, MIGRATIONS.len() as u32) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(ours)?;
    let (application, format) = marks(&transaction).map_err(ours)?;
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(ours)?;
    if application != APPLICATION_ID && tables > 0 {
        let detail = "it is a database of another program".to_owned();
        return Err(StoreError::Damaged { path: path.to_owned(), detail });
    }
    let known = MIGRATIONS.len() as u32;
    if format > known {
        return Err(StoreError::Newer { path: path.to_owned(), found: format, known });
    }
    for migration in MIGRATIONS.iter().skip(format as usize) {
        transaction.execute_batch(migration).map_err(ours)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(ours)?;
    transaction.pragma_update(None, "user_version", known).map_err(ours)?;
    transaction.commit().map_err(ours)
}

/// Whose file it is, and of which format.
fn marks(connection: &Connection) -> rusqlite::Result<(i32, u32)> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    Ok((number("application_id")?, number("user_version")? as u32))
}

/// Whether files beside the store may grow as it would: SQLite says that a write failed, and not that a quota or the limit of a file's size
/// (`RLIMIT_FSIZE`) is reached.
fn may_grow(path: &Path) -> bool {
    let bytes = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        std::fs::metadata(name).map_or(0, |file| file.len())
    };
    let bytes = bytes("").max(bytes("-wal")) + (GROWTH.len() as u64);
    let probe = path.with_extension("probe");
    let grown = File::create(&probe).and_then(|mut file| {
        file.write_all(&GROWTH)?;
        file.set_len(bytes)
    });
    let _ = std::fs::remove_file(&probe);
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge];
    !grown.is_err_and(|error| full.contains(&error.kind()))
}

/// SQLite's error as ours.
pub(super) fn say(path: &Path, error: &rusqlite::Error) -> StoreError {
    let (path, detail) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        // The index of the log, which every connection needs, finds no room.
        _ if error.sqlite_error().is_some_and(|error| error.extended_code == SHM_NO_ROOM) => StoreError::Full { path },
        _ if error.sqlite_error().is_some_and(|error| error.extended_code == WRITE_FAILED) && !may_grow(&path) => {
            StoreError::Full { path }
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged { path, detail },
        _ => StoreError::Failed { path, detail },
    }
}
