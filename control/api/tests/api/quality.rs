//! How streams play, as nodes say; previews; and where streams are pushed and played.
use millstream_control_protocol::exchange::{Answer, Order};
use millstream_control_protocol::quality::{Quality, Spread};
use serde_json::json;

use crate::harness::{Server, master};
use millstream_proto::id::Id;
use millstream_proto::sign::grant::GrantKeys;
use millstream_proto::sign::preview::PreviewKey;

#[test]
fn nodes_say_how_a_stream_plays_and_are_added_up() {
    let server = Server::start();
    server.post("/api/v1/streams", &json!({ "id": "cam" })).is(201);
    let empty = server.get("/api/v1/streams/cam/qoe");
    assert_eq!((&empty.is(200).json()["items"], &empty.json()["missing"]), (&json!([]), &json!([])));
    server.get("/api/v1/streams/none/qoe").refused(404, "none");
    for name in ["one", "two"] {
        server.node(name, |order| match order {
            Order::Quality { stream } if stream == "cam" => {
                let start_ms = Spread { up_to: vec![100, 200], counts: vec![1, 2, 1], sum: 800 };
                let quality = Quality {
                    protocol: "hls".into(),
                    sessions: 4,
                    start_ms,
                    stalls: 1,
                    played_ms: 1_800_000,
                    ..Quality::default()
                };
                Answer::Quality { quality: vec![quality] }
            }
            Order::Quality { .. } => Answer::Quality { quality: Vec::new() },
            _ => Answer::NotUnderstood,
        });
    }
    // A node of an earlier release.
    server.node("three", |_| Answer::NotUnderstood);
    let told = server.get("/api/v1/streams/cam/qoe");
    let item = told.is(200).json()["items"][0].clone();
    assert_eq!(
        (&item["protocol"], &item["sessions"], &item["stalls_per_hour"]),
        (&json!("hls"), &json!(8), &json!(2.0))
    );
    assert_eq!(
        (&item["start_ms"]["count"], &item["start_ms"]["mean"], &item["start_ms"]["median"]),
        (&json!(8), &json!(200.0), &json!(150.0))
    );
    assert_eq!(item["start_ms"]["buckets"][2], json!({ "up_to": null, "count": 2 }));
    assert_eq!(item["latency_ms"], json!({ "count": 0, "mean": null, "median": null, "p95": null, "buckets": [] }));
    assert_eq!(told.json()["missing"][0]["node"], "three");
}

#[test]
fn who_may_look_at_streams_gets_previews_of_them_and_nobody_else() {
    let server = Server::start();
    server.plain("GET", "/api/v1/streams/cam/preview").send().refused(401, "");
    let token = server.token("viewer");
    let bearer = format!("Bearer {token}");
    let shown = server.plain("GET", "/api/v1/streams/cam/preview").header("Authorization", &bearer).send();
    let url = shown.is(200).json()["items"][0]["flv"].as_str().unwrap().to_owned();
    let (address, text) = url.split_once("?preview=").unwrap();
    assert_eq!((address, &shown.json()["expires_in_ms"]), ("https://play.example.org/cam/live.flv", &json!(600_000)));
    let (key, cam) = (PreviewKey::new(&master()), Id::new("cam").unwrap());
    let now_s = crate::harness::NOW_MS / 1_000;
    assert_eq!(key.check(text, &cam, now_s), Some(now_s + 600));
    let below = shown.json()["items"][0]["below"].as_str().unwrap();
    let grant = below.strip_prefix("https://play.example.org/g/").and_then(|rest| rest.strip_suffix("/cam/")).unwrap();
    let keys = GrantKeys::new(&master(), 1);
    assert_eq!(keys.check(grant, &cam, now_s).unwrap().expiry_unix_s, now_s + 3_600);
    assert!(keys.check(grant, &Id::new("other").unwrap(), now_s).is_err());
    server.get("/api/v1/streams/a%20b/preview").refused(404, "no stream");
    let places = server.get("/api/v1/addresses");
    assert_eq!(
        places.is(200).json()["items"],
        json!([{ "node": "here", "rtmp_url": "rtmp://push.example.org", "rtmps_url": null, "http_url": "https://play.example.org" }])
    );
}
