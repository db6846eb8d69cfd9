//! `[[auth.steps]]`: steps of the chain that decides who may publish or play, which come before those of the preset. Each kind has keys of
//! its own; a key of another kind is refused, not ignored. After it: [`crate::chain`] makes the steps.
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use millstream_agent::callback::{Callback, Form};
use millstream_fleet::http::guard::Guard;
use millstream_fleet::http::url::{Url, UrlError};
use millstream_policy::jwt::Jwt;
use millstream_policy::jwt::key::Key;
use millstream_policy::scope::{Missing, Pass};
use millstream_proto::id::Id;
use millstream_proto::network::Network;
use millstream_proto::secret::Secret;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use toml::de::DeValue;

use super::document::{Findings, Table, boolean, list, string};
use super::readers::{duration, networks, number};
use super::values::{self, choice};

/// Most steps: each may be asked about every request.
const STEPS_MAX: usize = 32;
/// Most streams that one step names.
const STREAMS_MAX: usize = 10_000;
/// Most keys of one step: each without an id costs every wrong token a verification.
const KEYS_MAX: usize = 16;
/// Largest file with a key, bytes.
const KEY_FILE_BYTES_MAX: u64 = 16 << 10;
/// Longest name of a step and of a claim, bytes.
const NAME_BYTES_MAX: usize = 64;

/// One step.
#[derive(Clone, Debug)]
pub(crate) struct StepEntry {
    /// What it is called in answers of the API.
    pub(crate) name: String,
    pub(crate) kind: StepKind,
    pub(crate) publish: bool,
    pub(crate) play: bool,
    /// Empty: all.
    pub(crate) streams: Vec<Id>,
    /// Every key with its value in force; secrets as words.
    pub(crate) shown: Map<String, Value>,
    /// Of all that it was read from, secrets and files too: tells whether it has changed.
    digest: [u8; 32],
}

impl PartialEq for StepEntry {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// What it does.
#[derive(Clone, Debug)]
pub(crate) enum StepKind {
    Open,
    Recorded { pass: Pass },
    Cidr { allow: Vec<Network>, deny: Vec<Network>, pass: Pass },
    Signed { missing: Missing, pass: Pass, until_exp: bool },
    Jwt(Box<Jwt>),
    Callback(Box<Callback>),
}

impl StepKind {
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recorded { .. } => "recorded",
            Self::Cidr { .. } => "cidr",
            Self::Signed { .. } => "signed",
            Self::Jwt(_) => "jwt",
            Self::Callback(_) => "callback",
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Open,
    Recorded,
    Cidr,
    Signed,
    Jwt,
    Callback,
}

const KINDS: [(&str, Kind); 6] = [
    ("open", Kind::Open),
    ("recorded", Kind::Recorded),
    ("cidr", Kind::Cidr),
    ("signed", Kind::Signed),
    ("jwt", Kind::Jwt),
    ("callback", Kind::Callback),
];

/// All steps of the file, in their order.
pub(super) fn walk(auth: &mut Table<'_>, f: &mut Findings<'_>) -> Vec<StepEntry> {
    let mut entries: Vec<StepEntry> = Vec::new();
    for (n, table) in auth.tables_as(f, "steps", "auth.steps").into_iter().enumerate() {
        if n == STEPS_MAX {
            table.error(f, "kind", &format!("there are more than {STEPS_MAX} steps; remove some"));
            break;
        }
        let Some(entry) = entry(table, f) else { continue };
        if entries.iter().any(|other| other.name == entry.value.name) {
            let message = format!("another step is called {:?}; give each a name of its own", entry.value.name);
            f.error(entry.at, "auth.steps.name", message);
        }
        entries.push(entry.value);
    }
    entries
}

struct Located {
    value: StepEntry,
    at: usize,
}

/// What is common to all kinds, and then what is the kind's own.
fn entry(mut table: Table<'_>, f: &mut Findings<'_>) -> Option<Located> {
    let (errors_before, at) = (f.errors.len(), table.at());
    let mut digest = Sha256::new();
    digest.update(table.json().to_string());
    let kind = table.take(f, "kind", |v| choice(string(v)?, &KINDS));
    let Some(kind) = kind else {
        // One that was there and wrong has been reported. What other keys there may be depends on it.
        if f.errors.len() == errors_before {
            let words: Vec<_> = KINDS.iter().map(|(word, _)| *word).collect();
            table.error(f, "kind", &format!("missing; give every [[auth.steps]] a kind: {}", words.join(", ")));
        }
        return None;
    };
    let point = table.take(f, "point", points);
    if point.is_none() && f.errors.len() == errors_before {
        table.error(f, "point", "missing; give \"publish\", \"play\" or [\"publish\", \"play\"]");
    }
    let name = table.take(f, "name", |v| name(string(v)?));
    let streams = table.take(f, "streams", streams).unwrap_or_default();
    let kind = match kind {
        Kind::Open => Some(StepKind::Open),
        Kind::Recorded => Some(StepKind::Recorded { pass: pass(&mut table, f, Pass::Next) }),
        Kind::Cidr => cidr(&mut table, f),
        Kind::Signed => Some(signed(&mut table, f)),
        Kind::Jwt => jwt(&mut table, f, &mut digest),
        Kind::Callback => callback(&mut table, f),
    };
    table.close(f);
    let ((publish, play), kind) = (point?, kind?);
    let name = name.unwrap_or_else(|| format!("{}-{}", kind.word(), position_of(f, at)));
    let kind = match kind {
        StepKind::Callback(callback) => StepKind::Callback(Box::new(Callback { name: name.clone(), ..*callback })),
        other => other,
    };
    let shown = shown(&name, &kind, (publish, play), &streams);
    let digest = digest.finalize().into();
    Some(Located { value: StepEntry { name, kind, publish, play, streams, shown, digest }, at })
}

/// The line of an entry: what tells entries without a name apart.
fn position_of(f: &Findings<'_>, at: usize) -> usize {
    f.position(at).0
}

fn points(value: &DeValue<'_>) -> Result<(bool, bool), String> {
    let one = |value: &DeValue<'_>| choice(string(value)?, &[("publish", (true, false)), ("play", (false, true))]);
    if let DeValue::String(_) = value {
        return one(value);
    }
    let points = list(value, one)?;
    if points.is_empty() {
        return Err("the list is empty; give \"publish\", \"play\" or both".to_owned());
    }
    Ok(points.into_iter().fold((false, false), |(publish, play), (a, b)| (publish | a, play | b)))
}

fn streams(value: &DeValue<'_>) -> Result<Vec<Id>, String> {
    let ids = list(value, |item| Id::new(string(item)?).map_err(|error| error.to_string()))?;
    match ids.len() {
        0 => Err("the list is empty; name a stream, or remove the key: the step is for all streams then".to_owned()),
        1..=STREAMS_MAX => Ok(ids),
        count => Err(format!("there are {count} streams; give at most {STREAMS_MAX}")),
    }
}

fn name(text: &str) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    Err(format!("give 1 to {NAME_BYTES_MAX} letters, digits, dots, hyphens and underscores"))
}

fn pass(table: &mut Table<'_>, f: &mut Findings<'_>, default: Pass) -> Pass {
    table.take(f, "pass", |v| choice(string(v)?, &[("allow", Pass::Allow), ("next", Pass::Next)])).unwrap_or(default)
}

fn missing(table: &mut Table<'_>, f: &mut Findings<'_>) -> Missing {
    let words = [("deny", Missing::Deny), ("next", Missing::Next)];
    table.take(f, "missing", |v| choice(string(v)?, &words)).unwrap_or(Missing::Deny)
}

/// Only who is admitted here can be given an end here.
fn until_exp(table: &mut Table<'_>, f: &mut Findings<'_>, pass: Pass) -> bool {
    let set = table.take_located(f, "until_exp", boolean);
    if let Some(set) = &set
        && set.value
        && pass == Pass::Next
    {
        let message =
            "a later step admits where pass = \"next\", so that this one cannot end the session; remove one of the two";
        f.error(set.at, "auth.steps.until_exp", message);
    }
    set.is_some_and(|set| set.value)
}

fn cidr(table: &mut Table<'_>, f: &mut Findings<'_>) -> Option<StepKind> {
    let errors_before = f.errors.len();
    let allow = table.take(f, "allow", networks).unwrap_or_default();
    let deny = table.take(f, "deny", networks).unwrap_or_default();
    let pass = pass(table, f, Pass::Next);
    if allow.is_empty() && deny.is_empty() && f.errors.len() == errors_before {
        table.error(f, "allow", "missing; give networks that may (allow) or may not (deny)");
        return None;
    }
    Some(StepKind::Cidr { allow, deny, pass })
}

fn signed(table: &mut Table<'_>, f: &mut Findings<'_>) -> StepKind {
    let (missing, pass) = (missing(table, f), pass(table, f, Pass::Allow));
    StepKind::Signed { missing, pass, until_exp: until_exp(table, f, pass) }
}

fn jwt(table: &mut Table<'_>, f: &mut Findings<'_>, digest: &mut Sha256) -> Option<StepKind> {
    let errors_before = f.errors.len();
    let mut keys = Vec::new();
    if table.has("keys") {
        for key in table.tables_as(f, "keys", "auth.steps.keys") {
            keys.extend(jwt_key(key, f, digest));
        }
    } else {
        table.knows("keys");
        table.error(
            f,
            "keys",
            "missing; give [[auth.steps.keys]] with secret, secret_file, public_key or public_key_file",
        );
    }
    if keys.len() > KEYS_MAX {
        table.error(f, "keys", &format!("there are {} keys; give at most {KEYS_MAX}", keys.len()));
    }
    let mut text = |f: &mut Findings<'_>, key, default: &str| {
        table.take(f, key, |v| claim(string(v)?)).unwrap_or_else(|| default.to_owned())
    };
    let (issuer, audience) = (text(f, "issuer", ""), text(f, "audience", ""));
    let (stream_claim, action_claim) = (text(f, "stream_claim", "stream"), text(f, "action_claim", "action"));
    let leeway = table.take(f, "leeway", duration(0, 600_000)).unwrap_or(Duration::from_secs(30));
    let require_exp = table.take(f, "require_exp", boolean).unwrap_or(true);
    let (missing, pass) = (missing(table, f), pass(table, f, Pass::Allow));
    let until_exp = until_exp(table, f, pass);
    let rules =
        Jwt { keys, leeway, require_exp, issuer, audience, stream_claim, action_claim, until_exp, missing, pass };
    (f.errors.len() == errors_before).then(|| StepKind::Jwt(Box::new(rules)))
}

/// Below the longest wait of a pending decision (5 s), so that the failure policy decides, and not that.
const CALLBACK_MS_MAX: u64 = 4_500;

fn callback(table: &mut Table<'_>, f: &mut Findings<'_>) -> Option<StepKind> {
    let errors_before = f.errors.len();
    let allow_private = table.take(f, "allow_private", networks).unwrap_or_default();
    let guard = Guard::PublicAnd(allow_private);
    let url = table.take(f, "url", |v| callback_url(string(v)?, &guard));
    if url.is_none() && f.errors.len() == errors_before {
        table.error(f, "url", "missing; give the URL of the back end");
    }
    let form = table.take(f, "form", |v| choice(string(v)?, &[("nginx-rtmp", Form::NginxRtmp), ("srs", Form::Srs)]));
    if form.is_none() && f.errors.len() == errors_before {
        table.error(f, "form", "missing; give \"nginx-rtmp\" or \"srs\", whichever the back end was written for");
    }
    let timeout = table.take(f, "timeout", duration(100, CALLBACK_MS_MAX)).unwrap_or(Duration::from_secs(3));
    let cache = table.take(f, "cache", duration(0, 600_000)).unwrap_or(Duration::from_secs(30));
    let at_once = table.take(f, "at_once", number(1..=256)).unwrap_or(32);
    let fail = table.take(f, "fail", |v| values::fail(string(v)?)).unwrap_or_default();
    let pass = pass(table, f, Pass::Allow);
    let (name, url, form) = (String::new(), url?, form?);
    Some(StepKind::Callback(Box::new(Callback { name, url, guard, form, timeout, cache, at_once, fail, pass })))
}

/// An address that the guard would refuse at each request is refused here; what a name stands for is seen then.
fn callback_url(text: &str, guard: &Guard) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error: UrlError| error.to_string())?;
    let address = if url.host == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { url.host.parse().ok() };
    match address {
        Some(address) if !guard.allows(address) => Err(format!(
            "{address} is not a public address; if the back end is there, add allow_private = [\"{address}\"] before this"
        )),
        _ => Ok(url),
    }
}

fn claim(text: &str) -> Result<String, String> {
    if text.len() > 4 * NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("give at most {} printable characters", 4 * NAME_BYTES_MAX));
    }
    Ok(text.to_owned())
}

/// Where the key is.
const SOURCES: [&str; 4] = ["secret", "secret_file", "public_key", "public_key_file"];

fn jwt_key(mut table: Table<'_>, f: &mut Findings<'_>, digest: &mut Sha256) -> Option<Key> {
    let kid = table.take(f, "kid", |v| claim(string(v)?)).filter(|kid| !kid.is_empty());
    let given = SOURCES.iter().filter(|source| table.has(source)).count();
    if given != 1 {
        let message = format!("a key has exactly one of {}; this has {given}", SOURCES.join(", "));
        table.error(f, "secret", &message);
    }
    let mut key = None;
    let shared = |kid: &Option<String>, secret: &str| {
        Key::secret(kid.clone(), &Secret::new(secret)).map_err(|error| error.to_string())
    };
    let public = |kid: &Option<String>, pem: &str| Key::public(kid.clone(), pem).map_err(|error| error.to_string());
    key = table.take(f, "secret", |v| shared(&kid, string(v)?)).or(key);
    key = table
        .take(f, "secret_file", |v| shared(&kid, file(string(v)?, digest)?.trim_end_matches(['\r', '\n'])))
        .or(key);
    key = table.take(f, "public_key", |v| public(&kid, string(v)?)).or(key);
    key = table.take(f, "public_key_file", |v| public(&kid, &file(string(v)?, digest)?)).or(key);
    table.close(f);
    key
}

/// The content of a file; errors never quote it.
pub(super) fn file(path: &str, digest: &mut Sha256) -> Result<String, String> {
    let shown = Path::new(path).display();
    let unreadable =
        |error: std::io::Error| format!("{shown}: {error}; give the path of a file that this user may read");
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(format!("{shown}: is larger than {KEY_FILE_BYTES_MAX} bytes; this is not a key"));
    }
    digest.update(&text);
    Ok(text)
}

const fn pass_word(pass: Pass) -> &'static str {
    match pass {
        Pass::Allow => "allow",
        Pass::Next => "next",
    }
}

const fn missing_word(missing: Missing) -> &'static str {
    match missing {
        Missing::Deny => "deny",
        Missing::Next => "next",
    }
}

/// The keys of a step with their values in force, in the order of the reference.
fn shown(name: &str, kind: &StepKind, point: (bool, bool), streams: &[Id]) -> Map<String, Value> {
    let point = match point {
        (true, true) => json!(["publish", "play"]),
        (true, false) => json!("publish"),
        _ => json!("play"),
    };
    let texts = |networks: &[Network]| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
    let own = match kind {
        StepKind::Open => json!({}),
        StepKind::Recorded { pass } => json!({ "pass": pass_word(*pass) }),
        StepKind::Cidr { allow, deny, pass } => {
            json!({ "allow": texts(allow), "deny": texts(deny), "pass": pass_word(*pass) })
        }
        StepKind::Signed { missing, pass, until_exp } => {
            json!({ "missing": missing_word(*missing), "pass": pass_word(*pass), "until_exp": until_exp })
        }
        StepKind::Jwt(rules) => {
            let key = |key: &Key| json!({ "kid": key.kid, "algorithm": key.algorithm().name() });
            json!({
                "keys": rules.keys.iter().map(key).collect::<Vec<_>>(),
                "leeway": humantime::format_duration(rules.leeway).to_string(),
                "require_exp": rules.require_exp,
                "issuer": rules.issuer,
                "audience": rules.audience,
                "stream_claim": rules.stream_claim,
                "action_claim": rules.action_claim,
                "missing": missing_word(rules.missing),
                "pass": pass_word(rules.pass),
                "until_exp": rules.until_exp,
            })
        }
        StepKind::Callback(callback) => {
            let private = match &callback.guard {
                Guard::PublicAnd(networks) => texts(networks),
                Guard::Open => Vec::new(),
            };
            let time = |time| humantime::format_duration(time).to_string();
            json!({
                "allow_private": private,
                "url": callback.url.to_string(),
                "form": if callback.form == Form::Srs { "srs" } else { "nginx-rtmp" },
                "timeout": time(callback.timeout),
                "cache": time(callback.cache),
                "at_once": callback.at_once,
                "fail": values::fail_word(callback.fail),
                "pass": pass_word(callback.pass),
            })
        }
    };
    let mut shown = Map::new();
    shown.insert("name".to_owned(), name.into());
    shown.insert("kind".to_owned(), kind.word().into());
    shown.insert("point".to_owned(), point);
    if !streams.is_empty() {
        shown.insert("streams".to_owned(), streams.iter().map(Id::as_str).collect());
    }
    if let Value::Object(own) = own {
        shown.extend(own);
    }
    shown
}

#[cfg(test)]
mod tests;
