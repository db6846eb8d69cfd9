//! Lets viewers in who bring the right ticket: `?ticket=...` in the play URL. Publishers are left to the next step.
use self::exports::millstream::hooks::{auth, meta};
use self::millstream::hooks::host;

wit_bindgen::generate!({ path: "wit", world: "auth-hook" });

struct Hook;

impl auth::Guest for Hook {
    fn authorize(request: auth::Request) -> auth::Step {
        if request.action != "play" {
            return auth::Step::Next;
        }
        let ticket = request.target.params.iter().find(|pair| pair.name == "ticket");
        let right = host::config("ticket").unwrap_or_default();
        if ticket.is_some_and(|ticket| !right.is_empty() && host::equal(ticket.value.as_bytes(), right.as_bytes())) {
            return auth::Step::Allow(auth::Grant {
                recheck_ms: 0,
                valid_ms: 0,
                slots: vec![],
                labels: vec![],
                rename: None,
                recording: None,
                extra: vec![],
            });
        }
        host::log(host::Level::Info, &format!("{} has no right ticket", request.client.ip));
        auth::Step::Deny(auth::Denial {
            why: "unauthenticated".into(),
            reason: "this stream needs a ticket".into(),
            retry_ms: None,
        })
    }

    /// For hooks that answer `ask`: the upstream has answered.
    fn resume(_: auth::Request, _: Vec<u8>, _: Result<auth::Reply, String>) -> auth::Step {
        auth::Step::Next
    }
}

impl meta::Guest for Hook {
    fn describe() -> meta::Info {
        meta::Info {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![meta::Setting {
                name: "ticket".into(),
                about: "What viewers must bring.".into(),
                kind: "text".into(),
                required: true,
                default: None,
                extra: vec![],
            }],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        match host::config("ticket") {
            Some(ticket) if !ticket.is_empty() => Ok(()),
            _ => Err("set ticket to what viewers must bring".into()),
        }
    }
}

export!(Hook);
