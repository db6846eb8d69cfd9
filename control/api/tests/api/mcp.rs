//! The API for assistants: what it says of itself, what may be read by whom, and what it refuses.
use serde_json::{Value, json};

use crate::harness::{Response, Server};

fn ask(server: &Server, token: &str, message: &Value) -> Response {
    let request = server.plain("POST", "/mcp").header("Authorization", &format!("Bearer {token}"));
    request.header("Accept", "application/json, text/event-stream").json(message).send()
}

fn call(server: &Server, token: &str, name: &str, arguments: &Value) -> Value {
    let message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": name, "arguments": arguments } });
    let answer = ask(server, token, &message);
    assert_eq!(answer.is(200).json()["id"], 7);
    answer.json().clone()
}

#[test]
fn an_assistant_with_a_viewers_token_reads_what_a_viewer_may_read() {
    let server = Server::start();
    let token = server.token("viewer");
    server.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "videoname": "The door" } })).is(201);
    let hello = |version: &str| {
        let params =
            json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
        let message = json!({ "jsonrpc": "2.0", "id": "a", "method": "initialize", "params": params });
        ask(&server, &token, &message).is(200).json()["result"].clone()
    };
    assert_eq!(hello("2025-03-26")["protocolVersion"], "2025-03-26");
    let result = hello("2031-01-01");
    assert_eq!(
        (&result["protocolVersion"], &result["capabilities"]["tools"]),
        (&json!("2025-06-18"), &json!({ "listChanged": false }))
    );
    assert_eq!(
        ask(&server, &token, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).is(202).body(),
        ""
    );
    let listed = ask(&server, &token, &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }));
    let tools = listed.is(200).json()["result"]["tools"].as_array().unwrap().clone();
    // Each GET of the document that answers with JSON, but for secrets, logins and what the original system had.
    let document = server.plain("GET", "/api/v1/openapi.json").send();
    let gets = document.json()["paths"].as_object().unwrap().iter().filter(|(path, item)| {
        let json = item["get"].pointer("/responses/200/content/application~1json").is_some();
        let left_out = ["/key", "/secret", "/preview", "/login"].iter().any(|end| path.ends_with(end));
        json && !left_out && !path.starts_with("/videostream")
    });
    let mut expected: Vec<&str> = gets.map(|(_, item)| item["get"]["operationId"].as_str().unwrap()).collect();
    let mut names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for name in ["get_streams", "get_live", "get_streams_by_id_diagnosis", "get_streams_by_id_qoe", "get_nodes"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for tool in &tools {
        assert!(tool["description"].as_str().is_some_and(|text| text.len() > 5), "{tool}");
        assert!(!tool["inputSchema"].to_string().contains("$ref"), "a client has no document to look into: {tool}");
    }
    let read = call(&server, &token, "get_streams_by_id", &json!({ "id": "cam" }))["result"].clone();
    assert_eq!(
        (&read["isError"], &read["structuredContent"]["settings"]["videoname"]),
        (&json!(false), &json!("The door"))
    );
    let text: Value = serde_json::from_str(read["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(text, read["structuredContent"]);
    let page = call(&server, &token, "get_streams", &json!({ "limit": 1 }));
    assert_eq!(page["result"]["structuredContent"]["items"].as_array().unwrap().len(), 1);
    // The API's own refusals are results: an assistant can put them right.
    let none = call(&server, &token, "get_streams_by_id", &json!({ "id": "none" }));
    assert!(none["result"]["isError"] == true && none.to_string().contains("not-found"), "{none}");
    let tokens = call(&server, &token, "get_tokens", &json!({}));
    assert!(tokens["result"]["isError"] == true && tokens.to_string().contains("role admin"), "{tokens}");
    let short = call(&server, &token, "get_streams_by_id", &json!({}));
    assert!(short["result"]["isError"] == true && short.to_string().contains("id is missing"), "{short}");
    for name in ["get_streams_by_id_key", "delete_streams_by_id", ""] {
        assert_eq!(call(&server, &token, name, &json!({ "id": "cam" }))["error"]["code"], -32_602, "{name}");
    }
}

#[test]
fn an_assistant_with_an_operators_token_reads_no_key_of_another_server() {
    let server = Server::start();
    let relay = "rtmp://live.example.com/app/their-stream-key";
    server.post("/api/v1/streams", &json!({ "id": "cam", "settings": { "isRelay": true, "relayURL": relay } })).is(201);
    let token = server.token("operator");
    for (name, arguments) in [("get_streams_by_id", json!({ "id": "cam" })), ("get_streams", json!({}))] {
        let answer = call(&server, &token, name, &arguments);
        assert!(answer["result"]["isError"] == false && answer.to_string().contains("isRelay"), "{answer}");
        assert!(!answer.to_string().contains("their-stream-key"), "{answer}");
    }
    // Whom the token is of reads it.
    let bearer = format!("Bearer {token}");
    let read = server.plain("GET", "/api/v1/streams/cam").header("Authorization", &bearer).send();
    assert_eq!(read.is(200).json()["settings"]["relayURL"], relay);
}

#[test]
fn what_is_no_message_is_said_and_does_no_harm() {
    let server = Server::start();
    let token = server.token("viewer");
    let code = |message: &Value| ask(&server, &token, message).json()["error"]["code"].clone();
    assert_eq!(code(&json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/list" })), -32_601);
    for wrong in [
        json!(7),
        json!({ "id": 1, "method": "ping" }),
        json!({ "jsonrpc": "1.0", "id": 1, "method": "ping" }),
        json!([]),
        json!({ "jsonrpc": "2.0", "id": {}, "method": "ping" }),
    ] {
        assert_eq!(code(&wrong), -32_600, "{wrong}");
    }
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let batch = ask(&server, &token, &json!([ping, { "jsonrpc": "2.0", "method": "notifications/x" }, ping]));
    assert_eq!(batch.is(200).json().as_array().unwrap().len(), 2);
    assert_eq!(code(&json!(vec![ping.clone(); 17])), -32_600);
    let bearer = format!("Bearer {token}");
    let raw = |body: &str| server.plain("POST", "/mcp").header("Authorization", &bearer).body(body).send();
    assert_eq!(raw("{").is(400).json()["error"]["code"], -32_700);
    raw(&" ".repeat(70_000)).refused(413, "too long");
    // Nobody, a stranger's page, and a revision that is not spoken.
    server.plain("POST", "/mcp").json(&ping).send().refused(401, "Bearer TOKEN");
    let from = |name: &str, value: &str| {
        server.plain("POST", "/mcp").header("Authorization", &bearer).header(name, value).json(&ping).send()
    };
    from("Origin", "https://evil.example").refused(403, "origins");
    from("Sec-Fetch-Site", "cross-site").refused(403, "origins");
    from("Host", "evil.example").refused(421, "Host");
    from("MCP-Protocol-Version", "1999-01-01").refused(400, "2025-06-18");
    from("MCP-Protocol-Version", "2025-06-18").is(200);
    from("Origin", &format!("http://{}", server.address)).is(200);
    assert_eq!(server.get("/mcp").is(405).header("allow"), Some("POST"));
}
