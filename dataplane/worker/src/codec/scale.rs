//! Makes a picture smaller, plane by plane. Before it: the decoder's picture, shared by all renditions; after it: the encoder, or a JPEG.
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::picture::Picture;

/// Scales pictures to one size. Keeps its tables and buffers from picture to picture.
pub(crate) struct Scaler {
    resizer: Resizer,
    options: ResizeOptions,
    width: u32,
    height: u32,
}

impl Scaler {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        // Of these filters, which all average over what they leave out, this one is 1 dB better than a Hamming window at the same cost; Lanczos is
        // no better by more than 0.5 dB, and takes half of the encoder's time on top.
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom)).use_alpha(false);
        Self { resizer: Resizer::new(), options, width, height }
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
            // Of this type alone: what takes any is compiled for all, for a minute and a half.
            let source = TypedImageRef::<U8>::from_buffer(across as u32, down as u32, plane).ok()?;
            let mut target = TypedImage::<U8>::from_buffer(width, height, target).ok()?;
            self.resizer.resize_typed(&source, &mut target, &self.options).ok()?;
        }
        Picture::from_samples(self.width, self.height, samples)
    }
}
