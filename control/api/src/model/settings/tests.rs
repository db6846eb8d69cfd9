//! What settings take, strictly and leniently, and what is said of them.
use super::Reading::{Lenient, Strict};
use super::*;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn merged(given: Value, reading: Reading) -> Result<Settings, Vec<String>> {
    let mut settings = Settings::default();
    settings
        .merge(&object(given), reading)
        .map(|_| settings)
        .map_err(|errors| errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect())
}

#[test]
fn defaults_have_the_shape_of_their_field() {
    for field in FIELDS.iter() {
        if field.name != "outdate" {
            let taken = take(field.shape, &field.default, Strict);
            // Nothing stands for the default.
            let taken = taken.map(|value| if value.is_null() { field.default.clone() } else { value });
            assert_eq!(taken, Ok(field.default.clone()), "{}", field.name);
        }
        assert_eq!(FIELDS.iter().filter(|other| other.name == field.name).count(), 1, "{}", field.name);
    }
}

#[test]
fn the_document_of_the_original_is_understood() {
    let given = json!({
        "isFlv": "true", "isHls": "false", "isVideo": "false", "isImage": "false", "isMotion": "false",
        "isOnDemand": "false", "isCMAF": "false", "video_time": "60", "image_time": "30", "hls_time": "2",
        "hls_list_size": "5", "outdate": "2022-12-09"
    });
    let settings = merged(given.clone(), Lenient).unwrap();
    assert!(settings.on("isFlv") && !settings.on("isHls"));
    assert_eq!((settings.get("video_time"), settings.expiry_s()), (&json!(60), Some(1_670_544_000)));
    assert!(settings.not_in_force().is_empty());
    // Booleans and numbers say the same.
    let typed = object(json!({ "isFlv": true, "video_time": 60, "outdate": "2022-12-09" }));
    let typed = merged(Value::Object(Settings::with_legacy_defaults(&typed)), Strict).unwrap();
    assert_eq!(typed.shown(true), settings.shown(true));
    assert_eq!(merged(given, Strict).unwrap_err().len(), 11);
}

#[test]
fn a_new_record_has_every_output_and_one_of_the_original_system_only_flv() {
    let new = Settings::default();
    assert!(new.on("isFlv") && new.on("isHls") && new.on("isCMAF"));
    assert_eq!((new.get("hls_time"), new.get("hls_list_size")), (&json!(null), &json!(null)));
    let given = json!({ "isHls": null, "isCMAF": "true", "hls_time": "", "hls_list_size": "7" });
    let legacy = merged(Value::Object(Settings::with_legacy_defaults(&object(given))), Lenient).unwrap();
    assert!(legacy.on("isFlv") && !legacy.on("isHls") && legacy.on("isCMAF"));
    assert_eq!((legacy.get("hls_time"), legacy.get("hls_list_size")), (&json!(2), &json!(7)));
}

#[test]
fn what_is_wrong_is_named_and_changes_nothing() {
    let mut settings = Settings::default();
    let given =
        json!({ "isFlv": 1, "hls_time": 0, "outdate": "2022-02-30", "codec": "vp8", "nonsense": 1, "videoname": "x" });
    let errors = settings.merge(&object(given), Strict).unwrap_err();
    let mut fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["codec", "hls_time", "isFlv", "nonsense", "outdate"]);
    assert_eq!(settings, Settings::default());
}

#[test]
fn single_values() {
    let check = |name: &str, value: Value, reading, expected: Option<Value>| {
        let taken = merged(json!({ name: value.clone() }), reading).ok().map(|settings| settings.get(name).clone());
        assert_eq!(taken, expected, "{name} {value} {reading:?}");
    };
    check("isHls", json!("TRUE"), Lenient, Some(json!(true)));
    check("isHls", json!(""), Lenient, Some(json!(false)));
    check("isHls", json!("yes"), Lenient, None);
    check("isHls", json!("true"), Strict, None);
    check("isFlv", json!(null), Strict, Some(json!(true)));
    check("hls_time", json!("3"), Lenient, Some(json!(3)));
    check("hls_time", json!(""), Lenient, Some(json!(null)));
    check("hls_time", json!(-1), Lenient, None);
    check("hls_time", json!(2.5), Strict, None);
    check("hls_time", json!(1e300), Strict, None);
    check("videoname", json!("<script>'; DROP TABLE item"), Strict, Some(json!("<script>'; DROP TABLE item")));
    check("videoname", json!("x".repeat(257)), Strict, None);
    check("outdate", json!("1969-12-31"), Strict, None);
    check("flush", json!("dense"), Strict, Some(json!("dense")));
    check("labels", json!({ "a": "b" }), Strict, Some(json!({ "a": "b" })));
    check("labels", json!({ "a": 1 }), Strict, None);
    check("labels", json!([]), Strict, None);
    check("push_paths", json!(["live/my cam.1"]), Strict, Some(json!(["live/my cam.1"])));
    check("push_paths", json!(["/live/x"]), Strict, None);
    check("push_paths", json!("live/x"), Strict, None);
    check("push_paths", json!([1]), Strict, None);
    check("push_paths", json!(vec!["a"; 33]), Strict, None);
    check("play_paths", json!(["/live/cam.flv"]), Lenient, Some(json!(["/live/cam.flv"])));
    check("play_paths", json!(["/cam/live.flv"]), Strict, None);
    check("WaterMarkFontColor", json!(" #ff0000@0.5 "), Strict, Some(json!("#ff0000@0.5")));
    check("WaterMarkFontColor", json!("whitish"), Strict, None);
    check(
        "ImageURL",
        json!("https://example.org/logo.png?v=2"),
        Strict,
        Some(json!("https://example.org/logo.png?v=2")),
    );
    for url in ["file:///etc/passwd", "logo.png", "https://me:secret@example.org/", "gopher://example.org/"] {
        check("ImageURL", json!(url), Strict, None);
    }
}

#[test]
fn what_is_said_and_not_done_is_listed() {
    let settings =
        merged(json!({ "isWaterMark": true, "isFlv": false, "isCluster": true, "motion_percent": 31 }), Strict)
            .unwrap();
    assert_eq!(settings.not_in_force(), ["isCluster"]);
}

#[test]
fn a_relay_address_is_not_for_those_who_look() {
    let settings = merged(json!({ "relayURL": "rtmp://elsewhere/live/key" }), Strict).unwrap();
    assert!(settings.shown(true).contains_key("relayURL") && !settings.shown(false).contains_key("relayURL"));
}

#[test]
fn days_and_their_midnights() {
    assert_eq!(day(1_670_544_000), "2022-12-09");
    assert_eq!(day(1_670_543_999), "2022-12-08");
    assert_eq!(midnight_s("2022-12-09"), Some(1_670_544_000));
    assert_eq!(midnight_s("2022-13-09"), None);
}
