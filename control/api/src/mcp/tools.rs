//! Tools made of the API's document: one for each GET that answers with JSON. There is no other list of them, so a new route is a tool. Before it:
//! [`crate::openapi`]; after it: [`super`], which asks the route.
use std::fmt::Write as _;

use millstream_proto::query::percent_encode;
use serde_json::{Map, Value, json};

/// Secrets do not belong into a conversation; logins, pages and what the original system had are nothing for assistants.
const LEFT_OUT_TAGS: [&str; 3] = ["login", "monitoring", "videostream"];
const LEFT_OUT_PATHS: [&str; 3] =
    ["/api/v1/streams/{id}/key", "/api/v1/streams/{id}/preview", "/api/v1/webhooks/{id}/secret"];
/// Longest value of an argument.
const ARGUMENT_BYTES_MAX: usize = 512;

/// Why a call is not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum CallError {
    /// There is no such tool.
    #[error("there is no tool of this name; tools/list has all of them")]
    Unknown,
    /// The arguments are no object.
    #[error("give the arguments as an object")]
    NoObject,
    /// One is missing.
    #[error("the argument {0} is missing")]
    Missing(String),
    /// One is not known.
    #[error("there is no argument {0}")]
    Surplus(String),
    /// One is of a shape that no parameter has.
    #[error("the argument {0} is to be a text of at most {ARGUMENT_BYTES_MAX} bytes, a number or a boolean")]
    Shape(String),
}

struct Parameter {
    name: String,
    is_in_path: bool,
}

struct Tool {
    name: String,
    path: String,
    parameters: Vec<Parameter>,
}

/// All of them.
pub(super) struct Tools {
    all: Vec<Tool>,
    list: Value,
}

impl Tools {
    /// Those of a document.
    pub(super) fn of(document: &[u8]) -> Self {
        // It is our own.
        let document: Value = serde_json::from_slice(document).unwrap_or_default();
        let (mut all, mut list) = (Vec::new(), Vec::new());
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            let operation = &item["get"];
            if !is_tool(path, operation) {
                continue;
            }
            let Some(name) = operation["operationId"].as_str() else { continue };
            let given: Vec<&Value> = operation["parameters"].as_array().into_iter().flatten().collect();
            let taken: Vec<&Value> =
                given.into_iter().filter(|given| given["in"] == "path" || given["in"] == "query").collect();
            let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
            list.push(json!({
                "name": name,
                "title": operation["summary"],
                "description": text(&operation["description"]),
                "inputSchema": input(&taken, &document),
                "annotations": { "title": operation["summary"], "readOnlyHint": true, "openWorldHint": false },
            }));
            let parameters = taken
                .iter()
                .map(|given| Parameter { name: text(&given["name"]), is_in_path: given["in"] == "path" })
                .collect();
            all.push(Tool { name: name.to_owned(), path: path.clone(), parameters });
        }
        Self { all, list: list.into() }
    }

    /// As `tools/list` gives them.
    pub(super) fn list(&self) -> &Value {
        &self.list
    }

    /// The path and query of a call.
    pub(super) fn path(&self, name: &str, arguments: &Value) -> Result<String, CallError> {
        let tool = self.all.iter().find(|tool| tool.name == name).ok_or(CallError::Unknown)?;
        let empty = Map::new();
        let given = match arguments {
            Value::Null => &empty,
            Value::Object(given) => given,
            _ => return Err(CallError::NoObject),
        };
        let is_known = |name: &str| tool.parameters.iter().any(|parameter| parameter.name == name);
        if let Some(name) = given.keys().find(|name| !is_known(name)) {
            return Err(CallError::Surplus(short(name)));
        }
        let (mut path, mut query) = (tool.path.clone(), String::new());
        for Parameter { name, is_in_path } in &tool.parameters {
            let value = match given.get(name) {
                None | Some(Value::Null) if *is_in_path => return Err(CallError::Missing(name.clone())),
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) if text.len() <= ARGUMENT_BYTES_MAX && !(*is_in_path && text.is_empty()) => {
                    text.clone()
                }
                Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
                Some(_) => return Err(CallError::Shape(name.clone())),
            };
            let mut encoded = String::new();
            percent_encode(&value, &mut encoded);
            // A segment of dots alone would be taken for a way up.
            if *is_in_path && value.bytes().all(|byte| byte == b'.') {
                return Err(CallError::Shape(name.clone()));
            }
            if *is_in_path {
                path = path.replace(&format!("{{{name}}}"), &encoded);
            } else {
                // A string takes all that is written to it.
                let _ = write!(query, "{}{name}={encoded}", if query.is_empty() { '?' } else { '&' });
            }
        }
        Ok(path + &query)
    }
}

/// What was sent may be long.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// It answers with JSON, and not with a secret.
fn is_tool(path: &str, operation: &Value) -> bool {
    let tags = operation["tags"].as_array();
    let is_for_others = |tag: &Value| LEFT_OUT_TAGS.iter().any(|left_out| tag == left_out);
    operation.is_object()
        && operation.pointer("/responses/200/content/application~1json").is_some()
        && !LEFT_OUT_PATHS.contains(&path)
        && !tags.is_some_and(|tags| tags.iter().any(is_for_others))
}

/// Schemas within schemas that are put into each other.
const REFERENCES_MAX: usize = 8;

/// A schema with those in it that it refers to: who gets it has no document to look into.
fn whole(schema: &Value, document: &Value, deep: usize) -> Value {
    let named = schema["$ref"].as_str().and_then(|name| document.pointer(name.strip_prefix('#')?));
    match (named, schema) {
        _ if deep == 0 => json!({}),
        (Some(named), _) => whole(named, document, deep - 1),
        (None, Value::Object(of)) => {
            of.iter().map(|(key, value)| (key.clone(), whole(value, document, deep))).collect::<Map<_, _>>().into()
        }
        (None, Value::Array(all)) => all.iter().map(|one| whole(one, document, deep)).collect(),
        (None, plain) => plain.clone(),
    }
}

/// The schema of a tool's arguments.
fn input(taken: &[&Value], document: &Value) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for parameter in taken {
        let Some(name) = parameter["name"].as_str() else { continue };
        let mut schema = whole(&parameter["schema"], document, REFERENCES_MAX);
        if let (Some(schema), Some(about)) = (schema.as_object_mut(), parameter["description"].as_str()) {
            schema.insert("description".to_owned(), about.into());
        }
        properties.insert(name.to_owned(), schema);
        if parameter["in"] == "path" || parameter["required"] == true {
            required.push(name.to_owned());
        }
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools() -> Tools {
        let json = json!({ "200": { "content": { "application/json": {} } } });
        let id = json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" }, "description": "Its id" });
        let limit = json!({ "name": "limit", "in": "query", "schema": { "type": "integer" } });
        let header = json!({ "name": "Last-Event-ID", "in": "header", "schema": { "type": "string" } });
        let document = json!({ "paths": {
            "/api/v1/streams/{id}": {
                "get": { "operationId": "get_stream", "summary": "Read", "description": "Reads", "parameters": [id, limit, header], "responses": json },
                "delete": { "operationId": "delete_stream", "responses": json },
            },
            "/api/v1/streams/{id}/key": { "get": { "operationId": "get_key", "responses": json } },
            "/api/v1/login": { "get": { "operationId": "get_login", "tags": ["login"], "responses": json } },
            "/metrics": { "get": { "operationId": "get_metrics", "responses": { "200": { "content": { "text/plain": {} } } } } },
        } });
        Tools::of(document.to_string().as_bytes())
    }

    #[test]
    fn a_tool_is_a_get_that_answers_with_json() {
        let tools = tools();
        let list = tools.list().as_array().unwrap();
        assert_eq!(list.len(), 1);
        let tool = &list[0];
        assert_eq!((&tool["name"], &tool["annotations"]["readOnlyHint"]), (&json!("get_stream"), &json!(true)));
        assert_eq!(tool["inputSchema"]["required"], json!(["id"]));
        assert_eq!(tool["inputSchema"]["properties"]["id"]["description"], "Its id");
        assert!(tool["inputSchema"]["properties"]["Last-Event-ID"].is_null());
    }

    #[test]
    fn arguments_stay_where_they_belong() {
        let tools = tools();
        let check = |arguments: Value, expected: Result<&str, CallError>| {
            assert_eq!(tools.path("get_stream", &arguments).as_deref().map_err(Clone::clone), expected, "{arguments}");
        };
        check(json!({ "id": "cam" }), Ok("/api/v1/streams/cam"));
        check(json!({ "id": "cam", "limit": 5 }), Ok("/api/v1/streams/cam?limit=5"));
        check(json!({ "id": "../tokens?x=1&y#{id}" }), Ok("/api/v1/streams/..%2Ftokens%3Fx%3D1%26y%23%7Bid%7D"));
        check(json!({ "id": ".." }), Err(CallError::Shape("id".into())));
        check(json!({ "id": "" }), Err(CallError::Shape("id".into())));
        check(json!({ "id": ["a"] }), Err(CallError::Shape("id".into())));
        check(json!({ "id": "x".repeat(ARGUMENT_BYTES_MAX + 1) }), Err(CallError::Shape("id".into())));
        check(json!({}), Err(CallError::Missing("id".into())));
        check(json!({ "id": "cam", "more": 1 }), Err(CallError::Surplus("more".into())));
        check(json!([]), Err(CallError::NoObject));
        assert_eq!(tools.path("delete_stream", &json!({ "id": "cam" })), Err(CallError::Unknown));
    }
}
