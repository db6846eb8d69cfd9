//! What can go wrong with a store, and whose move it is. Before it: SQLite's codes; after it: the API's answers (409, 503, 507) and
//! the messages of a refused start.
use std::path::PathBuf;

/// Why the store did not do what it was asked. Nothing has been changed, except where [`StoreError::Failed`] says otherwise.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The item is not at the version that the write expected.
    #[error("the item is not as the write expected it: {}", current.map_or_else(|| "there is none".to_owned(), |v| format!("it is at version {v}")))]
    Conflict {
        /// The version that it is at; `None` where there is no such item.
        current: Option<u64>,
    },
    /// A key or a value over its maximum.
    #[error("{what} has a size of {bytes}; at most {max} are stored")]
    Large {
        /// Key or value.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The maximum.
        max: usize,
    },
    /// More waits for the store than it lets wait.
    #[error("the store has more to do than it lets wait; try again in a moment")]
    Busy,
    /// The disk is full, or this process or user may write no more to it.
    #[error(
        "the disk of the store is full, or its quota or the limit of a file's size is reached: {path}; free space there, nothing that was acknowledged is lost"
    )]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another process has the data directory.
    #[error(
        "the data directory {dir} is in use by another millstream (process {holder}); give this one another with --data-dir, or end that one"
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process id that the lock names, or "unknown".
        holder: String,
    },
    /// The file is no store, or damaged.
    #[error(
        "the store {path} is damaged ({detail}); put a backup (made with `millstream backup`) in its place, or move it away to start empty"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The file is of a later version of this program.
    #[error(
        "the store {path} has format {found}, and this version knows formats up to {known}; run the version that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format's number.
        found: u32,
        /// The newest that this version knows.
        known: u32,
    },
    /// Anything else that the system refuses.
    #[error("the store {path} fails: {detail}")]
    Failed {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        detail: String,
    },
}
