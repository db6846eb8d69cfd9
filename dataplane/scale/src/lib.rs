//! Makes planes and images smaller. Before it: the worker's decoders; after it: its encoders, JPEGs, motion detection and watermarks.
//!
//! A crate of its own because the library is generic over its pixels: its code is made where it is used, which takes a minute, and without all optimisations
//! its vector instructions are calls, with which no rendition keeps up. Tests optimise this crate alone so.
#![forbid(unsafe_code)]
use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x4};
use fast_image_resize::{Filter, FilterType, ResizeAlg, ResizeOptions, Resizer};

/// How far the curve of Catmull and Rom reaches, samples of the smaller picture.
const REACH: f64 = 2.0;
/// So many samples of a row are multiplied at once; what is left of them one by one.
const LANES: f64 = 8.0;

/// What a sample of the smaller plane is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kernel {
    /// The curve of Catmull and Rom. Of those that average over what they leave out, it is 1 dB better than a Hamming window; Lanczos is no better by more
    /// than 0.5 dB, and takes half of the encoder's time on top.
    CatmullRom,
    /// The mean of what the sample covers: it takes the most noise away.
    Mean,
}

/// Scales planes and images. Keeps its tables and buffers from one to the next.
#[derive(Default, Debug)]
pub struct Scaler {
    resizer: Resizer,
}

impl Scaler {
    /// Scales a plane of `size` samples, across and down, to `target_size`; `None` where one of them is empty or not as large as it is said to be.
    pub fn plane(
        &mut self,
        (source, size): (&[u8], (u32, u32)),
        (target, target_size): (&mut [u8], (u32, u32)),
        kernel: Kernel,
    ) -> Option<()> {
        let filter = match kernel {
            Kernel::CatmullRom => catmull_rom_for(f64::from(size.0) / f64::from(target_size.0)),
            Kernel::Mean => FilterType::Box,
        };
        self.convolve(filter, (source, size), (target, target_size))
    }

    fn convolve(
        &mut self,
        filter: FilterType,
        (source, (across, down)): (&[u8], (u32, u32)),
        (target, (width, height)): (&mut [u8], (u32, u32)),
    ) -> Option<()> {
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
        // Of this type alone: what takes any is compiled for all, for a minute and a half.
        let source = TypedImageRef::<U8>::from_buffer(across, down, source).ok()?;
        let mut target = TypedImage::<U8>::from_buffer(width, height, target).ok()?;
        self.resizer.resize_typed(&source, &mut target, &options).ok()
    }

    /// Scales the part of an image that begins at its upper left corner and is so large. Images are of red, green, blue and opacity, and opacity is
    /// weighed in: colours of what is not seen do not shine through at the edges.
    pub fn rgba(
        &mut self,
        (source, (across, down)): (&[u8], (u32, u32)),
        part: (f64, f64),
        (target, (width, height)): (&mut [u8], (u32, u32)),
    ) -> Option<()> {
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom))
            .crop(0.0, 0.0, part.0, part.1)
            .use_alpha(true);
        let source = TypedImageRef::<U8x4>::from_buffer(across, down, source).ok()?;
        let mut target = TypedImage::<U8x4>::from_buffer(width, height, target).ok()?;
        self.resizer.resize_typed(&source, &mut target, &options).ok()
    }
}

/// The filter for a plane that is so many times smaller than its source.
///
/// Where its samples are a few less than the library multiplies at once, it is given as many, with weights that come to nothing: from 1280x720 to
/// 854x480, seven samples one by one take 1.6 times as long as eight at once.
fn catmull_rom_for(times: f64) -> FilterType {
    let samples = 2.0 * REACH * times + 1.0;
    let at_once = (samples / LANES).ceil() * LANES;
    let wider = Filter::new("CatmullRom", catmull_rom, (at_once - 1.0) / 2.0 / times);
    wider
        .ok()
        .filter(|_| times > 1.0 && at_once - samples < LANES / 2.0)
        .map_or(FilterType::CatmullRom, FilterType::Custom)
}

fn catmull_rom(at: f64) -> f64 {
    let at = at.abs();
    if at < 1.0 {
        (1.5 * at - 2.5) * at * at + 1.0
    } else if at < REACH {
        ((2.5 - 0.5 * at) * at - 4.0) * at + 2.0
    } else {
        // No zero: those the library leaves out.
        1e-9
    }
}
