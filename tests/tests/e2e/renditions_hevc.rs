//! Renditions in H.265 (`codec = libx265`): every output has them where an `ffmpeg` with x265 is installed, and without one that is said.
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::hls::multivariant::Multivariant;
use millstream_tests::http::get;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{ffmpeg_decodes, ffprobe, ffprobe_by, newer};
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

fn start(more: &str) -> (Server, Client, Pushing) {
    let config = format!("[stream_defaults]\non_unpublish = \"end\"\n[transcode]\n{more}");
    let server = Options::open().shards(2).config(&config).start();
    let mut client = Client::admin(&server);
    let settings = json!({ "isCodec": true, "ld": true, "codec": "libx265" });
    let made = client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201).json;
    assert_eq!(made["not_in_force"], json!([]));
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::busy());
    eventually("it is on air", seconds(5), || (get(server.http, "/cam/video.m3u8").status == 200).then_some(()));
    (server, client, push)
}

/// What the API says of the node's worker, once that has been looked at.
fn worker(client: &mut Client) -> Value {
    eventually("it is known what is encoded", seconds(15), || {
        let worker = client.get("/api/v1/nodes").json["items"][0]["worker"].clone();
        (worker["no_ffmpeg"] != "" || worker["decodes"].as_array().is_some_and(|all| all.len() > 1)).then_some(worker)
    })
}

fn text(server: &Server, path: &str) -> String {
    let answer = get(server.http, path);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, 200, "{path}: {text}");
    text
}

#[test]
fn every_output_has_a_rendition_in_hevc() {
    let (server, mut client, _push) = start("");
    let encodes = worker(&mut client)["encodes"].clone();
    assert!(encodes.as_array().expect("a list").contains(&json!("hevc")), "{encodes}");
    let index = text(&server, "/cam/index.m3u8");
    let whole = Multivariant::parse(&index).unwrap_or_else(|error| panic!("{error:#}\n{index}"));
    assert_eq!(whole.check(), [], "{index}");
    assert!(index.contains("CODECS=\"hvc1.1.6.L63.90,mp4a.40.2\"") && index.contains("RESOLUTION=640x360"), "{index}");
    assert!(text(&server, "/cam/index.mpd").contains("<Representation id=\"360p\" codecs=\"hvc1.1.6.L63.90\""));
    let own = eventually("the rendition is there", seconds(20), || {
        let answer = get(server.http, "/cam/360p/live.m3u8");
        (answer.status == 200).then(|| String::from_utf8_lossy(&answer.body).into_owned())
    });
    // What the encoder has made is what was said of it before.
    assert!(own.contains("CODECS=\"hvc1.1.6.L63.90,mp4a.40.2\""), "{own}");
    let at = |file: &str| format!("http://{}/cam/360p/{file}", server.http);
    for file in ["live.m3u8", "manifest.mpd", "live.flv"] {
        // In FLV H.265 is known to a client that is newer than Debian's.
        let mut seen =
            if file.ends_with("flv") { ffprobe_by(&newer("ffprobe"), &at(file)) } else { ffprobe(&at(file)) };
        seen.dedup();
        assert_eq!(seen, ["aac", "hevc,640,360"], "{file}");
    }
    ffmpeg_decodes(&at("live.m3u8"), 40);
    let running = client.get("/api/v1/streams/cam/session").json["renditions"][0].clone();
    assert_eq!((&running["state"], &running["width"]), (&json!("running"), &json!(640)), "{running}");
}

#[test]
fn without_ffmpeg_it_is_said_why_there_is_none() {
    let (server, mut client, _push) = start("ffmpeg = \"off\"\n");
    let encodes = worker(&mut client)["encodes"].clone();
    assert!(!encodes.as_array().expect("a list").contains(&json!("hevc")), "{encodes}");
    assert!(!text(&server, "/cam/index.m3u8").contains("360p"));
    let refused = get(server.http, "/cam/360p/video.m3u8");
    let why = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status == 503 && why.contains("no ffmpeg with libx265"), "{} {why}", refused.status);
    let told = client.get("/api/v1/streams/cam/session").json["renditions"][0].clone();
    assert_eq!((&told["state"], &told["reason"]), (&json!("unavailable"), &json!("codec")), "{told}");
    assert!(told["why"].as_str().expect("words").contains("install one"), "{told}");
}
