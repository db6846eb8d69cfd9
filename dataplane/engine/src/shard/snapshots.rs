//! Pictures of streams that were asked for: one is taken for all who ask within a moment, and kept as long as it is new. Between
//! [`crate::egress::snapshot`], whose requests wait here, and [`crate::renditions::Transcoder`], which takes them.
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use millstream_proto::id::Id;
use millstream_proto::time::Time;

use super::state::Shard;
use super::wait::{Either, Place, Waiters, select};
use crate::io::sleep_until;
use crate::renditions::NoPicture;

/// A picture is given to whoever asks within this time of when it was asked for; with its own delay it is at most two seconds old.
const KEPT: Duration = Duration::from_secs(1);
/// That there is none is said again to whoever asks within this time.
const FAILED: Duration = Duration::from_millis(500);
/// A picture comes within this time.
const WAIT: Duration = Duration::from_secs(5);
/// Streams of which a shard has pictures, or takes them.
const STREAMS_MAX: usize = 1_024;

/// The pictures of a shard.
#[derive(Default)]
pub(crate) struct Snapshots {
    pictures: RefCell<HashMap<Id, Asked>>,
    waiters: Waiters,
}

struct Asked {
    at: Time,
    /// `None`: it is being taken.
    picture: Option<Result<Bytes, NoPicture>>,
}

impl Asked {
    fn is_good(&self, now: Time) -> bool {
        now.since(self.at)
            < match self.picture {
                Some(Ok(_)) => KEPT,
                Some(Err(_)) => FAILED,
                None => WAIT,
            }
    }
}

impl Shard {
    /// A picture of a stream that is on air, at most two seconds old.
    pub(crate) async fn snapshot(self: &Rc<Self>, id: &Id) -> Result<Bytes, NoPicture> {
        let Some(transcoder) = &self.config.renditions.transcoder else { return Err(NoPicture::NotHere) };
        let until = self.now() + WAIT;
        let place = Place::default();
        loop {
            let seen = self.snapshots.waiters.seen();
            let now = self.now();
            {
                let pictures = &mut *self.snapshots.pictures.borrow_mut();
                match pictures.get(id).filter(|asked| asked.is_good(now)) {
                    Some(Asked { picture: Some(picture), .. }) => return picture.clone(),
                    Some(_) => {}
                    None => {
                        pictures.retain(|_, asked| asked.is_good(now));
                        if pictures.len() >= STREAMS_MAX {
                            return Err(NoPicture::Busy);
                        }
                        pictures.insert(id.clone(), Asked { at: now, picture: None });
                        transcoder.snapshot(self.index, id);
                    }
                }
            }
            if now >= until {
                return Err(NoPicture::Busy);
            }
            let timer = sleep_until(self.clock.instant(until));
            if let Either::B(()) = select(self.snapshots.waiters.changed(seen, &place), timer).await {
                return Err(NoPicture::Busy);
            }
        }
    }

    /// It was taken, or cannot be.
    pub(crate) fn take_snapshot(&self, id: &Id, picture: Result<Bytes, NoPicture>) {
        if let Some(asked) = self.snapshots.pictures.borrow_mut().get_mut(id) {
            asked.picture = Some(picture);
        }
        self.snapshots.waiters.wake_all();
    }

    /// Lets go of pictures that are no longer new.
    pub(super) fn sweep_snapshots(&self, now: Time) {
        self.snapshots.pictures.borrow_mut().retain(|_, asked| asked.is_good(now));
    }
}
