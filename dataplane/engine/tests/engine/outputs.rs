//! Output formats of the tests' own, which the engine knows from its table alone: audio as raw ADTS, made of blocks, and a play list of the
//! old kind, made of the window. Each is a row and the functions that it names.
use std::io::Write;

use bytes::Bytes;
use millstream_engine::config::IoChoice;
use millstream_engine::output::{Document, OutputFormat, Serve, Stream, unnumbered};
use millstream_hub::package::block::{Block, Format, Framing};
use millstream_proto::media::{TagKind, Track};
use millstream_proto::output::Output;

use crate::harness::{Answer, SOON, Server, config, connect, contains, eventually, frame, number, read_until};

static ADTS_OUTPUT: Output = Output { name: "adts", files: &["live.aac"], extension: "aac", packaged: false };

static ADTS_FRAMING: Framing = Framing { name: "adts", head: |_| Bytes::new(), block: adts };

static ADTS: OutputFormat = OutputFormat {
    protocol: "http-adts",
    role: Some("viewer_adts"),
    output: Some(&ADTS_OUTPUT),
    is_on: |_| true,
    serve: Serve::Stream(Stream {
        file: "live.aac",
        content_type: "audio/aac",
        format: Format::Framed(&ADTS_FRAMING),
        plain: Format::Framed(&ADTS_FRAMING),
        websocket: None,
    }),
};

/// The audio of a block with the headers of ADTS (ISO/IEC 14496-3, 1.A.2.2).
fn adts(block: &Block) -> Bytes {
    let record =
        block.stream_headers.audio.as_ref().map(|config| config.body[config.record_at..].to_vec()).unwrap_or_default();
    let [first, second, ..] = record[..] else { return Bytes::new() };
    let (profile, rate, channels) = ((first >> 3) - 1, (first & 7) << 1 | second >> 7, second >> 3 & 15);
    let mut out = Vec::new();
    for tag in block.frames().filter(|tag| tag.kind == TagKind::Audio && tag.body[1] == 1) {
        let data = &tag.body[2..];
        let length = data.len() + 7;
        out.extend([0xFF, 0xF1, profile << 6 | rate << 2 | channels >> 2]);
        out.extend([channels << 6 | (length >> 11) as u8, (length >> 3) as u8, (length as u8) << 5 | 0x1F, 0xFC]);
        out.extend(data);
    }
    out.into()
}

static PLS_OUTPUT: Output = Output { name: "pls", files: &["live.pls"], extension: "pls", packaged: true };

static PLS: OutputFormat = OutputFormat {
    protocol: "pls",
    role: None,
    output: Some(&PLS_OUTPUT),
    is_on: |outputs| outputs.hls,
    serve: Serve::Documents(&[Document {
        file: "live.pls",
        content_type: "audio/x-scpls",
        begins: true,
        reaches_back: false,
        render: |window, asked| {
            let known = window.playlist(Track::Audio, asked.directives);
            known.map(|_| unnumbered(Bytes::from_static(b"[playlist]\nFile1=audio.m3u8\nNumberOfEntries=1\n")))
        },
        max_age_s: |_| 7,
        rebase: |text, base| text.replace("File1=", &format!("File1={base}")),
    }]),
};

/// The frames of ADTS, as numbers.
fn numbers(mut bytes: &[u8]) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let [0xFF, 0xF1, shape, a, b, c, _, ..] = *bytes {
        assert_eq!((shape, a >> 6), (0x50, 2), "AAC-LC of 44.1 kHz in stereo");
        let length = usize::from(a & 3) << 11 | usize::from(b) << 3 | usize::from(c) >> 5;
        let Some(data) = bytes.get(7..length) else { break };
        numbers.extend(number(&(TagKind::Audio, 0, [&[0xAF, 1], data].concat())));
        bytes = &bytes[length..];
    }
    numbers
}

#[test]
fn a_format_of_blocks_is_a_row_of_the_table() {
    let config = config(IoChoice::Auto, 1);
    let formats = config.formats.clone().with(&ADTS).with(&PLS);
    let server = Server::start(millstream_engine::config::Config { formats, ..config });
    let mut publisher = server.encoder("live");
    publisher.send((0..30).map(frame));
    let viewers: Vec<_> = (0..2)
        .map(|n| {
            let mut socket = connect(server.at.http);
            socket.write_all(format!("GET /live/live.aac HTTP/1.{n}\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
            socket
        })
        .collect();
    eventually("both play", || server.metric("millstream_viewers", "http-adts") == 2);
    assert_eq!(server.metric("millstream_sessions", "viewer_adts"), 2);
    publisher.send_live(30..100);
    for mut socket in viewers {
        let audio = |bytes: &[u8]| {
            let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| &bytes[at + 4..]);
            body.map(numbers).unwrap_or_default()
        };
        let (bytes, _) = read_until(&mut socket, SOON, |bytes| audio(bytes).last() == Some(&99));
        assert!(contains(&bytes, "Content-Type: audio/aac") && !contains(&bytes, "chunked"));
        let got = audio(&bytes);
        // From the newest keyframe on, each frame of audio once and in order.
        assert!(got.first().is_some_and(|first| [1, 21].contains(first)), "{got:?}");
        assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 2) && got.last() == Some(&99), "{got:?}");
    }
    // Pages are told of it with the others, and the metrics know it.
    let status = Answer::get(server.at.http, "/live/live.json").text();
    assert!(status.contains(r#""flv":true,"hls":true,"dash":true,"adts":true,"pls":true}"#), "{status}");
    eventually("they have gone", || server.metric("millstream_viewers", "http-adts") == 0);
}

#[test]
fn a_format_of_the_window_is_a_row_of_the_table() {
    let config = config(IoChoice::Auto, 2);
    let formats = config.formats.clone().with(&PLS);
    let server = Server::start(millstream_engine::config::Config { formats, ..config });
    for stream in ["one", "two", "three"] {
        let mut publisher = server.encoder(stream);
        let mut asked = connect(server.at.http);
        asked.write_all(format!("GET /{stream}/live.pls HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        publisher.send((0..300).map(frame));
        let (bytes, _) = read_until(&mut asked, SOON, |bytes| contains(bytes, "NumberOfEntries"));
        for part in ["HTTP/1.1 200", "audio/x-scpls", "max-age=7", "[playlist]\nFile1=audio.m3u8\n"] {
            assert!(contains(&bytes, part), "{part} in {}", String::from_utf8_lossy(&bytes));
        }
        assert_eq!(Answer::get(server.at.http, &format!("/{stream}/live.aac")).status(), 404, "no row, no output");
    }
}
