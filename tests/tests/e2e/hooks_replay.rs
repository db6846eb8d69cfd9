//! What hooks have decided, held against another version: in the report of an upload, before a version is activated, and by commands. Whoever asks is shown
//! no token and no signature.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime};

use millstream_tests::control::Client;
use millstream_tests::http::Connection;
use millstream_tests::server::{Options, Server, millstream};
use millstream_tests::tools::{ffmpeg_push, promtool_check};
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::fleet::{directory, node_directory};
use crate::hooks::{SECRET, built, options, signature, upload, upload_to};

/// What a viewer sends as its token, beside its signature.
const TOKEN: &str = "correct.horse.battery.staple";
/// A viewer that the candidate refuses.
const REFUSED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Asks for a stream from an address; the status.
fn play(server: &Server, from: Ipv4Addr, path: &str) -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of this machine");
    socket.connect(&SocketAddr::from((IpAddr::from(OTHER), server.http.port())).into()).expect("connects");
    let mut connection = Connection::over(socket.into()).expect("a connection");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.http);
    connection.send(head.as_bytes()).expect("is sent");
    connection.head().expect("an answer").status
}

/// All that came out of a server; it has to be without secrets.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    fn hear(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }

    fn hear_output(&mut self, output: &Output) -> String {
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(output.status.success(), "{out}{err}");
        self.hear(out.clone());
        self.hear(err);
        out
    }

    fn has_none_of(&self, secrets: &[&str]) {
        assert!(
            self.0.len() > 5 && self.0.iter().any(|text| text.contains("[redacted]")),
            "there is something to look at"
        );
        for text in &self.0 {
            for secret in secrets {
                assert!(!text.contains(secret), "{secret} in {text}");
            }
        }
    }
}

/// The configuration of the binding: the first version looks at `keep`, the second one at `allow`.
fn config() -> Value {
    json!({ "keep": "true", "allow": OTHER.to_string() })
}

/// The hook `signed`, whose first version decides who plays; three viewers were let in, one of them from [`REFUSED`].
fn with_decisions(control: &Server, node: &Server, version: &Value) -> (Client, String, String) {
    let mut client = Client::admin(control);
    client.request("PUT", "/api/v1/hooks/signed", "", Some(&json!({ "kind": "auth" }))).is(201);
    assert_eq!(upload(control, &client, "signed", &built("signed-url")).0, 201);
    let binding = json!({
        "hook": "signed", "point": "play", "mode": "live", "version": version, "secrets": ["key"], "config": config()
    });
    let binding = client.post("/api/v1/hook-bindings", &binding).is(201).text("id").to_owned();
    let signed = signature("play", "cam", 600);
    let path = format!("/cam/live.flv?token={TOKEN}&{signed}");
    // The hook is asked from some moment on.
    eventually("the hook decides", seconds(15), || {
        play(node, OTHER, &path);
        allowed(node).filter(|count| *count >= 2.0).map(drop)
    });
    let before = allowed(node);
    assert!([200, 404].contains(&play(node, REFUSED, &path)));
    assert_eq!(allowed(node), before.map(|count| count + 1.0), "the hook was asked");
    (client, binding, signed)
}

/// How often the hook's first version has allowed.
fn allowed(node: &Server) -> Option<f64> {
    let line = "millstream_hook_answers_total{hook=\"signed\",version=\"1\",answer=\"allow\"} ";
    node.metrics().lines().find_map(|found| found.strip_prefix(line)?.parse().ok())
}

/// Modules that a server has compiled and kept.
fn compiled(server: &Server) -> usize {
    std::fs::read_dir(server.data_dir().join("hooks-compiled")).map_or(0, Iterator::count)
}

/// Exactly the verdict about the viewer at [`REFUSED`].
fn is_that_verdict(replay: &Value) {
    let differences = replay["differences"].as_array().expect("differences");
    let count = |field: &str| replay[field].as_u64().expect(field);
    assert_eq!((count("differing"), differences.len()), (1, 1), "{replay}");
    assert!(count("decisions") >= 3 && count("same") == count("decisions") - 1, "{replay}");
    assert!(count("per_second") > 0 && replay["unanswered"] == json!([]), "{replay}");
    let found = &differences[0];
    assert_eq!((&found["ip"], &found["stream"]), (&json!(REFUSED.to_string()), &json!("cam")));
    assert_eq!((&found["action"], &found["recorded"]), (&json!("play"), &json!("allow")));
    assert!(found["candidate"].as_str().is_some_and(|now| now.starts_with("deny forbidden")), "{found}");
}

#[test]
fn a_version_that_refuses_one_viewer_is_reported_and_asks_for_accept_differences() {
    let server = options().start();
    let _push = ffmpeg_push(&server.push_url("cam"), 120);
    let (mut client, binding, signed) = with_decisions(&server, &server, &json!(1));
    let mut said = Said::default();

    // A candidate that nobody keeps, by command; then the upload's own report, and a version by name.
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hooks/guests/built/allow-list.wasm");
    let (control, dir) = (server.control.to_string(), server.data_dir().to_str().expect("text").to_owned());
    let of_server = ["--hook", "signed", "--control", &control, "--data-dir", &dir];
    let command = |words: &[&str]| millstream(&[words, &of_server].concat());
    let text = said.hear_output(&command(&["hook", "replay", module.to_str().expect("text")]));
    assert!(text.contains("1 different") && text.contains("127.0.0.2"), "{text}");
    assert_eq!(compiled(&server), 1, "what was compiled of it is gone with it");
    let kept = client.get("/api/v1/hooks/signed").is(200);
    assert_eq!(kept.json["versions"].as_array().map(Vec::len), Some(1), "nothing is kept");

    let (status, version) = upload(&server, &client, "signed", &built("allow-list"));
    assert_eq!((status, &version["number"]), (201, &json!(2)), "{version}");
    is_that_verdict(&version["replay"]);
    assert_eq!(compiled(&server), 2);
    said.hear(version.to_string());
    let replayed = client.post("/api/v1/hooks/signed/versions/2/replay", &json!({})).is(200);
    is_that_verdict(&replayed.json);
    said.hear(replayed.json.to_string());
    let wider = json!({ "binding": binding, "config": { "allow": "127.0.0.0/8" } });
    let wider = client.post("/api/v1/hooks/signed/versions/2/replay", &wider).is(200);
    assert_eq!((&wider.json["differing"], &wider.json["bindings"]), (&json!(0), &json!([binding])), "{:?}", wider.json);
    client.post("/api/v1/hooks/signed/versions/2/replay", &json!({ "binding": "another" })).is(404);
    client.post("/api/v1/hooks/signed/versions/9/replay", &json!({})).is(404);

    // To activate it takes a word more.
    let path = format!("/api/v1/hook-bindings/{binding}");
    let mut change = |fields: Value| client.request("PATCH", &path, "If-Match: *\r\n", Some(&fields));
    let refusal = change(json!({ "version": 2 })).is(409);
    let detail = refusal.text("detail").to_owned();
    assert!(detail.contains("accept_differences: true") && detail.contains("127.0.0.2"), "{detail}");
    assert_eq!(refusal.json["errors"].as_array().map(Vec::len), Some(1), "{refusal:?}");
    said.hear(refusal.json.to_string());
    // A canary is there to be tried.
    change(json!({ "version": 2, "mode": "canary", "canary_percent": 1 })).is(200);
    change(json!({ "version": 1, "mode": "live", "accept_differences": true })).is(200);
    change(json!({ "version": 2, "accept_differences": true })).is(200);
    let asks = format!("/cam/live.flv?token={TOKEN}&{signed}");
    eventually("the second version decides", seconds(15), || (play(&server, REFUSED, &asks) == 403).then_some(()));
    assert_eq!(play(&server, OTHER, &asks), 200);
    // The way back is a difference, too: the viewer was refused meanwhile.
    change(json!({ "version": 1 })).is(409);
    change(json!({ "version": 1, "accept_differences": true })).is(200);
    let mut activate =
        |fields: Value| client.request("POST", "/api/v1/hooks/signed/activate", "If-Match: *\r\n", Some(&fields));
    let refusal = activate(json!({ "version": 2 })).is(409);
    assert!(refusal.text("detail").contains("accept_differences: true"), "{refusal:?}");
    activate(json!({ "version": 2, "accept_differences": true })).is(200);
    activate(json!({ "version": 1, "accept_differences": true })).is(200);

    // What was decided, as events of a file.
    let file = server.data_dir().join("events.jsonl");
    said.hear_output(&command(&["hook", "record", file.to_str().expect("text")]));
    let events = std::fs::read_to_string(&file).expect("written");
    let first: Value = serde_json::from_str(events.lines().next().expect("an event")).expect("JSON");
    assert_eq!((&first["kind"], &first["request"]["client"]["ip"]), (&json!("auth"), &json!("127.0.0.1")), "{first}");
    let about = &first["about"];
    assert_eq!((&about["depends_on_redacted"], &about["version"]), (&json!(true), &json!(1)), "{first}");
    assert!(about["redacted"].to_string().contains("target.params.sign"), "{first}");
    said.hear(events);
    // As it is, it is for tests of the hook.
    let tested = millstream(&[
        "hook",
        "test",
        module.to_str().expect("text"),
        "--event",
        file.to_str().expect("text"),
        "--config",
        "allow=127.0.0.1",
    ]);
    let tested = said.hear_output(&tested);
    assert!(tested.contains("allow") && tested.contains("deny, forbidden") && tested.contains("0 failed"), "{tested}");
    // The file alone: what hangs on a signature cannot be told from it, and is said to be so.
    let local = millstream(&[
        "hook",
        "replay",
        module.to_str().expect("text"),
        "--events",
        file.to_str().expect("text"),
        "--config",
        "allow=127.0.0.1",
    ]);
    let local = said.hear_output(&local);
    assert!(local.contains("cannot be compared"), "{local}");

    let metrics = server.metrics();
    assert!(metrics.contains("millstream_hook_record_bytes "), "{metrics}");
    promtool_check(&metrics);
    said.hear(metrics);
    said.hear(server.log.text());
    let sign = signed.rsplit('=').next().expect("a signature");
    said.has_none_of(&[TOKEN, sign, SECRET]);
}

#[test]
fn an_upload_that_would_decide_at_once_asks_for_accept_differences() {
    let server = options().start();
    let (mut client, _, _) = with_decisions(&server, &server, &json!("newest"));
    let (status, problem) = upload(&server, &client, "signed", &built("allow-list"));
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(status == 409 && detail.contains("newest") && detail.contains("127.0.0.2"), "{problem}");
    let versions = client.get("/api/v1/hooks/signed").is(200).json["versions"].as_array().map(Vec::len);
    assert_eq!(versions, Some(1), "nothing was kept");
    let (status, version) = upload(&server, &client, "signed?accept_differences=true", &built("allow-list"));
    assert_eq!(status, 201, "{version}");
    is_that_verdict(&version["replay"]);
}

/// Of hooks that were bound once; there are none now.
#[test]
fn what_was_compiled_of_modules_that_nothing_binds_goes_after_a_start() {
    let dir = directory();
    let cache = dir.path().join("hooks-compiled");
    std::fs::create_dir(&cache).expect("made");
    let file = |name: &str, age: u64| {
        let path = cache.join(format!("{}-auth.hook", name.repeat(64)));
        let written = std::fs::File::create(&path).expect("made");
        let at = SystemTime::now() - Duration::from_secs(age * 86_400);
        written.set_modified(at).expect("dated");
        path
    };
    let (old, young) = (file("a", 8), file("b", 6));
    let _server = options().start_in(dir);
    eventually("what is a week old is gone", seconds(20), || (!old.exists()).then_some(()));
    assert!(young.exists(), "what may be bound again soon stays");
}

#[test]
fn nothing_is_recorded_where_the_configuration_says_so() {
    let server = Options::open().config(&format!("[hooks]\nrecord = \"0\"\nsecrets = [\"key={SECRET}\"]\n")).start();
    let (mut client, binding, _) = with_decisions(&server, &server, &json!(1));
    let (status, version) = upload(&server, &client, "signed", &built("allow-list"));
    assert!(status == 201 && version["replay"].is_null(), "{version}");
    assert_eq!(client.get("/api/v1/hooks/signed/decisions").is(200).json["items"], json!([]));
    let path = format!("/api/v1/hook-bindings/{binding}");
    client.request("PATCH", &path, "If-Match: *\r\n", Some(&json!({ "version": 2 }))).is(200);
}

/// What was decided is on the node; a candidate that control alone has goes there and is not kept.
#[test]
fn a_node_elsewhere_replays_what_it_has_decided() {
    let control = Options::signed().role("control").config("[[stream]]\nid = \"cam\"\n").start_in(directory());
    let node = Options::signed().role("node").arg("--control-url", &format!("http://{}", control.control));
    let node = node.arg("--node-name", "edge-1").config(&format!("[hooks]\nsecrets = [\"key={SECRET}\"]\n"));
    let node = node.start_in(node_directory(&control));
    let (client, binding, signed) = with_decisions(&control, &node, &json!(1));
    let mut said = Said::default();
    let kept = || std::fs::read_dir(node.data_dir().join("hooks")).expect("a directory").count();
    let before = kept();
    let (status, version) = upload(&control, &client, "signed", &built("allow-list"));
    assert_eq!(status, 201, "{version}");
    is_that_verdict(&version["replay"]);
    assert_eq!(version["replay"]["differences"][0]["node"], json!("edge-1"));
    assert_eq!(kept(), before, "the node keeps what is bound, and no candidate");
    // Another one, which nobody uploads: what the node has compiled of it goes, too, and control has nothing of it at once.
    let (of_control, of_node) = (compiled(&control), compiled(&node));
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules/chatty.wasm");
    let module = std::fs::read(module).expect("a module that needs no configuration");
    let (status, replay) = upload_to(&control, &client, "/api/v1/hooks/signed/replay", &module, "");
    assert!(status == 200 && replay["decisions"].as_u64() > Some(2), "{replay}");
    assert_eq!(compiled(&control), of_control);
    eventually("nothing of it is left", seconds(40), || (compiled(&node) == of_node).then_some(()));
    // Its connection was idle for longer than the port keeps one.
    let mut client = Client::admin(&control);
    said.hear(version.to_string());
    let path = format!("/api/v1/hook-bindings/{binding}");
    let refusal = client.request("PATCH", &path, "If-Match: *\r\n", Some(&json!({ "version": 2 }))).is(409);
    assert!(refusal.text("detail").contains("127.0.0.2"), "{refusal:?}");
    said.hear(refusal.json.to_string());
    let events = client.get("/api/v1/hooks/signed/decisions?limit=2").is(200);
    let items = events.json["items"].as_array().expect("events");
    assert_eq!((items.len(), &items[1]["about"]["node"]), (2, &json!("edge-1")), "{events:?}");
    assert_eq!(items[1]["request"]["client"]["ip"], json!("127.0.0.2"));
    said.hear(events.json.to_string());
    client.get("/api/v1/hooks/another/decisions").is(404);
    for server in [&control, &node] {
        said.hear(server.log.text());
        said.hear(server.metrics());
    }
    let sign = signed.rsplit('=').next().expect("a signature");
    said.has_none_of(&[TOKEN, sign, SECRET]);
}
