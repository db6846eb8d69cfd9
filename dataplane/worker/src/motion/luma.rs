//! A frame of brightness, made small from a decoded picture's first plane: no colour is converted. Before it: the decoder; after it: [`super::Detector`].
use millstream_scale::{Kernel, Scaler};

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
#[derive(Default, Debug)]
pub struct Shrinker {
    planes: Scaler,
}

impl Shrinker {
    /// A shrinker without tables.
    pub fn new() -> Self {
        Self::default()
    }

    /// The frame of a picture; `None` where the picture has no pixels.
    pub fn shrink(&mut self, picture: &Picture) -> Option<Luma> {
        let [(plane, (across, down)), ..] = picture.planes();
        let mut pixels = vec![0; PIXELS];
        let target = (&mut pixels[..], (WIDTH as u32, HEIGHT as u32));
        self.planes.plane((plane, (across as u32, down as u32)), target, Kernel::Mean)?;
        Luma::new(pixels)
    }
}
