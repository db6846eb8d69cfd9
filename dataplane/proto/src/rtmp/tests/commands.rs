//! What real encoders say, and what they must hear.
use super::*;

#[test]
fn connect_is_answered_as_by_real_servers() {
    let mut raw = Raw::new();
    let object = Value::object([("app", Value::string("stream")), ("objectEncoding", Value::Number(3.0))]);
    raw.command(0, &[Value::string("connect"), Value::Number(1.0), object]);
    let messages = raw.messages();
    assert_eq!(messages.iter().map(|message| message.type_id).collect::<Vec<_>>(), [5, 6, 20]);
    let answer = command::Command::parse(&messages[2]).unwrap();
    assert_eq!((answer.name.as_str(), answer.transaction), ("_result", 1.0));
    assert_eq!(answer.object.get("fmsVer"), Some(&Value::string("FMS/3,0,1,123")));
    assert_eq!(answer.args[0].get("code"), Some(&Value::string("NetConnection.Connect.Success")));
    assert_eq!(answer.args[0].get("objectEncoding"), Some(&Value::Number(3.0)));
}

/// What a client that knows nothing of Enhanced RTMP sees is what it saw before there was any.
#[test]
fn enhancements_are_answered_to_those_who_ask() {
    let answer = |extra: &[(&str, Value)]| {
        let mut properties = vec![("app".to_owned(), Value::string("stream"))];
        properties.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let mut raw = Raw::new();
        raw.command(0, &[Value::string("connect"), Value::Number(1.0), Value::Object(properties)]);
        (raw.answers().remove(0), raw)
    };
    let (plain, mut raw) = answer(&[]);
    let names = |object: &Value| object.properties().unwrap().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&plain.object), ["fmsVer", "capabilities"]);
    assert_eq!(names(&plain.args[0]), ["level", "code", "description", "objectEncoding"]);
    assert!(!raw.server.request_reconnect(raw.now, "over there") && raw.messages().is_empty());

    let list = Value::StrictArray(vec![Value::string("hvc1"), Value::string("vp08")]);
    let (enhanced, mut raw) = answer(&[("fourCcList", list), ("capsEx", Value::Number(3.0))]);
    for object in [&enhanced.object, &enhanced.args[0]] {
        assert_eq!(object.get("fourCcList"), Some(&Value::StrictArray(vec![Value::string("hvc1")])));
        assert_eq!(object.get("capsEx"), Some(&Value::Number(3.0)));
        assert_eq!(object.get("videoFourCcInfoMap"), None);
    }
    assert_eq!(names(&enhanced.args[0])[..4], names(&plain.args[0]));
    // Asked once, on the connection's own stream, and what runs goes on.
    raw.command(1, &publish("id"));
    raw.server.accept(raw.now).unwrap();
    raw.messages();
    assert!(raw.server.request_reconnect(raw.now, "over there"));
    assert!(!raw.server.request_reconnect(raw.now, "over there"));
    let messages = raw.messages();
    let request = command::Command::parse(&messages[0]).unwrap();
    assert_eq!((messages.len(), messages[0].stream_id, request.transaction), (1, 0, 0.0));
    assert_eq!((request.name.as_str(), request.info("level")), ("onStatus", "status"));
    assert_eq!(request.info("code"), "NetConnection.Connect.ReconnectRequest");
    assert_eq!(request.info("description"), "over there");
    raw.input(&message_bytes(4, 0, 9, 1, &avc_config()));
    assert_eq!(raw.names(), ["publish stream/id", "config Avc"]);
    assert_eq!(raw.server.role(), Role::Publisher);
}

#[test]
fn case_04_publish_works_whatever_comes_before_it() {
    let mut raw = Raw::connected();
    raw.command(0, &call("releaseStream", 2.0, &[Value::string("id")]));
    raw.command(0, &call("FCPublish", 3.0, &[Value::string("id")]));
    raw.command(0, &call("_checkbw", 4.0, &[]));
    raw.command(0, &call("someVendorCommand", 5.0, &[Value::string("x")]));
    raw.command(0, &call("deleteStream", 0.0, &[Value::Number(7.0)]));
    raw.command(0, &call("createStream", 6.0, &[]));
    let answers = raw.answers();
    assert!(answers.iter().all(|answer| answer.name == "_result"));
    assert_eq!(answers.iter().map(|answer| answer.transaction).collect::<Vec<_>>(), [2.0, 3.0, 4.0, 6.0]);
    assert_eq!(answers[3].args, [Value::Number(1.0)]);
    // Without the type, and on stream 0.
    raw.command(0, &call("publish", 0.0, &[Value::string("/id?sign=1-ab")]));
    assert_eq!(raw.names(), ["publish stream/id"]);
    raw.server.accept(raw.now).unwrap();
    let answers = raw.answers();
    assert_eq!(answers.iter().map(|answer| answer.name.as_str()).collect::<Vec<_>>(), ["onFCPublish", "onStatus"]);
    raw.input(&message_bytes(4, 0, 9, 0, &avc_config()));
    assert_eq!(raw.names(), ["config Avc"]);
    assert_eq!(raw.server.stats().commands_unknown, 1);
}

#[test]
fn case_07_amf3_wrappers_and_odd_data_never_close() {
    let mut raw = Raw::connected();
    // publish as type 17, with AMF3 behind the AMF0 part.
    let mut wrapped = vec![0];
    wrapped.extend(amf0::encode(&publish("id")));
    wrapped.extend([0x11, 0x0a, 0x0b, 1]);
    raw.input(&message_bytes(3, 0, 17, 1, &wrapped));
    assert_eq!(raw.names(), ["publish stream/id"]);
    raw.server.accept(raw.now).unwrap();
    // Metadata as type 15, with and without the wrapper's byte, and in AMF0 with strict arrays.
    let times = Value::StrictArray((0..40).map(|i| Value::Number(f64::from(i))).collect());
    let keyframes = Value::object([("times", times)]);
    let properties = Value::EcmaArray(vec![("keyframes".into(), keyframes)]);
    let metadata = amf0::encode(&[Value::string("@setDataFrame"), Value::string("onMetaData"), properties]);
    raw.input(&message_bytes(6, 0, 15, 1, &[&[0], &metadata[..]].concat()));
    raw.input(&message_bytes(6, 0, 15, 1, &metadata));
    raw.input(&message_bytes(6, 0, 18, 1, &metadata));
    assert_eq!(raw.names(), ["metadata"; 3]);
    // Timecode, real AMF3, garbage, nothing.
    let timecode =
        [Value::string("@setDataFrame"), Value::string("onFI"), Value::object([("st", Value::string("01:02"))])];
    for (type_id, payload) in [
        (18, amf0::encode(&timecode)),
        (15, vec![0x11, 9, 9, 9]),
        (17, vec![0x11, 9, 9, 9]),
        (17, vec![]),
        (20, vec![]),
        (20, vec![2, 0, 99]),
        (20, vec![5]),
        (18, vec![]),
        (16, vec![1, 2, 3]),
        (99, vec![1, 2, 3]),
        (4, vec![]),
        (5, vec![]),
        (3, vec![1]),
    ] {
        raw.input(&message_bytes(6, 0, type_id, 1, &payload));
    }
    raw.input(&message_bytes(4, 0, 9, 1, &avc_config()));
    assert_eq!(raw.names(), ["config Avc"]);
    assert_eq!((raw.server.stats().commands_malformed, raw.server.stats().messages_unknown), (5, 2));
}

#[test]
fn bad_tracks_are_counted_by_reason() {
    let mut raw = Raw::publishing();
    raw.input(&message_bytes(5, 0, 8, 1, &[0xf0, 1, 2, 3]));
    raw.input(&message_bytes(5, 0, 8, 1, &[]));
    raw.input(&message_bytes(5, 0, 8, 1, &[0xf0, 1, 2, 3]));
    raw.input(&message_bytes(5, 0, 8, 1, AAC_CONFIG));
    assert_eq!(raw.names(), ["left out audio codec 15", "config Aac"]);
    let skipped: u64 = raw.server.stats().skipped().map(|(_, count)| count).sum();
    assert_eq!(skipped, 3);
}

#[test]
fn aggregates_are_taken_apart() {
    let mut raw = Raw::configured();
    let tag = |type_id: u8, stamp: u32, body: &[u8]| {
        let (length, stamp) = ((body.len() as u32).to_be_bytes(), stamp.to_be_bytes());
        let header = [type_id, length[1], length[2], length[3], stamp[1], stamp[2], stamp[3], stamp[0], 0, 0, 0];
        [&header[..], body, &(body.len() as u32 + 11).to_be_bytes()].concat()
    };
    let tags =
        [tag(9, 0x0200_0000, &keyframe(30)), tag(8, 0x0200_0017, b"\xaf\x01a"), tag(9, 0x0200_0028, &keyframe(9))];
    let mut aggregate = tags.concat();
    raw.input(&message_bytes(4, 1000, 22, 1, &aggregate));
    assert_eq!(raw.names(), ["frame Avc 1000", "frame Aac 1023", "frame Avc 1040"]);
    aggregate.truncate(aggregate.len() - 10);
    raw.input(&message_bytes(4, 2000, 22, 1, &aggregate));
    assert_eq!(raw.names(), ["frame Avc 2000", "frame Aac 2023"]);
    assert_eq!(raw.server.stats().skipped().collect::<Vec<_>>(), [("aggregate_rest", 1)]);
}

#[test]
fn what_is_asked_at_the_wrong_time_or_place() {
    // A publisher that plays or publishes: told so, and goes on.
    let mut raw = Raw::publishing();
    raw.command(1, &call("play", 0.0, &[Value::string("id")]));
    raw.command(1, &publish("other"));
    assert_eq!(raw.codes(), ["NetStream.Play.Failed", "NetStream.Publish.BadName"]);
    raw.input(&message_bytes(4, 0, 9, 1, &avc_config()));
    assert_eq!((raw.names(), raw.server.role()), (vec!["config Avc".to_owned()], Role::Publisher));
    // No name at all, or one that is too long: admission is not asked.
    for (app, name) in [("", String::new()), ("/", "?sign=1".to_owned()), ("stream", "a".repeat(5_000))] {
        let mut raw = Raw::new();
        raw.command(0, &connect(app));
        raw.codes();
        raw.command(1, &publish(&name));
        assert_eq!((raw.names(), raw.codes()), (vec![], vec!["NetStream.Publish.BadName".to_owned()]));
        assert!(raw.server.is_closing());
    }
    // Before connect, and connect twice.
    let mut raw = Raw::new();
    let early = command_bytes(1, &publish("id"));
    assert_eq!(raw.server.handle_input(raw.now, &early), Err(SessionError::NotConnected));
    let mut raw = Raw::connected();
    let again = command_bytes(0, &connect("other"));
    assert_eq!(raw.server.handle_input(raw.now, &again), Err(SessionError::ConnectedTwice));
    // A URL that is too long.
    let mut raw = Raw::new();
    raw.command(0, &connect(&"a".repeat(5000)));
    assert_eq!(raw.codes(), ["NetConnection.Connect.Rejected"]);
    assert!(raw.server.is_closing());
}

#[test]
fn case_40_any_message_stream_publishes_and_plays() {
    for (used, answered) in [(0, 1), (1, 1), (2, 2), (7, 7)] {
        let mut raw = Raw::connected();
        raw.command(used, &publish("id"));
        assert_eq!(raw.names(), ["publish stream/id"]);
        raw.server.accept(raw.now).unwrap();
        let status = raw.messages().pop().unwrap();
        assert_eq!((status.type_id, status.stream_id), (20, answered));
        raw.input(&message_bytes(4, 0, 9, used, &avc_config()));
        assert_eq!(raw.names(), ["config Avc"]);
        raw.command(0, &call("deleteStream", 0.0, &[Value::Number(f64::from(used))]));
        assert_eq!(raw.names(), ["PublishEnded"], "{used}");

        let mut raw = Raw::connected();
        raw.command(used, &call("play", 0.0, &[Value::string("id")]));
        assert_eq!(raw.names(), ["play stream/id"]);
        raw.server.accept(raw.now).unwrap();
        let messages = raw.messages();
        // As what all players share.
        assert!(messages.iter().skip(1).all(|message| message.stream_id == 1), "{messages:?}");
        raw.command(0, &call("deleteStream", 0.0, &[Value::Number(f64::from(used.min(1)))]));
        assert_eq!(raw.names(), ["PlayEnded"], "{used}");
    }
}

#[test]
fn players_commands() {
    let mut raw = Raw::connected();
    raw.command(0, &call("FCSubscribe", 2.0, &[Value::string("id")]));
    raw.command(0, &call("getStreamLength", 3.0, &[Value::string("id")]));
    let answers = raw.answers();
    assert_eq!((answers[0].name.as_str(), &answers[1].args[..]), ("onFCSubscribe", &[Value::Number(0.0)][..]));
    raw.command(1, &call("play", 4.0, &[Value::string("id?token=x"), Value::Number(-2000.0)]));
    assert_eq!(raw.names(), ["play stream/id"]);
    raw.server.accept(raw.now).unwrap();
    let types: Vec<_> = raw.messages().iter().map(|message| (message.type_id, message.stream_id)).collect();
    assert_eq!(types, [(4, 0), (20, 1), (20, 1), (18, 1)]);
}
