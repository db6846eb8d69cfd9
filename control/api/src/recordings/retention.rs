//! Recordings that are as old as their stream's `retention_days` says are removed, as by hand. Before it: the purge, which comes every few minutes; after
//! it: [`super::removal`].
use std::collections::BTreeMap;

use millstream_store::item::Query;

use crate::Api;
use crate::http::problem::Answer;
use crate::model::recording::{Recording, RecordingState};
use crate::model::stream::{StreamRecord, Tombstone};
use crate::model::{self, Kept, RECORDING, STREAM, TOMBSTONE};

/// Days count from when all of a recording was stored, so a look an hour is often enough; it reads every recording's item.
const LOOK_EVERY_MS: u64 = 3_600_000;
/// Milliseconds of a day.
const DAY_MS: u64 = 24 * LOOK_EVERY_MS;

/// When it ended, Unix milliseconds; `None`: it has not, or is being removed.
fn ended_ms(recording: &Recording) -> Option<u64> {
    match recording.state {
        // What is missing within it has no length.
        RecordingState::Stored => Some(recording.told_unix_ms),
        // It may go on, up to the longest that a recording gets.
        RecordingState::Failed => Some(recording.told_unix_ms.saturating_add(DAY_MS)),
        RecordingState::Recording | RecordingState::Paused | RecordingState::Deleting => None,
    }
}

impl Api {
    /// Has recordings removed that are old enough. By a clock that is believed: one that leaps removes nothing for a day.
    pub(crate) async fn expire_recordings(&self, believed_ms: u64) {
        {
            let mut inner = self.recordings().lock();
            if inner.retained_at_ms.is_some_and(|at| believed_ms.saturating_sub(at) < LOOK_EVERY_MS) {
                return;
            }
            inner.retained_at_ms = Some(believed_ms);
        }
        if let Err(problem) = self.expire_older(believed_ms).await {
            tracing::warn!(
                status = problem.status().as_u16(),
                "old recordings cannot be looked for now; it is tried again"
            );
            self.recordings().lock().retained_at_ms = None;
        }
    }

    async fn expire_older(&self, believed_ms: u64) -> Answer<()> {
        let (mut days_of, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.store().page(Query { after, ..Query::all(RECORDING) }).await?;
            for item in &page.items {
                let Some(kept) = self.unreadable().read::<Recording>(RECORDING, item) else { continue };
                let Some(ended_ms) = ended_ms(&kept.value) else { continue };
                let stream = &kept.value.stream;
                let days = if let Some(days) = days_of.get(stream) {
                    *days
                } else {
                    // Those of a stream come one after another.
                    days_of.clear();
                    *days_of.entry(stream.clone()).or_insert(self.retention_days(stream).await?)
                };
                if days > 0 && ended_ms.saturating_add(days * DAY_MS) <= believed_ms {
                    let kept = Kept { version: kept.version, value: kept.value };
                    self.expire_recording(&item.key, kept).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// How many days recordings of a stream are kept; 0: for ever. Of a stream that was removed: as it was said last.
    async fn retention_days(&self, stream: &str) -> Answer<u64> {
        let of = |record: &StreamRecord| record.settings.get("retention_days").as_u64().unwrap_or_default();
        if let Some(record) = self.fixed().get(stream) {
            return Ok(of(record));
        }
        if let Some(kept) = model::load::<StreamRecord>(self.store(), STREAM, stream).await? {
            return Ok(of(&kept.value));
        }
        let kept = model::load::<Tombstone>(self.store(), TOMBSTONE, stream).await?;
        Ok(kept.map_or(0, |kept| kept.value.retention_days))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_count_from_the_end_and_nothing_that_runs_is_old() {
        let recording = |state| Recording { state, told_unix_ms: 9_000, ..Recording::default() };
        assert_eq!(ended_ms(&recording(RecordingState::Stored)), Some(9_000));
        assert_eq!(ended_ms(&recording(RecordingState::Failed)), Some(9_000 + DAY_MS));
        for state in [RecordingState::Recording, RecordingState::Paused, RecordingState::Deleting] {
            assert_eq!(ended_ms(&recording(state)), None, "{state:?}");
        }
    }
}
