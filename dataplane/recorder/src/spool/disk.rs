//! What the recorder needs of a file system: directories of one level with append-only files. After it: [`super::directory`], and the simulator's.

/// Why the disk did not do it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// No room, or a quota.
    #[error("the disk is full")]
    Full,
    /// There is one of that name.
    #[error("there is already a file or directory of that name")]
    Exists,
    /// There is none of that name, or fewer bytes than were asked for.
    #[error("it is not there, or shorter than it was")]
    Missing,
    /// The directory of a recording that is written.
    #[error("its directory in the spool is gone")]
    Gone,
    /// Whatever else.
    #[error("{0}")]
    Failed(String),
}

/// What is synced at once, so that the file system can do it in one go.
#[derive(Clone, Debug)]
pub struct SyncBatch<F> {
    /// Files whose bytes are to be durable.
    pub files: Vec<F>,
    /// Directories whose names are to be durable; "" is the spool itself.
    pub directories: Vec<String>,
}

impl<F> Default for SyncBatch<F> {
    fn default() -> Self {
        Self { files: Vec::new(), directories: Vec::new() }
    }
}

impl<F> SyncBatch<F> {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.directories.is_empty()
    }
}

/// An entry of the spool itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// A file system. Nothing of it is durable before a [`SyncBatch`] has been synced.
pub trait Disk {
    /// An open file; a clone is the same one.
    type File: Clone;

    /// What is in the spool.
    fn entries(&mut self) -> Result<Vec<Entry>, DiskError>;
    /// The files of a directory, with their lengths.
    fn files(&mut self, directory: &str) -> Result<Vec<(String, u64)>, DiskError>;
    /// Makes a directory that must not be there.
    fn make_directory(&mut self, directory: &str) -> Result<(), DiskError>;
    /// Removes an empty directory.
    fn remove_directory(&mut self, directory: &str) -> Result<(), DiskError>;
    /// Makes a file that must not be there.
    fn create(&mut self, directory: &str, name: &str) -> Result<Self::File, DiskError>;
    /// Opens a file that is there.
    fn open(&mut self, directory: &str, name: &str) -> Result<Self::File, DiskError>;
    /// Appends all of it; after an error, some of it may be there.
    fn append(&mut self, file: &Self::File, bytes: &[u8]) -> Result<(), DiskError>;
    /// Cuts a file to that length.
    fn truncate(&mut self, file: &Self::File, bytes: u64) -> Result<(), DiskError>;
    /// Reads so many bytes; [`DiskError::Missing`] where there are fewer.
    fn read(&mut self, file: &Self::File, offset: u64, bytes: usize) -> Result<Vec<u8>, DiskError>;
    /// Removes a file.
    fn remove(&mut self, directory: &str, name: &str) -> Result<(), DiskError>;
    /// Gives a file another name, which must not be there.
    fn rename(&mut self, directory: &str, from: &str, to: &str) -> Result<(), DiskError>;
    /// Bytes that can still be written.
    fn free_bytes(&mut self) -> u64;
}
