//! Watermarks with the worker that draws them: read back out of the pictures that viewers get, changed while they watch, and told of where they cannot be
//! drawn.
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};

use millstream_tests::clip::Clip;
use millstream_tests::control::{Client, Events};
use millstream_tests::http::{Viewer, get};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

/// Images may come from this machine.
const CONFIG: &str = "[stream_defaults]\non_unpublish = \"end\"\n[transcode]\nallow = [\"127.0.0.1/32\"]\n";
/// An image of one red pixel.
const RED_PNG: &[u8] = b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde\x00\x00\x00\x0cIDATx\xdac\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xf7\x03AC\x00\x00\x00\x00IEND\xaeB`\x82";
/// Y, U, V of red.
const RED: [u8; 3] = [81, 90, 240];

/// A server of files: a red PNG at `/red.png`, by way of a redirect at `/moved`, one that redirects to a private address at `/inside`, and a page.
fn images() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            let (mut request, mut line) = (String::new(), String::new());
            reader.read_line(&mut request).expect("a request");
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let (status, more, body) = match request.split(' ').nth(1).unwrap_or_default() {
                "/red.png" => ("200 OK", "Content-Type: image/png", RED_PNG),
                "/moved" => ("302 Found", "Location: red.png", &[][..]),
                "/inside" => ("302 Found", "Location: http://169.254.169.254/latest/", &[][..]),
                _ => ("200 OK", "Content-Type: text/html", &b"<html>"[..]),
            };
            let head = format!("HTTP/1.1 {status}\r\n{more}\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    address
}

/// A picture of a stream as viewers of FLV get it, raw.
fn picture(server: &Server, stream: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("picture.yuv");
    let (url, path) = (format!("http://{}/{stream}/live.flv", server.http), file.to_str().expect("ASCII"));
    let options = [
        "-v",
        "error",
        "-analyzeduration",
        "1000000",
        "-i",
        &url,
        "-frames:v",
        "1",
        "-pix_fmt",
        "yuv420p",
        "-f",
        "rawvideo",
        path,
    ];
    let read = Tool::start("ffmpeg", &options).wait(seconds(60));
    assert!(read.status.success(), "{}", read.stderr);
    std::fs::read(&file).expect("a picture")
}

/// Y, U, V at a place of a picture of 640x360.
fn at(picture: &[u8], x: usize, y: usize) -> [u8; 3] {
    let (luma, chroma) = (640 * 360, 320 * 180);
    let half = y / 2 * 320 + x / 2;
    [picture[y * 640 + x], picture[luma + half], picture[luma + chroma + half]]
}

fn is_near(found: [u8; 3], expected: [u8; 3]) -> bool {
    found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 16)
}

/// Waits for an event that says this of the watermark.
fn told_why(events: &mut Events, what: &str) {
    events.until(what, seconds(60), |told| {
        told.lines().any(|line| line.contains("watermark_failed") && line.contains(what)).then_some(())
    });
}

#[test]
fn marks_are_in_the_renditions_pictures_move_while_somebody_watches_and_are_told_of_where_they_fail() {
    let files = images();
    let server = Options::open().shards(2).config(CONFIG).start();
    let mut client = Client::admin(&server);
    let mut events = client.listen();
    let url = |path: &str| format!("http://{files}{path}");
    let settings = json!({
        "isWaterMark": true, "WaterMarkText": "████", "WaterMarkFontSize": 80, "WaterMarkLeft": 300, "WaterMarkTop": 100,
        "isImageWaterMark": true, "ImageURL": url("/moved"), "ImageWidth": 128, "ImageHeight": 64, "ImageLeft": 16, "ImageTop": 16,
    });
    let made = client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201).json;
    assert_eq!(made["not_in_force"], json!([]));
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::wall());
    // Who may choose is not offered the picture without the mark, though no rendition was asked for.
    let index = String::from_utf8(get(server.http, "/cam/index.m3u8").body).expect("text");
    assert!(index.contains("\n360p/video.m3u8\n") && !index.contains("\nvideo.m3u8\n"), "{index}");
    let mut viewer = Viewer::watch(server.http, "cam/360p");
    viewer.tags_for(seconds(2));
    let both = eventually("text and image", seconds(60), || {
        let picture = picture(&server, "cam/360p");
        is_near(at(&picture, 80, 48), RED).then_some(picture)
    });
    // A full block of white is where the text is, and the picture shows beside both.
    assert!(at(&both, 330, 140)[0] > 215, "{:?}", at(&both, 330, 140));
    assert!(!is_near(at(&both, 80, 200), RED));
    let source = picture(&server, "cam");
    assert!(!is_near(at(&source, 80, 48), RED), "the source passes untouched");

    let mut change = |settings: Value| {
        let with = "If-Match: *\r\n";
        client.request("PATCH", "/api/v1/streams/cam", with, Some(&json!({ "settings": settings }))).is(200);
    };
    change(json!({ "ImageLeft": 480, "isWaterMark": false }));
    eventually("the image has moved and the text is gone", seconds(60), || {
        let picture = picture(&server, "cam/360p");
        (is_near(at(&picture, 544, 48), RED) && !is_near(at(&picture, 80, 48), RED)).then_some(())
    });
    // The same connection went on meanwhile.
    assert!(viewer.tags_for(seconds(1)).len() > 10);

    change(json!({ "ImageURL": url("/inside") }));
    told_why(&mut events, "169.254.169.254 is a private address");
    change(json!({ "ImageURL": url("/page"), "isWaterMark": true, "WaterMarkText": "直播" }));
    told_why(&mut events, "neither PNG nor JPEG (it says text/html)");
    eventually("the image is gone", seconds(60), || {
        (!is_near(at(&picture(&server, "cam/360p"), 544, 48), RED)).then_some(())
    });
}
