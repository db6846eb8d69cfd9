//! There is a worker for as long as the process runs, from the first wish on: which one, and what follows when it has ended. Before it: [`super::Workers`], which
//! asks for it; after it: [`crate::process`], a worker from its start to its end.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use millstream_fleet::backoff::Backoff;

use super::{Shared, Where};
use crate::process::{self, Course};
use crate::remote::{Arrived, Left};

/// A worker that ends is started again after this long at first, and at most.
const RESTART_LEAST: Duration = Duration::from_millis(100);
const RESTART_MOST: Duration = Duration::from_secs(10);
/// What `ffmpeg` can is known within this time.
const FFMPEG_WAIT: Duration = Duration::from_secs(25);
/// Where workers are of other machines alone, one that has gone may be back within this time: then nobody is told that there is none.
const AWAY_AFTER: Duration = Duration::from_secs(2);
/// One that has lasted this long was all right.
const LASTED: Duration = Duration::from_secs(30);

/// Keeps a worker for as long as the process runs: one of another machine while there is one, where that may be.
async fn keep_worker(shared: Arc<Shared>) {
    // No worker begins that does not know which ports it may connect to.
    while shared.addresses.get().is_none() {
        shared.changed().await;
    }
    let is_equipped = || shared.whence == Where::Remote || shared.ffmpeg.get().is_some();
    let equipped = async {
        while !is_equipped() {
            shared.changed().await;
        }
    };
    let _ = tokio::time::timeout(FFMPEG_WAIT, equipped).await;
    let mut backoff = Backoff::new(RESTART_LEAST, RESTART_MOST, u64::from(std::process::id()));
    loop {
        let (begun, mut course) = (Instant::now(), Course::default());
        let far = if shared.whence == Where::Remote { Some(shared.awaited().await) } else { shared.remote.take() };
        let is_far = far.is_some();
        let ended = match far {
            Some(arrived) => {
                let ended = process::run_far(&shared, arrived, &mut course).await;
                let how = if course.was_ready && begun.elapsed() >= LASTED {
                    Left::Worked
                } else if shared.whence == Where::Any && !ended.is_meant() && !course.has_crashed {
                    // What is made here is not given up again and again for one that makes nothing.
                    Left::Failed
                } else {
                    Left::Free
                };
                shared.remote.left(how);
                ended
            }
            None => process::run(&shared, &shared.program, &mut course).await,
        };
        shared.snapshots().forget_requests();
        shared.sprites().forget_request();
        shared.watches().forget();
        shared.changes(|states, _| states.worker_gone(Instant::now()));
        if ended.is_meant() {
            tracing::info!(why = %ended, "another worker takes over");
            if is_far && matches!(ended, process::Ended::Hooks) {
                // It comes back in a moment, as one that may run hooks.
                let _ = tokio::time::timeout(AWAY_AFTER, shared.remote.arrives()).await;
            }
            continue;
        }
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        if is_far {
            tracing::warn!(why = %ended, "the worker of another machine is away");
            continue;
        }
        // Where it is known which stream ended it, the next one does without that.
        if course.has_crashed || (course.was_ready && begun.elapsed() >= LASTED) {
            backoff.reset();
        }
        let wait = backoff.next_wait();
        tracing::warn!(why = %ended, again_in_ms = wait.as_millis() as u64, "worker ended; another one is started");
        let _ = tokio::time::timeout(wait, shared.remote.arrives()).await;
    }
}

impl Shared {
    /// From here on there is a worker.
    pub(crate) fn keep(self: &Arc<Self>) {
        if self.kept.set(()).is_ok() {
            self.runtime.spawn(keep_worker(Arc::clone(self)));
        }
    }

    /// A worker of another machine, once one has come. Until then renditions are told not to be made, but for a moment at first.
    async fn awaited(&self) -> Arrived {
        let mut is_told = false;
        loop {
            if let Some(arrived) = self.remote.take() {
                return arrived;
            }
            if is_told {
                self.remote.arrives().await;
            } else if tokio::time::timeout(AWAY_AFTER, self.remote.arrives()).await.is_err() {
                is_told = true;
                tracing::warn!("no worker of another machine is here: renditions, snapshots and motion wait for one");
                self.changes(|states, _| {
                    states.worker_awaited();
                    Vec::new()
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
