//! Cases of the field, for renditions: what playlists of a stream promise, those of its renditions promise as well.
use std::time::Duration;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::hls::follow::{Followed, Following, Plan};
use millstream_tests::http::{Viewer, get};
use millstream_tests::proc;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

use crate::hls::{playlist, sound};

fn start(more: &str) -> (Server, Client) {
    let server = Options::open().shards(2).config(more).start();
    let mut client = Client::admin(&server);
    let settings = json!({ "isCodec": true, "ld": true });
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201);
    (server, client)
}

fn publish(server: &Server, clip: Clip) -> Pushing {
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(clip);
    playlist(server, "cam", "video.m3u8");
    push
}

/// Follows a stream's picture, and a rendition's picture and sound.
fn follow(server: &Server) -> [Following; 3] {
    playlist(server, "cam/360p", "video.m3u8");
    let of = |id: &str, name: &str| Plan::low_latency(server.http, id, name).start();
    [of("cam", "video.m3u8"), of("cam/360p", "video.m3u8"), of("cam/360p", "audio.m3u8")]
}

/// Discontinuity sequence numbers of what was listed, in order, each once.
fn lives(followed: &Followed) -> Vec<u64> {
    let mut all: Vec<u64> = followed.history.segments().values().map(|s| s.discontinuity_number).collect();
    all.dedup();
    all
}

/// That the media sequence never falls, and what both tags say, are rules that each playlist is held against.
#[test]
fn case_17_an_encoder_restart_is_a_discontinuity_of_a_rendition_too_and_its_numbers_only_rise() {
    let (server, _client) = start("[stream_defaults]\npublisher_wait = \"5s\"\n");
    let push = publish(&server, Clip::busy());
    let followers = follow(&server);
    std::thread::sleep(seconds(4));
    push.cut();
    std::thread::sleep(seconds(1));
    // Of another size.
    let _push = publish(&server, Clip::numbered_480p());
    std::thread::sleep(seconds(7));
    let [source, video, audio] = followers.map(Following::stop);
    for followed in [&source, &video, &audio] {
        sound(followed, 8);
    }
    assert_eq!(lives(&source).len(), 2, "{:?}", lives(&source));
    assert_eq!((lives(&video), lives(&audio)), (lives(&source), lives(&source)));
    // Behind the restart it has pictures, and the same numbers.
    let second = lives(&source)[1];
    let of_second = |followed: &Followed| -> Vec<u64> {
        let whole = followed.history.segments().values().filter(|s| s.discontinuity_number == second);
        whole.filter(|s| s.uri.is_some() && !s.gap).map(|s| s.msn).collect()
    };
    let (of_source, mut own) = (of_second(&source), of_second(&video));
    // It was followed a moment longer than its source.
    own.retain(|msn| of_source.last().is_some_and(|newest| msn <= newest));
    assert!(!own.is_empty() && own.iter().all(|msn| of_source.contains(msn)), "{of_source:?} {own:?}");
}

#[test]
fn case_23_a_long_gop_makes_no_segment_of_a_rendition_that_is_too_long() {
    let (server, _client) = start("");
    let _push = publish(&server, Clip::long_gop_360p());
    let followers = follow(&server);
    std::thread::sleep(seconds(9));
    let [source, video, _audio] = followers.map(Following::stop);
    sound(&source, 15);
    // Among the rules: no segment is longer than the target duration, which is the same in each playlist.
    sound(&video, 15);
    let target = video.history.last().expect("a playlist").target_duration;
    assert_eq!(target, source.history.last().expect("a playlist").target_duration);
    let longest = video.history.segments().values().filter_map(|s| s.duration).fold(0.0, f64::max);
    let whole = video.history.segments().values().filter(|s| s.uri.is_some()).count();
    println!("{whole} segments, the longest of {longest} s, with a keyframe every 10 s");
    assert!(whole >= 3 && longest.round() as u64 <= target, "{whole} segments, the longest of {longest} s");
}

#[test]
fn case_24_parts_of_a_rendition_are_within_their_target_and_its_sound_has_parts() {
    let (server, _client) = start("");
    let _push = publish(&server, Clip::numbered_480p());
    let followers = follow(&server);
    std::thread::sleep(seconds(8));
    let [source, video, audio] = followers.map(Following::stop);
    for followed in [&video, &audio] {
        // Lengths and promises are among the rules.
        sound(followed, 12);
        let parts: usize = followed.history.segments().values().map(|s| s.parts.len()).sum();
        assert!(parts >= 12, "{parts} parts");
    }
    let promised = |followed: &Followed| {
        let last = followed.history.last().expect("a playlist").clone();
        (last.part_target, last.control.as_ref().and_then(|control| control.part_hold_back), last.target_duration)
    };
    assert_eq!(promised(&video), promised(&source));
}

fn rendition(client: &mut Client) -> Option<Value> {
    let session = client.get("/api/v1/streams/cam/session").json;
    session["renditions"].as_array()?.iter().find(|rendition| rendition["name"] == "360p").cloned()
}

/// A rendition is pushed to its node as a relay is to another server: when that breaks, it is tried again until the stream ends, and the API says how it is.
#[test]
fn case_30_a_rendition_whose_push_breaks_is_pushed_again_until_its_stream_ends() {
    let (server, mut client) = start("[stream_defaults]\non_unpublish = \"end\"\n");
    let push = publish(&server, Clip::busy());
    let mut viewer = Viewer::watch(server.http, "cam/360p");
    let state = |client: &mut Client| rendition(client).map(|rendition| rendition["state"].clone());
    eventually("it is made", seconds(10), || (state(&mut client)? == "running").then_some(()));
    let workers = || -> Vec<u32> {
        proc::children(server.pid()).into_iter().filter(|pid| proc::command(*pid).contains("worker")).collect()
    };
    for _ in 0..2 {
        let made = rendition(&mut client).expect("it is there");
        let [worker] = workers()[..] else { panic!("{:?}", workers()) };
        // Its end of the connection hangs, and then is gone.
        proc::kill(worker);
        eventually("that is said", seconds(5), || {
            let now = rendition(&mut client)?;
            (now["state"] != "running" || now["since_unix_ms"] != made["since_unix_ms"]).then_some(())
        });
        eventually("it is made again", seconds(15), || (state(&mut client)? == "running").then_some(()));
        assert!(viewer.tags_for(Duration::from_secs(2)).len() > 30, "the same viewer goes on");
    }
    push.finish().expect("ended");
    eventually("nothing is tried any more", seconds(15), || {
        let metrics = server.metrics();
        let is_none = ["wanted", "made"]
            .iter()
            .all(|state| metrics.contains(&format!("millstream_renditions{{state=\"{state}\"}} 0")));
        is_none.then_some(())
    });
    let said = rendition(&mut client);
    assert!(said.as_ref().is_none_or(|said| said["state"] != "running"), "{said:?}");
    assert_eq!(get(server.http, "/cam/360p/live.flv").status, 404);
}
