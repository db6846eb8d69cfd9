//! Text as an overlay. Before it: [`super::fonts`]; after it: [`super::overlay`].
//!
//! A glyph a character, from left to right, with kerning: scripts that join letters or are written from the right are not set as they should be.
use super::fonts::{Drawing, Fonts};
use super::image::Rgba8;

/// A tab is so many spaces.
const TAB_SPACES: f32 = 4.0;

/// The text in a rectangle as small as it can be, and no larger than `room`; `None`: there is nothing to be seen.
pub(super) fn draw(fonts: &Fonts, text: &str, em_px: f32, rgba: [u8; 4], room: (u32, u32)) -> Option<Rgba8> {
    let glyphs = lay_out(fonts, text, em_px);
    let reach = |edge: fn(&ab_glyph::Rect) -> f32, most: u32| {
        let far = glyphs.iter().map(|glyph| edge(&glyph.px_bounds())).fold(0.0, f32::max);
        (far.ceil() as u32).min(most)
    };
    let (width, height) = (reach(|bounds| bounds.max.x, room.0), reach(|bounds| bounds.max.y, room.1));
    if width == 0 || height == 0 || rgba[3] == 0 {
        return None;
    }
    let mut coverage = vec![0.0_f32; width as usize * height as usize];
    for glyph in &glyphs {
        let bounds = glyph.px_bounds();
        let (left, top) = (bounds.min.x as i32, bounds.min.y as i32);
        if left >= width as i32 || top >= height as i32 {
            continue;
        }
        glyph.draw(|x, y, covered| {
            let (x, y) = (left + x as i32, top + y as i32);
            if (0..width as i32).contains(&x)
                && (0..height as i32).contains(&y)
                && let Some(so_far) = coverage.get_mut(y as usize * width as usize + x as usize)
            {
                *so_far = (*so_far + covered).min(1.0);
            }
        });
    }
    let [red, green, blue, alpha] = rgba;
    let pixel = |covered: &f32| [red, green, blue, (covered * f32::from(alpha)).round() as u8];
    Rgba8::new(width, height, coverage.iter().flat_map(pixel).collect())
}

/// The glyphs of a text, the first line's upper left corner at 0, 0.
fn lay_out(fonts: &Fonts, text: &str, em_px: f32) -> Vec<ab_glyph::OutlinedGlyph> {
    let Some(first) = fonts.first() else { return Vec::new() };
    let (ascent_px, line_px) = first.line_px(em_px);
    let space_px = first.advance_px(first.glyph(' '), em_px);
    let mut glyphs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (mut x, y) = (0.0, ascent_px + number as f32 * line_px);
        let mut before: Option<(*const dyn Drawing, ab_glyph::GlyphId)> = None;
        for character in line.chars() {
            if character == '\t' {
                x += TAB_SPACES * space_px;
                before = None;
                continue;
            }
            if character.is_control() {
                continue;
            }
            let (font, glyph) = fonts.glyph(character).unwrap_or((first, ab_glyph::GlyphId(0)));
            if let Some((same, before)) = before
                && std::ptr::addr_eq(same, font)
            {
                x += font.kern_px(before, glyph, em_px);
            }
            glyphs.extend(font.outline(glyph, em_px, (x, y)));
            x += font.advance_px(glyph, em_px);
            before = Some((std::ptr::from_ref(font), glyph));
        }
    }
    glyphs
}
