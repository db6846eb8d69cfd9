//! Control from outside: streams by API, the original's documented call, keys, kicks, events, and who watches.
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::documents::{Block, blocks_in};
use millstream_tests::flv::Tag;
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, millstream};
use millstream_tests::tools::{Tool, ffmpeg, ffmpeg_push, ffprobe};
use millstream_tests::{eventually, percentile, seconds};
use serde_json::json;

/// The call of the user's document, with host and token to be put in.
const DOCUMENTED: &str = r#"{"isFlv":"true", "isHls":"false","isVideo":"false", "isImage":"false","isMotion":"false", "isOnDemand":"false","isCMAF":"false","video_time":"60","image_time":"30","hls_time":"2","hls_list_size":"5", "outdate":"2100-01-01"}"#;

#[test]
fn the_documented_call_makes_a_stream_that_ffmpeg_pushes_and_ffprobe_plays() {
    let server = Options::signed().start();
    let client = Client::admin(&server);
    let curl = Tool::start(
        "curl",
        &[
            "-s",
            "-d",
            DOCUMENTED,
            "-H",
            "Content-Type: application/json",
            "-H",
            &format!("Authorization: Bearer {}", client.token()),
            "-X",
            "POST",
            &format!("http://{}/Prod/videostream", server.control),
        ],
    );
    let made = curl.wait(seconds(20));
    assert!(made.status.success(), "{}", made.stderr);
    let record: serde_json::Value = serde_json::from_str(&made.stdout).unwrap_or_else(|_| panic!("{}", made.stdout));
    let (id, key) = (record["id"].as_str().expect("an id"), record["key"].as_str().expect("a key"));
    let push = ffmpeg_push(&server.push_url(&format!("{id}?sign={key}")), 30);
    Viewer::watch(server.http, id).find("keyframe", seconds(10), Tag::is_keyframe);
    let tracks = ffprobe(&server.flv_url(id));
    assert!(tracks.iter().any(|t| t.starts_with("h264,")) && tracks.contains(&"aac".to_owned()), "{tracks:?}");
    drop(push);
    assert!(!server.log.has(client.token()), "the token is in the log");
    assert!(!server.log.has(&key[11..]), "the key is in the log");
}

/// A command of the README that begins so, with the words behind it.
fn readme_command(begins: &str) -> Vec<String> {
    let commands: Vec<String> = blocks_in("README.md").iter().flat_map(Block::commands).collect();
    let command = commands
        .iter()
        .find_map(|command| Some(command.strip_prefix("sudo ").unwrap_or(command).strip_prefix(begins)?.to_owned()));
    command.expect("the README has it").split_whitespace().map(|word| word.trim_matches('"').to_owned()).collect()
}

#[test]
fn case_43_a_stream_made_by_the_commands_of_the_readme_plays_in_every_way_that_it_names() {
    let server = Options::signed().start();
    let (api, data_dir) = (format!("http://{}", server.control), server.data_dir().to_str().expect("ASCII").to_owned());
    let mut add = readme_command("millstream stream ");
    add.splice(0..0, ["stream".to_owned()]);
    add.extend(["--api".to_owned(), api, "--data-dir".to_owned(), data_dir.clone()]);
    let made = millstream(&add.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.status.success(), "{add:?}: {}", String::from_utf8_lossy(&made.stderr));
    let url =
        said.split_whitespace().find(|word| word.starts_with("rtmp://") && word.contains("sign=")).expect("a push URL");
    let id = add[2].as_str();
    // The README's own line for ffmpeg, with a short file of the test's.
    let video = format!("{data_dir}/video.mp4");
    let file = ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=640x360:r=30:d=60",
        "-f",
        "lavfi",
        "-i",
        "sine=d=60",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-c:a",
        "aac",
        &video,
    ]);
    assert!(file.status.success(), "{}", file.stderr);
    let push: Vec<String> = readme_command("ffmpeg ")
        .into_iter()
        .map(|word| {
            if word == "video.mp4" {
                video.clone()
            } else if word.starts_with("rtmp://") {
                url.to_owned()
            } else {
                word
            }
        })
        .collect();
    let _push = Tool::start("ffmpeg", &push.iter().map(String::as_str).collect::<Vec<_>>());
    Viewer::watch(server.http, id).find("keyframe", seconds(10), Tag::is_keyframe);
    let addresses = [
        server.flv_url(id),
        format!("rtmp://{}/stream/{id}", server.rtmp),
        format!("http://{}/{id}/live.m3u8", server.http),
        format!("http://{}/{id}/manifest.mpd", server.http),
    ];
    for address in addresses {
        let tracks = ffprobe(&address);
        let both = tracks.iter().any(|t| t.starts_with("h264,")) && tracks.contains(&"aac".to_owned());
        assert!(both, "{address}: {tracks:?}");
    }
    for page in ["index.html", "flv.html", "hls.html", "dash.html"] {
        assert_eq!(http::get(server.http, &format!("/{id}/{page}")).status, 200, "{page}");
    }
    // Pages are there for any name: what they are told is that this one is on air, with every output.
    let told = http::get(server.http, &format!("/{id}/live.json"));
    let told: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(
        (&told["state"], &told["outputs"]),
        (&json!("live"), &json!({ "flv": true, "hls": true, "dash": true }))
    );
}

#[test]
fn a_stream_just_made_plays_within_a_second_of_its_first_keyframe() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    let mut took = Vec::new();
    for n in 0..10 {
        let id = format!("cam-{n}");
        let sign = client.make_stream(&id);
        let push = Publisher::start(server.rtmp, "stream", &format!("{id}?sign={sign}")).expect("let in at once");
        let pushing = push.repeat(Clip::small());
        let mut viewer = Viewer::watch(server.http, &id);
        viewer.find("keyframe", seconds(10), Tag::is_keyframe);
        let played = Instant::now();
        let sent = pushing.sent();
        let (_, first) = sent.iter().find(|(tag, _)| tag.is_keyframe()).expect("a keyframe was sent");
        took.push(played.duration_since(*first));
    }
    let worst = percentile(&mut took, 1.0);
    println!("from the encoder's first keyframe to the viewer's, ten new streams: worst {worst:?}");
    assert!(worst <= seconds(1), "{took:?}");
}

#[test]
fn a_key_is_rotated_with_grace_and_without() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    let old = client.make_stream("cam");
    let admitted = |sign: &str| {
        let push = Publisher::start(server.rtmp, "stream", &format!("cam?sign={sign}"));
        push.map(|push| drop(push.finish())).is_ok()
    };
    assert!(admitted(&old));
    client.post("/api/v1/streams/cam/key", &json!({ "grace_s": 3600 })).is(200);
    let new = client.sign_of("cam");
    assert!(admitted(&old) && admitted(&new), "both admit during the grace");
    client.post("/api/v1/streams/cam/key", &json!({ "grace_s": 0 })).is(200);
    assert!(!admitted(&old) && !admitted(&new), "none admits any more");
    // The command line knows the generation that the API has come to.
    let sign = server.sign("cam", &["--expires", "2100-01-01"]);
    assert!(admitted(&sign));
    let etag = client.get("/api/v1/streams/cam").is(200).etag;
    client.request("DELETE", "/api/v1/streams/cam", &format!("If-Match: {etag}\r\n"), None).is(204);
    assert!(!admitted(&sign), "a stream that is removed admits nobody");
    assert_eq!(http::get(server.http, "/cam/live.flv").status, 404);
    let again = client.make_stream("cam");
    assert!(admitted(&again) && !admitted(&sign), "keys of the one before do not admit to the next one of its name");
}

#[test]
fn a_session_is_seen_and_ended_and_told_of() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    let mut events = client.listen();
    let sign = client.make_stream("cam");
    let push = Publisher::start(server.rtmp, "stream", &format!("cam?sign={sign}")).expect("let in");
    let pushing = push.repeat(Clip::small());
    let mut viewer = Viewer::watch(server.http, "cam");
    viewer.find("keyframe", seconds(10), Tag::is_keyframe);
    let session = eventually("the session has numbers", seconds(10), || {
        let session = client.get("/api/v1/streams/cam/session");
        (session.status == 200 && session.json["publisher"]["bitrate_bps"].as_u64() > Some(0)).then_some(session.json)
    });
    let video = &session["publisher"]["video"];
    assert!(video["codec"].as_str().is_some_and(|codec| codec.starts_with("avc1.")), "{session}");
    let viewers = client.get("/api/v1/streams/cam/viewers").is(200).json;
    assert_eq!(viewers["items"][0]["protocol"], "http-flv", "{viewers}");
    assert!(!client.get("/api/v1/nodes").is(200).json["items"].as_array().expect("a list").is_empty());
    client.request("DELETE", "/api/v1/streams/cam/session", "", None).is(200);
    eventually("the publisher is cut off", seconds(10), || (!pushing.alive()).then_some(()));
    assert!(Publisher::start(server.rtmp, "stream", "cam?sign=rubbish").is_err());
    for kind in ["publish", "unpublish", "refused"] {
        events.first(kind, seconds(10));
    }
    assert!(!events.told().contains(&sign[20..]), "a signature is in the events");
    let history = client.get("/api/v1/streams/cam/history").is(200).json;
    assert!(history["items"][0]["ended_unix_ms"].is_u64(), "{history}");
}

#[test]
fn an_output_that_is_off_is_not_found_and_comes_back() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    let sign = client.make_stream("cam");
    let push = Publisher::start(server.rtmp, "stream", &format!("cam?sign={sign}")).expect("let in");
    let _pushing = push.repeat(Clip::small());
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    let mut set = |on: bool| {
        let patch = json!({ "settings": { "isFlv": on } });
        client.request("PATCH", "/api/v1/streams/cam", "If-Match: *\r\n", Some(&patch)).is(200);
    };
    set(false);
    assert_eq!(http::get(server.http, "/cam/live.flv").status, 404);
    set(true);
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
}

/// Who watches HLS has no session: it is counted for asking, as an estimate, in API and metrics.
#[test]
fn viewers_of_hls_are_counted_in_api_metrics_and_events() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let mut events = client.listen();
    let push = ffmpeg_push(&server.push_url("cam"), 60);
    eventually("a playlist", seconds(15), || (http::get(server.http, "/cam/video.m3u8").status == 200).then_some(()));
    let ask = |agent: &str, name: &str| {
        let host = server.http;
        let head =
            format!("GET /cam/{name} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n");
        assert_eq!(http::raw(server.http, head.as_bytes()).expect("an answer").status, 200);
    };
    let all_ask = || {
        for agent in ["one/1.0", "two/1.0"] {
            ask(agent, "video.m3u8");
            ask(agent, "audio.m3u8");
        }
        ask("one/1.0", "video.m3u8?CMCD=sid%3D%22a-session%22");
        ask("one/1.0", "manifest.mpd");
    };
    let counted = eventually("three viewers of HLS and one of DASH", seconds(20), || {
        all_ask();
        let session = client.get("/api/v1/streams/cam/session").is(200).json;
        let of = |protocol: &str| {
            let viewers = session["viewers"].as_array().into_iter().flatten();
            viewers.clone().find(|viewers| viewers["protocol"] == protocol).cloned()
        };
        // What the test itself asked at first, without a name, is forgotten after three target durations.
        let (hls, dash) = (of("hls")?, of("dash")?);
        (hls["count"] == 3 && dash["count"] == 1).then_some((hls, dash))
    });
    assert_eq!((&counted.0["estimated"], &counted.1["estimated"]), (&json!(true), &json!(true)));
    eventually("the metrics say so", seconds(10), || {
        all_ask();
        let metrics = server.metrics();
        let line = metrics.lines().find(|line| line.starts_with("millstream_viewers{shard=\"0\",protocol=\"hls\"}"))?;
        line.ends_with(" 3").then_some(())
    });
    drop(push);
    let unpublish = events.first("unpublish", seconds(15));
    let viewers = &unpublish["what"]["viewers"];
    assert_eq!((&viewers[0]["protocol"], &viewers[0]["estimated"]), (&json!("hls"), &json!(true)), "{unpublish}");
}
