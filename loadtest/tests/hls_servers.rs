//! HLS viewers of the binary against an origin that serves, is late, ends, lies or sends something else: each is reported as what it is.
#[path = "fake/hls.rs"]
mod fake;

use std::process::Command;

use fake::{Behaviour, HlsServer};
use serde_json::Value;

/// Exit status, text, report.
fn watch(behaviour: Behaviour, args: &[&str]) -> (i32, String, Value) {
    let server = HlsServer::start(behaviour);
    let (plan, json) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let text = "duration = '4s'\n[publish]\ncount = 0\n[view]\nflv = 0\nll_hls = 4\nsample = 4\nover = '200ms'\n[expect]\npatience = '3s'\n";
    std::fs::write(plan.path(), text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_millstream-loadtest"))
        .args(["run", plan.path().to_str().unwrap(), "--http", &server.url(), "--quiet", "--json"])
        .arg(json.path())
        .args(args)
        .output()
        .expect("the binary starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = serde_json::from_str(&std::fs::read_to_string(json.path()).unwrap()).unwrap_or(Value::Null);
    (output.status.code().expect("not killed"), text, report)
}

fn says(behaviour: Behaviour, words: &str) {
    let (status, text, _) = watch(behaviour, &[]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains(words), "{behaviour:?}: {words:?} is not in:\n{text}");
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {report}"))
}

#[test]
fn a_good_origin_passes_and_the_delay_is_that_of_its_parts() {
    for hints in ["true", "false"] {
        let (status, text, report) = watch(Behaviour::Good, &["--hints", hints]);
        // A machine that is busy makes a run void, and that is no fault of anybody here.
        assert!(matches!(status, 0 | 3), "{text}");
        assert!((number(&report, "/viewers/joined") - 4.0).abs() < 0.5, "{text}");
        assert!(number(&report, "/frames/same") > 150.0, "{text}");
        assert!(number(&report, "/hls/parts") > 30.0 && number(&report, "/hls/rebuffers") < 3.0, "{text}");
        // A picture waits for its part to be finished: up to a quarter of a second, and 50 ms at least.
        let p50 = number(&report, "/ms/video/p50");
        assert!((50.0..600.0).contains(&p50), "{p50}: {text}");
        // The player begins at a segment's start, at least three quarters of a second behind.
        let playhead = number(&report, "/ms/playhead/p50");
        assert!((700.0..2_500.0).contains(&playhead), "{playhead}: {text}");
    }
}

#[test]
fn viewers_that_know_no_parts_poll_and_fetch_segments() {
    let (status, text, report) =
        watch(Behaviour::Good, &["--ll-hls-viewers", "0", "--hls-viewers", "3", "--sample", "3"]);
    assert!(matches!(status, 0 | 3), "{text}");
    assert!(number(&report, "/hls/segments") >= 12.0 && number(&report, "/hls/parts") < 0.5, "{text}");
    assert!(number(&report, "/ms/playhead/p50") > 2_500.0, "three segments behind at least: {text}");
}

#[test]
fn a_late_part_stops_the_picture() {
    let (_, text, report) = watch(Behaviour::LatePart, &[]);
    assert!(number(&report, "/hls/rebuffers") >= 1.0 && number(&report, "/hls/rebuffered_s") > 0.2, "{text}");
}

#[test]
fn connections_that_are_closed_between_answers_are_opened_again() {
    let (status, text, report) = watch(Behaviour::Closes, &[]);
    assert!(matches!(status, 0 | 3), "{text}");
    assert!(number(&report, "/hls/parts") > 30.0, "{text}");
}

#[test]
fn what_is_wrong_is_named() {
    says(Behaviour::NoParts, "viewer: answered with status 404 for a part");
    says(Behaviour::Garbage, "viewer: sent something that is not a playlist: not #EXTM3U");
    says(Behaviour::Ends, "viewer: told that the stream has ended");
    says(Behaviour::NotMp4, "viewer: sent something that is not fragmented MP4");
    says(Behaviour::Damage, "sample: a frame differs from what was sent");
}
