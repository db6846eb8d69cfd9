//! Our client against our server.
use std::time::Duration;

use super::*;
use crate::limits::*;
use crate::media::Track;

#[test]
fn publish_at_any_split() {
    for split in [1, 2, 3, 17, 1500, 1 << 20] {
        let mut pair = Pair::started(ClientRole::Publish, split);
        assert_eq!(pair.server.role(), Role::Publisher);
        pair.client.send_metadata(vec![("width".into(), Value::Number(64.0))]).unwrap();
        pair.client.send(TagKind::Video, 0, &avc_config()).unwrap();
        pair.client.send(TagKind::Audio, 0, AAC_CONFIG).unwrap();
        pair.client.send(TagKind::Video, 40, &keyframe(9000)).unwrap();
        pair.client.send(TagKind::Audio, 0xFF_FFFF, b"\xaf\x01abc").unwrap();
        pair.client.finish();
        pair.drive();
        let expected = [
            "publish stream/id",
            "metadata",
            "config Avc",
            "config Aac",
            "frame Avc 40",
            "frame Aac 16777215",
            "PublishEnded",
        ];
        assert_eq!(pair.names(), expected, "in pieces of {split}");
        let Event::PublishRequested(request) = &pair.events[0] else { panic!() };
        assert_eq!((request.params.get("sign"), request.tc_url.expose()), (Some("1-ab"), "rtmp://host/stream"));
        let Event::Media(MediaEvent::Frame(frame)) = &pair.events[4] else { panic!() };
        assert_eq!(frame.body[..], keyframe(9000)[..]);
        assert_eq!((pair.server.stats().c2_mismatches, pair.client.stats().c2_mismatches), (0, 0));
        assert_eq!((pair.server.role(), pair.server.is_closing()), (Role::Undecided, false));
    }
}

#[test]
fn play_with_shared_media_between_answers() {
    for split in [1, 1500] {
        let mut pair = Pair::started(ClientRole::Play, split);
        assert_eq!((pair.names()[0].as_str(), pair.server.role()), ("play stream/id", Role::Player));
        let mut shared = bytes::BytesMut::new();
        chunk_write::write_media(&mut shared, TagKind::Video, 40, &keyframe(100_000), RTMP_CHUNK_SIZE_OUT);
        chunk_write::write_media(&mut shared, TagKind::Audio, 41, b"\xaf\x01abc", RTMP_CHUNK_SIZE_OUT);
        // A viewer that joins when the ping is due: the session's own bytes go between shared messages.
        pair.client.handle_input(pair.now, &shared).unwrap();
        pair.now = pair.server.poll_timeout().unwrap();
        pair.server.handle_timeout(pair.now).unwrap();
        pair.drive();
        pair.client.handle_input(pair.now, &shared).unwrap();
        pair.server.end(pair.now, "over");
        pair.drive();
        let messages = pair.client_events.iter().filter_map(|event| match event {
            ClientEvent::Message { kind, timestamp, body } => Some((*kind, *timestamp, body.len())),
            _ => None,
        });
        let messages: Vec<_> = messages.collect();
        let media = [(TagKind::Video, 40, 100_005), (TagKind::Audio, 41, 5)];
        assert_eq!(messages[1..], [media, media].concat());
        assert!(matches!(pair.client_events.last(), Some(ClientEvent::Ended { .. })));
        assert!(pair.server.is_closing() && pair.server.poll_output().is_none());
    }
}

#[test]
fn media_behind_publish_waits_for_the_answer() {
    let mut raw = Raw::new();
    let mut all = command_bytes(0, &connect("stream"));
    all.extend(command_bytes(0, &call("createStream", 2.0, &[])));
    all.extend(command_bytes(1, &publish("id?sign=1-ab")));
    all.extend(message_bytes(4, 0, 9, 1, &avc_config()));
    all.extend(message_bytes(4, 40, 9, 1, &keyframe(500)));
    raw.input(&all);
    assert_eq!(raw.names(), ["publish stream/id"]);
    assert!(!raw.server.wants_input());
    // Still arriving, since the engine had it read already.
    raw.input(&message_bytes(4, 80, 9, 1, &keyframe(500)));
    assert_eq!(raw.names(), [""; 0]);
    assert!(!raw.codes().contains(&"NetStream.Publish.Start".to_owned()));
    raw.server.accept(raw.now).unwrap();
    assert_eq!(raw.names(), ["config Avc", "frame Avc 40", "frame Avc 80"]);
    assert_eq!(raw.codes(), ["NetStream.Publish.Start"]);
    assert!(raw.server.wants_input());
    assert_eq!(raw.server.held_bytes(), 0);
}

#[test]
fn the_inbox_is_bounded() {
    let mut raw = Raw::connected();
    raw.command(1, &publish("id"));
    let read = vec![0; 64 << 10];
    let results: Vec<_> = (0..5).map(|_| raw.server.handle_input(raw.now, &read)).collect();
    assert_eq!(results[..4], [Ok(()); 4]);
    assert_eq!(results[4], Err(SessionError::InboxFull));
}

#[test]
fn refusals() {
    let check = |role: ClientRole, refusal: Refusal, expected: &str| {
        let mut pair = Pair::new(role, 1 << 20);
        pair.drive();
        pair.server.reject(pair.now, refusal, "no");
        assert!(pair.server.is_closing() && !pair.server.wants_input());
        pair.drive();
        let expected = ClientEvent::Refused { code: expected.into(), description: "no".into() };
        assert_eq!(pair.client_events, [expected]);
        assert_eq!(pair.server.poll_timeout(), None);
    };
    check(ClientRole::Publish, Refusal::BadName, "NetStream.Publish.BadName");
    check(ClientRole::Publish, Refusal::Busy, "NetStream.Publish.BadName");
    check(ClientRole::Publish, Refusal::Denied, "NetStream.Publish.Denied");
    check(ClientRole::Publish, Refusal::Failed, "NetStream.Publish.Failed");
    check(ClientRole::Play, Refusal::NotFound, "NetStream.Play.StreamNotFound");
    check(ClientRole::Play, Refusal::Denied, "NetStream.Play.Failed");
}

#[test]
fn the_server_ends_a_publish() {
    let mut pair = Pair::started(ClientRole::Publish, 1 << 20);
    pair.server.end(pair.now, "taken over");
    pair.drive();
    let expected = ClientEvent::Ended { code: "NetStream.Publish.Rejected".into(), description: "taken over".into() };
    assert_eq!(pair.client_events[1..], [expected]);
    assert!(pair.server.is_closing());
}

#[test]
fn publish_again_on_the_same_connection() {
    for goodbye in ["closeStream", "deleteStream", "FCUnpublish"] {
        let mut raw = Raw::publishing();
        raw.input(&message_bytes(4, 0, 9, 1, &avc_config()));
        raw.command(1, &call(goodbye, 0.0, &[]));
        raw.input(&message_bytes(4, 0, 9, 1, &avc_config()));
        raw.command(1, &publish("other"));
        assert_eq!(raw.names(), ["config Avc", "PublishEnded", "publish stream/other"]);
        raw.server.accept(raw.now).unwrap();
        raw.input(&message_bytes(4, 0, 9, 1, &avc_config()));
        assert_eq!(raw.names(), ["config Avc"]);
        assert_eq!(raw.server.stats().skipped().collect::<Vec<_>>(), [("unpublished", 1)]);
        // Long messages may come while it publishes, and not once it has ended.
        let long = message_bytes(4, 0, 9, 1, &keyframe(RTMP_MESSAGE_UNADMITTED_BYTES_MAX));
        raw.input(&long);
        assert_eq!(raw.names(), ["frame Avc 0"]);
        raw.command(1, &call(goodbye, 0.0, &[]));
        assert_eq!(raw.server.handle_input(raw.now, &long).unwrap_err().label(), "message_bytes_max");
    }
}

#[test]
fn a_message_left_half_sent_outlives_its_publish_within_the_lower_maxima() {
    let mut raw = Raw::configured();
    let body = keyframe(RTMP_ASSEMBLY_UNADMITTED_BYTES_MAX);
    let long = message_bytes(4, 0, 9, 1, &body);
    // Eight chunks: a message header and 128 bytes, then one byte and 128.
    let (begun, rest) = long.split_at(12 + 128 + 7 * 129);
    raw.input(begun);
    raw.command(1, &call("closeStream", 0.0, &[]));
    raw.messages();
    assert_eq!(raw.server.held_bytes(), RTMP_RESERVE_BYTES);
    let error = raw.server.handle_input(raw.now, rest).unwrap_err();
    assert_eq!(error.label(), "assembly_bytes_max");
    assert!(raw.server.held_bytes() <= RTMP_ASSEMBLY_UNADMITTED_BYTES_MAX);
}

#[test]
fn case_08_acknowledgement_is_cumulative_modulo_2_32() {
    for start in [0, (1_u64 << 31) - 1000, (1 << 32) - 1000, (1 << 32) + 5, (5 << 32) - 1000] {
        let mut pair = Pair::started(ClientRole::Publish, 1 << 20);
        pair.server.pretend_received(start);
        let sent_before = pair.recorded.len();
        let mut reader = chunk::ChunkReader::new();
        let mut acknowledged = Vec::new();
        for _ in 0..40 {
            pair.client.send(TagKind::Video, 0, &keyframe(100_000)).unwrap();
            let bytes = pair.client.poll_output().unwrap();
            pair.recorded.extend_from_slice(&bytes);
            pair.server.handle_input(pair.now, &bytes).unwrap();
            let total = start + (pair.recorded.len() - sent_before) as u64;
            let output = pair.server.poll_output().unwrap_or_default();
            let mut input = &output[..];
            while let Some(message) = reader.read(&mut input).unwrap() {
                assert_eq!(message.type_id, message::kind::ACKNOWLEDGEMENT);
                assert_eq!(message::parse_u32(&message.payload), Some(total as u32));
                acknowledged.push(total);
            }
        }
        // At least once per window of 2.5 MB.
        assert_eq!(acknowledged.len(), 3, "{start}");
        assert!(acknowledged.windows(2).all(|pair| pair[1] - pair[0] <= u64::from(RTMP_WINDOW_BYTES)));
    }
}

#[test]
fn the_peers_window_is_adopted_within_bounds() {
    let acknowledgements = |window: u32| {
        let mut raw = Raw::publishing();
        raw.input(&message_bytes(2, 0, message::kind::WINDOW_ACK_SIZE, 0, &window.to_be_bytes()));
        raw.messages();
        (0..100)
            .filter(|_| {
                raw.input(&message_bytes(4, 0, 9, 1, &keyframe(900)));
                !raw.messages().is_empty()
            })
            .count()
    };
    assert!((30..=35).contains(&acknowledgements(1)));
    assert!((8..=10).contains(&acknowledgements(20_000)));
    assert_eq!(acknowledgements(u32::MAX), 0);
}

#[test]
fn pings_both_ways() {
    let mut pair = Pair::new(ClientRole::Play, 1 << 20);
    assert_eq!(pair.server.poll_timeout(), None);
    pair.drive();
    pair.server.accept(pair.now).unwrap();
    pair.drive();
    let due = pair.server.poll_timeout().unwrap();
    assert_eq!(due.since(pair.now), Duration::from_secs(RTMP_PING_SECS));
    pair.server.handle_timeout(pair.now).unwrap();
    assert!(pair.server.poll_output().is_none());
    pair.server.handle_timeout(due).unwrap();
    let before = pair.server.stats().messages_in;
    pair.drive();
    assert_eq!(pair.server.stats().messages_in, before + 1);
    assert!(pair.server.poll_timeout().unwrap() > due);

    let mut raw = Raw::new();
    raw.input(&message_bytes(2, 0, 4, 0, &message::UserControl::PingRequest(77).encode()));
    let pong = message::UserControl::PingResponse(77).encode();
    assert_eq!(raw.messages()[0].payload[..], pong[..]);
}

#[test]
fn players_pause_and_choose_tracks() {
    let mut raw = Raw::connected();
    raw.command(1, &call("play", 3.0, &[Value::string("id")]));
    raw.server.accept(raw.now).unwrap();
    raw.command(1, &call("pause", 0.0, &[Value::Boolean(true), Value::Number(5.0)]));
    raw.command(1, &call("receiveAudio", 0.0, &[Value::Boolean(false)]));
    raw.command(1, &call("receiveVideo", 0.0, &[Value::Boolean(true)]));
    raw.command(1, &call("closeStream", 0.0, &[]));
    let events: Vec<_> = std::iter::from_fn(|| raw.server.poll_event()).collect();
    assert!(matches!(
        events[..],
        [
            Event::PlayRequested(_),
            Event::Paused(true),
            Event::Receive { track: Track::Audio, on: false },
            Event::Receive { track: Track::Video, on: true },
            Event::PlayEnded,
        ]
    ));
}

#[test]
fn a_wrong_echo_is_counted_and_nothing_more() {
    let raw = Raw::connected();
    assert_eq!(raw.server.stats().c2_mismatches, 1);
}

#[test]
fn broken_from_the_start() {
    let mut server = ServerSession::new(Time::ZERO, ServerConfig::default());
    let error = server.handle_input(Time::ZERO, b"SSH-2.0-OpenSSH_9.9\r\n").unwrap_err();
    assert_eq!((error.label(), server.poll_output()), ("handshake_version", None));
}

#[test]
fn maxima_before_admission() {
    let mut raw = Raw::connected();
    let ask = command_bytes(0, &call("createStream", 2.0, &[]));
    let error = (0..100).find_map(|_| raw.server.handle_input(raw.now, &ask).err());
    assert_eq!(error, Some(SessionError::Commands));

    // A client that asks and never reads.
    let mut raw = Raw::publishing();
    let error = (0..10_000).find_map(|_| raw.server.handle_input(raw.now, &ask).err());
    assert_eq!(error, Some(SessionError::OutputFull));

    let mut raw = Raw::connected();
    let long = message_bytes(4, 0, 9, 1, &keyframe(RTMP_MESSAGE_UNADMITTED_BYTES_MAX));
    assert_eq!(raw.server.handle_input(raw.now, &long).unwrap_err().label(), "message_bytes_max");
}

#[test]
fn keys_do_not_print() {
    let mut pair = Pair::new(ClientRole::Publish, 1 << 20);
    for _ in 0..8 {
        if let Some(bytes) = pair.client.poll_output() {
            pair.server.handle_input(pair.now, &bytes).unwrap();
        }
        let printed = format!("{:?} {:?}", pair.client, pair.server);
        assert!(!printed.contains("1-ab") && !printed.contains("49, 45, 97, 98"), "{printed}");
        if let Some(bytes) = pair.server.poll_output() {
            pair.client.handle_input(pair.now, &bytes).unwrap();
        }
    }
    let event = pair.server.poll_event().unwrap();
    assert!(matches!(event, Event::PublishRequested(_)) && !format!("{event:?}").contains("1-ab"));
}

#[test]
fn sessions_go_between_threads() {
    fn check<T: Send>() {}
    check::<ServerSession>();
    check::<ClientSession>();
    check::<Event>();
}

#[test]
fn an_idle_viewer_is_small() {
    let pair = Pair::started(ClientRole::Play, 1 << 20);
    assert_eq!(pair.server.held_bytes(), 0);
    assert!(size_of::<ServerSession>() <= 1024, "{}", size_of::<ServerSession>());
}

#[test]
fn case_60_other_protocols_are_named() {
    let first = |bytes: &[u8]| {
        let now = Time::from_millis(1);
        ServerSession::new(now, ServerConfig::default()).handle_input(now, bytes)
    };
    for http in [&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"HEAD /healthz HTTP/1.0\r\n\r\n", b"G", b"PRI * HTTP/2.0"]
    {
        assert_eq!(first(http), Err(SessionError::Http), "{http:?}");
    }
    for tls in [&[22, 3, 1, 2, 0, 1][..], &[22, 3], &[22]] {
        assert_eq!(first(tls), Err(SessionError::Tls), "{tls:?}");
    }
    for other in [&b"SSH-2.0-x"[..], &[22, 9], b"GIT ", &[6]] {
        assert!(matches!(first(other), Err(SessionError::Handshake(_))), "{other:?}");
    }
    assert_eq!(first(&[3]), Ok(()));
}

#[test]
fn a_publisher_can_be_asked_whether_it_is_there() {
    let mut pair = Pair::started(ClientRole::Publish, 1 << 20);
    let before = pair.recorded.len();
    pair.server.ping(pair.now);
    pair.drive();
    assert!(pair.recorded.len() > before, "the ping is answered");
    // One that does nothing is not asked.
    let mut raw = Raw::connected();
    raw.server.ping(raw.now);
    assert!(raw.messages().is_empty());
}

#[test]
fn case_58_two_streams_on_one_connection_are_told_apart() {
    let mut raw = Raw::connected();
    for id in [1.0, 2.0, 3.0] {
        raw.command(0, &call("createStream", 2.0, &[]));
        assert_eq!(raw.answers()[0].args, [Value::Number(id)]);
    }
    raw.command(1, &publish("high"));
    raw.server.accept(raw.now).unwrap();
    raw.command(2, &publish("low"));
    // What comes of it waits for the answer; the first stream goes on.
    raw.input(&message_bytes(4, 0, 9, 1, &avc_config()));
    raw.input(&message_bytes(6, 0, 9, 2, &avc_config()));
    let names = raw.names();
    assert_eq!(names[0], "publish stream/high");
    assert!(names[1].starts_with("SideRequested { stream_id: 2"), "{names:?}");
    assert_eq!(names[2..], ["config Avc"]);
    raw.codes();
    let held = raw.server.accept_side(2).expect("asked for");
    let [message] = &held[..] else { panic!("{held:?}") };
    assert_eq!((message.type_id, message.stream_id, &message.payload[..]), (9, 2, &avc_config()[..]));
    raw.input(&message_bytes(6, 0, 9, 2, &keyframe(9)));
    assert!(raw.names()[0].starts_with("SideMessage"));
    // A third one is refused, and what it sends all the same goes into no other.
    raw.command(3, &publish("other"));
    raw.server.reject_side(3, Some((Refusal::Denied, "no")));
    raw.input(&message_bytes(4, 40, 9, 3, &keyframe(9)));
    raw.input(&message_bytes(4, 40, 9, 1, &keyframe(9)));
    let status = raw.messages().pop().unwrap();
    assert_eq!(status.stream_id, 3);
    assert_eq!(raw.names()[1..], ["frame Avc 40"]);
    // The encoder cleans up after it: that ends no other stream.
    raw.command(0, &call("FCUnpublish", 0.0, &[Value::string("other")]));
    raw.command(3, &call("closeStream", 0.0, &[]));
    raw.command(0, &call("deleteStream", 0.0, &[Value::Number(3.0)]));
    assert!(raw.names().is_empty() && raw.server.role() == Role::Publisher);
    raw.command(2, &call("FCUnpublish", 0.0, &[Value::string("low")]));
    raw.input(&message_bytes(4, 80, 9, 2, &keyframe(9)));
    assert_eq!(raw.names(), ["SideEnded { stream_id: 2 }"]);
    raw.command(0, &call("deleteStream", 0.0, &[Value::Number(1.0)]));
    assert_eq!((raw.names(), raw.server.role()), (vec!["PublishEnded".to_owned()], Role::Undecided));
}

#[test]
fn case_58_streams_of_a_connection_are_bounded() {
    let mut raw = Raw::publishing();
    for id in 2..40 {
        raw.command(id, &publish("more"));
        raw.server.accept_side(id);
    }
    let asked = raw.names().iter().filter(|name| name.starts_with("SideRequested")).count();
    assert_eq!(asked, RTMP_STREAMS_MAX as usize - 1);
    assert_eq!(raw.codes().iter().filter(|code| *code == "NetStream.Publish.BadName").count(), 31);
}

#[test]
fn case_58_a_further_stream_that_does_not_wait_for_its_answer_ends_alone() {
    let mut raw = Raw::publishing();
    raw.command(2, &publish("low"));
    raw.command(3, &publish("lower"));
    raw.codes();
    let many = [keyframe(9), vec![0; RTMP_INBOX_BYTES_MAX]].concat();
    raw.input(&message_bytes(6, 0, 9, 2, &many));
    raw.input(&message_bytes(6, 0, 9, 3, &keyframe(9)));
    assert_eq!(raw.codes(), ["NetStream.Publish.Failed"]);
    assert!(raw.names().contains(&"SideEnded { stream_id: 2 }".to_owned()));
    assert!(raw.server.accept_side(2).is_none());
    assert_eq!(raw.server.accept_side(3).map(|held| held.len()), Some(1));
    // One that ends before its answer was asked for in vain.
    raw.command(4, &publish("lowest"));
    raw.command(4, &call("closeStream", 0.0, &[]));
    assert!(raw.server.accept_side(4).is_none());
    assert_eq!(raw.server.role(), Role::Publisher);
}

/// Encoders of several bit rates stop one of them, and it may be the one that they began with.
#[test]
fn case_58_further_streams_go_on_when_the_first_one_has_ended() {
    let first_ends: [(u32, &str, Value); 3] = [
        (0, "FCUnpublish", Value::string("cam")),
        (1, "closeStream", Value::Null),
        (0, "deleteStream", Value::Number(1.0)),
    ];
    for (stream_id, name, argument) in first_ends {
        let mut raw = Raw::connected();
        raw.command(1, &publish("cam"));
        raw.server.accept(raw.now).unwrap();
        raw.command(2, &publish("low"));
        raw.server.accept_side(2).expect("asked for");
        raw.command(3, &publish("lower"));
        raw.names();
        raw.codes();
        raw.command(stream_id, &call(name, 0.0, &[argument]));
        assert_eq!(raw.names(), ["PublishEnded"], "{name}");
        let ends = raw.codes().iter().filter(|code| *code == "NetStream.Unpublish.Success").count();
        assert!(ends == 1 || name == "FCUnpublish" && ends == 2, "{name}: {ends}");
        assert_eq!(raw.server.accept_side(3).map(|held| held.len()), Some(0));
        // What still comes of the first goes nowhere; large messages of the others are taken as before.
        raw.input(&message_bytes(4, 0, 9, 1, &keyframe(9)));
        raw.input(&message_bytes(6, 0, 9, 2, &[keyframe(9), vec![0; 500_000]].concat()));
        raw.input(&message_bytes(6, 0, 9, 3, &keyframe(9)));
        let names = raw.names();
        assert!(names.len() == 2 && names.iter().all(|name| name.starts_with("SideMessage")), "{names:?}");
        // A play has no place beside them, and a publish is one more of them, on whatever message stream.
        raw.command(1, &call("play", 0.0, &[Value::string("cam")]));
        assert_eq!(raw.codes(), ["NetStream.Play.Failed"]);
        raw.command(1, &publish("cam"));
        assert!(raw.names()[0].starts_with("SideRequested { stream_id: 1"));
        raw.server.accept_side(1).expect("asked for");
        raw.input(&message_bytes(4, 0, 9, 1, &keyframe(9)));
        assert!(raw.names()[0].starts_with("SideMessage"));
        for id in [2, 1, 3] {
            raw.command(0, &call("deleteStream", 0.0, &[Value::Number(f64::from(id))]));
            assert_eq!(raw.names(), [format!("SideEnded {{ stream_id: {id} }}")]);
        }
        // After the last one it is a connection like any other.
        raw.codes();
        raw.command(0, &call("createStream", 2.0, &[]));
        assert_eq!(raw.answers()[0].args, [Value::Number(1.0)]);
        raw.command(1, &publish("cam"));
        assert_eq!(raw.names(), ["publish stream/cam"]);
    }
}
