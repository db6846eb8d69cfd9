//! HLS and DASH over HTTP: who waits, for how long, and with which status and headers.
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use millstream_control_protocol::state::{Outputs, Stream};
use millstream_engine::config::{Config, IoChoice, Limits};
use millstream_engine::directory::Directory;
use millstream_hub::config::{FlushPolicy, StreamConfig};
use millstream_policy::{Denial, Step, Why};

use crate::harness::{Answer, BOTH, Rtmp, SOON, Server, config, connect, contains, eventually, frame, read_until};

/// Frames that are one segment of two seconds.
const SEGMENT: u32 = 100;

/// What arrives is in the playlists at once.
fn settings(io: IoChoice, shards: usize) -> Config {
    let base = config(io, shards);
    Config { stream: StreamConfig { flush: FlushPolicy::Low, ..base.stream }, ..base }
}

/// Publishes, and waits until all of it has arrived.
fn published(server: &Server, stream: &str, frames: u32) -> Rtmp {
    let before = arrived(server);
    let mut publisher = server.encoder(stream);
    publisher.send((0..frames).map(frame));
    eventually("all frames arrive", || arrived(server) == before + u64::from(frames));
    publisher
}

fn arrived(server: &Server) -> u64 {
    server.metric("millstream_video_frames_total", "") + server.metric("millstream_audio_frames_total", "")
}

fn get(server: &Server, path: &str) -> Answer {
    Answer::get(server.at.http, path)
}

/// The body as text.
fn body(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.0).into_owned();
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

fn bytes(answer: &Answer) -> &[u8] {
    let end = answer.0.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    &answer.0[end + 4..]
}

fn has(answer: &Answer, line: &str) -> bool {
    contains(&answer.0, &format!("\r\n{line}\r\n"))
}

fn status(answer: &Answer) -> u16 {
    String::from_utf8_lossy(&answer.0[..16]).split(' ').nth(1).unwrap().parse().unwrap()
}

/// URIs of whole segments.
fn segments(playlist: &str) -> Vec<String> {
    playlist.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn attribute(playlist: &str, tag: &str, name: &str) -> String {
    let line = playlist.lines().rfind(|line| line.starts_with(tag)).unwrap_or_else(|| panic!("no {tag} in {playlist}"));
    let value = line.split([':', ',']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {line}")).trim_matches('"').to_owned()
}

/// Number of the segment that grows.
fn open_msn(playlist: &str) -> u64 {
    let first: u64 =
        playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).unwrap().parse().unwrap();
    first + segments(playlist).len() as u64
}

/// Asks, and waits for nothing.
fn ask(server: &Server, path: &str) -> TcpStream {
    let mut socket = connect(server.at.http);
    write!(socket, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    socket
}

fn answer(mut socket: TcpStream) -> Answer {
    let (bytes, ended) = read_until(&mut socket, SOON, |_| false);
    assert!(ended, "no answer");
    Answer(bytes)
}

fn blocked(server: &Server) -> u64 {
    server.metric("millstream_blocked_requests", "")
}

#[test]
fn playlists_and_their_files() {
    for io in BOTH {
        let server = Server::start(settings(io, 1));
        let _publisher = published(&server, "live", 3 * SEGMENT + 20);
        let live = get(&server, "/live/live.m3u8");
        assert_eq!(status(&live), 200, "{}", body(&live));
        assert!(
            has(&live, "Content-Type: application/vnd.apple.mpegurl") && has(&live, "Cache-Control: public, max-age=1")
        );
        assert!(has(&live, "Access-Control-Allow-Origin: *") && has(&live, "Access-Control-Expose-Headers: Age, Date"));
        assert!(body(&live).contains("CODECS=\"avc1.64001f,mp4a.40.2\"") && body(&live).ends_with("\nvideo.m3u8\n"));
        assert_eq!(body(&get(&server, "/live/index.m3u8")).lines().last(), Some("video.m3u8"));
        for (track, content_type) in [("video", "video/mp4"), ("audio", "audio/mp4")] {
            let playlist = get(&server, &format!("/live/{track}.m3u8"));
            assert!(has(&playlist, "Cache-Control: public, max-age=1"));
            let text = body(&playlist);
            assert_eq!(segments(&text).len(), 3, "{text}");
            let part = attribute(&text, "#EXT-X-PART:", "URI");
            let map = attribute(&text, "#EXT-X-MAP", "URI");
            for (uri, first_box) in [(&segments(&text)[1], b"moof"), (&part, b"moof"), (&map, b"ftyp")] {
                let path = format!("/live/{uri}");
                let file = get(&server, &path);
                assert_eq!((status(&file), &bytes(&file)[4..8]), (200, &first_box[..]), "{uri}");
                assert!(has(&file, "Cache-Control: public, max-age=31536000, immutable"));
                assert!(has(&file, &format!("Content-Type: {content_type}")));
                assert!(has(&file, &format!("Content-Length: {}", bytes(&file).len())));
                let mut socket = connect(server.at.http);
                write!(socket, "HEAD {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
                let headed = answer(socket);
                assert!(bytes(&headed).is_empty() && has(&headed, &format!("Content-Length: {}", bytes(&file).len())));
            }
        }
        let manifest = get(&server, "/live/manifest.mpd");
        assert!(
            has(&manifest, "Content-Type: application/dash+xml") && has(&manifest, "Cache-Control: public, max-age=1")
        );
        assert_eq!(body(&manifest).matches("<AdaptationSet ").count(), 2);
        let time = get(&server, "/time");
        assert!(has(&time, "Cache-Control: no-store") && body(&time).ends_with('Z'), "{}", body(&time));
        assert_eq!(server.metric("millstream_session_panics_total", ""), 0);
    }
}

#[test]
fn a_run_of_a_segments_bytes() {
    let server = Server::start(settings(IoChoice::Auto, 1));
    let _publisher = published(&server, "live", 2 * SEGMENT);
    let uri = segments(&body(&get(&server, "/live/video.m3u8")))[0].clone();
    let whole = bytes(&get(&server, &format!("/live/{uri}"))).to_vec();
    let ranged = |range: &str| {
        let mut socket = connect(server.at.http);
        write!(socket, "GET /live/{uri} HTTP/1.1\r\nHost: a\r\nRange: {range}\r\nConnection: close\r\n\r\n").unwrap();
        answer(socket)
    };
    let some = ranged("bytes=1000-30000");
    assert_eq!((status(&some), bytes(&some)), (206, &whole[1000..=30_000]));
    assert!(has(&some, &format!("Content-Range: bytes 1000-30000/{}", whole.len())));
    assert_eq!(bytes(&ranged("bytes=-7")), &whole[whole.len() - 7..]);
    assert_eq!(bytes(&ranged("bytes=1-2,5-6")), whole);
    let none = ranged(&format!("bytes={}-", whole.len()));
    assert_eq!((status(&none), bytes(&none).len()), (416, 0));
}

#[test]
fn case_25_a_request_for_what_comes_next_waits_for_it() {
    for io in BOTH {
        let server = Server::start(settings(io, 1));
        let mut publisher = published(&server, "live", 2 * SEGMENT + 10);
        let playlist = body(&get(&server, "/live/video.m3u8"));
        let (msn, hint) = (open_msn(&playlist), attribute(&playlist, "#EXT-X-PRELOAD-HINT", "URI"));
        let parts = playlist
            .lines()
            .skip_while(|line| !line.ends_with(&format!("{}.m4s", msn - 1)))
            .filter(|line| line.starts_with("#EXT-X-PART:"))
            .count();
        let next = ask(&server, &format!("/live/video.m3u8?_HLS_msn={msn}&_HLS_part={parts}"));
        let whole = ask(&server, &format!("/live/video.m3u8?_HLS_msn={msn}"));
        let part = ask(&server, &format!("/live/{hint}"));
        eventually("three wait", || blocked(&server) == 3);
        publisher.send((2 * SEGMENT + 10..2 * SEGMENT + 40).map(frame));
        let next = answer(next);
        assert_eq!(cache(&next), if parts == 0 { AT_ONCE } else { WAITED });
        assert!(body(&next).contains(&hint) && attribute(&body(&next), "#EXT-X-PRELOAD-HINT", "URI") != hint);
        let part = answer(part);
        assert_eq!((status(&part), &bytes(&part)[4..8]), (200, &b"moof"[..]));
        assert_eq!(blocked(&server), 1, "the whole segment is not there");
        publisher.send((2 * SEGMENT + 40..3 * SEGMENT + 2).map(frame));
        assert!(segments(&body(&answer(whole))).last().unwrap().ends_with(&format!("/{msn}.m4s")));
        assert!(server.metric("millstream_part_delay_seconds_count", "") >= 1);
        for (query, expected) in [
            (format!("_HLS_msn={}", msn + 9), 400),
            (format!("_HLS_msn={}&_HLS_part=99", msn + 1), 400),
            ("_HLS_msn=-1".to_owned(), 400),
            ("_HLS_msn=NaN".to_owned(), 400),
            ("_HLS_msn=1&_HLS_msn=1".to_owned(), 400),
            ("_HLS_part=0".to_owned(), 400),
            ("_HLS_skip=maybe".to_owned(), 400),
            ("_HLS_msn=0".to_owned(), 200),
        ] {
            let asked = Instant::now();
            let answer = get(&server, &format!("/live/video.m3u8?{query}"));
            assert_eq!(status(&answer), expected, "{query}");
            assert!(has(&answer, "Cache-Control: no-store") == (expected == 400), "{query}");
            assert!(asked.elapsed() < Duration::from_secs(3), "{query} is answered at once");
        }
    }
}

/// What caches are told.
fn cache(answer: &Answer) -> String {
    let head = String::from_utf8_lossy(&answer.0).into_owned();
    head.lines().find_map(|line| line.strip_prefix("Cache-Control: ")).unwrap_or_default().to_owned()
}

const WAITED: &str = "public, max-age=0, s-maxage=12";
const AT_ONCE: &str = "public, max-age=0, s-maxage=1";

/// Video.js asks for part 0 of the last whole segment while the next one has none: what it gets must not be what it got two seconds ago, from
/// no cache on the way.
#[test]
fn case_31_who_asks_again_gets_a_new_answer() {
    for shards in [1, 2] {
        let server = Server::start(settings(IoChoice::Auto, shards));
        let mut publisher = published(&server, "live", 2 * SEGMENT + 10);
        let playlist = body(&get(&server, "/live/video.m3u8"));
        let msn = open_msn(&playlist);
        let by_number = |msn: u64, part: usize| format!("/live/video.m3u8?_HLS_msn={msn}&_HLS_part={part}");
        // What is there is answered at once, and a moment later with what has come since.
        let there = by_number(msn - 1, 0);
        let first = get(&server, &there);
        assert_eq!((status(&first), cache(&first).as_str()), (200, AT_ONCE));
        let waiting: Vec<TcpStream> = (0..3).map(|part| ask(&server, &by_number(msn, part))).collect();
        let whole = ask(&server, &format!("/live/video.m3u8?_HLS_msn={msn}"));
        eventually("four wait", || blocked(&server) == 4);
        publisher.send((2 * SEGMENT + 10..3 * SEGMENT + 2).map(frame));
        let said: Vec<String> = waiting.into_iter().map(|socket| cache(&answer(socket))).collect();
        assert_eq!(said, [AT_ONCE, WAITED, WAITED], "part 0 is asked for again when its segment ends");
        assert_eq!(cache(&answer(whole)), WAITED);
        let again = get(&server, &there);
        assert!(body(&again) != body(&first) && cache(&again) == AT_ONCE);
        // What was waited for once is there now.
        for path in [by_number(msn, 2), format!("/live/video.m3u8?_HLS_msn={msn}"), format!("{there}&_HLS_skip=YES")] {
            assert_eq!(cache(&get(&server, &path)), AT_ONCE, "{path}");
        }
        // Those who poll are answered from caches, as before.
        assert_eq!(cache(&get(&server, "/live/video.m3u8")), "public, max-age=1");
    }
}

#[test]
fn case_27_what_is_not_there_is_not_kept_by_caches() {
    let server = Server::start(settings(IoChoice::Auto, 1));
    let _publisher = published(&server, "live", 2 * SEGMENT + 10);
    let playlist = body(&get(&server, "/live/video.m3u8"));
    let (msn, hint) = (open_msn(&playlist), attribute(&playlist, "#EXT-X-PRELOAD-HINT", "URI"));
    let asked = Instant::now();
    // The publisher has fallen silent: neither comes.
    let waiting = [ask(&server, &format!("/live/{hint}")), ask(&server, &format!("/live/video.m3u8?_HLS_msn={msn}"))];
    let directory = hint.rsplit_once('/').unwrap().0.to_owned();
    for path in [
        format!("/live/{directory}/1.m4s"),
        format!("/live/{directory}/{}.m4s", msn + 1),
        format!("/live/{directory}/p99999.m4s"),
        format!("/live/{directory}/init-77.mp4"),
        "/live/s/other/v/init-1.mp4".to_owned(),
        "/live/s/x/w/1.m4s".to_owned(),
        "/nobody/live.m3u8".to_owned(),
        "/nobody/s/x/v/1.m4s".to_owned(),
    ] {
        let answer = get(&server, &path);
        assert_eq!(status(&answer), 404, "{path}");
        assert!(has(&answer, "Cache-Control: no-store"), "{path}");
    }
    for socket in waiting {
        let late = answer(socket);
        assert_eq!(status(&late), 503, "{}", body(&late));
        assert!(has(&late, "Cache-Control: no-store"));
        assert!(asked.elapsed() < Duration::from_secs(6), "within three target durations");
    }
    assert_eq!(blocked(&server), 0);
}

#[test]
fn no_more_requests_wait_than_may() {
    let base = settings(IoChoice::Auto, 1);
    let limits = Limits { blocked: 2, ..base.limits };
    let server = Server::start(Config { limits, ..base });
    let mut publisher = published(&server, "live", 2 * SEGMENT + 10);
    let hint = attribute(&body(&get(&server, "/live/video.m3u8")), "#EXT-X-PRELOAD-HINT", "URI");
    let waiting: Vec<_> = (0..2).map(|_| ask(&server, &format!("/live/{hint}"))).collect();
    eventually("two wait", || blocked(&server) == 2);
    let third = get(&server, &format!("/live/{hint}"));
    assert_eq!(status(&third), 503);
    assert_eq!(server.metric("millstream_refused_total", "blocked"), 1);
    publisher.send((2 * SEGMENT + 10..2 * SEGMENT + 40).map(frame));
    for socket in waiting {
        assert_eq!(status(&answer(socket)), 200);
    }
    assert_eq!(blocked(&server), 0);
}

#[test]
fn who_leaves_while_waiting_is_forgotten() {
    let server = Server::start(settings(IoChoice::Auto, 1));
    let mut publisher = published(&server, "live", 2 * SEGMENT + 10);
    let hint = attribute(&body(&get(&server, "/live/video.m3u8")), "#EXT-X-PRELOAD-HINT", "URI");
    let waiting: Vec<_> = (0..50).map(|_| ask(&server, &format!("/live/{hint}"))).collect();
    eventually("fifty wait", || blocked(&server) == 50);
    drop(waiting);
    publisher.send((2 * SEGMENT + 10..2 * SEGMENT + 40).map(frame));
    eventually("nobody waits", || blocked(&server) == 0);
    assert_eq!(status(&get(&server, &format!("/live/{hint}"))), 200);
    assert_eq!(server.metric("millstream_session_panics_total", ""), 0);
}

#[test]
fn requests_on_two_shards_get_the_same() {
    for io in BOTH {
        let server = Server::start(settings(io, 2));
        let mut publisher = published(&server, "live", 2 * SEGMENT + 10);
        let playlist = body(&get(&server, "/live/video.m3u8"));
        let hint = attribute(&playlist, "#EXT-X-PRELOAD-HINT", "URI");
        let mut waiting: Vec<_> = (0..12).map(|_| ask(&server, &format!("/live/{hint}"))).collect();
        eventually("all wait", || blocked(&server) == 12);
        // With twelve more, one in 2^23 runs fails for no reason.
        waiting.extend((0..12).map(|_| ask(&server, &format!("/live/{hint}"))));
        eventually("all wait", || blocked(&server) == 24);
        let on = |shard| server.metric("millstream_blocked_requests", &format!("shard=\"{shard}\""));
        assert!(on(0) > 0 && on(1) > 0);
        publisher.send((2 * SEGMENT + 10..2 * SEGMENT + 40).map(frame));
        let parts: Vec<_> = waiting.into_iter().map(answer).collect();
        assert!(parts.iter().all(|part| status(part) == 200 && bytes(part) == bytes(&parts[0])));
        assert_eq!(server.metric("millstream_hls_parts_total", ""), {
            let owner = |shard| server.metric("millstream_hls_parts_total", &format!("shard=\"{shard}\""));
            owner(0).max(owner(1))
        });
    }
}

#[test]
fn a_stream_that_is_over_can_be_watched_to_its_end() {
    for shards in [1, 2] {
        let base = settings(IoChoice::Auto, shards);
        let stream = StreamConfig { publisher_wait: Duration::from_millis(100), ..base.stream };
        let server = Server::start(Config { stream, ..base });
        let publisher = published(&server, "live", 2 * SEGMENT + 10);
        let playlist = body(&get(&server, "/live/video.m3u8"));
        let waiting = ask(&server, &format!("/live/video.m3u8?_HLS_msn={}", open_msn(&playlist)));
        publisher.finish();
        let last = body(&answer(waiting));
        assert!(last.ends_with("#EXT-X-ENDLIST\n"), "{last}");
        // Whichever shard is asked.
        for _ in 0..8 {
            let again = get(&server, "/live/video.m3u8?_HLS_msn=99999999999");
            assert_eq!(status(&again), 200, "{}", body(&again));
            assert_eq!(body(&again), last);
            let file = get(&server, &format!("/live/{}", segments(&last)[0]));
            assert_eq!(status(&file), 200, "{}\n{last}", body(&file));
            assert!(body(&get(&server, "/live/manifest.mpd")).contains("type=\"static\""));
        }
        assert_eq!(status(&get(&server, "/live/live.flv")), 404);
        // And the next stream of that name has other names.
        let _publisher = published(&server, "live", 2 * SEGMENT + 10);
        let next = body(&get(&server, "/live/video.m3u8"));
        assert!(!next.contains("ENDLIST") && segments(&next).iter().all(|uri| !last.contains(uri)), "{next}");
        assert!(open_msn(&next) >= open_msn(&last) - segments(&last).len() as u64);
    }
}

#[test]
fn the_door_is_asked_about_playlists() {
    let server = Server::start(settings(IoChoice::Auto, 1));
    let waiting = ask(&server, "/wait-a/live.m3u8");
    let ticket = server.ticket();
    let denial = Denial::new(Why::Forbidden, "not you");
    server.answer(ticket, Step::Deny(denial));
    let denied = answer(waiting);
    assert_eq!((status(&denied), body(&denied).contains("not you")), (403, true));
    let boom = answer(ask(&server, "/none/live.m3u8"));
    assert_eq!(status(&boom), 404);
}

#[test]
fn a_stream_that_has_just_begun_is_waited_for() {
    let server = Server::start(settings(IoChoice::Auto, 1));
    let mut publisher = published(&server, "live", 5);
    let waiting = ask(&server, "/live/live.m3u8");
    eventually("it waits", || blocked(&server) == 1);
    publisher.send((5..2 * SEGMENT).map(frame));
    let live = answer(waiting);
    assert!(body(&live).contains("AUDIO=\"audio\""), "{}", body(&live));
}

#[test]
fn an_output_that_is_switched_off_is_not_there() {
    let base = settings(IoChoice::Auto, 1);
    let with = |id: &str, cmaf| {
        let outputs = Outputs { hls: false, cmaf, ..Outputs::default() };
        Stream { id: id.to_owned(), outputs, ..Stream::default() }
    };
    let streams = [with("quiet", false), with("dash-only", true)];
    let server = Server::start(Config { directory: Directory::new(&streams), ..base });
    let _publishers = ["quiet", "dash-only", "both"].map(|stream| published(&server, stream, 2 * SEGMENT + 10));
    // The playlists of CMAF segments are part of that output.
    for (stream, hls, dash) in [("quiet", 404, 404), ("dash-only", 200, 200), ("both", 200, 200)] {
        for (name, expected) in [("live.m3u8", hls), ("index.m3u8", hls), ("video.m3u8", hls), ("manifest.mpd", dash)] {
            assert_eq!(status(&get(&server, &format!("/{stream}/{name}"))), expected, "{stream} {name}");
        }
    }
}
