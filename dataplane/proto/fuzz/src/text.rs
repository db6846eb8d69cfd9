//! What viewers, URLs and proxies say.
use millstream_proto::cmcd;
use millstream_proto::hls::request::Directives;
use millstream_proto::http::range::{self, Wanted};
use millstream_proto::http::request::{Parsed, parse};
use millstream_proto::http::response;
use millstream_proto::http::websocket::{Reader, Said};
use millstream_proto::id::Id;
use millstream_proto::limits::{
    CMCD_BYTES_MAX, CMCD_SESSION_BYTES_MAX, HTTP_BODY_BYTES_MAX, PROXY_HEADER_BYTES_MAX, WEBSOCKET_CONTROL_BYTES_MAX,
};
use millstream_proto::network::Network;
use millstream_proto::proxy;
use millstream_proto::query::Params;
use millstream_proto::recorded::RecordedPath;

/// A request head. Its paths never go up; a head that is whole is partial before its last byte; refusals have a status.
pub fn http_request(data: &[u8]) {
    match parse(data) {
        Ok(Parsed::Complete { request, head_bytes }) => {
            for (index, segment) in request.path.iter().enumerate() {
                assert!(
                    !segment.is_empty() || index > 0 && index + 1 == request.path.len(),
                    "only the last may be empty"
                );
                assert!(!matches!(segment.as_str(), "." | ".."), "{segment:?}");
                assert!(!segment.contains(|c: char| matches!(c, '/' | '\\') || c.is_control()), "{segment:?}");
            }
            assert!(request.content_length <= HTTP_BODY_BYTES_MAX);
            assert!(data[..head_bytes].ends_with(b"\r\n"));
            assert_eq!(
                parse(&data[..head_bytes]),
                Ok(Parsed::Complete { request, head_bytes }),
                "what follows is not read"
            );
            assert_eq!(parse(&data[..head_bytes - 1]), Ok(Parsed::Partial));
        }
        Ok(Parsed::Partial) => {}
        Err(refused) => {
            let answer = response::error(refused.status(), &refused.to_string(), false, false, None);
            assert!(answer.starts_with(b"HTTP/1.1 4") || answer.starts_with(b"HTTP/1.1 5"));
        }
    }
    let head = response::Head::new(302, response::Body::None, response::Cache::NoStore, true);
    let head = head.header("Location", &String::from_utf8_lossy(data)).finish();
    assert_eq!(head.windows(4).filter(|window| window == b"\r\n\r\n").count(), 1, "no value splits a head");
    assert_eq!(head.iter().filter(|byte| **byte == b'\n').count(), 7);
}

/// A query string. Values do not print.
pub fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(params) = Params::parse(text) {
        assert_eq!(params.get("sign"), params.all("sign").next());
        assert!(params.len() <= text.len());
    }
}

/// What a player says of itself. Its session is a part of what it said; what is too long is not read.
pub fn cmcd(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let report = cmcd::parse(text);
    assert_eq!(report.is_none(), text.len() > CMCD_BYTES_MAX);
    let session = report.and_then(|report| report.session);
    assert_eq!(session.is_some(), cmcd::session_id(text).is_some());
    if let Some(session) = session {
        assert!(text.contains(session) && session.len() <= CMCD_SESSION_BYTES_MAX);
    }
}

/// A path of what was recorded. What is taken is what the text says, and goes nowhere else.
pub fn recorded(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((Ok(id), below)) = text.split_once('/').map(|(id, below)| (Id::new(id), below)) else { return };
    let below: Vec<&str> = below.split('/').collect();
    match RecordedPath::parse(id, &below) {
        Ok(path) => {
            assert_eq!(path.to_string(), text);
            assert!(RecordedPath::is_meant(&below));
            assert!(text.split('/').all(|segment| !segment.is_empty() && !segment.starts_with('.')));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A PROXY protocol header, and a network as text. What follows a header is not read; before its last byte it is partial.
pub fn proxy(data: &[u8]) {
    match proxy::parse(data) {
        Ok(proxy::Parsed::Complete { source, secure, header_bytes }) => {
            assert!(header_bytes <= PROXY_HEADER_BYTES_MAX && header_bytes <= data.len());
            let whole = proxy::parse(&data[..header_bytes]);
            assert_eq!(whole, Ok(proxy::Parsed::Complete { source, secure, header_bytes }), "what follows is not read");
            assert_eq!(proxy::parse(&data[..header_bytes - 1]), Ok(proxy::Parsed::Partial));
        }
        Ok(proxy::Parsed::Partial) => assert!(data.len() < PROXY_HEADER_BYTES_MAX),
        Err(error) => assert!(error.label().starts_with("proxy_")),
    }
    if let Some(network) = std::str::from_utf8(data).ok().and_then(|text| text.parse::<Network>().ok()) {
        assert_eq!(network.to_string().parse(), Ok(network));
    }
}

/// Delivery directives in a query, and a range. What is taken is what the text says; a range lies within its file.
pub fn hls_request(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(params) = Params::parse(text) {
        match Directives::parse(&params) {
            Ok(directives) => {
                let msn = directives.until.map(|until| until.msn);
                assert_eq!(msn, params.get("_HLS_msn").map(|msn| msn.parse().expect("a number")));
                assert!(params.all("_HLS_msn").count() <= 1 && params.all("_HLS_part").count() <= 1);
                assert!(directives.until.is_some() || params.get("_HLS_part").is_none());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    for bytes in [0, 1, 1000, u64::MAX] {
        if let Wanted::Part(from, to) = range::wanted(text, bytes) {
            assert!(from < to && to <= bytes);
        }
    }
}

/// What a client says over a WebSocket. In which pieces it comes changes nothing; nothing is heard behind the goodbye or an error.
pub fn websocket(data: &[u8]) {
    let listen = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut reader, mut heard, mut outcome) = (Reader::default(), Vec::new(), Ok(()));
        for piece in pieces {
            let read = reader.read(piece, &mut |said| {
                assert!(!matches!(heard.last(), Some((Some(_), _))), "nothing is heard behind the goodbye");
                heard.push(match said {
                    Said::Ping(payload) => (None, payload.to_vec()),
                    Said::Close(code) => (Some(code), Vec::new()),
                });
            });
            assert!(outcome.is_ok() || read.is_ok(), "an error is told once");
            outcome = outcome.and(read);
        }
        (heard, outcome)
    };
    let whole = listen(&mut data.get(1..).into_iter());
    assert_eq!(listen(&mut crate::pieces(data)), whole, "pieces change nothing");
    let (heard, outcome) = whole;
    assert!(heard.iter().all(|(_, payload)| payload.len() <= WEBSOCKET_CONTROL_BYTES_MAX));
    assert!(outcome.map_or_else(|violation| matches!(violation.code(), 1002 | 1007 | 1009), |()| true));
}
