//! Renditions with the worker that makes them: what viewers see of them, and what happens when it dies.
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::flv::{Tag, VIDEO};
use millstream_tests::http::{Viewer, get};
use millstream_tests::machine::Probe;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffmpeg_decodes, ffprobe, newer_push, vlc_plays};
use millstream_tests::{dash, eventually, proc, seconds};
use serde_json::{Value, json};

fn start(id: &str) -> (Server, Client) {
    start_with(id, "")
}

fn start_with(id: &str, more: &str) -> (Server, Client) {
    let config = "[stream_defaults]\non_unpublish = \"end\"\n[webhooks]\nallow = [\"127.0.0.0/8\"]\n";
    let server = Options::open().shards(2).config(&format!("{config}{more}")).start();
    let mut client = Client::admin(&server);
    let settings = json!({ "isCodec": true, "ld": true, "sd": true, "hd": true });
    let made = client.post("/api/v1/streams", &json!({ "id": id, "settings": settings })).is(201).json;
    assert_eq!(made["not_in_force"], json!([]));
    (server, client)
}

fn publish(server: &Server, clip: Clip) -> Pushing {
    Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(clip)
}

fn text(server: &Server, path: &str) -> String {
    let answer = get(server.http, path);
    assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// Number of the first segment, and lengths and dates of all that are whole.
fn segments(playlist: &str) -> (u64, Vec<String>) {
    let first = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")).expect("a number");
    let of_segments = |line: &&str| line.starts_with("#EXTINF") || line.starts_with("#EXT-X-PROGRAM-DATE-TIME");
    (first.parse().expect("a number"), playlist.lines().filter(of_segments).map(str::to_owned).collect())
}

/// A rendition of `cam`, as the API has it.
fn rendition(client: &mut Client, name: &str) -> Value {
    let session = client.get("/api/v1/streams/cam/session").json;
    let all = session["renditions"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|rendition| rendition["name"] == name).unwrap_or_else(|| panic!("{session}"))
}

/// Processes that are workers of that server.
fn workers(server: &Server) -> Vec<u32> {
    proc::children(server.pid()).into_iter().filter(|pid| proc::command(*pid).contains("worker")).collect()
}

#[test]
fn renditions_are_made_when_somebody_watches_and_players_may_switch_at_any_segment() {
    let (server, mut client) = start("cam");
    let mut events = client.listen();
    let _push = publish(&server, Clip::busy());
    let index = text(&server, "/cam/index.m3u8");
    assert!(index.contains("RESOLUTION=640x360") && index.contains("\n360p/video.m3u8\n"), "{index}");
    assert!(!index.contains("480p") && !index.contains("720p"), "not blown up: {index}");
    assert!(text(&server, "/cam/video.m3u8").contains("RENDITION-REPORT:URI=\"360p/video.m3u8\""));
    assert!(text(&server, "/cam/index.mpd").contains("<Representation id=\"360p\""));
    assert_eq!(rendition(&mut client, "360p")["state"], "idle");
    let larger = rendition(&mut client, "480p");
    assert_eq!((&larger["state"], &larger["reason"]), (&json!("unavailable"), &json!("not_smaller")), "{larger}");
    let refused = get(server.http, "/cam/480p/video.m3u8");
    assert!(refused.status == 404 && String::from_utf8_lossy(&refused.body).contains("larger than its source"));
    assert!(workers(&server).is_empty(), "nobody watches");
    // Long enough for whole segments of the rendition.
    std::thread::sleep(seconds(5));
    let asked = Instant::now();
    let playlist = text(&server, "/cam/360p/video.m3u8");
    println!("the first playlist of a rendition came after {:?}", asked.elapsed());
    assert!(playlist.contains("#EXT-X-PART:"), "{playlist}");
    assert_eq!(workers(&server).len(), 1);
    // Whole segments of both, with the same numbers, lengths and dates.
    std::thread::sleep(seconds(8));
    let (own, of_source) = (text(&server, "/cam/360p/video.m3u8"), text(&server, "/cam/video.m3u8"));
    let ((first, own), (source_first, of_source)) = (segments(&own), segments(&of_source));
    let common: Vec<_> = own.iter().filter(|line| of_source.contains(line)).collect();
    assert!(first >= source_first && common.len() >= 4, "{first} {own:?}\n{source_first} {of_source:?}");
    for url in ["360p/live.flv", "360p/index.m3u8", "360p/manifest.mpd"] {
        let seen = ffprobe(&format!("http://{}/cam/{url}", server.http));
        let is = |what: &str| seen.iter().any(|line| line.contains(what));
        assert!(is("h264") && is("640,360") && is("aac"), "{url}: {seen:?}");
    }
    for url in ["360p/live.flv", "360p/index.m3u8"] {
        vlc_plays(&format!("http://{}/cam/{url}", server.http), &["aac", "h264,640,360"]);
    }
    assert!(server.metrics().contains("millstream_renditions{state=\"made\"} 1"), "{}", server.metrics());
    let running = rendition(&mut client, "360p");
    assert!(running["state"] == "running" && running["frames"].as_u64() > Some(100), "{running}");
    assert!(running["width"] == 640 && running["viewers"].as_u64() >= Some(1), "{running}");
    eventually("the node says what its worker does", seconds(15), || {
        let load = &client.get("/api/v1/nodes").is(200).json["items"][0]["worker"];
        let is_one = load["renditions"] == 1 && load["renditions_wanted"] == 1 && load["restarts"] == 0;
        (is_one && load["decoded_fps"].as_u64() > Some(0)).then_some(())
    });
    assert!(events.first("rendition_started", seconds(40)).to_string().contains("\"width\":640"));
    // Ten seconds after the last one has left, or a little more, nothing is made.
    eventually("it is no longer made", seconds(25), || {
        server.metrics().contains("millstream_renditions{state=\"made\"} 0").then_some(())
    });
    assert!(events.first("rendition_stopped", seconds(40)).to_string().contains("lasted_ms"));
}

/// What a player by DASH asks for that begins with a rendition nobody has asked for, or goes over to one: from its delay behind the newest segment on, also of
/// a stream that has just begun.
#[test]
fn a_player_that_begins_with_a_rendition_finds_each_segment_from_its_delay_on() {
    let (server, _client) = start("cam");
    let _push = publish(&server, Clip::numbered_480p());
    for name in ["360p", "480p"] {
        std::thread::sleep(seconds(3));
        let manifest = text(&server, "/cam/index.mpd");
        let delay_s = dash::delay_s(&manifest).expect("a delay");
        let periods = dash::periods(&manifest).expect("a manifest");
        let pictures = periods[0].tracks.iter().find(|track| track.video).expect("pictures");
        let asked_for = pictures.newest(delay_s);
        println!("{asked_for:?}");
        // All at once, and each of both shards.
        let asking: Vec<_> = asked_for
            .iter()
            .flat_map(|of_source| [of_source; 4])
            .map(|of_source| (format!("/cam/{name}/{of_source}"), server.http))
            .map(|(path, at)| std::thread::spawn(move || (get(at, &path), path)))
            .collect();
        for one in asking {
            let (answer, path) = one.join().expect("an answer");
            assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
        }
    }
}

#[test]
fn case_17_a_rendition_has_keyframes_and_stamps_where_its_source_has_them() {
    let (server, _client) = start("cam");
    let _push = publish(&server, Clip::busy());
    std::thread::sleep(seconds(5));
    let newest = Viewer::watch(server.http, "cam").find("the newest keyframe", seconds(5), Tag::is_keyframe);
    let mut small = Viewer::watch(server.http, "cam/360p");
    let small = small.tags_for(seconds(8));
    let pictures: Vec<_> = small.iter().filter(|tag| tag.kind == VIDEO && tag.is_frame()).collect();
    assert!(pictures.len() > 150, "{} pictures", pictures.len());
    Viewer::assert_monotonic(&small);
    let keyframes: Vec<u32> = pictures.iter().filter(|tag| tag.is_keyframe()).map(|tag| tag.timestamp).collect();
    assert!(keyframes.windows(2).all(|pair| pair[1] - pair[0] == 1_000), "one a second: {keyframes:?}");
    // It is made from further back, for players of HLS and DASH; who watches FLV begins where the source is.
    assert!(keyframes[0] >= newest.timestamp, "{} and {keyframes:?}", newest.timestamp);
    assert!(small.iter().any(|tag| tag.kind != VIDEO && tag.is_frame()), "with sound");
}

#[test]
fn a_worker_that_is_killed_is_started_again_and_nobody_is_disconnected() {
    let (server, _client) = start("cam");
    let _push = publish(&server, Clip::busy());
    let mut viewer = Viewer::watch(server.http, "cam/360p");
    assert!(viewer.tags_for(seconds(3)).iter().filter(|tag| tag.kind == VIDEO).count() > 30);
    let before = text(&server, "/cam/360p/video.m3u8");
    let [worker] = workers(&server)[..] else { panic!("{:?}", workers(&server)) };
    let probe = Probe::start();
    proc::kill(worker);
    let killed = Instant::now();
    // The same connection goes on.
    let next = viewer.find("a keyframe of another worker", seconds(15), |tag| {
        tag.kind == VIDEO && tag.is_keyframe() && killed.elapsed() > Duration::from_millis(300)
    });
    let away = killed.elapsed();
    println!("the rendition went on {away:?} after its worker was killed, at {} ms", next.timestamp);
    if !probe.stop().too_busy() {
        assert!(away < seconds(3), "{away:?}");
    }
    std::thread::sleep(seconds(4));
    let after = text(&server, "/cam/360p/video.m3u8");
    assert!(!after.contains("#EXT-X-DISCONTINUITY\n") && after.matches("#EXT-X-GAP").count() <= 1, "{before}\n{after}");
    assert_eq!(workers(&server).len(), 1);
    assert!(server.metric("millstream_worker_restarts_total") >= 1.0);
}

/// As a decoder of C++ ends that reads a hostile bitstream: the fault is sent to the thread that decodes the stream.
#[test]
fn a_stream_that_ends_its_worker_is_left_out_for_a_while_and_others_go_on() {
    let (server, mut client) = start("bad");
    let settings = json!({ "isCodec": true, "ld": true });
    client.post("/api/v1/streams", &json!({ "id": "good", "settings": settings })).is(201);
    let mut events = client.listen();
    let publish = |id| Publisher::start(server.rtmp, "stream", id).expect("published").repeat(Clip::busy());
    let _pushes = [publish("bad"), publish("good")];
    // Its job is the first.
    let mut of_bad = Viewer::watch(server.http, "bad/360p");
    of_bad.find("a keyframe", seconds(10), |tag| tag.kind == VIDEO && tag.is_keyframe());
    let mut of_good = Viewer::watch(server.http, "good/360p");
    of_good.find("a keyframe", seconds(10), |tag| tag.kind == VIDEO && tag.is_keyframe());
    let [worker] = workers(&server)[..] else { panic!("{:?}", workers(&server)) };
    let probe = Probe::start();
    proc::fault(worker, "decode 1");
    let ended = Instant::now();
    of_good.find("a keyframe of another worker", seconds(15), |tag| {
        tag.kind == VIDEO && tag.is_keyframe() && ended.elapsed() > Duration::from_millis(300)
    });
    let away = ended.elapsed();
    println!("the other stream's rendition went on after {away:?}");
    if !probe.stop().too_busy() {
        assert!(away < seconds(3), "{away:?}");
    }
    let failed = events.first("rendition_failed", seconds(10)).to_string();
    assert!(failed.contains("\"reason\":\"crashed\"") && failed.contains("left out for 20 s"), "{failed}");
    let refused = get(server.http, "/bad/snapshot.jpg");
    let why = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status == 503 && why.contains("ended the worker"), "{} {why}", refused.status);
    let of_bad = client.get("/api/v1/streams/bad/session").json["renditions"][0].clone();
    assert_eq!((&of_bad["state"], &of_bad["reason"]), (&json!("unavailable"), &json!("crashed")), "{of_bad}");
    // It takes no further worker with it, and it is tried again.
    std::thread::sleep(seconds(5));
    assert!((server.metric("millstream_worker_restarts_total") - 1.0).abs() < f64::EPSILON);
    eventually("it is made again", seconds(40), || {
        (client.get("/api/v1/streams/bad/session").json["renditions"][0]["state"] == "running").then_some(())
    });
}

#[test]
fn no_worker_outlives_its_node() {
    let (server, _client) = start("cam");
    let _push = publish(&server, Clip::busy());
    text(&server, "/cam/360p/video.m3u8");
    let [worker] = workers(&server)[..] else { panic!("{:?}", workers(&server)) };
    drop(server.kill());
    eventually("the worker has ended", seconds(2), || (!proc::is_alive(worker)).then_some(()));
}

#[test]
fn a_snapshot_is_the_newest_picture_and_one_is_taken_for_all() {
    let (server, _client) = start("cam");
    assert_eq!(get(server.http, "/cam/snapshot.jpg").status, 404);
    let _push = publish(&server, Clip::busy());
    eventually("it is on air", seconds(5), || (get(server.http, "/cam/video.m3u8").status == 200).then_some(()));
    let asked = Instant::now();
    let first = get(server.http, "/cam/snapshot.jpg");
    println!("the first snapshot came after {:?}", asked.elapsed());
    assert_eq!((first.status, first.header("content-type")), (200, "image/jpeg"));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("snapshot.jpg");
    std::fs::write(&file, &first.body).expect("written");
    let seen = ffprobe(file.to_str().expect("ASCII"));
    assert!(seen.iter().any(|line| line.contains("mjpeg") && line.contains("640,360")), "{seen:?}");
    std::thread::sleep(seconds(2));
    let at = server.http;
    let asking: Vec<_> = (0..50).map(|_| std::thread::spawn(move || get(at, "/cam/snapshot.jpg").body)).collect();
    let mut pictures: Vec<_> = asking.into_iter().map(|thread| thread.join().expect("answered")).collect();
    pictures.sort();
    pictures.dedup();
    // Each shard may have asked for one; they are one all the same when they ask at once.
    assert!(
        pictures.len() <= 2 && pictures.iter().all(|picture| picture.starts_with(b"\xff\xd8")),
        "{}",
        pictures.len()
    );
    assert!(pictures.iter().all(|picture| *picture != first.body), "a newer one");
}

/// Half a second of pictures: Chromium does not show each.
const FEW: u64 = 14;

/// A player switches between the stream and its renditions: what it reports. So many pictures that follow each other may be missing.
fn switches(player: &str, missing_most: u64) {
    let (server, _client) = start("cam");
    let _push = publish(&server, Clip::numbered_480p());
    eventually("it is on air", seconds(5), || (get(server.http, "/cam/video.m3u8").status == 200).then_some(()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/switches.mjs");
    let probe = Probe::start();
    let done = Tool::start("node", &[script, player, &format!("http://{}/cam", server.http), "20"]).wait(seconds(80));
    let load = probe.stop();
    println!("{}{load}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
    let line = done.stdout.lines().find(|line| line.starts_with('{')).expect("a report");
    let seen: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(seen["levels"], 3, "{seen}");
    assert!(!line.contains("(fatal)"), "{seen}");
    for size in ["854x480", "640x360"] {
        assert!(
            seen["sizes"].as_array().is_some_and(|sizes| sizes.iter().any(|shown| shown == size)),
            "{size}: {seen}"
        );
    }
    assert!(seen["read"].as_u64() > Some(100), "numbers are read: {seen}");
    if !load.too_busy() {
        assert!(seen["longest"].as_u64() < Some(500), "{seen}");
        assert!(seen["back"].as_u64() < Some(10), "{seen}");
        assert!(seen["missing"].as_u64() <= Some(missing_most), "{seen}");
    }
}

#[test]
fn hls_js_switches_between_source_and_rendition_without_standing_still() {
    switches("hls-1.7-segments", FEW);
}

/// In low-latency mode hls.js goes over within a segment: it loads parts of the other level that lie before the picture that is shown. Chromium then shows the
/// next one where the next keyframe is.
#[test]
#[ignore = "takes half a minute; hls.js switches in every run, tests/run --long has this"]
fn hls_js_with_low_latency_switches_within_a_gop() {
    const GOP: u64 = 60;
    switches("hls-1.7", GOP);
}

#[test]
#[ignore = "takes half a minute; hls.js switches in every run, tests/run --long has this"]
fn dash_js_switches_between_source_and_rendition_without_standing_still() {
    switches("dashjs", FEW);
}

#[test]
#[ignore = "takes half a minute; hls.js switches in every run, tests/run --long has this"]
fn shaka_switches_between_source_and_rendition_without_standing_still() {
    switches("shaka-player", FEW);
}

#[test]
fn pages_offer_renditions() {
    let (server, _client) = start("cam");
    let _push = publish(&server, Clip::numbered_480p());
    eventually("it is on air", seconds(5), || (get(server.http, "/cam/video.m3u8").status == 200).then_some(()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/levels.mjs");
    let done = Tool::start("node", &[script, &format!("http://{}/cam", server.http)]).wait(seconds(150));
    println!("{}", done.stdout);
    assert!(done.status.success(), "{}\n{}", done.stdout, done.stderr);
}

#[test]
fn of_a_stream_that_is_not_decoded_renditions_are_not_listed_and_the_reason_is_said() {
    let (server, mut client) = start_with("cam", "[transcode]\nffmpeg = \"off\"\n");
    // It is said before anyone pushes.
    let worker = worker(&mut client);
    assert_eq!((&worker["decodes"], &worker["encoder"]), (&json!(["h264"]), &json!("openh264")), "{worker}");
    assert!(worker["no_ffmpeg"].as_str().is_some_and(|why| why.contains("off")), "{worker}");
    let ten_bits = Clip::ten_bits();
    let _push = publish(&server, ten_bits);
    let index = text(&server, "/cam/index.m3u8");
    assert!(!index.contains("360p/"), "{index}");
    assert!(!text(&server, "/cam/index.mpd").contains("360p"));
    assert!(!text(&server, "/cam/video.m3u8").contains("360p"));
    assert!(!text(&server, "/cam/live.json").contains("renditions"));
    let told = rendition(&mut client, "360p");
    assert_eq!((&told["state"], &told["reason"]), (&json!("unavailable"), &json!("codec")), "{told}");
    assert!(told["why"].as_str().is_some_and(|why| why.contains("10 bits a sample")), "{told}");
    for path in ["360p/video.m3u8", "360p/live.flv", "360p/manifest.mpd", "360p/index.m3u8"] {
        let refused = get(server.http, &format!("/cam/{path}"));
        let words = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(refused.status == 404 && words.contains("10 bits a sample"), "{path}: {} {words}", refused.status);
    }
    assert!(workers(&server).is_empty(), "nothing is tried");
}

/// What the API says of the worker, once that is known.
fn worker(client: &mut Client) -> Value {
    eventually("it is known what is decoded", seconds(15), || {
        let nodes = client.get("/api/v1/nodes").json;
        let worker = nodes["items"][0]["worker"].clone();
        (worker["no_ffmpeg"] != "" || worker["decodes"].as_array().is_some_and(|all| all.len() > 1)).then_some(worker)
    })
}

#[test]
#[ignore = "takes a minute; tests/run --long has it"]
fn hevc_and_av1_have_renditions_in_h264_where_ffmpeg_is_installed_and_none_outlives_the_server() {
    let (server, mut client) = start_with("cam", "[transcode]\nencoder = \"ffmpeg:libx264\"\n");
    let worker = worker(&mut client);
    assert_eq!(worker["decodes"], json!(["h264", "h264_any", "hevc", "av1"]), "{worker}");
    assert_eq!(worker["encoder"], "ffmpeg:libx264", "{worker}");
    let options = "-vf scale=1280:720 -c:v libx265 -preset ultrafast -x265-params log-level=warning:pools=1:bframes=2 -c:a aac \
                   -rtmp_enhanced_codecs hvc1";
    let _push = newer_push(&server.push_url("cam"), options);
    eventually("it is listed", seconds(20), || {
        let index = get(server.http, "/cam/index.m3u8");
        String::from_utf8_lossy(&index.body).contains("360p/").then_some(())
    });
    assert_eq!(ffprobe(&format!("http://{}/cam/360p/live.flv", server.http)), ["aac", "h264,640,360"]);
    ffmpeg_decodes(&format!("http://{}/cam/360p/live.flv", server.http), 40);
    let told = rendition(&mut client, "360p");
    assert_eq!((&told["state"], &told["width"]), (&json!("running"), &json!(640)), "{told}");
    // Segments are those of the source.
    let (of_source, of_rendition) =
        (segments(&text(&server, "/cam/video.m3u8")), segments(&text(&server, "/cam/360p/video.m3u8")));
    assert!(of_source.0.abs_diff(of_rendition.0) <= 8 && !of_rendition.1.is_empty(), "{of_source:?} {of_rendition:?}");
    assert!(of_rendition.1.iter().any(|line| of_source.1.contains(line)), "{of_source:?} {of_rendition:?}");
    let picture = get(server.http, "/cam/snapshot.jpg");
    assert!(picture.status == 200 && picture.body.starts_with(b"\xFF\xD8\xFF"), "{}", picture.status);
    // The same of AV1.
    let settings = json!({ "isCodec": true, "ld": true });
    client.post("/api/v1/streams", &json!({ "id": "av1", "settings": settings })).is(201);
    let options = "-vf scale=854:480 -c:v libsvtav1 -preset 12 -svtav1-params lp=1:pred-struct=1 -c:a aac -rtmp_enhanced_codecs av01";
    let _other = newer_push(&server.push_url("av1"), options);
    eventually("it is on air", seconds(20), || (get(server.http, "/av1/video.m3u8").status == 200).then_some(()));
    assert_eq!(ffprobe(&format!("http://{}/av1/360p/live.flv", server.http)), ["aac", "h264,640,360"]);
    let all = proc::below(server.pid());
    assert!(
        all.iter().filter(|pid| proc::command(**pid).contains("pipe:0")).count() >= 4,
        "a decoder and an encoder of each"
    );
    drop(server.kill());
    eventually("nobody is left", seconds(2), || all.iter().all(|pid| !proc::is_alive(*pid)).then_some(()));
}

#[test]
fn pictures_of_a_stream_that_asks_for_it_are_kept_and_served() {
    let server = Options::open().config("[[stream]]\nid = \"cam\"\nisImage = true\nimage_time = 1\n").start();
    let mut events = Client::admin(&server).listen();
    let _push = publish(&server, Clip::small());
    let days = server.data_dir().join("recordings/cam/images");
    let pictures = eventually("two pictures are stored", seconds(15), || {
        // One that is being written has another name.
        let mut found = files(&days);
        found.retain(|file| file.extension().is_some_and(|extension| extension == "jpg"));
        (found.len() >= 2).then_some(found)
    });
    for picture in &pictures {
        let path = picture.strip_prefix(server.data_dir().join("recordings")).expect("below it");
        let answer = get(server.http, &format!("/{}", path.to_str().expect("ASCII")));
        assert_eq!((answer.status, answer.header("content-type")), (200, "image/jpeg"));
        assert!(answer.body.starts_with(b"\xff\xd8"));
    }
    let told = events.first("snapshot", seconds(5));
    let path = told["what"]["path"].as_str().expect("where it is");
    let answer = get(server.http, &format!("/cam/{path}"));
    assert_eq!((answer.status, told["what"]["bytes"].as_u64()), (200, Some(answer.body.len() as u64)), "{told}");
    eventually("they are counted", seconds(5), || (server.metric("millstream_pictures_total") >= 2.0).then_some(()));
}

/// Files below a directory, at any depth; none where there is no such directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }).collect()
}
