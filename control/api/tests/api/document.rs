//! The OpenAPI document tells what is there.
use serde_json::{Value, json};

use crate::harness::Server;

fn document(server: &Server) -> Value {
    server.plain("GET", "/api/v1/openapi.json").send().is(200).json().clone()
}

#[test]
fn every_operation_is_described_with_all_that_it_may_answer() {
    let server = Server::start();
    let document = document(&server);
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let expected = [
        "/api/v1/streams",
        "/api/v1/streams/{id}",
        "/api/v1/streams/{id}/key",
        "/api/v1/streams/{id}/session",
        "/api/v1/streams/{id}/viewers",
        "/api/v1/streams/{id}/history",
        "/api/v1/streams/{id}/motion",
        "/api/v1/live",
        "/api/v1/recordings",
        "/api/v1/recordings/{recording}",
        "/api/v1/streams/{id}/recording",
        "/api/v1/events",
        "/api/v1/nodes",
        "/api/v1/workers",
        "/api/v1/tokens",
        "/api/v1/audit",
        "/api/v1/config",
        "/api/v1/chain",
        "/api/v1/tls",
        "/api/v1/chain/explain",
        "/api/v1/hooks",
        "/api/v1/hooks/{name}",
        "/api/v1/hooks/{name}/numbers",
        "/api/v1/hooks/{name}/versions",
        "/api/v1/hooks/{name}/versions/{number}",
        "/api/v1/hooks/{name}/versions/{number}/module",
        "/api/v1/hook-bindings",
        "/api/v1/hook-bindings/{id}",
        "/api/v1/login",
        "/videostream",
        "/videostream/{id}",
        "/metrics",
    ];
    for path in expected {
        assert!(paths.contains_key(path), "{path} is missing");
    }
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            let open = operation.get("security").is_some();
            assert!(open || responses.contains_key("401"), "{method} {path}");
            assert!(operation.get("requestBody").is_none() || responses.contains_key("413"), "{method} {path}");
            for (status, response) in responses.iter().filter(|(status, _)| status.as_str() >= "400") {
                let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document(&Server::start());
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    let settings = &document["components"]["schemas"]["Settings"];
    assert_eq!(settings["properties"]["isFlv"]["default"], json!(true));
}

/// The page for people: all of it from here, and nothing in it that a strict policy would have to allow.
#[test]
fn the_page_of_the_document_loads_nothing_from_elsewhere() {
    let server = Server::start();
    let page = server.plain("GET", "/api/v1/docs").send();
    let text = page.is(200).body();
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(!text.contains("://") && !text.contains(" on") && !text.contains("style="), "{text}");
    for (file, kind) in [("docs/docs.js", "text/javascript"), ("docs/docs.css", "text/css")] {
        assert!(text.contains(file));
        let part = server.plain("GET", &format!("/api/v1/{file}")).send();
        assert!(part.is(200).header("content-type").unwrap().starts_with(kind));
        let part = part.body();
        assert!(!part.contains("://") && !part.contains("innerHTML") && !part.contains("eval("), "{file}");
    }
    server.plain("GET", "/api/v1/docs/other.js").send().is(404);
}

#[test]
fn operations_have_names_of_their_own_that_a_program_can_have() {
    let server = Server::start();
    let document = document(&server);
    let mut seen = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()), "{name}");
            assert!(seen.insert(name.to_owned()), "{method} {path} has the name of another one: {name}");
        }
    }
    assert!(seen.contains("get_streams") && seen.contains("post_streams_by_id_key"), "{seen:?}");
}
