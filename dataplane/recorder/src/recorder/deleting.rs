//! A recording that is removed: what the spool has of it, and what waits to be stored. What the store has is removed by who asked. Before it:
//! [`crate::run::Handle::delete`]; after it: the disk.
use millstream_proto::time::Time;

use super::Recorder;
use super::entry::Phase;
use crate::name::{INDEX_FILE, RecordingName, movie_key};
use crate::spool::disk::{Disk, DiskError};

/// How far a recording is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It grows, or will when there is room or its publisher is back.
    Running,
    /// Nothing more comes; not all of it is stored.
    Storing,
    /// There is nothing of it here.
    Gone,
}

/// Why a recording was not removed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// It grows.
    #[error("it still runs")]
    Running,
    /// Files of it are left.
    #[error("the spool's disk does not let go of it: {0}")]
    Disk(#[from] DiskError),
    /// The recorder has ended.
    #[error("the recorder has ended")]
    Ended,
}

impl<D: Disk> Recorder<D> {
    /// How far a recording is.
    pub fn standing(&self, name: &RecordingName) -> Standing {
        match self.entries.get(name) {
            Some(entry) if entry.phase == Phase::Ended => Standing::Storing,
            Some(_) => Standing::Running,
            None if self.broken.contains_key(name) => Standing::Storing,
            None => Standing::Gone,
        }
    }

    /// Removes what is here of a recording that does not grow, and has nothing more of it stored. `Some`: something was here, and a request to the store
    /// that was under way may still be carried out; these are the keys of its MP4 files, which are not below its folder. The index goes last: a crash
    /// before that leaves a recording that is removed again.
    pub fn delete(&mut self, name: &RecordingName) -> Result<Option<Vec<String>>, DeleteError> {
        match self.standing(name) {
            Standing::Running => return Err(DeleteError::Running),
            Standing::Gone => return Ok(None),
            Standing::Storing => {}
        }
        let movies = self.entries.get(name).map_or_else(Vec::new, |entry| {
            let ledger = entry.recording.ledger();
            ledger.movie_begins().map(|from_unix_ms| movie_key(&ledger.head().stream, from_unix_ms)).collect()
        });
        let mut files: Vec<String> = match self.disk.files(name.as_str()) {
            Ok(files) => files.into_iter().map(|(file, _)| file).collect(),
            Err(DiskError::Missing) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        files.sort_by_key(|file| file == INDEX_FILE);
        // From here on nothing of it is to be stored, whatever becomes of its files.
        self.uploader.forget(name);
        self.broken.remove(name);
        self.failed.remove(name);
        if let Some(entry) = self.entries.remove(name) {
            self.room.used_bytes = self.room.used_bytes.saturating_sub(entry.spool_bytes());
        }
        for file in files {
            match self.disk.remove(name.as_str(), &file) {
                Ok(()) | Err(DiskError::Missing) => {}
                Err(error) => return Err(self.left_over(name, error)),
            }
        }
        match self.disk.remove_directory(name.as_str()) {
            Ok(()) | Err(DiskError::Missing) => {}
            Err(error) => return Err(self.left_over(name, error)),
        }
        self.syncing.spool_changed = true;
        self.numbers.deleted += 1;
        Ok(Some(movies))
    }

    /// What could not be removed is there to be removed again.
    fn left_over(&mut self, name: &RecordingName, error: DiskError) -> DeleteError {
        // Not read before it is tried again: nothing reads it as long as it is to be removed.
        self.room.look_into(name);
        self.broken.insert(name.clone(), Time::from_micros(u64::MAX));
        error.into()
    }
}
