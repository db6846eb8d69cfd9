//! Who follows streams beside their viewers, from inside the process: whoever starts the engine gives it makers, and each stream that a
//! shard comes to own is offered to them, again when its settings change. Before it: [`crate::config::Config::subscribers`]; after it: [`crate::shard::stream_handle`].
use std::fmt;
use std::sync::Arc;

use millstream_hub::subscriber::Subscriber;
use millstream_proto::id::Id;

use crate::directory::Settings;

/// Makes a subscriber for a stream with these settings, on the shard that owns it; `None`: this stream is not followed.
pub type SubscriberMaker = Arc<dyn Fn(&Id, &Settings) -> Option<Box<dyn Subscriber>> + Send + Sync>;

/// All makers.
#[derive(Clone, Default)]
pub struct Subscribers(Vec<SubscriberMaker>);

impl Subscribers {
    /// These.
    pub fn new(makers: impl IntoIterator<Item = SubscriberMaker>) -> Self {
        Self(makers.into_iter().collect())
    }

    /// Those of a stream.
    pub(crate) fn of(&self, id: &Id, settings: &Settings) -> Vec<Box<dyn Subscriber>> {
        self.0.iter().filter_map(|make| make(id, settings)).collect()
    }

    /// Whether a stream whose settings change so is to be offered to them again: what they have of it ends then.
    pub(crate) fn depend_on(&self, before: &Settings, after: &Settings) -> bool {
        !self.0.is_empty() && (before.on_demand_s, before.video_s) != (after.on_demand_s, after.video_s)
    }
}

impl fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscribers").field(&self.0.len()).finish()
    }
}
