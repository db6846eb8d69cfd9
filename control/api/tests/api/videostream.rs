//! The API of the system that this one replaces, as its users' scripts call it.
use serde_json::{Value, json};

use crate::harness::Server;

/// The body of the user's document, to the letter.
const DOCUMENT: &str = r#"{"isFlv":"true", "isHls":"false","isVideo":"false", "isImage":"false","isMotion":"false", "isOnDemand":"false","isCMAF":"false","video_time":"60","image_time":"30","hls_time":"2","hls_list_size":"5", "outdate":"2022-12-09"}"#;

#[test]
fn the_call_of_the_document_works_with_a_token_put_in() {
    let server = Server::start();
    let post = server.request("POST", "/Prod/videostream").header("Content-Type", "application/json");
    let made = post.body(DOCUMENT).send();
    let record = made.is(200).json();
    assert_eq!((&record["isFlv"], &record["isHls"], &record["video_time"]), (&json!(true), &json!(false), &json!(60)));
    assert_eq!((&record["outdate"], &record["not_in_force"]), (&json!("2022-12-09"), &json!([])));
    let (id, key) = (made.text("id"), made.text("key"));
    assert!(key.starts_with("1670544000-") && key.len() == 11 + 32, "{key}");
    // The same key is the value of sign= in the other API, and both APIs show one record.
    assert_eq!(server.get(&format!("/api/v1/streams/{id}/key")).text("legacy_sign"), key);
    for path in [format!("/videostream/{id}"), format!("/Prod/videostream/{id}")] {
        assert_eq!(server.get(&path).is(200).json(), record);
    }
    for path in ["/videostream", "/Prod/videostream"] {
        assert_eq!(server.get(path).is(200).json(), &json!([record]));
    }
}

#[test]
fn put_sets_what_is_given_and_delete_removes() {
    let server = Server::start();
    let id = server.post("/videostream", &json!({ "videoname": "a", "isHls": "true" })).text("id").to_owned();
    let path = format!("/videostream/{id}");
    let put = |body: &Value| server.request("PUT", &path).json(body).send();
    let changed = put(&json!({ "description": "b", "isHls": false }));
    let record = changed.is(200).json();
    assert_eq!(
        (&record["videoname"], &record["description"], &record["isHls"]),
        (&json!("a"), &json!("b"), &json!(false))
    );
    // What was read may be sent back whole.
    assert_eq!(put(record).is(200).json(), record);
    assert_eq!(put(&json!({ "outdate": "" })).is(200).json()["outdate"], record["outdate"]);
    assert_eq!(server.request("DELETE", &path).send().is(200).json(), &json!({ "id": id }));
    server.get(&path).refused(404, "no stream");
    put(&json!({})).refused(404, "no stream");
    server.request("DELETE", &path).send().refused(404, "no stream");
    server.request("PUT", "/videostream/none").json(&json!({})).send().refused(404, "no stream none");
}

#[test]
fn a_record_without_outdate_is_good_for_a_year() {
    let server = Server::start();
    let made = server.post("/videostream", &json!({}));
    assert_eq!((made.is(200).text("outdate"), &made.text("key")[..11]), ("2027-11-24", "1827014400-"));
}

#[test]
fn fields_that_nobody_knows_are_said_to_be_ignored_and_wrong_ones_refused() {
    let server = Server::start();
    let made = server.post("/videostream", &json!({ "videoname": "a", "colour": "red" }));
    assert_eq!(made.is(200).json()["ignored"], json!(["colour"]));
    assert_eq!(server.get(&format!("/videostream/{}", made.text("id"))).json().get("ignored"), None);
    server.post("/videostream", &json!({ "isFlv": "perhaps" })).refused(400, "isFlv");
    server.post("/videostream", &json!({ "outdate": "09.12.2022" })).refused(400, "outdate");
    server.post("/videostream", &json!([])).refused(400, "");
}

#[test]
fn records_have_keys_so_they_are_not_for_those_who_only_look() {
    let server = Server::start();
    let token = server.token("viewer");
    for path in ["/videostream", "/Prod/videostream"] {
        let read = server.plain("GET", path).header("Authorization", &format!("Bearer {token}")).send();
        read.refused(403, "operator");
        server.plain("GET", path).send().refused(401, "admin-token");
    }
}
