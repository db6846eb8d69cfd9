//! Which frames of a source are decoded, and of which the picture is wanted. Before it: a frame's place in the stream; after it: [`super::source`], which
//! decodes by it. What looks for motion needs some pictures a second and not all of them.

/// Stamps that are so far back are those of another timeline, milliseconds.
const FAR_BACK_MS: i64 = 10_000;

/// Which pictures of a source are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    kind: Kind,
    ticks: Ticks,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Kind {
    #[default]
    All,
    References {
        every_ms: u32,
    },
    Keyframes {
        every_ms: u32,
    },
}

/// What is done with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    /// It is decoded and put into the order of showing.
    Show,
    /// It is decoded and handed on at once.
    Sample,
    /// It is decoded because others refer to it.
    Pass,
    /// It is not decoded.
    Leave,
}

impl Choice {
    /// All pictures, in the order of showing.
    pub fn all() -> Self {
        Self::default()
    }

    /// One each so many milliseconds. Frames that no other refers to are not decoded.
    pub fn references(every_ms: u32) -> Self {
        Self { kind: Kind::References { every_ms }, ticks: Ticks::default() }
    }

    /// One each so many milliseconds, and no oftener than there are keyframes: nothing else is decoded.
    pub fn keyframes(every_ms: u32) -> Self {
        Self { kind: Kind::Keyframes { every_ms }, ticks: Ticks::default() }
    }

    /// Whether frames are left out that others refer to.
    pub(super) fn leaves_out_references(&self) -> bool {
        matches!(self.kind, Kind::Keyframes { .. })
    }

    /// What is done with the next frame. `refers`: others may refer to it.
    pub(super) fn of(&mut self, keyframe: bool, pts_ms: i64, refers: impl FnOnce() -> bool) -> Wish {
        let every_ms = match self.kind {
            Kind::All => return Wish::Show,
            Kind::Keyframes { .. } if !keyframe => return Wish::Leave,
            Kind::References { every_ms } | Kind::Keyframes { every_ms } => i64::from(every_ms),
        };
        if !keyframe && !refers() {
            return Wish::Leave;
        }
        if self.ticks.is_due(pts_ms, every_ms) {
            return Wish::Sample;
        }
        if self.leaves_out_references() { Wish::Leave } else { Wish::Pass }
    }
}

/// So many pictures a second in the mean, of those that come: of each tick the first that is no earlier than half a tick before it. They come in
/// the order of their stamps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ticks {
    next_ms: Option<i64>,
}

impl Ticks {
    /// Whether this picture is wanted.
    pub(crate) fn is_due(&mut self, pts_ms: i64, every_ms: i64) -> bool {
        let next_ms = self.next_ms.filter(|next_ms| pts_ms >= next_ms - every_ms - FAR_BACK_MS).unwrap_or(pts_ms);
        let is_due = pts_ms >= next_ms - every_ms / 2;
        // Where none came for a while, it goes on from here.
        let from_ms = if pts_ms > next_ms + every_ms / 2 { pts_ms } else { next_ms };
        self.next_ms = Some(if is_due { from_ms + every_ms } else { next_ms });
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A GOP of x264: decode order, with who is referred to.
    const GOP: [(i64, bool); 9] = [
        (0, true),
        (133, true),
        (67, true),
        (33, false),
        (100, false),
        (267, true),
        (200, true),
        (167, false),
        (233, false),
    ];

    fn wishes(mut choice: Choice, from_ms: i64) -> String {
        let wish = |(pts_ms, refers): &(i64, bool)| match choice.of(*pts_ms == 0, from_ms + pts_ms, || *refers) {
            Wish::Show => 'D',
            Wish::Sample => 'S',
            Wish::Pass => 'p',
            Wish::Leave => '-',
        };
        GOP.iter().map(wish).collect()
    }

    #[test]
    fn what_nobody_refers_to_is_not_decoded() {
        assert_eq!(wishes(Choice::all(), 0), "DDDDDDDDD");
        assert_eq!(wishes(Choice::references(200), 0), "SSp--pp--");
        assert_eq!(wishes(Choice::references(260), 0), "SSp--pp--");
        assert_eq!(wishes(Choice::references(400), 0), "Spp--Sp--");
        assert_eq!(wishes(Choice::keyframes(200), 0), "S--------");
    }

    #[test]
    fn there_are_as_many_as_are_wanted_in_the_mean_and_in_order() {
        for step_ms in [33, 40, 67, 133, 160, 200, 500] {
            let mut ticks = Ticks::default();
            let taken = (0..60_000 / step_ms).filter(|n| ticks.is_due(n * step_ms, 200)).count() as i64;
            let expected = 60_000 / step_ms.max(200);
            assert!(taken.abs_diff(expected) <= 2, "each {step_ms}: {taken} of {expected}");
        }
        // In the order of decoding what was shown before the last one is not due.
        let mut ticks = Ticks::default();
        let due: Vec<bool> = [0, 160, 80, 320, 240, 480].map(|ms| ticks.is_due(ms, 200)).into();
        assert_eq!(due, [true, true, false, true, false, false]);
    }

    #[test]
    fn stamps_that_begin_anew_do_not_end_it() {
        let mut ticks = Ticks::default();
        assert!(ticks.is_due(100_000, 200) && !ticks.is_due(95_000, 200));
        assert!(ticks.is_due(40, 200) && !ticks.is_due(80, 200));
        // A gap costs nothing and is not made up for.
        assert!(ticks.is_due(9_000, 200) && !ticks.is_due(9_040, 200) && ticks.is_due(9_200, 200));
    }
}
