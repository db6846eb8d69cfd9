//! A consistent copy of the store, made beside a running server or a stopped one: `millstream backup FILE`.
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{FILE, open};
use crate::StoreError;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there is no store in {0}; give the server's data directory with --data-dir")]
    Missing(PathBuf),
    /// The copy would write over something.
    #[error("{0} is there already; give a name that is not taken")]
    Taken(PathBuf),
    /// The copy cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Unwritable {
        /// The copy.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The store cannot be read, or the copy's disk is full.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes a copy of `dir`'s store to `to`, which must not exist. The copy has everything that was answered before the call, is
/// whole or not there, and is durable when this returns.
pub fn backup(dir: &Path, to: &Path) -> Result<(), BackupError> {
    let from = dir.join(FILE);
    if !from.is_file() {
        return Err(BackupError::Missing(dir.to_owned()));
    }
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Taken(to.to_owned()));
    }
    let name = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = to.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let unwritable = |error: std::io::Error| BackupError::Unwritable { path: to.to_owned(), error };
    let done = copy(&from, &temporary).and_then(|()| {
        // A link, and no renaming: it fails where somebody else has made the file meanwhile.
        std::fs::hard_link(&temporary, to).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => BackupError::Taken(to.to_owned()),
            _ => unwritable(error),
        })
    });
    // Not there when the copy did not even begin.
    let _ = std::fs::remove_file(&temporary);
    done?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(unwritable)
}

fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let unwritable = |error: std::io::Error| BackupError::Unwritable { path: to.to_owned(), error };
    // SQLite writes into an empty file that is there, and so into one that only this user may read.
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(unwritable)?;
    let ours = |error| open::say(from, &error);
    let connection = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(ours)?;
    connection.busy_timeout(std::time::Duration::from_secs(10)).map_err(ours)?;
    let target = to.to_str().ok_or_else(|| unwritable(ErrorKind::InvalidFilename.into()))?;
    connection.execute("VACUUM INTO ?1", [target]).map_err(|error| match open::say(from, &error) {
        StoreError::Full { .. } => StoreError::Full { path: to.to_owned() },
        other => other,
    })?;
    File::open(to).and_then(|file| file.sync_all()).map_err(unwritable)
}
