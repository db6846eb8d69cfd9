//! What is drawn over a stream's picture: text, an image, or both. Before it: the settings of a stream (`isWaterMark`, `isImageWaterMark` and what
//! belongs to them); after it: whoever makes renditions, which draws it.
//!
//! Lengths are pixels of the *source's* picture: a rendition that is half as high has marks of half the size, at the same place.
use std::str::FromStr;

/// Bytes of a text.
pub const TEXT_BYTES_MAX: usize = 256;
/// Bytes of an image's address.
pub const IMAGE_URL_BYTES_MAX: usize = 2_048;
/// The size of text, pixels of an em.
pub const FONT_SIZE_PX: std::ops::RangeInclusive<u32> = 1..=512;
/// The longest side of an image, and the farthest place of a mark, pixels.
pub const PLACE_PX_MAX: u32 = 8_192;

/// The marks of a stream. Neither is nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Watermark {
    /// Text over the picture.
    pub text: Option<TextMark>,
    /// An image over the picture, and over the text.
    pub image: Option<ImageMark>,
}

impl Watermark {
    /// Nothing is drawn.
    pub const fn is_empty(&self) -> bool {
        self.text.is_none() && self.image.is_none()
    }
}

/// Text over a picture.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TextMark {
    /// The text; a line break begins another line.
    pub text: String,
    /// Pixels of an em.
    pub size_px: u32,
    /// Its colour.
    pub colour: Rgba,
    /// From the picture's left edge to the text, pixels.
    pub left_px: u32,
    /// From its upper edge, pixels.
    pub top_px: u32,
}

/// An image over a picture.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ImageMark {
    /// Where it is fetched: `http://` or `https://`. The query may hold a credential: it is not printed.
    pub url: String,
    /// Its size in the picture, pixels. It is stretched to that.
    pub width_px: u32,
    /// See `width_px`.
    pub height_px: u32,
    /// From the picture's left edge to the image, pixels.
    pub left_px: u32,
    /// From its upper edge, pixels.
    pub top_px: u32,
    /// How much of it is seen, 1 to 100, beside its own transparency.
    pub opacity_percent: u8,
}

/// A colour, and how much of it is seen: 0 to 255 each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rgba(pub [u8; 4]);

impl Rgba {
    /// What text has where nobody says.
    pub const WHITE: Self = Self([255; 4]);
}

/// Text that is no colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ColourError {
    /// Neither a name nor hexadecimal digits.
    #[error(
        "this is not a colour; give a name such as white, or #RRGGBB, and @0.5 behind it to let the picture show through"
    )]
    Colour,
    /// What is behind the `@` is not a number from 0 to 1.
    #[error("the opacity behind the @ is not a number from 0 to 1")]
    Opacity,
}

/// Names of CSS, of which these are what people use for text.
const NAMES: [(&str, [u8; 3]); 23] = [
    ("aqua", [0, 255, 255]),
    ("black", [0, 0, 0]),
    ("blue", [0, 0, 255]),
    ("brown", [165, 42, 42]),
    ("cyan", [0, 255, 255]),
    ("fuchsia", [255, 0, 255]),
    ("gold", [255, 215, 0]),
    ("gray", [128, 128, 128]),
    ("green", [0, 128, 0]),
    ("grey", [128, 128, 128]),
    ("lime", [0, 255, 0]),
    ("magenta", [255, 0, 255]),
    ("maroon", [128, 0, 0]),
    ("navy", [0, 0, 128]),
    ("olive", [128, 128, 0]),
    ("orange", [255, 165, 0]),
    ("pink", [255, 192, 203]),
    ("purple", [128, 0, 128]),
    ("red", [255, 0, 0]),
    ("silver", [192, 192, 192]),
    ("teal", [0, 128, 128]),
    ("white", [255, 255, 255]),
    ("yellow", [255, 255, 0]),
];

/// As ffmpeg's `drawtext` takes them: a name, `#RRGGBB`, `0xRRGGBB`, either with `AA` behind it, and `@` with an opacity.
impl FromStr for Rgba {
    type Err = ColourError;

    fn from_str(text: &str) -> Result<Self, ColourError> {
        let (colour, opacity) = match text.trim().split_once('@') {
            Some((colour, opacity)) => (colour.trim(), Some(opacity.trim())),
            None => (text.trim(), None),
        };
        let digits =
            colour.strip_prefix('#').or_else(|| colour.strip_prefix("0x")).or_else(|| colour.strip_prefix("0X"));
        let [red, green, blue, alpha] = match digits {
            Some(digits) => hex(digits).ok_or(ColourError::Colour)?,
            None => named(&colour.to_ascii_lowercase()).ok_or(ColourError::Colour)?,
        };
        let opacity = match opacity {
            Some(opacity) => opacity.parse::<f32>().ok().filter(|it| (0.0..=1.0).contains(it)),
            None => Some(1.0),
        };
        let opacity = opacity.ok_or(ColourError::Opacity)?;
        Ok(Self([red, green, blue, (f32::from(alpha) * opacity).round() as u8]))
    }
}

fn named(name: &str) -> Option<[u8; 4]> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, [red, green, blue])| [*red, *green, *blue, 255])
}

fn hex(digits: &str) -> Option<[u8; 4]> {
    let number =
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())??;
    match digits.len() {
        6 => Some((number << 8 | 0xff).to_be_bytes()),
        8 => Some(number.to_be_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_as_people_write_them() {
        let check = |text: &str, expected| assert_eq!(text.parse::<Rgba>(), expected, "{text}");
        check("white", Ok(Rgba::WHITE));
        check(" White@0.5 ", Ok(Rgba([255, 255, 255, 128])));
        check("#ff8000", Ok(Rgba([255, 128, 0, 255])));
        check("0xFF800040", Ok(Rgba([255, 128, 0, 64])));
        check("#000000@0", Ok(Rgba([0, 0, 0, 0])));
        check("#ff8000ff@0.25", Ok(Rgba([255, 128, 0, 64])));
        for text in ["", "#", "#fff", "#+12345", "whitish", "#1234567", "0x", "#ff80000g", "é"] {
            check(text, Err(ColourError::Colour));
        }
        for text in ["white@", "white@2", "white@-1", "white@NaN", "red@0.5@1"] {
            check(text, Err(ColourError::Opacity));
        }
    }
}
