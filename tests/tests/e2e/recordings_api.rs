//! Recordings by the API and the command line: begun and ended by hand, removed from spool, directory and bucket, removed because they are old, cut.
use std::path::Path;
use std::process::{Command, Output};

use millstream_test_support::s3::proxy::{Fault, FaultProxy, Reply};
use millstream_test_support::s3::{ACCESS_KEY_ID, S3Server, SECRET_ACCESS_KEY};
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server, binary};
use millstream_tests::tools::{Tool, ffprobe, vlc_plays};
use millstream_tests::{eventually, http, seconds};
use serde_json::{Value, json};

/// Streams end with their publisher, so that recordings are closed at once.
fn options() -> Options {
    Options::open().config("[stream_defaults]\non_unpublish = \"end\"\n[hls]\nsegment = \"1s\"\n")
}

/// Streams wait for their publisher for some seconds, as they do unless something else is said.
fn patient() -> Options {
    Options::open().config("[stream_defaults]\npublisher_wait = \"5s\"\n[hls]\nsegment = \"1s\"\n")
}

const SESSION: &str = "/api/v1/streams/cam/session";

fn push(server: &Server) -> Pushing {
    Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small())
}

/// Waits until the stream is on air.
fn on_air(client: &mut Client) {
    eventually("it is on air", seconds(10), || (client.get(SESSION).status == 200).then_some(()));
}

/// The encoder goes, and its stream ends. One that is back in the same moment takes the place over, and the session goes on.
fn leaves(encoder: Pushing, client: &mut Client) {
    drop(encoder);
    eventually("it is off air", seconds(10), || (client.get(SESSION).status != 200).then_some(()));
}

fn items(client: &mut Client) -> Vec<Value> {
    client.get("/api/v1/recordings?stream=cam").is(200).json["items"].as_array().expect("a list").clone()
}

/// The newest recording of the stream, once there are so many and it is as far as that.
fn newest(client: &mut Client, count: usize, state: &str) -> Value {
    eventually(&format!("{count} recordings, the newest {state}"), seconds(30), || {
        let items = items(client);
        assert!(items.len() <= count, "{items:?}");
        (items.len() == count && items[0]["state"] == state).then(|| items[0].clone())
    })
}

fn name(recording: &Value) -> String {
    recording["recording"].as_str().expect("a name").to_owned()
}

fn delete(client: &mut Client, path: &str) -> millstream_tests::control::Answer {
    client.request("DELETE", path, "", None)
}

/// Files below a directory.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

fn recordings(server: &Server, args: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("recordings").args(args).arg("--data-dir").arg(server.data_dir());
    command.args(["--api", &format!("http://{}", server.control)]).output().expect("it runs")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn a_stream_is_recorded_by_hand_for_its_session_and_no_longer() {
    let server = options().start();
    let mut client = Client::admin(&server);
    client.post("/api/v1/streams/cam/recording", &json!({})).is(404);
    client.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let off_air = client.post("/api/v1/streams/cam/recording", &json!({})).is(409);
    assert!(off_air.text("detail").contains("not on air"), "{off_air:?}");
    let first = push(&server);
    on_air(&mut client);
    assert!(items(&mut client).is_empty(), "its settings say that it is not recorded");

    assert_eq!(client.post("/api/v1/streams/cam/recording", &json!({})).is(200).json["recorded"], true);
    let running = newest(&mut client, 1, "recording");
    client.post("/api/v1/streams/cam/recording", &json!({})).is(200);
    std::thread::sleep(seconds(2));
    assert_eq!(newest(&mut client, 1, "recording"), running, "asking again begins no other one");
    assert_eq!(delete(&mut client, "/api/v1/streams/cam/recording").is(200).json["recorded"], false);
    newest(&mut client, 1, "stored");
    assert!(first.alive(), "the stream goes on");
    // Begun again by the command, and ended by the encoder.
    assert!(said(&recordings(&server, &["start", "cam"])).contains("cam: is recorded on node"));
    newest(&mut client, 2, "recording");
    leaves(first, &mut client);
    newest(&mut client, 2, "stored");

    // The next session goes by the settings.
    let second = push(&server);
    on_air(&mut client);
    std::thread::sleep(seconds(4));
    assert_eq!(items(&mut client).len(), 2);
    leaves(second, &mut client);

    // Of a stream that is recorded by its settings, too.
    client
        .request(
            "PATCH",
            "/api/v1/streams/cam",
            "If-Match: *\r\n",
            Some(&json!({ "settings": { "isOnDemand": true } })),
        )
        .is(200);
    let third = push(&server);
    newest(&mut client, 3, "recording");
    assert!(said(&recordings(&server, &["stop", "cam"])).contains("not recorded any more"));
    newest(&mut client, 3, "stored");
    std::thread::sleep(seconds(3));
    assert_eq!(items(&mut client).len(), 3, "it stays ended for this session");
    leaves(third, &mut client);
    let fourth = push(&server);
    newest(&mut client, 4, "recording");
    drop(fourth);
}

#[test]
fn what_was_begun_by_hand_goes_on_over_a_kill_and_a_start() {
    let server = patient().start();
    let mut client = Client::admin(&server);
    let first = push(&server);
    on_air(&mut client);
    // Nobody has made a record of it.
    client.post("/api/v1/streams/cam/recording", &json!({})).is(200);
    let begun = newest(&mut client, 1, "recording");
    std::thread::sleep(seconds(2));
    let dir = server.kill();
    drop(first);
    let server = patient().start_in(dir);
    let mut client = Client::admin(&server);
    let second = push(&server);
    std::thread::sleep(seconds(4));
    let goes_on = newest(&mut client, 1, "recording");
    assert_eq!(name(&goes_on), name(&begun), "the encoder is back in time: the same recording goes on");
    leaves(second, &mut client);
    let stored = newest(&mut client, 1, "stored");
    assert!(stored["duration_ms"].as_u64().is_some_and(|ms| ms >= 4_000), "{stored}");
    // That session is over.
    let third = push(&server);
    std::thread::sleep(seconds(4));
    assert_eq!(items(&mut client).len(), 1);
    drop(third);
}

#[test]
fn a_recording_is_removed_with_all_that_belongs_to_it_and_the_event_says_so() {
    let server = options().start();
    let mut client = Client::admin(&server);
    // Files beside its folder, too.
    let settings = json!({ "isOnDemand": true, "ondemand_time": 2, "isVideo": true, "video_time": 1 });
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": settings })).is(201);
    let mut events = client.listen();
    let encoder = push(&server);
    let running = newest(&mut client, 1, "recording");
    let path = format!("/api/v1/recordings/{}", name(&running));
    let refused = delete(&mut client, &path).is(409);
    assert!(refused.text("detail").contains("it runs"), "{refused:?}");
    std::thread::sleep(seconds(4));
    drop(encoder);
    let stored = newest(&mut client, 1, "stored");
    let store = server.data_dir().join("recordings");
    for part in ["/vod-", "/mp4/"] {
        assert!(files(&store).iter().any(|file| file.contains(part)), "{part}: {:?}", files(&store));
    }
    assert!(stored["store"].as_str().is_some_and(|place| place.starts_with("file:/")), "{stored}");

    assert_eq!(delete(&mut client, &path).is(202).text("state"), "deleting");
    eventually("it is gone", seconds(20), || items(&mut client).is_empty().then_some(()));
    assert_eq!(files(&store), Vec::<String>::new());
    client.get(&path).is(404);
    delete(&mut client, &path).is(404);
    for file in ["index.m3u8", "recording.json"] {
        assert_eq!(http::get(server.http, &format!("/cam/rec/{}/{file}", name(&stored))).status, 404);
    }
    events.first("recording_deleted", seconds(20));

    // One that was just ended by hand, with the encoder still there; and by the command.
    let encoder = push(&server);
    let running = newest(&mut client, 1, "recording");
    std::thread::sleep(seconds(3));
    delete(&mut client, "/api/v1/streams/cam/recording").is(200);
    let told = said(&recordings(&server, &["rm", &name(&running)]));
    assert_eq!(told, format!("{}: is being removed\n", name(&running)));
    eventually("it is gone", seconds(20), || items(&mut client).is_empty().then_some(()));
    assert!(encoder.alive());
    assert_eq!(files(&store), Vec::<String>::new());
    assert_eq!(files(&server.data_dir().join("spool")).len(), 1, "the lock alone");
    let wrong = recordings(&server, &["rm", "1-never"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("there is no recording"), "{wrong:?}");
}

#[test]
fn a_removal_outlives_a_bucket_that_is_away_and_a_kill() {
    let root = tempfile::tempdir().expect("a directory");
    let s3 = S3Server::start(root.path()).expect("s3s-fs");
    s3.make_bucket("recordings").expect("a bucket");
    let proxy = FaultProxy::start(s3.address()).expect("a port");
    let endpoint = proxy.endpoint();
    let in_bucket = || {
        let config = format!("[record]\nstore = \"s3://recordings/live?endpoint={endpoint}&region=us-east-1\"\n");
        let options = options().config(&config).env("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID);
        options.env("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    };
    let server = in_bucket().start();
    let mut client = Client::admin(&server);
    let body = json!({ "id": "cam", "settings": { "isOnDemand": true, "ondemand_time": 2 } });
    client.post("/api/v1/streams", &body).is(201);
    let encoder = push(&server);
    newest(&mut client, 1, "recording");
    std::thread::sleep(seconds(5));
    drop(encoder);
    let stored = newest(&mut client, 1, "stored");
    let of_recording =
        || files(root.path()).into_iter().filter(|file| file.contains("/rec/") && !file.contains(".s3s")).count();
    assert!(of_recording() > 5, "{:?}", files(root.path()));
    proxy.script(|_| Some(Fault::Reply(Reply::error(503, "SlowDown"))));
    let path = format!("/api/v1/recordings/{}", name(&stored));
    delete(&mut client, &path).is(202);
    eventually("why it is still there is said", seconds(30), || {
        let shown = client.get(&path).is(200).json;
        (shown["state"] == "deleting" && !shown["why"].as_str().unwrap_or_default().is_empty()).then_some(())
    });
    let dir = server.kill();
    let server = in_bucket().start_in(dir);
    let mut client = Client::admin(&server);
    assert_eq!(client.get(&path).is(200).text("state"), "deleting");
    proxy.heal();
    eventually("it is gone", seconds(90), || items(&mut client).is_empty().then_some(()));
    assert_eq!(of_recording(), 0, "{:?}", files(root.path()));
    assert!(said(&recordings(&server, &["ls"])).starts_with("RECORDING"));
}

#[test]
fn recordings_are_listed_and_shown_by_commands() {
    let server = options().start();
    let mut client = Client::admin(&server);
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "isOnDemand": true } })).is(201);
    let encoder = push(&server);
    newest(&mut client, 1, "recording");
    std::thread::sleep(seconds(3));
    drop(encoder);
    let stored = newest(&mut client, 1, "stored");
    let listed = said(&recordings(&server, &["ls", "--stream", "cam", "--state", "stored"]));
    let row = listed.lines().nth(1).expect("a row");
    assert!(row.starts_with(&name(&stored)) && row.contains(" cam ") && row.contains(" stored "), "{listed}");
    assert_eq!(said(&recordings(&server, &["ls", "--stream", "other"])).lines().count(), 1);
    let shown: Value = serde_json::from_str(&said(&recordings(&server, &["show", &name(&stored)]))).expect("JSON");
    assert_eq!(shown, stored);
    let wrong = recordings(&server, &["ls", "--state", "lost"]);
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("state"), "{wrong:?}");
    let none = recordings(&server, &["start", "cam"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("not on air"), "{none:?}");
}

/// How long ffprobe finds it, milliseconds, and its tracks.
fn probed(url: &str) -> (u64, Vec<String>) {
    #[rustfmt::skip]
    let done = Tool::start("ffprobe", &["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", url]).wait(seconds(30));
    assert!(done.status.success() && done.stderr.trim().is_empty(), "{}", done.stderr);
    let ms = (done.stdout.trim().parse::<f64>().expect("seconds") * 1_000.0) as u64;
    (ms, ffprobe(url))
}

#[test]
fn a_recording_is_cut_into_clips_and_taken_away_as_a_file() {
    let server = options().start();
    let mut client = Client::admin(&server);
    let body = json!({ "id": "cam", "settings": { "isOnDemand": true, "ondemand_time": 2 } });
    client.post("/api/v1/streams", &body).is(201);
    let mut events = client.listen();
    let encoder = push(&server);
    newest(&mut client, 1, "recording");
    std::thread::sleep(seconds(8));
    drop(encoder);
    let stored = newest(&mut client, 1, "stored");
    let path = format!("/api/v1/recordings/{}", name(&stored));
    let clips = format!("{path}/clips");
    let made = client.post(&clips, &json!({ "from": 1_500, "to": 4_500 })).is(202).json;
    assert_eq!((&made["state"], &made["path"]), (&json!("queued"), &json!(null)));
    let clip = made["clip"].as_str().expect("a name").to_owned();
    let ready = eventually("it is ready", seconds(20), || {
        let clip = client.get(&format!("{clips}/{clip}")).is(200).json;
        assert_ne!(clip["state"], "failed", "{clip}");
        (clip["state"] == "ready").then_some(clip)
    });
    events.first("clip", seconds(20));
    let at = ready["path"].as_str().expect("a path");
    let url = format!("http://{}{at}", server.http);
    let (ms, tracks) = probed(&url);
    assert!((2_900..=3_100).contains(&ms), "{ms} ms");
    assert_eq!(tracks, ["aac", "h264,320,180"]);
    vlc_plays(&url, &["aac", "h264,320,180"]);
    let file = http::get(server.http, at);
    assert_eq!((file.status, file.header("content-type")), (200, "video/mp4"));
    assert_eq!(ready["bytes"].as_u64(), Some(file.body.len() as u64));
    let head = format!("GET {at} HTTP/1.1\r\nHost: a\r\nRange: bytes=4-7\r\nConnection: close\r\n\r\n");
    let part = http::raw(server.http, head.as_bytes()).expect("an answer");
    assert_eq!((part.status, part.body.as_slice()), (206, &b"ftyp"[..]));
    // Nothing of that span is there.
    let beyond = client.post(&clips, &json!({ "from": 3_600_000, "to": 3_700_000 })).is(400);
    assert!(beyond.text("detail").contains("ms long"), "{beyond:?}");
    assert_eq!(files(&server.data_dir().join("clips")), Vec::<String>::new(), "nothing is left of its making");

    // By the command, whole and a part.
    let room = tempfile::tempdir().expect("a directory");
    let out = room.path().join("whole.mp4");
    let out = out.to_str().expect("UTF-8");
    let told = said(&recordings(&server, &["export", &name(&stored), "--out", out]));
    assert!(told.starts_with(out) && !told.contains("warning"), "{told}");
    let whole_ms = stored["duration_ms"].as_u64().expect("a length");
    assert!(probed(out).0.abs_diff(whole_ms) < 200, "{:?} of {whole_ms} ms", probed(out));
    let again = recordings(&server, &["export", &name(&stored), "--out", out]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"), "{again:?}");
    let part = room.path().join("part.mp4");
    let part = part.to_str().expect("UTF-8");
    said(&recordings(&server, &["export", &name(&stored), "--out", part, "--from", "0:02", "--to", "4.5"]));
    assert!((2_400..=2_600).contains(&probed(part).0), "{:?}", probed(part));
    let none = recordings(&server, &["export", "1-never", "--out", "x.mp4"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("there is no recording"), "{none:?}");

    // It goes with its recording.
    delete(&mut client, &path).is(202);
    eventually("it is gone", seconds(20), || items(&mut client).is_empty().then_some(()));
    assert_eq!(http::get(server.http, at).status, 404);
    assert_eq!(files(&server.data_dir().join("recordings")), Vec::<String>::new());
}
