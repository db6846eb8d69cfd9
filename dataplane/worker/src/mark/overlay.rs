//! An overlay in the planes of a picture: what it adds, and how much of the picture it leaves. Made once for a size and its colours, then drawn over
//! each picture. Before it: [`super::text`] and [`super::image`]; after it: the encoder.
use super::image::Rgba8;
use crate::codec::jpeg::matrix;
use crate::picture::{Colour, Picture};

/// Opacity of what hides the picture.
const WHOLE: u32 = 255;

/// What is drawn over pictures of one size.
#[derive(Debug)]
pub(crate) struct Overlay {
    size: (u32, u32),
    blits: Vec<Blit>,
}

/// One rectangle, whose corner and size are even.
#[derive(Debug)]
struct Blit {
    left: usize,
    top: usize,
    luma: Samples,
    chroma: [Samples; 2],
}

/// A rectangle of one plane: each sample of the picture becomes `added` and what `kept` of 255 leaves of it.
#[derive(Debug)]
struct Samples {
    across: usize,
    added: Vec<u8>,
    kept: Vec<u8>,
}

impl Overlay {
    /// Of rectangles and their places, the lowest first. What is outside of the picture is cut off.
    pub(super) fn new(layers: &[(u32, u32, Rgba8)], size: (u32, u32), colour: Colour) -> Self {
        let blit =
            |(left, top, pixels): &(u32, u32, Rgba8)| Blit::new((*left, *top), pixels, size, &Matrix::of(colour));
        Self { size, blits: layers.iter().filter_map(blit).collect() }
    }

    /// There is nothing to be drawn.
    pub(crate) fn is_empty(&self) -> bool {
        self.blits.is_empty()
    }

    /// Draws over a picture; one of another size stays as it is.
    pub(crate) fn draw(&self, picture: &mut Picture) {
        if (picture.width(), picture.height()) != self.size {
            return;
        }
        let [luma, blue, red] = picture.planes_mut();
        for blit in &self.blits {
            let [of_blue, of_red] = &blit.chroma;
            blit.luma.draw(luma.0, luma.1, (blit.left, blit.top));
            of_blue.draw(blue.0, blue.1, (blit.left / 2, blit.top / 2));
            of_red.draw(red.0, red.1, (blit.left / 2, blit.top / 2));
        }
    }
}

impl Samples {
    fn draw(&self, plane: &mut [u8], stride: usize, (left, top): (usize, usize)) {
        let rows = plane.chunks_exact_mut(stride.max(1)).skip(top);
        let overlay = self.added.chunks_exact(self.across).zip(self.kept.chunks_exact(self.across));
        for (row, (added, kept)) in rows.zip(overlay) {
            let Some(row) = row.get_mut(left..left + self.across) else { continue };
            for ((sample, added), kept) in row.iter_mut().zip(added).zip(kept) {
                *sample = added.saturating_add(part(*sample, *kept));
            }
        }
    }
}

/// `sample * kept / 255`, rounded.
const fn part(sample: u8, kept: u8) -> u8 {
    let product = sample as u16 * kept as u16 + 128;
    ((product + (product >> 8)) >> 8) as u8
}

impl Blit {
    fn new((left, top): (u32, u32), pixels: &Rgba8, size: (u32, u32), matrix: &Matrix) -> Option<Self> {
        if left >= size.0 || top >= size.1 {
            return None;
        }
        // Pictures have an even size: so have rectangles that begin at an even place.
        let (even_left, even_top) = (left & !1, top & !1);
        let even = |from: u32, to: u32, most: u32| (to - from).next_multiple_of(2).min(most - from);
        let across = even(even_left, left.saturating_add(pixels.width).min(size.0), size.0) as usize;
        let down = even(even_top, top.saturating_add(pixels.height).min(size.1), size.1) as usize;
        let (beside, above) = ((left - even_left) as usize, (top - even_top) as usize);
        let row_bytes = pixels.width as usize * 4;
        let at = |x: usize, y: usize| -> [u8; 4] {
            let inside = x.checked_sub(beside).zip(y.checked_sub(above)).filter(|(x, _)| *x < pixels.width as usize);
            let found = inside.and_then(|(x, y)| pixels.samples.get(y * row_bytes + x * 4..)?.first_chunk());
            found.copied().unwrap_or_default()
        };
        let empty = |across: usize, down: usize| Samples {
            across,
            added: Vec::with_capacity(across * down),
            kept: Vec::with_capacity(across * down),
        };
        let mut luma = empty(across, down);
        for (x, y) in (0..down).flat_map(|y| (0..across).map(move |x| (x, y))) {
            let [red, green, blue, alpha] = at(x, y);
            let [level, ..] = matrix.convert([red, green, blue]);
            luma.push(level * f32::from(alpha), u32::from(alpha));
        }
        let mut chroma = [empty(across / 2, down / 2), empty(across / 2, down / 2)];
        for (x, y) in (0..down / 2).flat_map(|y| (0..across / 2).map(move |x| (x, y))) {
            let corners = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(right, below)| at(2 * x + right, 2 * y + below));
            let mut sums = [0.0; 2];
            let mut opacity = 0;
            for [red, green, blue, alpha] in corners {
                let [_, of_blue, of_red] = matrix.convert([red, green, blue]);
                sums[0] += of_blue * f32::from(alpha) / 4.0;
                sums[1] += of_red * f32::from(alpha) / 4.0;
                opacity += u32::from(alpha);
            }
            for (samples, sum) in chroma.iter_mut().zip(sums) {
                samples.push(sum, (opacity + 2) / 4);
            }
        }
        Some(Self { left: even_left as usize, top: even_top as usize, luma, chroma })
    }
}

impl Samples {
    /// A level times its opacity, and the opacity.
    fn push(&mut self, weighed: f32, opacity: u32) {
        self.added.push((weighed / WHOLE as f32).round().clamp(0.0, 255.0) as u8);
        self.kept.push((WHOLE - opacity.min(WHOLE)) as u8);
    }
}

/// From red, green and blue to the numbers of a picture.
struct Matrix {
    /// What red and blue are to brightness.
    red: f32,
    blue: f32,
    full_range: bool,
}

impl Matrix {
    fn of(colour: Colour) -> Self {
        let share = matrix(colour).get_kr_kb();
        Self { red: share.kr, blue: share.kb, full_range: colour.full_range }
    }

    fn convert(&self, [red, green, blue]: [u8; 3]) -> [f32; 3] {
        let [red, green, blue] = [red, green, blue].map(|level| f32::from(level) / 255.0);
        let bright = self.red * red + (1.0 - self.red - self.blue) * green + self.blue * blue;
        let of_blue = (blue - bright) / (2.0 * (1.0 - self.blue));
        let of_red = (red - bright) / (2.0 * (1.0 - self.red));
        if self.full_range {
            [bright * 255.0, 128.0 + of_blue * 255.0, 128.0 + of_red * 255.0]
        } else {
            [16.0 + bright * 219.0, 128.0 + of_blue * 224.0, 128.0 + of_red * 224.0]
        }
    }
}
