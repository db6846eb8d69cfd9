//! Caps how many watch at once: `per-stream = "500"` viewers of each stream, `per-viewer = "2"` of them by the same viewer.
//!
//! What to learn here: slots. The hook keeps no count. It names what is counted together and how many may be there; the server counts, says "busy"
//! where no place is free, and frees places when sessions end, also those of connections that are lost and of HLS players that stay away.
//!
//! Who the same viewer is says `viewer`: "address", or "param:NAME" for a parameter of the play URL. Anybody can write a parameter: let a step before
//! this one check it (a signature over it, say) and answer `next`. Publishers are left to the next step.
use self::exports::millstream::hooks::{auth, meta};
use self::millstream::hooks::host;

wit_bindgen::generate!({ path: "../../wit", world: "auth-hook" });

struct ViewerCap;

/// A slot's key has at most 128 bytes.
const KEY_BYTES_MAX: usize = 128;

fn deny(why: &str, reason: &str) -> auth::Step {
    auth::Step::Deny(auth::Denial { why: why.into(), reason: reason.into(), retry_ms: None })
}

/// The number of that key; `None` where it is not set.
fn number(key: &str) -> Result<Option<u32>, String> {
    let Some(text) = host::config(key) else { return Ok(None) };
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(format!("{key} is {text:?}: a number from 1 on")),
    }
}

struct Config {
    per_stream: Option<u32>,
    per_viewer: Option<u32>,
    /// The parameter that says who the viewer is; `None`: the address does.
    param: Option<String>,
}

fn config() -> Result<Config, String> {
    let (per_stream, per_viewer) = (number("per-stream")?, number("per-viewer")?);
    if per_stream.is_none() && per_viewer.is_none() {
        return Err("set per-stream or per-viewer, or both, to a number".into());
    }
    let param = match host::config("viewer").as_deref() {
        None | Some("address") => None,
        Some(other) => match other.strip_prefix("param:") {
            Some(name) if !name.is_empty() => Some(name.to_owned()),
            _ => return Err(format!("viewer is {other:?}: \"address\" or \"param:NAME\"")),
        },
    };
    Ok(Config { per_stream, per_viewer, param })
}

/// A key of bounded length: a long one by its digest, so that two long ones are not taken for one.
fn slot(key: String, max: u32) -> auth::Slot {
    if key.len() <= KEY_BYTES_MAX {
        return auth::Slot { key, max };
    }
    let digest = host::digest("sha256", &[host::Part::Bytes(key.into_bytes())]).unwrap_or_default();
    let key = digest.iter().fold("long:".to_owned(), |key, byte| format!("{key}{byte:02x}"));
    auth::Slot { key, max }
}

impl auth::Guest for ViewerCap {
    fn authorize(request: auth::Request) -> auth::Step {
        if request.action != "play" {
            return auth::Step::Next;
        }
        let config = match config() {
            Ok(config) => config,
            Err(error) => {
                host::log(host::Level::Error, &error);
                return deny("busy", "the server's limits cannot be read");
            }
        };
        let target = &request.target;
        let mut slots = Vec::new();
        if let Some(max) = config.per_stream {
            slots.push(slot(format!("stream:{}/{}", target.app, target.name), max));
        }
        if let Some(max) = config.per_viewer {
            let viewer = match &config.param {
                None => request.client.ip.clone(),
                Some(name) => match target.params.iter().find(|pair| pair.name == *name) {
                    Some(pair) if !pair.value.is_empty() => pair.value.clone(),
                    _ => return deny("unauthenticated", &format!("the address has no {name}=")),
                },
            };
            slots.push(slot(format!("viewer:{viewer}"), max));
        }
        auth::Step::Allow(auth::Grant {
            recheck_ms: 0,
            valid_ms: 0,
            slots,
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

impl meta::Guest for ViewerCap {
    fn describe() -> meta::Info {
        let setting = |name: &str, about: &str, default: Option<&str>| meta::Setting {
            name: name.into(),
            about: about.into(),
            kind: "text".into(),
            required: false,
            default: default.map(Into::into),
            extra: vec![],
        };
        meta::Info {
            name: "viewer-cap".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![
                setting("per-stream", "How many may watch a stream at once, on each node.", None),
                setting("per-viewer", "How many streams a viewer may watch at once, on each node.", None),
                setting("viewer", "Who a viewer is: address, or param:NAME.", Some("address")),
            ],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        config().map(|_| ())
    }
}

export!(ViewerCap);
