//! Marks read back out of pictures: where they are, in which colour, how much shows through, and what hostile files cost.
use super::*;
use crate::picture::Picture;

const BLACK_WHITE: Colour = Colour { primaries: 6, transfer: 6, matrix: 6, full_range: false };

/// A PNG of one colour.
fn png(width: u32, height: u32, colour: png::ColorType, pixel: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&pixel.repeat(width as usize * height as usize)).unwrap();
    drop(writer);
    file
}

fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut file = Vec::new();
    let pixels = [200, 40, 20].repeat(usize::from(width) * usize::from(height));
    jpeg_encoder::Encoder::new(&mut file, 95).encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
    file
}

fn image(width_px: u32, height_px: u32, left_px: u32, top_px: u32) -> Image {
    Image { width_px, height_px, left_px, top_px, opacity_percent: 100 }
}

fn text(text: &str) -> Text {
    Text { text: text.to_owned(), size_px: 64, rgba: [255; 4], left_px: 40, top_px: 20 }
}

/// A grey picture of this size with marks of a source of that size over it.
fn marked(marks: &Marks, file: &[u8], size: (u32, u32), source: (u32, u32)) -> Picture {
    let (set, lacking) = MarkSet::read(&Fonts::built_in(), marks, file, None);
    assert_eq!(lacking, Lacking::default());
    let mut picture = Picture::grey(size.0, size.1).unwrap();
    set.over(size, source, BLACK_WHITE).draw(&mut picture);
    picture
}

/// Y, U, V at a place of the luma.
fn at(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
    let [luma, blue, red] = picture.planes().map(|(plane, (across, _))| (plane, across));
    let half = |(plane, across): (&[u8], usize)| plane[y / 2 * across + x / 2];
    [luma.0[y * luma.1 + x], half(blue), half(red)]
}

#[track_caller]
fn near(found: [u8; 3], expected: [u8; 3], off: u8) {
    let is_near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= off);
    assert!(is_near, "{found:?} instead of {expected:?}");
}

/// The rectangle of luma that is not grey: left, top, right, bottom.
fn touched(picture: &Picture) -> Option<(usize, usize, usize, usize)> {
    let [(luma, (across, down)), ..] = picture.planes();
    let places = (0..down).flat_map(|y| (0..across).map(move |x| (x, y))).filter(|(x, y)| luma[y * across + x] != 128);
    places.fold(None, |found, (x, y)| {
        let (left, top, right, bottom) = found.unwrap_or((x, y, x, y));
        Some((left.min(x), top.min(y), right.max(x), bottom.max(y)))
    })
}

#[test]
fn an_image_is_where_it_should_be_in_its_colours_in_every_size() {
    let red = png(7, 5, png::ColorType::Rgb, &[255, 0, 0]);
    let marks = Marks { text: None, image: Some(image(200, 100, 40, 20)) };
    // BT.601: red is 81, 90, 240.
    let whole = marked(&marks, &red, (1280, 720), (1280, 720));
    assert_eq!(touched(&whole), Some((40, 20, 239, 119)));
    near(at(&whole, 40, 20), [81, 90, 240], 1);
    near(at(&whole, 239, 119), [81, 90, 240], 1);
    let half = marked(&marks, &red, (640, 360), (1280, 720));
    assert_eq!(touched(&half), Some((20, 10, 119, 59)));
    near(at(&half, 70, 30), [81, 90, 240], 1);
    // At an odd place the neighbours' colours show through at its edges, and brightness does not.
    let odd = Marks { text: None, image: Some(image(51, 51, 11, 13)) };
    let odd = marked(&odd, &red, (320, 180), (320, 180));
    assert_eq!(touched(&odd), Some((11, 13, 61, 63)));
    near(at(&odd, 11, 30), [81, 109, 184], 1);
    // Its lower right is outside of the picture, or all of it.
    let cut = Marks { text: None, image: Some(image(200, 100, 300, 170)) };
    assert_eq!(touched(&marked(&cut, &red, (320, 180), (320, 180))), Some((300, 170, 319, 179)));
    let outside = Marks { text: None, image: Some(image(8_192, 8_192, 320, 180)) };
    assert_eq!(touched(&marked(&outside, &red, (320, 180), (320, 180))), None);
    let huge = Marks { text: None, image: Some(image(8_192, 8_192, 0, 0)) };
    near(at(&marked(&huge, &red, (320, 180), (320, 180)), 319, 179), [81, 90, 240], 1);
}

#[test]
fn every_kind_of_file_is_drawn_and_what_is_transparent_shows_the_picture() {
    let marks = Marks { text: None, image: Some(image(64, 64, 0, 0)) };
    let level = |file: &[u8]| at(&marked(&marks, file, (64, 64), (64, 64)), 32, 32);
    near(level(&png(8, 8, png::ColorType::Rgba, &[255, 255, 255, 255])), [235, 128, 128], 1);
    near(level(&png(8, 8, png::ColorType::Rgba, &[255, 255, 255, 128])), [182, 128, 128], 1);
    assert_eq!(level(&png(8, 8, png::ColorType::Rgba, &[255, 0, 255, 0])), [128; 3]);
    near(level(&png(8, 8, png::ColorType::Grayscale, &[0])), [16, 128, 128], 1);
    near(level(&png(8, 8, png::ColorType::GrayscaleAlpha, &[0, 128])), [72, 128, 128], 1);
    // 200, 40, 20.
    near(level(&jpeg(16, 16)), [89, 95, 200], 4);
    let faint = Marks { text: None, image: Some(Image { opacity_percent: 25, ..image(64, 64, 0, 0) }) };
    let faint = marked(&faint, &png(8, 8, png::ColorType::Rgb, &[255, 255, 255]), (64, 64), (64, 64));
    near(at(&faint, 32, 32), [154, 128, 128], 1);
}

#[test]
fn colours_are_those_of_the_picture() {
    let red = png(2, 2, png::ColorType::Rgb, &[255, 0, 0]);
    let (set, _) =
        MarkSet::read(&Fonts::built_in(), &Marks { text: None, image: Some(image(64, 64, 0, 0)) }, &red, None);
    for (matrix, full_range, expected) in
        [(1, false, [63, 102, 240]), (6, false, [81, 90, 240]), (9, false, [74, 97, 240]), (6, true, [76, 85, 255])]
    {
        let mut picture = Picture::grey(64, 64).unwrap();
        set.over((64, 64), (64, 64), Colour { matrix, full_range, ..BLACK_WHITE }).draw(&mut picture);
        near(at(&picture, 8, 8), expected, 1);
    }
}

#[test]
fn text_is_drawn_at_its_place_in_its_size() {
    let marks = |words: &str| Marks { text: Some(text(words)), image: None };
    let words = marked(&marks("HH"), b"", (1280, 720), (1280, 720));
    let (left, top, right, bottom) = touched(&words).unwrap();
    // Capitals of DejaVu Sans are 0.729 em high, on a line whose ascent is 0.928 em.
    let capital = 64.0 * 0.729;
    assert!(
        (40..48).contains(&left) && (f64::from((bottom - top) as u32) - capital).abs() < 2.0,
        "{left} {top} {bottom}"
    );
    assert!((f64::from(bottom as u32) - (20.0 + 64.0 * 0.928)).abs() < 2.0 && right < 200, "{right} {bottom}");
    near(at(&words, left + 3, usize::midpoint(top, bottom)), [235, 128, 128], 2);
    let half = touched(&marked(&marks("HH"), b"", (640, 360), (1280, 720))).unwrap();
    assert!(half.0.abs_diff(left / 2) <= 1 && half.3.abs_diff(bottom / 2) <= 1, "{half:?}");
    let lines = touched(&marked(&marks("HH\nHH"), b"", (1280, 720), (1280, 720))).unwrap();
    assert!((f64::from((lines.3 - bottom) as u32) - 64.0 * 1.164).abs() < 2.0 && lines.2 == right, "{lines:?}");
    let wide = touched(&marked(&marks("H\tH"), b"", (1280, 720), (1280, 720))).unwrap();
    assert!(wide.2 > right + 60);
    let cut = touched(&marked(&marks(&"W".repeat(200)), b"", (320, 180), (320, 180))).unwrap();
    assert_eq!(cut.2, 319);
    assert_eq!(touched(&marked(&marks("   \n\t"), b"", (320, 180), (320, 180))), None);
    let clear = Marks { text: Some(Text { rgba: [255, 255, 255, 0], ..text("HH") }), image: None };
    assert_eq!(touched(&marked(&clear, b"", (320, 180), (320, 180))), None);
    let vast = Marks { text: Some(Text { size_px: 512, ..text(&"W".repeat(256)) }), image: None };
    assert!(touched(&marked(&vast, b"", (640, 360), (640, 360))).is_some());
}

#[test]
fn characters_that_no_font_has_are_named_and_a_box_stands_for_them() {
    let fonts = Fonts::built_in();
    assert_eq!(fonts.lacks("Hello, Wörld! Привет Ελλάδα 123 €"), "");
    assert_eq!(fonts.lacks("直播 a 直"), "直播");
    assert_eq!(fonts.lacks(&(0x4e00..0x4f00).filter_map(char::from_u32).collect::<String>()).chars().count(), 16);
    let marks = Marks { text: Some(text("直播")), image: None };
    let (set, lacking) = MarkSet::read(&fonts, &marks, b"", None);
    assert_eq!(lacking.characters, "直播");
    let mut picture = Picture::grey(640, 360).unwrap();
    set.over((640, 360), (640, 360), BLACK_WHITE).draw(&mut picture);
    assert!(touched(&picture).is_some());
}

#[test]
fn a_font_of_the_operator_is_used_and_one_that_is_none_is_refused() {
    let scratch = |name: &str, bytes: &[u8]| {
        let path = std::env::temp_dir().join(format!("millstream-font-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let none = scratch("none", b"no font at all");
    assert!(matches!(Fonts::open(Some(&none)), Err(FontError::Malformed(_))));
    let own = scratch("own", include_bytes!("../../assets/DejaVuSans.ttf"));
    assert!(Fonts::open(Some(&own)).unwrap().glyph('H').is_some());
    for path in [none, own] {
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Fonts::open(Some(&path)), Err(FontError::File(..))));
    }
}

/// The length, the check value and all else of a PNG's header are right: only its size is not what it says.
fn huge_png(width: u32, height: u32) -> Vec<u8> {
    let mut file = png(1, 1, png::ColorType::Rgba, &[0; 4]);
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = file[12..29].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    file[29..33].copy_from_slice(&(!crc).to_be_bytes());
    file
}

#[test]
fn hostile_files_cost_no_more_than_the_image() {
    let marks = Marks { text: Some(text("H")), image: Some(image(64, 64, 0, 0)) };
    let read = |file: &[u8]| MarkSet::read(&Fonts::built_in(), &marks, file, None).1.image;
    assert_eq!(read(b""), Some(ImageError::Unknown));
    assert_eq!(read(b"<html>"), Some(ImageError::Unknown));
    assert_eq!(read(b"GIF89a"), Some(ImageError::Unknown));
    assert_eq!(read(&huge_png(60_000, 60_000)), Some(ImageError::Large(60_000, 60_000)));
    assert_eq!(read(&huge_png(4_096, 4_096)), Some(ImageError::Large(4_096, 4_096)));
    assert!(matches!(read(&huge_png(900, 900)), Some(ImageError::Damaged(_))));
    let sound = [png(64, 64, png::ColorType::Rgba, &[9, 8, 7, 6]), jpeg(64, 64)];
    assert!(sound.iter().all(|file| read(file).is_none()));
    // Cut off, and with bits turned: whatever it is, it is told, and nothing panics through.
    let mut seed = 1_u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize
    };
    for file in &sound {
        (0..file.len()).step_by(7).for_each(|length| drop(read(&file[..length])));
        for _ in 0..300 {
            let mut damaged = file.clone();
            for _ in 0..1 + random() % 8 {
                let place = random() % damaged.len();
                damaged[place] ^= 1 << (random() % 8);
            }
            read(&damaged);
        }
    }
}

#[test]
fn an_image_that_is_known_is_not_read_again() {
    let marks = Marks { text: None, image: Some(image(64, 64, 0, 0)) };
    let file = png(8, 8, png::ColorType::Rgb, &[255, 0, 0]);
    let (before, _) = MarkSet::read(&Fonts::built_in(), &marks, &file, None);
    let moved = Marks { text: None, image: Some(image(64, 64, 32, 0)) };
    let (after, lacking) = MarkSet::read(&Fonts::built_in(), &moved, b"not looked at", Some(&before));
    assert_eq!(lacking, Lacking::default());
    let mut picture = Picture::grey(128, 64).unwrap();
    after.over((128, 64), (128, 64), BLACK_WHITE).draw(&mut picture);
    assert_eq!(touched(&picture), Some((32, 0, 95, 63)));
}
