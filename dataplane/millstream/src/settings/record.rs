//! The `[record]` table: where recordings are kept, and how much of the disk they may take on their way there. After it: [`crate::recordings`].
use std::path::PathBuf;

use super::document::{Findings, Table, string};
use super::values;

/// Where recordings are kept unless something says otherwise: below the data directory.
const DIRECTORY: &str = "recordings";
/// What the spool may be given.
const SPOOL_MAX: std::ops::RangeInclusive<u64> = 64 << 20..=1 << 50;

/// What the table says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RecordSettings {
    /// The store's directory; below the data directory unless it is absolute.
    pub(crate) directory: PathBuf,
    /// Bytes that may wait to be stored; `None`: a tenth of the disk, 20 GiB at most.
    pub(crate) spool_max_bytes: Option<u64>,
}

impl Default for RecordSettings {
    fn default() -> Self {
        Self { directory: DIRECTORY.into(), spool_max_bytes: None }
    }
}

/// Takes the table out of the file.
pub(super) fn walk(mut record: Table<'_>, f: &mut Findings<'_>) -> RecordSettings {
    let directory = record.take(f, "store", |value| {
        let directory = string(value)?.strip_prefix("file:").filter(|directory| !directory.is_empty());
        directory.map(PathBuf::from).ok_or_else(|| "this is no store; give file: and a directory".to_owned())
    });
    let spool_max_bytes = record.take(f, "spool_max", |value| values::size(string(value)?, &SPOOL_MAX));
    record.close(f);
    RecordSettings { directory: directory.unwrap_or_else(|| DIRECTORY.into()), spool_max_bytes }
}
