//! Sessions whose records the kernel makes. The kernel is played here by ring, with nothing but the keys that it is given: a client of rustls reads what
//! it makes, and the session what the client says.
use std::sync::Arc;

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedCipherSuite};

use super::fixture::{Authority, Line, YEARS, client_config, server};
use crate::{Cipher, KEY_UPDATE_MESSAGE, KernelTls, Purpose, SendKeys, ServerTls, TlsError, Version};

const NAME: &str = "live.example.org";
const DATA: u8 = 23;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// More than a session sends before the kernel has it.
const MUCH: &[u8] = &[7; 40_000];

/// What `net/tls` does with the sending direction.
struct Kernel {
    version: Version,
    cipher: Cipher,
    key: LessSafeKey,
    salt: [u8; 4],
    iv: [u8; 8],
    nonce: [u8; 12],
    sequence: u64,
    /// Nonces of its records.
    used: Vec<[u8; 12]>,
}

impl Kernel {
    fn of(keys: &SendKeys) -> Self {
        let algorithm = match keys.cipher() {
            Cipher::Aes128Gcm => &AES_128_GCM,
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::Chacha20Poly1305 => &CHACHA20_POLY1305,
        };
        let nonce = keys.nonce();
        let (salt, iv) = nonce.split_at(4);
        Self {
            version: keys.version(),
            cipher: keys.cipher(),
            key: LessSafeKey::new(UnboundKey::new(algorithm, keys.key()).unwrap()),
            salt: salt.try_into().unwrap(),
            iv: iv.try_into().unwrap(),
            nonce,
            sequence: keys.sequence(),
            used: Vec::new(),
        }
    }

    fn record(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let numbered = |nonce: [u8; 12], sequence: u64| {
            let mut numbered = nonce;
            numbered[4..].iter_mut().zip(sequence.to_be_bytes()).for_each(|(byte, of)| *byte ^= of);
            numbered
        };
        let is_explicit = self.version == Version::Tls12 && self.cipher != Cipher::Chacha20Poly1305;
        let nonce = match (is_explicit, self.cipher) {
            // It counts up what it was given.
            (true, _) => [&self.salt[..], &self.iv].concat().try_into().unwrap(),
            (false, Cipher::Chacha20Poly1305) => numbered(self.nonce, self.sequence),
            (false, _) => numbered([&self.salt[..], &self.iv].concat().try_into().unwrap(), self.sequence),
        };
        let mut sealed = body.to_vec();
        let mut record = vec![kind, 3, 3];
        match self.version {
            Version::Tls13 => {
                record[0] = DATA;
                sealed.push(kind);
                record.extend(u16::try_from(sealed.len() + 16).unwrap().to_be_bytes());
                self.seal(nonce, Aad::from(record.clone()), &mut sealed);
            }
            Version::Tls12 => {
                let length = u16::try_from(body.len()).unwrap().to_be_bytes();
                let aad = [&self.sequence.to_be_bytes()[..], &record, &length].concat();
                self.seal(nonce, Aad::from(aad), &mut sealed);
                if is_explicit {
                    sealed.splice(..0, self.iv);
                    self.iv = u64::from_be_bytes(self.iv).wrapping_add(1).to_be_bytes();
                }
                record.extend(u16::try_from(sealed.len()).unwrap().to_be_bytes());
            }
        }
        self.sequence += 1;
        self.used.push(nonce);
        record.extend(sealed);
        record
    }

    fn seal(&self, nonce: [u8; 12], aad: Aad<Vec<u8>>, sealed: &mut Vec<u8>) {
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, sealed).unwrap();
    }
}

fn all() -> Vec<(Version, Cipher, SupportedCipherSuite)> {
    use provider::cipher_suite as suite;
    vec![
        (Version::Tls13, Cipher::Aes128Gcm, suite::TLS13_AES_128_GCM_SHA256),
        (Version::Tls13, Cipher::Aes256Gcm, suite::TLS13_AES_256_GCM_SHA384),
        (Version::Tls13, Cipher::Chacha20Poly1305, suite::TLS13_CHACHA20_POLY1305_SHA256),
        (Version::Tls12, Cipher::Aes128Gcm, suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (Version::Tls12, Cipher::Aes256Gcm, suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        (Version::Tls12, Cipher::Chacha20Poly1305, suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ]
}

fn kernel(offered: impl IntoIterator<Item = (Version, Cipher)>) -> Arc<KernelTls> {
    Arc::new(KernelTls::new(offered.into_iter().collect(), true))
}

struct Setup {
    authority: Authority,
    plain: ServerTls,
    kernel: Arc<KernelTls>,
    server: ServerTls,
}

fn setup() -> Setup {
    let authority = Authority::new();
    let plain = server(&[&authority.sign(&[NAME], YEARS)]);
    let kernel = kernel(all().into_iter().map(|(version, cipher, _)| (version, cipher)));
    let server = plain.with_kernel(Some(Arc::clone(&kernel))).unwrap();
    Setup { authority, plain, kernel, server }
}

/// A connection on which nothing but the handshake was said.
fn line(setup: &Setup, server: &ServerTls, suite: SupportedCipherSuite, alpn: Option<&[u8]>) -> Line {
    let mut roots = RootCertStore::empty();
    roots.add(setup.authority.root()).unwrap();
    let provider = CryptoProvider { cipher_suites: vec![suite], ..provider::default_provider() };
    let version = if suite.tls13().is_some() { &TLS13 } else { &TLS12 };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]).unwrap();
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = alpn.into_iter().map(<[u8]>::to_vec).collect();
    let mut line = Line::new(server, &Arc::new(client), NAME);
    line.server = server.session(if alpn.is_some() { Purpose::Viewers } else { Purpose::Media }).unwrap();
    line.settle().unwrap();
    line
}

/// The same, after much was sent: the kernel is to have it.
fn given(setup: &Setup, suite: SupportedCipherSuite) -> (Line, Kernel) {
    let mut line = line(setup, &setup.server, suite, None);
    line.answer(MUCH);
    assert!(line.server.may_go_to_kernel());
    let kernel = Kernel::of(&line.server.keys_for_kernel().unwrap());
    assert!(line.server.is_in_kernel() && !line.server.may_go_to_kernel());
    (line, kernel)
}

fn reads(line: &mut Line, records: &[u8]) -> Vec<u8> {
    line.out.push(records);
    line.give_client().unwrap()
}

#[test]
fn a_client_reads_what_a_kernel_makes_with_these_keys_and_the_session_what_the_client_says() {
    let setup = setup();
    for (version, cipher, suite) in all() {
        let (mut line, mut kernel) = given(&setup, suite);
        assert_eq!((kernel.version, kernel.cipher), (version, cipher));
        assert_eq!(setup.kernel.sessions(), 1);
        for round in 0..3_u8 {
            let long = vec![round; 16 << 10];
            let records: Vec<u8> =
                [&b"a block"[..], &long, b"x"].into_iter().flat_map(|body| kernel.record(DATA, body)).collect();
            assert_eq!(reads(&mut line, &records), [&b"a block"[..], &long, b"x"].concat(), "{version:?} {cipher}");
            // In pieces: what is not whole waits.
            line.step = 7;
            line.say(&long);
            line.say(b"a question");
            let said = line.take_from_client();
            line.give_server(said).unwrap();
            line.step = usize::MAX;
            assert_eq!(std::mem::take(&mut line.plain), [&long[..], b"a question"].concat(), "{version:?} {cipher}");
            assert_eq!(line.server.holds(), 0);
        }
        assert!(line.out.is_empty(), "it has nothing to say by itself");
        // What is sent by the session goes out as it is.
        line.server.send(b"as it is", &mut line.out).unwrap();
        assert_eq!(line.out.as_slice(), b"as it is");
        line.out.clear();
        // Both goodbyes.
        line.server.close(&mut line.out);
        assert_eq!((line.out.len(), line.server.alert()), (0, Some([1, 0])));
        line.server.alert_is_said();
        line.server.close(&mut line.out);
        assert_eq!(line.server.alert(), None, "it is said once");
        let goodbye = kernel.record(ALERT, &[1, 0]);
        reads(&mut line, &goodbye);
        line.client.send_close_notify();
        let said = line.take_from_client();
        line.give_server(said).unwrap();
        assert!(line.server.has_ended());
        drop(line);
        assert_eq!(setup.kernel.sessions(), 0);
    }
    assert_eq!((setup.kernel.given(), setup.kernel.refused()), (6, 0));
}

/// Two records of one nonce under one key give the key away.
#[test]
fn no_nonce_of_rustls_is_used_again_by_the_kernel() {
    let setup = setup();
    for (version, cipher, suite) in all()
        .into_iter()
        .filter(|(version, cipher, _)| *version == Version::Tls12 && *cipher != Cipher::Chacha20Poly1305)
    {
        let mut line = line(&setup, &setup.server, suite, None);
        let mut before = Vec::new();
        for _ in 0..40 {
            line.server.send(&[1; 1_000], &mut line.out).unwrap();
            // The explicit nonce follows the header.
            before.push(<[u8; 8]>::try_from(&line.out.as_slice()[5..13]).unwrap());
            line.give_client().unwrap();
        }
        let mut kernel = Kernel::of(&line.server.keys_for_kernel().unwrap());
        let records: Vec<u8> = (0..40).flat_map(|_| kernel.record(DATA, b"more")).collect();
        assert_eq!(reads(&mut line, &records).len(), 160);
        let first = u64::from_be_bytes(before[0]);
        for nonce in &kernel.used {
            let number = u64::from_be_bytes(nonce[4..].try_into().unwrap());
            assert!(!before.contains(&number.to_be_bytes()), "{version:?} {cipher}");
            // As far as it gets, too: rustls numbers records by exclusive or, with what is less than 2^32.
            assert!((number ^ first) >> 62 != 0, "{number:x} is near {first:x}");
        }
    }
}

#[test]
fn the_kernel_gets_what_is_long_and_quiet_and_what_it_can_do() {
    let setup = setup();
    let suite = all()[0].2;
    // Nobody has allowed it.
    let mut other = line(&setup, &setup.plain, suite, None);
    other.answer(MUCH);
    assert!(!other.server.may_go_to_kernel());
    assert!(other.server.keys_for_kernel().is_err());
    // It has no such cipher.
    let only = kernel([(Version::Tls13, Cipher::Aes256Gcm), (Version::Tls12, Cipher::Aes128Gcm)]);
    let server = setup.plain.with_kernel(Some(only)).unwrap();
    let mut other = line(&setup, &server, suite, None);
    other.answer(MUCH);
    assert!(!other.server.may_go_to_kernel());
    // Little was sent.
    let mut line = line(&setup, &setup.server, suite, Some(b"h2"));
    assert!(!line.server.may_go_to_kernel());
    line.answer(&MUCH[..30_000]);
    assert!(!line.server.may_go_to_kernel());
    line.answer(&MUCH[..10_000]);
    assert!(line.server.may_go_to_kernel());
    // What came may ask for other keys, and its answer goes out with the next data.
    line.client.refresh_traffic_keys().unwrap();
    line.say(b"a question");
    let said = line.take_from_client();
    let (first, rest) = said.split_at(said.len() - 3);
    line.give_server(first.to_vec()).unwrap();
    assert!(!line.server.may_go_to_kernel(), "a record is not whole");
    line.give_server(rest.to_vec()).unwrap();
    assert!(!line.server.may_go_to_kernel(), "nothing was sent since");
    assert_eq!(line.answer(b"an answer"), b"an answer");
    assert!(line.server.may_go_to_kernel());
    assert!(line.server.describe().ends_with(", HTTP/2"), "{}", line.server.describe());
    let mut kernel = Kernel::of(&line.server.keys_for_kernel().unwrap());
    assert!(line.server.is_http2() && line.server.describe().ends_with(", HTTP/2, by the kernel"));
    assert_eq!(reads(&mut line, &kernel.record(DATA, b"with the keys after that")), b"with the keys after that");
    // A socket that takes no keys.
    let mut other = self::line(&setup, &setup.server, suite, None);
    other.answer(MUCH);
    other.server.stay();
    assert!(!other.server.may_go_to_kernel());
    assert_eq!(other.answer(b"goes on"), b"goes on");
    assert_eq!((setup.kernel.given(), setup.kernel.refused()), (1, 1));
}

#[test]
fn both_ends_change_their_keys() {
    let setup = setup();
    for (version, cipher, suite) in all() {
        let (mut line, mut kernel) = given(&setup, suite);
        let most = line.server.records_max();
        assert_eq!(most < 1 << 24, cipher != Cipher::Chacha20Poly1305, "{most}");
        if version == Version::Tls12 {
            assert!(!line.server.has_next_keys(), "there are none");
            assert_eq!(line.server.next_keys().unwrap_err(), TlsError::KeysUsedUp);
            continue;
        }
        for _ in 0..3 {
            // Asks the server for the same.
            line.client.refresh_traffic_keys().unwrap();
            line.say(b"with other keys");
            let said = line.take_from_client();
            line.give_server(said).unwrap();
            assert_eq!(std::mem::take(&mut line.plain), b"with other keys");
            assert!(line.server.wants_keys() && line.server.has_next_keys());
            let mut records = kernel.record(HANDSHAKE, &KEY_UPDATE_MESSAGE);
            kernel = Kernel::of(&line.server.next_keys().unwrap());
            assert!(!line.server.wants_keys());
            records.extend(kernel.record(DATA, b"the same"));
            assert_eq!(reads(&mut line, &records), b"the same", "{cipher}");
        }
    }
    // A kernel that keeps the keys that it was given.
    let (version, cipher, suite) = all()[0];
    let old = Arc::new(KernelTls::new(vec![(version, cipher)], false));
    let server = setup.plain.with_kernel(Some(old)).unwrap();
    let mut line = line(&setup, &server, suite, None);
    line.answer(MUCH);
    line.server.keys_for_kernel().unwrap();
    assert!(!line.server.has_next_keys());
}

/// Changes what was said.
type Breaks = fn(&mut Vec<u8>);

#[test]
fn what_is_hostile_ends_the_session_with_an_alert() {
    let setup = setup();
    for (version, _, suite) in all() {
        let broken: [(&str, Breaks, u8); 4] = [
            ("a bit", |bytes| *bytes.last_mut().unwrap() ^= 1, 20),
            ("a record once more", |bytes| bytes.extend(bytes.clone()), 20),
            ("too long", |bytes| bytes[3] = 0xff, 22),
            ("no TLS", |bytes| bytes[1] = 9, 22),
        ];
        for (what, breaks, alert) in broken {
            let (mut line, _) = given(&setup, suite);
            line.say(b"said");
            let mut said = line.take_from_client();
            breaks(&mut said);
            assert_eq!(line.give_server(said).unwrap_err(), TlsError::Record, "{what} {version:?}");
            assert_eq!(line.server.alert(), Some([2, alert]), "{what} {version:?}");
            line.server.alert_is_said();
            assert!(line.server.send(b"more", &mut line.out).is_err());
            line.server.close(&mut line.out);
            assert_eq!(line.server.alert(), None, "an alert is the last");
            assert_eq!(line.give_server(vec![1]).unwrap_err(), TlsError::Closed);
        }
        // In the clear, behind the handshake.
        let (mut line, _) = given(&setup, suite);
        assert!(line.give_server(vec![ALERT, 3, 3, 0, 2, 2, 40]).is_err());
        assert!(line.server.alert().is_some(), "{version:?}");
    }
    // A peer that gives up, and one that changes its keys for nothing.
    let (mut line, _) = given(&setup, all()[0].2);
    for count in 0..40 {
        line.client.refresh_traffic_keys().unwrap();
        let said = line.take_from_client();
        let given = line.give_server(said);
        assert_eq!(given.is_err(), count >= 32, "{count}");
        if given.is_err() {
            break;
        }
    }
    assert_eq!(line.server.alert(), Some([2, 10]));
}

/// Without a kernel a configuration keeps its keys to itself.
#[test]
fn keys_stay_where_no_kernel_is_allowed() {
    let Setup { authority, plain, server, .. } = setup();
    assert!(!plain.media().enable_secret_extraction && !plain.web().enable_secret_extraction);
    assert!(server.media().enable_secret_extraction);
    assert!(!server.with_kernel(None).unwrap().media().enable_secret_extraction);
    let client = Arc::new(client_config(authority.root(), &[&TLS13]));
    let mut line = Line::new(&server, &client, NAME);
    line.settle().unwrap();
    assert!(!line.server.may_go_to_kernel(), "a session that was made past it");
}
