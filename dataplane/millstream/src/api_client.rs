//! The API of a running server, for commands. Before it: [`crate::stream_command`] and the commands of hooks; after it: the control port.
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, Method};
use millstream_fleet::http::client::{Connection, Reply};
use millstream_fleet::http::guard::Guard;
use millstream_fleet::http::kept::bearer;
use millstream_fleet::http::url::Url;
use millstream_proto::secret::Secret;
use serde_json::Value;

use crate::flags::ApiFlags;
use crate::layers::DATA_DIR;
use crate::settings::Settings;
use crate::{keys, settings};

/// Where the API is unless something says otherwise.
const API: &str = "http://127.0.0.1:8081";
/// Where the Debian package keeps the data directory.
const PACKAGED_DATA_DIR: &str = "/var/lib/millstream";
/// Time for an answer.
const WAIT: Duration = Duration::from_secs(35);
/// Longest answer that is read: a page of streams, or recorded decisions.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// What is not a letter, digit or hyphen is escaped: the server says what is wrong with it.
pub(crate) fn percent(text: &str) -> String {
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

/// The API of a running server.
pub(crate) struct Api {
    url: Url,
    connection: Connection,
    token: Secret,
}

impl Api {
    /// Connects to it, with the token that the flags name.
    pub(crate) async fn open(flags: &ApiFlags) -> anyhow::Result<Self> {
        let url = match &flags.api {
            Some(url) => url.clone(),
            None => control_of(flags)?,
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
        bearer(&self.token).context("the token cannot be sent")
    }

    /// Reads something.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        let (url, headers) = (self.url.below(path), self.headers()?);
        answer(self.connection.get(&url, headers, WAIT, ANSWER_BYTES_MAX).await?)
    }

    /// `None` where the API says that it is not there.
    pub(crate) async fn get_if_there(&mut self, path: &str) -> anyhow::Result<Option<Value>> {
        let (url, headers) = (self.url.below(path), self.headers()?);
        let reply = self.connection.get(&url, headers, WAIT, ANSWER_BYTES_MAX).await?;
        if reply.status.as_u16() == 404 { Ok(None) } else { answer(reply).map(Some) }
    }

    /// Sends JSON.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (url, headers) = (self.url.below(path), self.headers()?);
        answer(self.connection.post(&url, headers, body.to_string().into(), WAIT, ANSWER_BYTES_MAX).await?)
    }

    /// Sends a module of a hook.
    #[cfg(feature = "hooks")]
    pub(crate) async fn post_module(&mut self, path: &str, module: Vec<u8>) -> anyhow::Result<Value> {
        let (url, mut headers) = (self.url.below(path), self.headers()?);
        headers.insert(axum::http::header::CONTENT_TYPE, HeaderValue::from_static("application/wasm"));
        answer(self.connection.ask(Method::POST, &url, headers, module.into(), WAIT, ANSWER_BYTES_MAX).await?)
    }

    /// Removes something, whatever it is like by now.
    pub(crate) async fn delete(&mut self, path: &str) -> anyhow::Result<Value> {
        let (url, mut headers) = (self.url.below(path), self.headers()?);
        // A person means the stream of that name, whatever it is like by now.
        headers.insert(axum::http::header::IF_MATCH, HeaderValue::from_static("*"));
        answer(self.connection.ask(Method::DELETE, &url, headers, Bytes::new(), WAIT, ANSWER_BYTES_MAX).await?)
    }
}

/// What the API says, or why it does not do what it was asked.
fn answer(reply: Reply) -> anyhow::Result<Value> {
    let Reply { status, body, .. } = reply;
    let body: Value = body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
    if status.is_success() {
        return Ok(body);
    }
    let detail = body["detail"].as_str().unwrap_or("the server did not say why; is this Millstream's control port?");
    let fields = body["errors"].as_array().into_iter().flatten();
    let fields =
        fields.filter_map(|error| Some(format!("{}: {}", error["field"].as_str()?, error["message"].as_str()?)));
    // Of a single field the detail has it all.
    let fields = fields.filter(|field| !detail.contains(field.as_str())).map(|field| format!("; {field}"));
    Err(anyhow!("{}{} ({})", detail, fields.collect::<String>(), status.as_u16()))
}

/// What the server's configuration file says, where it is given.
fn settings_of(flags: &ApiFlags) -> anyhow::Result<Settings> {
    Ok(flags.config.as_deref().map(settings::read).transpose()?.unwrap_or_default())
}

/// The data directory and the configuration of a server on this machine.
pub(crate) fn server_of(flags: &ApiFlags) -> anyhow::Result<(PathBuf, Settings)> {
    let settings = settings_of(flags)?;
    let given = flags.data_dir.clone().or_else(|| settings.data_dir.clone());
    let packaged = || Path::new(PACKAGED_DATA_DIR).to_owned();
    let found = || if Path::new(DATA_DIR).is_dir() { PathBuf::from(DATA_DIR) } else { packaged() };
    Ok((given.unwrap_or_else(found), settings))
}

/// The API of a server on this machine: where its flags and its file say that it listens.
fn control_of(flags: &ApiFlags) -> anyhow::Result<Url> {
    let listen = match flags.control {
        Some(control) => Some(control),
        None => settings_of(flags)?.control,
    };
    let Some(mut listen) = listen else { return Ok(API.parse()?) };
    match listen.ip() {
        IpAddr::V4(any) if any.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(any) if any.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(format!("http://{listen}").parse()?)
}

/// The file with the token: what is given, or the admin's of the data directory.
fn token_file(flags: &ApiFlags) -> anyhow::Result<PathBuf> {
    if let Some(file) = &flags.token_file {
        return Ok(file.clone());
    }
    let configured = if flags.data_dir.is_none() { settings_of(flags)?.data_dir } else { None };
    if let Some(dir) = flags.data_dir.as_ref().or(configured.as_ref()) {
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
