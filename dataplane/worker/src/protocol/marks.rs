//! What is drawn over the pictures of a job's renditions, as node and worker speak of it. Before it: the settings of a stream; after it: the
//! worker's `mark`.
use serde::{Deserialize, Serialize};

/// How a file of PNG begins.
pub const PNG_BEGINS: &[u8] = b"\x89PNG\r\n\x1a\n";
/// And one of JPEG.
pub const JPEG_BEGINS: &[u8] = b"\xff\xd8\xff";

/// The marks of a job. Lengths are pixels of the source's picture. Neither is nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// Text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// An image: the message's payload is its file, PNG or JPEG.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
}

/// Text over a picture.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Text {
    /// The text; a line break begins another line.
    pub text: String,
    /// Pixels of an em.
    pub size_px: u32,
    /// Red, green, blue, and how much of it is seen.
    pub rgba: [u8; 4],
    /// From the picture's left edge, pixels.
    pub left_px: u32,
    /// From its upper edge, pixels.
    pub top_px: u32,
}

/// An image over a picture.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// Its size in the picture, pixels.
    pub width_px: u32,
    /// See `width_px`.
    pub height_px: u32,
    /// From the picture's left edge, pixels.
    pub left_px: u32,
    /// From its upper edge, pixels.
    pub top_px: u32,
    /// How much of it is seen, percent.
    pub opacity_percent: u8,
}
