//! The binary against servers that are not there, refuse, die, stall, send garbage, lose or damage frames: each is reported as what it is,
//! the exit status says so, and what was measured is kept.
mod fake;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use fake::{Behaviour, FlvServer, RtmpBehaviour, rtmp_server};
use serde_json::Value;

/// What a run left.
struct Outcome {
    status: i32,
    text: String,
    report: Value,
}

fn loadtest(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millstream-loadtest")).args(args).output().expect("the binary starts")
}

fn outcome(args: &[&str]) -> Outcome {
    let json = tempfile::NamedTempFile::new().unwrap();
    let path = json.path().to_str().unwrap().to_owned();
    let started = Instant::now();
    let output = loadtest(&[args, &["--json", &path, "--quiet"]].concat());
    assert!(started.elapsed() < Duration::from_secs(30), "bounded in time");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read_to_string(json.path()).unwrap();
    let report = serde_json::from_str(&report).unwrap_or_else(|_| panic!("no report: {text}"));
    Outcome { status: output.status.code().expect("not killed"), text, report }
}

/// Four viewers, two of them sampled, of a stream that the fake server makes up; `plan` has a patience that tests can afford.
fn watch(server: &FlvServer, args: &[&str]) -> Outcome {
    let plan = tempfile::NamedTempFile::new().unwrap();
    let text = "duration = '4s'\n[publish]\ncount = 0\n[view]\nflv = 4\nsample = 2\nover = '200ms'\n[expect]\npatience = '2s'\n";
    std::fs::write(plan.path(), text).unwrap();
    outcome(&[&["run", plan.path().to_str().unwrap(), "--http", &server.url()], args].concat())
}

/// The outcome failed, and says this.
fn says(outcome: &Outcome, words: &str) {
    assert_eq!(outcome.status, 1, "{}", outcome.text);
    assert!(outcome.text.starts_with("FAILED"), "{}", outcome.text);
    assert!(outcome.text.contains(words), "{words:?} is not in:\n{}", outcome.text);
    assert_eq!(outcome.report["verdict"], "failed");
}

#[test]
fn a_good_server_passes_and_the_viewers_are_compared() {
    let outcome = watch(&FlvServer::start(Behaviour::Good), &[]);
    // A machine that is busy makes a run void, and that is no fault of anybody here.
    assert!(matches!(outcome.status, 0 | 3), "{}", outcome.text);
    assert_eq!(outcome.report["viewers"]["joined"], 4);
    assert!(outcome.report["frames"]["same"].as_u64().unwrap() > 300, "{}", outcome.text);
    assert!(outcome.report["ms"]["join"]["p50"].as_f64().unwrap() < 1_000.0);
    assert!(outcome.report["troubles"].as_object().unwrap().is_empty());
}

#[test]
fn not_there() {
    let gone = fake::free_address();
    let http = format!("http://{gone}");
    let outcome = outcome(&["run", "smoke", "--publishers", "0", "--rtmp-viewers", "0", "--http", &http]);
    says(&outcome, "10 x viewer: cannot connect: Connection refused");
    says(&outcome, "every viewer was lost");
}

#[test]
fn no_publisher_can_connect() {
    let gone = fake::free_address();
    let (rtmp, http) = (format!("rtmp://{gone}"), format!("http://{gone}"));
    let outcome = outcome(&["run", "smoke", "--rtmp", &rtmp, "--http", &http]);
    says(&outcome, "publisher: cannot connect: Connection refused");
    says(&outcome, "no publisher came on air");
}

#[test]
fn answers_404_or_503() {
    for status in [404, 503] {
        let outcome = watch(&FlvServer::start(Behaviour::Status(status)), &[]);
        says(&outcome, &format!("4 x viewer: answered with status {status}"));
    }
}

#[test]
fn sends_garbage() {
    let outcome = watch(&FlvServer::start(Behaviour::Garbage(b"\x00\xff\x17garbage\r\n\r\n")), &[]);
    says(&outcome, "4 x viewer: answered with something that is not HTTP");
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>It works!</html>";
    says(&watch(&FlvServer::start(Behaviour::Garbage(page)), &[]), "4 x viewer: sent something that is not FLV");
}

#[test]
fn never_answers() {
    let outcome = watch(&FlvServer::start(Behaviour::Silent), &[]);
    says(&outcome, "4 x viewer: no answer in time");
}

#[test]
fn dies_in_the_middle_and_what_was_measured_is_kept() {
    let outcome = watch(&FlvServer::start(Behaviour::DieAfter(Duration::from_millis(1_500))), &[]);
    says(&outcome, "ended early");
    says(&outcome, "viewer: closed by the server");
    assert_eq!(outcome.report["viewers"]["lost"], 4);
    assert_eq!(outcome.report["viewers"]["joined"], 4, "what was measured before is kept");
    assert!(outcome.report["frames"]["same"].as_u64().unwrap() > 50);
}

#[test]
fn stalls() {
    let outcome = watch(&FlvServer::start(Behaviour::StallAfter(Duration::from_millis(800))), &[]);
    says(&outcome, "the server stalls: no viewer got a byte for 2 s");
    assert_eq!(outcome.report["viewers"]["stalls"], 4);
}

#[test]
fn damages_a_frame_for_one_viewer() {
    let outcome = watch(&FlvServer::start(Behaviour::Damage), &["--viewers", "2"]);
    says(&outcome, "sample: a frame differs from what was sent");
}

#[test]
fn loses_frames_for_one_viewer() {
    let outcome = watch(&FlvServer::start(Behaviour::Lose), &["--viewers", "2"]);
    says(&outcome, "sample: a frame did not come");
    says(&outcome, "sample: pictures go on after a gap without a keyframe");
}

#[test]
fn publishers_meet_garbage_refusals_and_an_early_end() {
    for (behaviour, words) in [
        (RtmpBehaviour::Garbage, "not RTMP"),
        (RtmpBehaviour::Refuse, "publisher: refused: NetStream.Publish.BadName"),
        (RtmpBehaviour::Silent, "publisher: not on air in time"),
        (RtmpBehaviour::CloseAfter(Duration::from_secs(1)), "every publisher was lost"),
    ] {
        let plan = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(plan.path(), "duration = '4s'\n[view]\nflv = 0\n[expect]\npatience = '2s'\n").unwrap();
        let rtmp = format!("rtmp://{}", rtmp_server(behaviour));
        says(&outcome(&["run", plan.path().to_str().unwrap(), "--rtmp", &rtmp]), words);
    }
}

#[test]
fn ctrl_c_still_reports() {
    let server = FlvServer::start(Behaviour::Good);
    let json = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_millstream-loadtest"))
        .args(["run", "smoke", "--publishers", "0", "--rtmp-viewers", "0", "--duration", "1h", "--quiet"])
        .args(["--http", &server.url(), "--json", json.path().to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let status = child.wait().unwrap();
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json.path()).unwrap()).unwrap();
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["viewers"]["joined"], 10);
}

#[test]
fn bad_usage_is_status_2_and_says_what() {
    for (args, words) in [
        (&["run", "nonsense"][..], "is no preset"),
        (&["run", "smoke"], "needs --rtmp"),
        (&["run", "smoke", "--rtmp", "http://localhost"], "does not begin with rtmp://"),
        (&["run", "smoke", "--rtmp", "rtmp://192.0.2.1"], "--allow-remote"),
        (&["run", "smoke", "--rtmp", "rtmp://localhost"], "needs --http"),
        (&["run", "smoke", "--viewers", "999999"], "at most 100000"),
        (
            &["run", "smoke", "--clip", "/nonexistent.flv", "--rtmp", "rtmp://localhost", "--http", "http://localhost"],
            "cannot read the clip",
        ),
    ] {
        let output = loadtest(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(words), "{args:?}: {text}");
    }
}
