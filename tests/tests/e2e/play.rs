//! Push with ffmpeg, watch over HTTP-FLV and RTMP.
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::flv::{AUDIO, VIDEO};
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::{Player, Publisher};
use millstream_tests::server::Options;
use millstream_tests::tools::{ffmpeg_decodes, ffmpeg_push, ffmpeg_push_at, ffmpeg_push_without, ffprobe};
use millstream_tests::{eventually, millis, seconds};

#[test]
fn a_pushed_stream_plays_over_both_protocols() {
    let server = Options::open().start();
    let _push = ffmpeg_push(&server.push_url("cam"), 90);
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), millstream_tests::flv::Tag::is_keyframe);
    assert_eq!(ffprobe(&server.flv_url("cam")), ["aac", "h264,640,360"]);
    assert_eq!(ffprobe(&server.push_url("cam")), ["aac", "h264,640,360"]);
    ffmpeg_decodes(&server.flv_url("cam"), 90);
    ffmpeg_decodes(&server.push_url("cam"), 90);
}

#[test]
fn sixty_pictures_a_second_at_720p() {
    let server = Options::open().start();
    let _push = ffmpeg_push_at(&server.push_url("fast"), 60, "1280x720", 60);
    Viewer::watch(server.http, "fast").find("keyframe", seconds(10), millstream_tests::flv::Tag::is_keyframe);
    assert_eq!(ffprobe(&server.flv_url("fast")), ["aac", "h264,1280,720"]);
    ffmpeg_decodes(&server.flv_url("fast"), 120);
}

#[test]
fn the_flags_of_the_flv_header_are_truthful() {
    let server = Options::open().start();
    let _video = ffmpeg_push_without("-an", &server.push_url("silent"), 60);
    let _audio = ffmpeg_push_without("-vn", &server.push_url("radio"), 60);
    let mut silent = Viewer::watch(server.http, "silent");
    silent.find("keyframe", seconds(10), millstream_tests::flv::Tag::is_keyframe);
    assert_eq!(silent.flags(), Some(1), "only video");
    let mut radio = Viewer::watch(server.http, "radio");
    radio.find("audio frame", seconds(10), |t| t.kind == AUDIO && t.is_frame());
    assert_eq!(radio.flags(), Some(4), "only audio");
    assert_eq!(ffprobe(&server.flv_url("silent")), ["h264,320,180"]);
    assert_eq!(ffprobe(&server.push_url("radio")), ["aac"]);
}

/// Every viewer that waits for a stream sees its first picture soon after the encoder has sent it.
#[test]
fn the_first_picture_is_there_within_a_second() {
    let server = Options::open().start();
    let clip = Clip::small();
    let (rtmp, http) = (server.rtmp, server.http);
    let flv = std::thread::spawn(move || {
        // As a player does that retries: the stream is not there yet.
        let mut viewer = Viewer::watch(http, "new");
        viewer.find("picture", seconds(5), |t| t.kind == VIDEO && t.is_frame());
        Instant::now()
    });
    let play = std::thread::spawn(move || {
        eventually("RTMP play starts", seconds(10), || {
            let mut player = Player::start(rtmp, "stream", "new").ok()?;
            player.find(seconds(5), |t| t.kind == VIDEO && t.is_frame()).ok()?;
            Some(Instant::now())
        })
    });
    std::thread::sleep(millis(300));
    let push = Publisher::start(server.rtmp, "stream", "new").expect("published").repeat(clip);
    let (flv, play) = (flv.join().expect("an FLV viewer"), play.join().expect("an RTMP player"));
    let first = push.sent().iter().find(|(tag, _)| tag.is_keyframe()).expect("a keyframe was sent").1;
    let (flv, play) = (flv.saturating_duration_since(first), play.saturating_duration_since(first));
    println!("first picture after the encoder's first keyframe: FLV {flv:?}, RTMP {play:?}");
    assert!(flv < seconds(1), "FLV took {flv:?}");
    assert!(play < seconds(1), "RTMP took {play:?}");
}

/// Who joins later starts at the newest keyframe at once; `?start=next` waits for the next one.
#[test]
fn a_joiner_starts_at_a_keyframe() {
    let server = Options::open().start();
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    eventually("three keyframes are out", seconds(10), || {
        (push.sent().iter().filter(|(t, _)| t.is_keyframe()).count() >= 3).then_some(())
    });
    for query in ["", "?start=next"] {
        let asked = Instant::now();
        let path = format!("/cam/live.flv{query}");
        let mut viewer = Viewer::open(server.http, &path, "HTTP/1.1").expect("an answer").expect("200");
        let mut configurations = 0;
        let first = viewer.find("picture", seconds(5), |t| {
            configurations += u32::from(t.kind == VIDEO && t.is_configuration());
            t.kind == VIDEO && t.is_frame()
        });
        assert!(first.is_keyframe(), "{path} starts at {first:?}");
        assert_eq!(configurations, 1, "{path}: the codec configuration comes once before the picture");
        println!("{path}: first picture after {:?}", asked.elapsed());
        if !query.is_empty() {
            let sent = push.sent().iter().find(|(t, _)| t.data == first.data && t.is_keyframe()).map(|(_, at)| *at);
            assert!(sent.is_some(), "what comes is what was sent");
        }
        let tags = viewer.tags_for(seconds(2));
        Viewer::assert_monotonic(&tags);
        assert!(tags.iter().filter(|t| t.kind == VIDEO).count() > 40, "it goes on in real time");
    }
}

#[test]
fn frames_come_out_as_they_went_in() {
    let server = Options::open().start();
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    let mut flv = Viewer::watch(server.http, "cam");
    let mut play = Player::start(server.rtmp, "stream", "cam").expect("play");
    let flv_tags: Vec<_> = flv.tags_for(seconds(3)).into_iter().filter(millstream_tests::flv::Tag::is_frame).collect();
    let rtmp_tags: Vec<_> = (0..150)
        .map(|_| play.next_tag(seconds(5)).expect("media"))
        .filter(millstream_tests::flv::Tag::is_frame)
        .collect();
    let sent: Vec<_> = push.sent().into_iter().map(|(tag, _)| tag).collect();
    for (name, got) in [("FLV", flv_tags), ("RTMP", rtmp_tags)] {
        assert!(got.len() > 100, "{name}: {} frames", got.len());
        let start = sent.iter().position(|t| t.data == got[0].data).expect("its first frame was sent");
        for (i, (sent, got)) in sent[start..].iter().zip(&got).enumerate() {
            assert!(sent.kind == got.kind && sent.data == got.data, "{name}: frame {i} differs");
        }
    }
    assert_eq!(http::get(server.http, "/healthz").body.trim_ascii(), b"ok");
}
