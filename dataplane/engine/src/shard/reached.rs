//! Viewers without a session: those of HLS and DASH, who are there as long as they ask for playlists. Fed by [`crate::egress::hls`]; asked
//! by [`super::view`], whose caller merges what the shards heard.
use std::cell::RefCell;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use millstream_hub::reach::{Reach, Sample};
use millstream_proto::time::Time;

/// Who has asked for a playlist within so many target durations is there.
const WINDOW_TARGETS: u32 = 3;
/// The protocols that are counted so.
pub(crate) const PROTOCOLS: [&str; 2] = ["hls", "dash"];

/// One key for all shards, so that a viewer is the same to all of them, and of this process alone, so that nobody can choose a hash.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A viewer, as it is counted.
pub(crate) fn hash(viewer: impl Hash) -> u64 {
    KEY.hash_one(viewer)
}

/// Who asked for a stream handle's playlists on this shard.
#[derive(Default)]
pub(crate) struct Reached([RefCell<Reach>; 2]);

impl Reached {
    pub(crate) fn hear(&self, viewer: u64, dash: bool, now: Time) {
        let [hls, other] = &self.0;
        let place = if dash { other } else { hls };
        place.borrow_mut().hear(viewer, now);
    }

    /// Who is there, in the order of [`PROTOCOLS`].
    pub(crate) fn samples(&self, target_s: u32, now: Time) -> [Sample; 2] {
        let window = Duration::from_secs(u64::from(target_s * WINDOW_TARGETS));
        self.0.each_ref().map(|reach| {
            let reach = &mut *reach.borrow_mut();
            reach.forget(window, now);
            reach.sample()
        })
    }
}
