//! Challenges of an authority: tokens that are none, a table that is full, and who sees the certificate of a challenge.
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;

use super::fixture::{Authority, Line, YEARS, client_config, server};
use crate::{CHALLENGES_MAX, Certificates, ChallengeError, Challenges, ServerTls, Tickets, TlsError};

const NAME: &str = "live.example.org";
const ACME: &[u8] = b"acme-tls/1";

/// A certificate that signs itself, and its key.
fn own_certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([NAME.to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

#[test]
fn tokens_are_looked_for_as_they_are_and_have_an_alphabet() {
    let mut challenges = Challenges::default();
    challenges.answer("aZ09-_", "aZ09-_.digest").unwrap();
    assert_eq!(challenges.find("aZ09-_"), Some("aZ09-_.digest"));
    for other in ["", "az09-_", "aZ09-", "../aZ09-_"] {
        assert_eq!(challenges.find(other), None, "{other}");
    }
    let long = "x".repeat(129);
    for bad in ["", "a/b", "..", "a b", "a.b", "a%2e", "ä", &long] {
        assert_eq!(challenges.answer(bad, "x"), Err(ChallengeError::Token), "{bad}");
    }
    assert_eq!(challenges.answer("good", &"x".repeat(1_000)), Err(ChallengeError::Token));
    let said = format!("{challenges:?}");
    assert!(!said.contains("aZ09"), "{said}");
}

#[test]
fn no_more_are_pending_than_there_may_be() {
    let mut challenges = Challenges::default();
    for n in 0..CHALLENGES_MAX {
        challenges.answer(&format!("token{n}"), "answer").unwrap();
    }
    assert_eq!(challenges.answer("one-more", "answer"), Err(ChallengeError::TooMany));
    let (certificate, key) = own_certificate();
    assert_eq!(challenges.certificate(NAME, certificate, key), Err(ChallengeError::TooMany));
    assert_eq!(challenges.find("one-more"), None);
}

/// Shakes hands with these protocols: what came of it.
fn shake(server: &ServerTls, root: CertificateDer<'static>, name: &str, alpn: &[&[u8]]) -> Result<Line, TlsError> {
    let mut client = client_config(root, &[&TLS13]);
    client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let mut line = Line::new(server, &Arc::new(client), name);
    line.settle()?;
    Ok(line)
}

#[test]
fn the_certificate_of_a_challenge_is_for_who_offers_its_protocol_alone() {
    let authority = Authority::new();
    let plain = server(&[&authority.sign(&[NAME], YEARS)]);
    let (own, key) = own_certificate();
    let mut challenges = Challenges::default();
    challenges.certificate("Live.Example.ORG", own.clone(), key).unwrap();
    let pending = plain.with_challenges(Arc::new(challenges)).unwrap();
    let line = shake(&pending, own.clone(), NAME, &[ACME]).unwrap();
    assert_eq!(line.client.peer_certificates().unwrap().first(), Some(&own));
    assert!(line.server.is_challenge());
    // Who speaks HTTP as well is a client.
    for alpn in [&[ACME, b"http/1.1"][..], &[b"http/1.1", ACME], &[b"http/1.1"]] {
        let line = shake(&pending, authority.root(), NAME, alpn).unwrap();
        assert!(!line.server.is_challenge() && line.client.alpn_protocol() == Some(b"http/1.1"));
    }
    // Another name, and another time.
    assert_eq!(shake(&pending, own.clone(), "other.example.org", &[ACME]).err(), Some(TlsError::NoCertificate));
    assert_eq!(shake(&plain, own.clone(), NAME, &[ACME]).err(), Some(TlsError::NoCertificate));
    let over = pending.with_challenges(Arc::default()).unwrap();
    assert_eq!(shake(&over, own, NAME, &[ACME]).err(), Some(TlsError::NoCertificate));
    shake(&over, authority.root(), NAME, &[b"http/1.1"]).unwrap();
}

#[test]
fn before_there_is_a_certificate_handshakes_are_refused_and_challenges_are_not() {
    let none = ServerTls::new(Certificates::none(), &Tickets::new().unwrap(), true).unwrap();
    assert!(none.certificates().is_empty());
    let authority = Authority::new();
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let refused = shake(&none, authority.root(), NAME, alpn).err().unwrap();
        assert_eq!((refused.label(), refused), ("tls_no_certificate", TlsError::NoCertificate));
    }
    let (own, key) = own_certificate();
    let mut challenges = Challenges::default();
    challenges.certificate(NAME, own.clone(), key).unwrap();
    let pending = none.with_challenges(Arc::new(challenges)).unwrap();
    assert!(shake(&pending, own, NAME, &[ACME]).unwrap().server.is_challenge());
}
