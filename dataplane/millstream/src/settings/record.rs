//! The `[record]` table: where recordings are kept, and how much of the disk they may take on their way there. After it: [`crate::recordings`].
use std::path::PathBuf;

use millstream_objects::Location;

use super::document::{Findings, Table, string};
use super::values;

/// Where recordings are kept unless something says otherwise: below the data directory.
const DIRECTORY: &str = "recordings";
/// What the spool may be given.
const SPOOL_MAX: std::ops::RangeInclusive<u64> = 64 << 20..=1 << 50;

/// What the table says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RecordSettings {
    /// The store. A directory is below the data directory unless it is absolute.
    pub(crate) store: Location,
    /// Bytes that may wait to be stored; `None`: a tenth of the disk, 20 GiB at most.
    pub(crate) spool_max_bytes: Option<u64>,
}

impl Default for RecordSettings {
    fn default() -> Self {
        Self { store: Location::File { dir: PathBuf::from(DIRECTORY) }, spool_max_bytes: None }
    }
}

/// Takes the table out of the file.
pub(super) fn walk(mut record: Table<'_>, f: &mut Findings<'_>) -> RecordSettings {
    let store = record.take(f, "store", |value| {
        let store = string(value)?.parse::<Location>().map_err(|error| error.to_string())?;
        if cfg!(not(feature = "s3")) && !matches!(store, Location::File { .. }) {
            return Err("this build has no S3: it was built without the feature s3".to_owned());
        }
        Ok(store)
    });
    let spool_max_bytes = record.take(f, "spool_max", |value| values::size(string(value)?, &SPOOL_MAX));
    record.close(f);
    RecordSettings { store: store.unwrap_or_else(|| RecordSettings::default().store), spool_max_bytes }
}
