//! Versions that are tried out before they come into force, and signatures that they need.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use millstream_api::hooks::HookRules;
use millstream_api::hooks::inspect::{
    Checked, ConfigCheck, Given, HookReport, Inspected, Inspector, Kept, TrialRefused, Tried,
};
use millstream_api::model::hook::World;
use millstream_policy::signatures::{TrustedKey, TrustedKeys};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Options, Server};
use crate::hook_life::with_versions;
use crate::hooks::component;

/// Answers what it is told to.
#[derive(Default)]
struct Plays {
    refuses: Mutex<Option<String>>,
    /// Checks of other modules than the first one wait until there is something in it.
    gate: Option<tokio::sync::Semaphore>,
    /// The configurations that were checked, where there is a gate with modules behind it.
    checked: Mutex<Vec<Given>>,
}

impl Inspector for Plays {
    fn inspect(&self, _: World, _: Bytes) -> Inspected<'_> {
        Box::pin(async { Ok(HookReport::default()) })
    }

    fn forget(&self, _: World, _: &str) {}

    fn check(&self, module: Kept, given: Vec<Given>) -> Checked<'_> {
        assert!(!module.bytes.is_empty());
        let refuses = self.refuses.lock().unwrap().clone();
        let gate = self.gate.as_ref().filter(|_| module.bytes != component(1, 100));
        if self.gate.is_none() || gate.is_some() {
            self.checked.lock().unwrap().extend(given.iter().cloned());
        }
        let check = move |given: Given| match &refuses {
            _ if given.secrets.iter().any(|name| name == "lost") => ConfigCheck::Unknown("no such secret".into()),
            Some(key) if !given.config.contains_key(key) => ConfigCheck::Refused(format!("set {key}")),
            _ => ConfigCheck::Accepted,
        };
        Box::pin(async move {
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            Ok(given.into_iter().map(check).collect())
        })
    }

    fn try_out(&self, module: Kept, given: Given, event: Value) -> Tried<'_> {
        let told = json!({ "sha256": module.sha256, "config": given.config, "secrets": given.secrets, "event": event });
        let refused = match event["wrong"].as_str() {
            None => return Box::pin(async { Ok(told) }),
            Some("secret") => TrialRefused::Secrets("no such secret".into()),
            Some("module") => TrialRefused::Module("its key is not trusted".into()),
            Some(place) => TrialRefused::Event { place: place.into(), message: "no such field".into() },
        };
        Box::pin(async { Err(refused) })
    }
}

#[test]
fn configurations_are_checked_before_a_version_comes_into_force() {
    let plays = Arc::new(Plays::default());
    let server = Server::with(Options { inspector: Some(Arc::clone(&plays) as _), ..Options::default() });
    server.hook("geo", "auth").is(201);
    server.upload("geo", component(1, 100)).is(201);
    let bind = |point: &str, mode: &str, more: Value| {
        let mut fields = json!({ "hook": "geo", "point": point, "mode": mode });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.bind(&fields).is(201).text("id").to_owned()
    };
    let live = bind("play", "live", json!({ "config": { "a": "1" } }));
    let shadow = bind("publish", "shadow", json!({}));
    let lost = bind("publish", "live", json!({ "secrets": ["lost"], "version": 1 }));
    *plays.refuses.lock().unwrap() = Some("a".to_owned());
    let second = server.upload("geo", component(2, 100));
    let report = &second.is(201).json()["report"]["configurations"];
    let of = |id: &str| report.as_array().unwrap().iter().find(|one| one["binding"] == *id).unwrap().clone();
    assert_eq!((&of(&live)["accepted"], &of(&shadow)["accepted"]), (&json!(true), &json!(false)));
    assert_eq!((&of(&shadow)["reason"], &of(&lost)["accepted"]), (&json!("set a"), &json!(null)));
    *plays.refuses.lock().unwrap() = Some("b".to_owned());
    server.upload("geo", component(3, 100)).refused(409, "refuses its configuration: set b");
    server.on_hook("activate", "*", &json!({ "version": 1 })).refused(409, "set b");
    *plays.refuses.lock().unwrap() = None;
    server.on_hook("activate", "*", &json!({ "version": 1 })).is(200);

    // Events.
    let test = |body: Value| server.post("/api/v1/hooks/geo/versions/1/test", &body);
    let tried = test(json!({ "event": { "request": { "viewers": 1 } }, "binding": live, "secrets": ["k"] }));
    let (event, config) = (&tried.is(200).json()["event"], &tried.json()["config"]);
    assert_eq!((event, config), (&json!({ "kind": "auth", "request": { "viewers": 1 } }), &json!({ "a": "1" })));
    assert_eq!(tried.json()["secrets"], json!(["k"]));
    let field = |body: Value| test(body).is(400).json()["errors"][0]["field"].as_str().unwrap().to_owned();
    assert_eq!(field(json!({ "event": { "wrong": "request.client.ip" } })), "event.request.client.ip");
    assert_eq!(field(json!({ "event": { "wrong": "" } })), "event");
    assert_eq!(field(json!({ "event": { "wrong": "secret" }, "secrets": ["k"] })), "secrets");
    assert_eq!(field(json!({ "event": { "wrong": "secret" }, "binding": live })), "binding");
    test(json!({ "event": { "wrong": "module" } })).refused(409, "version 1 cannot be tried here: its key");
    test(json!({ "event": 1 })).refused(400, "give an object");
    test(json!({ "event": {}, "binding": "nobody" })).refused(404, "binding");
    test(json!({ "event": {}, "config": { "": "x" } })).refused(400, "1 to 64 bytes");
    server.post("/api/v1/hooks/geo/versions/7/test", &json!({ "event": {} })).refused(404, "no version 7");
    with_versions(1).post("/api/v1/hooks/geo/versions/1/test", &json!({ "event": {} })).refused(409, "runs no hooks");
}

/// A version may have to be compiled first, which can take a minute.
#[test]
fn a_binding_comes_into_force_with_what_its_hook_takes_and_with_nothing_else() {
    let plays = Arc::new(Plays { refuses: Mutex::new(Some("a".to_owned())), ..Plays::default() });
    let server = Server::with(Options { inspector: Some(Arc::clone(&plays) as _), ..Options::default() });
    server.hook("geo", "auth").is(201);
    server.upload("geo", component(1, 100)).is(201);
    let fields = |mode: &str, config: Value| json!({ "hook": "geo", "point": "play", "mode": mode, "canary_percent": 5, "config": config });
    for mode in ["live", "canary"] {
        server
            .bind(&fields(mode, json!({})))
            .refused(409, "version 1 refuses the configuration of the binding for all streams (play): set a");
    }
    assert_eq!(server.get("/api/v1/hook-bindings").json()["items"], json!([]));
    // Who decides nothing may have it, but not come to decide with it.
    let id = server.bind(&fields("shadow", json!({}))).is(201).text("id").to_owned();
    let path = format!("/api/v1/hook-bindings/{id}");
    let change = |change: Value| server.request("PATCH", &path).header("If-Match", "*").json(&change).send();
    change(json!({ "mode": "live" })).refused(409, "set a");
    change(json!({ "mode": "live", "config": { "a": "1" } })).is(200);
    change(json!({ "config": {} })).refused(409, "set a");
    assert_eq!(server.get(&path).json()["config"], json!({ "a": "1" }));
    // What is not about that is not held up by it, and neither is its end.
    *plays.refuses.lock().unwrap() = Some("b".to_owned());
    change(json!({ "order": 7 })).is(200);
    change(json!({ "mode": "off", "config": {} })).is(200);
}

#[test]
fn nothing_waits_while_a_version_is_tried_out_and_what_changed_meanwhile_is_tried_too() {
    let plays = Arc::new(Plays { gate: Some(tokio::sync::Semaphore::new(0)), ..Plays::default() });
    let server = Server::with(Options { inspector: Some(Arc::clone(&plays) as _), ..Options::default() });
    let open = || plays.gate.as_ref().unwrap().add_permits(1);
    let checked = || std::mem::take(&mut *plays.checked.lock().unwrap());
    let until_checked = || {
        let until = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let checked = checked();
            if !checked.is_empty() {
                return checked;
            }
            assert!(std::time::Instant::now() < until, "nothing is tried out");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    server.hook("geo", "auth").is(201);
    for seed in 1..=2 {
        server.upload("geo", component(seed, 100)).is(201);
    }
    let made =
        server.bind(&json!({ "hook": "geo", "point": "play", "mode": "live", "version": 1, "config": { "a": "1" } }));
    let path = format!("/api/v1/hook-bindings/{}", made.is(201).text("id"));
    let activate = |tag: &str| server.on_hook("activate", tag, &json!({ "version": 2 }));
    std::thread::scope(|scope| {
        let activation = scope.spawn(|| activate("*"));
        assert_eq!(until_checked()[0].config["a"], "1");
        // Others go on: other hooks, and this binding.
        server.hook("other", "auth").is(201);
        server.request("PATCH", &path).header("If-Match", "*").json(&json!({ "config": { "a": "2" } })).send().is(200);
        assert_eq!(server.versions(), [("play".to_owned(), 1)]);
        open();
        // What it is given now is tried as well.
        assert_eq!(until_checked()[0].config["a"], "2");
        open();
        activation.join().unwrap().is(200);
    });
    assert_eq!(server.versions(), [("play".to_owned(), 2)]);
    server.on_hook("rollback", "*", &json!({})).is(200);
    assert_eq!(server.versions(), [("play".to_owned(), 1)]);
}

#[test]
fn a_binding_that_was_changed_while_it_was_tried_out_does_not_come_into_force() {
    let plays = Arc::new(Plays { gate: Some(tokio::sync::Semaphore::new(0)), ..Plays::default() });
    let server = Server::with(Options { inspector: Some(Arc::clone(&plays) as _), ..Options::default() });
    server.hook("geo", "auth").is(201);
    for seed in 1..=2 {
        server.upload("geo", component(seed, 100)).is(201);
    }
    let fields = json!({ "hook": "geo", "point": "play", "mode": "shadow", "version": 2, "config": { "a": "1" } });
    let path = format!("/api/v1/hook-bindings/{}", server.bind(&fields).is(201).text("id"));
    let change = |change: Value| server.request("PATCH", &path).header("If-Match", "*").json(&change).send();
    std::thread::scope(|scope| {
        let live = scope.spawn(|| change(json!({ "mode": "live" })));
        while plays.checked.lock().unwrap().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        change(json!({ "config": {} })).is(200);
        plays.gate.as_ref().unwrap().add_permits(1);
        live.join().unwrap().refused(409, "changed at the same moment");
    });
    assert_eq!(server.get(&path).json()["mode"], "shadow");
}

#[test]
fn a_hook_that_was_changed_while_a_version_is_tried_out_is_another_one() {
    let plays = Arc::new(Plays { gate: Some(tokio::sync::Semaphore::new(0)), ..Plays::default() });
    let server = Server::with(Options { inspector: Some(Arc::clone(&plays) as _), ..Options::default() });
    server.hook("geo", "auth").is(201);
    for seed in 1..=2 {
        server.upload("geo", component(seed, 100)).is(201);
    }
    server.bind(&json!({ "hook": "geo", "point": "play", "mode": "live", "version": 1 })).is(201);
    let tag = server.get("/api/v1/hooks/geo").etag().to_owned();
    std::thread::scope(|scope| {
        let activation = scope.spawn(|| server.on_hook("activate", &tag, &json!({ "version": 2 })));
        while plays.checked.lock().unwrap().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let described = json!({ "kind": "auth", "description": "another" });
        server.request("PUT", "/api/v1/hooks/geo").header("If-Match", &tag).json(&described).send().is(200);
        plays.gate.as_ref().unwrap().add_permits(1);
        activation.join().unwrap().refused(412, "");
    });
    assert_eq!(server.versions(), [("play".to_owned(), 1)]);
}

fn pair() -> (Ed25519KeyPair, TrustedKey) {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let key = TrustedKey::read(&URL_SAFE_NO_PAD.encode(pair.public_key().as_ref())).unwrap();
    (pair, key)
}

#[test]
fn with_trusted_keys_only_what_they_have_signed_is_taken() {
    let ((mine, key), (foreign, _)) = (pair(), pair());
    let hooks = HookRules { trusted_keys: TrustedKeys(vec![key]), ..HookRules::default() };
    let plays = Arc::new(Plays::default());
    let server = Server::with(Options { hooks, inspector: Some(plays as _), ..Options::default() });
    server.hook("geo", "auth").is(201);
    let module = component(1, 100);
    let sign = |pair: &Ed25519KeyPair, module: &[u8]| URL_SAFE_NO_PAD.encode(pair.sign(&Sha256::digest(module)));
    let upload = |signature: Option<&str>| {
        let request = server.request("POST", "/api/v1/hooks/geo/versions").header("Content-Type", "application/wasm");
        let request = signature.into_iter().fold(request, |request, it| request.header("Millstream-Signature", it));
        request.body(module.clone()).send()
    };
    upload(None).refused(400, "not signed");
    upload(Some(&sign(&foreign, &module))).refused(400, "no key of [hooks] trusted_keys");
    upload(Some(&sign(&mine, &component(2, 100)))).refused(400, "no key of [hooks] trusted_keys");
    upload(Some("garbage")).refused(400, "no signature");
    upload(Some(&"A".repeat(87))).refused(400, "no signature");
    let replay = server.request("POST", "/api/v1/hooks/geo/replay").header("Content-Type", "application/wasm");
    replay.body(module.clone()).send().refused(400, "not signed");
    assert_eq!(server.get("/api/v1/hooks/geo").json()["versions"], json!([]));
    let right = sign(&mine, &module);
    assert_eq!(upload(Some(&right)).is(201).text("signature"), right);
    server.bind(&json!({ "hook": "geo", "point": "play", "mode": "live" })).is(201);
    assert_eq!(server.told()[0].signature.as_deref(), Some(right.as_str()), "nodes look, too");
    assert_eq!(upload(Some(&format!("{right}=="))).is(200).json()["number"], json!(1));

    // Where nobody asks for signatures one is kept all the same; a version that has none gets it later.
    let server = with_versions(1);
    let version = || server.get("/api/v1/hooks/geo/versions/1").is(200).json()["signature"].clone();
    assert_eq!(version(), json!(null));
    let request = server.request("POST", "/api/v1/hooks/geo/versions").header("Content-Type", "application/wasm");
    let signature = sign(&mine, &module);
    let signed = request.header("Millstream-Signature", &signature).body(module.clone()).send();
    assert_eq!((signed.is(200).json()["number"].clone(), version()), (json!(1), json!(signature)));

    // Which one is good this control cannot tell: all are kept and told, up to four.
    server.bind(&json!({ "hook": "geo", "point": "play", "mode": "live" })).is(201);
    let again = |signature: &str| {
        let request = server.request("POST", "/api/v1/hooks/geo/versions").header("Content-Type", "application/wasm");
        request.header("Millstream-Signature", signature).body(module.clone()).send()
    };
    let others: Vec<String> = (0..4).map(|_| sign(&pair().0, &module)).collect();
    for other in &others[..3] {
        assert_eq!(again(other).is(200).json()["number"], json!(1));
    }
    let all = [&signature, &others[0], &others[1], &others[2]].map(String::as_str).join(" ");
    assert_eq!((version(), server.told()[0].signature.as_deref()), (json!(all), Some(all.as_str())));
    again(&others[3]).refused(409, "4 signatures");
    again(&signature).is(200);
    assert_eq!(version(), json!(all));
    assert_eq!(
        TrustedKeys(vec![key]).check(&server.told()[0].sha256, Some(&all)),
        Ok(()),
        "for nodes with the first key"
    );
}
