//! What a shard does with what another one tells it of a stream: as its owner it takes and ends subscriptions, as a mirror it follows. Before it:
//! [`super::mailbox`]; after it: [`super::stream_handle`].
use std::rc::Rc;

use millstream_hub::address::Address;
use millstream_hub::stream_message::StreamMessage;
use millstream_proto::id::Id;

use super::state::Shard;

impl Shard {
    pub(super) fn take_stream_message(self: &Rc<Self>, id: &Id, from: Address, message: StreamMessage) {
        match message {
            StreamMessage::Subscribe { subscription } => self.take_subscription(id, from, subscription),
            StreamMessage::Unsubscribe { subscription } => {
                if let Some(handle) = self.live(id) {
                    handle.unsubscribe(from, subscription);
                }
            }
            StreamMessage::Feed { subscription, message } => match self.mirrored(id, subscription) {
                Some(handle) => {
                    handle.told(self, message);
                    if handle.is_over() {
                        self.remove(&handle);
                    }
                }
                // Sent before the owner heard that nobody watches any more. Without room it is said again when the next one comes.
                None => drop(self.send(from, id, StreamMessage::Unsubscribe { subscription })),
            },
            StreamMessage::Package { subscription } => {
                if let Some(handle) = self.live(id) {
                    self.tell_ended(id, from);
                    handle.package_for(self, from, subscription);
                }
            }
            StreamMessage::Packaged { subscription, changes } => {
                if let Some(handle) = self.mirrored(id, subscription) {
                    handle.repackaged(self, changes);
                }
            }
            StreamMessage::OfEnded { changes, listed_until } => self.told_of_ended(id, changes, listed_until),
            StreamMessage::Over { subscription, changes, listed_until } => {
                if let Some(handle) = self.mirrored(id, subscription) {
                    handle.packaging.listed_until.set(Some(listed_until));
                    handle.repackaged(self, changes);
                    handle.unknown(self);
                    self.remove(&handle);
                }
            }
            StreamMessage::Unknown { subscription } => {
                if let Some(handle) = self.mirrored(id, subscription) {
                    handle.unknown(self);
                    self.remove(&handle);
                }
            }
        }
    }

    fn take_subscription(self: &Rc<Self>, id: &Id, from: Address, subscription: u64) {
        let held = self.live(id).filter(|handle| !self.is_of_ended_source(handle));
        if let Some(handle) = held.or_else(|| self.begin_rendition(id)) {
            return handle.subscribe(from, subscription);
        }
        let message = match self.newest_ended(id) {
            Some((over, listed_until)) => {
                let changes = over.packaging.window.borrow().snapshot();
                StreamMessage::Over { subscription, changes, listed_until }
            }
            None => StreamMessage::Unknown { subscription },
        };
        // The asker gives up by itself if this finds no room.
        drop(self.send(from, id, message));
    }
}
