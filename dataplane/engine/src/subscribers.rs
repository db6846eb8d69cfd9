//! Who follows streams beside their viewers, from inside the process: whoever starts the engine gives it makers, and each stream that a
//! shard comes to own is offered to them, again when its settings change. Before it: [`crate::config::Config::subscribers`]; after it: [`crate::shard::stream_handle`].
use std::fmt;
use std::sync::Arc;

use millstream_hub::subscriber::Subscriber;
use millstream_proto::id::Id;

use crate::directory::Settings;

type Make = dyn Fn(&Id, &Settings) -> Vec<Box<dyn Subscriber>> + Send + Sync;

/// Makes the subscribers for a stream with some settings, on the shard that owns it.
#[derive(Clone)]
pub struct SubscriberMaker {
    make: Arc<Make>,
    differs: fn(&Settings, &Settings) -> bool,
}

impl SubscriberMaker {
    /// `make` gives none where a stream is not followed. Where `differs` says so of the settings before and after a change, what it has
    /// made ends, and the stream is offered to it again.
    pub fn new(
        make: impl Fn(&Id, &Settings) -> Vec<Box<dyn Subscriber>> + Send + Sync + 'static,
        differs: fn(&Settings, &Settings) -> bool,
    ) -> Self {
        Self { make: Arc::new(make), differs }
    }
}

/// All makers.
#[derive(Clone, Default)]
pub struct Subscribers(Vec<SubscriberMaker>);

/// Which of the makers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MakerNumber(usize);

/// A subscriber, and whose it is.
pub(crate) struct Made {
    pub(crate) maker: MakerNumber,
    pub(crate) subscriber: Box<dyn Subscriber>,
}

impl Subscribers {
    /// These.
    pub fn new(makers: impl IntoIterator<Item = SubscriberMaker>) -> Self {
        Self(makers.into_iter().collect())
    }

    /// These and another one.
    #[must_use]
    pub fn and(mut self, maker: SubscriberMaker) -> Self {
        self.0.push(maker);
        self
    }

    /// Those of a stream.
    pub(crate) fn of(&self, id: &Id, settings: &Settings) -> Vec<Made> {
        let numbers = (0..self.0.len()).map(MakerNumber);
        numbers.flat_map(|maker| self.made(maker, id, settings)).collect()
    }

    /// Those of one maker.
    pub(crate) fn made(&self, maker: MakerNumber, id: &Id, settings: &Settings) -> Vec<Made> {
        let made = self.0.get(maker.0).map(|one| (one.make)(id, settings)).unwrap_or_default();
        made.into_iter().map(|subscriber| Made { maker, subscriber }).collect()
    }

    /// The makers that a stream whose settings change so is to be offered to again.
    pub(crate) fn that_differ(&self, before: &Settings, after: &Settings) -> Vec<MakerNumber> {
        let differing = self.0.iter().enumerate().filter(|(_, maker)| (maker.differs)(before, after));
        differing.map(|(at, _)| MakerNumber(at)).collect()
    }
}

impl fmt::Debug for Subscribers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subscribers").field(&self.0.len()).finish()
    }
}
