//! A model of a player: when each frame would have been on the screen, and how long the picture would have stood still. Before it: parts as
//! they arrive; after it: [`crate::tally`].
//!
//! It shows the first frame when the first part is there, goes on in real time, waits where a part is late, and plays a little faster while
//! it is further behind than the server asks players to be. It decodes nothing, and a screen adds its own delay.
use std::time::Duration;

use millstream_proto::time::Time;

/// How much faster it plays to catch up: players that change speed stay where nobody hears it.
const CATCH_UP: f64 = 0.05;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Player {
    /// Time of the run minus media time, microseconds.
    shift_us: Option<i64>,
}

impl Player {
    /// A part that begins at `begin_us` of the media's time and lasts `duration` has arrived; `hold_back`: how far from the newest frame
    /// the player wants to be. How long the picture had to wait for it.
    pub(crate) fn part(&mut self, begin_us: i64, duration: Duration, arrived: Time, hold_back: Duration) -> Duration {
        let arrived_us = arrived.as_micros() as i64;
        let Some(shift) = &mut self.shift_us else {
            self.shift_us = Some(arrived_us - begin_us);
            return Duration::ZERO;
        };
        let early_us = begin_us + *shift - arrived_us;
        if early_us < 0 {
            *shift -= early_us;
            return Duration::from_micros(early_us.unsigned_abs());
        }
        // At the hold-back exactly, a part arrives by that much, less its own length, before it is shown.
        let wanted_us = hold_back.saturating_sub(duration).as_micros() as i64;
        let faster_us = (duration.as_micros() as f64 * CATCH_UP) as i64;
        *shift -= (early_us - wanted_us).clamp(0, faster_us);
        Duration::ZERO
    }

    /// When the frame of that media time is shown.
    pub(crate) fn shown(&self, media_us: i64) -> Option<Time> {
        u64::try_from(media_us + self.shift_us?).ok().map(Time::from_micros)
    }

    /// Time has jumped in the stream: the next part is shown when it is there.
    pub(crate) fn restart(&mut self) {
        self.shift_us = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: Duration = Duration::from_millis(500);
    const HOLD: Duration = Duration::from_millis(1500);

    #[test]
    fn late_parts_stop_the_picture_for_as_long_as_they_are_late() {
        let mut player = Player::default();
        let at = Time::from_millis;
        assert_eq!(player.part(0, PART, at(10_000), HOLD), Duration::ZERO);
        assert_eq!(player.shown(100_000), Some(at(10_100)));
        assert_eq!(player.part(500_000, PART, at(10_400), HOLD), Duration::ZERO);
        assert_eq!(player.part(1_000_000, PART, at(11_250), HOLD), Duration::from_millis(250));
        assert_eq!(player.shown(1_000_000), Some(at(11_250)));
        player.restart();
        assert_eq!(player.part(99_000_000, PART, at(12_000), HOLD), Duration::ZERO);
        assert_eq!(player.shown(99_000_000), Some(at(12_000)));
    }

    #[test]
    fn a_player_that_began_far_behind_comes_closer_and_stays() {
        let mut player = Player::default();
        // It begins with a frame that is four seconds old, and then each part arrives when it is finished.
        player.part(0, PART, Time::from_millis(4_000), HOLD);
        for n in 1..200_u64 {
            let arrived = Time::from_millis(4_000_u64.max(n * 500 + 500));
            assert_eq!(player.part(n as i64 * 500_000, PART, arrived, HOLD), Duration::ZERO);
        }
        let behind = player.shown(99_500_000).unwrap().since(Time::from_millis(99_500));
        assert_eq!(behind, HOLD, "the newest frame is the hold-back old when it is shown");
    }
}
