//! Admits who brings a signature that is right and not too old: `?expires=SECONDS&sign=HEX`, where `sign` is the HMAC-SHA256 of
//! `ACTION:APP/NAME:SECONDS` under the secret `key` of the binding's configuration.
//!
//! A signature for `play` does not publish. The session ends when the signature does, unless `keep = "true"` is configured.
use self::exports::millstream::hooks::{auth, meta};
use self::millstream::hooks::host;

wit_bindgen::generate!({ path: "../../wit", world: "auth-hook" });

struct SignedUrl;

fn deny(why: &str, reason: &str) -> auth::Step {
    auth::Step::Deny(auth::Denial { why: why.into(), reason: reason.into(), retry_ms: None })
}

fn param<'a>(request: &'a auth::Request, name: &str) -> Option<&'a str> {
    request.target.params.iter().find(|pair| pair.name == name).map(|pair| pair.value.as_str())
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

impl auth::Guest for SignedUrl {
    fn authorize(request: auth::Request) -> auth::Step {
        let (Some(expires), Some(sign)) = (param(&request, "expires"), param(&request, "sign")) else {
            return deny("unauthenticated", "the address has no expires= and sign=");
        };
        let (Ok(seconds), Some(given)) = (expires.parse::<u64>(), hex(sign)) else {
            return deny("unauthenticated", "expires= is no number, or sign= no hexadecimal digits");
        };
        let now_ms = host::unix_ms();
        let left_ms = seconds.saturating_mul(1000).saturating_sub(now_ms);
        let keep = host::config("keep").as_deref() == Some("true");
        if left_ms == 0 && !(keep && request.recheck) {
            return deny("forbidden", "the signature has expired");
        }
        let target = &request.target;
        let text = format!("{}:{}/{}:{expires}", request.action, target.app, target.name);
        let right = match host::hmac("sha256", "key", text.as_bytes()) {
            Ok(right) => right,
            Err(error) => {
                host::log(host::Level::Error, &error);
                return deny("busy", "the server cannot check signatures");
            }
        };
        if !host::equal(&right, &given) {
            host::count("wrong_signatures", 1);
            return deny("forbidden", "the signature is not right");
        }
        auth::Step::Allow(auth::Grant {
            recheck_ms: 0,
            valid_ms: if keep { 0 } else { left_ms.min(u64::from(u32::MAX)) as u32 },
            slots: vec![],
            labels: vec![],
            rename: None,
            recording: None,
            extra: vec![],
        })
    }

    fn resume(_: auth::Request, _: Vec<u8>, _: Result<auth::Reply, String>) -> auth::Step {
        auth::Step::Next
    }
}

impl meta::Guest for SignedUrl {
    fn describe() -> meta::Info {
        let setting = |name: &str, about: &str, kind: &str, required: bool, default: Option<&str>| meta::Setting {
            name: name.into(),
            about: about.into(),
            kind: kind.into(),
            required,
            default: default.map(Into::into),
            extra: vec![],
        };
        meta::Info {
            name: "signed-url".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![
                setting("key", "What signatures are made with.", "secret", true, None),
                setting("keep", "Whether a session outlives its signature.", "text", false, Some("false")),
            ],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        if let Some(keep) = host::config("keep")
            && !["true", "false"].contains(&keep.as_str())
        {
            return Err(format!("keep is {keep:?}: \"true\" or \"false\""));
        }
        host::hmac("sha256", "key", b"").map(|_| ()).map_err(|_| "set the secret \"key\"".to_owned())
    }
}

export!(SignedUrl);
