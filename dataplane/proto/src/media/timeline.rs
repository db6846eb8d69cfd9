//! Makes one 64-bit timeline of the 32-bit stamps of all tracks. Before it: stamps as the wire has them; after it: frames.

/// The newest stamp seen, unrolled. Both tracks share it: the one that wraps first tells where the other one is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timeline {
    last_ms: Option<i64>,
}

impl Timeline {
    /// The stamp on the timeline, milliseconds: of all numbers that are equal to it modulo 2^32, the one nearest to the stamp before
    /// it, so that it unrolls forwards and backwards (field case 2). The first stamp stands for itself.
    pub(super) fn unroll(&mut self, stamp_ms: u32) -> i64 {
        let unrolled_ms = match self.last_ms {
            None => i64::from(stamp_ms),
            Some(last_ms) => {
                let step_ms = stamp_ms.wrapping_sub(last_ms as u32) as i32;
                // At one step of 2^31 ms per message it takes 2^32 messages to saturate: no more than a courtesy to the fuzzer.
                last_ms.saturating_add(i64::from(step_ms))
            }
        };
        self.last_ms = Some(unrolled_ms);
        unrolled_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_02_stamps_unroll_over_the_wrap_and_back() {
        let mut timeline = Timeline::default();
        let mut check = |stamp: u32, expected: i64| assert_eq!(timeline.unroll(stamp), expected, "{stamp:#x}");
        check(0xFFFF_F000, 0xFFFF_F000);
        check(0xFFFF_FFFF, 0xFFFF_FFFF);
        check(0x0000_0010, 0x1_0000_0010);
        // The other track is still before the wrap.
        check(0xFFFF_FFF0, 0xFFFF_FFF0);
        check(0x0000_0021, 0x1_0000_0021);
        // Hours later the second wrap comes.
        check(0x7000_0000, 0x1_7000_0000);
        check(0xE000_0000, 0x1_E000_0000);
        check(0x0000_0005, 0x2_0000_0005);
    }

    #[test]
    fn a_stamp_before_the_first_is_negative() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.unroll(5), 5);
        assert_eq!(timeline.unroll(0xFFFF_FFFB), -5);
        assert_eq!(timeline.unroll(40), 40);
    }

    #[test]
    fn one_wild_stamp_does_not_shift_what_follows() {
        for wild in [0, 1, 0x4000_0000, 0x7FFF_FFFF, 0xC000_0000, 0xFFFF_FFFF] {
            let mut timeline = Timeline::default();
            assert_eq!(timeline.unroll(3_000_000_000), 3_000_000_000);
            timeline.unroll(wild);
            assert_eq!(timeline.unroll(3_000_000_033), 3_000_000_033, "after {wild:#x}");
        }
    }
}
