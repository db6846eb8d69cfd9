//! The fonts that text is drawn with: the operator's or the built-in one, and behind it one of this machine for Chinese, Japanese and Korean. Before
//! it: the start of the process, while it may open files; after it: [`super::text`].
//!
//! A font that is there in case it is needed is opened at the start and read with the first character that it is needed for: it has 20 MB.
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ab_glyph::{FontRef, FontVec, GlyphId};

/// DejaVu Sans: Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew, Arabic letters, arrows and mathematics.
const BUILT_IN: &[u8] = include_bytes!("../../assets/DejaVuSans.ttf");
/// Bytes of a font's file.
const FONT_BYTES_MAX: u64 = 64 << 20;
/// Where systems keep fonts with Han characters, and which font of such a collection is the simplified Chinese one.
const OF_SYSTEM: [(&str, u32); 9] = [
    ("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/google-noto-cjk/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/google-noto-sans-cjk-fonts/NotoSansCJK-Regular.ttc", 2),
    ("/usr/share/fonts/google-noto-sans-cjk-vf-fonts/NotoSansCJK-VF.ttc", 2),
    ("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc", 0),
    ("/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc", 0),
    ("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf", 0),
    ("/usr/share/fonts/truetype/droid/DroidSansFallback.ttf", 0),
];
/// Characters without a glyph that are told.
const LACKING_MAX: usize = 16;

/// A font's file that is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FontError {
    /// It cannot be read.
    #[error("the font {0} cannot be read: {1}")]
    File(PathBuf, io::Error),
    /// It is larger than a font is.
    #[error("the font {0} has more than {max} MiB", max = FONT_BYTES_MAX >> 20)]
    Long(PathBuf),
    /// It is no font.
    #[error("{0} is no TrueType or OpenType font")]
    Malformed(PathBuf),
}

/// Fonts, the first that has a character draws it. Cheap to clone.
#[derive(Clone)]
pub struct Fonts(Arc<Vec<Face>>);

enum Face {
    BuiltIn(FontRef<'static>),
    Read(FontVec),
    /// One that is read when it is needed.
    Waiting {
        path: PathBuf,
        index: u32,
        file: Mutex<Option<File>>,
        font: OnceLock<Option<FontVec>>,
    },
}

impl Fonts {
    /// The operator's font, else the built-in one, and this machine's for Chinese. To be called while files may be opened.
    ///
    /// # Errors
    /// The operator's cannot be used.
    pub fn open(configured: Option<&Path>) -> Result<Self, FontError> {
        let mut faces = Vec::new();
        if let Some(path) = configured {
            let file = File::open(path).map_err(|error| FontError::File(path.to_owned(), error))?;
            faces.push(Face::Read(read(path, file, 0)?));
        }
        faces.extend(FontRef::try_from_slice(BUILT_IN).ok().map(Face::BuiltIn));
        let of_system = OF_SYSTEM.iter().find_map(|(path, index)| Some((path, *index, File::open(path).ok()?)));
        faces.extend(of_system.map(|(path, index, file)| Face::Waiting {
            path: PathBuf::from(path),
            index,
            file: Mutex::new(Some(file)),
            font: OnceLock::new(),
        }));
        Ok(Self(Arc::new(faces)))
    }

    /// The built-in font alone.
    pub fn built_in() -> Self {
        Self(Arc::new(FontRef::try_from_slice(BUILT_IN).ok().map(Face::BuiltIn).into_iter().collect()))
    }

    /// Who draws a character, and with which glyph. `None`: no font has it.
    pub(super) fn glyph(&self, character: char) -> Option<(&dyn Drawing, GlyphId)> {
        self.0.iter().filter_map(Face::font).find_map(|font| {
            let glyph = font.glyph(character);
            (glyph.0 != 0).then_some((font, glyph))
        })
    }

    /// Who draws a box for a character that no font has, and how high lines are.
    pub(super) fn first(&self) -> Option<&dyn Drawing> {
        self.0.iter().find_map(Face::font)
    }

    /// The first characters of a text that no font has.
    pub(crate) fn lacks(&self, text: &str) -> String {
        let mut lacking = String::new();
        let mut count = 0;
        for character in text.chars().filter(|character| !character.is_whitespace() && !character.is_control()) {
            if count < LACKING_MAX && self.glyph(character).is_none() && !lacking.contains(character) {
                lacking.push(character);
                count += 1;
            }
        }
        lacking
    }
}

impl fmt::Debug for Fonts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fonts({})", self.0.len())
    }
}

impl Face {
    fn font(&self) -> Option<&dyn Drawing> {
        match self {
            Self::BuiltIn(font) => Some(font),
            Self::Read(font) => Some(font),
            Self::Waiting { path, index, file, font } => {
                let open = || {
                    let file = file.lock().unwrap_or_else(PoisonError::into_inner).take()?;
                    let font = read(path, file, *index);
                    if let Err(error) = &font {
                        tracing::warn!(%error, "a font of this machine is not used");
                    }
                    font.ok()
                };
                font.get_or_init(open).as_ref().map(|font| font as &dyn Drawing)
            }
        }
    }
}

fn read(path: &Path, file: File, index: u32) -> Result<FontVec, FontError> {
    let mut bytes = Vec::new();
    let read = file.take(FONT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| FontError::File(path.to_owned(), error))?;
    if bytes.len() as u64 > FONT_BYTES_MAX {
        return Err(FontError::Long(path.to_owned()));
    }
    FontVec::try_from_vec_and_index(bytes, index).map_err(|_| FontError::Malformed(path.to_owned()))
}

/// What is needed of a font.
pub(super) trait Drawing {
    /// The glyph of a character; 0 is the box.
    fn glyph(&self, character: char) -> GlyphId;
    /// How far the next glyph is, of an em of so many pixels.
    fn advance_px(&self, glyph: GlyphId, em_px: f32) -> f32;
    /// How much nearer, or farther, a glyph is to the one before it.
    fn kern_px(&self, before: GlyphId, glyph: GlyphId, em_px: f32) -> f32;
    /// From the upper edge of a line to what letters stand on, and to the next line.
    fn line_px(&self, em_px: f32) -> (f32, f32);
    /// A glyph on a line that begins at this place; `None`: it has no ink.
    fn outline(&self, glyph: GlyphId, em_px: f32, at: (f32, f32)) -> Option<ab_glyph::OutlinedGlyph>;
}

impl<F: ab_glyph::Font> Drawing for F {
    fn glyph(&self, character: char) -> GlyphId {
        self.glyph_id(character)
    }

    fn advance_px(&self, glyph: GlyphId, em_px: f32) -> f32 {
        self.h_advance_unscaled(glyph) * per_unit(self, em_px)
    }

    fn kern_px(&self, before: GlyphId, glyph: GlyphId, em_px: f32) -> f32 {
        self.kern_unscaled(before, glyph) * per_unit(self, em_px)
    }

    fn line_px(&self, em_px: f32) -> (f32, f32) {
        let factor = per_unit(self, em_px);
        (self.ascent_unscaled() * factor, (self.height_unscaled() + self.line_gap_unscaled()) * factor)
    }

    fn outline(&self, glyph: GlyphId, em_px: f32, (x, y): (f32, f32)) -> Option<ab_glyph::OutlinedGlyph> {
        // What ab_glyph calls a scale is the height of a line, not the em.
        let scale = self.height_unscaled() * per_unit(self, em_px);
        self.outline_glyph(glyph.with_scale_and_position(scale, ab_glyph::point(x, y)))
    }
}

fn per_unit(font: &impl ab_glyph::Font, em_px: f32) -> f32 {
    em_px / font.units_per_em().filter(|units| *units > 0.0).unwrap_or(1_000.0)
}
