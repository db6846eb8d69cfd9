//! What is drawn over a stream's renditions, out of its record. Beside it: [`super`], which keeps it with the other settings; after it: whoever makes
//! renditions.
use millstream_control_protocol::state::Stream;
use millstream_proto::watermark::{
    FONT_SIZE_PX, IMAGE_URL_BYTES_MAX, ImageMark, PLACE_PX_MAX, Rgba, TEXT_BYTES_MAX, TextMark, Watermark,
};

use super::WARNINGS_MAX;

/// Where nothing is said: pixels.
const FONT_PX: u32 = 24;
const EDGE_PX: u32 = 10;
const IMAGE_PX: (u32, u32) = (100, 50);

/// The watermark of a stream; `None`: it has none, or none that could be drawn.
pub(super) fn of(stream: &Stream, warnings: &mut Vec<String>) -> Option<Watermark> {
    let said = &stream.watermark;
    let place = |px: Option<u32>| px.unwrap_or(EDGE_PX).min(PLACE_PX_MAX);
    let text = (said.text_on && !said.text.trim().is_empty() && said.text.len() <= TEXT_BYTES_MAX).then(|| {
        let colour = said.font_colour.as_deref().map(str::parse::<Rgba>);
        if let Some(Err(error)) = &colour
            && warnings.len() < WARNINGS_MAX
        {
            warnings.push(format!("stream {}: the colour of its watermark: {error}; it is white", stream.id));
        }
        TextMark {
            text: said.text.clone(),
            size_px: said.font_size_px.unwrap_or(FONT_PX).clamp(*FONT_SIZE_PX.start(), *FONT_SIZE_PX.end()),
            colour: colour.and_then(Result::ok).unwrap_or(Rgba::WHITE),
            left_px: place(said.left_px),
            top_px: place(said.top_px),
        }
    });
    let has_image = said.image_on && !said.image_url.is_empty() && said.image_url.len() <= IMAGE_URL_BYTES_MAX;
    let side = |px: Option<u32>, usual: u32| px.unwrap_or(usual).clamp(1, PLACE_PX_MAX);
    let image = has_image.then(|| ImageMark {
        url: said.image_url.clone(),
        width_px: side(said.image_width_px, IMAGE_PX.0),
        height_px: side(said.image_height_px, IMAGE_PX.1),
        left_px: place(said.image_left_px),
        top_px: place(said.image_top_px),
        opacity_percent: said.image_opacity_percent.unwrap_or(100).clamp(1, 100) as u8,
    });
    let watermark = Watermark { text, image };
    (!watermark.is_empty()).then_some(watermark)
}

#[cfg(test)]
mod tests {
    use millstream_control_protocol::watermark::Watermark as Said;

    use super::*;

    fn stream(watermark: Said) -> Stream {
        Stream { id: "cam".to_owned(), watermark, ..Stream::default() }
    }

    #[test]
    fn a_watermark_is_what_is_switched_on_and_says_something() {
        let (mut warnings, text) =
            (Vec::new(), Said { text: "a".into(), image_url: "http://h/".into(), ..Said::default() });
        assert_eq!(of(&stream(text.clone()), &mut warnings), None);
        assert_eq!(of(&stream(Said { text_on: true, text: " \n".into(), ..Said::default() }), &mut warnings), None);
        assert_eq!(of(&stream(Said { image_on: true, ..Said::default() }), &mut warnings), None);
        let on = Said { text_on: true, font_colour: Some("#102030@0.5".into()), left_px: Some(99_999), ..text.clone() };
        let mark = of(&stream(on), &mut warnings).unwrap();
        let expected =
            TextMark { text: "a".into(), size_px: 24, colour: Rgba([16, 32, 48, 128]), left_px: 8_192, top_px: 10 };
        assert_eq!((mark.text, mark.image), (Some(expected), None));
        let image = of(&stream(Said { image_on: true, image_opacity_percent: Some(0), ..text.clone() }), &mut warnings);
        let image = image.unwrap().image.unwrap();
        assert_eq!((image.width_px, image.height_px, image.opacity_percent), (100, 50, 1));
        assert!(warnings.is_empty());
        let odd = of(&stream(Said { text_on: true, font_colour: Some("whitish".into()), ..text }), &mut warnings);
        assert_eq!((odd.unwrap().text.unwrap().colour, warnings.len()), (Rgba::WHITE, 1));
    }
}
