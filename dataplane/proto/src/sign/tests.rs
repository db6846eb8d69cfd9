//! One `check` for every claim about signatures. Expected values were computed with Python's hmac and hashlib.
use super::*;

const EXPIRY: u64 = 1_900_000_000;
const LEGACY: &str = "1900000000-557adebec1fe9078fb6d793f5b117d6b";
const PUBLISH: &str = "v2-1900000000-FpVAYIJPUb6PImwJ3BFnqsf1jznmkY6jSlIA10Tq1Uk";
const PLAY: &str = "v2-1900000000-TOchltLA9YLba4YOVtnt0iun8fQivOg7fXtBaLivk00";

fn master() -> MasterKey {
    MasterKey::new(std::array::from_fn(|i| i as u8))
}

fn id(name: &str) -> Id {
    Id::new(name).unwrap()
}

struct Ask<'a> {
    signs: &'a [&'a str],
    action: Action,
    app: &'a str,
    id: &'a str,
    stream: Vec<Secret>,
    legacy: Vec<Secret>,
    unix_s: u64,
}

/// A publish of cam1 a second before the expiry, by a server that knows generation 1 of its secret.
fn ask<'a>(signs: &'a [&'a str]) -> Ask<'a> {
    let stream = vec![master().stream_secret(&id("cam1"), 1)];
    Ask { signs, action: Action::Publish, app: "stream", id: "cam1", stream, legacy: Vec::new(), unix_s: EXPIRY - 1 }
}

#[track_caller]
fn check(ask: &Ask<'_>, expected: Result<(), SignError>) {
    let claim = Claim { action: ask.action, app: &id(ask.app), id: &id(ask.id) };
    let keys = Keys { stream: &ask.stream, legacy: &ask.legacy };
    assert_eq!(verify(ask.signs.iter().copied(), claim, keys, ask.unix_s), expected, "{:?}", ask.signs);
}

#[test]
fn golden_vector_of_the_original_system() {
    let sign = "1670544000-63497837275539bdb8e21800887e2db9";
    let key = Secret::new("nodemedia2017privatekey");
    let name = "98724e64-bcd1-4887-af4a-60be440709aa";
    assert_eq!(legacy::sign(&id("stream"), &id(name), 1_670_544_000, &key).expose(), sign);
    let signs = [sign];
    let at = |unix_s| Ask { id: name, legacy: vec![key.clone()], unix_s, ..ask(&signs) };
    check(&at(0), Ok(()));
    check(&at(1_670_543_999), Ok(()));
    check(&at(1_670_544_000), Err(SignError::Expired { since: 0 }));
    check(&at(1_763_900_000), Err(SignError::Expired { since: 93_356_000 }));
}

#[test]
fn secrets_and_signatures_are_those_of_the_contract() {
    let secret = master().stream_secret(&id("cam1"), 1);
    assert_eq!(secret.expose(), "v-GfuvTJIt4BxcgsiaFB-UhUoAtjyxnCQkJIho45e38");
    let (app, cam1) = (id("stream"), id("cam1"));
    let claim = |action| Claim { action, app: &app, id: &cam1 };
    assert_eq!(v2::sign(claim(Action::Publish), EXPIRY, &secret).expose(), PUBLISH);
    assert_eq!(v2::sign(claim(Action::Play), EXPIRY, &secret).expose(), PLAY);
    assert_eq!(legacy::sign(&id("stream"), &id("cam1"), EXPIRY, &secret).expose(), LEGACY);
}

#[test]
fn hmac_keys_of_every_length() {
    let check = |length, expected| {
        assert_eq!(URL_SAFE_NO_PAD.encode(hmac_sha256(&vec![b'k'; length], b"m")), expected);
    };
    check(64, "O3qNRT527bUZI4pRUQWldQjQ8Wn0gOvu4SCp54Ayifo");
    check(65, "wtfUwiVt2wl0CewMZ-HVj6GgB_xpMsrA2JKlJdCK98w");
}

#[test]
fn both_forms_admit_a_publisher_until_the_expiry() {
    for sign in [LEGACY, PUBLISH] {
        check(&ask(&[sign]), Ok(()));
        check(&Ask { unix_s: EXPIRY, ..ask(&[sign]) }, Err(SignError::Expired { since: 0 }));
        check(&Ask { unix_s: EXPIRY + 7, ..ask(&[sign]) }, Err(SignError::Expired { since: 7 }));
        check(&Ask { unix_s: u64::MAX, ..ask(&[sign]) }, Err(SignError::Expired { since: u64::MAX - EXPIRY }));
    }
}

#[test]
fn an_action_admits_itself_only() {
    let play = |signs| Ask { action: Action::Play, ..ask(signs) };
    check(&play(&[PLAY]), Ok(()));
    check(&play(&[PUBLISH]), Err(SignError::Wrong));
    check(&play(&[LEGACY]), Err(SignError::Wrong));
    check(&ask(&[PLAY]), Err(SignError::Wrong));
}

#[test]
fn every_field_is_covered() {
    for sign in [LEGACY, PUBLISH] {
        check(&Ask { id: "cam2", ..ask(&[sign]) }, Err(SignError::Wrong));
        check(&Ask { app: "live", ..ask(&[sign]) }, Err(SignError::Wrong));
        check(&Ask { stream: vec![master().stream_secret(&id("cam1"), 2)], ..ask(&[sign]) }, Err(SignError::Wrong));
        check(&Ask { stream: Vec::new(), ..ask(&[sign]) }, Err(SignError::Wrong));
        check(&ask(&[&sign.replace("1900000000", "1900000001")]), Err(SignError::Wrong));
        check(&ask(&[&sign.replace("1900000000", "01900000000")]), Err(SignError::Wrong));
        for at in sign.rfind('-').unwrap() + 1..sign.len() - 1 {
            let other = if sign.as_bytes()[at] == b'a' { "b" } else { "a" };
            let mut forged = sign.to_owned();
            forged.replace_range(at..=at, other);
            check(&ask(&[&forged]), Err(SignError::Wrong));
        }
    }
}

#[test]
fn a_wrong_signature_is_wrong_whatever_its_age() {
    for sign in ["1-557adebec1fe9078fb6d793f5b117d6b", "v2-1-FpVAYIJPUb6PImwJ3BFnqsf1jznmkY6jSlIA10Tq1Uk"] {
        check(&ask(&[sign]), Err(SignError::Wrong));
    }
}

#[test]
fn exactly_one_is_wanted() {
    check(&ask(&[]), Err(SignError::Missing));
    check(&ask(&[PUBLISH, PUBLISH]), Err(SignError::Duplicate));
    check(&ask(&[PUBLISH, ""]), Err(SignError::Duplicate));
    check(&ask(&["", PUBLISH]), Err(SignError::Duplicate));
}

#[test]
fn several_secrets_of_a_stream_and_several_legacy_keys() {
    let other = Secret::new("other");
    let own = master().stream_secret(&id("cam1"), 1);
    let stream = |sign: &'static str, secrets: &[&Secret]| {
        let stream = secrets.iter().map(|&s| s.clone()).collect();
        check(&Ask { stream, ..ask(&[sign]) }, Ok(()));
    };
    for sign in [LEGACY, PUBLISH] {
        stream(sign, &[&other, &own]);
        stream(sign, &[&own, &other]);
    }
    let with_legacy = |signs| Ask { stream: Vec::new(), legacy: vec![other.clone(), own.clone()], ..ask(signs) };
    check(&with_legacy(&[LEGACY]), Ok(()));
    check(&with_legacy(&[PUBLISH]), Err(SignError::Wrong));
}

#[test]
fn neither_form() {
    let hex = "557adebec1fe9078fb6d793f5b117d6b";
    let mac = "FpVAYIJPUb6PImwJ3BFnqsf1jznmkY6jSlIA10Tq1Uk";
    let malformed = |sign: &str| check(&ask(&[sign]), Err(SignError::Malformed));
    for sign in ["", "-", "v2", "v2-", "v2--", "v2-1900000000", "1900000000", "1900000000-", "v2-1900000000-"] {
        malformed(sign);
    }
    for expiry in
        ["", "+1900000000", " 1900000000", "1900000000 ", "0x1", "1e9", "-1", "1900000000000", "１９", "1.9", "1_9"]
    {
        malformed(&format!("{expiry}-{hex}"));
        malformed(&format!("v2-{expiry}-{mac}"));
    }
    malformed(&format!("1900000000-{}", hex.to_uppercase()));
    malformed(&format!("1900000000-{hex}0"));
    malformed(&format!("1900000000-+{}", &hex[1..]));
    malformed(&format!("V2-1900000000-{mac}"));
    malformed(&format!("v2-1900000000-{mac}="));
    malformed(&format!("v2-1900000000-{}", &mac[1..]));
    // The last character carries two bits that a decoder could ignore: one MAC has one spelling.
    malformed(&format!("v2-1900000000-{}l", &mac[..42]));
    malformed(&format!("v2-1900000000-{}", mac.replace('A', "+")));
    malformed(&"1".repeat(4096));
}

#[test]
fn master_keys_have_one_spelling_and_do_not_print() {
    let text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    assert_eq!(MasterKey::parse(text).unwrap().to_text().expose(), text);
    assert_eq!(MasterKey::parse(&format!("{text}\n")).unwrap().to_text().expose(), text);
    assert_eq!(format!("{:?}", master()), "[redacted]");
    for bad in
        ["", "\n", "AAEC", &format!("{text}=\n"), &format!("{text}\n\n"), &format!(" {text}"), &format!("{text}AA")]
    {
        assert!(MasterKey::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_key_check_tells_keys_apart_and_is_no_secret() {
    let (one, other) = (MasterKey::new([1; 32]), MasterKey::new([2; 32]));
    assert_eq!(one.check(), MasterKey::new([1; 32]).check());
    assert_ne!(one.check(), other.check());
    assert_eq!(one.check().len(), 16);
}

#[test]
fn an_expiry_is_told_in_words() {
    let check = |since: u64, expected: &str| {
        let error = SignError::Expired { since }.to_string();
        assert_eq!(error, format!("the signature expired {expected} ago"), "{since}");
    };
    check(0, "0 s");
    check(119, "119 s");
    check(120, "2 minutes");
    check(3_600, "60 minutes");
    check(7_200, "2 hours");
    check(86_400, "24 hours");
    check(3 * 86_400, "3 days");
    check(90 * 86_400, "2 months");
    check(93_356_000, "2 years");
    check(7 * 31_556_952 + 5, "7 years");
    check(u64::MAX, "584554049253 years");
}
