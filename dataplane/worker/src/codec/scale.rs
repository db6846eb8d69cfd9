//! Makes a picture smaller, plane by plane. Before it: the decoder's picture, shared by all renditions; after it: the encoder, or a JPEG.
use millstream_scale::Kernel;

use crate::picture::Picture;

/// Scales pictures to one size. Keeps its tables and buffers from picture to picture.
pub(crate) struct Scaler {
    planes: millstream_scale::Scaler,
    width: u32,
    height: u32,
}

impl Scaler {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        Self { planes: millstream_scale::Scaler::default(), width, height }
    }

    /// `None` where the size is odd or empty.
    pub(crate) fn scale(&mut self, picture: &Picture) -> Option<Picture> {
        let mut samples = Picture::grey(self.width, self.height)?.into_samples();
        let mut rest = samples.as_mut_slice();
        for (n, (plane, (across, down))) in picture.planes().into_iter().enumerate() {
            let halves = if n == 0 { 1 } else { 2 };
            let (width, height) = (self.width / halves, self.height / halves);
            let (target, after) = rest.split_at_mut_checked(width as usize * height as usize)?;
            rest = after;
            let size = (across as u32, down as u32);
            self.planes.plane((plane, size), (target, (width, height)), Kernel::CatmullRom)?;
        }
        Picture::from_samples(self.width, self.height, samples)
    }
}
