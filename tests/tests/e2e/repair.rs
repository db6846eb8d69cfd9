//! Streams that encoders make differently from what players take: repaired, or left out and said so, once.
use std::path::Path;
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::encoder::{Encoder, Value as Amf0, metadata, object};
use millstream_tests::flv::{SCRIPT, Tag};
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffmpeg_decodes_but, ffprobe};
use millstream_tests::{eventually, seconds};
use serde_json::Value;

fn push(server: &Server, id: &str, clip: Clip) -> Pushing {
    Publisher::start(server.rtmp, "stream", id).expect("published").repeat(clip)
}

/// The publisher of a stream, as the API tells it.
fn publisher(server: &Server, id: &str) -> Value {
    let path = format!("/api/v1/streams/{id}/session");
    Client::admin(server).get(&path).is(200).json["publisher"].clone()
}

/// What was repaired: kind and track, and how often.
fn repairs(server: &Server, id: &str) -> Vec<(String, u64)> {
    let publisher = publisher(server, id);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let repairs = publisher["repairs"].as_array().expect("a list").iter();
    repairs
        .map(|repair| {
            assert!(text(&repair["advice"]).contains("encoder"), "{repair}");
            (
                format!("{} {}", text(&repair["track"]), text(&repair["kind"])),
                repair["count"].as_u64().expect("a number"),
            )
        })
        .collect()
}

fn times(server: &Server, words: &[&str]) -> usize {
    server.log.text().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

/// Plays it over FLV, RTMP, HLS and DASH, as ffmpeg takes them.
fn plays_everywhere(server: &Server, id: &str) {
    let hls = format!("http://{}/{id}/live.m3u8", server.http);
    let dash = format!("http://{}/{id}/manifest.mpd", server.http);
    std::thread::scope(|scope| {
        for url in [server.flv_url(id), server.push_url(id)] {
            scope.spawn(move || {
                assert_eq!(ffprobe(&url), ["aac", "h264,320,180"], "{url}");
                ffmpeg_decodes_but("ffmpeg", &url, 45, &[]);
            });
        }
        for url in [hls, dash] {
            // What its own readers say of playlists, and of a manifest with several tracks.
            let harmless = ["Skip ('#EXT", "Opening '", "keepalive", "timescale", "DTS"];
            scope.spawn(move || ffmpeg_decodes_but("ffmpeg", &url, 45, &harmless));
        }
    });
}

#[test]
fn case_48_what_has_its_parameter_sets_or_lengths_elsewhere_plays_everywhere() {
    let server = Options::open().start();
    let _in_band = push(&server, "in-band", Clip::small().with_parameter_sets_in_band());
    let _annex_b = push(&server, "annex-b", Clip::small().in_annex_b());
    plays_everywhere(&server, "in-band");
    plays_everywhere(&server, "annex-b");
    assert_eq!(repairs(&server, "in-band"), [("video in_band_parameter_sets".to_owned(), 1)]);
    let annex_b = repairs(&server, "annex-b");
    assert!(matches!(&annex_b[..], [(what, 60..)] if what == "video annex_b"), "{annex_b:?}");
    for id in ["in-band", "annex-b"] {
        assert_eq!(times(&server, &["the stream is repaired", &format!("stream={id}")]), 1, "{}", server.log.text());
    }
    // What comes out is what a right encoder sends.
    let right = Clip::small();
    let _right = push(&server, "right", right.clone());
    // Its stamp is that of the moment at which a viewer joins.
    let configuration = |id: &str| {
        let header = Viewer::watch(server.http, id).find("a header", seconds(5), Tag::is_configuration);
        (header.kind, header.data)
    };
    assert_eq!(configuration("annex-b"), configuration("right"));
    let frame = Viewer::watch(server.http, "annex-b").find("a key frame", seconds(5), Tag::is_keyframe);
    assert!(
        right.frames.iter().any(|tag| tag.data == frame.data),
        "start codes became the lengths that they were made of"
    );
    assert_eq!(repairs(&server, "right"), []);
}

#[test]
fn case_48_what_cannot_play_is_said_within_three_seconds() {
    let server = Options::open().start();
    let began = Instant::now();
    let _push = push(&server, "blind", Clip::small().without_parameter_sets());
    let dropped = eventually("it is said", seconds(3), || {
        publisher(&server, "blind")["dropped_tracks"].get(0).cloned().filter(Value::is_object)
    });
    assert!(began.elapsed() < seconds(3), "{:?}", began.elapsed());
    assert_eq!((&dropped["track"], &dropped["codec"]), (&"video".into(), &"H.264".into()));
    assert_eq!(dropped["outputs"], Value::from(vec!["all"]));
    assert!(dropped["reason"].as_str().expect("a text").contains("sequence header"), "{dropped}");
    std::thread::sleep(seconds(2));
    assert_eq!(times(&server, &["a track is left out", "stream=blind"]), 1, "{}", server.log.text());
    // The audio lives.
    Viewer::watch(server.http, "blind").find("sound", seconds(3), |tag| tag.kind == millstream_tests::flv::AUDIO);
}

#[test]
fn case_49_adts_is_unwrapped_and_heard() {
    let server = Options::open().start();
    let _one = push(&server, "one", Clip::small().in_adts());
    let _pairs = push(&server, "pairs", Clip::small().with_pairs_of_adts());
    plays_everywhere(&server, "one");
    plays_everywhere(&server, "pairs");
    for id in ["one", "pairs"] {
        let repairs = repairs(&server, id);
        assert!(matches!(&repairs[..], [(what, 20..)] if what == "audio adts"), "{repairs:?}");
        assert_eq!(times(&server, &["the stream is repaired", &format!("stream={id}")]), 1);
    }
    // Frames are as far apart as they last, in both.
    for id in ["one", "pairs"] {
        let tags = Viewer::watch(server.http, id).tags_for(seconds(2));
        let sound: Vec<u32> =
            tags.iter().filter(|tag| tag.kind == 8 && tag.is_frame()).map(|tag| tag.timestamp).collect();
        let steps: Vec<u32> = sound.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // Where the clip begins again, its audio is cut.
        let odd = steps.iter().filter(|step| !(20..=27).contains(*step)).count();
        assert!(steps.len() > 40 && odd <= 1, "{id}: {steps:?}");
    }
}

#[test]
fn case_49_a_browser_plays_what_was_adts_and_annex_b() {
    let server = Options::open().start();
    let _push = push(&server, "cam", Clip::small().in_annex_b().in_adts());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/repaired.mjs");
    let script = script.to_str().expect("ASCII");
    let done = Tool::start("node", &[script, &format!("http://{}/cam/", server.http)]).wait(seconds(60));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

#[test]
fn case_45_a_track_that_an_output_leaves_out_is_said_once() {
    let server = Options::open().start();
    // MP3 plays by FLV, and not in our HLS; G.711 nowhere.
    let _mp3 = push(&server, "mp3", Clip::small().with_sound_of(0x2F, 200));
    let _g711 = push(&server, "g711", Clip::small().with_sound_of(0x7E, 160));
    for id in ["mp3", "g711"] {
        let playlist = http::get(server.http, &format!("/{id}/live.m3u8"));
        let text = String::from_utf8(playlist.body).expect("UTF-8");
        assert!(playlist.status == 200 && text.contains("avc1.") && !text.contains("AUDIO="), "{text}");
    }
    std::thread::sleep(seconds(3));
    for (id, codec, outputs) in [("mp3", "MP3", vec!["hls", "dash"]), ("g711", "G.711 A-law", vec!["all"])] {
        let publisher = publisher(&server, id);
        let dropped = publisher["dropped_tracks"].as_array().expect("a list");
        assert_eq!(dropped.len(), 1, "{publisher}");
        assert_eq!((&dropped[0]["track"], &dropped[0]["codec"]), (&"audio".into(), &codec.into()));
        assert_eq!(dropped[0]["outputs"], Value::from(outputs));
        assert!(dropped[0]["reason"].as_str().expect("a text").contains("AAC or Opus"), "{publisher}");
        assert_eq!(times(&server, &["left out", &format!("stream={id}")]), 1, "{}", server.log.text());
    }
    let log = server.log.text();
    assert!(log.lines().count() < 40, "{log}");
}

#[test]
fn case_45_pages_say_which_track_is_left_out_soon_after_the_server() {
    let server = Options::open().config("[[stream]]\nid = \"bare\"\nflv = false\n").start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/notes.mjs");
    let pages = Tool::start("node", &[script.to_str().expect("ASCII"), &format!("http://{}", server.http)]);
    eventually("the pages are open", seconds(40), || pages.stdout.has("open").then_some(()));
    let mp3 = Clip::small().with_sound_of(0x2F, 200);
    let _pushing = [
        push(&server, "mp3", mp3.clone()),
        push(&server, "bare", mp3),
        push(&server, "g711", Clip::small().with_sound_of(0x7E, 160)),
    ];
    let done = pages.wait(seconds(60));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

/// Pushes what metadata announces as both.
fn push_announced(server: &Server, id: &str, clip: Clip) -> Pushing {
    let codecs = [("videocodecid", Amf0::Number(7.0)), ("audiocodecid", Amf0::Number(10.0))];
    let mut encoder = Encoder::connect(server.rtmp, []).expect("connected");
    encoder.publish(id).expect("published");
    encoder.message(SCRIPT, 1, 0, metadata(object(codecs))).expect("sent");
    encoder.repeat(clip)
}

#[test]
fn case_51_a_joiner_waits_for_an_announced_picture() {
    let server = Options::open().start();
    let clip = Clip::small().with_late_pictures(2_000, 3);
    let _push = push_announced(&server, "cam", clip);
    std::thread::scope(|scope| {
        let server = &server;
        scope.spawn(move || {
            let mut viewer = Viewer::watch(server.http, "cam");
            viewer.find("a key frame", seconds(4), Tag::is_keyframe);
            assert_eq!(viewer.flags(), Some(5));
        });
        scope.spawn(move || {
            let playlist = http::get(server.http, "/cam/live.m3u8");
            let text = String::from_utf8(playlist.body).expect("UTF-8");
            assert!(playlist.status == 200 && text.contains("avc1.") && text.contains("mp4a."), "{text}");
        });
        scope.spawn(move || {
            let manifest = http::get(server.http, "/cam/manifest.mpd");
            let text = String::from_utf8(manifest.body).expect("UTF-8");
            assert!(manifest.status == 200 && text.contains("avc1.") && text.contains("mp4a."), "{text}");
        });
        scope.spawn(move || assert_eq!(ffprobe(&server.push_url("cam")), ["aac", "h264,320,180"]));
    });
}

/// A page that plays what there is picks up a track that comes later.
fn picks_up(server: &Server, page: &str, what: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/late.mjs");
    let script = script.to_str().expect("ASCII");
    let page = format!("http://{}/cam/{page}", server.http);
    let done = Tool::start("node", &[script, what, &page]).wait(seconds(60));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{page}: {}\n{}", done.stdout, done.stderr);
}

#[test]
fn case_51_a_picture_that_nobody_announced_is_offered_when_it_comes() {
    let server = Options::open().start();
    let _push = push(&server, "cam", Clip::small().with_late_pictures(9_000, 4));
    let mut early = Viewer::watch(server.http, "cam");
    early.find("sound", seconds(4), Tag::is_frame);
    picks_up(&server, "flv.html", "picture");
    assert_eq!(early.flags(), Some(4), "who came early is told the truth");
    let mut late = Viewer::watch(server.http, "cam");
    late.find("a key frame", seconds(4), Tag::is_keyframe);
    assert_eq!(late.flags(), Some(5));
}

#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn case_51_pages_for_hls_and_dash_pick_up_a_picture_that_nobody_announced() {
    for page in ["hls.html", "dash.html"] {
        let server = Options::open().start();
        let _push = push(&server, "cam", Clip::small().with_late_pictures(14_000, 5));
        picks_up(&server, page, "picture");
    }
}

#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn case_51_pages_pick_up_sound_that_nobody_announced() {
    for page in ["flv.html", "hls.html", "dash.html"] {
        let server = Options::open().start();
        let _push = push(&server, "cam", Clip::small().with_late_sound(14_000, 5));
        picks_up(&server, page, "sound");
    }
}
