//! How long a drain goes on for viewers without a session: those of HLS and DASH, who are there between their requests, too. Beside
//! [`super::live`], which ends the shard; told by [`crate::egress::hls`].
use std::cell::Cell;
use std::time::Duration;

use millstream_proto::time::Time;

/// Who has not asked for a playlist for so many target durations has gone: players that know no parts ask once in each, or twice.
const GONE_AFTER_TARGETS: u32 = 2;
/// Once streams have ended, players that come for the end of their playlists have a target duration, and no more than this.
const LAST_PLAYLIST_MAX: Duration = Duration::from_secs(3);
/// What a request takes on its way.
const ON_THE_WAY: Duration = Duration::from_millis(250);

/// When a playlist of a stream on air was asked for last.
#[derive(Default)]
pub(crate) struct PlaylistsWanted {
    until: Cell<Time>,
    target: Cell<Duration>,
}

impl PlaylistsWanted {
    pub(crate) fn heard(&self, target: Duration, now: Time) {
        self.until.set(self.until.get().max(now + target * GONE_AFTER_TARGETS));
        self.target.set(target);
    }

    /// Whether somebody is there who will ask again.
    pub(super) fn is_watched(&self, now: Time) -> bool {
        now < self.until.get()
    }

    /// How long the ends of playlists are to stay after that moment; nothing where nobody is there.
    pub(super) fn last_playlist(&self, now: Time) -> Duration {
        if self.is_watched(now) { (self.target.get() + ON_THE_WAY).min(LAST_PLAYLIST_MAX) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_there_for_two_target_durations_and_gets_the_end() {
        let at = Time::from_millis;
        let wanted = PlaylistsWanted::default();
        assert!(!wanted.is_watched(at(0)));
        assert_eq!(wanted.last_playlist(at(0)), Duration::ZERO);
        wanted.heard(Duration::from_secs(2), at(10_000));
        assert!(wanted.is_watched(at(13_999)) && !wanted.is_watched(at(14_000)));
        assert_eq!(wanted.last_playlist(at(11_000)), Duration::from_millis(2_250));
        wanted.heard(Duration::from_mins(1), at(11_000));
        assert_eq!(wanted.last_playlist(at(12_000)), LAST_PLAYLIST_MAX);
        assert_eq!(wanted.last_playlist(at(131_000)), Duration::ZERO);
    }
}
