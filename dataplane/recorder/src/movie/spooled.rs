//! A file whose bytes are in the spool: it is put into the store piece by piece, and never written here. Before it: [`super::make`]; after it:
//! [`crate::store::Store`].
//!
//! Why no copy in the spool: what can be uploaded from the recorded objects needs no room, no sync and no second reading, and a kill leaves nothing of it.
//! The objects stay in the spool until the store has shown the file.
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use millstream_proto::media::Track;

use super::make::{MakeError, Movie};
use super::source::{Source, at_once};
use crate::limits::MOVIE_SPOOL_READ_BYTES;
use crate::name::{object_file, place};
use crate::store::{Answer, StoreError, Sums};

/// The newest file of each track.
type Opened = [Option<(u32, Arc<File>)>; 2];

/// The objects of a recording in its directory of the spool.
#[derive(Debug)]
pub struct SpoolFiles {
    directory: PathBuf,
    open: Mutex<Opened>,
}

/// A file that is to be stored.
#[derive(Debug)]
pub struct Spooled {
    files: SpoolFiles,
    movie: Arc<Movie>,
}

impl SpoolFiles {
    /// Those of that directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, open: Mutex::default() }
    }

    fn file(&self, track: Track, object: u32) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let slot = &mut open[place(track)];
        if let Some((number, file)) = slot
            && *number == object
        {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.directory.join(object_file(track, object)))?);
        *slot = Some((object, Arc::clone(&file)));
        Ok(file)
    }

    fn read_now(&self, track: Track, object: u32, at: u64, bytes: usize) -> io::Result<Bytes> {
        let mut read = vec![0; bytes];
        self.file(track, object)?.read_exact_at(&mut read, at)?;
        Ok(read.into())
    }
}

/// Reads at once: for threads that may wait for a disk.
impl Source for SpoolFiles {
    fn read(&self, track: Track, object: u32, at: u64, bytes: usize) -> Answer<'_, Bytes> {
        let read = self.read_now(track, object, at, bytes).map_err(|error| {
            let what = format!("{}: {error}", object_file(track, object));
            match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => StoreError::Source(what),
                _ => StoreError::Failed(what),
            }
        });
        Box::pin(std::future::ready(read))
    }

    fn read_bytes(&self) -> usize {
        MOVIE_SPOOL_READ_BYTES
    }
}

impl Spooled {
    /// That file, of the objects in that directory.
    pub fn new(directory: &Path, movie: Arc<Movie>) -> Self {
        Self { files: SpoolFiles::new(directory.to_owned()), movie }
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> u64 {
        self.movie.bytes()
    }

    /// Its beginning, which is in no file.
    pub fn head(&self) -> &[u8] {
        self.movie.head()
    }

    /// The files of the spool that its other bytes are in, by number of [`Self::pieces`].
    pub fn paths(&self) -> Vec<Arc<Path>> {
        let path = |track, number| self.files.directory.join(object_file(track, number)).into();
        self.movie.objects().iter().map(|object| path(object.track, object.number)).collect()
    }

    /// What follows behind the head, in order: which bytes of which file.
    pub fn pieces(&self) -> impl Iterator<Item = (usize, Range<u64>)> {
        self.movie.copies().map(|(file, at, bytes)| (file, at..at + bytes))
    }

    /// Gives all of its bytes. Waits for the disk.
    pub fn read(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut chunks = self.movie.chunks();
        loop {
            let next = at_once(chunks.next(&self.files)).unwrap_or(Ok(None));
            match next.map_err(|error: MakeError| io::Error::other(error.to_string()))? {
                Some(chunk) => take(&chunk)?,
                None => return Ok(()),
            }
        }
    }

    /// Length and checksum of what can be read now.
    pub(crate) fn sums(&self) -> io::Result<Sums> {
        let found = at_once(self.movie.sums(&self.files)).unwrap_or_else(|| Err(MakeError::Unreadable(String::new())));
        found.map_err(|error| io::Error::other(error.to_string()))
    }
}
