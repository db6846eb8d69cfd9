//! HLS as players and caches see it: the rules hold for every playlist of a run, what is asked for too early is held, what is wrong is
//! refused.
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::hls::follow::{Followed, Plan, reports};
use millstream_tests::hls::multivariant::Multivariant;
use millstream_tests::hls::playlist::Media;
use millstream_tests::http::{self, Connection, Response};
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{ffmpeg_decodes_but, ffmpeg_push, ffmpeg_push_without, ffprobe};
use millstream_tests::{eventually, millis, percentile, seconds};

/// Publishes a clip, and waits until it can be watched.
pub(crate) fn on_air(server: &Server, id: &str, clip: Clip) -> Pushing {
    let push = Publisher::start(server.rtmp, "stream", id).expect("published").repeat(clip);
    playlist(server, id, "video.m3u8");
    push
}

/// A media playlist with something in it.
pub(crate) fn playlist(server: &Server, id: &str, name: &str) -> Media {
    eventually(&format!("{name} of {id} has a segment"), seconds(10), || {
        let answer = http::get(server.http, &format!("/{id}/{name}"));
        let media = (answer.status == 200).then(|| read(&answer))?;
        (!media.segments.is_empty()).then_some(media)
    })
}

/// A playlist out of an answer.
pub(crate) fn read(answer: &Response) -> Media {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, 200, "{text}");
    Media::parse(&text).unwrap_or_else(|error| panic!("{error:#}\n{text}"))
}

/// The multivariant playlist, which keeps the rules.
pub(crate) fn multivariant(server: &Server, id: &str) -> Multivariant {
    let answer = eventually("the multivariant playlist", seconds(10), || {
        let answer = http::get(server.http, &format!("/{id}/live.m3u8"));
        (answer.status == 200).then_some(answer)
    });
    let text = String::from_utf8_lossy(&answer.body);
    let whole = Multivariant::parse(&text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    assert_eq!(whole.check(), [], "{text}");
    whole
}

/// Follows frames, audio, and the frames once more as a player that knows no parts does.
pub(crate) fn follow(server: &Server, id: &str) -> [millstream_tests::hls::follow::Following; 3] {
    [
        Plan::low_latency(server.http, id, "video.m3u8").start(),
        Plan::low_latency(server.http, id, "audio.m3u8").start(),
        Plan::plain(server.http, id, "video.m3u8").start(),
    ]
}

/// No rule was broken, and something was seen.
pub(crate) fn sound(followed: &Followed, playlists: u64) {
    assert!(followed.faults().is_empty(), "{}", followed.faults().join("\n\n"));
    let (taken, _) = followed.history.taken();
    assert!(taken >= playlists, "only {taken} playlists came; refused: {:?}", followed.refused);
}

fn url_of(server: &Server, id: &str) -> String {
    format!("http://{}/{id}/live.m3u8", server.http)
}

/// What ffprobe sees; it shows the tracks of a variant once more by themselves.
fn probed(server: &Server, id: &str) -> Vec<String> {
    let mut tracks = ffprobe(&url_of(server, id));
    tracks.dedup();
    tracks
}

/// The tools that people look with, and every playlist of the run keeps the rules while they do.
#[test]
fn ffprobe_and_ffmpeg_play_it_and_every_playlist_keeps_the_rules() {
    let server = Options::open().start();
    let _push = ffmpeg_push(&server.push_url("cam"), 60);
    let whole = multivariant(&server, "cam");
    let variant = &whole.variants[0];
    assert_eq!((variant.resolution, variant.frame_rate), (Some((640, 360)), Some(30.0)));
    assert!(variant.codecs[0].starts_with("avc1.") && variant.codecs[1] == "mp4a.40.2", "{:?}", variant.codecs);
    let followers = follow(&server, "cam");
    assert_eq!(probed(&server, "cam"), ["aac", "h264,640,360"]);
    // It reads the initialisation again with each reload, and says so.
    ffmpeg_decodes_but("ffmpeg", &url_of(&server, "cam"), 90, &["Found duplicated MOOV Atom"]);
    std::thread::sleep(seconds(4));
    let [video, audio, plain] = followers.map(millstream_tests::hls::follow::Following::stop);
    sound(&video, 15);
    sound(&audio, 15);
    sound(&plain, 8);
    assert_eq!(reports(&video, "audio.m3u8", &audio), [] as [&str; 0]);
    assert_eq!(reports(&audio, "video.m3u8", &video), [] as [&str; 0]);
    let bits = bits_per_second(&video) + bits_per_second(&audio);
    let said = whole.variants[0].bandwidth as f64;
    println!("{:.0} kbit/s measured, BANDWIDTH said {:.0} at the start", bits / 1e3, said / 1e3);
    assert!(said > bits * 0.5 && said < bits * 4.0, "BANDWIDTH is {said}, what came has {bits}");
}

fn bits_per_second(followed: &Followed) -> f64 {
    let whole = followed.history.segments().values().filter(|s| s.uri.is_some());
    let (mut bytes, mut time) = (0, 0.0);
    for segment in whole {
        if let Some(fetched) = segment.uri.as_ref().and_then(|uri| followed.fetched.get(uri)) {
            bytes += fetched.body.len();
            time += segment.seconds();
        }
    }
    bytes as f64 * 8.0 / time
}

#[test]
fn case_24_every_part_is_within_its_target_and_sound_has_parts() {
    let server = Options::open().start();
    let _push = on_air(&server, "cam", Clip::small());
    let followers = follow(&server, "cam");
    std::thread::sleep(seconds(6));
    let [video, audio, plain] = followers.map(millstream_tests::hls::follow::Following::stop);
    for followed in [&video, &audio] {
        // Lengths and promises are among the rules.
        sound(followed, 12);
        let parts: usize = followed.history.segments().values().map(|s| s.parts.len()).sum();
        assert!(parts >= 12, "{parts} parts");
        let fetched = followed.fetched.values().filter(|f| f.status == 200).count();
        assert!(fetched >= 12, "{fetched} things were fetched");
    }
    sound(&plain, 5);
    let last = video.history.last().expect("a playlist");
    assert_eq!(last.part_target, Some(0.335));
    assert_eq!(last.control.as_ref().and_then(|c| c.part_hold_back), Some(1.005));
    assert_eq!(last.target_duration, 2);
}

#[test]
fn case_25_a_request_for_what_is_not_there_yet_is_answered_when_it_is_and_not_before() {
    let server = Options::open().start();
    let _push = on_air(&server, "cam", Clip::small());
    for _ in 0..8 {
        let now = read(&http::get(server.http, "/cam/video.m3u8"));
        let (msn, part) = now.next().expect("something is listed");
        let part = part.expect("parts are listed");
        let asked = Instant::now();
        let answer = http::get(server.http, &format!("/cam/video.m3u8?_HLS_msn={msn}&_HLS_part={part}"));
        let waited = asked.elapsed();
        let then = read(&answer);
        let listed = then.segments.iter().any(|s| {
            // Past the end of a segment means the first part of the next.
            (s.msn == msn && s.parts.len() as u64 > part) || (s.msn == msn + 1 && !s.parts.is_empty())
        });
        assert!(listed, "asked for {msn}.{part}, got up to {:?}", then.newest());
        assert!(waited < seconds(1), "{waited:?} for the next part");
        // A browser keeps none; a shared cache keeps it, but for those that Video.js asks for again.
        let expected = if part == 0 { "public, max-age=0, s-maxage=1" } else { "public, max-age=0, s-maxage=12" };
        // The part may have come between the two requests.
        let at_once = waited < millis(20);
        assert!(at_once || answer.header("cache-control") == expected, "{}", answer.header("cache-control"));
    }
    // A part past the end of a whole segment, a segment by itself, and what is long there.
    let now = read(&http::get(server.http, "/cam/video.m3u8"));
    let whole = now.segments.iter().rfind(|s| s.uri.is_some()).expect("a whole segment");
    let past = read(&http::get(server.http, &format!("/cam/video.m3u8?_HLS_msn={}&_HLS_part=900", whole.msn)));
    assert!(past.segments.iter().any(|s| s.msn == whole.msn + 1 && !s.parts.is_empty()), "{past:?}");
    let open = now.newest().expect("something").0 + 1;
    let next = read(&http::get(server.http, &format!("/cam/video.m3u8?_HLS_msn={open}")));
    assert!(next.segments.iter().any(|s| s.msn == open && s.uri.is_some()), "{:?} for {open}", next.newest());
    let old = Instant::now();
    read(&http::get(server.http, &format!("/cam/video.m3u8?_HLS_msn={}", whole.msn)));
    assert!(old.elapsed() < millis(500), "what is there was held for {:?}", old.elapsed());
    // Zero is a number like any other: it is long over, and answered at once.
    let zero = Instant::now();
    let answer = http::get(server.http, "/cam/video.m3u8?_HLS_msn=0");
    assert!(answer.status == 200 && zero.elapsed() < millis(500), "{} after {:?}", answer.status, zero.elapsed());
    // Far ahead is refused at once.
    for far in [open + 3, open + 1_000_000, 9_999_999_999, u64::MAX] {
        let asked = Instant::now();
        let answer = http::get(server.http, &format!("/cam/video.m3u8?_HLS_msn={far}&_HLS_part=0"));
        assert_eq!(answer.status, 400, "_HLS_msn={far}");
        assert!(asked.elapsed() < millis(500), "refused after {:?}", asked.elapsed());
    }
}

#[test]
fn wrong_directives_are_refused_in_words_and_never_cached() {
    let server = Options::open().start();
    let _push = on_air(&server, "cam", Clip::small());
    let now = playlist(&server, "cam", "video.m3u8").newest().expect("something").0;
    let wrong = [
        "_HLS_msn=-1".to_owned(),
        "_HLS_msn=NaN".to_owned(),
        "_HLS_msn=".to_owned(),
        "_HLS_msn=1e9".to_owned(),
        "_HLS_msn=99999999999999999999999".to_owned(),
        format!("_HLS_msn={now}&_HLS_msn={now}"),
        format!("_HLS_msn={now}&_HLS_part=-1"),
        format!("_HLS_msn={now}&_HLS_part=x"),
        format!("_HLS_msn={now}&_HLS_part=0&_HLS_part=1"),
        "_HLS_part=0".to_owned(),
        "_HLS_skip=perhaps".to_owned(),
        "_HLS_skip=YES&_HLS_skip=YES".to_owned(),
    ];
    for name in ["video.m3u8", "audio.m3u8"] {
        for query in &wrong {
            let answer = http::get(server.http, &format!("/cam/{name}?{query}"));
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            assert_eq!(answer.status, 400, "{name}?{query}: {text}");
            assert_eq!(answer.header("cache-control"), "no-store", "{query}");
            assert!(text.contains("_HLS_"), "it does not say what is wrong: {text}");
        }
    }
    // What players and caches add of their own is not our business.
    let answer = http::get(server.http, "/cam/video.m3u8?_HLS_push=1&token=x&CMCD=a%3D1");
    assert_eq!(answer.status, 200);
}

#[test]
fn case_27_what_is_not_there_is_never_cached_and_what_is_there_for_as_long_as_it_is_true() {
    let server = Options::open().start();
    let nobody = http::get(server.http, "/nobody/live.m3u8");
    assert_eq!((nobody.status, nobody.header("cache-control")), (404, "no-store"));
    let _push = on_air(&server, "cam", Clip::small());
    let media = playlist(&server, "cam", "video.m3u8");
    let segment = eventually("a whole segment", seconds(8), || {
        playlist(&server, "cam", "video.m3u8").segments.iter().find_map(|s| s.uri.clone())
    });
    let hint = media.hinted_part().expect("a hint").to_owned();
    let map = media.segments[0].map.clone().expect("an initialisation");
    let cache = |path: &str| {
        let answer = http::get(server.http, &format!("/cam/{path}"));
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
        assert!(exposed.contains("age") && exposed.contains("date"), "{path}: {exposed:?}");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "{path}");
        let head = http::request(server.http, "HEAD", &format!("/cam/{path}")).expect("HEAD");
        assert_eq!((head.status, head.body.len()), (200, 0), "HEAD {path}");
        assert_eq!(head.header("cache-control"), answer.header("cache-control"), "HEAD {path}");
        answer.header("cache-control").to_owned()
    };
    for name in ["live.m3u8", "video.m3u8", "audio.m3u8", "manifest.mpd"] {
        let said = cache(name);
        assert!(
            said.contains("max-age=1") && !said.contains("max-age=1,") || said.ends_with("max-age=1"),
            "{name}: {said}"
        );
    }
    for name in [&segment, &hint, &map] {
        let said = cache(name);
        assert!(said.contains("max-age=31536000") && said.contains("immutable"), "{name}: {said}");
    }
    // Names that never were, in places that are.
    let (directory, _) = segment.rsplit_once('/').expect("a directory");
    for name in ["0.m4s", "99999999999.m4s", "x", "../../live.flv", "init-99.mp4", "%00", "init.mp4"] {
        let answer = http::get(server.http, &format!("/cam/{directory}/{name}"));
        assert!(matches!(answer.status, 400 | 404), "{name}: {}", answer.status);
        assert_eq!(answer.header("cache-control"), "no-store", "{name}");
    }
    let other = directory.replacen("s/", "s/nobody", 1);
    assert_eq!(http::get(server.http, &format!("/cam/{other}/0.m4s")).status, 404);
}

#[test]
fn case_27_a_hinted_part_that_never_comes_is_503_within_three_targets_and_never_cached() {
    let server = Options::open().config("[stream_defaults]\npublisher_wait = \"20s\"\n").start();
    let push = on_air(&server, "cam", Clip::small());
    std::thread::sleep(seconds(2));
    push.silence();
    std::thread::sleep(millis(500));
    let media = playlist(&server, "cam", "video.m3u8");
    let hint = media.hinted_part().expect("a hint").to_owned();
    let (msn, part) = media.next().expect("something");
    let blocked = format!("video.m3u8?_HLS_msn={msn}&_HLS_part={}", part.unwrap_or(0));
    std::thread::scope(|scope| {
        for name in [hint, blocked] {
            let server = &server;
            scope.spawn(move || {
                let asked = Instant::now();
                let answer = http::get(server.http, &format!("/cam/{name}"));
                let waited = asked.elapsed();
                println!("{name}: {} after {waited:?}", answer.status);
                assert_eq!((answer.status, answer.header("cache-control")), (503, "no-store"), "{name}");
                assert!(waited > seconds(3) && waited <= millis(6_100), "{name} was held for {waited:?}");
            });
        }
    });
    drop(push);
}

#[test]
fn case_23_long_gops_never_make_a_segment_that_is_too_long() {
    let server = Options::open().start();
    let push = on_air(&server, "cam", Clip::long_gop());
    let video = Plan::low_latency(server.http, "cam", "video.m3u8").start();
    std::thread::sleep(seconds(9));
    let video = video.stop();
    sound(&video, 20);
    let longest = video.history.segments().values().filter_map(|s| s.duration).fold(0.0, f64::max);
    let whole = video.history.segments().values().filter(|s| s.uri.is_some()).count();
    println!("{whole} segments, the longest of {longest} s, with a keyframe every 10 s");
    assert!(whole >= 3, "a keyframe is not waited for");
    assert!(push.alive());
}

#[test]
fn case_19_audio_only_video_only_and_late_audio() {
    let server = Options::open().start();
    let _sound = ffmpeg_push_without("-vn", &server.push_url("radio"), 40);
    let _picture = ffmpeg_push_without("-an", &server.push_url("silent"), 40);
    let radio = multivariant(&server, "radio");
    assert_eq!(radio.variants[0].codecs, ["mp4a.40.2"]);
    assert_eq!(radio.variants[0].resolution, None);
    assert_eq!(probed(&server, "radio"), ["aac"]);
    let silent = multivariant(&server, "silent");
    assert!(silent.variants[0].audio.is_none() && silent.renditions.is_empty(), "{silent:?}");
    assert_eq!(silent.variants[0].codecs.len(), 1);
    assert_eq!(probed(&server, "silent"), ["h264,320,180"]);
    let followers = [
        Plan::low_latency(server.http, "radio", &radio.variants[0].uri).start(),
        Plan::low_latency(server.http, "silent", "video.m3u8").start(),
    ];
    // Audio that begins three seconds late is in the next multivariant playlist.
    let mut late = Clip::small();
    late.frames.retain(|tag| tag.kind == millstream_tests::flv::VIDEO || tag.timestamp >= 3_000);
    let early: Vec<_> = late.configuration.iter().filter(|t| t.kind == millstream_tests::flv::VIDEO).cloned().collect();
    let configuration = late.configuration.iter().find(|t| t.kind == millstream_tests::flv::AUDIO).cloned();
    late.configuration = early;
    let at = late.frames.iter().position(|tag| tag.timestamp >= 3_000).expect("three seconds");
    late.frames.insert(at, millstream_tests::flv::Tag { timestamp: 3_000, ..configuration.expect("AAC") });
    let _push = on_air(&server, "late", late);
    assert!(multivariant(&server, "late").variants[0].audio.is_none());
    eventually("the late sound is in the multivariant playlist", seconds(10), || {
        multivariant(&server, "late").variants[0].audio.is_some().then_some(())
    });
    assert!(!playlist(&server, "late", "audio.m3u8").segments.is_empty());
    for followed in followers.map(millstream_tests::hls::follow::Following::stop) {
        sound(&followed, 10);
    }
}

/// Requests that wait are bounded, counted, and nobody else's trouble.
#[test]
fn blocked_requests_are_bounded_and_cost_little() {
    const ASKED: usize = 2_000;
    let server = Options::open().shards(1).config("[limits]\nblocked = 500\nper_address = 20000\n").start();
    let push = on_air(&server, "cam", Clip::small());
    std::thread::sleep(seconds(1));
    push.silence();
    std::thread::sleep(millis(500));
    let (msn, part) = playlist(&server, "cam", "video.m3u8").next().expect("something");
    let request =
        format!("GET /cam/video.m3u8?_HLS_msn={msn}&_HLS_part={} HTTP/1.1\r\nHost: x\r\n\r\n", part.unwrap_or(0));
    let before = millstream_tests::proc::rss(server.pid());
    let mut all: Vec<Connection> = Vec::new();
    for _ in 0..ASKED {
        let mut connection = Connection::open(server.http).expect("connected");
        connection.send(request.as_bytes()).expect("sent");
        all.push(connection);
    }
    let held = eventually("they wait", seconds(3), || {
        let held = server.metric("millstream_blocked_requests");
        (held >= 499.0).then_some(held)
    });
    let each = millstream_tests::proc::rss(server.pid()).saturating_sub(before) / ASKED as u64;
    println!("{held} of {ASKED} requests wait; {each} bytes of resident memory each");
    assert!(held <= 500.0, "{held} wait");
    assert!(each <= 16 << 10, "{each} bytes for a connection whose request waits");
    assert!(server.healthy(), "others are served");
    push.resume();
    let mut answers = std::collections::BTreeMap::<u16, usize>::new();
    for connection in &mut all {
        *answers.entry(connection.response(false).expect("an answer").status).or_default() += 1;
    }
    println!("answers: {answers:?}");
    assert_eq!(answers.get(&200), Some(&500), "{answers:?}");
    assert_eq!(answers.get(&503), Some(&(ASKED - 500)), "{answers:?}");
}

/// How long after a part's last frame was sent the part was there, for whoever had asked for it.
pub(crate) fn part_delays(followed: &Followed, push: &Pushing) -> Vec<Duration> {
    let sent = push.sent();
    let mut by_data = std::collections::HashMap::<&[u8], Vec<Instant>>::new();
    for (tag, at) in &sent {
        // Behind the head of a tag of H.264.
        if let Some(data) = tag.data.get(5..).filter(|_| tag.kind == millstream_tests::flv::VIDEO && tag.is_frame()) {
            by_data.entry(data).or_default().push(*at);
        }
    }
    let parts = followed.history.segments().values().flat_map(|s| &s.parts);
    let mut delays = Vec::new();
    for fetched in parts.filter_map(|part| followed.fetched.get(&part.uri)) {
        let fragments = millstream_tests::hls::boxes::fragments(&fetched.body).unwrap_or_default();
        let Some(last) = fragments.last().map(|f| f.last_sample().to_vec()) else { continue };
        let times = by_data.get(&last[..]).into_iter().flatten();
        delays.extend(times.filter(|at| **at <= fetched.came).max().map(|at| fetched.came - *at));
    }
    delays
}

#[test]
fn a_part_is_there_right_after_its_last_frame() {
    let server = Options::open().shards(1).start();
    let push = on_air(&server, "cam", Clip::small());
    let video = Plan::low_latency(server.http, "cam", "video.m3u8").start();
    std::thread::sleep(seconds(7));
    let video = video.stop();
    sound(&video, 15);
    let mut delays = part_delays(&video, &push);
    assert!(delays.len() >= 10, "{} parts", delays.len());
    let (p50, p99) = (percentile(&mut delays, 0.5), percentile(&mut delays, 0.99));
    println!("{} parts: from the last frame's sending to its arrival p50 {p50:?}, p99 {p99:?}", delays.len());
    assert!(p50 < millis(50), "{p50:?}");
}
