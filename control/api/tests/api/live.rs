//! What nodes tell, and what they are told.
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use millstream_control_protocol::diagnosis::{Condition, Diagnosis};
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{Answer, NodeId, Order, Report, Whom};
use millstream_control_protocol::live::{Live, Publisher, Video, Viewer, ViewerCount, ViewerPage};
use serde_json::json;

use crate::harness::{ADMIN, NOW_MS, Server};

fn on_air() -> Live {
    let video = Video { codec: "avc1.64001f".into(), fps: 30.0, keyframe_interval_ms: Some(2_000), ..Video::default() };
    let publisher = Publisher { session: 42, bitrate_bps: 2_500_000, video: Some(video), ..Publisher::default() };
    Live { id: "cam".into(), publisher: Some(publisher), ..Live::default() }
}

/// A node with one stream and three viewers.
fn play(server: &Server) {
    server.node("n1", |order| match order {
        Order::Look { stream } if stream == "cam" => Answer::Live { live: Some(Box::new(on_air())) },
        Order::Look { .. } => Answer::Live { live: None },
        Order::KickStream { stream, whom: Whom::Publisher } => Answer::Kicked { sessions: u64::from(stream == "cam") },
        Order::KickSession { session } => Answer::Kicked { sessions: u64::from(*session == 43) },
        Order::Viewers { after, limit, .. } => {
            let all = (43..46).filter(|session| session > after);
            let viewers: Vec<_> = all.map(|session| Viewer { session, ..Viewer::default() }).collect();
            let page: Vec<_> = viewers.iter().take(*limit as usize).cloned().collect();
            let next_after = (page.len() < viewers.len()).then(|| page.last().unwrap().session);
            Answer::Viewers { page: ViewerPage { viewers: page, next_after } }
        }
        _ => Answer::NotUnderstood,
    });
}

#[test]
fn a_session_is_shown_and_ended() {
    let server = Server::start();
    server.get("/api/v1/streams/cam/session").refused(404, "not on air");
    play(&server);
    let session = server.get("/api/v1/streams/cam/session");
    let shown = session.is(200).json();
    assert_eq!((&shown["node"], &shown["publisher"]["video"]["codec"]), (&json!("n1"), &json!("avc1.64001f")));
    assert_eq!(shown["publisher"]["bitrate_bps"], json!(2_500_000));
    server.get("/api/v1/streams/other/session").refused(404, "not on air");
    let ended = server.request("DELETE", "/api/v1/streams/cam/session").send();
    assert_eq!(ended.is(200).json(), &json!({ "sessions": 1, "missing": [] }));
    server.request("DELETE", "/api/v1/streams/other/session").send().refused(404, "nobody publishes");
    assert_eq!(server.request("DELETE", "/api/v1/nodes/n1/sessions/43").send().is(200).json()["sessions"], json!(1));
    server.request("DELETE", "/api/v1/nodes/n1/sessions/99").send().refused(404, "no session 99");
    server.request("DELETE", "/api/v1/nodes/n2/sessions/43").send().refused(404, "no node");
    assert_eq!(server.audit().iter().filter(|(_, action, _)| action == "session.kick").count(), 2);
}

#[test]
fn viewers_come_in_pages() {
    let server = Server::start();
    play(&server);
    let first = server.get("/api/v1/streams/cam/viewers?limit=2");
    let sessions = |page: &serde_json::Value| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|viewer| viewer["session"].as_u64().unwrap()).collect()
    };
    assert_eq!(sessions(first.is(200).json()), [43, 44]);
    let second = server.get(&format!("/api/v1/streams/cam/viewers?limit=2&cursor={}", first.text("next")));
    assert_eq!((sessions(second.is(200).json()), &second.json()["next"]), (vec![45], &json!(null)));
    server.get("/api/v1/streams/cam/viewers?cursor=rubbish").refused(400, "cursor");
}

#[test]
fn nodes_and_what_is_on_air_are_listed() {
    let server = Server::start();
    play(&server);
    let report = Report {
        node: NodeId { name: "n1".into(), run: 5 },
        live: Some(vec![on_air(), Live { id: "b".into(), ..Live::default() }]),
        ..Report::default()
    };
    server.run(server.fleet.report(report)).unwrap();
    let nodes = server.get("/api/v1/nodes");
    assert_eq!(
        (&nodes.is(200).json()["items"][0]["name"], &nodes.json()["items"][0]["away"]),
        (&json!("n1"), &json!(false))
    );
    let first = server.get("/api/v1/live?limit=1");
    assert_eq!(
        (&first.is(200).json()["items"][0]["id"], &first.json()["items"][0]["node"]),
        (&json!("b"), &json!("n1"))
    );
    let second = server.get(&format!("/api/v1/live?cursor={}", first.text("next")));
    assert_eq!((&second.json()["items"][0]["id"], &second.json()["next"]), (&json!("cam"), &json!(null)));
}

#[test]
fn how_a_stream_was_on_air_is_kept_for_charts() {
    let server = Server::start();
    server.get("/api/v1/streams/cam/time-series").refused(404, "no stream");
    let report = |live: Vec<Live>| {
        let node = NodeId { name: "n1".into(), run: 5 };
        server.run(server.fleet.report(Report { node, live: Some(live), ..Report::default() })).unwrap();
    };
    report(vec![on_air()]);
    assert_eq!(server.get("/api/v1/streams/cam/time-series").is(200).json()["items"], json!([]));
    server.take_series();
    server.pass(10_000);
    report(Vec::new());
    server.take_series();
    server.pass(10_000);
    let viewers = vec![ViewerCount { protocol: "hls".into(), count: 7, estimated: true }];
    report(vec![Live { viewers, ..on_air() }]);
    server.take_series();
    let told = server.get("/api/v1/streams/cam/time-series");
    let point = |at: u64, viewers: u64| json!({ "at_unix_ms": at, "bitrate_bps": 2_500_000, "viewers": viewers, "fps": 30.0, "jitter_ms": 0.0 });
    assert_eq!(told.is(200).json()["every_ms"], json!(10_000));
    assert_eq!(told.json()["items"], json!([point(NOW_MS, 0), point(NOW_MS + 20_000, 7)]));
}

fn condition(kind: &str, form: &str, figure: (&str, f64)) -> Condition {
    let figures = [(figure.0.to_owned(), figure.1)].into();
    let (kind, form, about) = (kind.to_owned(), form.to_owned(), "<b>geo</b>".to_owned());
    Condition { kind, form, since_unix_ms: 1_000, about, figures, ..Condition::default() }
}

#[test]
fn what_nodes_find_wrong_is_said_in_sentences() {
    let server = Server::start();
    play(&server);
    server.get("/api/v1/streams/cam/diagnosis").refused(404, "no stream");
    server.get("/api/v1/streams/a%20b/diagnosis").refused(400, "id");
    let told = vec![
        condition("b_frames", "", ("viewers", 2.0)),
        condition("gop_too_long", "", ("gop_s", 20.0)),
        condition("hook", "fails", ("count", 3.0)),
        condition("of_a_later_release", "", ("n", 1.0)),
    ];
    let report = |live: Option<Vec<Live>>, diagnoses: Option<Vec<Diagnosis>>| {
        let node = NodeId { name: "n1".into(), run: 5 };
        server.run(server.fleet.report(Report { node, live, diagnoses, ..Report::default() })).unwrap();
    };
    report(Some(vec![on_air()]), Some(vec![Diagnosis { stream: "cam".into(), conditions: told }]));
    let answer = server.get("/api/v1/streams/cam/diagnosis");
    let shown = answer.is(200).json();
    assert_eq!(shown["on_air"], json!(true));
    let ids = |conditions: &serde_json::Value| -> Vec<String> {
        let text =
            |one: &serde_json::Value| format!("{} {}", one["id"].as_str().unwrap(), one["severity"].as_str().unwrap());
        conditions.as_array().unwrap().iter().map(text).collect()
    };
    let gravest_first = ["hook error", "gop_too_long warning", "of_a_later_release warning", "b_frames notice"];
    assert_eq!(ids(&shown["conditions"]), gravest_first);
    let hook = &shown["conditions"][0];
    assert_eq!(hook["sentence"], "The hook <b>geo</b> has failed 3 times for this stream.");
    assert_eq!(
        (&hook["node"], &hook["form"], &hook["figures"]),
        (&json!("n1"), &json!("fails"), &json!({ "count": 3.0 }))
    );
    assert!(hook["advice"].as_str().unwrap().contains("roll it back"));
    // Marks of it in lists and with the session.
    let live = server.get("/api/v1/live");
    assert_eq!(ids(&live.is(200).json()["items"][0]["conditions"]), gravest_first);
    assert_eq!(ids(&server.get("/api/v1/streams/cam/session").is(200).json()["conditions"]), gravest_first);
    // Figures alone change nothing; what is told anew takes its place, and nothing is what is right.
    report(Some(vec![on_air()]), None);
    assert_eq!(ids(&server.get("/api/v1/streams/cam/diagnosis").is(200).json()["conditions"]).len(), 4);
    report(None, Some(Vec::new()));
    assert_eq!(server.get("/api/v1/streams/cam/diagnosis").is(200).json()["conditions"], json!([]));
    // A stream that nobody publishes.
    server.post("/api/v1/streams", &json!({ "id": "quiet" })).is(201);
    let quiet = server.get("/api/v1/streams/quiet/diagnosis");
    assert_eq!(quiet.is(200).json(), &json!({ "id": "quiet", "on_air": false, "conditions": [] }));
    let told = vec![condition("hook", "denies_publish", ("count", 1.0))];
    report(None, Some(vec![Diagnosis { stream: "quiet".into(), conditions: told }]));
    assert_eq!(ids(&server.get("/api/v1/streams/quiet/diagnosis").is(200).json()["conditions"]), ["hook warning"]);
}

fn tell(server: &Server, seq: u64, session: u64, what: What) {
    let event = Event { seq, at_unix_ms: 1_000_000 + seq, stream: "cam".into(), session, what, ..Event::default() };
    let report = Report { node: NodeId { name: "n1".into(), run: 5 }, events: vec![event], ..Report::default() };
    server.run(server.fleet.report(report)).unwrap();
}

fn publish() -> What {
    What::Publish { encoder: "an encoder".into(), replaced_heard_ago_ms: None }
}

/// Listens, and gives what comes line by line.
fn listen(server: &Server, more: &str) -> impl Iterator<Item = String> + use<> {
    listen_as(server, ADMIN, more)
}

fn listen_as(server: &Server, token: &str, more: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!(
        "GET /api/v1/events?stream=cam HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    // Chunk sizes and empty lines are between.
    lines.filter(|line| line.contains(": "))
}

#[test]
fn events_come_as_they_happen_and_again_for_who_comes_back() {
    let server = Server::start();
    let mut lines = listen(&server, "");
    assert!(lines.any(|line| line == "content-type: text/event-stream"));
    lines.find(|line| line == ": listening").expect("a first sign");
    tell(&server, 1, 42, publish());
    let refused = What::Refused { action: "publish".into(), why: "expired".into(), reason: "too old".into(), count: 1 };
    tell(&server, 2, 43, refused);
    let id = lines.next().unwrap();
    assert_eq!(lines.next().as_deref(), Some("event: publish"));
    let data = lines.next().unwrap();
    assert!(data.contains("\"stream\":\"cam\"") && data.contains("\"encoder\":\"an encoder\""), "{data}");
    lines.next().unwrap();
    assert_eq!(lines.next().as_deref(), Some("event: refused"));
    assert!(lines.next().unwrap().contains("too old"));
    drop(lines);

    let last = id.strip_prefix("id: ").unwrap();
    let mut again = listen(&server, &format!("Last-Event-ID: {last}\r\n"));
    again.find(|line| line == ": listening").expect("nothing was missed");
    assert_eq!(again.nth(1).as_deref(), Some("event: refused"));
    let mut late = listen(&server, "Last-Event-ID: 1-1\r\n");
    assert!(late.any(|line| line == "event: lost"), "who comes from another process is told");
}

#[test]
fn listeners_are_bounded() {
    let server = Server::start();
    let tokens: Vec<String> = (0..4).map(|_| server.token("viewer")).collect();
    let enter = |token: &str, count: usize| -> Vec<_> {
        let enter = || {
            let mut lines = listen_as(&server, token, "");
            lines.find(|line| line == ": listening").unwrap();
            lines
        };
        (0..count).map(|_| enter()).collect()
    };
    let ask =
        |token: &str| server.plain("GET", "/api/v1/events").header("Authorization", &format!("Bearer {token}")).send();
    let mut listeners = enter(&tokens[0], 16);
    // One token has its share and no more; who was refused gives back no place.
    for _ in 0..70 {
        let refused = ask(&tokens[0]);
        refused.refused(503, "this token has 16 listeners");
        assert!(refused.header("retry-after").is_some());
    }
    for (token, count) in [(&tokens[1], 16), (&tokens[2], 16), (&tokens[3], 8)] {
        listeners.extend(enter(token, count));
    }
    ask(&tokens[3]).refused(503, "there are 56 listeners");
    // Admins have places that viewers cannot take.
    listeners.extend(enter(ADMIN, 8));
    ask(ADMIN).refused(503, "there are 64 listeners");
    drop(listeners);
    // A listener that has left is noticed when something is sent to it.
    tell(&server, 1, 42, publish());
    let until = Instant::now() + Duration::from_secs(5);
    let refused = || {
        let kind = listen(&server, "").find(|line| line.starts_with("content-type: "));
        kind.is_some_and(|kind| kind.contains("problem"))
    };
    while refused() {
        assert!(Instant::now() < until, "no place is free again");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn recordings_are_listed_as_nodes_tell_of_them() {
    let server = Server::start();
    let name = |n: u64| format!("{}-a1b2", 1_795_531_265_000 + n);
    let started = |n| What::RecordingStarted { recording: name(n), store: String::new() };
    tell(&server, 1, 0, started(1));
    tell(&server, 2, 0, started(2));
    tell(&server, 3, 0, What::RecordingPaused { recording: name(2), why: "the disk is full".into() });
    tell(&server, 4, 0, What::RecordingStored { recording: name(1), duration_ms: 5_000, bytes: 99 });
    // Told twice; and one that was never begun is no recording.
    tell(&server, 4, 0, What::RecordingStored { recording: name(1), duration_ms: 5_000, bytes: 99 });
    tell(&server, 5, 0, What::RecordingFailed { recording: String::new(), why: "no room".into() });
    let shown = |query: &str| {
        let list = server.get(&format!("/api/v1/recordings{query}"));
        let items = list.is(200).json()["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["recording"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown(""), [name(2), name(1)]);
    assert_eq!(shown("?stream=cam&state=stored"), [name(1)]);
    assert_eq!(shown("?from=1795531265002"), [name(2)]);
    assert_eq!(shown("?to=1795531265002"), [name(1)]);
    assert_eq!(shown("?stream=other"), Vec::<String>::new());
    let first = server.get("/api/v1/recordings?limit=1");
    let next = first.is(200).json()["next"].as_str().unwrap().to_owned();
    assert_eq!(shown(&format!("?limit=1&cursor={next}")), [name(1)]);
    let stored = server.get(&format!("/api/v1/recordings/{}", name(1)));
    assert_eq!(stored.is(200).json()["duration_ms"], json!(5_000));
    let paused = server.get(&format!("/api/v1/recordings/{}", name(2)));
    assert_eq!((&paused.json()["state"], &paused.json()["why"]), (&json!("paused"), &json!("the disk is full")));
    for wrong in [name(3), "a".to_owned(), "..".to_owned(), "1-%2F".to_owned()] {
        assert_eq!(server.get(&format!("/api/v1/recordings/{wrong}")).status, 404, "{wrong}");
    }
    server.get("/api/v1/recordings?state=lost").refused(400, "state");
    server.get("/api/v1/recordings?stream=a%2Fb").refused(400, "");
}

#[test]
fn sessions_are_kept_and_shown_newest_first() {
    let server = Server::start();
    tell(&server, 1, 42, publish());
    let open = server.get("/api/v1/streams/cam/history");
    assert_eq!(
        (&open.is(200).json()["items"][0]["session"], &open.json()["items"][0]["ended_unix_ms"]),
        (&json!(42), &json!(null))
    );
    let ended =
        |lasted_ms| What::Unpublish { why: "peer_closed".into(), lasted_ms, received_bytes: 9, viewers: Vec::new() };
    tell(&server, 2, 42, ended(1));
    // The end of one whose beginning was lost.
    tell(&server, 3, 44, ended(500));
    // Told twice, kept once.
    tell(&server, 3, 44, ended(500));
    let history = server.get("/api/v1/streams/cam/history");
    let items = history.is(200).json()["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!((&items[0]["session"], &items[0]["since_unix_ms"]), (&json!(44), &json!(1_000_003 - 500)));
    assert_eq!((&items[1]["encoder"], &items[1]["why"]), (&json!("an encoder"), &json!("peer_closed")));
    assert_eq!(server.get("/api/v1/streams/other/history").json()["items"], json!([]));
}

#[test]
fn motion_is_kept_with_its_picture_and_film_and_shown_newest_first() {
    let server = Server::start();
    let moves = |from_unix_ms: u64, active: bool| What::Motion {
        active,
        from_unix_ms,
        lasted_ms: if active { 0 } else { 7_000 },
        score: 0.25,
        regions: Vec::new(),
        picture: if active { format!("motion/images/{from_unix_ms}.jpg") } else { String::new() },
        label: String::new(),
        why: if active { String::new() } else { "still".into() },
    };
    let film = |from_unix_ms: u64| What::MotionClip {
        motion_from_unix_ms: from_unix_ms,
        path: format!("motion/mp4/{from_unix_ms}.mp4"),
        from_unix_ms: from_unix_ms - 5_000,
        duration_ms: 12_000,
        bytes: 9,
        why: String::new(),
    };
    tell(&server, 1, 42, moves(1_000_000, true));
    let path = "/api/v1/streams/cam/motion";
    let begun = server.get(path).is(200).json()["items"][0].clone();
    assert_eq!((&begun["lasted_ms"], &begun["film"], &begun["why"]), (&json!(null), &json!(null), &json!("")));
    tell(&server, 2, 42, moves(1_000_000, false));
    tell(&server, 3, 42, film(1_000_000));
    tell(&server, 4, 42, moves(2_000_000, true));
    // Told twice, kept once.
    tell(&server, 4, 42, moves(2_000_000, true));
    let items = server.get(path).is(200).json()["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 2);
    assert_eq!((&items[0]["from_unix_ms"], &items[0]["lasted_ms"]), (&json!(2_000_000), &json!(null)));
    assert_eq!((&items[1]["lasted_ms"], &items[1]["why"]), (&json!(7_000), &json!("still")));
    assert_eq!(items[1]["picture"], "motion/images/1000000.jpg");
    assert_eq!(items[1]["film"]["path"], "motion/mp4/1000000.mp4");
    assert_eq!(server.get("/api/v1/streams/other/motion").json()["items"], json!([]));
    server.get("/api/v1/streams/a%2Fb/motion").refused(400, "");
}

#[test]
fn motion_that_is_to_come_or_another_nodes_is_not_kept() {
    let server = Server::start();
    let moves = |from_unix_ms: u64, picture: &str| What::Motion {
        active: true,
        from_unix_ms,
        lasted_ms: 0,
        score: 0.25,
        regions: Vec::new(),
        picture: picture.to_owned(),
        label: String::new(),
        why: String::new(),
    };
    let now_ms = crate::harness::NOW_MS;
    tell(&server, 1, 42, moves(now_ms + 7_200_000, "to_come.jpg"));
    tell(&server, 2, 42, moves(now_ms, "own.jpg"));
    let other = NodeId { name: "other".into(), run: 1 };
    let event = Event {
        seq: 1,
        at_unix_ms: now_ms,
        stream: "cam".into(),
        what: moves(now_ms, "foreign.jpg"),
        ..Event::default()
    };
    let report = Report { node: other, events: vec![event], ..Report::default() };
    server.run(server.fleet.report(report)).unwrap();
    let items = server.get("/api/v1/streams/cam/motion").is(200).json()["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 1, "{items:?}");
    assert_eq!(items[0]["picture"], "own.jpg");
}
