//! What is drawn over a stream's picture, as its record says it. Before it: the API; after it: nodes, which draw it over renditions.
use serde::{Deserialize, Serialize};

/// Text and an image over the picture. Lengths are pixels of the source's picture.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Watermark {
    /// Text is drawn.
    #[serde(skip_serializing_if = "is_off")]
    pub text_on: bool,
    /// Which.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// Its size, pixels of an em; `None`: 24.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub font_size_px: Option<u32>,
    /// Its colour; `None`: white.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub font_colour: Option<String>,
    /// From the upper edge, pixels; `None`: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_px: Option<u32>,
    /// From the left edge, pixels; `None`: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_px: Option<u32>,
    /// An image is drawn.
    #[serde(skip_serializing_if = "is_off")]
    pub image_on: bool,
    /// Where it is fetched.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image_url: String,
    /// Its width, pixels; `None`: 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_width_px: Option<u32>,
    /// Its height, pixels; `None`: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_height_px: Option<u32>,
    /// From the upper edge, pixels; `None`: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_top_px: Option<u32>,
    /// From the left edge, pixels; `None`: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_left_px: Option<u32>,
    /// How much of it is seen, percent; `None`: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_opacity_percent: Option<u32>,
}

impl Watermark {
    /// What it says that is not usual, named as in the API.
    pub fn own_settings(&self) -> Vec<(&'static str, String)> {
        let on = |on: bool| on.then(|| on.to_string());
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let all = [
            ("isWaterMark", on(self.text_on)),
            ("WaterMarkText", text(&self.text)),
            ("WaterMarkFontSize", number(self.font_size_px)),
            ("WaterMarkFontColor", self.font_colour.clone()),
            ("WaterMarkTop", number(self.top_px)),
            ("WaterMarkLeft", number(self.left_px)),
            ("isImageWaterMark", on(self.image_on)),
            ("ImageURL", text(&self.image_url)),
            ("ImageWidth", number(self.image_width_px)),
            ("ImageHeight", number(self.image_height_px)),
            ("ImageTop", number(self.image_top_px)),
            ("ImageLeft", number(self.image_left_px)),
            ("ImageOpacity", number(self.image_opacity_percent)),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Nothing is said.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

// serde's shape.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_off(on: &bool) -> bool {
    !*on
}
