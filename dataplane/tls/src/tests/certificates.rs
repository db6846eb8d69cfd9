//! Certificates: which files cannot be used and why, which can and will not be accepted, and who gets which.
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};

use super::fixture::{Authority, Line, Pair, YEARS, certificates, client_config, server};
use crate::{CertificateError, Certificates, PemFile, Problem};

/// A moment within [`YEARS`].
const NOW_S: u64 = 1_800_000_000;
const DAY_S: u64 = 86_400;

#[test]
fn files_that_cannot_be_used_are_named_with_what_is_wrong() {
    let authority = Authority::new();
    let (one, other) = (authority.sign(&["a.example"], YEARS), authority.sign(&["b.example"], YEARS));
    let read = |chain: &str, key: &str| {
        let chains = [PemFile { name: "chain.pem", bytes: chain.as_bytes() }];
        let keys = [PemFile { name: "key.pem", bytes: key.as_bytes() }];
        Certificates::from_pem(&chains, &keys).map(drop).map_err(|error| error.to_string())
    };
    let says = |result: Result<(), String>, words: &str| {
        let error = result.unwrap_err();
        assert!(error.contains(words), "{error}");
    };
    assert_eq!(read(&one.chain, &one.key), Ok(()));
    assert_eq!(read(&format!("{}{}", one.chain, one.key), &format!("{}{}", one.chain, one.key)), Ok(()), "one file");
    says(read("", &one.key), "chain.pem: holds no certificate");
    says(read(&one.key, &one.key), "chain.pem: holds no certificate");
    says(read(&one.chain, ""), "key.pem: holds no private key");
    says(read(&one.chain, &one.chain), "key.pem: holds no private key");
    says(read(&one.chain, &other.key), "chain.pem: none of the keys given belongs to this certificate");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    says(read(garbage, &one.key), "chain.pem: its first certificate cannot be read");
    says(read(&garbage.replace("AAAA", "?!"), &one.key), "chain.pem: is not PEM");
    let garbage = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    says(read(&one.chain, garbage), "key.pem: its key cannot be used");
    // A key whose line ends are lost is one line, of which nothing is told.
    for lost in [one.key.replace('\n', ""), one.key.replace("-----\n", "-----")] {
        let error = read(&one.chain, &lost).unwrap_err();
        assert!(error.starts_with("key.pem: is not PEM: a section") && error.len() < 150, "{error}");
    }
    assert_eq!(Certificates::from_pem(&[], &[]).map(drop), Err(CertificateError::None));
    let many = vec![PemFile { name: "chain.pem", bytes: one.chain.as_bytes() }; 65];
    assert!(matches!(Certificates::from_pem(&many, &[]).map(drop), Err(CertificateError::TooMany { count: 65, .. })));
    // Cut off anywhere.
    for end in 0..one.chain.len() {
        let _ = read(&one.chain[..end], &one.key);
    }
}

#[test]
fn what_clients_will_not_accept_is_told() {
    let authority = Authority::new();
    let problems = |pair: &Pair, wanted: &[&str]| {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        certificates(&[pair]).unwrap().problems(NOW_S, &wanted)
    };
    let good = authority.sign(&["live.example.org", "*.example.net", "192.0.2.7"], YEARS);
    assert_eq!(problems(&good, &["live.example.org", "a.example.net", "192.0.2.7"]), []);
    let wrong = problems(&good, &["a.b.example.net", "192.0.2.8"]);
    assert!(matches!(&wrong[..], [Problem::Name { .. }, Problem::Name { .. }]), "{wrong:?}");
    assert!(wrong[0].to_string().contains("no certificate is for a.b.example.net"), "{}", wrong[0]);
    let expired = problems(&authority.sign(&["a.example"], (2000, 2001)), &[]);
    assert!(
        matches!(&expired[..], [Problem::Expired { .. }]) && expired[0].to_string().contains("days ago"),
        "{expired:?}"
    );
    assert!(matches!(&problems(&authority.sign(&["a.example"], (2090, 2100)), &[])[..], [Problem::Early { .. }]));
    let list = certificates(&[&good]).unwrap();
    let (from_s, until_s) = list.list()[0].valid_s;
    assert_eq!((from_s, until_s / DAY_S), (946_684_800, 4_102_444_800 / DAY_S));
}

#[test]
fn a_client_gets_the_certificate_of_the_host_that_it_names() {
    let authority = Authority::new();
    let (one, wild, other) = (
        authority.sign(&["live.example.org"], YEARS),
        authority.sign(&["*.example.org"], YEARS),
        authority.sign(&["example.net"], YEARS),
    );
    let server = server(&[&one, &wild, &other]);
    for version in [&TLS12, &TLS13] {
        let client = Arc::new(client_config(authority.root(), &[version]));
        let reaches = |name: &str| {
            let mut line = Line::new(&server, &client, name);
            line.settle().map(|_| line.client.peer_certificates().unwrap()[0].clone())
        };
        let got: Vec<_> = ["live.example.org", "LIVE.Example.ORG", "www.example.org", "example.net"]
            .iter()
            .map(|name| reaches(name).unwrap())
            .collect();
        assert_eq!(got[0], got[1]);
        assert!(got[0] != got[2] && got[2] != got[3] && got[0] != got[3]);
        // An unknown one gets the first, and says that it does not like it.
        assert!(reaches("unknown.example").is_err());
    }
}
