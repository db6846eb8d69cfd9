//! Control and nodes as processes of their own: what a node does while control is dead, and when either comes back.
use std::net::{SocketAddr, TcpListener};

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::flv::Tag;
use millstream_tests::http::{self, Viewer};
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, millis, seconds};
use tempfile::TempDir;

const FAR: &str = "2035-01-01";

pub(crate) fn directory() -> TempDir {
    tempfile::Builder::new().prefix("millstream-e2e-").tempdir().expect("a temporary directory")
}

/// An address that is free now, and that control can come back to.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Control with these streams, on its own data directory.
pub(crate) fn control(at: SocketAddr, streams: &[&str], dir: TempDir) -> Server {
    let records = streams.iter().fold(String::new(), |records, id| format!("{records}[[stream]]\nid = \"{id}\"\n\n"));
    Options::signed().role("control").arg("--control", &at.to_string()).config(&records).start_in(dir)
}

/// A data directory with these files of another one, and nothing else.
pub(crate) fn copy(from: &Server, names: &[&str]) -> TempDir {
    let dir = directory();
    for name in names {
        std::fs::copy(from.data_dir().join(name), dir.path().join(name)).expect("control has made it");
    }
    dir
}

/// A data directory for a node: control's master key and node token.
pub(crate) fn node_directory(control: &Server) -> TempDir {
    copy(control, &["master-key", "node-token"])
}

pub(crate) fn node(at: SocketAddr, dir: TempDir) -> Server {
    let node = Options::signed().role("node").shards(2).arg("--control-url", &format!("http://{at}"));
    node.arg("--node-name", "edge-1").start_in(dir)
}

pub(crate) fn push(control_or_node: &Server, node: &Server, id: &str) -> anyhow::Result<Publisher> {
    let sign = control_or_node.sign(id, &["--expires", FAR]);
    Publisher::start(node.rtmp, "stream", &format!("{id}?sign={sign}"))
}

/// Waits until a node knows a stream, which nobody publishes.
pub(crate) fn knows(node: &Server, id: &str) {
    eventually(&format!("the node knows {id}"), seconds(15), || has(node, id).then_some(()));
}

/// Whether a node has a stream, which nobody publishes.
pub(crate) fn has(node: &Server, id: &str) -> bool {
    let told = http::get(node.http, &format!("/{id}/live.flv"));
    String::from_utf8_lossy(&told.body).contains("nobody publishes")
}

#[test]
fn viewers_publishers_and_new_signatures_do_not_notice_that_control_is_dead() {
    let at = free_address();
    let first = control(at, &["cam", "second"], directory());
    let node = node(at, node_directory(&first));
    knows(&node, "second");
    let _push = push(&first, &node, "cam").expect("signed by control").repeat(Clip::small());
    let mut viewer = Viewer::watch(node.http, "cam");
    viewer.find("keyframe", seconds(10), Tag::is_keyframe);
    // kill -9.
    let dir = first.kill();
    eventually("the node says so", seconds(15), || node.log.has("control is away").then_some(()));

    let tags = viewer.tags_for(seconds(3));
    let times: Vec<u32> = tags.iter().filter(|tag| tag.is_frame()).map(|tag| tag.timestamp).collect();
    assert!(
        times.len() > 60 && times.windows(2).all(|w| w[1].abs_diff(w[0]) <= 100),
        "the stream has holes: {times:?}"
    );
    Viewer::watch(node.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    // Signed now, with the key that control and node share, for a stream that was not on air before.
    let _second = push(&node, &node, "second").expect("newly signed").repeat(Clip::small());
    Viewer::watch(node.http, "second").find("keyframe", seconds(10), Tag::is_keyframe);
    assert!(push(&node, &node, "unknown").is_err(), "a stream that nobody has made is let in");

    let back = control(at, &["cam", "second", "third"], dir);
    eventually("the node says so", seconds(20), || node.log.has("control is back").then_some(()));
    knows(&node, "third");
    let token = std::fs::read_to_string(back.data_dir().join("node-token")).expect("control has made it");
    assert!(!node.log.has(token.trim()) && !back.log.has(token.trim()), "a log has the node's token");
    viewer.tags_for(millis(500));
    assert_eq!(viewer.end, None);
}

/// What its file says is the node's own: control need not be there for it, and what control has sent last stays beside it.
#[test]
fn sighup_brings_a_nodes_own_streams_into_force_while_control_is_dead() {
    let at = free_address();
    let first = control(at, &["cam"], directory());
    let dir = node_directory(&first);
    let node = Options::signed().role("node").shards(2).arg("--control-url", &format!("http://{at}"));
    let node = node.config("[[stream]]\nid = \"old\"\n\n[[stream]]\nid = \"stays\"\n").start_in(dir);
    knows(&node, "cam");
    let push_stays = push(&node, &node, "stays").expect("it is in the file").repeat(Clip::small());
    let dir = first.kill();
    eventually("the node says so", seconds(15), || node.log.has("control is away").then_some(()));
    let text = "[[stream]]\nid = \"new\"\n\n[[stream]]\nid = \"stays\"\n";
    std::fs::write(node.data_dir().join("millstream.toml"), text).expect("written");
    node.hang_up();
    knows(&node, "new");
    assert!(push(&node, &node, "old").is_err(), "it is no longer in the file");
    knows(&node, "cam");
    Viewer::watch(node.http, "stays").find("keyframe", seconds(5), Tag::is_keyframe);
    // Control is followed on, and takes nothing of it away.
    let _back = control(at, &["cam", "third"], dir);
    knows(&node, "third");
    knows(&node, "new");
    drop(push_stays);
}

/// Whoever has the nodes' token may call a node as they like: where control says how the fleet is reached, encoders are given that.
#[test]
fn encoders_are_given_the_address_that_control_says() {
    let at = free_address();
    let records = "[rtmp]\npublic_url = \"rtmp://push.example.org\"\n\n[[stream]]\nid = \"cam\"\n";
    let control = Options::signed().role("control").arg("--control", &at.to_string()).config(records);
    let control = control.start_in(directory());
    let node = node(at, node_directory(&control));
    knows(&node, "cam");
    let key = eventually("the node has said where it is", seconds(10), || {
        let key = Client::admin(&control).get("/api/v1/streams/cam/key").is(200).json;
        (key["push_urls"].as_array().map(Vec::len) == Some(2)).then_some(key)
    });
    let nodes: Vec<&str> =
        key["push_urls"].as_array().into_iter().flatten().filter_map(|url| url["node"].as_str()).collect();
    assert_eq!(nodes, ["", "edge-1"]);
    assert!(
        key["push_url"].as_str().is_some_and(|url| url.starts_with("rtmp://push.example.org/stream/cam?sign=")),
        "{key}"
    );
}

#[test]
fn a_node_that_restarts_without_control_knows_what_it_knew() {
    let at = free_address();
    let first = control(at, &["cam"], directory());
    let running = node(at, node_directory(&first));
    knows(&running, "cam");
    eventually("the state is kept", seconds(10), || running.data_dir().join("node-state.json").exists().then_some(()));
    drop(first.kill());
    let dir = running.kill();
    let again = node(at, dir);
    let _push = push(&again, &again, "cam").expect("admitted by what was kept").repeat(Clip::small());
    Viewer::watch(again.http, "cam").find("keyframe", seconds(10), Tag::is_keyframe);
    assert!(again.log.has("starting with the state that control sent last"), "{}", again.log.text());
}

#[test]
fn a_node_with_a_wrong_token_or_without_a_key_says_what_to_do() {
    let at = free_address();
    let control = control(at, &["cam"], directory());
    let dir = node_directory(&control);
    std::fs::copy(control.data_dir().join("master-key"), dir.path().join("node-token")).expect("copied");
    let wrong = node(at, dir);
    eventually("it says so", seconds(15), || wrong.log.has("refuses this node's token").then_some(()));
    let empty = directory();
    let output = millstream_tests::server::millstream(&[
        "serve",
        "--role",
        "node",
        "--control-url",
        &format!("http://{at}"),
        "--data-dir",
        empty.path().to_str().expect("ASCII"),
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("copy control's"), "{said}");
}

/// What a control says that does not start in this directory.
fn refused(dir: &TempDir) -> String {
    let args = ["serve", "--role", "control", "--control", "127.0.0.1:0", "--data-dir"];
    let args = [&args[..], &[dir.path().to_str().expect("ASCII")]].concat();
    let output = millstream_tests::server::millstream(&args);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn case_42_a_lost_or_foreign_master_key_is_refused_and_nodes_on_air_go_on() {
    let at = free_address();
    let first = control(at, &[], directory());
    let mut client = Client::admin(&first);
    client.post("/api/v1/streams", &serde_json::json!({ "id": "cam" })).is(201);
    let node = node(at, node_directory(&first));
    knows(&node, "cam");
    let _push = push(&first, &node, "cam").expect("signed by control").repeat(Clip::small());
    let mut viewer = Viewer::watch(node.http, "cam");
    viewer.find("keyframe", seconds(10), Tag::is_keyframe);
    let dir = first.kill();
    let key = dir.path().join("master-key");
    let kept = std::fs::read(&key).expect("made at the first start");

    std::fs::remove_file(&key).expect("removed");
    let said = refused(&dir);
    assert!(said.contains("is missing") && said.contains("--accept-new-key"), "{said}");
    assert!(!key.exists(), "no new key is made beside the store");
    let foreign = Options::signed().role("control").start();
    std::fs::copy(foreign.data_dir().join("master-key"), &key).expect("copied");
    let said = refused(&dir);
    assert!(said.contains("is not the key") && said.contains("backup"), "{said}");

    // All that time the node goes on.
    let tags = viewer.tags_for(seconds(1));
    assert!(tags.iter().filter(|tag| tag.is_frame()).count() > 20 && viewer.end.is_none());
    std::fs::write(&key, &kept).expect("restored");
    let back = control(at, &[], dir);
    eventually("the node says so", seconds(20), || node.log.has("control is back").then_some(()));
    viewer.tags_for(millis(500));
    assert_eq!(viewer.end, None);

    // Who means it is let in, once and for all.
    let dir = back.kill();
    std::fs::remove_file(&key).expect("removed");
    let accept = |dir| {
        let options = Options::signed().role("control");
        options.flag("--accept-new-key").start_in(dir)
    };
    let accepted = accept(dir);
    let dir = accepted.kill();
    drop(Options::signed().role("control").start_in(dir));
}
