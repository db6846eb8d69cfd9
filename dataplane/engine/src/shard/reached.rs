//! Viewers without a session: those of HLS and DASH, who are there as long as they ask for playlists. Fed by [`crate::egress::hls`]; asked
//! by [`super::view`], whose caller merges what the shards heard.
use std::cell::RefCell;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use millstream_hub::reach::{Reach, Sample};
use millstream_proto::time::Time;

use crate::output::{Formats, OutputFormat};

/// Who has asked for a playlist within so many target durations is there.
pub(super) const WINDOW_TARGETS: u32 = 3;

/// One key for all shards, so that a viewer is the same to all of them, and of this process alone, so that nobody can choose a hash.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A viewer, as it is counted.
pub(crate) fn hash(viewer: impl Hash) -> u64 {
    KEY.hash_one(viewer)
}

/// Who asked for a stream handle's playlists on this shard, by packaged format.
pub(crate) struct Reached(Box<[(&'static OutputFormat, RefCell<Reach>)]>);

impl Reached {
    pub(crate) fn new(formats: &Formats) -> Self {
        Self(formats.packaged().map(|format| (format, RefCell::default())).collect())
    }

    pub(crate) fn hear(&self, viewer: u64, protocol: &str, now: Time) {
        if let Some((_, reach)) = self.0.iter().find(|(format, _)| format.protocol == protocol) {
            reach.borrow_mut().hear(viewer, now);
        }
    }

    /// Nobody has asked for playlists since those who did were forgotten last.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, reach)| reach.borrow().is_empty())
    }

    /// Who is there, by protocol.
    pub(crate) fn samples(&self, target_s: u32, now: Time) -> Vec<(&'static str, Sample)> {
        let window = Duration::from_secs(u64::from(target_s * WINDOW_TARGETS));
        let samples = self.0.iter().map(|(format, reach)| {
            let reach = &mut *reach.borrow_mut();
            reach.forget(window, now);
            (format.protocol, reach.sample())
        });
        samples.collect()
    }
}
