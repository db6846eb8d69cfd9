//! Records of anybody's making, from seeds: whole and cut, of all types, before and after a handshake. A session takes them or ends, once and for all,
//! and holds no more than it may.
use std::sync::Arc;

use millstream_test_support::random::Random;
use rustls::version::{TLS12, TLS13};

use super::fixture::{Authority, Line, YEARS, client_config, server};
use crate::{Records, Session, TlsError, whole};

const NAME: &str = "live.example.org";
/// What a session may hold: an unfinished handshake, or record, and what a vector grows by.
const HELD_BYTES_MAX: usize = 3 * (24 << 10);

/// A record, or what looks like one.
fn record(random: &mut Random, real: &[u8]) -> Vec<u8> {
    let kind = random.pick(&[20, 21, 22, 22, 23, 23, 24, 0, 255]);
    let len = random.pick(&[0, 1, 2, 4, 17, 64, 300, 16_384, 16_640]) as usize;
    let mut bytes = match random.below(5) {
        // One of a real client, with some bits changed.
        0 | 1 if !real.is_empty() => {
            let mut bytes = real.to_vec();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << random.below(8);
            }
            bytes
        }
        // A handshake message of any type.
        2 => {
            let mut payload = vec![random.below(32) as u8, 0, (len >> 8) as u8, len as u8];
            payload.extend(random.bytes(len.min(2_000)));
            let mut bytes = vec![22, 3, random.below(5) as u8, (payload.len() >> 8) as u8, payload.len() as u8];
            bytes.extend(payload);
            bytes
        }
        _ => {
            let mut bytes = vec![kind, 3, random.pick(&[0, 1, 3, 3, 4, 9]), (len >> 8) as u8, len as u8];
            bytes.extend(random.bytes(len));
            bytes
        }
    };
    if random.chance(150) {
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
    }
    bytes
}

#[test]
fn whatever_comes_a_session_takes_it_or_ends_and_holds_little() {
    let authority = Authority::new();
    let server = server(&[&authority.sign(&[NAME], YEARS)]);
    let mut failed = 0;
    for seed in 0..400 {
        let random = &mut Random::new(seed);
        let client = Arc::new(client_config(authority.root(), &[if seed % 2 == 0 { &TLS12 } else { &TLS13 }]));
        let mut line = Line::new(&server, &client, NAME);
        if random.chance(600) {
            line.settle().unwrap();
            line.say(b"GET /cam/live.flv HTTP/1.1\r\n\r\n");
        }
        let real = line.take_from_client();
        let mut error: Option<TlsError> = None;
        for _ in 0..20 {
            let mut bytes = record(random, &real);
            let step = random.pick(&[1, 3, 100, 70_000]);
            for piece in bytes.chunks_mut(step) {
                let result = line.server.receive(piece, &mut line.plain, &mut line.out);
                if error.is_some() && !piece.is_empty() {
                    assert_eq!(result, Err(TlsError::Closed), "seed {seed}: an error is the last");
                } else if let Err(why) = result {
                    assert!(!why.to_string().is_empty() && !why.label().is_empty());
                    error = Some(why);
                }
                assert!(line.server.holds() <= HELD_BYTES_MAX, "seed {seed}: {}", line.server.holds());
            }
        }
        failed += u32::from(error.is_some());
        // What it still says never fails the process.
        let _ = line.server.send(b"more", &mut line.out);
        line.server.close(&mut line.out);
    }
    assert!(failed > 300, "{failed}");
}

#[test]
fn what_is_whole_is_told_of_any_bytes() {
    for seed in 0..20_000 {
        let random = &mut Random::new(seed);
        let len = random.below(80) as usize;
        let bytes = if random.chance(500) { random.bytes(len) } else { record(random, &[]) };
        let count = whole(&bytes);
        assert!(count <= bytes.len());
        // More bytes never make it less.
        let longer = [&bytes[..], &random.bytes(9)].concat();
        assert!(whole(&longer) >= count, "seed {seed}");
    }
}

#[test]
fn a_first_byte_of_anything_is_named_or_waited_for() {
    let authority = Authority::new();
    let server = server(&[&authority.sign(&[NAME], YEARS)]);
    for first in 0..=255_u8 {
        let mut session = Session::new(server.media()).unwrap();
        let result = session.receive(&mut [first, 3, 1], &mut Vec::new(), &mut Records::new());
        assert_eq!(result.is_ok(), first == 22, "{first}: {result:?}");
    }
}
