//! Two shards: a publisher and its viewers land on either, and nobody can tell.
use millstream_tests::clip::Clip;
use millstream_tests::crowd::{Crowd, continuous};
use millstream_tests::flv::{AUDIO, Tag, VIDEO};
use millstream_tests::http::Viewer;
use millstream_tests::rtmp::{Player, Publisher};
use millstream_tests::seconds;
use millstream_tests::server::Options;

#[test]
fn viewers_on_every_shard_get_the_same_frames() {
    let server = Options::open().shards(2).start();
    // Eight streams and their publishers spread over both shards, by name and by connection.
    let clip = Clip::small();
    let pushes: Vec<_> = (0..8)
        .map(|i| Publisher::start(server.rtmp, "stream", &format!("cam{i}")).expect("published").repeat(clip.clone()))
        .collect();
    for i in 0..8 {
        let id = format!("cam{i}");
        Viewer::watch(server.http, &id).find("keyframe", seconds(10), Tag::is_keyframe);
        let mut crowd = Crowd::open(server.http, &format!("/{id}/live.flv"), 16).expect("16 viewers");
        crowd.run_until("a frame", seconds(5), millstream_tests::crowd::Member::started).expect("all start");
        crowd.run(seconds(2)).expect("all go on");
        let common = crowd.same_frames().unwrap_or_else(|e| panic!("{id}: {e:#}"));
        assert!(common > 100, "{id}: only {common} frames in common");
        let frames = crowd.members()[0].frames();
        continuous(&frames, VIDEO, 40).expect("no picture is missing");
        continuous(&frames, AUDIO, 50).expect("no sound is missing");
    }
    assert!(pushes.iter().all(millstream_tests::rtmp::Pushing::alive));
}

#[test]
fn rtmp_players_on_every_shard_get_the_same_frames() {
    let server = Options::open().shards(2).start();
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    let mut players: Vec<_> = (0..8)
        .map(|i| Player::start(server.rtmp, "stream", "cam").unwrap_or_else(|e| panic!("player {i}: {e:#}")))
        .collect();
    let got: Vec<Vec<Tag>> = players
        .iter_mut()
        .map(|p| (0..200).map(|_| p.next_tag(seconds(5)).expect("media")).filter(Tag::is_frame).collect())
        .collect();
    let sent: Vec<Tag> = push.sent().into_iter().map(|(tag, _)| tag).collect();
    for (i, got) in got.iter().enumerate() {
        assert!(got.iter().find(|t| t.kind == VIDEO).is_some_and(Tag::is_keyframe), "player {i} starts at a keyframe");
        let start = sent.iter().position(|t| t.data == got[0].data).expect("its first frame was sent");
        for (n, (sent, got)) in sent[start..].iter().zip(got).enumerate() {
            assert!(sent.data == got.data, "player {i}: frame {n} differs");
        }
    }
}

/// A publisher is accepted by whichever shard the kernel picks, and its viewers never notice which.
#[test]
fn a_publisher_that_reconnects_lands_anywhere() {
    let server = Options::open().shards(2).start();
    let clip = Clip::small();
    let mut viewer = None;
    let mut tags = Vec::new();
    for round in 0..8 {
        let push = Publisher::start(server.rtmp, "stream", "cam").unwrap_or_else(|e| panic!("round {round}: {e:#}"));
        let push = push.repeat(clip.clone());
        let viewer = viewer.get_or_insert_with(|| Viewer::watch(server.http, "cam"));
        tags.push(viewer.find(&format!("keyframe in round {round}"), seconds(5), Tag::is_keyframe));
        tags.extend(viewer.tags_for(millstream_tests::millis(400)));
        assert_eq!(viewer.end, None, "round {round}");
        push.cut();
    }
    Viewer::assert_monotonic(&tags);
}
