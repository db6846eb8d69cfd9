//! Whether a stream is on air, as its owner's shard knows it, for whoever asks any shard: what `/<id>/live.json` says. Before it: the
//! stream handle; after it: [`crate::egress::status`], which writes it down.
//!
//! A shard that does not own the stream asks the owner by mailbox, and remembers the answer for a moment: a crowd whose stream has just been
//! interrupted costs the owner four questions a second and shard.
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use millstream_proto::id::Id;
use millstream_proto::time::Time;

use super::phase::Status;
use super::state::{Shard, work};
use super::stream_handle::mirror::NotPlayable;
use super::wait::{Either, Place, Waiters, select};
use crate::io::sleep_until;

/// An answer of the owner is good for this long.
const FRESH: Duration = Duration::from_millis(250);
/// A question that was not answered is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// The owner answers within this time, or who asked is told to come again.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Streams of other shards that answers are remembered of.
const REMEMBERED_MAX: usize = 4_096;
/// Answers about streams of other shards.
#[derive(Default)]
pub(crate) struct Statuses {
    remembered: RefCell<HashMap<Id, Remembered>>,
}

#[derive(Default)]
struct Remembered {
    /// Who waits for an answer about this stream.
    waiters: Rc<Waiters>,
    asked_at: Option<Time>,
    told: Option<Told>,
}

/// An answer of the owner.
struct Told {
    at: Time,
    status: Status,
}

/// What a shard knows of another's stream.
enum Known {
    Told(Status),
    /// Its owner has been asked; who waits here is woken when it has answered.
    Asked(Rc<Waiters>),
}

impl Remembered {
    fn fresh(&self, now: Time) -> Option<&Status> {
        self.told.as_ref().filter(|told| now.since(told.at) <= FRESH).map(|told| &told.status)
    }

    fn is_asked(&self, now: Time) -> bool {
        self.asked_at.is_some_and(|at| now.since(at) <= ASK_AGAIN)
    }
}

impl Statuses {
    pub(super) fn sweep(&self, now: Time) {
        self.remembered.borrow_mut().retain(|_, known| known.fresh(now).is_some() || known.is_asked(now));
    }

    fn told(&self, id: &Id, status: Status, now: Time) {
        if let Some(known) = self.remembered.borrow_mut().get_mut(id) {
            known.asked_at = None;
            known.told = Some(Told { at: now, status });
            known.waiters.wake_all();
        }
    }
}

impl Shard {
    /// The status of a stream, whichever shard owns it.
    pub(crate) async fn status(&self, id: &Id) -> Result<Status, NotPlayable> {
        if self.home(id) == self.index {
            return Ok(self.own_status(id));
        }
        let deadline = self.now() + ANSWER_WAIT;
        loop {
            let place = Place::default();
            let now = self.now();
            let waiters = match self.remembered_status(id, now)? {
                Known::Told(status) => return Ok(status),
                Known::Asked(waiters) => waiters,
            };
            let told = waiters.changed(waiters.seen(), &place);
            if let Either::B(()) = select(told, sleep_until(self.clock.instant(deadline.min(now + ASK_AGAIN)))).await
                && self.now() >= deadline
            {
                return Err(NotPlayable::Busy);
            }
        }
    }

    /// What the owner said a moment ago; else it is asked.
    fn remembered_status(&self, id: &Id, now: Time) -> Result<Known, NotPlayable> {
        let remembered = &mut *self.statuses.remembered.borrow_mut();
        if let Some(known) = remembered.get(id) {
            if let Some(status) = known.fresh(now) {
                return Ok(Known::Told(status.clone()));
            }
            if known.is_asked(now) {
                return Ok(Known::Asked(Rc::clone(&known.waiters)));
            }
        } else if remembered.len() >= REMEMBERED_MAX
            && let Some(any) = remembered.keys().next().cloned()
        {
            // Made-up names push out each other, and now and then one that is asked for: its question is put again.
            remembered.remove(&any);
        }
        let (from, about) = (self.index, id.clone());
        let ask = work(move |owner: &Rc<Shard>| {
            let status = owner.own_status(&about);
            let answer = work(move |asker: &Rc<Shard>| asker.statuses.told(&about, status, asker.now()));
            // Without room the asker asks again.
            drop(owner.put(from, answer));
        });
        self.put(self.home(id), ask).map_err(|_| NotPlayable::Busy)?;
        let known = remembered.entry(id.clone()).or_default();
        known.asked_at = Some(now);
        Ok(Known::Asked(Rc::clone(&known.waiters)))
    }

    /// The status of a stream that this shard owns.
    fn own_status(&self, id: &Id) -> Status {
        let now = self.now();
        self.live(id).and_then(|handle| handle.status(now)).unwrap_or_else(Status::off)
    }
}
