//! How streams play, as players say it (CMCD): real players in Chromium, and what the API and `/metrics` make of it.
use std::path::Path;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::Options;
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, http, millis, seconds};
use serde_json::Value;

/// What a stream's players say, by one protocol; `None`: nothing yet.
fn quality(client: &mut Client, stream: &str, protocol: &str) -> Option<Value> {
    let answer = client.get(&format!("/api/v1/streams/{stream}/qoe"));
    if answer.status == 404 {
        return None;
    }
    let answer = answer.is(200).json;
    answer["items"].as_array().expect("a list").iter().find(|item| item["protocol"] == protocol).cloned()
}

#[test]
fn real_players_tell_how_they_play() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let _streams = ["first", "second", "third", "fourth"]
        .map(|id| Publisher::start(server.rtmp, "stream", id).expect("published").repeat(Clip::small()));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/cmcd.mjs");
    let url = format!("http://{}", server.http);
    let players = Tool::start("node", &[script.to_str().expect("ASCII"), &url, "16"]);
    // Stream, protocol, figures that its player is known to say.
    let expected: [(&str, &str, &[&str]); 4] = [
        ("first", "hls", &["start_ms", "bitrate_kbit_s", "buffer_ms"]),
        ("second", "hls", &["start_ms", "bitrate_kbit_s", "buffer_ms"]),
        ("third", "dash", &["bitrate_kbit_s", "buffer_ms", "latency_ms"]),
        ("fourth", "http-flv", &["start_ms", "bitrate_kbit_s", "buffer_ms", "latency_ms"]),
    ];
    for (stream, protocol, figures) in expected {
        let item = eventually(&format!("all of {stream}"), seconds(60), || {
            std::thread::sleep(millis(300));
            let item = quality(&mut client, stream, protocol)?;
            figures.iter().all(|figure| item[figure]["count"].as_u64().is_some_and(|count| count > 0)).then_some(item)
        });
        println!("{stream}: {item}");
        assert_eq!(item["sessions"], 1, "{item}");
        assert!(item["start_ms"]["count"].as_u64().is_some_and(|count| count <= 1), "a start is told once: {item}");
        let bitrate = item["bitrate_kbit_s"]["median"].as_f64().expect("a number");
        assert!((1.0..2_000.0).contains(&bitrate), "{item}");
    }
    let done = players.wait(seconds(90));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
    let metrics = server.metrics();
    for name in ["start_seconds_count", "latency_seconds_count", "bitrate_count", "played_ms_total", "reports_total"] {
        assert!(metrics.contains(&format!("millstream_player_{name}{{protocol=\"http-flv\"}} ")), "{name}: {metrics}");
    }
    // No label grows with viewers.
    assert!(!metrics.contains("hls-session") && !metrics.contains("fourth"), "{metrics}");
    client.get("/api/v1/streams/unheard-of/qoe").is(404);
}

/// A player's words change no answer, and those that are none do no harm.
#[test]
fn what_players_say_changes_no_answer() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    let playlist = eventually("a playlist", seconds(10), || {
        let answer = http::get(server.http, "/cam/live.m3u8");
        (answer.status == 200).then_some(answer)
    });
    for said in [
        "sid%3D%22s%22%2Cbl%3D100%2Csf%3Dh%2Cot%3Dm",
        "%22",
        "sid=%22%28%28%28",
        "bl=(1;v,br=99999999999999999999",
        "%ff",
    ] {
        let answer = http::get(server.http, &format!("/cam/live.m3u8?CMCD={said}"));
        assert_eq!((answer.status, &answer.body), (200, &playlist.body), "{said}");
        assert_eq!(answer.header("cache-control"), playlist.header("cache-control"), "{said}");
    }
    let item = eventually("the session", seconds(20), || quality(&mut client, "cam", "hls"));
    // One has a name, all others are one by their address.
    assert_eq!(item["sessions"], 2, "{item}");
    assert_eq!(item["buffer_ms"]["count"].as_u64().map(|count| count <= 4), Some(true), "{item}");
}
