//! HLS when encoders restart, lose their network, count oddly, and when the server itself is restarted.
use std::collections::HashSet;
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::flv::VIDEO;
use millstream_tests::hls::boxes;
use millstream_tests::hls::follow::{Followed, Following, Plan};
use millstream_tests::http::{self, Connection};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{ffprobe_by, newer, newer_push};
use millstream_tests::{eventually, millis, seconds};

use crate::hls::{follow, multivariant, on_air, playlist, read, sound};

fn publish(server: &Server, id: &str) -> Publisher {
    Publisher::start(server.rtmp, "stream", id).expect("published")
}

/// Discontinuity sequence numbers of what was listed, in order.
fn lives(followed: &Followed) -> Vec<u64> {
    let mut all: Vec<u64> = followed.history.segments().values().map(|s| s.discontinuity_number).collect();
    all.dedup();
    all
}

#[test]
fn case_17_an_encoder_restart_is_a_discontinuity_and_numbers_only_rise() {
    let server = Options::open().config("[stream_defaults]\npublisher_wait = \"3s\"\n").start();
    let push = on_air(&server, "cam", Clip::small());
    let followers = follow(&server, "cam");
    std::thread::sleep(seconds(4));
    push.cut();
    std::thread::sleep(seconds(1));
    // Another size: another initialisation.
    let push = publish(&server, "cam").repeat(Clip::busy());
    std::thread::sleep(seconds(5));
    let before = playlist(&server, "cam", "video.m3u8").segments.last().expect("one").msn;
    push.finish().expect("goodbye");
    // Nobody comes: the playlists end, and what is in them stays.
    let ended = eventually("the playlist says that it has ended", seconds(8), || {
        let answer = http::get(server.http, "/cam/video.m3u8");
        let media = (answer.status == 200).then(|| read(&answer));
        media.filter(|m| m.ended)
    });
    let [video, audio, plain] = followers.map(Following::stop);
    for followed in [&video, &audio, &plain] {
        sound(followed, 8);
        assert_eq!(lives(followed).len(), 2, "{:?}", lives(followed));
        let cuts = followed.history.segments().values().filter(|s| s.discontinuity).count();
        assert_eq!(cuts, 1);
    }
    let maps: HashSet<_> = video.history.segments().values().filter_map(|s| s.map.clone()).collect();
    assert_eq!(maps.len(), 2, "an initialisation for each size: {maps:?}");
    assert!(ended.segments.iter().all(|s| s.uri.is_some()) && ended.segments.last().expect("one").msn >= before);
    // Both parameters are ignored then, and what is listed is still to be had.
    let asked = Instant::now();
    let again = read(&http::get(server.http, "/cam/video.m3u8?_HLS_msn=9999999999&_HLS_part=3"));
    assert!(again.ended && asked.elapsed() < seconds(1), "after {:?}", asked.elapsed());
    let first = ended.segments[0].uri.clone().expect("whole");
    assert_eq!(http::get(server.http, &format!("/cam/{first}")).status, 200);
    // The stream's next life: higher numbers.
    let _push = on_air(&server, "cam", Clip::small());
    let next = eventually("a live playlist again", seconds(5), || {
        let media = playlist(&server, "cam", "video.m3u8");
        (!media.ended).then_some(media)
    });
    let (first, last) = (next.segments[0].msn, ended.segments.last().expect("one").msn);
    assert!(first > last, "the next life begins at {first}, the last one ended at {last}");
    assert!(next.discontinuity_sequence >= ended.discontinuity_sequence);
}

#[test]
fn case_18_no_name_is_used_again_by_a_stream_or_a_server_that_restarts() {
    let mut names = HashSet::<String>::new();
    let mut last = 0;
    let dir = tempfile::tempdir().expect("a directory");
    for life in 0..2 {
        let path = tempfile::TempDir::with_prefix_in("data-", dir.path()).expect("a directory");
        let server = Options::open().config("[stream_defaults]\npublisher_wait = \"1s\"\n").start_in(path);
        for round in 0..2 {
            let push = on_air(&server, "cam", Clip::small());
            let media = eventually("a whole segment", seconds(8), || {
                let media = playlist(&server, "cam", "video.m3u8");
                media.segments.iter().any(|s| s.uri.is_some()).then_some(media)
            });
            let own: HashSet<String> = media.uris().filter(|u| u.contains('/')).map(str::to_owned).collect();
            assert!(own.len() >= 4, "{own:?}");
            let again: Vec<_> = own.intersection(&names).collect();
            assert!(again.is_empty(), "server {life}, round {round}: used again: {again:?}");
            names.extend(own);
            assert!(media.media_sequence > last, "server {life}, round {round}: {} after {last}", media.media_sequence);
            last = media.segments.last().expect("one").msn;
            push.finish().expect("goodbye");
            eventually("the stream is over", seconds(8), || {
                (http::get(server.http, "/cam/live.flv").status == 404).then_some(())
            });
        }
    }
}

#[test]
fn case_02_stamps_that_wrap_leave_the_playlists_as_they_are() {
    let server = Options::open().start();
    let push = publish(&server, "cam").repeat_from(Clip::small(), 0xFFFF_F000);
    playlist(&server, "cam", "video.m3u8");
    let followers = follow(&server, "cam");
    // 0x1000 ms to the wrap, and some segments more.
    std::thread::sleep(seconds(9));
    assert!(push.alive());
    for followed in followers.map(Following::stop) {
        sound(&followed, 8);
        assert_eq!(lives(&followed), [0], "a wrap is no discontinuity");
        let whole = followed.history.segments().values().filter(|s| s.uri.is_some()).count();
        assert!(whole >= 3, "{whole} segments");
    }
}

#[test]
fn case_03_a_picture_34_ms_before_its_decode_time_is_that_in_mp4() {
    let server = Options::open().start();
    let mut clip = Clip::small();
    for tag in clip.frames.iter_mut().filter(|t| t.kind == VIDEO && t.is_frame()) {
        tag.data[2..5].copy_from_slice(&[0xFF, 0xFF, 0xDE]);
    }
    let _push = on_air(&server, "cam", clip);
    let video = Plan::low_latency(server.http, "cam", "video.m3u8").start();
    std::thread::sleep(seconds(3));
    let video = video.stop();
    sound(&video, 5);
    let segment = video.history.segments().values().find(|s| s.uri.is_some()).expect("a whole segment");
    let timescale =
        video.init(segment.map.as_deref().expect("a map")).expect("fetched").expect("an initialisation").timescale;
    let body = &video.fetched[segment.uri.as_deref().expect("whole")].body;
    let offsets: HashSet<i64> = boxes::fragments(body)
        .expect("fragments")
        .iter()
        .flat_map(|f| f.offsets.iter().map(|o| i64::from(*o) * 1_000_000 / i64::from(timescale)))
        .collect();
    // Decode times may be moved by a millisecond and a tenth, so that they follow one another evenly.
    assert!(!offsets.is_empty() && offsets.iter().all(|us| (us + 34_000).abs() <= 1_100), "microseconds: {offsets:?}");
}

#[test]
fn case_11_hevc_with_opus_and_av1_with_aac_play_as_fragmented_mp4() {
    let server = Options::open().start();
    let pushes = [
        (
            "hevc",
            "-c:v libx265 -preset ultrafast -tune zerolatency -x265-params log-level=warning:pools=1 -c:a libopus \
             -rtmp_enhanced_codecs hvc1,Opus",
            ["hvc1", "Opus"],
            ["hevc,320,180", "opus"],
        ),
        (
            "av1",
            "-c:v libsvtav1 -preset 12 -svtav1-params lp=1:pred-struct=1 -c:a aac -rtmp_enhanced_codecs av01",
            ["av01", "mp4a.40.2"],
            ["aac", "av1,320,180"],
        ),
    ];
    let running: Vec<_> = pushes.iter().map(|(id, options, ..)| newer_push(&server.push_url(id), options)).collect();
    for (id, _, codecs, tracks) in pushes {
        let whole = multivariant(&server, id);
        let said = &whole.variants[0].codecs;
        let right =
            said.len() == 2 && said.iter().zip(codecs).all(|(s, c)| s.to_lowercase().starts_with(&c.to_lowercase()));
        assert!(right, "{id}: {said:?}");
        let video = Plan::low_latency(server.http, id, "video.m3u8").start();
        let mut probed = ffprobe_by(&newer("ffprobe"), &format!("http://{}/{id}/live.m3u8", server.http));
        // It shows the tracks of a variant once more by themselves.
        probed.dedup();
        assert_eq!(probed, tracks, "{id}");
        std::thread::sleep(seconds(2));
        let video = video.stop();
        sound(&video, 4);
        let map = video.history.segments().values().find_map(|s| s.map.clone()).expect("a map");
        let init = video.init(&map).expect("fetched").expect("an initialisation");
        assert_eq!(String::from_utf8_lossy(&init.codec), codecs[0], "{id}");
    }
    drop(running);
}

/// The network of the encoder dies, and the same key returns five seconds later: who watches HLS sees the new picture within a second or so,
/// in the playlist that they have.
#[test]
fn case_13_a_key_that_returns_after_a_dead_network_goes_on_in_the_same_playlist() {
    let server = Options::open().start();
    let dead = on_air(&server, "cam", Clip::small());
    let followers = follow(&server, "cam");
    std::thread::sleep(seconds(2));
    dead.silence();
    std::thread::sleep(seconds(5));
    let stopped = playlist(&server, "cam", "video.m3u8").segments.last().expect("one").msn;
    let back = Instant::now();
    let push =
        eventually("the key is let in again", seconds(1), || Publisher::start(server.rtmp, "stream", "cam").ok());
    let _push = push.repeat(Clip::small());
    eventually("a part of the new publisher is listed", seconds(2), || {
        let media = playlist(&server, "cam", "video.m3u8");
        let last = media.segments.last()?;
        (last.msn > stopped && !last.parts.is_empty()).then_some(())
    });
    println!("from the return to a listed part: {:?}", back.elapsed());
    assert!(back.elapsed() < millis(1_700), "{:?}", back.elapsed());
    std::thread::sleep(seconds(2));
    for followed in followers.map(Following::stop) {
        sound(&followed, 5);
        assert!(!followed.refused.contains_key(&404), "viewers were sent away: {:?}", followed.refused);
        assert_eq!(lives(&followed).len(), 2);
    }
}

#[test]
#[ignore = "takes half a minute; tests/run --long has it"]
fn every_playlist_of_half_a_minute_with_an_encoder_restart_keeps_the_rules() {
    let server = Options::open().config("[hls]\nwindow = 8\n").start();
    let push = on_air(&server, "cam", Clip::small());
    let followers = follow(&server, "cam");
    std::thread::sleep(seconds(12));
    push.cut();
    std::thread::sleep(millis(700));
    let _push = publish(&server, "cam").repeat(Clip::busy());
    std::thread::sleep(seconds(20));
    // A window of more than six target durations: delta updates are offered, and were taken.
    let [video, audio, plain] = followers.map(Following::stop);
    for (followed, least) in [(&video, 80), (&audio, 80), (&plain, 60)] {
        sound(followed, least);
        assert_eq!(lives(followed).len(), 2);
        println!("{:?} playlists and delta updates", followed.history.taken());
    }
    assert!(video.history.taken().1 > 20, "{:?}", video.history.taken());
    // The discontinuity has left the window, and was counted.
    assert_eq!(video.history.last().expect("one").discontinuity_sequence, 1);
}

/// Statuses of a file, asked for over so many connections that every shard gets some.
fn everywhere(server: &Server, path: &str) -> HashSet<u16> {
    (0..12).map(|_| http::get(server.http, path).status).collect()
}

/// The video playlist of a stream over that connection, and so from the shard that it is on.
fn playlist_over(connection: &mut Connection, id: &str) -> Option<millstream_tests::hls::playlist::Media> {
    connection.send(format!("GET /{id}/video.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).expect("sent");
    let answer = connection.response(false).expect("an answer");
    (answer.status == 200).then(|| read(&answer))
}

/// A stream ends and returns under a new name of its session: files of before are there for who still plays them, also from a shard that
/// nobody had asked for the stream before.
#[test]
fn files_of_a_life_that_is_over_are_there_on_every_shard() {
    let server = Options::open().shards(2).config("[stream_defaults]\npublisher_wait = \"1s\"\n").start();
    // Several, so that some are only known to the shard that owns them: each is watched over one connection, on either shard.
    let ids: Vec<String> = (0..6).map(|n| format!("cam{n}")).collect();
    let pushes: Vec<_> = ids.iter().map(|id| publish(&server, id).repeat(Clip::small())).collect();
    let mut watched: Vec<_> = ids.iter().map(|_| Connection::open(server.http).expect("connected")).collect();
    std::thread::sleep(seconds(4));
    for (id, connection) in ids.iter().zip(&mut watched) {
        eventually("a playlist", seconds(5), || playlist_over(connection, id));
    }
    for push in pushes {
        push.finish().expect("goodbye");
    }
    let over: Vec<_> = ids
        .iter()
        .zip(&mut watched)
        .map(|(id, connection)| {
            eventually("the end", seconds(4), || playlist_over(connection, id).filter(|media| media.ended))
        })
        .collect();
    let _pushes: Vec<_> = ids.iter().map(|id| publish(&server, id).repeat(Clip::small())).collect();
    for (id, over) in ids.iter().zip(over) {
        let segment = over.segments.last().expect("one");
        for name in [&segment.map, &segment.uri] {
            let path = format!("/{id}/{}", name.as_deref().expect("whole"));
            assert_eq!(everywhere(&server, &path), HashSet::from([200]), "{path}");
        }
    }
}

/// A shard on which nobody has watched for a while has let the stream go; who comes then gets what is new.
#[test]
fn a_shard_that_nobody_asked_for_a_while_has_what_is_new() {
    let server = Options::open().shards(2).start();
    let _push = on_air(&server, "cam", Clip::small());
    let before = playlist(&server, "cam", "video.m3u8");
    assert_eq!(everywhere(&server, "/cam/video.m3u8"), HashSet::from([200]));
    // Longer than a shard keeps a stream of another one for nobody.
    std::thread::sleep(seconds(8));
    let now = playlist(&server, "cam", "video.m3u8");
    let newest = now.segments.iter().rev().find_map(|s| s.uri.clone()).expect("whole");
    assert!(before.uris().all(|uri| uri != newest), "{newest} is new");
    assert_eq!(everywhere(&server, &format!("/cam/{newest}")), HashSet::from([200]));
}
