//! Leading frames: in an open GOP the first frames after a keyframe are shown before it, and refer to frames before it. Who starts at the
//! keyframe cannot decode them, and a browser ends the playback over them. Asked by [`crate::stream`] for viewers that join there, and by
//! [`super::packager`], whose segments anyone may start at.

/// More frames than this in a row are not leading ones, whatever their times say: a decoder reorders no more (H.264, A.3.1: `MaxDpbFrames`).
const LEADING_MAX: u32 = 16;

/// Where a track is in its GOP.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenGop {
    /// When the keyframe is shown; `None` once a picture came that is shown after it, for no leading one comes after that.
    key_shown_ms: Option<i64>,
    leading: u32,
}

impl OpenGop {
    /// Whether the next picture is a leading one; `shown_ms` is its presentation time.
    pub(crate) fn is_leading(&mut self, keyframe: bool, shown_ms: i64) -> bool {
        if keyframe {
            *self = Self { key_shown_ms: Some(shown_ms), leading: 0 };
            return false;
        }
        let Some(key_shown_ms) = self.key_shown_ms else { return false };
        if shown_ms < key_shown_ms && self.leading < LEADING_MAX {
            self.leading += 1;
            return true;
        }
        self.key_shown_ms = None;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pictures: &[(bool, i64)], expected: &[i64]) {
        let mut gop = OpenGop::default();
        let leading: Vec<_> =
            pictures.iter().filter(|(key, shown)| gop.is_leading(*key, *shown)).map(|(_, shown)| *shown).collect();
        assert_eq!(leading, expected, "{pictures:?}");
    }

    #[test]
    fn case_50_pictures_shown_before_their_keyframe_are_leading() {
        // As x264 has them: I B B P B B, with and without an open GOP.
        check(&[(true, 67), (false, 0), (false, 33), (false, 167), (false, 100), (false, 133)], &[0, 33]);
        check(&[(true, 0), (false, 100), (false, 33), (false, 67), (true, 133), (false, 233), (false, 167)], &[]);
        // In front of the first keyframe there is nothing to lead.
        check(&[(false, 0), (false, 33), (true, 67)], &[]);
        // A picture that only comes late in a GOP is no leading one.
        check(&[(true, 67), (false, 100), (false, 33)], &[]);
    }

    #[test]
    fn times_that_make_no_sense_cost_few_pictures() {
        let pictures: Vec<_> = [(true, 10_000)].into_iter().chain((0..100).map(|n| (false, n))).collect();
        check(&pictures, &(0..16).collect::<Vec<_>>());
    }
}
