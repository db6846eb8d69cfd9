//! The metadata of a rendition: that of its source, with what differs. Before it: the source's `onMetaData`; after it: the rendition's.
use bytes::Bytes;
use millstream_proto::amf0::{self, Value};

/// Properties that speak of a file, or of a picture that this is not.
const LEFT_OUT: [&str; 4] = ["filesize", "duration", "keyframes", "lastkeyframetimestamp"];

/// The values of `onMetaData` for a rendition: the source's, without those that would be wrong.
pub(super) fn corrected(source: Option<&Bytes>, (width, height): (u32, u32), kbit_s: u32) -> Bytes {
    let values = source.map(|values| amf0::decode(values).unwrap_or_default()).unwrap_or_default();
    let mut properties = values.get(1).and_then(Value::properties).unwrap_or_default().to_vec();
    properties.retain(|(name, _)| !LEFT_OUT.contains(&name.as_str()));
    for (name, value) in [("width", width), ("height", height), ("videodatarate", kbit_s), ("videocodecid", 7)] {
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
    let fps = ["framerate", "videoframerate"].iter().find_map(|name| values.get(1)?.get(name)?.as_number())?;
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
        assert_eq!(corrected(Some(&source), (640, 360), 600), expected);
        assert_eq!(fps(&source), Some(25.0));
        let nothing = corrected(Some(&Bytes::from_static(b"\x02\xff")), (2, 2), 1);
        assert_eq!(amf0::decode(&nothing).unwrap().len(), 2);
        assert_eq!(fps(&nothing), None);
    }
}
