//! Messages round-trip in pieces of any size; what is too long or not JSON is refused; tokens are never printed.
use super::*;

fn order() -> Order {
    let rendition = Rendition {
        name: "360p".into(),
        push: SecretUrl::new("rtmp://127.0.0.1:1935/stream/cam/360p?job=s3cret"),
        width_max: 640,
        height_max: 360,
        video_kbit_s: 600,
        codec: PictureCodec::Av1,
    };
    Order::Start {
        job: 7,
        source: SecretUrl::new("http://127.0.0.1:8080/cam/live.flv?job=s3cret"),
        renditions: vec![rendition],
        marks: Marks::default(),
    }
}

#[test]
fn messages_in_pieces_of_any_size() {
    let report = Report::Picture { request: 3, width: 64, height: 36, pts_ms: 40 };
    let bytes = [
        encode(&order(), b"").unwrap(),
        encode(&Order::Stop { job: 7 }, b"").unwrap(),
        encode(&report, b"jpeg").unwrap(),
    ]
    .concat();
    for piece in [1, 3, 1000] {
        let (mut reader, mut orders, mut reports) = (Reader::new(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            reader.push(piece);
            while orders.len() < 2 {
                let Some(message) = reader.poll::<Order>().unwrap() else { break };
                orders.push(message.header);
            }
            if orders.len() == 2 {
                reports.extend(reader.poll::<Report>().unwrap());
            }
        }
        assert_eq!(orders, [order(), Order::Stop { job: 7 }]);
        assert_eq!(reports, [Message { header: report.clone(), payload: "jpeg".into() }]);
    }
}

#[test]
fn tokens_are_in_the_bytes_and_in_no_print() {
    assert!(encode(&order(), b"").unwrap().windows(6).any(|w| w == b"s3cret"));
    assert!(!format!("{:?}", order()).contains("s3cret"));
    let mut reader = Reader::new();
    let bad = br#"{"order":"start","source":5,"token":"s3cret"}"#;
    reader.push(&[&(bad.len() as u32).to_be_bytes()[..], bad, &[0; 4]].concat());
    let error = reader.poll::<Order>().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[test]
fn newer_words_cost_no_more_than_themselves() {
    let mut reader = Reader::new();
    let newer = serde_json::json!({"order": "paint", "job": 1});
    reader.push(&encode(&newer, b"x").unwrap());
    reader.push(&encode(&serde_json::json!({"order": "stop"}), b"").unwrap());
    reader.push(&encode(&Order::Stop { job: 2 }, b"").unwrap());
    assert_eq!(reader.poll::<Order>().unwrap().unwrap().header, Order::Unknown);
    assert!(matches!(reader.poll::<Order>(), Err(FrameError::Json(_))));
    assert_eq!(reader.poll::<Order>().unwrap().unwrap().header, Order::Stop { job: 2 });
    let ended = serde_json::json!({"report": "ended", "job": 1, "why": "moon_phase"});
    let ended: Report = serde_json::from_value(ended).unwrap();
    assert_eq!(ended, Report::Ended { job: 1, rendition: None, why: Why::Unknown, error: None });
    let snapshot: Order = serde_json::from_str(r#"{"order":"snapshot","request":1,"source":"http://h/x"}"#).unwrap();
    let expected = Order::Snapshot { request: 1, source: SecretUrl::new("http://h/x"), width_max: None, quality: 80 };
    assert_eq!(snapshot, expected);
}

#[test]
fn motion_round_trips_and_its_newer_words_cost_no_more_than_themselves() {
    let motion = MotionSettings {
        percent: 30,
        diff: 10,
        duration_ms: 5_000,
        timeout_ms: 60_000,
        every_ms: 200,
        keyframes_only: true,
        zones: "0,50,100,50; 1,2,3,4".parse().unwrap(),
    };
    let watch = Order::Watch {
        watch: 3,
        source: SecretUrl::new("http://127.0.0.1/cam/live.flv?job=s3cret"),
        motion,
        hook: None,
        shadow: Some(HookUse { hook: 7, app: "live".to_owned(), stream: "cam".to_owned() }),
    };
    assert!(!format!("{watch:?}").contains("s3cret"));
    assert_eq!(serde_json::from_str::<Order>(&serde_json::to_string(&watch).unwrap()).unwrap(), watch);
    let region = Region { x: 0.25, y: 0.5, width: 0.125, height: 0.1, score: 0.75 };
    let started =
        Change::Started { pts_ms: 1_000, until_ms: 6_000, score: 0.125, regions: vec![region], label: String::new() };
    let report = Report::Motion { watch: 3, now_ms: 1_240, motion: started };
    assert_eq!(serde_json::from_str::<Report>(&serde_json::to_string(&report).unwrap()).unwrap(), report);
    let newer: Report =
        serde_json::from_str(r#"{"report":"motion","watch":3,"now_ms":5,"motion":{"change":"paused","pts_ms":1}}"#)
            .unwrap();
    assert_eq!(newer, Report::Motion { watch: 3, now_ms: 5, motion: Change::Unknown });
    let ended: Change = serde_json::from_str(r#"{"change":"ended","pts_ms":1,"score":0.5,"why":"bored"}"#).unwrap();
    assert_eq!(ended, Change::Ended { pts_ms: 1, score: 0.5, why: WhyEnded::Interrupted });
}

#[test]
fn too_long_is_refused_before_it_is_there() {
    let mut reader = Reader::new();
    reader.push(&(HEADER_BYTES_MAX as u32 + 1).to_be_bytes());
    assert!(matches!(reader.poll::<Order>(), Err(FrameError::HeaderLong(_))));
    let mut reader = Reader::new();
    reader.push(&[0, 0, 0, 2, b'{', b'}', 1, 0, 0, 1]);
    assert!(matches!(reader.poll::<Order>(), Err(FrameError::PayloadLong(_))));
    let payload = vec![0; PAYLOAD_BYTES_MAX + 1];
    assert!(matches!(encode(&Order::Stop { job: 1 }, &payload), Err(FrameError::PayloadLong(_))));
    assert!(matches!(encode(&"x".repeat(HEADER_BYTES_MAX), b""), Err(FrameError::HeaderLong(_))));
}

#[test]
fn capacity_is_in_cores() {
    let capacity = Capacity { cores: 2, decode_mb_s: 600_000.0, encode_mb_s: 500_000.0, av1_mb_s: 30_000.0 };
    let near = |a: f32, b: f32| assert!((a - b).abs() < 0.001, "{a} {b}");
    near(capacity.decode_cores((1280, 720), 30.0), 0.18);
    near(capacity.encode_cores((640, 360), 30.0), 0.0552);
    near(capacity.av1_cores((640, 360), 15.0), 0.46);
    near(Capacity::default().encode_cores((640, 360), 30.0), 0.0);
}
