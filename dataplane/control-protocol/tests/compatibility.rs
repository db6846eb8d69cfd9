//! Nodes and control of neighbouring releases understand each other. The files in `tests/v1` are what version 1 wrote, at first and
//! (`-hooks`) with bindings of hooks; they are never changed, and are read for ever. A later version adds a directory of its own.
use std::collections::BTreeMap;

use millstream_control_protocol::diagnosis::{Condition, Diagnosis};
use millstream_control_protocol::event::{Event, What};
use millstream_control_protocol::exchange::{
    Answer, Command, NodeId, Order, Outcome, Poll, Push, Receipt, Report, Status, Update, Whom,
};
use millstream_control_protocol::live::{
    Audio, DroppedTrack, Live, Publisher, Repair, Video, Viewer, ViewerCount, ViewerPage,
};
use millstream_control_protocol::state::{Binding, Flush, Mode, Outputs, Previous, State, Stream, Version};
use millstream_control_protocol::task::{Held, Progress, Task, TaskNews, Work};
use millstream_control_protocol::tls::{FleetTls, PendingChallenge};
use millstream_control_protocol::work::{Assignment, Ticket, WorkPoll, WorkPush, WorkerStatus};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn stream() -> Stream {
    Stream {
        id: "98724e64-bcd1-4887-af4a-60be440709aa".into(),
        generation: 3,
        previous: vec![Previous { generation: 2, until_unix_s: 1_800_000_000 }],
        flush: Some(Flush::Dense),
        outputs: Outputs { flv: true, hls: false, cmaf: false },
        labels: BTreeMap::from([("team".into(), "gate".into())]),
        ..Stream::default()
    }
}

fn version(number: u64) -> Version {
    Version { epoch: 1_795_531_260_000_000, number }
}

fn node() -> NodeId {
    NodeId { name: "node-1".into(), run: 1_795_531_000_000_001 }
}

fn state() -> State {
    let (key_check, store) = ("q2h0".into(), String::new());
    State { protocol: 1, version: version(7), key_check, store, streams: vec![stream()], bindings: None, tasks: None }
}

fn binding() -> Binding {
    Binding {
        id: "3f0d8f6e-7d55-4a0b-9c30-6a1f4f7a2b11".into(),
        hook: "geo".into(),
        kind: "auth".into(),
        version: 4,
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
        bytes: 25_344,
        stream: Some("cam".into()),
        point: "play".into(),
        order: 10,
        mode: Mode::Canary,
        canary_percent: 5,
        config: BTreeMap::from([("countries".into(), "ch,de".into())]),
        secrets: vec!["geo-key".into()],
        generation: 0,
        signature: None,
    }
}

fn state_with_hooks() -> State {
    State { bindings: Some(vec![binding()]), ..state() }
}

fn push_with_hooks() -> Push {
    let Push { update, .. } = push();
    let update = update.map(|update| Update { bindings: vec![binding()], unbound: vec!["gone".into()], ..update });
    Push { protocol: 1, update, commands: Vec::new(), tls: None }
}

fn report_with_hooks() -> Report {
    let Report { status, .. } = report();
    let status = Status { hooks: vec![binding().sha256], ..status };
    Report { status, live: None, events: Vec::new(), outcomes: Vec::new(), ..report() }
}

fn poll() -> Poll {
    Poll { protocol: 1, node: node(), have: Some(version(6)), wait_ms: 25_000, refused: None, tls: None }
}

fn push() -> Push {
    let orders = [
        Order::KickSession { session: 42 },
        Order::KickStream { stream: "cam".into(), whom: Whom::Viewers },
        Order::Look { stream: "cam".into() },
        Order::Viewers { stream: "cam".into(), after: 41, limit: 100 },
    ];
    Push {
        protocol: 1,
        update: Some(Update {
            version: version(7),
            from: Some(version(6)),
            key_check: "q2h0".into(),
            streams: vec![stream()],
            removed: vec!["gone".into()],
            ..Update::default()
        }),
        commands: (1..).zip(orders).map(|(number, what)| Command { number, what }).collect(),
        tls: None,
    }
}

fn live() -> Live {
    Live {
        id: "cam".into(),
        slate_since_unix_ms: None,
        publisher: Some(Publisher {
            session: 42,
            protocol: "rtmp".into(),
            peer: "192.0.2.7:40000".into(),
            encoder: "FMLE/3.0".into(),
            since_unix_ms: 1_795_531_200_000,
            video: Some(Video {
                codec: "avc1.64001f".into(),
                width: Some(1280),
                height: Some(720),
                fps: 29.5,
                keyframe_interval_ms: Some(2000),
                frames: 900,
                ..Video::default()
            }),
            audio: Some(Audio { codec: "mp4a.40.2".into(), rate_hz: Some(48_000), channels: Some(2), frames: 1400 }),
            bitrate_bps: 2_500_000,
            received_bytes: 9_000_000,
            heard_ago_ms: 12,
            jitter_ms: 1.5,
            gaps: 1,
            longest_gap_ms: 1200,
            timestamp_jumps: 2,
            ..Publisher::default()
        }),
        viewers: vec![ViewerCount { protocol: "http-flv".into(), count: 12, estimated: false }],
        relays: Vec::new(),
        motion: None,
        ladder: None,
        renditions: Vec::new(),
    }
}

fn event(seq: u64, what: What) -> Event {
    Event {
        seq,
        at_unix_ms: 1_795_531_260_123,
        stream: "cam".into(),
        session: 42,
        peer: "192.0.2.7:40000".into(),
        protocol: "rtmp".into(),
        labels: BTreeMap::new(),
        what,
    }
}

fn report() -> Report {
    let viewer = Viewer {
        session: 43,
        protocol: "http-flv".into(),
        peer: "[2001:db8::1]:50000".into(),
        labels: BTreeMap::new(),
        since_unix_ms: 1_795_531_210_000,
        sent_bytes: 1_000_000,
        skips: 1,
    };
    let answers = [
        Answer::Kicked { sessions: 1 },
        Answer::Live { live: Some(Box::new(live())) },
        Answer::Viewers { page: ViewerPage { viewers: vec![viewer], next_after: Some(43) } },
        Answer::Failed { reason: "a shard does not answer".into() },
        Answer::NotUnderstood,
    ];
    let events = [
        What::Publish { encoder: "FMLE/3.0".into(), replaced_heard_ago_ms: None },
        What::Unpublish {
            why: "peer_closed".into(),
            lasted_ms: 60_000,
            received_bytes: 9_000_000,
            viewers: Vec::new(),
        },
        What::Refused {
            action: "publish".into(),
            why: "taken".into(),
            reason: "another publisher is on air".into(),
            count: 1,
        },
    ];
    Report {
        protocol: 1,
        node: node(),
        store: String::new(),
        at_unix_ms: 1_795_531_260_200,
        status: Status {
            release: "0.1.0".into(),
            started_unix_ms: 1_795_531_000_000,
            rtmp: "0.0.0.0:1935".into(),
            http: "0.0.0.0:8080".into(),
            rtmp_url: String::new(),
            http_url: String::new(),
            rtmps_url: String::new(),
            worker_url: String::new(),
            draining: false,
            shards: 2,
            connections: 14,
            publishers: 1,
            viewers: 12,
            state_number: Some(7),
            state_epoch: Some(1_795_531_260_000_000),
            warnings: vec!["stream \"a b\": the name has a character that is not allowed".into()],
            hooks: Vec::new(),
            record_store: String::new(),
            events_lost: 3,
            worker: None,
        },
        live: Some(vec![live()]),
        events: (1..).zip(events).map(|(seq, what)| event(seq, what)).collect(),
        outcomes: (1..).zip(answers).map(|(number, answer)| Outcome { number, answer }).collect(),
        failing_hooks: Vec::new(),
        tasks: Vec::new(),
        diagnoses: None,
    }
}

/// What a report is since streams are diagnosed.
fn report_with_diagnoses() -> Report {
    let mut live = live();
    if let Some(publisher) = &mut live.publisher {
        (publisher.arrival_lag_ms, publisher.audio_ahead_ms, publisher.announces_audio) = (Some(-120), Some(15), true);
        let video = publisher.video.get_or_insert_default();
        (video.gop_ms, video.reordered_frames) = (Some(20_000), 600);
    }
    let condition = Condition {
        kind: "gop_too_long".into(),
        form: "a_form".into(),
        since_unix_ms: 1_795_531_206_000,
        about: "a name".into(),
        why: "a reason".into(),
        figures: BTreeMap::from([("gop_s".into(), 20.5)]),
    };
    let diagnoses = Some(vec![Diagnosis { stream: "cam".into(), conditions: vec![condition] }]);
    Report { live: Some(vec![live]), diagnoses, ..Report::default() }
}

/// What a report is since repairs are told.
fn report_with_repairs() -> Report {
    let mut live = live();
    if let Some(publisher) = &mut live.publisher {
        publisher.repairs = vec![Repair {
            kind: "annex_b".into(),
            track: "video".into(),
            count: 900,
            since_unix_ms: 1_795_531_200_100,
            advice: "have the encoder write the form of MP4".into(),
        }];
        publisher.dropped_tracks = vec![DroppedTrack {
            track: "audio".into(),
            codec: "MP3".into(),
            outputs: vec!["hls".into(), "dash".into()],
            reason: "have the encoder send AAC".into(),
        }];
    }
    Report { live: Some(vec![live]), ..Report::default() }
}

/// What is told of recordings that are begun by hand, removed or cut.
fn tasks() -> Vec<Task> {
    let recording = || "1795531265000-a1".to_owned();
    let work = [
        Work::ByHand { wanted: true, number: 1_795_531_265_001 },
        Work::Delete { recording: recording() },
        Work::Clip { recording: recording(), clip: "c1".into(), from_ms: 1_000, to_ms: 5_000 },
    ];
    let task = |(n, what)| Task {
        id: format!("task-{n}"),
        stream: "cam".into(),
        node: "node-1".into(),
        store: "file:/rec".into(),
        what,
    };
    (1..).zip(work).map(task).collect()
}

fn push_with_tasks() -> Push {
    let Push { update, .. } = push();
    let update = update.map(|update| Update { tasks: tasks(), settled: vec!["task-0".into()], ..update });
    let what = Order::LookAtRecording { recording: "1795531265000-a1".into() };
    Push { protocol: 1, update, commands: vec![Command { number: 9, what }], tls: None }
}

fn report_with_tasks() -> Report {
    let news = TaskNews {
        id: "task-2".into(),
        progress: Progress::Waits,
        why: "the bucket does not answer".into(),
        bytes: 12,
        duration_ms: 4_000,
    };
    let outcomes = vec![Outcome { number: 9, answer: Answer::Recording { held: Held::Storing } }];
    let status = Status { record_store: "s3://recordings/live".into(), ..report().status };
    Report { status, live: None, events: Vec::new(), outcomes, tasks: vec![news], ..report() }
}

/// What is said of the certificate that control has for its nodes.
fn poll_with_tls() -> Poll {
    Poll { tls: Some(1_795_531_300_000_001), ..poll() }
}

fn push_with_tls() -> Push {
    let challenge = PendingChallenge {
        name: "live.example.org".into(),
        kind: "http-01".into(),
        token: "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA".into(),
        answer: "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI".into(),
    };
    let (number, certificate) = (1_795_531_300_000_002, binding().sha256);
    Push { tls: Some(FleetTls { number, certificate, challenges: vec![challenge] }), ..Push::default() }
}

/// What a worker of another machine says, and is told.
fn work_poll() -> WorkPoll {
    WorkPoll {
        protocol: 1,
        worker: NodeId { name: "gpu-1".into(), run: 1_795_531_000_000_123 },
        wait_ms: 8_000,
        assigned: "node-1".into(),
        serving: "node-1".into(),
        status: WorkerStatus {
            release: "0.1.0".into(),
            started_unix_ms: 1_795_531_000_000,
            cores: 16,
            decodes: vec!["h264".into(), "hevc".into()],
            encoder: "ffmpeg:libx264".into(),
            no_ffmpeg: String::new(),
            trouble: "the node has closed the connection".into(),
        },
    }
}

fn work_push() -> WorkPush {
    let assignment = Assignment {
        node: "node-1".into(),
        url: "tls://node1.example.org:8082".into(),
        expires_unix_s: 1_795_534_600,
        ticket: Ticket("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0".into()),
    };
    WorkPush { protocol: 1, assignment: Some(assignment) }
}

fn receipt() -> Receipt {
    Receipt { protocol: 1, events_through: 3 }
}

/// Adds what a later release might, to every object.
fn of_the_next_release(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(of_the_next_release);
            // Maps of the operator's own words have no fields.
            if !fields.contains_key("team") && !fields.contains_key("countries") && !fields.contains_key("gop_s") {
                fields.insert("added_later".into(), json!({ "deeply": ["nested", 1, null] }));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(of_the_next_release),
        _ => {}
    }
}

/// Takes fields away one by one, as an older release would not have sent them: each must have a default.
fn without_each_field<T: DeserializeOwned>(whole: &Value, at: &str, part: &Value) {
    match part {
        Value::Object(fields) => {
            for (name, value) in fields {
                // What a tagged shape is cannot be left out.
                if name != "kind" && name != "do" && name != "is" {
                    let mut less = whole.clone();
                    less.pointer_mut(at).unwrap().as_object_mut().unwrap().remove(name);
                    serde_json::from_value::<T>(less).unwrap_or_else(|error| panic!("without {at}/{name}: {error}"));
                }
                without_each_field::<T>(whole, &format!("{at}/{name}"), value);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                without_each_field::<T>(whole, &format!("{at}/{n}"), item);
            }
        }
        _ => {}
    }
}

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug + Default>(name: &str, kept: &str, value: &T) {
    let read: T = serde_json::from_str(kept).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(&read, value, "{name}: what version 1 wrote is read as something else");

    let mut later: Value = serde_json::to_value(value).unwrap();
    of_the_next_release(&mut later);
    let read: T = serde_json::from_value(later).unwrap();
    assert_eq!(&read, value, "{name}: fields of the next release change what is read");

    let now = serde_json::to_value(value).unwrap();
    without_each_field::<T>(&now, "", &now);
    assert_eq!(serde_json::from_str::<T>("{}").unwrap(), T::default(), "{name}");
}

#[test]
fn what_version_1_wrote_is_read_for_ever() {
    check("state", include_str!("v1/state.json"), &state());
    check("poll", include_str!("v1/poll.json"), &poll());
    check("push", include_str!("v1/push.json"), &push());
    check("report", include_str!("v1/report.json"), &report());
    check("report-diagnoses", include_str!("v1/report-diagnoses.json"), &report_with_diagnoses());
    check("report-repairs", include_str!("v1/report-repairs.json"), &report_with_repairs());
    check("receipt", include_str!("v1/receipt.json"), &receipt());
    check("state-hooks", include_str!("v1/state-hooks.json"), &state_with_hooks());
    check("push-hooks", include_str!("v1/push-hooks.json"), &push_with_hooks());
    check("report-hooks", include_str!("v1/report-hooks.json"), &report_with_hooks());
    check("push-tasks", include_str!("v1/push-tasks.json"), &push_with_tasks());
    check("poll-tls", include_str!("v1/poll-tls.json"), &poll_with_tls());
    check("push-tls", include_str!("v1/push-tls.json"), &push_with_tls());
    check("report-tasks", include_str!("v1/report-tasks.json"), &report_with_tasks());
    check("work-poll", include_str!("v1/work-poll.json"), &work_poll());
    check("work-push", include_str!("v1/work-push.json"), &work_push());
}

#[test]
fn a_state_of_a_release_without_hooks_is_told_from_one_that_has_none() {
    let read = |text: &str| serde_json::from_str::<State>(text).unwrap().bindings;
    assert_eq!(read(include_str!("v1/state.json")), None);
    assert_eq!(read("{ \"bindings\": [] }"), Some(Vec::new()));
    // The same of tasks.
    assert_eq!(serde_json::from_str::<State>(include_str!("v1/state-hooks.json")).unwrap().tasks, None);
}

#[test]
fn words_of_a_later_version_cost_no_more_than_themselves() {
    let stream: Stream = serde_json::from_value(json!({ "id": "a", "flush": "psychic" })).unwrap();
    assert_eq!((stream.flush, stream.generation), (Some(Flush::Unknown), 1));
    let later = json!({ "id": "b", "kind": "overlay", "point": "overlay", "mode": "half", "bytes": 9 });
    let binding: Binding = serde_json::from_value(later).unwrap();
    assert_eq!((binding.mode, binding.is_on(), binding.bytes), (Mode::Unknown, false, 9));
    let task: Task = serde_json::from_value(json!({ "id": "t", "what": { "do": "burn", "discs": 2 } })).unwrap();
    assert_eq!((task.id.as_str(), task.what), ("t", Work::Unknown));
    let news: TaskNews = serde_json::from_value(json!({ "id": "t", "progress": "burnt" })).unwrap();
    assert_eq!(news.progress, Progress::Unknown);
    let push: Push = serde_json::from_value(json!({ "commands": [
        { "number": 1, "what": { "do": "fold", "how": [1, 2] } },
        { "number": 2, "what": { "do": "kick_session", "session": 7, "gently": true } },
        { "number": 3, "what": { "do": "kick_stream", "stream": "a", "whom": "the_relays" } },
    ] }))
    .unwrap();
    let orders: Vec<_> = push.commands.into_iter().map(|command| command.what).collect();
    let kick_stream = Order::KickStream { stream: "a".into(), whom: Whom::All };
    assert_eq!(orders, [Order::Unknown, Order::KickSession { session: 7 }, kick_stream]);
    let report: Report = serde_json::from_value(json!({
        "events": [{ "seq": 1, "what": { "kind": "levitated", "metres": 3 } }, { "seq": 2 }],
        "outcomes": [{ "number": 1, "answer": { "is": "folded" } }],
    }))
    .unwrap();
    assert!(report.events.iter().all(|event| event.what == What::Unknown));
    assert_eq!(report.outcomes[0].answer, Answer::NotUnderstood);
}

#[test]
fn outputs_that_are_not_said_are_on() {
    let stream: Stream = serde_json::from_value(json!({ "id": "a", "outputs": { "flv": false } })).unwrap();
    assert_eq!(stream.outputs, Outputs { flv: false, hls: true, cmaf: true });
}

#[test]
fn neighbours_are_understood() {
    use millstream_control_protocol::{PROTOCOL, understands};
    assert!(understands(PROTOCOL) && understands(PROTOCOL + 1) && understands(PROTOCOL - 1));
    assert!(!understands(PROTOCOL + 2));
}
