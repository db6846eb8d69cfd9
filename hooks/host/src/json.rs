//! Events: questions to hooks as JSON, for tests with an event, for recorders and replays. One object is one event, so a file with one of them a line is a
//! recording.
//!
//! ```json
//! {"kind": "auth", "request": {"action": "play", "target": {"name": "lobby", "params": {"sign": "00ff"}}}}
//! ```
//!
//! `request` has the fields of `hooks/wit`, in snake case: those of `auth.request`, `policy.source` or `motion.source`, and for event hooks `{"notices": [...]}`.
//! What is not given has a default; a field that is not known is refused, because it would be a mistake without effect. A list of pairs may also be
//! an object of texts. [`Event::write`] gives all fields in one line.
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::json::fill::{Template, fill, kind_of};
use crate::wit::{auth, events, motion, policy, types};
use crate::world::World;

mod answer;
mod fill;
mod lines;

pub use answer::Answer;

/// The most notices of one event.
pub const MAX_NOTICES: usize = 256;
/// The most answers of upstreams that an event brings along: no decision has more.
pub const MAX_REPLIES: usize = 2;

/// The place of what is wrong as a whole.
const THE_EVENT: &str = "the event";

/// What a hook is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Who may publish or play.
    Auth(auth::Request),
    /// Which renditions a stream has.
    Policy(policy::Source),
    /// Which frames a hook wants. The frames themselves are no part of an event.
    Motion(motion::Source),
    /// What has happened.
    Events(Vec<events::Notice>),
}

/// A question, with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What the hook is asked.
    pub question: Question,
    /// The time that the hook is told; `None`: the real one.
    pub unix_ms: Option<u64>,
    /// What upstreams answer to an auth hook that asks, one after the other.
    pub replies: Vec<Result<auth::Reply, String>>,
    /// What was answered when the event was recorded; see [`Answer::to_json`].
    pub answer: Option<Value>,
    /// Where the event comes from. Hooks do not see it.
    pub about: BTreeMap<String, Value>,
}

/// Why something is no event. The messages name the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// It is no JSON.
    #[error("this is no JSON: {0}")]
    Syntax(String),
    /// A field that events do not have.
    #[error("{place} is no field of an event: {known}")]
    Unknown {
        /// Where.
        place: String,
        /// What could be meant.
        known: String,
    },
    /// A value of another type, or out of its range.
    #[error("{place}: {message}")]
    Value {
        /// Where.
        place: String,
        /// What is wrong, and what is right.
        message: String,
    },
    /// One of several events is none.
    #[error("line {line}: {error}")]
    OfLine {
        /// Where it begins.
        line: usize,
        /// Why.
        error: Box<Self>,
    },
    /// More events than are taken.
    #[error("line {line}: these are more than {most} events, which is the most")]
    TooMany {
        /// Where the first one begins that is too many.
        line: usize,
        /// As many are taken.
        most: usize,
    },
}

impl EventError {
    /// The field that is wrong, from the event on: `request.client.ip`. `None`: the event as a whole is.
    pub fn place(&self) -> Option<&str> {
        match self {
            Self::Unknown { place, .. } => Some(place),
            Self::Value { place, .. } => Some(place).filter(|place| *place != THE_EVENT).map(String::as_str),
            Self::OfLine { error, .. } => error.place(),
            Self::Syntax(_) | Self::TooMany { .. } => None,
        }
    }

    pub(crate) fn value(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Value { place: place.into(), message: message.into() }
    }
}

impl Question {
    /// Of which kind of hook it is asked.
    pub const fn world(&self) -> World {
        match self {
            Self::Auth(_) => World::Auth,
            Self::Policy(_) => World::Policy,
            Self::Motion(_) => World::Motion,
            Self::Events(_) => World::Events,
        }
    }

    /// The question of that kind in which everything has its default.
    pub fn example(world: World) -> Self {
        match world {
            World::Auth => Self::Auth(request()),
            World::Policy => Self::Policy(source()),
            World::Motion => Self::Motion(motion_source()),
            World::Events => Self::Events(vec![notice()]),
        }
    }

    /// The field `request` of an event.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Auth(request) => value(request),
            Self::Policy(source) => value(source),
            Self::Motion(source) => value(source),
            Self::Events(notices) => json!({ "notices": value(notices) }),
        }
    }

    fn from_json(world: World, given: Value) -> Result<Self, EventError> {
        let template = |of: Value| Template { of, client: value(&client()) };
        Ok(match world {
            World::Auth => Self::Auth(read("request", fill(&template(value(&request())), given, "request")?)?),
            World::Policy => Self::Policy(read("request", fill(&template(value(&source())), given, "request")?)?),
            World::Motion => {
                Self::Motion(read("request", fill(&template(value(&motion_source())), given, "request")?)?)
            }
            World::Events => {
                let mut given = object("request", given)?;
                let notices = array("request.notices", given.remove("notices"))?;
                no_more("request", &given, "notices")?;
                if !(1..=MAX_NOTICES).contains(&notices.len()) {
                    let message = format!("{} notices; give 1 to {MAX_NOTICES}", notices.len());
                    return Err(EventError::value("request.notices", message));
                }
                let template = template(value(&notice()));
                let read_one = |(at, given)| {
                    let place = format!("request.notices[{at}]");
                    read(&place, fill(&template, given, &place)?)
                };
                Self::Events(notices.into_iter().enumerate().map(read_one).collect::<Result<_, _>>()?)
            }
        })
    }
}

impl Event {
    /// Nothing but a question.
    pub fn new(question: Question) -> Self {
        Self { question, unix_ms: None, replies: Vec::new(), answer: None, about: BTreeMap::new() }
    }

    /// Reads an event.
    pub fn parse(text: &str) -> Result<Self, EventError> {
        let given = serde_json::from_str(text).map_err(|error| EventError::Syntax(error.to_string()))?;
        Self::from_json(given)
    }

    /// Reads an event that is JSON already.
    pub fn from_json(given: Value) -> Result<Self, EventError> {
        let mut given = object(THE_EVENT, given)?;
        let kinds = "one of \"auth\", \"policy\", \"motion\", \"events\"";
        let world = match given.remove("kind") {
            Some(Value::String(kind)) => kind.parse().map_err(|_| EventError::value("kind", kinds))?,
            Some(_) => return Err(EventError::value("kind", kinds)),
            None => return Err(EventError::value("kind", format!("is missing; give {kinds}"))),
        };
        let asked = given.remove("request").unwrap_or_else(|| Question::example(world).to_json());
        let unix_ms = match given.remove("unix_ms") {
            None | Some(Value::Null) => None,
            Some(ms) => {
                Some(ms.as_u64().ok_or_else(|| EventError::value("unix_ms", "must be milliseconds since 1970"))?)
            }
        };
        let replies = given.remove("replies").map_or(Ok(Vec::new()), |replies| array("replies", Some(replies)))?;
        if replies.len() > MAX_REPLIES || (!replies.is_empty() && world != World::Auth) {
            let message = format!("at most {MAX_REPLIES}, and only for auth hooks: others ask no upstream");
            return Err(EventError::value("replies", message));
        }
        let replies = replies.into_iter().enumerate().map(|(at, reply)| read_reply(at, reply));
        let about = given.remove("about").map_or(Ok(Map::new()), |about| object("about", about))?;
        let event = Self {
            question: Question::from_json(world, asked)?,
            unix_ms,
            replies: replies.collect::<Result<_, _>>()?,
            answer: given.remove("answer").filter(|answer| !answer.is_null()),
            about: about.into_iter().collect(),
        };
        no_more("", &given, "kind, request, unix_ms, replies, answer, about")?;
        Ok(event)
    }

    /// The event as JSON, with all fields of the question.
    pub fn to_json(&self) -> Value {
        let mut all = Map::new();
        all.insert("kind".to_owned(), self.question.world().as_str().into());
        all.insert("request".to_owned(), self.question.to_json());
        all.extend(self.unix_ms.map(|ms| ("unix_ms".to_owned(), ms.into())));
        if !self.replies.is_empty() {
            all.insert("replies".to_owned(), self.replies.iter().map(reply).collect());
        }
        all.extend(self.answer.clone().map(|answer| ("answer".to_owned(), answer)));
        if !self.about.is_empty() {
            all.insert("about".to_owned(), self.about.clone().into_iter().collect::<Map<_, _>>().into());
        }
        Value::Object(all)
    }

    /// The event in a line of its own, without the line's end.
    pub fn write(&self) -> String {
        self.to_json().to_string()
    }
}

/// One of our own types as JSON; it has neither maps with odd keys nor numbers that JSON lacks.
pub(crate) fn value(of: &impl serde::Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

fn read<T: serde::de::DeserializeOwned>(place: &str, filled: Value) -> Result<T, EventError> {
    serde_json::from_value(filled).map_err(|error| EventError::value(place, error.to_string()))
}

fn object(place: &str, given: Value) -> Result<Map<String, Value>, EventError> {
    match given {
        Value::Object(given) => Ok(given),
        other => Err(EventError::value(place, format!("must be an object, and is {}", kind_of(&other)))),
    }
}

fn array(place: &str, given: Option<Value>) -> Result<Vec<Value>, EventError> {
    match given {
        Some(Value::Array(given)) => Ok(given),
        Some(other) => Err(EventError::value(place, format!("must be a list, and is {}", kind_of(&other)))),
        None => Err(EventError::value(place, "is missing; give a list")),
    }
}

fn no_more(place: &str, rest: &Map<String, Value>, known: &str) -> Result<(), EventError> {
    let Some(name) = rest.keys().next() else { return Ok(()) };
    Err(EventError::Unknown { place: fill::below(place, name), known: format!("there are {known}") })
}

/// Bytes, as text where they are that, else in hexadecimal digits.
pub(crate) fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": crate::text::hex(bytes) }),
    }
}

fn read_bytes(place: &str, given: Option<Value>) -> Result<Vec<u8>, EventError> {
    let wrong = || EventError::value(place, "must be a text, or {\"hex\": \"00ff\"}");
    match given {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(text.into_bytes()),
        Some(Value::Object(given)) if given.len() == 1 => {
            let digits =
                given.get("hex").and_then(Value::as_str).filter(|digits| digits.is_ascii()).ok_or_else(wrong)?;
            if digits.len() % 2 != 0 {
                return Err(wrong());
            }
            let pair = |at| u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong());
            (0..digits.len()).step_by(2).map(pair).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn reply(reply: &Result<auth::Reply, String>) -> Value {
    match reply {
        Ok(reply) => {
            json!({ "status": reply.status, "headers": value(&reply.headers), "body": bytes(&reply.body) })
        }
        Err(error) => json!({ "error": error }),
    }
}

fn read_reply(at: usize, given: Value) -> Result<Result<auth::Reply, String>, EventError> {
    let place = format!("replies[{at}]");
    let mut given = object(&place, given)?;
    if let Some(error) = given.remove("error") {
        no_more(&place, &given, "error alone, or status, headers, body")?;
        return Ok(Err(read(&fill::below(&place, "error"), error)?));
    }
    let status = read(&fill::below(&place, "status"), given.remove("status").unwrap_or_else(|| 200.into()))?;
    let headers = fill::pairs(given.remove("headers").unwrap_or_else(|| json!([])), &fill::below(&place, "headers"))?;
    let body = read_bytes(&fill::below(&place, "body"), given.remove("body"))?;
    no_more(&place, &given, "status, headers, body, or error alone")?;
    Ok(Ok(auth::Reply { status, headers: read(&place, headers)?, body }))
}

fn client() -> types::Client {
    types::Client {
        session: "test".to_owned(),
        ip: "192.0.2.1".to_owned(),
        port: 50_000,
        protocol: "hls".to_owned(),
        secure: false,
        user_agent: "test".to_owned(),
        referer: String::new(),
        token: String::new(),
        extra: Vec::new(),
    }
}

fn target() -> types::Target {
    types::Target {
        app: "stream".to_owned(),
        name: "lobby".to_owned(),
        params: Vec::new(),
        settings: Vec::new(),
        labels: Vec::new(),
        extra: Vec::new(),
    }
}

fn request() -> auth::Request {
    auth::Request {
        action: "play".to_owned(),
        recheck: false,
        client: client(),
        target: target(),
        viewers: 0,
        extra: Vec::new(),
    }
}

fn source() -> policy::Source {
    policy::Source {
        target: target(),
        video: "h264".to_owned(),
        width: 1920,
        height: 1080,
        fps_num: 30,
        fps_den: 1,
        kbps: 4_000,
        gop_ms: 2_000,
        b_frames: false,
        audio: "aac".to_owned(),
        sample_rate: 48_000,
        channels: 2,
        viewers: 0,
        load_percent: 0,
        extra: Vec::new(),
    }
}

fn motion_source() -> motion::Source {
    motion::Source { target: target(), width: 1920, height: 1080, fps_num: 30, fps_den: 1, extra: Vec::new() }
}

fn notice() -> events::Notice {
    events::Notice {
        kind: "publish-start".to_owned(),
        id: 1,
        unix_ms: 0,
        target: target(),
        client: None,
        detail: Vec::new(),
    }
}
