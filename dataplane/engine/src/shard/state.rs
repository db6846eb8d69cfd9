//! The streams of a shard beside its [`ShardContext`]: those that it owns or mirrors, those that are over, and who may publish and play them.
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Deref;
use std::rc::Rc;

use millstream_hub::address::Address;
use millstream_hub::stream_message::StreamMessage;
use millstream_proto::id::Id;

use super::budget::Publishes;
use super::context::ShardContext;
use super::drain::PlaylistsWanted;
use super::ended_streams::EndedStreams;
use super::mailbox::Mail;
use super::memory_trimmer::MemoryTrimmer;
use super::sessions::Sessions;
use super::snapshots::Snapshots;
use super::status::Statuses;
use super::stream_handle::mirror::NotPlayable;
use super::stream_handle::tend::tend;
use super::stream_handle::{StreamHandle, ViewerGuard};
use crate::admission::Admission;

/// What a listening port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Port {
    Rtmp,
    Http,
    Control,
}

/// A running shard.
pub(crate) struct Shard {
    pub(super) context: Rc<ShardContext>,
    pub(crate) admission: Admission,
    /// How often streams and addresses may publish.
    pub(crate) publishes: Publishes,
    /// Those of the control port, apart: a crowd of viewers is when operators look at the metrics.
    pub(super) control: Rc<Sessions>,
    pub(super) handles: RefCell<HashMap<Id, Rc<StreamHandle>>>,
    pub(super) ended_streams: EndedStreams,
    /// Of streams that other shards own.
    pub(super) statuses: Statuses,
    /// By viewers who have no session.
    pub(crate) playlists_wanted: PlaylistsWanted,
    /// Pictures that were asked for.
    pub(super) snapshots: Snapshots,
    pub(super) memory_trimmer: MemoryTrimmer,
}

impl Deref for Shard {
    type Target = Rc<ShardContext>;

    fn deref(&self) -> &Self::Target {
        &self.context
    }
}

/// Something for a shard to do between two other pieces of work.
pub(crate) fn work(job: impl FnOnce(&Rc<Shard>) + Send + 'static) -> Mail {
    Mail::Work(Box::new(move |shard: Rc<dyn Any>| {
        if let Ok(shard) = shard.downcast::<Shard>() {
            job(&shard);
        }
    }))
}

impl Shard {
    pub(super) fn live(&self, id: &Id) -> Option<Rc<StreamHandle>> {
        self.handles.borrow().get(id).filter(|handle| !handle.is_over()).cloned()
    }

    /// A stream or rendition that it holds, where that is of the session that its stream has now.
    pub(crate) fn playing(&self, id: &Id) -> Option<Rc<StreamHandle>> {
        self.live(id).filter(|handle| !self.is_of_ended_source(handle))
    }

    /// Whether it holds this stream, on air or waiting for its publisher.
    pub(crate) fn holds(&self, id: &Id) -> bool {
        self.live(id).is_some()
    }

    pub(super) fn mirrored(&self, id: &Id, subscription: u64) -> Option<Rc<StreamHandle>> {
        let handles = self.handles.borrow();
        handles.get(id).filter(|handle| handle.subscription() == Some(subscription)).cloned()
    }

    /// Forgets a stream handle; viewers that still hold it read on to its end.
    pub(crate) fn remove(&self, handle: &Rc<StreamHandle>) {
        let mut handles = self.handles.borrow_mut();
        if handles.get(&handle.id).is_some_and(|held| Rc::ptr_eq(held, handle)) {
            handles.remove(&handle.id);
            self.ended_streams.keep(handle, self.now());
        }
    }

    /// The stream handle for a publisher of a stream that this shard owns; `None` where there are too many streams.
    pub(crate) fn own(self: &Rc<Self>, id: &Id) -> Option<Rc<StreamHandle>> {
        if let Some(handle) = self.live(id) {
            return Some(handle).filter(|handle| !self.is_of_ended_source(handle));
        }
        if id.is_rendition() {
            // It begins when somebody asks for it, not when somebody publishes it.
            return None;
        }
        // One that is over may wait until other shards have heard of it: what can be fetched of it is not to be lost with its place.
        let over = self.handles.borrow().get(id).cloned();
        if let Some(over) = over {
            over.finish_packaging(self);
            self.remove(&over);
            self.end_renditions(&over);
        }
        if self.handles.borrow().len() - self.held_renditions() >= self.config.limits.streams {
            return None;
        }
        let handle = StreamHandle::own(self, id);
        let before = self.newest_ended(id).map_or(0, |(over, _)| over.packaging.window.borrow().next_msn());
        handle.packaging.least_msn.set(before);
        self.tend(&handle);
        Some(handle)
    }

    /// Holds a stream handle of a stream that this shard owns, and looks after it to its end.
    pub(super) fn tend(self: &Rc<Self>, handle: &Rc<StreamHandle>) {
        let (shard, of_task) = (Rc::clone(self), Rc::clone(handle));
        self.spawn(async move {
            tend(&shard, &of_task).await;
            shard.remove(&of_task);
            shard.end_renditions(&of_task);
            shard.rendition_ended(&of_task);
            tracing::info!(stream = %of_task.id, shard = shard.index, "stream ended");
        });
        self.handles.borrow_mut().insert(handle.id.clone(), Rc::clone(handle));
    }

    /// A viewer guard at a stream that is on air, wherever it is owned.
    pub(crate) async fn subscribe(self: &Rc<Self>, id: &Id) -> Result<ViewerGuard, NotPlayable> {
        let handle = match self.playing(id) {
            Some(handle) => handle,
            None if self.owner(id) == Address::here(self.index) => {
                self.begin_rendition(id).ok_or(NotPlayable::NotOnAir)?
            }
            None => {
                if self.handles.borrow().len() >= self.config.limits.streams {
                    return Err(NotPlayable::Busy);
                }
                let subscription = self.number();
                let handle = StreamHandle::mirror(self, id, subscription);
                let message = StreamMessage::Subscribe { subscription };
                self.send(self.owner(id), id, message).map_err(|_| NotPlayable::Busy)?;
                self.handles.borrow_mut().insert(id.clone(), Rc::clone(&handle));
                handle
            }
        };
        let viewer_guard = Rc::clone(&handle).viewer_guard(self);
        let playable = handle.playable(self).await;
        if playable == Err(NotPlayable::Busy) {
            self.remove(&handle);
        }
        playable.map(|()| viewer_guard)
    }
}
