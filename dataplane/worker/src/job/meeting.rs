//! Where the pipeline of a job and those of renditions that were added meet. Before it: [`super::pipeline`]s of both kinds; after it: one of
//! them.
//!
//! A pipeline that joins wishes to hand over its renditions once it is as far as the job's. The job's takes them at its next keyframe, and says
//! which that is; the other goes on up to that keyframe, tells its encoders that the rest comes from elsewhere, and ends. What the job's
//! pipeline gives meanwhile waits in the new queues.
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::running::Outlet;
use crate::picture::{Colour, Picture};
use crate::queue::lock;
use crate::transcode::Shown;

/// How far behind the job's pipeline one may be that hands over, milliseconds of the source: what it still has to give must fit into the time
/// that the new queues last.
const NEAR_MS: i64 = 200;
/// A picture that is older is not the newest any more.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How far the job's pipeline is.
    newest_ms: Option<i64>,
    wishes: Vec<(u64, Vec<Outlet>)>,
    wishes_so_far: u64,
    /// At which keyframe each wish was fulfilled.
    taken: HashMap<u64, i64>,
    picture: Option<(Arc<Picture>, Colour, u32, Instant)>,
}

impl Meeting {
    /// The job's pipeline is at this decode time.
    pub(super) fn at(&self, newest_ms: i64) {
        lock(&self.state).newest_ms = Some(newest_ms);
    }

    /// The job's pipeline shows a picture.
    pub(super) fn show(&self, shown: &Shown, colour: Colour) {
        let picture = (Arc::clone(&shown.picture), colour, shown.pts_ms as u32, Instant::now());
        lock(&self.state).picture = Some(picture);
    }

    /// The newest picture, if it is fresh.
    pub(super) fn newest(&self) -> Option<(Arc<Picture>, Colour, u32)> {
        let state = lock(&self.state);
        let (picture, colour, pts_ms, at) = state.picture.as_ref()?;
        (at.elapsed() < FRESH).then(|| (Arc::clone(picture), *colour, *pts_ms))
    }

    /// The job's pipeline is at a keyframe: what it takes over from here on.
    pub(super) fn take(&self, keyframe_ms: i64) -> Vec<Outlet> {
        let mut state = lock(&self.state);
        let wishes = std::mem::take(&mut state.wishes);
        let mut outlets = Vec::new();
        for (wish, wished) in wishes {
            state.taken.insert(wish, keyframe_ms);
            outlets.extend(wished);
        }
        drop(state);
        if !outlets.is_empty() {
            self.changed.notify_all();
        }
        outlets
    }

    /// Somebody waits for the job's pipeline.
    pub(super) fn has_wishes(&self) -> bool {
        !lock(&self.state).wishes.is_empty()
    }

    /// Whether who is at this decode time is as far as the job's pipeline.
    pub(super) fn is_near(&self, at_ms: i64) -> bool {
        lock(&self.state).newest_ms.is_some_and(|newest_ms| at_ms >= newest_ms - NEAR_MS)
    }

    /// Wishes that these are taken over.
    pub(super) fn wish(&self, outlets: Vec<Outlet>) -> u64 {
        let mut state = lock(&self.state);
        state.wishes_so_far += 1;
        let wish = state.wishes_so_far;
        state.wishes.push((wish, outlets));
        wish
    }

    /// The keyframe at which they were; waits for it for at most so long.
    pub(super) fn taken_at(&self, wish: u64, wait: Duration) -> Option<i64> {
        let until = Instant::now() + wait;
        let mut state = lock(&self.state);
        loop {
            if let Some(keyframe_ms) = state.taken.get(&wish) {
                return Some(*keyframe_ms);
            }
            let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The wish has been acted on.
    pub(super) fn done(&self, wish: u64) {
        lock(&self.state).taken.remove(&wish);
    }

    /// The job's pipeline is another one from now on.
    pub(super) fn forget(&self) {
        *lock(&self.state) = State::default();
    }
}
