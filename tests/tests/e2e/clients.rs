//! Programs of other people: VLC, ffplay, GStreamer, rtmpdump, curl.
use std::process::Command;

use millstream_tests::flv::{self, Tag};
use millstream_tests::http::Viewer;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffmpeg_push, ffprobe, vlc_plays};
use millstream_tests::{eventually, seconds};

fn on_air(push_seconds: u32) -> (Server, Tool) {
    let server = Options::open().start();
    let push = ffmpeg_push(&server.push_url("cam"), push_seconds);
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    (server, push)
}

#[test]
fn vlc_plays_flv_and_rtmp() {
    let (server, _push) = on_air(90);
    for url in [server.flv_url("cam"), server.push_url("cam")] {
        vlc_plays(&url, &["aac", "h264,640,360"]);
    }
}

/// Positions on ffplay's clock, from its status lines: `14.67 A-V:  0.012 fd=   0 ...`, audio and picture in step.
pub(crate) fn ffplay_clock(status: &str) -> Vec<f64> {
    let clock = |line: &str| line.split_once(" A-V:").and_then(|(clock, _)| clock.trim().parse::<f64>().ok());
    status.split(['\r', '\n']).filter_map(clock).filter(|clock| clock.is_finite()).collect()
}

#[test]
fn ffplay_plays_flv_and_rtmp() {
    let (server, _push) = on_air(60);
    for url in [server.flv_url("cam"), server.push_url("cam")] {
        let mut command = Command::new("ffplay");
        command.env("SDL_VIDEODRIVER", "dummy").env("SDL_AUDIODRIVER", "dummy");
        let mut play = Tool::spawn(command.args(["-hide_banner", "-fflags", "nobuffer", "-stats", &url]));
        // Its status is one line without an end, so it is read when ffplay is gone.
        std::thread::sleep(seconds(6));
        assert!(play.running(), "ffplay gave up on {url}: {}", play.stderr.text());
        play.kill();
        let played = eventually("ffplay's clock went on for 2 s", seconds(2), || {
            let clock = ffplay_clock(&play.stderr.text());
            let played = clock.last()? - clock.first()?;
            (played > 2.0).then_some(played)
        });
        println!("ffplay played {played:.1} s of {url}");
    }
}

#[test]
fn gstreamer_pushes() {
    let server = Options::open().start();
    let location = format!("location={}", server.push_url("gst"));
    let pipeline = format!(
        "videotestsrc is-live=true num-buffers=1200 ! video/x-raw,width=320,height=240,framerate=30/1 ! \
         x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h264parse ! flvmux name=mux streamable=true ! \
         rtmp2sink {location} audiotestsrc is-live=true num-buffers=2000 ! audioconvert ! avenc_aac ! aacparse ! mux."
    );
    // Each word is an argument of its own, as a shell would split it; nothing here comes from outside.
    let args: Vec<&str> = std::iter::once("-q").chain(pipeline.split_whitespace()).collect();
    let _push = Tool::start("gst-launch-1.0", &args);
    Viewer::watch(server.http, "gst").find("keyframe", seconds(15), Tag::is_keyframe);
    assert_eq!(ffprobe(&server.flv_url("gst")), ["aac", "h264,320,240"]);
}

#[test]
fn rtmpdump_records() {
    let (server, _push) = on_air(60);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("dump.flv");
    let path = file.to_str().expect("ASCII");
    let mut dump = Tool::start("rtmpdump", &["-q", "--live", "-r", &server.push_url("cam"), "-o", path]);
    // A live stream has no end that rtmpdump would wait for, so it is stopped when it has some seconds.
    eventually("rtmpdump has written 300 KB", seconds(20), || {
        (std::fs::metadata(&file).map_or(0, |m| m.len()) > 300_000).then_some(())
    });
    dump.kill();
    assert_eq!(ffprobe(path), ["aac", "h264,640,360"]);
}

#[test]
fn curl_gets_unchunked_flv_over_http_1_0_and_the_same_body_over_1_1() {
    let (server, _push) = on_air(60);
    let dir = tempfile::tempdir().expect("a directory");
    for (version, flag) in [("1.0", "--http1.0"), ("1.1", "--http1.1")] {
        let (body, head) = (dir.path().join(version), dir.path().join(format!("{version}.head")));
        let (body, head) = (body.to_str().expect("ASCII"), head.to_str().expect("ASCII"));
        let url = server.flv_url("cam");
        let done =
            Tool::start("curl", &["-sS", flag, "--max-time", "3", "-o", body, "-D", head, &url]).wait(seconds(20));
        // 28: the time that it was given is over, as it must be for a live stream.
        assert_eq!(done.status.code(), Some(28), "curl {flag}: {}", done.stderr);
        let head = std::fs::read_to_string(head).expect("a head").to_ascii_lowercase();
        assert_eq!(head.contains("transfer-encoding: chunked"), version == "1.1", "{head}");
        assert!(head.contains("content-type: video/x-flv"), "{head}");
        let mut reader = flv::Reader::default();
        reader.feed(&std::fs::read(body).expect("a body")).expect("FLV");
        let tags: Vec<_> = std::iter::from_fn(|| reader.next_tag()).collect();
        assert!(tags.iter().any(Tag::is_keyframe), "no keyframe in {} tags", tags.len());
        Viewer::assert_monotonic(&tags);
    }
}
