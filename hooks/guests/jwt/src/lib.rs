//! Admits who brings a JSON Web Token (RFC 7519): as `?token=`, or as the bearer token of an HTTP player.
//!
//! What to learn here: the host computes with secrets and keys that the hook never sees. `algorithm = "HS256"` checks with the secret `key`;
//! "RS256", "ES256" and "EdDSA" check with the public key `issuer`. The configuration alone chooses: a token that says another algorithm is
//! refused, so that nobody passes a public key off as a secret, or signs with "none".
//!
//! `exp` must be there. `nbf`, `iss` and `aud` are kept where they are there or configured. `stream` (an id, `app/id`, a list of these, or `*`) and
//! `action` bind a token to what it is for. The session ends when the token does.
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use self::exports::millstream::hooks::{auth, meta};
use self::millstream::hooks::host;

wit_bindgen::generate!({ path: "../../wit", world: "auth-hook" });

struct Jwt;

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood. None are.
    crit: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<OneOrMore>,
    stream: Option<OneOrMore>,
    action: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn any(&self, is_it: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(it) => is_it(it),
            Self::More(them) => them.iter().any(|it| is_it(it)),
        }
    }
}

/// Why a token does not admit.
enum No {
    /// It is none, or it is not signed as it should be.
    Unauthenticated(&'static str),
    /// It is right, and not for this.
    Forbidden(&'static str),
    /// The server cannot tell.
    Busy(String),
}

fn decode(part: &str) -> Result<Vec<u8>, No> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| No::Unauthenticated("the token is not base64url"))
}

fn algorithm() -> Result<String, String> {
    let algorithm = host::config("algorithm").unwrap_or_else(|| "HS256".into());
    match algorithm.as_str() {
        "HS256" | "RS256" | "ES256" | "EdDSA" => Ok(algorithm),
        other => Err(format!("algorithm is {other:?}: HS256, RS256, ES256 or EdDSA")),
    }
}

fn leeway_s() -> Result<f64, String> {
    let text = host::config("leeway-s").unwrap_or_else(|| "30".into());
    text.parse::<u32>().map(f64::from).map_err(|_| format!("leeway-s is {text:?}: a number of seconds"))
}

/// Whether the host finds the signature right.
fn is_signed(algorithm: &str, data: &[u8], signature: &[u8]) -> Result<bool, String> {
    if algorithm == "HS256" {
        let right = host::hmac("sha256", "key", data)?;
        return Ok(host::equal(&right, signature));
    }
    host::verify(algorithm, "issuer", data, signature)
}

/// The milliseconds for which this token admits.
fn check(token: &str, request: &auth::Request) -> Result<u32, No> {
    let (signed, signature) = token.rsplit_once('.').ok_or(No::Unauthenticated("this is no JWT"))?;
    let (header, claims) = signed.split_once('.').ok_or(No::Unauthenticated("this is no JWT"))?;
    let algorithm = algorithm().map_err(No::Busy)?;
    let header: Header = serde_json::from_slice(&decode(header)?)
        .map_err(|_| No::Unauthenticated("the token's header cannot be read"))?;
    if header.alg != algorithm || header.crit.is_some() {
        return Err(No::Unauthenticated("the token is not signed with the algorithm that is asked for"));
    }
    // Nothing of the claims is read before this.
    if !is_signed(&algorithm, signed.as_bytes(), &decode(signature)?).map_err(No::Busy)? {
        host::count("wrong_signatures", 1);
        return Err(No::Unauthenticated("the token's signature is not right"));
    }
    let claims: Claims = serde_json::from_slice(&decode(claims)?)
        .map_err(|_| No::Unauthenticated("the token's claims cannot be read"))?;
    let (now_s, leeway_s) = (host::unix_ms() as f64 / 1000.0, leeway_s().map_err(No::Busy)?);
    let exp = claims.exp.ok_or(No::Unauthenticated("the token has no exp"))?;
    let left_s = exp + leeway_s - now_s;
    // With `!`, so that what is no number is refused, too.
    if !(left_s > 0.0) {
        return Err(No::Unauthenticated("the token has expired"));
    }
    if claims.nbf.is_some_and(|nbf| !(nbf - leeway_s <= now_s)) {
        return Err(No::Unauthenticated("the token is not valid yet"));
    }
    if host::config("iss").is_some_and(|wanted| claims.iss != Some(wanted)) {
        return Err(No::Forbidden("the token is from another issuer"));
    }
    let wanted = host::config("aud");
    let is_ours = |aud: &OneOrMore| wanted.as_deref().is_some_and(|wanted| aud.any(|it| it == wanted));
    if (wanted.is_some() || claims.aud.is_some()) && !claims.aud.as_ref().is_some_and(is_ours) {
        return Err(No::Forbidden("the token is for another audience"));
    }
    let (app, name) = (&request.target.app, &request.target.name);
    let is_this = |it: &str| it == "*" || it == name || it.split_once('/') == Some((app.as_str(), name.as_str()));
    if claims.stream.is_some_and(|stream| !stream.any(is_this)) {
        return Err(No::Forbidden("the token is for another stream"));
    }
    if claims.action.is_some_and(|action| !action.any(|it| it == request.action)) {
        return Err(No::Forbidden("the token is for something else"));
    }
    Ok((left_s * 1000.0) as u32)
}

impl auth::Guest for Jwt {
    fn authorize(request: auth::Request) -> auth::Step {
        let token = &request.client.token;
        let checked =
            if token.is_empty() { Err(No::Unauthenticated("a token is missing")) } else { check(token, &request) };
        let (why, reason) = match checked {
            Ok(valid_ms) => {
                return auth::Step::Allow(auth::Grant {
                    recheck_ms: 0,
                    // 0 would be for ever.
                    valid_ms: valid_ms.max(1),
                    slots: vec![],
                    labels: vec![],
                    rename: None,
                    recording: None,
                    extra: vec![],
                });
            }
            Err(No::Unauthenticated(reason)) => ("unauthenticated", reason),
            Err(No::Forbidden(reason)) => ("forbidden", reason),
            Err(No::Busy(error)) => {
                host::log(host::Level::Error, &error);
                ("busy", "the server cannot check tokens")
            }
        };
        auth::Step::Deny(auth::Denial { why: why.into(), reason: reason.into(), retry_ms: None })
    }

    fn resume(_: auth::Request, _: Vec<u8>, _: Result<auth::Reply, String>) -> auth::Step {
        auth::Step::Next
    }
}

impl meta::Guest for Jwt {
    fn describe() -> meta::Info {
        let setting = |name: &str, about: &str, kind: &str, default: Option<&str>| meta::Setting {
            name: name.into(),
            about: about.into(),
            kind: kind.into(),
            required: false,
            default: default.map(Into::into),
            extra: vec![],
        };
        meta::Info {
            name: "jwt".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![
                setting("algorithm", "HS256, RS256, ES256 or EdDSA.", "text", Some("HS256")),
                setting("key", "What HS256 checks with.", "secret", None),
                setting("issuer", "What the others check with.", "key", None),
                setting("iss", "Tokens must be from this issuer.", "text", None),
                setting("aud", "Tokens must be for this audience.", "text", None),
                setting("leeway-s", "How far clocks may be apart.", "text", Some("30")),
            ],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        leeway_s()?;
        let algorithm = algorithm()?;
        let name = if algorithm == "HS256" { "secret \"key\"" } else { "public key \"issuer\"" };
        is_signed(&algorithm, b"", b"").map(|_| ()).map_err(|error| format!("set the {name} for {algorithm}: {error}"))
    }
}

export!(Jwt);
