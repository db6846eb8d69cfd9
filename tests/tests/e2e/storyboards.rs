//! Small pictures of recordings: made when all of one is stored, named by WebVTT, listed by the API, and removed with it.
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::http::{Response, get};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

fn only(client: &mut Client) -> Option<Value> {
    client.get("/api/v1/recordings?stream=cam").is(200).json["items"].as_array().expect("a list").first().cloned()
}

fn file(server: &Server, name: &str, file: &str) -> Response {
    get(server.http, &format!("/cam/rec/{name}/{file}"))
}

/// The grey levels of a JPEG, and how wide it is.
fn decoded(jpeg: &[u8], width: usize) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (dir.path().join("sprite.jpg"), dir.path().join("sprite.gray"));
    std::fs::write(&from, jpeg).expect("written");
    let paths = [from.to_str().expect("ASCII"), to.to_str().expect("ASCII")];
    let options = ["-v", "error", "-i", paths[0], "-pix_fmt", "gray", "-f", "rawvideo", paths[1]];
    let read = Tool::start("ffmpeg", &options).wait(seconds(60));
    assert!(read.status.success(), "{}", read.stderr);
    let levels = std::fs::read(&to).expect("levels");
    assert_eq!(levels.len() % width, 0, "{} levels", levels.len());
    levels
}

#[test]
fn a_recording_has_small_pictures_over_its_length_which_go_with_it() {
    let options = Options::open().config("[stream_defaults]\non_unpublish = \"end\"\n[hls]\nsegment = \"1s\"\n");
    let server = options.start();
    let mut client = Client::admin(&server);
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "isOnDemand": true } })).is(201);
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::busy());
    std::thread::sleep(seconds(7));
    drop(push);
    let recording = eventually("it has small pictures", seconds(40), || {
        only(&mut client).filter(|item| item["thumbnails"].is_string())
    });
    assert_eq!(recording["state"], "stored", "{recording}");
    let name = recording["recording"].as_str().expect("a name").to_owned();
    assert_eq!(recording["thumbnails"], format!("rec/{name}/thumbnails.vtt"));
    let answer = file(&server, &name, "thumbnails.vtt");
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/vtt"));
    let text = String::from_utf8(answer.body).expect("text");
    let cues: Vec<&str> = text.lines().filter(|line| line.starts_with("thumbnails/")).collect();
    assert!((3..=5).contains(&cues.len()) && text.starts_with("WEBVTT\n\n00:00:00.000 --> "), "{text}");
    for (n, cue) in cues.iter().enumerate() {
        assert_eq!(*cue, format!("thumbnails/0.jpg#xywh={},0,160,90", n * 160));
    }
    let led = client.get(&format!("/api/v1/recordings/{name}/thumbnails.vtt")).is(307);
    let path = led.location.split_once(&server.http.to_string()).expect("at the node").1.to_owned();
    assert_eq!(String::from_utf8(get(server.http, &path).body).expect("text"), text, "by the API, too");
    let answer = file(&server, &name, "thumbnails/0.jpg");
    assert_eq!((answer.status, answer.header("content-type")), (200, "image/jpeg"));
    let width = cues.len() * 160;
    let levels = decoded(&answer.body, width);
    assert_eq!(levels.len() / width, 90);
    // Each tile shows a picture, and none is that of another moment.
    let tile = |n: usize| -> Vec<u8> { levels.chunks(width).flat_map(|row| row[n * 160..][..160].to_vec()).collect() };
    let tiles: Vec<Vec<u8>> = (0..cues.len()).map(tile).collect();
    for tile in &tiles {
        let (least, most) = (tile.iter().min().expect("levels"), tile.iter().max().expect("levels"));
        assert!(most - least > 60, "{least} to {most}");
    }
    assert!(tiles.windows(2).all(|pair| pair[0] != pair[1]));
    for other in ["thumbnails/7.jpg", "thumbnails/00.jpg", "thumbnails/0.png"] {
        assert_eq!(file(&server, &name, other).status, 404, "{other}");
    }
    client.request("DELETE", &format!("/api/v1/recordings/{name}"), "", None).is(202);
    eventually("they are gone", seconds(40), || {
        let is_gone = |name_of| file(&server, &name, name_of).status == 404;
        (is_gone("thumbnails.vtt") && is_gone("thumbnails/0.jpg") && is_gone("index.m3u8")).then_some(())
    });
}
