//! Publishers leave, return, are cut off, and collide.
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::flv::{Tag, VIDEO};
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::{Player, Publisher};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::ffmpeg_push;
use millstream_tests::{eventually, millis, seconds};

fn publish(server: &Server, id: &str) -> Publisher {
    Publisher::start(server.rtmp, "stream", id).expect("published")
}

fn picture(tag: &Tag) -> bool {
    tag.kind == VIDEO && tag.is_frame()
}

#[test]
fn viewers_stay_when_the_publisher_returns_and_time_never_goes_back() {
    let server = Options::open().start();
    let push = publish(&server, "cam").repeat_from(Clip::small(), 5_000_000);
    let mut flv = Viewer::watch(server.http, "cam");
    let mut play = Player::start(server.rtmp, "stream", "cam").expect("play");
    let mut tags = flv.tags_for(seconds(3));
    let before = play.find(seconds(5), Tag::is_keyframe).expect("a keyframe").timestamp;
    push.cut();
    // While nobody publishes the viewers hear nothing of media, but stay.
    tags.extend(flv.tags_for(seconds(4)));
    assert_eq!(flv.end, None, "the viewer was sent away");
    let frames_before = tags.iter().filter(|t| picture(t)).count();
    // The encoder restarts at zero, as encoders do.
    let _push = publish(&server, "cam").repeat(Clip::small());
    tags.extend(flv.tags_for(seconds(3)));
    assert_eq!(flv.end, None);
    let after = tags.iter().filter(|t| picture(t)).count() - frames_before;
    assert!(after > 60, "{after} pictures after the return");
    Viewer::assert_monotonic(&tags);
    let first = tags.iter().filter(|t| picture(t)).nth(frames_before).expect("a picture");
    assert!(first.is_keyframe(), "the new publisher's pictures begin with {first:?}");
    let again = play.find(seconds(5), |t| t.is_keyframe() && t.timestamp > before).expect("RTMP goes on, too");
    assert!(again.timestamp > before);
}

#[test]
fn case_20_viewers_end_when_the_publisher_does_not_return() {
    let server = Options::open().config("[stream_defaults]\npublisher_wait = \"3s\"\n").start();
    let push = publish(&server, "cam").repeat(Clip::small());
    let mut viewers: Vec<Viewer> = (0..20).map(|_| Viewer::watch(server.http, "cam")).collect();
    let mut play = Player::start(server.rtmp, "stream", "cam").expect("play");
    for viewer in &mut viewers {
        viewer.find("keyframe", seconds(5), Tag::is_keyframe);
    }
    let gone = Instant::now();
    push.finish().expect("goodbye");
    for viewer in &mut viewers {
        while viewer.next_tag(seconds(8)).is_some() {}
        assert_eq!(viewer.end, Some(http::End::Clean), "after {:?}", gone.elapsed());
    }
    let waited = gone.elapsed();
    assert!(waited > millis(2_500) && waited < seconds(8), "the viewers were sent away after {waited:?}");
    eventually("RTMP play ends, too", seconds(5), || play.next_tag(millis(200)).is_err().then_some(()));
    assert_eq!(http::get(server.http, "/cam/live.flv").status, 404);
    // No worker hangs: the same name plays again, and everything that the viewers held is given back.
    let _push = publish(&server, "cam").repeat(Clip::small());
    Viewer::watch(server.http, "cam").find("keyframe", seconds(5), Tag::is_keyframe);
    drop(viewers);
    let quiet = millstream_tests::proc::descriptors(server.pid());
    assert!(quiet < 60, "{quiet} descriptors are still open");
}

#[test]
fn viewers_end_after_ten_seconds_by_default_and_hear_something_meanwhile() {
    let server = Options::open().start();
    let push = ffmpeg_push(&server.push_url("cam"), 60);
    let mut viewer = Viewer::watch(server.http, "cam");
    viewer.find("keyframe", seconds(10), Tag::is_keyframe);
    drop(push);
    let gone = Instant::now();
    let mut longest = millis(0);
    while viewer.end.is_none() {
        let heard = viewer.last_bytes;
        let _ = viewer.next_tag(millis(500));
        longest = longest.max(heard.elapsed());
        assert!(gone.elapsed() < seconds(20), "the viewer is still there");
    }
    println!("the viewer was sent away after {:?}; its longest silence was {longest:?}", gone.elapsed());
    assert!(gone.elapsed() > seconds(8), "sent away after {:?}", gone.elapsed());
    assert!(longest < seconds(11), "a silence of {longest:?}: proxies give up");
}

#[test]
fn a_second_publisher_is_refused_while_the_first_is_alive() {
    let server = Options::open().start();
    let first = publish(&server, "cam").repeat(Clip::small());
    let mut viewer = Viewer::watch(server.http, "cam");
    viewer.find("keyframe", seconds(5), Tag::is_keyframe);
    let error = Publisher::start(server.rtmp, "stream", "cam").expect_err("a second publisher was let in");
    println!("the second publisher was told: {error:#}");
    assert!(error.to_string().contains("NetStream.Publish"), "it gets a status, not only a close: {error:#}");
    let done = ffmpeg_push(&server.push_url("cam"), 10).wait(seconds(20));
    assert!(!done.status.success() && done.stderr.contains("Server error"), "ffmpeg: {}", done.stderr);
    // The first one's stream has no hole from that.
    let tags = viewer.tags_for(seconds(2));
    let times: Vec<u32> = tags.iter().filter(|t| picture(t)).map(|t| t.timestamp).collect();
    assert!(times.len() > 40 && times.windows(2).all(|w| w[1] - w[0] <= 40), "pictures at {times:?}");
    assert!(first.alive());
}

/// The network of the encoder dies: no FIN, no RST, silence. Five seconds later the same key returns.
#[test]
fn case_13_a_key_that_returns_after_a_dead_network_takes_over_within_a_second() {
    let server = Options::open().start();
    let dead = publish(&server, "cam").repeat(Clip::small());
    let mut viewer = Viewer::watch(server.http, "cam");
    let mut tags = viewer.tags_for(seconds(2));
    dead.silence();
    tags.extend(viewer.tags_for(seconds(5)));
    let back = Instant::now();
    let push =
        eventually("the key is let in again", seconds(1), || Publisher::start(server.rtmp, "stream", "cam").ok());
    let _push = push.repeat(Clip::small());
    let first = viewer.find("keyframe of the new publisher", seconds(2), Tag::is_keyframe);
    let took = back.elapsed();
    println!("from the return to a viewer's picture: {took:?}");
    assert!(took < seconds(1), "the takeover took {took:?}");
    tags.push(first);
    tags.extend(viewer.tags_for(seconds(1)));
    assert_eq!(viewer.end, None, "viewers are kept");
    Viewer::assert_monotonic(&tags);
    // The dead one does not come back to life.
    dead.resume();
    let rest = viewer.tags_for(seconds(2));
    Viewer::assert_monotonic(&rest);
    let times: Vec<u32> = rest.iter().filter(|t| picture(t)).map(|t| t.timestamp).collect();
    assert!(times.windows(2).all(|w| (20..=50).contains(&(w[1] - w[0]))), "two publishers are mixed: {times:?}");
}

#[test]
fn case_14_stop_and_start_within_100_ms_is_never_busy() {
    let server = Options::open().shards(2).start();
    let clip = Clip::small();
    for round in 0..10 {
        let push = publish(&server, "cam").repeat(clip.clone());
        eventually("frames flow", seconds(5), || (push.sent().len() > 5).then_some(()));
        // Every other time it says goodbye; else its connection just closes.
        if round % 2 == 0 {
            push.finish().expect("goodbye");
        } else {
            push.cut();
        }
        std::thread::sleep(millis(round * 10));
        let next = Publisher::start(server.rtmp, "stream", "cam");
        next.unwrap_or_else(|e| panic!("round {round}: busy: {e:#}")).finish().expect("goodbye");
    }
}

#[test]
fn a_new_resolution_after_a_restart_reaches_viewers_that_stayed() {
    let server = Options::open().start();
    let push = publish(&server, "cam").repeat(Clip::small());
    let mut viewer = Viewer::watch(server.http, "cam");
    let old = viewer.find("configuration", seconds(5), |t| t.kind == VIDEO && t.is_configuration());
    viewer.find("picture", seconds(5), Tag::is_keyframe);
    push.finish().expect("goodbye");
    let _push = publish(&server, "cam").repeat(Clip::busy());
    let new = viewer.find("new configuration", seconds(5), |t| t.kind == VIDEO && t.is_configuration());
    assert_ne!(old.data, new.data);
    let next = viewer.find("picture", seconds(5), picture);
    assert!(next.is_keyframe(), "pictures of the new size begin with a keyframe");
}
