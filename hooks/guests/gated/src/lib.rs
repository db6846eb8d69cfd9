//! Does what each client says, for the simulator: the letter of the parameter `door` at the place that is configured is the answer, and with a capital
//! letter it comes after `later` milliseconds, for which an upstream is asked. No hook to learn from.
use self::exports::millstream::hooks::{auth, meta};
use self::millstream::hooks::host;

wit_bindgen::generate!({ path: "../../wit", world: "auth-hook" });

struct Gated;

fn param<'a>(request: &'a auth::Request, name: &str) -> Option<&'a str> {
    request.target.params.iter().find(|pair| pair.name == name).map(|pair| pair.value.as_str())
}

fn place() -> Option<usize> {
    host::config("place")?.parse().ok()
}

fn answer(letter: u8) -> auth::Step {
    match letter.to_ascii_lowercase() {
        b'a' => auth::Step::Allow(auth::Grant {
            recheck_ms: 0,
            valid_ms: 0,
            slots: vec![],
            labels: vec![],
            rename: None,
            recording: None,
            extra: vec![],
        }),
        b'd' => {
            let (why, reason) = ("forbidden".into(), "not today".into());
            auth::Step::Deny(auth::Denial { why, reason, retry_ms: None })
        }
        b'n' => auth::Step::Next,
        other => panic!("no answer has the letter {other}"),
    }
}

impl auth::Guest for Gated {
    fn authorize(request: auth::Request) -> auth::Step {
        let letters = param(&request, "door").expect("the parameter came through").as_bytes();
        let letter = letters[place().expect("a place")];
        let later = match letter {
            b'v' => "never",
            letter if letter.is_ascii_uppercase() => param(&request, "later").expect("the parameter came through"),
            letter => return answer(letter),
        };
        auth::Step::Ask(auth::Fetch {
            upstream: "clock".into(),
            method: "GET".into(),
            path: format!("/{later}"),
            headers: vec![],
            body: vec![],
            timeout_ms: 0,
            state: vec![letter],
        })
    }

    fn resume(_: auth::Request, state: Vec<u8>, _: Result<auth::Reply, String>) -> auth::Step {
        answer(state[0])
    }
}

impl meta::Guest for Gated {
    fn describe() -> meta::Info {
        let place = meta::Setting {
            name: "place".into(),
            about: "Which letter is meant for this one, from 0 on.".into(),
            kind: "text".into(),
            required: true,
            default: None,
            extra: vec![],
        };
        meta::Info {
            name: "gated".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            settings: vec![place],
            extra: vec![],
        }
    }

    fn check_config() -> Result<(), String> {
        place().map(drop).ok_or_else(|| "set place to a number".to_owned())
    }
}

export!(Gated);
