//! Which tracks a publisher's `onMetaData` announces: viewers who join before they come are worth a wait. Before it:
//! [`super::MediaEvent::Metadata`]; after it: the hub decides when the tracks are known.
use crate::amf0::{self, Value};

/// Tracks that are said to come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Announced {
    /// A picture.
    pub video: bool,
    /// Audio.
    pub audio: bool,
    /// Microseconds from picture to picture, if a frame rate is announced; 0 if not.
    pub interval_us: u64,
}

impl Announced {
    /// Reads the values of a [`super::MediaEvent::Metadata`]. What cannot be read announces nothing.
    pub fn read(values: &[u8]) -> Self {
        let values = amf0::decode(values).unwrap_or_default();
        let Some(metadata) = values.get(1) else { return Self::default() };
        let track = |flag: &str, signs: [&str; 3]| match metadata.get(flag).and_then(Value::as_bool) {
            Some(said) => said,
            None => signs.iter().any(|sign| metadata.get(sign).is_some_and(says_something)),
        };
        let rate = ["framerate", "videoframerate"].iter().find_map(|name| metadata.get(name)?.as_number());
        Self {
            video: track("hasVideo", ["videocodecid", "width", "videodatarate"]),
            audio: track("hasAudio", ["audiocodecid", "audiosamplerate", "audiodatarate"]),
            interval_us: rate.filter(|rate| *rate > 0.0).map_or(0, |rate| (1e6 / rate) as u64),
        }
    }
}

/// Encoders without a track write 0 or nothing for it.
fn says_something(value: &Value) -> bool {
    value.as_number().is_some_and(|number| number > 0.0) || value.as_str().is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<const N: usize>(properties: [(&str, Value); N], video: bool, audio: bool) {
        let properties: Vec<_> = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for metadata in [Value::Object(properties.clone()), Value::EcmaArray(properties)] {
            let values = amf0::encode(&[Value::string("onMetaData"), metadata]);
            let read = Announced::read(&values);
            assert_eq!((read.video, read.audio), (video, audio));
        }
    }

    #[test]
    fn case_51_what_metadata_announces() {
        let number = Value::Number;
        check([("videocodecid", number(7.0)), ("audiocodecid", number(10.0))], true, true);
        check([("videocodecid", Value::string("avc1")), ("audiocodecid", Value::string(""))], true, false);
        check([("width", number(1280.0)), ("height", number(720.0)), ("audiodatarate", number(0.0))], true, false);
        check([("videocodecid", number(0.0)), ("width", number(0.0)), ("audiosamplerate", number(48e3))], false, true);
        check([("hasVideo", Value::Boolean(false)), ("width", number(1.0)), ("hasAudio", number(1.0))], false, true);
        check([("encoder", Value::string("test")), ("videocodecid", Value::Null)], false, false);
        for nothing in [&b""[..], b"\x02\0\x0aonMetaData", b"\x02\0\x0aonMetaData\x05", b"\x02\0\x0aonMetaData\x03\0"] {
            assert_eq!(Announced::read(nothing), Announced::default());
        }
    }
}
