//! Renditions of sources that `ffmpeg` decodes and whose pictures are not what their samples look like: samples that are not square, and pictures of two
//! fields.
use millstream_tests::control::Client;
use millstream_tests::http::get;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffmpeg_decodes, ffprobe, newer_push};
use millstream_tests::{eventually, seconds};
use serde_json::json;

fn start(ids: &[&str]) -> Server {
    let server = Options::open().config("[stream_defaults]\non_unpublish = \"end\"\n").start();
    let mut client = Client::admin(&server);
    let settings = json!({ "isCodec": true, "ld": true });
    for id in ids {
        client.post("/api/v1/streams", &json!({ "id": id, "settings": settings })).is(201);
    }
    server
}

/// Pushes a picture of `ffmpeg`'s as H.264 in real time; `options` say how.
fn push(server: &Server, id: &str, picture: &str, options: &str) -> Tool {
    let url = server.push_url(id);
    let mut arguments = vec!["-hide_banner", "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", picture];
    arguments.extend(["-t", "60", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-threads", "1"]);
    // Each word is an argument of its own, as a shell would split it.
    arguments.extend(options.split_whitespace());
    arguments.extend(["-flvflags", "no_duration_filesize", "-f", "flv", &url]);
    Tool::start("ffmpeg", &arguments)
}

fn rendition(server: &Server, id: &str) -> String {
    eventually("the rendition is listed", seconds(20), || {
        let index = get(server.http, &format!("/{id}/index.m3u8"));
        String::from_utf8_lossy(&index.body).contains("360p/").then_some(())
    });
    format!("http://{}/{id}/360p/live.flv", server.http)
}

/// PAL as it is broadcast: 720x576 that is shown 1024 wide. A rendition has square samples.
#[test]
fn samples_that_are_not_square_make_a_rendition_that_is_as_wide_as_its_source_is_shown() {
    let server = start(&["avc", "hevc"]);
    let wide = "testsrc2=size=720x576:rate=25,setsar=64/45";
    let _avc = push(&server, "avc", wide, "-pix_fmt yuv420p10le");
    let options = "-vf scale=720:576,setsar=64/45 -c:v libx265 -preset ultrafast -x265-params log-level=warning:pools=1 -an -rtmp_enhanced_codecs hvc1";
    let _hevc = newer_push(&server.push_url("hevc"), options);
    for id in ["avc", "hevc"] {
        let seen = ffprobe(&rendition(&server, id));
        assert!(seen.contains(&"h264,640,360".to_owned()), "{id}: {seen:?}");
        ffmpeg_decodes(&rendition(&server, id), 25);
    }
}

/// How many pictures of a stream look like two fields of two moments, and how many like one of one.
fn looks(url: &str) -> (u32, u32) {
    let arguments = ["-hide_banner", "-nostdin", "-i", url, "-t", "3", "-map", "0:v", "-vf", "idet", "-f", "null", "-"];
    let done = Tool::start("ffmpeg", &arguments).wait(seconds(30));
    let line = done.stderr.lines().rfind(|line| line.contains("Multi frame detection"));
    let line = line.unwrap_or_else(|| panic!("{}", done.stderr));
    let number = |name: &str| {
        let (_, rest) = line.split_once(name).unwrap_or_else(|| panic!("{name} in {line}"));
        rest.split_whitespace().next().and_then(|word| word.parse::<u32>().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    println!("{line}");
    (number("TFF:") + number("BFF:"), number("Progressive:"))
}

#[test]
#[ignore = "takes half a minute; tests/run --long has it"]
fn pictures_of_two_fields_become_pictures_of_one_moment() {
    let server = start(&["cam"]);
    let fields = "testsrc2=size=640x360:rate=50,scroll=horizontal=0.02,tinterlace=mode=interleave_top,format=yuv420p";
    let _push = push(&server, "cam", fields, "-flags +ildct+ilme -x264-params tff=1");
    let made = rendition(&server, "cam");
    let (fields, whole) = looks(&format!("http://{}/cam/live.flv", server.http));
    assert!(fields > 40 && whole < 10, "the source has fields: {fields} {whole}");
    let (fields, whole) = looks(&made);
    assert!(fields < 5 && whole > 40, "the rendition has none: {fields} {whole}");
    assert!(ffprobe(&made).contains(&"h264,640,360".to_owned()));
    ffmpeg_decodes(&made, 25);
}
