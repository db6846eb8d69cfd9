//! Keys and stores that are lost, replaced or emptied: the server says so and does not start over, and nodes on air go on.
use std::net::SocketAddr;
use std::path::Path;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::flv::Tag;
use millstream_tests::http::Viewer;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server, millstream};
use millstream_tests::{eventually, millis, seconds};
use serde_json::json;
use tempfile::TempDir;

use super::fleet::{copy, directory, free_address, has, node, node_directory};

/// What a start says that is refused.
#[track_caller]
fn refused(dir: &Path) -> String {
    let dir = dir.to_str().expect("ASCII");
    let any = "127.0.0.1:0";
    let output = millstream(&["serve", "--data-dir", dir, "--rtmp", any, "--http", any, "--control", any]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--accept-new-key") && said.contains("backup"), "says what to do: {said}");
    said
}

fn streams(server: &Server) -> usize {
    let list = Client::admin(server).get("/api/v1/streams").is(200).json;
    list["items"].as_array().expect("a list").len()
}

fn remove_store(dir: &Path) {
    for name in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
        let _ = std::fs::remove_file(dir.join(name));
    }
}

#[test]
fn case_42_a_lost_or_foreign_master_key_is_refused_until_it_is_accepted() {
    let server = Options::signed().start();
    Client::admin(&server).post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let dir = server.kill();
    let key = dir.path().join("master-key");
    let right = std::fs::read(&key).expect("made at the first start");
    std::fs::remove_file(&key).expect("removed");
    assert!(refused(dir.path()).contains("master-key is missing"));
    assert!(!key.exists(), "none is made");
    // The key of another server.
    let other = Options::signed().start();
    std::fs::copy(other.data_dir().join("master-key"), &key).expect("copied");
    let said = refused(dir.path());
    assert!(
        said.contains("master-key is not the key") && !said.contains(String::from_utf8_lossy(&right).trim()),
        "{said}"
    );

    std::fs::write(&key, &right).expect("restored");
    let server = Options::signed().start_in(dir);
    assert_eq!(streams(&server), 1);
    let dir = server.kill();
    std::fs::remove_file(&key).expect("removed");
    let server = Options::signed().flag("--accept-new-key").start_in(dir);
    assert!(server.log.has("accepted as the operator said"), "{}", server.log.text());
    assert_eq!(streams(&server), 1);
    let audit = Client::admin(&server).get("/api/v1/audit").is(200).json;
    assert_eq!(audit["items"][0]["action"], "store.accept", "{audit}");
    // From here on it is the key.
    let dir = server.kill();
    drop(Options::signed().start_in(dir));
}

#[test]
fn case_42_an_emptied_store_is_refused_until_it_is_restored_or_accepted() {
    let server = Options::signed().start();
    Client::admin(&server).post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let place = directory();
    let backup = place.path().join("copy");
    let data_dir = server.data_dir().to_str().expect("ASCII").to_owned();
    let made = millstream(&["backup", backup.to_str().expect("ASCII"), "--data-dir", &data_dir]);
    assert!(made.status.success());
    let dir = server.kill();
    remove_store(dir.path());
    assert!(refused(dir.path()).contains("the store is empty"));
    remove_store(dir.path());
    std::fs::copy(&backup, dir.path().join("store.sqlite")).expect("restored");
    let server = Options::signed().start_in(dir);
    assert_eq!(streams(&server), 1);
    let dir = server.kill();
    remove_store(dir.path());
    let server = Options::signed().flag("--accept-new-key").start_in(dir);
    assert_eq!(streams(&server), 0);
    let dir = server.kill();
    drop(Options::signed().start_in(dir));
}

fn control(at: SocketAddr, dir: TempDir, flags: &[&str]) -> Server {
    let options = Options::signed().role("control").arg("--control", &at.to_string());
    flags.iter().fold(options, |options, flag| options.flag(flag)).start_in(dir)
}

#[test]
fn case_42_nodes_keep_their_streams_when_control_comes_back_with_another_store() {
    let at = free_address();
    let first = control(at, directory(), &[]);
    let mut client = Client::admin(&first);
    for id in ["cam", "other"] {
        client.post("/api/v1/streams", &json!({ "id": id })).is(201);
    }
    let key = format!("cam?sign={}", client.get("/api/v1/streams/cam/key").is(200).text("sign"));
    let node = node(at, node_directory(&first));
    eventually("the node has the streams", seconds(15), || has(&node, "other").then_some(()));
    let _push = Publisher::start(node.rtmp, "stream", &key).expect("let in").repeat(Clip::small());
    let mut viewer = Viewer::watch(node.http, "cam");
    viewer.find("keyframe", seconds(10), Tag::is_keyframe);

    // Control loses its disk, and somebody sets it up anew with the keys that there are.
    let anew = copy(&first, &["master-key", "node-token", "admin-token"]);
    let lost = first.kill();
    let empty = control(at, anew, &[]);
    let mut client = Client::admin(&empty);
    let warning = "control has another store";
    eventually("the node says so", seconds(20), || {
        let nodes = client.get("/api/v1/nodes").is(200).json;
        nodes["items"][0]["complaints"].to_string().contains(warning).then_some(())
    });
    assert!(node.log.has(warning) && empty.log.has("does not follow this control"), "{}", empty.log.text());
    assert!(node.metric("millstream_link_other_store") > 0.5);
    let asked = std::time::Instant::now();
    client.post("/api/v1/streams", &json!({ "id": "new" })).is(201);
    assert!(asked.elapsed() < millis(400), "a node that refuses is not waited for: {:?}", asked.elapsed());
    viewer.tags_for(millis(1_500));
    assert_eq!(viewer.end, None, "who watches notices nothing");
    assert!(has(&node, "other") && !has(&node, "new"));
    let polls = node.metric("millstream_link_asked_total");
    std::thread::sleep(seconds(1));
    assert!(node.metric("millstream_link_asked_total") < polls + 5.0, "it does not ask without a pause");

    // The right store is back: the node follows it as if nothing had been.
    drop(empty.kill());
    let restored = control(at, lost, &[]);
    Client::admin(&restored).post("/api/v1/streams", &json!({ "id": "third" })).is(201);
    eventually("the node follows again", seconds(20), || has(&node, "third").then_some(()));
    assert!(node.metric("millstream_link_other_store") < 0.5);

    // An operator who means to begin anew says so once, at control.
    let dir = restored.kill();
    remove_store(dir.path());
    let begun = control(at, dir, &["--accept-new-key"]);
    Client::admin(&begun).post("/api/v1/streams", &json!({ "id": "fourth" })).is(201);
    eventually("the node has begun anew, too", seconds(20), || {
        (has(&node, "fourth") && !has(&node, "other")).then_some(())
    });
}

#[test]
fn a_data_directory_has_one_server_at_a_time() {
    let server = Options::signed().start();
    let dir = server.data_dir().to_str().expect("ASCII");
    let ports = ["--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let second = millstream(&[&["serve", "--data-dir", dir], &ports[..]].concat());
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another millstream") && said.contains(&server.pid().to_string()), "{said}");
}

#[test]
fn a_backup_of_a_running_server_is_a_store_for_another_one() {
    let server = Options::signed().start();
    let mut client = Client::admin(&server);
    client.post("/api/v1/streams", &json!({ "id": "kept" })).is(201);
    let other = tempfile::tempdir().expect("a directory");
    let copy = other.path().join("store.sqlite");
    let (dir, copy) = (server.data_dir().to_str().expect("ASCII"), copy.to_str().expect("ASCII"));
    let done = millstream(&["backup", copy, "--data-dir", dir]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.contains("master-key"), "{said}");
    client.post("/api/v1/streams", &json!({ "id": "later" })).is(201);
    // What the backup told of: without it no key that was handed out would admit.
    std::fs::copy(server.data_dir().join("master-key"), other.path().join("master-key")).expect("copied");
    let restored = Options::signed().start_in(other);
    let mut client = Client::admin(&restored);
    client.get("/api/v1/streams/kept").is(200);
    client.get("/api/v1/streams/later").is(404);
}
