//! A node with a real engine, and control in this process or over HTTP, which goes away and comes back.
mod hooks;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use millstream_control_protocol::PROTOCOL;
use millstream_control_protocol::event::What;
use millstream_control_protocol::exchange::{Answer, NodeId, Order, Report, Whom};
use millstream_control_protocol::state::{Outputs, State, Stream, Version};
use millstream_engine::Engine;
use millstream_engine::config::Config;
use millstream_engine::directory::Directory;
use millstream_fleet::{DropEvents, Fleet, router};
use millstream_policy::preset::{Preset, preset};
use millstream_policy::signed::Apps;
use millstream_proto::secret::Secret;
use millstream_proto::sign::MasterKey;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn stream(id: &str) -> Stream {
    Stream { id: id.to_owned(), ..Stream::default() }
}

static RUNS: AtomicU64 = AtomicU64::new(7);

/// An engine and its agent.
struct Node {
    engine: Engine,
    http: SocketAddr,
    /// Its run: another one each time.
    run: u64,
    fixed: FixedStreams,
    stop: watch::Sender<bool>,
    agent: JoinHandle<()>,
}

impl Node {
    /// `kept`: where the state is kept.
    fn start(control: Control, kept: Option<&Path>) -> Self {
        Self::running(control, kept, None)
    }

    /// The same, with hooks.
    fn running(control: Control, kept: Option<&Path>, runner: Option<Arc<dyn crate::runner::Runner>>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let state = kept.and_then(|path| kept::load(path).unwrap());
        let fixed = Directory::new([&stream("fixed")]);
        let directory = state.as_ref().map_or(fixed.clone(), |state| fixed.updated(&update_of(state)).directory);
        let config = Config {
            shards: 2,
            drain: Duration::from_millis(100),
            directory: directory.clone(),
            ..Config::at(any, any)
        };
        let chain =
            preset(Preset::Signed { master: MasterKey::new([1; 32]), legacy: Vec::new(), apps: Apps::default() });
        let engine = millstream_engine::start(config, chain).unwrap();
        let run = RUNS.fetch_add(1, Ordering::SeqCst);
        let identity = Identity {
            node: NodeId { name: "n".to_owned(), run },
            key_check: "ours".to_owned(),
            ..Identity::default()
        };
        let mut agent = Agent::new(control, engine.remote(), directory, identity);
        if let Some(path) = kept {
            agent = agent.keep_at(path.to_owned(), state);
        }
        if let Some(runner) = runner {
            agent = agent.run_hooks(runner);
        }
        let (stop, stopped) = watch::channel(false);
        let http = engine.addresses().http;
        let fixed = agent.fixed_streams();
        Self { engine, http, run, fixed, stop, agent: tokio::spawn(agent.run(stopped)) }
    }

    /// What a viewer of a stream is told.
    async fn watch(&self, id: &str) -> String {
        let (http, id) = (self.http, id.to_owned());
        let asking = tokio::task::spawn_blocking(move || {
            let mut socket = TcpStream::connect(http).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            write!(socket, "GET /{id}/live.flv HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            answer
        });
        asking.await.unwrap()
    }

    /// Whether it knows the stream, which nobody publishes.
    async fn knows(&self, id: &str) -> bool {
        let told = self.watch(id).await;
        assert!(told.contains("nobody publishes") || told.contains("there is no stream"), "{told}");
        told.contains("nobody publishes")
    }

    async fn end(self) {
        self.stop.send(true).unwrap();
        self.agent.await.unwrap();
        self.engine.shutdown();
        tokio::task::spawn_blocking(move || self.engine.wait()).await.unwrap().unwrap();
    }
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..SOON.as_millis() / 20 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("did not happen: {what}");
}

/// Control over HTTP on this address, until it is aborted.
fn serve(app: Router, at: SocketAddr) -> (SocketAddr, JoinHandle<()>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(at).unwrap();
    let listener: TcpListener = socket.listen(64).unwrap();
    let at = listener.local_addr().unwrap();
    (at, tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }))
}

fn over_http(at: SocketAddr) -> Control {
    Control::over_http(format!("http://{at}/below").parse().unwrap(), Secret::new("right"))
}

fn app(fleet: &Fleet) -> Router {
    Router::new().nest("/below", router(fleet.clone(), Arc::new(|token| token.expose() == "right")))
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[tokio::test]
async fn a_change_is_in_force_once_control_says_so() {
    let fleet = Fleet::new([stream("first")], String::new(), DropEvents);
    let (at, _serving) = serve(app(&fleet), ANY);
    for control in [Control::Here(fleet.clone()), over_http(at)] {
        let node = Node::start(control, None);
        // The node of the round before may still be counted as one, so it is the new one that is asked.
        eventually("the node has joined", async || node.knows("first").await).await;
        assert!(node.knows("fixed").await);
        for n in 0..10 {
            let id = format!("cam-{n}");
            assert!(!node.knows(&id).await);
            let version = fleet.put(stream(&id));
            assert!(fleet.in_force(version, SOON).await);
            assert!(node.knows(&id).await);
            let off = Outputs { flv: false, ..Outputs::default() };
            let version = fleet.put(Stream { outputs: off, ..stream(&id) });
            assert!(fleet.in_force(version, SOON).await);
            assert!(node.watch(&id).await.contains("not given out"));
            let version = fleet.remove(&id);
            assert!(fleet.in_force(version, SOON).await);
            assert!(!node.knows(&id).await);
        }
        assert_eq!(fleet.look("first").await, []);
        assert_eq!(fleet.kick_stream("first", Whom::All).await, millstream_fleet::Kicked::default());
        node.end().await;
    }
}

#[tokio::test]
async fn events_reach_control_also_those_of_the_end() {
    let fleet = Fleet::new([], String::new(), DropEvents);
    let mut heard = fleet.events();
    let node = Node::start(Control::Here(fleet.clone()), None);
    eventually("it listens", async || !fleet.nodes().is_empty()).await;
    node.watch("nobody").await;
    let event = tokio::time::timeout(SOON, heard.recv()).await.unwrap().unwrap();
    assert!(matches!(&event.event.what, What::Refused { why, .. } if why == "not_found"), "{event:?}");
    assert_eq!((event.event.seq, event.event.stream.as_str(), event.node.run), (1, "nobody", node.run));
    // For another reason: a second refusal for the same one may be told only a second later.
    assert!(node.knows("fixed").await);
    node.end().await;
    let event = tokio::time::timeout(SOON, heard.recv()).await.unwrap().unwrap();
    assert_eq!(event.event.stream, "fixed");
}

#[tokio::test]
async fn a_node_goes_on_without_control_and_catches_up_when_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let kept_at = dir.path().join("state.json");
    let fleet = Fleet::new([stream("old")], String::new(), DropEvents);
    let (at, serving) = serve(app(&fleet), ANY);
    let node = Node::start(over_http(at), Some(&kept_at));
    eventually("the state is in force and kept", async || node.knows("old").await && kept_at.exists()).await;

    // Control dies, with its connections.
    serving.abort();
    drop(serving.await);
    assert!(node.knows("old").await);
    node.end().await;

    // The node restarts meanwhile, and knows from its first moment on what it knew.
    let node = Node::start(over_http(at), Some(&kept_at));
    assert!(node.knows("old").await && node.knows("fixed").await && !node.knows("new").await);

    // Control comes back as another run of itself, with other streams.
    let fleet = Fleet::new([stream("new")], String::new(), DropEvents);
    let mut heard = fleet.events();
    let (_, _serving) = serve(app(&fleet), at);
    eventually("it has caught up", async || node.knows("new").await && !node.knows("old").await).await;
    // What happened while control was away is told now.
    let told = async { while heard.recv().await.unwrap().event.stream != "new" {} };
    tokio::time::timeout(SOON, told).await.expect("it was asked for while control was away");
    eventually("and kept", async || {
        kept::load(&kept_at).unwrap().is_some_and(|state| state.streams == [stream("new")])
    })
    .await;
    node.end().await;
}

#[tokio::test]
async fn other_streams_of_the_configuration_are_in_force_whether_control_is_there_or_not() {
    let fleet = Fleet::new([stream("cam"), stream("fixed")], String::new(), DropEvents);
    let dir = tempfile::tempdir().unwrap();
    let (at, serving) = serve(app(&fleet), ANY);
    let node = Node::start(over_http(at), Some(&dir.path().join("state.json")));
    eventually("the node has joined", async || node.knows("cam").await).await;
    let has = async |ids: [bool; 3]| {
        let known = [node.knows("cam").await, node.knows("fixed").await, node.knows("other").await];
        known == ids
    };
    // What the file no longer has is control's again.
    node.fixed.change(vec![stream("other")]);
    eventually("the other one is there", async || has([true, true, true]).await).await;
    let version = fleet.remove("fixed");
    assert!(fleet.in_force(version, SOON).await);
    assert!(has([true, false, true]).await);
    serving.abort();
    drop(serving.await);
    node.fixed.change(vec![stream("fixed")]);
    eventually("without control, too", async || has([true, true, false]).await).await;
    node.fixed.change(Vec::new());
    eventually("all of control's are there", async || has([true, false, false]).await).await;
    let (_, _serving) = serve(app(&fleet), at);
    let version = fleet.put(stream("other"));
    eventually("control is followed on", async || node.knows("other").await).await;
    assert!(fleet.in_force(version, SOON).await);
    node.end().await;
}

#[tokio::test]
async fn a_wrong_token_gets_nothing() {
    let fleet = Fleet::new([stream("cam")], String::new(), DropEvents);
    let (at, _serving) = serve(app(&fleet), ANY);
    let url = format!("http://{at}/below").parse().unwrap();
    let control = Control::over_http(url, Secret::new("wrong"));
    let error = control.poll(&millstream_control_protocol::exchange::Poll::default()).await.unwrap_err();
    assert!(error.to_string().contains("refuses this node's token"), "{error}");
    let error = control.report(Report::default()).await.unwrap_err();
    assert!(!format!("{error:?} {control:?}").contains("wrong"), "the token is printed");
    assert!(fleet.nodes().is_empty());
}

#[tokio::test]
async fn another_master_key_is_said() {
    let fleet = Fleet::new([stream("cam")], "theirs".to_owned(), DropEvents);
    let node = Node::start(Control::Here(fleet.clone()), None);
    let complains = async || {
        let warnings = fleet.nodes().pop().map(|node| node.status.warnings).unwrap_or_default();
        warnings.iter().any(|warning| warning.contains("master key is not control's"))
    };
    eventually("the complaint", complains).await;
    assert!(node.knows("cam").await, "it goes on with what it can");
    node.end().await;
}

/// Control of the next release: new fields everywhere, an order that nobody here knows, words that nobody here knows.
#[tokio::test]
async fn a_node_and_control_of_the_next_release_understand_each_other() {
    let (told, mut outcomes) = mpsc::unbounded_channel();
    let poll = |Json(poll): Json<serde_json::Value>| async move {
        let have = poll["have"]["number"].as_u64();
        if have.is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Json(json!({ "protocol": PROTOCOL + 1 }));
        }
        Json(json!({
            "protocol": PROTOCOL + 1, "mood": "sunny",
            "update": {
                "version": { "epoch": 1, "number": 2, "colour": "blue" }, "from": null, "key_check": "", "relays": [1],
                "streams": [
                    { "id": "cam", "generation": 1, "flush": "psychic", "tracks": { "first": 1 } },
                    { "id": "in a later form of ids", "generation": 1 },
                ],
                "removed": [],
            },
            "commands": [
                { "number": 1, "what": { "do": "fold", "how": "gently" }, "urgency": 3 },
                { "number": 2, "what": { "do": "look", "stream": "cam", "closely": true } },
            ],
        }))
    };
    let report = move |Json(report): Json<Report>| async move {
        for outcome in report.outcomes {
            told.send((outcome, report.status.warnings.clone())).unwrap();
        }
        Json(json!({ "protocol": PROTOCOL + 1, "events_through": 0, "thanks": true }))
    };
    let app = Router::new().route("/below/link/v1/poll", post(poll)).route("/below/link/v1/report", post(report));
    let (at, _serving) = serve(app, ANY);
    let node = Node::start(over_http(at), None);
    eventually("the stream is known", async || node.knows("cam").await).await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (outcome, warnings) = tokio::time::timeout(SOON, outcomes.recv()).await.unwrap().unwrap();
        answers.push((outcome.number, outcome.answer));
        assert!(warnings.iter().any(|warning| warning.contains("later form of ids")), "{warnings:?}");
    }
    answers.sort_by_key(|(number, _)| *number);
    assert_eq!(answers, [(1, Answer::NotUnderstood), (2, Answer::Live { live: None })]);
    node.end().await;
}

/// The other way round: what a node of the next release says is served by this control.
#[tokio::test]
async fn a_node_of_the_next_release_is_served() {
    let fleet = Fleet::new([stream("cam")], String::new(), DropEvents);
    let (at, _serving) = serve(app(&fleet), ANY);
    let url: millstream_fleet::http::url::Url = format!("http://{at}/below").parse().unwrap();
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("authorization", "Bearer right".parse().unwrap());
    let say = async |path: &str, message: serde_json::Value| {
        let url = url.below(path);
        let mut connection =
            millstream_fleet::http::client::Connection::open(&url, &millstream_fleet::http::guard::Guard::Open)
                .await
                .unwrap();
        let reply = connection.post(&url, headers.clone(), message.to_string().into(), SOON, 1 << 20).await.unwrap();
        assert_eq!(reply.status.as_u16(), 200, "{reply:?}");
        serde_json::from_slice::<serde_json::Value>(&reply.body.unwrap()).unwrap()
    };
    let node = json!({ "name": "later", "run": 1, "rack": 7 });
    let push = say("/link/v1/poll", json!({ "protocol": PROTOCOL + 1, "node": node, "wishes": [] })).await;
    assert_eq!(push["update"]["streams"][0]["id"], "cam");
    let events = json!([{ "seq": 1, "stream": "cam", "what": { "kind": "levitated", "metres": 3 } }]);
    let report =
        json!({ "protocol": PROTOCOL + 1, "node": node, "events": events, "status": { "release": "9", "gpu": 1 } });
    assert_eq!(say("/link/v1/report", report).await["events_through"], 1);
    assert_eq!(fleet.nodes()[0].status.release, "9");
}

#[test]
fn a_state_is_the_update_that_makes_it() {
    let state = State { version: Version { epoch: 1, number: 2 }, streams: vec![stream("cam")], ..State::default() };
    let made = Directory::default().updated(&update_of(&state)).directory;
    assert_eq!(made.records().len(), 1);
    assert!(matches!(Order::default(), Order::Unknown));
}
