//! A recorded publish, broken in tens of thousands of ways: no panic, and memory within the maxima.
use super::*;
use crate::limits::*;
use crate::testkit::Random;

/// All bytes of a publisher's session.
fn recording() -> Vec<u8> {
    let mut pair = Pair::started(ClientRole::Publish, 1 << 20);
    pair.client
        .send_metadata(vec![("width".into(), Value::Number(64.0)), ("encoder".into(), Value::string("x"))])
        .unwrap();
    pair.client.send(TagKind::Audio, 0, AAC_CONFIG).unwrap();
    for i in 0..4 {
        pair.client.send(TagKind::Video, i * 40, &avc_config()).unwrap();
        pair.client.send(TagKind::Video, i * 40, &keyframe(600)).unwrap();
        pair.client.send(TagKind::Audio, 0xFF_FFF0 + i * 20, b"\xaf\x01abc").unwrap();
    }
    pair.client.finish();
    pair.drive();
    // Both configurations once: those that repeat are no events.
    assert_eq!(pair.names().len(), 13);
    pair.recorded.split_off(HANDSHAKE)
}

const HANDSHAKE: usize = 1 + 2 * 1536;

/// Damages what stands behind the first `from` bytes.
fn damage(random: &mut Random, bytes: &mut Vec<u8>, from: usize) {
    let mut rest = bytes.split_off(from);
    random.damage(&mut rest);
    bytes.append(&mut rest);
}

/// Feeds a server (past its handshake, whose digests take most of the time) as the engine does, and accepts whatever it asks.
/// Returns whether the session lived.
fn feed(bytes: &[u8], split: usize) -> bool {
    let mut now = Time::from_millis(1);
    let mut server = ServerSession::new(now, ServerConfig::default());
    server.pretend_handshake();
    let held_max = RTMP_ASSEMBLY_BYTES_MAX + RTMP_INBOX_BYTES_MAX + 2 * RTMP_OUTPUT_BYTES_MAX;
    for piece in bytes.chunks(split) {
        if server.handle_input(now, piece).is_err() {
            return false;
        }
        while let Some(event) = server.poll_event() {
            if matches!(event, Event::PublishRequested(_) | Event::PlayRequested(_)) && server.accept(now).is_err() {
                return false;
            }
        }
        assert!(server.held_bytes() <= held_max);
        server.poll_output();
        now = now + std::time::Duration::from_secs(1);
        if server.handle_timeout(now).is_err() || server.is_closing() {
            return false;
        }
    }
    true
}

#[test]
fn a_servers_input() {
    let recorded = recording();
    assert!(feed(&recorded, 1 << 20) && feed(&recorded, 1));
    let mut random = Random::new(0x9E37_79B9_7F4A_7C15);
    let mut lived = 0;
    for _ in 0..30_000 {
        let mut bytes = recorded.clone();
        random.damage(&mut bytes);
        lived += usize::from(feed(&bytes, 1 + random.below(5000)));
    }
    // Both outcomes are reached, so the mutations are neither harmless nor all fatal at once.
    assert!((1000..29_000).contains(&lived), "{lived}");
}

#[test]
fn a_clients_input() {
    let now = Time::from_millis(1);
    // The server's words, recorded behind a handshake.
    let mut pair = Pair::new(ClientRole::Play, 1 << 20);
    let mut recorded = Vec::new();
    for round in 0..20 {
        if let Some(bytes) = pair.client.poll_output() {
            pair.server.handle_input(now, &bytes).unwrap();
        }
        pair.server.accept(now).unwrap();
        if round == 10 {
            pair.server.end(now, "over");
        }
        if let Some(bytes) = pair.server.poll_output() {
            recorded.extend_from_slice(&bytes);
            pair.client.handle_input(now, &bytes).unwrap();
        }
    }
    let mut random = Random::new(0xD1B5_4A32_D192_ED03);
    for _ in 0..2_000 {
        let mut bytes = recorded.clone();
        damage(&mut random, &mut bytes, HANDSHAKE);
        let mut client = ClientSession::new(now, client_config(ClientRole::Play, 4096));
        for piece in bytes.chunks(1 + random.below(2000)) {
            if client.handle_input(now, piece).is_err() {
                break;
            }
            while client.poll_event().is_some() {}
            client.poll_output();
        }
    }
}

#[test]
fn amf0_values() {
    let properties = Value::object([("a", Value::StrictArray(vec![Value::Number(1.0), Value::string("b")]))]);
    let recorded = amf0::encode(&[
        Value::string("connect"),
        Value::Number(1.0),
        properties.clone(),
        Value::EcmaArray(vec![("m".into(), properties)]),
        Value::Date { unix_ms: 5.0, zone: 0 },
        Value::LongString("long".into()),
        Value::TypedObject { class: "c".into(), properties: vec![("n".into(), Value::Null)] },
    ]);
    let mut random = Random::new(42);
    for _ in 0..50_000 {
        let mut bytes = recorded.clone();
        random.damage(&mut bytes);
        if let Ok(values) = amf0::decode(&bytes) {
            let again = amf0::encode(&values);
            assert_eq!(amf0::encode(&amf0::decode(&again).unwrap()), again);
        }
    }
}

#[test]
fn handshakes() {
    let mut random = Random::new(99);
    let mut echoes_wrong = 0;
    for _ in 0..300 {
        let (mut client, first) = handshake::Handshake::new(handshake::Side::Client);
        let mut server = ServerSession::new(Time::ZERO, ServerConfig::default());
        let mut first = first;
        damage(&mut random, &mut first, 1);
        server.handle_input(Time::ZERO, &first).unwrap();
        let Some(answer) = server.poll_output() else { continue };
        let mut second = client.handle_input(&answer).unwrap().response;
        if second.is_empty() {
            continue;
        }
        random.damage(&mut second);
        // Whatever is left of the handshake, and what follows it, may end the session but not the process.
        let _ = server.handle_input(Time::ZERO, &second);
        echoes_wrong += server.stats().c2_mismatches;
    }
    assert!(echoes_wrong > 10, "{echoes_wrong}");
}

#[test]
fn noise() {
    let mut random = Random::new(7);
    for _ in 0..5_000 {
        let length = random.below(2000);
        let bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        feed(&bytes, 4096);
    }
}
