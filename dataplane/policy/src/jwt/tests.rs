//! Tokens that admit, and those that do not: by algorithm, key, time and claims.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use millstream_proto::id::Id;
use millstream_proto::query::Params;
use millstream_proto::secret::Secret;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::key::{Key, KeyError};
use super::*;
use crate::records::Records;
use crate::{Action, Client};

const NOW: u64 = 1_800_000_000;
const SECRET: &str = "a secret of thirty-two characters";
const RSA: &str = include_str!("testdata/rsa-public.pem");
const P256: &str = include_str!("testdata/p256-public.pem");

fn keys() -> Vec<Key> {
    vec![
        Key::secret(Some("shared".to_owned()), &Secret::new(SECRET)).unwrap(),
        Key::public(Some("rsa".to_owned()), RSA).unwrap(),
        Key::public(None, P256).unwrap(),
    ]
}

fn rules() -> Jwt {
    Jwt {
        keys: keys(),
        leeway: Duration::from_secs(30),
        require_exp: true,
        issuer: String::new(),
        audience: String::new(),
        stream_claim: "stream".to_owned(),
        action_claim: "action".to_owned(),
        until_exp: false,
        missing: Missing::Deny,
        pass: Pass::Allow,
    }
}

fn signing_input(header: &Value, claims: &Value) -> String {
    format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()))
}

fn hs256(secret: &str, message: &str) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    ring::hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
}

fn rs256(message: &str) -> Vec<u8> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("testdata/rsa-private.pem")).unwrap();
    let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    signature
}

fn es256(message: &str) -> Vec<u8> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("testdata/p256-private.pem")).unwrap();
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random).unwrap();
    pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec()
}

fn with(header: &Value, claims: &Value, sign: impl Fn(&str) -> Vec<u8>) -> String {
    let signed = signing_input(header, claims);
    format!("{signed}.{}", B64.encode(sign(&signed)))
}

fn claims() -> Value {
    json!({ "exp": NOW + 60, "stream": "lobby", "action": "play" })
}

/// Signed by the shared secret.
fn token(claims: &Value) -> String {
    with(&json!({ "alg": "HS256", "typ": "JWT" }), claims, |message| hs256(SECRET, message))
}

fn request(query: &str) -> Request {
    let client = Client::new(1, "192.0.2.1:5000".parse().unwrap(), "hls");
    let id = |text| Id::new(text).unwrap();
    Request::new(Action::Play, (id("live"), id("lobby")), Params::parse(query).unwrap(), client)
}

fn decide(rules: Jwt, request: &Request) -> Step {
    let records = Records::default();
    rules.maker()(0).decide(request, DecisionContext { ticket: 1, unix_s: NOW, records: &records })
}

/// `None` admits; else why not and a part of the sentence.
#[track_caller]
fn check(rules: Jwt, token: &str, expected: Option<(Why, &str)>) {
    let answer = decide(rules, &request(&format!("token={token}")));
    match (&answer, expected) {
        (Step::Allow(_), None) => {}
        (Step::Deny(denial), Some((why, part))) => {
            assert_eq!(denial.why, why, "{denial:?}");
            assert!(denial.reason.contains(part), "{denial:?} has no {part:?}");
            for secret in token.split('.').filter(|part| part.len() > 8) {
                assert!(!denial.reason.contains(secret), "{denial:?} repeats the token");
            }
        }
        _ => panic!("{answer:?}, not {expected:?}"),
    }
}

#[test]
fn each_algorithm_by_its_own_key() {
    check(rules(), &token(&claims()), None);
    check(rules(), &with(&json!({ "alg": "RS256", "kid": "rsa" }), &claims(), rs256), None);
    check(rules(), &with(&json!({ "alg": "RS256" }), &claims(), rs256), None);
    // The key for ES256 has no id: any that a token names may be its.
    check(rules(), &with(&json!({ "alg": "ES256", "kid": "whatever" }), &claims(), es256), None);
}

#[test]
fn other_algorithms_and_confused_keys_do_not_admit() {
    let unauthenticated = |part| Some((Why::Unauthenticated, part));
    let unsigned = |alg: &str| format!("{}.", signing_input(&json!({ "alg": alg }), &claims()));
    for none in ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "PS256", "hs256"] {
        check(rules(), &unsigned(none), unauthenticated("HS256 or RS256 or ES256"));
    }
    for stripped in ["HS256", "RS256", "ES256"] {
        check(rules(), &unsigned(stripped), unauthenticated("signature is wrong"));
    }
    // A public key as the secret of an HMAC: as its file is, and without its last line end.
    let only_rsa = || Jwt { keys: vec![Key::public(None, RSA).unwrap()], ..rules() };
    for public in [RSA, RSA.trim_end()] {
        let confused = with(&json!({ "alg": "HS256" }), &claims(), |message| hs256(public, message));
        check(only_rsa(), &confused, unauthenticated("ask for one that is signed with RS256"));
        check(rules(), &confused, unauthenticated("signature is wrong"));
    }
    check(rules(), &with(&json!({ "alg": "ES256" }), &claims(), rs256), unauthenticated("signature is wrong"));
    check(rules(), &with(&json!({ "alg": "RS256" }), &claims(), es256), unauthenticated("signature is wrong"));
}

#[test]
fn another_key_or_a_change_is_wrong() {
    let wrong = Some((Why::Unauthenticated, "signature is wrong"));
    let other = with(&json!({ "alg": "HS256" }), &claims(), |message| hs256("another secret of some length", message));
    check(rules(), &other, wrong);
    let good = token(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let longer = json!({ "exp": NOW + 9_999, "stream": "lobby", "action": "play" });
    check(rules(), &format!("{}.{}.{}", parts[0], B64.encode(longer.to_string()), parts[2]), wrong);
    let unknown = with(&json!({ "alg": "RS256", "kid": "gone" }), &claims(), rs256);
    check(rules(), &unknown, Some((Why::Unauthenticated, "(kid) is none that this server knows")));
    let critical = with(&json!({ "alg": "HS256", "crit": ["b64"], "b64": false }), &claims(), |m| hs256(SECRET, m));
    check(rules(), &critical, Some((Why::Unauthenticated, "critical header")));
}

#[test]
fn times_with_leeway() {
    let at = |exp: u64, nbf: u64| token(&json!({ "exp": exp, "nbf": nbf, "stream": "lobby", "action": "play" }));
    check(rules(), &at(NOW - 29, NOW + 30), None);
    check(rules(), &at(NOW - 30, 0), Some((Why::Expired, "expired 30 s ago")));
    check(rules(), &at(NOW + 60, NOW + 31), Some((Why::Unauthenticated, "good only 1 s from now")));
    let no_leeway = || Jwt { leeway: Duration::ZERO, ..rules() };
    check(no_leeway(), &at(NOW, 0), Some((Why::Expired, "expired 0 s ago")));
    check(no_leeway(), &at(NOW + 1, NOW), None);
    let endless = token(&json!({ "stream": "lobby", "action": "play" }));
    check(rules(), &endless, Some((Why::Unauthenticated, "does not say when it ends")));
    check(Jwt { require_exp: false, ..rules() }, &endless, None);
    let fraction = token(&json!({ "exp": 1_800_000_060.5, "stream": "lobby", "action": "play" }));
    check(rules(), &fraction, None);
    for nonsense in [json!("soon"), json!(null), json!([]), json!(true)] {
        let token = token(&json!({ "exp": nonsense, "stream": "lobby", "action": "play" }));
        check(rules(), &token, Some((Why::Unauthenticated, "not a JWT")));
    }
    check(rules(), &token(&json!({ "exp": -5, "stream": "lobby", "action": "play" })), Some((Why::Expired, "expired")));
}

#[test]
fn streams_and_actions_are_named() {
    let claims = |stream: Value, action: Value| token(&json!({ "exp": NOW + 60, "stream": stream, "action": action }));
    for stream in [json!("lobby"), json!("live/lobby"), json!("*"), json!(["hall", "lobby"])] {
        check(rules(), &claims(stream, json!(["publish", "play"])), None);
    }
    for stream in [json!("hall"), json!("other/lobby"), json!(["hall"]), json!(7), json!(""), json!(null)] {
        check(rules(), &claims(stream, json!("play")), Some((Why::Forbidden, "another stream (claim stream)")));
    }
    for action in [json!("publish"), json!(null), json!("PLAY")] {
        check(rules(), &claims(json!("lobby"), action), Some((Why::Forbidden, "another action (claim action)")));
    }
    let any = Jwt { stream_claim: String::new(), action_claim: String::new(), ..rules() };
    check(any, &token(&json!({ "exp": NOW + 60 })), None);
    let sub = || Jwt { stream_claim: "sub".to_owned(), ..rules() };
    check(sub(), &token(&json!({ "exp": NOW + 60, "sub": "lobby", "action": "play" })), None);
    let named = || Jwt { issuer: "me".to_owned(), audience: "us".to_owned(), ..rules() };
    let of = |iss: &str, aud: Value| {
        token(&json!({ "exp": NOW + 60, "stream": "lobby", "action": "play", "iss": iss, "aud": aud }))
    };
    check(named(), &of("me", json!(["them", "us"])), None);
    check(named(), &of("you", json!("us")), Some((Why::Unauthenticated, "another issuer")));
    check(named(), &of("me", json!("them")), Some((Why::Unauthenticated, "another audience")));
}

#[test]
fn what_is_no_token() {
    let malformed = Some((Why::Unauthenticated, "not a JWT"));
    let header = B64.encode(r#"{"alg":"HS256"}"#);
    for bad in ["x", "a.b", ".", "..", "a.b.c", "a.b.c.d", &format!("{header}=.e30.AA"), &format!("{header}.e30.A!")] {
        check(rules(), bad, malformed);
    }
    let twice = format!("{}.e30.AA", B64.encode(r#"{"alg":"HS256","alg":"none"}"#));
    check(rules(), &twice, malformed);
    let signed = with(&json!({ "alg": "HS256" }), &json!([]), |message| hs256(SECRET, message));
    check(rules(), &signed, malformed);
    let deep = format!("{}.e30.AA", B64.encode("[".repeat(1_400)));
    check(rules(), &deep, malformed);
    let mut long = request("");
    long.client.bearer = Some(Secret::new("x".repeat(5_000)));
    assert!(matches!(decide(rules(), &long), Step::Deny(denial) if denial.reason.contains("longer than")));
}

#[test]
fn where_a_token_may_be() {
    let good = token(&claims());
    let mut header = request("");
    header.client.bearer = Some(Secret::new(good.clone()));
    for request in [request(&format!("jwt={good}")), request(&format!("token={good}&jwt={good}")), header] {
        assert!(matches!(decide(rules(), &request), Step::Allow(_)));
    }
    let denied = |query: &str, part: &str| {
        let Step::Deny(denial) = decide(rules(), &request(query)) else { panic!("{query} is admitted") };
        assert!(denial.reason.contains(part), "{denial:?}");
    };
    denied("", "there is no token");
    denied("token=", "there is no token");
    denied(&format!("token={good}&token=x"), "several tokens");
    let lenient = Jwt { missing: Missing::Next, ..rules() };
    assert_eq!(decide(lenient.clone(), &request("")), Step::Abstain);
    assert!(matches!(decide(lenient, &request("token=x")), Step::Deny(_)), "a wrong one is no missing one");
    assert_eq!(decide(Jwt { pass: Pass::Next, ..rules() }, &request(&format!("token={good}"))), Step::Abstain);
}

#[test]
fn the_session_ends_with_the_token_where_that_is_asked_for() {
    let request = request(&format!("token={}", token(&claims())));
    assert_eq!(decide(rules(), &request), Step::Allow(Grant::default()));
    let until = Jwt { until_exp: true, ..rules() };
    assert_eq!(decide(until, &request), Step::Allow(Grant::valid_for(Duration::from_secs(90))), "with the leeway");
}

/// What is remembered of a token is only that its signature was right.
#[test]
fn a_token_that_was_right_ends_and_is_for_its_stream_only() {
    let (step, records) = (rules().maker()(0), Records::default());
    let ask =
        |request: &Request, unix_s| step.decide(request, DecisionContext { ticket: 1, unix_s, records: &records });
    let mut request = request(&format!("token={}", token(&claims())));
    assert!(matches!(ask(&request, NOW), Step::Allow(_)) && matches!(ask(&request, NOW + 89), Step::Allow(_)));
    assert!(matches!(ask(&request, NOW + 90), Step::Deny(denial) if denial.why == Why::Expired));
    request.name = Id::new("hall").unwrap();
    assert!(matches!(ask(&request, NOW), Step::Deny(denial) if denial.why == Why::Forbidden));
}

#[test]
fn keys_that_are_none() {
    let public = |pem: &str| Key::public(None, pem).map(|_| ()).unwrap_err();
    assert_eq!(Key::secret(None, &Secret::new("short")).map(|_| ()).unwrap_err(), KeyError::Short(5));
    assert_eq!(public(include_str!("testdata/rsa-private.pem")), KeyError::Private);
    assert_eq!(public(include_str!("testdata/rsa1024-public.pem")), KeyError::Kind);
    assert_eq!(public("MIIB"), KeyError::NotPem);
    assert_eq!(public(""), KeyError::NotPem);
    let der = |bytes: &[u8]| {
        use base64::engine::general_purpose::STANDARD;
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(bytes))
    };
    let whole = rustls_pki_types::SubjectPublicKeyInfoDer::from_pem_slice(P256.as_bytes()).unwrap();
    for cut in 0..whole.len() {
        assert_eq!(public(&der(&whole[..cut])), KeyError::Kind, "cut after {cut} bytes");
    }
}
