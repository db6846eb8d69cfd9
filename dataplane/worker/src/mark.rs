//! What is drawn over renditions: text and an image. Before it: an order of the node ([`crate::protocol::Marks`]); after it:
//! [`crate::transcode`]'s renditions, whose pictures it changes before they are encoded.
//!
//! Reading order: this file (what is drawn, read once for all renditions of a job), [`fonts`], [`text`] and [`image`] (an overlay in colours),
//! [`overlay`] (the same in the planes of a rendition's picture, made once for a size).
//!
//! Invariants: the file of an image is a stranger's: its size is looked at before it is decoded, and a decoder that panics costs the image and no
//! more; an overlay is never larger than the picture that it is drawn over.
mod fonts;
mod image;
mod overlay;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

pub use fonts::{FontError, Fonts};
pub use image::ImageError;
use image::Rgba8;
pub(crate) use overlay::Overlay;

use crate::picture::Colour;
use crate::protocol::{Image, Marks, Text};

/// Marks that can be drawn. Shared by the renditions of a job.
#[derive(Debug)]
pub struct MarkSet {
    fonts: Fonts,
    text: Option<Text>,
    image: Option<(Image, Arc<Rgba8>)>,
}

/// What cannot be drawn of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lacking {
    /// Characters that no font has: a box stands for each.
    pub characters: String,
    /// Why there is no image.
    pub image: Option<ImageError>,
}

impl MarkSet {
    /// Reads an image's file, and looks for glyphs. `before`: marks whose image is of the same file.
    pub fn read(fonts: &Fonts, marks: &Marks, file: &[u8], before: Option<&Self>) -> (Self, Lacking) {
        let mut lacking = Lacking::default();
        if let Some(text) = &marks.text {
            lacking.characters = fonts.lacks(&text.text);
        }
        let known = before.and_then(|before| before.image.as_ref()).map(|(_, image)| Arc::clone(image));
        let image =
            marks.image.clone().and_then(|mark| match known.map_or_else(|| image::read(file).map(Arc::new), Ok) {
                Ok(image) => Some((mark, image)),
                Err(error) => {
                    lacking.image = Some(error);
                    None
                }
            });
        (Self { fonts: fonts.clone(), text: marks.text.clone(), image }, lacking)
    }

    /// These marks over a picture of this size and these colours, made of a source of that size.
    pub(crate) fn over(&self, size: (u32, u32), source: (u32, u32), colour: Colour) -> Overlay {
        let across = |px: u32| scaled(px, size.0, source.0);
        let down = |px: u32| scaled(px, size.1, source.1);
        let mut layers = Vec::new();
        if let Some(Text { text, size_px, rgba, left_px, top_px }) = &self.text {
            let (left, top) = (across(*left_px).round() as u32, down(*top_px).round() as u32);
            let room = (size.0.saturating_sub(left), size.1.saturating_sub(top));
            let drawn = text::draw(&self.fonts, text, down(*size_px), *rgba, room);
            layers.extend(drawn.map(|drawn| (left, top, drawn)));
        }
        if let Some((mark, image)) = &self.image {
            let (left, top) = (across(mark.left_px).round() as u32, down(mark.top_px).round() as u32);
            let room = (size.0.saturating_sub(left), size.1.saturating_sub(top));
            let drawn = image::fit(image, (across(mark.width_px), down(mark.height_px)), room, mark.opacity_percent);
            layers.extend(drawn.map(|drawn| (left, top, drawn)));
        }
        Overlay::new(&layers, size, colour)
    }
}

fn scaled(px: u32, rendition: u32, source: u32) -> f32 {
    px as f32 * rendition as f32 / source.max(1) as f32
}
