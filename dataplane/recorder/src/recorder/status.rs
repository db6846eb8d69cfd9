//! What is told of recordings and of the recorder as a whole, for the API and metrics.
use std::time::Duration;

use serde::Serialize;

use super::entry::Entry;
use super::{EventKind, Recorder};
use crate::name::RecordingName;
use crate::recording::record::Reason;
use crate::recording::summary::Summary;
use crate::spool::disk::Disk;
use crate::uploader::{Missing, Moment, StoreNews};

/// What the store fails for so long is told of each recording: a request that is tried once more is nothing to tell.
const WAITS_AFTER: Duration = Duration::from_secs(10);

/// Counts since the start, and what is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Numbers {
    /// Recordings begun.
    pub started: u64,
    /// Recordings that could not be begun, each stream's once until it can.
    pub refused: u64,
    /// Recordings found at a start, or after the disk failed.
    pub recovered: u64,
    /// Recordings that are in the store as a whole.
    pub done: u64,
    /// Recordings that were removed before all of them was stored.
    pub deleted: u64,
    /// Times that a recording paused.
    pub paused: u64,
    /// Times that one went on.
    pub resumed: u64,
    /// Parts written.
    pub parts: u64,
    /// Parts of streams that are followed that were not written: paused, not wanted, or no room.
    pub parts_left_out: u64,
    /// Bytes written to the spool.
    pub bytes: u64,
    /// Gaps that were named.
    pub gaps: u64,
    /// Times that a track lost segments because the queue was full for too long.
    pub lost: u64,
    /// Batches synced.
    pub syncs: u64,
    /// Errors of the disk other than no room.
    pub disk_errors: u64,
    /// Uploads that the store has shown.
    pub stored: u64,
    /// Uploads that failed and were tried again.
    pub store_failures: u64,
    /// MP4 files that are in the store.
    pub movies: u64,
    /// Objects that are neither here nor in the store.
    pub damaged: u64,
    /// Segments that were not what was written when their object was to be stored.
    pub spoilt: u64,
    /// Events that nobody took in time.
    pub events_lost: u64,
    /// Bytes in the spool.
    pub spool_bytes: u64,
    /// Recordings that are not done.
    pub recordings: u64,
    /// Uploads under way.
    pub uploads: u64,
    /// The store fails again and again.
    pub is_store_away: bool,
}

/// A recording that is not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordingStatus {
    /// What it is.
    pub summary: Summary,
    /// Why it does not grow.
    pub paused: Option<Reason>,
    /// What the store lacks.
    pub missing: Missing,
    /// Bytes of memory that it takes.
    pub memory_bytes: usize,
}

impl<D: Disk> Recorder<D> {
    /// Counts.
    pub fn numbers(&self) -> Numbers {
        Numbers {
            store_failures: self.uploader.failures(),
            spool_bytes: self.room.used_bytes,
            recordings: (self.entries.len() + self.broken.len()) as u64,
            uploads: self.uploader.running() as u64,
            is_store_away: self.uploader.is_away(),
            ..self.numbers
        }
    }

    /// What the uploader has, and what waits to be given to it.
    fn missing(&self, name: &RecordingName, entry: &Entry<D::File>) -> Missing {
        let mut missing = self.uploader.missing(name);
        for held in entry.held.iter().flat_map(|held| held.values()).filter(|held| held.is_sealed && !held.is_pushed) {
            missing.uploads += 1;
            missing.bytes += held.object.bytes;
        }
        missing
    }

    /// The store was asked whether it can be used, and cannot.
    pub fn store_unusable(&mut self, error: &str) {
        self.uploader.unusable(error);
    }

    /// What is to be told of the store, once each time.
    pub fn store_news(&mut self) -> Option<StoreNews> {
        self.uploader.news()
    }

    /// Tells of recordings that wait for the store, and when they no longer do: once each time.
    pub fn tell_waiting(&mut self, moment: Moment) {
        let mut news = Vec::new();
        for (name, entry) in &self.entries {
            let missing = self.uploader.missing(name);
            match (entry.is_waiting_told, missing.failing_since, missing.error) {
                (false, Some(since), Some(why)) if moment.now.since(since.now) >= WAITS_AFTER => {
                    news.push((name.clone(), Some(why)));
                }
                (true, None, _) => news.push((name.clone(), None)),
                _ => {}
            }
        }
        for (name, why) in news {
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            entry.is_waiting_told = why.is_some();
            match why {
                Some(why) => self.tell(Some(&name), EventKind::RecordingWaits { why }, moment),
                // One that does not grow says so when it does.
                None if entry.pause_reason().is_none() => self.tell(Some(&name), EventKind::RecordingResumed, moment),
                None => {}
            }
        }
    }

    /// Whether any recording is not done.
    pub fn has_recordings(&self) -> bool {
        !self.entries.is_empty() || !self.broken.is_empty()
    }

    /// Recordings that are not done.
    pub fn recordings(&self) -> Vec<RecordingStatus> {
        self.entries
            .iter()
            .map(|(name, entry)| RecordingStatus {
                summary: entry.recording.ledger().summary(entry.state()),
                paused: entry.pause_reason(),
                missing: self.missing(name, entry),
                memory_bytes: entry.memory_bytes() + self.uploader.memory_bytes(name),
            })
            .collect()
    }
}
