//! Settings of a stream that change while it lives: when frames go out, what becomes of it without a publisher, and the slate that viewers get then. Before it: the
//! directory; after it: the stream, and the events of its slate.
use std::sync::Arc;

use millstream_control_protocol::event::What;
use millstream_hub::config::{FlushPolicy, OnUnpublish};
use millstream_hub::stream::Place as PublisherPlace;
use millstream_proto::media::Clip;
use millstream_proto::time::Time;

use super::{Owner, Side, StreamHandle};
use crate::shard::context::ShardContext;

impl StreamHandle {
    /// Changes when frames go out.
    pub(crate) fn set_flush(&self, policy: FlushPolicy) {
        if let Side::Owner { inner, notify, .. } = &self.side {
            let stream = &mut inner.borrow_mut().stream;
            if stream.config().flush != policy {
                stream.set_flush(policy);
                tracing::info!(stream = %self.id, ?policy, "flush policy changed");
                // What waits may be due at once.
                notify.notify();
            }
        }
    }

    /// Changes what its slate shows from its next start on.
    pub(crate) fn set_slate(&self, slate: Option<Arc<Clip>>) {
        if let Side::Owner { inner, .. } = &self.side {
            inner.borrow_mut().stream.set_slate(slate);
        }
    }

    /// Changes what becomes of the stream when its publisher has gone, and what it shows then.
    pub(crate) fn set_on_unpublish(&self, on_unpublish: OnUnpublish, slate: Option<Arc<Clip>>, shard: &ShardContext) {
        if let Side::Owner { inner, notify, .. } = &self.side {
            let owner = &mut *inner.borrow_mut();
            owner.stream.set_slate(slate);
            if owner.stream.config().on_unpublish != on_unpublish {
                owner.stream.set_on_unpublish(on_unpublish, shard.now());
                self.tell_slate(owner, shard);
                notify.notify();
            }
        }
    }

    /// Since when viewers get the slate, where this shard owns the stream.
    pub(crate) fn slate_since(&self) -> Option<Time> {
        match &self.side {
            Side::Owner { inner, .. } => inner.borrow().slate_since,
            Side::Mirror { .. } => None,
        }
    }

    pub(crate) fn shows_slate(&self) -> bool {
        self.slate_since().is_some()
    }

    /// Tells where the slate has begun or ended since the last call.
    pub(super) fn tell_slate(&self, owner: &mut Owner, shard: &ShardContext) {
        let since = owner.stream.slate_since();
        let before = std::mem::replace(&mut owner.slate_since, since);
        if before == since {
            return;
        }
        if let Some(began) = before {
            let why = match (owner.stream.place(), self.log.borrow().ended()) {
                (PublisherPlace::OnAir { .. }, _) => "publisher",
                (_, Some(_)) => "end",
                (_, None) => "off",
            };
            let lasted_ms = u64::try_from(shard.now().since(began).as_millis()).unwrap_or(u64::MAX);
            tracing::info!(stream = %self.id, why, lasted_ms, "slate ended");
            shard.stats.slates.add(-1);
            shard.tell_of(&self.id, || What::SlateEnded { why: why.to_owned(), lasted_ms });
        }
        if since.is_some() {
            tracing::info!(stream = %self.id, "slate started");
            shard.stats.slates.add(1);
            shard.stats.slates_total.add(1);
            shard.tell_of(&self.id, || What::SlateStarted {});
        }
    }
}
