//! An image's file as an overlay. Before it: what the node fetched, which is a stranger's; after it: [`super::overlay`].
//!
//! The decoders are safe Rust. The size is looked at before there is room made for it, and what panics all the same is caught.
use std::io::Cursor;
use std::panic::catch_unwind;

use millstream_scale::Scaler;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::protocol::{JPEG_BEGINS, PNG_BEGINS};

/// The longest side of an image, and its pixels.
const SIDE_PX_MAX: u32 = 4_096;
const PIXELS_MAX: u64 = 8 << 20;
const CHANNELS: usize = 4;

/// A file that is no image, or none that is drawn.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Neither of the two.
    #[error("it is neither PNG nor JPEG")]
    Unknown,
    /// More pixels than are drawn here.
    #[error("it has {0}x{1} pixels; at most {SIDE_PX_MAX} on a side and {most} million in all are drawn", most = PIXELS_MAX >> 20)]
    Large(u32, u32),
    /// It cannot be decoded.
    #[error("it cannot be decoded: {0}")]
    Damaged(String),
}

/// Pixels of red, green, blue and opacity, 8 bits each, row by row.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Rgba8 {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) samples: Vec<u8>,
}

impl std::fmt::Debug for Rgba8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rgba8({}x{})", self.width, self.height)
    }
}

impl Rgba8 {
    /// `None`: the samples are not as many as they should be.
    pub(super) fn new(width: u32, height: u32, samples: Vec<u8>) -> Option<Self> {
        let expected = width as usize * height as usize * CHANNELS;
        (expected > 0 && samples.len() == expected).then_some(Self { width, height, samples })
    }
}

/// Reads a file.
pub(super) fn read(file: &[u8]) -> Result<Rgba8, ImageError> {
    let decode = if file.starts_with(PNG_BEGINS) {
        png
    } else if file.starts_with(JPEG_BEGINS) {
        jpeg
    } else {
        return Err(ImageError::Unknown);
    };
    catch_unwind(|| decode(file)).unwrap_or_else(|_| Err(ImageError::Damaged("its decoder failed".to_owned())))
}

fn within(width: u32, height: u32) -> Result<(), ImageError> {
    let fits = width.max(height) <= SIDE_PX_MAX && u64::from(width) * u64::from(height) <= PIXELS_MAX;
    if fits { Ok(()) } else { Err(ImageError::Large(width, height)) }
}

fn damaged(error: impl std::fmt::Display) -> ImageError {
    ImageError::Damaged(error.to_string())
}

fn png(file: &[u8]) -> Result<Rgba8, ImageError> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), png::Limits { bytes: 64 << 20 });
    // Palettes, 1 to 16 bits and grey become 8 bits; what is said to be transparent is.
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (width, height) = reader.info().size();
    within(width, height)?;
    let bytes = reader.output_buffer_size().ok_or(ImageError::Large(width, height))?;
    let mut samples = vec![0; bytes];
    let frame = reader.next_frame(&mut samples).map_err(damaged)?;
    samples.truncate(frame.buffer_size());
    let samples = match frame.color_type {
        png::ColorType::Rgba => samples,
        png::ColorType::GrayscaleAlpha => {
            samples.as_chunks::<2>().0.iter().flat_map(|[grey, alpha]| [*grey, *grey, *grey, *alpha]).collect()
        }
        png::ColorType::Rgb => opaque(&samples),
        png::ColorType::Grayscale => samples.iter().flat_map(|grey| [*grey, *grey, *grey, 255]).collect(),
        png::ColorType::Indexed => return Err(damaged("its palette was not applied")),
    };
    Rgba8::new(frame.width, frame.height, samples).ok_or_else(|| damaged("it has too few pixels"))
}

fn jpeg(file: &[u8]) -> Result<Rgba8, ImageError> {
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(SIDE_PX_MAX as usize)
        .set_max_height(SIDE_PX_MAX as usize);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(Cursor::new(file), options);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged("it says no size"))?;
    let (width, height) = (width as u32, height as u32);
    within(width, height)?;
    let samples = decoder.decode().map_err(damaged)?;
    Rgba8::new(width, height, opaque(&samples)).ok_or_else(|| damaged("it has too few pixels"))
}

fn opaque(rgb: &[u8]) -> Vec<u8> {
    rgb.as_chunks::<3>().0.iter().flat_map(|[red, green, blue]| [*red, *green, *blue, 255]).collect()
}

/// An image of this size, cut to `room`; `None`: there is nothing to be seen.
pub(super) fn fit(image: &Rgba8, (width, height): (f32, f32), room: (u32, u32), opacity_percent: u8) -> Option<Rgba8> {
    let (width, height) = (width.round().max(1.0), height.round().max(1.0));
    let (seen_across, seen_down) = ((width as u32).min(room.0), (height as u32).min(room.1));
    if seen_across == 0 || seen_down == 0 || opacity_percent == 0 {
        return None;
    }
    let mut samples = vec![0; seen_across as usize * seen_down as usize * CHANNELS];
    let part = |seen: u32, whole: f32, of: u32| f64::from(of) * f64::from(seen) / f64::from(whole);
    let part = (part(seen_across, width, image.width), part(seen_down, height, image.height));
    let source = (&image.samples[..], (image.width, image.height));
    Scaler::default().rgba(source, part, (&mut samples, (seen_across, seen_down)))?;
    if opacity_percent < 100 {
        for [.., alpha] in samples.as_chunks_mut::<CHANNELS>().0 {
            *alpha = (u32::from(*alpha) * u32::from(opacity_percent) / 100) as u8;
        }
    }
    Rgba8::new(seen_across, seen_down, samples)
}
