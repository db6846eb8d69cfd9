//! Motion with the worker that looks for it: events by API and webhook, pictures and films in the store, and what happens when the worker dies.
use std::time::Duration;

use millstream_test_support::mp4::Movie;
use millstream_tests::clip::Clip;
use millstream_tests::control::Client;
use millstream_tests::http::get;
use millstream_tests::receiver::WebhookReceiver;
use millstream_tests::rtmp::{Publisher, Pushing};
use millstream_tests::server::{Options, Server};
use millstream_tests::tools::ffprobe;
use millstream_tests::{eventually, proc, seconds};
use serde_json::{Value, json};

use crate::hooks::{built, upload};

const CONFIG: &str = "[stream_defaults]\non_unpublish = \"end\"\n[webhooks]\nallow = [\"127.0.0.0/8\"]\n";

fn settings() -> Value {
    json!({ "isMotion": true, "motion_percent": 2, "motion_duration": 2 })
}

/// A server with a stream in which motion is looked for, and who is told of it.
fn start(id: &str) -> (Server, Client, WebhookReceiver) {
    let server = Options::signed().shards(2).config(CONFIG).start();
    let mut client = Client::admin(&server);
    let receiver = WebhookReceiver::start();
    let hook = json!({ "url": format!("http://{}/hook", receiver.address), "events": ["motion", "motion_clip"] });
    client.post("/api/v1/webhooks", &hook).is(201);
    let made = client.post("/api/v1/streams", &json!({ "id": id, "settings": settings() })).is(201).json;
    assert_eq!(made["not_in_force"], json!([]));
    (server, client, receiver)
}

fn publish(server: &Server, id: &str, clip: Clip) -> Pushing {
    let sign = server.sign(id, &["--expires", "2100-01-01"]);
    Publisher::start(server.rtmp, "stream", &format!("{id}?sign={sign}")).expect("published").repeat(clip)
}

/// What a webhook is told next of that kind.
fn told(receiver: &WebhookReceiver, kind: &str, within: Duration) -> Value {
    eventually(&format!("an event {kind}"), within, || {
        let event = receiver.next(seconds(1))?.event;
        (event.to_string().contains(&format!("\"kind\":\"{kind}\""))).then_some(event)
    })
}

/// What of an event says what happened, wherever it stands.
fn what(event: &Value) -> Value {
    match event {
        Value::Object(fields) if fields.contains_key("kind") => event.clone(),
        Value::Object(fields) => fields.values().map(what).find(|found| !found.is_null()).unwrap_or_default(),
        _ => Value::Null,
    }
}

/// How the stream is watched, as the API says.
fn watched(client: &mut Client, id: &str) -> Value {
    client.get(&format!("/api/v1/streams/{id}/session")).json["motion"].clone()
}

fn workers(server: &Server) -> Vec<u32> {
    proc::children(server.pid()).into_iter().filter(|pid| proc::command(*pid).contains("worker")).collect()
}

#[test]
fn what_passes_is_told_with_a_picture_and_a_film_that_begins_before_it() {
    let (server, mut client, receiver) = start("cam");
    let mut listener = client.listen();
    let _push = publish(&server, "cam", Clip::passing());
    eventually("it is watched", seconds(15), || {
        let motion = watched(&mut client, "cam");
        (motion["watched"] == true && motion["pictures_s"].as_f64() > Some(3.0)).then_some(())
    });
    let began = what(&told(&receiver, "motion", seconds(30)));
    println!("{began}");
    assert_eq!(began["active"], true, "{began}");
    let (score, regions) = (began["score"].as_f64().expect("a score"), began["regions"].as_array().expect("regions"));
    assert!((0.01..0.5).contains(&score) && !regions.is_empty(), "{began}");
    let region = |name: &str| regions[0][name].as_f64().expect("a number");
    assert!(region("x") < 0.5 && region("y") > 0.2 && region("y") + region("height") < 0.8, "{began}");
    // The picture is there when it is told, and is of that moment: something dark is in the middle row.
    let picture = began["picture"].as_str().expect("a path");
    let from_ms = began["from_unix_ms"].as_u64().expect("a time");
    assert!(picture.starts_with("motion/images/") && picture.ends_with(&format!("/{from_ms}.jpg")), "{picture}");
    let answer = get(server.http, &format!("/cam/{picture}"));
    assert_eq!((answer.status, answer.header("content-type")), (200, "image/jpeg"));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("motion.jpg");
    std::fs::write(&file, &answer.body).expect("written");
    let seen = ffprobe(file.to_str().expect("ASCII"));
    assert!(seen.iter().any(|line| line.contains("mjpeg") && line.contains("640,360")), "{seen:?}");
    assert_eq!(watched(&mut client, "cam")["since_unix_ms"], from_ms);
    let over = what(&told(&receiver, "motion", seconds(20)));
    assert!(over["active"] == false && over["why"] == "still" && over["from_unix_ms"] == from_ms, "{over}");
    assert!((3_000..8_000).contains(&over["lasted_ms"].as_u64().expect("a time")), "{over}");
    let movie_told = what(&told(&receiver, "motion_clip", seconds(30)));
    println!("{movie_told}");
    assert_eq!(movie_told["motion_from_unix_ms"], from_ms, "{movie_told}");
    let film_from_ms = movie_told["from_unix_ms"].as_u64().expect("a time");
    assert!((5_000..9_000).contains(&(from_ms - film_from_ms)), "{movie_told}");
    let path = movie_told["path"].as_str().expect("a path");
    assert!(path.starts_with("motion/mp4/") && path.ends_with(&format!("/{from_ms}.mp4")), "{path}");
    let answer = get(server.http, &format!("/cam/{path}"));
    assert_eq!((answer.status, answer.header("content-type")), (200, "video/mp4"));
    let movie = Movie::read(&answer.body).expect("a right file");
    let length_ms = u64::try_from(movie.duration_us() / 1_000).expect("a length");
    assert!(
        length_ms.abs_diff(movie_told["duration_ms"].as_u64().expect("a time")) <= 1 && length_ms > 9_000,
        "{movie_told}"
    );
    let seen = ffprobe(&format!("http://{}/cam/{path}", server.http));
    assert!(seen.iter().any(|line| line.contains("h264")) && seen.iter().any(|line| line.contains("aac")), "{seen:?}");
    assert!(server.metric("millstream_motion_events_total") >= 1.0);
    // Who looks later finds it in the list.
    let list = client.get("/api/v1/streams/cam/motion").is(200).json;
    let items = list["items"].as_array().expect("a list");
    let kept = items.iter().find(|one| one["from_unix_ms"] == from_ms).unwrap_or_else(|| panic!("{list}"));
    assert_eq!((&kept["picture"], &kept["why"]), (&began["picture"], &json!("still")), "{list}");
    assert_eq!((&kept["film"]["path"], &kept["lasted_ms"]), (&json!(path), &over["lasted_ms"]), "{list}");
    // The event stream says the same.
    listener.until("the motion", seconds(10), |said| {
        (said.contains("event: motion\n") && said.contains(picture)).then_some(())
    });
}

#[test]
fn a_server_that_is_told_to_end_stores_the_films_under_way() {
    let (mut server, _client, receiver) = start("cam");
    let _push = publish(&server, "cam", Clip::passing());
    let began = what(&told(&receiver, "motion", seconds(40)));
    assert_eq!(began["active"], true, "{began}");
    server.terminate();
    server.wait(seconds(60));
    let mut folder = server.data_dir().join("recordings/cam/motion/mp4");
    while let Some(Ok(entry)) = std::fs::read_dir(&folder).ok().and_then(|mut entries| entries.next()) {
        folder = entry.path();
    }
    let name = folder.file_name().and_then(|name| name.to_str()).expect("a file").to_owned();
    assert_eq!(name, format!("{}.mp4", began["from_unix_ms"]), "{}", server.log.text());
    let movie = Movie::read(&std::fs::read(&folder).expect("a film")).expect("a right file");
    assert!(movie.duration_us() > 3_000_000, "{} us", movie.duration_us());
}

#[test]
fn a_still_picture_is_no_motion_and_the_setting_acts_at_once() {
    let (server, mut client, receiver) = start("cam");
    let _push = publish(&server, "cam", Clip::wall());
    eventually("it is watched", seconds(15), || (watched(&mut client, "cam")["watched"] == true).then_some(()));
    // Longer than the clip: the seam between its repetitions is no motion either.
    let event = receiver.next(seconds(15));
    assert!(event.is_none(), "{event:?}");
    let path = "/api/v1/streams/cam";
    client.request("PATCH", path, "If-Match: *\r\n", Some(&json!({ "settings": { "isMotion": false } }))).is(200);
    eventually("it is no longer watched", seconds(5), || {
        let is_over = server.metrics().contains("millstream_motion_streams{state=\"watched\"} 0");
        (is_over && watched(&mut client, "cam").is_null()).then_some(())
    });
    assert!(server.metrics().contains("millstream_motion_held_bytes 0\n"), "{}", server.metrics());
    client.request("PATCH", path, "If-Match: *\r\n", Some(&json!({ "settings": { "isMotion": true } }))).is(200);
    eventually("it is watched again", seconds(15), || (watched(&mut client, "cam")["watched"] == true).then_some(()));
}

#[test]
fn a_worker_that_is_killed_costs_a_gap_in_watching() {
    let (server, mut client, receiver) = start("cam");
    let _push = publish(&server, "cam", Clip::passing());
    let began = what(&told(&receiver, "motion", seconds(40)));
    assert_eq!(began["active"], true, "{began}");
    let [worker] = workers(&server)[..] else { panic!("{:?}", workers(&server)) };
    proc::kill(worker);
    // What was under way is over, and is filmed.
    let over = what(&told(&receiver, "motion", seconds(5)));
    assert!(over["active"] == false && over["why"] == "interrupted", "{over}");
    eventually("it is watched again", seconds(10), || {
        let is_other = workers(&server).iter().any(|pid| *pid != worker);
        (is_other && watched(&mut client, "cam")["watched"] == true).then_some(())
    });
    let film = what(&told(&receiver, "motion_clip", seconds(40)));
    assert_eq!(film["motion_from_unix_ms"], began["from_unix_ms"], "{film}");
    // The next one is found by the next worker.
    let next = eventually("the next motion", seconds(40), || {
        let event = what(&receiver.next(seconds(1))?.event);
        (event["kind"] == "motion" && event["active"] == true && event["from_unix_ms"] != began["from_unix_ms"])
            .then_some(event)
    });
    assert!(next["picture"].as_str().is_some_and(|picture| get(server.http, &format!("/cam/{picture}")).status == 200));
    assert!(server.metric("millstream_worker_restarts_total") >= 1.0);
}

#[test]
fn keyframes_alone_are_enough_for_what_stays_a_while() {
    let config = format!(
        "{CONFIG}[motion]\nkeyframes_only = true\n[[stream]]\nid = \"cam\"\nisMotion = true\nmotion_percent = 2\n"
    );
    let server = Options::signed().config(&config).start();
    let mut client = Client::admin(&server);
    let _push = publish(&server, "cam", Clip::passing());
    eventually("one picture a second is looked at", seconds(20), || {
        let rate = watched(&mut client, "cam")["pictures_s"].as_f64()?;
        (0.5..1.5).contains(&rate).then_some(())
    });
    eventually("motion is found", seconds(40), || {
        (server.metric("millstream_motion_events_total") >= 1.0).then_some(())
    });
}

#[test]
fn a_motion_hook_looks_in_place_of_the_detector_in_a_worker_that_may_run_it() {
    let (server, mut client, receiver) = start("cam");
    // What the built-in detector would need is more than there is.
    let deaf = json!({ "settings": { "motion_percent": 100 } });
    client.request("PATCH", "/api/v1/streams/cam", "If-Match: *\r\n", Some(&deaf)).is(200);
    let _push = publish(&server, "cam", Clip::passing());
    eventually("it is watched", seconds(20), || (watched(&mut client, "cam")["watched"] == true).then_some(()));
    let [first] = workers(&server)[..] else { panic!("{:?}", workers(&server)) };
    assert!(!proc::command(first).contains("--hooks"), "{}", proc::command(first));
    client.request("PUT", "/api/v1/hooks/motion", "", Some(&json!({ "kind": "motion" }))).is(201);
    let (status, version) = upload(&server, &client, "motion", &built("motion"));
    assert_eq!(status, 201, "{version}");
    let binding = json!({ "hook": "motion", "point": "motion", "mode": "shadow", "stream": "cam" });
    let bound = client.post("/api/v1/hook-bindings", &binding).is(201).json;
    let path = format!("/api/v1/hook-bindings/{}", bound["id"].as_str().expect("an id"));
    // Beside the detector, which sees nothing: it is told that they differ, and nothing else is.
    eventually("the shadow is compared", seconds(60), || {
        let figures = client.get("/api/v1/hooks/motion/numbers").is(200).json;
        (figures["items"][0]["disagreed"].as_u64() > Some(0)).then_some(())
    });
    assert!(receiver.next(Duration::ZERO).is_none(), "a shadow tells nothing");
    // While something passes: its instance is a new one, which sees that first.
    client.request("PATCH", &path, "If-Match: *\r\n", Some(&json!({ "mode": "live" }))).is(200);
    let began = what(&told(&receiver, "motion", seconds(60)));
    println!("{began}");
    assert!(began["active"] == true && began["label"] == "motion", "{began}");
    let region = |name: &str| began["regions"][0][name].as_f64().expect("a part of the picture");
    assert!(region("x") + region("width") <= 1.0 && region("y") + region("height") <= 1.0, "{began}");
    assert_eq!(get(server.http, &format!("/cam/{}", began["picture"].as_str().expect("a path"))).status, 200);
    let over = what(&told(&receiver, "motion", seconds(40)));
    assert!(over["active"] == false && over["from_unix_ms"] == began["from_unix_ms"], "{over}");
    // It runs in a worker, kept in as the others are; its calls are counted.
    let hooked = workers(&server);
    assert!(hooked.len() == 1 && proc::command(hooked[0]).contains("--hooks"), "{hooked:?}");
    let calls = "millstream_hook_cpu_seconds_count{hook=\"motion\",version=\"1\"} ";
    let count = |text: &str| text.lines().find_map(|line| line.strip_prefix(calls)?.trim().parse::<f64>().ok());
    eventually("calls are counted", seconds(10), || count(&server.metrics()).filter(|calls| *calls > 20.0));
    let figures = client.get("/api/v1/hooks/motion/numbers").is(200).json;
    assert!(figures["items"][0]["calls"].as_u64() > Some(20) && figures["items"][0]["version"] == 1, "{figures}");
    assert!(!server.log.text().contains("the worker's sandbox is without"), "{}", server.log.text());
    // Off, the built-in detector looks again, in the same worker.
    client.request("PATCH", &path, "If-Match: *\r\n", Some(&json!({ "mode": "off" }))).is(200);
    eventually("it is watched by the detector", seconds(20), || {
        let calls = count(&server.metrics());
        std::thread::sleep(seconds(2));
        (calls == count(&server.metrics()) && watched(&mut client, "cam")["watched"] == true).then_some(())
    });
    assert_eq!(workers(&server), hooked);
}
