//! Which frames of a source are decoded, and of which the picture is wanted. Before it: a frame's place in the stream; after it: [`super::source`], which
//! decodes by it. What looks for motion needs some pictures a second and not all of them.

/// Pictures come a little early where their stamps are rounded, milliseconds.
const EARLY_MS: i64 = 20;
/// Stamps that are so far back are those of another timeline, milliseconds.
const FAR_BACK_MS: i64 = 10_000;

/// Which pictures of a source are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    kind: Kind,
    /// When the last one that was wanted is shown.
    last_ms: Option<i64>,
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
        Self { kind: Kind::References { every_ms }, last_ms: None }
    }

    /// One each so many milliseconds, and no oftener than there are keyframes: nothing else is decoded.
    pub fn keyframes(every_ms: u32) -> Self {
        Self { kind: Kind::Keyframes { every_ms }, last_ms: None }
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
        if is_due(self.last_ms, pts_ms, every_ms) {
            self.last_ms = Some(pts_ms);
            return Wish::Sample;
        }
        if self.leaves_out_references() { Wish::Leave } else { Wish::Pass }
    }
}

/// Whether a picture is wanted behind the last one that was.
pub(crate) fn is_due(last_ms: Option<i64>, pts_ms: i64, every_ms: i64) -> bool {
    last_ms.is_none_or(|last_ms| pts_ms >= last_ms + every_ms - EARLY_MS || pts_ms < last_ms - FAR_BACK_MS)
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
        assert_eq!(wishes(Choice::references(200), 0), "Spp--Sp--");
        assert_eq!(wishes(Choice::references(60), 0), "SSp--Sp--");
        assert_eq!(wishes(Choice::keyframes(200), 0), "S--------");
    }

    #[test]
    fn stamps_that_begin_anew_do_not_end_it() {
        assert!(is_due(None, 5, 200));
        assert!(!is_due(Some(1_000), 1_170, 200) && is_due(Some(1_000), 1_180, 200));
        assert!(!is_due(Some(100_000), 95_000, 200) && is_due(Some(100_000), 40, 200));
    }
}
