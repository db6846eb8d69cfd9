//! What comes without TLS is named.
use std::sync::Arc;

use rustls::version::TLS13;

use super::fixture::{Authority, Line, YEARS, client_config, server};
use crate::{Records, Session, Stranger, TlsError, whole};

#[test]
fn other_protocols_are_named_by_their_first_bytes() {
    let authority = Authority::new();
    let server = server(&[&authority.sign(&["a.example"], YEARS)]);
    let of = |bytes: &[u8]| {
        let mut session = Session::new(server.media()).unwrap();
        let (mut plain, mut out) = (Vec::new(), Records::new());
        let result = session.receive(&mut bytes.to_vec(), &mut plain, &mut out);
        assert!(plain.is_empty() && out.is_empty());
        result
    };
    let named = |stranger| Err(TlsError::Stranger(stranger));
    assert_eq!(of(b"GET /cam/live.flv HTTP/1.1\r\n\r\n"), named(Stranger::Http));
    assert_eq!(of(b"G"), named(Stranger::Http));
    assert_eq!(of(&[3, 0, 0, 0, 0, 0, 0, 0, 0]), named(Stranger::Rtmp));
    assert_eq!(of(&[3]), named(Stranger::Rtmp));
    assert_eq!(of(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), named(Stranger::Proxy));
    assert_eq!(of(&[0x0D, 0x0A, 0x0D, 0x0A, 0, 0x0D, 0x0A]), named(Stranger::Proxy));
    assert_eq!(of(&[0x80, 46, 1, 3, 1]), named(Stranger::Ssl2));
    assert_eq!(of(&[0, 1, 2]), named(Stranger::Unknown));
    assert_eq!(of(&[]), Ok(()));
    assert_eq!(of(&[22]), Ok(()));
    let client = Arc::new(client_config(authority.root(), &[&TLS13]));
    let hello = Line::new(&server, &client, "a.example").take_from_client();
    // All of it is one record, which is looked at once it is there; the others at once.
    assert!((0..hello.len()).all(|end| whole(&hello[..end]) == 0));
    assert_eq!((whole(&hello), whole(b"G"), whole(&[])), (hello.len(), 1, 0));
    // Behind a whole record the next one is waited for, whatever it begins with.
    let two = [&hello[..], &[20, 3, 3, 0, 1, 1]].concat();
    for end in hello.len()..two.len() {
        assert_eq!(whole(&two[..end]), hello.len(), "{end}");
    }
    assert_eq!(whole(&two), two.len());
    // What no record is, or none that may be, is told at once.
    assert_eq!(whole(&[&hello[..], b"GET"].concat()), hello.len() + 3);
    assert_eq!((whole(&[22, 3, 1, 0x48, 0]), whole(&[22, 3, 1, 0x48, 1])), (0, 5));
}

#[test]
fn a_record_that_is_longer_than_any_ends_the_handshake_at_once() {
    let authority = Authority::new();
    let server = server(&[&authority.sign(&["a.example"], YEARS)]);
    let mut session = Session::new(server.media()).unwrap();
    let mut out = Records::new();
    let result = session.receive(&mut [22, 3, 1, 0x48, 1], &mut Vec::new(), &mut out);
    assert!(result.is_err(), "{result:?}");
    assert_eq!(out.as_slice().first(), Some(&21), "an alert");
}

#[test]
fn versions_and_ciphers_of_the_past_are_named() {
    let authority = Authority::new();
    let server = server(&[&authority.sign(&["a.example"], YEARS)]);
    let hello = |version: [u8; 2], ciphers: &[u8]| {
        let mut body = vec![version[0], version[1]];
        body.extend([7; 32]);
        body.push(0);
        body.extend((ciphers.len() as u16).to_be_bytes());
        body.extend(ciphers);
        body.extend([1, 0]);
        // Groups and signatures, without which even a newer client is refused.
        let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let mut record = vec![22, 3, 1];
        record.extend((message.len() as u16).to_be_bytes());
        record.extend(message);
        record
    };
    let of = |bytes: Vec<u8>| {
        let mut session = Session::new(server.media()).unwrap();
        let mut out = Records::new();
        let result = session.receive(&mut bytes.clone(), &mut Vec::new(), &mut out);
        (result, out)
    };
    // SSL 3, TLS 1.0 and 1.1; and TLS 1.2 with CBC and RC4 alone.
    for (version, ciphers) in
        [([3, 0], &[0xc0, 0x2b][..]), ([3, 1], &[0xc0, 0x2b]), ([3, 2], &[0xc0, 0x2b]), ([3, 3], &[0xc0, 0x09, 0, 5])]
    {
        let (result, out) = of(hello(version, ciphers));
        assert!(matches!(result, Err(TlsError::Old(_))), "{version:?}: {result:?}");
        assert_eq!(out.as_slice()[0], 21, "an alert");
    }
    let (result, out) = of(hello([3, 3], &[0xc0, 0x2b]));
    assert_eq!((result, out.as_slice()[0]), (Ok(()), 22), "TLS 1.2 with an AEAD");
}
