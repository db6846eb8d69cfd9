//! A picture as JPEG. Before it: a decoded picture, made smaller; after it: the answer to a snapshot's request.
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix, yuv420_to_rgb};

use crate::picture::{Colour, Picture};

/// From red, green and blue to a picture of these colours, and back (ISO/IEC 23091-2, table 4).
pub(crate) const fn matrix(colour: Colour) -> YuvStandardMatrix {
    match colour.matrix {
        1 => YuvStandardMatrix::Bt709,
        4 => YuvStandardMatrix::Fcc,
        7 => YuvStandardMatrix::Smpte240,
        9 | 10 => YuvStandardMatrix::Bt2020,
        _ => YuvStandardMatrix::Bt601,
    }
}

/// The JPEG of a picture; `None` where it cannot be made. JPEG has BT.601 of full range only, so what is not goes by way of RGB.
pub(crate) fn jpeg(picture: &Picture, colour: Colour, quality: u8) -> Option<Vec<u8>> {
    let (width, height) = (picture.width(), picture.height());
    let [(y, _), (u, (half, _)), (v, _)] = picture.planes();
    let planes = YuvPlanarImage {
        y_plane: y,
        y_stride: width,
        u_plane: u,
        u_stride: half as u32,
        v_plane: v,
        v_stride: half as u32,
        width,
        height,
    };
    let range = if colour.full_range { YuvRange::Full } else { YuvRange::Limited };
    let mut rgb = vec![0; width as usize * height as usize * 3];
    yuv420_to_rgb(&planes, &mut rgb, width * 3, range, matrix(colour)).ok()?;
    let mut out = Vec::with_capacity(rgb.len() / 10);
    let mut encoder = Encoder::new(&mut out, quality.clamp(1, 100));
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(&rgb, u16::try_from(width).ok()?, u16::try_from(height).ok()?, ColorType::Rgb).ok()?;
    Some(out)
}
