//! The node's judgement of its own streams: each second it looks at them, at what its hooks came to and at what its worker does not make. Before it: the
//! engine and whoever the agent was given to ask; after it: [`super::reporter`], which tells control.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_control_protocol::diagnosis::Diagnosis;
use millstream_control_protocol::event::Event;
use millstream_diagnosis::Streams;
use millstream_engine::Remote;
use tokio::time::timeout;

use super::runner::Runs;
use super::worker::KnownWorker;

/// Streams are looked at this often.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A look at very many streams takes the shards a while: no more than one part in so many of the time.
const LOOK_SHARE: u32 = 10;
/// Time for the shards to tell what is live.
const LOOK_WAIT: Duration = Duration::from_secs(2);

/// When to look again after a look that took so long.
pub(super) fn next_look(took: Duration) -> Duration {
    LOOK_EVERY.max(took * LOOK_SHARE)
}

/// What is wrong with the streams of this node.
pub(super) struct Diagnoses {
    streams: Streams,
    runs: Runs,
    worker: KnownWorker,
}

impl Diagnoses {
    pub(super) fn new(runs: Runs, worker: KnownWorker) -> Self {
        Self { streams: Streams::default(), runs, worker }
    }

    /// Something has happened.
    pub(super) fn event(&mut self, event: &Event) {
        self.streams.event(event);
    }

    /// Looks at all streams; true: a condition has come or gone, and control is to know.
    pub(super) async fn look(&mut self, engine: &Remote) -> bool {
        // What shards tell is of no sooner moment; they may take a while.
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        // Shards that are too busy to answer are asked again with the next look.
        let Ok(Ok(held)) = timeout(LOOK_WAIT, engine.on_air_with_watching()).await else { return false };
        for trouble in self.runs.troubles() {
            self.streams.trouble(&trouble, now_ms);
        }
        let shed = |stream: &str| self.worker.shed(stream);
        self.streams.look(&held, shed, now_ms);
        self.streams.take_changed()
    }

    /// What is wrong with which streams.
    pub(super) fn told(&self) -> Vec<Diagnosis> {
        self.streams.diagnoses().to_vec()
    }
}
