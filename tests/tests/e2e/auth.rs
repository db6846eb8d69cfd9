//! Who may push.
use millstream_tests::clip::Clip;
use millstream_tests::flv::Tag;
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server, millstream};
use millstream_tests::tools::{Finished, ffmpeg_push};
use millstream_tests::{millis, seconds};

const CONFIG: &str = "[[stream]]\nid = \"cam\"\n\n[[stream]]\nid = \"other\"\n";
const FAR: &str = "2035-01-01";

/// ffmpeg must be turned away, say why, and nothing of `secrets` may be in the server's log.
fn refused(server: &Server, key: &str, secrets: &[&str]) -> Finished {
    let done = ffmpeg_push(&server.push_url(key), 10).wait(seconds(20));
    assert!(!done.status.success(), "a push to {key} was let in");
    let said = done.stderr.to_ascii_lowercase();
    assert!(said.contains("server error"), "ffmpeg shows no reason for {key}: {}", done.stderr);
    silent_about(server, secrets);
    done
}

fn silent_about(server: &Server, secrets: &[&str]) {
    // The log may lag behind the answer.
    std::thread::sleep(millis(200));
    for secret in secrets {
        assert!(!server.log.has(secret), "the log has {secret:?}");
        assert!(!server.stdout.has(secret), "stdout has {secret:?}");
    }
}

fn mac(sign: &str) -> &str {
    sign.rsplit_once('-').map_or(sign, |(_, mac)| mac)
}

/// The part of a `v2-<exp>-<mac>` that must stay secret; the mac may hold hyphens.
fn mac_v2(sign: &str) -> &str {
    sign.splitn(3, '-').nth(2).expect("v2-<exp>-<mac>")
}

#[test]
fn the_right_signature_plays_and_the_others_are_refused_with_a_reason() {
    let server = Options::signed().config(CONFIG).start();
    let sign = server.sign("cam", &["--expires", FAR]);
    assert!(sign.starts_with("v2-"), "{sign}");
    let foreign = server.sign("other", &["--expires", FAR]);
    let expired = server.sign("cam", &["--expires", "1670544000"]);
    let wrong = format!("{}{}", &sign[..sign.len() - 4], if sign.ends_with("AAAA") { "BBBB" } else { "AAAA" });
    let secrets = [mac_v2(&sign), mac_v2(&foreign), mac_v2(&expired), mac_v2(&wrong)];

    let push = ffmpeg_push(&server.push_url(&format!("cam?sign={sign}")), 30);
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    drop(push);

    let late = refused(&server, &format!("other?sign={expired}"), &secrets);
    drop(late);
    let late = refused(&server, &format!("cam?sign={expired}"), &secrets);
    assert!(late.stderr.to_ascii_lowercase().contains("expire"), "the reason is not said: {}", late.stderr);
    refused(&server, &format!("cam?sign={wrong}"), &secrets);
    refused(&server, &format!("cam?sign={foreign}"), &secrets);
    refused(&server, "cam", &secrets);
    refused(&server, "cam?sign=", &secrets);
    refused(&server, &format!("cam?sign={sign}&sign={sign}"), &secrets);
    refused(&server, &format!("cam?sign={sign}x"), &secrets);
    // No record, though its signature would be right.
    let unknown = server.sign("unknown", &["--expires", FAR]);
    refused(&server, &format!("unknown?sign={unknown}"), &[mac_v2(&unknown)]);
    assert_eq!(http::get(server.http, "/unknown/live.flv").status, 404);
    let master = std::fs::read_to_string(server.data_dir().join("master-key")).expect("made at the first start");
    silent_about(&server, &[master.trim()]);
}

#[test]
fn the_signature_may_be_in_the_server_url_as_obs_users_write_it() {
    let server = Options::signed().config(CONFIG).start();
    let sign = server.sign("cam", &["--expires", FAR]);
    // OBS: server `rtmp://host/stream?sign=...`, stream key `cam`.
    let url = format!("rtmp://{}/stream?sign={sign}/cam", server.rtmp);
    let push = ffmpeg_push(&url, 30);
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    drop(push);
    // In both places it is there twice.
    let both = format!("rtmp://{}/stream?sign={sign}/cam?sign={sign}", server.rtmp);
    let done = ffmpeg_push(&both, 5).wait(seconds(20));
    assert!(!done.status.success(), "a signature in both places was let in");
    silent_about(&server, &[mac_v2(&sign)]);
}

const GOLDEN_ID: &str = "98724e64-bcd1-4887-af4a-60be440709aa";
const GOLDEN_KEY: &str = "nodemedia2017privatekey";
const GOLDEN_SIGN: &str = "1670544000-63497837275539bdb8e21800887e2db9";
/// md5("/stream/<golden id>-4102444800-<golden key>"), made with md5sum.
const GOLDEN_2100: &str = "4102444800-206875ac623660260f5a7a5384db5c5b";

#[test]
fn encoders_of_the_original_system_go_on_with_their_urls() {
    let config = format!("[auth]\nlegacy_keys = [\"{GOLDEN_KEY}\"]\n\n[[stream]]\nid = \"{GOLDEN_ID}\"\n");
    let server = Options::signed().config(&config).start();
    let secrets = [GOLDEN_KEY, mac(GOLDEN_SIGN), mac(GOLDEN_2100)];
    let push = ffmpeg_push(&server.push_url(&format!("{GOLDEN_ID}?sign={GOLDEN_2100}")), 30);
    Viewer::watch(server.http, GOLDEN_ID).find("keyframe", seconds(10), Tag::is_keyframe);
    drop(push);
    let late = refused(&server, &format!("{GOLDEN_ID}?sign={GOLDEN_SIGN}"), &secrets);
    assert!(late.stderr.to_ascii_lowercase().contains("expire"), "the golden vector has expired: {}", late.stderr);
    refused(&server, &format!("{GOLDEN_ID}?sign=4102444800-{}", mac(GOLDEN_SIGN)), &secrets);
}

#[test]
fn the_original_secret_can_come_from_a_key_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    std::fs::write(&file, format!("{GOLDEN_KEY}\n")).expect("written");
    let file = file.to_str().expect("ASCII");
    let output = millstream(&["sign", GOLDEN_ID, "--expires", "4102444800", "--legacy", "--key-file", file]);
    let text = String::from_utf8(output.stdout).expect("ASCII");
    assert!(text.trim_end().ends_with(GOLDEN_2100), "sign printed {text:?}");
    let golden = millstream(&["sign", GOLDEN_ID, "--expires", "2022-12-09", "--key-file", file]);
    let text = String::from_utf8(golden.stdout).expect("ASCII");
    assert!(text.trim_end().ends_with(GOLDEN_SIGN), "sign printed {text:?} for the golden vector");

    let config = format!("[[stream]]\nid = \"{GOLDEN_ID}\"\n");
    let server = Options::signed().config(&config).arg("--key-file", file).start();
    let key = format!("{GOLDEN_ID}?sign={GOLDEN_2100}");
    let push = Publisher::start(server.rtmp, "stream", &key).expect("let in").repeat(Clip::small());
    Viewer::watch(server.http, GOLDEN_ID).find("keyframe", seconds(10), Tag::is_keyframe);
    drop(push);
    silent_about(&server, &[GOLDEN_KEY, mac(GOLDEN_2100)]);
}

#[test]
fn secrets_lie_in_files_that_only_their_owner_reads() {
    let server = Options::signed().config(CONFIG).start();
    let meta = std::fs::metadata(server.data_dir().join("master-key")).expect("made at the first start");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777, 0o600);
}

#[test]
fn an_open_server_says_loudly_that_anyone_may_push() {
    let server = Options::open().start();
    let log = server.log.text().to_ascii_lowercase();
    assert!(log.contains("warn") && log.contains("anyone"), "{log}");
}
