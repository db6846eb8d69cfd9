//! Renditions over HTTP: begun when somebody asks for one, published by whoever has its job's token, cut where the source is, ended when nobody
//! has asked for a while.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_control_protocol::state::{Rendition as Said, Stream};
use millstream_control_protocol::watermark::Watermark as SaidMark;
use millstream_engine::admin::remote::OfRecord;
use millstream_engine::config::{Config, IoChoice};
use millstream_engine::directory::Directory;
use millstream_engine::renditions::{RenditionConfig, Transcoder};
use millstream_hub::config::{FlushPolicy, Rendition, StreamConfig};
use millstream_proto::id::{Id, RenditionName};
use millstream_proto::media::TagKind;
use millstream_proto::rtmp::client::ClientRole;
use millstream_proto::sign::job::JobKey;
use millstream_proto::watermark::Watermark;

use crate::admin::{Told, ask};
use crate::harness::{
    Answer, BOTH, Flv, Rtmp, Server, Tag, config, connect, contains, eventually, frame, head, number, read_for,
};

const KEY: [u8; 32] = [7; 32];
/// H.264 of 322x182.
const AVCC: &[u8] = include_bytes!("../../../proto/tests/data/avcc.bin");
/// Frames that are one segment of two seconds.
const SEGMENT: u32 = 100;

/// Writes down what it is asked for.
#[derive(Default)]
struct Asked(Mutex<Vec<String>>, Mutex<Vec<String>>);

impl Transcoder for Asked {
    fn want(&self, stream: &Id, rendition: &Rendition) {
        self.0.lock().unwrap().push(format!("+{stream}/{}", rendition.name));
    }

    fn mark(&self, stream: &Id, watermark: Option<&Arc<Watermark>>) {
        let text = watermark.and_then(|mark| mark.text.as_ref()).map_or("", |text| &text.text);
        let said = format!("{stream} marked {text}");
        let mut marks = self.1.lock().unwrap();
        if marks.last() != Some(&said) {
            marks.push(said);
        }
    }

    fn unwant(&self, rendition: &Id) {
        self.0.lock().unwrap().push(format!("-{rendition}"));
    }

    fn snapshot(&self, shard: usize, stream: &Id) {
        self.0.lock().unwrap().push(format!("picture of {stream} for {shard}"));
    }
}

impl Asked {
    fn so_far(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn start(io: IoChoice, shards: usize) -> (Server, Arc<Asked>) {
    let said =
        |name: &str, width, height| Said { name: name.to_owned(), width, height, video_kbit_s: 100, ..Said::default() };
    let renditions = vec![said("90p", 160, 90), said("360p", 640, 360)];
    let cam = Stream { id: "cam".to_owned(), renditions, ..Stream::default() };
    let asked = Arc::new(Asked::default());
    let base = config(io, shards);
    let stream = StreamConfig { flush: FlushPolicy::Low, publisher_wait: Duration::ZERO, ..base.stream };
    let renditions = RenditionConfig::new(asked.clone(), KEY);
    (Server::start(Config { directory: Directory::new([&cam]), renditions, stream, ..base }), asked)
}

fn cam() -> Id {
    Id::new("cam").unwrap()
}

fn small() -> Id {
    cam().of_rendition(&RenditionName::new("90p").unwrap())
}

fn configurations() -> Vec<Tag> {
    let mut head = head();
    head[0] = (TagKind::Video, 0, [&[0x17, 0, 0, 0, 0][..], AVCC].concat());
    head
}

/// Publishes as a worker does.
fn as_worker(server: &Server) -> Rtmp {
    let token = JobKey::new(KEY).token(&small());
    let mut worker = Rtmp::connect(server.at.rtmp, &format!("cam/90p?job={}", token.expose()), ClientRole::Publish);
    worker.ready();
    worker.send(configurations());
    worker
}

fn get(server: &Server, path: &str) -> String {
    Answer::get(server.at.http, path).text()
}

/// Lines of whole segments: their lengths, and the sequence number of the first one.
fn segments(playlist: &str) -> (u64, Vec<String>) {
    let first = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    let lengths = playlist.lines().filter(|line| line.starts_with("#EXTINF")).map(str::to_owned).collect();
    (first.unwrap_or_else(|| panic!("{playlist}")).parse().unwrap(), lengths)
}

/// What a playlist has reports on.
fn reported(playlist: &str) -> Vec<&str> {
    let reports = playlist.lines().filter_map(|line| line.strip_prefix("#EXT-X-RENDITION-REPORT:URI=\""));
    reports.filter_map(|rest| rest.split('"').next()).collect()
}

/// A quoted attribute of the representation with that id.
fn attribute<'a>(manifest: &'a str, representation: &str, name: &str) -> &'a str {
    let of = manifest.split("<Representation id=\"").find(|rest| rest.starts_with(representation));
    let value = of.and_then(|of| of.split_once(&format!(" {name}=\"")));
    value
        .and_then(|(_, value)| value.split('"').next())
        .unwrap_or_else(|| panic!("{representation} {name}: {manifest}"))
}

#[test]
fn a_segment_that_the_manifest_of_all_renditions_names_is_made_when_somebody_asks_for_it() {
    for (io, shards) in [(IoChoice::Auto, 1), (IoChoice::Auto, 2)] {
        let (server, asked) = start(io, shards);
        let mut publisher = server.publish("cam");
        publisher.send(configurations());
        publisher.send((0..3 * SEGMENT + 20).map(frame));
        let manifest = get(&server, "/cam/index.mpd");
        assert!(manifest.contains("Content-Type: application/dash+xml\r\n"), "{manifest}");
        assert!(!get(&server, "/cam/manifest.mpd").contains("90p"), "the source alone");
        assert_eq!(attribute(&manifest, "90p", "width"), "160");
        let first: u64 = attribute(&manifest, "90p", "startNumber").parse().unwrap();
        assert_eq!(first.to_string(), attribute(&manifest, "v", "startNumber"));
        let path = |number: u64| {
            format!("/cam/{}", attribute(&manifest, "90p", "media").replace("$Number$", &number.to_string()))
        };
        let (header, at) = (format!("/cam/{}", attribute(&manifest, "90p", "initialization")), server.at.http);
        assert!(asked.so_far().is_empty(), "listed, and not made yet");
        // Nobody else's session, and nothing that has never been there, begins one that answers.
        assert!(get(&server, &path(first).replace("/v/", "/x/")).starts_with("HTTP/1.1 404"));
        let ask = |path: String| std::thread::spawn(move || Answer::get(at, &path));
        let waiting = [ask(header.clone()), ask(path(first + 1))];
        eventually("it is asked for", || asked.so_far() == ["+cam/90p"]);
        let mut worker = as_worker(&server);
        worker.send((SEGMENT..3 * SEGMENT + 20).map(frame));
        let [header, segment] = waiting.map(|waiting| waiting.join().unwrap());
        for (answer, begins) in [(&header, b"ftyp"), (&segment, b"moof")] {
            let head = answer.head();
            assert!(
                head.starts_with("HTTP/1.1 200") && head.contains("Cache-Control: public, max-age=10\r\n"),
                "{head}"
            );
            assert!(answer.body().windows(4).take(40).any(|bytes| bytes == begins), "{begins:?}");
        }
        // The same by the name that its own playlists have for it.
        let playlist = get(&server, "/cam/90p/video.m3u8");
        let own = playlist.lines().find(|line| line.ends_with(&format!("/{}.m4s", first + 1)));
        let own = Answer::get(at, &format!("/cam/90p/{}", own.unwrap_or_else(|| panic!("{playlist}"))));
        assert_eq!(own.body(), segment.body());
        // One that it was not made for is not there; one that comes is waited for.
        assert!(get(&server, &path(first)).starts_with("HTTP/1.1 404"));
        assert!(get(&server, &path(first + 900)).starts_with("HTTP/1.1 404"));
        let waiting = ask(path(first + 3));
        publisher.send((3 * SEGMENT + 20..4 * SEGMENT + 20).map(frame));
        eventually("the source goes on", || segments(&get(&server, "/cam/video.m3u8")).1.len() >= 4);
        worker.send((3 * SEGMENT + 20..4 * SEGMENT + 20).map(frame));
        assert_eq!(waiting.join().unwrap().status(), 200);
        assert_eq!(server.metric("millstream_session_panics_total", ""), 0);
    }
}

#[test]
fn a_rendition_is_made_when_somebody_asks_and_has_its_sources_segments() {
    for (io, shards) in BOTH.into_iter().flat_map(|io| [(io, 1), (io, 2)]) {
        let (server, asked) = start(io, shards);
        let mut publisher = server.publish("cam");
        publisher.send(configurations());
        publisher.send((0..3 * SEGMENT + 20).map(frame));
        let index = get(&server, "/cam/index.m3u8");
        assert!(index.contains("RESOLUTION=322x182") && index.contains("RESOLUTION=160x90"), "{index}");
        assert!(index.ends_with("\n90p/video.m3u8\n") && !index.contains("360p"), "not blown up: {index}");
        assert!(!get(&server, "/cam/live.m3u8").contains("90p"), "the source alone");
        assert!(asked.so_far().is_empty(), "listed, and not made yet");
        let source = get(&server, "/cam/video.m3u8");
        assert_eq!(reported(&source), ["audio.m3u8", "90p/video.m3u8"], "{source}");
        let of_audio = get(&server, "/cam/audio.m3u8");
        assert_eq!(reported(&of_audio), ["video.m3u8", "90p/video.m3u8"], "{of_audio}");
        assert!(asked.so_far().is_empty(), "reported, and not made yet");

        let at = server.at.http;
        let waiting = std::thread::spawn(move || Answer::get(at, "/cam/90p/video.m3u8").text());
        eventually("it is asked for", || asked.so_far() == ["+cam/90p"]);
        let mut worker = as_worker(&server);
        worker.send((0..3 * SEGMENT + 20).map(frame));
        let playlist = waiting.join().unwrap();
        assert_eq!(segments(&playlist).0, segments(&source).0, "{playlist}");
        for track in ["video", "audio"] {
            let path = format!("{track}.m3u8");
            eventually("all of it is there", || {
                segments(&get(&server, &format!("/cam/90p/{path}"))) == segments(&get(&server, &format!("/cam/{path}")))
            });
        }
        let of_rendition = get(&server, "/cam/90p/video.m3u8");
        assert_eq!(reported(&of_rendition), ["audio.m3u8", "../video.m3u8", "../audio.m3u8"]);
        assert_eq!(reported(&get(&server, "/cam/90p/audio.m3u8")), ["video.m3u8"]);
        let own = get(&server, "/cam/90p/index.m3u8");
        assert!(own.ends_with("\nvideo.m3u8\n") && !own.contains("90p/"), "{own}");
        // What comes next has the next number in both.
        publisher.send((3 * SEGMENT + 20..5 * SEGMENT + 20).map(frame));
        // A worker has nothing that the source has not had before.
        eventually("the source goes on", || segments(&get(&server, "/cam/video.m3u8")).1.len() >= 5);
        worker.send((3 * SEGMENT + 20..5 * SEGMENT + 20).map(frame));
        eventually("both go on", || {
            let both = ["/cam/video.m3u8", "/cam/90p/video.m3u8"].map(|path| segments(&get(&server, path)));
            both[0] == both[1] && both[0].1.len() >= 5
        });
        assert!(get(&server, "/cam/90p/manifest.mpd").contains("<AdaptationSet "));
        let mut flv = Flv::open(server.at.http, "cam/90p", 1);
        worker.send([frame(5 * SEGMENT + 20), frame(5 * SEGMENT + 21)]);
        flv.until_frame(5 * SEGMENT + 21);
        let stamp = flv.tags.iter().find(|tag| number(tag) == Some(5 * SEGMENT + 20)).unwrap().1;
        assert_eq!(stamp, (5 * SEGMENT + 20) * 20, "the source's stamp");

        // To the outside there is one stream, and who watches a rendition watches it.
        let remote = server.engine().remote();
        let live = ask(remote.on_air()).unwrap();
        assert_eq!(live.iter().map(|live| live.id.as_str()).collect::<Vec<_>>(), ["cam"]);
        let flv_viewers = live[0].viewers.iter().find(|viewers| viewers.protocol == "http-flv");
        assert_eq!(flv_viewers.map(|viewers| viewers.count), Some(1));
        drop(flv);

        // The source ends, and so does the rendition, with all of it.
        drop(publisher);
        drop(worker);
        eventually("it ends", || get(&server, "/cam/90p/video.m3u8").contains("#EXT-X-ENDLIST"));
        eventually("nobody wants it any more", || asked.so_far().last().is_some_and(|last| last == "-cam/90p"));
        assert_eq!(server.metric("millstream_session_panics_total", ""), 0);
    }
}

#[test]
fn what_somebody_chooses_for_a_stream_goes_before_its_record() {
    let (server, asked) = start(IoChoice::Auto, 2);
    let mut publisher = server.publish("cam");
    publisher.send(configurations());
    publisher.send((0..2 * SEGMENT + 20).map(frame));
    let (remote, id) = (server.engine().remote(), cam());
    let index = || get(&server, "/cam/index.m3u8");
    assert!(index().contains("\n90p/video.m3u8"));
    let tiny = Rendition {
        name: RenditionName::new("60p").unwrap(),
        width_max: 108,
        height_max: 60,
        video_kbit_s: 90,
        codec: None,
        marked: false,
        always: false,
    };
    ask(remote.set_ladder(&id, Some([tiny].into()))).unwrap();
    let chosen = index();
    assert!(chosen.contains("\n60p/video.m3u8") && !chosen.contains("90p"), "{chosen}");
    let at = server.at.http;
    let waiting = std::thread::spawn(move || Answer::get(at, "/cam/60p/video.m3u8"));
    eventually("it is asked for", || asked.so_far() == ["+cam/60p"]);
    assert_eq!(Answer::get(at, "/cam/90p/video.m3u8").status(), 404);
    // The record says what it did, and an empty choice is none.
    let of_record = ask(remote.of_records(&[id.clone(), Id::new("nobodys").unwrap()])).unwrap();
    assert!(of_record[0].record.is_some() && of_record[0].renditions.as_ref().is_some_and(|all| all.len() == 2));
    assert_eq!(of_record[1], OfRecord::default());
    ask(remote.set_ladder(&id, Some([].into()))).unwrap();
    assert!(!index().contains("90p/") && !index().contains("60p/"));
    eventually("what is no longer offered is no longer made", || {
        asked.so_far().last().is_some_and(|last| last == "-cam/60p")
    });
    ask(remote.set_ladder(&id, None)).unwrap();
    assert!(index().contains("\n90p/video.m3u8"));
    drop(publisher);
    drop(waiting.join());
}

#[test]
fn what_is_to_be_made_always_is_made_without_a_viewer_as_long_as_its_stream_is_on_air() {
    let (server, asked) = start(IoChoice::Auto, 2);
    let remote = server.engine().remote();
    let constant = |name: &str, always| Rendition {
        name: RenditionName::new(name).unwrap(),
        width_max: 108,
        height_max: 60,
        video_kbit_s: 90,
        codec: None,
        marked: false,
        always,
    };
    let mut publisher = server.publish("cam");
    ask(remote.set_ladder(&cam(), Some([constant("50p", false), constant("60p", true)].into()))).unwrap();
    publisher.send(configurations());
    publisher.send((0..SEGMENT + 20).map(frame));
    let _on_air = publisher.go_on(SEGMENT + 20);
    eventually("it is asked for", || asked.so_far() == ["+cam/60p"]);
    // Longer than one is kept that nobody asks for.
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(asked.so_far(), ["+cam/60p"], "by nobody");
    ask(remote.set_ladder(&cam(), Some([constant("50p", false), constant("60p", false)].into()))).unwrap();
    eventually("it is as any other", || asked.so_far() == ["+cam/60p", "-cam/60p"]);
}

#[test]
fn viewers_are_told_of_a_marker() {
    let (server, _asked) = start(IoChoice::Auto, 2);
    let mut publisher = server.publish("cam");
    publisher.send(configurations());
    publisher.send((0..2 * SEGMENT).map(frame));
    let _on_air = publisher.go_on(2 * SEGMENT);
    let mut viewers = [Flv::open(server.at.http, "cam", 1), Flv::open(server.at.http, "cam", 0)];
    for viewer in &mut viewers {
        viewer.until("media", |viewer| viewer.tags.iter().any(|tag| number(tag).is_some()));
    }
    // Each on another shard, with playlists of its own: they are asked for until both have what is told of.
    let listed = |path: &str, words: &str| {
        let mut found = 0;
        eventually("what is in playlists", || {
            found += usize::from(get(&server, path).contains(words));
            found > 8
        });
    };
    listed("/cam/video.m3u8", "#EXT-X-PART:");
    listed("/cam/audio.m3u8", "#EXT-X-PART:");
    let pairs = vec![("kind".to_owned(), "goal".to_owned()), ("uri".to_owned(), "a".to_owned())];
    let remote = server.engine().remote();
    assert_eq!(ask(remote.mark(&cam(), pairs.clone().into())), Ok(true));
    for viewer in &mut viewers {
        viewer.until("the marker", |viewer| {
            let is_marker = |(kind, _, body): &Tag| {
                *kind == TagKind::Script && contains(body, "marker") && contains(body, "kind") && contains(body, "goal")
            };
            viewer.tags.iter().filter(|tag| is_marker(tag)).count() == 1
        });
    }
    listed("/cam/video.m3u8", ",X-KIND=\"goal\",X-URI=\"a\"\n");
    listed("/cam/audio.m3u8", ",X-KIND=\"goal\",X-URI=\"a\"\n");
    listed("/cam/manifest.mpd", ",\"kind\",\"goal\",\"uri\",\"a\"]</Event>");
    assert_eq!(ask(remote.mark(&Id::new("nobodys").unwrap(), pairs.into())), Ok(false));
}

#[test]
fn what_nobody_asks_for_is_no_longer_made_and_comes_back_when_somebody_does() {
    let (server, asked) = start(IoChoice::Auto, 1);
    let mut publisher = server.publish("cam");
    publisher.send(configurations());
    publisher.send((0..2 * SEGMENT + 20).map(frame));
    let mut worker = {
        let at = server.at.http;
        let waiting = std::thread::spawn(move || Answer::get(at, "/cam/90p/video.m3u8").text());
        eventually("it is asked for", || asked.so_far() == ["+cam/90p"]);
        let mut worker = as_worker(&server);
        worker.send((0..2 * SEGMENT + 20).map(frame));
        assert!(waiting.join().unwrap().contains("#EXTINF"));
        worker
    };
    let mut sent = 2 * SEGMENT + 20;
    let mut wait_s = |seconds: u32| {
        for _ in 0..seconds {
            std::thread::sleep(Duration::from_secs(1));
            // It is on air all the time.
            publisher.send([frame(sent)]);
            sent += 1;
        }
    };
    wait_s(9);
    assert_eq!(asked.so_far().len(), 1, "a player that pauses for a moment finds it");
    wait_s(3);
    assert_eq!(asked.so_far(), ["+cam/90p", "-cam/90p"]);
    // Its worker finds that it is not wanted.
    worker.send([frame(2 * SEGMENT + 20)]);
    eventually("the worker is sent away", || read_for(&mut worker.socket, Duration::from_millis(50)).1);
    publisher.send((sent..4 * SEGMENT + 20).map(frame));
    let at = server.at.http;
    let waiting = std::thread::spawn(move || Answer::get(at, "/cam/90p/video.m3u8").text());
    eventually("it is asked for again", || asked.so_far().len() == 3);
    let mut worker = as_worker(&server);
    worker.send((3 * SEGMENT..4 * SEGMENT + 20).map(frame));
    let (first, lengths) = segments(&waiting.join().unwrap());
    let (of_source, _) = segments(&get(&server, "/cam/video.m3u8"));
    assert_eq!((first, lengths.len()), (of_source + 3, 1), "in the segment that the source is in");
}

#[test]
fn a_worker_that_comes_back_leaves_a_gap_and_ends_nothing() {
    let (server, asked) = start(IoChoice::Auto, 1);
    let mut publisher = server.publish("cam");
    publisher.send(configurations());
    publisher.send((0..SEGMENT + 20).map(frame));
    let at = server.at.http;
    let waiting = std::thread::spawn(move || Answer::get(at, "/cam/90p/video.m3u8").text());
    eventually("it is asked for", || !asked.so_far().is_empty());
    let mut worker = as_worker(&server);
    worker.send((0..SEGMENT + 20).map(frame));
    assert!(waiting.join().unwrap().contains("#EXTINF"));
    drop(worker);
    publisher.send((SEGMENT + 20..4 * SEGMENT + 20).map(frame));
    let mut worker = as_worker(&server);
    worker.send((2 * SEGMENT + 40..4 * SEGMENT + 20).map(frame));
    eventually("the segments are those of the source", || {
        let (own, of_source) = (get(&server, "/cam/90p/video.m3u8"), get(&server, "/cam/video.m3u8"));
        segments(&own) == segments(&of_source) && own.matches("#EXT-X-GAP").count() == 1
    });
    assert!(!get(&server, "/cam/90p/video.m3u8").contains("#EXT-X-DISCONTINUITY\n"));
    assert_eq!(asked.so_far().len(), 1, "it was wanted all the time");
}

#[test]
fn nobody_else_publishes_a_rendition_or_reads_as_a_worker() {
    let (server, asked) = start(IoChoice::Auto, 1);
    let mut publisher = server.publish("cam");
    publisher.send(configurations());
    publisher.send((0..SEGMENT).map(frame));
    let _on_air = publisher.go_on(SEGMENT);
    let right = JobKey::new(KEY).token(&small());
    let of_source = JobKey::new(KEY).token(&cam());
    // Not wanted by anybody, even with the right token.
    for name in [
        "cam/90p",
        "cam/90p?job=x",
        &format!("cam/90p?job={}", of_source.expose()),
        &format!("cam/90p?job={}", right.expose()),
    ] {
        let mut worker = Rtmp::connect(server.at.rtmp, name, ClientRole::Publish);
        eventually("it is refused", || read_for(&mut worker.socket, Duration::from_millis(50)).1);
    }
    for path in [
        "/cam/480p/video.m3u8",
        "/cam/360p/video.m3u8",
        "/cam/90p/live.flv?job=x&start=none",
        "/other/90p/video.m3u8",
        "/cam/90p/90p/video.m3u8",
    ] {
        let answer = get(&server, path);
        assert!(answer.starts_with("HTTP/1.1 40"), "{path}: {answer}");
    }
    assert!(asked.so_far().len() <= 1);
    // A worker that has the token reads the stream, and is nobody's viewer.
    let path = format!("GET /cam/live.flv?job={} HTTP/1.1\r\nHost: test\r\n\r\n", of_source.expose());
    let mut socket = connect(server.at.http);
    std::io::Write::write_all(&mut socket, path.as_bytes()).unwrap();
    let (bytes, _) = read_for(&mut socket, Duration::from_millis(500));
    assert!(
        contains(&bytes, "video/x-flv") && bytes.len() > 20_000,
        "{}",
        String::from_utf8_lossy(&bytes[..bytes.len().min(600)])
    );
    let live = ask(server.engine().remote().on_air()).unwrap();
    assert!(live[0].viewers.is_empty(), "{:?}", live[0].viewers);
    assert_eq!(server.metric("millstream_plays_total", ""), 0);
}

#[test]
fn one_picture_is_taken_for_all_who_ask_within_a_moment() {
    for (io, shards) in BOTH.into_iter().flat_map(|io| [(io, 1), (io, 2)]) {
        let (server, asked) = start(io, shards);
        assert!(get(&server, "/cam/snapshot.jpg").starts_with("HTTP/1.1 404"), "not on air");
        let mut publisher = server.publish("cam");
        publisher.send(configurations());
        publisher.send((0..SEGMENT).map(frame));
        let at = server.at.http;
        let ask_all =
            || (0..20).map(|_| std::thread::spawn(move || Answer::get(at, "/cam/snapshot.jpg"))).collect::<Vec<_>>();
        let waiting = ask_all();
        eventually("it is asked for", || !asked.so_far().is_empty());
        std::thread::sleep(Duration::from_millis(200));
        // Of each shard that was asked, once.
        let by_shard = asked.so_far();
        assert!(by_shard.len() <= shards, "{by_shard:?}");
        for shard in &by_shard {
            let shard = shard.rsplit(' ').next().unwrap().parse().unwrap();
            server.engine().remote().snapshot(shard, cam(), Ok(bytes::Bytes::from_static(b"JPEG: a picture")));
        }
        for answer in waiting {
            let answer = answer.join().unwrap();
            let text = answer.text();
            assert!(
                text.contains("Content-Type: image/jpeg\r\n") && text.contains("Cache-Control: public, max-age=2\r\n"),
                "{text}"
            );
            assert!(text.ends_with(" a picture"));
        }
        for answer in ask_all() {
            assert_eq!(answer.join().unwrap().status(), 200);
        }
        assert!(asked.so_far().len() <= shards, "{:?}", asked.so_far());
        // A while later it is too old; and why there is none is said.
        std::thread::sleep(Duration::from_millis(1_600));
        let (before, waiting) = (asked.so_far().len(), ask_all());
        eventually("it is asked for again", || asked.so_far().len() > before);
        std::thread::sleep(Duration::from_millis(200));
        for shard in &asked.so_far()[before..] {
            let shard = shard.rsplit(' ').next().unwrap().parse().unwrap();
            let why = millstream_engine::renditions::NoPicture::Undecodable("it is noise".to_owned());
            server.engine().remote().snapshot(shard, cam(), Err(why));
        }
        for answer in waiting {
            let answer = answer.join().unwrap();
            assert_eq!(answer.status(), 404);
            assert!(answer.text().contains("there is no picture of this stream: it is noise"), "{}", answer.text());
        }
    }
}

#[test]
fn what_is_drawn_over_renditions_is_said_before_the_first_and_again_when_it_changes() {
    let (server, asked) = start(IoChoice::Auto, 2);
    let with = |text: &str| {
        let renditions =
            vec![Said { name: "90p".to_owned(), width: 160, height: 90, video_kbit_s: 100, ..Said::default() }];
        let watermark = SaidMark { text_on: !text.is_empty(), text: text.to_owned(), ..SaidMark::default() };
        Stream { id: "cam".to_owned(), renditions, watermark, ..Stream::default() }
    };
    let mut told = Told::nothing();
    let mut change = |stream: Stream| told.tell(&server, &[stream], &[]);
    change(with("one"));
    let mut publisher = server.publish("cam");
    publisher.send(configurations());
    publisher.send((0..2 * SEGMENT + 20).map(frame));
    // Players that choose are not offered the picture without the mark.
    let index = get(&server, "/cam/index.m3u8");
    assert!(index.ends_with("\n90p/video.m3u8\n") && !index.contains("\nvideo.m3u8\n"), "{index}");
    assert!(get(&server, "/cam/live.m3u8").ends_with("\nvideo.m3u8\n"), "the source passes as before");
    let at = server.at.http;
    let waiting = std::thread::spawn(move || Answer::get(at, "/cam/90p/video.m3u8").text());
    eventually("it is asked for", || asked.so_far() == ["+cam/90p"]);
    assert_eq!(asked.1.lock().unwrap().first().map(String::as_str), Some("cam marked one"), "before it is made");
    let mut worker = as_worker(&server);
    worker.send((0..2 * SEGMENT + 20).map(frame));
    waiting.join().unwrap();
    let marks = || asked.1.lock().unwrap().clone();
    change(with("two"));
    eventually("the change is said", || marks().last().is_some_and(|last| last == "cam marked two"));
    change(with(""));
    eventually("the end of it is said", || marks().last().is_some_and(|last| last == "cam marked "));
    let index = get(&server, "/cam/index.m3u8");
    assert!(index.contains("\nvideo.m3u8\n"), "{index}");
    assert_eq!(server.metric("millstream_session_panics_total", ""), 0);
}
