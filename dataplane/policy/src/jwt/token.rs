//! A token in its compact form (RFC 7515): three parts in base64url, of which the first names the algorithm and the second holds the
//! claims. Nothing of the claims is looked at before the signature is found right, so that an error tells a stranger nothing.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millstream_proto::limits::JWT_BYTES_MAX;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Jwt;
use super::key::Algorithm;

/// Why a token does not admit. Never holds the token, nor what it says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("there is no token: append ?token=... to the URL or stream key, or send it as Authorization: Bearer")]
    Missing,
    #[error("there are several tokens: give one, in the URL as token or jwt")]
    Several,
    #[error("the token is longer than {JWT_BYTES_MAX} bytes")]
    Long,
    #[error("the token is not a JWT in its compact form: copy it whole, as it was issued")]
    Malformed,
    #[error("the token's algorithm (alg) is none that this server takes: ask for one that is signed with {0}")]
    Algorithm(String),
    #[error("the token has a critical header (crit), of which this server knows none")]
    Critical,
    #[error("the token's key (kid) is none that this server knows: ask for a new token")]
    UnknownKey,
    #[error("the token's signature is wrong: it was made with another key, or changed on the way")]
    Wrong,
    #[error("the token does not say when it ends: ask for one with exp")]
    NoExpiry,
    #[error("the token expired {since_s} s ago: ask for a new one")]
    Expired { since_s: u64 },
    #[error("the token is good only {in_s} s from now (nbf): wait, or have the clocks set")]
    NotYet { in_s: u64 },
    #[error("the token is from another issuer (iss)")]
    Issuer,
    #[error("the token is for another audience (aud)")]
    Audience,
    #[error("the token is for another stream (claim {0})")]
    Stream(String),
    #[error("the token is for another action (claim {0}): publishing and playing each need one that names it")]
    Action(String),
}

/// What of a token's claims counts here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Claims {
    pub(super) exp: Option<u64>,
    pub(super) nbf: Option<u64>,
    pub(super) iss: Option<String>,
    pub(super) aud: Vec<String>,
    pub(super) streams: Vec<String>,
    pub(super) actions: Vec<String>,
}

/// Others that stand in it do not count, and are not read.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// The claims of a token that one of the keys has signed.
pub(super) fn read(token: &str, rules: &Jwt) -> Result<Claims, TokenError> {
    if token.len() > JWT_BYTES_MAX {
        return Err(TokenError::Long);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Malformed);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
    let signature = decode(signature)?;
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    // The algorithm is the key's own to say: "none" is no key's, and a public key is never used as a shared secret.
    let of_algorithm: Vec<_> = rules.keys.iter().filter(|key| key.algorithm().name() == header.alg).collect();
    if of_algorithm.is_empty() {
        return Err(TokenError::Algorithm(taken(rules)));
    }
    // A key without an id is tried with every token of its algorithm.
    let may_be = |kid: Option<&str>| kid.is_none() || header.kid.is_none() || kid == header.kid.as_deref();
    let mut tried = of_algorithm.into_iter().filter(|key| may_be(key.kid.as_deref())).peekable();
    if tried.peek().is_none() {
        return Err(TokenError::UnknownKey);
    }
    if !tried.any(|key| key.verifies(signed.as_bytes(), &signature)) {
        return Err(TokenError::Wrong);
    }
    let claims: Map<String, Value> = serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)?;
    Ok(Claims {
        exp: seconds(&claims, "exp")?,
        nbf: seconds(&claims, "nbf")?,
        iss: claims.get("iss").and_then(Value::as_str).map(str::to_owned),
        aud: texts(claims.get("aud")),
        streams: texts(claims.get(&rules.stream_claim)),
        actions: texts(claims.get(&rules.action_claim)),
    })
}

/// The algorithms that tokens may have, in words.
fn taken(rules: &Jwt) -> String {
    let all = [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256];
    let taken = all.into_iter().filter(|algorithm| rules.keys.iter().any(|key| key.algorithm() == *algorithm));
    taken.map(Algorithm::name).collect::<Vec<_>>().join(" or ")
}

/// A NumericDate: seconds, with a fraction in some. One that is there and is no such number would be ignored for ever.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_f64().map(|seconds| seconds as u64));
    number.map(Some).ok_or(TokenError::Malformed)
}

/// A text, or the texts of a list.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Whether one of them is meant.
pub(super) fn names(texts: &[String], is_it: impl Fn(&str) -> bool) -> bool {
    texts.iter().any(|text| is_it(text))
}
