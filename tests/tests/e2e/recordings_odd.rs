//! What odd encoders send, recorded: sound or picture alone, another resolution in the middle, stamps that jump. All of it plays, as HLS and as MP4 files, and
//! webhooks are told of it.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_test_support::mp4::Movie;
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::flv::{AUDIO, Tag, VIDEO};
use millstream_tests::http;
use millstream_tests::receiver::WebhookReceiver;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::ffprobe;
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

use crate::enhanced::only;
use crate::jumps::{Jumper, both};
use crate::recordings::{duration_ms, keeps_the_rules, name, text};

/// Each of the clips that one encoder sends one behind the other.
const EACH_MS: u32 = 4_000;

/// One encoder that sends so much of each clip, one behind the other.
fn one_by_one(server: &Server, id: &str, clips: &[Clip], each_ms: u32) {
    let mut publisher = Publisher::start(server.rtmp, "stream", id).expect("published");
    let (began, mut first) = (Instant::now(), 0);
    for clip in clips {
        for tag in &clip.configuration {
            publisher.send(&Tag { timestamp: first, ..tag.clone() }).expect("sent");
        }
        for tag in clip.frames.iter().filter(|tag| tag.timestamp < each_ms) {
            let timestamp = first + tag.timestamp;
            let due = began + Duration::from_millis(u64::from(timestamp));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            publisher.send(&Tag { timestamp, ..tag.clone() }).expect("sent");
        }
        first += each_ms;
    }
    publisher.finish().expect("a goodbye");
}

/// The only recording of a stream, all of which is stored, with its files.
fn stored(client: &mut Client, id: &str) -> Value {
    let one = eventually(&format!("the recording of {id} is stored"), seconds(30), || {
        let list = client.get(&format!("/api/v1/recordings?stream={id}")).is(200).json;
        let items = list["items"].as_array().expect("a list");
        assert!(items.len() < 2, "{id}: {list}");
        items.first().filter(|item| item["state"] == "stored").cloned()
    });
    client.get(&format!("/api/v1/recordings/{}", name(&one))).is(200).json
}

/// Tracks of what is behind an address, each once.
fn tracks(url: &str) -> Vec<String> {
    let mut tracks = ffprobe(url);
    tracks.dedup();
    tracks
}

/// A recording plays: its playlists name these tracks and are as long as the stream was on air, and so are its files.
fn plays(server: &Server, recording: &Value, id: &str, kinds: &[&str], seen: &[&str], on_air: Duration) {
    let told_ms = recording["duration_ms"].as_u64().expect("a length");
    let on_air_ms = on_air.as_millis() as u64;
    // The server waits for what else may come before a stream begins.
    assert!(
        (on_air_ms - 2_500..=on_air_ms + 1_000).contains(&told_ms),
        "{id}: {told_ms} of {on_air_ms} ms: {recording}"
    );
    for media in keeps_the_rules(server, id, recording, kinds) {
        let ms = (media.seconds() * 1_000.0) as u64;
        assert!(ms.abs_diff(told_ms) <= 1_000, "{id}: {ms} of {told_ms} ms");
    }
    let url = format!("http://{}/{id}/rec/{}/index.m3u8", server.http, name(recording));
    assert_eq!(tracks(&url), seen, "{url}");
    assert!(duration_ms(&url).abs_diff(told_ms) <= 1_000, "{url}: {} of {told_ms} ms", duration_ms(&url));
    let files = recording["files"].as_array().expect("files");
    assert!(!files.is_empty(), "{id}: {recording}");
    let mut sum_ms = 0;
    for (n, file) in files.iter().enumerate() {
        let path = format!("/{id}/{}", file["path"].as_str().expect("a path"));
        let answer = http::get(server.http, &path);
        assert_eq!((answer.status, answer.header("content-type")), (200, "video/mp4"), "{path}");
        let movie = Movie::read(&answer.body).unwrap_or_else(|error| panic!("{path}: {error:#}"));
        // The last one may have next to nothing.
        assert!((1..=kinds.len()).contains(&movie.tracks.len()), "{path}");
        if n == 0 {
            assert_eq!(tracks(&format!("http://{}{path}", server.http)), seen, "{path}");
        }
        sum_ms += file["duration_ms"].as_u64().expect("a length");
    }
    assert!(sum_ms.abs_diff(told_ms) <= 1_000, "{id}: {sum_ms} ms in files of {told_ms} ms");
}

const CONFIG: &str = r#"
[stream_defaults]
on_unpublish = "end"

[hls]
segment = "1s"

[webhooks]
allow = ["127.0.0.0/8"]

[[auth.steps]]
kind = "open"
point = ["publish", "play"]
"#;

#[test]
fn what_odd_encoders_send_plays_when_it_is_recorded() {
    // With a master key, which webhooks need; and anybody may publish and play.
    let server = Options::signed().config(CONFIG).start();
    let mut client = Client::admin(&server);
    let receiver = WebhookReceiver::start();
    let kinds = ["recording_started", "recording_file", "recording_stored"];
    let hook = json!({ "url": format!("http://{}/hook", receiver.address), "events": kinds });
    client.post("/api/v1/webhooks", &hook).is(201);
    for id in ["sound", "picture", "sizes", "cam"] {
        let settings = json!({ "isOnDemand": true, "ondemand_time": 2, "isVideo": true, "video_time": 4 });
        client.post("/api/v1/streams", &json!({ "id": id, "settings": settings })).is(201);
    }
    let alone = |id: &str, kind| {
        let publisher = Publisher::start(server.rtmp, "stream", id).expect("published");
        publisher.repeat(only(&Clip::small(), kind))
    };
    let began = Instant::now();
    let others = (alone("sound", AUDIO), alone("picture", VIDEO));
    let jumper = Jumper::start(&server, Clip::small(), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| one_by_one(&server, "sizes", &[Clip::small(), Clip::wall()], EACH_MS));
        std::thread::sleep(seconds(3));
        jumper.jump(&both(0, 5_000));
        std::thread::sleep(seconds(3));
        jumper.jump(&both(0, -1_500));
        std::thread::sleep(seconds(2));
    });
    drop((others, jumper));
    let on_air = began.elapsed();

    plays(&server, &stored(&mut client, "sound"), "sound", &["audio"], &["aac"], on_air);
    plays(&server, &stored(&mut client, "picture"), "picture", &["video"], &["h264,320,180"], on_air);
    // The server makes stamps that jump go on: as long as it was on air, without a hole.
    let kept = stored(&mut client, "cam");
    plays(&server, &kept, "cam", &["video", "audio"], &["aac", "h264,320,180"], on_air);
    let description = text(&server, &format!("/cam/rec/{}/recording.json", name(&kept)));
    assert!(description.contains("\"gaps\": []"), "{description}");
    let sizes = stored(&mut client, "sizes");
    let video = &keeps_the_rules(&server, "sizes", &sizes, &["video", "audio"])[0];
    let maps: Vec<_> = video.segments.iter().filter_map(|segment| segment.map.clone()).collect();
    assert!(maps.first() != maps.last() && video.segments.iter().any(|segment| segment.discontinuity), "{maps:?}");
    let files = sizes["files"].as_array().expect("files").iter();
    let files = files.map(|file| format!("http://{}/sizes/{}", server.http, file["path"].as_str().expect("a path")));
    let sizes: Vec<_> = files.flat_map(|url| tracks(&url)).filter(|track| track.starts_with("h264")).collect();
    let (first, last) = (sizes.first().map(String::as_str), sizes.last().map(String::as_str));
    assert_eq!((first, last), (Some("h264,320,180"), Some("h264,640,360")), "no file has both: {sizes:?}");

    // Each stream's events come in order.
    let mut told: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    eventually("webhooks are told of all of it", seconds(20), || {
        let event = receiver.next(seconds(1))?.event;
        let stream = event["stream"].as_str().expect("a stream").to_owned();
        let text = event.to_string();
        let kind = kinds.iter().find(|kind| text.contains(&format!("\"{kind}\""))).expect("one that was asked for");
        told.entry(stream).or_default().push(kind);
        let is_over = |of: &Vec<&str>| of.last() == Some(&"recording_stored");
        (told.len() == 4 && told.values().all(is_over)).then_some(())
    });
    for (stream, of) in &told {
        assert_eq!(of.first(), Some(&"recording_started"), "{stream}: {of:?}");
        assert!(of[1..of.len() - 1].iter().all(|kind| *kind == "recording_file") && of.len() > 2, "{stream}: {of:?}");
    }
}
