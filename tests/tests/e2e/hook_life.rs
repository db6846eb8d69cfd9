//! The life of a hook's versions as an operator lives it, on one server and in a fleet: tried with an event, activated, rolled back, taken back by itself,
//! signed; and what hooks write.
use std::path::Path;
use std::process::Command;

use millstream_tests::control::Client;
use millstream_tests::server::{Options, Server};
use millstream_tests::{eventually, http, seconds};
use serde_json::{Value, json};

use crate::fleet::{control, directory, free_address, knows, node_directory};
use crate::hooks::{SECRET, options, signed_url, status, until_status, upload, upload_to, upload_with};

/// See `hooks/host/tests/hooks/modules.rs`.
fn module(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a viewer gets where nobody publishes and the hook lets everybody in, asks for a signature, or fails.
const LET_IN: u16 = 404;
const REFUSED: u16 = 403;
const BROKEN: u16 = 503;

/// Three versions: one that lets everybody in and says so, one that wants signatures, one that traps.
fn three_versions(server: &Server, client: &mut Client) {
    client.request("PUT", "/api/v1/hooks/gate", "", Some(&json!({ "kind": "auth" }))).is(201);
    for module in [module("chatty.wasm"), signed_url(), module("traps.wasm")] {
        let (status, version) = upload(server, client, "gate", &module);
        assert_eq!(status, 201, "{version}");
    }
}

fn on_gate(client: &mut Client, what: &str, body: &Value) -> Value {
    client.request("POST", &format!("/api/v1/hooks/gate/{what}"), "If-Match: *\r\n", Some(body)).is(200).json.clone()
}

/// For this viewer, whom a proxy names.
fn status_for(server: &Server, viewer: &str) -> u16 {
    let head =
        format!("GET /cam/live.flv HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {viewer}\r\nConnection: close\r\n\r\n");
    http::raw(server.http, head.as_bytes()).expect("an answer").status
}

/// Believes the proxy.
const BEHIND_PROXY: &str = "[http]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

/// Activates, rolls back, and lets a version fail. `plays` is where viewers are.
fn lives(client: &mut Client, plays: &Server) -> String {
    let binding = json!({ "hook": "gate", "point": "play", "mode": "live", "version": 1, "secrets": ["key"] });
    let id = client.post("/api/v1/hook-bindings", &binding).is(201).text("id").to_owned();
    eventually("the first version decides", seconds(15), || {
        // Until its module is there, nobody is let in.
        let is_ready = status(plays, "/cam/live.flv") == LET_IN;
        let logs = client.get("/api/v1/hooks/gate/logs").is(200);
        logs.json["items"].as_array().is_some_and(|lines| is_ready && !lines.is_empty()).then_some(())
    });
    let done = on_gate(client, "activate", &json!({ "version": 2, "accept_differences": true }));
    assert_eq!(done["changed"], json!([{ "binding": id, "from": 1, "to": 2 }]));
    until_status(plays, "/cam/live.flv", REFUSED);
    on_gate(client, "rollback", &json!({}));
    until_status(plays, "/cam/live.flv", LET_IN);
    on_gate(client, "activate", &json!({ "version": 3, "accept_differences": true }));
    until_status(plays, "/cam/live.flv", BROKEN);
    let path = format!("/api/v1/hook-bindings/{id}");
    // One viewer who tries again and again changes nothing for the others.
    for _ in 0..40 {
        assert_eq!(status_for(plays, "192.0.2.1"), BROKEN);
    }
    eventually("it is seen who makes it fail", seconds(15), || {
        let said = client.get(&path).is(200).json["warnings"].to_string();
        (said.contains("192.0.2.1") && said.contains("not taken back")).then_some(())
    });
    assert_eq!(status_for(plays, "192.0.2.2"), BROKEN);
    // Others who try make it more than ten within a minute.
    eventually("the version is taken back", seconds(15), || {
        // Each of them tries, whatever the one before was told.
        let told: Vec<u16> = (10..14).map(|at| status_for(plays, &format!("192.0.2.{at}"))).collect();
        told.iter().all(|status| *status == LET_IN).then_some(())
    });
    let shown = client.get(&path).is(200).json.clone();
    assert_eq!((&shown["version"], &shown["taken_back"]["version"]), (&json!(1), &json!(3)), "{shown}");
    let audit = client.get("/api/v1/audit").is(200).json.clone();
    let last = &audit["items"][0];
    assert_eq!((last["who"].as_str(), last["action"].as_str()), (Some("millstream"), Some("hook.roll_back")), "{last}");
    client.request("POST", "/api/v1/hooks/gate/activate", "If-Match: *\r\n", Some(&json!({ "version": 3 }))).is(409);
    id
}

#[test]
fn a_version_is_tried_activated_rolled_back_and_taken_back_when_it_fails() {
    let server = options().config(BEHIND_PROXY).start();
    let mut client = Client::admin(&server);
    three_versions(&server, &mut client);
    let test = |client: &mut Client, number: u32, body: &Value| {
        client.post(&format!("/api/v1/hooks/gate/versions/{number}/test"), body).is(200).json.clone()
    };
    let asked = json!({ "event": { "request": { "target": { "params": { "sign": "00" } } } }, "secrets": ["key"] });
    let tried = test(&mut client, 2, &asked);
    assert_eq!((&tried["answer"]["answer"], &tried["config_refused"]), (&json!("deny"), &json!(null)), "{tried}");
    assert!(tried["cpu_us"].as_f64() > Some(0.0) && tried["budget_us"] == json!(2_000.0), "{tried}");
    let unset = test(&mut client, 2, &json!({ "event": {} }));
    assert!(unset["config_refused"].as_str().is_some_and(|why| why.contains("secret")), "{unset}");
    let tried = test(&mut client, 1, &json!({ "event": {} }));
    assert_eq!((&tried["answer"]["answer"], &tried["logs"][0]["text"]), (&json!("allow"), &json!("asked  [31mred")));
    assert_eq!(test(&mut client, 3, &json!({ "event": {} }))["failure"]["cause"], "trap");
    let wrong = client.post("/api/v1/hooks/gate/versions/1/test", &json!({ "event": { "request": { "who": 1 } } }));
    let wrong = wrong.is(400).json;
    assert!(wrong["detail"].as_str().is_some_and(|detail| detail.contains("request.who")));
    assert_eq!(wrong["errors"][0]["field"], "event.request.who", "{wrong}");
    let lost = client.post("/api/v1/hooks/gate/versions/1/test", &json!({ "event": {}, "secrets": ["lost"] }));
    assert_eq!(lost.is(400).json["errors"][0]["field"], "secrets");

    lives(&mut client, &server);
    let logs = client.get("/api/v1/hooks/gate/logs?version=1&level=info&limit=1").is(200).json.clone();
    assert_eq!((&logs["items"][0]["text"], &logs["items"][0]["level"]), (&json!("asked  [31mred"), &json!("warn")));
    assert_eq!(client.get("/api/v1/hooks/gate/logs?level=error").is(200).json["items"], json!([]));
    // A cursor goes on where it was.
    let next = logs["next"].as_str().expect("a cursor").to_owned();
    let more = |client: &mut Client| {
        client.get(&format!("/api/v1/hooks/gate/logs?cursor={next}")).is(200).json["items"].as_array().map(Vec::len)
    };
    assert_eq!(more(&mut client), Some(0));
    assert_eq!(status(&server, "/cam/live.flv"), LET_IN);
    assert_eq!(more(&mut client), Some(1));
}

fn node(control: &Server, hooks: &str) -> Server {
    let url = format!("http://{}", control.control);
    let node = Options::signed().role("node").shards(2).arg("--control-url", &url).arg("--node-name", "edge-1");
    node.config(&format!("[hooks]\nsecrets = [\"key={SECRET}\"]\n{hooks}{BEHIND_PROXY}"))
        .start_in(node_directory(control))
}

#[test]
fn a_node_elsewhere_follows_activations_and_rollbacks_and_tells_what_fails() {
    let control = control(free_address(), &["cam"], directory());
    let mut client = Client::admin(&control);
    three_versions(&control, &mut client);
    let node = node(&control, "");
    knows(&node, "cam");
    lives(&mut client, &node);
    let logs = client.get("/api/v1/hooks/gate/logs?limit=1").is(200).json.clone();
    assert_eq!((&logs["items"][0]["node"], &logs["failed"]), (&json!("edge-1"), &json!({})), "{logs}");
}

/// Control does not ask for signatures here, as one would not that somebody has taken over.
#[test]
fn a_node_with_trusted_keys_runs_nothing_that_they_have_not_signed() {
    let keys = directory();
    let file = |name: &str| keys.path().join(name).display().to_string();
    let openssl = |args: &[&str]| {
        let done = Command::new("openssl").args(args).output().expect("openssl runs");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let sign = |module: &[u8]| {
        std::fs::write(file("hook.wasm"), module).expect("written");
        openssl(&["dgst", "-sha256", "-binary", "-out", &file("hook.sha256"), &file("hook.wasm")]);
        let (key, digest, out) = (file("private.pem"), file("hook.sha256"), file("hook.sig"));
        openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", &key, "-in", &digest, "-out", &out]);
        let text = Command::new("basenc").args(["--base64url", "-w0", &out]).output().expect("basenc runs").stdout;
        String::from_utf8(text).expect("text")
    };
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", &file("private.pem")]);
    openssl(&["pkey", "-in", &file("private.pem"), "-pubout", "-out", &file("modules.pem")]);

    let control = control(free_address(), &["cam"], directory());
    let mut client = Client::admin(&control);
    let node = node(&control, &format!("trusted_keys = [\"{}\"]\n", file("modules.pem")));
    knows(&node, "cam");
    client.request("PUT", "/api/v1/hooks/gate", "", Some(&json!({ "kind": "auth" }))).is(201);
    let chatty = module("chatty.wasm");
    let with = |signature: &str| format!("Millstream-Signature: {signature}\r\n");
    // Of another module.
    let (made, version) = upload_with(&control, &client, "gate", &chatty, &with(&sign(&signed_url())));
    assert_eq!(made, 201, "{version}");
    client.post("/api/v1/hook-bindings", &json!({ "hook": "gate", "point": "play", "mode": "live" })).is(201);
    until_status(&node, "/cam/live.flv", BROKEN);
    eventually("the node complains", seconds(15), || {
        let nodes = client.get("/api/v1/nodes").is(200);
        nodes.json["items"][0]["complaints"].to_string().contains("trusted_keys").then_some(())
    });
    let compiled = std::fs::read_dir(node.data_dir().join("hooks-compiled"));
    assert_eq!(compiled.map_or(0, Iterator::count), 0, "it has compiled what nobody vouches for");
    let (made, version) = upload_with(&control, &client, "gate", &chatty, &with(&sign(&chatty)));
    assert_eq!((made, &version["number"]), (200, &json!(1)), "{version}");
    until_status(&node, "/cam/live.flv", LET_IN);
    // One that is good stays, whatever is sent later.
    let (made, version) = upload_with(&control, &client, "gate", &chatty, &with(&sign(&module("traps.wasm"))));
    assert_eq!((made, &version["number"]), (200, &json!(1)), "{version}");
    let told = version["signature"].as_str().map(|all| all.split(' ').count());
    assert_eq!(told, Some(3), "{version}");
    for _ in 0..20 {
        assert_eq!(status(&node, "/cam/live.flv"), LET_IN);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    // Nor does a replay run what nobody vouches for, with the secrets that it would get.
    let replayed = || upload_to(&control, &client, "/api/v1/hooks/gate/replay", &signed_url(), "");
    let (done, replay) = replayed();
    assert_eq!((done, &replay["decisions"]), (200, &json!(0)), "{replay}");
    let said = replay["unanswered"].to_string();
    assert!(said.contains("edge-1") && said.contains("trusted_keys"), "{replay}");
    assert!(replay["left_out_of"][0]["reason"].as_str().is_some_and(|why| why.contains("edge-1")), "{replay}");
    let vouched = with(&sign(&signed_url()));
    let (done, replay) = upload_to(&control, &client, "/api/v1/hooks/gate/replay", &signed_url(), &vouched);
    let said = replay["unanswered"].to_string();
    assert!(done == 200 && !said.contains("trusted_keys"), "{replay}");
}
