//! What hooks answer, as JSON.
use serde_json::{Value, json};

use crate::json::{bytes, value};
use crate::wit::auth::Step;
use crate::wit::events::Order;
use crate::wit::motion::Wanted;
use crate::wit::policy::{Picture, Rendition, Sound};

/// What a hook has answered to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// An auth hook.
    Auth(Step),
    /// A policy hook.
    Policy(Vec<Rendition>),
    /// A motion hook, when it was told the stream. An error: it does not want the stream.
    Motion(Result<Wanted, String>),
    /// An event hook.
    Events(Vec<Order>),
}

impl Answer {
    /// As JSON: `{"answer": "allow", "grant": {...}}`, `"deny"` with `denial`, `"next"`, `"redirect"` with `location`, `"ask"` with `fetch`;
    /// `{"renditions": [...]}`; `{"wanted": {...}}` or `{"not_wanted": "..."}`; `{"orders": [...]}`. Fields are those of `hooks/wit` in snake case.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Auth(Step::Allow(grant)) => json!({ "answer": "allow", "grant": value(grant) }),
            Self::Auth(Step::Deny(denial)) => json!({ "answer": "deny", "denial": value(denial) }),
            Self::Auth(Step::Next) => json!({ "answer": "next" }),
            Self::Auth(Step::Redirect(location)) => json!({ "answer": "redirect", "location": location }),
            Self::Auth(Step::Ask(fetch)) => {
                let mut shown = value(fetch);
                shown["body"] = bytes(&fetch.body);
                shown["state"] = bytes(&fetch.state);
                json!({ "answer": "ask", "fetch": shown })
            }
            Self::Policy(renditions) => json!({ "renditions": renditions.iter().map(rendition).collect::<Value>() }),
            Self::Motion(Ok(wanted)) => json!({ "wanted": value(wanted) }),
            Self::Motion(Err(why)) => json!({ "not_wanted": why }),
            Self::Events(orders) => json!({ "orders": value(orders) }),
        }
    }
}

fn rendition(of: &Rendition) -> Value {
    let mut shown = value(of);
    shown["picture"] = match &of.picture {
        Picture::Copy => "copy".into(),
        Picture::Drop => "drop".into(),
        Picture::Encode(video) => json!({ "encode": value(video) }),
    };
    shown["sound"] = match &of.sound {
        Sound::Copy => "copy".into(),
        Sound::Drop => "drop".into(),
        Sound::Encode(audio) => json!({ "encode": value(audio) }),
    };
    shown
}
