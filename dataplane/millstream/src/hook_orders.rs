//! Carries out what event hooks order. Before it: [`millstream_hook_steps::post`]; after it: the engine.
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use millstream_engine::Remote;
use millstream_hook_steps::hearing::{Deed, Ordered};
use millstream_hook_steps::post::Carrier;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;

/// Orders that wait: those of four calls.
const WAITING_MAX: usize = 256;
/// Shards answer within this time, or not at all.
const WAIT: Duration = Duration::from_secs(2);

/// Orders on their way to an engine that may not run yet.
pub(crate) struct Orders(Mutex<Option<Receiver<Ordered>>>);

impl Orders {
    /// With where they come in.
    pub(crate) fn new() -> (Self, Carrier) {
        let (sender, receiver) = channel(WAITING_MAX);
        let carrier = move |ordered: Ordered| {
            if let Err(lost) = sender.try_send(ordered) {
                lost.into_inner().is_dropped();
            }
        };
        (Self(Mutex::new(Some(receiver))), Box::new(carrier))
    }

    /// The engine runs: it is told from here on.
    pub(crate) fn go_to(&self, engine: Remote, runtime: &Handle) {
        let Some(mut receiver) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        runtime.spawn(async move {
            while let Some(ordered) = receiver.recv().await {
                let stream = &ordered.stream;
                let done = async {
                    match &ordered.deed {
                        Deed::Record(wanted) => engine.record(stream, *wanted).await,
                        Deed::Mark(pairs) => engine.mark(stream, pairs.clone()).await,
                    }
                };
                let done = matches!(timeout(WAIT, done).await, Ok(Ok(true)));
                tracing::debug!(%stream, deed = ?ordered.deed, done, "an event hook's order");
                ordered.is_done(done);
            }
        });
    }
}
