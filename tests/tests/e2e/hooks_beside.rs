//! Hooks that decide nothing about sessions: those that hear what happens and order something, and those that choose renditions. With the guests of
//! `hooks/guests`, as an operator uploads them.
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::flv::SCRIPT;
use millstream_tests::hls::playlist::Media;
use millstream_tests::hls::rules;
use millstream_tests::http::{Viewer, get};
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{ffprobe, promtool_check};
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

use crate::hooks::{built, upload};

fn start() -> (Server, Client) {
    let server = Options::open().shards(2).config("[stream_defaults]\non_unpublish = \"end\"\n").start();
    let client = Client::admin(&server);
    (server, client)
}

/// A hook of that kind with the module of a guest.
fn with_hook(server: &Server, client: &mut Client, kind: &str, guest: &str) {
    client.request("PUT", &format!("/api/v1/hooks/{guest}"), "", Some(&json!({ "kind": kind }))).is(201);
    let (status, version) = upload(server, client, guest, &built(guest));
    assert_eq!(status, 201, "{version}");
}

fn bind(client: &mut Client, hook: &str, point: &str, config: &Value) -> String {
    let binding = json!({ "hook": hook, "point": point, "mode": "live", "config": config });
    let bound = client.post("/api/v1/hook-bindings", &binding).is(201).json.clone();
    bound["id"].as_str().expect("an id").to_owned()
}

fn set_mode(client: &mut Client, binding: &str, mode: &str) {
    let path = format!("/api/v1/hook-bindings/{binding}");
    client.request("PATCH", &path, "If-Match: *\r\n", Some(&json!({ "mode": mode }))).is(200);
}

fn publish(server: &Server, id: &str) -> Pushing {
    Publisher::start(server.rtmp, "stream", id).expect("published").repeat(Clip::busy())
}

fn logged(client: &mut Client, hook: &str) -> String {
    client.get(&format!("/api/v1/hooks/{hook}/logs")).is(200).json["items"].to_string()
}

fn recordings(client: &mut Client, id: &str) -> usize {
    client.get(&format!("/api/v1/recordings?stream={id}")).is(200).json["items"].as_array().map_or(0, Vec::len)
}

#[test]
fn an_event_hook_hears_what_happens_marks_streams_and_has_them_recorded() {
    let (server, mut client) = start();
    with_hook(&server, &mut client, "events", "event-forwarder");
    let config = json!({ "kinds": "*", "markers": "recording-started", "record": "publish-start" });
    let binding = bind(&mut client, "event-forwarder", "events", &config);
    // It is in force when the first publication is heard of.
    let _cam = eventually("it hears of a publication", seconds(20), || {
        let push = publish(&server, "cam");
        std::thread::sleep(seconds(1));
        let text = logged(&mut client, "event-forwarder");
        (text.contains("publish-start") && text.contains("cam")).then_some(push)
    });
    // What it orders is done: the stream is recorded, though no setting of it says so, and hears of that by a marker.
    eventually("the stream is recorded", seconds(10), || (recordings(&mut client, "cam") >= 1).then_some(()));
    let _other = publish(&server, "other");
    let mut viewer = Viewer::watch(server.http, "other");
    let marker = viewer.find("a marker", seconds(10), |tag| {
        let text = String::from_utf8_lossy(&tag.data);
        tag.kind == SCRIPT && text.contains("onCuePoint") && text.contains("marker")
    });
    let text = String::from_utf8_lossy(&marker.data).into_owned();
    assert!(text.contains("recording-started") && text.contains("unix-ms"), "{text}");
    assert!(logged(&mut client, "event-forwarder").contains("recording-started"));
    // The same in playlists and manifest, which are there as long as the stream is recorded.
    let of = |path: &str| String::from_utf8_lossy(&get(server.http, path).body).into_owned();
    let listed = |what: &str, path: &str, words: &[&str]| {
        eventually(what, seconds(20), || Some(of(path)).filter(|text| words.iter().all(|words| text.contains(words))))
    };
    let range = "#EXT-X-DATERANGE:ID=\"m";
    let text = listed("a date range", "/other/video.m3u8", &[range, ",X-KIND=\"recording-started\",X-UNIX-MS=\""]);
    Media::parse(&text).map(|media| assert_eq!(rules::check(&media), [], "{text}")).expect("a playlist");
    listed("a date range", "/other/audio.m3u8", &[range]);
    let scheme = "<EventStream schemeIdUri=\"urn:millstream:marker:2026\" timescale=\"1000\">";
    listed("an event", "/other/manifest.mpd", &[scheme, "[\"marker\",", "\"recording-started\""]);
    // Who watches is told of, whether it has a session or not; who has left, too.
    let has = |text: &str, words: &[&str]| {
        text.split("{\\\"id\\\"").any(|line| words.iter().all(|words| line.contains(words)))
    };
    for protocol in ["http-flv", "hls"] {
        eventually("a viewer is told of", seconds(10), || {
            has(&logged(&mut client, "event-forwarder"), &["play-start", "other", protocol]).then_some(())
        });
    }
    drop(viewer);
    eventually("a viewer that left is told of", seconds(10), || {
        has(&logged(&mut client, "event-forwarder"), &["play-stop", "other", "http-flv", "lasted_ms"]).then_some(())
    });
    let of = "hook=\"event-forwarder\",version=\"1\"";
    let metric = |name: &str| {
        let text = server.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        line.parse::<f64>().unwrap_or(0.0)
    };
    assert!(metric(&format!("millstream_hook_notices_total{{{of},result=\"told\"}}")) >= 4.0, "{}", server.metrics());
    assert!(
        metric(&format!("millstream_hook_orders_total{{{of},result=\"followed\"}}")) >= 3.0,
        "{}",
        server.metrics()
    );
    promtool_check(&server.metrics());
    // Off, it orders nothing more.
    set_mode(&mut client, &binding, "off");
    std::thread::sleep(seconds(1));
    let _third = publish(&server, "third");
    std::thread::sleep(seconds(2));
    assert_eq!(recordings(&mut client, "third"), 0);
}

/// What the API says of the ladder that was chosen for a stream.
fn ladder(client: &mut Client, id: &str) -> Value {
    client.get(&format!("/api/v1/streams/{id}/session")).json["ladder"].clone()
}

#[test]
fn a_policy_hook_decides_which_renditions_a_stream_has() {
    let (server, mut client) = start();
    let settings = json!({ "isCodec": true, "ld": true });
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201);
    let _push = publish(&server, "cam");
    let index = || String::from_utf8_lossy(&get(server.http, "/cam/index.m3u8").body).into_owned();
    eventually("the record's own rendition", seconds(10), || index().contains("\n360p/video.m3u8").then_some(()));
    with_hook(&server, &mut client, "policy", "ladder");
    // A machine that runs tests is busy: what the guest makes of that is not looked at here.
    let config = json!({ "ladder": "180:200, 120:100, 720:2000", "busy-percent": "100", "full-percent": "100" });
    let binding = bind(&mut client, "ladder", "renditions", &config);
    let chosen = eventually("the hook's renditions", seconds(20), || {
        Some(index()).filter(|text| text.contains("\n120p/video.m3u8") && text.contains("\n180p/video.m3u8"))
    });
    assert!(!chosen.contains("360p") && !chosen.contains("720p"), "{chosen}");
    let shown =
        eventually("the choice is told", seconds(15), || Some(ladder(&mut client, "cam")).filter(Value::is_object));
    println!("{shown}");
    assert_eq!((&shown["hook"], &shown["version"], &shown["binding"]), (&json!("ladder"), &json!(1), &json!(binding)));
    assert_eq!(
        shown["renditions"][0],
        json!({ "name": "120p", "width": 214, "height": 120, "video_kbit_s": 100, "codec": "h264" })
    );
    let seen = ffprobe(&format!("http://{}/cam/180p/live.flv", server.http));
    assert!(seen.iter().any(|line| line.contains("h264") && line.contains("320,180")), "{seen:?}");
    assert_eq!(get(server.http, "/cam/360p/video.m3u8").status, 404);
    set_mode(&mut client, &binding, "off");
    eventually("the record's own rendition again", seconds(10), || {
        let text = index();
        (text.contains("\n360p/video.m3u8") && !text.contains("120p")).then_some(())
    });
    eventually("nothing is told of a choice", seconds(10), || ladder(&mut client, "cam").is_null().then_some(()));
}
