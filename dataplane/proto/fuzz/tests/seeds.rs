//! Runs every target on stable Rust: on each seed and damaged copies of it, and on what fuzzing has found so far. `write_seeds` makes the
//! seeds.
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_proto::media::TagKind;
use millstream_proto_fuzz::TARGETS;

const DAMAGED_COPIES_PER_SEED: u32 = 2_000;
/// Each of these has hands shaken.
const DAMAGED_COPIES_OF_TLS: u32 = 150;

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let entries = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// See `corpus.py`.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    text.lines().map(|line| STANDARD.decode(line).unwrap()).collect()
}

/// Marsaglia's xorshift64: the same damage in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if end == 0 { 0 } else { (self.0 % end as u64) as usize }
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF][self.below(6)],
                2 => bytes.truncate(at),
                _ => bytes.insert(at, self.below(256) as u8),
            }
        }
    }
}

#[test]
fn seeds_and_damaged_copies() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for (path, seed) in seeds {
            println!("{}", path.display());
            target(&seed);
            let mut random = Random(0x4D69_6C6C);
            let copies = if *name == "tls" { DAMAGED_COPIES_OF_TLS } else { DAMAGED_COPIES_PER_SEED };
            for _ in 0..copies {
                let mut bytes = seed.clone();
                random.damage(&mut bytes);
                target(&bytes);
            }
        }
    }
}

/// Inputs that reach code that no other one does: found by fuzzing, reduced by libFuzzer's `-set_cover_merge`.
#[test]
fn what_fuzzing_has_found() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for (line, input) in corpus.iter().enumerate() {
            println!("corpus/{name}:{}", line + 1);
            target(input);
        }
    }
}

#[test]
#[ignore = "writes into the source tree"]
fn write_seeds() {
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), bytes).unwrap();
    };
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let read = |name: &str| fs::read(data.join(name)).unwrap();
    let flv = read("av.flv");
    for (first, name) in [(0, "whole"), (1, "bytes"), (4, "sevens")] {
        write("flv_read", name, &[&[first], &flv[..1200]].concat());
    }
    for name in ["clip.mp4", "clip.flv"] {
        write("clip", name, &read(name));
    }
    let message = |kind: u8, stamp_ms: u32, body: &[u8]| {
        [&[kind], &stamp_ms.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
    };
    let messages: Vec<_> = millstream_proto::flv::tags(&flv[13..1400])
        .map(|tag| {
            let kind = match tag.kind {
                TagKind::Audio => 0,
                TagKind::Video => 1,
                TagKind::Script => 2,
            };
            message(kind, tag.timestamp_ms, tag.body)
        })
        .collect();
    write("unpack", "ffmpeg", &messages.concat());
    let records = [
        ("avc", "avcc"),
        ("hevc", "hvcc"),
        ("av1", "av1c"),
        ("vp9", "vpcc"),
        ("aac", ""),
        ("opus", "dops"),
        ("flac", "dfla"),
    ];
    for (index, (name, file)) in records.into_iter().enumerate() {
        let mut record = if file.is_empty() { vec![0x12, 0x10, 0x56, 0xE5, 0] } else { read(&format!("{file}.bin")) };
        record.truncate(200);
        if name == "flac" {
            record.drain(..4);
        }
        write("codec", name, &[&[index as u8], &record[..]].concat());
        // The other target has no VP9.
        let place = ["avc", "hevc", "av1", "aac", "opus", "flac"].iter().position(|known| *known == name);
        if let Some(place) = place {
            write("cmaf", name, &[&[place as u8], &record[..]].concat());
        }
        if name == "flac" {
            write("codec", "flac_bare", &[&[index as u8], &record[4..38]].concat());
        }
    }
    write_tracks(&write, &read("avcc.bin"));
    let head = [&b"\x90av01"[..], &read("av1c.bin")].concat();
    let enhanced = [
        message(1, 0, &head),
        message(1, 0, b"\x91av01obu"),
        message(0, 0, b"\x90OpusOpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0"),
        message(0, 20, b"\x97\x02\0\0\x09\x01Opuso"),
        message(0, 20, b"\x95\x11Opus\x01\0\0\x01b\0\0\0\x01a"),
        message(0, u32::MAX, b"\x91Opuso"),
        message(0, 5, b"\x94mp4a\x01\x02\0\0\0\x03"),
    ];
    write("unpack", "enhanced", &enhanced.concat());
    // Parameter sets in the key frames, start codes, ADTS, and a track that is left out.
    let avcc = read("avcc.bin");
    let sps = &avcc[8..8 + usize::from(avcc[7])];
    let pps = &avcc[8 + sps.len() + 3..][..usize::from(avcc[8 + sps.len() + 2])];
    let code = b"\0\0\0\x01";
    let lengths = |units: &[&[u8]]| {
        units.iter().map(|unit| [&[0, 0, 0, unit.len() as u8], *unit].concat()).collect::<Vec<_>>().concat()
    };
    let adts = b"\xff\xf1\x50\x80\x01\x7f\xfc!raw\xff\xf0\x50\x80\x01\xbf\xfccc!two";
    let odd = [
        message(1, 0, b"\x17\0\0\0\0"),
        message(1, 0, &[b"\x17\x01\0\0\0", &lengths(&[sps, pps, b"\x65slice"])[..]].concat()),
        message(1, 40, &[b"\x17\x01\0\0\0", &code[..], sps, &code[1..], pps, code, b"\x65slice\0"].concat()),
        message(1, 0, &[b"\x17\0\0\0\0", &code[..], sps, code, pps].concat()),
        message(0, 0, &[b"\xaf\x01", &adts[..]].concat()),
        message(0, 9, &[b"\xaf\0", &adts[..]].concat()),
        message(0, 9, b"\x7fa"),
    ];
    write("unpack", "odd", &odd.concat());
    let hvcc = read("hvcc.bin");
    let annex_b = [
        &b"\x1c\x01\0\0\0"[..],
        code,
        &hvcc[28..52],
        code,
        &hvcc[57..99],
        code,
        &hvcc[104..111],
        code,
        b"\x26\x01slice",
    ]
    .concat();
    write("unpack", "odd_hevc", &message(1, 0, &annex_b));
    write(
        "http_request",
        "player",
        b"GET /cam/live.flv?sign=v2-1-a HTTP/1.1\r\nHost: a:8080\r\nRange: bytes=0-\r\n\r\n",
    );
    write("http_request", "old", b"HEAD http://a/b%20c/.../%252e HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /");
    write("http_request", "post", b"POST /cam/grant HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}");
    write(
        "http_request",
        "bad",
        b"GET /a/../b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n",
    );
    write("query", "signed", b"sign=1670544000-63497837275539bdb8e21800887e2db9&start=next");
    write("cmcd", "first", b"bl=1200,br=3000,bs,d=2000,ot=v,sf=h,sid=\"a-b\",st=l,su");
    write(
        "cmcd",
        "second",
        b"bl=(900;v 80;a),br=(3000),bsd=(300 40),cid=\"x\\\",y\",ltc=1800,msd=900,sid=\"s\",sta=r,v=2",
    );
    write("hls_request", "blocking", b"_HLS_msn=1795531265&_HLS_part=3&_HLS_skip=YES");
    write("hls_request", "twice", b"_HLS_msn=1&_HLS_msn=-1&_HLS_part=0");
    write("hls_request", "range", b"bytes=100-199");
    write("recorded", "playlist", b"cam/rec/1795531265250-19ab/video.m3u8");
    write("recorded", "media", b"cam/rec/1795531265250-19ab/audio/1795531265.m4s");
    write("recorded", "vod", b"cam/vod-1795531265250.m3u8");
    write("recorded", "mp4", b"cam/motion/mp4/2026/11/24/1795531265250.mp4");
    let masked = |first: u8, payload: &[u8]| {
        let payload: Vec<u8> = payload.iter().map(|byte| byte ^ 0x55).collect();
        [&[first, 0x80 | payload.len() as u8, 0x55, 0x55, 0x55, 0x55], &payload[..]].concat()
    };
    let talk =
        [masked(0x01, b"he"), masked(0x89, b"ping"), masked(0x80, b"llo"), masked(0x88, b"\x03\xe8bye"), vec![0xFF]];
    write("websocket", "talk", &[&[3], &talk.concat()[..]].concat());
    write(
        "websocket",
        "long",
        &[&[200, 0x82, 0xFE, 0x01, 0x2C, 1, 2, 3, 4], &[7; 300][..], &[0x8A, 0x80, 0, 0, 0, 0]].concat(),
    );
    write("websocket", "longer", b"\x01\x82\xff\0\0\0\0\0\x01\0\x01\0\0\0\0");
    write("http_request", "websocket", b"GET /cam/live.flv HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a, b\r\n\r\n");
    write("query", "escapes", b"a=%e4%bd%a0&&b&sign=%2B+&sign=");
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let v4 = b"\x21\x11\0\x13\xc0\0\x02\x01\xc6\x33\x64\x07\x03\xe8\x07\x8f\x04\0\x04abcd\x03";
    write("proxy", "v4", &[signature, &v4[..]].concat());
    write("proxy", "v6", &[signature, &b"\x21\x21\0\x24"[..], &[0x20; 36]].concat());
    write("proxy", "local", &[signature, &b"\x20\0\0\0"[..]].concat());
    write("proxy", "network", b"2001:db8::/32");
    write("sign", "legacy", b"1670544000-63497837275539bdb8e21800887e2db9");
    write("sign", "v2", b"v2-1670544000-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    write("sign", "key", b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n");
    write("amf0", "metadata", millstream_proto::flv::tags(&flv[13..]).next().unwrap().body);
    write(
        "amf0",
        "values",
        b"\x00\x40\x08\0\0\0\0\0\0\x01\x01\x05\x06\x0a\0\0\0\x01\x05\x0b\0\0\0\0\0\0\0\0\0\0\x0c\0\0\0\x01a",
    );
    write_http2(&write);
    write("rtmp_server", "enhanced_connect", &[&[0x80], &enhanced_connect()[..]].concat());
    write_sessions(&write);
    write_tls(&write);
}

/// Steps of a connection: see the target.
fn write_tls(write: &dyn Fn(&str, &str, &[u8])) {
    let step = |what: u8, bytes: &[u8]| [&[what, bytes.len() as u8], bytes].concat();
    let talk = [step(1, b"GET / HTTP/1.1"), step(5, b"HTTP/1.1 200 OK"), step(1, b"more"), step(6, b"")].concat();
    for (first, name) in [(0x80, "talk"), (0x83, "talk_bytes"), (0xC5, "talk_12")] {
        write("tls", name, &[&[first], &talk[..]].concat());
    }
    let hello = [step(1, b""), step(5, b"too early"), step(7, b""), step(1, b"now")].concat();
    write("tls", "by_steps", &[&[0x02], &hello[..]].concat());
    // A hello of anybody's making, an alert, records of no type, and one that is longer than any.
    let raw =
        [step(0, b"\x16\x03\x01\0\x2e\x01\0\0\x2a\x03\x03"), step(0, &[7; 32]), step(0, b"\0\0\x02\x13\x01\x01\0")]
            .concat();
    write("tls", "hello", &[&[0x00], &raw[..]].concat());
    let raw = [step(0, b"\x15\x03\x03\0\x02\x01\0"), step(0, b"\x17\x03\x03\x48\x01a"), step(0, b"\x18\x03\x03\0\0")]
        .concat();
    write("tls", "raw", &[&[0x81], &raw[..]].concat());
    let hostile = [step(1, b"right"), step(2, &[9]), step(1, b"behind")].concat();
    write("tls", "changed", &[&[0x80], &hostile[..]].concat());
    write("tls", "cut", &[&[0xC6], &step(3, &[3])[..], &step(1, b"behind")].concat());
    write("tls", "twice", &[&[0x80], &step(4, b"again")[..]].concat());
}

/// Tracks as our packager writes them, each with a hole.
fn write_tracks(write: &dyn Fn(&str, &str, &[u8]), avcc: &[u8]) {
    use millstream_proto::cmaf::fragment::{Sample, fragment};
    use millstream_proto::cmaf::init::init;
    use millstream_proto::media::{Codec, CodecConfig, Track};

    let video = CodecConfig { track: Track::Video, codec: Codec::Avc, body: avcc.to_vec().into(), record_at: 0 };
    let audio = CodecConfig { track: Track::Audio, codec: Codec::Aac, body: vec![0x12, 0x10].into(), record_at: 0 };
    for (name, cut, config) in
        [("video", 0, &video), ("video_cut", 7, &video), ("audio", 0, &audio), ("audio_cut", 3, &audio)]
    {
        let header = init(config).unwrap().bytes;
        let sample = |composition, sync, data| Sample { duration: 3000, composition, sync, data };
        let group: [Sample; 3] = if config.track == Track::Video {
            [sample(3000, true, b"key"), sample(6000, false, b"p"), sample(-90, false, b"b")]
        } else {
            [sample(0, true, b"one"), sample(0, true, b"two"), sample(0, true, b"three")]
        };
        let fragments: Vec<_> =
            [0, 9_000, 20_000].iter().enumerate().map(|(n, at)| fragment(n as u32 + 1, *at, &group).unwrap()).collect();
        let length = (header.len() as u16).to_be_bytes();
        write("mp4", name, &[&[cut], &length[..], &header, &fragments.concat()].concat());
    }
}

/// What clients say, and what they should not.
fn write_http2(write: &dyn Fn(&str, &str, &[u8])) {
    use millstream_proto::http2::PREFACE;
    use millstream_proto::http2::hpack::encode_field;

    let block = |fields: &[(&str, &str)]| {
        let mut block = Vec::new();
        fields.iter().for_each(|(name, value)| encode_field(&mut block, name.as_bytes(), value.as_bytes()));
        block
    };
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let get = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/cam/live.flv")];
    let post = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/cam/grant")];
    let with = |more: &[(&str, &str)]| block(&[&post[..], more].concat());
    let settings = frame(4, 0, 0, b"\0\x01\0\0\0\0\0\x04\0\0\0\x10\0\x05\0\0\x50\0");
    // With the preface, as browsers begin.
    let whole = [
        PREFACE.to_vec(),
        settings.clone(),
        frame(8, 0, 0, b"\0\x10\0\0"),
        frame(1, 0x25, 1, &[&b"\x80\0\0\0\xff"[..], &block(&get)].concat()),
        frame(4, 1, 0, b""),
        frame(8, 0, 1, b"\0\0\x10\0"),
        frame(6, 0, 0, b"12345678"),
    ]
    .concat();
    for (first, name) in [(0, "browser"), (1, "browser_bytes"), (4, "browser_sevens")] {
        write("http2", name, &[&[first], &whole[..]].concat());
    }
    // Behind the preface that the target puts in front.
    let cases: [(&str, u8, Vec<Vec<u8>>); 6] = [
        (
            "post",
            0x84,
            vec![
                frame(1, 0x4, 1, &with(&[("content-length", "6"), ("cookie", "a=b"), ("cookie", "c=d")])),
                frame(0, 0x8, 1, b"\x02abc\0\0"),
                frame(0, 0, 1, b"def"),
                frame(1, 0x5, 1, &block(&[("x-sum", "1")])),
                frame(1, 0x5, 3, &block(&get)),
            ],
        ),
        (
            "continuation",
            0x83,
            vec![
                frame(1, 1, 1, &block(&get)[..3]),
                frame(9, 0, 1, &block(&get)[3..5]),
                frame(9, 4, 1, &block(&get)[5..]),
            ],
        ),
        (
            "windows",
            0xA0,
            vec![
                settings.clone(),
                frame(1, 0x5, 1, &block(&get)),
                frame(1, 0x5, 5, &block(&get)),
                frame(8, 0, 5, b"\0\0\0\x20"),
                frame(4, 0, 0, b"\0\x04\0\0\0\x01"),
                frame(8, 0, 5, b"\0\0\x40\0"),
                frame(8, 0, 1, b"\x7f\xff\xff\xff"),
                frame(8, 0, 0, b"\0\0\0\0"),
            ],
        ),
        (
            "resets",
            0xC0,
            vec![
                frame(1, 0x4, 1, &block(&post)),
                frame(3, 0, 1, b"\0\0\0\x08"),
                frame(1, 0x5, 3, &block(&get)),
                frame(6, 1, 0, b"millstrm"),
                frame(1, 0x5, 5, &block(&get)),
                frame(0, 1, 3, b"late"),
                frame(7, 0, 0, b"\0\0\0\0\0\0\0\0bye"),
            ],
        ),
        (
            "malformed",
            0x80,
            vec![
                frame(1, 0x5, 1, &block(&get[1..])),
                frame(1, 0x5, 3, &with(&[("Upper", "a")])),
                frame(1, 0x5, 5, &with(&[("connection", "close")])),
                frame(1, 0x5, 7, &block(&[(":method", "CONNECT"), (":authority", "a:1")])),
                frame(2, 0, 9, b"\0\0\0\x09\x10"),
            ],
        ),
        (
            "table",
            0x80,
            vec![
                frame(1, 0x5, 1, &[&block(&get)[..], b"\x40\x05x-one\x03two\x40\x82\x94\xe7\x01v\xbe\xbf"].concat()),
                frame(1, 0x5, 3, b"\x20\x3f\xe1\x1f\x82\x87\x84\x40\x01a\x01b\xbe"),
                frame(1, 0x5, 5, b"\x82\x87\x84\xc5"),
            ],
        ),
    ];
    for (name, first, frames) in cases {
        write("http2", name, &[&[first], &frames.concat()[..]].concat());
    }
    let blocks =
        |blocks: &[&[u8]]| blocks.iter().flat_map(|block| [&[block.len() as u8], *block].concat()).collect::<Vec<_>>();
    write("hpack", "written", &blocks(&[&block(&get), &with(&[("cookie", "a=b"), ("x-millstream-edge", "key")])]));
    // RFC 7541, C.4: three requests with the table between them.
    let requests: [&[u8]; 3] = [
        b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
        b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf",
        b"\x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    ];
    write("hpack", "rfc", &blocks(&requests));
    let sizes: [&[u8]; 3] =
        [b"\x3f\x21\x40\x01a\x01b\x40\x01c\x01d\xbe", b"\x20\x3f\xe1\x1f\x10\x01e\x01f", b"\x0f\x10\x03gif\xbe"];
    write("hpack", "sizes", &blocks(&sizes));
}

/// `connect` as an encoder that knows Enhanced RTMP v2 says it.
fn enhanced_connect() -> Vec<u8> {
    use millstream_proto::amf0::{Value, encode};

    let list = ["hvc1", "av01", "Opus"].map(Value::string).into();
    let connect = Value::object([
        ("app", Value::string("stream")),
        ("fourCcList", Value::StrictArray(list)),
        ("videoFourCcInfoMap", Value::object([("*", Value::Number(4.0)), ("vp09", Value::Number(3.0))])),
        ("audioFourCcInfoMap", Value::object([("fLaC", Value::Number(2.0))])),
        ("capsEx", Value::Number(15.0)),
    ]);
    let payload = encode(&[Value::string("connect"), Value::Number(1.0), connect]);
    let mut out = bytes::BytesMut::new();
    millstream_proto::rtmp::chunk_write::write_message(&mut out, 3, 0, 20, 0, &payload, 128);
    out.to_vec()
}

/// What our own two ends say to each other.
fn write_sessions(write: &dyn Fn(&str, &str, &[u8])) {
    use millstream_proto::rtmp::{ClientEvent, ClientRole, Event, ServerConfig, ServerSession};
    use millstream_proto::time::Time;

    for (role, name, bit) in [(ClientRole::Publish, "publish", 0x40), (ClientRole::Play, "play", 0)] {
        let mut client = millstream_proto_fuzz::rtmp::client(role);
        let mut server = ServerSession::new(Time::ZERO, ServerConfig::default());
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            while let Some(bytes) = client.poll_output() {
                to_server.extend_from_slice(&bytes);
                server.handle_input(Time::ZERO, &bytes).unwrap();
            }
            while let Some(event) = server.poll_event() {
                if matches!(event, Event::PublishRequested(_) | Event::PlayRequested(_)) {
                    server.accept(Time::ZERO).unwrap();
                }
            }
            while let Some(bytes) = server.poll_output() {
                to_client.extend_from_slice(&bytes);
                client.handle_input(Time::ZERO, &bytes).unwrap();
            }
            while let Some(event) = client.poll_event() {
                if event == ClientEvent::Ready && role == ClientRole::Publish {
                    client.send(TagKind::Audio, 0, b"\xaf\0\x12\x10").unwrap();
                    client.send(TagKind::Audio, 23, b"\xaf\x01abc").unwrap();
                    client.finish();
                }
            }
        }
        // Behind the two handshake packets: the targets put some of their own in front.
        let (from_client, from_server) = (&to_server[1 + 2 * 1536..], &to_client[1 + 2 * 1536..]);
        write("rtmp_server", name, &[&[0x80], from_client].concat());
        write("rtmp_server", &format!("{name}_in_pieces"), &[&[0x85], from_client].concat());
        write("rtmp_server", &format!("{name}_with_handshake"), &[&[7], &to_server[..]].concat());
        write("rtmp_client", name, &[&[0x80 | bit], from_server].concat());
        write("rtmp_client", &format!("{name}_in_pieces"), &[&[0x83 | bit], from_server].concat());
        write("rtmp_chunk", name, &[&[2], from_client].concat());
        write("rtmp_chunk", &format!("{name}_answers"), &[&[0], from_server].concat());
    }
}
