//! Webhooks: records, secrets, and what waits for them.
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{NodeId, Report};
use serde_json::json;

use crate::harness::{Options, Server};

#[test]
fn a_webhook_is_made_read_changed_and_removed() {
    let server = Server::start();
    let new = json!({ "url": "https://example.com/hook", "events": ["publish"], "stream": "cam" });
    let made = server.post("/api/v1/webhooks", &new);
    let path = made.is(201).header("location").unwrap().to_owned();
    assert_eq!((&made.json()["enabled"], &made.json()["events"]), (&json!(true), &json!(["publish"])));
    let secret = server.get(&format!("{path}/secret"));
    assert_eq!(secret.is(200).text("secret").len(), 43);
    assert!(!server.get("/api/v1/webhooks").is(200).body().contains(secret.text("secret")));
    let change = json!({ "enabled": false, "stream": "" });
    server.request("PATCH", &path).json(&change).send().refused(428, "If-Match");
    let changed = server.request("PATCH", &path).header("If-Match", made.etag()).json(&change).send();
    let shown = changed.is(200).json();
    assert_eq!((&shown["enabled"], &shown["stream"], &shown["url"]), (&json!(false), &json!(null), &new["url"]));
    server.request("DELETE", &path).header("If-Match", made.etag()).send().refused(412, "");
    server.request("DELETE", &path).header("If-Match", changed.etag()).send().is(204);
    server.get(&path).refused(404, "no webhook");
    server.get(&format!("{path}/deliveries")).refused(404, "no webhook");
    let token = server.token("operator");
    let theirs = server.plain("GET", "/api/v1/webhooks").header("Authorization", &format!("Bearer {token}")).send();
    theirs.refused(403, "admin");
}

#[test]
fn what_is_wrong_with_a_webhook_is_said() {
    let server = Server::start();
    let refused = |body, part| {
        server.post("/api/v1/webhooks", &body).refused(400, part);
    };
    refused(json!({}), "url");
    refused(json!({ "url": "file:///etc/passwd" }), "url");
    refused(json!({ "url": "https://user:hush@example.com/" }), "leave them out");
    refused(
        json!({ "url": "https://example.com", "events": ["boom"] }),
        "publish, unpublish, slate_started, slate_ended, recording_started, ",
    );
    refused(json!({ "url": "https://example.com", "stream": "a b" }), "stream");
    for _ in 0..100 {
        server.post("/api/v1/webhooks", &json!({ "url": "https://example.com" })).is(201);
    }
    server.post("/api/v1/webhooks", &json!({ "url": "https://example.com" })).refused(409, "100 webhooks");
}

#[test]
fn a_node_may_forget_an_event_once_it_waits_for_the_webhooks() {
    let server = Server::start();
    server.post("/api/v1/webhooks", &json!({ "url": "https://example.com/hook" })).is(201);
    let event = Event {
        seq: 7,
        stream: "cam".into(),
        what: What::Publish { encoder: String::new(), replaced_heard_ago_ms: None },
        ..Event::default()
    };
    let report = Report { node: NodeId { name: "n".into(), run: 1 }, events: vec![event], ..Report::default() };
    assert_eq!(server.run(server.fleet.report(report)).unwrap().events_through, 7);
}

#[test]
fn a_webhook_that_would_lead_to_a_private_address_is_refused_with_the_key_that_allows_it() {
    let server = Server::start();
    let make = |server: &Server, url: &str| server.post("/api/v1/webhooks", &json!({ "url": url }));
    for url in [
        "http://127.0.0.1:9000/x",
        "http://[::1]/x",
        "http://localhost:9000/x",
        "https://10.1.2.3/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:192.168.0.1]/",
    ] {
        let refused = make(&server, url);
        refused.refused(400, "webhooks.allow");
        assert_eq!(refused.json()["errors"][0]["field"], "url", "{url}");
    }
    // A name that nobody knows yet may be known later; what it leads to is looked at then.
    let unknown = make(&server, "https://nobody.invalid/x");
    let path = format!("/api/v1/webhooks/{}", unknown.is(201).text("id"));
    let change = server.request("PATCH", &path).header("If-Match", "*");
    change.json(&json!({ "url": "http://127.0.0.1/x" })).send().refused(400, "webhooks.allow");
    let allowing = Server::with(Options { webhooks: vec!["127.0.0.0/8".parse().unwrap()], ..Options::default() });
    make(&allowing, "http://127.0.0.1:9000/x").is(201);
    make(&allowing, "http://10.0.0.1/x").refused(400, "webhooks.allow");
}

/// The document and the documentation list the kinds of events that there are, and no others.
#[test]
fn kinds_of_events_are_documented() {
    let kinds: Vec<&str> = What::KINDS.iter().map(|(kind, _)| *kind).collect();
    let server = Server::start();
    let document = server.plain("GET", "/api/v1/openapi.json").send().is(200).json().clone();
    let events = &document["components"]["schemas"]["WebhookFields"]["properties"]["events"];
    assert_eq!(events["items"]["enum"], json!(kinds), "{events}");
    for (_, says) in What::KINDS {
        assert!(events["description"].as_str().unwrap().contains(says), "{events}");
    }
    let page = include_str!("../../../../docs/api.md");
    let table = page.split_once("| event |").expect("the table of events").1;
    let listed: Vec<&str> = table
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| `")?.split_once('`').map(|(kind, _)| kind))
        .collect();
    assert_eq!(listed, kinds);
    let told = server.post("/api/v1/webhooks", &json!({ "url": "https://example.com", "events": ["levitated"] }));
    for kind in kinds {
        told.refused(400, kind);
    }
}

#[test]
fn a_webhook_is_tried_at_once_and_what_came_of_it_is_said_and_kept() {
    use std::io::{Read as _, Write as _};

    let server = Server::with(Options { webhooks: vec!["127.0.0.0/8".parse().unwrap()], ..Options::default() });
    let receiver = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", receiver.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let mut requests = Vec::new();
        for status in ["204 No Content", "500 Oh"] {
            let (mut stream, _) = receiver.accept().unwrap();
            let (mut request, mut piece) = (Vec::new(), [0; 4096]);
            while !String::from_utf8_lossy(&request).contains("}}") {
                let count = stream.read(&mut piece).unwrap();
                assert!(count > 0, "the body is whole");
                request.extend_from_slice(&piece[..count]);
            }
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            requests.push(String::from_utf8(request).unwrap());
        }
        requests
    });
    let made = server.post("/api/v1/webhooks", &json!({ "url": url, "stream": "cam", "enabled": false }));
    let path = format!("/api/v1/webhooks/{}", made.is(201).text("id"));
    let tried = server.request("POST", &format!("{path}/test")).send();
    assert_eq!((tried.is(200).text("outcome"), &tried.json()["status"]), ("delivered", &json!(204)));
    let failed = server.request("POST", &format!("{path}/test")).send();
    assert_eq!((failed.is(200).text("outcome"), &failed.json()["status"]), ("failed", &json!(500)));
    let requests = answering.join().unwrap();
    for part in
        ["millstream-event: test", "millstream-signature: t=", "\"what\":{\"kind\":\"test\"}", "\"stream\":\"cam\""]
    {
        assert!(requests[0].contains(part), "{part}: {}", requests[0]);
    }
    let listed = server.get(&format!("{path}/deliveries"));
    assert!(listed.is(200).json()["items"].as_array().unwrap().iter().all(|item| item["kind"] == "test"), "{listed:?}");
    server.request("POST", "/api/v1/webhooks/none/test").send().refused(404, "no webhook");
}
