//! Recorded files over HTTP, as viewers and caches see them: whole and in ranges, with preconditions, behind grants.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use millstream_engine::config::{Config, GrantConfig, IoChoice};
use millstream_engine::recorded::Growth;
use millstream_hub::config::HlsConfig;
use millstream_policy::open::Open;
use millstream_policy::{Chain, DecisionContext, Denial, Grant, Policy, Request, Step, Why, shared};
use millstream_proto::id::Id;
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use millstream_proto::sign::grant::{GrantKeys, GrantSession, PlayGrant};

use crate::harness::{Answer, BOTH, Server, config, eventually};
use crate::recorded_harness::{Directory, MODIFIED, Memory, Reader, Viewer, pattern, with_files};

const INDEX: &str = "cam/rec/1795531265250-19ab/index.m3u8";
const VIDEO: &str = "cam/rec/1795531265250-19ab/video.m3u8";
const MANIFEST: &str = "cam/rec/1795531265250-19ab/manifest.mpd";
const OBJECT: &str = "cam/rec/1795531265250-19ab/video/7.mp4";
const FILM: &str = "cam/mp4/2026/11/24/1795531265250.mp4";
const PLAYLIST: &[u8] =
    b"#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"audio.m3u8\",NAME=\"a\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\nvideo.m3u8\n";
/// Longer than what waits, and no multiple of anything.
const FILM_BYTES: usize = 1_300_007;

/// A film, a recording's playlists, and an object.
fn memory() -> Memory {
    let all = Reader::Reads(100_000);
    Memory::new()
        .with(INDEX, Bytes::from_static(PLAYLIST), Growth::Closed, all)
        .with(VIDEO, Bytes::from_static(b"#EXTM3U\n"), Growth::Growing, all)
        .with(MANIFEST, Bytes::from_static(b"<MPD/>\n"), Growth::Closed, all)
        .with(OBJECT, pattern(70_001), Growth::Closed, all)
        .with(FILM, pattern(FILM_BYTES), Growth::Closed, all)
}

#[test]
fn files_of_a_directory_are_given_out_whole_with_type_and_lifetime() {
    for io in BOTH {
        let dir = tempfile::tempdir().unwrap();
        for (path, content_type) in [
            (INDEX, "application/vnd.apple.mpegurl"),
            (VIDEO, "application/vnd.apple.mpegurl"),
            ("cam/rec/1795531265250-19ab/recording.json", "application/json"),
            (MANIFEST, "application/dash+xml"),
            (OBJECT, "video/mp4"),
            ("cam/rec/1795531265250-19ab/audio/init-1.mp4", "audio/mp4"),
            ("cam/vod-1795531265250.m3u8", "application/vnd.apple.mpegurl"),
            (FILM, "video/mp4"),
            ("cam/images/2026/11/24/1795531265250.jpg", "image/jpeg"),
            ("cam/motion/mp4/2026/11/24/1795531265250.mp4", "video/mp4"),
            ("cam/motion/images/2026/11/24/1795531265250.jpg", "image/jpeg"),
        ] {
            let bytes = pattern(content_type.len() * 40_000);
            let file = dir.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &bytes).unwrap();
            for (settles_after, cache) in [(0, "public, max-age=86400"), (3_600, "public, max-age=3")] {
                let files = Directory::new(dir.path(), Duration::from_secs(settles_after));
                let config = with_files(io, 1, Arc::new(files));
                let hls = HlsConfig { segment: Duration::from_secs(6), ..config.hls };
                let server = Server::start(Config { hls, ..config });
                let mut viewer = Viewer::connect(server.at.http);
                let got = viewer.get(&format!("/{path}"), "");
                assert_eq!((got.status, got.cut), (200, false), "{path}: {}", got.head);
                assert!(got.body == bytes, "{path}");
                for (name, value) in [
                    ("Content-Type", content_type),
                    ("Cache-Control", cache),
                    ("Accept-Ranges", "bytes"),
                    ("Access-Control-Allow-Origin", "*"),
                    ("Connection", "keep-alive"),
                ] {
                    assert_eq!(got.header(name), Some(value), "{path}");
                }
                let head = viewer.head(&format!("/{path}"), "Range: bytes=0-1\r\n");
                let unchanged = |line: &&str| !line.starts_with("Date: ");
                assert!(head.head.lines().filter(unchanged).eq(got.head.lines().filter(unchanged)), "{}", head.head);
                // The connection goes on behind both.
                assert_eq!(viewer.get("/healthz", "").text(), "ok\n");
                let tag = got.header("ETag").unwrap();
                let known = viewer.get(&format!("/{path}"), &format!("If-None-Match: {tag}\r\n"));
                assert_eq!((known.status, known.header("ETag")), (304, Some(tag)));
                assert_eq!(viewer.get("/cam/mp4/2026/11/24/1.mp4", "").status, 404);
                assert_eq!(viewer.get("/healthz", "").text(), "ok\n");
                assert_eq!(server.metric("millstream_recorded_requests_total", ""), 4);
                assert_eq!(server.metric("millstream_recorded_refused_total", "not_found"), 1);
                assert!(server.metric("millstream_recorded_sent_bytes_total", "") >= bytes.len() as u64);
            }
        }
    }
}

#[test]
fn every_range_is_that_slice_of_the_file() {
    for io in BOTH {
        let whole = pattern(FILM_BYTES);
        let server = Server::start(with_files(io, 2, Arc::new(memory())));
        let mut viewer = Viewer::connect(server.at.http);
        let mut check = |range: String, from: usize, to: usize| {
            let got = viewer.get(&format!("/{FILM}"), &format!("Range: bytes={range}\r\n"));
            assert_eq!((got.status, got.cut), (206, false), "{range}: {}", got.head);
            assert_eq!(got.header("Content-Range"), Some(&*format!("bytes {from}-{}/{FILM_BYTES}", to - 1)));
            assert!(got.body == whole[from..to], "{range}");
        };
        // Edges of the file, of pieces, of reads, and of what waits.
        let edges = [0, 1, 4_096, 65_536, 99_999, 100_000, 131_072, 262_144, 524_288, FILM_BYTES - 2, FILM_BYTES - 1];
        for first in edges {
            for last in edges.into_iter().filter(|last| *last >= first) {
                check(format!("{first}-{last}"), first, last + 1);
            }
            check(format!("{first}-"), first, FILM_BYTES);
            check(format!("{first}-99999999999"), first, FILM_BYTES);
            check(format!("-{}", first + 1), FILM_BYTES - first - 1, FILM_BYTES);
        }
        check("-99999999".to_owned(), 0, FILM_BYTES);
        let mut seed = 88_172_645_463_325_252_u64;
        let mut below = |end: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % end as u64) as usize
        };
        for _ in 0..400 {
            let first = below(FILM_BYTES);
            let longest = if below(10) == 0 { FILM_BYTES } else { 3_000 };
            let last = (first + below(longest)).min(FILM_BYTES - 1);
            check(format!("{first}-{last}"), first, last + 1);
        }
    }
}

#[test]
fn ranges_that_there_are_not_and_preconditions() {
    let files = Arc::new(memory().with("cam/mp4/2026/11/24/1.mp4", Bytes::new(), Growth::Closed, Reader::Reads(1)));
    let server = Server::start(with_files(IoChoice::Auto, 1, Arc::clone(&files) as _));
    let mut viewer = Viewer::connect(server.at.http);
    let film = format!("/{FILM}");
    let tag = viewer.head(&film, "").header("ETag").unwrap().to_owned();
    for (headers, status, bytes) in [
        ("Range: bytes=1300007-".to_owned(), 416, 0),
        ("Range: bytes=-0".to_owned(), 416, 0),
        // Several, another unit, and what is no range: all of it (RFC 9110, 14.2).
        ("Range: bytes=0-1,5-6".to_owned(), 200, FILM_BYTES),
        ("Range: items=0-1".to_owned(), 200, FILM_BYTES),
        ("Range: bytes=5-4".to_owned(), 200, FILM_BYTES),
        (format!("Range: bytes=0-9\r\nIf-Range: {tag}"), 206, 10),
        (format!("Range: bytes=0-9\r\nIf-Range: {MODIFIED}"), 206, 10),
        ("Range: bytes=0-9\r\nIf-Range: \"other\"".to_owned(), 200, FILM_BYTES),
        (format!("If-None-Match: \"x\", W/{tag}"), 304, 0),
        ("If-None-Match: \"x\"\r\nIf-None-Match: *".to_owned(), 304, 0),
        (format!("If-Modified-Since: {MODIFIED}"), 304, 0),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT".to_owned(), 200, FILM_BYTES),
        (format!("If-Match: {tag}\r\nRange: bytes=0-9"), 206, 10),
        ("If-Match: \"x\"".to_owned(), 412, 0),
        ("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT".to_owned(), 412, 0),
    ] {
        let got = viewer.get(&film, &format!("{headers}\r\n"));
        assert_eq!((got.status, got.cut), (status, false), "{headers}: {}", got.head);
        if status != 412 {
            assert_eq!(got.body.len(), bytes, "{headers}");
        }
        let is_kept = got.header("Cache-Control") == Some("public, max-age=86400");
        assert_eq!(is_kept, !matches!(status, 412 | 416), "{headers}: {}", got.head);
        assert_eq!(got.header("Last-Modified").is_some(), is_kept);
        if status == 416 {
            assert_eq!(got.header("Content-Range"), Some("bytes */1300007"));
        }
    }
    let empty = "/cam/mp4/2026/11/24/1.mp4";
    assert_eq!(viewer.get(empty, "").header("Content-Length"), Some("0"));
    assert_eq!(viewer.get(empty, "Range: bytes=0-\r\n").status, 416);
    assert_eq!(viewer.get("/healthz", "").text(), "ok\n");
    // A store can be asked for the range at once.
    let asked = files.seen.asked.lock().unwrap();
    assert!(asked[0].head_only && asked[0].range.is_none());
    assert_eq!(asked[1].range.unwrap().to_string(), "bytes=1300007-");
    assert_eq!(asked[3].range, None);
    eventually("all are over", || server.metric("millstream_recorded_answers", "") == 0);
    assert_eq!(server.metric("millstream_recorded_refused_total", "range"), 3);
    assert_eq!(server.metric("millstream_recorded_refused_total", "precondition"), 2);
}

#[test]
fn many_answers_on_one_connection_also_when_they_are_asked_for_at_once() {
    for io in BOTH {
        let server = Server::start(with_files(io, 1, Arc::new(memory())));
        let (object, film) = (pattern(70_001), pattern(FILM_BYTES));
        let mut viewer = Viewer::connect(server.at.http);
        for _ in 0..20 {
            viewer.ask("GET", &format!("/{OBJECT}"), "");
            viewer.ask("HEAD", &format!("/{FILM}"), "");
            viewer.ask("GET", &format!("/{FILM}"), "Range: bytes=-100\r\n");
            viewer.ask("GET", "/cam/vod-5.m3u8", "");
        }
        for _ in 0..20 {
            assert!(viewer.answer(false).body == object);
            assert_eq!(viewer.answer(true).header("Content-Length"), Some(&*FILM_BYTES.to_string()));
            assert!(viewer.answer(false).body == film[FILM_BYTES - 100..]);
            assert_eq!(viewer.answer(false).status, 404);
        }
        viewer.ask("GET", &format!("/{OBJECT}"), "Connection: close\r\n");
        assert!(viewer.answer(false).body == object && viewer.is_closed());
        // HTTP/1.0, which has no chunks.
        let mut old = Viewer::connect(server.at.http);
        std::io::Write::write_all(&mut old.socket, format!("GET /{OBJECT} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        assert!(old.answer(false).body == object && old.is_closed());
    }
}

#[test]
fn paths_that_lead_elsewhere_ask_nobody() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "secret").unwrap();
    std::fs::create_dir_all(dir.path().join("in/cam")).unwrap();
    let server =
        Server::start(with_files(IoChoice::Auto, 1, Arc::new(Directory::new(&dir.path().join("in"), Duration::ZERO))));
    let files = Arc::new(memory());
    let asked = Server::start(with_files(IoChoice::Auto, 1, Arc::clone(&files) as _));
    for path in [
        "/cam/rec/../../secret",
        "/cam/rec/%2e%2e/%2e%2e/secret",
        "/cam/rec/%252e%252e/%252e%252e/secret",
        "/cam/rec/..%2f..%2fsecret/index.m3u8",
        "/cam/rec/1-a/video/..%2f..%2f..%2fsecret",
        "/cam/rec/1-a/video/%2e%2e%5csecret.mp4",
        "/cam/rec/1-a/video/.mp4",
        "/cam/rec/1-a/secret",
        "/cam/rec/1-a%00/index.m3u8",
        "/cam/rec/1-a/video/a%00.mp4",
        "/cam/mp4/2026/11/24/../../../../../secret",
        "/cam/mp4/2026/11/24/1795531265250.mp4%2f..",
        "/cam/mp4/2026/011/24/1795531265250.mp4",
        "/cam/images/2026/11/24/secret.jpg",
        "/cam/motion/secret/2026/11/24/1.mp4",
        "/cam/vod-..m3u8",
        "/cam/vod-1%2f..%2f..%2fsecret.m3u8",
        "/%2e%2e/rec/1-a/index.m3u8",
        "/a.b/rec/1-a/index.m3u8",
    ] {
        for server in [&server, &asked] {
            let answer = Answer::get(server.at.http, path);
            assert!(matches!(answer.status(), 400 | 404), "{path}: {}", answer.text());
            assert!(!answer.text().ends_with("secret") && answer.text().contains("no-store"), "{path}");
        }
    }
    assert_eq!(files.seen.asked.lock().unwrap().len(), 0);
    // Who gets a name wrong is told how they look.
    let answer = Answer::get(server.at.http, "/cam/rec/latest/index.m3u8").text();
    assert!(answer.contains("a recording is named by the Unix time of its start"), "{answer}");
}

#[test]
fn a_recording_has_a_page_whose_scripts_are_there() {
    let server = Server::start(with_files(IoChoice::Auto, 1, Arc::new(memory())));
    let mut viewer = Viewer::connect(server.at.http);
    let page = viewer.get("/cam/rec/1795531265250-19ab/index.html", "");
    assert_eq!((page.status, page.header("Content-Type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.header("Cache-Control"), Some("public, max-age=600"));
    let text = page.text();
    let assets: Vec<&str> = text.split('"').filter(|word| word.starts_with("/.assets/")).collect();
    assert!(assets.len() >= 4, "{text}");
    for asset in assets {
        assert_eq!(viewer.get(asset, "").status, 200, "{asset}");
    }
    for (path, to) in [("/cam/rec/1-a?token=x", "1-a/index.html?token=x"), ("/cam/rec/1-a/", "index.html")] {
        let got = viewer.get(path, "");
        assert_eq!((got.status, got.header("Location")), (302, Some(to)), "{path}");
    }
    assert_eq!(viewer.get("/cam/rec/latest/index.html", "").status, 404);
}

#[test]
fn a_server_without_recordings_says_so() {
    let server = Server::start(config(IoChoice::Auto, 1));
    for path in [INDEX, OBJECT, FILM, "cam/vod-1.m3u8", "cam/rec/1795531265250-19ab/index.html"] {
        let answer = Answer::get(server.at.http, &format!("/{path}"));
        assert_eq!(answer.status(), 404);
        assert!(answer.text().ends_with("this server gives out no recordings\n"), "{}", answer.text());
    }
}

/// Lets those in who know the word, asked over `recorded`.
struct Knows;

impl Policy for Knows {
    fn name(&self) -> &'static str {
        "knows"
    }

    fn decide(&self, request: &Request, _context: DecisionContext<'_>) -> Step {
        assert_eq!(request.client.protocol, "recorded");
        match request.params.get("token") {
            Some("right") => Step::Allow(Grant::default()),
            _ => Denial::step(Why::Forbidden, "only those who know the word"),
        }
    }

    fn reads_params(&self, _request: &Request) -> bool {
        true
    }
}

fn protected(io: IoChoice, edge_secrets: Vec<Secret>, files: Arc<Memory>) -> (Server, GrantKeys) {
    let keys = GrantKeys::new(&MasterKey::new([5; 32]), 1);
    let grants = GrantConfig {
        keys: Some(GrantKeys::new(&MasterKey::new([5; 32]), 1)),
        previews: None,
        life: Duration::from_mins(1),
        edge_secrets,
    };
    let config = Config { grants, ..with_files(io, 2, files) };
    (Server::start_with(config, Chain::new(vec![shared(Open)], vec![shared(Knows)])), keys)
}

#[test]
fn a_protected_recording_is_for_those_who_are_let_in_and_for_grants() {
    for io in BOTH {
        let edges = vec![Secret::new("the edge's secret word")];
        let (server, keys) = protected(io, edges, Arc::new(memory()));
        let get = |path: &str, headers: &str| Viewer::connect(server.at.http).get(path, headers);
        for path in [INDEX, VIDEO, MANIFEST, OBJECT, FILM] {
            assert_eq!(get(&format!("/{path}"), "").status, 403, "{path}");
            assert_eq!(get(&format!("/{path}?token=wrong"), "").status, 403, "{path}");
        }
        // A grant stands for all of them, at every shard, and caches keep nothing of it for others.
        let grant = PlayGrant { expiry_unix_s: 99_999_999_999, session: GrantSession::new([3; 12]) };
        let grant = keys.make(&Id::new("cam").unwrap(), grant);
        for path in [INDEX, VIDEO, MANIFEST, OBJECT, FILM] {
            for _ in 0..4 {
                let got = get(&format!("/g/{}/{path}", grant.expose()), "");
                assert_eq!(got.status, 200, "{path}: {}", got.text());
                assert!(got.header("Cache-Control").unwrap().starts_with("private, max-age="), "{}", got.head);
            }
        }
        let other = format!("/g/{}/other/rec/1795531265250-19ab/index.m3u8", grant.expose());
        assert_eq!(get(&other, "").status, 403);
        // An edge has checked its viewers.
        let edge = get(&format!("/{OBJECT}"), "X-Millstream-Edge: the edge's secret word\r\n");
        assert_eq!((edge.status, edge.header("Cache-Control")), (200, Some("public, max-age=86400")));
        // The playlist takes the word along to those that it names, and lets its address have the media.
        let index = get(&format!("/{INDEX}?token=right"), "Range: bytes=0-1\r\nIf-None-Match: *\r\n");
        assert_eq!((index.status, index.header("Cache-Control")), (200, Some("no-store")));
        assert!(
            index.text().contains("URI=\"audio.m3u8?token=right\"")
                && index.text().ends_with("\nvideo.m3u8?token=right\n")
        );
        assert_eq!(get(&format!("/{VIDEO}?token=right"), "").text(), "#EXTM3U\n");
        // The manifest names the media itself: there is nothing that it has to take the word to.
        let manifest = get(&format!("/{MANIFEST}?token=right"), "");
        assert_eq!((manifest.status, manifest.header("Content-Type")), (200, Some("application/dash+xml")));
        assert_eq!(manifest.text(), "<MPD/>\n");
        let edge = get(&format!("/{MANIFEST}"), "X-Millstream-Edge: the edge's secret word\r\n");
        assert_eq!(edge.status, 200);
        for _ in 0..8 {
            assert_eq!(get(&format!("/{OBJECT}"), "").status, 200, "at either shard");
        }
        assert_eq!(get(&format!("/{FILM}"), "").status, 403, "a film is asked about itself");
        assert_eq!(get(&format!("/{FILM}?token=right"), "Range: bytes=5-9\r\n").status, 206);
        assert!(server.metric("millstream_refused_total", "forbidden") >= 8);
    }
}

#[test]
fn without_edges_who_knows_a_medias_name_has_it_as_for_live_streams() {
    let files = Arc::new(memory());
    let (server, _) = protected(IoChoice::Auto, Vec::new(), Arc::clone(&files));
    let mut viewer = Viewer::connect(server.at.http);
    assert_eq!(viewer.get(&format!("/{OBJECT}"), "").status, 200);
    assert_eq!(viewer.get(&format!("/{VIDEO}"), "").status, 403);
    assert_eq!(viewer.get(&format!("/{FILM}"), "").status, 403);
    assert_eq!(files.seen.asked.lock().unwrap().len(), 1, "who is refused costs no read");
}

#[test]
fn a_drain_lets_those_go_on_who_watch_already() {
    let config = with_files(IoChoice::Auto, 1, Arc::new(memory()));
    let server = Server::start(Config { drain: Duration::from_secs(3), ..config });
    let mut viewer = Viewer::connect(server.at.http);
    let first = viewer.get(&format!("/{FILM}"), "");
    assert_eq!(first.status, 200);
    server.engine().shutdown();
    eventually("it drains", || Answer::get(server.at.http, "/healthz").status() == 503);
    let get = |path: &str, headers: &str| Viewer::connect(server.at.http).get(path, headers).status;
    assert_eq!(get(&format!("/{VIDEO}"), ""), 200);
    assert_eq!(get(&format!("/{OBJECT}"), ""), 200);
    assert_eq!(get(&format!("/{FILM}"), "Range: bytes=1000-\r\n"), 206);
    assert_eq!(get(&format!("/{FILM}"), "Range: bytes=0-\r\n"), 503);
    assert_eq!(get(&format!("/{INDEX}"), ""), 503);
    assert_eq!(get(&format!("/{MANIFEST}"), ""), 503);
    assert_eq!(get("/cam/vod-1.m3u8", ""), 503);
    server.wait();
}

#[test]
fn a_thousand_ranges_at_once() {
    for io in BOTH {
        let files = Arc::new(memory());
        let server = Server::start(with_files(io, 2, Arc::clone(&files) as _));
        let whole = pattern(FILM_BYTES);
        let range = |n: usize| (n * 1_297, (n * 1_297 + 1 + n * 37 % 90_000).min(FILM_BYTES));
        // Each asks as soon as it is there: those that do not count against another limit.
        let asks = |n| {
            let ((from, to), mut viewer) = (range(n), Viewer::connect(server.at.http));
            viewer.ask("GET", &format!("/{FILM}"), &format!("Range: bytes={from}-{}\r\n", to - 1));
            viewer
        };
        let mut viewers: Vec<_> = (0..1_000).map(asks).collect();
        for (n, viewer) in viewers.iter_mut().enumerate() {
            let (from, to) = range(n);
            let got = viewer.answer(false);
            assert_eq!((got.status, got.cut), (206, false), "{n}: {} {}", got.head, got.text());
            assert!(got.body == whole[from..to], "{n}");
        }
        assert_eq!(files.seen.gone.load(Ordering::SeqCst), 0);
        eventually("all are over", || server.metric("millstream_recorded_answers", "") == 0);
        assert_eq!(server.metric("millstream_session_panics_total", ""), 0);
    }
}
