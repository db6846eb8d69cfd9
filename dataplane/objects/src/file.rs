//! Objects as files below a directory. Before it: the recorder's puts; after it: the kernel.
//!
//! A put writes a file of another name in the same directory, syncs it, renames it and syncs the directory. Nothing is kept beside the
//! files: length, time and ETag are the kernel's, the media type is the extension's.
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::stream;
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::body::{Body, Summing, Sums, read_at};
use crate::error::{ErrorKind, ObjectError};
use crate::key::Key;
use crate::limits::CHUNK_BYTES;
use crate::store::{Answer, Chunks, Meta, ObjectStore, Page, PresignedUrl, Probe, Reading, Span, Stored};

mod listing;
mod tree;

use tree::Tree;

/// Tries of a put whose directory is removed meanwhile because its last object was deleted.
const PUT_TRIES: usize = 16;

/// Objects as files below a directory that is there already.
#[derive(Clone, Debug)]
pub struct FileStore {
    tree: Arc<Tree>,
}

impl FileStore {
    /// The store below this directory. Nothing is done yet: [`ObjectStore::probe`] says whether it can be used.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { tree: Arc::new(Tree::new(dir.into())) }
    }

    /// Does this where waiting for a disk hurts nobody.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree) -> Result<T, ObjectError> + Send + 'static,
    ) -> Answer<'_, T> {
        let tree = Arc::clone(&self.tree);
        Box::pin(off_the_runtime(move || work(&tree)))
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, ObjectError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ObjectError::new(ErrorKind::Unavailable, "the server is stopping: the store was not asked")),
        },
    }
}

impl ObjectStore for FileStore {
    fn put(&self, key: &Key, body: Body, meta: Meta) -> Answer<'_, Sums> {
        let key = key.clone();
        self.blocking(move |tree| {
            meta.check()?;
            put(tree, &key, &body)
        })
    }

    fn head(&self, key: &Key) -> Answer<'_, Option<Stored>> {
        let key = key.clone();
        self.blocking(move |tree| {
            let Some(file) = tree.object(&key)? else { return Ok(None) };
            stored(tree, &key, &file).map(Some)
        })
    }

    fn get(&self, key: &Key, span: Span) -> Answer<'_, Reading> {
        let key = key.clone();
        self.blocking(move |tree| {
            let file = tree.object(&key)?.ok_or_else(|| tree.not_found(&key))?;
            let stored = stored(tree, &key, &file)?;
            let range = span.of(stored.bytes).ok_or_else(|| span.refused(&key, stored.bytes))?;
            let chunks = chunks(Arc::new(file), range.start, range.end, key);
            Ok(Reading { stored, range, chunks })
        })
    }

    fn delete(&self, key: &Key) -> Answer<'_, ()> {
        let key = key.clone();
        self.blocking(move |tree| tree.remove(&key))
    }

    fn list(&self, folder: Option<&Key>, after: Option<&Key>, limit: usize) -> Answer<'_, Page> {
        let (folder, after) = (folder.cloned(), after.cloned());
        self.blocking(move |tree| listing::page(tree, folder.as_ref(), after.as_ref(), limit))
    }

    fn presign(&self, _: &Key, _: Duration) -> Answer<'_, Option<PresignedUrl>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn probe(&self) -> Answer<'_, Probe> {
        self.blocking(|tree| {
            let root = tree.root()?;
            let temporary = Temporary::create(&root).map_err(|error| tree.cannot("write to it", &error))?;
            let mut file = &temporary.file;
            let written = file.write_all(&[0; 4096]).and_then(|()| file.sync_all());
            written.map_err(|error| tree.cannot("write to it", &error))?;
            Ok(Probe::default())
        })
    }

    fn sweep(&self, older_than: Duration) -> Answer<'_, u64> {
        self.blocking(move |tree| listing::sweep(tree, older_than))
    }

    fn place(&self) -> String {
        format!("file:{}", self.tree.path().display())
    }
}

/// A file under a name that no key has, which goes away unless it is renamed.
struct Temporary<'a> {
    folder: &'a OwnedFd,
    name: String,
    file: File,
}

impl<'a> Temporary<'a> {
    fn create(folder: &'a OwnedFd) -> io::Result<Self> {
        let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let name = format!("{}{number:016x}", tree::TEMPORARY);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, &name, flags, Mode::from_raw_mode(0o644))?;
        Ok(Self { folder, name, file: file.into() })
    }

    /// Makes it the object of this name.
    fn rename(self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(self.folder, &self.name, self.folder, name)?)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // Not there any more once it has been renamed.
        let _ = rustix::fs::unlinkat(self.folder, &self.name, AtFlags::empty());
    }
}

fn put(tree: &Tree, key: &Key, body: &Body) -> Result<Sums, ObjectError> {
    for _ in 0..PUT_TRIES {
        let Some(folder) = tree.make_folder_of(key)? else { continue };
        let cannot = |error: io::Error| tree.cannot(&format!("write {key}"), &error);
        let temporary = match Temporary::create(&folder) {
            Ok(temporary) => temporary,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(cannot(error)),
        };
        let (mut summing, mut reader, mut file) = (Summing::default(), body.reader(), &temporary.file);
        while let Some(chunk) = reader.next(CHUNK_BYTES)? {
            summing.update(&chunk);
            file.write_all(&chunk).map_err(cannot)?;
        }
        file.sync_all().map_err(cannot)?;
        temporary.rename(key.name()).map_err(cannot)?;
        // A power cut could take the name away again.
        rustix::fs::fsync(&folder).map_err(|error| cannot(error.into()))?;
        return Ok(summing.sums());
    }
    Err(ObjectError::new(
        ErrorKind::Unavailable,
        format!("cannot write {key}: its directory was removed each time before the file was in it"),
    ))
}

fn stored(tree: &Tree, key: &Key, file: &File) -> Result<Stored, ObjectError> {
    let stat = rustix::fs::fstat(file.as_fd()).map_err(|error| tree.cannot(&format!("read {key}"), &error.into()))?;
    // The inode too: a clock of the kernel may stand still between two puts.
    let etag = format!("\"{:x}-{:x}{:08x}-{:x}\"", stat.st_ino, stat.st_mtime, stat.st_mtime_nsec, stat.st_size);
    Ok(Stored {
        bytes: u64::try_from(stat.st_size).unwrap_or(0),
        crc32: None,
        etag,
        modified_ms: tree::modified_ms(&stat),
        content_type: key.content_type().to_owned(),
        cache_control: None,
    })
}

/// Reads a chunk each time one is asked for.
fn chunks(file: Arc<File>, from: u64, to: u64, key: Key) -> Chunks {
    Box::pin(stream::try_unfold(from, move |at| {
        let (file, key) = (Arc::clone(&file), key.clone());
        async move {
            if at == to {
                return Ok(None);
            }
            let bytes = (to - at).min(CHUNK_BYTES as u64);
            let read = off_the_runtime(move || {
                read_at(&file, at, bytes as usize).map_err(|error| {
                    let kind = match error.kind() {
                        io::ErrorKind::UnexpectedEof => ErrorKind::Damaged,
                        _ => ErrorKind::Unavailable,
                    };
                    ObjectError::new(kind, format!("cannot read {key} from byte {at}: {error}; check the disk"))
                })
            });
            Ok(Some((read.await?, at + bytes)))
        }
    }))
}

/// Now, for ages of files.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
