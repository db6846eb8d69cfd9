//! `rml_rtmp`'s client as a peer that shares no code with ours but the handshake.
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession as Peer, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType,
    StreamMetadata,
};
use rml_rtmp::time::RtmpTimestamp;

use super::*;

struct Strangers {
    peer: Peer,
    server: ServerSession,
    now: Time,
    seen: Vec<ClientSessionEvent>,
}

impl Strangers {
    /// Both past the handshake, and connected.
    fn connected() -> Self {
        let now = Time::from_millis(1);
        let mut server = ServerSession::new(now, ServerConfig::default());
        let mut handshake = Handshake::new(PeerType::Client);
        server.handle_input(now, &handshake.generate_outbound_p0_and_p1().unwrap()).unwrap();
        let answer = server.poll_output().unwrap();
        let HandshakeProcessResult::Completed { response_bytes, .. } = handshake.process_bytes(&answer).unwrap() else {
            panic!("the handshake goes on");
        };
        server.handle_input(now, &response_bytes).unwrap();
        let mut config = ClientSessionConfig::new();
        config.tc_url = Some("rtmp://host/stream".into());
        let (peer, first) = Peer::new(config).unwrap();
        let mut strangers = Self { peer, server, now, seen: Vec::new() };
        strangers.carry(first);
        let connect = strangers.peer.request_connection("stream".into()).unwrap();
        strangers.carry(vec![connect]);
        assert_eq!(strangers.seen, [ClientSessionEvent::ConnectionRequestAccepted]);
        assert_eq!(strangers.server.stats().c2_mismatches, 0);
        strangers.seen.clear();
        strangers
    }

    fn carry(&mut self, results: Vec<ClientSessionResult>) {
        let mut results = std::collections::VecDeque::from(results);
        loop {
            while let Some(result) = results.pop_front() {
                match result {
                    ClientSessionResult::OutboundResponse(packet) => {
                        self.server.handle_input(self.now, &packet.bytes).unwrap();
                    }
                    ClientSessionResult::RaisedEvent(event) => self.seen.push(event),
                    ClientSessionResult::UnhandleableMessageReceived(_) => {}
                }
            }
            let Some(bytes) = self.server.poll_output() else { return };
            results.extend(self.peer.handle_input(&bytes).unwrap());
        }
    }

    fn names(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.server.poll_event()).map(|event| name(&event)).collect()
    }
}

#[test]
fn publishes() {
    let mut strangers = Strangers::connected();
    let ask = strangers.peer.request_publishing("id?sign=1-ab".into(), PublishRequestType::Live).unwrap();
    strangers.carry(vec![ask]);
    assert_eq!(strangers.names(), ["publish stream/id"]);
    strangers.server.accept(strangers.now).unwrap();
    strangers.carry(vec![]);
    assert!(strangers.seen.contains(&ClientSessionEvent::PublishRequestAccepted));
    let mut metadata = StreamMetadata::new();
    metadata.video_width = Some(640);
    let mut results = vec![strangers.peer.publish_metadata(&metadata).unwrap()];
    let start = RtmpTimestamp::new(0);
    results.push(strangers.peer.publish_video_data(avc_config().into(), start, false).unwrap());
    results.push(strangers.peer.publish_audio_data(Bytes::from_static(AAC_CONFIG), start, false).unwrap());
    let mut expected: Vec<_> = ["metadata", "config Avc", "config Aac"].map(str::to_owned).into();
    // Deltas that repeat, so that it sends every header format.
    for stamp in [0, 40, 80, 120, 153, 186, 0xFF_FFFF, 0x100_0028] {
        let video = Bytes::from(keyframe(10_000));
        results.push(strangers.peer.publish_video_data(video, RtmpTimestamp::new(stamp), false).unwrap());
        let audio = Bytes::from_static(b"\xaf\x01abc");
        results.push(strangers.peer.publish_audio_data(audio, RtmpTimestamp::new(stamp + 3), false).unwrap());
        expected.extend([format!("frame Avc {stamp}"), format!("frame Aac {}", stamp + 3)]);
    }
    results.extend(strangers.peer.stop_publishing().unwrap());
    expected.push("PublishEnded".into());
    strangers.carry(results);
    assert_eq!(strangers.names(), expected);
}

#[test]
fn plays() {
    let mut strangers = Strangers::connected();
    let ask = strangers.peer.request_playback("id".into()).unwrap();
    strangers.carry(vec![ask]);
    assert_eq!(strangers.names(), ["play stream/id"]);
    strangers.server.accept(strangers.now).unwrap();
    strangers.carry(vec![]);
    assert!(strangers.seen.contains(&ClientSessionEvent::PlaybackRequestAccepted));
    strangers.seen.clear();
    let mut shared = bytes::BytesMut::new();
    let size = ServerConfig::default().chunk_size;
    for stamp in [0, 40, 0xFF_FFFF, 0x100_0000, u32::MAX] {
        chunk_write::write_media(&mut shared, TagKind::Video, stamp, &keyframe(130_000), size);
        chunk_write::write_media(&mut shared, TagKind::Audio, stamp, b"\xaf\x01abc", size);
    }
    let results = strangers.peer.handle_input(&shared).unwrap();
    strangers.carry(results);
    let mut expected = Vec::new();
    for stamp in [0, 40, 0xFF_FFFF, 0x100_0000, u32::MAX] {
        let timestamp = RtmpTimestamp::new(stamp);
        expected.push(ClientSessionEvent::VideoDataReceived { timestamp, data: Bytes::from(keyframe(130_000)) });
        let data = Bytes::from_static(b"\xaf\x01abc");
        expected.push(ClientSessionEvent::AudioDataReceived { timestamp, data });
    }
    assert_eq!(strangers.seen.len(), expected.len());
    assert!(strangers.seen == expected);
    let results = strangers.peer.stop_playback().unwrap();
    strangers.carry(results);
    assert_eq!(strangers.names(), ["PlayEnded"]);
}
