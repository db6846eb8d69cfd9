//! Encoders and players that were set up for other servers, and go on without a change.
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::encoder::{COMMAND, Encoder, Value, amf0, text};
use millstream_tests::flv::Tag;
use millstream_tests::http::{self, Viewer};
use millstream_tests::raw::Raw;
use millstream_tests::rtmp::{Publisher, Sink};
use millstream_tests::server::{Options, millstream};
use millstream_tests::tools::{ffmpeg_push, ffprobe};
use millstream_tests::{eventually, millis, seconds};

const FAR: &str = "2035-01-01";
const OLD_KEY: &str = "nodemedia2017privatekey";

#[test]
fn case_40_clients_that_choose_their_message_stream_publish_and_play() {
    let server = Options::open().start();
    for stream in [0, 2, 5] {
        let id = format!("cam{stream}");
        let mut encoder = Encoder::connect(server.rtmp, []).expect("connected");
        encoder.publish_on(stream, &id).expect("let in");
        let push = encoder.repeat(Clip::small());
        Viewer::watch(server.http, &id).find("keyframe", seconds(10), Tag::is_keyframe);
        let mut player = Raw::open(TcpStream::connect(server.rtmp).expect("connected")).expect("shaken hands");
        player.connect().expect("connected");
        let media = player.play_on(stream as u8, &id).expect("played");
        assert!(media.iter().any(|byte| *byte != 0));
        push.finish().expect("a goodbye");
    }
}

#[test]
fn case_41_applications_that_are_listed_work_with_their_signatures() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    std::fs::write(&file, OLD_KEY).expect("written");
    let config = format!(
        "[rtmp]\napps = [\"live\", \"stream\"]\n[auth]\nlegacy_keys = [\"{OLD_KEY}\"]\n[[stream]]\nid = \"cam\"\n[[stream]]\nid = \"old\"\n"
    );
    let server = Options::signed().config(&config).start();
    let sign = server.sign("cam", &["--expires", FAR, "--app", "live"]);
    let url = |app: &str, key: &str| format!("rtmp://{}/{app}/{key}", server.rtmp);
    let push = ffmpeg_push(&url("live", &format!("cam?sign={sign}")), 30);
    // As the other system made it: over the path that its encoders use.
    let key = file.to_str().expect("ASCII");
    let output = millstream(&["sign", "old", "--expires", FAR, "--app", "live", "--key-file", key]);
    let old = String::from_utf8(output.stdout).expect("ASCII").trim().to_owned();
    let old_push = ffmpeg_push(&url("live", &format!("old?sign={old}")), 30);
    for id in ["cam", "old"] {
        Viewer::watch(server.http, id).find("keyframe", seconds(10), Tag::is_keyframe);
    }
    drop((push, old_push));
    let done = ffmpeg_push(&url("stream", &format!("cam?sign={sign}")), 5).wait(seconds(20));
    assert!(!done.status.success(), "a signature for another application was let in");
    // The addresses that the API shows are those of the first one.
    let key = Client::admin(&server).get("/api/v1/streams/cam/key").is(200).json;
    let push_url = key["push_url"].as_str().expect("text");
    assert!(push_url.contains("/live/cam?sign=v2-"), "the application");
    let push = ffmpeg_push(push_url, 30);
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    drop(push);
}

#[test]
fn case_57_keys_with_odd_escapes_and_many_parameters_are_let_in() {
    let server = Options::signed().config("[[stream]]\nid = \"cam\"\n").start();
    let sign = server.sign("cam", &["--expires", FAR]);
    let many = (0..60).map(|n| format!("p{n}=v&")).collect::<Vec<_>>().concat();
    let push = ffmpeg_push(&server.push_url(&format!("cam?pass=100%&x=%zz&{many}sign={sign}")), 30);
    Viewer::watch(server.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    let odd = Viewer::open(server.http, &format!("/cam/live.flv?pass=100%&{many}start=next"), "HTTP/1.1");
    odd.expect("an answer").expect("played").find("keyframe", seconds(10), Tag::is_keyframe);
    drop(push);
    let twice = server.push_url(&format!("cam?{many}sign={sign}&sign={sign}"));
    assert!(!ffmpeg_push(&twice, 5).wait(seconds(20)).status.success(), "two signatures were let in");
}

fn throw(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(seconds(5))).expect("a timeout");
    stream.write_all(bytes).expect("said");
    // Closed, or reset over what was not read.
    let _ = stream.read(&mut [0; 16]);
}

#[test]
fn case_60_other_protocols_on_the_rtmp_port_are_a_line_a_minute() {
    // All shards together.
    let mut server = Options::open().shards(2).start();
    for _ in 0..30 {
        throw(server.rtmp, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
        throw(server.rtmp, &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    }
    std::thread::sleep(millis(500));
    let lines = |log: &str, text: &str| log.lines().filter(|line| line.contains(text)).count();
    let log = server.log.text();
    let words = format!("an HTTP request on the RTMP port: the HTTP port is {}", server.http.port());
    assert_eq!((lines(&log, &words), lines(&log, "a TLS connection on the RTMP port")), (1, 1), "{log}");
    assert_eq!((lines(&log, "protocol error"), lines(&log, "session ended")), (2, 0), "{log}");
    // All of them are counted: what is left to tell is told at the end.
    server.terminate();
    assert!(server.wait(seconds(20)).success());
    let log = server.log.text();
    let again: Vec<&str> = log.lines().filter(|line| line.contains("protocol error again")).collect();
    assert!(again.len() == 2 && again.iter().all(|line| line.contains("count=29")), "{again:?}");
}

#[test]
fn case_60_other_protocols_on_the_http_port_are_a_line_a_minute() {
    let mut server = Options::open().shards(2).start();
    for _ in 0..30 {
        throw(server.http, &[&[3][..], &[0; 1536]].concat());
        throw(server.http, &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    }
    std::thread::sleep(millis(500));
    let lines = |log: &str, text: &str| log.lines().filter(|line| line.contains(text)).count();
    let log = server.log.text();
    let words = format!("an RTMP connection on the HTTP port: the RTMP port is {}", server.rtmp.port());
    assert_eq!((lines(&log, &words), lines(&log, "a TLS connection on the HTTP port")), (1, 1), "{log}");
    assert_eq!(
        (lines(&log, "protocol error"), lines(&log, "refused"), lines(&log, "session ended")),
        (2, 0, 0),
        "{log}"
    );
    server.terminate();
    assert!(server.wait(seconds(20)).success());
    let log = server.log.text();
    let again: Vec<&str> = log.lines().filter(|line| line.contains("protocol error again")).collect();
    assert!(again.len() == 2 && again.iter().all(|line| line.contains("count=29")), "{again:?}");
}

#[test]
fn case_54_secrets_in_the_wrong_field_are_told_nowhere() {
    let config = format!("[auth]\nlegacy_keys = [\"{OLD_KEY}\"]\n");
    let server = Options::signed().config(&config).start();
    let mut client = Client::admin(&server);
    client.post("/api/v1/streams", &serde_json::json!({ "id": "cam" })).is(201);
    let mut events = client.listen();
    let key = client.get("/api/v1/streams/cam/key").is(200).json;
    let text = |name: &str| key[name].as_str().expect("text").to_owned();
    let master = std::fs::read_to_string(server.data_dir().join("master-key")).expect("made at the first start");
    let secrets = [
        text("sign"),
        text("legacy_sign"),
        client.token().to_owned(),
        master.trim().to_owned(),
        "k3xq-9f2m-w7tz-4hd8".to_owned(),
    ];
    for secret in &secrets {
        for path in
            [format!("stream/{secret}"), format!("{secret}/cam"), format!("stream/sign={secret}"), secret.clone()]
        {
            let url = format!("rtmp://{}/{path}", server.rtmp);
            assert!(!ffmpeg_push(&url, 5).wait(seconds(20)).status.success(), "let in");
        }
        for path in [format!("/{secret}/live.flv"), format!("/{secret}/live.m3u8"), format!("/{secret}/x")] {
            assert!(http::get(server.http, &path).status >= 400);
        }
        assert!(client.get(&format!("/api/v1/streams/{secret}")).status == 404);
    }
    events.until("all of it", seconds(20), |told| {
        // The last one, by which it is seen that those before have been told. Asked for again: one a second is told of an address.
        assert_eq!(http::get(server.http, "/nobody/live.flv").status, 404);
        told.contains("\"nobody\"").then_some(())
    });
    let (told, log) = (events.told(), server.log.text());
    assert!(told.contains("there is no stream") && log.contains("there is no stream"), "{told}");
    for secret in &secrets {
        // Of what has a public part in front: what must stay secret.
        let secret = secret.rsplit(['-', '_']).next().filter(|tail| tail.len() > 8).unwrap_or(secret);
        for (place, text) in [("log", &*log), ("events", told), ("stdout", &*server.stdout.text())] {
            assert!(!text.contains(secret), "{place} has a secret");
        }
    }
}

#[test]
fn case_55_viewers_behind_a_proxy_are_seen_as_themselves() {
    let server = Options::open().config("[http]\ntrusted_proxies = [\"127.0.0.0/8\"]\n").start();
    let push = ffmpeg_push(&server.push_url("cam"), 30);
    Viewer::watch(server.http, "cam");
    let mut viewer = http::Connection::open(server.http).expect("connected");
    viewer
        .send(b"GET /cam/live.flv HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.9:5000\r\n\r\n")
        .expect("asked");
    assert_eq!(viewer.head().expect("an answer").status, 200);
    let mut client = Client::admin(&server);
    let viewers = client.get("/api/v1/streams/cam/viewers").is(200).json;
    let peers: Vec<&str> =
        viewers["items"].as_array().expect("a list").iter().filter_map(|v| v["peer"].as_str()).collect();
    assert!(peers.contains(&"192.0.2.9:5000"), "{viewers}");
    drop(viewer);
    eventually("the log has it", seconds(10), || server.log.has("peer=192.0.2.9:5000").then_some(()));
    drop(push);
}

#[test]
fn case_56_encoders_and_players_of_another_server_go_on() {
    let config = format!(
        "[auth]\nlegacy_keys = [\"{OLD_KEY}\"]\n[http]\nplay_paths = [\"/live/{{id}}.flv\"]\n[[stream]]\nid = \"file\"\npush_paths = [\"live/studio/file\"]\n"
    );
    let server = Options::signed().config(&config).start();
    let mut client = Client::admin(&server);
    let settings = serde_json::json!({
        "isHls": true, "isCMAF": true, "push_paths": ["live/my cam.1"], "play_paths": ["/live/my cam.1/index.m3u8", "/live/cam.mpd"],
    });
    client.post("/api/v1/streams", &serde_json::json!({ "id": "cam", "settings": settings })).is(201);
    let twice = serde_json::json!({ "id": "two", "settings": { "push_paths": ["live/studio/file"] } });
    let refused = client.post("/api/v1/streams", &twice).is(409);
    assert!(refused.json["detail"].as_str().is_some_and(|detail| detail.contains("stream file")), "{}", refused.json);
    // md5("/live/my%20cam.1-4102444800-<key>") and md5("/live/studio/file-4102444800-<key>"), made with md5sum.
    let pushes = [
        ("live/my%20cam.1", "b24a7d431f153395792d9b90ab77c169", "cam"),
        ("live/studio/file", "3a8fc19f80f34836be7317f8999cfef9", "file"),
    ]
    .map(|(path, md5, id)| {
        let push = ffmpeg_push(&format!("rtmp://{}/{path}?sign=4102444800-{md5}", server.rtmp), 60);
        Viewer::watch(server.http, id).find("keyframe", seconds(10), Tag::is_keyframe);
        push
    });
    Viewer::open(server.http, "/live/cam.flv", "HTTP/1.1").expect("an answer").expect("played").find(
        "keyframe",
        seconds(10),
        Tag::is_keyframe,
    );
    let hls = format!("http://{}/live/my%20cam.1/index.m3u8", server.http);
    let mut tracks = ffprobe(&hls);
    // Each is listed below its program as well.
    tracks.dedup();
    assert_eq!(tracks, ["aac", "h264,640,360"]);
    let manifest = String::from_utf8(http::get(server.http, "/live/cam.mpd").body).expect("text");
    let init = manifest.split("initialization=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a template");
    assert!(manifest.contains("<BaseURL>../cam/</BaseURL>"), "{manifest}");
    assert_eq!(http::get(server.http, &format!("/cam/{init}")).status, 200);
    drop(pushes);
}

/// As an encoder of several bit rates does: two streams, which two shards own, on one connection.
#[test]
fn case_58_two_streams_at_once_on_one_connection() {
    let server = Options::open().shards(2).start();
    let clip = Clip::small();
    let mut encoder = Encoder::connect(server.rtmp, []).expect("connected");
    let ids = ["high", "low", "lower", "lowest"];
    for (stream, id) in (1..).zip(ids) {
        encoder.publish_on(stream, id).expect("let in");
    }
    // One round of the clip on these message streams, faster than it plays; gives how many frames each viewer got meanwhile.
    let mut round = 0;
    let mut push = |encoder: &mut Encoder, streams: &[u32], viewers: &mut [Viewer]| {
        let mut got = vec![0; viewers.len()];
        for (n, tag) in clip.configuration.iter().filter(|_| round == 0).chain(&clip.frames).enumerate() {
            for stream in streams {
                let timestamp = round * clip.period + tag.timestamp;
                encoder.message(tag.kind, *stream, timestamp, tag.data.clone()).expect("sent");
            }
            encoder.pump().expect("on air");
            if n % 20 == 0 {
                for (viewer, got) in viewers.iter_mut().zip(&mut got) {
                    *got += viewer.tags_for(millis(10)).iter().filter(|tag| tag.is_frame()).count();
                }
            }
        }
        round += 1;
        got
    };
    push(&mut encoder, &[1, 2, 3, 4], &mut []);
    let mut viewers = ids.map(|id| Viewer::watch(server.http, id));
    let got = push(&mut encoder, &[1, 2, 3, 4], &mut viewers);
    assert!(got.iter().all(|frames| *frames > 300), "{got:?} of {}", clip.frames.len());
    // One of them is another encoder's: it is refused, and the others go on.
    let taken = Publisher::start(server.rtmp, "stream", "taken").expect("let in").repeat(Clip::small());
    assert!(encoder.publish_on(7, "taken").is_err());
    let publishers = || {
        let metrics = server.metrics();
        // A line per shard.
        let lines =
            metrics.lines().filter(|line| line.starts_with("millstream_sessions") && line.contains("publisher"));
        lines.map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u32>().ok()).expect("a number")).sum::<u32>()
    };
    assert_eq!(publishers(), 5);
    encoder.end_one(2).expect("said");
    eventually("it has ended", seconds(10), || (publishers() == 4).then_some(()));
    for viewer in &mut viewers {
        viewer.tags_for(millis(100));
    }
    let got = push(&mut encoder, &[1, 2, 3, 4], &mut viewers);
    assert!(got[0] > 300 && got[1] == 0 && got[2] > 300 && got[3] > 300, "{got:?}");
    drop(taken);
}

/// The answer to a further stream takes a second where another publisher has its name: viewers of the first notice nothing.
#[test]
fn case_58_the_first_stream_goes_on_while_a_further_one_waits_for_its_answer() {
    let server = Options::open().shards(2).start();
    let clip = Clip::small();
    let taken = Publisher::start(server.rtmp, "stream", "taken").expect("let in").repeat(Clip::small());
    let mut encoder = Encoder::connect(server.rtmp, []).expect("connected");
    encoder.publish_on(1, "high").expect("let in");
    let mut frames = clip.frames.iter();
    let push = |encoder: &mut Encoder, tags: &mut dyn Iterator<Item = &Tag>| {
        for tag in tags {
            encoder.message(tag.kind, 1, tag.timestamp, tag.data.clone()).expect("sent");
        }
    };
    push(&mut encoder, &mut clip.configuration.iter().chain(frames.by_ref().take(60)));
    let mut viewer = Viewer::watch(server.http, "high");
    viewer.find("keyframe", seconds(10), Tag::is_keyframe);
    viewer.tags_for(millis(100));
    let asked = Instant::now();
    encoder.ask_on(2, "taken").expect("said");
    push(&mut encoder, &mut frames.by_ref().take(60));
    let got = viewer.tags_for(millis(300)).iter().filter(|tag| tag.is_frame()).count();
    let answer = encoder.hear("the answer", seconds(5), |answer| answer.name == "onStatus").expect("answered");
    assert_eq!(answer.code(), "NetStream.Publish.BadName");
    assert!(asked.elapsed() > millis(600), "the answer took {:?}: this test has shown nothing", asked.elapsed());
    assert_eq!(got, 60, "while the answer was waited for");
    drop(taken);
}

/// An encoder of several bit rates stops the one that it began with: the others go on, and it may begin it again.
#[test]
fn case_58_the_first_stream_ends_alone() {
    let server = Options::open().shards(2).start();
    let clip = Clip::small();
    for goodbye in ["FCUnpublish", "deleteStream", "closeStream"] {
        let mut encoder = Encoder::connect(server.rtmp, []).expect("connected");
        let ids = ["first", "high", "low"].map(|id| format!("{id}-{goodbye}"));
        for (stream, id) in (1..).zip(&ids) {
            encoder.publish_on(stream, id).expect("let in");
        }
        let push = |encoder: &mut Encoder, from: usize, streams: &[u32]| {
            for tag in clip.configuration.iter().chain(clip.frames.iter().skip(from).take(100)) {
                for stream in streams {
                    encoder.message(tag.kind, *stream, tag.timestamp, tag.data.clone()).expect("sent");
                }
                encoder.pump().expect("on air");
            }
        };
        push(&mut encoder, 0, &[1, 2, 3]);
        let mut viewers = [&ids[1], &ids[2]].map(|id| Viewer::watch(server.http, id));
        for viewer in &mut viewers {
            viewer.find("keyframe", seconds(10), Tag::is_keyframe);
        }
        let (stream, argument) = match goodbye {
            "FCUnpublish" => (0, text(&ids[0])),
            "closeStream" => (1, Value::Null),
            _ => (0, Value::Number(1.0)),
        };
        let command = amf0(&[text(goodbye), Value::Number(0.0), Value::Null, argument]);
        encoder.message(COMMAND, stream, 0, command).expect("said");
        encoder.hear("the end", seconds(5), |answer| answer.code() == "NetStream.Unpublish.Success").expect("answered");
        eventually("its place is free", seconds(5), || {
            let status = http::get(server.http, &format!("/{}/live.json", ids[0]));
            (!String::from_utf8_lossy(&status.body).contains("\"state\":\"live\"")).then_some(())
        });
        push(&mut encoder, 100, &[2, 3]);
        for viewer in &mut viewers {
            let got = viewer.tags_for(millis(500)).iter().filter(|tag| tag.is_frame()).count();
            assert!(got >= 100 && viewer.end.is_none(), "{goodbye}: {got} frames, {:?}", viewer.end);
        }
        // It comes back on its message stream, and plays beside the others.
        encoder.publish_on(1, &ids[0]).expect("let in again");
        push(&mut encoder, 200, &[1, 2, 3]);
        Viewer::watch(server.http, &ids[0]).find("keyframe", seconds(10), Tag::is_keyframe);
        for stream in [1, 2, 3] {
            encoder.end_one(stream).expect("said");
            encoder
                .hear("the end", seconds(5), |answer| answer.code() == "NetStream.Unpublish.Success")
                .expect("answered");
        }
        // And after all of them, the connection serves as one that has just connected.
        encoder.publish_on(1, &format!("again-{goodbye}")).expect("let in");
        push(&mut encoder, 0, &[1]);
        Viewer::watch(server.http, &format!("again-{goodbye}")).find("keyframe", seconds(10), Tag::is_keyframe);
    }
}

/// Each further stream takes two descriptors, and both count.
#[test]
fn case_58_further_streams_count_against_the_limits_of_connections() {
    for (limits, reason) in [("per_address = 5", "per_address"), ("connections = 5", "connections")] {
        let server = Options::open().shards(1).config(&format!("[limits]\n{limits}\n")).start();
        let mut encoder = Encoder::connect(server.rtmp, []).expect("connected");
        encoder.publish_on(1, "first").expect("let in");
        encoder.publish_on(2, "second").expect("two more are three");
        encoder.publish_on(3, "third").expect("two more are five");
        assert!(encoder.publish_on(4, "fourth").is_err(), "{limits}: a sixth and a seventh");
        let refused = format!("reason=\"{reason}\"");
        let counted = |metrics: &str| {
            let lines =
                metrics.lines().filter(|line| line.starts_with("millstream_refused") && line.contains(&refused));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        assert!(counted(&server.metrics()) >= 1.0, "{limits}");
        assert!((server.metric("millstream_connections") - 5.0).abs() < 0.5, "{limits}");
        encoder.end_one(3).expect("said");
        eventually("what it took is free", seconds(5), || {
            (server.metric("millstream_connections") < 3.5).then_some(())
        });
        encoder.publish_on(5, "fifth").expect("let in");
        drop(encoder);
        eventually("nothing is counted any more", seconds(5), || {
            (server.metric("millstream_connections") < 0.5).then_some(())
        });
    }
}

#[test]
fn case_58_streams_one_after_the_other_on_one_connection() {
    let server = Options::open().shards(2).start();
    let clip = Clip::small();
    let mut encoder = Encoder::connect(server.rtmp, []).expect("connected");
    for (n, goodbye) in ["FCUnpublish", "deleteStream", "closeStream", "deleteStream"].into_iter().enumerate() {
        let id = format!("cam{n}");
        encoder.publish_on(1, &id).expect("let in");
        for tag in clip.configuration.iter().chain(clip.frames.iter().take(60)) {
            Sink::send(&mut encoder, tag).expect("sent");
        }
        Viewer::watch(server.http, &id).find("keyframe", seconds(10), Tag::is_keyframe);
        encoder.goodbye(goodbye).expect("said");
        encoder.hear("the end", seconds(5), |answer| answer.code() == "NetStream.Unpublish.Success").expect("answered");
    }
}
