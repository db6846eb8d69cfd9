//! What Enhanced RTMP v2 adds to `connect` ("Enhancing NetConnection connect Command"): what a client says it can do, and what it
//! is told in return. A client that says nothing of it is answered as ever. Before it: [`super::server`] reads `connect`; after it:
//! [`super::command`] writes the answer.
use crate::amf0::Value;
use crate::media::{Track, four_ccs};

/// `CapsExMask`: follows a ReconnectRequest.
const RECONNECT: u32 = 1;
/// Several tracks in one stream: of each kind the first is passed on, the others are ignored.
const MULTITRACK: u32 = 2;
/// ModEx records are read; what they say goes on to the viewers.
const MOD_EX: u32 = 4;
/// Offsets in nanoseconds are such records.
const TIMESTAMP_NANO_OFFSET: u32 = 8;
const CAPS_EX: u32 = RECONNECT | MULTITRACK | MOD_EX | TIMESTAMP_NANO_OFFSET;
/// `FourCcInfoMask::CanForward`: passed on as it came.
const CAN_FORWARD: f64 = 4.0;
/// Stands for all codecs.
const ANY: &str = "*";

/// Whether the client that sent this command object follows a ReconnectRequest.
pub(super) fn follows_reconnect(connect: &Value) -> bool {
    caps_ex(connect).is_some_and(|caps| caps & RECONNECT != 0)
}

/// What to answer to the enhancements in a command object: each in the form in which the client asked, and of it what both sides can.
pub(super) fn answer(connect: &Value) -> Vec<(String, Value)> {
    let mut properties = Vec::new();
    if let Some(Value::StrictArray(list)) = connect.get("fourCcList") {
        let named: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
        let tracks = [Track::Video, Track::Audio].into_iter();
        let common = tracks.flat_map(|track| common(&named, track)).map(Value::string).collect();
        properties.push(("fourCcList".to_owned(), Value::StrictArray(common)));
    }
    for (name, track) in [("videoFourCcInfoMap", Track::Video), ("audioFourCcInfoMap", Track::Audio)] {
        if let Some(map) = connect.get(name).and_then(Value::properties) {
            let named: Vec<&str> = map.iter().map(|(four_cc, _)| four_cc.as_str()).collect();
            let common = common(&named, track).map(|four_cc| (four_cc.to_owned(), Value::Number(CAN_FORWARD)));
            properties.push((name.to_owned(), Value::Object(common.collect())));
        }
    }
    if let Some(caps) = caps_ex(connect) {
        properties.push(("capsEx".to_owned(), Value::Number(f64::from(caps & CAPS_EX))));
    }
    properties
}

fn caps_ex(connect: &Value) -> Option<u32> {
    // What is no mask of bits becomes 0, or all bits.
    connect.get("capsEx").and_then(Value::as_number).map(|mask| mask as u32)
}

/// The codecs that are named and passed on, in our order.
fn common(named: &[&str], track: Track) -> impl Iterator<Item = &'static str> {
    let all = named.contains(&ANY);
    four_ccs(track).iter().map(|(four_cc, _)| *four_cc).filter(move |four_cc| all || named.contains(four_cc))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(four_ccs: &[&str]) -> Value {
        Value::StrictArray(four_ccs.iter().map(|four_cc| Value::string(*four_cc)).collect())
    }

    fn map(four_ccs: &[&str], mask: f64) -> Value {
        Value::Object(four_ccs.iter().map(|four_cc| ((*four_cc).to_owned(), Value::Number(mask))).collect())
    }

    #[track_caller]
    fn check<const N: usize, const M: usize>(asked: [(&str, Value); N], expected: [(&str, Value); M]) {
        assert_eq!(Value::Object(answer(&Value::object(asked))), Value::object(expected));
    }

    #[test]
    fn what_both_sides_can() {
        check([("app", Value::string("stream")), ("videoCodecs", Value::Number(252.0))], []);
        // ffmpeg's `-rtmp_enhanced_codecs`, and names that nobody knows.
        let asked = list(&["Opus", "hvc1", "vp08", "av01", "av01", ""]);
        check([("fourCcList", asked)], [("fourCcList", list(&["hvc1", "av01", "Opus"]))]);
        let all = ["avc1", "hvc1", "av01", "vp09", "mp4a", "Opus", "ac-3", "ec-3", "fLaC", ".mp3"];
        check([("fourCcList", list(&["*"]))], [("fourCcList", list(&all))]);
        check(
            [("videoFourCcInfoMap", map(&["vp09", "vvc1", "Opus"], 3.0)), ("audioFourCcInfoMap", map(&["*"], 4.0))],
            [("videoFourCcInfoMap", map(&["vp09"], 4.0)), ("audioFourCcInfoMap", map(&all[4..], 4.0))],
        );
        check([("capsEx", Value::Number(6.0))], [("capsEx", Value::Number(6.0))]);
        check([("capsEx", Value::Number(255.0))], [("capsEx", Value::Number(15.0))]);
    }

    #[test]
    fn what_is_no_list_map_or_mask() {
        check([("fourCcList", Value::string("hvc1"))], []);
        check([("fourCcList", Value::StrictArray(vec![Value::Null]))], [("fourCcList", list(&[]))]);
        check([("videoFourCcInfoMap", list(&["hvc1"]))], []);
        check([("capsEx", Value::string("1"))], []);
        check([("capsEx", Value::Number(f64::NAN))], [("capsEx", Value::Number(0.0))]);
        check([("capsEx", Value::Number(-1.0))], [("capsEx", Value::Number(0.0))]);
        assert!(!follows_reconnect(&Value::Null));
        assert!(follows_reconnect(&Value::EcmaArray(vec![("capsEx".to_owned(), Value::Number(9.0))])));
    }
}
