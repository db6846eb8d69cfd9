//! The node's judgement of its own streams: each second it looks at them, at what its hooks came to and at what its worker does not make. Before it: the
//! engine and whoever the agent was given to ask; after it: [`super::reporter`], which tells control.
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_control_protocol::diagnosis::Diagnosis;
use millstream_control_protocol::event::Event;
use millstream_diagnosis::Streams;
use millstream_engine::Remote;
use tokio::time::timeout;

use super::runner::Runs;

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

/// Renditions of a stream that are asked for, and that the machine is too slow to make.
pub type ShowShed = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// Who knows of those, if somebody does.
#[derive(Clone, Default)]
pub(super) struct KnownShed(pub(super) Option<ShowShed>);

impl fmt::Debug for KnownShed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "KnownShed" } else { "KnownShedNone" })
    }
}

/// What is wrong with the streams of this node.
pub(super) struct Diagnoses {
    streams: Streams,
    runs: Runs,
    shed: KnownShed,
}

impl Diagnoses {
    pub(super) fn new(runs: Runs, shed: KnownShed) -> Self {
        Self { streams: Streams::default(), runs, shed }
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
        let shed = |stream: &str| self.shed.0.as_ref().map(|show| show(stream)).unwrap_or_default();
        self.streams.look(&held, shed, now_ms);
        self.streams.take_changed()
    }

    /// What is wrong with which streams.
    pub(super) fn told(&self) -> Vec<Diagnosis> {
        self.streams.diagnoses().to_vec()
    }
}
