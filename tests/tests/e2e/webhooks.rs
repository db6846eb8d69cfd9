//! Webhooks: what a receiver is told, how it is signed, and how it is told again.
use millstream_tests::control::Client;
use millstream_tests::receiver::WebhookReceiver;
use millstream_tests::rtmp::Publisher;
use millstream_tests::server::Options;
use millstream_tests::{eventually, seconds};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// RFC 2104, for a key that is shorter than a block.
fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    let pad = |byte: u8| -> Vec<u8> {
        let padded = key.iter().copied().chain(std::iter::repeat(0)).take(64);
        padded.map(|key| key ^ byte).collect()
    };
    let inner = Sha256::digest([pad(0x36), message.to_vec()].concat());
    let outer = Sha256::digest([pad(0x5c), inner.to_vec()].concat());
    outer.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[test]
fn a_webhook_is_told_signed_in_order_and_again_until_it_is_taken() {
    let server = Options::signed().config("[webhooks]\nallow = [\"127.0.0.0/8\"]\n").start();
    let mut client = Client::admin(&server);
    let receiver = WebhookReceiver::refusing(1);
    let hook = json!({ "url": format!("http://{}/hook", receiver.address), "events": ["publish", "unpublish"] });
    let id = client.post("/api/v1/webhooks", &hook).is(201).text("id").to_owned();
    let secret = client.get(&format!("/api/v1/webhooks/{id}/secret")).is(200).text("secret").to_owned();
    let sign = client.make_stream("cam");
    let push = Publisher::start(server.rtmp, "stream", &format!("cam?sign={sign}")).expect("let in");
    push.finish().expect("an end");
    let mut kinds = Vec::new();
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        let told = receiver.next(seconds(20)).expect("a delivery");
        let signature = told.header("millstream-signature");
        let (time, mac) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("t=...,v1=...");
        let message = [time.as_bytes(), b".", &told.body].concat();
        assert_eq!(mac, hmac_sha256(secret.as_bytes(), &message), "{signature}");
        assert_eq!(told.event["stream"], "cam");
        kinds.push(told.header("millstream-event").to_owned());
        deliveries.push(told.header("millstream-delivery").to_owned());
    }
    assert_eq!(kinds, ["publish", "publish", "unpublish"], "the first one was refused, and nothing overtakes it");
    assert_eq!(deliveries[0], deliveries[1]);
    let log = eventually("every try is in the log", seconds(10), || {
        let log = client.get(&format!("/api/v1/webhooks/{id}/deliveries")).is(200).json;
        (log["items"].as_array()?.len() == 3).then_some(log)
    });
    let outcomes: Vec<_> =
        log["items"].as_array().expect("a list").iter().map(|item| item["outcome"].clone()).collect();
    assert_eq!(outcomes, ["delivered", "delivered", "retry"], "the newest first");
    assert!(!server.log.has(&secret), "the secret is in the log");
}
