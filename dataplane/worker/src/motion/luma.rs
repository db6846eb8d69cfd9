//! A frame of brightness, made small from a decoded picture's first plane: no colour is converted. Before it: the decoder; after it: [`super::Detector`].
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::picture::Picture;

/// Pixels of a frame, across.
pub const WIDTH: usize = 160;
/// Pixels of a frame, down.
pub const HEIGHT: usize = 90;
/// Pixels of a frame.
pub const PIXELS: usize = WIDTH * HEIGHT;

/// A frame: [`WIDTH`] x [`HEIGHT`] bytes of brightness, row after row, whatever the picture's shape is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Luma(Box<[u8]>);

impl Luma {
    /// A frame of these bytes; `None` where they are not [`PIXELS`].
    pub fn new(pixels: Vec<u8>) -> Option<Self> {
        (pixels.len() == PIXELS).then(|| Self(pixels.into_boxed_slice()))
    }

    /// Its bytes.
    pub fn pixels(&self) -> &[u8] {
        &self.0
    }
}

/// Makes pictures small. Keeps its tables from picture to picture.
#[derive(Debug)]
pub struct Shrinker {
    resizer: Resizer,
    options: ResizeOptions,
}

impl Default for Shrinker {
    fn default() -> Self {
        Self::new()
    }
}

impl Shrinker {
    /// A shrinker without tables.
    pub fn new() -> Self {
        // The mean of what a small pixel covers: it takes the most noise away.
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Box)).use_alpha(false);
        Self { resizer: Resizer::new(), options }
    }

    /// The frame of a picture; `None` where the picture has no pixels.
    pub fn shrink(&mut self, picture: &Picture) -> Option<Luma> {
        let [(plane, (across, down)), ..] = picture.planes();
        let source = TypedImageRef::<U8>::from_buffer(across as u32, down as u32, plane).ok()?;
        let mut pixels = vec![0; WIDTH * HEIGHT];
        let mut small = TypedImage::<U8>::from_buffer(WIDTH as u32, HEIGHT as u32, &mut pixels).ok()?;
        self.resizer.resize_typed(&source, &mut small, &self.options).ok()?;
        Luma::new(pixels)
    }
}
