//! Streams that are pushed on to other servers: ffmpeg and another Millstream are what they are pushed to.
use std::net::SocketAddr;
use std::path::Path;

use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::http::Viewer;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::{Tool, ffprobe};
use millstream_tests::{eventually, seconds};
use serde_json::{Value, json};

use crate::fleet::free_address;
use crate::tls::{Authority, NOW, rtmps};

/// Loopback is no public address.
const ALLOW: &str = "[relay]\nallow = [\"127.0.0.0/8\"]\n";
/// A stream ends with its publisher.
const END: &str = "[stream_defaults]\non_unpublish = \"end\"\n";
const KEY: &str = "hush-hush";

fn relaying() -> Server {
    Options::open().shards(2).config(&(ALLOW.to_owned() + END)).start()
}

fn publish(server: &Server, id: &str) -> Pushing {
    Publisher::start(server.rtmp, "stream", id).expect("published").repeat(Clip::small())
}

/// Makes a stream that is pushed on to these addresses.
fn make(client: &mut Client, id: &str, to: &str) {
    let settings = json!({ "isRelay": true, "relayURL": to });
    let made = client.post("/api/v1/streams", &json!({ "id": id, "settings": settings })).is(201).json;
    assert_eq!(made["not_in_force"], json!([]));
}

fn change(client: &mut Client, id: &str, settings: &Value) {
    client
        .request("PATCH", &format!("/api/v1/streams/{id}"), "If-Match: *\r\n", Some(&json!({ "settings": settings })))
        .is(200);
}

/// How a stream's relays do, as the API says.
fn relays(client: &mut Client, id: &str) -> Vec<Value> {
    let seen = client.get(&format!("/api/v1/streams/{id}/session"));
    seen.json["relays"].as_array().cloned().unwrap_or_default()
}

/// Waits until the first relay is in this state.
fn in_state(client: &mut Client, id: &str, state: &str) -> Value {
    eventually(&format!("the relay is {state}"), seconds(15), || {
        relays(client, id).into_iter().find(|relay| relay["state"] == state)
    })
}

fn error(relay: &Value) -> &str {
    relay["last_error"].as_str().unwrap_or_default()
}

/// ffmpeg as a server that takes one stream, for so long, into a file.
fn ffmpeg_listens(port: u16, file: &Path, time_s: &str) -> Tool {
    let url = format!("rtmp://127.0.0.1:{port}/live/{KEY}");
    let file = file.to_str().expect("ASCII");
    #[rustfmt::skip]
    let tool = Tool::start("ffmpeg", &[
        "-hide_banner", "-nostdin", "-loglevel", "warning", "-y", "-listen", "1", "-i", &url, "-t", time_s, "-c", "copy", file,
    ]);
    tool
}

#[test]
fn case_30_a_relay_whose_target_closes_is_tried_again_until_the_publisher_ends() {
    let server = relaying();
    let mut client = Client::admin(&server);
    let dir = tempfile::tempdir().expect("a directory");
    let port = free_address().port();
    make(&mut client, "cam", &format!("rtmp://127.0.0.1:{port}/live/{KEY}"));
    let push = publish(&server, "cam");
    // Nobody is there yet.
    let waiting = in_state(&mut client, "cam", "waiting");
    assert!(error(&waiting).contains("cannot connect"), "{waiting}");
    let first = dir.path().join("first.flv");
    let target = ffmpeg_listens(port, &first, "2");
    in_state(&mut client, "cam", "on_air");
    // It has its two seconds and goes away.
    let done = target.wait(seconds(30));
    assert!(done.status.success(), "{}", done.stderr);
    let again = in_state(&mut client, "cam", "waiting");
    assert!(error(&again).contains("closed"), "{again}");
    let second = dir.path().join("second.flv");
    let target = ffmpeg_listens(port, &second, "600");
    let on_air = in_state(&mut client, "cam", "on_air");
    assert!(
        on_air["tries"].as_u64() >= Some(3) && on_air["target"] == format!("rtmp://127.0.0.1:{port}/live/***"),
        "{on_air}"
    );
    eventually("a second of it is sent", seconds(10), || {
        (relays(&mut client, "cam")[0]["sent_bytes"].as_u64() > Some(50_000)).then_some(())
    });
    assert!(server.metrics().contains("millstream_relays{state=\"on_air\"} 1"), "{}", server.metrics());
    push.finish().expect("ended");
    // The target is told the end, so that its file is whole.
    let done = target.wait(seconds(10));
    assert!(done.status.success(), "{}", done.stderr);
    eventually("no relay is left", seconds(10), || {
        server.metrics().contains("millstream_relays{state=\"waiting\"} 0").then_some(())
    });
    for file in [first, second] {
        let seen = ffprobe(file.to_str().expect("ASCII"));
        assert!(
            seen.iter().any(|line| line.contains("h264")) && seen.iter().any(|line| line.contains("aac")),
            "{seen:?}"
        );
    }
    assert!(!server.log.has(KEY) && !server.metrics().contains(KEY), "the key of the other server is out");
}

#[test]
fn viewers_of_the_target_see_the_stream_and_other_targets_come_and_go_beside_it() {
    let (server, one, other) = (relaying(), Options::open().config(END).start(), Options::open().config(END).start());
    let mut client = Client::admin(&server);
    let to = |target: &Server| format!("rtmp://{}/stream/copy", target.rtmp);
    make(&mut client, "cam", &to(&one));
    let _push = publish(&server, "cam");
    in_state(&mut client, "cam", "on_air");
    let mut viewer = Viewer::watch(one.http, "copy");
    let tags = viewer.tags_for(seconds(2));
    assert!(tags.iter().filter(|tag| tag.is_frame()).count() > 60, "{} tags", tags.len());
    // A second one comes, and the first connection goes on.
    change(&mut client, "cam", &json!({ "relayURL": format!("{},{}", to(&one), to(&other)) }));
    let both = eventually("both are on air", seconds(10), || {
        let relays = relays(&mut client, "cam");
        (relays.len() == 2 && relays.iter().all(|relay| relay["state"] == "on_air")).then_some(relays)
    });
    assert!(both.iter().all(|relay| relay["tries"] == 1), "{both:?}");
    drop(Viewer::watch(other.http, "copy"));
    assert!(viewer.end.is_none() && !viewer.tags_for(seconds(1)).is_empty());
    // And none is wanted any more.
    change(&mut client, "cam", &json!({ "isRelay": false }));
    eventually("no relay is left", seconds(10), || relays(&mut client, "cam").is_empty().then_some(()));
    eventually("the copy has ended", seconds(10), || {
        viewer.tags_for(seconds(1));
        viewer.end.map(drop)
    });
}

#[test]
fn a_relay_goes_over_tls_to_a_server_with_a_certificate() {
    let authority = Authority::new();
    authority.certify("live", &["localhost"], NOW);
    let target = Options::open().config(&authority.config(&["live"])).start();
    let trusted = authority.path("ca.pem");
    let server = Options::open().config(ALLOW).env("SSL_CERT_FILE", trusted.to_str().expect("ASCII")).start();
    let mut client = Client::admin(&server);
    make(&mut client, "cam", &format!("rtmps://localhost:{}/stream/copy", rtmps(&target).port()));
    // An address that the certificate is not for.
    make(&mut client, "other", &format!("rtmps://{}/stream/other", rtmps(&target)));
    let _push = [publish(&server, "cam"), publish(&server, "other")];
    in_state(&mut client, "cam", "on_air");
    drop(Viewer::watch(target.http, "copy"));
    let refused = in_state(&mut client, "other", "waiting");
    assert!(error(&refused).contains("certificate"), "{refused}");
}

#[test]
fn a_relay_that_leads_back_to_its_stream_is_refused_and_the_encoder_stays() {
    let server = relaying();
    let mut client = Client::admin(&server);
    let own = |id: &str, at: SocketAddr| format!("rtmp://{at}/stream/{id}");
    make(&mut client, "cam", &own("cam", server.rtmp));
    // Over a stream between.
    make(&mut client, "there", &own("back", server.rtmp));
    make(&mut client, "back", &own("there", server.rtmp));
    let push = [publish(&server, "cam"), publish(&server, "there")];
    let refused = in_state(&mut client, "cam", "waiting");
    assert!(error(&refused).contains("leads back"), "{refused}");
    in_state(&mut client, "there", "on_air");
    let refused = in_state(&mut client, "back", "waiting");
    assert!(error(&refused).contains("leads back"), "{refused}");
    assert!(push.iter().all(Pushing::alive), "the encoder has been replaced");
}

#[test]
fn addresses_that_cannot_be_are_refused_and_private_ones_are_not_connected_to() {
    let server = Options::open().start();
    let mut client = Client::admin(&server);
    let refused = |client: &mut Client, to: &str, why: &str| {
        let body = json!({ "id": "bad", "settings": { "isRelay": true, "relayURL": to } });
        let answer = client.post("/api/v1/streams", &body).is(400);
        let text = answer.json.to_string();
        assert!(text.contains(why) && text.contains("relayURL") && !text.contains(KEY), "{to}: {text}");
    };
    refused(&mut client, &format!("http://example.org/live/{KEY}"), "rtmp://");
    refused(&mut client, &format!("rtmp://example.org/{KEY}"), "APPLICATION/KEY");
    refused(&mut client, &format!("rtmp://me:{KEY}@example.org/live/x"), "password");
    refused(&mut client, &format!("rtmp://a/b/{KEY},rtmp://a/b/{KEY}"), "twice");
    let target = Options::open().start();
    make(&mut client, "cam", &format!("rtmp://{}/stream/copy", target.rtmp));
    let push = publish(&server, "cam");
    let refused = in_state(&mut client, "cam", "waiting");
    assert!(error(&refused).contains("private address"), "{refused}");
    assert!(push.alive());
}
