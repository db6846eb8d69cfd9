//! A decoded picture, and how large a rendition of it is. Before it: [`crate::codec`]'s decoder; after it: scaling, encoding and JPEG.

/// Which numbers mean which colours: H.264 annex E, `video_signal_type`. The numbers are those of ISO/IEC 23091-2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Colour {
    /// `colour_primaries`.
    pub primaries: u8,
    /// `transfer_characteristics`.
    pub transfer: u8,
    /// `matrix_coefficients`.
    pub matrix: u8,
    /// Luma uses 0 to 255 instead of 16 to 235.
    pub full_range: bool,
}

impl Colour {
    /// What players assume of a picture that says nothing: BT.709 from 720 lines on, BT.601 (525 lines) below.
    pub const fn assumed(width: u32, height: u32) -> Self {
        let number = if width >= 1280 || height >= 720 { 1 } else { 6 };
        Self { primaries: number, transfer: number, matrix: number, full_range: false }
    }
}

/// Planes of 8-bit 4:2:0 samples, without padding between rows. Width and height are even.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    /// Y, U, V, one behind the other.
    samples: Vec<u8>,
}

/// One plane of a picture as a decoder has it: rows with padding between.
#[derive(Clone, Copy)]
pub(crate) struct Plane<'a> {
    pub(crate) samples: &'a [u8],
    pub(crate) stride: usize,
}

impl Picture {
    /// Copies a decoder's planes; `None` where they are smaller than they should be, or the size is odd.
    pub(crate) fn copy(width: u32, height: u32, planes: [Plane<'_>; 3]) -> Option<Self> {
        let mut samples = Vec::with_capacity(bytes(width, height)?);
        for (plane, (across, down)) in planes.into_iter().zip(plane_sizes(width, height)) {
            let mut rows = plane.samples.chunks(plane.stride.max(1));
            for _ in 0..down {
                samples.extend_from_slice(rows.next()?.get(..across)?);
            }
        }
        Some(Self { width, height, samples })
    }

    /// Takes planes that lie one behind the other; `None` where their length is not that of the size.
    pub(crate) fn from_samples(width: u32, height: u32, samples: Vec<u8>) -> Option<Self> {
        (bytes(width, height)? == samples.len()).then_some(Self { width, height, samples })
    }

    /// A picture of one grey.
    pub(crate) fn grey(width: u32, height: u32) -> Option<Self> {
        Some(Self { width, height, samples: vec![128; bytes(width, height)?] })
    }

    /// The samples, to be written again.
    pub(crate) fn into_samples(self) -> Vec<u8> {
        self.samples
    }

    /// Pixels across.
    pub const fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    pub const fn height(&self) -> u32 {
        self.height
    }

    /// The samples of Y, U and V, one behind the other.
    pub fn samples(&self) -> &[u8] {
        &self.samples
    }

    /// The three planes, with samples across and down of each.
    pub(crate) fn planes(&self) -> [(&[u8], (usize, usize)); 3] {
        let sizes = plane_sizes(self.width, self.height);
        let mut rest = self.samples.as_slice();
        sizes.map(|(across, down)| {
            let (plane, after) = rest.split_at_checked(across * down).unwrap_or_default();
            rest = after;
            (plane, (across, down))
        })
    }
}

impl Picture {
    /// Puts a smaller picture at an even place; `false` where it does not fit there.
    pub(crate) fn put(&mut self, (left, top): (u32, u32), other: &Self) -> bool {
        let fits = left.checked_add(other.width).is_some_and(|right| right <= self.width)
            && top.checked_add(other.height).is_some_and(|bottom| bottom <= self.height);
        if !fits || !left.is_multiple_of(2) || !top.is_multiple_of(2) {
            return false;
        }
        let planes = self.planes_mut().into_iter().zip(other.planes());
        for (n, ((plane, stride), (from, (across, _)))) in planes.enumerate() {
            let halves = if n == 0 { 1 } else { 2 };
            let (left, top) = (left as usize / halves, top as usize / halves);
            for (row, from) in plane.chunks_exact_mut(stride).skip(top).zip(from.chunks_exact(across)) {
                if let Some(row) = row.get_mut(left..left + across) {
                    row.copy_from_slice(from);
                }
            }
        }
        true
    }

    /// The three planes, to be drawn over, with samples across of each.
    pub(crate) fn planes_mut(&mut self) -> [(&mut [u8], usize); 3] {
        let mut rest = self.samples.as_mut_slice();
        plane_sizes(self.width, self.height).map(|(across, down)| {
            let (plane, after) = std::mem::take(&mut rest).split_at_mut_checked(across * down).unwrap_or_default();
            rest = after;
            (plane, across)
        })
    }
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

fn plane_sizes(width: u32, height: u32) -> [(usize, usize); 3] {
    let (width, height) = (width as usize, height as usize);
    [(width, height), (width / 2, height / 2), (width / 2, height / 2)]
}

/// Bytes of a picture of this size; `None` where it is empty, odd or too large.
fn bytes(width: u32, height: u32) -> Option<usize> {
    let fits = (2..=u32::from(u16::MAX)).contains(&width) && (2..=u32::from(u16::MAX)).contains(&height);
    let pixels = width as usize * height as usize;
    (fits && width.is_multiple_of(2) && height.is_multiple_of(2)).then_some(pixels + pixels / 2)
}

/// Whether samples may have this shape, width by height: extended ratios that make no sense are taken as none.
pub(crate) fn is_aspect((across, down): (u32, u32)) -> bool {
    across > 0 && down > 0 && across / down < 8 && down / across < 8
}

/// The largest even size of a picture's shape within a box. `aspect` is the width of a sample by its height: a rendition has square ones. The
/// box is turned for pictures that are higher than wide. `None`: the picture is smaller than that, and is not blown up.
pub(crate) fn fit((width, height): (u32, u32), aspect: (u32, u32), within: (u32, u32)) -> Option<(u32, u32)> {
    let shown = f64::from(width) * f64::from(aspect.0.max(1)) / f64::from(aspect.1.max(1));
    let high = f64::from(height);
    let portrait = high > shown;
    let (across, down) =
        if portrait == (within.1 > within.0) || within.0 == within.1 { within } else { (within.1, within.0) };
    let factor = (f64::from(across) / shown).min(f64::from(down) / high);
    // A picture that is a little smaller than the box is of the size that was meant.
    if !(factor > 0.0 && factor <= 1.02) {
        return None;
    }
    let factor = factor.min(1.0);
    let even = |length: f64, most: u32| ((length / 2.0).round() as u32 * 2).clamp(16, most.max(16) & !1);
    Some((even(shown * factor, across), even(high * factor, down)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |source, aspect, within, expected| assert_eq!(fit(source, aspect, within), expected, "{source:?}");
        check((1280, 720), (1, 1), (640, 360), Some((640, 360)));
        check((1920, 1080), (1, 1), (854, 480), Some((854, 480)));
        check((854, 478), (1, 1), (640, 360), Some((640, 358)));
        check((640, 272), (1, 1), (426, 240), Some((426, 182)));
        // A phone.
        check((720, 1280), (1, 1), (640, 360), Some((360, 640)));
        check((1080, 1080), (1, 1), (640, 360), Some((360, 360)));
        // PAL at 16:9 is shown 1024 wide.
        check((720, 576), (64, 45), (640, 360), Some((640, 360)));
        // Of the same size it has another rate. Never larger.
        check((1280, 720), (1, 1), (1280, 720), Some((1280, 720)));
        check((640, 358), (1, 1), (640, 360), Some((640, 358)));
        check((1280, 720), (1, 1), (1920, 1080), None);
        check((640, 360), (0, 0), (0, 0), None);
        check((4096, 16), (1, 1), (640, 360), Some((640, 16)));
    }

    #[test]
    fn planes_are_copied_without_their_padding() {
        let y: Vec<u8> = (0..40).collect();
        let plane = |samples, stride| Plane { samples, stride };
        let picture = Picture::copy(4, 4, [plane(&y, 10), plane(&y, 5), plane(&y, 5)]).unwrap();
        assert_eq!(picture.planes()[0].0, [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23, 30, 31, 32, 33]);
        assert_eq!(picture.planes()[2], (&[0, 1, 5, 6][..], (2, 2)));
        assert!(Picture::copy(4, 6, [plane(&y, 10), plane(&y, 5), plane(&y, 5)]).is_none());
        assert!(Picture::copy(5, 4, [plane(&y, 10), plane(&y, 5), plane(&y, 5)]).is_none());
        assert!(Picture::copy(12, 2, [plane(&y, 10), plane(&y, 10), plane(&y, 10)]).is_none());
        assert!(Picture::from_samples(4, 4, vec![0; 23]).is_none());
    }
}
