//! What operators get wrong: a bucket that is not there, is elsewhere, or refuses the credentials; a spool that is another's, or that is none. Streams are
//! watched all the same, and people are told what to do.
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use millstream_test_support::disk;
use millstream_test_support::s3::S3Server;
use millstream_test_support::s3::proxy::{Fault, FaultProxy, Reply};
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::Server;
use millstream_tests::{eventually, seconds};
use serde_json::json;

use crate::recordings::{in_bucket, keeps_the_rules, name, options, recorded, recording, text};

/// What S3 answers, and what people are told to do.
const WRONG: [(u16, &str, &str); 3] = [
    (404, "NoSuchBucket", "make the bucket"),
    (301, "PermanentRedirect", "set region=eu-west-3"),
    (403, "InvalidAccessKeyId", "check AWS_ACCESS_KEY_ID"),
];

#[test]
fn a_bucket_that_is_set_up_wrongly_is_told_once_and_used_once_it_is_mended() {
    std::thread::scope(|scope| {
        for (status, code, advice) in WRONG {
            scope.spawn(move || is_told_and_mended(status, code, advice));
        }
    });
}

fn is_told_and_mended(status: u16, code: &'static str, advice: &str) {
    let root = tempfile::tempdir().expect("a directory");
    let s3 = S3Server::start(root.path()).expect("s3s-fs");
    s3.make_bucket("recordings").expect("a bucket");
    let proxy = FaultProxy::start(s3.address()).expect("a port");
    // A bucket that is elsewhere says where, and others say what they are, too.
    proxy.script(move |_| {
        let reply = Reply::error(status, code).with_header("x-amz-bucket-region", "eu-west-3");
        Some(Fault::Reply(reply))
    });
    let (server, mut client, push) = recorded(in_bucket(&proxy.endpoint()));
    let running = recording(&mut client, "recording");
    let waits = eventually(&format!("{code}: the recording says what to do"), seconds(40), || {
        let one = client.get(&format!("/api/v1/recordings/{}", name(&running))).is(200).json;
        one["why"].as_str().is_some_and(|why| why.contains(advice)).then_some(one)
    });
    assert_eq!(waits["state"], "recording", "it grows all the same: {waits}");
    let told = || -> Vec<String> {
        let text = server.log.text();
        text.lines().filter(|line| line.contains("recordings cannot be stored")).map(str::to_owned).collect()
    };
    assert!(told().len() == 1 && told()[0].contains(advice), "{code}: {:#?}", told());
    let mut viewer = Viewer::watch(server.http, "cam");
    assert!(!viewer.tags_for(seconds(1)).is_empty() && viewer.end.is_none(), "{code}: viewers notice nothing");
    // Nobody starts the server again.
    proxy.heal();
    drop((viewer, push));
    let stored = eventually(&format!("{code}: it is stored"), seconds(60), || {
        let one = client.get(&format!("/api/v1/recordings/{}", name(&running))).is(200).json;
        (one["state"] == "stored").then_some(one)
    });
    assert_eq!(stored["why"], "", "{stored}");
    assert!(stored["duration_ms"].as_u64().is_some_and(|ms| ms >= 9_000), "{stored}");
    keeps_the_rules(&server, "cam", &stored, &["video", "audio"]);
    let description = text(&server, &format!("/cam/rec/{}/recording.json", name(&stored)));
    assert!(description.contains("\"gaps\": []"), "{code}: {description}");
    assert_eq!(told().len(), 1, "{code}: {:#?}", told());
    eventually("that it is mended is told", seconds(5), || server.log.has("recordings are stored again").then_some(()));
}

/// The server serves streams without a recorder, and says so.
fn is_watched_and_not_recorded(server: &Server, why: &str) -> Pushing {
    let line = "nothing is recorded until the server is started again";
    let told = eventually("the log says so", seconds(5), || {
        let log = server.log.text();
        log.lines().find(|text| text.contains(line)).map(str::to_owned)
    });
    assert!(told.contains(why), "{why}: {told}");
    let mut client = Client::admin(server);
    client.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "isOnDemand": true } })).is(201);
    let push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    let mut viewer = Viewer::watch(server.http, "cam");
    assert!(!viewer.tags_for(seconds(2)).is_empty() && viewer.end.is_none(), "it is watched");
    eventually("by HLS, too", seconds(10), || (http::get(server.http, "/cam/live.m3u8").status == 200).then_some(()));
    eventually("that it has no recorder is told to who asks for a recording", seconds(10), || {
        let refused = client.post("/api/v1/streams/cam/recording", &json!({})).is(409);
        refused.text("detail").contains("has no recorder").then_some(())
    });
    let list = client.get("/api/v1/recordings").is(200).json;
    assert_eq!(list["items"], json!([]), "nothing is recorded");
    assert_eq!(http::get(server.http, "/cam/dvr.m3u8").status, 404);
    push
}

#[test]
fn a_server_whose_spool_cannot_be_used_serves_streams_and_says_that_nothing_is_recorded() {
    // A file is in its place.
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("spool"), b"not a directory").expect("written");
    let server = options().start_in(dir);
    drop(is_watched_and_not_recorded(&server, "spool"));
    drop(server);

    // Another process has it.
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("spool")).expect("made");
    let mut lock = File::create(dir.path().join("spool/spool.lock")).expect("made");
    lock.try_lock().expect("nobody has it");
    write!(lock, "{}", std::process::id()).expect("written");
    let server = options().start_in(dir);
    let holder = format!("is used by another server (process {})", std::process::id());
    let push = is_watched_and_not_recorded(&server, &holder);
    // It is let go, and the server is started again.
    drop((push, lock));
    let server = options().start_in(server.kill());
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::small());
    recording(&mut Client::admin(&server), "recording");
}

/// To the last page.
fn fill(file: &Path) {
    let (mut file, block) = (File::create(file).expect("made"), vec![1; 64 << 10]);
    let error = std::iter::repeat_with(|| file.write(&block)).find_map(Result::err).expect("it is full");
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
}

/// All that the server keeps is on one disk, as it is where nothing else is configured: also its store of records. (What a write is that the disk cuts is in the
/// recorder's own tests.)
#[test]
fn a_disk_that_somebody_fills_costs_viewers_nothing_and_recordings_what_came_meanwhile() {
    if disk::refused().is_some() {
        return;
    }
    let (server, mut client, push) = recorded(options().config("[record]\nspool_max = \"64MiB\"\n").disk(80));
    let running = recording(&mut client, "recording");
    let mut viewer = Viewer::watch(server.http, "cam");
    std::thread::sleep(seconds(3));
    let filler = server.data_dir().join("filler");
    fill(&filler);
    let counted = |name: &str| server.metric(name);
    eventually("it pauses", seconds(5), || (counted("millstream_recordings_paused_total") >= 1.0).then_some(()));
    let text_of_live = || http::get(server.http, "/cam/video.m3u8").body;
    let before = text_of_live();
    assert!(!viewer.tags_for(seconds(3)).is_empty() && viewer.end.is_none(), "viewers notice nothing");
    assert_ne!(text_of_live(), before, "nor do those of HLS");
    std::fs::remove_file(&filler).expect("removed");
    eventually("it goes on within 5 s of room", seconds(5), || {
        (counted("millstream_recordings_resumed_total") >= 1.0).then_some(())
    });
    assert!(!viewer.tags_for(seconds(4)).is_empty() && viewer.end.is_none(), "viewers notice nothing");
    drop((viewer, push));
    let stored = recording(&mut client, "stored");
    assert_eq!(name(&stored), name(&running), "it is the same one");
    keeps_the_rules(&server, "cam", &stored, &["video", "audio"]);
    let description = text(&server, &format!("/cam/rec/{}/recording.json", name(&stored)));
    assert!(description.contains("\"reason\": \"disk_full\""), "{description}");
}
