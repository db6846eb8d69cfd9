//! The `[record]` table: where recordings are kept, how much of the disk they may take on their way there, and how viewers get what is in a bucket.
//! After it: [`crate::recordings`].
use std::path::PathBuf;

use millstream_objects::Location;

use super::document::{Findings, Table, string};
use super::values;

/// Where recordings are kept unless something says otherwise: below the data directory.
const DIRECTORY: &str = "recordings";
/// What the spool may be given.
const SPOOL_MAX: std::ops::RangeInclusive<u64> = 64 << 20..=1 << 50;

/// How viewers get media that is in a bucket. A directory's is always streamed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Deliver {
    /// They are sent to the bucket, by an address that is signed.
    #[default]
    Redirect,
    /// The node reads it and sends it on.
    Stream,
}

/// `redirect` or `stream`.
fn deliver(text: &str) -> Result<Deliver, String> {
    values::choice(text, &[("redirect", Deliver::Redirect), ("stream", Deliver::Stream)])
}

/// What the table says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct RecordSettings {
    /// The store. A directory is below the data directory unless it is absolute.
    pub(crate) store: Location,
    /// Bytes that may wait to be stored; `None`: a tenth of the disk, 20 GiB at most.
    pub(crate) spool_max_bytes: Option<u64>,
    /// How media out of a bucket gets to viewers.
    pub(crate) deliver: Deliver,
}

impl Default for RecordSettings {
    fn default() -> Self {
        let store = Location::File { dir: PathBuf::from(DIRECTORY) };
        Self { store, spool_max_bytes: None, deliver: Deliver::default() }
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
    let deliver = record.take(f, "deliver", |value| deliver(string(value)?)).unwrap_or_default();
    record.close(f);
    RecordSettings { store: store.unwrap_or_else(|| RecordSettings::default().store), spool_max_bytes, deliver }
}
