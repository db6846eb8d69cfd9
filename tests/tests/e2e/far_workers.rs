//! Workers of other machines than their node: control, node and worker as three processes, of which none has started another.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::flv::{Tag, VIDEO};
use millstream_tests::http::{Viewer, get};
use millstream_tests::machine::Probe;
use millstream_tests::proc;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server, binary};
use millstream_tests::tools::Tool;
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

use crate::fleet::{directory, free_address, knows, node_directory};
use crate::hooks::{built, upload};
use crate::tls::{Authority, NOW};

const RECORD: &str = "[[stream]]\nid = \"cam\"\nisCodec = true\nld = true\n";

pub(crate) fn control(at: SocketAddr) -> Server {
    Options::signed().role("control").arg("--control", &at.to_string()).config(RECORD).start_in(directory())
}

/// A node whose workers are there, and what publishes `cam` to it.
pub(crate) fn node(control: &Server, at: SocketAddr, place: &str) -> (Server, Pushing) {
    let config = format!("[transcode]\nworker = \"{place}\"\nworker_listen = \"127.0.0.1:0\"\nffmpeg = \"auto\"\n");
    let node = Options::signed().role("node").shards(2).arg("--control-url", &format!("http://{at}")).config(&config);
    let node = node.arg("--node-name", "edge-1").start_in(node_directory(control));
    knows(&node, "cam");
    let push = publish(control, &node);
    (node, push)
}

fn publish(control: &Server, node: &Server) -> Pushing {
    let key = format!("cam?sign={}", control.sign("cam", &["--expires", "2035-01-01"]));
    Publisher::start(node.rtmp, "stream", &key).expect("signed by control").repeat(Clip::busy())
}

/// What is started on the other machine.
pub(crate) fn worker(control: SocketAddr, token: &Path, name: &str) -> Tool {
    worker_by(Command::new(binary()), control, token, name)
}

fn worker_by(mut command: Command, control: SocketAddr, token: &Path, name: &str) -> Tool {
    command.args(["worker", "--control-url", &format!("http://{control}"), "--name", name, "--token-file"]).arg(token);
    // A developer's own settings must not change what is tested.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MILLSTREAM_")) {
        command.env_remove(name);
    }
    Tool::spawn(&mut command)
}

pub(crate) fn token(control: &Server) -> PathBuf {
    control.data_dir().join("worker-token")
}

/// A worker of that name, as control shows it.
pub(crate) fn shown(client: &mut Client, name: &str) -> Value {
    let all = client.get("/api/v1/workers").is(200).json;
    let items = all["items"].as_array().cloned().unwrap_or_default();
    items.into_iter().find(|worker| worker["name"] == name).unwrap_or_default()
}

/// Waits until it works for the node, and both say so.
pub(crate) fn serves(client: &mut Client, name: &str) {
    eventually(&format!("{name} works for the node"), seconds(15), || {
        let worker = shown(client, name);
        let load = &client.get("/api/v1/nodes").is(200).json["items"][0]["worker"];
        let is_so = worker["serving"] == true && worker["node"] == "edge-1" && load["remote"] == *name;
        (is_so && load["cores"].as_u64() > Some(0) && load["encode_mb_s"].as_u64() > Some(0)).then_some(())
    });
}

/// Workers that the node has started itself.
fn local_workers(node: &Server) -> usize {
    proc::children(node.pid()).into_iter().filter(|pid| proc::command(*pid).contains("worker")).count()
}

/// The rendition as the API has it.
fn rendition(client: &mut Client) -> Value {
    client.get("/api/v1/streams/cam/session").json["renditions"][0].clone()
}

/// A keyframe of the rendition that comes after this moment.
fn goes_on(viewer: &mut Viewer, since: Instant) {
    viewer.find("a keyframe of the next worker", seconds(15), |tag| {
        tag.kind == VIDEO && tag.is_keyframe() && since.elapsed().as_millis() > 300
    });
}

#[test]
fn renditions_are_made_on_another_machine_and_here_while_that_is_away() {
    let at = free_address();
    let control = control(at);
    let (node, _push) = node(&control, at, "any");
    let mut client = Client::admin(&control);
    let mut far = worker(at, &token(&control), "gpu-1");
    serves(&mut client, "gpu-1");
    let mut viewer = Viewer::watch(node.http, "cam/360p");
    assert!(viewer.tags_for(seconds(3)).iter().filter(|tag| tag.kind == VIDEO).count() > 30);
    let playlist = get(node.http, "/cam/360p/video.m3u8");
    assert!(playlist.status == 200 && String::from_utf8_lossy(&playlist.body).contains("#EXT-X-PART:"));
    let picture = get(node.http, "/cam/snapshot.jpg");
    assert!(picture.status == 200 && picture.body.starts_with(b"\xFF\xD8\xFF"), "{}", picture.status);
    assert_eq!(local_workers(&node), 0, "nothing is made here");
    // What decodes is below the supervisor, and confined.
    let below = proc::below(far.pid());
    let child = *below.iter().find(|pid| proc::command(**pid).contains("--port")).expect("a process that decodes");
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).expect("it runs");
    assert!(status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"), "{status}");
    let ports = format!("--port {} --port {}", node.http.port(), node.rtmp.port());
    assert!(proc::command(child).contains(&ports), "{}", proc::command(child));

    let probe = Probe::start();
    far.kill();
    let killed = Instant::now();
    eventually("nothing is left of it", seconds(2), || below.iter().all(|pid| !proc::is_alive(*pid)).then_some(()));
    goes_on(&mut viewer, killed);
    let away = killed.elapsed();
    println!("the rendition went on {away:?} after its worker was killed");
    assert!(probe.stop().too_busy() || away < seconds(4), "{away:?}");
    assert_eq!(local_workers(&node), 1, "it is made here");

    let back = worker(at, &token(&control), "gpu-1");
    serves(&mut client, "gpu-1");
    goes_on(&mut viewer, Instant::now());
    assert_eq!((local_workers(&node), viewer.end.as_ref()), (0, None), "it is made there again");
    let secret = std::fs::read_to_string(token(&control)).expect("made at the first start");
    for log in [&node.log, &control.log, &far.stderr, &back.stderr] {
        assert!(!log.has(secret.trim()) && !log.has("job="), "{}", log.text());
    }
}

#[test]
fn without_a_worker_here_renditions_wait_for_one_and_control_need_not_be_there() {
    let at = free_address();
    let control = control(at);
    let (node, _push) = node(&control, at, "remote");
    let mut client = Client::admin(&control);
    eventually("it is noticed", seconds(5), || node.log.has("no worker of another machine is here").then_some(()));
    let refused = get(node.http, "/cam/360p/live.flv");
    let told = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(refused.status == 503 && told.contains("no worker of there is connected"), "{} {told}", refused.status);
    let mut far = worker(at, &token(&control), "gpu-1");
    serves(&mut client, "gpu-1");
    let mut viewer = Viewer::watch(node.http, "cam/360p");
    viewer.find("a keyframe", seconds(10), Tag::is_keyframe);
    far.kill();
    eventually("it is told again", seconds(8), || {
        let told = rendition(&mut client);
        (told["state"] == "unavailable" && told["reason"] == "worker_away").then_some(())
    });
    let far = worker(at, &token(&control), "gpu-1");
    serves(&mut client, "gpu-1");
    let mut viewer = Viewer::watch(node.http, "cam/360p");
    viewer.find("a keyframe", seconds(10), Tag::is_keyframe);
    assert_eq!(local_workers(&node), 0);

    let _dir = control.kill();
    eventually("the worker says so", seconds(15), || far.stderr.has("control gives no answer").then_some(()));
    let tags = viewer.tags_for(seconds(2));
    assert!(tags.iter().filter(|tag| tag.kind == VIDEO).count() > 30, "what is made goes on");
    // The process that decodes dies: its supervisor comes back to the node by the ticket that it has.
    let decodes = proc::children(far.pid())[0];
    proc::kill(decodes);
    let killed = Instant::now();
    goes_on(&mut viewer, killed);
    println!("the rendition went on {:?} after its process was killed", killed.elapsed());
    // And one that hangs is the same as one that is gone.
    let hangs = proc::children(far.pid())[0];
    proc::stop(hangs);
    let stopped = Instant::now();
    eventually("it is ended", seconds(15), || (!proc::is_alive(hangs)).then_some(()));
    println!("it was ended {:?} after it began to hang", stopped.elapsed());
    goes_on(&mut viewer, Instant::now());
    assert_eq!(viewer.end, None);
}

#[test]
fn who_may_not_work_is_told_why() {
    let at = free_address();
    let control = control(at);
    let (node, _push) = node(&control, at, "remote");
    let mut client = Client::admin(&control);
    // The nodes' token is for nodes.
    let wrong = worker(at, &control.data_dir().join("node-token"), "gpu-1");
    eventually("it says so", seconds(10), || wrong.stderr.has("refuses this worker's token").then_some(()));
    drop(wrong);
    assert_eq!(shown(&mut client, "gpu-1"), json!(null));
    let one = worker(at, &token(&control), "gpu-1");
    serves(&mut client, "gpu-1");
    // A second one of another name waits; of the same name, one of the two is told.
    let waits = worker(at, &token(&control), "gpu-2");
    eventually("it waits", seconds(10), || (shown(&mut client, "gpu-2")["node"] == "").then_some(()));
    assert_eq!(shown(&mut client, "gpu-2")["serving"], false);
    let same = worker(at, &token(&control), "gpu-2");
    eventually("one of the two is told", seconds(40), || {
        let said = "another worker of this name is here";
        (waits.stderr.has(said) || same.stderr.has(said)).then_some(())
    });
    assert_eq!(shown(&mut client, "gpu-2")["same_name"], true);
    assert!(!node.log.has("is not taken"), "who waits goes to no node: {}", node.log.text());
    // A second process of the name that works for the node does not end what is made.
    let decodes = proc::children(one.pid())[0];
    let second = worker(at, &token(&control), "gpu-1");
    eventually("it is told", seconds(15), || second.stderr.has("another process of the name").then_some(()));
    assert!(node.log.has("is not taken") && proc::is_alive(decodes), "{}", node.log.text());
    drop(second);
    let no_token = millstream_tests::server::millstream(&["worker", "--control-url", "http://127.0.0.1:1"]);
    assert_eq!(no_token.status.code(), Some(2));
    let missing = ["worker", "--control-url", "http://127.0.0.1:1", "--token-file", "/nonexistent"];
    let missing = millstream_tests::server::millstream(&missing);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(missing.status.code() == Some(2) && said.contains("copy the file worker-token"), "{said}");
    drop(one);
}

/// One process is control and node; orders and the code of a hook go to the worker over TLS.
#[test]
fn motion_is_looked_for_over_tls_by_a_hook_on_another_machine() {
    let authority = Authority::new();
    authority.certify("node", &["localhost"], NOW);
    let port = free_address().port();
    let of_workers = format!(
        "[transcode]\nworker = \"remote\"\nworker_listen = \"127.0.0.1:{port}\"\nworker_url = \"tls://localhost:{port}\"\n"
    );
    let record = "[[stream]]\nid = \"cam\"\nisMotion = true\nmotion_percent = 100\n";
    let server = Options::open().config(&format!("{}{of_workers}{record}", authority.config(&["node"]))).start();
    let mut client = Client::admin(&server);
    client.request("PUT", "/api/v1/hooks/motion", "", Some(&json!({ "kind": "motion" }))).is(201);
    let (status, version) = upload(&server, &client, "motion", &built("motion"));
    assert_eq!(status, 201, "{version}");
    let binding = json!({ "hook": "motion", "point": "motion", "mode": "live", "stream": "cam" });
    client.post("/api/v1/hook-bindings", &binding).is(201);
    let _push = Publisher::start(server.rtmp, "stream", "cam").expect("published").repeat(Clip::passing());
    // One that does not know the authority is not led to send anything.
    let doubts = worker(server.control, &token(&server), "doubts");
    eventually("it says so", seconds(10), || doubts.stderr.has("certificate").then_some(()));
    drop(doubts);
    let mut command = Command::new(binary());
    command.env("SSL_CERT_FILE", authority.path("ca.pem"));
    let far = worker_by(command, server.control, &token(&server), "gpu-1");
    eventually("the hook looks", seconds(60), || {
        let figures = client.get("/api/v1/hooks/motion/numbers").is(200).json;
        (figures["items"][0]["calls"].as_u64() > Some(20)).then_some(())
    });
    assert!(server.log.has("encrypted=true"), "{}", server.log.text());
    let child = proc::children(far.pid())[0];
    assert!(proc::command(child).contains("--hooks"), "{}", proc::command(child));
    assert_eq!(local_workers(&server), 0);
}

/// A network of its own for the worker, with one address of ours.
struct Apart {
    name: String,
    link: String,
}

const OURS: &str = "198.18.77.1";

impl Apart {
    fn new() -> Self {
        let id = std::process::id() % 100_000;
        let apart = Self { name: format!("ms-{id}"), link: format!("ms{id}") };
        let (name, link) = (apart.name.as_str(), apart.link.as_str());
        apart.ip(&["netns", "add", name]);
        apart.ip(&["link", "add", link, "type", "veth", "peer", "name", "far", "netns", name]);
        apart.ip(&["addr", "add", &format!("{OURS}/30"), "dev", link]);
        apart.ip(&["link", "set", link, "up"]);
        apart.ip(&["-n", name, "addr", "add", "198.18.77.2/30", "dev", "far"]);
        apart.ip(&["-n", name, "link", "set", "far", "up"]);
        apart
    }

    fn ip(&self, args: &[&str]) {
        let done = Command::new("ip").args(args).status().expect("ip is there");
        assert!(done.success(), "{}: ip {args:?}: {done}", self.name);
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.link]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// The worker reaches the node at an address that is not of its own machine, and goes without a word: the line is cut.
#[test]
#[ignore = "slow: wants rights over the network and waits for silence; tests/run --long has it"]
fn a_worker_behind_a_line_that_is_cut_is_as_one_that_is_gone() {
    let apart = Apart::new();
    let at: SocketAddr = format!("{OURS}:{}", free_address().port()).parse().expect("an address");
    let control = Options::signed().role("control").arg("--control", &at.to_string()).flag("--control-plain");
    let control = control.config(RECORD).start_in(directory());
    let port = free_address().port();
    let config =
        format!("[transcode]\nworker = \"any\"\nworker_listen = \":{port}\"\nworker_url = \"tcp://{OURS}:{port}\"\n");
    let node = Options::signed().role("node").shards(2).arg("--control-url", &format!("http://{at}")).config(&config);
    let node = node.flag("--control-plain").arg("--http", "0.0.0.0:0").arg("--rtmp", "0.0.0.0:0");
    let node = node.arg("--node-name", "edge-1").start_in(node_directory(&control));
    knows(&node, "cam");
    let _push = publish(&control, &node);
    let mut client = Client::admin(&control);
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &apart.name]).arg(binary());
    let mut far = worker_by(command, at, &token(&control), "gpu-1");
    eventually("it says what it needs", seconds(5), || far.stderr.has("--control-plain").then_some(()));
    assert!(!far.running());
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &apart.name]).arg(binary());
    let far = {
        command.args(["worker", "--control-url", &format!("http://{at}"), "--control-plain", "--name", "gpu-1"]);
        Tool::spawn(command.arg("--token-file").arg(token(&control)))
    };
    serves(&mut client, "gpu-1");
    let mut viewer = Viewer::watch(node.http, "cam/360p");
    viewer.find("a keyframe", seconds(10), Tag::is_keyframe);
    assert_eq!(local_workers(&node), 0);
    let child = proc::below(far.pid());
    apart.ip(&["link", "set", &apart.link, "down"]);
    let cut = Instant::now();
    viewer.find("a keyframe of the worker here", seconds(25), |tag| {
        tag.kind == VIDEO && tag.is_keyframe() && cut.elapsed().as_secs() > 3
    });
    println!("the rendition went on {:?} after the line was cut", cut.elapsed());
    assert_eq!(local_workers(&node), 1);
    eventually("nothing is made there", seconds(15), || child.iter().all(|pid| !proc::is_alive(*pid)).then_some(()));
    apart.ip(&["link", "set", &apart.link, "up"]);
    serves(&mut client, "gpu-1");
    assert_eq!(viewer.end, None);
}
