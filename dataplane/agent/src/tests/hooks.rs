//! Bindings of hooks reach a node, and their modules with them; also between releases.
use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::body::Bytes;
use millstream_control_protocol::event::Event;
use millstream_control_protocol::exchange::HookCalls;
use millstream_control_protocol::state::{Binding, Mode};

use super::*;
use crate::runner::{Binds, Bound, LogPage, LogsOf, Runner};
use millstream_fleet::{EventSink, Promise};

/// What control has of hooks: their modules under the names that they are asked for by, in pieces of 3 bytes.
#[derive(Clone, Default)]
struct Modules(Arc<Mutex<BTreeMap<String, &'static [u8]>>>);

/// SHA-256 of "abc" and of "abcd" (FIPS 180-2, and `sha256sum`).
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
const ABCD: &str = "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589";

impl Modules {
    fn put(&self, name: &str, module: &'static [u8]) {
        self.0.lock().unwrap().insert(name.to_owned(), module);
    }
}

impl EventSink for Modules {
    fn keep(&self, _node: NodeId, _events: Vec<Event>) -> Promise<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn module(&self, sha256: String, at: u64) -> Promise<Result<Option<Bytes>, String>> {
        let found = self.0.lock().unwrap().get(&sha256).copied();
        let piece =
            found.map(|module| module.get(at as usize..).unwrap_or_default().chunks(3).next().unwrap_or_default());
        Box::pin(async move { Ok(piece.map(Bytes::from_static)) })
    }
}

fn binding(id: &str, sha256: &str, mode: Mode) -> Binding {
    let (hook, kind, point) = ("geo".to_owned(), "auth".to_owned(), "play".to_owned());
    Binding { id: id.to_owned(), hook, kind, point, sha256: sha256.to_owned(), bytes: 3, mode, ..Binding::default() }
}

fn held(fleet: &Fleet) -> Vec<String> {
    fleet.nodes().pop().map(|node| node.status.hooks).unwrap_or_default()
}

fn complains(fleet: &Fleet, part: &str) -> bool {
    let told = fleet.nodes().pop().map(|node| node.status.warnings).unwrap_or_default();
    told.iter().any(|warning| warning.contains(part))
}

fn files(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn modules_come_with_their_bindings_and_go_with_them() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let (kept_at, hooks) = (dir.path().join("state.json"), dir.path().join("hooks"));
    let modules = Modules::default();
    modules.put(ABC, b"abc");
    modules.put(ABCD, b"abcd");
    let fleet = Fleet::new([], String::new(), modules.clone());
    let (at, serving) = serve(app(&fleet), ANY);
    let node = Node::start(over_http(at), Some(&kept_at));
    fleet.bind(binding("one", ABC, Mode::Live));
    fleet.bind(binding("off", ABCD, Mode::Off));
    eventually("the node has it", async || held(&fleet) == [ABC]).await;
    let path = hooks.join(format!("{ABC}.wasm"));
    assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    eventually("it is said to do nothing", async || complains(&fleet, "this build runs no hooks")).await;

    // Another version: the new one comes, and the old one goes once the state on disk does not name it.
    fleet.bind(binding("one", ABCD, Mode::Shadow));
    eventually("the node has the new one", async || held(&fleet) == [ABCD]).await;
    eventually("the old one is gone", async || files(&hooks) == [format!("{ABCD}.wasm")]).await;

    // Without control the node starts with what it kept, and damage is noticed.
    eventually("the state is kept", async || {
        kept::load(&kept_at)
            .unwrap()
            .is_some_and(|state| state.bindings.iter().flatten().any(|kept| kept.sha256 == ABCD && kept.id == "one"))
    })
    .await;
    serving.abort();
    drop(serving.await);
    node.end().await;
    let kept = hooks.join(format!("{ABCD}.wasm"));
    std::fs::write(&kept, b"abcx").unwrap();
    std::fs::write(hooks.join("mine.txt"), b"not ours").unwrap();
    let (_, serving) = serve(app(&fleet), at);
    let node = Node::start(over_http(at), Some(&kept_at));
    eventually("it is whole again", async || std::fs::read(&kept).unwrap() == b"abcd").await;

    fleet.unbind("one");
    eventually("nothing is bound", async || held(&fleet).is_empty() && files(&hooks) == ["mine.txt"]).await;
    eventually("nothing is complained of", async || !complains(&fleet, "")).await;
    node.end().await;
    serving.abort();
}

#[tokio::test]
async fn a_node_starts_with_the_modules_that_it_kept() {
    let dir = tempfile::tempdir().unwrap();
    let kept_at = dir.path().join("state.json");
    let modules = Modules::default();
    modules.put(ABC, b"abc");
    let fleet = Fleet::new([], String::new(), modules.clone());
    fleet.bind(binding("one", ABC, Mode::Live));
    let (at, _serving) = serve(app(&fleet), ANY);
    let node = Node::start(over_http(at), Some(&kept_at));
    eventually("the node has it", async || held(&fleet) == [ABC] && kept_at.exists()).await;
    node.end().await;
    // Control has lost it meanwhile: whoever kept it does not ask.
    modules.0.lock().unwrap().clear();
    let fleet = Fleet::new([], String::new(), modules);
    fleet.bind(binding("one", ABC, Mode::Live));
    let (at, _serving) = serve(app(&fleet), ANY);
    let node = Node::start(over_http(at), Some(&kept_at));
    eventually("the node has it still", async || held(&fleet) == [ABC]).await;
    node.end().await;
}

#[tokio::test]
async fn a_module_that_is_another_or_finds_no_room_is_complained_of() {
    let dir = tempfile::tempdir().unwrap();
    let modules = Modules::default();
    modules.put(ABC, b"abd");
    let fleet = Fleet::new([], String::new(), modules.clone());
    fleet.bind(binding("one", ABC, Mode::Live));
    fleet.bind(binding("two", ABCD, Mode::Live));
    let (at, _serving) = serve(app(&fleet), ANY);
    // A file where the directory has to be.
    std::fs::write(dir.path().join("hooks"), "in the way").unwrap();
    let node = Node::start(over_http(at), Some(&dir.path().join("state.json")));
    eventually("the other bytes are refused", async || complains(&fleet, "has another SHA-256")).await;
    eventually("what is not there is said", async || complains(&fleet, "there is no module of this SHA-256")).await;
    modules.put(ABC, b"abc");
    eventually("the disk's reason is told", async || {
        complains(&fleet, "Not a directory") || complains(&fleet, "File exists")
    })
    .await;
    assert!(held(&fleet).is_empty());
    std::fs::remove_file(dir.path().join("hooks")).unwrap();
    eventually("it is tried again", async || held(&fleet) == [ABC]).await;
    node.end().await;
}

#[tokio::test]
async fn a_node_in_controls_process_keeps_no_copies() {
    let modules = Modules::default();
    modules.put(ABCD, b"abcd");
    let fleet = Fleet::new([], String::new(), modules.clone());
    fleet.bind(binding("one", ABCD, Mode::Canary));
    let node = Node::start(Control::Here(fleet.clone()), None);
    eventually("it is there", async || held(&fleet) == [ABCD]).await;
    node.end().await;
}

#[tokio::test]
async fn modules_are_for_nodes_only() {
    let modules = Modules::default();
    modules.put(ABC, b"abc");
    modules.put(ABCD, b"abcd");
    let fleet = Fleet::new([], String::new(), modules);
    let (at, _serving) = serve(app(&fleet), ANY);
    let url: millstream_fleet::http::url::Url = format!("http://{at}/below").parse().unwrap();
    let get = async |token: &str, name: &str| {
        let url = url.below(&format!("/link/v1/hooks/{name}"));
        let mut connection =
            millstream_fleet::http::client::Connection::open(&url, &millstream_fleet::http::guard::Guard::Open)
                .await
                .unwrap();
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let reply = connection.get(&url, headers, SOON, 1 << 20).await.unwrap();
        (reply.status.as_u16(), reply.body.unwrap())
    };
    assert_eq!(get("right", ABCD).await, (200, Bytes::from_static(b"abcd")), "in two pieces");
    assert_eq!(get("wrong", ABCD).await.0, 401);
    assert_eq!(get("right", &ABC.replace("ba", "ab")).await.0, 404);
    assert_eq!(get("right", "..%2fmaster-key").await.0, 400);
    let error = Control::over_http(url.clone(), Secret::new("wrong")).module(ABC).await.unwrap_err();
    assert!(error.to_string().contains("refuses this node's token"), "{error}");
}

/// A node of the release before this one kept a state that says nothing of bindings, while this control had told it all.
#[tokio::test]
async fn a_node_that_is_upgraded_asks_for_the_bindings_that_it_could_not_keep() {
    let dir = tempfile::tempdir().unwrap();
    let kept_at = dir.path().join("state.json");
    let modules = Modules::default();
    modules.put(ABC, b"abc");
    let fleet = Fleet::new([stream("cam")], String::new(), modules);
    let version = fleet.bind(binding("one", ABC, Mode::Live));
    let old = json!({ "protocol": 1, "version": version, "streams": [{ "id": "cam" }] });
    std::fs::write(&kept_at, old.to_string()).unwrap();
    let (at, _serving) = serve(app(&fleet), ANY);
    let node = Node::start(over_http(at), Some(&kept_at));
    assert!(node.knows("cam").await, "what it has is in force at once");
    eventually("the node has the module", async || held(&fleet) == [ABC]).await;
    node.end().await;
}

/// Control of the release before this one says nothing of bindings: there are none.
#[tokio::test]
async fn control_of_the_release_before_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let kept_at = dir.path().join("state.json");
    let poll = |Json(poll): Json<serde_json::Value>| async move {
        if poll["have"]["number"].as_u64().is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Json(json!({ "protocol": 1 }));
        }
        let version = json!({ "epoch": 1, "number": 2 });
        Json(json!({ "protocol": 1, "update": { "version": version, "streams": [{ "id": "cam" }], "removed": [] } }))
    };
    let report = |_: Json<serde_json::Value>| async { Json(json!({ "protocol": 1, "events_through": 0 })) };
    let app = Router::new().route("/below/link/v1/poll", post(poll)).route("/below/link/v1/report", post(report));
    let (at, _serving) = serve(app, ANY);
    let node = Node::start(over_http(at), Some(&kept_at));
    eventually("the stream is known", async || node.knows("cam").await).await;
    eventually("that there are no bindings is kept", async || {
        kept::load(&kept_at).ok().flatten().is_some_and(|state| state.bindings == Some(Vec::new()))
    })
    .await;
    node.end().await;
}

/// Notes what is bound, and takes a while the first time.
#[derive(Default)]
struct Notes {
    bound: Mutex<Vec<Vec<String>>>,
}

impl Runner for Notes {
    fn prepare(&self, _: &str, _: &str, _: Option<&str>, _module: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn bind<'a>(&'a self, bindings: &'a [Binding]) -> Binds<'a> {
        let mut bound = self.bound.lock().unwrap();
        bound.push(bindings.iter().map(|binding| binding.id.clone()).collect());
        // Not every shard has them the first time: it is tried again.
        let in_force = bound.len() > 1;
        Box::pin(async move { Bound { in_force, warnings: Vec::new() } })
    }

    fn failing(&self) -> Vec<HookCalls> {
        Vec::new()
    }

    fn logs(&self, _which: &LogsOf<'_>) -> LogPage {
        LogPage::default()
    }
}

/// A process that began with the bindings of its own store goes on with them until it hears of others: nobody gets past a hook meanwhile.
#[tokio::test]
async fn nothing_is_unbound_before_control_has_said_so_and_what_no_shard_took_is_bound_again() {
    let modules = Modules::default();
    modules.put(ABC, b"abc");
    let fleet = Fleet::new([], String::new(), modules);
    fleet.bind(binding("one", ABC, Mode::Live));
    let (at, serving) = serve(app(&fleet), ANY);
    let notes = Arc::new(Notes::default());
    let node = Node::running(over_http(at), None, Some(Arc::clone(&notes) as Arc<dyn Runner>));
    eventually("it is bound, with its module and once more", async || notes.bound.lock().unwrap().len() >= 2).await;
    let bound = notes.bound.lock().unwrap().clone();
    assert!(bound.iter().all(|bound| *bound == ["one"]), "{bound:?}");
    fleet.unbind("one");
    eventually("it is unbound", async || notes.bound.lock().unwrap().last().is_some_and(Vec::is_empty)).await;
    node.end().await;
    serving.abort();
}
