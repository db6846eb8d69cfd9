//! A real directory as a [`Disk`], with a lock so that two servers never share one.
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskError, Entry, SyncBatch};

/// The lock's file in the spool; it stays when nobody holds it.
pub const LOCK_FILE: &str = "spool.lock";
/// More files than this, and one call syncs the whole file system: it then writes all of them in one go.
const SYNCED_SINGLY_MAX: usize = 6;

/// Why a spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Another process has it.
    #[error("the spool {path} is used by another server{}; give each server a data directory of its own", by(*process))]
    Locked {
        /// Where.
        path: PathBuf,
        /// Which, as far as it is known.
        process: Option<u32>,
    },
    /// It cannot be made, read or written.
    #[error("the spool {path} cannot be used: {error}; check that it is a directory that the server may write to")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

fn by(process: Option<u32>) -> String {
    process.map(|process| format!(" (process {process})")).unwrap_or_default()
}

/// The spool's directory, held by this process.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Held as long as this lives: it falls with the process.
    lock: File,
}

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::AlreadyExists => Self::Exists,
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => Self::Missing,
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Directory {
    /// Makes the directory where there is none, and takes its lock.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let failed = |error| SpoolError::Io { path: path.to_owned(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let lock = options.open(path.join(LOCK_FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {
                // Only for the message of whoever comes second: a disk that is full refuses it.
                let _ = lock.set_len(0).and_then(|()| lock.write_all_at(std::process::id().to_string().as_bytes(), 0));
                Ok(Self { path: path.to_owned(), lock })
            }
            Err(TryLockError::WouldBlock) => Err(SpoolError::Locked { path: path.to_owned(), process: holder(&lock) }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Where the directory was removed under the server it is made again, with a lock of its own.
    fn renew(&mut self) -> Result<(), DiskError> {
        if !self.path.exists() {
            self.lock = Self::open(&self.path).map_err(|error| DiskError::Failed(error.to_string()))?.lock;
            tracing::warn!(spool = %self.path.display(), "the spool was gone; it has been made again");
        }
        Ok(())
    }

    fn at(&self, directory: &str, name: &str) -> PathBuf {
        self.path.join(directory).join(name)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The process that has the lock, as it says.
fn holder(lock: &File) -> Option<u32> {
    let mut text = [0; 16];
    let read = lock.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(text.get(..read)?).ok()?.trim().parse().ok()
}

/// Makes a batch durable. May take long: it has a thread of its own.
pub fn sync(spool: &Path, batch: &SyncBatch<Arc<File>>) -> Result<(), DiskError> {
    if batch.files.len() + batch.directories.len() > SYNCED_SINGLY_MAX
        && let Some(any) = batch.files.first()
    {
        return nix::unistd::syncfs(any).map_err(|error| io::Error::from(error).into());
    }
    for file in &batch.files {
        file.sync_data()?;
    }
    for directory in &batch.directories {
        match File::open(spool.join(directory)) {
            Ok(open) => open.sync_all()?,
            // Removed since: its parent is in a batch, too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Disk for Directory {
    type File = Arc<File>;

    fn entries(&mut self) -> Result<Vec<Entry>, DiskError> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != LOCK_FILE {
                entries.push(Entry { name, is_directory: entry.file_type()?.is_dir() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn files(&mut self, directory: &str) -> Result<Vec<(String, u64)>, DiskError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.path.join(directory))? {
            let entry = entry?;
            files.push((entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len()));
        }
        files.sort();
        Ok(files)
    }

    fn make_directory(&mut self, directory: &str) -> Result<(), DiskError> {
        self.renew()?;
        Ok(fs::DirBuilder::new().mode(0o700).create(self.path.join(directory))?)
    }

    fn remove_directory(&mut self, directory: &str) -> Result<(), DiskError> {
        Ok(fs::remove_dir(self.path.join(directory))?)
    }

    fn create(&mut self, directory: &str, name: &str) -> Result<Self::File, DiskError> {
        let mut options = OpenOptions::new();
        options.create_new(true).append(true).read(true).mode(0o600);
        Ok(Arc::new(options.open(self.at(directory, name))?))
    }

    fn open(&mut self, directory: &str, name: &str) -> Result<Self::File, DiskError> {
        Ok(Arc::new(OpenOptions::new().append(true).read(true).open(self.at(directory, name))?))
    }

    fn append(&mut self, file: &Self::File, bytes: &[u8]) -> Result<(), DiskError> {
        Ok((&**file).write_all(bytes)?)
    }

    fn truncate(&mut self, file: &Self::File, bytes: u64) -> Result<(), DiskError> {
        Ok(file.set_len(bytes)?)
    }

    fn read(&mut self, file: &Self::File, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError> {
        // A length that a damaged index says is not taken on trust.
        if file.metadata()?.len().saturating_sub(offset) < bytes as u64 {
            return Err(DiskError::Missing);
        }
        let mut read = vec![0; bytes];
        file.read_exact_at(&mut read, offset)?;
        Ok(read)
    }

    fn remove(&mut self, directory: &str, name: &str) -> Result<(), DiskError> {
        Ok(fs::remove_file(self.at(directory, name))?)
    }

    fn rename(&mut self, directory: &str, from: &str, to: &str) -> Result<(), DiskError> {
        let (from, to) = (self.at(directory, from), self.at(directory, to));
        if to.exists() {
            return Err(DiskError::Exists);
        }
        Ok(fs::rename(from, to)?)
    }

    fn free_bytes(&mut self) -> u64 {
        nix::sys::statvfs::statvfs(&self.path)
            .map_or(u64::MAX, |room| room.blocks_available().saturating_mul(room.fragment_size()))
    }
}
