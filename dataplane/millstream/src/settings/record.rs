//! The `[record]` table: where recordings are kept, and how much of the disk they may take on their way there. After it: [`crate::recordings`].
use std::path::{Path, PathBuf};

use millstream_objects::Location;

use super::document::{Findings, Table, string};
use super::values;

/// Where recordings are kept unless something says otherwise: below the data directory.
pub(crate) const STORE: &str = "file:recordings";
/// What the spool may be given.
const SPOOL_MAX: std::ops::RangeInclusive<u64> = 64 << 20..=1 << 50;

/// What the table says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RecordSettings {
    /// As it was written: it holds no secret.
    pub(crate) store_text: String,
    /// The same, read. A directory may be relative to the data directory.
    pub(crate) store: Location,
    /// Bytes that may wait to be stored; `None`: a tenth of the disk, 20 GiB at most.
    pub(crate) spool_max_bytes: Option<u64>,
}

impl Default for RecordSettings {
    fn default() -> Self {
        let store = Location::File { dir: PathBuf::from("recordings") };
        Self { store_text: STORE.to_owned(), store, spool_max_bytes: None }
    }
}

impl RecordSettings {
    /// The directory of a store of files.
    pub(crate) fn directory(&self, data_dir: &Path) -> Option<PathBuf> {
        match &self.store {
            Location::File { dir } => Some(data_dir.join(dir)),
            _ => None,
        }
    }
}

/// Takes the table out of the file.
pub(super) fn walk(mut record: Table<'_>, f: &mut Findings<'_>) -> RecordSettings {
    let usual = RecordSettings::default();
    let store = record.take(f, "store", |value| {
        let text = string(value)?;
        let store = text.parse::<Location>().map_err(|error| error.to_string())?;
        Ok((text.to_owned(), store))
    });
    let (store_text, store) = store.unwrap_or((usual.store_text, usual.store));
    let spool_max_bytes = record.take(f, "spool_max", |value| values::size(string(value)?, &SPOOL_MAX));
    record.close(f);
    RecordSettings { store_text, store, spool_max_bytes }
}
