//! An encoder as a task: it connects, asks, sends frames by the clock, and leaves as its plan says.
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use millstream_engine_simulated::io::{self, Port};
use millstream_proto::amf0::{Value, encode};
use millstream_proto::rtmp::chunk_write::{CSID_COMMAND, media_csid, write_media, write_message};
use millstream_proto::rtmp::message::kind::COMMAND;
use millstream_proto::rtmp::{ClientConfig, ClientEvent, ClientRole, ClientSession};
use millstream_proto::secret::Secret;
use millstream_test_support::random::Random;

use crate::encoder::Encoder;
use crate::plan::{Leave, PeerPlan, Role, address, introduction};
use crate::secured;
use crate::walk::{Walk, by};

/// The chunk size that encoders send with.
const CHUNK_BYTES: usize = 4_096;
/// The message stream of the second stream that an encoder publishes, and what it is to published ones beside its first.
const FURTHER: u32 = 2;
const FURTHER_NUMBER: usize = 200;

pub(crate) async fn run(walk: &Rc<Walk>, number: usize, plan: &PeerPlan) {
    let Role::Encoder(of_encoder) = &plan.role else { return };
    let Ok(stream) = secured::open(number, Port::Rtmp, address(number), plan.line()).await else { return };
    let mut random = Random::new(io::draw(u64::MAX));
    let query = plan.mood.query(number, Port::Rtmp);
    let mut rtmp = ClientSession::new(
        io::now(),
        ClientConfig {
            app: "stream".to_owned(),
            tc_url: Secret::new("rtmp://h/stream"),
            stream: Secret::new(format!("{}?{query}", plan.stream)),
            role: ClientRole::Publish,
            chunk_size: CHUNK_BYTES,
        },
    );
    let mut encoder = Encoder::new(of_encoder, number);
    let mut further: Option<(&'static str, Encoder)> = None;
    let (mut out, mut is_ready, mut next_at) = (BytesMut::from(introduction(number).as_bytes()), false, None);
    loop {
        while let Some(bytes) = rtmp.poll_output() {
            encoder.has_asked |= bytes.windows(10).any(|ten| ten == b"\x02\x00\x07publish");
            out.extend_from_slice(&bytes);
        }
        let now = io::now();
        if plan.leave != Leave::Stay && now >= plan.leaves_at() {
            break;
        }
        if is_ready || of_encoder.eager && encoder.has_asked {
            let due = *next_at.get_or_insert(now);
            if now >= due {
                // It drops what does not get through, as encoders do.
                if out.len() < 60_000 {
                    for (kind, stamp_ms, body) in encoder.messages(now, &mut random) {
                        walk.of_stream(plan.stream, |published| published.sent(number, kind, &body));
                        write_media(&mut out, kind, stamp_ms, &body, CHUNK_BYTES);
                    }
                    if let Some((stream, encoder)) = &mut further {
                        for (kind, stamp_ms, body) in Encoder::messages(encoder, now, &mut random) {
                            walk.of_stream(stream, |published| published.sent(number + FURTHER_NUMBER, kind, &body));
                            let csid = media_csid(kind);
                            write_message(&mut out, csid, stamp_ms, kind as u8, FURTHER, &body, CHUNK_BYTES);
                        }
                    }
                }
                let wait_ms = if random.chance(8) { random.below(7_000) } else { of_encoder.pace_ms };
                next_at = Some(now + Duration::from_millis(wait_ms));
            }
        }
        while !out.is_empty() {
            match stream.write_now(&out) {
                Ok(0) => break,
                Ok(count) => drop(out.split_to(count)),
                Err(_) => return,
            }
        }
        let poll = now + Duration::from_millis(if out.is_empty() { 200 } else { 3 });
        let until = next_at.map_or(poll, |at| at.min(poll)).min(plan.leaves_at().max(now));
        match by(until, stream.read(4_096)).await {
            None => {}
            Some(Err(_)) => return,
            Some(Ok(bytes)) if bytes.is_empty() => return,
            Some(Ok(bytes)) => {
                rtmp.handle_input(io::now(), &bytes).unwrap_or_else(|error| panic!("to an encoder: {error}"));
            }
        }
        while let Some(event) = rtmp.poll_event() {
            match event {
                ClientEvent::Ready => {
                    assert!(plan.mood.admits(), "peer {number} is let in against the door's will");
                    is_ready = true;
                    walk.saw("publishes", 1);
                    if let Some(stream) = of_encoder.further {
                        walk.saw("further streams", 1);
                        ask_further(&mut out, &format!("{stream}?{query}"));
                        further = Some((stream, Encoder::new(of_encoder, number + FURTHER_NUMBER)));
                    }
                }
                ClientEvent::Refused { description, .. } => {
                    assert!(!is_ready, "refused after it was accepted");
                    let undecided = description.contains("took too long") || description.contains("cannot decide");
                    let draining = walk.settings.drain_at.is_some_and(|at| at <= io::now());
                    assert!(
                        !undecided || draining || !plan.mood.admits(),
                        "peer {number} gets no answer: {description}"
                    );
                    walk.saw("refused", 1);
                    return;
                }
                _ => {}
            }
        }
    }
    walk.saw("TLS", u64::from(is_ready && stream.has_shaken_hands()));
    match plan.leave {
        Leave::Polite => {
            rtmp.finish();
            while let Some(bytes) = rtmp.poll_output() {
                out.extend_from_slice(&bytes);
            }
            let _ = by(io::now() + Duration::from_secs(1), stream.end_with(&out)).await;
        }
        Leave::Cut => stream.cut(),
        Leave::Stay | Leave::Close => {}
    }
}

/// Asks for a message stream, and to publish on it without waiting for the answer.
fn ask_further(out: &mut BytesMut, name: &str) {
    let create = [Value::string("createStream"), Value::Number(20.0), Value::Null];
    let publish =
        [Value::string("publish"), Value::Number(21.0), Value::Null, Value::string(name), Value::string("live")];
    write_message(out, CSID_COMMAND, 0, COMMAND, 0, &encode(&create), CHUNK_BYTES);
    write_message(out, CSID_COMMAND, 0, COMMAND, FURTHER, &encode(&publish), CHUNK_BYTES);
}
