//! Playlists as players and caches ask for them: compressed, with tags, by odd paths; and who is counted for asking.
use std::io::{Read as _, Write as _};

use flate2::read::GzDecoder;
use millstream_engine::config::{Config, IoChoice};
use millstream_hub::config::{FlushPolicy, StreamConfig};

use crate::admin::ask;
use crate::harness::{BOTH, Rtmp, SOON, Server, config, connect, eventually, frame, read_for, read_until};

/// Frames that are one segment of two seconds.
const SEGMENT: u32 = 100;

fn settings(io: IoChoice, shards: usize) -> Config {
    let base = config(io, shards);
    Config { stream: StreamConfig { flush: FlushPolicy::Low, ..base.stream }, ..base }
}

fn published(server: &Server, frames: u32) -> Rtmp {
    let mut publisher = server.encoder("live");
    publisher.send((0..frames).map(frame));
    let arrived =
        || server.metric("millstream_video_frames_total", "") + server.metric("millstream_audio_frames_total", "");
    eventually("all frames arrive", || arrived() == u64::from(frames));
    publisher
}

struct Got {
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
        line.map_or("", |line| &line[name.len() + 2..])
    }

    fn unpacked(&self) -> String {
        let mut text = String::new();
        GzDecoder::new(&self.body[..]).read_to_string(&mut text).unwrap();
        text
    }
}

fn request(server: &Server, line: &str, headers: &str) -> Got {
    let mut socket = connect(server.at.http);
    write!(socket, "{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let (bytes, ended) = read_for(&mut socket, SOON);
    assert!(ended);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    Got { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: bytes[end..].to_vec() }
}

fn get(server: &Server, path: &str, headers: &str) -> Got {
    request(server, &format!("GET {path}"), headers)
}

#[test]
fn case_59_playlists_come_compressed_and_with_tags() {
    const GZIP: &str = "Accept-Encoding: deflate, gzip;q=0.8, br\r\n";
    for io in BOTH {
        let server = Server::start(settings(io, 1));
        let mut publisher = published(&server, 3 * SEGMENT + 20);
        let mut tags = Vec::new();
        for path in ["/live/live.m3u8", "/live/video.m3u8", "/live/audio.m3u8", "/live/manifest.mpd"] {
            let plain = get(&server, path, "");
            assert_eq!((plain.status(), plain.header("content-encoding")), ("200", ""), "{}", plain.head);
            assert_eq!(plain.header("vary"), "Accept-Encoding", "{}", plain.head);
            for no in
                ["Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: br\r\n", "Accept-Encoding: gzip; q=0.000, *\r\n"]
            {
                assert_eq!(get(&server, path, no).body, plain.body, "{no}");
            }
            let packed = get(&server, path, GZIP);
            assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "Accept-Encoding"));
            assert_eq!(packed.unpacked().as_bytes(), plain.body, "the same text");
            assert!(packed.body.len() < plain.body.len(), "{} of {}", packed.body.len(), plain.body.len());
            assert_eq!(packed.header("content-length"), packed.body.len().to_string());
            println!("{path}: {} bytes for {}", packed.body.len(), plain.body.len());
            let (tag, packed_tag) = (plain.header("etag").to_owned(), packed.header("etag").to_owned());
            assert!(tag.starts_with('"') && tag.ends_with('"') && tag != packed_tag, "{tag} {packed_tag}");
            // Who has it gets no more than that.
            for (method, asked, headers) in [
                ("GET", tag.clone(), ""),
                ("HEAD", tag.clone(), ""),
                ("GET", packed_tag.clone(), GZIP),
                ("GET", format!("\"other\", W/{packed_tag}"), GZIP),
            ] {
                let known =
                    request(&server, &format!("{method} {path}"), &format!("If-None-Match: {asked}\r\n{headers}"));
                assert_eq!((known.status(), known.body.len()), ("304", 0), "{}", known.head);
                assert!(
                    asked.contains(known.header("etag")) && known.header("vary") == "Accept-Encoding",
                    "{}",
                    known.head
                );
                assert_eq!(known.header("cache-control"), plain.header("cache-control"));
            }
            let other = get(&server, path, "If-None-Match: \"other\"\r\n");
            assert_eq!((other.status(), &other.body), ("200", &plain.body));
            let headed = request(&server, &format!("HEAD {path}"), GZIP);
            assert_eq!(headed.header("content-length"), packed.header("content-length"));
            assert!(headed.body.is_empty() && headed.header("etag") == packed_tag, "{}", headed.head);
            tags.push((path, tag));
        }
        // What has changed has another tag; a blocking answer comes compressed, too.
        let playlist = String::from_utf8(get(&server, "/live/video.m3u8", "").body).unwrap();
        let first: u64 = playlist.split("MEDIA-SEQUENCE:").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
        let open = first + playlist.lines().filter(|line| !line.starts_with('#')).count() as u64;
        let mut waits = connect(server.at.http);
        write!(waits, "GET /live/video.m3u8?_HLS_msn={open} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{GZIP}\r\n")
            .unwrap();
        eventually("it waits", || server.metric("millstream_blocked_requests", "") == 1);
        publisher.send((3 * SEGMENT + 20..5 * SEGMENT + 20).map(frame));
        let (answer, ended) = read_until(&mut waits, SOON, |_| false);
        assert!(ended);
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let waited = Got { head: String::from_utf8(answer[..end].to_vec()).unwrap(), body: answer[end..].to_vec() };
        assert_eq!(waited.header("content-encoding"), "gzip");
        assert!(waited.unpacked().starts_with("#EXTM3U"));
        for (path, tag) in &tags[1..] {
            eventually("another version", || {
                get(&server, path, &format!("If-None-Match: {tag}\r\n")).status() == "200"
            });
        }
    }
}

#[test]
fn case_59_odd_slashes_find_the_same_thing_or_lead_to_it() {
    let server = Server::start(settings(BOTH[0], 1));
    let _publisher = published(&server, 3 * SEGMENT + 20);
    let plain = get(&server, "/live/video.m3u8", "");
    for path in ["//live/video.m3u8", "/live//video.m3u8", "/./live/./video.m3u8", "///live///video.m3u8"] {
        let same = get(&server, path, "");
        assert_eq!((same.status(), &same.body), ("200", &plain.body), "{path}");
    }
    let init = plain.body.windows(4).position(|window| window == b"URI=").unwrap();
    let uri = String::from_utf8_lossy(&plain.body[init + 5..]).split('"').next().unwrap().to_owned();
    assert_eq!(get(&server, &format!("/live//{uri}"), "").status(), "200");
    for (path, to) in [
        ("/live/video.m3u8/", "../video.m3u8"),
        ("/live/live.flv/?start=next", "../live.flv?start=next"),
        ("/wall.html/?streams=a", "../wall.html?streams=a"),
    ] {
        let led = get(&server, path, "");
        assert_eq!((led.status(), led.header("location")), ("302", to), "{path}");
    }
    for refused in ["/live/../live/video.m3u8", "/..//live/video.m3u8"] {
        assert_eq!(get(&server, refused, "").status(), "400", "{refused}");
    }
}

#[test]
fn viewers_of_hls_and_dash_are_counted_though_they_have_no_session() {
    let server = Server::start(settings(BOTH[0], 2));
    let mut publisher = published(&server, 3 * SEGMENT + 20);
    let counts = || -> Vec<(String, u64, bool)> {
        let all = ask(server.engine().remote().on_air()).unwrap();
        let viewers = all.into_iter().find(|live| live.id == "live").map(|live| live.viewers).unwrap_or_default();
        viewers.into_iter().map(|viewers| (viewers.protocol, viewers.count, viewers.estimated)).collect()
    };
    assert_eq!(counts(), []);
    // Each asks again and again on connections of its own, so that both shards hear it.
    for _ in 0..6 {
        for player in 0..5 {
            for track in ["video", "audio"] {
                let agent = format!("User-Agent: player/{player}\r\n");
                assert_eq!(get(&server, &format!("/live/{track}.m3u8"), &agent).status(), "200");
            }
        }
        // A session that the player names is one viewer, whatever else it says; another is another.
        get(&server, "/live/video.m3u8?CMCD=bl%3D100%2Csid%3D%22one%22", "User-Agent: player/0\r\n");
        get(&server, "/live/video.m3u8", "CMCD-Session: cid=\"x\",sid=\"one\"\r\nUser-Agent: player/1\r\n");
        get(&server, "/live/video.m3u8", "CMCD-Session: sid=\"two\"\r\nUser-Agent: player/0\r\n");
        get(&server, "/live/manifest.mpd", "User-Agent: player/0\r\n");
    }
    assert_eq!(counts(), [("hls".to_owned(), 7, true), ("dash".to_owned(), 1, true)]);
    assert_eq!(server.metric("millstream_viewers", "protocol=\"hls\""), 7);
    assert_eq!(server.metric("millstream_viewers", "protocol=\"dash\""), 1);
    // What is asked for in vain is no view, and after three target durations without a question nobody is there.
    get(&server, "/none/video.m3u8", "User-Agent: player/9\r\n");
    let mut next = 3 * SEGMENT + 20;
    eventually("they are gone", || {
        publisher.send((next..next + 20).map(frame));
        next += 20;
        std::thread::sleep(std::time::Duration::from_millis(400));
        counts().is_empty()
    });
    assert_eq!(server.metric("millstream_viewers", "protocol=\"hls\""), 0);
}
