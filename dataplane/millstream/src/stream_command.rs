//! `millstream stream ...`: streams of a running server, by its API, for people. Before it: [`crate::cli`]; after it: the control port.
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::body::Bytes;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method};
use millstream_proto::secret::Secret;
use millstream_side::http::client::{Connection, Reply};
use millstream_side::http::guard::Guard;
use millstream_side::http::url::Url;
use serde_json::{Value, json};

use crate::cli::{ApiFlags, Failure, StreamCommand};
use crate::keys;
use crate::layers::DATA_DIR;

/// Where the API is unless something says otherwise.
const API: &str = "http://127.0.0.1:8081";
/// Where the Debian package keeps the data directory.
const PACKAGED_DATA_DIR: &str = "/var/lib/millstream";
/// Time for an answer.
const WAIT: Duration = Duration::from_secs(35);
/// Longest answer that is read: a page of streams.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Streams that are asked for at once.
const PAGE: usize = 500;

/// Does it, and prints what a person wants to know of it.
pub(crate) fn run(command: StreamCommand) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::running)?;
    let text = runtime.block_on(ask(command)).map_err(Failure::Running)?;
    std::io::stdout().write_all(text.as_bytes()).context("cannot print").map_err(Failure::Running)
}

async fn ask(command: StreamCommand) -> anyhow::Result<String> {
    match command {
        StreamCommand::Add { id, api } => {
            let mut api = Api::open(&api).await?;
            let body = id.map_or_else(|| json!({}), |id| json!({ "id": id.as_str() }));
            let made = api.post("/api/v1/streams", &body).await?;
            let id = made["id"].as_str().context("the server did not say what the stream is called")?;
            let key = api.get(&format!("/api/v1/streams/{id}/key")).await?;
            Ok(what_to_give(id, &key))
        }
        StreamCommand::Ls { api } => list(&mut Api::open(&api).await?).await,
        StreamCommand::Show { id, api } => {
            let mut api = Api::open(&api).await?;
            let mut record = api.get(&format!("/api/v1/streams/{id}")).await?;
            if let Some(session) = api.get_if_there(&format!("/api/v1/streams/{id}/session")).await? {
                record["session"] = session;
            }
            Ok(serde_json::to_string_pretty(&record)? + "\n")
        }
        StreamCommand::Rm { id, kick, api } => {
            let query = if kick { "?kick=true" } else { "" };
            Api::open(&api).await?.delete(&format!("/api/v1/streams/{id}{query}")).await?;
            Ok(format!("{id}: removed\n"))
        }
        StreamCommand::Key { id, expires, rotate, grace, api } => {
            let mut api = Api::open(&api).await?;
            if rotate {
                let body = grace.map_or_else(|| json!({}), |grace| json!({ "grace_s": grace.as_secs() }));
                api.post(&format!("/api/v1/streams/{id}/key"), &body).await?;
            }
            let query = expires.map_or_else(String::new, |expires| format!("?expires={}", percent(&expires)));
            let key = api.get(&format!("/api/v1/streams/{id}/key{query}")).await?;
            Ok(format!("{}\n", push_url(&key)))
        }
    }
}

/// What is not a letter, digit or hyphen is escaped: the server says what is wrong with it.
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            out.push(byte.into());
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Where to push; without a node that says where it is reached, what there is of it.
fn push_url(key: &Value) -> String {
    let sign = key["sign"].as_str().map(|sign| format!("?sign={sign}")).unwrap_or_default();
    let unknown =
        || format!("rtmp://HOST-OF-A-NODE/... {sign} (no node has been heard yet that says where it is reached)");
    key["push_url"].as_str().map_or_else(unknown, str::to_owned)
}

/// For who sets up an encoder.
fn what_to_give(id: &str, key: &Value) -> String {
    let url = push_url(key);
    let (server, name) = url
        .rsplit_once(&format!("/{id}"))
        .map_or((url.as_str(), String::new()), |(server, sign)| (server, format!("{id}{sign}")));
    format!(
        "push URL    {url}\nin OBS      server {server}\n            stream key {name}\nto watch    /{id}/index.html on the HTTP port\n"
    )
}

async fn list(api: &mut Api) -> anyhow::Result<String> {
    let mut rows = vec![["ID".to_owned(), "ON AIR".to_owned(), "VIEWERS".to_owned(), "FROM".to_owned()]];
    let mut live = std::collections::HashMap::new();
    let mut next = Some(String::new());
    while let Some(cursor) = next {
        let page = api.get(&format!("/api/v1/live?limit={PAGE}{cursor}")).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            // One stream may be on several nodes.
            let id = item["id"].as_str().unwrap_or_default().to_owned();
            let (on_air, viewers): &mut (bool, u64) = live.entry(id).or_default();
            *on_air |= !item["publisher"].is_null();
            *viewers +=
                item["viewers"].as_array().into_iter().flatten().filter_map(|of| of["count"].as_u64()).sum::<u64>();
        }
        next = cursor_of(&page);
    }
    let mut next = Some(String::new());
    while let Some(cursor) = next {
        let page = api.get(&format!("/api/v1/streams?limit={PAGE}{cursor}")).await?;
        for item in page["items"].as_array().into_iter().flatten() {
            let id = item["id"].as_str().unwrap_or_default().to_owned();
            let (on_air, viewers) = live.get(&id).copied().unwrap_or_default();
            let source = item["source"].as_str().unwrap_or_default().to_owned();
            rows.push([id, if on_air { "yes" } else { "no" }.to_owned(), viewers.to_string(), source]);
        }
        next = cursor_of(&page);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    Ok(rows.iter().fold(String::new(), |mut out, [id, on_air, viewers, source]| {
        let [a, b, c] = widths;
        let _ = writeln!(out, "{id:a$}  {on_air:b$}  {viewers:c$}  {source}");
        out
    }))
}

fn cursor_of(page: &Value) -> Option<String> {
    page["next"].as_str().map(|next| format!("&cursor={}", percent(next)))
}

/// The API of a running server.
struct Api {
    url: Url,
    connection: Connection,
    token: Secret,
}

impl Api {
    async fn open(flags: &ApiFlags) -> anyhow::Result<Self> {
        let url = match &flags.api {
            Some(url) => url.clone(),
            None => API.parse()?,
        };
        if !url.secure && !url.is_loopback() {
            bail!(
                "{url} is not TLS: whoever is on the way could read the token; give an https:// URL, or use a tunnel to this machine"
            );
        }
        let token = keys::read_key_file(&token_file(flags)?)?;
        let connection = Connection::open(&url, &Guard::Open).await.with_context(|| {
            format!("is a server running, with its control port at {url}? Give another address with --api")
        })?;
        Ok(Self { url, connection, token })
    }

    fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut value =
            HeaderValue::from_str(&format!("Bearer {}", self.token.expose())).context("the token cannot be sent")?;
        value.set_sensitive(true);
        Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
    }

    async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        let (url, headers) = (self.url.below(path), self.headers()?);
        answer(self.connection.get(&url, headers, WAIT, ANSWER_BYTES_MAX).await?)
    }

    /// `None` where the API says that it is not there.
    async fn get_if_there(&mut self, path: &str) -> anyhow::Result<Option<Value>> {
        let (url, headers) = (self.url.below(path), self.headers()?);
        let reply = self.connection.get(&url, headers, WAIT, ANSWER_BYTES_MAX).await?;
        if reply.status.as_u16() == 404 { Ok(None) } else { answer(reply).map(Some) }
    }

    async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (url, headers) = (self.url.below(path), self.headers()?);
        answer(self.connection.post(&url, headers, body.to_string().into(), WAIT, ANSWER_BYTES_MAX).await?)
    }

    async fn delete(&mut self, path: &str) -> anyhow::Result<Value> {
        let (url, mut headers) = (self.url.below(path), self.headers()?);
        // A person means the stream of that name, whatever it is like by now.
        headers.insert(axum::http::header::IF_MATCH, HeaderValue::from_static("*"));
        answer(self.connection.ask(Method::DELETE, &url, headers, Bytes::new(), WAIT, ANSWER_BYTES_MAX).await?)
    }
}

/// What the API says, or why it does not do what it was asked.
fn answer(reply: Reply) -> anyhow::Result<Value> {
    let Reply { status, body } = reply;
    let body: Value = body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
    if status.is_success() {
        return Ok(body);
    }
    let detail = body["detail"].as_str().unwrap_or("the server did not say why; is this Millstream's control port?");
    let fields = body["errors"].as_array().into_iter().flatten();
    let fields =
        fields.filter_map(|error| Some(format!("; {}: {}", error["field"].as_str()?, error["message"].as_str()?)));
    Err(anyhow!("{}{} ({})", detail, fields.collect::<String>(), status.as_u16()))
}

/// The file with the token: what is given, or the admin's of the data directory.
fn token_file(flags: &ApiFlags) -> anyhow::Result<PathBuf> {
    if let Some(file) = &flags.token_file {
        return Ok(file.clone());
    }
    if let Some(dir) = &flags.data_dir {
        return Ok(dir.join(keys::ADMIN_TOKEN));
    }
    let places = [DATA_DIR, PACKAGED_DATA_DIR].map(|dir| Path::new(dir).join(keys::ADMIN_TOKEN));
    // One that is there and may not be read says so when it is.
    let found = places.iter().find(|file| !matches!(file.try_exists(), Ok(false)));
    found.cloned().ok_or_else(|| {
        anyhow!("no token: neither ./{DATA_DIR} nor {PACKAGED_DATA_DIR} has one. Give the server's data directory with --data-dir, or a \
                 file with a token with --token-file")
    })
}
