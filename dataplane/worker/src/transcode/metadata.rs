//! The metadata of a rendition: that of its source, with what differs. Before it: the source's `onMetaData`; after it: the rendition's.
use bytes::Bytes;
use millstream_proto::amf0::{self, Value};

use crate::protocol::PictureCodec;

/// Properties that speak of a file, or of a picture that this is not.
const LEFT_OUT: [&str; 4] = ["filesize", "duration", "keyframes", "lastkeyframetimestamp"];

const FRAME_RATES: [&str; 2] = ["framerate", "videoframerate"];
const AVC_ID: u32 = 7;

/// What a rendition has of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Own {
    pub(super) size: (u32, u32),
    pub(super) kbit_s: u32,
    pub(super) codec: PictureCodec,
    /// It has one of so many pictures.
    pub(super) every: u32,
}

/// The values of `onMetaData` for a rendition: the source's, without those that would be wrong.
pub(super) fn corrected(source: Option<&Bytes>, of: Own) -> Bytes {
    let Own { size: (width, height), kbit_s, codec, every } = of;
    let values = source.map(|values| amf0::decode(values).unwrap_or_default()).unwrap_or_default();
    let mut properties = values.get(1).and_then(Value::properties).unwrap_or_default().to_vec();
    properties.retain(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
    for (_, value) in properties.iter_mut().filter(|(name, _)| FRAME_RATES.contains(&name.as_str())) {
        if let Some(fps) = value.as_number().filter(|_| every > 1) {
            *value = Value::Number(fps / f64::from(every));
        }
    }
    let codec_id = match codec {
        PictureCodec::Av1 => u32::from_be_bytes(*b"av01"),
        PictureCodec::Hevc => u32::from_be_bytes(*b"hvc1"),
        _ => AVC_ID,
    };
    for (name, value) in [("width", width), ("height", height), ("videodatarate", kbit_s), ("videocodecid", codec_id)] {
        let value = Value::Number(value.into());
        match properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => properties.push((name.to_owned(), value)),
        }
    }
    amf0::encode(&[Value::string("onMetaData"), Value::EcmaArray(properties)]).into()
}

/// The frame rate that metadata announces.
pub(super) fn fps(values: &Bytes) -> Option<f64> {
    let values = amf0::decode(values).ok()?;
    let fps = FRAME_RATES.iter().find_map(|name| values.get(1)?.get(name)?.as_number())?;
    (1.0..=240.0).contains(&fps).then_some(fps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_corrected_and_the_rest_stays() {
        let of = |properties: &[(&str, Value)]| {
            let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            Bytes::from(amf0::encode(&[Value::string("onMetaData"), Value::EcmaArray(properties)]))
        };
        let source = of(&[
            ("duration", Value::Number(7.0)),
            ("width", Value::Number(1280.0)),
            ("framerate", Value::Number(25.0)),
            ("encoder", Value::string("OBS")),
        ]);
        let expected = of(&[
            ("width", Value::Number(640.0)),
            ("framerate", Value::Number(25.0)),
            ("encoder", Value::string("OBS")),
            ("height", Value::Number(360.0)),
            ("videodatarate", Value::Number(600.0)),
            ("videocodecid", Value::Number(7.0)),
        ]);
        let own = Own { size: (640, 360), kbit_s: 600, codec: PictureCodec::H264, every: 1 };
        assert_eq!(corrected(Some(&source), own), expected);
        let av1 = amf0::decode(&corrected(Some(&source), Own { codec: PictureCodec::Av1, every: 2, ..own })).unwrap();
        let number = |name: &str| av1[1].get(name).and_then(Value::as_number);
        assert_eq!([number("framerate"), number("videocodecid")], [Some(12.5), Some(1_635_135_537.0)]);
        assert_eq!(fps(&source), Some(25.0));
        let nothing = corrected(Some(&Bytes::from_static(b"\x02\xff")), Own { size: (2, 2), kbit_s: 1, ..own });
        assert_eq!(amf0::decode(&nothing).unwrap().len(), 2);
        assert_eq!(fps(&nothing), None);
    }
}
