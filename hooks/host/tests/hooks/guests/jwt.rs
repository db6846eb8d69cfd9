//! The guest that checks JSON Web Tokens, and the host's check of signatures behind it. The keys, and the tokens of RS256, ES256 and EdDSA, were made
//! with OpenSSL 3.0 (`openssl genpkey`, `openssl dgst -sha256 -sign`, `openssl pkeyutl -sign -rawin`).
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use millstream_hooks::wit::auth::Step;
use millstream_hooks::{Hook, PublicKey, Secret, World};

use super::{built, built_with, why};
use crate::fixture::request;

const NOW_S: u64 = 1_900_000_000;
const RSA: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAigVWiLdyVyAzhg9n8GpZ
UrnhDjjrpkFJeFeVxhzhSxlCkWyCpBI4TfmBAvRirSDVxJ8/Uf4nClSf3cq2/sZ3
vIjJGUiQNFxw2VhguaMpHN6DDfHWHFYxxFVTmaw59opL/F/1GhpCBwkDqVMYtrcZ
2mLy+s74HyFJ1FYDpgSCLa7jOgQpMuLdT3EWwIW4u1er4AHA+VHoQJGioTaBW9F/
fwSACNO/TK3XjAKblAndlGg96fvi9WRv7S2PC11u7HjUbIHsR3jpkZBP1vnEPBZB
sv/jiRyR2tBgicA9R7oiAGNB6AacOvk8PfujY/3WYOFg9XTfFy7dmyxgROP79OEK
+wIDAQAB
-----END PUBLIC KEY-----
";
const P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqNXdEJ8B2od8SjsV0qinS9uJnZVj
K1fixbGFciE26jSqy4BNH11MyGMHRHsrVfBTm7qV/9uGMoBi14TxyhMM2w==
-----END PUBLIC KEY-----
";
const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAnuxrMAMR8QbQCGt8ocVuI9SCTwHnJZrn+zxqSzIdeis=
-----END PUBLIC KEY-----
";
/// Of each: `{"exp":2000000000,"iss":"https://id.example.com","stream":"lobby"}`.
const RS256_TOKEN: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIwMDAwMDAwMDAsImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZS5jb20iLCJzdHJlYW0iOiJsb2JieSJ9.E_25YH8Npv1t6vkrNsfO0aZFh3GK336qhZ8PcxzCD0TPGFqeZ5BSyY5zDYi67IM3km1cd6hJa7cTBVnVVc922c0USdfu1rG4Pmi64pKP_otUFqaNVi0RLhEHlVpixSs_vlItXEnopnekj1VSxdWgycrKKjolMvfqVIEbhRnIMq_xsa5wAjkL3R3q1nnViJTE49LjPZ-kd4NwXCdZZJ5t4IJUMR4Pw3E9GfZPHI2rML73gkaeS24xwHqiNOVMvBNp3pJbRfWz4HuRZFFqxPvMmZupVmi62z0NHJH8M6AeyHYi53DdA80hC-rDVEknM1IYuAUBRZH5ZhEEqFvm2UVpkg";
const ES256_TOKEN: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjIwMDAwMDAwMDAsImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZS5jb20iLCJzdHJlYW0iOiJsb2JieSJ9.iYgXWDAIe2tFE-uwMT3JxDNUNYTK5VaLnZY9ZC76Ehw4xpqsgFPyxIE6Y6snSmlNKkTEV33HuZ_ZKEdHyEM4ZA";
const EDDSA_TOKEN: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJleHAiOjIwMDAwMDAwMDAsImlzcyI6Imh0dHBzOi8vaWQuZXhhbXBsZS5jb20iLCJzdHJlYW0iOiJsb2JieSJ9.FJ_Ud005_4Yyey0tFYI4J1ZWBC0ztcU2Rrc8_M_vGGNdZMCk1oxkSYWHHeMMfNnnS27uF8IUjJjxJ6jlW13TDw";

const ALGORITHMS: [(&str, &str, &str); 3] =
    [("RS256", RSA, RS256_TOKEN), ("ES256", P256, ES256_TOKEN), ("EdDSA", ED25519, EDDSA_TOKEN)];

/// With the secret `s3cret`.
fn hs256(config: &[(&str, &str)]) -> Hook {
    built_with("jwt", World::Auth, config, |settings| {
        settings.secrets.insert("key".into(), Secret::new("s3cret"));
    })
}

fn with_key(algorithm: &str, pem: &str) -> Hook {
    built_with("jwt", World::Auth, &[("algorithm", algorithm)], |settings| {
        settings.keys.insert("issuer".into(), PublicKey::from_pem(pem).unwrap());
    })
}

fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn ask(hook: &Hook, token: &str) -> Step {
    let mut request = request("play", &[]);
    request.client.token = token.into();
    hook.at(NOW_S * 1000).authorize(&request).result.unwrap()
}

fn valid_ms(step: Step) -> u32 {
    match step {
        Step::Allow(grant) => grant.valid_ms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn jwt_keeps_the_claims_of_a_token() {
    let hook = hs256(&[]);
    assert_eq!(hook.check_config().result.unwrap(), Ok(()));
    let claims = |claims: &str| ask(&hook, &signed(HS256, claims, b"s3cret"));
    let until = |exp: u64| format!("\"exp\":{exp}");
    let later = until(NOW_S + 60);
    // The usual leeway is 30 s.
    assert_eq!(valid_ms(claims(&format!("{{{later}}}"))), 90_000);
    assert_eq!(valid_ms(claims(&format!("{{{}}}", until(NOW_S - 29)))), 1_000);
    assert_eq!(valid_ms(claims(r#"{"exp":1e300}"#)), u32::MAX);
    assert_eq!(why(claims(&format!("{{{}}}", until(NOW_S - 30)))), "unauthenticated");
    for expired_or_wrong in ["{}", r#"{"exp":null}"#, r#"{"exp":"2000000000"}"#, r#"{"exp":-1}"#, "[]", "{", ""] {
        assert_eq!(why(claims(expired_or_wrong)), "unauthenticated", "{expired_or_wrong}");
    }
    assert_eq!(why(claims(&format!("{{{later},\"nbf\":{}}}", NOW_S + 31))), "unauthenticated");
    assert_eq!(valid_ms(claims(&format!("{{{later},\"nbf\":{}}}", NOW_S + 30))), 90_000);
    for (more, admits) in [
        (r#""stream":"lobby""#, true),
        (r#""stream":"live/lobby""#, true),
        (r#""stream":["hall","lobby"]"#, true),
        (r#""stream":"*""#, true),
        (r#""stream":"hall""#, false),
        (r#""stream":"other/lobby""#, false),
        (r#""stream":[]"#, false),
        (r#""action":"play""#, true),
        (r#""action":["publish","play"]"#, true),
        (r#""action":"publish""#, false),
        // A token that names an audience is not for a server that has no name.
        (r#""aud":"anyone""#, false),
        (r#""sub":"anna","scope":{"a":[1,2.5,null]}"#, true),
    ] {
        let step = claims(&format!("{{{later},{more}}}"));
        if admits {
            assert_eq!(valid_ms(step), 90_000, "{more}");
        } else {
            assert_eq!(why(step), "forbidden", "{more}");
        }
    }
    let ours = hs256(&[("aud", "millstream"), ("iss", "https://id.example.com"), ("leeway-s", "0")]);
    for (more, admits) in [
        (r#""aud":"millstream","iss":"https://id.example.com""#, true),
        (r#""aud":["shop","millstream"],"iss":"https://id.example.com""#, true),
        (r#""aud":"shop","iss":"https://id.example.com""#, false),
        (r#""iss":"https://id.example.com""#, false),
        (r#""aud":"millstream","iss":"https://id.example.org""#, false),
        (r#""aud":"millstream""#, false),
    ] {
        let step = ask(&ours, &signed(HS256, &format!("{{{later},{more}}}"), b"s3cret"));
        if admits {
            assert_eq!(valid_ms(step), 60_000, "{more}");
        } else {
            assert_eq!(why(step), "forbidden", "{more}");
        }
    }
}

#[test]
fn jwt_takes_no_token_that_is_not_signed_as_configured() {
    let hook = hs256(&[]);
    let claims = r#"{"exp":2000000000}"#;
    let right = signed(HS256, claims, b"s3cret");
    assert!(valid_ms(ask(&hook, &right)) > 0);
    let (text, signature) = right.rsplit_once('.').unwrap();
    let none = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims));
    let mut flipped = right.clone().into_bytes();
    let at = text.len() + 5;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    let other_claims = right.replace(&URL_SAFE_NO_PAD.encode(claims), &URL_SAFE_NO_PAD.encode(r#"{"exp":2000000001}"#));
    for token in [
        "",
        ".",
        "..",
        "a.b.c",
        "no token",
        text,
        &format!("{text}."),
        &format!("{right}="),
        &format!("{right}.{signature}"),
        &none,
        &signed(r#"{"alg":"none"}"#, claims, b"s3cret"),
        &signed(r#"{"alg":"HS512"}"#, claims, b"s3cret"),
        &signed(r#"{"alg":"hs256"}"#, claims, b"s3cret"),
        &signed(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, claims, b"s3cret"),
        &signed("{}", claims, b"s3cret"),
        &signed(HS256, claims, b"other"),
        &signed(HS256, claims, b""),
        &String::from_utf8(flipped).unwrap(),
        &other_claims,
        RS256_TOKEN,
    ] {
        assert_eq!(why(ask(&hook, token)), "unauthenticated", "{token}");
    }
    // No secret, no key, or none of the algorithm: nobody is let in, and whoever configures it is told.
    for (algorithm, words) in [("HS256", "secret \"key\""), ("RS256", "public key \"issuer\""), ("PS256", "PS256")] {
        let unset = built("jwt", World::Auth, &[("algorithm", algorithm)]);
        assert!(unset.check_config().result.unwrap().unwrap_err().contains(words), "{algorithm}");
        let token = signed(&HS256.replace("HS256", algorithm), claims, b"s3cret");
        assert_eq!(why(ask(&unset, &token)), "busy");
    }
}

#[test]
fn jwt_checks_with_public_keys_of_three_kinds() {
    for (algorithm, pem, token) in ALGORITHMS {
        let hook = with_key(algorithm, pem);
        assert_eq!(hook.check_config().result.unwrap(), Ok(()));
        // What is longer than 49 days is 49 days.
        assert_eq!(valid_ms(ask(&hook, token)), u32::MAX, "{algorithm}");
        let mut asked = request("play", &[]);
        asked.client.token = token.into();
        let soon = |s: u64| hook.at(s * 1000).authorize(&asked).result.unwrap();
        assert_eq!(valid_ms(soon(1_999_999_940)), 90_000, "{algorithm}");
        assert_eq!(why(soon(2_000_000_030)), "unauthenticated", "{algorithm}");
        for (other, _, foreign) in ALGORITHMS.iter().filter(|(it, ..)| *it != algorithm) {
            assert_eq!(why(ask(&hook, foreign)), "unauthenticated", "{algorithm}, {other}");
        }
        let (text, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[10] ^= 1;
        let flipped = format!("{text}.{}", URL_SAFE_NO_PAD.encode(&bytes));
        bytes[10] ^= 1;
        bytes.pop();
        let cut = format!("{text}.{}", URL_SAFE_NO_PAD.encode(&bytes));
        for token in [flipped, cut, format!("{text}.")] {
            assert_eq!(why(ask(&hook, &token)), "unauthenticated", "{algorithm}");
        }
        // The public key as the secret of HS256: what a confused verifier takes.
        let confused = signed(HS256, r#"{"exp":2000000000}"#, pem.as_bytes());
        assert_eq!(why(ask(&hook, &confused)), "unauthenticated", "{algorithm}");
        // The key is of another kind than the algorithm.
        let (other, ..) = ALGORITHMS.iter().find(|(it, ..)| *it != algorithm).unwrap();
        assert!(with_key(other, pem).check_config().result.unwrap().unwrap_err().contains(other));
    }
}

#[test]
fn public_keys_verify_their_own_signatures_only() {
    for (algorithm, pem, token) in ALGORITHMS {
        let key = PublicKey::from_pem(pem).unwrap();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert_eq!(key.verify(algorithm, text.as_bytes(), &signature), Ok(true), "{algorithm}");
        assert_eq!(key.verify(algorithm, format!("{text} ").as_bytes(), &signature), Ok(false), "{algorithm}");
        assert_eq!(key.verify(algorithm, text.as_bytes(), &[]), Ok(false), "{algorithm}");
        for (other, ..) in ALGORITHMS.iter().filter(|(it, ..)| *it != algorithm) {
            let error = key.verify(other, text.as_bytes(), &signature).unwrap_err();
            assert!(error.contains(other), "{error}");
        }
        assert!(key.verify("HS256", text.as_bytes(), &signature).unwrap_err().contains("RS256, ES256 or EdDSA"));
    }
    let raw = URL_SAFE_NO_PAD.decode("nuxrMAMR8QbQCGt8ocVuI9SCTwHnJZrn-zxqSzIdeis").unwrap();
    assert_eq!(PublicKey::from_pem(ED25519).unwrap(), PublicKey::ed25519(raw.try_into().unwrap()));
    for wrong in ["", "no PEM", &RSA.replace("PUBLIC KEY", "PRIVATE KEY"), &RSA.replace("MIIB", "MIIC")] {
        assert!(PublicKey::from_pem(wrong).unwrap_err().to_string().contains("openssl pkey"), "{wrong}");
    }
}
