//! The load test harness against the real server: its verdict, and its counters beside the server's.
use std::process::Command;

use millstream_tests::server::{Options, binary};

#[test]
fn smoke_passes_and_the_counters_agree_to_the_byte() {
    let server = Options::open().shards(1).start();
    let json = server.data_dir().join("report.json");
    let output = Command::new(binary().with_file_name("millstream-loadtest"))
        .args([
            "run",
            "smoke",
            "--rtmp",
            &format!("rtmp://{}", server.rtmp),
            "--http",
            &format!("http://{}", server.http),
        ])
        .args(["--pid", &server.pid().to_string(), "--metrics", &server.control.to_string(), "--quiet", "--json"])
        .arg(&json)
        .output()
        .expect("millstream-loadtest is built beside the server");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // 3 is void: the tests beside this one keep the machine busy, and no fault was found.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{text}");
    for part in [
        "12 visits, 12 joined, 0 left by plan, 0 lost, 12 at the end",
        "0 missing, 0 torn, 0 damaged, 0 unknown, 0 backwards, 0 overdue",
        "cores        harness",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(text.matches("they agree to the byte").count(), 2, "both ways:\n{text}");
    assert!(json.exists());
}

/// Parts, segments and playlists: every frame is what was published, and both ends count the same bytes.
#[test]
fn hls_viewers_get_every_frame_and_the_counters_agree_to_the_byte() {
    let server = Options::open().start();
    let (rtmp, http) = (format!("rtmp://{}", server.rtmp), format!("http://{}", server.http));
    let output = Command::new(binary().with_file_name("millstream-loadtest"))
        .args(["run", "ll-hls", "--rtmp", &rtmp, "--http", &http, "--quiet"])
        .args(["--ll-hls-viewers", "8", "--hls-viewers", "4", "--sample", "12", "--duration", "7s", "--over", "1s"])
        .args(["--pid", &server.pid().to_string(), "--metrics", &server.control.to_string()])
        .output()
        .expect("millstream-loadtest is built beside the server");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    // 3 is void: the tests beside this one keep the machine busy, and no fault was found.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{text}");
    for part in [
        "12 visits, 12 joined, 0 left by plan, 0 lost, 12 at the end",
        "0 missing, 0 torn, 0 damaged, 0 unknown, 0 backwards, 0 overdue",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(text.matches("they agree to the byte").count(), 2, "both ways:\n{text}");
}
